//! Secrets, and the signatures made with them, as Standard Webhooks has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// What the text of a symmetric secret begins with.
const SECRET: &str = "whsec_";
/// What the text of a public key begins with.
const PUBLIC_KEY: &str = "whpk_";
/// How many bytes a secret may have, and how many one has that is made here.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const MADE_BYTES: usize = 32;
/// How many bytes a secret may have that is a text.
const TEXT_BYTES: std::ops::RangeInclusive<usize> = 1..=1000;

/// What signs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SigningKey {
    kind: Kind,
    bytes: Zeroizing<Vec<u8>>,
}

/// How it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a secret that the receiver knows as well: HMAC-SHA256.
    Symmetric,
    /// With a secret that is a text, as MLflow's receivers have one: HMAC-SHA256, with its bytes as the key.
    Text,
    /// With a private key, whose public key the receiver knows: Ed25519.
    Asymmetric,
}

/// The system gives no random numbers, or a key that is kept is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook's secret can't be used")]
pub(crate) struct KeyUnusable;

impl SigningKey {
    /// One that nobody else has.
    pub(crate) fn random(kind: Kind) -> Result<Self, KeyUnusable> {
        let mut bytes = Zeroizing::new(vec![0; MADE_BYTES]);
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyUnusable)?;
        if kind == Kind::Text {
            bytes = Zeroizing::new(format!("{SECRET}{}", STANDARD.encode(&*bytes)).into_bytes());
        }
        Ok(Self { kind, bytes })
    }

    /// The secret with this text, of a kind that has one.
    ///
    /// # Errors
    /// What is wrong with it, without any of it.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        if kind == Kind::Text {
            return match TEXT_BYTES.contains(&text.len()) {
                true => Ok(Self::read(kind, text.as_bytes().to_vec())),
                false => Err(format!("must have {} to {} bytes", TEXT_BYTES.start(), TEXT_BYTES.end())),
            };
        }
        let bytes = text.strip_prefix(SECRET).and_then(|encoded| STANDARD.decode(encoded).ok()).map(Zeroizing::new);
        match bytes.filter(|bytes| BYTES.contains(&bytes.len())) {
            Some(bytes) => Ok(Self { kind: Kind::Symmetric, bytes }),
            None => Err(format!("must be {SECRET} and {} to {} bytes in base64", BYTES.start(), BYTES.end())),
        }
    }

    /// The key with these bytes, as they were kept.
    pub(crate) fn read(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { kind, bytes: Zeroizing::new(bytes) }
    }

    /// To be kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the receiver has to know and nobody else may; `None` of a private key, which the receiver has no need of.
    pub(crate) fn secret(&self) -> Option<String> {
        match self.kind {
            Kind::Symmetric => Some(format!("{SECRET}{}", STANDARD.encode(&*self.bytes))),
            Kind::Text => String::from_utf8(self.bytes.to_vec()).ok(),
            Kind::Asymmetric => None,
        }
    }

    /// What the receiver has to know and everybody may; `None` of a symmetric secret.
    pub(crate) fn public_key(&self) -> Result<Option<String>, KeyUnusable> {
        if self.kind != Kind::Asymmetric {
            return Ok(None);
        }
        Ok(Some(format!("{PUBLIC_KEY}{}", STANDARD.encode(self.pair()?.public_key()))))
    }

    fn pair(&self) -> Result<Ed25519KeyPair, KeyUnusable> {
        Ed25519KeyPair::from_seed_unchecked(&self.bytes).map_err(|_| KeyUnusable)
    }

    /// The signature of a message, with its scheme.
    fn sign(&self, message: &[u8]) -> Result<String, KeyUnusable> {
        Ok(match self.kind {
            Kind::Symmetric | Kind::Text => {
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes), message);
                format!("v1,{}", STANDARD.encode(tag))
            }
            Kind::Asymmetric => format!("v1a,{}", STANDARD.encode(self.pair()?.sign(message))),
        })
    }
}

/// Without the bytes.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.kind)
    }
}

/// The header `webhook-signature` of a message: by each of these keys, so that a receiver who knows one of them is content.
pub(crate) fn signatures(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> Result<String, KeyUnusable> {
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signatures: Result<Vec<_>, _> = keys.iter().map(|key| key.sign(&message)).collect();
    Ok(signatures?.join(" "))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use standardwebhooks::Webhook;

    use super::*;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn headers(id: &str, timestamp: u64, signatures: &str) -> HeaderMap {
        let headers =
            [("webhook-id", id), ("webhook-timestamp", &timestamp.to_string()), ("webhook-signature", signatures)];
        let parsed = headers
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("it is ASCII")));
        parsed.into_iter().collect()
    }

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        let key = SigningKey::parse(Kind::Symmetric, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_receiver_who_knows_one_of_the_secrets_verifies_it() {
        let [old, new, other] = [(); 3].map(|()| SigningKey::random(Kind::Symmetric).unwrap());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let signed = signatures(&[new.clone(), old.clone()], "msg_1", now, BODY).unwrap();
        let verified = |key: &SigningKey, body: &[u8]| {
            let receiver = Webhook::new(&key.secret().unwrap()).unwrap();
            receiver.verify(body, &headers("msg_1", now, &signed)).is_ok()
        };
        assert!(verified(&old, BODY) && verified(&new, BODY));
        assert!(!verified(&other, BODY) && !verified(&new, b"{}"));
    }

    #[test]
    fn an_ed25519_signature_is_verified_with_the_public_key() {
        let key = SigningKey::random(Kind::Asymmetric).unwrap();
        let signed = signatures(std::slice::from_ref(&key), "msg_1", 7, BODY).unwrap();
        let public = key.public_key().unwrap().unwrap();
        let public = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        let signature = STANDARD.decode(signed.strip_prefix("v1a,").unwrap()).unwrap();
        let message = [b"msg_1.7.", BODY].concat();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        public.verify(&message, &signature).unwrap();
        assert_eq!(key.secret(), None);
        assert_eq!(SigningKey::read(Kind::Asymmetric, key.bytes().to_vec()), key);
    }

    /// The expected signature is that of `_generate_hmac_signature` in `mlflow/webhooks/delivery.py` of MLflow 3.17.
    #[test]
    fn a_text_signs_as_mlflow_does() {
        let key = SigningKey::parse(Kind::Text, "sécret").unwrap();
        let id = "0193c0de-0000-7000-8000-000000000001-0";
        let signed = signatures(std::slice::from_ref(&key), id, 1_700_000_000, BODY).unwrap();
        assert_eq!(signed, "v1,DFRM18I7XS1rDvh61TP49pe6MNkK1qilA1zuZr4E32I=");
        assert_eq!(key.secret().as_deref(), Some("sécret"));
        let made = SigningKey::random(Kind::Text).unwrap();
        assert_eq!(SigningKey::parse(Kind::Text, &made.secret().unwrap()), Ok(made));
        for text in [String::new(), "x".repeat(1001)] {
            assert_eq!(SigningKey::parse(Kind::Text, &text).unwrap_err(), "must have 1 to 1000 bytes");
        }
    }

    #[test]
    fn a_secret_is_24_to_64_bytes_and_is_never_repeated() {
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            assert_eq!(SigningKey::parse(Kind::Symmetric, &of(length)).unwrap().secret(), Some(of(length)));
        }
        let base64 = STANDARD.encode([7; 24]);
        for text in ["", "whsec_", "whsec_???", "secret", &base64, &of(23), &of(65)] {
            let error = SigningKey::parse(Kind::Symmetric, text).unwrap_err();
            assert_eq!(error, "must be whsec_ and 24 to 64 bytes in base64");
        }
        let key = SigningKey::parse(Kind::Symmetric, &of(24)).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(Symmetric)");
        assert_eq!(SigningKey::read(Kind::Asymmetric, vec![1]).public_key(), Err(KeyUnusable));
    }
}
