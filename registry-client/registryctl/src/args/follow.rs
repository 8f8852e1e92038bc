//! The arguments of `follow`, and of the commands that are run.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as Group;
use registry_client::Name;

use super::pair;
use super::patience::duration;

#[derive(Debug, Group)]
pub(crate) struct Follow {
    /// The versions to follow: `fraud@production`, `fraud@champion`, `fraud@latest`. Several are of one namespace, and what is promoted
    /// together is swapped together.
    #[arg(required = true, value_name = "VERSION")]
    pub(crate) names: Vec<Name>,
    /// Point this symbolic link at the folder of what is served, in one step. It is for one name.
    #[arg(short, long, value_name = "LINK")]
    pub(crate) output: Option<PathBuf>,
    /// Where versions are kept [env: MODEL_REGISTRY_CACHE_FOLDER] [default: model-registry in the user's cache directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// What this process is called among the instances that `status MODEL` shows, such as the name of its pod; by default the host's name,
    /// the process's number and some letters
    #[arg(long, value_name = "ID")]
    pub(crate) report_as: Option<String>,
    /// A label of the instance; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Tell the registry nothing of what runs
    #[arg(long, conflicts_with_all = ["report_as", "labels"])]
    pub(crate) no_report: bool,
    /// A server that goes on: at a swap another one is started, and the one before gets SIGTERM when that is up
    #[arg(long, requires = "exec")]
    pub(crate) restart: bool,
    /// Stop the server before the next one is started, where both can't run at once, for example because they listen on the same port
    #[arg(long, requires = "restart")]
    pub(crate) stop_first: bool,
    /// How long a server has to run before it counts as up
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s", requires = "restart")]
    pub(crate) up_after: Duration,
    /// How long a command that is asked to end may take before it gets SIGKILL; at most 10s with --stop-first
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "8s", requires = "exec")]
    pub(crate) stop_timeout: Duration,
    /// Run this at every swap; all that stands behind --exec belongs to it. It is told of the version by variables: MODEL_REGISTRY_FOLDER
    /// with its files, MODEL_REGISTRY_VERSION, its whole name, MODEL_REGISTRY_NAME, the one that is followed, and
    /// MODEL_REGISTRY_REVISION, which changed the version last; of several versions each in a line. If it fails, the version counts as
    /// no good: it is tried again, with growing pauses, and until then the one before is served.
    #[arg(long, num_args = 1.., value_name = "COMMAND", allow_hyphen_values = true)]
    pub(crate) exec: Vec<String>,
}

/// What `watch` runs.
#[derive(Debug, Group)]
pub(crate) struct Each {
    /// Run this for each event, one after the other; all that stands behind --exec belongs to it. Its standard input is the event as JSON;
    /// variables say what is in it: MODEL_REGISTRY_EVENT (its name), MODEL_REGISTRY_EVENT_TYPE, MODEL_REGISTRY_EVENT_RESOURCE,
    /// MODEL_REGISTRY_EVENT_ACTOR and MODEL_REGISTRY_REVISION. If it fails, the watch ends and says how to go on.
    #[arg(long, num_args = 1.., value_name = "COMMAND", allow_hyphen_values = true, conflicts_with = "format")]
    pub(crate) exec: Vec<String>,
    /// Go on when the command fails
    #[arg(long, requires = "exec")]
    pub(crate) keep_going: bool,
}
