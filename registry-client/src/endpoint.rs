//! Endpoints as they are written.

use std::borrow::Cow;

use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::Scheme;

/// An endpoint as a URL: a host and a port alone are of `http`.
pub(crate) fn url(text: &str) -> Cow<'_, str> {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && !matches!(host, "" | "unix") && !host.contains('/') => {
            format!("http://{text}").into()
        }
        _ => text.into(),
    }
}

/// Whether an endpoint is of `https`.
pub(crate) fn is_https(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// What is wrong with an endpoint. Whatever of it would not be used is refused: it was written for a purpose.
pub(crate) fn problem_of(text: &str, uri: &Uri) -> Option<String> {
    let unused = |part: &str| Some(format!("has {part}, which would not be used"));
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), _) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
            Some(format!("the scheme {scheme} is unknown, expected http or https"))
        }
        (Some(_), Some(authority)) if authority.as_str().contains('@') => unused("a user or a password"),
        (Some(_), Some(authority)) if authority.host().is_empty() => Some("names no host".to_owned()),
        (Some(_), Some(authority)) if authority.host().len() < authority.as_str().len() && uri.port_u16().is_none() => {
            Some("the port is not a number up to 65535".to_owned())
        }
        (Some(_), Some(_)) if text.contains('#') => unused("a fragment"),
        (Some(_), Some(_)) if uri.query().is_some() => unused("a query"),
        (Some(_), Some(_)) if !matches!(uri.path(), "" | "/") => unused("a path"),
        (Some(_), Some(_)) => None,
        _ => Some("not a URL such as http://127.0.0.1:50051".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_of_http() {
        for text in ["localhost:50051", "127.0.0.1:1", "[::1]:50051", "registry.example:443", "ana:secret@localhost:1"]
        {
            assert_eq!(url(text), format!("http://{text}"));
        }
        for text in
            ["localhost", "http://localhost:50051", "https://[::1]:1", "unix:/run/1", "localhost:http", ":50051", ""]
        {
            assert_eq!(url(text), text);
            assert_eq!(is_https(text), text == "https://[::1]:1", "{text}");
        }
        assert!(is_https("HTTPS://Registry"));
    }

    #[test]
    fn whatever_of_an_endpoint_would_not_be_used_is_refused() {
        for right in [
            "http://localhost",
            "https://registry.example/",
            "http://127.0.0.1:50051",
            "http://[::1]:50051/",
            "HTTP://Registry:0",
        ] {
            assert_eq!(problem_of(right, &right.parse().unwrap()), None, "{right}");
        }
        for (wrong, problem) in [
            ("localhost", "not a URL"),
            ("/run/registry", "not a URL"),
            ("grpc://localhost:50051", "the scheme grpc is unknown"),
            ("http://ana:secret@localhost", "a user or a password"),
            ("https://ana@localhost", "a user or a password"),
            ("http://localhost/registry", "a path"),
            ("http://localhost/?token=secret", "a query"),
            ("http://localhost#secret", "a fragment"),
            ("http://localhost:", "the port"),
            ("http://localhost:99999", "the port"),
            ("http://localhost:http", "the port"),
            ("http://:50051", "names no host"),
        ] {
            let Ok(uri) = wrong.parse() else { continue };
            let found = problem_of(wrong, &uri).unwrap_or_else(|| panic!("{wrong} is taken"));
            assert!(found.contains(problem) && !found.contains("secret"), "{wrong}: {found}");
        }
    }
}
