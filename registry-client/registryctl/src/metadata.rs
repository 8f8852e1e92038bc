//! What is said of a namespace, model or version: a file first, and options over it.

mod file;
pub(crate) mod mlmodel;

use std::path::Path;

use registry_client::resource::Resource;
use registry_client::{Editable, pb};
use tokio::io::AsyncReadExt as _;

use crate::args::{Bases, Common, Draft, OfModel, OfVersion, Titled};
use crate::output::note;
use crate::values::{timestamp, value};
use crate::{Failure, Usage, numbers};

pub(crate) use self::file::{Described, Written};

/// The file of `--metadata`, if there is one.
pub(crate) async fn read<R: Described>(common: &Common) -> Result<Option<Written<R>>, Failure> {
    match &common.metadata {
        Some(path) => read_file(path).await.map(Some),
        None => Ok(None),
    }
}

/// A file, or standard input for `-`.
pub(crate) async fn read_file<R: Described>(path: &Path) -> Result<Written<R>, Failure> {
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
    Ok(written)
}

impl Draft {
    /// Says it of a version: what the file says, and the options over it.
    pub(crate) async fn apply(&self, to: &mut pb::Version) -> Result<(), Failure> {
        if let Some(file) = read(&self.common).await? {
            file.apply(to);
        }
        self.common.apply(to);
        self.of_version.apply(to);
        self.bases.apply(to);
        Ok(())
    }
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

    /// The first of the options that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let Self { framework, framework_version, metrics, params, training_time } = self;
        [
            ("--framework", framework.is_some()),
            ("--framework-version", framework_version.is_some()),
            ("--metric", !metrics.is_empty()),
            ("--param", !params.is_empty()),
            ("--training-time", training_time.is_some()),
        ]
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option))
    }
}

impl Bases {
    pub(crate) fn apply(&self, version: &mut pb::Version) {
        if !self.base_versions.is_empty() {
            version.base_versions = self.base_versions.iter().map(ToString::to_string).collect();
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
        give(&self.policy, &mut model.policy);
        model.annotations.extend(self.annotations.iter().cloned());
    }

    /// The first of the options that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let Self { model_type, owner, team, project, business_domain, purpose, policy, annotations } = self;
        [
            ("--type", model_type.is_some()),
            ("--owner", owner.is_some()),
            ("--team", team.is_some()),
            ("--project", project.is_some()),
            ("--business-domain", business_domain.is_some()),
            ("--purpose", purpose.is_some()),
            ("--policy", policy.is_some()),
            ("--annotation", !annotations.is_empty()),
        ]
        .into_iter()
        .find_map(|(option, is_given)| is_given.then_some(option))
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

/// A field, or an entry of one, that is to be emptied.
#[derive(Debug, Clone)]
pub(crate) struct Cleared {
    field: &'static str,
    key: Option<String>,
}

impl Cleared {
    /// The field of that name, in the contract's words or in JSON's.
    pub(crate) fn of<R: Resource>(text: &str) -> Result<Self, Failure> {
        let (name, key) = text.split_once('.').map_or((text, None), |(name, key)| (name, Some(key.to_owned())));
        let snake = |name: &str| {
            let lower = |c: char| if c.is_ascii_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] };
            name.chars().flat_map(lower).collect::<String>().replace('-', "_")
        };
        let wanted = snake(name);
        let field = R::UPDATABLE.iter().find(|field| **field == wanted);
        let has_entries = |field: &str, key: &str| R::default().take_entry(field, key, &R::default());
        match field {
            Some(field) if key.as_deref().is_none_or(|key| has_entries(field, key)) => Ok(Self { field, key }),
            Some(field) => Err(Usage(format!("--clear {text}: {field} has no entries that can be named")).into()),
            None => {
                let choice = R::UPDATABLE.join(", ");
                let problem = format!("a {} has no such field to change; there are {choice}", R::SINGULAR);
                Err(Usage(format!("--clear {text}: {problem}")).into())
            }
        }
    }

    pub(crate) fn apply<R: Resource>(&self, to: &mut R) {
        match &self.key {
            Some(key) => drop(to.take_entry(self.field, key, &R::default())),
            None => to.take(self.field, &R::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_entries_are_cleared_by_their_names() {
        let mut version = pb::Version {
            description: "d".to_owned(),
            framework_version: "1".to_owned(),
            tags: [("a", "1"), ("b.c", "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            metrics: [("test".to_owned(), pb::MetricSet::default()), ("train".to_owned(), pb::MetricSet::default())]
                .into(),
            ..Default::default()
        };
        for text in ["description", "frameworkVersion", "tags.b.c", "metrics.test", "signature"] {
            Cleared::of::<pb::Version>(text).unwrap().apply(&mut version);
        }
        assert_eq!((version.description.as_str(), version.framework_version.as_str()), ("", ""));
        assert_eq!(version.tags.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(version.metrics.keys().collect::<Vec<_>>(), ["train"]);
        for (wrong, problem) in [("stage", "no such field"), ("signature.inputs", "no entries"), ("", "no such field")]
        {
            let error = Cleared::of::<pb::Version>(wrong).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
