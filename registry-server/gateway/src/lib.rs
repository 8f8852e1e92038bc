//! JSON over HTTP for the service, on the port and through the layers of its gRPC.
//!
//! A request over HTTP becomes the bytes of a gRPC call, as the `google.api.http` annotations of the contract say it, and the call's answer
//! becomes JSON. So there is one way into the service, with its deadlines, limits, permissions and errors, whatever a caller speaks.

mod asked;
mod body;
mod call;
mod files;
mod incoming;
mod metrics;
mod mlflow;
mod origin;
mod pages;
mod pieces;
mod refusal;
mod routes;
mod schema;
mod stream;
mod template;
mod unread;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, MapOk};
use futures::{FutureExt as _, TryFutureExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost_reflect::DescriptorPool;
use registry_common::frames::framed;
use registry_proto::REQUEST_ID_HEADER;
use registry_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_web::GrpcWebLayer;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use self::body::{Body, JSON, answer, full};
use self::call::call;
use self::files::{File, Part};
use self::incoming::{Made, Reader, Unmade, Whole};
pub use self::metrics::wanted as wanted_metrics;
pub use self::origin::Origins;
use self::pieces::Room;
pub use self::pieces::{PIECE, Pieces};
use self::refusal::Refusal;
use self::routes::{Captured, Routes};
use self::schema::Schema;
use self::stream::{Form, Messages, resume};

/// The package that is served.
const PACKAGE: &str = "modelregistry.v1";
/// What pages of other sites may read of an answer beside its body.
const EXPOSED: [&str; 10] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "retry-after",
    "etag",
    "content-length",
    "content-range",
    "content-disposition",
    "repr-digest",
    REQUEST_ID_HEADER,
];

/// What a gateway takes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most bytes of a body of JSON, and of the message that it is.
    pub body: usize,
    /// How long a body may take to arrive, and an answer to be taken.
    pub patience: Duration,
}

/// Puts a [`Gateway`] in front of a service.
#[derive(Debug, Clone)]
pub struct GatewayLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: Routes,
    schema: Arc<Schema>,
    origins: Origins,
    cors: Option<CorsLayer>,
    room: Room,
    reader: Reader,
    most: usize,
    patience: Duration,
}

impl GatewayLayer {
    /// Serves the contract.
    ///
    /// # Panics
    /// If its annotations can't be read, which a test finds.
    pub fn new(origins: Origins, limits: Limits) -> Self {
        let pool = pool();
        let schema = Arc::new(Schema::new(&pool));
        let routes = Routes::new(&pool, &schema, PACKAGE);
        let Limits { body: most, patience } = limits;
        let reader = Reader::new(most, patience);
        let cors = (!origins.pages.is_empty()).then(|| cors(&origins.pages));
        Self(Arc::new(Shared { routes, schema, origins, cors, room: Room::new(), reader, most, patience }))
    }
}

/// What pages of these sites may do.
fn cors(pages: &[String]) -> CorsLayer {
    let pages = pages.iter().filter_map(|page| HeaderValue::from_str(page).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(pages))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
}

/// The contract, and the details of errors.
fn pool() -> DescriptorPool {
    let mut pool = DescriptorPool::decode(registry_proto::DESCRIPTORS).expect("the contract is compiled");
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET).expect("the details of errors are compiled");
    pool
}

impl<S> Layer<S> for GatewayLayer {
    type Service = Gateway<S>;

    fn layer(&self, inner: S) -> Gateway<S> {
        Gateway { inner, shared: Arc::clone(&self.0) }
    }
}

/// The answer of the service, as it is.
type Passed<F, B> = MapOk<F, fn(Response<B>) -> Response<Reply<B>>>;

fn passed<B>(answer: Response<B>) -> Response<Reply<B>> {
    answer.map(Reply::Grpc)
}

/// A service that is called over gRPC, and with JSON over HTTP.
#[derive(Debug, Clone)]
pub struct Gateway<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<Body>> for Gateway<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
{
    type Response = Response<Reply<B>>;
    type Error = S::Error;
    type Future = Either<Passed<S::Future, B>, BoxFuture<'static, Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Browsers can't speak HTTP/2 without TLS, and always say which page they ask for.
        let is_direct = request.version() == Version::HTTP_2 && !request.headers().contains_key(ORIGIN);
        if is_direct && Spoken::of(request.headers(), request.uri().path()) == Spoken::Grpc {
            return Either::Left(self.inner.call(request).map_ok(passed as fn(_) -> _));
        }
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        Either::Right(async move { Ok(shared.front(inner, request).await.map(Reply::Http)) }.boxed())
    }
}

impl Shared {
    /// Lets pages of other sites know that they may, if they may.
    async fn front<S, B>(self: Arc<Self>, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let Some(cors) = self.cors.clone() else { return self.answer(inner, request).await };
        let answer = move |request| {
            let (shared, inner) = (Arc::clone(&self), inner.clone());
            async move { Ok::<_, Infallible>(shared.answer(inner, request).await) }
        };
        match cors.layer(service_fn(answer)).oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    async fn answer<S, B>(self: Arc<Self>, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let spoken = Spoken::of(&parts.headers, parts.uri.path());
        parts.extensions.insert(spoken);
        let (body, unread) = match parts.version {
            Version::HTTP_2 => (body, None),
            _ => {
                let (body, unread) = unread::kept(&parts.headers, body);
                (body, Some(unread))
            }
        };
        let answer = self.respond(inner, spoken, &parts, body).await;
        let mut answer = answer.unwrap_or_else(|refusal| refusal.into_response(&self.schema));
        if let Some(unread) = unread {
            answer = unread.behind(answer).await;
        }
        if let Some(id) = parts.headers.get(REQUEST_ID_HEADER) {
            answer.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
        }
        if parts.method == Method::HEAD { without_body(answer) } else { answer }
    }

    async fn respond<S, B>(
        self: &Arc<Self>,
        inner: S,
        spoken: Spoken,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refusal>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        self.origins.check(&parts.headers, &parts.uri)?;
        match spoken {
            Spoken::Grpc if parts.version == Version::HTTP_2 => {
                let answer = inner.oneshot(Request::from_parts(parts.clone(), body)).await;
                return Ok(answer.map_err(|_| not_taken())?.map(Body::new));
            }
            Spoken::Grpc => {
                let message = "gRPC needs HTTP/2; over HTTP/1.1 there is gRPC-Web, and JSON";
                let (http, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorReason::MediaTypeUnsupported);
                return Err(Refusal::of(http, Code::InvalidArgument, reason, message));
            }
            Spoken::GrpcWeb if parts.method == Method::POST => {
                let request = Request::from_parts(parts.clone(), Body::new(Whole::new(body, parts.version)));
                let answer = GrpcWebLayer::new().layer(inner).oneshot(request).await;
                return answer.map_err(|_| not_taken().into());
            }
            Spoken::GrpcWeb => return Err(Refusal::no_method(&parts.method, parts.uri.path(), "POST")),
            Spoken::Http | Spoken::Mlflow => {}
        }
        // It would end the answer from outside, as that of a call over gRPC.
        if parts.headers.contains_key("grpc-timeout") {
            return Err(Refusal::invalid(
                "grpc-timeout",
                "is for gRPC: over HTTP there is x-server-timeout, in seconds",
            ));
        }
        if let Some(at) = mlflow::At::of(parts.uri.path()) {
            let service = inner.map_response(|answer| answer.map(Body::new)).map_err(|_| not_taken());
            let service = BoxCloneService::new(service);
            let scheme = self.origins.scheme(&parts.headers);
            let means = mlflow::Means { schema: &self.schema, reader: &self.reader, scheme };
            return Ok(at.answer(means, service, parts, body).await);
        }
        if let Some(file) = File::at(parts.uri.path()) {
            return file?.answer(&self.schema, inner, parts, body).await;
        }
        if let Some(part) = Part::at(parts.uri.path()) {
            return part?.answer(&self.schema, inner, parts, body).await;
        }
        match parts.uri.path() {
            "/metrics" => return metrics::answer(inner, parts).await,
            "/healthz" => return pages::health(&parts.method, true),
            "/readyz" => {
                let ready = self.is_ready(inner, parts).await?;
                return pages::health(&parts.method, ready);
            }
            _ => {}
        }
        if let Some(page) = pages::at(parts.uri.path(), &parts.method, &parts.headers) {
            return page;
        }
        // The answer without its body is that of HEAD.
        let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
        let (at, captured) = self.routes.find(method, parts.uri.path())?;
        let route = &self.routes.all()[at];
        let unmade = Unmade::default();
        let message = Arc::clone(self).message(at, captured, parts.clone(), body);
        let request = Body::new(Made::new(message.boxed(), unmade.clone()));
        let request = call::request(parts, &route.path, request)?;
        let mut frames = call(inner, request).await.map_err(|status| unmade.or(status))?;
        if route.rpc.is_server_streaming() {
            return Ok(Messages::new(&self.schema, route, Form::of(&parts.headers)).response(frames));
        }
        // What the service holds for its answer is held until there is room for what becomes of it.
        let message = frames.next().await.map_err(|status| unmade.or(status))?.unwrap_or_default();
        let room = self.room.for_answer(message.len(), self.patience).await?;
        drop(frames);
        let mut text = Vec::with_capacity(2 * message.len());
        self.schema.write(&mut text, route.output, &message).map_err(|_| unwritable())?;
        text.push(b'\n');
        Ok(answer(StatusCode::OK, JSON, room.body(text, self.patience)))
    }

    /// Whether the service as a whole can be used.
    async fn is_ready<S, B>(&self, inner: S, parts: &request::Parts) -> Result<bool, Refusal>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        B: HttpBody<Data = Bytes, Error = Status> + Unpin,
    {
        // An empty request asks for all services, and 1 in the first field of the answer means that they serve.
        let request = call::request(parts, "/grpc.health.v1.Health/Check", full(framed(&[], 0)))?;
        let answer = call(inner, request).await?.next().await?;
        Ok(answer.is_some_and(|answer| answer[..] == [0x08, 1]))
    }

    /// The message that a request stands for, as it stands in the body of a call.
    async fn message(
        self: Arc<Self>,
        at: usize,
        captured: Vec<Captured>,
        parts: request::Parts,
        body: Body,
    ) -> Result<Bytes, Refusal> {
        let route = &self.routes.all()[at];
        let (body, _room) = self.reader.read(&parts.headers, Whole::new(body, parts.version)).await?;
        let query = parts.uri.query().unwrap_or_default();
        let mut message = asked::message(&self.schema, route, &captured, query, &body, self.most)?;
        if route.rpc.is_server_streaming() {
            resume(&route.rpc.input(), &parts.headers, &mut message)?;
        }
        Ok(framed(&message, 0))
    }
}

/// What a request speaks. The service finds it among the extensions of a call, unless that came as gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// gRPC, over HTTP/2.
    Grpc,
    /// gRPC-Web, as browsers send it.
    GrpcWeb,
    /// JSON, or the bytes of files.
    Http,
    /// What MLflow's clients speak.
    Mlflow,
}

impl Spoken {
    fn of(headers: &HeaderMap, path: &str) -> Self {
        let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
        if given == "application/grpc" {
            // As nearly all clients have it: what follows costs an allocation.
            return Self::Grpc;
        }
        let given = given.split(';').next().unwrap_or(given).trim().to_ascii_lowercase();
        match given.as_str() {
            "application/grpc-web"
            | "application/grpc-web+proto"
            | "application/grpc-web-text"
            | "application/grpc-web-text+proto" => Self::GrpcWeb,
            given if given == "application/grpc" || given.starts_with("application/grpc+") => Self::Grpc,
            _ if mlflow::At::of(path).is_some() => Self::Mlflow,
            _ => Self::Http,
        }
    }
}

fn not_taken() -> Status {
    Status::internal("the call was not taken")
}

fn unwritable() -> Status {
    Status::internal("the answer has no form in JSON")
}

fn without_body(answer: Response<Body>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(parts, Body::empty())
}

/// The body of an answer of a [`Gateway`].
pub enum Reply<B> {
    /// Of the service.
    Grpc(B),
    /// Of what was made of it.
    Http(Body),
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for Reply<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Grpc(body) => Pin::new(body).poll_frame(context),
            Self::Http(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Grpc(body) => body.is_end_stream(),
            Self::Http(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Grpc(body) => body.size_hint(),
            Self::Http(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod openapi;
#[cfg(test)]
mod tests;
