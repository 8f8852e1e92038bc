//! What the artifacts of a namespace add up to, and whether more fit.
//!
//! Counted are the sizes of the artifacts, as they are downloaded: that many of them share chunks takes nothing off. The count is a
//! record, changed in the revision that adds or removes an artifact, so that it comes with the log into whatever is restored.

use std::sync::Arc;

use registry_proto::v1 as pb;

use super::lists::{Listed, Page};
use super::resource::Resource as _;
use super::transaction::{Tx, decode};
use super::{Registry, kinds};
use crate::error::Error;
use crate::rules::names::{NAMESPACES, Name};
use crate::rules::quota::{Limits, Quota};
use crate::store::{Kind, Pages, Read, Record, Source};
use crate::stored::UsageRecord;

/// The room there was in a namespace when bytes for it began to come. Whether all fits is decided with the artifact's commit: this
/// keeps bytes from coming in vain.
#[derive(Debug)]
pub(crate) struct Room {
    limits: Arc<Limits>,
    quota: Quota,
    /// The size of an artifact that is there already, and may come again: it takes no more room.
    there: u64,
}

impl Room {
    /// Whether one artifact with so many bytes fits.
    pub(crate) fn admit_artifact(&self, size: u64) -> Result<(), Error> {
        if size > self.there {
            self.limits.admit_size(size)?;
        }
        self.admit(size)
    }

    /// Whether so many more bytes fit.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), Error> {
        Ok(self.quota.admit(bytes.saturating_sub(self.there))?)
    }
}

impl Registry {
    /// The room in a namespace, in which the artifact to come is perhaps there already.
    pub(super) async fn room(&self, namespace: &str, there: Option<&pb::Artifact>) -> Result<Room, Error> {
        let limit = limit(&*self.store, &self.limits, namespace).await?;
        let used = match limit {
            Some(_) => usage(&*self.store, namespace).await?.size_bytes,
            None => 0,
        };
        let there = there.map_or(0, |there| there.size_bytes.unsigned_abs());
        let quota = Quota { namespace: namespace.to_owned(), used, limit };
        Ok(Room { limits: Arc::clone(&self.limits), quota, there })
    }

    /// What all namespaces have together.
    pub(crate) async fn usage_in_all(&self) -> Result<UsageRecord, Error> {
        let (mut all, mut records) = (UsageRecord::default(), Pages::of(Source::Kind(kinds::USAGE)));
        while let Some(hit) = records.next(&*self.store).await? {
            let UsageRecord { size_bytes, artifact_count } = decode(&hit.record)?;
            all.size_bytes += size_bytes;
            all.artifact_count += artifact_count;
        }
        Ok(all)
    }

    /// What each namespace has and may have, by name.
    pub(crate) async fn list_usage(&self, page: &Page) -> Result<Listed<pb::NamespaceUsage>, Error> {
        let read = |record: Record| {
            let UsageRecord { size_bytes, artifact_count } = decode(&record)?;
            let namespace = String::from_utf8(record.key).map_err(Error::internal)?;
            let name = Name::namespace_with(&namespace).to_string();
            let (size_bytes, artifact_count) = (size_bytes.cast_signed(), artifact_count.cast_signed());
            Ok(pb::NamespaceUsage { name, size_bytes, artifact_count, quota_bytes: None })
        };
        let mut listed = self.page::<UsageRecord, _>(Source::Kind(kinds::USAGE), Vec::new(), page, read).await?;
        for usage in &mut listed.items {
            let name = Name::canonical(&NAMESPACES, &usage.name);
            let limit = limit(&*self.store, &self.limits, name.id()).await?;
            usage.quota_bytes = limit.map(u64::cast_signed);
        }
        Ok(listed)
    }
}

async fn usage<R: Read + ?Sized>(records: &R, namespace: &str) -> Result<UsageRecord, Error> {
    let record = records.get(kinds::USAGE, namespace.as_bytes()).await?;
    Ok(record.map(|record| decode(&record)).transpose()?.unwrap_or_default())
}

/// The most that a namespace may have: its own quota, or that of every namespace.
async fn limit<R: Read + ?Sized>(records: &R, limits: &Limits, namespace: &str) -> Result<Option<u64>, Error> {
    let record = records.get(pb::Namespace::KIND, &Name::namespace_with(namespace).key()).await?;
    let own = record.map(|record| decode::<pb::Namespace>(&record)).transpose()?.and_then(|own| own.quota_bytes);
    Ok(own.map(i64::unsigned_abs).or(limits.namespace))
}

/// What counting reads, as far as a namespace tells.
pub(super) fn reads(namespace: &str) -> Vec<(Kind, Vec<u8>)> {
    let mut reads = pb::Namespace::reads(&Name::namespace_with(namespace));
    reads.push((kinds::USAGE, namespace.as_bytes().to_vec()));
    reads
}

/// Counts an artifact that is added, if it fits.
pub(super) async fn take(tx: &mut Tx<'_>, limits: &Limits, namespace: &str, size: u64) -> Result<(), Error> {
    let mut usage = usage(&*tx.store, namespace).await?;
    limits.admit_size(size)?;
    let limit = limit(&*tx.store, limits, namespace).await?;
    Quota { namespace: namespace.to_owned(), used: usage.size_bytes, limit }.admit(size)?;
    usage.size_bytes += size;
    usage.artifact_count += 1;
    tx.put(kinds::USAGE, namespace.as_bytes().to_vec(), &usage, Vec::new()).await
}

/// Counts artifacts off that are removed: how many, and their size in all.
pub(super) async fn give_back(tx: &mut Tx<'_>, namespace: &str, count: u64, size: u64) -> Result<(), Error> {
    let mut usage = usage(&*tx.store, namespace).await?;
    usage.size_bytes = usage.size_bytes.saturating_sub(size);
    usage.artifact_count = usage.artifact_count.saturating_sub(count);
    tx.put(kinds::USAGE, namespace.as_bytes().to_vec(), &usage, Vec::new()).await
}
