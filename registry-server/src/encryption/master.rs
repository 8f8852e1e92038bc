//! Master keys: the ones that whoever runs the server keeps.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_common::hex;
use zeroize::Zeroizing;

use super::{CipherFailed, KEY, Key};
use crate::settings::{Secret, warn_if_open};
use crate::stored::DataKeyRecord;

/// Why there are no keys to work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read or written.
    #[error("the encryption key in {}: {problem}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// What should be a key is none.
    #[error("the encryption key in {0} must be 32 bytes, in base64 or hex: `registry-server new-key FILE` makes one")]
    Malformed(String),
    /// There is one key too many.
    #[error("there is an encryption key in a file and one in MODEL_REGISTRY_ENCRYPTION_KEY: give one of them")]
    Two,
    /// Older keys are given, and no key.
    #[error("older encryption keys are given, and none to encrypt with: give one with --encryption-key-file")]
    OnlyOld,
    /// What is stored needs a key that was not given.
    #[error(
        "namespaces/{namespace} is encrypted under the master key {needed}, and {}: give that key with --encryption-key-file or, \
         to have it replaced, with --encryption-old-key-file",
        those(.given)
    )]
    Missing {
        /// The namespace's id.
        namespace: String,
        /// The id of the key.
        needed: String,
        /// The ids of the keys that were given.
        given: Vec<String>,
    },
    /// The record of a data key was changed behind the registry's back.
    #[error("the data key of namespaces/{0} is damaged: its master key does not open it")]
    Damaged(String),
}

fn those(ids: &[String]) -> String {
    if ids.is_empty() { "no key was given".to_owned() } else { format!("{} was given", ids.join(", ")) }
}

/// A key that data keys are wrapped with.
#[derive(Debug, Clone)]
pub(crate) struct MasterKey {
    key: Key,
    /// Tells it from others and says nothing of it.
    id: [u8; 8],
}

impl MasterKey {
    fn of(key: Key) -> Self {
        let hash = Zeroizing::new(blake3::derive_key("Model Registry 2026-11 id of a master key", key.bytes()));
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        Self { key, id }
    }

    /// The key in a text; `place` says where that was.
    fn parse(text: &str, place: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        // Digits are the first to be tried: 64 of them would be 48 bytes in base64.
        let mut bytes = Zeroizing::new([0; 64]);
        let length = if text.len() == 2 * KEY && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
                *byte = u8::from_str_radix(&text[at..at + 2], 16).unwrap_or_default();
            }
            KEY
        } else {
            STANDARD.decode_slice(text, &mut bytes[..]).unwrap_or_default()
        };
        Key::read(&bytes[..length]).map(Self::of).ok_or_else(|| KeyError::Malformed(place.to_owned()))
    }

    fn from_file(file: &Path) -> Result<Self, KeyError> {
        let failed = |error: std::io::Error| KeyError::File { file: file.to_owned(), problem: error.to_string() };
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
        warn_if_open(file, "the encryption key");
        Self::parse(&text, &file.display().to_string())
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.id)
    }

    /// Wraps a namespace's data key: its first version, or the next one.
    pub(crate) fn wrap(&self, namespace: &str, key: &Key, version: u32) -> Result<DataKeyRecord, CipherFailed> {
        let mut wrapped = Vec::new();
        self.key.encrypt(key.bytes(), &about(namespace, version), &mut wrapped)?;
        Ok(DataKeyRecord { master_key_id: self.id.to_vec().into(), version, wrapped: wrapped.into() })
    }

    /// Whether it was this key that wrapped a data key.
    pub(crate) fn has_wrapped(&self, record: &DataKeyRecord) -> bool {
        self.id[..] == record.master_key_id[..]
    }
}

/// Makes a master key, in a new file that only its owner can read, or on standard output for `-`. Answers its id.
///
/// # Errors
/// If there is such a file, or it can't be written.
pub fn new_key(file: &Path) -> Result<String, KeyError> {
    let failed = |problem: String| KeyError::File { file: file.to_owned(), problem };
    let key = Key::random().map_err(|error| failed(error.to_string()))?;
    let text = Zeroizing::new(STANDARD.encode(key.bytes()) + "\n");
    let write = || {
        if file == Path::new("-") {
            return std::io::stdout().write_all(text.as_bytes());
        }
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()
    };
    write().map_err(|error| failed(error.to_string()))?;
    Ok(MasterKey::of(key).id())
}

/// The master keys that were given.
#[derive(Debug, Clone, Default)]
pub(crate) struct MasterKeys {
    /// The first one wraps; all unwrap.
    keys: Vec<MasterKey>,
}

impl MasterKeys {
    /// Reads the keys that the settings name.
    pub(crate) fn read(file: Option<&Path>, text: Option<&Secret>, old: &[PathBuf]) -> Result<Self, KeyError> {
        let current = match (file, text) {
            (Some(_), Some(_)) => return Err(KeyError::Two),
            (Some(file), None) => MasterKey::from_file(file)?,
            (None, Some(text)) => MasterKey::parse(text.reveal(), "encryption_key (MODEL_REGISTRY_ENCRYPTION_KEY)")?,
            (None, None) if !old.is_empty() => return Err(KeyError::OnlyOld),
            (None, None) => return Ok(Self::default()),
        };
        let mut keys = vec![current];
        for file in old {
            keys.push(MasterKey::from_file(file)?);
        }
        Ok(Self { keys })
    }

    /// The key that wraps; without it nothing is encrypted.
    pub(crate) fn current(&self) -> Option<&MasterKey> {
        self.keys.first()
    }

    /// The data key of a namespace.
    pub(crate) fn unwrap(&self, namespace: &str, record: &DataKeyRecord) -> Result<Key, KeyError> {
        let Some(master) = self.keys.iter().find(|master| master.has_wrapped(record)) else {
            let given = self.keys.iter().map(MasterKey::id).collect();
            let needed = hex(&record.master_key_id);
            return Err(KeyError::Missing { namespace: namespace.to_owned(), needed, given });
        };
        let bytes = master.key.decrypt(&record.wrapped, &about(namespace, record.version)).map(Zeroizing::new);
        bytes.and_then(|bytes| Key::read(&bytes)).ok_or_else(|| KeyError::Damaged(namespace.to_owned()))
    }
}

/// What a wrapped key is about.
fn about(namespace: &str, version: u32) -> Vec<u8> {
    [b"data key".as_slice(), &version.to_be_bytes(), namespace.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> MasterKeys {
        MasterKeys { keys: texts.iter().map(|text| MasterKey::parse(text, "here").unwrap()).collect() }
    }

    const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn a_key_is_hex_or_base64() {
        for (text, byte) in [(ONE, 1), (TWO, 2)] {
            let padded = format!(" {text}\n");
            for text in [text, &padded] {
                assert_eq!(MasterKey::parse(text, "here").unwrap().key.bytes(), &[byte; 32], "{text}");
            }
        }
        // The id of a key never changes: stores have it.
        assert_eq!(keys(&[ONE]).current().unwrap().id(), "bbf18c6a91c5ed31");
        let long = format!("{ONE}01");
        for text in ["", "x", &ONE[1..], &long, &ONE.replace("01", "0g"), &ONE.replace('0', "é"), &TWO[4..], "AgIC"] {
            let error = MasterKey::parse(text, "the file k").unwrap_err();
            assert_eq!(error, KeyError::Malformed("the file k".to_owned()), "{text}");
            assert!(error.to_string().contains("the file k"));
        }
    }

    #[test]
    fn a_new_key_is_its_owners_and_replaces_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let id = new_key(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::from_file(&file).unwrap().id(), id);
        let before = std::fs::read(&file).unwrap();
        assert!(matches!(new_key(&file), Err(KeyError::File { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), before);
        assert_ne!(new_key(&folder.path().join("other")).unwrap(), id);
    }

    #[test]
    fn which_keys_there_are_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        new_key(&file).unwrap();
        let (missing, secret) = (folder.path().join("missing"), Secret::new(ONE.to_owned()));
        assert!(MasterKeys::read(None, None, &[]).unwrap().current().is_none());
        assert_eq!(MasterKeys::read(Some(&file), Some(&secret), &[]).unwrap_err(), KeyError::Two);
        assert_eq!(MasterKeys::read(None, None, std::slice::from_ref(&file)).unwrap_err(), KeyError::OnlyOld);
        for (current, old) in [(&missing, &file), (&file, &missing)] {
            let error = MasterKeys::read(Some(current), None, std::slice::from_ref(old)).unwrap_err();
            assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
        }
        let two = MasterKeys::read(None, Some(&secret), &[file]).unwrap();
        assert_eq!((two.current().unwrap().id(), two.keys.len()), (keys(&[ONE]).current().unwrap().id(), 2));
    }

    #[test]
    fn a_data_key_opens_for_its_namespace_and_its_master_key() {
        let data = Key::random().unwrap();
        let (old, new, both) = (keys(&[ONE]), keys(&[TWO]), keys(&[TWO, ONE]));
        let [older, newer] = [&old, &both].map(|keys| keys.current().unwrap());
        let record = older.wrap("risk", &data, 1).unwrap();
        assert_eq!(old.unwrap("risk", &record).unwrap().bytes(), data.bytes());
        assert_eq!(both.unwrap("risk", &record).unwrap().bytes(), data.bytes());
        assert_eq!((older.has_wrapped(&record), newer.has_wrapped(&record)), (true, false));

        let again = newer.wrap("risk", &both.unwrap("risk", &record).unwrap(), 2).unwrap();
        assert_eq!((again.version, newer.has_wrapped(&again)), (2, true));
        assert_eq!(new.unwrap("risk", &again).unwrap().bytes(), data.bytes());
        let error = old.unwrap("risk", &again).unwrap_err().to_string();
        for part in ["namespaces/risk", &newer.id(), &older.id()] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(MasterKeys::default().unwrap("risk", &again).unwrap_err().to_string().contains("no key was given"));

        let damaged = |record: &DataKeyRecord, namespace: &str| new.unwrap(namespace, record).unwrap_err();
        assert_eq!(damaged(&again, "play"), KeyError::Damaged("play".to_owned()));
        assert_eq!(
            damaged(&DataKeyRecord { version: 1, ..again.clone() }, "risk"),
            KeyError::Damaged("risk".to_owned())
        );
        for at in 0..again.wrapped.len() {
            let mut wrapped = again.wrapped.to_vec();
            wrapped[at] ^= 1;
            let changed = DataKeyRecord { wrapped: wrapped.into(), ..again.clone() };
            assert_eq!(damaged(&changed, "risk"), KeyError::Damaged("risk".to_owned()));
        }
    }

    #[test]
    fn no_key_is_printed() {
        let printed = format!("{:?}", keys(&[ONE, TWO]));
        assert!(!printed.contains("1, 1, 1") && !printed.contains("0101") && !printed.contains("2, 2, 2"), "{printed}");
    }
}
