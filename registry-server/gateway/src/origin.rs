//! Who may call from a browser: which pages, and under which names of this server.
//!
//! A page of another site makes its readers' browsers call here, too. A name that its owner lets point at this server ("DNS rebinding")
//! makes such a page one of this server's own, if any name is as good as another.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};
use http::uri::Authority;
use http::{StatusCode, Uri};
use registry_common::shown::quoted;
use registry_proto::v1::ErrorReason;
use tonic::Code;

use crate::refusal::Refusal;

/// Names under these are nobody's to give away: they are not on the public internet.
const PRIVATE: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "test", "lan"];

/// Which names and pages are this server's.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Names that the server is reached by beside its addresses, those without a dot, and those that are not on the public internet.
    pub hosts: Vec<String>,
    /// Whether it may be reached by any name: callers prove who they are in every call, so that a page gains nothing by it.
    pub any_host: bool,
    /// Pages of other sites that may call: `https://models.example.com`.
    pub pages: Vec<String>,
    /// Whether its port has TLS.
    pub has_tls: bool,
}

impl Origins {
    /// Why a request may not come from where it comes, if it may not: for ports of other services.
    pub fn refusal(&self, headers: &HeaderMap, uri: &Uri) -> Option<String> {
        self.check(headers, uri).err().map(|refusal| refusal.to_string())
    }

    /// Whether a request may come from where it comes.
    pub(crate) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let authority = authority(headers, uri)?;
        if !self.any_host && !self.knows(authority.host()) {
            let message = format!(
                "the server is not known as {}; if it is meant, name it in --http-host",
                quoted(authority.host())
            );
            return Err(Refusal::of(
                StatusCode::MISDIRECTED_REQUEST,
                Code::PermissionDenied,
                ErrorReason::HostUnknown,
                message,
            ));
        }
        let mut origins = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or("?"));
        let Some(origin) = origins.next() else { return Ok(()) };
        let origin = if origins.next().is_some() { "several" } else { origin };
        let own = origin.split_once("://").is_some_and(|(scheme, host)| {
            ["http", "https"].contains(&scheme) && host.eq_ignore_ascii_case(authority.as_str())
        });
        if own || self.pages.iter().any(|page| page == origin) {
            return Ok(());
        }
        let message =
            format!("pages of {} may not call; if they are meant to, name it in --http-origin", quoted(origin));
        Err(Refusal::of(StatusCode::FORBIDDEN, Code::PermissionDenied, ErrorReason::OriginRefused, message))
    }

    /// What the server's own addresses begin with for a caller. Where a proxy has the TLS, it says so.
    pub(crate) fn scheme(&self, headers: &HeaderMap) -> &'static str {
        let is_https = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
        if self.has_tls || is_https { "https" } else { "http" }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let top = |suffix: &&str| host.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        address.parse::<IpAddr>().is_ok()
            || !host.contains('.')
            || PRIVATE.iter().any(top)
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(&host))
    }
}

/// The name that a caller has for the server.
pub(crate) fn authority(headers: &HeaderMap, uri: &Uri) -> Result<Authority, Refusal> {
    let unknown = || Refusal::invalid("host", "must say once, and as a name or an address, whom the request is for");
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(unknown());
    }
    // In HTTP/2 it is a part of the address.
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(|_| unknown())?,
        (None, None) => return Err(unknown()),
    };
    let has_name = !authority.host().trim_matches('.').is_empty();
    // What stands behind the name is a port or nothing; before it, nobody.
    let is_plain = authority.as_str().len() == authority.host().len() || authority.port_u16().is_some();
    if has_name && is_plain && !authority.as_str().contains('@') { Ok(authority) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(origins: &Origins, host: &str, origin: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        origins.check(&headers, &Uri::from_static("/v1/namespaces")).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn a_name_that_somebody_else_may_own_is_not_the_servers() {
        let origins = Origins { hosts: vec!["models.example.com".to_owned()], ..Origins::default() };
        for host in [
            "127.0.0.1:50051",
            "[::1]:50051",
            "10.1.2.3",
            "localhost",
            "LOCALHOST.:1",
            "registry:50051",
            "a.localhost",
            "registry.risk.svc.cluster.local",
            "models.example.com",
            "Models.Example.com:443",
        ] {
            assert_eq!(said(&origins, host, None), None, "{host}");
        }
        for host in ["evil.example.com", "127.0.0.1.evil.com", "localhost.evil.com", "xlocal.com", "evil.notlocal"] {
            let refused = said(&origins, host, None);
            assert!(refused.is_some_and(|refused| refused.contains("--http-host")), "{host}");
        }
        for host in
            ["", ".", ":80", "localhost:", "localhost:x", "localhost:99999", "a@localhost", "localhost/evil", "a b"]
        {
            assert!(said(&origins, host, None).is_some(), "{host}");
        }
        assert_eq!(said(&Origins { any_host: true, ..Origins::default() }, "evil.example.com", None), None);
    }

    #[test]
    fn a_page_is_of_this_server_or_of_one_that_is_named() {
        let origins = Origins { pages: vec!["https://ui.example.com".to_owned()], ..Origins::default() };
        for origin in ["http://localhost:50051", "https://localhost:50051", "https://ui.example.com"] {
            assert_eq!(said(&origins, "localhost:50051", Some(origin)), None, "{origin}");
        }
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "https://evil.example.com",
            "null",
            "http://ui.example.com",
            "evil://localhost:50051",
            "https://ui.example.com.evil.com",
            "",
            "http://localhost:50051/",
        ] {
            let refused = said(&origins, "localhost:50051", Some(origin));
            assert!(refused.is_some_and(|refused| refused.contains("--http-origin")), "{origin}");
        }
    }
}
