//! Artifacts: what a file of a version may be, and until when it may be added.

use registry_common::paths;

use super::names::NameError;
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

/// Checks the path of an artifact in its version's folder.
pub(crate) fn check_path(value: &str) -> Result<(), NameError> {
    paths::check(value).map_err(NameError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use super::super::names::NameError;
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

    #[track_caller]
    fn takes(values: &[&str]) {
        for value in values {
            assert_eq!(check_path(value), Ok(()), "{value:?}");
        }
    }

    #[track_caller]
    fn rules_out(values: &[(&str, &str)]) {
        for (value, why) in values {
            let NameError(message) = check_path(value).expect_err(value);
            assert!(message.starts_with("must ") && message.contains(why), "{value:?}: {message}");
        }
    }

    #[test]
    fn paths() {
        let (longest_part, longest) = ("p".repeat(255), format!("{}é/é", "p/".repeat(509) + "p"));
        assert_eq!(longest.len(), 1024);
        takes(&[
            "m.onnx",
            "events.out.tfevents.1700000000.host:6006",
            "a/.model-registry.json",
            "a/b c/d@%.bin",
            ".hidden",
            "...",
            "caf\u{e9}/x",
            &longest_part,
            &longest,
        ]);
        rules_out(&[
            ("", "empty"),
            (&format!("{longest}x"), "at most 1024 bytes, not 1025"),
            (&"p".repeat(256), "at most 255 bytes between slashes, not 256"),
            ("/etc/passwd", "relative"),
            ("a/", "name a file"),
            ("a//b", "\"//\""),
            ("./a", "\".\" as a part"),
            ("a/../b", "\"..\" as a part"),
            ("a\\b", "contain '\\\\'"),
            ("C:/a", "begin with a drive"),
            ("c:a", "begin with a drive"),
            (".model-registry.json", "keeps what it is"),
            (".model-registry.pull/a", "keeps what it is"),
            ("a/.model-registry.part-1", "keeps what it is"),
            ("weights\u{202e}nib", "contain '\\u{202e}'"),
            ("a\nb", "U+000A"),
            ("a\u{7f}", "U+007F"),
            ("cafe\u{301}/x", "NFC: write \"é\" as U+00E9 at character 4"),
        ]);
    }

    proptest! {
        #[test]
        fn accepted_paths_stay_inside(value in prop_oneof![any::<String>(), "[a./\\\\:é\u{301}\n]{0,8}"]) {
            if check_path(&value).is_ok() {
                prop_assert!(value.split('/').all(|part| !matches!(part, "" | "." | "..")));
                prop_assert!(!value.contains('\\') && !value.contains(char::is_control));
                prop_assert!(!value.starts_with(|c: char| c.is_ascii_alphabetic()) || !value[1..].starts_with(':'));
                prop_assert!(is_nfc(&value));
            }
        }
    }
}
