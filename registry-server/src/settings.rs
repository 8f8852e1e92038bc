//! Values of settings, as people write them.

use std::str::FromStr;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A number of bytes: `1000`, `10GiB`, `1.5TB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Size(ByteSize);

impl Size {
    /// So many bytes.
    pub fn of(bytes: u64) -> Self {
        Self(ByteSize(bytes))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0.as_u64()
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// As a number: the text would be rounded.
impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.bytes())
    }
}

/// A text that is not shown, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Without the text.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
