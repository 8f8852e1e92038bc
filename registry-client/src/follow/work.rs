//! Loading a version: fetch it, make room, load and check it. At most one at a time.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::cache::Cache;
use super::{BoxError, Fetched, Serving};
use crate::{Error, pb};

/// How long a request may use a model that is to be unloaded before the next one is loaded beside it.
const UNLOAD_PATIENCE: Duration = Duration::from_secs(10);

type Load<M> = Arc<dyn Fn(&[Fetched]) -> Result<M, BoxError> + Send + Sync>;
type Check<M> = Arc<dyn Fn(&M) -> Result<(), BoxError> + Send + Sync>;

/// What the program does with versions.
pub(super) struct Loader<M> {
    pub(super) load: Load<M>,
    pub(super) check: Check<M>,
    /// What is in place of a model that was unloaded to make room for the next; `None` if it stays until that is good.
    pub(super) empty: Option<fn() -> M>,
}

impl<M> Clone for Loader<M> {
    fn clone(&self) -> Self {
        Self { load: Arc::clone(&self.load), check: Arc::clone(&self.check), empty: self.empty }
    }
}

impl<M: 'static> Loader<M> {
    pub(super) fn unloading_first(self) -> Loader<Option<M>> {
        let Self { load, check, .. } = self;
        Loader {
            load: Arc::new(move |fetched| load(fetched).map(Some)),
            check: Arc::new(move |model| model.as_ref().map_or(Ok(()), |model| check(model))),
            empty: Some(|| None),
        }
    }
}

/// How many models are in memory that were served, or loaded for nothing.
pub(super) type Leaving = watch::Receiver<usize>;

/// What is being done to a version.
pub(super) enum Work<M> {
    Fetch(BoxFuture<'static, Result<Arc<[Fetched]>, Error>>),
    /// What was served goes, for this to be loaded.
    Unload(BoxFuture<'static, ()>, Arc<[Fetched]>),
    /// On a thread that can't be stopped.
    Load(JoinHandle<Result<M, Error>>, Arc<[Fetched]>),
}

/// What became of a piece of work.
pub(super) enum Done<M> {
    Fetched(Arc<[Fetched]>),
    Unloaded(Arc<[Fetched]>),
    Loaded(Serving<M>),
    Failed(Error),
}

impl<M: Send + Sync + 'static> Work<M> {
    /// Fetches one version after the other. What `like` has of them is not fetched.
    pub(super) fn fetch(cache: Cache, versions: Arc<[pb::Version]>, like: Vec<PathBuf>) -> Self {
        let fetch = async move {
            let mut fetched = Vec::new();
            for version in versions.iter() {
                fetched.push(cache.fetch(version, &like).await?);
            }
            Ok(fetched.into())
        };
        Self::Fetch(Box::pin(fetch))
    }

    /// Waits until all that is leaving has gone.
    pub(super) fn unload(mut leaving: Leaving, next: Arc<[Fetched]>) -> Self {
        let gone = async move {
            if timeout(UNLOAD_PATIENCE, leaving.wait_for(|count| *count == 0)).await.is_err() {
                warn!("a request still uses the model that is to be unloaded: the next one is loaded beside it");
            }
        };
        Self::Unload(Box::pin(gone), next)
    }

    pub(super) fn load(loader: &Loader<M>, versions: Arc<[Fetched]>) -> Self {
        let (Loader { load, check, .. }, of) = (loader.clone(), Arc::clone(&versions));
        let run = move || {
            let failed = |source| Error::Load { version: name_of(&of), source };
            let model = load(&of).map_err(failed)?;
            check(&model).map_err(failed)?;
            Ok(model)
        };
        Self::Load(spawn_blocking(run), versions)
    }

    /// The next thing that becomes of it. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Done<M> {
        match self {
            Self::Fetch(fetched) => fetched.await.map_or_else(Done::Failed, Done::Fetched),
            Self::Unload(gone, next) => {
                gone.await;
                Done::Unloaded(Arc::clone(next))
            }
            Self::Load(loaded, versions) => match loaded.await {
                Ok(Ok(model)) => Done::Loaded(Serving { model, versions: Arc::clone(versions) }),
                Ok(Err(error)) => Done::Failed(error),
                Err(error) => {
                    let problem = match error.try_into_panic() {
                        Ok(panic) => format!("it panicked: {}", message_of(&*panic)),
                        Err(error) => error.to_string(),
                    };
                    Done::Failed(Error::Load { version: name_of(versions), source: problem.into() })
                }
            },
        }
    }
}

/// Drops what was served, on a thread of its own, once nobody uses it.
pub(super) async fn let_go<M: Send + Sync + 'static>(mut old: Arc<Serving<M>>) {
    let mut pause = Duration::from_millis(1);
    loop {
        match Arc::try_unwrap(old) {
            Ok(serving) => {
                // If that panics, that is told by the panic itself.
                let _ = spawn_blocking(move || drop(serving)).await;
                return;
            }
            Err(used) => old = used,
        }
        sleep(pause).await;
        pause = (2 * pause).min(Duration::from_millis(500));
    }
}

fn name_of(versions: &[Fetched]) -> String {
    versions.iter().map(|fetched| fetched.version.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What a panic says, if that is text.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unload_waits_for_all_that_leaves() {
        let leaving = watch::Sender::new(2);
        let unload = || Work::<()>::unload(leaving.subscribe(), Vec::new().into());
        let (mut ended, mut work) = (false, unload());
        let mut turn = async || {
            tokio::task::yield_now().await;
            ended |= futures::poll!(std::pin::pin!(work.next())).is_ready();
            ended
        };
        for (count, expected) in [(2, false), (1, false), (0, true)] {
            leaving.send_replace(count);
            assert_eq!(turn().await, expected, "{count}");
        }
    }
}
