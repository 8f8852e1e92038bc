//! A proxy in front of an S3 store in which deletions, and reads of chunks, meet with accidents. Whatever else is asked passes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::bucket::Bucket;

/// What becomes of deletions.
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

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Accidents {
    address: SocketAddr,
    store: SocketAddr,
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
        let proxy = Arc::new(Self { address, store, plan, damage, asked, let_go, late });
        let serving = Arc::clone(&proxy);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let proxy = Arc::clone(&serving);
                // How a connection ends does not matter: the server under test sees it.
                tokio::spawn(async move { proxy.serve(client).await });
            }
        });
        proxy
    }

    /// The bucket, through this proxy.
    pub fn of(&self, bucket: &Bucket) -> Bucket {
        bucket.with("AWS_ENDPOINT", Some(&format!("http://{}", self.address)))
    }

    /// Says what becomes of deletions from now on.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
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

    fn befall(&self, answer: &mut Vec<u8>) {
        let mut damage = self.damage.lock().unwrap();
        if !damage.is_empty() {
            damage.remove(0).befall(answer);
        }
    }

    async fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_store, mut to_store) = TcpStream::connect(self.store).await?.into_split();
        loop {
            let Some(request) = read_request(&mut from_client).await? else { return Ok(()) };
            let head = String::from_utf8_lossy(&request[..request.len().min(2048)]);
            let line = head.lines().next().unwrap_or_default();
            let deletes = line.starts_with("DELETE ") || (line.starts_with("POST ") && line.contains("?delete"));
            let plan = if deletes { *self.plan.lock().unwrap() } else { Plan::Pass };
            if deletes {
                self.asked.send_modify(|asked| *asked += 1);
            }
            match plan {
                Plan::Pass => {
                    to_store.write_all(&request).await?;
                    let mut answer = read_answer(&mut from_store, line.starts_with("HEAD ")).await?;
                    if line.starts_with("GET ") && line.contains("/chunks/") {
                        self.befall(&mut answer);
                    }
                    to_client.write_all(&answer).await?;
                }
                Plan::Refuse(status, code) => to_client.write_all(&answer(status, &error("", code))).await?,
                Plan::RefuseEven(code) => {
                    let body = String::from_utf8_lossy(&request);
                    let keys = body.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0));
                    let result = |(place, key): (usize, &str)| match place % 2 {
                        0 => error(key, code),
                        _ => format!("<Deleted><Key>{key}</Key></Deleted>"),
                    };
                    let results: String = keys.enumerate().map(result).collect();
                    to_client.write_all(&answer(200, &format!("<DeleteResult>{results}</DeleteResult>"))).await?;
                }
                Plan::Hold => {
                    let _ = self.let_go.subscribe().wait_for(|let_go| *let_go).await;
                    to_store.write_all(&request).await?;
                    read_answer(&mut from_store, false).await?;
                    self.late.send_modify(|late| *late += 1);
                    return Ok(());
                }
            }
        }
    }
}

impl Damage {
    fn befall(self, answer: &mut Vec<u8>) {
        match self {
            Self::Flip => *answer.last_mut().expect("it is not empty") ^= 1,
            Self::Empty => {
                let text = String::from_utf8_lossy(answer);
                let head = text.split_once("\r\n\r\n").expect("it has headers").0.lines();
                let others = head.filter(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
                let head: String = others.map(|line| format!("{line}\r\n")).collect();
                *answer = format!("{head}content-length: 0\r\n\r\n").into_bytes();
            }
            Self::Missing => *answer = self::answer(404, &error("", "NoSuchKey")),
        }
    }
}

fn error(key: &str, code: &str) -> String {
    format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>No.</Message></Error>")
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Planned\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The next request; `None` if there is none.
async fn read_request(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let Some((mut bytes, head)) = read_head(from).await? else { return Ok(None) };
    read_body(from, &mut bytes, head).await?;
    Ok(Some(bytes))
}

async fn read_answer(from: &mut (impl tokio::io::AsyncRead + Unpin), headless: bool) -> std::io::Result<Vec<u8>> {
    let Some((mut bytes, head)) = read_head(from).await? else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
    let status = bytes.get(9..12).unwrap_or_default();
    if !headless && ![b"204", b"304"].iter().any(|none| status == *none) {
        read_body(from, &mut bytes, head).await?;
    }
    Ok(bytes)
}

/// What has come up to the end of the headers and perhaps beyond, and where that end is.
async fn read_head(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Option<(Vec<u8>, usize)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            return Ok(Some((bytes, at + 4)));
        }
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads the rest of a message.
async fn read_body(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    head: usize,
) -> std::io::Result<()> {
    let headers = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let is_whole = |bytes: &[u8]| match length {
        Some(length) => bytes.len() >= head + length,
        None if headers.contains("transfer-encoding: chunked") => bytes.ends_with(b"0\r\n\r\n"),
        None => true,
    };
    while !is_whole(bytes) {
        if from.read_buf(bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
