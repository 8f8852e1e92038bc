//! A proxy in front of an object store that fails as object stores do: it refuses, or carries out and says that it did not, or says
//! nothing.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::bucket::Bucket;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and not carried out.
    Refused(u16),
    /// It is carried out, and answered with this status.
    Denied(u16),
    /// It is carried out, and the connection ends without an answer.
    Cut,
}

/// Which requests fail.
#[derive(Debug, Clone)]
pub struct Spell {
    /// With this method; `None` is any.
    pub method: Option<Method>,
    /// Whose path and query hold this.
    pub about: &'static str,
    /// How.
    pub fault: Fault,
    /// How many of a hundred.
    pub percent: u32,
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Flaky {
    /// The bucket behind it, as programs are to use it.
    pub bucket: Bucket,
    spell: Mutex<Option<Spell>>,
    upstream: String,
}

impl Flaky {
    /// A proxy to the store of a bucket. All is well as yet.
    ///
    /// # Panics
    /// Later, if that store takes no connections.
    pub async fn to(bucket: &Bucket) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let upstream = bucket.variable("AWS_ENDPOINT").trim_start_matches("http://").to_owned();
        let bucket = bucket.with("AWS_ENDPOINT", Some(&endpoint));
        let flaky = Arc::new(Self { bucket, spell: Mutex::default(), upstream });
        let serving = Arc::clone(&flaky);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let flaky = Arc::clone(&serving);
                let service = service_fn(move |request| {
                    let flaky = Arc::clone(&flaky);
                    async move { flaky.answer(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        flaky
    }

    /// From now on these requests fail; `None` ends it.
    pub fn set(&self, spell: Option<Spell>) {
        *self.spell.lock().unwrap_or_else(PoisonError::into_inner) = spell;
    }

    fn fault(&self, request: &Request<Incoming>) -> Option<Fault> {
        let spell = self.spell.lock().unwrap_or_else(PoisonError::into_inner);
        let spell = spell.as_ref()?;
        let method = spell.method.as_ref().is_none_or(|method| method == request.method());
        let hit = method && request.uri().to_string().contains(spell.about);
        (hit && rand::rng().random_range(0..100) < spell.percent).then_some(spell.fault)
    }

    /// An error ends the connection.
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let fault = self.fault(&request);
        if let Some(Fault::Refused(status)) = fault {
            // Its body has to be read, or the connection breaks before the answer is.
            let (_, body) = request.into_parts();
            body.collect().await?;
            return Ok(failure(status));
        }
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, Full::new(body.collect().await?.to_bytes()));
        // If the store is away, so is this.
        let Ok(stream) = TcpStream::connect(&self.upstream).await else { return Ok(failure(502)) };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let answer = Response::from_parts(head, Full::new(body.collect().await?.to_bytes()));
        match fault {
            Some(Fault::Denied(status)) => Ok(failure(status)),
            Some(Fault::Cut) => Err("cut".into()),
            _ => Ok(answer),
        }
    }
}

fn failure(status: u16) -> Response<Full<Bytes>> {
    let code = if status == 503 { "SlowDown" } else { "InternalError" };
    let body = format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>");
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
