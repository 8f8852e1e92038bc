//! The one lane that all commits go through, a group at a time.
//!
//! Three threads. One runs the decisions, one after the other, each above what those before it staged, so that writers to one
//! model never conflict; it gathers them in a group for as long as the next one is busy. That takes a group to the disk: one log
//! write and one sync serve all of it. Decisions are made above a group that is still on its way; if it fails, so do they. The third
//! takes the state to its files, behind the others.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use futures::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::disk::Disk;
use super::mark::Noted;
use super::physical::{Overrides, View};
use super::snapshot::Snapshots;
use super::staged::Staged;
use crate::store::{Decision, Revision, StoreError, StoreMeasures, logged};
use crate::stored::{LogEntry, LogGroup};
use crate::vital::vital;

/// How many decisions share a sync at most.
const GROUP: usize = 256;
/// A group closes when it has staged this many bytes of events.
const GROUP_BYTES: usize = 1024 * 1024;

type Committed = Result<Option<Revision>, StoreError>;

/// What waits for its turn.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Committed>,
}

/// What a job is to do.
pub(super) enum Work {
    Decide(Arc<dyn Decision>),
    /// Another store's log, to be appended.
    Restore(Vec<LogEntry>),
}

/// Decisions that were made together, and become durable together.
#[derive(Default)]
struct Group {
    overrides: Arc<Overrides>,
    entries: Vec<LogEntry>,
    bytes: usize,
    /// There is room on the disk for what it may hold.
    has_disk: bool,
    answers: Vec<Answer>,
}

/// What is to be answered when a group is durable.
struct Answer {
    to: oneshot::Sender<Committed>,
    committed: Committed,
    /// Of what was decided here.
    decision: Option<Arc<dyn Decision>>,
}

impl Answer {
    fn send(self, written: Result<(), StoreError>) {
        // Also those that changed nothing may have seen what now is in doubt.
        let committed = written.and(self.committed);
        if let (Ok(Some(revision)), Some(decision)) = (&committed, &self.decision) {
            decision.committed(*revision);
        }
        // A caller that has gone away does not want its answer; the commit stands.
        let _ = self.to.send(committed);
    }
}

impl Group {
    fn has_room(&self) -> bool {
        self.answers.len() < GROUP && self.bytes < GROUP_BYTES
    }
}

/// Waits, when dropped, until the lane has ended. The store drops the queue's sender first, which ends it.
#[derive(Debug)]
pub(super) struct Guard(Vec<JoinHandle<()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A panic has ended the process.
            let _ = thread.join();
        }
    }
}

/// Starts the lane behind a queue.
pub(super) fn start(
    disk: Arc<Disk>,
    snapshots: Arc<Snapshots>,
    head: watch::Sender<Revision>,
    healthy: watch::Sender<bool>,
    queue: mpsc::Receiver<Job>,
    measures: StoreMeasures,
) -> Guard {
    let failed = Arc::new(OnceLock::new());
    let (out, groups) = mpsc::channel(1);
    let (due, is_due) = std::sync::mpsc::sync_channel(1);
    let store = Arc::clone(&disk);
    let decider = Decider {
        disk: Arc::clone(&disk),
        failed: Arc::clone(&failed),
        newest: *head.borrow(),
        group: Group::default(),
        flying: Arc::default(),
    };
    let failure = Failure { failed, healthy };
    let writer = Writer { disk, snapshots, head, due, failure: failure.clone(), runtime: Handle::current(), measures };
    Guard(vec![
        thread("decisions", move || futures::executor::block_on(decider.run(queue, out))),
        thread("writes", move || writer.run(groups)),
        thread("state", move || {
            if let Err(error) = store.state().keep_settling(&is_due) {
                failure.set(&error);
            }
        }),
    ])
}

/// Starts a thread that the store can't do without.
fn thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || vital(name, work));
    started.unwrap_or_else(|error| panic!("no thread can be started: {error}"))
}

/// That the store takes no more writes: for good, since what is on the disk is unknown until it is opened again.
#[derive(Clone)]
struct Failure {
    failed: Arc<OnceLock<StoreError>>,
    healthy: watch::Sender<bool>,
}

impl Failure {
    fn set(&self, error: &StoreError) {
        if self.failed.set(error.clone()).is_ok() {
            self.healthy.send_replace(false);
            tracing::error!(%error, "writing to the disk failed; the store takes no more writes");
        }
    }
}

struct Decider {
    disk: Arc<Disk>,
    /// Set for good when a group failed on its way to the disk: what is there is unknown until the store is opened again.
    failed: Arc<OnceLock<StoreError>>,
    /// The newest revision that was given out.
    newest: Revision,
    group: Group,
    /// What the group that is on its way to the disk changes.
    flying: Arc<Overrides>,
}

impl Decider {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>, out: mpsc::Sender<(Group, OwnedSemaphorePermit)>) {
        let idle = Arc::new(Semaphore::new(1));
        let mut open = true;
        while open || !self.group.answers.is_empty() {
            tokio::select! {
                biased;
                // The writer is done with the group before, which is now a part of the state. It gets what there is, though more may
                // be waiting: a small group now lets it work while the next one is decided.
                Ok(permit) = Arc::clone(&idle).acquire_owned(), if !self.group.answers.is_empty() => {
                    let group = std::mem::take(&mut self.group);
                    self.flying = Arc::clone(&group.overrides);
                    if out.send((group, permit)).await.is_err() {
                        return;
                    }
                }
                job = queue.recv(), if open && self.group.has_room() => match job {
                    Some(job) => self.decide(job).await,
                    None => open = false,
                },
            }
        }
    }

    async fn decide(&mut self, job: Job) {
        if job.answer.is_closed() {
            return;
        }
        let (committed, decision) = match (self.failed.get(), job.work) {
            (Some(error), _) => (Err(error.clone()), None),
            (None, Work::Decide(decision)) => {
                let decided = self.run_decision(&*decision).await;
                (decided.map(|entry| entry.map(|entry| self.add(entry))), Some(decision))
            }
            (None, Work::Restore(entries)) => (self.restore(entries), None),
        };
        self.group.answers.push(Answer { to: job.answer, committed, decision });
    }

    /// Makes an entry a part of the group, where its writes are already.
    fn add(&mut self, entry: LogEntry) -> Revision {
        self.newest = entry.revision;
        self.group.bytes += entry.events.len();
        self.group.entries.push(entry);
        self.newest
    }

    fn restore(&mut self, entries: Vec<LogEntry>) -> Committed {
        self.disk.check_room()?;
        logged::check_follows(self.newest, &entries)?;
        let base = View::of(self.disk.state()).below(&self.flying);
        let before = Arc::clone(&self.group.overrides);
        for entry in &entries {
            let overrides = Arc::make_mut(&mut self.group.overrides);
            let mut staged = Staged::new(self.disk.layout(), base, overrides, entry.revision);
            if let Err(error) = staged.replay(entry) {
                self.group.overrides = before;
                return Err(error);
            }
        }
        entries.into_iter().for_each(|entry| {
            self.add(entry);
        });
        Ok(Some(self.newest))
    }

    /// Runs one decision; its writes stay in the group only if it is to be committed.
    async fn run_decision(&mut self, decision: &dyn Decision) -> Result<Option<LogEntry>, StoreError> {
        let base = View::of(self.disk.state()).below(&self.flying);
        let overrides = Arc::make_mut(&mut self.group.overrides);
        let mut staged = Staged::new(self.disk.layout(), base, overrides, self.newest + 1);
        // A fault in one decision must not end the lane for all.
        let decided = AssertUnwindSafe(decision.decide(&mut staged)).catch_unwind().await;
        let decided = decided.unwrap_or_else(|_| Err(StoreError::Damaged("a decision panicked".to_owned())));
        // What changes nothing needs no room.
        let has_disk = self.group.has_disk;
        let check_room = |events| if has_disk { Ok(events) } else { self.disk.check_room().map(|()| events) };
        match decided.and_then(|events| events.map(check_room).transpose()) {
            Ok(Some(events)) => {
                self.group.has_disk = true;
                Ok(Some(staged.into_entry(events)))
            }
            other => {
                staged.undo();
                other.map(|_| None)
            }
        }
    }
}

struct Writer {
    disk: Arc<Disk>,
    snapshots: Arc<Snapshots>,
    head: watch::Sender<Revision>,
    /// Asks for the state to be taken to its files.
    due: SyncSender<()>,
    failure: Failure,
    runtime: Handle,
    measures: StoreMeasures,
}

impl Writer {
    fn run(self, mut groups: mpsc::Receiver<(Group, OwnedSemaphorePermit)>) {
        while let Some((group, permit)) = groups.blocking_recv() {
            let Group { overrides, entries, answers, .. } = group;
            let written = match self.failure.failed.get() {
                Some(error) => Err(error.clone()),
                None => self.write(entries, &overrides, answers.len()),
            };
            if let Err(error) = &written {
                self.failure.set(error);
            }
            drop(permit);
            // From within the runtime, where waking a task costs no system call.
            self.runtime.spawn(async move {
                for answer in answers {
                    answer.send(written.clone());
                }
            });
        }
    }

    /// Makes a group of so many decisions durable, then visible.
    fn write(&self, entries: Vec<LogEntry>, overrides: &Overrides, decisions: usize) -> Result<(), StoreError> {
        let Some(newest) = entries.last() else { return Ok(()) };
        let began = Instant::now();
        let (last, noted) = (newest.revision, Noted::of(newest.revision, &newest.events));
        self.disk.append(LogGroup { entries })?;
        self.disk.note(noted)?;
        self.measures.wrote(decisions, began);
        self.snapshots.preserve(self.disk.state(), overrides, || {
            self.disk.state().add(overrides, last)?;
            self.head.send_replace(last);
            Ok(())
        })?;
        if self.disk.state().is_due() {
            // If it was asked to already, that will do.
            let _ = self.due.try_send(());
        }
        Ok(())
    }
}
