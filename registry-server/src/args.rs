//! The command line.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use prost_types::Timestamp;
use registry_server::backup::restore::Until;
use registry_server::config::{Flags, with_defaults};

/// Model Registry: models, versions, stages, artifacts and the stream of what becomes of them, over gRPC.
///
/// Without a command it serves. Every setting has a flag, a variable `MODEL_REGISTRY_...` and a key in the file that --config
/// names; `registry-server config` prints all of them.
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
    /// Print the settings in force, and where each comes from, as a file for --config: without any, a sample with all defaults
    Config {
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
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
    /// Make what a registry needs that others reach: an authority, certificates, the first token, and the settings that name them
    Init {
        /// The folder for them, in which none of them is
        folder: PathBuf,
        /// A name or an address by which clients call the server, beside localhost and this machine's name; may be given several times
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,
    },
    /// Make a master key for --encryption-key-file: without it, what it encrypts is lost, so keep a copy elsewhere
    NewKey {
        /// The file to write, of which there must be none, or `-` for standard output
        file: PathBuf,
    },
}

/// The groups of settings that the help of a command lists: those that it uses. It takes the others as well, so that all commands can be
/// given the same ones.
fn listed(command: &str) -> Option<&'static [&'static str]> {
    match command {
        "restore" | "verify" => Some(&["Store", "Artifacts", "Encryption", "Log"]),
        "claim" => Some(&["Store", "Artifacts", "Archive", "Encryption", "Log"]),
        "init" | "new-key" => Some(&[]),
        _ => None,
    }
}

impl Arguments {
    /// The arguments of this process; it ends if they are wrong, or ask for help.
    pub(crate) fn read() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line: settings may stand before and behind a command.
fn command() -> clap::Command {
    let command = with_defaults(Arguments::command()).mut_args(|arg| arg.global(true));
    let settings: Vec<_> = command.get_arguments().cloned().collect();
    command.mut_subcommands(|command| match listed(command.get_name()) {
        None => command,
        Some(groups) => {
            let is_listed = |arg: &clap::Arg| match arg.get_help_heading() {
                Some(group) => groups.contains(&group),
                None => !groups.is_empty(),
            };
            command.args(settings.iter().map(|arg| arg.clone().hide(!is_listed(arg))))
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The long flags in the help of a command, in order.
    fn flags(arguments: &[&str]) -> Vec<String> {
        let help = command().try_get_matches_from(arguments.iter().chain(&["-h"])).unwrap_err().to_string();
        let flags = help.lines().filter_map(|line| line.split_once("--").filter(|(before, _)| before.len() < 8));
        let name = |(_, flag): (&str, &str)| flag.split([' ', ',']).next().unwrap_or_default().to_owned();
        flags.map(name).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn the_help_lists_the_settings_that_a_command_uses() {
        assert_eq!(flags(&["registry-server", "new-key"]), ["help"]);
        assert_eq!(flags(&["registry-server", "init"]), ["name", "help"]);
        let (all, serve) = (flags(&["registry-server"]), flags(&["registry-server", "serve"]));
        assert!(all.len() > 28 && serve.len() + 1 == all.len(), "all but --version: {serve:?}");
        let verify = flags(&["registry-server", "verify"]);
        assert!(
            ["store", "artifacts", "encryption-key-file", "log", "config"]
                .iter()
                .all(|flag| verify.contains(&(*flag).to_owned()))
        );
        assert!(
            ["listen", "archive", "max-calls", "drain"].iter().all(|flag| !verify.contains(&(*flag).to_owned())),
            "{verify:?}"
        );
        assert!(flags(&["registry-server", "claim"]).contains(&"archive".to_owned()));
    }

    #[test]
    fn the_help_has_groups_and_defaults() {
        let help = command().try_get_matches_from(["registry-server", "-h"]).unwrap_err().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in ["Network:", "Time limits:", "[default: 127.0.0.1:50051]", "[default: 25%]", "[default: 8s]"] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn settings_stand_before_and_behind_a_command() {
        for arguments in [
            &["registry-server", "--storage-path", "x", "--max-calls", "3", "verify", "--skip-artifacts"][..],
            &["registry-server", "verify", "--max-calls", "3", "--storage-path", "x", "--skip-artifacts"],
            &["registry-server", "--max-calls", "3", "new-key", "--storage-path", "x", "file"],
        ] {
            let matches = command().try_get_matches_from(arguments).unwrap();
            let flags = format!("{:?}", Arguments::from_arg_matches(&matches).unwrap().flags);
            assert!(flags.contains("Some(\"x\")") && flags.contains("Some(3)"), "{flags}");
        }
    }
}
