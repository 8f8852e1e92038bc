//! Where to listen, as people write it.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use rustix::net::sockopt::set_ipv6_v6only;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, lookup_host};

use super::units::Written;

/// A host and a port: `127.0.0.1:50051`, `localhost:50051`, `[::]:50051`; `:50051` is every interface, `50051` this machine alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Listen {
    /// A name or an address; `None` is every interface, over IPv6 and IPv4.
    host: Option<String>,
    port: u16,
}

const EXAMPLES: &str =
    "expected HOST:PORT, such as 127.0.0.1:50051, localhost:50051, [::1]:50051, or :50051 for every interface";

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |problem: &str| format!("{text:?} {problem}: {EXAMPLES}");
        let port = |port: &str| port.parse::<u16>().map_err(|_| refused("has no port from 0 to 65535"));
        if text.contains("://") || text.contains('/') {
            return Err(refused("is no address"));
        }
        let Some((host, after)) = text.rsplit_once(':') else {
            let this_machine = Some(Ipv4Addr::LOCALHOST.to_string());
            return Ok(Self { host: this_machine, port: port(text)? });
        };
        let port = port(after)?;
        if host.is_empty() {
            return Ok(Self { host: None, port });
        }
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match in_brackets {
            Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
            None if !host.contains([':', '[', ']']) && !host.contains(char::is_whitespace) => host,
            _ => return Err(refused("is no address")),
        };
        Ok(Self { host: Some(host.to_owned()), port })
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { host: Some(address.ip().to_string()), port: address.port() }
    }
}

impl Display for Listen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

impl TryFrom<Written> for Listen {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        written.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl Listen {
    /// Takes the address. Nobody can connect before the socket listens.
    ///
    /// # Errors
    /// If the name is unknown, or the address is not this machine's or is in use.
    pub async fn bind(&self) -> io::Result<TcpSocket> {
        let Some(host) = &self.host else { return self.bind_everywhere() };
        let mut addresses: Vec<_> = lookup_host((host.as_str(), self.port)).await?.collect();
        // `localhost` is both: clients that are told of 127.0.0.1 find the server.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// On both families with one socket or, on a machine without IPv6, on IPv4.
    fn bind_everywhere(&self) -> io::Result<TcpSocket> {
        let both = || {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, false)?;
            socket.set_reuseaddr(true)?;
            socket.bind((Ipv6Addr::UNSPECIFIED, self.port).into())?;
            Ok(socket)
        };
        both().or_else(|error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => bind((Ipv4Addr::UNSPECIFIED, self.port).into()),
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // A server that starts again is not kept out by connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for (text, shown) in [
            ("127.0.0.1:50051", "127.0.0.1:50051"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("localhost:0", "localhost:0"),
            ("[::]:50051", "[::]:50051"),
            ("[::1]:50051", "[::1]:50051"),
            (":50051", ":50051"),
            ("50051", "127.0.0.1:50051"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), shown);
            assert_eq!(shown.parse(), Ok(listen));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_examples() {
        for wrong in [
            "",
            "localhost",
            "127.0.0.1",
            ":",
            ":http",
            "65536",
            "localhost:65536",
            "::1:50051",
            "[::1]",
            "[nonsense]:1",
            "http://127.0.0.1:50051",
            "a b:1",
        ] {
            let said = wrong.parse::<Listen>().unwrap_err();
            assert!(said.contains("127.0.0.1:50051, localhost:50051"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_every_interface_answers() {
        for text in ["localhost:0", "127.0.0.1:0", ":0", "0"] {
            let socket = text.parse::<Listen>().unwrap().bind().await.unwrap();
            let listener = socket.listen(1).unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        let unknown = "a.name.that.is.invalid:0".parse::<Listen>().unwrap();
        assert!(unknown.bind().await.is_err());
    }
}
