//! The files of `audit`: lines of JSON, each a message of the contract under its name; beside the bytes of an event stands what they say.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost_reflect::DynamicMessage;
use registry_client::pb;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use tempfile::NamedTempFile;

use crate::Failure;
use crate::artifacts::is_stdout;
use crate::output::json::{self, Tree};

/// A line.
#[derive(Debug)]
pub(super) enum Line {
    /// Comes first.
    Checkpoint(pb::Checkpoint),
    /// A leaf of an export.
    Leaf(pb::AuditLeaf),
    /// What `prove` wrote.
    Proof(pb::InclusionProof),
}

impl Line {
    fn tree(&self) -> Result<Tree, Failure> {
        let parts = match self {
            Self::Checkpoint(checkpoint) => vec![("checkpoint", json::tree("Checkpoint", checkpoint)?)],
            Self::Proof(proof) => vec![("proof", json::tree("InclusionProof", proof)?)],
            Self::Leaf(leaf) => vec![("event", said(leaf)?), ("leaf", json::tree("AuditLeaf", leaf)?)],
        };
        Ok(Tree::Map(parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect()))
    }

    /// What a line is.
    ///
    /// # Errors
    /// If it is none, or has something in it that was not written, or the event of a leaf is not what its bytes say.
    pub(super) fn read(line: &str) -> Result<Self, Failure> {
        let Unambiguous(line) = serde_json::from_str(line)?;
        let Json::Object(mut line) = line else { return Err("it is no object".into()) };
        let (checkpoint, proof) = (line.remove("checkpoint"), line.remove("proof"));
        let (leaf, event) = (line.remove("leaf"), line.remove("event"));
        if let Some(unknown) = line.keys().next() {
            return Err(format!("it has {unknown:?}, which is nothing of an export").into());
        }
        match (checkpoint, proof, leaf, event) {
            (Some(checkpoint), None, None, None) => Ok(Self::Checkpoint(message("Checkpoint", checkpoint)?)),
            (None, Some(proof), None, None) => Ok(Self::Proof(message("InclusionProof", proof)?)),
            (None, None, Some(leaf), Some(shown)) => {
                let leaf: pb::AuditLeaf = message("AuditLeaf", leaf)?;
                if !is_said(&leaf, shown)? {
                    return Err(format!("{}: what it shows is not what its bytes say", name(&leaf)).into());
                }
                Ok(Self::Leaf(leaf))
            }
            _ => Err("it is neither a checkpoint, nor a leaf with its event, nor a proof".into()),
        }
    }
}

/// Whether an event is what the bytes of its leaf say. Fields that later versions print are none that it has to have.
fn is_said(leaf: &pb::AuditLeaf, shown: Json) -> Result<bool, Failure> {
    if leaf.event.is_empty() || shown.is_null() {
        return Ok(leaf.event.is_empty() && shown.is_null());
    }
    let shown: pb::Event = message("Event", shown)?;
    Ok(shown == event(leaf)?)
}

/// JSON in which no key stands twice: readers differ on which one counts.
struct Unambiguous(Json);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous(Json::Null))
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self, E> {
        Ok(Self(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self, E> {
        Ok(Self(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self, E> {
        Ok(Self(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self, E> {
        Ok(Self(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self, E> {
        Ok(Self(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self(Json::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        let mut all = Vec::new();
        while let Some(Self(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Self(all.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut all = serde_json::Map::new();
        while let Some((key, Self(value))) = entries.next_entry::<String, _>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("{key:?} stands there twice")));
            }
            all.insert(key, value);
        }
        Ok(Self(all.into()))
    }
}

/// What the bytes of a leaf say; null if there are none.
fn said(leaf: &pb::AuditLeaf) -> Result<Tree, Failure> {
    if leaf.event.is_empty() {
        return Ok(Tree::Leaf(Json::Null));
    }
    json::tree("Event", &event(leaf)?)
}

/// The event of a leaf.
pub(super) fn event(leaf: &pb::AuditLeaf) -> Result<pb::Event, Failure> {
    pb::Event::decode(leaf.event.clone()).map_err(|error| format!("{}: {error}", name(leaf)).into())
}

/// What a leaf is called: by the name of its event, if there are its bytes. Without them, nothing but its number is proved.
pub(super) fn name(leaf: &pb::AuditLeaf) -> String {
    let event = pb::Event::decode(leaf.event.clone()).ok().filter(|event| !event.name.is_empty());
    event.map_or_else(|| format!("leaf {}", leaf.leaf), |event| format!("{} (leaf {})", event.name, leaf.leaf))
}

fn message<M: Message + Default>(name: &str, json: Json) -> Result<M, Failure> {
    Ok(DynamicMessage::deserialize(json::descriptor(name)?, json)?.transcode_to()?)
}

/// A file that is there once it is complete, or standard output.
pub(super) enum Writer {
    File(BufWriter<NamedTempFile>, PathBuf),
    Stdout(BufWriter<io::Stdout>),
}

impl Writer {
    pub(super) fn to(path: &Path) -> Result<Self, Failure> {
        if is_stdout(path) {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = NamedTempFile::new_in(folder).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::File(BufWriter::new(beside), path.to_owned()))
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let line = json::value(&line.tree()?)?;
        self.text(&(line + "\n"))
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        match self {
            Self::File(file, _) => file.write_all(text.as_bytes())?,
            Self::Stdout(out) => out.write_all(text.as_bytes())?,
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::File(file, path) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| format!("{}: {}", path.display(), error.error))?;
            }
            Self::Stdout(mut out) => out.flush()?,
        }
        Ok(())
    }
}

/// The lines of a file that was written so, or the whole of one that is a signed note.
pub(super) enum Contents {
    Note(String),
    Lines(Lines),
}

/// No line is longer, in bytes: an event has at most 4 MiB, and stands there twice.
const LONGEST: u64 = 64 << 20;

/// The lines of a file.
pub(super) struct Lines(BufReader<File>);

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        let mut line = String::new();
        match (&mut self.0).take(LONGEST).read_line(&mut line) {
            Ok(0) => None,
            Ok(read) if read as u64 == LONGEST => Some(Err(io::Error::other("a line that is too long"))),
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }
}

pub(super) fn open(path: &Path) -> Result<Contents, Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = BufReader::new(File::open(path).map_err(named)?);
    if file.fill_buf().map_err(named)?.first() == Some(&b'{') {
        return Ok(Contents::Lines(Lines(file)));
    }
    let mut note = String::new();
    file.take(LONGEST).read_to_string(&mut note).map_err(named)?;
    Ok(Contents::Note(note))
}
