//! Connections for reads: as many as there are readers at once, up to a limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{Connector, Purpose};
use super::error::{Cause, Failure};
use super::read::Reader;
use crate::store::Connections;

/// Connections that are made when they are needed and used again.
pub(super) struct Pool {
    connector: Arc<Connector>,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Reader>>>,
    patience: Duration,
    measures: Connections,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>, size: usize, patience: Duration, measures: Connections) -> Self {
        let size = size.max(1);
        measures.most.set(size as i64);
        Self { connector, places: Arc::new(Semaphore::new(size)), idle: Arc::default(), patience, measures }
    }

    /// Takes a connection that was made for something else.
    pub(super) fn add(&self, reader: Reader) {
        lock(&self.idle).push(reader);
    }

    async fn take(&self) -> Result<Pooled, Failure> {
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(Failure::broken("all connections for reads are in use")) };
        self.connector.home().is_here()?;
        loop {
            let Some(reader) = lock(&self.idle).pop() else { break };
            if reader.connection.is_usable() {
                return Ok(self.taken(reader, place));
            }
        }
        Ok(self.taken(Reader::connect(&self.connector, Purpose::Read, None).await?, place))
    }

    fn taken(&self, reader: Reader, place: OwnedSemaphorePermit) -> Pooled {
        let taken = self.measures.taken.clone();
        taken.inc();
        Pooled { reader: Some(reader), idle: Arc::clone(&self.idle), taken, _place: place }
    }

    /// Reads over one of the connections, and once more over another one if it turns out to be broken.
    pub(super) async fn read<T, F>(&self, work: impl Fn(Pooled) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        match work(self.take().await?).await {
            Err(failure) if failure.cause == Cause::Broken => {
                // The others were made before it broke: they lead to the same server.
                lock(&self.idle).clear();
                work(self.take().await?).await
            }
            done => done,
        }
    }
}

/// A connection that goes back to the pool when it is dropped.
pub(super) struct Pooled {
    reader: Option<Reader>,
    idle: Arc<Mutex<Vec<Reader>>>,
    taken: Gauge,
    /// Behind `reader`, which has to be back by then.
    _place: OwnedSemaphorePermit,
}

impl Pooled {
    /// The connection.
    pub(super) fn reader(&self) -> Result<&Reader, Failure> {
        self.reader.as_ref().ok_or_else(|| Failure::broken("the connection is gone"))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.taken.dec();
        if let Some(reader) = self.reader.take().filter(|reader| reader.connection.is_usable()) {
            lock(&self.idle).push(reader);
        }
    }
}

/// Every step leaves the list whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
