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
/// The fields that say after what a stream goes on, and how far it is.
const AFTER_REVISION: &str = "after_revision";
const AFTER_HASH: &str = "after_hash";
const REVISION: &str = "revision";
const HASH: &str = "hash";

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

/// The fields of a request that say after what its stream goes on, if it has them.
pub(crate) fn start(of: &MessageDescriptor) -> Option<(FieldDescriptor, FieldDescriptor)> {
    of.get_field_by_name(AFTER_REVISION).zip(of.get_field_by_name(AFTER_HASH))
}

/// Has a stream go on after the last event that its caller has, wherever the request would begin.
pub(crate) fn resume(of: &MessageDescriptor, headers: &HeaderMap, message: &mut Vec<u8>) -> Result<(), Refusal> {
    let Some((after_revision, after_hash)) = start(of) else { return Ok(()) };
    let mut given = headers.get_all(LAST_EVENT_ID).iter().filter(|last| !last.is_empty());
    let Some(last) = given.next() else { return Ok(()) };
    let point = last.to_str().ok().and_then(Point::read).filter(|_| given.next().is_none());
    let Point { revision, hash } = point.ok_or_else(|| Refusal::invalid(LAST_EVENT_ID, "is the id of no event"))?;
    // In place of what the request would begin with: of a field that comes again, the last one counts.
    prost::encoding::int64::encode(after_revision.number(), &revision, message);
    prost::encoding::bytes::encode(after_hash.number(), &hash, message);
    Ok(())
}

/// How far a stream is, as the id of an event says it: `7-9f86d0...`, the revision and the hash. The hash is why a stream does not go on
/// behind a revision that is another one since the registry was restored.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    revision: i64,
    /// Empty if it is not known.
    hash: Vec<u8>,
}

impl Point {
    /// Reads an id; the revision alone is one as well.
    fn read(id: &str) -> Option<Self> {
        let (revision, hash) = id.split_once('-').map_or((id, None), |(revision, hash)| (revision, Some(hash)));
        let revision = revision.parse().ok().filter(|_| revision.bytes().all(|digit| digit.is_ascii_digit()))?;
        let hash = match hash {
            None => Vec::new(),
            Some(hash) => hex::decode(hash).ok().filter(|hash| !hash.is_empty())?,
        };
        Some(Self { revision, hash })
    }
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
    /// The fields of it that say how far the stream is.
    point: Option<(u32, u32)>,
}

impl Messages {
    pub(crate) fn new(schema: &Arc<Schema>, route: &Route, form: Form) -> Self {
        let output = route.rpc.output();
        let fields = output.oneofs().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
        let number = |of: &MessageDescriptor, field| of.get_field_by_name(field).map(|field| field.number());
        let member = |field: FieldDescriptor| match field.kind() {
            Kind::Message(of) => Some(Member {
                number: field.number(),
                name: field.json_name().to_owned(),
                of: schema.message(of.full_name())?,
                point: number(&of, REVISION).zip(number(&of, HASH)),
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
                    if let Some((revision, hash)) = member.point {
                        // A revision of 0, that of an empty registry, is not written in protobuf.
                        let revision = Schema::varint(inside, revision).unwrap_or_default();
                        let hash = Schema::bytes(inside, hash).filter(|hash| !hash.is_empty());
                        let hash = hash.map(|hash| format!("-{}", registry_common::hex(hash))).unwrap_or_default();
                        out.extend(format!("id: {revision}{hash}\n").bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_revision_and_perhaps_its_hash() {
        let point = |revision, hash: &[u8]| Some(Point { revision, hash: hash.to_vec() });
        assert_eq!(Point::read("7"), point(7, &[]));
        assert_eq!(Point::read("0-00ff"), point(0, &[0, 255]));
        for id in ["", "-", "7-", "7-0", "7-xy", "-7", "+7", "7-00-00", "9223372036854775808", "7 "] {
            assert_eq!(Point::read(id), None, "{id}");
        }
    }
}
