//! What a version is loaded into: a link that leads to it, and a command that took it.

use std::time::Duration;

use registry_client::Fetched;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::link::Link;
use crate::Failure;
use crate::run::{Ending, Process, Runner, status};

/// How long the client waits for what is unloaded.
pub(super) const UNLOAD: Duration = Duration::from_secs(10);

/// A version that is served.
#[derive(Debug)]
pub(super) struct Served {
    /// The server that serves it, if that is what the command is.
    process: Option<Process>,
}

impl Served {
    /// When and how the server ends.
    pub(super) fn end(&self) -> Option<Ending> {
        self.process.as_ref().map(Process::end)
    }
}

/// How versions come to be served.
#[derive(Debug)]
pub(super) struct Loader {
    /// The names that are followed.
    pub(super) names: Vec<String>,
    pub(super) link: Option<Link>,
    pub(super) runner: Option<Runner>,
    /// When a server counts as up; `None` if the command is one that ends.
    pub(super) up_after: Option<Duration>,
}

/// What the client takes for a reason.
type Reason = Box<dyn std::error::Error + Send + Sync>;

impl Loader {
    /// Moves the link, and runs the command; if that fails, the link leads where it led.
    pub(super) fn load(&self, fetched: &[Fetched]) -> Result<Served, Reason> {
        let Some(link) = &self.link else { return self.run(fetched) };
        let [one] = fetched else { return Err("a link leads to one version".into()) };
        let before = link.target();
        link.point(one.folder())?;
        let loaded = self.run(fetched);
        if loaded.is_err() {
            link.restore(before.as_deref())?;
        }
        loaded
    }

    fn run(&self, fetched: &[Fetched]) -> Result<Served, Reason> {
        let Some(runner) = &self.runner else { return Ok(Served { process: None }) };
        // The client loads on threads that may wait.
        Handle::current().block_on(self.ran(runner, fetched)).map_err(|error| error.to_string().into())
    }

    async fn ran(&self, runner: &Runner, fetched: &[Fetched]) -> Result<Served, Failure> {
        let process = runner.start(self.variables(fetched), None)?;
        let ended = status(process.end());
        let Some(up_after) = self.up_after else {
            runner.judged(ended.await?)?;
            return Ok(Served { process: None });
        };
        match timeout(up_after, ended).await {
            Err(_) => Ok(Served { process: Some(process) }),
            Ok(ended) => {
                Err(format!("{} ended ({}), and was not up for {up_after:?}", runner.program(), ended?).into())
            }
        }
    }

    /// What the command is told.
    fn variables(&self, fetched: &[Fetched]) -> [(&'static str, String); 4] {
        let each = |of: fn(&Fetched) -> String| fetched.iter().map(of).collect::<Vec<_>>().join("\n");
        [
            ("MODEL_REGISTRY_FOLDER", each(|one| one.folder().to_string_lossy().into_owned())),
            ("MODEL_REGISTRY_VERSION", each(|one| one.version().name.clone())),
            ("MODEL_REGISTRY_NAME", self.names.join("\n")),
            ("MODEL_REGISTRY_REVISION", each(|one| one.version().revision.to_string())),
        ]
    }
}
