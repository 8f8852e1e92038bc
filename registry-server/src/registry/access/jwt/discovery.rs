//! Where the keys of an issuer come from: its discovery document says where its JWKS is (OpenID Connect Discovery).
//!
//! Each answer is read within a size, and none is followed elsewhere: a redirect is a failure.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::keys::Keys;
use crate::settings::IssuerUrl;
use crate::tls;

/// How long both answers may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// How large each may be.
const MOST_BYTES: usize = 256 * 1024;
const AGENT: &str = concat!("model-registry/", env!("CARGO_PKG_VERSION"));

/// Why there are no keys. Nothing of what an issuer answers is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it did not answer within {PATIENCE:?}")]
    Late,
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    #[error("{what} was answered with {status}")]
    Answered { what: &'static str, status: StatusCode },
    #[error("{0} is broken off, or larger than {MOST_BYTES} bytes")]
    Unread(&'static str),
    #[error("{0} is no JSON")]
    NoJson(&'static str),
    #[error("its discovery document is of another issuer: that has to be the one in the settings, letter by letter")]
    OtherIssuer,
    #[error("its discovery document has no jwks_uri with https")]
    NoPlace,
    #[error("its JWKS has no key that is good for signatures")]
    NoKeys,
}

/// Fetches keys.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetcher {
    /// One that trusts the authorities that the system trusts.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        // What may be fetched without TLS is decided for each URL.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::of_clients()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        // Once an hour, no connection is worth keeping.
        Ok(Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector) })
    }

    /// The keys that an issuer has now.
    pub(super) async fn keys(&self, issuer: &IssuerUrl) -> Result<Keys, FetchError> {
        timeout(PATIENCE, self.look_for_keys(issuer)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn look_for_keys(&self, issuer: &IssuerUrl) -> Result<Keys, FetchError> {
        let document = self.get("its discovery document", &issuer.discovery()).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // Who can answer in the place of one issuer can't speak for another one.
        if text("issuer") != Some(issuer.text()) {
            return Err(FetchError::OtherIssuer);
        }
        let place = text("jwks_uri").and_then(|place| place.parse::<Url>().ok());
        let place = place.filter(|place| issuer.may_lead_to(place)).ok_or(FetchError::NoPlace)?;
        let keys = Keys::of(&self.get("its JWKS", place.as_str()).await?);
        if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
    }

    async fn get(&self, what: &'static str, url: &str) -> Result<Value, FetchError> {
        let request = Request::get(url).header(ACCEPT, "application/json").header(USER_AGENT, AGENT);
        let request = request.body(Empty::new()).map_err(|error| FetchError::Unreachable(error.to_string()))?;
        let answered = self.client.request(request).await;
        let response = answered.map_err(|error| FetchError::Unreachable(causes(&error)))?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Answered { what, status });
        }
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|_| FetchError::Unread(what))?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| FetchError::NoJson(what))
    }
}

/// An error with all that caused it: the first one alone says that a connection failed, the last one why.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut causes = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        causes += &format!(": {error}");
        next = error.source();
    }
    causes
}
