//! Checkpoints (C2SP tlog-checkpoint): what a log said that it was, signed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Hash;

/// A log at a size. As text, which is what is signed: its origin, its size, and its root in base64, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: a name that no other log has.
    pub origin: String,
    /// How many leaves it had.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, BASE64_STANDARD.encode(self.root.0))
    }
}

/// What is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointError;

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no checkpoint: an origin, a size, and a root in base64, a line each")
    }
}

impl std::error::Error for CheckpointError {}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Lines behind the third are extensions of others, and are passed over.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let parse = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, decimal, root) = (lines.next()?, lines.next()?, lines.next()?);
            let size: u64 = decimal.parse().ok()?;
            let root: [u8; 32] = BASE64_STANDARD.decode(root).ok()?.try_into().ok()?;
            // One size is written in one way.
            let sound = !origin.is_empty() && size.to_string() == decimal && lines.all(|line| !line.is_empty());
            sound.then(|| Self { origin: origin.to_owned(), size, root: Hash(root) })
        };
        parse().ok_or(CheckpointError)
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf_hash;
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let checkpoint = Checkpoint { origin: "registry.example/audit".to_owned(), size: 7, root: leaf_hash(b"") };
        let text = "registry.example/audit\n7\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n";
        assert_eq!(checkpoint.to_string(), text);
        assert_eq!(text.parse::<Checkpoint>(), Ok(checkpoint.clone()));
        assert_eq!(format!("{text}more\n").parse::<Checkpoint>(), Ok(checkpoint));
        for other in [
            "",
            "\n",
            text.trim_end(),
            &text.replace("7\n", "07\n"),
            &text.replace("7\n", "+7\n"),
            &text.replace("7\n", "-7\n"),
            &text.replace("7\n", "18446744073709551616\n"),
            &text.replace("bjQL", "bj"),
            &text.replace("registry.example/audit", ""),
            &format!("{text}\n"),
        ] {
            assert_eq!(other.parse::<Checkpoint>(), Err(CheckpointError), "{other:?}");
        }
    }
}
