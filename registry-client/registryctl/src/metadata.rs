//! What is said of a namespace, model or version: a file first, and options over it.

mod file;

use std::path::Path;

use registry_client::{Editable, pb};
use tokio::io::AsyncReadExt as _;

use self::file::Written;
use crate::args::{Bases, Common, OfModel, OfVersion, Titled};
use crate::output::note;
use crate::values::{timestamp, value};
use crate::{Failure, numbers};

pub(crate) use self::file::Described;

/// The file of `--metadata`, if there is one.
pub(crate) async fn read<R: Described>(common: &Common) -> Result<Option<Written<R>>, Failure> {
    let Some(path) = &common.metadata else { return Ok(None) };
    let is_stdin = path == Path::new("-");
    let mut text = String::new();
    if is_stdin {
        tokio::io::stdin().read_to_string(&mut text).await?;
    } else {
        text = tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let called = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let written = Written::read(&text, path).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        format!("{called} can't be used:{}", problems.concat())
    })?;
    if !written.left_out.is_empty() {
        let left_out = written.left_out.join(", ");
        note(&format!("{called}: what only the registry writes is left out: {left_out}"));
    }
    Ok(Some(written))
}

impl Common {
    pub(crate) fn apply<R: Taggable>(&self, to: &mut R) {
        let (description, tags) = to.words();
        if let Some(text) = &self.description {
            description.clone_from(text);
        }
        tags.extend(self.tags.iter().cloned());
    }
}

/// What has a description and tags that callers write.
pub(crate) trait Taggable: Editable {
    fn words(&mut self) -> (&mut String, &mut std::collections::BTreeMap<String, String>);
}

macro_rules! taggable {
    ($($resource:ident),*) => {$(
        impl Taggable for pb::$resource {
            fn words(&mut self) -> (&mut String, &mut std::collections::BTreeMap<String, String>) {
                (&mut self.description, &mut self.tags)
            }
        }
    )*};
}

taggable!(Namespace, Model, Version);

impl OfVersion {
    pub(crate) fn apply(&self, version: &mut pb::Version) {
        give(&self.framework, &mut version.framework);
        give(&self.framework_version, &mut version.framework_version);
        for (split, metric, value) in &self.metrics {
            version.metrics.entry(split.clone()).or_default().values.insert(metric.clone(), *value);
        }
        for (name, text) in &self.params {
            let json = numbers::read(text).unwrap_or_else(|_| serde_json::Value::String(text.clone()));
            version.hyperparameters.get_or_insert_default().fields.insert(name.clone(), value(json));
        }
        if let Some(time) = self.training_time {
            version.training_time = Some(timestamp(time));
        }
    }
}

impl Bases {
    pub(crate) fn apply(self, version: &mut pb::Version) {
        if !self.base_versions.is_empty() {
            version.base_versions = self.base_versions.into_iter().map(Into::into).collect();
        }
    }
}

impl OfModel {
    pub(crate) fn apply(&self, model: &mut pb::Model) {
        give(&self.model_type, &mut model.model_type);
        give(&self.owner, &mut model.owner);
        give(&self.team, &mut model.team);
        give(&self.project, &mut model.project);
        give(&self.business_domain, &mut model.business_domain);
        give(&self.purpose, &mut model.purpose);
        model.annotations.extend(self.annotations.iter().cloned());
    }
}

impl Titled {
    pub(crate) fn apply(&self, display_name: &mut String) {
        give(&self.display_name, display_name);
    }
}

fn give(given: &Option<String>, to: &mut String) {
    if let Some(text) = given {
        to.clone_from(text);
    }
}
