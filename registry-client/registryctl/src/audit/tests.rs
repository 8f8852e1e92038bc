//! Logs that were tampered with, in every way that an administrator with the key could, and what is said of each.

use std::path::{Path, PathBuf};

use prost::Message as _;
use registry_client::pb;
use registry_common::tlog::chain::{CHAIN_START, hash_of};
use registry_common::tlog::{Checkpoint, Frontier, Hash, Signer, leaf_hash};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::lines::{Line, Writer};
use super::verify::file;
use crate::failure::message;

const ORIGIN: &str = "modelregistry.dev/test";

fn signer() -> Signer {
    Signer::new(ORIGIN, [7; 32]).unwrap()
}

/// The bytes of an event that follows another one.
fn event(previous: Hash, revision: i64, comment: &str) -> Vec<u8> {
    let name = format!("events/{revision}-0");
    let event = pb::Event { name, revision, comment: comment.to_owned(), ..Default::default() };
    let bytes = event.encode_to_vec();
    let hash = Sha256::new().chain_update(previous.0).chain_update(&bytes).finalize();
    [&bytes[..], &[0x82, 0x01, 32], &hash].concat()
}

/// A log of events with these comments.
fn log(comments: &[&str]) -> Vec<Vec<u8>> {
    let mut previous = CHAIN_START;
    let next = |(revision, comment): (i64, &&str)| {
        let event = event(previous, revision, comment);
        previous = hash_of(&event).unwrap();
        event
    };
    (1..).zip(comments).map(next).collect()
}

fn leaves(log: &[Vec<u8>]) -> Vec<pb::AuditLeaf> {
    let leaf = |(leaf, event): (i64, &Vec<u8>)| {
        let leaf_hash = leaf_hash(event).0.to_vec().into();
        pb::AuditLeaf { leaf, revision: leaf + 1, leaf_hash, event: event.clone().into() }
    };
    (0..).zip(log).map(leaf).collect()
}

fn signed(leaves: &[pb::AuditLeaf]) -> pb::Checkpoint {
    let mut tree = Frontier::default();
    for leaf in leaves {
        tree.push(Hash(leaf.leaf_hash[..].try_into().unwrap()));
    }
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
    let signer = signer();
    let note = signer.sign(&checkpoint.to_string()).to_string();
    pb::Checkpoint { note, tree_size: tree.size().cast_signed(), public_key: signer.verifier().to_string() }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn export(&self, name: &str, checkpoint: &pb::Checkpoint, leaves: &[pb::AuditLeaf]) -> PathBuf {
        let mut out = Writer::to(&self.path(name)).unwrap();
        out.line(&Line::Checkpoint(checkpoint.clone())).unwrap();
        leaves.iter().for_each(|leaf| out.line(&Line::Leaf(leaf.clone())).unwrap());
        out.finish().unwrap();
        self.path(name)
    }
}

/// What is said of a file.
fn said(path: &Path, since: Option<&Path>) -> String {
    let key = signer().verifier().to_string();
    match file(path, Some(&key), since) {
        Ok(verified) => verified.to_string(),
        Err(error) => message(&*error).split_once(": ").unwrap().1.to_owned(),
    }
}

const COMMENTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[test]
fn the_first_bad_event_is_named() {
    let files = Files::new();
    let log_before = log(&COMMENTS);
    let before = leaves(&log_before);
    let checkpoint = signed(&before);
    let whole = files.export("whole", &checkpoint, &before);
    assert_eq!(said(&whole, None), format!("the 6 events are those that {ORIGIN} has signed"));

    // Of another comment in the fourth event: what is mended behind it, step by step.
    let changed = event(hash_of(&log_before[2]).unwrap(), 4, "D");
    let mut bytes_alone = before.clone();
    bytes_alone[3].event = log_before[3].iter().map(|byte| if *byte == b'd' { b'D' } else { *byte }).collect();
    let mut leaf_too = bytes_alone.clone();
    leaf_too[3].leaf_hash = leaf_hash(&leaf_too[3].event).0.to_vec().into();
    let mut hash_too = before.clone();
    hash_too[3].event = changed.clone().into();
    hash_too[3].leaf_hash = leaf_hash(&changed).0.to_vec().into();
    let all_behind = leaves(&log(&["a", "b", "c", "D", "e", "f"]));
    let mut missing = before.clone();
    missing.remove(3);
    let mut renumbered = missing.clone();
    renumbered.iter_mut().skip(3).for_each(|leaf| leaf.leaf -= 1);
    let mut swapped = before.clone();
    swapped.swap(2, 3);
    let mut of_another_revision = before.clone();
    of_another_revision[3].revision = 5;
    let mut no_hash = before.clone();
    no_hash[3].leaf_hash = vec![1; 31].into();
    for (what, leaves, expected) in [
        ("bytes", &bytes_alone, "events/4-0 (leaf 3) is not what it was: its bytes have another hash"),
        ("leaf", &leaf_too, "events/4-0 (leaf 3) does not follow events/3-0 (leaf 2): one of them was changed"),
        ("hash", &hash_too, "events/5-0 (leaf 4) does not follow events/4-0 (leaf 3): one of them was changed"),
        ("behind", &all_behind, "the 6 events up to events/6-0 (leaf 5) are not those that were signed"),
        ("missing", &missing, "leaf 3 is missing: behind events/3-0 (leaf 2) comes events/5-0 (leaf 4)"),
        ("number", &renumbered, "events/5-0 (leaf 3) does not follow events/3-0 (leaf 2): one of them was changed"),
        ("order", &swapped, "leaf 2 is missing: behind events/2-0 (leaf 1) comes events/4-0 (leaf 3)"),
        ("revision", &of_another_revision, "events/4-0 (leaf 3) is not of revision 5"),
        ("short", &no_hash, "a hash must have 32 bytes"),
        (
            "cut",
            &before[..4].to_vec(),
            "leaf 4 is missing: behind events/4-0 (leaf 3) the log that was signed has 2 events",
        ),
        ("none", &Vec::new(), "leaf 0 is missing: behind the beginning the log that was signed has 6 events"),
    ] {
        assert_eq!(said(&files.export(what, &checkpoint, leaves), None), expected, "{what}");
    }
    let mut long = before.clone();
    long.extend(leaves(&log(&["a", "b", "c", "d", "e", "f", "g"])).pop());
    let said = said(&files.export("long", &checkpoint, &long), None);
    assert_eq!(said, "the 7 events up to events/7-0 (leaf 6) are not those that were signed");
}

#[test]
fn what_the_key_has_signed_anew_is_told_from_what_was() {
    let files = Files::new();
    let then = leaves(&log(&COMMENTS));
    let old = files.export("old", &signed(&then), &then);
    let note = files.path("note");
    std::fs::write(&note, signed(&then).note).unwrap();

    let now = leaves(&log(&["a", "b", "c", "d", "e", "f", "g"]));
    let grown = files.export("grown", &signed(&now), &now);
    let forked = leaves(&log(&["a", "b", "C", "d", "e", "f", "g"]));
    let forked = files.export("forked", &signed(&forked), &forked);
    let truncated = files.export("truncated", &signed(&then[..4]), &then[..4]);
    let good = format!("the 7 events are those that {ORIGIN} has signed");
    for since in [&old, &note] {
        assert_eq!(said(&grown, Some(since)), good);
        let missing = "leaf 4 is missing: behind events/4-0 (leaf 3) the log of then has 2 events";
        assert_eq!(said(&truncated, Some(since)), missing);
    }
    assert_eq!(said(&forked, None), good, "by itself it is sound");
    let named = "events/3-0 (leaf 2) is not what it was in the earlier export: the log was forked there";
    assert_eq!(said(&forked, Some(&old)), named);
    let all = "the 6 events up to events/6-0 (leaf 5) are not those of the earlier checkpoint: the log was forked";
    assert_eq!(said(&forked, Some(&note)), all);
}

#[test]
fn events_that_the_log_dropped_are_known_by_their_hashes() {
    let files = Files::new();
    let mut all = leaves(&log(&COMMENTS));
    let checkpoint = signed(&all);
    all.iter_mut().take(2).for_each(|leaf| leaf.event.clear());
    let dropped = files.export("dropped", &checkpoint, &all);
    let expected =
        format!("the 6 events are those that {ORIGIN} has signed; there are only the hashes of leaves 0 to 1");
    assert_eq!(said(&dropped, None), expected);
    all[1].leaf_hash = vec![1; 32].into();
    let other = files.export("other", &checkpoint, &all);
    assert_eq!(said(&other, None), "the 6 events up to events/6-0 (leaf 5) are not those that were signed");
}

#[test]
fn the_tree_of_an_older_log_begins_amid_it() {
    let files = Files::new();
    let late: Vec<_> =
        leaves(&log(&COMMENTS)).into_iter().skip(2).map(|leaf| pb::AuditLeaf { leaf: leaf.leaf - 2, ..leaf }).collect();
    let export = files.export("late", &signed(&late), &late);
    assert_eq!(said(&export, None), format!("the 4 events are those that {ORIGIN} has signed"));
}

#[test]
fn nothing_but_the_beginning_may_be_without_bytes() {
    let files = Files::new();
    let mut all = leaves(&log(&COMMENTS));
    let checkpoint = signed(&all);
    all[3].event.clear();
    all[3].revision = 4242;
    let hidden = files.export("hidden", &checkpoint, &all);
    let gone =
        "leaf 3, behind events/3-0 (leaf 2), has no bytes: they were taken out, or the registry could not read them";
    assert_eq!(said(&hidden, None), gone);
}

#[test]
fn nothing_stands_there_that_was_not_written() {
    let files = Files::new();
    let all = leaves(&log(&COMMENTS));
    let whole = files.export("whole", &signed(&all), &all);
    let text = std::fs::read_to_string(&whole).unwrap();
    for (what, from, to, expected) in [
        ("twice", r#""actor":"""#, r#""actor":"root","actor":"""#, "\"actor\" stands there twice"),
        (
            "more",
            r#"{"event":"#,
            r#"{"approved":"by all","event":"#,
            "it has \"approved\", which is nothing of an export",
        ),
        ("size", r#""treeSize":"6""#, r#""treeSize":"7""#, "what stands beside the checkpoint is of another one"),
    ] {
        assert!(text.contains(from), "{what}");
        let path = files.path(what);
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(said(&path, None).contains(expected), "{what}: {}", said(&path, None));
    }
    // What an earlier version did not know is not missing.
    let fewer = files.path("fewer");
    std::fs::write(&fewer, text.replace(r#""requestId":"","#, "")).unwrap();
    assert!(text.contains(r#""requestId":"","#) && said(&fewer, None).starts_with("the 6 events are those"));
}

#[test]
fn what_is_compared_with_has_to_be_sound_itself() {
    let files = Files::new();
    let all = leaves(&log(&COMMENTS));
    let whole = files.export("whole", &signed(&all), &all);
    let cut = files.export("cut", &signed(&all), &all[..2]);
    let headless = files.path("headless");
    std::fs::write(&headless, std::fs::read_to_string(&whole).unwrap().split_once('\n').unwrap().1).unwrap();
    for (since, expected) in [(&cut, "leaf 2 is missing"), (&headless, "a file begins with one checkpoint")] {
        let key = signer().verifier().to_string();
        let error = file(&whole, Some(&key), Some(since)).unwrap_err().to_string();
        assert!(error.starts_with("--since ") && error.contains(expected), "{error}");
    }
}

#[test]
fn who_signed_and_what_is_shown_counts() {
    let files = Files::new();
    let all = leaves(&log(&COMMENTS));
    let whole = files.export("whole", &signed(&all), &all);
    let text = std::fs::read_to_string(&whole).unwrap();
    let of = |name: &str, text: String| {
        std::fs::write(files.path(name), text).unwrap();
        files.path(name)
    };
    // The bytes stay what they were, and a reader would see another comment.
    let shown = of("shown", text.replacen(r#""comment":"c""#, r#""comment":"C""#, 1));
    assert_eq!(said(&shown, None), "line 4: events/3-0 (leaf 2): what it shows is not what its bytes say");
    let no_checkpoint = of("headless", text.split_once('\n').unwrap().1.to_owned());
    assert_eq!(said(&no_checkpoint, None), "line 1: a file begins with one checkpoint");
    let note = of("note", signed(&all).note);
    assert_eq!(said(&note, None), format!("the 6 events are those that {ORIGIN} has signed"));
    let forged = of("forged", signed(&all).note.replace("\n6\n", "\n5\n"));
    assert_eq!(said(&forged, None), "the checkpoint: the note is not what its signature says");

    let other = Signer::new(ORIGIN, [8; 32]).unwrap().verifier().to_string();
    let error = file(&whole, Some(&other), None).unwrap_err();
    assert!(error.to_string().ends_with("the checkpoint: the note is not signed by this key"), "{error}");
    // The key in the file proves that the file is whole, and no more.
    assert!(file(&whole, None, None).is_ok());
    let error = file(&note, None, None).unwrap_err();
    assert_eq!(error.to_string(), "a checkpoint alone needs --key");
    let kept = of("key", format!("{}\n", signer().verifier()));
    assert!(file(&whole, Some(kept.to_str().unwrap()), None).is_ok());
    assert!(file(&whole, Some("no+key"), None).is_err());
}

#[test]
fn a_proof_stands_alone_behind_its_checkpoint() {
    let files = Files::new();
    let all = leaves(&log(&["a"]));
    let checkpoint = signed(&all);
    let proof = pb::InclusionProof {
        tree_size: 1,
        root: all[0].leaf_hash.clone(),
        leaves: vec![pb::LeafProof { leaf: Some(all[0].clone()), hashes: Vec::new() }],
    };
    let write = |name: &str, lines: Vec<Line>| {
        let mut out = Writer::to(&files.path(name)).unwrap();
        lines.iter().for_each(|line| out.line(line).unwrap());
        out.finish().unwrap();
        files.path(name)
    };
    let first = || Line::Checkpoint(checkpoint.clone());
    let alone = write("alone", vec![first(), Line::Proof(proof.clone())]);
    assert_eq!(said(&alone, None), format!("events/1-0 (leaf 0) is one of the 1 event that {ORIGIN} has signed"));
    let error = file(&alone, None, Some(&alone)).unwrap_err();
    assert!(error.to_string().ends_with("a proof is no export"), "{error}");
    let export = files.export("export", &checkpoint, &all);
    let error = file(&alone, None, Some(&export)).unwrap_err();
    assert!(error.to_string().starts_with("--since compares an export"), "{error}");
    let more = write("more", vec![first(), Line::Proof(proof.clone()), Line::Leaf(all[0].clone())]);
    assert_eq!(said(&more, None), "line 3: a proof is the end of a file");
    let spliced = write("spliced", vec![first(), Line::Leaf(all[0].clone()), Line::Proof(proof.clone())]);
    assert_eq!(said(&spliced, None), "line 3: a file begins with one checkpoint");
    let none = write("none", vec![first(), Line::Proof(pb::InclusionProof { leaves: Vec::new(), ..proof.clone() })]);
    assert_eq!(said(&none, None), "it proves nothing");
    let twice = pb::InclusionProof { leaves: [&proof.leaves[..], &proof.leaves].concat(), ..proof.clone() };
    let twice = write("again", vec![first(), Line::Proof(twice)]);
    assert_eq!(said(&twice, None), "events/1-0 (leaf 0) stands there again, or behind one that comes later");
    let other = write("size", vec![first(), Line::Proof(pb::InclusionProof { tree_size: 2, ..proof })]);
    assert!(said(&other, None).starts_with("the proof is of another log than the checkpoint"));
}
