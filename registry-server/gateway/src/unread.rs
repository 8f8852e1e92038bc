//! What nobody has read of the body of a request. Over HTTP/1 the next request comes behind it: either it is read away, or the answer says
//! that the connection ends with it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use tonic::Status;

use crate::body::Body;

/// The longest rest of a body that is read away.
const BYTES: u64 = 64 << 10;
/// How long to wait for that rest.
const PATIENCE: Duration = Duration::from_millis(500);

type Left = Arc<Mutex<Option<Body>>>;

/// The body of a request, which is kept when nobody reads it any more.
struct Kept {
    body: Option<Body>,
    left: Left,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

/// What will be left of a body.
pub(crate) struct Unread {
    left: Left,
    /// The caller sends it only when the server begins to read.
    is_held_back: bool,
}

/// The body of a request with these headers, and what will be left of it.
pub(crate) fn kept(headers: &HeaderMap, body: Body) -> (Body, Unread) {
    let left = Left::default();
    let unread = Unread { left: Arc::clone(&left), is_held_back: headers.contains_key(EXPECT) };
    (Body::new(Kept { body: Some(body), left }), unread)
}

impl Unread {
    /// The answer, behind which the connection can be used again or is said to end.
    pub(crate) async fn behind(self, mut answer: Response<Body>) -> Response<Body> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What is still being read is its reader's.
        let Some(left) = left.filter(|left| !left.is_end_stream()) else { return answer };
        if self.is_held_back || !read(left).await {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// Reads a body to its end, if that is near.
async fn read(mut body: Body) -> bool {
    if body.size_hint().lower() > BYTES {
        return false;
    }
    let to_end = async {
        let mut bytes = 0;
        while bytes <= BYTES {
            match body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            }
        }
        false
    };
    timeout(PATIENCE, to_end).await.unwrap_or(false)
}
