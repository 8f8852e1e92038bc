//! Where the versions are from that MLflow registers.

use registry_common::mlflow::{alias_of_stage, name_of};
use registry_proto::v1 as pb;
use registry_proto::v1::VersionState;
use tonic::Code;

use super::caller::Caller;
use super::error::Error;
use super::rules;
use super::search::parse_stage;
use super::shapes::model_id;

/// Where a version comes from, as its caller says it.
pub(super) enum Source {
    /// Another version of this registry, and a URI that goes on to mean that one: `models:/fraud/7`.
    Version(Box<pb::Version>, String),
    /// A place elsewhere.
    Place(String),
    /// Something that is no place, as prompts have it.
    Other,
}

pub(super) async fn of_source(caller: &Caller, source: &str) -> Result<Source, Error> {
    rules::check_path(source)?;
    rules::check_host(source, &caller.base)?;
    let scheme = source.split_once(':').map(|(scheme, _)| scheme);
    // A drive of Windows has one letter.
    let is_scheme =
        |scheme: &&str| scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let Some(scheme) = scheme.filter(is_scheme) else {
        let path = source.starts_with('/').then(|| Source::Place(format!("file://{source}")));
        return Ok(path.unwrap_or(Source::Other));
    };
    // `models:/m-1f...` is a model of the tracking server.
    let is_logged = |uri: &str| uri.starts_with("/m-") && !uri[1..].contains(['/', '@']);
    let uri = &source[scheme.len() + 1..];
    if !scheme.eq_ignore_ascii_case("models") || is_logged(uri) {
        return Ok(Source::Place(source.to_owned()));
    }
    let version = registered(caller, uri.strip_prefix('/').ok_or_else(|| improper(source))?).await?;
    if version.state() != VersionState::Ready || version.withdraw_time.is_some() {
        let why = if version.withdraw_time.is_some() { "withdrawn" } else { "not ready" };
        return Err(Error::invalid(format_args!("Invalid model version source: '{source}'. That version is {why}.")));
    }
    let uri = format!("models:/{}/{}", name_of(model_id(&version)), version.number);
    Ok(Source::Version(Box::new(version), uri))
}

fn improper(uri: &str) -> Error {
    Error::invalid(format_args!("Not a proper models:/ URI: {uri}"))
}

/// The version behind `models:/`: by its number, its alias, its stage, or the latest one.
async fn registered(caller: &Caller, uri: &str) -> Result<pb::Version, Error> {
    let unknown = || improper(&format!("models:/{uri}"));
    let (name, alias) = match uri.split_once('/') {
        Some((name, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => {
            return Ok(caller.version(name, number).await?.1);
        }
        Some((name, stage)) if stage.eq_ignore_ascii_case("latest") => (name, "latest"),
        Some((name, stage)) => (name, alias_of_stage(parse_stage(stage)?).ok_or_else(unknown)?),
        None => uri.split_once('@').ok_or_else(unknown)?,
    };
    by_alias(caller, &caller.model(name).await?, alias).await
}

/// The version of a model with an alias.
pub(super) async fn by_alias(caller: &Caller, model: &pb::Model, alias: &str) -> Result<pb::Version, Error> {
    let alias = if alias.eq_ignore_ascii_case("latest") { "latest" } else { alias };
    let get = pb::GetVersionRequest { name: format!("{}/versions/@{alias}", model.name), ..Default::default() };
    caller.call(&get).await.map_err(|refusal| match refusal.status().code() {
        Code::NotFound | Code::InvalidArgument => {
            Error::invalid(format_args!("Registered model alias {alias} not found."))
        }
        _ => refusal.into(),
    })
}
