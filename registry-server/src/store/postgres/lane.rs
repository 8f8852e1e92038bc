//! The one lane of this server that all its commits go through, a batch at a time.
//!
//! A batch is a transaction that begins with a lock, which orders it among the batches of all servers. Its
//! decisions are run one after the other, each above what those before it staged; then all that they changed is written and
//! committed at once. Until the commit was sent, a batch whose connection breaks is simply run again. After that its outcome is
//! asked for, under the same lock, before anything else is done.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::stored;
use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::cache::Cache;
use super::connect::Connector;
use super::error::{Cause, Failure};
use super::flush::Changes;
use super::head::Head;
use super::log::{LogRows, Packer};
use super::overlay::Overlay;
use super::session::{Begun, Session};
use super::staged::{Ground, Staged};
use crate::store::{Decision, Kind, Layout, Revision, StoreError, StoreMeasures, logged};

/// How many decisions are committed together at most.
const BATCH: usize = 256;
/// A batch closes when it has staged this many bytes of events.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long to wait before a batch is tried again: at first, and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

type Committed = Result<Option<Revision>, StoreError>;

/// What waits for its turn.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Committed>,
    /// When it is given up.
    pub(super) until: Instant,
}

/// What a job is to do.
pub(super) enum Work {
    Decide(Arc<dyn Decision>),
    /// Another store's log, to be appended. It is a batch of its own.
    Restore(Vec<stored::LogEntry>),
}

impl Job {
    fn is_restore(&self) -> bool {
        matches!(self.work, Work::Restore(_))
    }

    /// The keys that it will probably read.
    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        match &self.work {
            Work::Decide(decision) => decision.reads(),
            Work::Restore(entries) => {
                let writes = entries.iter().flat_map(|entry| &entry.writes);
                writes.filter_map(|write| Some((logged::kind_of(write).ok()?, write.key.to_vec()))).collect()
            }
        }
    }
}

/// A batch whose commit was sent.
struct Doubt {
    batch: Uuid,
    first: Revision,
    last: Revision,
}

/// Jobs that are committed together.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    /// What they came to, as far as they were decided.
    decided: Vec<Committed>,
    /// Set from the moment that the commit is sent until it is known what became of it.
    doubt: Option<Doubt>,
    /// See [`Ground`].
    careful: bool,
    /// What it wrote without knowing what was there, when one of these records was there.
    unknown: Vec<(Kind, Vec<u8>)>,
}

impl Batch {
    fn answer(self) {
        for (job, decided) in self.jobs.into_iter().zip(self.decided) {
            if let (Work::Decide(decision), Ok(Some(revision))) = (&job.work, &decided) {
                decision.committed(*revision);
            }
            // A caller that has gone away does not want its answer; the commit stands.
            let _ = job.answer.send(decided);
        }
    }

    /// Gives those jobs up that have waited for too long.
    fn give_up(&mut self, failure: &Failure, all: bool) {
        let now = Instant::now();
        let (jobs, mut decided) = (std::mem::take(&mut self.jobs), std::mem::take(&mut self.decided).into_iter());
        for job in jobs {
            let outcome = decided.next();
            if all || job.until <= now {
                let _ = job.answer.send(Err(failure.clone().into()));
            } else {
                self.jobs.push(job);
                self.decided.extend(outcome);
            }
        }
    }
}

/// What a lane needs.
pub(super) struct Setup {
    pub(super) connector: Arc<Connector>,
    pub(super) layout: &'static Layout,
    pub(super) head: Head,
    pub(super) cache_bytes: usize,
    pub(super) measures: StoreMeasures,
}

pub(super) struct Lane {
    setup: Setup,
    queue: mpsc::Receiver<Job>,
    /// Taken from the queue, but not in a batch yet.
    waiting: VecDeque<Job>,
    session: Option<Session>,
    /// Why the last connection did not come about.
    refused: Option<String>,
    cache: Cache,
    /// The revision as of which the cache is true.
    seen: Revision,
    /// The database's time when the lock was taken last.
    time: SystemTime,
    /// Others wrote before the last batch, and will probably again.
    shared: bool,
    /// So many of those that wait get a batch of their own.
    alone: usize,
    packer: Packer,
}

/// Runs a lane on a thread of its own: its round trips must not queue up behind all the calls that the server has at hand. The
/// answer fails when the lane has ended, be it by a panic.
pub(super) fn start(lane: Lane) -> Result<oneshot::Receiver<()>, StoreError> {
    let failed = |error: std::io::Error| StoreError::Unavailable(format!("no thread for commits: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::Builder::new().name("commits".to_owned());
    let (alive, ended) = oneshot::channel();
    let run = move || {
        runtime.block_on(lane.run());
        drop(alive);
    };
    thread.spawn(run).map_err(failed)?;
    Ok(ended)
}

impl Lane {
    pub(super) fn new(setup: Setup, queue: mpsc::Receiver<Job>) -> Self {
        let cache = Cache::new(setup.cache_bytes);
        Self {
            setup,
            queue,
            waiting: VecDeque::new(),
            session: None,
            refused: None,
            cache,
            seen: 0,
            time: SystemTime::UNIX_EPOCH,
            shared: false,
            alone: 0,
            packer: Packer::new(),
        }
    }

    /// Serves the queue until it is closed and empty.
    pub(super) async fn run(mut self) {
        // So that the first commit need not wait for it. If there is none, that one says so.
        self.session = self.connect().await.ok();
        loop {
            if self.waiting.is_empty() {
                match self.queue.recv().await {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                }
            }
            let mut batch = Batch::default();
            self.gather(&mut batch);
            self.serve(batch).await;
            self.alone = self.alone.saturating_sub(1);
        }
    }

    /// Fills a batch with what waits. Answers how many jobs came in.
    fn gather(&mut self, batch: &mut Batch) -> usize {
        let before = batch.jobs.len();
        let most = if self.alone > 0 { 1 } else { BATCH };
        while batch.jobs.len() < most && !batch.jobs.first().is_some_and(Job::is_restore) {
            let Some(job) = self.waiting.pop_front().or_else(|| self.queue.try_recv().ok()) else { break };
            if job.is_restore() && !batch.jobs.is_empty() {
                self.waiting.push_front(job);
                break;
            }
            batch.jobs.push(job);
        }
        batch.jobs.len() - before
    }

    /// Tries a batch until it is committed, refused, or given up.
    async fn serve(&mut self, mut batch: Batch) {
        let mut backoff = BACKOFF[0];
        while !batch.jobs.is_empty() {
            let Err(failure) = self.attempt(&mut batch).await else { return batch.answer() };
            if failure.cause == Cause::Duplicate && !batch.careful {
                // A record that was taken for new was there.
                batch.careful = true;
                continue;
            }
            // What went wrong is unknown, and so is what is true now.
            self.session = None;
            self.cache.clear();
            let lasting = !failure.passes() && batch.doubt.is_none();
            if backoff == BACKOFF[0] {
                tracing::warn!(error = failure.message, lasting, "a commit did not go through");
            }
            if lasting && batch.jobs.len() > 1 {
                // One of them is at fault: the others must not suffer for it.
                self.alone = batch.jobs.len() + 1;
                batch.jobs.drain(..).rev().for_each(|job| self.waiting.push_front(job));
                return;
            }
            batch.give_up(&failure, lasting);
            if !batch.jobs.is_empty() {
                tokio::time::sleep(backoff).await;
                backoff = BACKOFF[1].min(backoff * 2);
            }
        }
    }

    /// Runs a batch once. If it fails in doubt, what its jobs decided is kept.
    async fn attempt(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let until = batch.jobs.iter().map(|job| job.until).max().unwrap_or_else(Instant::now);
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let connected = tokio::time::timeout_at(until, self.connect()).await;
                let late = "no connection came about in time";
                connected.unwrap_or_else(|_| Err(Failure::broken(self.refused.as_deref().unwrap_or(late))))?
            }
        };
        if let Some(Doubt { batch: id, first, last }) = &batch.doubt {
            let (happened, head) = session.settle(*first, *id).await?;
            tracing::info!(happened, revision = first, "a commit that was in doubt was settled");
            self.setup.connector.home().check_newest(head, self.seen)?;
            self.seen = head;
            let last = *last;
            batch.doubt = None;
            if happened {
                self.session = Some(session);
                self.setup.head.raise(last);
                return Ok(());
            }
        }
        self.begin(&session, batch).await?;
        let done = self.decide_and_commit(&session, batch).await;
        if done.as_ref().is_err_and(|failure| failure.cause == Cause::Duplicate) {
            session.roll_back().await?;
        }
        self.session = Some(session);
        done
    }

    async fn connect(&mut self) -> Result<Session, Failure> {
        let connected = Session::connect(&self.setup.connector).await;
        self.refused = connected.as_ref().err().map(|failure| failure.message.clone());
        let session = connected?;
        // What this connection will see may be older than what the last one saw.
        self.cache.clear();
        Ok(session)
    }

    /// Takes the lock, and brings the cache up to what is true under it, with what the batch will probably read.
    async fn begin(&mut self, session: &Session, batch: &mut Batch) -> Result<(), Failure> {
        let mut keys = self.to_fetch(&batch.jobs);
        keys.append(&mut batch.unknown);
        let Begun { head, time, fetched, strangers } = session.begin(&keys, self.shared.then_some(self.seen)).await?;
        self.setup.connector.home().check_newest(head, self.seen)?;
        self.shared = head != self.seen;
        if self.shared {
            let strangers = match strangers {
                None if head > self.seen => session.strangers(self.seen).await?,
                asked => asked,
            };
            self.forget(strangers.unwrap_or_default(), head)?;
        }
        self.seen = head;
        self.time = time;
        self.cache.insert(fetched);
        // Those that came while it waited for the lock.
        let before = batch.jobs.len();
        if self.gather(batch) > 0 {
            let keys = self.to_fetch(&batch.jobs[before..]);
            let fetched = session.fetch(&keys).await?;
            self.cache.insert(fetched);
        }
        Ok(())
    }

    /// Forgets what others wrote. If it is not known what that is, up to the head, everything.
    fn forget(&self, strangers: Vec<stored::LogEntry>, head: Revision) -> Result<(), Failure> {
        if strangers.last().is_none_or(|entry| entry.revision != head) {
            self.cache.clear();
        }
        for write in strangers.iter().flat_map(|entry| &entry.writes) {
            self.cache.forget(logged::kind_of(write).map_err(Failure::damaged)?, &write.key);
        }
        Ok(())
    }

    /// The keys that some jobs will probably read, each once, unless they are in the cache and will stay there.
    fn to_fetch(&self, jobs: &[Job]) -> Vec<(Kind, Vec<u8>)> {
        let mut keys: Vec<_> = jobs.iter().flat_map(Job::reads).collect();
        keys.sort_unstable();
        keys.dedup();
        if !self.shared {
            keys.retain(|(kind, key)| self.cache.get(*kind, key).is_none());
        }
        keys
    }

    async fn decide_and_commit(&mut self, session: &Session, batch: &mut Batch) -> Result<(), Failure> {
        let layout = self.setup.layout;
        let (cache, time) = (&self.cache, self.time);
        let ground = Ground { layout, session, cache, time, careful: batch.careful, failed: OnceLock::new() };
        let mut overlay = Overlay::default();
        let mut log = Vec::new();
        let mut bytes = 0;
        batch.decided.clear();
        for job in &batch.jobs {
            if job.answer.is_closed() {
                // Its caller has gone away, or its time is up.
                batch.decided.push(Ok(None));
                continue;
            }
            let next = self.seen + log.len() as Revision + 1;
            let decided = run(&ground, &mut overlay, next, &job.work).await;
            if let Some(failure) = ground.failed.get() {
                return Err(failure.clone());
            }
            batch.decided.push(decided.map(|entries| {
                bytes += entries.iter().map(|entry| entry.events.len()).sum::<usize>();
                log.extend(entries);
                (next <= self.seen + log.len() as Revision).then_some(self.seen + log.len() as Revision)
            }));
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        for job in batch.jobs.drain(batch.decided.len()..).rev() {
            self.waiting.push_front(job);
        }
        let Some(last) = log.last().map(|entry| entry.revision) else {
            // Committed and not rolled back: behind this, what it saw is durable.
            session.commit(None).await?;
            return Ok(());
        };
        let id = Uuid::new_v4();
        let rows = LogRows::new(&mut self.packer, id, &log)?;
        batch.doubt = Some(Doubt { batch: id, first: rows.first(), last });
        let changes = Changes::new(rows, &overlay, layout);
        let began = std::time::Instant::now();
        match session.commit(Some(&changes)).await {
            Ok(true) => {
                batch.doubt = None;
                self.setup.measures.wrote(batch.decided.len(), began);
            }
            Ok(false) => return Err(Failure::broken("the database warned of something as it committed")),
            Err(failure) => {
                if failure.aborted {
                    batch.doubt = None;
                }
                if failure.cause == Cause::Duplicate {
                    batch.unknown = overlay.unknown();
                }
                return Err(failure);
            }
        }
        drop(changes);
        self.seen = last;
        self.cache.insert(overlay.into_known());
        self.setup.head.raise(last);
        Ok(())
    }
}

/// Runs one job; what it stages stays only if it is to be committed. Answers what it logs.
async fn run(
    ground: &Ground<'_>,
    overlay: &mut Overlay,
    next: Revision,
    work: &Work,
) -> Result<Vec<stored::LogEntry>, StoreError> {
    let decision = match work {
        Work::Decide(decision) => decision,
        Work::Restore(entries) => {
            logged::check_follows(next - 1, entries)?;
            for entry in entries {
                // It is alone in its batch: if it fails, nothing of the batch is written.
                Staged::new(ground, overlay, entry.revision).replay(entry).await?;
            }
            return Ok(entries.clone());
        }
    };
    let mut staged = Staged::new(ground, overlay, next);
    // A fault in one decision must not end the lane for all.
    match AssertUnwindSafe(decision.decide(&mut staged)).catch_unwind().await {
        Ok(Ok(Some(events))) => Ok(vec![staged.into_entry(events)]),
        Ok(other) => {
            staged.undo();
            other.map(|_| Vec::new())
        }
        Err(_) => {
            staged.undo();
            Err(StoreError::Damaged("a decision panicked".to_owned()))
        }
    }
}
