//! Names of this server and addresses of other sites, as people write them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// A name that this server is reached by: `models.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(pub(crate) String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A star, which the standard of URLs lets pass, stands for nothing here.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        match Host::parse(text) {
            Ok(Host::Domain(name)) if is_plain && name.eq_ignore_ascii_case(text) => Ok(Self(name)),
            _ => Err(format!("{text:?} is no name of a host: expected one without a port, such as models.example.com")),
        }
    }
}

/// Where pages come from: `https://models.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebOrigin(pub(crate) String);

impl FromStr for WebOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let origin = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        match origin.map(|url| url.origin().ascii_serialization()).filter(|origin| origin == text) {
            Some(origin) => Ok(Self(origin)),
            None => {
                Err(format!("{text:?} is no origin: expected https://HOST or https://HOST:PORT, and nothing behind it"))
            }
        }
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl Display for HostName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WebOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<WebOrigin> for String {
    fn from(origin: WebOrigin) -> Self {
        origin.0
    }
}

impl Display for WebOrigin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_an_origin_is_where_pages_come_from() {
        for text in ["models.example.com", "registry"] {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), text);
        }
        for text in ["", "a:1", "10.0.0.1", "[::1]", "https://a", "a/b", "*", "a b"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
        for text in ["https://a.example", "http://localhost:3000"] {
            assert_eq!(text.parse::<WebOrigin>().unwrap().to_string(), text);
        }
        for text in
            ["", "*", "null", "a.example", "https://a.example/", "https://A.example", "https://a:443", "ftp://a"]
        {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
    }
}
