//! Whether a log is what it was: offline, from a file.

use std::fmt;
use std::path::Path;

use registry_client::pb;
use registry_common::tlog::chain::{CHAIN_START, follows, hash_of};
use registry_common::tlog::{self, Checkpoint, Frontier, Hash, Note, Verifier, leaf_hash};
use serde::Serialize;

use super::lines::{Contents, Line, event, name, open};
use crate::Failure;
use crate::admin::Damaged;
use crate::output::count;

/// What was verified.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    /// How many events the log has.
    events: u64,
    /// How many of them are known by their hashes only: the log had dropped them.
    dropped: u64,
    /// Of a proof, the events that it proves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proved: Vec<String>,
    /// Which log.
    origin: String,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = count(self.events, "event");
        match self.proved.as_slice() {
            [] => write!(f, "the {all} are those that {} has signed", self.origin)?,
            proved => write!(f, "{} of the {all} that {} has signed", are_among(proved), self.origin)?,
        }
        match self.dropped {
            0 => Ok(()),
            dropped => write!(f, "; of {dropped} there are only the hashes: the log had dropped them"),
        }
    }
}

fn are_among(events: &[String]) -> String {
    let verb = if events.len() == 1 { "is one" } else { "are" };
    format!("{} {verb}", events.join(", "))
}

pub(super) fn damaged(what: String) -> Failure {
    Damaged(what).into()
}

/// What the log has to begin with.
pub(super) enum Since {
    /// So many events, with this root.
    Checkpoint(Checkpoint),
    /// These leaves, and their revisions.
    Leaves(Vec<(Hash, i64)>),
}

/// Verifies a file.
pub(super) fn file(path: &Path, key: Option<&str>, since: Option<&Path>) -> Result<Verified, Failure> {
    let in_file = |error: Failure| -> Failure {
        match error.downcast::<Damaged>() {
            Ok(damaged) => Box::new(Damaged(format!("{}: {damaged}", path.display()))),
            Err(error) => format!("{}: {error}", path.display()).into(),
        }
    };
    let key = key.map(public_key).transpose()?;
    let lines = match open(path)? {
        Contents::Lines(lines) => lines,
        Contents::Note(note) => {
            let neither = "neither an export, a proof nor a checkpoint; a table can't be verified";
            let _: Note = note.parse().map_err(|_| in_file(neither.into()))?;
            let key = key.as_ref().ok_or("a checkpoint alone needs --key")?;
            whole_log(since)?;
            let signed = trusted(&note, key).map_err(in_file)?;
            return Ok(Verified { events: signed.size, dropped: 0, proved: Vec::new(), origin: signed.origin });
        }
    };
    let mut verification: Option<Verification> = None;
    let mut proved = None;
    for (number, line) in (1..).zip(lines) {
        let read = line.map_err(Failure::from).and_then(|line| Line::read(&line));
        let read = read.map_err(|error| in_file(damaged(format!("line {number}: {error}"))))?;
        match (read, &mut verification) {
            _ if proved.is_some() => {
                return Err(in_file(damaged(format!("line {number}: a proof is the end of a file"))));
            }
            (Line::Checkpoint(checkpoint), None) => {
                let key = key.clone().map_or_else(|| checkpoint.public_key.parse(), Ok)?;
                let signed = trusted(&checkpoint.note, &key).map_err(in_file)?;
                let since = since.map(|path| read_since(path, &key)).transpose()?;
                verification = Some(Verification::of(signed, since));
            }
            (Line::Leaf(leaf), Some(verification)) => verification.leaf(&leaf).map_err(in_file)?,
            (Line::Proof(found), Some(verification)) if verification.size() == 0 => {
                whole_log(since)?;
                proved = Some(proof(&verification.signed, &found).map_err(in_file)?);
            }
            _ => return Err(in_file(damaged(format!("line {number}: a file begins with one checkpoint")))),
        }
    }
    if let Some(proved) = proved {
        return Ok(proved);
    }
    let verification = verification.ok_or_else(|| in_file(damaged("it has no checkpoint".to_owned())))?;
    verification.end().map_err(in_file)
}

/// Fails if something is to be compared with what it was that is not the whole log.
fn whole_log(since: Option<&Path>) -> Result<(), Failure> {
    match since {
        None => Ok(()),
        Some(_) => Err("--since compares an export, which has the whole log: see `audit checkpoint --since`".into()),
    }
}

/// A public key, or the one in a file.
fn public_key(given: &str) -> Result<Verifier, Failure> {
    if let Ok(key) = given.parse() {
        return Ok(key);
    }
    let text = std::fs::read_to_string(given).map_err(|error| format!("--key: neither a key nor a file: {error}"))?;
    text.trim().parse().map_err(|error| format!("{given}: {error}").into())
}

/// What an earlier export or checkpoint says that the log begins with.
fn read_since(path: &Path, key: &Verifier) -> Result<Since, Failure> {
    let named = |error: Failure| -> Failure { format!("--since {}: {error}", path.display()).into() };
    let lines = match open(path)? {
        Contents::Note(note) => return Ok(Since::Checkpoint(trusted(&note, key).map_err(named)?)),
        Contents::Lines(lines) => lines,
    };
    let mut leaves = Vec::new();
    for line in lines {
        match Line::read(&line?).map_err(named)? {
            Line::Checkpoint(checkpoint) => drop(trusted(&checkpoint.note, key).map_err(named)?),
            Line::Leaf(leaf) => leaves.push((hash(&leaf.leaf_hash)?, leaf.revision)),
            Line::Proof(_) => return Err(named("a proof is no export".into())),
        }
    }
    Ok(Since::Leaves(leaves))
}

/// The checkpoint in a note, if this key has signed it.
pub(super) fn trusted(note: &str, key: &Verifier) -> Result<Checkpoint, Failure> {
    let note: Note = note.parse().map_err(|error| damaged(format!("{error}")))?;
    key.verify(&note).map_err(|error| damaged(format!("the checkpoint: {error}")))?;
    let checkpoint: Checkpoint = note.text().parse().map_err(|error| damaged(format!("{error}")))?;
    if checkpoint.origin != key.name() {
        return Err(damaged(format!("the checkpoint is of {}, and the key of {}", checkpoint.origin, key.name())));
    }
    Ok(checkpoint)
}

/// Verifies that the events of a proof are in the tree that was signed.
pub(super) fn proof(signed: &Checkpoint, proof: &pb::InclusionProof) -> Result<Verified, Failure> {
    let mut proved = Vec::new();
    let mut dropped = 0;
    for leaf_proof in &proof.leaves {
        let leaf = leaf_proof.leaf.as_ref().ok_or_else(|| damaged("a proof of no leaf".to_owned()))?;
        let leaf_hash = checked(leaf)?;
        let number = leaf.leaf.cast_unsigned();
        tlog::verify_inclusion(&hashes(&leaf_proof.hashes)?, (number, leaf_hash), (signed.size, signed.root))
            .map_err(|_| damaged(format!("{} is not in the log that was signed", name(leaf))))?;
        dropped += u64::from(leaf.event.is_empty());
        proved.push(name(leaf));
    }
    if proved.is_empty() {
        return Err(damaged("it proves nothing".to_owned()));
    }
    Ok(Verified { events: signed.size, dropped, proved, origin: signed.origin.clone() })
}

/// The hash of a leaf whose bytes, if they are there, have it, and are of the revision that it says.
fn checked(leaf: &pb::AuditLeaf) -> Result<Hash, Failure> {
    let stated = hash(&leaf.leaf_hash)?;
    if leaf.event.is_empty() {
        return Ok(stated);
    }
    if leaf_hash(&leaf.event) != stated {
        return Err(damaged(format!("{} is not what it was: its bytes have another hash", name(leaf))));
    }
    if event(leaf)?.revision != leaf.revision {
        return Err(damaged(format!("{} is not of revision {}", name(leaf), leaf.revision)));
    }
    Ok(stated)
}

fn hash(bytes: &[u8]) -> Result<Hash, Failure> {
    bytes.try_into().map(Hash).map_err(|_| damaged("a hash must have 32 bytes".to_owned()))
}

/// Hashes as they come in messages.
pub(super) fn hashes<B: AsRef<[u8]>>(all: &[B]) -> Result<Vec<Hash>, Failure> {
    all.iter().map(|bytes| hash(bytes.as_ref())).collect()
}

/// A log that is verified leaf by leaf.
pub(super) struct Verification {
    signed: Checkpoint,
    since: Option<Since>,
    tree: Frontier,
    /// The hash of the event before; `None` if only that of its leaf is known.
    previous: Option<Hash>,
    /// What the event before is called.
    last: String,
    revision: i64,
    dropped: u64,
}

impl Verification {
    pub(super) fn of(signed: Checkpoint, since: Option<Since>) -> Self {
        let (tree, previous) = (Frontier::default(), Some(CHAIN_START));
        Self { signed, since, tree, previous, last: "the beginning".to_owned(), revision: 0, dropped: 0 }
    }

    /// How many leaves there were.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The next leaf.
    pub(super) fn leaf(&mut self, leaf: &pb::AuditLeaf) -> Result<(), Failure> {
        let number = self.tree.size();
        if leaf.leaf.cast_unsigned() != number {
            return Err(damaged(format!("leaf {number} is missing: behind {} comes {}", self.last, name(leaf))));
        }
        let leaf_hash = checked(leaf)?;
        if leaf.revision < self.revision {
            return Err(damaged(format!("{} comes behind revision {}", name(leaf), self.revision)));
        }
        if leaf.event.is_empty() {
            self.previous = None;
            self.dropped += 1;
        } else {
            if self.previous.is_some_and(|previous| !follows(previous, &leaf.event)) {
                return Err(damaged(format!("{} does not follow {}: one of them was changed", name(leaf), self.last)));
            }
            self.previous = hash_of(&leaf.event);
        }
        self.tree.push(leaf_hash);
        (self.last, self.revision) = (name(leaf), leaf.revision);
        self.compare(number, leaf_hash, leaf)
    }

    /// Compares the log with what it was.
    fn compare(&self, number: u64, leaf_hash: Hash, leaf: &pb::AuditLeaf) -> Result<(), Failure> {
        match &self.since {
            Some(Since::Leaves(leaves)) => {
                let then = usize::try_from(number).ok().and_then(|number| leaves.get(number));
                if then.is_some_and(|(then, _)| *then != leaf_hash) {
                    let forked = "is not what it was in the earlier export: the log was forked there";
                    return Err(damaged(format!("{} {forked}", name(leaf))));
                }
            }
            Some(Since::Checkpoint(then)) if then.size == self.tree.size() && then.root != self.tree.root() => {
                let forked = "are not those of the earlier checkpoint: the log was forked";
                return Err(damaged(format!("the {} up to {} {forked}", count(then.size, "event"), name(leaf))));
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the log.
    pub(super) fn end(self) -> Result<Verified, Failure> {
        let size = self.tree.size();
        let then = match &self.since {
            Some(Since::Leaves(leaves)) => leaves.len() as u64,
            Some(Since::Checkpoint(then)) => then.size,
            None => 0,
        };
        for (whole, of) in [(self.signed.size, "that was signed"), (then, "of then")] {
            if size < whole {
                let missing = count(whole - size, "event");
                return Err(damaged(format!(
                    "leaf {size} is missing: behind {} the log {of} has {missing}",
                    self.last
                )));
            }
        }
        if (size, self.tree.root()) != (self.signed.size, self.signed.root) {
            let other = format!("the {} up to {} are not those that were signed", count(size, "event"), self.last);
            return Err(damaged(other));
        }
        Ok(Verified { events: size, dropped: self.dropped, proved: Vec::new(), origin: self.signed.origin })
    }
}
