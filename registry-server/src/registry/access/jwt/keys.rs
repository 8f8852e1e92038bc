//! The public keys of an issuer, as its JWKS has them (RFC 7517).

use std::fmt;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde_json::Value;

use crate::settings::SignatureAlgorithm;

/// How many keys of an issuer are looked at.
const MOST: usize = 100;

/// All keys of an issuer by which something can be verified that may let somebody in.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

struct Key {
    id: Option<String>,
    kind: Kind,
    /// For which alone it is, if its issuer says so.
    algorithm: Option<String>,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a key is good for. There is none for what has a secret (`oct`): whoever verifies with it could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn of(parameters: &AlgorithmParameters) -> Option<Self> {
        match parameters {
            AlgorithmParameters::RSA(_) => Some(Self::Rsa),
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => Some(Self::P256),
                EllipticCurve::P384 => Some(Self::P384),
                _ => None,
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The one for a way of signing.
    fn for_algorithm(algorithm: SignatureAlgorithm) -> Self {
        use SignatureAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match algorithm {
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Self::Rsa,
            ES256 => Self::P256,
            ES384 => Self::P384,
            EdDSA => Self::Ed25519,
        }
    }
}

impl Keys {
    /// Those of a JWKS. What is for something else, or of a kind that is not known here, is left out.
    pub(super) fn of(set: &Value) -> Self {
        let keys = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Self(keys.iter().take(MOST).filter_map(Key::of).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with an id that is good for a way of signing. Without an id, the only one that is.
    pub(super) fn find(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> Option<&DecodingKey> {
        let mut fitting = self.0.iter().filter(|key| key.fits(algorithm));
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)).map(|key| &key.key),
            None => fitting.next().filter(|_| fitting.next().is_none()).map(|key| &key.key),
        }
    }
}

impl Key {
    fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        Some(Self {
            id: text("kid").map(str::to_owned),
            kind: Kind::of(&jwk.algorithm)?,
            algorithm: text("alg").map(str::to_owned),
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        let is_meant =
            self.algorithm.as_deref().is_none_or(|meant| SignatureAlgorithm::named(meant) == Some(algorithm));
        is_meant && self.kind == Kind::for_algorithm(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A key that is one by its form.
    fn p256(id: Option<&str>, more: Value) -> Value {
        let number = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let mut key = json!({"kty": "EC", "crv": "P-256", "x": number, "y": number});
        let fields = key.as_object_mut().unwrap();
        fields.extend(id.map(|id| ("kid".to_owned(), Value::from(id))));
        fields.extend(more.as_object().cloned().unwrap_or_default());
        key
    }

    #[test]
    fn a_key_is_found_by_its_id_for_what_it_is_good_for() {
        use SignatureAlgorithm::{ES256, ES384, EdDSA, RS256};
        let keys = Keys::of(&json!({"keys": [
            p256(Some("one"), json!({})),
            p256(Some("signs"), json!({"use": "sig", "alg": "ES256"})),
            p256(Some("encrypts"), json!({"use": "enc"})),
            p256(Some("agrees"), json!({"alg": "ECDH-ES"})),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed"},
            {"kty": "unheard of", "kid": "other"},
            {"kty": "EC", "kid": "broken"},
            7,
        ]}));
        for (id, algorithm, found) in [
            ("one", ES256, true),
            ("one", ES384, false),
            ("one", RS256, false),
            ("signs", ES256, true),
            ("encrypts", ES256, false),
            ("agrees", ES256, false),
            ("secret", ES256, false),
            ("ed", EdDSA, true),
            ("ed", ES256, false),
            ("other", ES256, false),
            ("broken", ES256, false),
            ("", ES256, false),
        ] {
            assert_eq!(keys.find(Some(id), algorithm).is_some(), found, "{id} {algorithm:?}");
        }
        // Several would do, or one.
        assert!(keys.find(None, ES256).is_none());
        assert!(keys.find(None, EdDSA).is_some());
        assert!(Keys::of(&json!({"keys": [p256(None, json!({}))]})).find(Some("one"), ES256).is_none());
    }

    #[test]
    fn what_is_no_set_has_no_keys() {
        for set in [json!(null), json!([]), json!({}), json!({"keys": {}}), json!({"keys": []}), json!({"keys": "x"})] {
            assert!(Keys::of(&set).is_empty(), "{set}");
        }
        let many: Vec<_> = (0..2 * MOST).map(|number| p256(Some(&number.to_string()), json!({}))).collect();
        assert_eq!(Keys::of(&json!({"keys": many})).0.len(), MOST);
    }
}
