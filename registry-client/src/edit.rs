//! Changes that build on what is there.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use registry_proto::resource::Resource;
use registry_proto::rpc::{Mutating, Unary};
use tokio::time::sleep;

use crate::models::mask;
use crate::names::complete;
use crate::{Error, RegistryClient, pb};
use crate::{namespaces, policies};

/// How often a change is made again because somebody else made one meanwhile. Each time somebody else's went through.
const ATTEMPTS: u32 = 30;
/// The longest pause before the next attempt, per attempt: whoever changes the same at the same time has others.
const PAUSE: Duration = Duration::from_millis(10);

/// A resource that callers change after it was made: a namespace, a policy, a model or a version.
pub trait Editable: Resource + Send {
    /// The call that reads one.
    type Get: Unary<Response = Self>;
    /// The call that changes one.
    type Update: Unary<Response = Self> + Mutating;

    /// The request for the one of that name.
    fn get(name: String) -> Self::Get;
    /// The request that takes these fields of it; `etag`, if given, says of which state.
    fn update(self, etag: String, fields: Vec<&'static str>) -> Self::Update;
}

macro_rules! editable {
    ($($resource:ident, $field:ident, $get:ident, $update:ident, $complete:path;)*) => {$(
        impl Editable for pb::$resource {
            type Get = pb::$get;
            type Update = pb::$update;

            fn get(name: String) -> pb::$get {
                let mut get = pb::$get::default();
                get.name = $complete(name);
                get
            }

            fn update(mut self, etag: String, fields: Vec<&'static str>) -> pb::$update {
                self.etag = etag;
                pb::$update { $field: Some(self), update_mask: Some(mask(fields)), ..Default::default() }
            }
        }
    )*};
}

editable! {
    Namespace, namespace, GetNamespaceRequest, UpdateNamespaceRequest, namespaces::named;
    Model, model, GetModelRequest, UpdateModelRequest, complete;
    Policy, policy, GetPolicyRequest, UpdatePolicyRequest, policies::named;
    Version, version, GetVersionRequest, UpdateVersionRequest, complete;
}

impl RegistryClient {
    /// Changes a namespace, model or version by what it is: reads it, lets `change` change it, and updates the fields that are
    /// different then. If somebody else changes it meanwhile, all of that is done again, so that nothing of theirs is lost: of two
    /// that add a tag at the same time, both do.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::pb;
    ///
    /// let tagged = client.edit("fraud@production", |version: &mut pb::Version| {
    ///     version.tags.insert("region".to_owned(), "eu".to_owned());
    ///     version.tags.remove("candidate");
    /// });
    /// tagged.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn edit<R: Editable>(
        &self,
        name: impl Into<String>,
        change: impl Fn(&mut R) + Send + Sync + 'static,
    ) -> Edit<R> {
        Edit { client: self.clone(), name: name.into(), change: Arc::new(change), etag: None, validate_only: false }
    }
}

/// A change that has not been made yet: `.await` it for the resource as it is after it. What comes out alike is not changed.
#[must_use = "nothing is changed until this is awaited"]
#[derive(Clone)]
pub struct Edit<R> {
    client: RegistryClient,
    name: String,
    change: Arc<dyn Fn(&mut R) + Send + Sync>,
    etag: Option<String>,
    validate_only: bool,
}

impl<R: Editable> Edit<R> {
    /// Only if this is still the etag: [`is_conflict`](Error::is_conflict) otherwise.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = Some(etag.into());
        self
    }

    /// Check everything and answer what would come out, but change nothing.
    pub fn validate_only(mut self, validate_only: bool) -> Self {
        self.validate_only = validate_only;
        self
    }

    /// Makes the change; the same as `.await` on it.
    ///
    /// # Errors
    /// Those of the calls that read and update the resource; [`is_conflict`](Error::is_conflict) also if others change it all the time.
    pub async fn send(self) -> Result<R, Error> {
        let mut attempt = 1;
        loop {
            let there = self.client.call(R::get(self.name.clone())).await?;
            let (name, etag) = (there.meta().name.to_owned(), there.meta().etag.to_owned());
            let mut edited = there.clone();
            (self.change)(&mut edited);
            *edited.meta_mut().name = name;
            let (_, mut fields) = there.clone().changes(&edited);
            fields.retain(|field| R::UPDATABLE.contains(field));
            if fields.is_empty() && self.etag.is_none() {
                return Ok(there);
            }
            let update = edited.update(self.etag.clone().unwrap_or(etag), fields);
            match self.client.call(update).validate_only(self.validate_only).await {
                Err(error) if self.etag.is_none() && attempt < ATTEMPTS && is_outdated(&error) => {
                    sleep(PAUSE.mul_f64(f64::from(attempt) * rand::random::<f64>())).await;
                    attempt += 1;
                }
                updated => return updated,
            }
        }
    }
}

fn is_outdated(error: &Error) -> bool {
    error.reason() == Some(pb::ErrorReason::EtagMismatch)
}

impl<R: Editable> IntoFuture for Edit<R> {
    type Output = Result<R, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl<R> fmt::Debug for Edit<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit").field("name", &self.name).field("etag", &self.etag).finish_non_exhaustive()
    }
}
