//! One stream of a consumer: it stands by until it has the lease, and then reads the log from the cursor on.

use std::time::Duration;

use registry_proto::v1 as pb;
use registry_proto::v1::subscribe_response::Response;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::{cursor_of, lease_of};
use crate::error::Error;
use crate::error::Violations;
use crate::registry::Registry;
use crate::registry::cursors::CursorKey;
use crate::registry::events::Selection;
use crate::registry::transaction::Records as _;
use crate::rules::leases::{Lease, Wish};
use crate::rules::names::Name;
use crate::store::{Revision, StoreError};

/// How often it is asked whether the lease is free, or still the caller's.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many messages wait for their reader.
const WAITING: usize = 4;

/// Who consumes a subscription.
pub(crate) struct Consumer {
    pub(crate) subscription: Name,
    /// For people, and to tell leases apart.
    pub(crate) name: String,
    /// Of the lease that it has already.
    pub(crate) epoch: Option<u64>,
}

impl Registry {
    /// Begins the stream of a consumer. It ends when the receiver is dropped, or with an error.
    pub(crate) async fn subscribe(
        &self,
        consumer: Consumer,
    ) -> Result<Receiver<Result<pb::SubscribeResponse, Error>>, Error> {
        let subscription: pb::Subscription = self.store.resource(&consumer.subscription).await?;
        let pb::Subscription { parent, types, filter, .. } = &subscription;
        let mut found = Violations::default();
        let selection = Selection::new(parent, types, filter, &mut found);
        let selection = found.within("subscription", |_| selection);
        let selection = found.unless_any(selection)?;
        self.parent_must_exist(&selection).await?;
        let (out, receiver) = mpsc::channel(WAITING);
        let (cursor, length) = (cursor_of(&subscription), lease_of(&subscription));
        let stream = Stream { registry: self.clone(), consumer, selection, cursor, length, out };
        tokio::spawn(stream.run());
        Ok(receiver)
    }
}

struct Stream {
    registry: Registry,
    consumer: Consumer,
    selection: Selection,
    cursor: CursorKey,
    length: Duration,
    out: Sender<Result<pb::SubscribeResponse, Error>>,
}

/// Why a stream ends.
enum End {
    Gone,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Stream {
    async fn run(self) {
        let out = self.out.clone();
        let end = tokio::select! {
            end = self.send_all() => end,
            () = out.closed() => return,
        };
        if let Err(End::Failed(error)) = end {
            // The connection may be gone as well; then nobody is left to be told.
            let _ = out.send(Err(error)).await;
        }
    }

    async fn send_all(&self) -> Result<(), End> {
        let (lease, attempt, mut sent) = self.stand_by().await?;
        let granted = pb::Lease {
            epoch: lease.epoch.cast_signed(),
            revision: sent.cast_signed(),
            duration: self.length.try_into().ok(),
            attempt: attempt.cast_signed(),
        };
        self.send(Response::Lease(granted)).await?;
        let mut head = self.registry.store.head();
        let mut look = Instant::now() + LOOK_EVERY;
        // Up to here the consumer was told.
        let mut told = sent;
        loop {
            head.borrow_and_update();
            sent = self.send_behind(sent, &mut told, &lease, &mut look).await?;
            if sent > told {
                told = sent;
                self.send(Response::Bookmark(pb::Bookmark { revision: sent.cast_signed(), ..Default::default() }))
                    .await?;
            }
            match timeout_at(look, head.changed()).await {
                Ok(Ok(())) => {}
                // The store is closed: so is the server.
                Ok(Err(_)) => return Err(Error::Draining.into()),
                Err(_) => self.look(&lease, &mut look).await?,
            }
        }
    }

    /// Waits for the lease. Answers it, how often what follows was begun, and what it follows.
    async fn stand_by(&self) -> Result<(Lease, u32, Revision), End> {
        let mut held_under = None;
        loop {
            let Consumer { name, epoch, .. } = &self.consumer;
            let held = match self.registry.wish(&self.cursor, name, *epoch, self.length).await? {
                Wish::Granted(cursor) => match cursor.lease {
                    Some(lease) => return Ok((lease, cursor.attempt, cursor.revision)),
                    None => return Err(Error::internal("a lease was granted, and is not there").into()),
                },
                Wish::Held(lease) => lease,
                Wish::Lost => return Err(self.lost().into()),
            };
            if held_under != Some(held.epoch) {
                held_under = Some(held.epoch);
                let standby = pb::Standby {
                    consumer: held.holder,
                    epoch: held.epoch.cast_signed(),
                    expire_time: Some(held.until.into()),
                };
                self.send(Response::Standby(standby)).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            self.must_be_there().await?;
        }
    }

    /// Sends what is behind a revision, and answers up to where that is.
    async fn send_behind(
        &self,
        mut sent: Revision,
        told: &mut Revision,
        lease: &Lease,
        look: &mut Instant,
    ) -> Result<Revision, End> {
        loop {
            let behind = self.registry.tail.follow(sent).await?;
            if behind.entries.is_empty() {
                return Ok(sent);
            }
            for entry in &behind.entries {
                let chosen = entry.events.iter().filter(|event| self.selection.takes(event));
                let events = chosen.map(|event| event.decoded()).collect::<Result<Vec<_>, StoreError>>()?;
                sent = entry.revision;
                if !events.is_empty() {
                    let revision = sent.cast_signed();
                    self.send(Response::Events(pb::WatchedEvents { revision, events, hash: entry.hash() })).await?;
                    *told = sent;
                }
            }
            if Instant::now() >= *look {
                self.look(lease, look).await?;
            }
        }
    }

    /// Looks whether the lease is still the consumer's.
    async fn look(&self, lease: &Lease, look: &mut Instant) -> Result<(), End> {
        *look = Instant::now() + LOOK_EVERY;
        self.must_be_there().await?;
        let now = self.registry.cursor(&self.cursor).await?.lease;
        match now.filter(|now| now.epoch == lease.epoch && now.holder == lease.holder) {
            Some(_) => Ok(()),
            None => Err(self.lost().into()),
        }
    }

    /// Fails if the subscription was deleted, or moved.
    async fn must_be_there(&self) -> Result<(), End> {
        let subscription: pb::Subscription = self.registry.store.resource(&self.consumer.subscription).await?;
        if cursor_of(&subscription) == self.cursor { Ok(()) } else { Err(self.lost().into()) }
    }

    fn lost(&self) -> Error {
        Error::LeaseLost(self.consumer.subscription.to_string())
    }

    async fn send(&self, response: Response) -> Result<(), End> {
        let message = pb::SubscribeResponse { response: Some(response) };
        self.out.send(Ok(message)).await.map_err(|_| End::Gone)
    }
}
