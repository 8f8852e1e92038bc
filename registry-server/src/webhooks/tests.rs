//! Attempts over a network of the test's own, which looks names up and connects in memory: no packet leaves the process.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::addresses::Guard;
use super::answers::Outcome;
use super::connect::{Network, Stream};
use super::send::{Headers, Message, Sender};
use super::targets::Target;

const PATIENCE: Duration = Duration::from_secs(30);
const PUBLIC: &str = "93.184.215.14";

/// What a receiver does with a connection, other than to read the request.
#[derive(Debug, Clone, Copy)]
enum Receiver {
    /// Answers this.
    Answers(&'static str),
    /// Answers this after a while.
    Slow(Duration, &'static str),
    /// Takes the request, and says nothing.
    Hangs,
    /// Begins an answer whose body never ends.
    Endless,
    /// Closes the connection.
    Closes,
}

/// Names that stand for these addresses, a list for each look-up, and one receiver at all of them.
struct Recorded {
    addresses: Mutex<VecDeque<Vec<IpAddr>>>,
    receiver: Receiver,
    looked_up: Mutex<Vec<String>>,
    connected: Mutex<Vec<SocketAddr>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorded {
    fn new(look_ups: &[&[&str]], receiver: Receiver) -> Arc<Self> {
        let parsed = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self {
            addresses: Mutex::new(look_ups.iter().map(parsed).collect()),
            receiver,
            looked_up: Mutex::default(),
            connected: Mutex::default(),
            requests: Arc::default(),
        })
    }

    fn connected(&self) -> Vec<String> {
        self.connected.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Network for Recorded {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.looked_up.lock().unwrap().push(host.to_owned());
        self.addresses.lock().unwrap().pop_front().ok_or_else(|| io::Error::other("no such name"))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        self.connected.lock().unwrap().push(address);
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(receive(theirs, self.receiver, Arc::clone(&self.requests)));
        Ok(Stream(Box::new(ours)))
    }
}

async fn receive(mut stream: DuplexStream, receiver: Receiver, requests: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"{}") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    requests.lock().unwrap().push(String::from_utf8(request).unwrap());
    let answer = match receiver {
        Receiver::Answers(answer) => answer,
        Receiver::Slow(after, answer) => {
            tokio::time::sleep(after).await;
            answer
        }
        Receiver::Hangs => std::future::pending().await,
        Receiver::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
            std::future::pending().await
        }
        Receiver::Closes => return,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    // The next request on this connection is not for here.
    let _ = stream.read_buf(&mut Vec::new()).await;
}

const OK: Receiver = Receiver::Answers("HTTP/1.1 204 No Content\r\n\r\n");

async fn sent(network: &Arc<Recorded>, allowed: &[&str], url: &str) -> Outcome {
    let guard = Guard::new(allowed.iter().map(|network| network.parse().unwrap()).collect());
    let sender = Sender::over(guard, Arc::clone(network) as _).unwrap();
    let message = Message {
        headers: &Headers::STANDARD,
        id: "msg_1".to_owned(),
        timestamp: 7,
        signatures: "v1,x v1,y".to_owned(),
        body: Bytes::from_static(b"{}"),
    };
    sender.post(&Target::parse(url).unwrap(), message, PATIENCE).await
}

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(why) if why.contains("not allowed"))
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_an_address_that_is_not_public_is_never_connected_to() {
    for addresses in [
        &["127.0.0.1"][..],
        &["169.254.169.254"],
        &["::ffff:10.0.0.1"],
        &["::1"],
        &["64:ff9b::7f00:1"],
        &["100.64.0.1"],
        // One of several is enough, wherever it stands.
        &[PUBLIC, "127.0.0.1"],
        &["10.0.0.1", PUBLIC],
    ] {
        let network = Recorded::new(&[addresses], OK);
        let outcome = sent(&network, &[], "https://hooks.example/").await;
        assert!(refused(&outcome), "{addresses:?}: {outcome:?}");
        assert_eq!(network.connected(), [""; 0], "{addresses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_in_place_of_a_name_is_vetted_as_well() {
    for url in [
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "http://1.1.1.1/",
    ] {
        let network = Recorded::new(&[], OK);
        assert!(refused(&sent(&network, &[], url).await), "{url}");
        assert_eq!((network.connected(), network.looked_up.lock().unwrap().len()), (Vec::new(), 0), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_that_was_vetted_is_the_one_that_is_connected_to() {
    // The second look-up would give another one: there is none for the first connection.
    let network = Recorded::new(&[&[PUBLIC], &["127.0.0.1"]], OK);
    let outcome = sent(&network, &[], "https://hooks.example:8443/").await;
    // It is no TLS that answers there.
    assert!(matches!(outcome, Outcome::Failed(_)) && !refused(&outcome), "{outcome:?}");
    assert_eq!(network.connected(), [format!("{PUBLIC}:8443")]);
    assert_eq!(*network.looked_up.lock().unwrap(), ["hooks.example"]);
    // And the next attempt is vetted anew.
    assert!(refused(&sent(&network, &[], "https://hooks.example:8443/").await));
    assert_eq!(network.connected().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let network = Recorded::new(&[&["10.1.2.3"]], Receiver::Answers(redirect));
    let outcome = sent(&network, &["10.1.0.0/16"], "http://hooks.example/").await;
    assert_eq!(outcome, Outcome::Answered { code: 307, retry_after: None });
    assert_eq!(network.connected(), ["10.1.2.3:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_has_its_time_and_no_more() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let answered =
        |code, retry_after: Option<u64>| Outcome::Answered { code, retry_after: retry_after.map(Duration::from_secs) };
    let late = Outcome::Failed("the receiver did not answer in time");
    for (receiver, expected, seconds) in [
        (Receiver::Slow(Duration::from_secs(29), ok), answered(200, None), 29),
        (Receiver::Slow(Duration::from_secs(31), ok), late.clone(), 30),
        (Receiver::Hangs, late.clone(), 30),
        (Receiver::Endless, late, 30),
        (Receiver::Closes, Outcome::Failed("the connection was broken off"), 0),
        (Receiver::Answers(busy), answered(429, Some(7)), 0),
        (Receiver::Answers("SSH-2.0-OpenSSH_9.9\r\n"), Outcome::Failed("the connection was broken off"), 0),
    ] {
        let network = Recorded::new(&[&["10.1.2.3"]], receiver);
        let began = Instant::now();
        assert_eq!(sent(&network, &["10.1.2.3/32"], "http://hooks.example/").await, expected, "{receiver:?}");
        assert_eq!(began.elapsed().as_secs(), seconds, "{receiver:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_a_post_with_the_headers_of_standard_webhooks() {
    let network = Recorded::new(&[&["10.1.2.3"]], OK);
    sent(&network, &["10.1.2.3/32"], "http://hooks.example:8080/models?key=1").await;
    let requests = network.requests.lock().unwrap().clone();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert!(request.starts_with("POST /models?key=1 HTTP/1.1\r\n"), "{request}");
    for header in [
        "host: hooks.example:8080",
        "content-type: application/json",
        "webhook-id: msg_1",
        "webhook-timestamp: 7",
        "webhook-signature: v1,x v1,y",
        "content-length: 2",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header}: {request}");
    }
}
