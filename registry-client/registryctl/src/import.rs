//! `import`: takes a file tree of an older registry over, unless it is from an image layout or from MLflow.
//!
//! All of the tree is read and checked before anything is sent. What is in the registry already stays as it is, so that an import
//! that broke off can be run again, and one that was complete changes nothing. The time stamps become version ids; they tell what is
//! there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use indicatif::ProgressBar;
use registry_client::{Error, pb};

use crate::args::{Import, ImportFrom};
use crate::legacy::{self, About, LegacyModel, LegacyVersion, Tree};
use crate::output::{brief, count as number, note};
use crate::progress::counted;
use crate::{Context, Failure, hints, mlflow, oci};

/// What an import did.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    models: usize,
    models_created: usize,
    versions: usize,
    versions_created: usize,
    promotions: usize,
    /// What is no part of the layout.
    not_taken: usize,
    /// What is bad, and was left out as it was asked for.
    left_out: usize,
}

/// An error of the client's, and the file or folder that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}", .path.display())]
struct Of {
    path: PathBuf,
    source: Error,
}

impl Of {
    fn of(path: impl Into<PathBuf>) -> impl FnOnce(Error) -> Self {
        let path = path.into();
        move |source| Self { path, source }
    }
}

pub(crate) async fn import(context: &Context, command: Import) -> Result<(), Failure> {
    if let Some(ImportFrom::Mlflow(command)) = command.from {
        return mlflow::import(context, command).await;
    }
    let Some(folder) = command.folder else { return oci::import(context, command.image).await };
    let namespace = context.namespace.as_deref().unwrap_or("default");
    let Tree { mut models, not_taken, mut bad, notes } = legacy::read(&folder)?;
    for (model, error) in refused(context, namespace, &models).await? {
        models.retain(|known| known.folder != model);
        bad.push(About { path: model, what: error.to_string() });
    }
    notes.iter().for_each(|about| note(&about.to_string()));
    not_taken.iter().for_each(|about| note(&format!("not taken: {about}")));
    let how = if command.skip_bad { "left out" } else { "bad" };
    bad.iter().for_each(|about| note(&format!("{how}: {about}")));
    if !bad.is_empty() && !command.skip_bad {
        return Err("nothing was imported: mend what is named above, or leave it out with --skip-bad".into());
    }
    if models.is_empty() {
        return Err(format!("{}: there is no MODEL/YYYYMMDD_HHMMSS/ to import below it", folder.display()).into());
    }
    let total: usize = models.iter().map(|model| model.versions.len()).sum();
    let bar = counted("importing", "versions", total as u64);
    let left_out = bad.iter().map(|about| &about.path).collect::<BTreeSet<_>>().len();
    let summary = Summary { not_taken: not_taken.len(), left_out, ..Summary::default() };
    let mut run = Run { context, namespace, skip_bad: command.skip_bad, bar: bar.clone(), summary };
    for model in models {
        run.model(model).await?;
    }
    bar.finish_and_clear();
    let summary = run.summary;
    if context.out.json {
        return context.out.value(&summary);
    }
    let Summary { models, models_created, versions, versions_created, promotions, not_taken, left_out } = summary;
    let unless_none = |count: usize, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
    context.out.line(&format!(
        "{} ({models_created} new), {} ({versions_created} new), {}{}{}",
        number(models, "model"),
        number(versions, "version"),
        number(promotions, "promotion"),
        unless_none(not_taken, "not taken"),
        unless_none(left_out, "left out"),
    ))
}

/// The folders of models that the registry would not take, and why. Nothing is changed.
async fn refused(context: &Context, namespace: &str, models: &[LegacyModel]) -> Result<Vec<(PathBuf, Error)>, Failure> {
    let mut refused = Vec::new();
    for legacy in models {
        let name = format!("namespaces/{namespace}/models/{}", legacy.id);
        match context.client.create_model(name).model(legacy.model.clone()).validate_only(true).await {
            Err(error) if error.is_invalid_argument() => refused.push((legacy.folder.clone(), error)),
            Err(error) if !is_there(&error) => return Err(Of::of(&legacy.folder)(error).into()),
            _ => {}
        }
    }
    Ok(refused)
}

/// Whether what was to be made is there, and not deleted.
fn is_there(error: &Error) -> bool {
    error.is_already_exists() && error.status().is_none_or(|status| !status.metadata.contains_key("deleted"))
}

/// An import that is under way.
struct Run<'a> {
    context: &'a Context,
    namespace: &'a str,
    skip_bad: bool,
    bar: ProgressBar,
    summary: Summary,
}

/// What became of a version.
enum Outcome {
    Made,
    /// It was there, and complete.
    There,
    /// It is deleted, or the registry does not take it.
    LeftOut,
}

impl Run<'_> {
    async fn model(&mut self, legacy: LegacyModel) -> Result<(), Failure> {
        let name = format!("namespaces/{}/models/{}", self.namespace, legacy.id);
        self.summary.models += 1;
        match self.context.client.create_model(&name).model(legacy.model).await {
            Ok(_) => self.summary.models_created += 1,
            Err(error) if is_there(&error) => {}
            Err(error) => return Err(Of::of(legacy.folder)(error).into()),
        }
        let mut production = None;
        for version in legacy.versions {
            let (version_id, promoted_at) = (version.version_id.clone(), version.promoted_at.clone());
            match self.version(&name, version).await? {
                Outcome::LeftOut => {
                    self.summary.left_out += 1;
                    continue;
                }
                Outcome::Made => self.summary.versions_created += 1,
                Outcome::There => {}
            }
            self.summary.versions += 1;
            self.bar.inc(1);
            if legacy.production.as_ref() == Some(&version_id) {
                production = Some((version_id, promoted_at));
            }
        }
        if let Some((version_id, promoted_at)) = production {
            self.summary.promotions += usize::from(promote(self.context, &name, &version_id, promoted_at).await?);
        }
        Ok(())
    }

    /// Makes a version unless it is there and complete.
    async fn version(&self, model: &str, legacy: LegacyVersion) -> Result<Outcome, Failure> {
        let client = &self.context.client;
        let version_id = &legacy.version_id;
        let there = match client.get_version(format!("{model}/versions/{version_id}")).await {
            Err(error) if error.is_not_found() => None,
            // One that was purged gives its id up.
            there => Some(there?).filter(|there| !there.purged),
        };
        let version = match there {
            // Somebody did not want it any more: an import takes what is missing, and brings nothing back.
            Some(there) if there.delete_time.is_some() => {
                note(&format!("left out: {}: {}", brief(&there.name), hints::of_deleted(&there.name)));
                return Ok(Outcome::LeftOut);
            }
            Some(there) if there.state() == pb::VersionState::Ready => return Ok(Outcome::There),
            // An import that broke off left it: the files that are there are not sent again.
            Some(there) if there.state() == pb::VersionState::Pending => there,
            Some(there) => {
                let (name, why) = (brief(&there.name), &there.failure_reason);
                return Err(format!("{name}: is there, but not complete: {why}").into());
            }
            None => match client.create_version(model).version(legacy.version).version_id(version_id).await {
                Ok(version) => version,
                Err(error) if error.is_invalid_argument() && self.skip_bad => {
                    note(&format!("left out: {}: {error}", legacy.folder.display()));
                    return Ok(Outcome::LeftOut);
                }
                Err(error) => return Err(Of::of(legacy.folder)(error).into()),
            },
        };
        for file in legacy.files {
            let path = legacy.folder.join(&file);
            client.upload(&version.name, file, path.clone()).send().await.map_err(Of::of(path))?;
        }
        client.finalize_version(version.name).await?;
        Ok(Outcome::Made)
    }
}

/// Puts what was in production there into production here, unless the model has something in production already: since the first
/// import somebody may have decided otherwise.
async fn promote(
    context: &Context,
    model: &str,
    version_id: &str,
    promoted_at: Option<String>,
) -> Result<bool, Failure> {
    match context.client.get_version(format!("{model}@production")).await {
        Ok(_) => return Ok(false),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let since = promoted_at.map(|time| format!(", in production since {time}")).unwrap_or_default();
    let request = pb::TransitionStageRequest {
        name: format!("{model}/versions/{version_id}"),
        stage: pb::Stage::Production.into(),
        comment: format!("imported{since}"),
        ..Default::default()
    };
    context.client.call(request).await?;
    Ok(true)
}
