//! A proxy in front of an S3 store in which requests meet with accidents: all of them in a spell, or deletions or reads of chunks.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::bucket::Bucket;

/// What becomes of deletions of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// They pass.
    Pass,
    /// They get this status and this code, and the store hears nothing of them.
    Refuse(u16, &'static str),
    /// The same for the objects with an even place among those that are to be deleted at once; nothing happens to the others, though the
    /// answer says so.
    RefuseEven(&'static str),
    /// They are on their way until they are let go, and are never answered.
    Hold,
}

/// What becomes of the answer to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One bit is another one.
    Flip,
    /// It has no bytes, and says so.
    Empty,
    /// It says that there is no such object.
    Missing,
}

/// How a request fails, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It gets this status, and the store hears nothing of it.
    Refused(u16),
    /// It is carried out, and gets this status.
    Denied(u16),
    /// It is carried out, and the connection ends without an answer.
    Cut,
}

/// A time in which requests fail at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// How.
    pub fault: Fault,
    /// How many of a hundred.
    pub percent: u32,
}

type Answer = Response<Full<Bytes>>;
/// An error ends the connection.
type Answered = Result<Answer, Box<dyn Error + Send + Sync>>;

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Accidents {
    address: SocketAddr,
    store: SocketAddr,
    spell: Mutex<Option<Spell>>,
    plan: Mutex<Plan>,
    /// Of the next reads.
    damage: Mutex<Vec<Damage>>,
    /// How many requests to delete have come.
    asked: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
    /// How many of those that were let go the store has answered.
    late: watch::Sender<usize>,
}

impl Accidents {
    /// A proxy to the store of a bucket.
    ///
    /// # Panics
    /// If the store's endpoint is no address; later, if it takes no connections.
    pub async fn before(bucket: &Bucket) -> Arc<Self> {
        let store = bucket.variable("AWS_ENDPOINT").trim_start_matches("http://").parse().expect("it is at an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, let_go, late) = (watch::Sender::new(0), watch::Sender::new(false), watch::Sender::new(0));
        let (plan, damage) = (Mutex::new(Plan::Pass), Mutex::default());
        let spell = Mutex::default();
        let proxy = Arc::new(Self { address, store, spell, plan, damage, asked, let_go, late });
        let serving = Arc::clone(&proxy);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let proxy = Arc::clone(&serving);
                let service = service_fn(move |request| Arc::clone(&proxy).answer(request));
                // How a connection ends does not matter: the server under test sees it.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service),
                );
            }
        });
        proxy
    }

    /// The bucket, through this proxy.
    pub fn of(&self, bucket: &Bucket) -> Bucket {
        bucket.with("AWS_ENDPOINT", Some(&format!("http://{}", self.address)))
    }

    /// Begins a spell, or ends it.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn set_spell(&self, spell: Option<Spell>) {
        *self.spell.lock().unwrap() = spell;
    }

    /// Says what becomes of deletions from now on.
    ///
    /// # Panics
    /// As above.
    pub fn plan(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
    }

    /// Says what becomes of the next reads of chunks, one after the other.
    ///
    /// # Panics
    /// As above.
    pub fn damage(&self, reads: impl IntoIterator<Item = Damage>) {
        *self.damage.lock().unwrap() = reads.into_iter().collect();
    }

    /// How many reads are still to be damaged.
    ///
    /// # Panics
    /// As above.
    pub fn left(&self) -> usize {
        self.damage.lock().unwrap().len()
    }

    /// Waits until so many more deletions were asked for.
    ///
    /// # Panics
    /// Never: the proxy lasts as long as what it is asked of.
    pub fn asked(&self, more: usize) -> impl Future<Output = ()> + use<> {
        let mut asked = self.asked.subscribe();
        let before = *asked.borrow_and_update();
        async move {
            asked.wait_for(|asked| *asked >= before + more).await.unwrap();
        }
    }

    /// Lets those go that were held, and waits until the store has carried them out.
    ///
    /// # Panics
    /// As above.
    pub async fn let_go(&self, held: usize) {
        self.plan(Plan::Pass);
        self.let_go.send_replace(true);
        self.late.subscribe().wait_for(|late| *late >= held).await.unwrap();
        self.let_go.send_replace(false);
    }

    /// What befalls a request in a spell.
    fn fault(&self) -> Option<Fault> {
        let spell = (*self.spell.lock().unwrap())?;
        (rand::rng().random_range(0..100) < spell.percent).then_some(spell.fault)
    }

    fn befall(&self, answer: Answer) -> Answer {
        let mut damage = self.damage.lock().unwrap();
        if damage.is_empty() { answer } else { damage.remove(0).befall(answer) }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        // All of it is read: otherwise the connection would break before a refusal is.
        let body = body.collect().await?.to_bytes();
        let query = head.uri.query().unwrap_or_default();
        let keys = String::from_utf8_lossy(&body).into_owned();
        let of_chunk = |text: &str| text.contains("chunks/");
        // A server also deletes its own old notes, at times of its own: those always pass.
        let deletes = (head.method == Method::DELETE && of_chunk(head.uri.path()))
            || (head.method == Method::POST && query.starts_with("delete") && of_chunk(&keys));
        let reads_chunk = head.method == Method::GET && of_chunk(head.uri.path());
        let plan = if deletes { *self.plan.lock().unwrap() } else { Plan::Pass };
        if deletes {
            self.asked.send_modify(|asked| *asked += 1);
        }
        let request = Request::from_parts(head, Full::new(body));
        match (plan, self.fault()) {
            (Plan::Refuse(status, code), _) => Ok(answer(status, error("", code))),
            (Plan::RefuseEven(code), _) => {
                let keys = keys.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0));
                let result = |(place, key): (usize, &str)| match place % 2 {
                    0 => error(key, code),
                    _ => format!("<Deleted><Key>{key}</Key></Deleted>"),
                };
                let results: String = keys.enumerate().map(result).collect();
                Ok(answer(200, format!("<DeleteResult>{results}</DeleteResult>")))
            }
            (Plan::Hold, _) => {
                // Its client may go away meanwhile, and the connection with it.
                let held = async move {
                    let _ = self.let_go.subscribe().wait_for(|let_go| *let_go).await;
                    self.forward(request).await?;
                    self.late.send_modify(|late| *late += 1);
                    Err("it is not answered".into())
                };
                tokio::spawn(held).await?
            }
            (Plan::Pass, Some(Fault::Refused(status))) => Ok(failure(status)),
            (Plan::Pass, fault) => {
                let answer = self.forward(request).await?;
                match fault {
                    Some(Fault::Denied(status)) => Ok(failure(status)),
                    Some(Fault::Cut) => Err("it is cut".into()),
                    _ if reads_chunk => Ok(self.befall(answer)),
                    _ => Ok(answer),
                }
            }
        }
    }

    async fn forward(&self, request: Request<Full<Bytes>>) -> Answered {
        let stream = TcpStream::connect(self.store).await?;
        let (mut store, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (head, body) = store.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
    }
}

impl Damage {
    fn befall(self, answer: Answer) -> Answer {
        let (head, body) = answer.into_parts();
        let mut bytes = body.into_inner().unwrap_or_default().to_vec();
        match self {
            Self::Flip => *bytes.last_mut().expect("it is not empty") ^= 1,
            Self::Empty => bytes.clear(),
            Self::Missing => return self::answer(404, error("", "NoSuchKey")),
        }
        let mut head = head;
        head.headers.remove("content-length");
        Response::from_parts(head, Full::new(bytes.into()))
    }
}

fn error(key: &str, code: &str) -> String {
    format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>No.</Message></Error>")
}

fn failure(status: u16) -> Answer {
    answer(status, error("", if status == 503 { "SlowDown" } else { "InternalError" }))
}

fn answer(status: u16, body: String) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}
