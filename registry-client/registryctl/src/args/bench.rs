//! What `bench` measures, and how.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args as Group, ValueEnum};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Figure {
    /// Reading a version.
    Get,
    /// Reading a page: 100 versions of a model that has 1000.
    List,
    /// The same as JSON over HTTP/1.1, each beside the call over gRPC. Only when it is asked for.
    Json,
    /// Making versions, durably: by one client, and by all of them.
    Create,
    /// Promoting versions, durably: each client two of a model of its own, in turns.
    Promote,
    /// Being told of a commit: how long that takes.
    Watch,
    /// Telling many of commits that come as fast as they can: events a second, and how long after the answer. Each watcher has to get
    /// all of them, in order.
    FanOut,
    /// Moving a large artifact.
    Artifact,
    /// Moving a large artifact as a file over HTTP/1.1: PUT and GET. Only when it is asked for: it moves some gigabytes.
    Files,
    /// Serving a model that was promoted: how long until a follower has fetched, checked, loaded and swapped it, with 1 MiB and with 100.
    /// Only when it is asked for: it moves some gigabytes.
    Follow,
    /// Making and reading versions when there are very many, against the same with a hundredth of them. Only when it is asked for: it
    /// fills the registry, best an empty one, and that again takes its time to be cleaned up.
    Growth,
    /// Nothing: it fills the registry with models and versions as a large one has them, and leaves them there, in the namespace of
    /// `--namespace`. The same options give the same ones; after a fill that broke off, they go on with it. Only by itself.
    Fill,
    /// Asking a registry that was filled with `fill`, in the namespace of `--namespace`: versions, lists, searches, counts, a trend, and what
    /// was; by one client and by all of them, when the index is ready. An answer is complete: a page that is short is gone on with. Only by
    /// itself, and when it is asked for.
    Lists,
    /// Watching a log that is there already, from its first revision to the newest, without a filter, with one that nearly all events of
    /// `fill` meet, and with one that few do. Only by itself, and when it is asked for.
    Replay,
    /// Making versions while the registry is backed up. Only when it is asked for.
    Backup,
    /// Reading and making versions as services do it, and whether a call fails meanwhile. Only by itself, and when it is asked for.
    Steady,
    /// Many watchers through a steady rate of promotions: whether each is told of all of them, in order, how late, and what it takes of
    /// the server's memory. One more reads nothing until the end, and then has to find everything. Only by itself, and when it is asked
    /// for.
    Watchers,
}

impl Figure {
    /// Whether it is measured if nothing is asked for: what takes long, or leaves much behind, is not.
    pub(crate) fn is_usual(self) -> bool {
        !self.is_by_itself() && !matches!(self, Self::Json | Self::Files | Self::Follow | Self::Growth | Self::Backup)
    }

    /// Whether it goes only by itself.
    pub(crate) fn is_by_itself(self) -> bool {
        matches!(self, Self::Fill | Self::Lists | Self::Replay | Self::Steady | Self::Watchers)
    }
}

#[derive(Debug, Group)]
pub(crate) struct Bench {
    /// What to measure [default: get, list, create, promote, watch, fan-out, artifact]
    #[arg(value_enum)]
    pub(crate) figures: Vec<Figure>,
    /// How many clients call at once.
    #[arg(long, default_value_t = 64, value_parser = some())]
    pub(crate) clients: usize,
    /// Over how many connections; with several servers, the same number to each.
    #[arg(long, default_value_t = 4, value_parser = some())]
    pub(crate) connections: usize,
    /// How long a round of a figure takes, or all of `steady` and of `watchers`.
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How many rounds a figure and its floor take, in turns; the median counts.
    #[arg(long, default_value_t = 5, value_parser = some())]
    pub(crate) rounds: usize,
    /// How many watch at once; several numbers, with commas between them, are measured one after the other [default: 1,100,1000 for
    /// `watch`, 100,1000 for `fan-out`, 1000 for `watchers`]
    #[arg(long, value_delimiter = ',', value_parser = some())]
    pub(crate) watchers: Vec<usize>,
    /// How many events each watcher of `fan-out` gets in a round [default: so many that there are 200000 deliveries]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: Option<u64>,
    /// How many promotions a second `watchers` are told of.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// The server's process id, if it is on this machine: `watchers` says what a watcher takes of its memory, and `lists` what the server
    /// does. Of a watcher one that was just started tells it best: what others have left is used first.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// How large the artifact is.
    #[arg(long, default_value_t = 1024)]
    pub(crate) artifact_mib: u64,
    /// Measure `create` and `promote` against inserts into this PostgreSQL database, best the one that the registry is on, instead of a
    /// file. `lists` says what it takes on the disk.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
    /// How many versions `backup`, `growth` and `fill` make [default: 100000 for `backup`, 1000000 for the others]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) versions: Option<u64>,
    /// How many models `fill` makes [default: a hundredth of the versions]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) models: Option<u32>,
    /// What `fill` makes is random, and always the same for the same number.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The server's storage path, if it is on this machine, and its store the embedded one: `lists` says what it takes on the disk, and
    /// `growth` what a version does, where there are enough of them: room is reserved in steps.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) storage_path: Option<PathBuf>,
    /// Where the floors write: best on the disk that the registry is on.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) scratch: PathBuf,
}

impl Bench {
    /// The numbers of watchers that were asked for, or else these.
    pub(crate) fn watchers_or(&self, usual: &[usize]) -> Vec<usize> {
        if self.watchers.is_empty() { usual.to_vec() } else { self.watchers.clone() }
    }
}

/// A number of things, at least one.
fn some() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(|| "expected a number of seconds, more than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_parts_of_one() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("0.2"), Ok(Duration::from_millis(200)));
        for wrong in ["", "0", "-1", "NaN", "inf", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
