//! The files of `audit`: lines of JSON, each a message of the contract under its name; beside the bytes of an event stands what they say.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use prost_reflect::DynamicMessage;
use registry_client::pb;
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
    /// If it is none, or the event of a leaf is not what its bytes say.
    pub(super) fn read(line: &str) -> Result<Self, Failure> {
        let mut line: Json = serde_json::from_str(line)?;
        let mut take = |key| line.get_mut(key).map(Json::take);
        if let Some(checkpoint) = take("checkpoint") {
            return Ok(Self::Checkpoint(message("Checkpoint", checkpoint)?));
        }
        if let Some(proof) = take("proof") {
            return Ok(Self::Proof(message("InclusionProof", proof)?));
        }
        let leaf: pb::AuditLeaf = message("AuditLeaf", take("leaf").ok_or("there is neither leaf nor proof in it")?)?;
        if take("event").unwrap_or_default() != serde_json::to_value(said(&leaf)?)? {
            return Err(format!("{}: what it shows is not what its bytes say", name(&leaf)).into());
        }
        Ok(Self::Leaf(leaf))
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

/// What a leaf is called: the name of its event, if that can be read.
pub(super) fn name(leaf: &pb::AuditLeaf) -> String {
    let event = pb::Event::decode(leaf.event.clone()).ok().filter(|event| !event.name.is_empty());
    let event = event.map_or_else(|| format!("an event of revision {}", leaf.revision), |event| event.name);
    format!("{event} (leaf {})", leaf.leaf)
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
    Lines(io::Lines<BufReader<File>>),
}

pub(super) fn open(path: &Path) -> Result<Contents, Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = BufReader::new(File::open(path).map_err(named)?);
    if file.fill_buf().map_err(named)?.first() == Some(&b'{') {
        return Ok(Contents::Lines(file.lines()));
    }
    Ok(Contents::Note(std::fs::read_to_string(path).map_err(named)?))
}
