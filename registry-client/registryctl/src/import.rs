//! `import`: takes a file tree of an older registry over, unless it is from an image layout.
//!
//! What is in the registry already stays as it is, so that an import that broke off can be run again, and one that was complete
//! changes nothing. The time stamps become version ids; they tell what is there.

use indicatif::{ProgressBar, ProgressStyle};
use registry_client::pb;

use crate::args::Import;
use crate::legacy::{self, LegacyModel, LegacyVersion};
use crate::output::brief;
use crate::{Context, Failure, oci};

/// What an import did.
#[derive(Debug, Default, serde::Serialize)]
struct Summary {
    models: usize,
    models_created: usize,
    versions: usize,
    versions_created: usize,
    promotions: usize,
}

pub(crate) async fn import(context: &Context, command: Import) -> Result<(), Failure> {
    let Some(folder) = command.folder else { return oci::import(context, command.image).await };
    let models = legacy::read(&folder)?;
    let total: usize = models.iter().map(|model| model.versions.len()).sum();
    let style = ProgressStyle::with_template("importing {wide_bar} {pos}/{len} versions  {eta} left")?;
    let bar = ProgressBar::new(total as u64).with_style(style);
    let mut summary = Summary::default();
    for model in models {
        import_model(context, &command.namespace, model, &bar, &mut summary).await?;
    }
    bar.finish_and_clear();
    if context.out.json {
        return context.out.value(&summary);
    }
    let Summary { models, models_created, versions, versions_created, promotions } = summary;
    context.out.line(&format!(
        "{models} models ({models_created} new), {versions} versions ({versions_created} new), {promotions} promotions"
    ))
}

async fn import_model(
    context: &Context,
    namespace: &str,
    legacy: LegacyModel,
    bar: &ProgressBar,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let name = format!("namespaces/{namespace}/models/{}", legacy.id);
    summary.models += 1;
    match context.client.create_model(&name).model(legacy.model).await {
        Ok(_) => summary.models_created += 1,
        Err(error) if error.is_already_exists() => {}
        Err(error) => return Err(error.into()),
    }
    let mut promoted_at = None;
    for version in legacy.versions {
        summary.versions += 1;
        if Some(&version.version_id) == legacy.production.as_ref() {
            promoted_at.clone_from(&version.promoted_at);
        }
        if import_version(context, &name, version).await? {
            summary.versions_created += 1;
        }
        bar.inc(1);
    }
    if let Some(version_id) = legacy.production {
        summary.promotions += usize::from(promote(context, &name, &version_id, promoted_at).await?);
    }
    Ok(())
}

/// Makes a version unless it is there and complete. Answers whether it did anything.
async fn import_version(context: &Context, model: &str, legacy: LegacyVersion) -> Result<bool, Failure> {
    let client = &context.client;
    let version_id = &legacy.version_id;
    let version = match client.get_version(format!("{model}/versions/{version_id}")).await {
        Ok(version) if version.state() == pb::VersionState::Ready => return Ok(false),
        // An import that broke off left it: the files that are there are not sent again.
        Ok(version) if version.state() == pb::VersionState::Pending => version,
        Ok(version) => {
            return Err(
                format!("{}: is there, but not complete: {}", brief(&version.name), version.failure_reason).into()
            );
        }
        Err(error) if error.is_not_found() => {
            client.create_version(model).version(legacy.version).version_id(version_id).await?
        }
        Err(error) => return Err(error.into()),
    };
    for entry in std::fs::read_dir(&legacy.folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            return Err(format!("{}: is not a file", entry.path().display()).into());
        }
        let path = entry.file_name().into_string().map_err(|name| format!("{}: is not UTF-8", name.display()))?;
        client.upload(&version.name, path, entry.path()).send().await?;
    }
    client.finalize_version(version.name).await?;
    Ok(true)
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
