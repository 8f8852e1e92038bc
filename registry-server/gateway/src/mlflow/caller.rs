//! Who calls, and the service that is called for them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, request};
use registry_common::mlflow::id_of;
use registry_common::text::MAX_ID_CHARS;
use registry_proto::{rpc, v1 as pb};
use tokio::time::sleep;
use tonic::{Code, Status};
use tower::util::BoxCloneService;

use super::args;
use super::error::{Error, MISSING};
use crate::body::Body;
use crate::call;
use crate::refusal::Refusal;

/// How often a change is made again when another one came between, and how long is waited before, at most.
pub(super) const TRIES: u64 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The service, whatever it is made of.
pub(crate) type Inner = BoxCloneService<Request<Body>, Response<Body>, Status>;

/// The service, for whoever sent a request.
pub(super) struct Caller {
    /// It can be sent between threads, but not be used by several.
    service: Mutex<Inner>,
    pub(super) parts: request::Parts,
    /// `namespaces/default`.
    pub(super) namespace: String,
    /// The server: `http://models:50051`.
    pub(super) root: String,
    /// What the caller puts before `/api`: the same, or `http://models:50051/namespaces/risk`.
    pub(super) base: String,
}

impl Caller {
    /// `prefix` stands between the server and `/api`.
    pub(super) fn new(service: Inner, parts: request::Parts, namespace: String, root: String, prefix: &str) -> Self {
        let base = format!("{root}{prefix}");
        Self { service: Mutex::new(service), parts, namespace, root, base }
    }

    pub(super) fn service(&self) -> Inner {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn call<Q: rpc::Unary>(&self, request: &Q) -> Result<Q::Response, Refusal> {
        call::unary(self.service(), &self.parts, request).await
    }

    /// All pages of a list.
    pub(super) async fn all<L: rpc::Paged + rpc::Unary>(&self, mut list: L) -> Result<Vec<L::Item>, Refusal> {
        let mut all = Vec::new();
        loop {
            let (items, token) = L::into_page(self.call(&list).await?);
            all.extend(items);
            if token.is_empty() {
                return Ok(all);
            }
            *list.page_token_mut() = token;
        }
    }

    /// The name of the model that MLflow calls this.
    pub(super) fn model_name(&self, name: &str) -> Result<String, Error> {
        if name.trim().is_empty() {
            return Err(args::missing("name"));
        }
        if name.contains(['/', ':']) {
            let message = format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.");
            return Err(Error::invalid(message));
        }
        if [".", ".."].contains(&name) {
            return Err(Error::invalid(format_args!(
                "Invalid value {name:?} for parameter 'name' supplied: Names may be treated as files in certain cases, and must \
                 not resolve to other names when treated as such. This name would resolve to '{name}'"
            )));
        }
        let id = id_of(name);
        let length = id.chars().count();
        if length > MAX_ID_CHARS {
            return Err(Error::invalid(format_args!(
                "Invalid model name '{name}'. A name has at most {MAX_ID_CHARS} characters, of which others than letters, digits, and any \
                 of '-_.' count as three for each of their bytes: this one has {length}."
            )));
        }
        Ok(format!("{}/models/{id}", self.namespace))
    }

    /// The name of a version of the model that MLflow calls this.
    pub(super) fn version_name(&self, name: &str, version: &str) -> Result<String, Error> {
        let model = self.model_name(name)?;
        let number: i64 = version
            .parse()
            .map_err(|_| Error::invalid(format_args!("Parameter 'version' must be an integer, got '{version}'.")))?;
        match number {
            1.. => Ok(format!("{model}/versions/{number}")),
            _ => Err(no_version(name, version)),
        }
    }

    /// The model that MLflow calls this.
    pub(super) async fn model(&self, name: &str) -> Result<pb::Model, Error> {
        let get = pb::GetModelRequest { name: self.model_name(name)?, ..Default::default() };
        match self.call(&get).await {
            Ok(model) if model.delete_time.is_none() => Ok(model),
            Ok(_) => Err(no_model(name)),
            Err(refusal) => Err(of_model(refusal, name)),
        }
    }

    /// A version, and the model that it is of.
    pub(super) async fn version(&self, name: &str, version: &str) -> Result<(pb::Model, pb::Version), Error> {
        let get = pb::GetVersionRequest { name: self.version_name(name, version)?, ..Default::default() };
        let unknown = |error: Error| if error.is(MISSING) { no_version(name, version) } else { error };
        let model = self.model(name).await.map_err(unknown)?;
        match self.call(&get).await {
            Ok(found) if found.delete_time.is_none() => Ok((model, found)),
            Ok(_) => Err(no_version(name, version)),
            Err(refusal) => Err(unknown(refusal.into())),
        }
    }

    /// Changes tags and the description of a model.
    pub(super) async fn change_model(&self, name: &str, change: impl Fn(&mut pb::Model)) -> Result<pb::Model, Error> {
        for tried in 1.. {
            let model = self.model(name).await?;
            let mut changed = model.clone();
            change(&mut changed);
            if changed == model {
                return Ok(model);
            }
            let paths = ["description", "tags", "annotations"].map(str::to_owned).to_vec();
            let update_mask = Some(prost_types::FieldMask { paths });
            let update = pb::UpdateModelRequest { model: Some(changed), update_mask, ..Default::default() };
            match self.call(&update).await {
                Err(refusal) if is_outrun(&refusal) && tried < TRIES => pause(tried).await,
                answer => return answer.map_err(|refusal| of_model(refusal, name)),
            }
        }
        unreachable!("the last try is answered")
    }

    /// Changes tags and the description of a version.
    pub(super) async fn change_version(
        &self,
        name: &str,
        version: &str,
        change: impl Fn(&mut pb::Version),
    ) -> Result<(pb::Model, pb::Version), Error> {
        for tried in 1.. {
            let (model, before) = self.version(name, version).await?;
            let mut changed = before.clone();
            change(&mut changed);
            if changed == before {
                return Ok((model, before));
            }
            let paths = ["description", "tags", "additional_metadata"].map(str::to_owned).to_vec();
            let update_mask = Some(prost_types::FieldMask { paths });
            let update = pb::UpdateVersionRequest { version: Some(changed), update_mask, ..Default::default() };
            match self.call(&update).await {
                Err(refusal) if is_outrun(&refusal) && tried < TRIES => pause(tried).await,
                answer => return Ok((model, answer?)),
            }
        }
        unreachable!("the last try is answered")
    }
}

/// Whether another change came between.
pub(super) fn is_outrun(refusal: &Refusal) -> bool {
    refusal.status().code() == Code::Aborted
}

/// Lets others pass, for longer the more often they were faster.
pub(super) async fn pause(tried: u64) {
    sleep(Duration::from_millis(tried).min(PAUSE)).await;
}

pub(super) fn no_model(name: &str) -> Error {
    Error::new(MISSING, format_args!("Registered Model with name={name} not found"))
}

pub(super) fn no_version(name: &str, version: &str) -> Error {
    Error::new(MISSING, format_args!("Model Version (name={name}, version={version}) not found"))
}

/// An error of a call about the model that MLflow calls this.
pub(super) fn of_model(refusal: Refusal, name: &str) -> Error {
    match Error::from(refusal) {
        error if error.is(MISSING) => no_model(name),
        error => error,
    }
}
