//! What happens around every call: a place among the others, a deadline, a line in the log, a count and a time for `/metrics`, and typed
//! errors for what fails before a handler has the message.

mod answering;
mod arriving;
mod authenticating;
mod kinds;
mod logged;
mod measured;
mod places;
mod rates;
mod traced;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use prometheus_client::registry::Registry as Exposition;
use registry_proto::REQUEST_ID_HEADER;
use registry_proto::v1::ErrorReason;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use self::answering::Answering;
use self::arriving::Arriving;
use self::authenticating::{authenticate, is_open};
use self::kinds::Kind;
use self::logged::Logged;
use self::measured::{Call, Measures};
pub(crate) use self::places::Capacity;
use self::places::{Places, Shared, lock};
use self::rates::Rates;
pub(crate) use self::traced::of_headers as trace_of;
use crate::connections::Peer;
use crate::error::{Error, quoted};
use crate::registry::access::guard::Guard;
use crate::status::{plain, status};

/// Puts [`Calls`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct CallLayer {
    places: Arc<Places>,
    deadline: Duration,
    /// Absent where callers need not prove who they are.
    guard: Option<Guard>,
    /// Absent where callers may call as often as they like.
    rates: Option<Rates>,
    measures: Measures,
}

impl CallLayer {
    /// At most so many calls at once, each answered or ended within `deadline`, or the time that its caller gives it if that is less.
    /// What ends is dropped with all that it waits for: a statement that runs in a database, or a commit whose turn has not come.
    pub(crate) fn new(capacity: Capacity, deadline: Duration) -> Self {
        let (places, measures) = (Arc::new(Places::new(capacity)), Measures::default());
        Self { places, deadline, guard: None, rates: None, measures }
    }

    /// The same, of calls by those alone who prove who they are, if there is something that knows them.
    pub(crate) fn with_guard(self, guard: Option<Guard>) -> Self {
        Self { guard, ..self }
    }

    /// The same, of at most so many calls a second by each who proves who they are.
    pub(crate) fn with_rate(self, a_second: Option<NonZeroU32>) -> Self {
        Self { rates: a_second.map(Rates::new), ..self }
    }

    /// Has what is known of all calls told of, and how many places there are for them.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        self.measures.expose(to);
        to.register_collector(Box::new(Arc::clone(&self.places)));
    }

    /// How long a call may take.
    fn time_for<B>(&self, request: &Request<B>) -> Option<Duration> {
        let ours = (!kinds::is_unhurried(request.uri().path())).then_some(self.deadline);
        ours.into_iter().chain(timeout(request.headers())).min()
    }
}

/// The longest request id that is echoed: UUIDs are not that long.
const REQUEST_ID_BYTES: usize = 64;

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, layer: self.clone() }
    }
}

/// See [`CallLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Calls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Answering>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Answering>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone is fresh; the one that was polled ready has to do the work.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let began = Instant::now();
        // From now on, and not from when the call is polled: tonic counts as well, and says CANCELLED.
        let time = self.layer.time_for(&request);
        let until = began + time.unwrap_or(self.layer.deadline);
        let (span, trace) = traced::begin(&mut request);
        let path = request.uri().path();
        let (kind, held) = (Kind::of(path), Shared::default());
        let measured = Call::of(&request, self.layer.measures.clone(), trace);
        let mut logged = Logged::new(path, kind, request.headers(), began, measured).in_span(span.clone());
        let request_id = request.headers().get(REQUEST_ID_HEADER).filter(|id| id.len() <= REQUEST_ID_BYTES).cloned();
        let open = request.extensions().get::<Peer>().map(|peer| peer.activity.begin());
        let places = Arc::clone(&self.layer.places);
        let (guard, rates) = (self.layer.guard.clone().filter(|_| !is_open(path)), self.layer.rates.clone());
        if guard.is_some() {
            // Until it is known who that is.
            logged.called_by(&HeaderMap::new());
        }
        let mut request = request.map(|body| Body::new(Arriving::new(body, kind, places, Arc::clone(&held))));
        let call = async move {
            let answer = async {
                let Some(guard) = guard else { return inner.call(request).await };
                let caller = match authenticate(&guard, &mut request).await {
                    Ok(caller) => caller,
                    Err(error) => return Ok(status(&error).into_http()),
                };
                logged.called_by(request.headers());
                match rates.map_or(Ok(()), |rates| rates.count(&caller.principal)) {
                    Ok(()) => inner.call(request).await,
                    Err(wait) => Ok(status(&Error::RateLimited { wait }).into_http()),
                }
            };
            let answered = match time {
                None => Ok(answer.await),
                Some(time) => timeout_at(began + time, answer).await.map_err(|_| time),
            };
            let mut response = match answered {
                Ok(response) if kind == Kind::Health => response?,
                Ok(response) => typed(logged.path(), response?),
                Err(time) => {
                    let late = format!("not done within {time:?}");
                    plain(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, &late).into_http()
                }
            };
            logged.answered(response.headers());
            if let Some(id) = request_id {
                response.headers_mut().insert(REQUEST_ID_HEADER, id);
            }
            let held = std::mem::take(&mut *lock(&held));
            Ok(response.map(|body| Answering::new(body, logged, held, until, open)))
        };
        Box::pin(call.instrument(span))
    }
}

/// The time that the caller gives a call. What is not as gRPC has it is ignored, as tonic does.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = value.split_at(value.len().checked_sub(1)?);
    let number = u64::from(number.parse::<u32>().ok()?);
    match unit {
        "H" => Some(Duration::from_secs(60 * 60 * number)),
        "M" => Some(Duration::from_secs(60 * number)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Gives the errors of the transport, which come without details, a reason. The server's own always have one.
fn typed(path: &str, response: Response<Body>) -> Response<Body> {
    match transport_error(path, response.headers()) {
        Some(status) => status.into_http(),
        None => response,
    }
}

fn transport_error(path: &str, headers: &HeaderMap) -> Option<Status> {
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let said = status.message();
    let (code, reason, text) = match status.code() {
        // Larger as it came, or when it was unpacked.
        Code::OutOfRange | Code::ResourceExhausted => (Code::ResourceExhausted, ErrorReason::MessageTooLarge, said),
        // The message is not the protobuf that it should be.
        Code::Internal => (Code::InvalidArgument, ErrorReason::FieldInvalid, said),
        // The caller's own deadline has passed.
        Code::Cancelled | Code::DeadlineExceeded => (Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, said),
        Code::Unimplemented if said.is_empty() => {
            let unknown = format!("there is no method {}", quoted(path));
            return Some(plain(Code::Unimplemented, ErrorReason::MethodUnknown, &unknown));
        }
        Code::Unimplemented => {
            let mut status = plain(Code::Unimplemented, ErrorReason::CompressionUnsupported, said);
            let known = headers.get(ACCEPT_ENCODING).and_then(|known| known.to_str().ok()?.parse().ok());
            if let Some(known) = known {
                status.metadata_mut().insert(ACCEPT_ENCODING, known);
            }
            return Some(status);
        }
        Code::Ok => return None,
        code => (code, ErrorReason::Internal, said),
    };
    Some(plain(code, reason, text))
}

/// What says which ways of compression the server takes.
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

#[cfg(test)]
mod tests {
    use registry_proto::rpc::Request as _;
    use registry_proto::v1::UploadArtifactRequest;

    use super::*;

    #[test]
    fn a_callers_time_counts_if_it_is_less_than_the_servers() {
        let capacity = Capacity { calls: 1, uploads: 1, streams: 1 };
        let layer = CallLayer::new(capacity, Duration::from_secs(30));
        let time = |path: &str, value: &str| {
            let request = Request::builder().uri(path).header("grpc-timeout", value).body(()).unwrap();
            layer.time_for(&request)
        };
        for (value, millis) in
            [("29S", 29_000), ("200m", 200), ("5000u", 5), ("7000000n", 7), ("99999999H", 30_000), ("1M", 30_000)]
        {
            assert_eq!(time("/any", value), Some(Duration::from_millis(millis)), "{value}");
        }
        for value in ["", "S", "1", "1s", "-1S", "1.5S", "1000000000000H"] {
            assert_eq!(time("/any", value), Some(Duration::from_secs(30)), "{value}");
            assert_eq!(time(UploadArtifactRequest::PATH, value), None, "{value}");
        }
        assert_eq!(time(UploadArtifactRequest::PATH, "2M"), Some(Duration::from_secs(120)));
    }
}
