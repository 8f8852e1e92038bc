//! Keys and places beyond those that follow from a name: see [`Name::key`].

use prost_types::Timestamp;

use crate::rules::names::Name;
use crate::rules::stages::Stage;
use crate::store::Revision;

/// The id of the namespace that a key is in; empty if it is in none.
pub(crate) fn namespace_of(key: &[u8]) -> &str {
    let namespace = key.split(|byte| *byte == 0).next().unwrap_or_default();
    str::from_utf8(namespace).unwrap_or_default()
}

fn below(name: &Name, rest: &[u8]) -> Vec<u8> {
    let mut key = name.prefix();
    key.extend_from_slice(rest);
    key
}

/// The place of all artifacts of a namespace that have the same chunks.
pub(crate) fn contents(namespace: &str, digest: &str) -> Vec<u8> {
    [namespace.as_bytes(), &[0], digest.as_bytes()].concat()
}

/// Of a caller's name of a version.
pub(crate) fn version_id(model: &Name, id: &str) -> Vec<u8> {
    below(model, id.as_bytes())
}

/// One step of the stack of a stage's holders.
pub(crate) fn stage_holder(model: &Name, stage: Stage, height: u64) -> Vec<u8> {
    below(model, &[&[stage_byte(stage)], height.to_be_bytes().as_slice()].concat())
}

/// The place of a version in the order in which versions entered a stage; with no revision, what these begin with.
pub(crate) fn stage_entry(model: &Name, stage: Stage, entered: Option<Revision>) -> Vec<u8> {
    let mut value = below(model, &[stage_byte(stage)]);
    value.extend(entered.iter().flat_map(|revision| revision.to_be_bytes()));
    value
}

/// Says that a revision has events of a model.
pub(crate) fn event_reference(model: &Name, revision: Revision) -> Vec<u8> {
    below(model, &revision.to_be_bytes())
}

/// The place of a resource in the order in which those beside it were created.
pub(crate) fn age(name: &Name, created: Option<&Timestamp>) -> Vec<u8> {
    below(&name.parent(), &created.map(time).unwrap_or_default())
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
