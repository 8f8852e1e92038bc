//! How long a call may take.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;
use tonic::{Code, Status};

use super::carry::{Answer, Carry, Request, layer, send};
use super::outcome::{code_of, refusal};
use crate::Transport;
use crate::client::later;

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Ends every call after a time with `DEADLINE_EXCEEDED`, and tells the server of it (`grpc-timeout`), which stops working for nobody. If
/// the call has a deadline already, the earlier one counts.
///
/// The time is for the whole call, and so for the whole of a stream. It is the layer's clock that ends it: a server that hangs, or is
/// gone without a word, can't hold it up.
#[derive(Debug, Clone)]
pub struct DeadlineLayer {
    time: Duration,
}

impl DeadlineLayer {
    /// For each call so much.
    pub fn new(time: Duration) -> Self {
        Self { time }
    }
}

layer!(DeadlineLayer);

impl Carry for DeadlineLayer {
    async fn carry(self, inner: Transport, mut request: Request) -> Answer {
        let asked = request.headers().get(GRPC_TIMEOUT).and_then(|value| parse(value.to_str().ok()?));
        let time = asked.map_or(self.time, |asked| asked.min(self.time));
        if let Ok(value) = HeaderValue::try_from(format(time)) {
            request.headers_mut().insert(GRPC_TIMEOUT, value);
        }
        let end = later(Instant::now(), time);
        match timeout_at(end, send(inner, request)).await {
            Ok(Ok(response)) => Ok(response.map(|inner| Body::new(Timed { inner, end: Box::pin(sleep_until(end)) }))),
            // tonic's channel watches over the header as well.
            Ok(Err(error)) if code_of(&*error) != Code::DeadlineExceeded => Err(error),
            Ok(Err(_)) | Err(_) => refusal(expired()),
        }
    }
}

fn expired() -> Status {
    Status::deadline_exceeded("the call took longer than it may")
}

/// A body that ends in time.
struct Timed {
    inner: Body,
    end: Pin<Box<Sleep>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Pending => this.end.as_mut().poll(context).map(|()| Some(Err(expired()))),
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The units of `grpc-timeout`, in nanoseconds.
const UNITS: [(char, u128); 6] =
    [('n', 1), ('u', 1000), ('m', 1_000_000), ('S', 1_000_000_000), ('M', 60_000_000_000), ('H', 3_600_000_000_000)];
/// Its value has at most eight digits.
const LARGEST: u128 = 99_999_999;

/// A duration as a `grpc-timeout`: in the smallest unit that it fits, and never more than it is.
fn format(time: Duration) -> String {
    let nanos = time.as_nanos();
    let fitting = UNITS.iter().find(|(_, unit)| nanos / unit <= LARGEST);
    let (name, unit) = fitting.unwrap_or(&UNITS[5]);
    format!("{}{name}", (nanos / unit).min(LARGEST))
}

fn parse(text: &str) -> Option<Duration> {
    let (number, name) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (_, unit) = UNITS.iter().find(|(unit, _)| name.starts_with(*unit))?;
    let is_number = (1..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = number.parse::<u128>().ok().filter(|_| is_number)? * unit;
    Some(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer, ServiceExt, service_fn};

    use super::super::outcome::code;
    use super::*;

    #[test]
    fn timeouts_are_written_and_read_as_grpc_has_them() {
        let second = Duration::from_secs(1);
        for (time, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_000), "100000u"),
            (second, "1000000u"),
            (100 * second, "100000m"),
            (100_000 * second, "100000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format(time), text, "{time:?}");
            assert!(parse(text).is_some_and(|read| read <= time), "{text}");
        }
        let cases: [(&str, Option<u64>); 11] = [
            ("1S", Some(1000)),
            ("250m", Some(250)),
            ("2M", Some(120_000)),
            ("1H", Some(3_600_000)),
            ("99999999S", Some(99_999_999_000)),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("+1S", None),
            ("1s", None),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), ms.map(Duration::from_millis), "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_counts_and_ends_the_call() {
        // What the layer gives a call, what it asked for, and when it ends.
        for (layer, asked, ends) in [(5, None, 5), (5, Some("2S"), 2), (5, Some("9S"), 5), (5, Some("soon"), 5)] {
            let hangs = service_fn(async |request: Request| {
                let seconds = request.headers()[GRPC_TIMEOUT].to_str().ok().and_then(parse).unwrap();
                // It hears of what is left, not of what was asked for.
                assert!(seconds <= Duration::from_secs(5));
                std::future::pending::<Result<http::Response<Body>, Infallible>>().await
            });
            let mut request = Request::new(Body::empty());
            if let Some(asked) = asked {
                request.headers_mut().insert(GRPC_TIMEOUT, asked.parse().unwrap());
            }
            let start = Instant::now();
            let answer = DeadlineLayer::new(Duration::from_secs(layer)).layer(hangs).oneshot(request).await;
            assert_eq!(code(answer).await, Code::DeadlineExceeded);
            assert_eq!(start.elapsed().as_secs(), ends, "{layer} {asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_hangs_is_ended_as_well() {
        let begins = service_fn(async |_: Request| {
            let body = http_body_util::StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
            Ok::<_, Infallible>(http::Response::new(Body::new(body)))
        });
        let start = Instant::now();
        let layered = DeadlineLayer::new(Duration::from_secs(5)).layer(begins);
        let answer = layered.oneshot(Request::new(Body::empty())).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "the head is there at once");
        assert_eq!(code(answer).await, Code::DeadlineExceeded);
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
