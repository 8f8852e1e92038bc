//! Signed notes (C2SP signed-note): a text, and below it lines with the signatures of those who vouch for it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// What says that a key is of Ed25519, and signs notes.
const ED25519_NOTE: u8 = 1;
/// What a line with a signature begins with.
const MARK: &str = "\u{2014} ";
/// No note is longer, in bytes, and none has more signatures: strangers send them.
const LONGEST: usize = 64 << 10;
/// See [`LONGEST`].
const MOST_SIGNATURES: usize = 64;

/// What is no note, no key, or no signature of that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteError {
    /// The name of a key has characters that it must not have.
    Name,
    /// A key is not in the form of Go's `sumdb/note`.
    Key,
    /// A text is no signed note.
    Note,
    /// No line of the note is of this key.
    Unsigned,
    /// The line of this key does not fit the text.
    Forged,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name of a key must not be empty, and must have neither white space nor +",
            Self::Key => "a key must be NAME+ID+BASE64, of Ed25519",
            Self::Note => "this is no signed note: a text, an empty line, and lines with signatures",
            Self::Unsigned => "the note is not signed by this key",
            Self::Forged => "the note is not what its signature says",
        })
    }
}

impl std::error::Error for NoteError {}

/// A public key and its name. As text: `NAME+ID+BASE64`, as Go's `sumdb/note` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; 32],
}

impl Verifier {
    /// The key with this name.
    ///
    /// # Errors
    /// If the name is none that a key may have.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        let sound = !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control());
        if sound { Ok(Self { name: name.to_owned(), key }) } else { Err(NoteError::Name) }
    }

    /// Its name: that of the log, or of the witness.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells it from other keys of the same name, in a line of a note.
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519_NOTE]).chain_update(self.key);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }

    /// Verifies that a note has a signature of this key, and that it fits.
    ///
    /// # Errors
    /// If there is none, or it does not fit.
    pub fn verify(&self, note: &Note) -> Result<(), NoteError> {
        let mine = |signature: &&Signature| signature.name == self.name && signature.id == self.id();
        let signature = note.signatures.iter().find(mine).ok_or(NoteError::Unsigned)?;
        let key = UnparsedPublicKey::new(&ED25519, self.key);
        key.verify(note.text.as_bytes(), &signature.bytes).map_err(|_| NoteError::Forged)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode([&[ED25519_NOTE], &self.key[..]].concat());
        write!(f, "{}+{}+{key}", self.name, crate::hex(&self.id()))
    }
}

/// The name and the 32 bytes of a key in the form of Go's `sumdb/note`, and the id that it says.
fn parts(text: &str) -> Option<(&str, &str, [u8; 32])> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let bytes = BASE64_STANDARD.decode(key).ok()?;
    let (&ED25519_NOTE, key) = bytes.split_first()? else { return None };
    Some((name, id, key.try_into().ok()?))
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let (name, id, key) = parts(text).ok_or(NoteError::Key)?;
        let verifier = Self::new(name, key)?;
        if crate::hex(&verifier.id()) == id { Ok(verifier) } else { Err(NoteError::Key) }
    }
}

/// A private key and its name. Its seed is kept by whoever made it.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.verifier.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// The key with this name that 32 random bytes make.
    ///
    /// # Errors
    /// If the name is none that a key may have.
    pub fn new(name: &str, seed: [u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoteError::Key)?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        Ok(Self { pair, verifier: Verifier::new(name, public)? })
    }

    /// The key that others verify with.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs a text that ends with a line's end, and has no empty line at its end.
    pub fn sign(&self, text: &str) -> Note {
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        let signature = Signature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes };
        Note { text: text.to_owned(), signatures: vec![signature] }
    }
}

/// A line with a signature. What its bytes mean is known to who has the key: a witness signs more than the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Signature {
    /// Of which key it is to be: its name, and what tells it from others of that name.
    pub fn key(&self) -> (&str, [u8; 4]) {
        (&self.name, self.id)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{} {}", self.name, BASE64_STANDARD.encode([&self.id, &self.bytes[..]].concat()))
    }
}

impl FromStr for Signature {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let parse = || {
            let (name, bytes) = line.strip_prefix(MARK)?.split_once(' ')?;
            let bytes = BASE64_STANDARD.decode(bytes).ok()?;
            let (id, bytes) = bytes.split_first_chunk::<4>()?;
            let Verifier { name, .. } = Verifier::new(name, [0; 32]).ok()?;
            (!bytes.is_empty()).then(|| Self { name, id: *id, bytes: bytes.to_vec() })
        };
        parse().ok_or(NoteError::Note)
    }
}

/// A text and its signatures, none of which is verified by being read. As text: the text, an empty line, and a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// What is signed. It ends with a line's end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines with signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a line with a signature, unless there is one of that key.
    pub fn add(&mut self, signature: Signature) {
        if self.signatures.iter().all(|line| line.key() != signature.key()) {
            self.signatures.push(signature);
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        let control = |c: char| c.is_control() && c != '\n';
        if note.len() > LONGEST || note.contains(control) {
            return Err(NoteError::Note);
        }
        // The last empty line: the text may have others.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Note)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Note)?;
        let signatures = lines.split('\n').take(MOST_SIGNATURES + 1).map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Note);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tests of Go's `sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETER_PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
         \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn what_go_signed_is_verified_and_signed_alike() {
        let verifier: Verifier = PETER.parse().expect("a key");
        let note: Note = NOTE.parse().expect("a note");
        assert_eq!(verifier.verify(&note), Ok(()));
        assert_eq!((verifier.to_string(), note.to_string()), (PETER.to_owned(), NOTE.to_owned()));
        let seed = PETER_PRIVATE.strip_prefix("PRIVATE+KEY+PeterNeumann+c74f20a3+").expect("a private key");
        let seed = BASE64_STANDARD.decode(seed).expect("a private key");
        let signer = Signer::new("PeterNeumann", seed[1..].try_into().expect("32 bytes")).expect("a key");
        assert_eq!(signer.verifier(), &verifier);
        assert_eq!(signer.sign(note.text()), note);
    }

    #[test]
    fn what_is_changed_or_of_another_is_refused() {
        let verifier: Verifier = PETER.parse().expect("a key");
        let note = |text: &str| text.parse::<Note>().expect("a note");
        assert_eq!(verifier.verify(&note(&NOTE.replace("the answer", "no answer"))), Err(NoteError::Forged));
        assert_eq!(verifier.verify(&note(&NOTE.replace("x08go/ZJ", "x08go/ZK"))), Err(NoteError::Forged));
        let other = Signer::new("PeterNeumann", [7; 32]).expect("a key");
        assert_eq!(other.verifier().verify(&note(NOTE)), Err(NoteError::Unsigned), "another key of that name");
        let other = Signer::new("EnochRoot", [7; 32]).expect("a key");
        let mut both = note(NOTE);
        both.add(other.sign(both.text()).signatures[0].clone());
        let both = note(&both.to_string());
        assert_eq!((verifier.verify(&both), other.verifier().verify(&both)), (Ok(()), Ok(())));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let line = NOTE.lines().last().expect("a signature");
        for text in [
            String::new(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            format!("text\n{line}\n"),
            format!("text\n\n{line}"),
            format!("text\n\n{line}\nmore\n"),
            format!("text\r\n\n{line}\n"),
            format!("text\n\n{}\n", line.replace('\u{2014}', "-")),
            "text\n\n\u{2014} name AAAAAA==\n".to_owned(),
            format!("text\n\n{}", format!("{line}\n").repeat(MOST_SIGNATURES + 1)),
            format!("{}\n\n{line}\n", "a".repeat(LONGEST)),
        ] {
            assert_eq!(text.parse::<Note>(), Err(NoteError::Note), "{text:.80?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in ["", "a+b", "PeterNeumann+c74f20a3+", &PETER.replace("c74f", "c74e"), &PETER.replace("+AR", "+BB")] {
            assert_eq!(key.parse::<Verifier>(), Err(NoteError::Key), "{key:?}");
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert_eq!(Signer::new(name, [7; 32]).err(), Some(NoteError::Name), "{name:?}");
        }
    }
}
