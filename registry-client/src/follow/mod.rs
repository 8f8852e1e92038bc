//! The version behind a name, in hand: fetched, loaded, checked, and replaced when the name moves on.

mod builder;
mod cache;
mod driver;
mod names;
mod report;
mod state;
mod status;
mod work;

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use self::builder::Follower;
use self::cache::InUse;
pub use self::status::{FollowState, FollowStatus};
use crate::names::{complete, complete_all};
use crate::{RegistryClient, pb};

impl RegistryClient {
    /// Keeps the version behind a name loaded: a stage's (`fraud@production`), an alias's (`fraud@champion`), the newest one
    /// (`fraud@latest`), or one by its id (`fraud/versions/1.4.0`).
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let followed = client
    ///     .follow("fraud@production")
    ///     .load(|folder, _version| std::fs::read(folder.join("model.onnx")))
    ///     .check(|model| if model.is_empty() { Err("the model is empty") } else { Ok(()) })
    ///     .start()
    ///     .await?;
    ///
    /// // For each request: one model, whatever is promoted meanwhile.
    /// let serving = followed.current();
    /// println!("{}: {} bytes", serving.version().name, serving.model.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [`Follower`] for what happens when, and for the options.
    pub fn follow(&self, name: impl Into<String>) -> Follow {
        Follow { client: self.clone(), name: complete(name) }
    }

    /// Keeps the versions behind several names loaded as one: they are looked up as of one revision, so that what was promoted together
    /// ([`batch_transition_stages`](Self::batch_transition_stages)) is swapped together, and loaded by one function.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let followed = client
    ///     .follow_all(["fraud@production", "fraud-rules@production"])
    ///     .load(|fetched| fetched.iter().map(|one| std::fs::read(one.folder().join("model"))).collect::<Result<Vec<_>, _>>())
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn follow_all(&self, names: impl IntoIterator<Item = impl Into<String>>) -> FollowAll {
        FollowAll { client: self.clone(), names: complete_all(names) }
    }
}

/// What an error of a program's own is here.
type BoxError = Box<dyn StdError + Send + Sync>;

/// A name to be followed: say how a version is [loaded](Self::load).
#[must_use = "nothing is followed before load() and start()"]
#[derive(Debug, Clone)]
pub struct Follow {
    client: RegistryClient,
    name: String,
}

impl Follow {
    /// How a version is loaded from the folder with its files.
    ///
    /// It runs on a thread where it may block and compute, one at a time; `tokio::runtime::Handle::current().block_on(...)` works in it
    /// where something is async. The files stay where they are for as long as the model is served, and are not to be changed: other
    /// processes may use them, too.
    pub fn load<M, E: Into<BoxError>>(
        self,
        load: impl Fn(&Path, &pb::Version) -> Result<M, E> + Send + Sync + 'static,
    ) -> Follower<M> {
        let load = move |fetched: &[Fetched]| match fetched {
            [one] => load(&one.folder, &one.version).map_err(Into::into),
            _ => Err("one version is loaded at a time".into()),
        };
        Follower::new(self.client, vec![self.name], load)
    }
}

/// Names to be followed together: say how their versions are [loaded](Self::load).
#[must_use = "nothing is followed before load() and start()"]
#[derive(Debug, Clone)]
pub struct FollowAll {
    client: RegistryClient,
    names: Vec<String>,
}

impl FollowAll {
    /// How the versions are loaded: one for each name, in the order of the names. Otherwise as [`Follow::load`].
    pub fn load<M, E: Into<BoxError>>(
        self,
        load: impl Fn(&[Fetched]) -> Result<M, E> + Send + Sync + 'static,
    ) -> Follower<M> {
        Follower::new(self.client, self.names, move |fetched| load(fetched).map_err(Into::into))
    }
}

/// A version that is in a folder of the cache, which stays there as long as this does.
#[derive(Debug, Clone)]
pub struct Fetched {
    version: pb::Version,
    folder: PathBuf,
    #[expect(dead_code, reason = "it is held, not read")]
    in_use: InUse,
}

impl Fetched {
    /// The version, under its canonical name.
    pub fn version(&self) -> &pb::Version {
        &self.version
    }

    /// The folder with its files, each at its artifact's path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A model that is served, and which one it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Serving<M> {
    /// What was loaded.
    pub model: M,
    /// Of what: one version for each name, and at least one.
    versions: Arc<[Fetched]>,
}

impl<M> Serving<M> {
    /// The version that it was loaded from; of several, the first.
    pub fn version(&self) -> &pb::Version {
        &self.versions[0].version
    }

    /// The folder with the version's files; of several, the first.
    pub fn folder(&self) -> &Path {
        &self.versions[0].folder
    }

    /// All the versions, one for each name that is [followed](RegistryClient::follow_all), in that order.
    pub fn versions(&self) -> &[Fetched] {
        &self.versions
    }
}

/// A model that is always the right one, as far as that is known here. Dropped, it follows no more, and the registry is told so
/// in the background; [`stop`](Self::stop) waits for that.
///
/// It is shared by reference or in an `Arc`.
#[must_use = "dropped, it follows no more"]
pub struct Followed<M> {
    current: Arc<ArcSwap<Serving<M>>>,
    status: watch::Receiver<FollowStatus>,
    /// What follows, and what tells the registry what runs, which ends after it. `None` once it was stopped.
    tasks: Mutex<Option<Tasks>>,
}

#[derive(Debug)]
struct Tasks {
    /// Ends when this is dropped.
    following: JoinSet<()>,
    reporter: Option<JoinHandle<()>>,
}

impl<M> Followed<M> {
    /// What is served now. This is an atomic operation or two and never waits, whatever is being loaded.
    ///
    /// Ask once for each request and use that to its end, so that all of it sees one model. Do not keep it longer: the model is not
    /// dropped before.
    pub fn current(&self) -> Arc<Serving<M>> {
        self.current.load_full()
    }

    /// How it is doing.
    pub fn status(&self) -> FollowStatus {
        self.status.borrow().clone()
    }

    /// Follows no more, and waits until the registry knows: for a few seconds at most. For a program that ends then; what was served is
    /// served until that.
    pub async fn stop(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Tasks { mut following, reporter }) = tasks else { return };
        following.shutdown().await;
        if let Some(reporter) = reporter {
            // That it panicked is told by the panic itself.
            let _ = reporter.await;
        }
    }

    /// The same as it changes: `changed().await` returns after each change, except of [`heard`](FollowStatus::heard) alone.
    pub fn statuses(&self) -> watch::Receiver<FollowStatus> {
        self.status.clone()
    }
}

impl<M> fmt::Debug for Followed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}
