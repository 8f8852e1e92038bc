//! How names become keys.
//!
//! A key is the parts of a name, each but the last closed by a zero byte, which no name can hold; numbers are big-endian, so that
//! they sort as numbers. So everything below a model is one range, in order.

use prost_types::Timestamp;

use crate::rules::names::ModelName;
use crate::rules::stages::Stage;
use crate::store::Revision;

pub(crate) fn namespace_prefix(namespace: &str) -> Vec<u8> {
    [namespace.as_bytes(), &[0]].concat()
}

/// The namespace that a key is in; empty if it is in none.
pub(crate) fn namespace_of(key: &[u8]) -> &str {
    let namespace = key.split(|byte| *byte == 0).next().unwrap_or_default();
    str::from_utf8(namespace).unwrap_or_default()
}

pub(crate) fn model(name: &ModelName) -> Vec<u8> {
    [name.namespace.as_bytes(), &[0], name.model.as_bytes()].concat()
}

/// What all keys below a model begin with.
pub(crate) fn model_prefix(name: &ModelName) -> Vec<u8> {
    [name.namespace.as_bytes(), &[0], name.model.as_bytes(), &[0]].concat()
}

fn below(name: &ModelName, rest: &[u8]) -> Vec<u8> {
    let mut key = model_prefix(name);
    key.extend_from_slice(rest);
    key
}

pub(crate) fn version(name: &ModelName, number: i64) -> Vec<u8> {
    below(name, &number.to_be_bytes())
}

/// Of an artifact and of its manifest. Also the prefix of a version's artifacts, with an empty path.
pub(crate) fn artifact(name: &ModelName, number: i64, path: &str) -> Vec<u8> {
    below(name, &[number.to_be_bytes().as_slice(), path.as_bytes()].concat())
}

/// The place of all artifacts of a namespace that have the same chunks.
pub(crate) fn contents(namespace: &str, digest: &str) -> Vec<u8> {
    [namespace_prefix(namespace).as_slice(), digest.as_bytes()].concat()
}

/// Of what a namespace has.
pub(crate) fn usage(namespace: &str) -> Vec<u8> {
    namespace.as_bytes().to_vec()
}

pub(crate) fn label(name: &ModelName, label: &str) -> Vec<u8> {
    below(name, label.as_bytes())
}

/// One step of the stack of a stage's holders.
pub(crate) fn stage_holder(name: &ModelName, stage: Stage, height: u64) -> Vec<u8> {
    below(name, &[&[stage_byte(stage)], height.to_be_bytes().as_slice()].concat())
}

/// The place of a version in the order in which versions entered a stage; with no revision, what these begin with.
pub(crate) fn stage_entry(name: &ModelName, stage: Stage, entered: Option<Revision>) -> Vec<u8> {
    let mut value = below(name, &[stage_byte(stage)]);
    value.extend(entered.iter().flat_map(|revision| revision.to_be_bytes()));
    value
}

pub(crate) fn event_reference(name: &ModelName, revision: Revision) -> Vec<u8> {
    below(name, &revision.to_be_bytes())
}

/// The place of a model in the order in which the models of its namespace were made.
pub(crate) fn model_age(namespace: &str, created: Revision) -> Vec<u8> {
    [namespace_prefix(namespace).as_slice(), &created.to_be_bytes()].concat()
}

/// The place of a moment among all moments.
pub(crate) fn time(time: &Timestamp) -> Vec<u8> {
    // With the sign turned over, what was before 1970 comes first.
    let seconds = time.seconds.cast_unsigned() ^ (1 << 63);
    [seconds.to_be_bytes().as_slice(), &time.nanos.to_be_bytes()].concat()
}

/// The place of a sweep, and of the chunks that it removes.
pub(crate) fn sweep(generation: u64) -> Vec<u8> {
    generation.to_be_bytes().to_vec()
}

fn stage_byte(stage: Stage) -> u8 {
    // The contract's numbers never change, so they may be on the disk.
    u8::try_from(crate::convert::stage_number(stage)).unwrap_or(u8::MAX)
}
