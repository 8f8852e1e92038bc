//! `audit`: exports of the log, and proofs that need nobody's word.

mod csv;
mod lines;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use registry_client::pb;
use registry_common::tlog::{self, Checkpoint, Verifier};

use self::lines::{Line, Writer};
use self::verify::{Verification, trusted};
use crate::admin::bar;
use crate::output::{count, note};
use crate::{Context, Failure, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Write the whole log with what proves it to a file, which `audit verify` verifies without the registry.
    Export {
        /// Where to: a file, or `-`.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// JSON lines, or a table for people, which can't be verified.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
    },
    /// Verify an export, a proof or a checkpoint in a file, offline: the hash of each event, their order, and the signature over all of
    /// them. Names the first event that is not what it was. Fails with exit code 7.
    Verify(Verify),
    /// Prove that the events of a revision are in the log: `audit prove 42`.
    Prove {
        /// The revision.
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        revision: i64,
        /// A file for the proof, which `audit verify` verifies; or `-`.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Print a checkpoint: what the log is now, signed. Keep it where those who run the registry can't change it.
    Checkpoint {
        /// The newest one that witnesses have signed, too.
        #[arg(long, conflicts_with = "since")]
        cosigned: bool,
        /// A checkpoint that was kept: the log of now has to begin with the log of then. Fails with exit code 7 if it does not.
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
    },
    /// Add the lines of witnesses to a checkpoint: a file with the note, and their lines below.
    Cosign {
        /// The file.
        file: PathBuf,
    },
    /// Print the public key that checkpoints are verified with.
    Key,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// What `audit export`, `audit prove` or `audit checkpoint` wrote.
    file: PathBuf,
    /// The registry's public key, or a file with it, as `audit key` prints it; by default the one in the file, which proves only that the
    /// file is whole.
    #[arg(long)]
    key: Option<String>,
    /// An earlier export, or a checkpoint: the log has to begin with what it was then.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

/// In what form an export is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Form {
    #[default]
    Jsonl,
    Csv,
}

pub(crate) async fn audit(context: &Context, command: Audit) -> Result<(), Failure> {
    match command {
        Audit::Export { to, format } => export(context, &to, format).await,
        Audit::Prove { revision, to } => prove(context, revision, to.as_deref()).await,
        Audit::Checkpoint { cosigned, since } => checkpoint(context, cosigned, since.as_deref()).await,
        Audit::Cosign { file } => {
            let cosigned = context.client.add_cosignatures(std::fs::read_to_string(&file)?).await?;
            print(context, &cosigned)
        }
        Audit::Key => {
            let checkpoint = context.client.checkpoint().await?;
            context.out.message("Checkpoint", &checkpoint, |checkpoint| checkpoint.public_key.clone())
        }
        Audit::Verify(command) => verify(&context.out, &command),
    }
}

/// Verifies a file. No registry is asked.
pub(crate) fn verify(out: &Output, command: &Verify) -> Result<(), Failure> {
    let verified = verify::file(&command.file, command.key.as_deref(), command.since.as_deref())?;
    if command.key.is_none() {
        note(
            "the key is the one in the file: whoever changed it all would have put in their own; give yours with --key",
        );
    }
    if out.json { out.value(&verified) } else { out.line(&verified.to_string()) }
}

async fn export(context: &Context, to: &Path, format: Form) -> Result<(), Failure> {
    let (checkpoint, mut leaves) = context.client.export_log().await?;
    let key: Verifier = checkpoint.public_key.parse()?;
    let signed = trusted(&checkpoint.note, &key)?;
    let bar = bar("event {pos}/{len}");
    bar.set_length(signed.size);
    let mut out = Writer::to(to)?;
    let mut table = match format {
        Form::Jsonl => {
            out.line(&Line::Checkpoint(checkpoint.clone()))?;
            None
        }
        Form::Csv => Some(csv::Table::new()),
    };
    // What is exported is verified on the way: a registry that sends something else than it signed is found out here.
    let mut verification = Verification::of(signed, None);
    while let Some(leaf) = leaves.try_next().await? {
        verification.leaf(&leaf, false)?;
        bar.set_position(verification.size());
        match &mut table {
            None => out.line(&Line::Leaf(leaf))?,
            Some(table) => out.text(&table.row(&leaf)?)?,
        }
    }
    let (verified, _) = verification.end()?;
    bar.finish_and_clear();
    out.finish()?;
    if to == Path::new("-") {
        return Ok(());
    }
    if context.out.json {
        return context.out.value(&verified);
    }
    context.out.line(&format!("exported to {}: {verified}", to.display()))
}

async fn prove(context: &Context, revision: i64, to: Option<&Path>) -> Result<(), Failure> {
    let checkpoint = context.client.checkpoint().await?;
    let key: Verifier = checkpoint.public_key.parse()?;
    let signed = trusted(&checkpoint.note, &key)?;
    let proof = context.client.prove_inclusion(revision).tree_size(checkpoint.tree_size).await?;
    let verified = verify::proof(&signed, &proof)?;
    if let Some(to) = to {
        let mut out = Writer::to(to)?;
        out.line(&Line::Checkpoint(checkpoint))?;
        out.line(&Line::Proof(proof))?;
        out.finish()?;
        if to == Path::new("-") {
            return Ok(());
        }
    }
    if context.out.json { context.out.value(&verified) } else { context.out.line(&verified.to_string()) }
}

async fn checkpoint(context: &Context, cosigned: bool, since: Option<&Path>) -> Result<(), Failure> {
    let call = context.client.checkpoint();
    let checkpoint = if cosigned { call.cosigned() } else { call }.await?;
    if let Some(file) = since {
        let key: Verifier = checkpoint.public_key.parse()?;
        let now = trusted(&checkpoint.note, &key)?;
        let then = trusted(&std::fs::read_to_string(file)?, &key)?;
        begins_with(context, &now, &then).await?;
        note(&format!("the log of {} begins with that of {}", count(now.size, "event"), count(then.size, "event")));
    }
    print(context, &checkpoint)
}

/// Proves that a log begins with what it was.
async fn begins_with(context: &Context, now: &Checkpoint, then: &Checkpoint) -> Result<(), Failure> {
    if then.size > now.size {
        let lost = format!("the log has {}, and had {}: it was truncated", count(now.size, "event"), then.size);
        return Err(verify::damaged(lost));
    }
    let sizes = (then.size.cast_signed(), now.size.cast_signed());
    let proof = context.client.prove_consistency(sizes.0).to_size(sizes.1).await?;
    let hashes = verify::hashes(&proof.hashes)?;
    tlog::verify_consistency(&hashes, (then.size, then.root), (now.size, now.root)).map_err(|_| {
        let begins = format!("the first {} are not what they were: the log was forked", count(then.size, "event"));
        verify::damaged(begins)
    })
}

/// Prints a checkpoint as it is signed, so that a file with it is one.
fn print(context: &Context, checkpoint: &pb::Checkpoint) -> Result<(), Failure> {
    context.out.message("Checkpoint", checkpoint, |checkpoint| {
        checkpoint.note.trim_end_matches('\n').split('\n').map(str::to_owned).collect::<Vec<_>>()
    })
}
