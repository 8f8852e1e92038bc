//! What an id, an alias and an artifact's path look like.

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::rules::stages::Stage;

/// The most characters that an id has.
const MAX_ID_CHARS: usize = 128;
/// The most bytes that an artifact's path has.
const MAX_PATH_BYTES: usize = 1024;
/// The most bytes between two slashes of a path: what file systems take as one name.
const MAX_PART_BYTES: usize = 255;

/// What an alias that the registry computes stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Computed {
    /// The READY version with the highest number.
    Latest,
    /// The version that entered a stage last and is still there.
    In(Stage),
}

/// What an alias stands for if nobody sets it.
pub(crate) fn computed(alias: &str) -> Option<Computed> {
    match alias {
        "latest" => Some(Computed::Latest),
        "production" => Some(Computed::In(Stage::Production)),
        "staging" => Some(Computed::In(Stage::Staging)),
        _ => None,
    }
}

/// Why a text is not a name.
///
/// The message of a check on one text begins with "must", so that the caller can put before it what the text is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NameError(pub(crate) String);

/// Checks the id of a namespace or a model.
///
/// An accepted id is safe inside a resource name, a URL and a file name, and no other accepted id looks the same to
/// Unicode. `-` (all models), `.` and `..` fall to the rule for the first character.
pub(crate) fn check_id(value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return refuse("must not be empty");
    }
    let length = value.chars().count();
    if length > MAX_ID_CHARS {
        return refuse(format!("must have at most {MAX_ID_CHARS} characters, not {length}"));
    }
    // ASCII first, then the normal form, then the rest: a lone accent is no letter, but what is wrong about it is most
    // often that the letter before it was decomposed.
    check_chars(value, |c| !c.is_ascii() || is_id_char(c))?;
    check_nfc(value)?;
    check_chars(value, is_id_char)?;
    if !value.starts_with(char::is_alphanumeric) {
        return refuse("must begin with a letter or digit");
    }
    Ok(())
}

/// Checks a version's id: an id that can't be mistaken for a version's number.
pub(crate) fn check_version_id(value: &str) -> Result<(), NameError> {
    check_id(value)?;
    if is_digits(value) {
        return refuse("must not be all digits: that is how a version's number looks");
    }
    Ok(())
}

/// Checks an alias that somebody wants to set or remove: an id that the registry does not compute itself.
pub(crate) fn check_alias(value: &str) -> Result<(), NameError> {
    check_id(value)?;
    if computed(value).is_some() {
        return refuse(format!("must not be {value:?}: the registry keeps this alias itself"));
    }
    Ok(())
}

/// Checks the path of an artifact in its version's folder.
///
/// An accepted path stays inside the folder on every platform that it may be downloaded to, and fits one line of a
/// manifest.
pub(crate) fn check_path(value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return refuse("must not be empty");
    }
    if value.len() > MAX_PATH_BYTES {
        return refuse(format!("must have at most {MAX_PATH_BYTES} bytes, not {}", value.len()));
    }
    check_chars(value, |c| !c.is_control() && c != '\\' && c != ':')?;
    if value.starts_with('/') || value.ends_with('/') {
        return refuse("must be relative and name a file: without a slash at the start or the end");
    }
    for part in value.split('/') {
        match part {
            "" => return refuse("must not contain \"//\""),
            "." | ".." => return refuse(format!("must not have {part:?} as a part")),
            _ if part.len() > MAX_PART_BYTES => {
                return refuse(format!("must have at most {MAX_PART_BYTES} bytes between slashes, not {}", part.len()));
            }
            _ => {}
        }
    }
    check_nfc(value)
}

/// Whether the text is made of ASCII digits: what a version's number is written with.
pub(super) fn is_digits(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
}

fn is_id_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+')
}

fn check_chars(value: &str, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    match value.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) if c.is_control() => {
            refuse(format!("must not contain control characters, here U+{:04X}", u32::from(c)))
        }
        Some(c) => refuse(format!("must not contain {c:?}")),
    }
}

fn check_nfc(value: &str) -> Result<(), NameError> {
    if is_nfc(value) {
        return Ok(());
    }
    // The two forms look alike, so the message has to point at the place and give the code.
    let place = value.chars().zip(value.nfc()).zip(1..).find(|((given, nfc), _)| given != nfc);
    let hint = place.map(|((_, nfc), at)| format!(": write \"{nfc}\" as U+{:04X} at character {at}", u32::from(nfc)));
    refuse(format!("must be in Unicode normal form NFC{}", hint.unwrap_or_default()))
}

fn refuse(message: impl Into<String>) -> Result<(), NameError> {
    Err(NameError(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Check = fn(&str) -> Result<(), NameError>;

    #[track_caller]
    fn accepts(check: Check, values: &[&str]) {
        for value in values {
            assert_eq!(check(value), Ok(()), "{value:?}");
        }
    }

    #[track_caller]
    fn refuses(check: Check, values: &[(&str, &str)]) {
        for (value, why) in values {
            let NameError(message) = check(value).expect_err(value);
            assert!(message.starts_with("must ") && message.contains(why), "{value:?}: {message}");
        }
    }

    #[test]
    fn ids() {
        accepts(check_id, &["a", "7", "fraud", "Fraud_v2.1+gpu-x", "caf\u{e9}", "モデル", "модель", "९"]);
        accepts(check_id, &[&"é".repeat(128)]);
        refuses(
            check_id,
            &[
                ("", "empty"),
                (&"é".repeat(129), "at most 128 characters, not 129"),
                ("a\nb", "control characters, here U+000A"),
                ("a\u{85}", "control characters, here U+0085"),
                ("a/b", "contain '/'"),
                ("a:b", "contain ':'"),
                ("m@x", "contain '@'"),
                ("a%2Fb", "contain '%'"),
                ("a b", "contain ' '"),
                ("cafe\u{301}", "NFC: write \"é\" as U+00E9 at character 4"),
                ("\u{212b}", "NFC: write \"Å\" as U+00C5 at character 1"),
                ("x\u{301}", "contain '\\u{301}'"),
                ("a\u{202e}b", "contain '\\u{202e}'"),
                (".", "begin with a letter or digit"),
                ("..", "begin with a letter or digit"),
                ("-", "begin with a letter or digit"),
                ("+a", "begin with a letter or digit"),
            ],
        );
    }

    #[test]
    fn version_ids_and_aliases() {
        accepts(check_version_id, &["1.4.0", "20260126_103000", "v7", "latest"]);
        refuses(check_version_id, &[("7", "all digits"), ("007", "all digits"), ("1 4", "contain ' '")]);
        accepts(check_alias, &["champion", "7", "Latest"]);
        refuses(
            check_alias,
            &[("latest", "not be \"latest\""), ("production", "itself"), ("staging", "itself"), ("@a", "'@'")],
        );
    }

    #[test]
    fn paths() {
        let (longest_part, longest) = ("p".repeat(255), format!("{}é/é", "p/".repeat(509) + "p"));
        assert_eq!(longest.len(), 1024);
        accepts(check_path, &["m.onnx", "a/b c/d@%.bin", ".hidden", "...", "caf\u{e9}/x", &longest_part, &longest]);
        refuses(
            check_path,
            &[
                ("", "empty"),
                (&format!("{longest}x"), "at most 1024 bytes, not 1025"),
                (&"p".repeat(256), "at most 255 bytes between slashes, not 256"),
                ("/etc/passwd", "relative"),
                ("a/", "name a file"),
                ("a//b", "\"//\""),
                ("./a", "\".\" as a part"),
                ("a/../b", "\"..\" as a part"),
                ("a\\b", "contain '\\\\'"),
                ("C:/a", "contain ':'"),
                ("a\nb", "U+000A"),
                ("a\u{7f}", "U+007F"),
                ("cafe\u{301}/x", "NFC: write \"é\" as U+00E9 at character 4"),
            ],
        );
    }

    proptest! {
        #[test]
        fn accepted_ids_are_safe(value in prop_oneof![any::<String>(), "[a-zé\u{301}\u{323}/:@%\\x00 ._+-]{0,8}", "\\PC{1,8}"]) {
            if check_id(&value).is_ok() {
                prop_assert!(!value.contains(['/', ':', '@', '%']) && !value.contains(char::is_control));
                prop_assert_eq!(&value.nfc().collect::<String>(), &value);
                prop_assert_eq!(check_path(&value), Ok(()));
            }
        }

        #[test]
        fn canonically_equivalent_ids_are_one(value in "[a-zéüạ가각\u{301}\u{323}]{1,8}") {
            let (nfc, nfd) = (value.nfc().collect::<String>(), value.nfd().collect::<String>());
            for other in [&value, &nfd] {
                prop_assert!(*other == nfc || check_id(other).is_err());
            }
        }

        #[test]
        fn accepted_paths_stay_inside(value in prop_oneof![any::<String>(), "[a./\\\\:é\u{301}\n]{0,8}"]) {
            if check_path(&value).is_ok() {
                prop_assert!(value.split('/').all(|part| !matches!(part, "" | "." | "..")));
                prop_assert!(!value.contains(['\\', ':']) && !value.contains(char::is_control));
                prop_assert!(is_nfc(&value));
            }
        }
    }
}
