//! Requests that can be sent again, because their body is small and held.

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use tonic::Status;
use tonic::body::Body;

use super::carry::Request;

/// What a request message may have in bytes so that it is held. The registry's own are mostly below a kilobyte.
pub(super) const HELD_BYTES: usize = 1 << 20;

/// A request whose body is held.
pub(super) struct Held {
    parts: http::request::Parts,
    body: Bytes,
}

impl Held {
    /// Holds a body of up to so many bytes. A request with a larger one comes back, to be sent once.
    pub(super) async fn hold(request: Request, limit: usize) -> Result<Result<Self, Request>, Status> {
        let (parts, mut body) = request.into_parts();
        let (mut pieces, mut size) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await.transpose()? {
            // The client of a call sends no trailers.
            let Ok(data) = frame.into_data() else { continue };
            size += data.len();
            pieces.push(data);
            if size > limit {
                let begun = stream::iter(pieces).map(|data| Ok(Frame::data(data)));
                let body = Body::new(StreamBody::new(begun.chain(BodyStream::new(body))));
                return Ok(Err(Request::from_parts(parts, body)));
            }
        }
        let body = match pieces.len() {
            1 => pieces.remove(0),
            _ => pieces
                .iter()
                .fold(BytesMut::with_capacity(size), |mut all, piece| {
                    all.extend_from_slice(piece);
                    all
                })
                .freeze(),
        };
        Ok(Ok(Self { parts, body }))
    }

    pub(super) fn request(&self) -> Request {
        Request::from_parts(self.parts.clone(), Body::new(Full::new(self.body.clone())))
    }
}
