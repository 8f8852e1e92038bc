//! Answers that are streams: as events for browsers (`text/event-stream`), or as a line of JSON for each message.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::header::{ACCEPT, HeaderMap};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::StreamBody;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use tokio::time::timeout;
use tonic::Status;

use crate::body::{Body, answer};
use crate::call::Frames;
use crate::refusal::Refusal;
use crate::routes::Route;
use crate::schema::{MessageAt, Schema};

/// How long a stream of events says nothing before it says that it is there. Proxies close what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The last event that a browser has, which it sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";
/// The field that a stream goes on after, and the one that says how far it is.
const AFTER_REVISION: &str = "after_revision";
const REVISION: &str = "revision";

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events.
    Events,
    /// A message on each line.
    Lines,
}

impl Form {
    /// What a caller takes.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut types = accepted.flat_map(|accepted| accepted.split(','));
        let is_wanted = |one: &str| {
            let (of, how) = one.split_once(';').unwrap_or((one, ""));
            of.trim().eq_ignore_ascii_case("text/event-stream") && how.replace(' ', "") != "q=0"
        };
        if types.any(is_wanted) { Self::Events } else { Self::Lines }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// Has a stream go on after the last event that its caller has, wherever the request would begin.
pub(crate) fn resume(of: &MessageDescriptor, headers: &HeaderMap, message: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some(field) = of.get_field_by_name(AFTER_REVISION) else { return Ok(()) };
    let mut given = headers.get_all(LAST_EVENT_ID).iter().filter(|last| !last.is_empty());
    let Some(last) = given.next() else { return Ok(()) };
    let revision = last.to_str().ok().filter(|last| last.bytes().all(|digit| digit.is_ascii_digit()));
    let revision = revision.and_then(|last| last.parse::<i64>().ok()).filter(|_| given.next().is_none());
    let revision = revision.ok_or_else(|| Refusal::invalid(LAST_EVENT_ID, "is no revision"))?;
    // In place of what the request would begin with: of one oneof, the last one counts.
    prost::encoding::int64::encode(field.number(), &revision, message);
    Ok(())
}

/// What the messages of a stream look like.
pub(crate) struct Messages {
    schema: Arc<Schema>,
    form: Form,
    whole: MessageAt,
    /// Where a message is one of several, those.
    members: Vec<Member>,
}

/// One of several messages that a message may be.
struct Member {
    number: u32,
    name: String,
    of: MessageAt,
    /// The field of it that says how far the stream is.
    revision: Option<u32>,
}

impl Messages {
    pub(crate) fn new(schema: &Arc<Schema>, route: &Route, form: Form) -> Self {
        let output = route.rpc.output();
        let fields = output.oneofs().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
        let member = |field: FieldDescriptor| match field.kind() {
            Kind::Message(of) => Some(Member {
                number: field.number(),
                name: field.json_name().to_owned(),
                of: schema.message(of.full_name())?,
                revision: of.get_field_by_name(REVISION).map(|revision| revision.number()),
            }),
            _ => None,
        };
        Self { schema: Arc::clone(schema), form, whole: route.output, members: fields.filter_map(member).collect() }
    }

    /// The answer, with a last word if it fails.
    pub(crate) fn response<B>(self, frames: Frames<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let form = self.form;
        let frames = self.written(frames).map(|text| Ok::<_, Status>(Frame::data(text)));
        let mut response = answer(StatusCode::OK, form.media_type(), Body::new(StreamBody::new(frames)));
        // Some proxies keep an answer until they have all of it.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }

    fn written<B>(self, frames: Frames<B>) -> impl Stream<Item = Bytes> + Send
    where
        B: HttpBody<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        stream::unfold(Some((self, frames)), |state| async {
            let (messages, mut frames) = state?;
            // A message that is waited for is not lost: what has come of it stays in the frames.
            let next = match messages.form {
                Form::Lines => frames.next().await,
                Form::Events => match timeout(HEARTBEAT, frames.next()).await {
                    Ok(next) => next,
                    Err(_) => return Some((Bytes::from_static(b":\n\n"), Some((messages, frames)))),
                },
            };
            let written = match next {
                Ok(None) => return None,
                Ok(Some(message)) => messages.write(&message),
                Err(status) => Err(status),
            };
            match written {
                Ok(text) => Some((text, Some((messages, frames)))),
                Err(status) => Some((messages.end(status), None)),
            }
        })
    }

    fn write(&self, message: &[u8]) -> Result<Bytes, Status> {
        let mut out = Vec::with_capacity(2 * message.len());
        let unwritable = |_| Status::internal("the answer has no form in JSON");
        match self.form {
            Form::Lines => self.schema.write(&mut out, self.whole, message).map_err(unwritable)?,
            Form::Events => match self.member(message) {
                Some((member, inside)) => {
                    out.extend(format!("event: {}\n", member.name).bytes());
                    let revision = member.revision.and_then(|number| Schema::varint(inside, number));
                    if let Some(revision) = revision {
                        out.extend(format!("id: {revision}\n").bytes());
                    }
                    out.extend(b"data: ");
                    self.schema.write(&mut out, member.of, inside).map_err(unwritable)?;
                    out.push(b'\n');
                }
                None => {
                    out.extend(b"data: ");
                    self.schema.write(&mut out, self.whole, message).map_err(unwritable)?;
                    out.push(b'\n');
                }
            },
        }
        out.push(b'\n');
        Ok(out.into())
    }

    /// The last word of a stream that fails: its status was OK when it began.
    fn end(&self, status: Status) -> Bytes {
        let error = Refusal::from(status).to_json(&self.schema);
        match self.form {
            Form::Lines => [&error[..], b"\n"].concat().into(),
            Form::Events => [b"event: error\ndata: ", &error[..], b"\n\n"].concat().into(),
        }
    }

    /// Which one of several a message is, and what is in it.
    fn member<'a>(&self, message: &'a [u8]) -> Option<(&Member, &'a [u8])> {
        let (number, inside) = Schema::only(message)?;
        Some((self.members.iter().find(|member| member.number == number)?, inside))
    }
}
