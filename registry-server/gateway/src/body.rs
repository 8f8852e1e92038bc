//! Bodies of answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// The body of a request or an answer.
pub(crate) type Body = tonic::body::Body;

/// The type of JSON, in both directions.
pub(crate) const JSON: &str = "application/json";

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()))
}

/// An answer of JSON, with a line of its own on a terminal. No cache may keep it, and no browser may take it for anything else.
pub(crate) fn json(status: StatusCode, mut text: Vec<u8>) -> Response<Body> {
    text.push(b'\n');
    answer(status, JSON, full(text))
}

/// An answer of this type.
pub(crate) fn answer(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
