//! The layout of the older file registries: `MODEL/YYYYMMDD_HHMMSS/` with `metadata.json` and the version's files, and
//! `MODEL/production/latest`, a link (or, where links were lost, a file) that names what is in production.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use registry_client::{known, pb};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::Failure;
use crate::values::{self, structure};

/// A model of the tree.
#[derive(Debug)]
pub(crate) struct LegacyModel {
    pub(crate) id: String,
    pub(crate) model: pb::Model,
    /// By their time stamps.
    pub(crate) versions: Vec<LegacyVersion>,
    /// The version id of what is in production.
    pub(crate) production: Option<String>,
}

/// A version of the tree.
#[derive(Debug)]
pub(crate) struct LegacyVersion {
    pub(crate) folder: PathBuf,
    /// Its time stamp.
    pub(crate) version_id: String,
    pub(crate) version: pb::Version,
    pub(crate) model_type: String,
    /// When it was put into production, as the tree says.
    pub(crate) promoted_at: Option<String>,
}

/// `metadata.json`. What has no field of its own in a version stays in `rest`.
#[derive(Debug, Deserialize)]
struct Metadata {
    training_date: Option<String>,
    #[serde(default)]
    description: String,
    promoted_at: Option<String>,
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    framework: String,
    #[serde(default)]
    framework_version: String,
    data_range: Option<Range>,
    hyperparameters: Option<Map<String, Json>>,
    #[serde(default)]
    metrics: Map<String, Json>,
    #[serde(default)]
    features: Vec<Column>,
    target: Option<Column>,
    dataset: Option<Dataset>,
    standardization_params: Option<Standardization>,
    environment: Option<Environment>,
    #[serde(flatten)]
    rest: Map<String, Json>,
}

#[derive(Debug, Deserialize)]
struct Range {
    start: String,
    end: String,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    dtype: String,
}

#[derive(Debug, Deserialize)]
struct Dataset {
    name: String,
    rows: i64,
    sha256: String,
    splits: std::collections::BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
struct Standardization {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Environment {
    python: String,
    packages: std::collections::BTreeMap<String, String>,
}

/// Reads a tree. Nothing is changed.
pub(crate) fn read(tree: &Path) -> Result<Vec<LegacyModel>, Failure> {
    let mut models = Vec::new();
    for folder in folders(tree)? {
        let mut versions = Vec::new();
        for version in folders(&folder)?.into_iter().filter(|folder| is_stamp(&name(folder))) {
            versions.push(read_version(&version).map_err(|error| format!("{}: {error}", version.display()))?);
        }
        if versions.is_empty() {
            continue;
        }
        let production = production(&folder)?;
        if let Some(id) = production.as_ref().filter(|id| !versions.iter().any(|version| version.version_id == **id)) {
            return Err(format!("{}: production/latest names {id}, which is not there", folder.display()).into());
        }
        let model_type = versions.last().map(|version| version.model_type.clone()).unwrap_or_default();
        let model = pb::Model { model_type, ..Default::default() };
        models.push(LegacyModel { id: name(&folder), model, versions, production });
    }
    if models.is_empty() {
        return Err(format!("{}: no MODEL/YYYYMMDD_HHMMSS/ below it", tree.display()).into());
    }
    Ok(models)
}

/// The folders in a folder, by name.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_stamp(name: &str) -> bool {
    name.len() == 15
        && name.bytes().enumerate().all(|(i, byte)| if i == 8 { byte == b'_' } else { byte.is_ascii_digit() })
}

/// The version that `production/latest` points at.
fn production(model: &Path) -> Result<Option<String>, Failure> {
    let latest = model.join("production").join("latest");
    let target = match std::fs::symlink_metadata(&latest) {
        Ok(metadata) if metadata.is_symlink() => std::fs::read_link(&latest)?,
        Ok(_) => PathBuf::from(std::fs::read_to_string(&latest)?.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(name(&target)))
}

fn read_version(folder: &Path) -> Result<LegacyVersion, Failure> {
    let text =
        std::fs::read_to_string(folder.join("metadata.json")).map_err(|error| format!("metadata.json: {error}"))?;
    let metadata: Metadata = serde_json::from_str(&text).map_err(|error| format!("metadata.json: {error}"))?;
    Ok(LegacyVersion {
        folder: folder.to_owned(),
        version_id: name(folder),
        model_type: open(&metadata.model_type, known::model_type::ALL).unwrap_or(known::model_type::OTHER.to_owned()),
        promoted_at: metadata.promoted_at.clone(),
        version: metadata.into_version()?,
    })
}

/// A value of an open set in lower case, unless no value can be written like that.
fn open(text: &str, known: &[&str]) -> Option<String> {
    let value = values::open(&text.to_ascii_lowercase(), known);
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (value.len() <= 64 && value.chars().all(inner) && !value.starts_with(['.', '_', '-'])).then_some(value)
}

impl Metadata {
    fn into_version(mut self) -> Result<pb::Version, Failure> {
        let framework = open(&self.framework, known::framework::ALL);
        // What fields of their own do not say in full is kept as it was.
        let mut keep = |name: &str, value: &str| {
            self.rest.insert(name.to_owned(), Json::String(value.to_owned()));
        };
        if framework.is_none() {
            keep("framework", &self.framework);
        }
        if let Some(time) = &self.promoted_at {
            keep("promoted_at", time);
        }
        self.rest.remove("version");
        let column = |column: Column| pb::Field { name: column.name, dtype: column.dtype, shape: Vec::new() };
        let features: Vec<_> = self.features.into_iter().map(column).collect();
        let outputs: Vec<_> = self.target.into_iter().map(column).collect();
        Ok(pb::Version {
            description: self.description,
            framework: framework.unwrap_or(known::framework::CUSTOM.to_owned()),
            framework_version: self.framework_version,
            metrics: metrics(self.metrics)?,
            hyperparameters: self.hyperparameters.map(structure),
            signature: Some(pb::Signature { inputs: features.clone(), outputs }),
            features,
            standardization_params: self
                .standardization_params
                .map(|params| pb::StandardizationParams { mean: params.mean, scale: params.scale }),
            environment: self.environment.map(|environment| pb::Environment {
                language: "python".to_owned(),
                language_version: environment.python,
                packages: environment.packages,
            }),
            data_range: self.data_range.map(|range| pb::DataRange { start: range.start, end: range.end }),
            datasets: self.dataset.into_iter().map(dataset).collect(),
            training_time: self.training_date.as_deref().map(timestamp).transpose()?,
            additional_metadata: Some(structure(self.rest)).filter(|rest| !rest.fields.is_empty()),
            ..Default::default()
        })
    }
}

fn dataset(dataset: Dataset) -> pb::DatasetReference {
    pb::DatasetReference {
        name: dataset.name,
        uri: String::new(),
        digest: format!("sha256:{}", dataset.sha256),
        rows: dataset.rows,
        split_rows: dataset.splits,
    }
}

fn metrics(splits: Map<String, Json>) -> Result<std::collections::BTreeMap<String, pb::MetricSet>, Failure> {
    splits
        .into_iter()
        .map(|(split, metrics)| {
            let values = serde_json::from_value(metrics).map_err(|error| format!("metrics.{split}: {error}"))?;
            Ok((split, pb::MetricSet { values }))
        })
        .collect()
}

fn timestamp(text: &str) -> Result<prost_types::Timestamp, Failure> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| format!("{text:?}: {error}"))?;
    Ok(values::timestamp(time.to_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        assert!(is_stamp("20260126_103000"));
        for other in ["production", "20260126-103000", "20260126_1030000", "2026012_0103000", ""] {
            assert!(!is_stamp(other), "{other}");
        }
    }

    #[test]
    fn what_has_no_field_is_kept() {
        let json = r#"{"version": "x", "framework": "Our own (2nd)", "deployment_status": "production",
            "promoted_at": "2026-01-26T10:30:00+00:00", "seed": {"numpy": 7}}"#;
        let version = serde_json::from_str::<Metadata>(json).unwrap().into_version().unwrap();
        assert_eq!(version.framework, known::framework::CUSTOM);
        let kept: Vec<_> = version.additional_metadata.unwrap().fields.into_keys().collect();
        assert_eq!(kept, ["deployment_status", "framework", "promoted_at", "seed"]);
    }

    #[test]
    fn open_values_are_as_they_were() {
        for (text, value) in
            [("", ""), ("XGBoost", "xgboost"), ("time-series", "time_series"), ("prophet-1.1", "prophet-1.1")]
        {
            let known = [known::framework::ALL, known::model_type::ALL].concat();
            assert_eq!(open(text, &known).as_deref(), Some(value));
        }
        for wrong in ["a b", "-a", "ß", &"a".repeat(65)] {
            assert_eq!(open(wrong, &[]), None, "{wrong}");
        }
    }

    #[test]
    fn production_is_a_link_or_a_file() {
        let model = tempfile::tempdir().unwrap();
        assert_eq!(production(model.path()).unwrap(), None);
        std::fs::create_dir(model.path().join("production")).unwrap();
        let latest = model.path().join("production/latest");
        std::fs::write(&latest, "../20260126_103000\n").unwrap();
        assert_eq!(production(model.path()).unwrap().as_deref(), Some("20260126_103000"));
        std::fs::remove_file(&latest).unwrap();
        std::os::unix::fs::symlink("../20260127_103000", &latest).unwrap();
        assert_eq!(production(model.path()).unwrap().as_deref(), Some("20260127_103000"));
    }
}
