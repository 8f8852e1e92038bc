//! The device flow of OAuth 2 (RFC 8628) with an issuer of OpenID Connect: a code that somebody confirms in a browser, for a token.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    ClientId, DeviceAuthorizationUrl, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse,
    RefreshToken, Scope, StandardDeviceAuthorizationResponse, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::Failure;

/// How long an issuer may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES: usize = 1 << 20;
/// How often it is asked whether somebody has confirmed, whatever it says.
const ASKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a code is waited for, whatever the issuer says of it.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What it says of itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
}

/// An issuer did not say what it is.
#[derive(Debug, thiserror::Error)]
#[error("{issuer}/.well-known/openid-configuration can't be read")]
struct NoAnswer {
    issuer: String,
    source: Failed,
}

/// Why an issuer's answer is none.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Http(reqwest::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the answer has more than {ANSWER_BYTES} bytes")]
    TooLong,
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// What OpenID Connect adds to the response with a token.
#[derive(Debug, Serialize, Deserialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type Response = StandardTokenResponse<IdToken, BasicTokenType>;
type Flow = oauth2::Client<
    BasicErrorResponse,
    Response,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// An issuer that was found.
pub(super) struct Issuer {
    http: Client,
    token_endpoint: TokenUrl,
    device_endpoint: DeviceAuthorizationUrl,
}

/// What a login gives.
pub(super) struct Tokens {
    /// What is shown to the registry.
    pub(super) token: String,
    /// What gives another one.
    pub(super) refresh_token: Option<String>,
}

/// A login that waits for somebody.
pub(super) struct Begun {
    http: Client,
    flow: Flow,
    device: StandardDeviceAuthorizationResponse,
    resource: Option<String>,
}

impl Issuer {
    /// Reads what an issuer says of itself.
    ///
    /// An authority of one's own, whose certificate is in a file, is trusted beside those that the system trusts.
    pub(super) async fn find(url: &str, ca_file: Option<&Path>) -> Result<Self, Failure> {
        let is_safe = |url: &Url| url.scheme() == "https" || url.host_str().is_some_and(is_local);
        let parsed: Url = url.parse().map_err(|error| format!("{url}: {error}"))?;
        if !is_safe(&parsed) {
            return Err(format!("{url}: an issuer elsewhere is asked over https alone").into());
        }
        let mut builder = Client::builder().timeout(PATIENCE).redirect(Policy::none());
        if let Some(path) = ca_file {
            let certificates = Certificate::from_pem_bundle(&std::fs::read(path)?)?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build()?;
        let base = url.trim_end_matches('/');
        let ask = async {
            let answer = http.get(format!("{base}/.well-known/openid-configuration")).send().await?;
            bytes_of(answer.error_for_status()?).await
        };
        let answer = ask.await.map_err(|source| NoAnswer { issuer: base.to_owned(), source })?;
        let document: Document = serde_json::from_slice(&answer)
            .map_err(|source| NoAnswer { issuer: base.to_owned(), source: source.into() })?;
        if document.issuer.trim_end_matches('/') != base {
            return Err(format!("{url}: it says that it is {}", document.issuer).into());
        }
        let device = document.device_authorization_endpoint;
        let device = device.ok_or_else(|| format!("{url}: it has no device flow"))?;
        let (token_endpoint, device_endpoint) =
            (TokenUrl::new(document.token_endpoint)?, DeviceAuthorizationUrl::new(device)?);
        if !is_safe(token_endpoint.url()) || !is_safe(device_endpoint.url()) {
            return Err(format!("{url}: its endpoints are not at https").into());
        }
        Ok(Self { http, token_endpoint, device_endpoint })
    }

    fn flow(self, client_id: &str) -> (Client, Flow) {
        let flow = oauth2::Client::new(ClientId::new(client_id.to_owned()))
            .set_device_authorization_url(self.device_endpoint)
            .set_token_uri(self.token_endpoint);
        (self.http, flow)
    }

    /// Asks for a code.
    pub(super) async fn begin(
        self,
        client_id: &str,
        resource: Option<&str>,
        scopes: &[String],
    ) -> Result<Begun, Failure> {
        let (http, flow) = self.flow(client_id);
        let scopes = std::iter::once("openid").chain(scopes.iter().map(String::as_str));
        let mut request = flow.exchange_device_code().add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())));
        if let Some(resource) = resource {
            request = request.add_extra_param("resource", resource.to_owned());
        }
        let device = request.request_async(&|request| send(http.clone(), request)).await?;
        Ok(Begun { http, flow, device, resource: resource.map(str::to_owned) })
    }

    /// Gets another token for one that has ended.
    pub(super) async fn renew(self, client_id: &str, resource: Option<&str>, token: &str) -> Result<Tokens, Failure> {
        let (http, flow) = self.flow(client_id);
        let token = RefreshToken::new(token.to_owned());
        let mut request = flow.exchange_refresh_token(&token);
        if let Some(resource) = resource {
            request = request.add_extra_param("resource", resource);
        }
        let renewed = request.request_async(&|request| send(http.clone(), request)).await?;
        tokens(&renewed, resource.is_some())
    }
}

impl Begun {
    /// Where the code is to be entered.
    pub(super) fn url(&self) -> &str {
        self.device.verification_uri()
    }

    /// The code.
    pub(super) fn code(&self) -> &str {
        self.device.user_code().secret()
    }

    /// Where the code need only be confirmed.
    pub(super) fn direct(&self) -> Option<&str> {
        let url = self.device.verification_uri_complete().map(|url| url.secret().as_str());
        url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))
    }

    /// Waits until somebody confirms it.
    pub(super) async fn wait(self) -> Result<Tokens, Failure> {
        let Self { http, flow, device, resource } = self;
        let send = |request| send(http.clone(), request);
        let mut request = flow.exchange_device_access_token(&device);
        // Of all that was asked for, this token is for that (RFC 8707, 2.2).
        if let Some(resource) = resource.clone() {
            request = request.add_extra_param("resource", resource);
        }
        let pause = |pause: Duration| sleep(pause.clamp(ASKED.0, ASKED.1));
        let patience = device.expires_in().min(LONGEST);
        let given = timeout(patience, request.request_async(&send, pause, Some(LONGEST))).await;
        let given = given.map_err(|_| "nobody has confirmed the code in time: log in again")??;
        tokens(&given, resource.is_some())
    }
}

fn is_local(host: &str) -> bool {
    ["127.0.0.1", "[::1]", "localhost"].contains(&host)
}

fn tokens(given: &Response, for_resource: bool) -> Result<Tokens, Failure> {
    let token = match for_resource {
        true => Some(given.access_token().secret().clone()),
        false => given.extra_fields().id_token.clone(),
    };
    let token = token.ok_or("the issuer gave no ID token: ask for an access token with --resource")?;
    Ok(Tokens { token, refresh_token: given.refresh_token().map(|token| token.secret().clone()) })
}

/// Makes one request of the flow.
async fn send(http: Client, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let answer = http.execute(request.try_into()?).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = HttpResponse::new(bytes_of(answer).await?);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

/// The bytes of an answer, if it is not too long.
async fn bytes_of(mut answer: reqwest::Response) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES {
            return Err(Failed::TooLong);
        }
    }
    Ok(bytes)
}

/// Whether two JSON Web Tokens are of the same account, as they say themselves; of others, nobody can tell.
pub(super) fn same_subject(one: &str, other: &str) -> bool {
    #[derive(PartialEq, Deserialize)]
    struct Claims {
        iss: Option<String>,
        sub: Option<String>,
    }
    let of = claims::<Claims>;
    of(one).zip(of(other)).is_none_or(|(one, other)| one == other)
}

/// When a JSON Web Token ends, in seconds since 1970, as it says itself.
pub(super) fn end(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let Claims { exp } = claims(token)?;
    Some(exp as u64)
}

fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_read() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(end(&token(r#"{"exp": 1700000000, "sub": "ana"}"#)), Some(1_700_000_000));
        assert_eq!(end(&token(r#"{"exp": 1700000000.5}"#)), Some(1_700_000_000));
        for opaque in ["", "opaque", "a.b.c", &token("{}"), &token("[")] {
            assert_eq!(end(opaque), None, "{opaque}");
        }
    }

    #[test]
    fn a_token_is_of_the_same_account_unless_it_says_otherwise() {
        let token = |claims: &str| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let ana = token(r#"{"iss": "https://id.example", "sub": "ana", "exp": 1}"#);
        assert!(same_subject(&ana, &token(r#"{"exp": 2, "sub": "ana", "iss": "https://id.example"}"#)));
        assert!(same_subject(&ana, "opaque"));
        for other in [r#"{"iss": "https://id.example", "sub": "eve"}"#, r#"{"sub": "ana"}"#, "{}"] {
            assert!(!same_subject(&ana, &token(other)), "{other}");
        }
    }

    #[tokio::test]
    async fn an_issuer_elsewhere_is_not_asked_without_tls() {
        for url in ["http://id.example", "http://127.0.0.1.example", "ftp://id.example", "id"] {
            assert!(Issuer::find(url, None).await.is_err(), "{url}");
        }
    }
}
