//! The arguments of the commands that move files.

use std::path::PathBuf;

use clap::{ArgGroup, Args as Group, Subcommand};
use registry_client::{Name, known};

use super::values::Open;
use super::{Draft, known_values, pair};

#[derive(Debug, Group)]
pub(crate) struct Publish {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The model's name.
    pub(crate) model: Name,
    /// Make the model if it is missing.
    #[arg(long)]
    pub(crate) create: bool,
    /// Follow links that lead out of the folder, as the snapshots of a Hugging Face cache have them.
    #[arg(long)]
    pub(crate) follow_links: bool,
    /// Leave out what this pattern matches, as a line of a `.gitignore` would: `*.log`, `/data/`; `!.env` takes in what is left out
    /// otherwise. May be given several times, and goes over the lines of `.registryignore` in the folder.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Take also what is left out by default (`.git`, `__pycache__`, `.env`, ...) and what `.registryignore` leaves out.
    #[arg(long)]
    pub(crate) no_ignore: bool,
    /// Say what would be published, and what not, and whether the registry would take it; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take nothing from the folder's `MLmodel`, in which MLflow says what a model was made with, takes and returns.
    #[arg(long)]
    pub(crate) no_mlmodel: bool,
    /// Another name for the version, for example `1.4.0`. If a publish under this name broke off, this one goes on with it.
    #[arg(long)]
    pub(crate) version_id: Option<String>,
    #[command(flatten)]
    pub(crate) draft: Draft,
}

#[derive(Debug, Group)]
pub(crate) struct Pull {
    /// The version, for example `fraud@production`.
    #[arg(value_name = "VERSION")]
    pub(crate) name: Name,
    /// The folder, made if missing; by default the model and the version's number, for example `fraud-7`, after the namespace as in
    /// `risk~fraud-7` if that is not the default one.
    #[arg(short, long, value_name = "FOLDER", value_parser = folder)]
    pub(crate) output: Option<PathBuf>,
    /// Take also a version that is not READY, or was given up, or has its content elsewhere: what the registry has of it.
    #[arg(long)]
    pub(crate) partial: bool,
    /// Only artifacts that this pattern matches, as a line of a `.gitignore` would: `*.onnx`, `plots/`, `/config.json`. May be given
    /// several times. What the folder has of the same version stays.
    #[arg(long = "file", value_name = "PATTERN")]
    pub(crate) files: Vec<String>,
    /// Replace also files that no pull has put there, or that were changed since; otherwise they are named, and nothing is pulled.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Upload {
    /// The version.
    pub(crate) version: Name,
    /// The file, or `-` for what comes from standard input.
    pub(crate) file: PathBuf,
    /// Where it goes in the version; the file's own name by default.
    #[arg(long)]
    pub(crate) path: Option<String>,
    #[arg(long = "type", value_name = "TYPE")]
    #[arg(help = known_values("What it is, guessed from the name by default", known::artifact_type::ALL))]
    #[arg(value_parser = Open::new(known::artifact_type::ALL.iter().copied()), hide_possible_values = true)]
    pub(crate) artifact_type: Option<String>,
    /// A tag for selecting; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) tags: Vec<(String, String)>,
}

#[derive(Debug, Group)]
pub(crate) struct Export {
    /// The version, for example `fraud@production`.
    #[arg(value_name = "VERSION")]
    pub(crate) name: Name,
    /// The folder of the OCI image layout; made if missing, and others may be in it.
    #[arg(long, value_name = "FOLDER", value_parser = folder)]
    pub(crate) oci: PathBuf,
    /// Its name in the layout, taken from what has it; by default the model and the version's number, for example `fraud-7`, after
    /// the namespace as in `risk/fraud-7` if that is not the default one.
    #[arg(long = "ref", value_name = "NAME")]
    pub(crate) reference: Option<String>,
}

#[derive(Debug, Group)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    group = ArgGroup::new("source").required(true).args(["folder", "oci"])
)]
pub(crate) struct Import {
    #[command(subcommand)]
    pub(crate) from: Option<ImportFrom>,
    /// The folder of an older registry, that holds a folder for each model.
    #[arg(conflicts_with = "ImportOci")]
    pub(crate) folder: Option<PathBuf>,
    /// Leave out what can't be imported, and import the rest; otherwise nothing is.
    #[arg(long, conflicts_with = "ImportOci")]
    pub(crate) skip_bad: bool,
    #[command(flatten)]
    pub(crate) image: ImportOci,
}

/// Sources of an import other than a folder.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// Take the model registry of an MLflow server over: models, versions under the same numbers, aliases, stages, tags and files, and the
    /// metrics and parameters of the runs that they are from.
    ///
    /// Run again, it takes what is new there, and changes nothing that is here. It calls MLflow as its clients do: with
    /// MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and MLFLOW_TRACKING_SERVER_CERT_PATH.
    Mlflow(ImportMlflow),
}

#[derive(Debug, Group)]
pub(crate) struct ImportMlflow {
    /// The server, for example `http://mlflow:5000`.
    pub(crate) url: String,
    /// These models only, by their names there.
    pub(crate) models: Vec<String>,
    /// Take also the versions behind one that can't be taken: if that one is taken later, it has another number than there.
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Leave the files where they are: versions are references to them.
    #[arg(long)]
    pub(crate) references: bool,
    /// Read files also at paths of this machine, as a server has them that runs here. Whoever runs the server says which paths.
    #[arg(long, conflicts_with = "references")]
    pub(crate) local_folders: bool,
}

#[derive(Debug, Group)]
#[command(next_help_heading = "From an OCI image layout")]
pub(crate) struct ImportOci {
    /// The folder of the layout, or an archive of one: a file, or the URL of an object, that ends in `.tar`.
    #[arg(long, value_name = "FOLDER|FILE|URL", requires = "model")]
    pub(crate) oci: Option<String>,
    /// The model that gets the version.
    #[arg(long, requires = "oci")]
    pub(crate) model: Option<Name>,
    /// Which model of the layout: its name there, or its digest. Not needed if there is one only.
    #[arg(long = "ref", value_name = "NAME", requires = "oci")]
    pub(crate) reference: Option<String>,
    /// The version's id, in place of the one that it has in the layout.
    #[arg(long, requires = "oci")]
    pub(crate) version_id: Option<String>,
    /// Make the model if it is missing.
    #[arg(long, requires = "oci")]
    pub(crate) create: bool,
}

/// A folder to write to.
fn folder(text: &str) -> Result<PathBuf, &'static str> {
    if text == "-" { Err("a folder is needed, and standard output is none") } else { Ok(text.into()) }
}

#[derive(Debug, Group)]
pub(crate) struct Verify {
    /// A folder that was pulled. No registry is asked; exit code 1 if it is not what it says.
    pub(crate) folder: Option<PathBuf>,
    /// Check no bytes of artifacts.
    #[arg(long, conflicts_with = "folder")]
    pub(crate) skip_artifacts: bool,
}
