//! Rules for short texts that both sides check. What is wrong with one is a message that begins with "must", so that the caller can
//! put before it what the text is.

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

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
