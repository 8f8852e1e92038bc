//! Artifacts: what a file of a version may be, and until when it may be added.

use super::stages::State;

/// The media type of a file: the given one, unless it is none; without one what the path's ending suggests.
pub(crate) fn media_type(given: &str, path: &str) -> Option<String> {
    match given {
        "" => Some(mime_guess::from_path(path).first_or_octet_stream().to_string()),
        given => given.parse::<mime_guess::Mime>().is_ok().then(|| given.to_owned()),
    }
}

/// Whether files of a type tell of a version and are no part of it, so that they may be added late.
pub(crate) fn is_late(r#type: &str) -> bool {
    matches!(r#type, "plot" | "confusion_matrix" | "log")
}

/// Whether a version in a state takes another file. `late`: it is of a type that tells of the version, and is no part of it.
pub(crate) fn may_add(state: State, late: bool) -> bool {
    match state {
        State::Pending => true,
        State::Ready => late,
        State::Failed => false,
    }
}

/// Whether a file may be removed. `supplementary`: it was added after the version was READY.
pub(crate) fn may_remove(state: State, supplementary: bool) -> bool {
    state == State::Pending || supplementary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_version_takes_only_what_tells_of_it() {
        for (state, late, taken) in [
            (State::Pending, false, true),
            (State::Pending, true, true),
            (State::Ready, false, false),
            (State::Ready, true, true),
            (State::Failed, false, false),
            (State::Failed, true, false),
        ] {
            assert_eq!(may_add(state, late), taken, "{state:?} {late}");
        }
        assert!(is_late("plot") && !is_late("model"));
        assert!(may_remove(State::Pending, false) && may_remove(State::Ready, true));
        assert!(!may_remove(State::Ready, false) && !may_remove(State::Failed, false));
    }

    #[test]
    fn media_types() {
        for (given, path, expected) in [
            ("", "model.onnx", Some("application/octet-stream")),
            ("", "notes/README.txt", Some("text/plain")),
            ("application/x-onnx", "model.bin", Some("application/x-onnx")),
            ("no type", "a.txt", None),
        ] {
            assert_eq!(media_type(given, path).as_deref(), expected, "{given:?} {path:?}");
        }
    }
}
