//! What a browser finds: the contract, and two ways to read it. Nothing is loaded from elsewhere.

mod reference;

use std::io::Read as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HeaderMap, IF_NONE_MATCH, LOCATION, VARY,
};
use http::header::{ETAG, REFERRER_POLICY};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::body::{Body, JSON, answer, full};
use crate::refusal::Refusal;

/// The contract.
const OPENAPI: &[u8] = include_bytes!("../../docs/openapi.json");
/// What the pages may do: scripts of this server alone. The reader writes styles into its elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static REFERENCE: LazyLock<Bytes> = LazyLock::new(|| reference::html(OPENAPI).into());

/// A page, as it is kept.
enum Page {
    Plain(&'static str, Bytes),
    /// Packed by gzip.
    Packed(&'static str, &'static [u8]),
    /// Somewhere else.
    At(&'static str),
}

fn page(path: &str) -> Option<Page> {
    let packed = |of, bytes| Page::Packed(of, bytes);
    Some(match path {
        "/" | "/docs" => Page::At("/docs/"),
        "/docs/" => Page::Plain(HTML, Bytes::from_static(include_bytes!("pages/swagger.html"))),
        "/docs/start.js" => Page::Plain(SCRIPT, Bytes::from_static(include_bytes!("pages/start.js"))),
        "/docs/swagger-ui-bundle.js" => {
            packed(SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")))
        }
        "/docs/swagger-ui.css" => packed(STYLE, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
        "/docs/reference" => Page::Plain(HTML, REFERENCE.clone()),
        "/openapi.json" => Page::Plain(JSON, Bytes::from_static(OPENAPI)),
        _ => return None,
    })
}

/// The answer to a request for how the server is.
pub(crate) fn health(method: &Method, is_well: bool) -> Result<Response<Body>, Refusal> {
    is_read(method, "/healthz")?;
    let (status, text) =
        if is_well { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") };
    Ok(answer(status, "text/plain; charset=utf-8", full(text)))
}

/// Refuses to do something else at a path than to read what is there.
pub(crate) fn is_read(method: &Method, path: &str) -> Result<(), Refusal> {
    match [Method::GET, Method::HEAD].contains(method) {
        true => Ok(()),
        false => Err(Refusal::no_method(method, path, "GET, HEAD")),
    }
}

/// The answer to a request for a page, if there is one at its path.
pub(crate) fn at(path: &str, method: &Method, headers: &HeaderMap) -> Option<Result<Response<Body>, Refusal>> {
    let page = page(path)?;
    if let Err(refusal) = is_read(method, path) {
        return Some(Err(refusal));
    }
    Some(Ok(match page {
        Page::At(place) => {
            let mut response = answer(StatusCode::PERMANENT_REDIRECT, HTML, Body::empty());
            response.headers_mut().insert(LOCATION, HeaderValue::from_static(place));
            response
        }
        Page::Plain(of, bytes) => kept(of, bytes, headers),
        Page::Packed(of, packed) if takes_gzip(headers) => {
            let mut response = kept(of, Bytes::from_static(packed), headers);
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Page::Packed(of, packed) => {
            let mut bytes = Vec::new();
            // It was packed when this was built.
            let _ = GzDecoder::new(packed).read_to_end(&mut bytes);
            kept(of, bytes.into(), headers)
        }
    }))
}

/// A page that a browser may keep as long as it asks whether it is still the same.
fn kept(of: &'static str, bytes: Bytes, headers: &HeaderMap) -> Response<Body> {
    let etag = format!("\"{}-{}\"", env!("CARGO_PKG_VERSION"), bytes.len());
    let is_same = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == etag.as_bytes());
    let mut response = match is_same {
        true => answer(StatusCode::NOT_MODIFIED, of, Body::empty()),
        false => answer(StatusCode::OK, of, full(bytes)),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    response
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| one.trim() == "gzip" || one.trim().starts_with("gzip;q=0."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_load_nothing_from_elsewhere_and_have_no_scripts_in_them() {
        for html in [include_str!("pages/swagger.html"), str::from_utf8(&REFERENCE).expect("it is text")] {
            let scripts = html.match_indices("<script").count();
            assert_eq!(scripts, html.match_indices("<script src=\"").count());
            for place in html.split("src=\"").skip(1).chain(html.split("<link rel=\"stylesheet\" href=\"").skip(1)) {
                assert!(!place.starts_with("http") && !place.starts_with("//"), "{place:.40}");
            }
            assert!(!html.contains(" onclick") && !html.contains("javascript:"));
        }
    }

    #[test]
    fn what_is_packed_is_sent_plain_to_who_can_not_unpack_it() {
        let sent = |accepts: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(accepts) = accepts {
                headers.insert(ACCEPT_ENCODING, accepts.parse().unwrap());
            }
            let response = at("/docs/swagger-ui.css", &Method::GET, &headers).unwrap().unwrap();
            let size = http_body::Body::size_hint(response.body()).exact().unwrap();
            (response.headers().get(CONTENT_ENCODING).is_some(), size)
        };
        let (is_packed, plain) = sent(None);
        assert!(!is_packed && plain > 100_000);
        let (is_packed, packed) = sent(Some("deflate, gzip, br"));
        assert!(is_packed && packed < plain);
        assert!(!sent(Some("br")).0 && !sent(Some("gzip;q=0")).0);
    }
}
