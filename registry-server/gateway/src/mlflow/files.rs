//! The files of versions, as MLflow's clients list, load and store them: `mlflow-artifacts/artifacts/MODEL/VERSION/PATH`.
//!
//! The model is there by its id, in which nothing has to be escaped: clients escape what is in an address once for a file, and twice for a list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{Method, Response};
use percent_encoding::percent_decode_str;
use registry_proto::v1 as pb;
use serde_json::{Value, json};

use super::args::Args;
use super::caller::Caller;
use super::error::{Error, MISSING, NO_ENDPOINT};
use crate::body::Body;
use crate::files::File;
use crate::schema::Schema;

/// What MLflow keeps of a model is the model.
pub(super) const TYPE: &str = "model";

/// A version, and a file or folder in it.
pub(super) struct Place {
    pub(super) version: String,
    pub(super) path: String,
}

impl Place {
    /// The place at a path without escapes; `None` if it is above the versions.
    fn of(caller: &Caller, path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').splitn(3, '/');
        let (Some(id), Some(number)) = (parts.next(), parts.next()) else { return None };
        let version = format!("{}/models/{id}/versions/{number}", caller.namespace);
        Some(Self { version, path: parts.next().unwrap_or_default().to_owned() })
    }

    /// The place of a file, at a path without escapes.
    pub(super) fn of_file(caller: &Caller, path: &str) -> Result<Self, Error> {
        let place = Self::of(caller, path).filter(|place| !place.path.is_empty());
        place.ok_or_else(|| Error::new(MISSING, format_args!("No such artifact: '{path}'")))
    }

    /// Checks that the version is not deleted, nor its model.
    pub(super) async fn check(&self, caller: &Caller) -> Result<(), Error> {
        let model = self.version.split("/versions/").next().unwrap_or_default().to_owned();
        let model = caller.call(&pb::GetModelRequest { name: model, ..Default::default() }).await?;
        let version = caller.call(&pb::GetVersionRequest { name: self.version.clone(), ..Default::default() }).await?;
        match model.delete_time.or(version.delete_time) {
            Some(_) => Err(Error::new(MISSING, format_args!("{} is deleted", self.version))),
            None => Ok(()),
        }
    }

    async fn artifacts(&self, caller: &Caller) -> Result<Vec<pb::Artifact>, Error> {
        let list = pb::ListArtifactsRequest { parent: self.version.clone(), page_size: 1000, ..Default::default() };
        Ok(caller.all(list).await?)
    }

    /// What an artifact is below this folder.
    fn below<'a>(&self, artifact: &'a pb::Artifact) -> Option<&'a str> {
        match &*self.path {
            "" => Some(&artifact.path),
            folder => artifact.path.strip_prefix(folder)?.strip_prefix('/'),
        }
    }
}

/// What is in a folder, by name. A file has nothing in it.
pub(super) async fn list(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let path = args.text("path")?;
    let place = Place::of(caller, &path);
    let place = place.ok_or_else(|| Error::invalid("'path' must begin with a model and a version: fraud/7"))?;
    place.check(caller).await?;
    let mut files = BTreeMap::new();
    for artifact in &place.artifacts(caller).await? {
        let Some(below) = place.below(artifact) else { continue };
        match below.split_once('/') {
            Some((folder, _)) => files.insert(folder.to_owned(), json!({ "path": folder, "is_dir": true })),
            None => {
                let file = json!({ "path": below, "is_dir": false, "file_size": artifact.size_bytes });
                files.insert(below.to_owned(), file)
            }
        };
    }
    Ok(json!({ "files": files.into_values().collect::<Vec<_>>() }))
}

/// A path whose escapes are decoded, once. It is checked by the service as what it is then.
pub(super) fn decoded(path: &str) -> Result<Cow<'_, str>, Error> {
    percent_decode_str(path).decode_utf8().map_err(|_| Error::invalid("The path is not in UTF-8"))
}

/// A file: loaded, stored, or removed.
pub(super) async fn file(caller: &Caller, schema: &Schema, path: &str, body: Body) -> Result<Response<Body>, Error> {
    let place = Place::of_file(caller, &decoded(path)?)?;
    place.check(caller).await?;
    match caller.parts.method {
        Method::GET | Method::HEAD | Method::PUT => {
            let file = File { parent: place.version, path: place.path, of: Some(TYPE) };
            Ok(file.answer(schema, caller.service(), &caller.parts, body).await?)
        }
        Method::DELETE => Ok(remove(caller, &place).await?),
        _ => Err(Error::new(NO_ENDPOINT, "Artifacts have GET, HEAD, PUT and DELETE")),
    }
}

/// Removes a file, or all in a folder.
async fn remove(caller: &Caller, place: &Place) -> Result<Response<Body>, Error> {
    for artifact in place.artifacts(caller).await? {
        if artifact.path == place.path || place.below(&artifact).is_some() {
            caller.call(&pb::DeleteArtifactRequest { name: artifact.name, ..Default::default() }).await?;
        }
    }
    Ok(super::answered(&json!({})))
}
