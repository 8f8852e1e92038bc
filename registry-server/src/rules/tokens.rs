//! What the secret of a token looks like, what is kept of it, and when a token is good.
//!
//! `mr_<id>_<secret><checksum>`, all in base62: scanners for secrets find it by its beginning, and what was cut short or mistyped is
//! known by its checksum without a look-up. The secret has 256 random bits, so that its SHA-256 is as good as a slow hash.

use std::borrow::Cow;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::names::NameError;

const START: &str = "mr_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
// How many digits these take.
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;

/// How many random bytes the id of a token is made of.
pub(crate) const ID_BYTES: usize = 8;
/// And its secret.
pub(crate) const SECRET_BYTES: usize = 32;
/// How many bytes are kept of a secret.
pub(crate) const HASH_BYTES: usize = 32;

/// The id of a new token, of random bytes.
pub(crate) fn id(random: [u8; ID_BYTES]) -> String {
    let mut digits = Vec::with_capacity(ID_DIGITS);
    base62(&random, ID_DIGITS, &mut digits);
    digits.into_iter().map(char::from).collect()
}

/// The text that the bearer of a token has, of random bytes.
pub(crate) fn text(id: &str, random: &[u8; SECRET_BYTES]) -> Zeroizing<String> {
    // As long as it gets, so that no copy stays behind.
    let mut text = Zeroizing::new(String::with_capacity(START.len() + id.len() + 1 + SECRET_DIGITS + CHECKSUM_DIGITS));
    text.push_str(START);
    text.push_str(id);
    text.push('_');
    let mut digits = Zeroizing::new(Vec::with_capacity(SECRET_DIGITS));
    base62(random, SECRET_DIGITS, &mut digits);
    text.extend(digits.iter().copied().map(char::from));
    let checksum = checksum(&text);
    text.extend(checksum.map(char::from));
    text
}

/// The most characters that the id of a token has.
const MAX_ID_DIGITS: usize = 64;

/// Checks the id of a token: it is a part of a header.
pub(crate) fn check_id(id: &str) -> Result<(), NameError> {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match (1..=MAX_ID_DIGITS).contains(&id.len()) && id.bytes().all(is_char) && !id.starts_with('-') {
        true => Ok(()),
        false => Err(NameError(format!(
            "must be 1 to {MAX_ID_DIGITS} ASCII letters, digits and `-`, the first of them not `-`"
        ))),
    }
}

/// Whether a text is to be a token of a registry, whole or not.
pub(crate) fn is_ours(text: &str) -> bool {
    text.starts_with(START)
}

/// A text in which a name may be a whole token, without its secret: whoever puts one where a name belongs has it in no log.
pub(crate) fn masked(text: &str) -> Cow<'_, str> {
    let token = text.split('/').find_map(|part| Shown::parse(part).map(|shown| (part, shown)));
    match token {
        None => Cow::Borrowed(text),
        Some((part, shown)) => Cow::Owned(text.replace(part, &format!("{START}{}_...", shown.id))),
    }
}

/// A token that somebody shows, as far as it has the form of one.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Which token it is to be.
    pub(crate) id: &'a str,
    secret: &'a str,
}

impl<'a> Shown<'a> {
    /// `None` if it is no token, or not a whole one.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(START)?.split_once('_')?;
        let is_secret =
            rest.len() == SECRET_DIGITS + CHECKSUM_DIGITS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if check_id(id).is_err() || !is_secret {
            return None;
        }
        let (secret, sum) = rest.split_at(SECRET_DIGITS);
        (checksum(&text[..text.len() - CHECKSUM_DIGITS]) == sum.as_bytes()).then_some(Self { id, secret })
    }

    /// What is kept of its secret.
    pub(crate) fn hash(&self) -> [u8; HASH_BYTES] {
        Sha256::digest(self.secret).into()
    }

    /// Whether its secret is the one of which this is kept. How long that takes tells nothing.
    pub(crate) fn is(&self, kept: &[u8]) -> bool {
        self.hash().ct_eq(kept).into()
    }
}

/// Why a token that is one lets nobody in any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Revoked,
    Expired,
}

/// Whether a token is good at a time.
pub(crate) fn check(revoked: bool, expires: Option<SystemTime>, now: SystemTime) -> Result<(), Ended> {
    match expires {
        _ if revoked => Err(Ended::Revoked),
        Some(expires) if expires <= now => Err(Ended::Expired),
        _ => Ok(()),
    }
}

/// So many digits that tell a text from one with a letter wrong.
fn checksum(text: &str) -> [u8; CHECKSUM_DIGITS] {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    digits
}

/// Adds a number, big-endian, with so many digits, the first of them zeros if it has fewer.
fn base62(number: &[u8], length: usize, digits: &mut Vec<u8>) {
    let mut rest = Zeroizing::new(number.to_vec());
    let start = digits.len();
    for _ in 0..length {
        let mut remainder = 0;
        for byte in rest.iter_mut() {
            let value = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            remainder = value % 62;
        }
        digits.push(DIGITS[remainder]);
    }
    digits[start..].reverse();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_have_the_digits_that_they_should() {
        for (number, length, expected) in [
            (&[][..], 2, "00"),
            (&[61], 1, "z"),
            (&[62], 2, "10"),
            (&[1, 0], 3, "048"),
            (&[255, 255, 255, 255], 6, "4gfFC3"),
            (&[255; 8], ID_DIGITS, "0LygHa16AHYF"),
        ] {
            let mut digits = Vec::new();
            base62(number, length, &mut digits);
            assert_eq!(String::from_utf8(digits).unwrap(), expected, "{number:?}");
        }
        // The largest secret fits, and no fewer digits would do.
        let mut digits = Vec::new();
        base62(&[255; SECRET_BYTES], SECRET_DIGITS, &mut digits);
        assert_ne!(digits[0], b'0');
    }

    #[test]
    fn a_token_is_known_by_its_secret_alone() {
        let id = id([7; ID_BYTES]);
        let [token, other] = [[1; SECRET_BYTES], [2; SECRET_BYTES]].map(|random| text(&id, &random));
        assert_eq!(token.len(), 3 + 12 + 1 + 43 + 6);
        let [token, other] = [&token, &other].map(|text| Shown::parse(text).unwrap());
        assert_eq!(token.id, id);
        assert!(token.is(&token.hash()) && !token.is(&other.hash()));
        assert!(!token.is(&[]) && !token.is(&token.hash()[..31]));
    }

    #[test]
    fn an_id_fits_a_header() {
        for good in ["a", "7", "ci-trainer", "0LygHa16AHYF", &"x".repeat(64)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
            assert!(Shown::parse(&text(good, &[1; SECRET_BYTES])).is_some_and(|shown| shown.id == good));
        }
        for bad in ["", "-a", "a_b", "a b", "é", "a.b", &"x".repeat(65)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_cut_short_or_mistyped_is_no_token() {
        let token = text(&id([7; ID_BYTES]), &[1; SECRET_BYTES]);
        for end in 0..token.len() {
            assert!(Shown::parse(&token[..end]).is_none(), "{end}");
        }
        for at in 0..token.len() {
            let mut wrong = token.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert!(Shown::parse(str::from_utf8(&wrong).unwrap()).is_none(), "{at}");
        }
        for wrong in
            ["", "mr_", "mr__", "Bearer", &format!("{}x", *token), &format!(" {}", *token), &token.to_uppercase()]
        {
            assert!(Shown::parse(wrong).is_none(), "{wrong}");
        }
        // Of the right length, and with a character of two bytes amid it.
        let wide = format!("mr_{}_{}é{}", "0".repeat(12), "0".repeat(42), "0".repeat(5));
        assert!(Shown::parse(&wide).is_none());
    }

    #[test]
    fn a_token_in_place_of_a_name_loses_its_secret() {
        let token = text("0LygHa16AHYF", &[1; SECRET_BYTES]);
        assert_eq!(masked(&format!("namespaces/risk/models/{}", *token)), "namespaces/risk/models/mr_0LygHa16AHYF_...");
        assert_eq!(masked("namespaces/risk/models/mr_fraud"), "namespaces/risk/models/mr_fraud");
    }

    #[test]
    fn a_token_ends_when_it_is_revoked_or_its_time_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let [before, after] = [99, 101].map(|seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        for (revoked, expires, expected) in [
            (false, None, Ok(())),
            (false, after, Ok(())),
            (false, Some(now), Err(Ended::Expired)),
            (false, before, Err(Ended::Expired)),
            (true, None, Err(Ended::Revoked)),
            (true, before, Err(Ended::Revoked)),
        ] {
            assert_eq!(check(revoked, expires, now), expected, "{revoked} {expires:?}");
        }
    }
}
