//! MLflow's model registry, as its clients call it, over ours: `mlflow.set_registry_uri("http://models:50051")`.
//!
//! What its calls become is in `registry-client/docs/mlflow.md`. Each is made of calls of the service, for whoever sent it.

mod args;
mod caller;
mod copy;
mod error;
mod files;
mod filter;
mod models;
mod multipart;
mod rules;
mod search;
mod shapes;
mod source;
mod stages;
mod versions;
mod webhooks;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Response, StatusCode, request};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use self::args::Args;
use self::caller::Caller;
pub(crate) use self::caller::Inner;
use self::error::{Error, NO_ENDPOINT};
use crate::body::{Body, answer, full, json as json_body};
use crate::incoming::{Reader, Whole};
use crate::schema::Schema;

/// The version of MLflow whose calls these are.
const VERSION: &str = "3.17.2";

/// A path of MLflow's: `/api/2.0/mlflow/registered-models/get`, or `/namespaces/risk/api/2.0/...` for another namespace than `default`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct At<'a> {
    namespace: Option<&'a str>,
    path: &'a str,
}

/// What answers are made with.
pub(crate) struct Means<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) reader: &'a Reader,
    /// `http` or `https`: what the caller has before the server's name.
    pub(crate) scheme: &'a str,
}

impl<'a> At<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let (namespace, path) = match path.strip_prefix("/namespaces/").and_then(|rest| rest.split_once('/')) {
            Some((namespace, _)) => (Some(namespace), &path["/namespaces/".len() + namespace.len()..]),
            None => (None, path),
        };
        // Also what seems to be called under a wrong address: its client understands MLflow's errors only.
        let is_call = path.starts_with("/api/") || path.contains("/api/2.0/mlflow");
        let is_call = is_call || ["/health", "/version"].contains(&path);
        is_call.then_some(Self { namespace, path })
    }

    /// Answers a request there.
    pub(crate) async fn answer(
        self,
        gateway: Means<'_>,
        service: Inner,
        parts: &request::Parts,
        body: Body,
    ) -> Response<Body> {
        self.respond(gateway, service, parts, body).await.unwrap_or_else(Error::into_response)
    }

    async fn respond(
        self,
        Means { schema, reader, scheme }: Means<'_>,
        service: Inner,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let is_read = [Method::GET, Method::HEAD].contains(&parts.method);
        match self.path {
            "/health" if is_read => return Ok(text("OK")),
            "/version" if is_read => return Ok(text(VERSION)),
            _ => {}
        }
        let (prefix, namespace) = match self.namespace {
            Some(namespace) => {
                let decoded = percent_decode_str(namespace).decode_utf8_lossy();
                (format!("/namespaces/{namespace}"), format!("namespaces/{decoded}"))
            }
            None => (String::new(), "namespaces/default".to_owned()),
        };
        let host = crate::origin::authority(&parts.headers, &parts.uri)?;
        let caller = Caller::new(service, with_token(parts), namespace, format!("{scheme}://{host}"), &prefix);
        let Some(path) = self.path.strip_prefix("/api/2.0/mlflow/") else {
            return self.beside(&caller, Means { schema, reader, scheme }, parts, body).await;
        };
        let args = if is_read {
            Args::of_query(parts.uri.query().unwrap_or_default())
        } else {
            let (body, _room) = reader.read(&parts.headers, Whole::new(body, parts.version)).await?;
            Args::of_body(&body)?
        };
        Ok(answered(&registry(&caller, &parts.method, path, &args).await?))
    }

    /// What is no call of the registry.
    async fn beside(
        &self,
        caller: &Caller,
        gateway: Means<'_>,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let is_get = [Method::GET, Method::HEAD].contains(&parts.method);
        if self.path == "/api/3.0/mlflow/server-info" && is_get {
            // Its client would send parts, and ask for ranges, without the authority of `MLFLOW_TRACKING_SERVER_CERT_PATH`: whoever wants
            // it to says so in its environment.
            return Ok(answered(&json!({
                "workspaces_enabled": false,
                "multipart_uploads_enabled": false,
                "multipart_downloads_enabled": false,
                "artifacts_presigned_only": false,
            })));
        }
        match self.path.strip_prefix("/api/2.0/mlflow-artifacts/") {
            Some("artifacts") if is_get => {
                let args = Args::of_query(parts.uri.query().unwrap_or_default());
                Ok(answered(&files::list(caller, &args).await?))
            }
            Some(path) => match (path.strip_prefix("artifacts/"), path.strip_prefix("presigned/")) {
                (Some(path), _) => files::file(caller, gateway.schema, path, body).await,
                (_, Some(path)) if is_get => Ok(answered(&multipart::presigned(caller, path).await?)),
                _ => match multipart::of(&parts.method, path) {
                    Some((what, folder)) => {
                        let (body, _room) =
                            gateway.reader.read(&parts.headers, Whole::new(body, parts.version)).await?;
                        Ok(answered(&multipart::call(caller, what, folder, &Args::of_body(&body)?).await?))
                    }
                    None => Err(no_endpoint(&parts.method, self.path)),
                },
            },
            None => Err(no_endpoint(&parts.method, self.path)),
        }
    }
}

/// The calls of the registry.
async fn registry(caller: &Caller, method: &Method, path: &str, args: &Args) -> Result<Value, Error> {
    // It is answered like GET, without the body.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    match (method, path) {
        ("POST", "registered-models/create") => models::create(caller, args).await,
        ("POST", "registered-models/rename") => models::rename(caller, args).await,
        ("PATCH", "registered-models/update") => models::update(caller, args).await,
        ("DELETE", "registered-models/delete") => models::delete(caller, args).await,
        ("GET", "registered-models/get") => models::get(caller, args).await,
        ("GET", "registered-models/search") => search::models(caller, args).await,
        ("POST" | "GET", "registered-models/get-latest-versions") => search::latest(caller, args).await,
        ("POST", "registered-models/set-tag") => models::set_tag(caller, args).await,
        ("DELETE", "registered-models/delete-tag") => models::delete_tag(caller, args).await,
        ("POST", "registered-models/alias") => models::set_alias(caller, args).await,
        ("DELETE", "registered-models/alias") => models::delete_alias(caller, args).await,
        ("GET", "registered-models/alias") => models::by_alias(caller, args).await,
        ("POST", "model-versions/create") => versions::create(caller, args).await,
        ("PATCH", "model-versions/update") => versions::update(caller, args).await,
        ("POST", "model-versions/transition-stage") => versions::transition_stage(caller, args).await,
        ("DELETE", "model-versions/delete") => versions::delete(caller, args).await,
        ("GET", "model-versions/get") => versions::get(caller, args).await,
        ("GET", "model-versions/search") => search::versions(caller, args).await,
        ("GET", "model-versions/get-download-uri") => versions::download(caller, args).await,
        ("POST", "model-versions/set-tag") => versions::set_tag(caller, args).await,
        ("DELETE", "model-versions/delete-tag") => versions::delete_tag(caller, args).await,
        ("POST", "webhooks") => webhooks::create(caller, args).await,
        ("GET", "webhooks") => webhooks::list(caller, args).await,
        (method, path) => {
            if let Some(below) = path.strip_prefix("webhooks/")
                && let Some(answered) = webhooks::call(caller, method, below, args).await
            {
                return answered;
            }
            Err(Error::new(
                NO_ENDPOINT,
                format_args!(
                    "{method} {path} is no call of MLflow's model registry, which is all that is served here. For runs and experiments \
                     set the tracking URI to an MLflow server, and the registry URI to this one"
                ),
            ))
        }
    }
}

fn no_endpoint(method: &Method, path: &str) -> Error {
    Error::new(
        NO_ENDPOINT,
        format_args!(
            "There is no {method} {path} here: the registry URI is http://HOST:PORT, or http://HOST:PORT/namespaces/NAME for another \
             namespace than default"
        ),
    )
}

fn answered(value: &Value) -> Response<Body> {
    json_body(StatusCode::OK, value.to_string().into_bytes())
}

fn text(text: &'static str) -> Response<Body> {
    answer(StatusCode::OK, "text/plain; charset=utf-8", full(text))
}

/// The request, with the token that a password is: MLflow's clients have one for `MLFLOW_TRACKING_TOKEN`, and for a user and a password.
fn with_token(parts: &request::Parts) -> request::Parts {
    let mut parts = parts.clone();
    let basic = parts.headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok()).and_then(|given| {
        let (scheme, credentials) = given.split_once(' ')?;
        let credentials = BASE64_STANDARD.decode(credentials).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let (_, password) = str::from_utf8(&credentials).ok()?.split_once(':')?;
        HeaderValue::try_from(format!("Bearer {password}")).ok()
    });
    if let Some(mut bearer) = basic {
        bearer.set_sensitive(true);
        parts.headers.insert(AUTHORIZATION, bearer);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::At;

    #[test]
    fn what_is_mlflows() {
        let at = |namespace, path| Some(At { namespace, path });
        for (path, expected) in [
            ("/health", at(None, "/health")),
            ("/api/2.0/mlflow/runs/get", at(None, "/api/2.0/mlflow/runs/get")),
            ("/namespaces/risk/api/2.0/mlflow/x", at(Some("risk"), "/api/2.0/mlflow/x")),
            ("/namespaces/risk/version", at(Some("risk"), "/version")),
            ("/namespaces/risk", None),
            ("/namespaces/risk/models", None),
            ("/namespace/risk/api/2.0/mlflow/x", at(None, "/namespace/risk/api/2.0/mlflow/x")),
            ("/v1/namespaces", None),
            ("/healthz", None),
            ("/", None),
        ] {
            assert_eq!(At::of(path), expected, "{path}");
        }
    }
}
