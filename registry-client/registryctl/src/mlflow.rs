//! `import mlflow`: takes the registry of an MLflow server over.
//!
//! A version is known by its id, `mlflow-7`, so that an import that broke off goes on when it is run again, and one that was complete changes
//! nothing. What people have changed here since stays as it is.

mod files;
mod server;

use indicatif::ProgressBar;
use registry_client::{Error, pb};
use registry_common::mlflow::{self, id_of, keep, stage_named, stage_of_alias, tags};

use self::server::{Model, Run, Server, Unread, Version};
use crate::args::ImportMlflow;
use crate::interrupt::{GO_ON, Interrupted, asked_to_end};
use crate::metadata::mlmodel;
use crate::output::{brief, count as number, note};
use crate::progress::counted;
use crate::values::structure;
use crate::{Context, Failure, hints};

/// The split that a run's metrics are kept under, since MLflow names none.
const SPLIT: &str = "run";
/// The longest gap in MLflow's version numbers that an import reproduces.
const GAP: i64 = 1000;
/// The longest name of a metric or parameter.
const KEY_CHARACTERS: usize = 128;

/// Counts of what an import did.
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
    /// Those that another run may take.
    failed: usize,
}

/// An error of the registry's, and what it is about.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
struct Refused {
    what: String,
    source: Error,
}

/// Whether what stopped one version, or one model, would stop each.
fn stops_all(failure: &Failure) -> bool {
    let unreachable = failure.downcast_ref::<Unread>().is_some_and(|unread| matches!(unread, Unread::Unreachable(_)));
    let error =
        failure.downcast_ref::<Refused>().map(|Refused { source, .. }| source).or(failure.downcast_ref::<Error>());
    let refused = error.is_some_and(|error| {
        !(error.is_invalid_argument()
            || error.is_failed_precondition()
            || error.is_already_exists()
            || error.is_not_found()
            || error.is_conflict())
    });
    unreachable || refused
}

pub(crate) async fn import(context: &Context, command: ImportMlflow) -> Result<(), Failure> {
    let server = Server::new(&command.url)?;
    let mut models = server.models().await?;
    if let Some(missing) = command.models.iter().find(|name| models.iter().all(|model| model.name != **name)) {
        return Err(format!("{} has no model {missing:?}", server.url()).into());
    }
    models.retain(|model| command.models.is_empty() || command.models.contains(&model.name));
    let bar = counted("importing", "versions", 0);
    let summary = Summary::default();
    let mut import = Import { context, server, command, bar, summary };
    tokio::select! {
        done = import.all(models) => done?,
        // The files that were fetched go with it.
        () = asked_to_end() => return Err(Interrupted(GO_ON.to_owned()).into()),
    }
    import.bar.finish_and_clear();
    let summary = import.summary;
    let failed = summary.failed;
    said(context, summary)?;
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} of them not taken over, for the reasons above: {GO_ON}").into()),
    }
}

fn said(context: &Context, summary: Summary) -> Result<(), Failure> {
    if context.out.json {
        return context.out.value(&summary);
    }
    let Summary {
        models,
        models_created,
        versions,
        versions_created,
        references,
        aliases_set,
        transitions,
        left_out,
        ..
    } = summary;
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
    command: ImportMlflow,
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
            let name = model.name.clone();
            match self.model(model).await {
                Err(failure) if !stops_all(&failure) => self.fail(&name, &failure),
                done => done?,
            }
        }
        Ok(())
    }

    /// Says why something is not taken over.
    fn fail(&mut self, what: &str, why: &Failure) {
        note(&format!("not taken over: {what}: {why}"));
        self.summary.failed += 1;
    }

    async fn model(&mut self, model: Model) -> Result<(), Failure> {
        let namespace = self.context.namespace.as_deref().unwrap_or("default");
        let name = format!("namespaces/{namespace}/models/{}", id_of(&model.name));
        let versions = self.server.versions(&model.name).await?;
        self.bar.inc_length(versions.len() as u64);
        self.summary.models += 1;
        let given = model.tags.iter().map(|tag| (&*tag.key, &*tag.value));
        let made = mlflow::model(&model.name, &model.description, given);
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
            Err(error) => return Err(of("the model")(error)),
        }
        for (at, version) in versions.iter().enumerate() {
            self.bar.inc(1);
            let what = format!("{} {}", version.name, version.version);
            let failure = match self.version(&name, version).await {
                Err(failure) if !stops_all(&failure) => failure,
                done => {
                    done?;
                    continue;
                }
            };
            self.fail(&what, &failure);
            let behind = versions.len() - at - 1;
            if behind > 0 && !self.command.skip_bad {
                note(&format!(
                    "{what}: {behind} behind it wait, so as to keep their numbers; --skip-bad takes them all the same"
                ));
                self.summary.failed += behind;
                self.bar.inc(behind as u64);
                break;
            }
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
            there => {
                if let Some(why) = match &*version.status {
                    "FAILED_REGISTRATION" => Some("its registration failed"),
                    "PENDING_REGISTRATION" => Some("it is not complete yet"),
                    _ => None,
                } {
                    note(&format!("left out: {} {}: {why}", version.name, version.version));
                    self.summary.left_out += 1;
                    return Ok(());
                }
                if there.is_none() {
                    self.leave_gap(model, version).await?;
                }
            }
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
        let is_reference = folder.is_none();
        let made = match &folder {
            Some(folder) => client.publish(folder.path(), model).version(made).version_id(&id).everything(true).await,
            None => client.create_version(model).version(made).version_id(&id).finalize(true).await,
        };
        let made = made.map_err(of("the version"))?;
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
        if wanted - next > GAP {
            note(&format!(
                "{} {}: more than {GAP} numbers before it are not in use, and are not kept",
                version.name, version.version
            ));
            return Ok(());
        }
        while next < wanted {
            let why = format!("MLflow has no version {next}");
            let unused = pb::Version { description: why, ..Default::default() };
            let made = client.create_version(model).version(unused).finalize(true).await?;
            client.delete_version(&made.name).await?;
            next = made.number + 1;
        }
        Ok(())
    }

    /// Fills in what MLflow knows of a version, without its files.
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
            let fits = (1..=KEY_CHARACTERS).contains(&key.chars().count());
            if !fits {
                note(&format!(
                    "{} {}: left out: {key:?}, whose name is empty or too long",
                    version.name, version.version
                ));
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

    /// Puts versions into the stages that they are in there, as long as they have never been moved here: since the first import somebody may
    /// have decided otherwise. Of those in production the newest is in production here, unless something is already.
    async fn stages(&mut self, model: &str, versions: &[Version]) -> Result<(), Failure> {
        let known = self.context.client.get_model(model).await?;
        let is_held = known.stages.iter().any(|held| held.stage() == pb::Stage::Production);
        let live = versions.iter().rev().find(|version| version.current_stage == "Production");
        for version in versions {
            let is_live = live.is_some_and(|live| live.version == version.version);
            let stage = match stage_named(&version.current_stage) {
                None | Some(pb::Stage::Development) => continue,
                Some(pb::Stage::Production) if !is_live => pb::Stage::Archived,
                Some(pb::Stage::Production) if is_held => continue,
                Some(stage) => stage,
            };
            self.transition(&format!("{model}/versions/{}", version_id(&version.version)), stage).await?;
        }
        Ok(())
    }

    async fn transition(&mut self, name: &str, stage: pb::Stage) -> Result<(), Failure> {
        let client = &self.context.client;
        let there = match client.get_version(name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            there => there?,
        };
        let was_moved = there.stage() != pb::Stage::Development || there.stage_time != there.create_time;
        if there.delete_time.is_some() || was_moved {
            return Ok(());
        }
        match client.transition_stage(name, stage).comment("imported from MLflow").await {
            Ok(_) => self.summary.transitions += 1,
            // A gate, an approval, a lock.
            Err(error) if error.is_failed_precondition() || error.is_permission_denied() => {
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
            if let Some(stage) = stage_of_alias(&alias.alias) {
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

/// An error of the registry's, and what it is about.
fn of(what: &str) -> impl FnOnce(Error) -> Failure {
    let what = what.to_owned();
    move |source| Refused { what, source }.into()
}
