//! The arguments of the commands that move files.

use std::path::PathBuf;

use clap::Args as Group;
use registry_client::pb;

use super::{enum_value, metric, pair};

#[derive(Debug, Group)]
pub(crate) struct Publish {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The model's name.
    pub(crate) model: String,
    /// Make the model if it is missing.
    #[arg(long)]
    pub(crate) create: bool,
    /// Another name for the version, for example `1.4.0`.
    #[arg(long)]
    pub(crate) label: Option<String>,
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// sklearn, tensorflow, pytorch, xgboost, lightgbm, onnx or custom.
    #[arg(long, value_parser = enum_value::<pb::Framework>)]
    pub(crate) framework: Option<pb::Framework>,
    #[arg(long)]
    pub(crate) framework_version: Option<String>,
    /// A metric, for example `validation.rmse=0.42`; may be given several times.
    #[arg(long = "metric", value_name = "SPLIT.NAME=VALUE", value_parser = metric)]
    pub(crate) metrics: Vec<(String, String, f64)>,
    /// A hyper-parameter, its value as JSON or plain text; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) params: Vec<(String, String)>,
    /// A tag for selecting; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) tags: Vec<(String, String)>,
    /// A version that this one was derived from; may be given several times.
    #[arg(long = "parent", value_name = "VERSION")]
    pub(crate) parents: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Pull {
    /// The version, for example `fraud@production`.
    pub(crate) name: String,
    /// The folder, made if missing; by default the model and the version's number, for example `fraud-7`.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Group)]
pub(crate) struct Upload {
    /// The version.
    pub(crate) version: String,
    /// The file.
    pub(crate) file: PathBuf,
    /// Where it goes in the version; the file's own name by default.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// model, checkpoint, log, metrics, plot, confusion_matrix, feature_importance, predictions, config, schema or other; guessed from
    /// the name by default.
    #[arg(long = "type", value_name = "TYPE", value_parser = enum_value::<pb::ArtifactType>)]
    pub(crate) artifact_type: Option<pb::ArtifactType>,
}

#[derive(Debug, Group)]
pub(crate) struct Import {
    /// The folder that holds a folder for each model.
    pub(crate) folder: PathBuf,
    /// Where the models go.
    #[arg(long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Group)]
pub(crate) struct Verify {
    /// A folder that was pulled. No registry is asked; exit code 1 if it is not what it says.
    pub(crate) folder: Option<PathBuf>,
    /// Check no bytes of artifacts.
    #[arg(long, conflicts_with = "folder")]
    pub(crate) skip_artifacts: bool,
}
