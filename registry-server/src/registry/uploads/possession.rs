//! Whether a caller has the bytes of the chunks that they name. Those who may download all that a namespace has need not prove it.

use bytes::Bytes;
use registry_common::possession::Possession;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::Upload;
use crate::error::Error;
use crate::registry::contents::{Content, Sum};
use crate::registry::{Intent, Registry};
use crate::rules::access::Permission;
use crate::rules::names::NAMESPACES;

/// A proof, as the caller gave it.
#[derive(Debug)]
pub(crate) struct Claim {
    /// What it should be of, without any bytes yet.
    pub(crate) of: Box<Possession>,
    pub(crate) proof: Bytes,
}

impl Registry {
    /// What is to be proven of a claim; `None` if nothing is.
    ///
    /// # Errors
    /// If the caller has to prove it and does not try.
    pub(super) fn unproven(&self, intent: &Intent, upload: &Upload, claim: Claim) -> Result<Option<Claim>, Error> {
        let (Some(guard), Some(wish)) = (self.guard(), &intent.wish) else { return Ok(None) };
        let namespace = upload.parent.within(&NAMESPACES);
        let download = Permission::of_method::<pb::DownloadArtifactRequest>();
        match wish.caller.bearer.may(&guard.current().access, download, namespace.as_str()) {
            true => Ok(None),
            false if claim.proof.is_empty() => Err(unproven(upload)),
            false => Ok(Some(claim)),
        }
    }

    /// Fails if the proof is not that of the bytes.
    pub(super) async fn prove(&self, upload: &Upload, sum: &Sum, claim: Claim) -> Result<(), Error> {
        let Claim { of, proof } = claim;
        let namespace = upload.parent.namespace();
        let content = Content::from_record(sum.manifest.clone())?;
        let possession = match self.digests.possession(namespace, content.stored(), *of).await {
            Ok(possession) => possession,
            Err(error) => return Err(self.unread(upload.name().as_str(), namespace, error).await),
        };
        if possession.is(&proof) { Ok(()) } else { Err(unproven(upload)) }
    }
}

fn unproven(upload: &Upload) -> Error {
    let namespace = upload.parent.within(&NAMESPACES);
    let detail = format!(
        "is made of chunks that are stored: who may not download all of {namespace} proves that they have the bytes, with `possession`"
    );
    Error::precondition(ErrorReason::PossessionUnproven, upload.name().as_str(), detail)
}
