//! MLflow's calls about registered models.

use registry_common::mlflow::{self, stage_of_alias, tags};
use registry_proto::v1 as pb;
use serde_json::{Value, json};
use tonic::Code;

use super::args::Args;
use super::caller::{Caller, of_model, pause};
use super::error::{BAD_REQUEST, EXISTS, Error, MISSING, OUTRUN};
use super::search::registered;
use super::shapes::{ModelVersion, aliases, last};
use super::{rules, source, stages};

/// How often a name is tried to be had while others delete and purge it.
const REGISTRATIONS: u64 = 20;

/// `registered-models/create`. A deleted model of the name is purged first: with MLflow it would be gone for good.
pub(super) async fn create(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let name = args.required("name")?;
    let full = caller.model_name(&name)?;
    let id = last(&full).to_owned();
    let given = args.tags()?;
    for (key, value) in &given {
        rules::check_tag(key, value)?;
    }
    let given = given.iter().map(|(key, value)| (&**key, &**value));
    let model = mlflow::model(&name, &args.text("description")?, given);
    let create = pb::CreateModelRequest {
        parent: caller.namespace.clone(),
        model_id: id,
        model: Some(model),
        ..Default::default()
    };
    for tried in 1.. {
        match caller.call(&create).await {
            Ok(made) => return answer(caller, made).await,
            Err(refusal) if refusal.status().code() == Code::AlreadyExists => {}
            Err(refusal) => return Err(refusal.into()),
        }
        match caller.call(&pb::GetModelRequest { name: full.clone(), ..Default::default() }).await {
            Ok(known) if known.delete_time.is_some() => {
                let purge = pb::PurgeModelRequest { name: full.clone(), etag: known.etag, ..Default::default() };
                // Somebody else may have done it, or made another one since.
                let may_pass = |error: &Error| [MISSING, OUTRUN, BAD_REQUEST].iter().any(|word| error.is(*word));
                match caller.call(&purge).await.map_err(Error::from) {
                    Err(error) if tried == REGISTRATIONS || !may_pass(&error) => return Err(error),
                    _ => pause(tried).await,
                }
            }
            Ok(_) => return Err(Error::new(EXISTS, format_args!("Registered Model (name={name}) already exists."))),
            // It was purged just now.
            Err(refusal) if refusal.status().code() == Code::NotFound && tried < REGISTRATIONS => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    unreachable!("the last try is answered")
}

async fn answer(caller: &Caller, model: pb::Model) -> Result<Value, Error> {
    Ok(json!({ "registered_model": registered(caller, &model).await? }))
}

/// `registered-models/get`.
pub(super) async fn get(caller: &Caller, args: &Args) -> Result<Value, Error> {
    answer(caller, caller.model(&args.required("name")?).await?).await
}

/// `registered-models/update`.
pub(super) async fn update(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let description = args.text("description")?;
    let change = |model: &mut pb::Model| model.description.clone_from(&description);
    answer(caller, caller.change_model(&args.required("name")?, change).await?).await
}

/// `registered-models/rename`: names are for good, since what is known of a model is known by its name.
pub(super) async fn rename(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, new_name) = (args.required("name")?, args.required("new_name")?);
    caller.model(&name).await?;
    match caller.model(&new_name).await {
        Ok(_) => Err(Error::new(EXISTS, format_args!("Registered Model (name={new_name}) already exists."))),
        Err(error) if !error.is(MISSING) => Err(error),
        Err(_) => Err(Error::invalid(
            "Models can't be renamed: services, the log and the audit trail know them by their names. Register a model of the new \
             name, and copy_model_version into it what is to go on.",
        )),
    }
}

/// `registered-models/delete`.
pub(super) async fn delete(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let name = args.required("name")?;
    let model = caller.model(&name).await?;
    let delete = pb::DeleteModelRequest { name: model.name, force: true, ..Default::default() };
    caller.call(&delete).await.map_err(|refusal| of_model(refusal, &name))?;
    Ok(json!({}))
}

/// `registered-models/set-tag`.
pub(super) async fn set_tag(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, key, value) = (args.required("name")?, args.text("key")?, args.text("value")?);
    rules::check_tag(&key, &value)?;
    caller.change_model(&name, |model| tags::set_on_model(model, &key, &value)).await?;
    Ok(json!({}))
}

/// `registered-models/delete-tag`.
pub(super) async fn delete_tag(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, key) = (args.required("name")?, args.required("key")?);
    caller.change_model(&name, |model| tags::remove_from_model(model, &key)).await?;
    Ok(json!({}))
}

/// `registered-models/alias`, with POST. The alias of a stage is set by a transition, under the model's policy.
pub(super) async fn set_alias(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, alias, version) = (args.required("name")?, args.text("alias")?, args.required("version")?);
    rules::check_new_alias(&alias)?;
    let full = caller.version_name(&name, &version)?;
    if let Some(stage) = stage_of_alias(&alias) {
        stages::transition(caller, &name, &version, stage, false).await?;
        return Ok(json!({}));
    }
    // A deleted one would be found by its number.
    let (model, _) = caller.version(&name, &version).await?;
    let set = pb::SetAliasRequest { name: model.name, alias, version: full, ..Default::default() };
    caller.call(&set).await?;
    Ok(json!({}))
}

/// `registered-models/alias`, with DELETE. What is not set is no error. Without the alias of its stage, a version is archived.
pub(super) async fn delete_alias(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, alias) = (args.required("name")?, args.text("alias")?);
    rules::check_alias(&alias)?;
    let model = caller.model(&name).await?;
    let Some(version) = aliases(&model).remove(&alias) else { return Ok(json!({})) };
    if let Some(stage) = stage_of_alias(&alias) {
        return stages::leave(caller, &name, &version, stage).await;
    }
    let delete = pb::DeleteAliasRequest { name: model.name, alias, ..Default::default() };
    match caller.call(&delete).await {
        Err(refusal) if refusal.status().code() != Code::NotFound => Err(refusal.into()),
        _ => Ok(json!({})),
    }
}

/// `registered-models/alias`, with GET.
pub(super) async fn by_alias(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let (name, alias) = (args.required("name")?, args.text("alias")?);
    rules::check_alias(&alias)?;
    let model = caller.model(&name).await?;
    let version = source::by_alias(caller, &model, &alias).await?;
    Ok(json!({ "model_version": ModelVersion::of(&version, &aliases(&model), &caller.base) }))
}
