//! The command line.

mod about;
mod alias;
mod bench;
mod choice;
mod fields;
mod files;
mod follow;
mod lists;
mod names;
mod past;
mod patience;
mod search;
mod shape;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as Group, Parser, Subcommand};
use clap_complete::Shell;
use registry_client::{Name, pb};

pub(crate) use self::about::{
    Bases, Common, CreateVersion, Draft, Finalize, IfMatch, OfModel, OfVersion, Set, Tag, TagChange, Titled,
};
pub(crate) use self::alias::Alias;
pub(crate) use self::bench::{Bench, Figure};
pub(crate) use self::choice::Choice;
pub(crate) use self::fields::Fields;
pub(crate) use self::files::{Export, Import, ImportFrom, ImportMlflow, ImportOci, Publish, Pull, Upload, Verify};
pub(crate) use self::follow::{Each, Follow};
pub(crate) use self::lists::{Events, List, Parent, Status, Watch, time};
pub(crate) use self::names::{command, parse};
pub(crate) use self::past::{AsOf, History};
pub(crate) use self::patience::{Arrival, Patience};
pub(crate) use self::search::{Count, Search, Trend};
pub(crate) use self::shape::{Shape, TableShape};
pub(crate) use self::values::{Open, one_of, pair};
use self::values::{known_values, metric};

/// Model Registry from the command line.
///
/// A model is named `fraud`, `models/fraud` or `namespaces/risk/models/fraud`; a version `fraud@production`, `fraud/versions/7` or
/// `fraud/versions/1.4.0`; an artifact `fraud@production/artifacts/model.onnx`.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, not yet or no longer there, 4 invalid argument, 5 exists already, conflict or not allowed in
/// this state, 6 registry not available or no answer in time, 7 damaged bytes, 8 some instances did not arrive (`--wait`), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "registryctl", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Where the registry is, as a URL or HOST:PORT; if it has several servers, all of them, separated by commas [env:
    /// MODEL_REGISTRY_ENDPOINT] [default: http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "URL", help_heading = GLOBAL)]
    pub(crate) endpoint: Option<String>,
    /// The namespace of names that have none, such as `fraud` [env: MODEL_REGISTRY_NAMESPACE] [default: default]
    #[arg(short, long, global = true, value_name = "NAME", value_parser = names::namespace, help_heading = GLOBAL)]
    pub(crate) namespace: Option<String>,
    /// Who calls, for the audit trail [env: MODEL_REGISTRY_ACTOR] [default: the login name, by USER, LOGNAME or the password
    /// database, or else the user's number and the host]
    #[arg(long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    pub(crate) actor: Option<String>,
    /// A file with the token to call with, read again when it changes [env: MODEL_REGISTRY_TOKEN, the token itself]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// Print JSON instead of text, errors as well: the contract's messages in protobuf's JSON form; one a line where there are several.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Give each call a trace, and print what became of it on standard error: method, code, time, and the trace's id, by which the
    /// server's log and a collector of traces have it.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) trace: bool,
    #[command(flatten)]
    pub(crate) patience: Patience,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How servers at https:// are recognised, and registryctl to them.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Tls {
    /// Authorities in PEM: servers at https:// need a certificate of theirs [env: MODEL_REGISTRY_CA_FILE] [default: the system's and
    /// Mozilla's]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate to show to servers at https://, in PEM [env: MODEL_REGISTRY_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, in PEM [env: MODEL_REGISTRY_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) client_key: Option<PathBuf>,
}

/// The heading in the help of the options that every command takes.
const GLOBAL: &str = "Global options";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a model.
    Create(Create),
    /// Make a version of a model from a folder: create, upload every file, finalize.
    Publish(Publish),
    /// Make a version without files, to be filled by `upload` and ended by `finalize`; `publish` does all of that with a folder.
    CreateVersion(CreateVersion),
    /// End the filling of a pending version: its files are sealed, and it can be promoted.
    Finalize(Finalize),
    /// Download all artifacts of a version into a folder; files that are there already are not downloaded again.
    Pull(Pull),
    /// Show a namespace, model, version, artifact or event.
    #[command(visible_alias = "show")]
    Get {
        /// For example `fraud`, `fraud@production`, `fraud/versions/7`, `namespaces/risk`, `events/42-0`.
        name: Name,
        #[command(flatten)]
        as_of: AsOf,
        #[command(flatten)]
        fields: Fields,
        #[command(flatten)]
        shape: Shape,
    },
    /// List models, the versions of a model, or the artifacts of a version.
    #[command(visible_alias = "ls")]
    List(List),
    /// Find models and versions by words in their names, types, frameworks, teams, projects, tags and descriptions, the best first.
    Search(Search),
    /// Count models or versions by their values: `count --by team`, `count fraud --by framework,stage`.
    Count(Count),
    /// How a metric of a model went from version to version: `trend fraud validation.auc`.
    Trend(Trend),
    /// Change what a namespace, model or version says of itself. What is not given stays: metrics, parameters, tags and annotations
    /// are added to those that are there; a field of the file takes the place of the one that is there.
    #[command(arg_required_else_help = true)]
    Set(Set),
    /// Set and remove tags of a namespace, model or version: `tag fraud region=eu candidate-`.
    Tag(Tag),
    /// Move a version to a stage; what held it leaves in the same step.
    Promote(Promote),
    /// Give a stage back to the version that held it before.
    Rollback(Rollback),
    /// Set, delete or list the aliases of a model.
    #[command(subcommand)]
    Alias(Alias),
    /// Compare versions: their metrics, of which the first is the baseline, and what else they differ in.
    Compare {
        /// Two or more versions.
        #[arg(required = true, num_args = 2.., value_name = "VERSION")]
        names: Vec<Name>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Delete old versions of a model, and keep them elsewhere before with --backup-to. What is in production, staging, aliased or pending stays.
    Prune(Prune),
    /// Delete a namespace without models, a model, a version, or an artifact that is not sealed. All but artifacts can be undeleted;
    /// what a version or model had, a stage or aliases, it has to be given again.
    Delete {
        /// What to delete.
        name: Name,
        /// Even if it is in production or carries an alias.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// Take the deletion of a namespace, model or version back.
    Undelete {
        /// What to bring back.
        name: Name,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// Withdraw a version that nobody should use any more: by its number or version id it can still be pulled, with a warning, but it is
    /// never `@latest`, and is neither promoted nor given an alias.
    Withdraw(crate::withdrawal::Withdraw),
    /// Report what a check outside of the registry found out about a version: `report-check fraud/versions/7 integration succeeded`. Gates of a
    /// policy may wait for it.
    ReportCheck(crate::checks::ReportCheck),
    /// Take a withdrawal back.
    Reinstate {
        /// The withdrawn version.
        name: Name,
    },
    /// Give up a deleted version's artifacts, or a deleted model with all of its versions, at once and for good. A model's name is
    /// free after that. After a while the registry does so by itself.
    Purge {
        /// The version or model.
        name: Name,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// Upload a file as an artifact of a version.
    Upload(Upload),
    /// Download an artifact.
    Download {
        /// For example `fraud@production/artifacts/model.onnx`.
        #[arg(value_name = "ARTIFACT")]
        name: Name,
        /// The file, which is replaced if it is there, or `-` for standard output. By default the artifact's own name, and no other file
        /// that has it is replaced.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make, change or list namespaces; the first model in one makes it as well.
    #[command(subcommand)]
    Namespace(crate::namespaces::Namespace),
    /// Make, show, list, change or delete the policies that say which versions may be promoted, and what they have to show.
    #[command(subcommand)]
    Policy(crate::policies::Policy),
    /// Ask for approvals of a promotion or a move of an alias, give them, and do what was approved.
    #[command(subcommand)]
    Approval(crate::approvals::Approval),
    /// Keep a model or a version as it is, or only from being deleted: `lock fraud -m 'wrong scores'`.
    Lock(crate::locks::Lock),
    /// Release a lock.
    Unlock {
        /// For example fraud/locks/lock.
        lock: String,
    },
    /// List the locks of a model and of its versions, or of all models.
    Locks(crate::locks::Locks),
    /// Show what the gates of a stage say of a version, with the values that they see: `gates fraud/versions/7 --stage staging`.
    Gates(crate::policies::Gates),
    /// Make, change, list, move or consume durable subscriptions: the registry remembers how far the consumer of each is.
    #[command(subcommand)]
    Subscription(crate::subscriptions::Subscription),
    /// Make, change, list, test or replay webhooks: the registry sends events to a URL.
    #[command(subcommand)]
    Webhook(crate::webhooks::Webhook),
    Login(crate::login::LogIn),
    /// Forget the token that `login` keeps for this endpoint. It stays valid until it ends.
    Logout,
    /// Show who the registry takes you for.
    Whoami {
        #[command(flatten)]
        shape: Shape,
    },
    /// Say whether somebody may do something, and by which bindings: `can users/ana versions.transitionStage fraud`. Fails if not.
    Can(crate::access::Can),
    /// Give a role to somebody: `grant users/ana publisher fraud`.
    Grant(crate::access::Grant),
    /// Take a role from somebody.
    Revoke(crate::access::Grant),
    /// Tokens, roles, groups and bindings: who may do what.
    #[command(subcommand)]
    Access(crate::access::Access),
    /// List what happened: the audit trail.
    Events(Events),
    /// Export the audit trail with what proves it, verify it offline, and prove that something is in it.
    #[command(subcommand)]
    Audit(crate::audit::Audit),
    /// Show how a version, model or namespace came to be what it is: what changed, when, by whom and why. Of a stage or an alias, such
    /// as `fraud@production`: which versions held it, from when to when.
    History(History),
    /// Print what happens, as it happens, or run a command for each event.
    Watch(Watch),
    /// Keep what is behind a name at hand, such as the version in production: fetch each version that comes, point a link at it, and
    /// run a command: one that tells a service to load it, or with --restart the service itself. Ends by Ctrl-C or SIGTERM, which the
    /// command gets as well; or when the service ends, with its exit code.
    Follow(Follow),
    /// Show what each server at --endpoint says of itself: version, store, newest revision, archive. Fails with exit code 6 if one
    /// does not answer, or can't serve. With a model: which instance runs which version of it, which should, who lags, and why.
    Status(Status),
    /// Back the whole registry up while it works; `registry-server restore --from` makes a registry of the backup.
    Backup(Backup),
    /// Check the whole registry: the hash chain, the state against the log, the bytes of every artifact. With a folder, check that
    /// instead: whether it is still what was pulled into it.
    Verify(Verify),
    /// Purge versions and models that were deleted long ago and remove chunks that no artifact lists; the registry does so by itself as well.
    Gc(crate::garbage::Gc),
    /// Read every chunk of every artifact, and find those that are missing or damaged.
    Scrub {
        /// Put damaged chunks aside, so that they are sent again when one of their artifacts is uploaded again.
        #[arg(long)]
        quarantine: bool,
    },
    /// Lay a tombstone on a revision whose events can't be read, so that `verify` counts it as known and passes. Nothing is erased.
    Tombstone {
        /// The revision that `verify` named.
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        revision: i64,
        /// Why.
        #[arg(short, long)]
        comment: Option<String>,
    },
    /// Show what the artifacts of each namespace that has or had any add up to, and may.
    Usage {
        #[command(flatten)]
        table: TableShape,
    },
    /// Write a version into an OCI image layout, as a model that CNCF ModelPack tools read.
    Export(Export),
    /// Take versions over: with --oci, one from an OCI image layout; otherwise the file tree of an older registry,
    /// `MODEL/YYYYMMDD_HHMMSS/` with `metadata.json`, of which only what is missing is taken when it is run again. Links are followed
    /// within the tree. What is not taken is said; what is bad, all of it at once, before anything is sent.
    Import(Import),
    /// Measure a registry against what the machine can do without one. Makes models of its own, and purges them in the end.
    Bench(Bench),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Group)]
pub(crate) struct Backup {
    /// Where to: a file, the URL of an object such as s3://bucket/backup, or `-`. It is there only once it is complete.
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) to: String,
    /// Leave the bytes of the artifacts out.
    #[arg(long)]
    pub(crate) skip_artifacts: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Create {
    /// The model's name.
    pub(crate) model: Name,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) titled: Titled,
    #[command(flatten)]
    pub(crate) of_model: OfModel,
}

#[derive(Debug, Group)]
pub(crate) struct Promote {
    /// The version.
    #[arg(value_name = "VERSION")]
    pub(crate) name: Name,
    /// The stage to enter.
    #[arg(value_parser = one_of::<pb::Stage>(), ignore_case = true)]
    pub(crate) stage: pb::Stage,
    /// Only show what the gates say, with the values that they see. Fails with exit code 5 if they would keep the version out.
    #[arg(long, conflicts_with_all = ["dry_run", "wait"])]
    pub(crate) check: bool,
    /// Let the version in whatever its gates say, for this reason, which the audit trail keeps.
    #[arg(long = "override", value_name = "REASON", conflicts_with = "comment", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) override_reason: Option<String>,
    #[command(flatten)]
    pub(crate) change: StageChange,
}

#[derive(Debug, Group)]
pub(crate) struct Rollback {
    /// The model.
    pub(crate) model: Name,
    /// The stage to give back: staging or production.
    #[arg(long, default_value = "production", value_parser = one_of::<pb::Stage>(), ignore_case = true)]
    #[arg(hide_possible_values = true)]
    pub(crate) stage: pb::Stage,
    #[command(flatten)]
    pub(crate) change: StageChange,
}

#[derive(Debug, Group)]
pub(crate) struct StageChange {
    /// Why, for the audit trail.
    #[arg(short = 'm', long)]
    pub(crate) comment: Option<String>,
    /// What happens to the version that holds the stage now; by default, what the model's policy says.
    #[arg(long, value_name = "ACTION", value_parser = one_of::<pb::IncumbentAction>(), ignore_case = true)]
    pub(crate) incumbent: Option<pb::IncumbentAction>,
    /// Only say what would happen.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) arrival: Arrival,
    #[command(flatten)]
    pub(crate) if_match: IfMatch,
}

#[derive(Debug, Group)]
pub(crate) struct Prune {
    /// The model.
    pub(crate) model: Name,
    /// How many of the newest versions stay; with --filter, of those that meet it.
    #[arg(long)]
    pub(crate) keep: i32,
    /// Only versions that meet this condition in CEL over `version` may go, for example 'version.tags["kind"] == "nightly"'.
    // An empty one may be a variable that is not set, and would delete all.
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) filter: Option<String>,
    /// Also delete pending versions that have not changed for this long, for example 7d: what a publish left that was killed.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) pending_older_than: Option<Duration>,
    /// Only say what would go.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep each version before it goes, and read it again: in an OCI image layout in this folder, or as an archive of one below this URL,
    /// such as s3://bucket/pruned. `import --oci` brings it back. What can't be kept stays, and nothing more is deleted.
    #[arg(long, value_name = "FOLDER|URL")]
    pub(crate) backup_to: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_import_is_of_a_tree_or_of_a_layout() {
        let parse = |arguments: &[&str]| Args::try_parse_from([&["registryctl", "import"], arguments].concat());
        for right in
            [&["tree"][..], &["tree", "--namespace", "risk"], &["--oci", "dir", "--model", "fraud", "--ref", "v1"]]
        {
            assert!(parse(right).is_ok(), "{right:?}");
        }
        for wrong in [
            &[][..],
            &["--oci", "dir"],
            &["--model", "fraud"],
            &["tree", "--model", "fraud"],
            &["tree", "--oci", "dir", "--model", "fraud"],
            &["--oci", "dir", "--model", "fraud", "--skip-bad"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
