//! How to follow.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use super::cache::Cache;
use super::driver::Driver;
use super::names::{Names, is_no_model};
use super::report::Reporting;
use super::work::Loader;
use super::{BoxError, Fetched, Followed, Tasks};
use crate::{Error, RegistryClient};

/// What the cache may take unless the program says so.
const CACHE_BYTES: u64 = 10 << 30;

/// A follower that has not begun: choose how to follow, then [`start`](Self::start).
///
/// **When the name moves on,** the watch tells it. The version's files are fetched to the [cache](Self::cache), except for what it
/// or the version before has already, and checked against their digests; the version is loaded, [checked](Self::check), and put in the
/// place of the other one in one step. That one is dropped by a thread of its own once no request uses it, and its files
/// stay, so that a rollback fetches nothing. Of several promotions in a row only the last is loaded: what has been fetched by then is
/// given up, and a load that runs already runs to its end for nothing, so that there are never two at once.
///
/// **When a version can't be fetched or loaded, or fails its check,** or one of these functions panics, the last good one is
/// served, and the [status](Followed::status) says why. It is tried again after a second, then after pauses that grow to a minute and are
/// partly random; at once when another version comes or the registry comes back.
///
/// **When there is nothing to follow any more:** the version was deleted or purged, or left its stage without a successor: it is
/// served all the same, and the status has a notice.
///
/// **When the registry is away,** what was loaded is served, and the status says since when. Once it is back the names are looked up
/// again.
///
/// **What it runs, it reports** to the registry, as an [instance](crate::pb::Instance) of the model: which version is to be served, which
/// one is, and why not the other. That is told in the background: a registry that can't be told changes nothing here, and is told later.
#[must_use = "nothing is followed before start()"]
pub struct Follower<M> {
    client: RegistryClient,
    names: Vec<String>,
    loader: Loader<M>,
    cache: Option<PathBuf>,
    cache_bytes: u64,
    jitter: Duration,
    wait: bool,
    reporting: Reporting,
}

impl<M> Follower<M> {
    pub(super) fn new(
        client: RegistryClient,
        names: Vec<String>,
        load: impl Fn(&[Fetched]) -> Result<M, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let loader = Loader { load: Arc::new(load), check: Arc::new(|_| Ok(())), empty: None };
        Self {
            client,
            names,
            loader,
            cache: None,
            cache_bytes: CACHE_BYTES,
            jitter: Duration::ZERO,
            wait: false,
            reporting: Reporting::default(),
        }
    }

    /// What a model has to pass before it is served: warms it up, and tries it with inputs whose answers are known. Runs where
    /// the load does. Of several checks the last one given counts.
    pub fn check<E: Into<BoxError>>(mut self, check: impl Fn(&M) -> Result<(), E> + Send + Sync + 'static) -> Self {
        self.loader.check = Arc::new(move |model| check(model).map_err(Into::into));
        self
    }

    /// Where the cache is. Unless set, it is the folder in the variable `MODEL_REGISTRY_CACHE_FOLDER`, or else `model-registry` in the
    /// user's cache directory (`$XDG_CACHE_HOME`, or `.cache` in the home directory).
    ///
    /// Several processes may share one, also such as follow other registries. Whoever can write to it decides what is served while
    /// the registry is away.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// How many bytes the cache may have; 10 GiB unless set. After each swap the versions that were not used for the longest time are
    /// removed until it has no more, but none that a process uses: what it serves, and what it served before that.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Waits for a random part of this time before a new version is fetched, so that not all instances of a service load at the
    /// same moment. Zero unless set. The first version is not waited for.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Let [`start`](Self::start) wait for as long as there is nothing to serve, rather than fail: until the registry is there, a version
    /// has the stage or the alias, and one can be loaded. That there is no such model is an error all the same.
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Whether the registry is told what runs here, as it does unless this says otherwise: an [instance](crate::pb::Instance) of the model,
    /// from the start until the handle is dropped. See `registryctl status`.
    pub fn report(mut self, report: bool) -> Self {
        self.reporting.on = report;
        self
    }

    /// The id of the instance that is reported, such as the name of a pod: no other process may have it, nor another follower of the
    /// same model. Unless set, it is made of the host's name, the process's number and some random letters. If several names of one model
    /// are followed, what is followed of it is added: `web-1+production`.
    pub fn report_as(mut self, id: impl Into<String>) -> Self {
        self.reporting.id = Some(id.into());
        self
    }

    /// Adds a label to the instance that is reported, for selecting: `zone` is `eu-1`.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.reporting.labels.insert(key.into(), value.into());
        self
    }

    /// Starts to follow, and answers when there is something to serve: the version that the name stands for.
    ///
    /// If the registry can't be reached within a few seconds, or that version can't be loaded, it is the version that a process with
    /// the same cache served last: [`is_stale`](super::FollowStatus::is_stale) says so.
    ///
    /// Has to be awaited in a Tokio runtime, which also runs what follows. A program that may start before the registry does makes its
    /// client with [`connect_lazy`](crate::Builder::connect_lazy).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a name that is not a version's. If there is nothing in the cache, either:
    /// [`is_not_found`](Error::is_not_found) if there is no such model, or nothing in that stage,
    /// [`is_unavailable`](Error::is_unavailable) after the client's [patience](crate::Builder::retry_for) with the registry,
    /// [`Error::Load`], or those of a [pull](RegistryClient::pull).
    pub async fn start(self) -> Result<Followed<M>, Error>
    where
        M: Send + Sync + 'static,
    {
        let names = Names::of(self.names)?;
        let followed = names.followed();
        let cache = Cache::new(self.client.clone(), self.cache, self.cache_bytes)?;
        let client = self.client.clone();
        let (mut driver, status) = Driver::new(self.client, names, cache, self.loader, self.jitter).await;
        // From now on: that nothing can be loaded is to be seen, too.
        let reporter = self.reporting.begin(&client, &followed, status.clone());
        let current = loop {
            if let Some(current) = driver.current() {
                break current;
            }
            driver.turn().await;
            if let Some(error) = driver.take_error_if_stuck()
                && (!self.wait || is_no_model(&error) || error.is_invalid_argument())
            {
                return Err(error);
            }
        };
        let mut following = JoinSet::new();
        following.spawn(async move {
            loop {
                driver.turn().await;
            }
        });
        Ok(Followed { current, status, tasks: Mutex::new(Some(Tasks { following, reporter })) })
    }
}

impl<M: Send + 'static> Follower<M> {
    /// Drops a model before the next one is loaded, where there is no room for two: for that time, and until one can be loaded, the
    /// model is `None`. The next version is fetched before. If a request still uses the old one after ten seconds, it is loaded
    /// beside it all the same. If it can't be loaded, the last good one is loaded again, and it is tried again after a minute, later up to
    /// once an hour: each attempt takes the good one away.
    pub fn unload_first(self) -> Follower<Option<M>> {
        let Self { client, names, loader, cache, cache_bytes, jitter, wait, reporting } = self;
        let loader = loader.unloading_first();
        Follower { client, names, loader, cache, cache_bytes, jitter, wait, reporting }
    }
}

impl<M> fmt::Debug for Follower<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("names", &self.names).field("cache", &self.cache).finish_non_exhaustive()
    }
}
