//! The one lane that all commits go through, a group at a time.
//!
//! Whoever waits when the lane is free makes up the next group. Their decisions run one after the other, each above what those
//! before it staged, so writers to one model never conflict; then one log write and one sync serve them all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use registry_proto::store::{LogEntry, LogGroup};
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::Disk;
use super::physical::Overrides;
use super::snapshot::Snapshots;
use super::staged::Staged;
use crate::store::{Decision, Revision, StoreError};

/// How many decisions share a sync at most.
const GROUP: usize = 256;
/// A group closes when it has staged this many bytes of events.
const GROUP_BYTES: usize = 1024 * 1024;

/// A decision that waits for its turn.
pub(super) struct Job {
    pub(super) decision: Arc<dyn Decision>,
    pub(super) answer: oneshot::Sender<Result<Option<Revision>, StoreError>>,
}

/// The lane's state. It lives on a thread of its own, because a sync blocks.
pub(super) struct Lane {
    disk: Arc<Disk>,
    snapshots: Arc<Snapshots>,
    head: watch::Sender<Revision>,
    /// Set for good when a group failed on its way to the disk: what is there is unknown until the store is opened again.
    failed: Option<StoreError>,
}

/// Waits, when dropped, until the lane has ended. The store drops the queue's sender first, which ends it.
#[derive(Debug)]
pub(super) struct Guard(Option<JoinHandle<()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's lane panicked");
        }
    }
}

type Answer = (oneshot::Sender<Result<Option<Revision>, StoreError>>, Result<Option<Revision>, StoreError>);

impl Lane {
    pub(super) fn new(disk: Arc<Disk>, snapshots: Arc<Snapshots>, head: watch::Sender<Revision>) -> Self {
        Self { disk, snapshots, head, failed: None }
    }

    pub(super) fn start(mut self, mut queue: mpsc::Receiver<Job>) -> Guard {
        Guard(Some(std::thread::spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                self.group(first, &mut queue);
            }
        })))
    }

    /// Decides, commits and answers one group.
    fn group(&mut self, first: Job, queue: &mut mpsc::Receiver<Job>) {
        let mut overrides = Overrides::new();
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut answers: Vec<Answer> = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            let result = match &self.failed {
                Some(error) => Err(error.clone()),
                None => {
                    let revision = *self.head.borrow() + entries.len() as Revision + 1;
                    self.decide(&*job.decision, &mut overrides, revision)
                }
            };
            let answer = result.map(|entry| {
                entry.map(|entry| {
                    let revision = entry.revision;
                    bytes += entry.events.len();
                    entries.push(entry);
                    revision
                })
            });
            answers.push((job.answer, answer));
            let room = answers.len() < GROUP && bytes < GROUP_BYTES;
            next = if room { queue.try_recv().ok() } else { None };
        }
        if !entries.is_empty()
            && let Err(error) = self.commit(entries, overrides)
        {
            tracing::error!(%error, "a commit failed on its way to the disk; the store takes no more writes");
            // Also those that changed nothing may have seen what now is in doubt.
            answers.iter_mut().for_each(|(_, answer)| *answer = Err(error.clone()));
            self.failed = Some(error);
        }
        for (answer, result) in answers {
            // A caller that has gone away does not want its answer; the commit stands.
            let _ = answer.send(result);
        }
    }

    /// Runs one decision; its writes stay in `overrides` only if it is to be committed.
    fn decide(
        &self,
        decision: &dyn Decision,
        overrides: &mut Overrides,
        revision: Revision,
    ) -> Result<Option<LogEntry>, StoreError> {
        let mut staged = Staged::new(self.disk.state(), overrides, revision);
        // A fault in one decision must not end the lane for all.
        let decided = catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(decision.decide(&mut staged))));
        match decided {
            Ok(Ok(Some(events))) => Ok(Some(staged.into_entry(events))),
            Ok(other) => {
                staged.undo();
                other.map(|_| None)
            }
            Err(_) => {
                staged.undo();
                Err(StoreError::Damaged("a decision panicked".to_owned()))
            }
        }
    }

    fn commit(&self, entries: Vec<LogEntry>, overrides: Overrides) -> Result<(), StoreError> {
        let Some(last) = entries.last().map(|entry| entry.revision) else { return Ok(()) };
        self.disk.append(&LogGroup { entries })?;
        self.disk.sync()?;
        self.snapshots.preserve(self.disk.state(), &overrides, || {
            self.disk.apply(&overrides, last)?;
            self.head.send_replace(last);
            Ok(())
        })
    }
}
