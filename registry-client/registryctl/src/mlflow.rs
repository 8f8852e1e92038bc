//! `import mlflow`: takes the registry of an MLflow server over.
//!
//! A version is known by its id, `mlflow-7`, so that an import that broke off goes on when it is run again, and one that was complete changes
//! nothing. What people have changed here since stays as it is.

mod server;

use std::path::Path;

use futures::TryStreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use object_store::ObjectStoreExt as _;
use registry_client::{Error, pb};
use registry_common::mlflow::{id_of, keep, tags};
use registry_common::paths;
use tempfile::TempDir;
use tokio_util::io::StreamReader;

use self::server::{Model, Run, Server, Unread, Version};
use crate::args::ImportMlflow;
use crate::interrupt::{GO_ON, Interrupted, asked_to_end};
use crate::metadata::mlmodel;
use crate::output::{brief, count as number, note};
use crate::progress::target;
use crate::values::structure;
use crate::{Context, Failure, hints, objects};

/// What the metrics of a run are on: MLflow does not say.
const SPLIT: &str = "run";
/// The longest name of a metric or parameter.
const KEY_CHARACTERS: usize = 128;

/// What an import did.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    models: usize,
    models_created: usize,
    versions: usize,
    versions_created: usize,
    /// Those whose files stay where they are.
    references: usize,
    aliases_set: usize,
    transitions: usize,
    left_out: usize,
}

pub(crate) async fn import(context: &Context, command: ImportMlflow) -> Result<(), Failure> {
    let server = Server::new(&command.url)?;
    let mut models = server.models().await?;
    if let Some(missing) = command.models.iter().find(|name| models.iter().all(|model| model.name != **name)) {
        return Err(format!("{} has no model {missing:?}", command.url).into());
    }
    models.retain(|model| command.models.is_empty() || command.models.contains(&model.name));
    let style = ProgressStyle::with_template("importing {wide_bar} {pos}/{len} versions  {eta} left")?;
    let bar = ProgressBar::with_draw_target(Some(0), target()).with_style(style);
    let summary = Summary::default();
    let mut import = Import { context, server, references: command.references, bar, summary };
    tokio::select! {
        done = import.all(models) => done?,
        // The files that were fetched go with it.
        () = asked_to_end() => return Err(Interrupted(GO_ON.to_owned()).into()),
    }
    import.bar.finish_and_clear();
    let summary = import.summary;
    if context.out.json {
        return context.out.value(&summary);
    }
    let Summary { models, models_created, versions, versions_created, references, aliases_set, transitions, left_out } =
        summary;
    let unless_none = |count: usize, what: String| if count == 0 { String::new() } else { format!(", {what}") };
    context.out.line(&format!(
        "{} ({models_created} new), {} ({versions_created} new{}), {}, {}{}",
        number(models, "model"),
        number(versions, "version"),
        unless_none(references, format!("{references} with their files elsewhere")),
        if aliases_set == 1 { "1 alias".to_owned() } else { format!("{aliases_set} aliases") },
        number(transitions, "transition"),
        unless_none(left_out, format!("{left_out} left out")),
    ))
}

/// An import that is under way.
struct Import<'a> {
    context: &'a Context,
    server: Server,
    references: bool,
    bar: ProgressBar,
    summary: Summary,
}

/// The version's id here.
fn version_id(version: &str) -> String {
    format!("mlflow-{version}")
}

impl Import<'_> {
    async fn all(&mut self, models: Vec<Model>) -> Result<(), Failure> {
        for model in models {
            self.model(model).await?;
        }
        Ok(())
    }

    async fn model(&mut self, model: Model) -> Result<(), Failure> {
        let namespace = self.context.namespace.as_deref().unwrap_or("default");
        let name = format!("namespaces/{namespace}/models/{}", id_of(&model.name));
        let versions = self.server.versions(&model.name).await?;
        self.bar.inc_length(versions.len() as u64);
        self.summary.models += 1;
        let mut made = pb::Model { description: model.description.clone(), ..Default::default() };
        if id_of(&model.name) != model.name {
            made.display_name.clone_from(&model.name);
        }
        for tag in &model.tags {
            tags::set_on_model(&mut made, &tag.key, &tag.value);
        }
        match self.context.client.create_model(&name).model(made).await {
            Ok(_) => self.summary.models_created += 1,
            Err(error) if error.is_already_exists() => {
                let there = self.context.client.get_model(&name).await?;
                if there.delete_time.is_some() {
                    note(&format!("left out: {}: {}", brief(&name), hints::of_deleted(&name)));
                    self.summary.left_out += versions.len();
                    return Ok(());
                }
            }
            Err(error) if error.is_invalid_argument() => {
                note(&format!("left out: {}: {error}", model.name));
                self.summary.left_out += versions.len();
                return Ok(());
            }
            Err(error) => return Err(of(&model.name)(error)),
        }
        for version in &versions {
            self.version(&name, version).await?;
            self.bar.inc(1);
        }
        self.stages(&name, &versions).await?;
        self.aliases(&name, &model).await
    }

    async fn version(&mut self, model: &str, version: &Version) -> Result<(), Failure> {
        let client = &self.context.client;
        let id = version_id(&version.version);
        let there = match client.get_version(format!("{model}/versions/{id}")).await {
            Err(error) if error.is_not_found() => None,
            there => Some(there?).filter(|there| !there.purged),
        };
        match there {
            Some(there) if there.delete_time.is_some() => {
                note(&format!("left out: {}: {}", brief(&there.name), hints::of_deleted(&there.name)));
                self.summary.left_out += 1;
                return Ok(());
            }
            Some(there) if there.state() == pb::VersionState::Ready => {
                self.summary.versions += 1;
                return Ok(());
            }
            Some(_) => {}
            None => self.leave_gap(model, version).await?,
        }
        if version.status == "FAILED_REGISTRATION" {
            note(&format!("left out: {} {}: its registration failed", version.name, version.version));
            self.summary.left_out += 1;
            return Ok(());
        }
        let folder = self.files(version).await?;
        let mut made = match &folder {
            Some(folder) => {
                let path = folder.path().to_owned();
                let read = tokio::task::spawn_blocking(move || mlmodel::read(&path)).await?;
                read.unwrap_or_else(|why| {
                    note(&format!("{} {}: MLmodel is not understood: {why}", version.name, version.version));
                    None
                })
            }
            None => None,
        }
        .unwrap_or_default();
        self.describe(&mut made, version).await?;
        let what = format!("{} {}", version.name, version.version);
        let is_reference = folder.is_none();
        let made = match &folder {
            Some(folder) => client.publish(folder.path(), model).version(made).version_id(&id).everything(true).await,
            None => client.create_version(model).version(made).version_id(&id).finalize(true).await,
        };
        let made = match made {
            // The registry does not take it: a description that is too long, for example.
            Err(error) if error.is_invalid_argument() => {
                note(&format!("left out: {what}: {error}"));
                self.summary.left_out += 1;
                return Ok(());
            }
            made => made.map_err(of(&what))?,
        };
        self.summary.references += usize::from(is_reference);
        if made.number.to_string() != version.version {
            note(&format!("{} {} is version {} here", version.name, version.version, made.number));
        }
        self.summary.versions += 1;
        self.summary.versions_created += 1;
        Ok(())
    }

    /// Takes the numbers that MLflow has no version for any more, so that those that follow keep theirs.
    async fn leave_gap(&self, model: &str, version: &Version) -> Result<(), Failure> {
        let client = &self.context.client;
        let Ok(wanted) = version.version.parse::<i64>() else { return Ok(()) };
        let newest = client.list_versions(model).show_deleted(true).order_by("number desc").page_size(1).await?;
        let mut next = newest.versions.first().map_or(1, |newest| newest.number + 1);
        while next < wanted {
            let why = format!("MLflow has no version {next}");
            let unused = pb::Version { description: why, ..Default::default() };
            let made = client.create_version(model).version(unused).finalize(true).await?;
            client.delete_version(&made.name).await?;
            next = made.number + 1;
        }
        Ok(())
    }

    /// What MLflow says of a version, without its files.
    async fn describe(&self, made: &mut pb::Version, version: &Version) -> Result<(), Failure> {
        made.description.clone_from(&version.description);
        for tag in &version.tags {
            tags::set_on_version(made, &tag.key, &tag.value);
        }
        for (key, value) in [
            ("source", &version.source),
            ("run_id", &version.run_id),
            ("run_link", &version.run_link),
            ("model_id", &version.model_id),
        ] {
            keep(made, key, value);
        }
        if version.run_id.is_empty() {
            return Ok(());
        }
        let run = match self.server.run(&version.run_id).await {
            Err(Unread::Missing(_)) => Run::default(),
            run => run?,
        };
        let fits = |key: &str| {
            let fits = key.chars().count() <= KEY_CHARACTERS;
            if !fits {
                note(&format!("{} {}: left out: {key}, whose name is too long", version.name, version.version));
            }
            fits
        };
        let values: std::collections::BTreeMap<_, _> = run.metrics().into_iter().filter(|(key, _)| fits(key)).collect();
        if !values.is_empty() {
            made.metrics.insert(SPLIT.to_owned(), pb::MetricSet { values });
        }
        let params = run.params.iter().filter(|param| fits(&param.key));
        let params: serde_json::Map<_, _> =
            params.map(|param| (param.key.clone(), param.value.clone().into())).collect();
        if !params.is_empty() {
            made.hyperparameters = Some(structure(params));
        }
        Ok(())
    }

    /// A folder with the files of a version, unless they stay where they are.
    async fn files(&self, version: &Version) -> Result<Option<TempDir>, Failure> {
        if self.references {
            return Ok(None);
        }
        let what = format!("{} {}", version.name, version.version);
        let uri = match self.server.location(version).await {
            Err(Unread::Missing(why)) => {
                note(&format!("{what}: only what is known of it is taken: {why}"));
                return Ok(None);
            }
            uri => uri?,
        };
        let folder = TempDir::new()?;
        let files = if let Some(path) = self.server.stored(&uri) {
            self.stored(&path, folder.path()).await?
        } else if let Some(path) = uri.strip_prefix("file://").or(uri.starts_with('/').then_some(&*uri)) {
            copied(Path::new(path).to_owned(), folder.path().to_owned()).await?
        } else {
            objects_at(&uri, folder.path()).await.unwrap_or_else(|error| {
                note(&format!("{what}: {error}"));
                0
            })
        };
        if files == 0 {
            note(&format!("{what}: its files stay at {uri}: there is nothing that can be read from here"));
            return Ok(None);
        }
        Ok(Some(folder))
    }

    async fn stored(&self, path: &str, folder: &Path) -> Result<usize, Failure> {
        let files = self.server.files(path).await?;
        for file in &files {
            let to = folder.join(file);
            if let Some(parent) = to.parent() {
                tokio::fs::create_dir_all(parent).await?;
            }
            self.server.fetch(&format!("{path}/{file}"), &to).await?;
        }
        Ok(files.len())
    }

    /// Puts versions into the stages that they are in there, unless something is in such a stage here already: since the first import
    /// somebody may have decided otherwise.
    async fn stages(&mut self, model: &str, versions: &[Version]) -> Result<(), Failure> {
        let client = &self.context.client;
        let known = client.get_model(model).await?;
        let is_held = |stage: pb::Stage| known.stages.iter().any(|held| held.stage() == stage);
        for version in versions {
            let stage = match &*version.current_stage {
                "Staging" => pb::Stage::Staging,
                "Production" => pb::Stage::Production,
                "Archived" => pb::Stage::Archived,
                _ => continue,
            };
            if is_held(stage) {
                continue;
            }
            let name = format!("{model}/versions/{}", version_id(&version.version));
            self.transition(&name, stage).await?;
        }
        Ok(())
    }

    async fn transition(&mut self, name: &str, stage: pb::Stage) -> Result<(), Failure> {
        let client = &self.context.client;
        let there = match client.get_version(name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            there => there?,
        };
        if there.delete_time.is_some() || there.stage() == stage {
            return Ok(());
        }
        match client.transition_stage(name, stage).comment("imported from MLflow").await {
            Ok(_) => self.summary.transitions += 1,
            // A gate, an approval, a lock.
            Err(error) if error.is_failed_precondition() => {
                note(&format!("{} does not enter {}: {error}", brief(name), stage.as_str_name()));
            }
            Err(error) => return Err(of(name)(error)),
        }
        Ok(())
    }

    /// Sets the aliases that are not set here.
    async fn aliases(&mut self, model: &str, there: &Model) -> Result<(), Failure> {
        let client = &self.context.client;
        let known = client.get_model(model).await?;
        for alias in &there.aliases {
            let name = format!("{model}/versions/{}", version_id(&alias.version));
            let stage = match &*alias.alias {
                "production" => Some(pb::Stage::Production),
                "staging" => Some(pb::Stage::Staging),
                _ => None,
            };
            if let Some(stage) = stage {
                if !known.stages.iter().any(|held| held.stage() == stage) {
                    self.transition(&name, stage).await?;
                }
                continue;
            }
            if known.aliases.contains_key(&alias.alias) {
                continue;
            }
            match client.set_alias(model, &alias.alias, &name).await {
                Ok(_) => self.summary.aliases_set += 1,
                Err(error) if error.is_not_found() || error.is_invalid_argument() || error.is_failed_precondition() => {
                    note(&format!("left out: alias {} of {}: {error}", alias.alias, brief(model)));
                    self.summary.left_out += 1;
                }
                Err(error) => return Err(of(&alias.alias)(error)),
            }
        }
        Ok(())
    }
}

/// Copies what is below the URL of an object store.
async fn objects_at(url: &str, to: &Path) -> Result<usize, Failure> {
    let (store, root) = objects::open(url).await?;
    let mut listed = store.list(Some(&root));
    let mut copied = 0;
    while let Some(object) = listed.try_next().await? {
        let below: Vec<_> = object.location.prefix_match(&root).into_iter().flatten().collect();
        let path = below.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/");
        paths::check(&path).map_err(|why| format!("{path:?} {why}"))?;
        let to = to.join(&path);
        if let Some(parent) = to.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let mut bytes =
            StreamReader::new(store.get(&object.location).await?.into_stream().map_err(std::io::Error::other));
        tokio::io::copy(&mut bytes, &mut tokio::fs::File::create(&to).await?).await?;
        copied += 1;
    }
    Ok(copied)
}

/// Copies the files of a folder of this machine; none if there is no such folder.
async fn copied(from: std::path::PathBuf, to: std::path::PathBuf) -> Result<usize, Failure> {
    Ok(tokio::task::spawn_blocking(move || copy(&from, &to)).await??)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<usize> {
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut copied = 0;
    for entry in entries {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // Links lead to what MLflow has not stored.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir_all(&to)?;
            copied += copy(&path, &to)?;
        } else if kind.is_file() {
            std::fs::copy(&path, &to)?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// An error, and what it is about.
fn of(what: &str) -> impl FnOnce(Error) -> Failure {
    let what = what.to_owned();
    move |error| format!("{what}: {error}").into()
}
