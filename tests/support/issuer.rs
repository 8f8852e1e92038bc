//! An issuer of OpenID Connect: a discovery document, keys that are made when it starts, and tokens as a test wants them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use registry_server::settings;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What the tokens are for.
pub const AUDIENCE: &str = "registry";

/// A key of an issuer.
#[derive(Debug)]
pub struct Key {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

impl Key {
    /// A new one for ES256.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn es256(id: &str) -> Self {
        Self::of(id, Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()))
    }

    /// A new one for `EdDSA`.
    ///
    /// # Panics
    /// As above.
    pub fn ed25519(id: &str) -> Self {
        Self::of(id, Pair::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    /// A new one for RS256.
    ///
    /// # Panics
    /// As above.
    pub fn rs256(id: &str) -> Self {
        Self::of(id, Pair::Rs256(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn of(id: &str, pair: Pair) -> Self {
        Self { id: id.to_owned(), pair }
    }

    /// The public half, as a JWKS has it.
    pub fn public(&self) -> Value {
        match &self.pair {
            Pair::Es256(pair) => {
                // 4, and both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": BASE64.encode(x), "y": BASE64.encode(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": BASE64.encode(pair.public_key())})
            }
            Pair::Rs256(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "use": "sig", "kid": self.id, "n": BASE64.encode(n), "e": BASE64.encode(e)})
            }
        }
    }

    /// The head of its tokens.
    pub fn head(&self) -> Value {
        let algorithm = match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rs256(_) => "RS256",
        };
        json!({"typ": "JWT", "alg": algorithm, "kid": self.id})
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&self.head(), claims)
    }

    /// The same with a head of the test's own, which the signature does not care about.
    ///
    /// # Panics
    /// As above.
    pub fn token_with(&self, head: &Value, claims: &Value) -> String {
        let signed = unsigned(head, claims);
        let message = signed.as_bytes();
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// The bytes of the public half, as somebody would take them for a secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rs256(pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

/// A token without its signature.
pub fn unsigned(head: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()))
}

/// A token that is signed with a secret (HS256).
pub fn by_secret(secret: &[u8], head: &Value, claims: &Value) -> String {
    let signed = unsigned(head, claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature))
}

/// Seconds since 1970, so far from now.
///
/// # Panics
/// If the clock is wrong by decades.
pub fn from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed() + seconds
}

/// What it answers, and how often it was asked.
#[derive(Debug)]
struct State {
    /// In place of the discovery document, if anything.
    discovery: Option<(u16, Value)>,
    keys: Value,
    /// How often its keys were fetched.
    fetched: usize,
    /// What those are answered who ask for tokens, in turn.
    tokens: VecDeque<(u16, Value)>,
    /// The forms that they have sent.
    forms: Vec<String>,
}

/// An issuer on this machine. It ends with the test.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

impl Issuer {
    /// One with these keys.
    ///
    /// # Panics
    /// If this machine has no port left.
    pub async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tokens, forms) = (VecDeque::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { discovery: None, keys: set(keys), fetched: 0, tokens, forms }));
        let serving = Some(tokio::spawn(serve(listener, address, Arc::clone(&state))));
        Self { address, state, serving }
    }

    /// What its tokens have in `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings of a server that knows it.
    ///
    /// # Panics
    /// Never: its URL is one.
    pub fn settings(&self) -> settings::Issuer {
        settings::Issuer::new(self.url().parse().unwrap(), AUDIENCE.to_owned())
    }

    /// The claims of a good token.
    pub fn claims(&self, subject: &str) -> Value {
        json!({"iss": self.url(), "aud": AUDIENCE, "sub": subject, "iat": from_now(0), "exp": from_now(300)})
    }

    /// Replaces its keys.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn publish(&self, keys: &[&Key]) {
        self.state.lock().unwrap().keys = set(keys);
    }

    /// Replaces what it answers in place of its keys.
    ///
    /// # Panics
    /// As above.
    pub fn publish_instead(&self, keys: Value) {
        self.state.lock().unwrap().keys = keys;
    }

    /// Replaces its discovery document, and the status with which that is answered.
    ///
    /// # Panics
    /// As above.
    pub fn discover_instead(&self, status: u16, document: Value) {
        self.state.lock().unwrap().discovery = Some((status, document));
    }

    /// Has those who ask for tokens answered with these, each with its status, in turn.
    ///
    /// # Panics
    /// As above.
    pub fn give(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.state.lock().unwrap().tokens.extend(answers);
    }

    /// The forms sent by those who asked for tokens or began to log in, since this was called last.
    ///
    /// # Panics
    /// As above.
    pub fn forms(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().forms)
    }

    /// How often its keys were fetched.
    ///
    /// # Panics
    /// As above.
    pub fn fetched(&self) -> usize {
        self.state.lock().unwrap().fetched
    }

    /// Ends it, with all its connections.
    ///
    /// # Panics
    /// If it has ended.
    pub async fn stop(&mut self) {
        let serving = self.serving.take().expect("the issuer is there");
        serving.abort();
        // The listener is gone when the task is.
        let _ = serving.await;
    }

    /// Begins anew where it was.
    ///
    /// # Panics
    /// If somebody has taken its port.
    pub async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = Some(tokio::spawn(serve(listener, self.address, Arc::clone(&self.state))));
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

fn set(keys: &[&Key]) -> Value {
    json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()})
}

async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<Mutex<State>>) {
    // They end with this.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(request, address, Arc::clone(&state)));
        // Whoever breaks off has what it wants.
        connections
            .spawn(async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await) });
    }
}

async fn answer(
    request: Request<Incoming>,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (request, body) = request.into_parts();
    // Whoever breaks off has sent nothing.
    let form = body.collect().await.map(|form| form.to_bytes()).unwrap_or_default();
    let mut state = state.lock().unwrap();
    if request.method == Method::POST {
        state.forms.push(String::from_utf8_lossy(&form).into_owned());
    }
    let (status, body) = match request.uri.path() {
        "/.well-known/openid-configuration" => state.discovery.clone().unwrap_or_else(|| {
            let url = format!("http://{address}");
            let (keys, token, device) = (format!("{url}/keys"), format!("{url}/token"), format!("{url}/device"));
            let document = json!({
                "issuer": url, "jwks_uri": keys, "token_endpoint": token, "device_authorization_endpoint": device
            });
            (200, document)
        }),
        "/device" => {
            let url = format!("http://{address}/enter");
            let document = json!({
                "device_code": "device", "user_code": "ABCD-EFGH", "verification_uri": url, "expires_in": 60, "interval": 1
            });
            (200, document)
        }
        "/token" => state.tokens.pop_front().unwrap_or((400, json!({"error": "expired_token"}))),
        "/keys" => {
            state.fetched += 1;
            (200, state.keys.clone())
        }
        _ => (404, json!({})),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    // Followed only by whoever follows.
    let place = body.get("location").and_then(Value::as_str).unwrap_or_default();
    response.header("location", place).body(Full::new(Bytes::from(body.to_string())))
}
