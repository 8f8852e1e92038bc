//! Which servers of a client are in use.

use super::circuit::State;
use crate::RegistryClient;

/// A server of a client, and whether it is used: see [`RegistryClient::endpoints`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it is, as the program said.
    pub name: String,
    /// Whether it is used.
    pub state: EndpointState,
}

/// Whether a server is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointState {
    /// It takes its share of the calls.
    InUse,
    /// It was unavailable, and is left alone for up to five seconds at a time.
    Ejected,
    /// It is being asked whether it is back.
    Asked,
}

impl RegistryClient {
    /// The servers of this client, and which of them are in use: for a status page, or a metric.
    ///
    /// A server that answers `UNAVAILABLE`, or to which the connection breaks, is ejected at once; the calls go to the others. It is asked
    /// by its health service whether it is back, while there are calls, and used again when it says so. If all of them are ejected, calls
    /// are still made, and those that may be repeated wait: see [`RetryPolicy`](crate::RetryPolicy).
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let state = |state: State| match state {
            State::Closed => EndpointState::InUse,
            State::Open { .. } => EndpointState::Ejected,
            State::HalfOpen { .. } => EndpointState::Asked,
        };
        let names = self.servers().map(str::to_owned);
        names.zip(self.server_states()).map(|(name, stands)| Endpoint { name, state: state(stands) }).collect()
    }
}
