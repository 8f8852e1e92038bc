//! MLflow's calls about versions of models.

use registry_common::mlflow::{Kept, keep, tags};
use registry_proto::v1 as pb;
use registry_proto::v1::Stage;
use serde_json::{Value, json};

use super::args::Args;
use super::caller::Caller;
use super::copy::copy_files;
use super::error::Error;
use super::search::parse_stage;
use super::shapes::{ModelVersion, aliases, download_uri};
use super::source::{Source, of_source};
use super::{rules, stages};

/// `model-versions/create`. What lies elsewhere stays there; of a version that has its files here the new one has them, too.
pub(super) async fn create(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, mut source) = (args.required("name")?, args.required("source")?);
    let model = caller.model(&name).await?;
    let mut version = pb::Version { description: args.text("description")?, ..Default::default() };
    for (key, value) in args.tags()? {
        rules::check_tag(&key, &value)?;
        tags::set_on_version(&mut version, &key, &value);
    }
    let origin = match of_source(caller, &source).await? {
        Source::Version(origin, uri) => {
            version.base_versions.push(origin.name.clone());
            source = uri;
            if origin.artifact_count == 0 {
                version.source_uri.clone_from(&origin.source_uri);
            }
            Some(origin)
        }
        Source::Place(uri) => {
            version.source_uri = uri;
            None
        }
        Source::Other => None,
    };
    if version.source_uri != source {
        keep(&mut version, "source", &source);
    }
    for key in ["run_id", "run_link", "model_id"] {
        let value = match (args.text(key)?, &origin) {
            (value, Some(origin)) if value.is_empty() && key != "run_link" => Kept::of(origin).text(key).to_owned(),
            (value, _) => value,
        };
        keep(&mut version, key, &value);
    }
    let files_of = origin.filter(|origin| origin.artifact_count > 0);
    let create = pb::CreateVersionRequest {
        parent: model.name.clone(),
        version: Some(version),
        finalize: files_of.is_none(),
        ..Default::default()
    };
    let mut made = caller.call(&create).await?;
    if let Some(origin) = files_of {
        made = copy_files(caller, &origin, made).await?;
    }
    Ok(json!({ "model_version": ModelVersion::of(&made, &aliases(&model), &caller.base) }))
}

/// `model-versions/get`.
pub(super) async fn get(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (model, version) = caller.version(&args.required("name")?, &args.required("version")?).await?;
    Ok(json!({ "model_version": ModelVersion::of(&version, &aliases(&model), &caller.base) }))
}

/// `model-versions/get-download-uri`.
pub(super) async fn download(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (_, version) = caller.version(&args.required("name")?, &args.required("version")?).await?;
    let uri = download_uri(&version, &caller.base);
    rules::check_host(&uri, &caller.base)?;
    Ok(json!({ "artifact_uri": uri }))
}

/// `model-versions/update`.
pub(super) async fn update(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let description = args.text("description")?;
    let change = |version: &mut pb::Version| version.description.clone_from(&description);
    let (model, version) = caller.change_version(&args.required("name")?, &args.required("version")?, change).await?;
    Ok(json!({ "model_version": ModelVersion::of(&version, &aliases(&model), &caller.base) }))
}

/// `model-versions/delete`.
pub(super) async fn delete(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (_, version) = caller.version(&args.required("name")?, &args.required("version")?).await?;
    caller.call(&pb::DeleteVersionRequest { name: version.name, force: true, ..Default::default() }).await?;
    Ok(json!({}))
}

/// `model-versions/set-tag`.
pub(super) async fn set_tag(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, version) = (args.required("name")?, args.required("version")?);
    let (key, value) = (args.text("key")?, args.text("value")?);
    rules::check_tag(&key, &value)?;
    caller.change_version(&name, &version, |version| tags::set_on_version(version, &key, &value)).await?;
    Ok(json!({}))
}

/// `model-versions/delete-tag`.
pub(super) async fn delete_tag(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, version, key) = (args.required("name")?, args.required("version")?, args.required("key")?);
    caller.change_version(&name, &version, |version| tags::remove_from_version(version, &key)).await?;
    Ok(json!({}))
}

/// `model-versions/transition-stage`.
pub(super) async fn transition_stage(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, version, stage) = (args.required("name")?, args.required("version")?, args.required("stage")?);
    let archives = args.flag("archive_existing_versions")?;
    let to = parse_stage(&stage)?;
    if archives && ![Stage::Staging, Stage::Production].contains(&to) {
        return Err(Error::invalid(format_args!(
            "Model version transition cannot archive existing model versions because '{stage}' is not an Active stage. Valid stages \
             are ['Staging', 'Production']"
        )));
    }
    let version = stages::transition(caller, &name, &version, to, archives).await?;
    let model = caller.model(&name).await?;
    Ok(json!({ "model_version": ModelVersion::of(&version, &aliases(&model), &caller.base) }))
}
