//! How calls come: from where, and by what their callers prove who they are. It is kept with every change.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{Extensions, HeaderMap, HeaderValue};
use registry_common::shown::cut;
use registry_proto::v1 as pb;

use super::wishes::{Caller, Credential};
use crate::connections::Peer;
use crate::rules::names::{Name, TOKENS};

/// How much is kept of what a client calls itself.
const AGENT_BYTES: usize = 256;

/// From where a call comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Came {
    address: Option<IpAddr>,
    agent: Option<HeaderValue>,
}

impl Came {
    pub(crate) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let address = extensions.get::<Peer>().and_then(|peer| peer.address);
        Self { address, agent: headers.get(USER_AGENT).cloned() }
    }

    /// That of the connection; `None` if it came over no network.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// As the contract has it.
    pub(crate) fn told(&self) -> pb::Caller {
        let agent = self.agent.as_ref().map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let user_agent = agent.map(|agent| cut(&agent, AGENT_BYTES)).unwrap_or_default();
        let address = self.address.map(|address| address.to_string()).unwrap_or_default();
        pb::Caller { address, user_agent, ..Default::default() }
    }
}

impl Caller {
    /// As the contract has it.
    pub(crate) fn told(&self) -> pb::Caller {
        self.credential.told(self.came.told())
    }
}

impl Credential {
    /// Tells what was shown.
    fn told(&self, caller: pb::Caller) -> pb::Caller {
        match self {
            Self::Token(id) => pb::Caller { token: Name::top(&TOKENS, id).to_string(), ..caller },
            Self::Jwt { issuer } => pb::Caller { issuer: issuer.to_string(), ..caller },
            Self::Certificate { name } => pb::Caller { certificate: name.to_string(), ..caller },
        }
    }
}

/// How a call came that has these headers and extensions.
pub(crate) fn caller_of(headers: &HeaderMap, extensions: &Extensions) -> pb::Caller {
    match extensions.get::<Arc<Caller>>() {
        Some(caller) => caller.told(),
        None => Came::of(headers, extensions).told(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_calls_itself_is_cut() {
        let told = |agent: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_bytes(agent).unwrap());
            caller_of(&headers, &Extensions::new()).user_agent
        };
        assert_eq!(told(b"grpcurl/1.9"), "grpcurl/1.9");
        assert_eq!(told(b"caf\xe9"), "caf\u{fffd}");
        let long = told("é".repeat(200).as_bytes());
        assert!(long.starts_with("éé") && long.ends_with("...") && long.len() <= AGENT_BYTES, "{long}");
    }
}
