//! Does what the [`State`] says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures::future::{self, BoxFuture, FutureExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::cache::Cache;
use super::names::{Names, notice};
use super::state::{Do, Phase, State, pause};
use super::work::{Done, Leaving, Loader, Work, let_go};
use super::{Fetched, FollowState, FollowStatus, Serving};
use crate::error::causes;
use crate::{Error, Items, RegistryClient, WatchItem, pb};

/// How long a start waits for a sign of the registry before it looks into the cache.
const PATIENCE: Duration = Duration::from_secs(5);

/// A version for each name. Two are equal if they are the same versions, whatever has been written to them.
#[derive(Debug, Clone)]
struct Target(Arc<[pb::Version]>);

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let uids = |target: &Self| target.0.iter().map(|version| version.uid.clone()).collect::<Vec<_>>();
        uids(self) == uids(other)
    }
}

/// Follows, as long as it is given [turns](Self::turn).
pub(super) struct Driver<M> {
    client: RegistryClient,
    names: Names,
    cache: Cache,
    loader: Loader<M>,
    jitter: Duration,
    state: State<Target>,
    watch: Option<Items<WatchItem>>,
    /// Watches in a row that failed, and when the next one begins.
    watch_failures: u32,
    next_watch: Instant,
    /// Up to where the watch has told.
    revision: i64,
    look: Option<BoxFuture<'static, Result<Vec<pb::Version>, Error>>>,
    work: Option<Work<M>>,
    current: Option<Arc<ArcSwap<Serving<M>>>>,
    /// What was served before: its files stay for a rollback.
    before: Option<Arc<[Fetched]>>,
    notice: Option<String>,
    heard: Option<SystemTime>,
    /// The last one.
    error: Option<Error>,
    /// Where changes of the status are told: whoever is to report them subscribes here.
    status: watch::Sender<FollowStatus>,
    /// What drops old models.
    old: JoinSet<()>,
    /// How many of them are there still.
    leaving: watch::Sender<usize>,
}

/// What a turn waits for.
enum Came<M> {
    Told(Option<Result<WatchItem, Error>>),
    Found(Result<Vec<pb::Version>, Error>),
    Done(Done<M>),
    Time,
}

impl<M: Send + Sync + 'static> Driver<M> {
    pub(super) async fn new(
        client: RegistryClient,
        names: Names,
        cache: Cache,
        loader: Loader<M>,
        jitter: Duration,
    ) -> (Self, watch::Receiver<FollowStatus>) {
        let remembered = cache.recall(&names.all).await;
        let heard = remembered.as_ref().and_then(|remembered| remembered.time);
        let fallback = remembered.map(|remembered| Target(remembered.versions.into()));
        let (status, receiver) = watch::channel(FollowStatus {
            state: FollowState::Loading,
            since: SystemTime::now(),
            desired: Vec::new(),
            serving: Vec::new(),
            error: None,
            notice: None,
            connected: false,
            heard,
        });
        let now = Instant::now();
        let driver = Self {
            state: State::new(now, PATIENCE, fallback),
            watch: None,
            watch_failures: 0,
            next_watch: now,
            revision: 0,
            look: None,
            work: None,
            current: None,
            before: None,
            notice: None,
            heard,
            error: None,
            status,
            old: JoinSet::new(),
            leaving: watch::Sender::new(0),
            client,
            names,
            cache,
            loader,
            jitter,
        };
        (driver, receiver)
    }

    /// What is served, once there is something.
    pub(super) fn current(&self) -> Option<Arc<ArcSwap<Serving<M>>>> {
        self.current.clone()
    }

    /// Why there is nothing to serve, if only waiting may change that.
    pub(super) fn take_error_if_stuck(&mut self) -> Option<Error> {
        if self.state.is_stuck() { self.error.take() } else { None }
    }

    /// Does what is to be done, and waits until something comes. May be dropped, and called again.
    pub(super) async fn turn(&mut self) {
        let mut until = self.act();
        self.publish();
        if self.watch.is_none() {
            until = Some(until.map_or(self.next_watch, |until| until.min(self.next_watch)));
        }
        let Self { watch, look, work, .. } = self;
        let told = watch.as_mut().map_or(future::pending().left_future(), |watch| watch.next().right_future());
        let found = look.as_mut().map_or(future::pending().left_future(), |look| look.right_future());
        let done = async {
            match work {
                Some(work) => work.next().await,
                None => future::pending().await,
            }
        };
        let time = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => future::pending().await,
            }
        };
        let came = tokio::select! {
            told = told => Came::Told(told),
            found = found => Came::Found(found),
            done = done => Came::Done(done),
            () = time => Came::Time,
        };
        match came {
            Came::Told(told) => self.told(told),
            Came::Found(found) => self.found(found),
            Came::Done(done) => self.done(done).await,
            Came::Time => {}
        }
        while self.old.try_join_next().is_some() {}
    }

    /// Begins what is to be begun. Answers when to ask again.
    fn act(&mut self) -> Option<Instant> {
        let now = Instant::now();
        if self.watch.is_none() && self.next_watch <= now {
            self.watch = Some(self.client.watch().parent(self.names.parent()).types(Names::types()).stream());
        }
        loop {
            match self.state.next(now) {
                Do::Look => self.look = Some(self.look_up()),
                Do::Load(Target(versions)) => {
                    let known = self.serving().into_iter().chain(self.before.clone());
                    let folder = |fetched: &Fetched| fetched.folder.clone();
                    let like = known.flat_map(|versions| versions.iter().map(folder).collect::<Vec<_>>()).collect();
                    self.work = Some(Work::fetch(self.cache.clone(), versions, like));
                }
                Do::Abandon => match self.work.take() {
                    // That runs to its end.
                    Some(load @ Work::Load(..)) => self.work = Some(load),
                    Some(Work::Fetch(_) | Work::Unload(..)) | None => self.state.abandoned(),
                },
                Do::Wait(until) => return until,
            }
        }
    }

    /// Several versions are looked up as of one revision, so that they belong together.
    fn look_up(&self) -> BoxFuture<'static, Result<Vec<pb::Version>, Error>> {
        let revision = if self.names.all.len() > 1 { self.revision } else { 0 };
        let call = self.client.batch_get_versions(&self.names.all).at_revision(revision);
        let count = self.names.all.len();
        Box::pin(async move {
            let versions = call.await?.versions;
            if versions.len() == count { Ok(versions) } else { Err(Error::Protocol("not a version for each name")) }
        })
    }

    fn told(&mut self, told: Option<Result<WatchItem, Error>>) {
        let now = Instant::now();
        let item = match told {
            Some(Ok(item)) => item,
            ended => {
                let error = ended.and_then(Result::err).unwrap_or(Error::Protocol("a watch that ended"));
                debug!(%error, "the watch ended, and begins anew");
                self.state.down();
                self.watch = None;
                self.watch_failures = self.watch_failures.saturating_add(1);
                self.next_watch = now + pause(self.watch_failures, rand::random());
                self.notice.get_or_insert_with(|| format!("changes are not told: {}", causes(&error)));
                return;
            }
        };
        if !matches!(item, WatchItem::Disconnected { .. }) {
            self.heard = Some(SystemTime::now());
            self.watch_failures = 0;
        }
        match item {
            WatchItem::Created { revision, .. } | WatchItem::Resumed { revision } => {
                self.revision = revision;
                self.state.up(now);
            }
            WatchItem::Events { revision, events, .. } => {
                self.revision = revision;
                if events.iter().any(|event| self.names.concerns(event)) {
                    self.state.changed(now);
                }
            }
            WatchItem::Bookmark { revision, .. } => self.revision = revision,
            WatchItem::Disconnected { reason } => {
                debug!(reason, "the registry is away");
                self.state.down();
            }
            // Of watches that begin with a snapshot.
            WatchItem::Snapshot { .. } | WatchItem::SnapshotRestarted { .. } => {}
        }
    }

    fn found(&mut self, found: Result<Vec<pb::Version>, Error>) {
        self.look = None;
        let now = Instant::now();
        match found {
            Ok(versions) => {
                self.heard = Some(SystemTime::now());
                self.notice = notice(&versions);
                self.state.found(now, Target(versions.into()), self.jitter.mul_f64(rand::random()));
            }
            Err(error) => {
                self.notice = Some(causes(&error));
                if error.is_not_found() {
                    self.heard = Some(SystemTime::now());
                    self.state.found_nothing(now);
                } else {
                    debug!(%error, names = ?self.names.all, "can't be looked up");
                    self.state.look_failed(now, rand::random());
                }
                self.error = Some(error);
            }
        }
    }

    async fn done(&mut self, done: Done<M>) {
        self.work = None;
        match done {
            Done::Fetched(next) => match (self.loader.empty, &self.current) {
                (Some(empty), Some(current)) => {
                    let leaving = self.unload(Arc::clone(current), empty());
                    self.work = Some(Work::unload(leaving, next));
                }
                _ => self.work = Some(Work::load(&self.loader, next)),
            },
            Done::Unloaded(next) => self.work = Some(Work::load(&self.loader, next)),
            Done::Loaded(serving) if self.state.loaded() => self.serve(serving).await,
            Done::Loaded(serving) => self.retire(Arc::new(serving)),
            Done::Failed(error) => {
                let text = causes(&error);
                warn!(error = text, names = ?self.names.all, "a version is not served");
                self.state.failed(Instant::now(), text, rand::random());
                self.error = Some(error);
            }
        }
    }

    /// Puts nothing in the place of what is served.
    fn unload(&mut self, current: Arc<ArcSwap<Serving<M>>>, empty: M) -> Leaving {
        self.state.unloaded();
        let versions = Arc::clone(&current.load().versions);
        let old = current.swap(Arc::new(Serving { model: empty, versions }));
        self.retire(old);
        self.leaving.subscribe()
    }

    async fn serve(&mut self, serving: Serving<M>) {
        let versions = Arc::clone(&serving.versions);
        info!(versions = ?names_of(&versions), "serving");
        let serving = Arc::new(serving);
        match &self.current {
            None => self.current = Some(Arc::new(ArcSwap::new(serving))),
            Some(current) => {
                let old = current.swap(serving);
                if names_of(&old.versions) != names_of(&versions) {
                    self.before = Some(Arc::clone(&old.versions));
                }
                self.retire(old);
            }
        }
        self.publish();
        let versions = versions.iter().map(|fetched| fetched.version.clone()).collect();
        self.cache.remember(&self.names.all, versions).await;
        self.cache.trim().await;
    }

    /// Drops a model when nobody uses it.
    fn retire(&mut self, old: Arc<Serving<M>>) {
        let leaving = self.leaving.clone();
        leaving.send_modify(|count| *count += 1);
        self.old.spawn(async move {
            let_go(old).await;
            leaving.send_modify(|count| *count -= 1);
        });
    }

    /// What is served, or was before it was unloaded.
    fn serving(&self) -> Option<Arc<[Fetched]>> {
        self.current.as_ref().map(|current| Arc::clone(&current.load().versions))
    }

    fn publish(&self) {
        let (state, error) = match self.state.phase() {
            Phase::Loading => (FollowState::Loading, None),
            Phase::Serving => (FollowState::Serving, None),
            Phase::Failed(error) => (FollowState::Failed, Some(error)),
        };
        let serving = self.serving().filter(|_| self.state.is_serving());
        let desired = self.state.desired().map(|target| target.0.iter().map(|version| version.name.clone()).collect());
        let status = FollowStatus {
            state,
            since: SystemTime::now(),
            desired: desired.unwrap_or_default(),
            serving: serving.map(|versions| names_of(&versions)).unwrap_or_default(),
            error,
            notice: self.notice.clone(),
            connected: self.state.is_up(),
            heard: self.heard,
        };
        self.status.send_if_modified(|known| {
            let changed = !known.says_the_same(&status);
            let since = if changed { status.since } else { known.since };
            *known = FollowStatus { since, ..status };
            changed
        });
    }
}

fn names_of(versions: &[Fetched]) -> Vec<String> {
    versions.iter().map(|fetched| fetched.version.name.clone()).collect()
}
