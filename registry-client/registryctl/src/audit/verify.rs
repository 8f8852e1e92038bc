//! Whether a log is what it was: offline, from a file.

use std::fmt;
use std::path::Path;

use registry_client::pb;
use registry_common::tlog::chain::{CHAIN_START, follows, hash_of};
use registry_common::tlog::{self, Checkpoint, Frontier, Hash, Note, Verifier, leaf_hash};
use serde::Serialize;

use super::lines::{Contents, Line, Lines, event, name, open};
use crate::Failure;
use crate::admin::Damaged;
use crate::output::count;

/// What was verified.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    /// How many events the log has.
    events: u64,
    /// Those of which there are only the hashes, from one leaf up to another one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes_only: Vec<(u64, u64)>,
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
        for (at, (first, last)) in self.hashes_only.iter().enumerate() {
            let begin = if at == 0 { "; there are only the hashes of" } else { "," };
            match first == last {
                true => write!(f, "{begin} leaf {first}")?,
                false => write!(f, "{begin} leaves {first} to {last}")?,
            }
        }
        Ok(())
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
    /// These leaves.
    Leaves(Vec<Hash>),
}

/// Verifies a file.
pub(super) fn file(path: &Path, key: Option<&str>, since: Option<&Path>) -> Result<Verified, Failure> {
    let key = key.map(public_key).transpose()?;
    match open(path)? {
        Contents::Lines(lines) => Ok(whole(path, lines, key.as_ref(), since)?.0),
        Contents::Note(note) => {
            let neither = "neither an export, a proof nor a checkpoint; a table can't be verified";
            let _: Note = note.parse().map_err(|_| in_file(path, neither.into()))?;
            let key = key.as_ref().ok_or("a checkpoint alone needs --key")?;
            whole_log(since)?;
            let signed = trusted(&note, key).map_err(|error| in_file(path, error))?;
            Ok(Verified { events: signed.size, hashes_only: Vec::new(), proved: Vec::new(), origin: signed.origin })
        }
    }
}

/// An error, with the file that it is in.
fn in_file(path: &Path, error: Failure) -> Failure {
    match error.downcast::<Damaged>() {
        Ok(damaged) => Box::new(Damaged(format!("{}: {damaged}", path.display()))),
        Err(error) => format!("{}: {error}", path.display()).into(),
    }
}

/// Verifies the lines of a file to its end. Answers the hashes of the leaves as well.
fn whole(
    path: &Path,
    lines: Lines,
    key: Option<&Verifier>,
    since: Option<&Path>,
) -> Result<(Verified, Vec<Hash>), Failure> {
    let in_file = |error| in_file(path, error);
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
                let key = key.map_or_else(|| checkpoint.public_key.parse(), |key| Ok(key.clone()))?;
                let signed = trusted(&checkpoint.note, &key).map_err(in_file)?;
                let beside = (checkpoint.tree_size.cast_unsigned(), checkpoint.public_key);
                if beside != (signed.size, key.to_string()) {
                    return Err(in_file(damaged("what stands beside the checkpoint is of another one".to_owned())));
                }
                let since = since.map(|path| read_since(path, &key)).transpose()?;
                verification = Some(Verification::of(signed, since));
            }
            (Line::Leaf(leaf), Some(verification)) => verification.leaf(&leaf, true).map_err(in_file)?,
            (Line::Proof(found), Some(verification)) if verification.size() == 0 => {
                whole_log(since)?;
                proved = Some(proof(&verification.signed, &found).map_err(in_file)?);
            }
            _ => return Err(in_file(damaged(format!("line {number}: a file begins with one checkpoint")))),
        }
    }
    if let Some(proved) = proved {
        return Ok((proved, Vec::new()));
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

/// What an earlier export or checkpoint says that the log begins with: it has to be sound itself.
fn read_since(path: &Path, key: &Verifier) -> Result<Since, Failure> {
    let named = |error: Failure| -> Failure { format!("--since {error}").into() };
    match open(path)? {
        Contents::Note(note) => {
            let then = trusted(&note, key).map_err(|error| named(in_file(path, error)))?;
            Ok(Since::Checkpoint(then))
        }
        Contents::Lines(lines) => match whole(path, lines, Some(key), None).map_err(named)? {
            (verified, leaves) if verified.proved.is_empty() => Ok(Since::Leaves(leaves)),
            _ => Err(format!("--since {}: a proof is no export", path.display()).into()),
        },
    }
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
    if (proof.tree_size.cast_unsigned(), hash(&proof.root)?) != (signed.size, signed.root) {
        return Err(damaged("the proof is of another log than the checkpoint, or of another size of it".to_owned()));
    }
    let mut proved = Vec::new();
    let mut hashes_only = Gaps::default();
    let mut next = 0;
    for leaf_proof in &proof.leaves {
        let leaf = leaf_proof.leaf.as_ref().ok_or_else(|| damaged("a proof of no leaf".to_owned()))?;
        let leaf_hash = checked(leaf)?;
        let number = leaf.leaf.cast_unsigned();
        if number < next {
            return Err(damaged(format!("{} stands there again, or behind one that comes later", name(leaf))));
        }
        next = number.saturating_add(1);
        tlog::verify_inclusion(&hashes(&leaf_proof.hashes)?, (number, leaf_hash), (signed.size, signed.root))
            .map_err(|_| damaged(format!("{} is not in the log that was signed", name(leaf))))?;
        if leaf.event.is_empty() {
            hashes_only.add(number);
        }
        proved.push(name(leaf));
    }
    if proved.is_empty() {
        return Err(damaged("it proves nothing".to_owned()));
    }
    Ok(Verified { events: signed.size, hashes_only: hashes_only.0, proved, origin: signed.origin.clone() })
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

/// Leaves without bytes, from one to another one.
#[derive(Default)]
struct Gaps(Vec<(u64, u64)>);

impl Gaps {
    fn add(&mut self, leaf: u64) {
        match self.0.last_mut() {
            Some((_, last)) if *last + 1 == leaf => *last = leaf,
            _ => self.0.push((leaf, leaf)),
        }
    }
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
    /// Of the last event that has bytes.
    revision: i64,
    hashes: Vec<Hash>,
    hashes_only: Gaps,
}

impl Verification {
    pub(super) fn of(signed: Checkpoint, since: Option<Since>) -> Self {
        let (tree, previous) = (Frontier::default(), Some(CHAIN_START));
        Self {
            signed,
            since,
            tree,
            previous,
            last: "the beginning".to_owned(),
            revision: 0,
            hashes: Vec::new(),
            hashes_only: Gaps::default(),
        }
    }

    /// How many leaves there were.
    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The next leaf. A log drops its beginning and nothing behind: if that is `asked`, one without bytes behind others that have theirs is
    /// refused. (The registry itself may have one that it can't read any more.)
    pub(super) fn leaf(&mut self, leaf: &pb::AuditLeaf, asked: bool) -> Result<(), Failure> {
        let number = self.tree.size();
        if leaf.leaf.cast_unsigned() != number {
            return Err(damaged(format!("leaf {number} is missing: behind {} comes {}", self.last, name(leaf))));
        }
        let leaf_hash = checked(leaf)?;
        if leaf.event.is_empty() {
            if asked && self.revision > 0 {
                let gone = "has no bytes: they were taken out, or the registry could not read them";
                return Err(damaged(format!("{}, behind {}, {gone}", name(leaf), self.last)));
            }
            self.previous = None;
            self.hashes_only.add(number);
        } else {
            if number == 0 && leaf.revision > 1 {
                // The log is older than its tree: of what it follows nothing is known here.
                self.previous = None;
            }
            if leaf.revision < self.revision {
                return Err(damaged(format!("{} comes behind revision {}", name(leaf), self.revision)));
            }
            if self.previous.is_some_and(|previous| !follows(previous, &leaf.event)) {
                return Err(damaged(format!("{} does not follow {}: one of them was changed", name(leaf), self.last)));
            }
            self.previous = hash_of(&leaf.event);
            self.revision = leaf.revision;
        }
        self.tree.push(leaf_hash);
        self.hashes.push(leaf_hash);
        self.last = name(leaf);
        self.compare(number, leaf_hash, leaf)
    }

    /// Compares the log with what it was.
    fn compare(&self, number: u64, leaf_hash: Hash, leaf: &pb::AuditLeaf) -> Result<(), Failure> {
        match &self.since {
            Some(Since::Leaves(leaves)) => {
                let then = usize::try_from(number).ok().and_then(|number| leaves.get(number));
                if then.is_some_and(|then| *then != leaf_hash) {
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
    pub(super) fn end(self) -> Result<(Verified, Vec<Hash>), Failure> {
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
        let (hashes_only, origin) = (self.hashes_only.0, self.signed.origin);
        Ok((Verified { events: size, hashes_only, proved: Vec::new(), origin }, self.hashes))
    }
}
