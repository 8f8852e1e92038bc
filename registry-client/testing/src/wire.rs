//! Connections inside a process, which can be cut.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// What may be under way in each direction of half a connection.
const BUFFER: usize = 256 << 10;

/// Connections, each of which ends with how many bytes went either way.
type Carried = JoinSet<io::Result<(u64, u64)>>;

/// What connects clients with the server.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// The server's ends of new connections.
    accepted: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    /// What carries the bytes; `None` while it is cut.
    carried: Arc<Mutex<Option<Carried>>>,
}

impl Wire {
    /// A wire, and the connections that a server is to take.
    pub(crate) fn new() -> (Self, UnboundedReceiverStream<io::Result<DuplexStream>>) {
        let (accepted, connections) = mpsc::unbounded_channel();
        let carried = Arc::new(Mutex::new(Some(JoinSet::new())));
        (Self { accepted, carried }, UnboundedReceiverStream::new(connections))
    }

    /// A channel that connects over the wire when it has something to send.
    pub(crate) fn channel(&self) -> Channel {
        let wire = self.clone();
        let connect = move |_: Uri| {
            let wire = wire.clone();
            async move { wire.connect().await.map(TokioIo::new) }
        };
        // The address is not used, and has to be one.
        Endpoint::from_static("http://registry.test").connect_with_connector_lazy(tower::service_fn(connect))
    }

    async fn connect(&self) -> io::Result<DuplexStream> {
        let mut carried = self.carried.lock().await;
        let carried = carried.as_mut().ok_or(io::ErrorKind::ConnectionRefused)?;
        let ((client, mut here), (mut there, server)) = (duplex(BUFFER), duplex(BUFFER));
        self.accepted.send(Ok(server)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        carried.spawn(async move { copy_bidirectional(&mut here, &mut there).await });
        while carried.try_join_next().is_some() {}
        Ok(client)
    }

    /// Breaks all connections, and lets nobody make new ones.
    pub(crate) async fn cut(&self) {
        if let Some(mut carried) = self.carried.lock().await.take() {
            carried.shutdown().await;
        }
    }

    /// Lets connections be made again.
    pub(crate) async fn mend(&self) {
        self.carried.lock().await.get_or_insert_default();
    }
}
