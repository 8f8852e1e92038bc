//! Issuers of JSON Web Tokens, as people write them.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::Period;
use crate::rules::identity::Mapping;
use crate::rules::names::{NameError, check_id};

/// The most that is given for clocks that differ.
const MOST_LEEWAY: Duration = Duration::from_secs(60);

/// An issuer whose tokens let callers in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What its tokens have in `iss`, and where its discovery document is.
    pub url: IssuerUrl,
    /// What its tokens must have in `aud`.
    pub audience: String,
    /// How they may be signed.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Which claim is the id of the principal.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// Of which kind the principals are.
    #[serde(default)]
    pub prefix: Prefix,
    /// What stands behind `@` in the ids of all its principals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Which claim has groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Which groups of the registry these are; what is not here does not count.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// How long a token is good before and after its time, for clocks that differ.
    #[serde(default = "default_leeway")]
    pub leeway: Period,
}

fn default_algorithms() -> Vec<SignatureAlgorithm> {
    vec![SignatureAlgorithm::RS256, SignatureAlgorithm::ES256, SignatureAlgorithm::EdDSA]
}

fn default_name_claim() -> String {
    "sub".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

const fn default_leeway() -> Period {
    Period(MOST_LEEWAY)
}

impl Issuer {
    /// One with the defaults.
    pub fn new(url: IssuerUrl, audience: String) -> Self {
        Self {
            url,
            audience,
            algorithms: default_algorithms(),
            name_claim: default_name_claim(),
            prefix: Prefix::default(),
            domain: None,
            groups_claim: default_groups_claim(),
            groups: BTreeMap::new(),
            leeway: default_leeway(),
        }
    }

    /// How the claims of its tokens are read.
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping {
            prefix: self.prefix.text(),
            domain: self.domain.clone(),
            name_claim: self.name_claim.clone(),
            groups_claim: self.groups_claim.clone(),
            groups: self.groups.clone(),
        }
    }

    /// What is wrong with it by itself.
    fn check(&self) -> Result<(), String> {
        let empty = [
            ("audience", self.audience.is_empty()),
            ("algorithms", self.algorithms.is_empty()),
            ("name_claim", self.name_claim.is_empty()),
            ("groups_claim", self.groups_claim.is_empty()),
        ];
        if let Some((key, _)) = empty.into_iter().find(|(_, empty)| *empty) {
            return Err(format!("{key} must not be empty"));
        }
        if self.leeway.0 > MOST_LEEWAY {
            return Err(format!("leeway is {}; at most {} are allowed", self.leeway, Period(MOST_LEEWAY)));
        }
        if let Some(domain) = &self.domain {
            check_id(domain).map_err(|NameError(why)| format!("domain {why}"))?;
        }
        for (claimed, group) in &self.groups {
            let id = group.strip_prefix("groups/").ok_or_else(|| "expected \"groups/{id}\"".to_owned());
            id.and_then(|id| check_id(id).map_err(|NameError(why)| why))
                .map_err(|why| format!("groups: {claimed:?} is {group:?}: {why}"))?;
        }
        Ok(())
    }
}

/// What is wrong with issuers, by themselves and beside each other.
pub(crate) fn check_issuers(issuers: &[Issuer]) -> Result<(), String> {
    for (at, issuer) in issuers.iter().enumerate() {
        let url = &issuer.url;
        issuer.check().map_err(|problem| format!("{url}: {problem}"))?;
        for other in &issuers[..at] {
            if url.text == other.url.text {
                return Err(format!("{url} is there twice"));
            }
            if !issuer.mapping().is_apart_from(&other.mapping()) {
                return Err(format!(
                    "{} and {url} could both make the same principal of {}: give each a domain of its own",
                    other.url,
                    issuer.prefix.text()
                ));
            }
        }
    }
    Ok(())
}

/// The URL of an issuer, letter by letter as its tokens have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IssuerUrl {
    text: String,
    /// It speaks without TLS, on this machine.
    is_plain: bool,
}

impl IssuerUrl {
    /// As it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where its discovery document is (OpenID Connect Discovery, 4).
    pub(crate) fn discovery(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.text.trim_end_matches('/'))
    }

    /// Whether its keys may be fetched from there: with TLS, as itself; without, only on this machine if it is there as well.
    pub(crate) fn may_lead_to(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.is_plain && is_plain_here(url))
    }
}

/// Whether a URL is of this machine, without TLS.
fn is_plain_here(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && is_here
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("{text:?} is no issuer: {why}"));
        let Ok(url) = text.parse::<Url>() else { return refused("expected https://HOST/PATH") };
        if text.contains('@') {
            // What is not repeated is not logged.
            return Err("the URL of an issuer has no user or password".to_owned());
        }
        let is_plain = is_plain_here(&url);
        if !is_plain && (url.scheme() != "https" || url.host().is_none()) {
            return refused("expected https://HOST/PATH; http is for issuers on this machine alone");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refused("it has no `?` or `#`");
        }
        // It is fetched as it stands here: what is read in another way than it is written would be somebody else's.
        if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') {
            return Err(format!("{text:?} is no issuer as it is written: {url} would be"));
        }
        Ok(Self { text: text.to_owned(), is_plain })
    }
}

impl TryFrom<String> for IssuerUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<IssuerUrl> for String {
    fn from(url: IssuerUrl) -> Self {
        url.text
    }
}

impl Display for IssuerUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Of which kind the principals of an issuer are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prefix {
    /// People.
    #[default]
    #[serde(rename = "users/")]
    Users,
    /// Programs.
    #[serde(rename = "services/")]
    Services,
}

impl Prefix {
    fn text(self) -> &'static str {
        match self {
            Self::Users => "users/",
            Self::Services => "services/",
        }
    }
}

/// A way of signing of which whoever verifies has only the public key (RFC 7518, 3.1, and RFC 8037). There is none here without a key, and
/// none in which the key that verifies could sign as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are the names of the standard")]
pub enum SignatureAlgorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SignatureAlgorithm {
    /// The one that is called so in the head of a token.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, ValueError> = name.into_deserializer();
        Self::deserialize(name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(url: &str) -> Issuer {
        Issuer::new(url.parse().unwrap(), "registry".to_owned())
    }

    #[test]
    fn an_issuer_has_tls_or_is_on_this_machine() {
        for (url, discovery) in [
            ("https://id.example", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example:8443/realms/ml", "https://id.example:8443/realms/ml/.well-known/openid-configuration"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/.well-known/openid-configuration"),
            ("http://[::1]:9000", "http://[::1]:9000/.well-known/openid-configuration"),
            ("http://localhost:9000", "http://localhost:9000/.well-known/openid-configuration"),
        ] {
            let parsed = url.parse::<IssuerUrl>().unwrap();
            assert_eq!((parsed.text(), parsed.discovery().as_str()), (url, discovery));
        }
        for url in [
            "",
            "id.example",
            "http://id.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "ftp://id.example",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https:id.example",
            "https://id.example/../x",
            "https://ID.example",
            " https://id.example",
            "https://bücher.example",
            "https://id.example?x=1",
            "https://id.example#x",
        ] {
            let error = url.parse::<IssuerUrl>().unwrap_err();
            assert!(error.starts_with(&format!("{url:?} is no issuer")), "{error}");
        }
        for url in ["https://ana:secret@id.example", "https://@id.example", "http://localhost\\@127.0.0.1"] {
            let error = url.parse::<IssuerUrl>().unwrap_err();
            assert_eq!(error, "the URL of an issuer has no user or password", "{url}");
        }
    }

    #[test]
    fn keys_are_fetched_with_tls_unless_all_is_on_this_machine() {
        for (issuer, keys, allowed) in [
            ("https://id.example", "https://id.example/keys", true),
            ("https://id.example", "https://keys.example/keys", true),
            ("https://id.example", "http://id.example/keys", false),
            ("https://id.example", "http://127.0.0.1/keys", false),
            ("https://id.example", "file:///etc/passwd", false),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/keys", true),
            ("http://127.0.0.1:9000", "http://id.example/keys", false),
            ("http://127.0.0.1:9000", "http://169.254.169.254/keys", false),
        ] {
            let issuer = issuer.parse::<IssuerUrl>().unwrap();
            assert_eq!(issuer.may_lead_to(&keys.parse().unwrap()), allowed, "{issuer} {keys}");
        }
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let good = issuer("https://id.example");
        let groups = |claimed: &str, group: &str| [(claimed.to_owned(), group.to_owned())].into();
        assert_eq!(check_issuers(std::slice::from_ref(&good)), Ok(()));
        for (bad, said) in [
            (Issuer { audience: String::new(), ..good.clone() }, "audience must not be empty"),
            (Issuer { algorithms: Vec::new(), ..good.clone() }, "algorithms must not be empty"),
            (Issuer { name_claim: String::new(), ..good.clone() }, "name_claim must not be empty"),
            (Issuer { leeway: Period::of_secs(61), ..good.clone() }, "leeway is 1m 1s; at most 1m"),
            (Issuer { domain: Some("a@b".to_owned()), ..good.clone() }, "domain "),
            (Issuer { domain: Some(String::new()), ..good.clone() }, "domain must not be empty"),
            (Issuer { groups: groups("x", "risk"), ..good.clone() }, "groups: \"x\" is \"risk\": expected"),
            (Issuer { groups: groups("x", "groups/a/b"), ..good.clone() }, "groups: \"x\" is \"groups/a/b\": "),
            (Issuer { groups: groups("x", "users/root"), ..good.clone() }, "groups: "),
        ] {
            let problem = check_issuers(&[bad]).unwrap_err();
            assert!(problem.starts_with(&format!("https://id.example: {said}")), "{problem}");
        }
    }

    #[test]
    fn two_issuers_make_no_principal_in_common() {
        let (one, other) = (issuer("https://a.example"), issuer("https://b.example"));
        let at = |issuer: &Issuer, domain: &str| Issuer { domain: Some(domain.to_owned()), ..issuer.clone() };
        let service = Issuer { prefix: Prefix::Services, ..other.clone() };
        for (issuers, said) in [
            (vec![one.clone(), service], None),
            (vec![at(&one, "a.example"), at(&other, "b.example")], None),
            (vec![one.clone(), one.clone()], Some("https://a.example is there twice")),
            (vec![one.clone(), other.clone()], Some("could both make the same principal of users/")),
            (vec![one, at(&other, "b.example")], Some("could both make the same principal of users/")),
        ] {
            let problem = check_issuers(&issuers).err();
            assert_eq!(problem.is_some(), said.is_some(), "{problem:?}");
            assert!(problem.unwrap_or_default().contains(said.unwrap_or_default()));
        }
    }
}
