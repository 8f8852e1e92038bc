//! The end of a version's filling: sealed under a digest of all its artifacts, or given up.

use std::sync::LazyLock;

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};

use super::kinds;
use super::records::{Records as _, decode};
use super::transaction::{Tx, check_etag, version_after, version_event};
use super::versions::{live_version, reads_of, touch};
use super::{Mutation, Order, Registry, keys};
use crate::error::Error;
use crate::rules::names::VersionName;
use crate::store::{Kind, Range, Source};

/// How many artifacts are read at once.
const PAGE: usize = 500;

impl Registry {
    pub(crate) async fn finalize_version(&self, order: Order, finalize: Finalize) -> Result<pb::Version, Error> {
        version_after(self.commit(order, finalize).await?.into_event(pb::EventType::VersionFinalized)?)
    }
}

/// A version to be finalized.
pub(crate) struct Finalize {
    pub(crate) name: VersionName,
    /// `None`: it is READY. Otherwise it is FAILED, for this reason.
    pub(crate) failure: Option<String>,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for Finalize {
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before = live_version(tx, &self.name).await?;
        check_etag(&before.name, &before.etag, &self.etag)?;
        if before.state() != pb::VersionState::Pending {
            let detail = format!("is {} already", before.state().as_str_name());
            return Err(Error::precondition(ErrorReason::VersionSealed, before.name, detail));
        }
        let model = &self.name.model;
        let mut version = before.clone();
        match &self.failure {
            Some(reason) => {
                version.set_state(pb::VersionState::Failed);
                version.failure_reason.clone_from(reason);
            }
            None => {
                version.set_state(pb::VersionState::Ready);
                version.manifest_sha256 = self.manifest(tx, version.number).await?;
            }
        }
        touch(tx, &mut version);
        tx.put_version(model, &version).await?;
        tx.log(version_event(pb::EventType::VersionFinalized, Some(before), version));

        let mut row = tx.live_model(model).await?;
        let latest = tx.store.latest(model).await?;
        if row.model.latest_version != latest {
            row.model.latest_version = latest;
            tx.put_model(model, &row).await?;
        }
        Ok(())
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        reads_of(&self.name)
    }
}

impl Finalize {
    async fn manifest(&self, tx: &Tx<'_>, number: i64) -> Result<String, Error> {
        let mut hasher = Sha256::new();
        let mut range = Range::first(keys::artifact(&self.name.model, number, ""), PAGE);
        loop {
            let hits = tx.store.scan(Source::Kind(kinds::ARTIFACT), &range).await?;
            for hit in &hits {
                let artifact: pb::Artifact = decode(&hit.record)?;
                hasher.update(format!("{} {} {}\n", artifact.sha256, artifact.size_bytes, artifact.path));
            }
            match hits.into_iter().last() {
                Some(last) => range.after = Some(last.position),
                None => return Ok(hex(&hasher.finalize())),
            }
        }
    }
}

/// The manifest digest of a version without artifacts.
pub(crate) fn manifest_of_nothing() -> String {
    static DIGEST: LazyLock<String> = LazyLock::new(|| hex(&Sha256::digest([])));
    DIGEST.clone()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
