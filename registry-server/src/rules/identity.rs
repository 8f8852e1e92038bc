//! Whom the claims of a JSON Web Token name, once the token is known to be good.
//!
//! An issuer makes principals of one kind, `users/` or `services/`, and with a domain only those whose ids end in `@` and that.
//! *Invariant:* no two issuers of a server make the same principal: see [`Mapping::is_apart_from`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::names::{NameError, check_id};

/// How many groups a claim may name, of which only those count that are mapped.
const MOST_GROUPS: usize = 1000;
/// The claim whose name has to be verified by the issuer.
const EMAIL: &str = "email";
/// Where an issuer says which claims it has left out, for being too long most often (OpenID Connect Core, 5.6.2).
const ELSEWHERE: &str = "_claim_names";

/// How the claims of an issuer's tokens are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// `users/` or `services/`.
    pub(crate) prefix: &'static str,
    /// What stands behind `@` in each id.
    pub(crate) domain: Option<String>,
    /// The claim that is the id: its name, or its JSON pointer.
    pub(crate) name_claim: String,
    /// The claim that has the groups.
    pub(crate) groups_claim: String,
    /// The groups of the registry, by what they are called in that claim. Others do not count.
    pub(crate) groups: BTreeMap<String, String>,
}

impl Mapping {
    /// Whether no principal can be made of the tokens of both.
    pub(crate) fn is_apart_from(&self, other: &Self) -> bool {
        let other_domain = |one: &str, other: &str| !one.eq_ignore_ascii_case(other);
        match (&self.domain, &other.domain) {
            _ if self.prefix != other.prefix => true,
            (Some(one), Some(other)) => other_domain(one, other),
            // Without a domain an id is as its issuer writes it, also with another one's behind `@`.
            _ => false,
        }
    }
}

/// Who somebody is, by their claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) principal: String,
    /// By name, in order.
    pub(crate) groups: Vec<String>,
}

/// Why claims name nobody. The texts are for whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the claim of the name is missing, or is no text")]
    NoName,
    #[error("the claim of the name can't be the id of a principal: it {0}")]
    BadName(String),
    #[error("the name is of another domain than the issuer's")]
    OtherDomain,
    #[error("the issuer does not say that the address in email is verified (email_verified)")]
    Unverified,
    #[error("the claim of the groups is neither a text nor a list of texts")]
    BadGroups,
    #[error("there are more than {MOST_GROUPS} groups, or so many that the issuer has left them out")]
    TooManyGroups,
}

/// The principal that claims name, and the groups that they put it into.
pub(crate) fn identify(mapping: &Mapping, claims: &Map<String, Value>) -> Result<Identity, Unusable> {
    let name = claim(claims, &mapping.name_claim).and_then(Value::as_str).ok_or(Unusable::NoName)?;
    if mapping.name_claim == EMAIL && !is_verified(claims) {
        return Err(Unusable::Unverified);
    }
    let id = match (&mapping.domain, name.split_once('@')) {
        (None, _) => name.to_owned(),
        (Some(domain), None) => format!("{name}@{domain}"),
        (Some(domain), Some((local, host))) if host.eq_ignore_ascii_case(domain) => format!("{local}@{domain}"),
        (Some(_), Some(_)) => return Err(Unusable::OtherDomain),
    };
    check_principal_id(&id).map_err(|NameError(why)| Unusable::BadName(why))?;
    Ok(Identity { principal: format!("{}{id}", mapping.prefix), groups: groups(mapping, claims)? })
}

/// Checks what stands behind `users/` or `services/`: an id, or one as in an address, `ana@example.com`.
pub(crate) fn check_principal_id(id: &str) -> Result<(), NameError> {
    let (local, host) = id.split_once('@').map_or((id, None), |(local, host)| (local, Some(host)));
    check_id(local).and_then(|()| host.map_or(Ok(()), check_id))
}

fn groups(mapping: &Mapping, claims: &Map<String, Value>) -> Result<Vec<String>, Unusable> {
    // Where none counts, it does not matter what there is.
    if mapping.groups.is_empty() {
        return Ok(Vec::new());
    }
    // Whoever has lost their groups on the way is refused, and not let in with less than they have.
    if claims.get(ELSEWHERE).is_some_and(|elsewhere| elsewhere.get(&mapping.groups_claim).is_some()) {
        return Err(Unusable::TooManyGroups);
    }
    let named = match claim(claims, &mapping.groups_claim) {
        None | Some(Value::Null) => &[],
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        Some(Value::Array(many)) if many.len() > MOST_GROUPS => return Err(Unusable::TooManyGroups),
        Some(Value::Array(many)) => many.as_slice(),
        Some(_) => return Err(Unusable::BadGroups),
    };
    let mut groups = BTreeSet::new();
    for name in named {
        let name = name.as_str().ok_or(Unusable::BadGroups)?;
        groups.extend(mapping.groups.get(name).cloned());
    }
    Ok(groups.into_iter().collect())
}

/// A claim by its name or, if that begins with `/`, by its JSON pointer: `/realm_access/roles`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.find('/').map_or((path, ""), |end| path.split_at(end));
    claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}

/// Some issuers write it as a text.
fn is_verified(claims: &Map<String, Value>) -> bool {
    matches!(claims.get("email_verified"), Some(Value::Bool(true)))
        || claims.get("email_verified").and_then(Value::as_str) == Some("true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(name_claim: &str, domain: Option<&str>) -> Mapping {
        Mapping {
            prefix: "users/",
            domain: domain.map(str::to_owned),
            name_claim: name_claim.to_owned(),
            groups_claim: "groups".to_owned(),
            groups: [("ml-admins", "groups/admins"), ("ml-ops", "groups/ops"), ("ops", "groups/ops")]
                .map(|(claimed, group)| (claimed.to_owned(), group.to_owned()))
                .into(),
        }
    }

    fn found(mapping: &Mapping, claims: Value) -> Result<Identity, Unusable> {
        identify(mapping, claims.as_object().unwrap())
    }

    #[test]
    fn the_claim_of_the_name_is_the_principal() {
        let bad = |why: &str| Err(Unusable::BadName(why.to_owned()));
        let (sub, email, at) = (mapping("sub", None), mapping("email", None), mapping("sub", Some("corp.example")));
        let mail_at = mapping("email", Some("corp.example"));
        let nested = mapping("/act/n~1m", None);
        for (mapping, claims, expected) in [
            (&sub, json!({"sub": "ana"}), Ok("users/ana")),
            (&sub, json!({"sub": "ana@example.com"}), Ok("users/ana@example.com")),
            (&sub, json!({"email": "ana@example.com"}), Err(Unusable::NoName)),
            (&sub, json!({"sub": 7}), Err(Unusable::NoName)),
            (&sub, json!({"sub": ["ana"]}), Err(Unusable::NoName)),
            (&sub, json!({"sub": ""}), bad("must not be empty")),
            (&sub, json!({"sub": "@example.com"}), bad("must not be empty")),
            (&email, json!({"email": "ana@example.com", "email_verified": true}), Ok("users/ana@example.com")),
            (&email, json!({"email": "ana@example.com", "email_verified": "true"}), Ok("users/ana@example.com")),
            (&email, json!({"email": "ana@example.com", "email_verified": false}), Err(Unusable::Unverified)),
            (&email, json!({"email": "ana@example.com", "email_verified": 1}), Err(Unusable::Unverified)),
            (&email, json!({"email": "ana@example.com"}), Err(Unusable::Unverified)),
            // Other claims need no such word.
            (&sub, json!({"sub": "ana", "email_verified": false}), Ok("users/ana")),
            (&at, json!({"sub": "ana"}), Ok("users/ana@corp.example")),
            (&at, json!({"sub": "ana@corp.example"}), Ok("users/ana@corp.example")),
            (&at, json!({"sub": "ana@Corp.Example"}), Ok("users/ana@corp.example")),
            (&at, json!({"sub": "ana@other.example"}), Err(Unusable::OtherDomain)),
            (&at, json!({"sub": "ana@other.example@corp.example"}), Err(Unusable::OtherDomain)),
            (&at, json!({"sub": "ana@"}), Err(Unusable::OtherDomain)),
            (&mail_at, json!({"email": "ana@corp.example"}), Err(Unusable::Unverified)),
            (&nested, json!({"act": {"n/m": "ana"}}), Ok("users/ana")),
            (&nested, json!({"act": "ana"}), Err(Unusable::NoName)),
            (&nested, json!({"/act/n~1m": "ana"}), Err(Unusable::NoName)),
        ] {
            let name = found(mapping, claims.clone()).map(|identity| identity.principal);
            assert_eq!(name, expected.map(str::to_owned), "{claims}");
        }
    }

    #[test]
    fn no_claim_leads_out_of_its_prefix() {
        let long = "x".repeat(10_000);
        for name in [
            "../services/root",
            "a/b",
            "/root",
            "services/root",
            "users/root",
            "a b",
            "a\u{0}",
            "a\u{202e}b",
            "a%2fb",
            "auth0|7",
            "system:serviceaccount:risk:trainer",
            "a@b@c",
            "-",
            ".",
            "..",
            " ana",
            "ana\n",
            // Decomposed: another text that looks the same.
            "re\u{301}",
            long.as_str(),
        ] {
            for mapping in [mapping("sub", None), mapping("sub", Some("corp.example"))] {
                let found = found(&mapping, json!({"sub": name}));
                assert!(matches!(found, Err(Unusable::BadName(_) | Unusable::OtherDomain)), "{name:?}: {found:?}");
            }
        }
    }

    #[test]
    fn only_mapped_groups_count() {
        let mapping = mapping("sub", None);
        let many: Vec<_> = (0..=MOST_GROUPS).map(|number| format!("g{number}")).collect();
        for (groups, expected) in [
            (json!(["ml-admins", "ml-ops"]), Ok(&["groups/admins", "groups/ops"][..])),
            (json!(["ops", "ml-ops", "ops"]), Ok(&["groups/ops"])),
            (json!("ml-ops"), Ok(&["groups/ops"])),
            (json!(["admins", "groups/admins", "ML-ADMINS", ""]), Ok(&[])),
            (json!([]), Ok(&[])),
            (json!(null), Ok(&[])),
            (json!(many[..MOST_GROUPS]), Ok(&[])),
            (json!(many), Err(Unusable::TooManyGroups)),
            (json!(["ml-ops", 7]), Err(Unusable::BadGroups)),
            (json!({"ml-ops": true}), Err(Unusable::BadGroups)),
            (json!(true), Err(Unusable::BadGroups)),
        ] {
            let named = found(&mapping, json!({"sub": "ana", "groups": groups})).map(|identity| identity.groups);
            let expected = expected.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
            assert_eq!(named, expected, "{groups}");
        }
        let elsewhere = json!({"sub": "ana", "_claim_names": {"groups": "src1"}});
        assert_eq!(found(&mapping, elsewhere.clone()), Err(Unusable::TooManyGroups));
        // Where no group counts, none can be wrong.
        let none = Mapping { groups: BTreeMap::new(), ..mapping };
        for claims in [elsewhere, json!({"sub": "ana", "groups": 7}), json!({"sub": "ana", "groups": many})] {
            assert_eq!(found(&none, claims).map(|identity| identity.groups), Ok(Vec::new()));
        }
    }

    #[test]
    fn issuers_are_apart_by_their_kind_or_their_domain() {
        for (one, other, apart) in [
            (("users/", None), ("services/", None), true),
            (("users/", Some("a.example")), ("services/", Some("a.example")), true),
            (("users/", Some("a.example")), ("users/", Some("b.example")), true),
            (("users/", Some("a.example")), ("users/", Some("A.Example")), false),
            (("users/", None), ("users/", None), false),
            (("users/", None), ("users/", Some("a.example")), false),
        ] {
            let of = |(prefix, domain)| Mapping { prefix, ..mapping("sub", domain) };
            assert_eq!(of(one).is_apart_from(&of(other)), apart, "{one:?} {other:?}");
            assert_eq!(of(other).is_apart_from(&of(one)), apart, "{other:?} {one:?}");
        }
    }
}
