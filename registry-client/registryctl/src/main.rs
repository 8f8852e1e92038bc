//! `registryctl`: Model Registry from the command line.

mod access;
mod admin;
mod approvals;
mod args;
mod artifacts;
mod audit;
mod bench;
mod checks;
mod compare;
mod events;
mod failure;
mod filling;
mod folder;
mod follow;
mod garbage;
mod hints;
mod history;
mod import;
mod instances;
mod interrupt;
mod kept;
mod legacy;
mod list;
mod locks;
mod login;
mod metadata;
mod mlflow;
mod models;
mod namespaces;
mod nearest;
mod numbers;
mod objects;
mod oci;
mod output;
mod policies;
mod progress;
mod promotion;
mod prune;
mod publish;
mod rollout;
mod run;
mod search;
mod select;
mod set;
mod settings;
mod status;
mod subscriptions;
mod tarred;
mod traces;
mod values;
mod versions;
mod webhooks;
mod withdrawal;

use std::io;
use std::process::ExitCode;

use registry_client::RegistryClient;

use self::args::{Args, Command, Events, Status, Verify, Watch};
use self::output::{Format, Output, note};
use self::settings::Trust;

/// Why a command failed.
type Failure = Box<dyn std::error::Error>;

/// What a command works with.
struct Context {
    client: RegistryClient,
    /// What the client shows.
    trust: Trust,
    out: Output,
    /// Of names that have none; `None` is the default one.
    namespace: Option<String>,
}

impl Context {
    /// The name of the namespace that was asked for, and empty if none was.
    fn namespace_name(&self) -> String {
        self.namespace.as_ref().map(|id| format!("namespaces/{id}")).unwrap_or_default()
    }

    /// All models of the namespace that was asked for.
    fn all_models(&self) -> String {
        search::of_all_models(&self.namespace_name())
    }

    /// The name of something below the models of the namespace that was asked for: `fraud/approvals/74` is enough.
    fn below_models(&self, name: String) -> String {
        if name.starts_with("namespaces/") {
            return name;
        }
        let short = name.strip_prefix("models/").unwrap_or(&name);
        match &self.namespace {
            Some(namespace) => format!("namespaces/{namespace}/models/{short}"),
            None => format!("models/{short}"),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let (json, result) = if std::env::args_os().nth(1).is_some_and(|first| first == bench::floor::ARGUMENT) {
        (false, bench::floor::serve().await)
    } else {
        match settings::variable(settings::NAMESPACE) {
            Ok(namespace) => {
                let args = args::parse(std::env::args_os(), namespace).unwrap_or_else(|error| failure::refuse(&error));
                (args.format() == Some(Format::Json), run(args).await)
            }
            Err(error) => (false, Err(error)),
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A reader of the output that has gone away, such as `head`, has what it wanted.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => failure::report(&*error, json),
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let out = Output::new(args.format(), args.headers()).only(args.paths());
    match &args.command {
        Command::Completions { shell } => {
            let mut completions = Vec::new();
            clap_complete::generate(*shell, &mut args::command(None), "registryctl", &mut completions);
            return out.text(&String::from_utf8(completions)?);
        }
        Command::Verify(Verify { folder: Some(folder), .. }) => return folder::verify(&out, folder).await,
        Command::Audit(audit::Audit::Verify(command)) => return audit::verify(&out, command),
        _ => {}
    }
    if let (Some(_), Command::Events(Events { by: None, .. }) | Command::Watch(Watch { by: None, .. })) =
        (&args.actor, &args.command)
    {
        note("--actor says who calls: whose changes are shown is said by --by");
    }
    settings::log(args.trace)?;
    let (endpoint, trust) = (settings::endpoint(args.endpoint)?, Trust::of(args.token_file, args.tls)?);
    let trust = match &args.command {
        Command::Login(_) | Command::Logout => trust,
        _ => login::shown(&endpoint, trust).await?,
    };
    if let Command::Status(Status { model: None, .. }) = &args.command {
        return status::status(&out, &endpoint, &trust).await;
    }
    // So that nobody takes a command that waits for one that hangs.
    let mut builder = settings::client(&endpoint).on_outage(|outage| note(&outage.to_string()));
    if let Some(actor) = settings::actor(args.actor)? {
        builder = builder.actor(actor);
    }
    builder = trust.shown_by(builder);
    if args.trace {
        builder = builder.trace();
    }
    if let Some(wait) = args.patience.wait {
        builder = builder.retry_for(wait);
    }
    if let Some(timeout) = args.patience.timeout {
        builder = builder.timeout(timeout);
    }
    let context = Context { client: builder.connect_lazy()?, trust, out, namespace: args.namespace };
    call(&context, &endpoint, args.command).await.map_err(|error| failure::at(&endpoint, error))?;
    context.out.finish()
}

async fn call(context: &Context, endpoint: &str, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(command) => models::create(context, command).await,
        Command::Get { name, as_of, fields, .. } => models::get(context, name, as_of, &fields).await,
        Command::List(command) => list::list(context, command).await,
        Command::Search(command) => search::search(context, command).await,
        Command::Count(command) => search::count(context, command).await,
        Command::Trend(command) => search::trend(context, command).await,
        Command::Publish(command) => publish::publish(context, command).await,
        Command::CreateVersion(command) => filling::create_version(context, command).await,
        Command::Finalize(command) => filling::finalize(context, command).await,
        Command::Pull(command) => folder::pull(context, command).await,
        Command::Set(command) => set::set(context, command).await,
        Command::Tag(command) => set::tag(context, command).await,
        Command::Promote(command) => promotion::promote(context, command).await,
        Command::Rollback(command) => promotion::rollback(context, command).await,
        Command::Alias(command) => promotion::alias(context, command).await,
        Command::Compare { names, .. } => compare::compare(context, names).await,
        Command::Prune(command) => prune::prune(context, command).await,
        Command::Delete { name, force, if_match } => versions::delete(context, name, force, if_match).await,
        Command::Undelete { name, if_match } => versions::undelete(context, name, if_match).await,
        Command::Purge { name, if_match } => garbage::purge(context, name, if_match).await,
        Command::Withdraw(command) => withdrawal::withdraw(context, command).await,
        Command::ReportCheck(command) => checks::report(context, command).await,
        Command::Reinstate { name } => withdrawal::reinstate(context, name).await,
        Command::Gc(command) => garbage::collect(context, command).await,
        Command::Scrub { quarantine } => garbage::scrub(context, quarantine).await,
        Command::Upload(command) => artifacts::upload(context, command).await,
        Command::Download { name, output } => artifacts::download(context, name, output).await,
        Command::Namespace(command) => namespaces::namespace(context, command).await,
        Command::Approval(command) => approvals::approval(context, command).await,
        Command::Lock(command) => locks::lock(context, command).await,
        Command::Unlock { lock } => locks::unlock(context, lock).await,
        Command::Locks(command) => locks::list(context, command).await,
        Command::Policy(command) => policies::policy(context, command).await,
        Command::Gates(command) => policies::gates(context, command).await,
        Command::Subscription(command) => subscriptions::subscription(context, command).await,
        Command::Webhook(command) => webhooks::webhook(context, command).await,
        Command::Whoami { .. } => access::whoami(context).await,
        Command::Login(command) => login::log_in(context, endpoint, command).await,
        Command::Logout => login::log_out(context, endpoint),
        Command::Can(command) => access::can(context, command).await,
        Command::Grant(command) => access::grant(context, command).await,
        Command::Revoke(command) => access::revoke(context, command).await,
        Command::Access(command) => access::access(context, command).await,
        Command::Audit(command) => audit::audit(context, command).await,
        Command::Events(command) => events::list(context, command).await,
        Command::History(command) => history::history(context, command).await,
        Command::Follow(command) => follow::follow(context, command).await,
        Command::Watch(command) => events::watch(context, command).await,
        Command::Backup(command) => admin::backup(context, command).await,
        Command::Verify(command) => admin::verify(context, command.skip_artifacts).await,
        Command::Export(command) => oci::export(context, command).await,
        Command::Tombstone { revision, comment } => admin::tombstone(context, revision, comment).await,
        Command::Usage { .. } => admin::usage(context).await,
        Command::Import(command) => import::import(context, command).await,
        Command::Bench(command) => bench::bench(context, endpoint, command).await,
        Command::Status(Status { model: Some(model), watch, .. }) => instances::status(context, model, watch).await,
        // Done above: they need no registry, or ask each server.
        Command::Completions { .. } | Command::Status(_) => Ok(()),
    }
}

/// The options do not go together, or not with what is named.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// What is there stands in the way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct InTheWay(String);
