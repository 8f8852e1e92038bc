//! `/metrics`, as Prometheus asks for it: a call of `GetMetrics`, with the permissions that it takes.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use http_body::Body as HttpBody;
use registry_proto::v1 as pb;
use tonic::Status;
use tower::Service;

use crate::body::{Body, answer as with_body, full};
use crate::call::unary;
use crate::pages::is_read;
use crate::refusal::Refusal;

/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// The format that a request wants: OpenMetrics if it takes that at least as gladly as text, as Prometheus does.
pub fn wanted(headers: &HeaderMap) -> pb::MetricsFormat {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open, mut text) = (0.0_f32, 0.0_f32);
    for one in accepted.flat_map(|value| value.split(',')) {
        let mut parts = one.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        match media.as_str() {
            OPEN_METRICS => open = open.max(quality),
            "text/plain" | "text/*" | "*/*" => text = text.max(quality),
            _ => {}
        }
    }
    if open > 0.0 && open >= text { pb::MetricsFormat::OpenMetrics } else { pb::MetricsFormat::Prometheus }
}

/// The answer to a request for metrics.
pub(crate) async fn answer<S, B>(service: S, parts: &request::Parts) -> Result<Response<Body>, Refusal>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    is_read(&parts.method, parts.uri.path())?;
    let get = pb::GetMetricsRequest { format: wanted(&parts.headers).into() };
    let pb::GetMetricsResponse { content_type, text } = unary(service, parts, &get).await?;
    let mut response = with_body(StatusCode::OK, "text/plain", full(text));
    if let Ok(content_type) = HeaderValue::try_from(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        use pb::MetricsFormat::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            (None, Prometheus),
            (Some("*/*"), Prometheus),
            (Some("text/plain"), Prometheus),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), OpenMetrics),
            // Prometheus 2.42's own.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            (Some("application/openmetrics-text;q=0.5, text/plain"), Prometheus),
            (Some("application/openmetrics-text;q=0"), Prometheus),
            (Some("application/json"), Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(wanted(&headers), expected, "{accept:?}");
        }
    }
}
