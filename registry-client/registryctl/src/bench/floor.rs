//! What the machine can do without a registry: a bare tonic service of bytes, in a process of its own.

use super::Channel;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use http::Method;
use http::uri::PathAndQuery;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tonic::body::Body;
use tonic::server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::{ProstCodec, ProstDecoder};

/// The argument that makes this program the floor's server. It is for itself: no command of anybody's.
pub(crate) const ARGUMENT: &str = "floor-server";
const READY: &str = "listening on ";
/// Where it is a plain server of files, and the header with the path of one.
pub(super) const FILE: &str = "/floor.Floor/file";
pub(super) const PATH: &str = "x-path";
/// How much is sent, read and written at once: what is best here.
const PIECE: usize = 1024 * 1024;
/// How many pieces wait.
const QUEUE: usize = 4;

/// A message of bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) data: Bytes,
}

pub(super) type Codec = ProstCodec<Blob, Blob>;

/// What the process answers to `Get` and `Repeat`: what the last `Set` brought.
#[derive(Clone, Default)]
struct Floor {
    answer: Arc<RwLock<Bytes>>,
}

impl Floor {
    fn answer(&self) -> Bytes {
        self.answer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Set(Floor);
struct Get(Floor);
struct Repeat(Floor);
struct Up;
struct Down;

type Answer = BoxFuture<'static, Result<Response<Blob>, Status>>;

impl UnaryService<Blob> for Set {
    type Response = Blob;
    type Future = Answer;

    fn call(&mut self, request: Request<Blob>) -> Answer {
        *self.0.answer.write().unwrap_or_else(PoisonError::into_inner) = request.into_inner().data;
        Box::pin(async { Ok(Response::new(Blob::default())) })
    }
}

impl UnaryService<Blob> for Get {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Blob>) -> Self::Future {
        let message = self.0.answer();
        Box::pin(async { Ok(Response::new(message)) })
    }
}

/// Answers a message that was encoded before, so that the caller decodes what it decodes from a registry.
struct Encoded;

impl tonic::codec::Codec for Encoded {
    type Encode = Bytes;
    type Decode = Blob;
    type Encoder = Self;
    type Decoder = ProstDecoder<Blob>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl tonic::codec::Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.len());
        out.put(message);
        Ok(())
    }
}

/// Writes what comes behind the first message, which is the path, into a file, and answers when it is on the disk.
impl ClientStreamingService<Blob> for Up {
    type Response = Blob;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<Blob>>) -> Answer {
        let mut pieces = request.into_inner();
        // A task of its own, as the registry does it.
        let received = tokio::spawn(async move {
            let path = pieces.message().await?.unwrap_or_default().data;
            let (queue, writer) = written(path_of(&path));
            while let Some(piece) = pieces.message().await? {
                queue.send(piece.data).await.map_err(|error| Status::internal(error.to_string()))?;
            }
            drop(queue);
            writer.await.map_err(|error| Status::internal(error.to_string()))??;
            Ok::<_, Status>(Response::new(Blob::default()))
        });
        Box::pin(async { received.await.map_err(|error| Status::internal(error.to_string()))? })
    }
}

/// Sends the answer as often as is asked for.
impl ServerStreamingService<Blob> for Repeat {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        let answer = self.0.answer();
        Box::pin(async move {
            let asked = request.into_inner().data;
            let times = asked.as_ref().try_into().map(u64::from_be_bytes);
            let times = times.map_err(|_| Status::invalid_argument("expected a number of 8 bytes"))?;
            Ok(Response::new(stream::iter(0..times).map(move |_| Ok(answer.clone())).boxed()))
        })
    }
}

/// Sends the file whose path is asked for.
impl ServerStreamingService<Blob> for Down {
    type Response = Blob;
    type ResponseStream = BoxStream<'static, Result<Blob, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        let pieces = read(path_of(&request.into_inner().data)).map(|data| Ok(Blob { data: data? }));
        Box::pin(async { Ok(Response::new(pieces.boxed())) })
    }
}

/// Answers with a file, or keeps the one that comes, and answers when it is on the disk.
async fn file(request: http::Request<Body>) -> std::io::Result<http::Response<Body>> {
    let path = request.headers().get(PATH).map(|path| path_of(path.as_bytes())).unwrap_or_default();
    if request.method() == Method::GET {
        let pieces = read(path).map(|piece| piece.map(Frame::data).map_err(Status::from));
        return Ok(http::Response::new(Body::new(StreamBody::new(pieces))));
    }
    let (queue, writer) = written(path);
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(std::io::Error::other)?.into_data() else { continue };
        queue.send(data).await.map_err(std::io::Error::other)?;
    }
    drop(queue);
    writer.await??;
    Ok(http::Response::new(Body::empty()))
}

/// Where to send what is to be written into a file, on a thread of its own, and what waits until it is on the disk.
fn written(path: PathBuf) -> (mpsc::Sender<Bytes>, JoinHandle<std::io::Result<()>>) {
    let (queue, mut waiting) = mpsc::channel::<Bytes>(QUEUE);
    let writer = spawn_blocking(move || {
        let mut file = File::create(path)?;
        while let Some(bytes) = waiting.blocking_recv() {
            file.write_all(&bytes)?;
        }
        file.sync_all()
    });
    (queue, writer)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// A file in pieces, read on a thread of its own.
pub(super) fn read(path: PathBuf) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let (queue, mut read) = mpsc::channel(QUEUE);
    spawn_blocking(move || {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return drop(queue.blocking_send(Err(error))),
        };
        loop {
            let mut piece = vec![0; PIECE];
            let piece = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::from(piece).slice(..length)),
                Err(error) => Err(error),
            };
            if queue.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    futures::stream::poll_fn(move |context| read.poll_recv(context))
}

impl tower::Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/floor.Floor/Get" => Grpc::new(Encoded).unary(Get(floor), request).await,
                "/floor.Floor/Set" => grpc.unary(Set(floor), request).await,
                "/floor.Floor/Repeat" => Grpc::new(Encoded).server_streaming(Repeat(floor), request).await,
                "/floor.Floor/Up" => grpc.client_streaming(Up, request).await,
                FILE => file(request).await.unwrap_or_else(|error| Status::internal(error.to_string()).into_http()),
                "/floor.Floor/Down" => grpc.server_streaming(Down, request).await,
                other => Status::unimplemented(other).into_http(),
            })
        })
    }
}

impl NamedService for Floor {
    const NAME: &'static str = "floor.Floor";
}

/// Serves the floor until whoever started it is gone, however that ended: its standard input closes then.
pub(crate) async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{READY}{}", listener.local_addr()?);
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_frame_size(256 * 1024)
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .add_service(Floor::default())
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let (mut input, mut nowhere) = (tokio::io::stdin(), tokio::io::sink());
    tokio::select! {
        served = server => served?,
        _ = tokio::io::copy(&mut input, &mut nowhere) => {}
    }
    Ok(())
}

/// Sends some bytes to one of the floor's methods, and decodes its answer.
pub(super) async fn call<Answer>(channel: Channel, path: &'static str, data: Bytes) -> Result<(), Status>
where
    Answer: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(path);
    client.unary(Request::new(Blob { data }), path, ProstCodec::<Blob, Answer>::default()).await.map(drop)
}

/// Has the floor send its answer so many times.
pub(super) async fn repeat<Answer>(channel: Channel, times: u64) -> Result<Streaming<Answer>, Status>
where
    Answer: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (path, asked) =
        (PathAndQuery::from_static("/floor.Floor/Repeat"), Bytes::copy_from_slice(&times.to_be_bytes()));
    let codec = ProstCodec::<Blob, Answer>::default();
    Ok(client.server_streaming(Request::new(Blob { data: asked }), path, codec).await?.into_inner())
}

/// Has the floor answer with this message from now on.
pub(super) async fn set(channel: Channel, message: &impl Message) -> Result<(), Status> {
    call::<Blob>(channel, "/floor.Floor/Set", message.encode_to_vec().into()).await
}

/// The floor's process; it ends when this is dropped.
pub(super) struct FloorServer {
    pub(super) endpoint: String,
    /// With the other end of its standard input.
    _process: Child,
}

impl FloorServer {
    pub(super) async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or("the floor's server has no output")?;
        let line = BufReader::new(output).lines().next_line().await?.unwrap_or_default();
        let address = line.strip_prefix(READY).ok_or("the floor's server did not start")?;
        Ok(Self { endpoint: format!("http://{address}"), _process: process })
    }
}
