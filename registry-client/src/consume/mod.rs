//! Consuming a durable subscription: at least once, in order, one consumer at a time.

mod keeper;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tonic::Streaming;
use tracing::debug;

use self::keeper::{Kept, keep};
use crate::pb::subscribe_response::Response;
use crate::pool::{Pause, Route};
use crate::subscriptions::named;
use crate::{Error, RegistryClient, pb};

impl RegistryClient {
    /// Consumes a [subscription](Self::create_subscription), by its id or name. The registry remembers what was
    /// [acknowledged](Consumer::acknowledge), and delivers the rest again: to this consumer after a restart, or to another one that
    /// [stands by](Consumed::Standby).
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::Consumed;
    ///
    /// let mut consumer = client.consume("scorer");
    /// loop {
    ///     if let Consumed::Events { revision, events } = consumer.next().await? {
    ///         events.iter().for_each(|event| println!("{} {}", event.r#type, event.resource_name));
    ///         consumer.acknowledge(revision);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn consume(&self, subscription: impl Into<String>) -> Consumer {
        let name = named(subscription);
        let consumer = format!("{}-{}", whoami::hostname().unwrap_or_default(), std::process::id());
        Consumer::new(self.clone(), name, consumer)
    }
}

/// What a consumer is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Consumed {
    /// Another consumer has the lease; this one waits until it is free.
    Standby {
        /// Who has it.
        consumer: String,
    },
    /// This consumer has the lease: what follows is its to do.
    Active {
        /// Of the lease: who writes elsewhere passes it on, so that what comes late can be refused there.
        epoch: i64,
        /// What follows comes behind this revision.
        revision: i64,
        /// How often what follows may have been begun before, this time included. A consumer that stumbles over an event sees it grow.
        attempt: i32,
    },
    /// What happened in a revision, or what of that was asked for. [Acknowledge](Consumer::acknowledge) the revision when it is done.
    Events {
        /// Of all the events.
        revision: i64,
        /// In their order.
        events: Vec<pb::Event>,
    },
    /// There is nothing else up to this revision. It need not be acknowledged: it counts as done once all that was delivered is.
    Bookmark {
        /// The revision.
        revision: i64,
    },
    /// The lease is lost: what was not acknowledged is somebody else's to do. The consumer stands by, or begins again.
    Lost,
    /// The connection broke; it is made again by itself.
    Disconnected {
        /// What happened, for people.
        reason: String,
    },
}

/// A consumer of a subscription; see [`RegistryClient::consume`].
///
/// It keeps its lease in the background, also while the program works on what it got. If it is dropped, it gives the lease back, as far
/// as its runtime still runs: [`close`](Self::close) waits for that.
#[derive(Debug)]
pub struct Consumer {
    client: RegistryClient,
    subscription: String,
    name: String,
    route: Route,
    connection: Option<Streaming<pb::SubscribeResponse>>,
    failures: u32,
    pause: Option<Pause>,
    kept: Arc<Kept>,
    keeper: Option<JoinHandle<()>>,
    /// The newest revision that was delivered under this lease: what comes again over a new connection is left out.
    delivered: i64,
    away: bool,
}

impl Consumer {
    fn new(client: RegistryClient, subscription: String, name: String) -> Self {
        Self {
            route: client.route(),
            kept: Arc::new(Kept::new(client.clone(), subscription.clone())),
            client,
            subscription,
            name,
            connection: None,
            failures: 0,
            pause: None,
            keeper: None,
            delivered: 0,
            away: false,
        }
    }

    /// Who consumes, for people; host and process unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What comes next. Waits for the registry, and for the lease, however long that takes.
    ///
    /// It can be dropped and called again: nothing is lost by it.
    ///
    /// # Errors
    /// What waiting would not cure: [`is_not_found`](Error::is_not_found) if the subscription is gone,
    /// [`is_out_of_range`](Error::is_out_of_range) if what comes next was dropped from the log: it has to be
    /// [moved](RegistryClient::move_subscription).
    pub async fn next(&mut self) -> Result<Consumed, Error> {
        loop {
            // A process that was stopped for a while has events that may be another's by now.
            if self.connection.is_some() && self.kept.is_over(Instant::now()) {
                debug!(subscription = self.subscription, "the lease was not kept in time, asking for it again");
                self.connection = None;
            }
            let received = match self.receive().await {
                Ok(Some(message)) => message.response,
                cut => match self.cut(cut.err())? {
                    Some(told) => return Ok(told),
                    None => continue,
                },
            };
            (self.failures, self.away) = (0, false);
            match received {
                // It came while the lease ended: what is left out here comes again over the next connection.
                Some(Response::Events(_)) if self.kept.is_over(Instant::now()) => self.connection = None,
                Some(Response::Standby(standby)) => return Ok(Consumed::Standby { consumer: standby.consumer }),
                Some(Response::Lease(lease)) => {
                    let length = lease.duration.and_then(|length| Duration::try_from(length).ok());
                    if self.kept.begin(lease.epoch, lease.revision, length.unwrap_or_default()) {
                        self.delivered = lease.revision;
                        if self.keeper.is_none() {
                            self.keeper = Some(tokio::spawn(keep(Arc::clone(&self.kept))));
                        }
                        let pb::Lease { epoch, revision, attempt, .. } = lease;
                        return Ok(Consumed::Active { epoch, revision, attempt });
                    }
                }
                Some(Response::Events(events)) if events.revision > self.delivered => {
                    self.delivered = events.revision;
                    self.kept.delivered(events.revision);
                    return Ok(Consumed::Events { revision: events.revision, events: events.events });
                }
                Some(Response::Bookmark(bookmark)) => {
                    self.kept.mark(bookmark.revision);
                    return Ok(Consumed::Bookmark { revision: bookmark.revision });
                }
                // What was delivered before, or a message of a newer server.
                Some(Response::Events(_)) | None => {}
            }
        }
    }

    /// Everything up to this revision is done. The registry hears of it within a second, together with what is acknowledged meanwhile.
    pub fn acknowledge(&self, revision: i64) {
        self.kept.acknowledge(revision);
    }

    /// Up to where everything that was delivered under this lease is done.
    pub fn done(&self) -> i64 {
        self.kept.done()
    }

    /// Tells the registry now what was acknowledged. Answers the revision up to which it knows.
    ///
    /// # Errors
    /// With [`LEASE_LOST`](pb::ErrorReason::LeaseLost) if the lease is another consumer's by now.
    pub async fn flush(&self) -> Result<i64, Error> {
        self.kept.send(false).await
    }

    /// Whether the lease is this consumer's, as far as it can know: by its own clock.
    pub fn holds_lease(&self) -> bool {
        self.kept.epoch() > 0 && !self.kept.is_over(Instant::now())
    }

    /// Tells the registry what was acknowledged, and gives the lease back: the next consumer need not wait for its end. Answers the
    /// revision up to which everything is done.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(mut self) -> Result<i64, Error> {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
        self.kept.send(true).await
    }

    /// The connection could not be made, or ended. Answers what to tell of it.
    fn cut(&mut self, error: Option<Error>) -> Result<Option<Consumed>, Error> {
        self.connection = None;
        match error {
            Some(error) if error.reason() == Some(pb::ErrorReason::LeaseLost) => {
                self.kept.lose();
                Ok(Some(Consumed::Lost))
            }
            Some(error) if !error.is_unavailable() => Err(error),
            error => Ok(self.disconnected(error)),
        }
    }

    fn disconnected(&mut self, error: Option<Error>) -> Option<Consumed> {
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(self.route.failed(self.failures, error.as_ref(), self.client.retry()));
        let first = !std::mem::replace(&mut self.away, true);
        let reason = || error.map_or_else(|| "the server closed it".to_owned(), |error| error.to_string());
        first.then(|| Consumed::Disconnected { reason: reason() })
    }

    async fn receive(&mut self) -> Result<Option<pb::SubscribeResponse>, Error> {
        if self.connection.is_none() {
            if let Some(pause) = self.pause {
                pause.wait().await;
                self.pause = None;
            }
            let (name, consumer) = (self.subscription.clone(), self.name.clone());
            let request = pb::SubscribeRequest { name, consumer, epoch: self.kept.epoch() };
            let transport = self.route.next();
            self.connection = Some(self.client.receive(transport, request).await?);
        }
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let message = connection.message().await?;
        self.route.answered();
        Ok(message)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        keeper.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let kept = Arc::clone(&self.kept);
            runtime.spawn(async move {
                if let Err(error) = kept.send(true).await {
                    debug!(%error, "the lease could not be given back: it ends by itself");
                }
            });
        }
    }
}
