//! The commits of a sweep: it begins, and it ends or is given up.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use registry_common::chunks::Chunk;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use crate::chunks::Place;
use crate::error::Error;
use crate::registry::transaction::{Tx, decode, event};
use crate::registry::{Committed, Mutation, kinds};
use crate::rules::garbage::Sweep;
use crate::store::{Read, Revision};
use crate::stored::condemned_record::Namespace;
use crate::stored::{CondemnedRecord, SweepRecord};

/// The chunks of so many sweeps are known, and those of sweeps that were given up. A publisher who saw none of them looks at its
/// chunks again.
const KEPT: u64 = 64;

/// What is recorded of sweeps.
pub(super) async fn recorded<R: Read + ?Sized>(records: &R) -> Result<SweepRecord, Error> {
    let record = records.get(kinds::SWEEP, &[]).await?;
    Ok(record.map(|record| decode(&record)).transpose()?.unwrap_or_default())
}

/// The newest sweep.
pub(super) async fn newest<R: Read + ?Sized>(records: &R) -> Result<Sweep, Error> {
    recorded(records).await.map(|record| sweep_of(&record))
}

/// The newest one.
pub(super) fn sweep_of(record: &SweepRecord) -> Sweep {
    Sweep { generation: record.generation, under_way: record.under_way }
}

/// The place of the chunks of a sweep.
pub(super) fn condemned_key(generation: u64) -> Vec<u8> {
    generation.to_be_bytes().to_vec()
}

fn condemned(chunks: &BTreeSet<Place>) -> CondemnedRecord {
    let mut namespaces: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for (namespace, blake3) in chunks {
        namespaces.entry(namespace).or_default().extend_from_slice(blake3);
    }
    let listed = namespaces.into_iter();
    let namespaces =
        listed.map(|(namespace, blake3)| Namespace { namespace: namespace.to_owned(), blake3: Bytes::from(blake3) });
    CondemnedRecord { namespaces: namespaces.collect() }
}

/// Whether a sweep has one of these chunks.
pub(super) fn has_one_of(condemned: &CondemnedRecord, namespace: &str, chunks: &[Chunk]) -> bool {
    let mut here = condemned.namespaces.iter().filter(|here| here.namespace == namespace);
    here.any(|here| {
        let (listed, _) = here.blake3.as_chunks::<32>();
        chunks.iter().any(|chunk| listed.binary_search(&chunk.blake3).is_ok())
    })
}

fn event_of(r#type: &str, sweep: pb::Sweep) -> pb::Event {
    pb::Event {
        resource_name: format!("sweeps/{}", sweep.generation),
        after: Some(pb::Resource { resource: Some(pb::resource::Resource::Sweep(sweep)) }),
        ..event(r#type)
    }
}

pub(super) struct Begin {
    condemned: CondemnedRecord,
    count: u64,
    /// Sweeps up to this generation are over, whatever their record says.
    over: u64,
    quarantine: bool,
}

impl Begin {
    pub(super) fn new(chunks: &BTreeSet<Place>, over: u64, quarantine: bool) -> Self {
        Self { condemned: condemned(chunks), count: chunks.len() as u64, over, quarantine }
    }
}

#[async_trait]
impl Mutation for Begin {
    /// Its generation and its revision.
    type Answer = (u64, Revision);

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let SweepRecord { generation, under_way, given_up } = recorded(&*tx.store).await?;
        if under_way && generation > self.over {
            return Err(super::running());
        }
        let generation = generation + 1;
        let forgotten = generation.saturating_sub(KEPT);
        if !given_up.contains(&forgotten) {
            tx.store.remove(kinds::CONDEMNED, &condemned_key(forgotten)).await?;
        }
        let record = SweepRecord { generation, under_way: true, given_up };
        tx.put(kinds::SWEEP, Vec::new(), &record, Vec::new()).await?;
        tx.put(kinds::CONDEMNED, condemned_key(generation), &self.condemned, Vec::new()).await?;
        let sweep = pb::Sweep {
            generation: generation.cast_signed(),
            chunk_count: self.count.cast_signed(),
            quarantine: self.quarantine,
            ..Default::default()
        };
        tx.record(event_of(event_type::SWEEP_STARTED, sweep));
        Ok(())
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let revision = committed.revision;
        let event = committed.into_event(event_type::SWEEP_STARTED)?;
        match event.after.and_then(|after| after.resource) {
            Some(pb::resource::Resource::Sweep(sweep)) => Ok((sweep.generation.cast_unsigned(), revision)),
            _ => Err(Error::internal("a sweep began without an event of its own")),
        }
    }
}

/// How a sweep is over.
pub(super) enum Over {
    /// Nothing more of it can happen; this was removed.
    Ended(pb::Sweep),
    /// Something of it may still happen. So much is known to be removed.
    GivenUp(pb::Sweep),
}

#[async_trait]
impl Mutation for Over {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let (Self::Ended(sweep) | Self::GivenUp(sweep)) = *self;
        let generation = sweep.generation.cast_unsigned();
        let mut record = recorded(&*tx.store).await?;
        // Once it is over nothing changes that: who had given it up, and then relied on its chunks' new names, must find them.
        if sweep_of(&record) != (Sweep { generation, under_way: true }) {
            return Ok(());
        }
        record.under_way = false;
        let r#type = match self {
            Self::Ended(_) => event_type::SWEEP_ENDED,
            Self::GivenUp(_) => {
                record.given_up.push(generation);
                event_type::SWEEP_GIVEN_UP
            }
        };
        tx.put(kinds::SWEEP, Vec::new(), &record, Vec::new()).await?;
        tx.record(event_of(r#type, sweep));
        Ok(())
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}
