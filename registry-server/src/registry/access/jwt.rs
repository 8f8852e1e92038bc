//! JSON Web Tokens (RFC 7519) of the issuers in the settings: who shows one that is good is the principal that its claims name.
//!
//! Of a token that is not verified yet, only this counts: its issuer, its key and its way of signing, to look up by which key it has to be
//! verified. What is allowed is the settings' part; nothing in a token widens it.

mod discovery;
mod issuer;
mod keys;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::future::{join_all, pending};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode};
use registry_proto::v1::ErrorReason;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::watch;

use self::discovery::Fetcher;
use self::issuer::Issuer;
use super::came::Came;
use super::wishes::{Caller, Credential};
use crate::error::Error;
use crate::rules::access::{Bearer, SERVER};
use crate::rules::identity::identify;
use crate::settings::{self, SignatureAlgorithm};

/// How long a token may be. Headers of a call may be as long.
const MOST_BYTES: usize = 16 * 1024;
/// What a token may say that it is (RFC 7519, 5.1, and RFC 9068, 2.1): others are signed for something else than to call with.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// No token ends later: it is the end of the year 9999, behind which the contract has no times.
const LATEST: Duration = Duration::from_secs(253_402_300_800 - 60);

/// The issuers whose tokens let callers in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issuers(Vec<Arc<Issuer>>);

impl Issuers {
    /// Those of the settings. Nothing is fetched yet: see [`keep`](Self::keep).
    ///
    /// # Errors
    /// If there is no TLS to fetch keys with.
    pub(crate) fn new(issuers: &[settings::Issuer]) -> Result<Self, rustls::Error> {
        if issuers.is_empty() {
            return Ok(Self::default());
        }
        let fetcher = Fetcher::new()?;
        Ok(Self(issuers.iter().map(|settings| Arc::new(Issuer::new(settings, fetcher.clone()))).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps their keys new until the server stops.
    pub(crate) async fn keep(self, mut draining: watch::Receiver<bool>) {
        let keep = async {
            join_all(self.0.into_iter().map(Issuer::keep)).await;
            pending::<()>().await;
        };
        tokio::select! {
            () = keep => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => {}
        }
    }

    /// The caller that shows a token.
    ///
    /// # Errors
    /// If it is none of these issuers, or not good now, or names nobody.
    pub(crate) async fn authenticate(&self, text: &str) -> Result<Caller, Error> {
        self.verify(text).await.map_err(Error::Unauthenticated)
    }

    async fn verify(&self, text: &str) -> Result<Caller, ErrorReason> {
        let shown = Shown::parse(text).ok_or(ErrorReason::TokenInvalid)?;
        let issuer = self.0.iter().find(|issuer| *issuer.name == shown.issuer);
        let issuer = issuer.ok_or(ErrorReason::TokenIssuerUnknown)?;
        if !issuer.algorithms.contains(&shown.algorithm) {
            return Err(ErrorReason::TokenInvalid);
        }
        let key = issuer.key(shown.key.as_deref(), shown.algorithm).await.ok_or(ErrorReason::TokenKeyUnknown)?;
        let claims = decode::<Map<String, Value>>(text, &key, &validation(issuer, shown.algorithm));
        let claims = claims.map_err(|error| reason(error.kind()))?.claims;
        let expires = expiry(&claims, issuer.leeway).ok_or(ErrorReason::TokenInvalid)?;
        let identity = identify(&issuer.mapping, &claims).map_err(|problem| {
            tracing::info!(issuer = %issuer.url, %problem, "a token that is good names no principal");
            ErrorReason::TokenClaimsInvalid
        })?;
        let bearer = Bearer {
            principal: identity.principal,
            groups: identity.groups,
            roles: Vec::new(),
            resource: SERVER.to_owned(),
        };
        let credential = Credential::Jwt { issuer: Arc::clone(&issuer.name) };
        Ok(Caller { credential, bearer: Arc::new(bearer), expires: Some(expires), came: Came::default() })
    }
}

/// A token that somebody shows, as far as it says by what it is to be verified.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    issuer: String,
    algorithm: SignatureAlgorithm,
    key: Option<String>,
}

impl Shown {
    /// `None` if it has not the form of a token that could be good.
    fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
        }
        if text.len() > MOST_BYTES {
            return None;
        }
        let [head, claims, _] = text.split('.').collect::<Vec<_>>()[..] else { return None };
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let head: Map<String, Value> = serde_json::from_slice(&decoded(head)?).ok()?;
        // What has to be understood by whoever verifies (RFC 7515, 4.1.11): nothing of it is, here.
        if head.contains_key("crit") {
            return None;
        }
        let field = |name: &str| match head.get(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(text.clone())),
            Some(_) => None,
        };
        if field("typ")?.is_some_and(|typ| !TYPES.contains(&typ.to_ascii_lowercase().as_str())) {
            return None;
        }
        let Claims { iss: issuer } = serde_json::from_slice(&decoded(claims)?).ok()?;
        Some(Self { issuer, algorithm: SignatureAlgorithm::named(&field("alg")??)?, key: field("kid")? })
    }
}

/// What is verified beside the signature.
fn validation(issuer: &Issuer, algorithm: SignatureAlgorithm) -> Validation {
    let mut validation = Validation::new(algorithm.into());
    validation.leeway = issuer.leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_issuer(&[&*issuer.name]);
    validation.set_audience(&[&issuer.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

/// Why a token was refused. The signature was looked at first: who has no key learns nothing else.
fn reason(error: &ErrorKind) -> ErrorReason {
    match error {
        ErrorKind::ExpiredSignature => ErrorReason::TokenExpired,
        ErrorKind::ImmatureSignature => ErrorReason::TokenNotYetValid,
        ErrorKind::InvalidAudience => ErrorReason::TokenAudienceWrong,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => ErrorReason::TokenAudienceWrong,
        _ => ErrorReason::TokenInvalid,
    }
}

/// When a token ends. `None` if that is no time.
fn expiry(claims: &Map<String, Value>, leeway: Duration) -> Option<SystemTime> {
    let end = Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok().filter(|end| *end < LATEST)?;
    SystemTime::UNIX_EPOCH.checked_add(end)?.checked_add(leeway)
}

impl From<SignatureAlgorithm> for Algorithm {
    fn from(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::RS256 => Self::RS256,
            SignatureAlgorithm::RS384 => Self::RS384,
            SignatureAlgorithm::RS512 => Self::RS512,
            SignatureAlgorithm::PS256 => Self::PS256,
            SignatureAlgorithm::PS384 => Self::PS384,
            SignatureAlgorithm::PS512 => Self::PS512,
            SignatureAlgorithm::ES256 => Self::ES256,
            SignatureAlgorithm::ES384 => Self::ES384,
            SignatureAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(head: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2lnbmF0dXJl", part(head), part(claims))
    }

    #[test]
    fn what_could_be_good_says_by_what_it_is_verified() {
        let claims = json!({"iss": "https://id.example", "sub": "ana"});
        for (head, expected) in [
            (json!({"alg": "ES256", "kid": "1"}), Some((SignatureAlgorithm::ES256, Some("1")))),
            (json!({"alg": "RS256"}), Some((SignatureAlgorithm::RS256, None))),
            (json!({"alg": "EdDSA", "typ": "JWT", "x5t": "x"}), Some((SignatureAlgorithm::EdDSA, None))),
            (json!({"alg": "ES256", "typ": "at+JWT"}), Some((SignatureAlgorithm::ES256, None))),
            // A token for something else.
            (json!({"alg": "ES256", "typ": "logout+jwt"}), None),
            (json!({"alg": "ES256", "typ": "dpop+jwt"}), None),
            (json!({"alg": "ES256", "typ": 7}), None),
            (json!({"alg": "none"}), None),
            (json!({"alg": "None"}), None),
            (json!({"alg": "HS256"}), None),
            (json!({"alg": "HS512", "kid": "1"}), None),
            (json!({"alg": "es256"}), None),
            (json!({"alg": ["ES256"]}), None),
            (json!({}), None),
            (json!({"alg": "ES256", "crit": ["exp"]}), None),
            (json!({"alg": "ES256", "crit": []}), None),
            (json!({"alg": "ES256", "crit": null}), None),
            (json!({"alg": "ES256", "kid": 1}), None),
            (json!(["ES256"]), None),
        ] {
            let found = Shown::parse(&text(&head, &claims));
            let expected = expected.map(|(algorithm, key)| Shown {
                issuer: "https://id.example".to_owned(),
                algorithm,
                key: key.map(str::to_owned),
            });
            assert_eq!(found, expected, "{head}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        let (head, claims) = (json!({"alg": "ES256"}), json!({"iss": "https://id.example"}));
        let good = text(&head, &claims);
        assert!(Shown::parse(&good).is_some());
        for wrong in [json!({}), json!({"iss": 7}), json!({"iss": ["https://id.example"]}), json!([]), json!("x")] {
            assert_eq!(Shown::parse(&text(&head, &wrong)), None, "{wrong}");
        }
        let twice = BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss": "https://id.example", "iss": "https://other.example"}"#);
        let parts: Vec<_> = good.split('.').collect();
        for wrong in [
            String::new(),
            "..".to_owned(),
            parts[..2].join("."),
            format!("{good}.x"),
            format!("{good}."),
            format!(" {good}"),
            good.replace('.', ".="),
            format!("{}.{twice}.{}", parts[0], parts[2]),
            text(&head, &json!({"iss": "https://id.example", "x": "x".repeat(MOST_BYTES)})),
        ] {
            assert_eq!(Shown::parse(&wrong), None, "{wrong:.100}");
        }
    }

    #[test]
    fn a_token_ends_with_its_leeway() {
        let leeway = Duration::from_secs(60);
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (claims, expected) in [
            (json!({"exp": 100}), at(160)),
            (json!({"exp": 100.0}), at(160)),
            (json!({"exp": "100"}), None),
            (json!({"exp": -1}), None),
            (json!({"exp": 1e300}), None),
            (json!({"exp": u64::MAX}), None),
            (json!({"exp": 253_402_300_800_u64}), None),
            (json!({"exp": 9e18}), None),
            (json!({}), None),
        ] {
            assert_eq!(expiry(claims.as_object().unwrap(), leeway), expected, "{claims}");
        }
    }
}
