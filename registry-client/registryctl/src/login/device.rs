//! The device flow of OAuth 2 (RFC 8628) with an issuer of OpenID Connect: a code that somebody confirms in a browser, for a token.

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
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::Failure;

/// How long an issuer may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it says of itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
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
    pub(super) async fn find(url: &str) -> Result<Self, Failure> {
        let is_safe = |url: &Url| url.scheme() == "https" || url.host_str().is_some_and(is_local);
        let parsed: Url = url.parse().map_err(|error| format!("{url}: {error}"))?;
        if !is_safe(&parsed) {
            return Err(format!("{url}: an issuer elsewhere is asked over https alone").into());
        }
        let http = Client::builder().timeout(PATIENCE).redirect(Policy::none()).build()?;
        let base = url.trim_end_matches('/');
        let answer = http.get(format!("{base}/.well-known/openid-configuration")).send().await?.error_for_status()?;
        let document: Document = answer.json().await?;
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
        self.device.verification_uri_complete().map(|url| url.secret().as_str())
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
        let given = request.request_async(&send, sleep, None).await?;
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
async fn send(http: Client, request: HttpRequest) -> Result<HttpResponse, reqwest::Error> {
    let answer = http.execute(request.try_into()?).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = HttpResponse::new(answer.bytes().await?.into());
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

/// When a JSON Web Token ends, in seconds since 1970, as it says itself.
pub(super) fn end(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    Some(exp as u64)
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

    #[tokio::test]
    async fn an_issuer_elsewhere_is_not_asked_without_tls() {
        for url in ["http://id.example", "http://127.0.0.1.example", "ftp://id.example", "id"] {
            assert!(Issuer::find(url).await.is_err(), "{url}");
        }
    }
}
