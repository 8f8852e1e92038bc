//! What goes to the chunks and comes from them, for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry as Exposition, Unit};

/// Chunks and their bytes, as they are without encryption.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measures {
    written: Moved,
    read: Moved,
}

#[derive(Debug, Clone, Default)]
struct Moved {
    chunks: Counter,
    bytes: Counter,
}

impl Moved {
    fn add(&self, bytes: usize) {
        self.chunks.inc();
        self.bytes.inc_by(bytes as u64);
    }
}

impl Measures {
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.add(bytes);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.read.add(bytes);
    }

    /// Has them told of.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        let written = "Chunks that were stored: of an upload, those that were not there yet";
        to.register("chunks_written", written, self.written.chunks.clone());
        to.register_with_unit("chunks_written", "Their bytes", Unit::Bytes, self.written.bytes.clone());
        let read = "Chunks that were read, to be sent or to be looked at";
        to.register("chunks_read", read, self.read.chunks.clone());
        to.register_with_unit("chunks_read", "Their bytes", Unit::Bytes, self.read.bytes.clone());
    }
}
