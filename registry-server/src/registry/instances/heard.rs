//! When instances were last heard of: times in the store's slate, under the keys of their records.

use std::collections::HashMap;
use std::time::SystemTime;

use prost::Message as _;
use prost_types::Timestamp;
use registry_proto::v1 as pb;

use super::ttl;
use crate::error::Error;
use crate::registry::Registry;
use crate::rules::names::{INSTANCES, Name};
use crate::store::StoreError;

/// What the keys in the slate begin with.
pub(super) const PREFIX: &[u8] = b"i/";

/// The key in the slate of the instance whose record has this key.
pub(super) fn slate_key(record: &[u8]) -> Vec<u8> {
    [PREFIX, record].concat()
}

/// When an instance was last heard of, by what the slate says of it: a report that said something new is in its record only.
pub(super) fn heard(instance: &pb::Instance, slate: Option<&[u8]>) -> Option<Timestamp> {
    let beat = slate.and_then(|time| Timestamp::decode(time).ok());
    [instance.update_time, beat].into_iter().flatten().max_by_key(|time| (time.seconds, time.nanos))
}

/// An instance that was last heard of when its record was written.
pub(super) fn at_update(instance: pb::Instance) -> pb::Instance {
    let heard = instance.update_time;
    at(instance, heard)
}

fn at(instance: pb::Instance, heard: Option<Timestamp>) -> pb::Instance {
    let expires = heard.and_then(|time| SystemTime::try_from(time).ok()?.checked_add(ttl(&instance)));
    pb::Instance { heard_time: heard, expire_time: expires.map(Timestamp::from), ..instance }
}

impl Registry {
    /// Notes that an instance is still there.
    pub(super) async fn heartbeat(&self, name: &Name, instance: pb::Instance) -> Result<pb::Instance, Error> {
        let key = slate_key(&name.key());
        let now = Timestamp::from(self.store.time().await?);
        let before = self.store.slate_get(&key).await?;
        // If somebody else was faster, that was another heartbeat.
        self.store.slate_swap(&key, before.as_deref(), Some(&now.encode_to_vec())).await?;
        Ok(at(instance, Some(now)))
    }

    /// Forgets when an instance was heard of that is gone.
    pub(super) async fn forget_heartbeat(&self, name: &Name) -> Result<(), StoreError> {
        let key = slate_key(&name.key());
        if let Some(before) = self.store.slate_get(&key).await? {
            self.store.slate_swap(&key, Some(&before), None).await?;
        }
        Ok(())
    }

    /// An instance with when it was heard of.
    pub(super) async fn with_heard(&self, instance: pb::Instance) -> Result<pb::Instance, Error> {
        let slate = self.store.slate_get(&slate_key(&key_of(&instance))).await?;
        let heard = heard(&instance, slate.as_deref());
        Ok(at(instance, heard))
    }

    /// The same of instances that follow each other in the order of their names, or in the opposite one.
    pub(super) async fn all_with_heard(&self, instances: Vec<pb::Instance>) -> Result<Vec<pb::Instance>, Error> {
        let (Some(first), Some(last)) = (instances.first(), instances.last()) else { return Ok(instances) };
        let common = common_prefix(&key_of(first), &key_of(last));
        let slate: HashMap<_, _> = self.store.slate_scan(&slate_key(&common)).await?.into_iter().collect();
        let with = |instance: pb::Instance| {
            let slate = slate.get(&*slate_key(&key_of(&instance)));
            let heard = heard(&instance, slate.map(|time| &**time));
            at(instance, heard)
        };
        Ok(instances.into_iter().map(with).collect())
    }
}

fn key_of(instance: &pb::Instance) -> Vec<u8> {
    Name::canonical(&INSTANCES, &instance.name).key()
}

/// What all keys between these two begin with.
fn common_prefix(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).take_while(|(one, other)| one == other).map(|(byte, _)| *byte).collect()
}
