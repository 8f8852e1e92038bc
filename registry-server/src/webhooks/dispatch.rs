//! Begins a task for each enabled webhook, tells it of changes, and ends it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Webhooks;
use super::delivery::Delivery;
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::webhooks::WebhookRow;
use crate::rules::names::Name;
use crate::store::Revision;

/// How long to leave a store alone that failed.
const AGAIN: Duration = Duration::from_secs(1);

impl Webhooks {
    /// Sends what all webhooks choose, until the server stops and the attempts that are under way have ended.
    pub(crate) async fn run(self, registry: Registry, draining: watch::Receiver<bool>) {
        let mut stop = draining.clone();
        let mut dispatch = Dispatch { webhooks: self, registry, draining, running: HashMap::new() };
        tokio::select! {
            () = dispatch.keep_up() => {}
            _ = stop.wait_for(|draining| *draining) => {}
        }
        for (_, running) in dispatch.running {
            if let Some(sending) = running.sending {
                let _ = sending.task.await;
            }
        }
    }
}

struct Dispatch {
    webhooks: Webhooks,
    registry: Registry,
    draining: watch::Receiver<bool>,
    /// By name.
    running: HashMap<String, Running>,
}

/// A webhook that there is.
struct Running {
    uid: String,
    /// While it is enabled.
    sending: Option<Sending>,
}

struct Sending {
    row: watch::Sender<WebhookRow>,
    task: JoinHandle<()>,
}

impl Dispatch {
    /// Keeps up with the log, for good.
    async fn keep_up(&mut self) {
        let mut head = self.registry.store().head();
        // Up to which revision it is known which webhooks there are.
        let mut known = None;
        loop {
            head.borrow_and_update();
            match self.catch_up(known).await {
                Ok(to) if Some(to) == known => {
                    if head.changed().await.is_err() {
                        // The store is gone, and so is the server.
                        return std::future::pending().await;
                    }
                }
                Ok(to) => known = Some(to),
                Err(error) => {
                    tracing::warn!(%error, "which webhooks there are can't be read now");
                    // Perhaps the log was dropped where it was to be read.
                    known = None;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Reads on, or everything anew. Answers up to which revision.
    async fn catch_up(&mut self, known: Option<Revision>) -> Result<Revision, Error> {
        let Some(known) = known else {
            let (revision, rows) = self.registry.all_webhooks().await?;
            let gone = self.running.keys().filter(|name| rows.iter().all(|row| row.webhook.name != **name));
            for name in gone.cloned().collect::<Vec<_>>() {
                self.remove(&name).await?;
            }
            for row in rows {
                self.set(row).await?;
            }
            return Ok(revision);
        };
        let (names, to) = self.registry.webhooks_touched(known).await?;
        for name in names {
            self.refresh(&name).await?;
        }
        Ok(to)
    }

    async fn refresh(&mut self, name: &Name) -> Result<(), Error> {
        match self.registry.webhook_row(name).await {
            Ok(row) => self.set(row).await,
            Err(Error::NotFound { .. }) => self.remove(name.as_str()).await,
            Err(error) => Err(error),
        }
    }

    /// A webhook was made, or has changed.
    async fn set(&mut self, row: WebhookRow) -> Result<(), Error> {
        let (name, uid) = (row.webhook.name.clone(), row.webhook.uid.clone());
        if self.running.get(&name).is_some_and(|running| running.uid != uid) {
            // Another one had the name.
            self.remove(&name).await?;
        }
        let running = self.running.entry(name).or_insert_with(|| Running { uid, sending: None });
        if row.webhook.disabled {
            if let Some(sending) = running.sending.take() {
                end(sending).await;
            }
            return Ok(());
        }
        match &running.sending {
            Some(sending) => drop(sending.row.send_replace(row)),
            None => {
                let (row, changing) = watch::channel(row);
                let delivery = Delivery {
                    registry: self.registry.clone(),
                    webhooks: self.webhooks.clone(),
                    row: changing,
                    draining: self.draining.clone(),
                    room: None,
                    kept: Instant::now(),
                };
                running.sending = Some(Sending { row, task: tokio::spawn(delivery.run()) });
            }
        }
        Ok(())
    }

    /// A webhook was deleted.
    async fn remove(&mut self, name: &str) -> Result<(), Error> {
        let Some(running) = self.running.remove(name) else { return Ok(()) };
        if let Some(sending) = running.sending {
            end(sending).await;
        }
        self.webhooks.forget_seen(&running.uid);
        self.registry.forget_webhook(&running.uid).await
    }
}

/// Ends a task, also in the middle of an attempt: nobody wants its outcome.
async fn end(sending: Sending) {
    sending.task.abort();
    let _ = sending.task.await;
}
