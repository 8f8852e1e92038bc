//! The newest revision that this server knows of, and the task that hears of those of the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connect::{Connector, Purpose};
use super::error::Failure;
use super::home::WAKE;
use super::read::Reader;
use crate::store::Revision;

/// How often the database is asked, for notifications may get lost.
const POLL: Duration = Duration::from_secs(1);

/// The newest known revision.
#[derive(Clone)]
pub(super) struct Head(Arc<watch::Sender<Revision>>);

impl Head {
    pub(super) fn new(revision: Revision) -> Self {
        Self(Arc::new(watch::Sender::new(revision)))
    }

    pub(super) fn watch(&self) -> watch::Receiver<Revision> {
        self.0.subscribe()
    }

    /// Shows a revision that is committed, unless a newer one is shown.
    pub(super) fn raise(&self, revision: Revision) {
        self.show(revision, |shown| revision > shown);
    }

    /// Shows what the database said when it was asked at a time when `before` was shown. It knows less than that only if it lost
    /// revisions, as a standby does that took over without having them all.
    fn found(&self, before: Revision, revision: Revision) {
        self.show(revision, |shown| revision > shown || (revision < before && shown == before));
    }

    fn show(&self, revision: Revision, is_due: impl Fn(Revision) -> bool) {
        self.0.send_if_modified(|shown| {
            let due = is_due(*shown);
            if due {
                *shown = revision;
            }
            due
        });
    }
}

/// Follows the head for as long as it is not aborted, over a connection of its own; tells whether the database can be reached, and ends
/// those that stand still with the lock for longer than `patience`.
pub(super) async fn follow(
    connector: Arc<Connector>,
    channel: String,
    patience: Duration,
    head: Head,
    healthy: watch::Sender<bool>,
) {
    loop {
        let mut reached = false;
        let Err(failure) = follow_once(&connector, &channel, patience, &head, &healthy, &mut reached).await;
        if reached {
            // A connection may break: it says more if the next one does not come about.
            continue;
        }
        if healthy.send_replace(false) {
            tracing::warn!(error = failure.message, "the database can't be reached");
        }
        tokio::time::sleep(POLL / 4).await;
    }
}

async fn follow_once(
    connector: &Connector,
    channel: &str,
    patience: Duration,
    head: &Head,
    healthy: &watch::Sender<bool>,
    reached: &mut bool,
) -> Result<std::convert::Infallible, Failure> {
    let (sender, mut notified) = watch::channel(0);
    let reader = Reader::connect(connector, Purpose::Listen, Some(sender)).await?;
    let listen = format!("LISTEN {channel}");
    let client = reader.connection.client();
    let ((), wake) = futures::try_join!(client.batch_execute(&listen), client.prepare(WAKE))?;
    loop {
        let before = *head.0.borrow();
        let newest = reader.newest().await?;
        connector.home().check_newest(newest, before)?;
        head.found(before, newest);
        *reached = true;
        if !healthy.send_replace(true) {
            tracing::info!("the database can be reached");
        }
        let woken = async { Ok(client.execute(&wake, &[&patience.as_secs_f64()]).await?) };
        match reader.connection.limited(woken).await {
            Ok(0) => {}
            Ok(_) => tracing::warn!("a server stood still with the lock of all commits, and has lost it"),
            // Perhaps it is another user's, whom this one may not end.
            Err(failure) if failure.aborted => tracing::warn!(error = failure.message, "nobody can be made to let go"),
            Err(failure) => return Err(failure),
        }
        let quiet = tokio::time::sleep(POLL);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                () = &mut quiet => break,
                changed = notified.changed() => {
                    changed.map_err(|_| Failure::broken("the connection is closed"))?;
                    // Notifications are sent behind the commit.
                    head.raise(*notified.borrow_and_update());
                }
            }
        }
    }
}
