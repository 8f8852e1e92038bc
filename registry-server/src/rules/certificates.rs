//! Whom a client's certificate names, once TLS has found it good.
//!
//! A certificate has one name: its one URI, as SPIFFE has it (X.509-SVID, section 2), or without any URI the one common name of its subject.
//! One that has two could be taken for either, and names nobody.

use std::str::FromStr;

use super::identity::check_principal_id;

/// What stands for the id in a rule.
const ID: &str = "{id}";
/// How a rule begins that is about common names.
const COMMON_NAME: &str = "CN=";

/// The names in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    /// Those URIs that it is for (`subjectAltName`).
    pub(crate) uris: Vec<String>,
    /// Those of its subject.
    pub(crate) common_names: Vec<String>,
}

/// Which principal the certificates of a name are: `spiffe://corp.example/sa/{id}=services/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    of_uris: bool,
    name: Pattern,
    /// `users/` or `services/`.
    prefix: &'static str,
    id: Pattern,
}

/// A text, or what it begins with before an id.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Is(String),
    BeginsWith(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let pattern = match text.strip_suffix(ID) {
            Some(start) => Self::BeginsWith(start.to_owned()),
            None => Self::Is(text.to_owned()),
        };
        let (Self::BeginsWith(rest) | Self::Is(rest)) = &pattern;
        if rest.contains(['{', '}']) { Err(format!("{ID} may stand at the end alone")) } else { Ok(pattern) }
    }

    /// The id in a name; empty if the pattern has none.
    fn id<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self {
            Self::Is(text) => (text == name).then_some(""),
            Self::BeginsWith(start) => name.strip_prefix(start.as_str()),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            "expected spiffe://DOMAIN/PATH=PRINCIPAL or CN=NAME=PRINCIPAL, where {id} may stand at the end of both";
        let refused = |problem: String| format!("{text:?}: {problem}");
        let (name, principal) = text.rsplit_once('=').ok_or_else(|| refused(form.to_owned()))?;
        let (of_uris, name) = match name.strip_prefix(COMMON_NAME) {
            Some(name) => (false, name),
            None if name.starts_with("spiffe://") => (true, name),
            None => return Err(refused(form.to_owned())),
        };
        let prefix = ["users/", "services/"].into_iter().find(|prefix| principal.starts_with(prefix));
        let prefix = prefix.ok_or_else(|| refused("the principal begins with users/ or services/".to_owned()))?;
        let (name, id) =
            (Pattern::parse(name).map_err(refused)?, Pattern::parse(&principal[prefix.len()..]).map_err(refused)?);
        match (&name, &id) {
            (_, Pattern::Is(id)) => {
                check_principal_id(id).map_err(|error| refused(format!("the principal's id {}", error.0)))?
            }
            (Pattern::Is(_), Pattern::BeginsWith(_)) => {
                return Err(refused(format!("the name has no {ID} for the principal")));
            }
            // Else whoever is in any trust domain would be in this one.
            (Pattern::BeginsWith(start), _) if of_uris && start.matches('/').count() < 3 => {
                return Err(refused("a trust domain and a / stand before {id}".to_owned()));
            }
            _ => {}
        }
        if name == Pattern::Is(String::new()) {
            return Err(refused(form.to_owned()));
        }
        Ok(Self { of_uris, name, prefix, id })
    }
}

/// Why a certificate names nobody. The texts are for whoever runs the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unnamed {
    #[error("it has {0} URIs, and may have one")]
    ManyUris(usize),
    #[error("it has no URI, and {0} common names")]
    NoName(usize),
    #[error("no rule is for {0:?}")]
    Unknown(String),
    #[error("the id in {0:?} {1}")]
    BadId(String, String),
}

/// The principal of a certificate, and the name by which it is: by the first rule that is for it.
pub(crate) fn principal(rules: &[Rule], names: &Names) -> Result<(String, String), Unnamed> {
    let (is_uri, name) = match (names.uris.as_slice(), names.common_names.as_slice()) {
        ([uri], _) => (true, uri),
        ([], [name]) => (false, name),
        ([], others) => return Err(Unnamed::NoName(others.len())),
        (many, _) => return Err(Unnamed::ManyUris(many.len())),
    };
    let found = rules.iter().filter(|rule| rule.of_uris == is_uri);
    let found = found.filter_map(|rule| Some((rule, rule.name.id(name)?))).next();
    let (rule, id) = found.ok_or_else(|| Unnamed::Unknown(name.clone()))?;
    let id = match &rule.id {
        Pattern::Is(fixed) => fixed.clone(),
        Pattern::BeginsWith(start) => format!("{start}{id}"),
    };
    check_principal_id(&id).map_err(|error| Unnamed::BadId(name.clone(), error.0))?;
    Ok((format!("{}{id}", rule.prefix), name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<Rule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(rules: &[Rule], uris: &[&str], common_names: &[&str]) -> Result<String, Unnamed> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let names = Names { uris: texts(uris), common_names: texts(common_names) };
        principal(rules, &names).map(|(principal, name)| {
            assert_eq!(Some(name.as_str()), uris.first().or(common_names.first()).copied());
            principal
        })
    }

    #[test]
    fn the_one_name_of_a_certificate_is_its_principal() {
        let rules = rules(&[
            "spiffe://corp.example/ns/risk/sa/root=services/risk-root",
            "spiffe://corp.example/ns/risk/sa/{id}=services/{id}",
            "spiffe://corp.example/people/{id}=users/p.{id}",
            "CN=ops=services/ops",
            "CN={id}=users/{id}",
        ]);
        let unknown = |name: &str| Err(Unnamed::Unknown(name.to_owned()));
        let bad = |name: &str, why: &str| Err(Unnamed::BadId(name.to_owned(), why.to_owned()));
        let trainer = "spiffe://corp.example/ns/risk/sa/trainer";
        for (uris, common_names, expected) in [
            (&[trainer][..], &[][..], Ok("services/trainer")),
            (&[trainer], &["ana"], Ok("services/trainer")),
            (&[trainer], &["ana", "bob"], Ok("services/trainer")),
            (&["spiffe://corp.example/ns/risk/sa/root"], &[], Ok("services/risk-root")),
            (&["spiffe://corp.example/people/ana"], &[], Ok("users/p.ana")),
            (&[], &["ana@example.com"], Ok("users/ana@example.com")),
            (&[], &["ops"], Ok("services/ops")),
            // A URI that no rule is for is not overlooked.
            (
                &["spiffe://other.example/ns/risk/sa/trainer"],
                &["ana"],
                unknown("spiffe://other.example/ns/risk/sa/trainer"),
            ),
            (&["https://corp.example"], &["ana"], unknown("https://corp.example")),
            (&["SPIFFE://corp.example/ns/risk/sa/trainer"], &[], unknown("SPIFFE://corp.example/ns/risk/sa/trainer")),
            (&["spiffe://corp.example/ns/risk/sa"], &[], unknown("spiffe://corp.example/ns/risk/sa")),
            (
                &["spiffe://corp.example/ns/risk/sa/"],
                &[],
                bad("spiffe://corp.example/ns/risk/sa/", "must not be empty"),
            ),
            // A common name is no URI.
            (&[], &[trainer], bad(trainer, "must not contain \"/\"")),
            (&[trainer, "spiffe://corp.example/ns/risk/sa/other"], &[], Err(Unnamed::ManyUris(2))),
            (&[trainer, trainer], &["ana"], Err(Unnamed::ManyUris(2))),
            (&[trainer, "https://corp.example"], &[], Err(Unnamed::ManyUris(2))),
            (&[], &["ana", "bob"], Err(Unnamed::NoName(2))),
            (&[], &[], Err(Unnamed::NoName(0))),
        ] {
            let expected = expected.map(str::to_owned);
            match (found(&rules, uris, common_names), expected) {
                (Err(Unnamed::BadId(name, _)), Err(Unnamed::BadId(of, _))) => assert_eq!(name, of),
                (found, expected) => assert_eq!(found, expected, "{uris:?} {common_names:?}"),
            }
        }
        for id in ["../root", "a/b", "a%2fb", "a b", "a\u{202e}", "-", "x".repeat(1000).as_str()] {
            let name = format!("spiffe://corp.example/ns/risk/sa/{id}");
            assert!(matches!(found(&rules, &[&name], &[]), Err(Unnamed::BadId(..))), "{id}");
        }
    }

    #[test]
    fn a_rule_says_what_it_is_for() {
        for text in [
            "",
            "services/trainer",
            "spiffe://corp.example/sa/{id}",
            "spiffe://corp.example/sa/{id}=trainer",
            "spiffe://corp.example/sa/{id}=groups/{id}",
            "spiffe://corp.example/sa/a=services/{id}",
            "spiffe://{id}=services/{id}",
            "spiffe://corp.example{id}=services/{id}",
            "spiffe://corp.example/{id}/sa=services/{id}",
            "spiffe://corp.example/sa/a=services/",
            "spiffe://corp.example/sa/a=services/a/b",
            "https://corp.example/sa/a=services/a",
            "CN==users/ana",
            "CN={id}",
            "O=corp=users/ana",
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.starts_with(&format!("{text:?}: ")), "{text}: {error}");
        }
        // The last = is the rule's.
        assert_eq!(found(&rules(&["CN=a=b=users/ana"]), &[], &["a=b"]), Ok("users/ana".to_owned()));
    }
}
