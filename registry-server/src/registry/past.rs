//! The past: resources as they were right after some revision.
//!
//! A record that was last written by that revision, or before, is as it was. Of another one the log tells what it was: every write says
//! which one it replaced ([`written`]), so that it is a walk as long as the record was changed since. Models change with each
//! of their versions; of those it is looked up which revision wrote them ([`EventReferenceRecord`](crate::stored::EventReferenceRecord)).
//! Models, versions and ids of versions are never removed. Artifacts are; each that comes or goes changes the version's record in the
//! same revision, so that the walk of the version meets them all.

mod lists;
mod written;

use std::sync::Arc;

use async_trait::async_trait;
use prost_types::Timestamp;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::Registry;
use super::models::ModelRow;
use super::resource::{Resource, missing};
use super::transaction::{Lookup, Records as _};
use crate::error::Error;
use crate::rules::names::Name;
use crate::store::{Kind, Record, Revision, Store, StoreError};

/// When to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after this revision.
    Revision(Revision),
    /// Right after the newest revision that is not later than this.
    Time(Timestamp),
}

/// The records as they were.
pub(crate) struct Past {
    store: Arc<dyn Store>,
    /// Right after this revision; 0 is before the first one.
    at: Revision,
}

impl Registry {
    /// The records at a moment that has come.
    pub(crate) async fn past(&self, moment: Moment) -> Result<Past, Error> {
        let at = match moment {
            Moment::Revision(revision) => {
                let newest = self.store.newest().await?;
                if revision > newest {
                    return Err(not_yet(format!("revision {revision} has not come yet: the newest is {newest}")));
                }
                revision
            }
            Moment::Time(time) => {
                let now = Timestamp::from(self.store.time().await?);
                if (time.seconds, time.nanos) > (now.seconds, now.nanos) {
                    return Err(not_yet(format!("the time {time} has not come yet: it is {now}")));
                }
                let oldest = self.store.oldest().await?;
                let first = self.first_since(oldest, just_after(time)).await?;
                if first == oldest && oldest > 1 {
                    return Err(StoreError::Compacted { oldest }.into());
                }
                first - 1
            }
        };
        Ok(Past { store: Arc::clone(&self.store), at })
    }

    /// A resource as it is, or was at a moment: deleted or not.
    pub(crate) async fn get_at<R: Resource>(&self, name: &Name, moment: Option<Moment>) -> Result<R::Message, Error> {
        match moment {
            None => self.get::<R>(name).await,
            Some(moment) => {
                let past = self.past(moment).await?;
                let resource = past.resource::<R>(name).await.map_err(|error| error.looked_up_at(past.at))?;
                Ok(resource.into_message())
            }
        }
    }

    /// The records of versions, as they are or were at a moment. They hold `Version`s as they go over the wire.
    pub(crate) async fn version_record_at(&self, name: &Name, moment: Option<Moment>) -> Result<Record, Error> {
        match moment {
            None => self.version_record(name).await,
            Some(moment) => {
                let past = self.past(moment).await?;
                past.version_record(name).await.map_err(|error| error.looked_up_at(past.at))
            }
        }
    }
}

impl Past {
    /// The record of a version, which holds a `Version` as it goes over the wire.
    pub(crate) async fn version_record(&self, name: &Name) -> Result<Record, Error> {
        let named = self.resolve(name).await?;
        match self.look_up(pb::Version::KIND, &named.key()).await? {
            Some(record) => Ok(record),
            None => {
                // Say so if it is the model that is missing.
                self.must_exist(&name.parent()).await?;
                Err(missing::<pb::Version>(name))
            }
        }
    }
}

#[async_trait]
impl Lookup for Past {
    async fn look_up(&self, kind: Kind, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let record = self.store.get(kind, key).await?;
        if kind == pb::Artifact::KIND {
            return self.artifact(key, record).await;
        }
        match record {
            Some(record) => self.as_it_was(kind, record).await,
            None => Ok(None),
        }
    }
}

fn not_yet(detail: String) -> Error {
    Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail }
}

/// The first moment after a time.
fn just_after(time: Timestamp) -> Timestamp {
    match time.nanos {
        999_999_999 => Timestamp { seconds: time.seconds + 1, nanos: 0 },
        nanos => Timestamp { nanos: nanos + 1, ..time },
    }
}

/// What the keys of all that lies below a model begin with, by the key of its record or of something below it.
fn model_prefix(key: &[u8]) -> Vec<u8> {
    let mut ends = key.iter().enumerate().filter(|(_, byte)| **byte == 0);
    match ends.nth(1) {
        Some((end, _)) => key[..=end].to_vec(),
        // The last part of a key is not closed.
        None => [key, &[0]].concat(),
    }
}

/// Whether a kind's records are changed with everything below them.
fn is_model(kind: Kind) -> bool {
    kind == ModelRow::KIND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::names::{ARTIFACTS, MODELS, VERSIONS};

    #[test]
    fn the_prefix_of_a_model_is_that_of_all_below_it() {
        let model = "namespaces/risk/models/fraud";
        let names = [
            (&MODELS, model.to_owned()),
            (&VERSIONS, format!("{model}/versions/7")),
            (&ARTIFACTS, format!("{model}/versions/256/artifacts/a/b")),
        ];
        for (of, name) in names {
            let key = Name::canonical(of, &name).key();
            assert_eq!(model_prefix(&key), b"risk\0fraud\0", "{name}");
        }
    }

    #[test]
    fn the_moment_after_a_time_is_a_nanosecond_later() {
        let time = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(just_after(time(7, 5)), time(7, 6));
        assert_eq!(just_after(time(7, 999_999_999)), time(8, 0));
        assert_eq!(just_after(time(-7, 999_999_999)), time(-6, 0));
    }
}
