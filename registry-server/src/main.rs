//! The binary: reads the configuration, then serves, restores, verifies or claims, or makes a key or what a new registry needs.

mod allocator;
mod args;
mod log;
#[cfg(feature = "otlp")]
mod telemetry;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use args::{Arguments, Command, RestoreArguments, VerifyArguments};
use registry_common::shown;
use registry_server::backup::restore::restore;
use registry_server::backup::verify::verify;
use registry_server::claiming::{Claimed, claim};
use registry_server::config::{Config, Settings};
use registry_server::encryption::master::new_key;
use registry_server::init::init;
use registry_server::server::{Server, check_exposure};
use registry_server::stores::{ServeError, Stores};
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn std::error::Error>;

/// How many threads may wait for the disk, or compute what takes a while: each has a part of the memory for itself.
const BLOCKING_THREADS: usize = 64;

fn main() -> ExitCode {
    allocator::configure();
    // Whatever is written is its owner's alone: the store, the artifacts, archives.
    umask(Mode::RWXG | Mode::RWXO);
    let arguments = Arguments::read();
    let runtime = runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(arguments))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("registry-server: {}", shown::lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// How many connections wait to be taken.
const BACKLOG: u32 = 1024;

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let command = arguments.command.unwrap_or(Command::Serve);
    match &command {
        Command::NewKey { file } => return make_key(file),
        Command::Init { folder, names } => {
            print(&init(folder, names)?.to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let settings = Settings::load(&arguments.flags)?;
    let _logging = log::begin(&settings)?;
    settings.warn();
    match command {
        Command::Serve => serve(settings).await,
        Command::Restore(arguments) => run_restore(settings.config, arguments).await,
        Command::Verify(arguments) => run_verify(settings.config, arguments).await,
        Command::Claim { for_restore } => run_claim(&settings.config, for_restore).await,
        Command::Config { json } => {
            print(&if json { format!("{:#}\n", settings.to_json()) } else { settings.to_toml() })?;
            Ok(ExitCode::SUCCESS)
        }
        // Done above: they need no settings.
        Command::Init { .. } | Command::NewKey { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Prints a text. A reader that has gone away, such as `head`, has what it wanted.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn make_key(file: &Path) -> Result<ExitCode, Failure> {
    let id = new_key(file)?;
    if file == Path::new("-") {
        // Standard output has the key.
        eprintln!("made master key {id}");
    } else {
        println!("made master key {id} in {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    let config = &settings.config;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let refused = |error| format!("can't listen on {}, which --listen says: {error}", config.listen);
    // Before a store is made, which would be left behind; but nobody connects before it is open.
    let socket = config.listen.bind().await.map_err(refused)?;
    check_exposure(config, socket.local_addr()?)?;
    let watched = match &config.metrics_listen {
        Some(listen) => {
            let refused = |error| format!("can't listen on {listen}, which --metrics-listen says: {error}");
            let watched = listen.bind().await.map_err(refused)?;
            if watched.local_addr()? == socket.local_addr()? {
                return Err(format!("--metrics-listen and --listen say the same address: {listen}").into());
            }
            Some(watched.listen(BACKLOG).map_err(refused)?)
        }
        None => None,
    };
    let mut server = Server::open(config.clone()).await?;
    let listener = socket.listen(BACKLOG).map_err(refused)?;
    let address = listener.local_addr()?;
    server.describe(address).await?;
    if let Some(listener) = watched {
        tracing::info!(address = %listener.local_addr()?, "metrics are served to whoever asks");
        server = server.with_metrics_on(listener);
    }
    settings.describe();
    println!("listening on {address}");
    server
        .serve(listener, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn run_restore(config: Config, arguments: RestoreArguments) -> Result<ExitCode, Failure> {
    let stores = Stores::open_to_fill(&config).await?;
    let bar = progress("revision {pos}, {msg}");
    let restored = restore(&*stores.store, &stores.chunks, &arguments.from, arguments.until(), |restored| {
        bar.set_position(restored.revision);
        bar.set_message(format!("{} chunks", restored.chunks));
    });
    let restored = restored.await?;
    bar.finish_and_clear();
    println!("restored revision {} and {} chunks of artifacts", restored.revision, restored.chunks);
    for name in &restored.lost {
        println!("not there, or damaged: the bytes of {}", shown::line(name));
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_verify(config: Config, arguments: VerifyArguments) -> Result<ExitCode, Failure> {
    let stores = Stores::open_existing(&config).await?;
    if !stores.store.whole().await? {
        return Err(ServeError::Unfinished.into());
    }
    let bar = progress("{msg} {pos}");
    let (store, archive) = (&*stores.store, config.archive.as_deref());
    let report = verify(store, &stores.chunks, archive, arguments.skip_artifacts, |progress| {
        bar.set_message(progress.phase().as_str_name().trim_start_matches("VERIFY_PHASE_").to_lowercase());
        bar.set_position(progress.done.cast_unsigned());
    });
    let report = report.await?;
    bar.finish_and_clear();
    for problem in &report.problems {
        println!("{}: {}", shown::line(&problem.name), shown::line(&problem.detail));
    }
    println!(
        "revision {}: {} events, {} records, {} artifacts ({} bytes): {}",
        report.revision,
        report.events,
        report.records,
        report.artifacts,
        report.artifact_bytes,
        if report.problem_count == 0 { "all is well".to_owned() } else { format!("{} problems", report.problem_count) }
    );
    Ok(if report.problem_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_claim(config: &Config, for_restore: bool) -> Result<ExitCode, Failure> {
    for Claimed { place, before } in claim(config, for_restore).await? {
        let place = shown::line(&place);
        let Some(before) = before else {
            println!("{place} is this registry's already");
            continue;
        };
        println!("{place} is this registry's from now on");
        for owner in &before.claims {
            println!("it was claimed by {}", shown::line(owner));
        }
        if before.running {
            println!("warning: its server is running, or was a moment ago");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line that is drawn again as things go on, unless nobody looks at it.
fn progress(template: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template(&format!("{{spinner}} {template}"));
    indicatif::ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()))
}
