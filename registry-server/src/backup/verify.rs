//! Is a registry what it should be? The hash chain holds, the log carried out again gives the state, and the bytes are there.

use bytes::Bytes;
use prost::Message as _;
use registry_proto::v1 as pb;
use registry_proto::v1::{VerifyPhase, VerifyProblemType};

use super::compare::Comparison;
use super::history::History;
use super::scrub::{Finding, Scrubber};
use crate::chunks::ChunkStore;
use crate::error::Error;
use crate::registry::chain::hash_behind;
use crate::registry::commit::{CHAIN_START, link};
use crate::registry::kinds::LAYOUT;
use crate::registry::tombstones::tombstone_of;
use crate::store::sled::SledStore;
use crate::store::{Flaw, Revision, Source, Store, StoreError};
use crate::stored::LogEntry;

/// How many revisions are read from the log at once.
const READ: usize = 1024;
/// How many problems a report lists.
const LISTED: usize = 100;
/// What the store of the comparison may use for pages.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// After how many records or artifacts it is told how far things are.
const TELL_EVERY: i64 = 1000;

/// Checks a registry as it is now, and what is written meanwhile as far as it comes by it. `progress` hears how far it is.
///
/// It takes as long as reading all bytes does. No snapshot is held for so long: in a database, that would keep the versions of all
/// rows, and end with the administrator's limit for transactions that are idle.
///
/// What the log lacks is read from the archive, in the folder or object store that is named.
///
/// The log is carried out again in a store in the system's folder for temporary files; it takes about the room that the store
/// itself takes.
///
/// # Errors
/// If the store can't be read. What is wrong with its content is in the report.
pub async fn verify(
    store: &dyn Store,
    chunks: &ChunkStore,
    archive: Option<&str>,
    skip_artifacts: bool,
    progress: impl FnMut(pb::VerifyProgress) + Send,
) -> Result<pb::VerifyReport, Error> {
    let report = pb::VerifyReport { revision: store.newest().await?.cast_signed(), ..Default::default() };
    let mut verification = Verification { report, progress };
    let folder = tempfile::tempdir().map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let replayed = SledStore::open(folder.path(), CACHE_BYTES, &LAYOUT)?;
    if verification.log(store, History::of(store, archive), &replayed).await? {
        verification.state(store, &replayed).await?;
    }
    if !skip_artifacts {
        let read = verification.artifacts(store, chunks).await;
        verification.understood(VerifyProblemType::StateDiffers, "artifacts".to_owned(), read)?;
    }
    Ok(verification.report)
}

struct Verification<P> {
    report: pb::VerifyReport,
    progress: P,
}

impl<P: FnMut(pb::VerifyProgress)> Verification<P> {
    fn problem(&mut self, r#type: VerifyProblemType, name: impl Into<String>, detail: impl Into<String>) {
        self.report.problem_count += 1;
        if self.report.problems.len() < LISTED {
            let problem = pb::VerifyProblem { r#type: r#type.into(), name: name.into(), detail: detail.into() };
            self.report.problems.push(problem);
        }
    }

    /// What can't be understood is a finding; `None` says that it was one.
    fn understood<T>(
        &mut self,
        r#type: VerifyProblemType,
        name: String,
        read: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match read {
            Err(Error::Store(StoreError::Damaged(detail))) => {
                self.problem(r#type, name, detail);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn tell(&mut self, phase: VerifyPhase, done: i64, in_all: i64) {
        (self.progress)(pb::VerifyProgress { phase: phase.into(), done, in_all });
    }

    /// Checks the chain and carries the log out again. False if it can't be carried out.
    async fn log(&mut self, store: &dyn Store, mut history: History<'_>, replayed: &SledStore) -> Result<bool, Error> {
        let last = self.report.revision.cast_unsigned();
        let mut at: Revision = 0;
        // Unknown after a revision that can't be read.
        let mut hash = Some(Bytes::from_static(&CHAIN_START));
        while at < last {
            let read = history.next(READ).await;
            self.report.archived_revisions = history.archived.cast_signed();
            let read = self.understood(VerifyProblemType::ChainBroken, format!("behind revision {at}"), read)?;
            let Some(mut entries) = read else { return Ok(false) };
            entries.retain(|entry| entry.revision <= last);
            for entry in &entries {
                self.chain(store, entry, &mut hash).await?;
            }
            let newest = replayed.restore(entries, true).await.map_err(Error::from);
            let newest = self.understood(VerifyProblemType::StateDiffers, format!("behind revision {at}"), newest)?;
            match newest {
                Some(newest) if newest > at => at = newest,
                Some(_) => {
                    let detail = format!("the log ends at {at}");
                    self.problem(VerifyProblemType::StateDiffers, format!("revision {last}"), detail);
                    return Ok(false);
                }
                None => return Ok(false),
            }
            self.tell(VerifyPhase::Log, at.cast_signed(), last.cast_signed());
        }
        self.report.chain_head = hash.unwrap_or_default();
        Ok(true)
    }

    async fn chain(&mut self, store: &dyn Store, entry: &LogEntry, hash: &mut Option<Bytes>) -> Result<(), Error> {
        let revision = format!("revision {}", entry.revision);
        let events = match pb::WatchedEvents::decode(entry.events.clone()) {
            Ok(decoded) => decoded.events,
            Err(error) => {
                let tombstone = tombstone_of(store, entry.revision, &entry.events).await?;
                if tombstone.is_some() {
                    self.report.tombstoned_revisions += 1;
                } else {
                    let detail = format!("its events can't be read: {error}");
                    self.problem(VerifyProblemType::ChainBroken, revision, detail);
                }
                *hash = tombstone.and_then(|_| hash_behind(entry).or_else(|| hash.take()));
                return Ok(());
            }
        };
        // The chain is over events. So what has none, or those of another revision, has no place in it.
        if events.is_empty() || events.iter().any(|event| event.revision.cast_unsigned() != entry.revision) {
            self.problem(VerifyProblemType::ChainBroken, revision, "it has no events, or those of another revision");
        }
        for mut event in events {
            self.report.events += 1;
            let logged = event.hash.clone();
            if let Some(hash) = hash {
                link(hash, &mut event);
            }
            if event.hash != logged {
                let detail = "its hash is not that of the events up to it";
                self.problem(VerifyProblemType::ChainBroken, event.name, detail);
            }
            // Only the first break is one: what comes behind is linked to what is there.
            *hash = Some(logged);
        }
        Ok(())
    }

    /// Compares the state with what the log made.
    async fn state(&mut self, store: &dyn Store, replayed: &SledStore) -> Result<(), Error> {
        for source in LAYOUT.sources() {
            let compared = self.compare(source, store, replayed).await;
            self.understood(VerifyProblemType::StateDiffers, LAYOUT.name_of(source), compared)?;
        }
        for Flaw { name, detail } in store.flaws(LISTED).await? {
            self.problem(VerifyProblemType::StateDiffers, name, detail);
        }
        Ok(())
    }

    async fn compare(&mut self, source: Source, store: &dyn Store, replayed: &SledStore) -> Result<(), Error> {
        let mut comparison = Comparison::new(source, store, replayed);
        while let Some((records, differences)) = comparison.next().await? {
            for difference in differences {
                let name = format!("{} {}", LAYOUT.name_of(source), difference.position.escape_ascii());
                self.problem(VerifyProblemType::StateDiffers, name, difference.detail);
            }
            if matches!(source, Source::Kind(_)) {
                let told = self.report.records / TELL_EVERY;
                self.report.records += records;
                if self.report.records / TELL_EVERY > told {
                    self.tell(VerifyPhase::State, self.report.records, 0);
                }
            }
        }
        Ok(())
    }

    async fn artifacts(&mut self, store: &dyn Store, chunks: &ChunkStore) -> Result<(), Error> {
        let mut scrubber = Scrubber::new(store, chunks, self.report.revision.cast_unsigned());
        while let Some((artifact, findings)) = scrubber.next().await? {
            self.report.artifacts += 1;
            self.report.artifact_bytes = scrubber.bytes;
            self.tell(VerifyPhase::Artifacts, self.report.artifacts, 0);
            // One is enough for an artifact.
            if let Some(Finding { r#type, detail, .. }) = findings.into_iter().next() {
                self.problem(r#type, artifact.name, detail);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::gc::tests::Setting;
    use crate::registry::Intent;
    use crate::registry::standard::Create;
    use crate::rules::names::{MODELS, Name};
    use crate::store::{Decision, Transaction};

    /// A revision whose events can't be decoded.
    struct Garbage;

    #[async_trait]
    impl Decision for Garbage {
        async fn decide(&self, _: &mut dyn Transaction) -> Result<Option<Bytes>, StoreError> {
            Ok(Some(Bytes::from_static(&[0x12, 0x7f])))
        }
    }

    #[tokio::test]
    async fn a_revision_that_cant_be_read_is_the_one_problem_and_stops_no_reader() {
        let setting = Setting::new().await;
        let (registry, store) = (&setting.registry, setting.registry.store());
        let unreadable = store.commit(Arc::new(Garbage)).await.unwrap().unwrap();
        let mut found = crate::error::Violations::default();
        let name = Name::namespace_with("default").child(&MODELS, "later");
        let create = Create::<crate::registry::models::ModelRow>::new(Some(name), None, &mut found).unwrap();
        registry.commit(Intent::own(), create).await.unwrap();

        let report = verify(&**store, registry.chunks(), None, false, |_| {}).await.unwrap();
        let problems: Vec<_> = report.problems.iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(problems, [format!("revision {unreadable}")]);
        let read = registry.event(&format!("events/{unreadable}-0")).await.unwrap();
        assert_eq!(read.r#type, "revision.unreadable");
        let newest = store.newest().await.unwrap();
        let next = registry.event(&format!("events/{newest}-0")).await.unwrap();
        assert_eq!((newest, next.r#type.as_str()), (unreadable + 1, "model.created"));

        // Under a tombstone it is known, and the chain is whole over it.
        let intent = Intent { comment: "deep JSON".to_owned(), ..Intent::own() };
        let lay = || registry.tombstone_revision(intent.clone(), unreadable.cast_signed());
        let laid = lay().await.unwrap();
        assert_eq!((laid.resource_name, laid.comment.as_str()), (format!("revisions/{unreadable}"), "deep JSON"));
        assert!(lay().await.unwrap_err().to_string().contains("has a tombstone"));
        let other = registry.tombstone_revision(intent.clone(), newest.cast_signed()).await.unwrap_err();
        assert!(other.to_string().contains("can be read"), "{other}");
        let report = verify(&**store, registry.chunks(), None, false, |_| {}).await.unwrap();
        assert_eq!((report.problems, report.tombstoned_revisions), (Vec::new(), 1));
        let read = registry.event(&format!("events/{unreadable}-0")).await.unwrap();
        assert!(read.comment.contains(&format!("; {} is its tombstone", laid.name)), "{}", read.comment);
        // Elsewhere, too.
        let folder = tempfile::tempdir().unwrap();
        let copy = SledStore::open(folder.path(), CACHE_BYTES, &LAYOUT).unwrap();
        copy.restore(store.changes(0, READ).await.unwrap(), true).await.unwrap();
        let report = verify(&copy, registry.chunks(), None, true, |_| {}).await.unwrap();
        assert_eq!((report.problems, report.tombstoned_revisions), (Vec::new(), 1));
    }
}
