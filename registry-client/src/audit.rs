//! Proof of the audit trail.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use registry_proto::rpc::Request as _;
use registry_proto::v1::export_log_response::Response;

use crate::call::setters;
use crate::{Call, Error, Items, RegistryClient, pb};

/// The audit trail as what can be proved: checkpoints that the registry signs, and proofs that an event is in its log and that the log of
/// now begins with that of then. What they say is verified with `registryctl audit verify`, or with any implementation of C2SP's
/// tlog-checkpoint and RFC 6962.
impl RegistryClient {
    /// The log as it is now, signed.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let then = client.checkpoint().await?;
    /// // Much later: the log still begins with what it was.
    /// let proof = client.prove_consistency(then.tree_size).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint(&self) -> Call<pb::GetCheckpointRequest> {
        self.call(pb::GetCheckpointRequest::default())
    }

    /// Adds the lines of witnesses to a checkpoint: the signed note with their lines below.
    pub fn add_cosignatures(&self, note: impl Into<String>) -> Call<pb::AddCosignaturesRequest> {
        self.call(pb::AddCosignaturesRequest { note: note.into() })
    }

    /// The proof that the events of a revision are in the log.
    pub fn prove_inclusion(&self, revision: i64) -> Call<pb::GetInclusionProofRequest> {
        self.call(pb::GetInclusionProofRequest { revision, ..Default::default() })
    }

    /// The proof that the log begins with what it was when it had so many events.
    pub fn prove_consistency(&self, from_size: i64) -> Call<pb::GetConsistencyProofRequest> {
        self.call(pb::GetConsistencyProofRequest { from_size, ..Default::default() })
    }

    /// A tile of the tree over the events, by its path: `tile/0/000`.
    pub fn read_tile(&self, path: impl Into<String>) -> Call<pb::ReadTileRequest> {
        self.call(pb::ReadTileRequest { path: path.into() })
    }

    /// The whole log as it is now: a checkpoint, and every event that it covers, in order.
    ///
    /// # Errors
    /// As the RPC's documentation says; an export that breaks off ends with an error.
    pub async fn export_log(&self) -> Result<(pb::Checkpoint, Items<pb::AuditLeaf>), Error> {
        let method = pb::ExportLogRequest::METHOD;
        let begin = |transport| self.receive(transport, pb::ExportLogRequest {});
        let mut pieces = self.retry().run(self.route(), method, None, begin).await?;
        let Some(Response::Checkpoint(checkpoint)) = pieces.message().await?.and_then(|first| first.response) else {
            return Err(Error::Protocol("an export that does not begin with its checkpoint"));
        };
        let leaves = pieces.map_err(Error::from).map_ok(|piece| match piece.response {
            Some(Response::Leaves(leaves)) => leaves.leaves,
            _ => Vec::new(),
        });
        let leaves = leaves.map_ok(|leaves| stream::iter(leaves).map(Ok)).try_flatten();
        Ok((checkpoint, Items::new(leaves)))
    }
}

setters!(GetCheckpointRequest {
    /// The newest one that witnesses have signed, too, in place of a new one.
    cosigned() |r| r.cosigned = true;
});

setters!(GetInclusionProofRequest {
    /// In the tree of so many events; by default that of now.
    tree_size(size: i64) |r| r.tree_size = size;
});

setters!(GetConsistencyProofRequest {
    /// The size of the later tree; by default that of now.
    to_size(size: i64) |r| r.to_size = size;
});
