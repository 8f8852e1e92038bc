//! Rules for short texts that both sides check. What is wrong with one is a message that begins with "must", so that the caller can
//! put before it what the text is.

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The most characters that an id has.
pub const MAX_ID_CHARS: usize = 128;

/// Checks an id, as the contract has them (*Ids* in `common.proto`).
///
/// An accepted id is safe inside a resource name, a URL and a file name, and no other accepted id looks the same to Unicode.
///
/// # Errors
/// What is wrong.
pub fn check_id(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let length = value.chars().count();
    if length > MAX_ID_CHARS {
        return Err(format!("must have at most {MAX_ID_CHARS} characters, not {length}"));
    }
    // ASCII first, then the normal form, then the rest: a lone accent is no letter, but what is wrong about it is most
    // often that the letter before it was decomposed.
    check_chars(value, |c| !c.is_ascii() || is_id_char(c))?;
    check_nfc(value)?;
    check_chars(value, is_id_char)?;
    if !value.starts_with(char::is_alphanumeric) {
        return Err("must begin with a letter or digit".to_owned());
    }
    Ok(())
}

fn is_id_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+')
}

/// Checks that a text has no other characters than `allowed`.
///
/// # Errors
/// What is wrong, with the first such character.
pub fn check_chars(value: &str, allowed: impl Fn(char) -> bool) -> Result<(), String> {
    match value.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) if c.is_control() => Err(format!("must not contain control characters, here U+{:04X}", u32::from(c))),
        Some(c) => Err(format!("must not contain {c:?}")),
    }
}

/// Checks that a text is in Unicode's normal form NFC.
///
/// # Errors
/// What is wrong, with the first place that is.
pub fn check_nfc(value: &str) -> Result<(), String> {
    if is_nfc(value) {
        return Ok(());
    }
    // The two forms look alike, so the message has to point at the place and give the code.
    let place = value.chars().zip(value.nfc()).zip(1..).find(|((given, nfc), _)| given != nfc);
    let hint = place.map(|((_, nfc), at)| format!(": write \"{nfc}\" as U+{:04X} at character {at}", u32::from(nfc)));
    Err(format!("must be in Unicode normal form NFC{}", hint.unwrap_or_default()))
}
