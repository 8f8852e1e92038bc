//! The command line.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use prost_types::Timestamp;
use registry_server::backup::restore::Until;
use registry_server::config::Flags;

/// Model Registry: models, versions, stages, artifacts and the stream of what becomes of them, over gRPC.
///
/// Without a command it serves. Every setting has a flag, a variable `MODEL_REGISTRY_...` and a key in the file that --config
/// names.
#[derive(Debug, Parser)]
#[command(name = "registry-server", version)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve: print one line, `listening on ADDRESS`, when ready, log to stderr, and stop on SIGTERM or Ctrl-C
    Serve,
    /// Fill an empty store from a backup or an archive; run again after a break, it goes on where it was
    Restore(RestoreArguments),
    /// Check a store that no server uses: the hash chain, the state against the log, the bytes of every artifact
    Verify(VerifyArguments),
    /// Make the places that --artifacts and --archive name this registry's, whoever had them: after its records have moved, its database
    /// was recovered or promoted, or when it takes another registry's place. Stop the servers of the other one first
    Claim {
        /// Also if this registry is empty: it is to be filled by a restore. The archive stays as it is: claim it behind the restore
        #[arg(long)]
        for_restore: bool,
    },
    /// Make a master key for --encryption-key-file: without it, what it encrypts is lost, so keep a copy elsewhere
    NewKey {
        /// The file to write, of which there must be none, or `-` for standard output
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// A file that `registryctl backup` made, the folder of an archive, or the URL of either
    #[arg(long, value_name = "FILE|FOLDER|URL")]
    pub(crate) from: String,
    /// Only up to this revision
    #[arg(long, value_name = "N", conflicts_with = "time")]
    revision: Option<u64>,
    /// Only what was committed by then, for example 2026-11-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    time: Option<DateTime<Utc>>,
}

impl RestoreArguments {
    pub(crate) fn until(&self) -> Until {
        match (self.revision, self.time) {
            (Some(revision), _) => Until::Revision(revision),
            (None, Some(time)) => {
                let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
                Until::Time(Timestamp { seconds: time.timestamp(), nanos })
            }
            (None, None) => Until::End,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Check no bytes of artifacts
    #[arg(long)]
    pub(crate) skip_artifacts: bool,
}
