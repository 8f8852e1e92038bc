//! `registryctl`: Model Registry from the command line.

mod admin;
mod args;
mod artifacts;
mod bench;
mod events;
mod folder;
mod garbage;
mod import;
mod legacy;
mod models;
mod namespaces;
mod numbers;
mod objects;
mod oci;
mod output;
mod progress;
mod promotion;
mod settings;
mod status;
mod values;
mod versions;

use std::io::{self, Write as _};
use std::iter::successors;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use registry_client::{Error, RegistryClient};
use registry_common::shown;

use self::args::{Args, Command, Verify};
use self::output::{Output, note};

/// Why a command failed.
type Failure = Box<dyn std::error::Error>;

/// What a command works with.
struct Context {
    client: RegistryClient,
    out: Output,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| refuse(&error));
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        // A reader of the output that has gone away, such as `head`, has what it wanted.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let causes: Vec<_> =
                successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}")).collect();
            note(&format!("{error}{}", causes.concat()));
            ExitCode::from(exit_code(&*error))
        }
    }
}

/// Says what is wrong with the arguments, or the help that was asked for.
fn refuse(error: &clap::Error) -> ! {
    let text = error.to_string();
    // What was typed, or came from a script, is repeated in it.
    if text.lines().all(|line| line.chars().all(shown::is_plain)) {
        error.exit();
    }
    text.lines().for_each(|line| drop(writeln!(io::stderr(), "{}", shown::line(line))));
    std::process::exit(error.exit_code());
}

async fn run(args: Args) -> Result<(), Failure> {
    let out = Output::new(args.format(), args.headers());
    match &args.command {
        Command::Completions { shell } => {
            let mut completions = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "registryctl", &mut completions);
            return out.text(&String::from_utf8(completions)?);
        }
        Command::FloorServer => return bench::floor::serve().await,
        Command::Verify(Verify { folder: Some(folder), .. }) => return folder::verify(&out, folder).await,
        _ => {}
    }
    settings::log()?;
    let endpoint = settings::endpoint(args.endpoint)?;
    if let Command::Status = &args.command {
        return status::status(&out, &endpoint).await;
    }
    // So that nobody takes a command that waits for one that hangs.
    let mut builder = RegistryClient::builder(&endpoint).on_outage(|outage| note(&outage.to_string()));
    if let Some(actor) = settings::actor(args.actor)? {
        builder = builder.actor(actor);
    }
    let context = Context { client: builder.connect_lazy()?, out };
    call(&context, &endpoint, args.command).await?;
    context.out.finish()
}

async fn call(context: &Context, endpoint: &str, command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(command) => models::create(context, command).await,
        Command::Get { name, .. } => models::get(context, name).await,
        Command::List(command) => models::list(context, command).await,
        Command::Publish(command) => folder::publish(context, command).await,
        Command::Pull(command) => folder::pull(context, command).await,
        Command::Promote(command) => promotion::promote(context, command).await,
        Command::Rollback(command) => promotion::rollback(context, command).await,
        Command::Alias(command) => promotion::alias(context, command).await,
        Command::Compare { names, .. } => versions::compare(context, names).await,
        Command::Prune(command) => versions::prune(context, command).await,
        Command::Delete { name, force } => versions::delete(context, name, force).await,
        Command::Undelete { name } => versions::undelete(context, name).await,
        Command::Purge { name } => garbage::purge(context, name).await,
        Command::Gc(command) => garbage::collect(context, command).await,
        Command::Scrub { quarantine } => garbage::scrub(context, quarantine).await,
        Command::Upload(command) => artifacts::upload(context, command).await,
        Command::Download { name, output } => artifacts::download(context, name, output).await,
        Command::Namespace(command) => namespaces::namespace(context, command).await,
        Command::Events(command) => events::list(context, command).await,
        Command::Watch(command) => events::watch(context, command).await,
        Command::Backup(command) => admin::backup(context, command).await,
        Command::Verify(command) => admin::verify(context, command.skip_artifacts).await,
        Command::Export(command) => oci::export(context, command).await,
        Command::Tombstone { revision, comment } => admin::tombstone(context, revision, comment).await,
        Command::Usage { .. } => admin::usage(context).await,
        Command::Import(command) => import::import(context, command).await,
        Command::Bench(command) => bench::bench(context, endpoint, command).await,
        // Done above: they need no registry, or ask each server.
        Command::Completions { .. } | Command::FloorServer | Command::Status => Ok(()),
    }
}

/// What the exit code tells a script; clap's own for wrong usage is 2.
fn exit_code(error: &(dyn std::error::Error + 'static)) -> u8 {
    let of_client = successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref::<Error>());
    match of_client {
        Some(error) if error.is_not_found() => 3,
        Some(Error::InvalidOption { .. }) => 4,
        Some(error) if error.is_invalid_argument() => 4,
        Some(error) if error.is_already_exists() || error.is_conflict() || error.is_failed_precondition() => 5,
        Some(error) if error.is_unavailable() => 6,
        Some(error) if error.is_data_loss() => 7,
        None if error.is::<status::Down>() => 6,
        None if error.is::<admin::Damaged>() => 7,
        _ => 1,
    }
}
