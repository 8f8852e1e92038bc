//! What the URL of a webhook looks like.

use std::net::IpAddr;

use http::Uri;
use url::{Host, Url};

use super::addresses::Guard;

/// How long a URL may be, in bytes.
const BYTES: usize = 2048;

/// A URL that events can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    url: Url,
}

impl Target {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, to stand behind "url".
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(why.to_owned());
        if text.len() > BYTES {
            return Err(format!("has {} bytes; at most {BYTES} are allowed", text.len()));
        }
        // Blanks, line breaks and marks that nobody sees: what is shown would not be what is sent to.
        if !text.chars().all(|c| c.is_ascii_graphic() || c.is_alphanumeric()) {
            return refused("must have no blanks, control characters or signs beyond ASCII: write them as %20");
        }
        let Ok(url) = Url::parse(text) else { return refused("is not a URL") };
        if !matches!(url.scheme(), "https" | "http") {
            return refused("must begin with https://");
        }
        if url.host_str().unwrap_or_default().is_empty() || url.port() == Some(0) {
            return refused("must have a host, and no port 0");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("must not have a user or a password: whoever sees the webhook sees them");
        }
        if url.fragment().is_some() {
            return refused("must not have a fragment, which is not sent");
        }
        // What both libraries take for a URL.
        match url.as_str().parse::<Uri>() {
            Ok(_) => Ok(Self { url }),
            Err(_) => refused("is not a URL"),
        }
    }

    /// Whether it is sent to with TLS.
    fn tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Refuses what is certainly not allowed. What a name leads to is checked whenever something is sent.
    ///
    /// # Errors
    /// Why, to stand behind "url".
    pub(crate) fn check(&self, guard: &Guard) -> Result<(), String> {
        let literal = match self.url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match literal {
            Some(address) if guard.takes(address, self.tls()) => Ok(()),
            Some(address) if guard.takes(address, true) => {
                Err("must begin with https://, without which only addresses in the server's webhook_allow are sent to"
                    .to_owned())
            }
            Some(_) => Err("is not on the public internet, and not in the server's webhook_allow".to_owned()),
            None if self.tls() || guard.takes_plain() => Ok(()),
            None => Err("must begin with https://: the server's webhook_allow names no address".to_owned()),
        }
    }

    /// For a request.
    pub(super) fn uri(&self) -> Uri {
        self.url.as_str().parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_http_with_a_host_and_nothing_secret() {
        for text in [
            "https://example.com",
            "https://example.com:8443/hooks?key=1",
            "http://example.com/",
            "https://[2606:4700::1]/",
            "https://bücher.example/",
            "HTTPS://EXAMPLE.COM",
        ] {
            assert!(Target::parse(text).is_ok(), "{text}");
        }
        let long = format!("https://example.com/{}", "x".repeat(BYTES));
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://ana@example.com/",
            "https://ana:secret@example.com/",
            "https://:secret@example.com/",
            "https://example.com/#part",
            "https://example.com/a b",
            "https://example.com/\nx",
            "https://example.com/\u{202e}x",
            &long,
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_address_that_is_not_allowed_is_refused_in_every_spelling() {
        let public = Guard::default();
        let private = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        for (text, by_public, by_private) in [
            ("https://example.com/", true, true),
            ("http://example.com/", false, true),
            ("https://1.1.1.1/", true, true),
            ("http://1.1.1.1/", false, false),
            ("https://127.0.0.1/", false, true),
            ("http://127.0.0.1:8080/", false, true),
            ("http://127.1/", false, true),
            ("http://0x7f.0.0.1/", false, true),
            ("http://2130706433/", false, true),
            ("http://[::ffff:127.0.0.1]/", false, true),
            ("https://169.254.169.254/latest/meta-data", false, false),
            ("https://0xa9fea9fe/", false, false),
            ("https://[::ffff:10.0.0.1]/", false, false),
            ("https://[::1]/", false, false),
            ("https://[64:ff9b::a00:1]/", false, false),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.check(&public).is_ok(), by_public, "{text}");
            assert_eq!(target.check(&private).is_ok(), by_private, "{text}");
        }
    }
}
