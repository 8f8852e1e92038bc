//! Removing the instances that are not heard of any more.
//!
//! Several servers on one store may do so at once. Whether an instance was silent for too long is judged outside the lane; in it, the
//! instance goes only if it has said nothing new since. A heartbeat that comes in between is lost, and the next one makes the instance
//! again.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::heard::{PREFIX, heard, slate_key};
use super::ttl;
use crate::error::Error;
use crate::registry::resource::Resource as _;
use crate::registry::transaction::{Tx, decode, event};
use crate::registry::{Committed, Intent, Mutation, Registry};
use crate::rules::instances::{Hearing, TTLS};
use crate::rules::names::{INSTANCES, Name};
use crate::store::{Kind, Pages, Source};

/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// An instance that was not heard of for too long.
struct Expire {
    name: Name,
    /// The etag that it had then.
    read: String,
}

#[async_trait]
impl Mutation for Expire {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let record = tx.store.get(pb::Instance::KIND, &self.name.key()).await?;
        let instance = record.map(|record| decode::<pb::Instance>(&record)).transpose()?;
        match instance.filter(|instance| instance.etag == self.read) {
            Some(instance) => tx.remove(event(event_type::INSTANCE_EXPIRED), instance).await,
            None => Ok(()),
        }
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Instance::reads(&self.name)
    }
}

/// Removes instances that are not heard of any more, until the server drains.
pub(crate) async fn expire_instances(registry: Registry, mut draining: watch::Receiver<bool>) {
    let mut hearing = None;
    // What lies between two looks, if the server does not stand still.
    let (mut worked, mut pause) = (Duration::ZERO, Duration::ZERO);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => return,
        }
        let began = Instant::now();
        pause = match registry.expire(&mut hearing, worked + pause).await {
            Ok(patience) => patience.max(PAUSE),
            Err(error) => {
                // Nobody was heard either.
                if hearing.take().is_some() {
                    tracing::warn!(%error, "instances that are gone can't be removed now");
                }
                PAUSE
            }
        };
        worked = began.elapsed();
    }
}

impl Registry {
    /// Removes the instances that are gone. Answers when to look again: the next one may be gone then, and a new one not before.
    async fn expire(&self, hearing: &mut Option<Hearing>, elapsed: Duration) -> Result<Duration, Error> {
        let now = self.store.time().await?;
        let hearing = hearing.get_or_insert(Hearing::from(now));
        hearing.goes_on(now, elapsed);
        // Before the records: what is heard of an instance is younger than its record.
        let mut beats: HashMap<_, _> = self.store.slate_scan(PREFIX).await?.into_iter().collect();
        let mut next = *TTLS.start();
        let mut all = Pages::of(Source::Kind(pb::Instance::KIND));
        while let Some(hit) = all.next(&*self.store).await? {
            let (key, instance) = (slate_key(&hit.record.key), decode::<pb::Instance>(&hit.record)?);
            let beat = beats.remove(&*key);
            let heard = heard(&instance, beat.as_deref()).and_then(|time| SystemTime::try_from(time).ok());
            let patience = hearing.patience(heard.unwrap_or(SystemTime::UNIX_EPOCH), ttl(&instance));
            if !patience.is_zero() {
                next = next.min(patience);
                continue;
            }
            // Who was heard of just now stays.
            if let Some(beat) = beat
                && !self.store.slate_swap(&key, Some(&beat), None).await?
            {
                continue;
            }
            let name = Name::canonical(&INSTANCES, &instance.name);
            self.commit(Intent::own(), Expire { name, read: instance.etag }).await?;
        }
        // Of instances that were removed by others.
        for (key, beat) in beats {
            self.store.slate_swap(&key, Some(&beat), None).await?;
        }
        Ok(next)
    }
}
