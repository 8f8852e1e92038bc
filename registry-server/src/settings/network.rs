//! Networks, as people write them.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A network (`10.1.0.0/16`, `fd00::/8`) or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(|_| address());
        let network =
            network.map_err(|_| format!("{text:?} is no network: expected ADDRESS/BITS, such as 10.0.0.0/8"))?;
        // What stands behind the network's bits is most often a mistake about their number.
        if network != network.trunc() {
            return Err(format!(
                "{text:?} is an address in a network: write {} or {}/{}",
                network.trunc(),
                network.addr(),
                network.max_prefix_len()
            ));
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_bits() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for (text, said) in [
            ("", "\"\" is no network"),
            ("10.0.0.0/33", "\"10.0.0.0/33\" is no network"),
            ("localhost", "\"localhost\" is no network"),
            ("10.1.2.3/8", "\"10.1.2.3/8\" is an address in a network: write 10.0.0.0/8 or 10.1.2.3/32"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
