//! What is known of connections, for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Exposition;
use tokio::sync::OwnedSemaphorePermit;

/// How many connections there are, and were refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measures {
    pub(super) most: Gauge,
    open: Gauge,
    pub(super) refused: Counter,
    pub(super) without_tls: Counter,
}

impl Measures {
    /// Has them told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        to.register("connections_limit", "Connections that there may be at once; others are closed", self.most.clone());
        to.register("connections", "Connections that there are", self.open.clone());
        let refused = "Connections that were closed at once, because there were as many as there may be";
        to.register("connections_refused", refused, self.refused.clone());
        let without_tls = "Connections that did not come to a handshake of TLS, where there has to be one";
        to.register("tls_handshakes_failed", without_tls, self.without_tls.clone());
    }

    /// A connection has a place.
    pub(super) fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        self.open.inc();
        Place { _permit: permit, open: self.open.clone() }
    }
}

/// The place of a connection.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
