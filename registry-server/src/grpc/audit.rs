//! `AuditService`.

use std::fmt::Display;

use futures::TryStreamExt as _;
use registry_common::tlog::{Note, Tile};
use registry_proto::v1 as pb;
use registry_proto::v1::audit_service_server::AuditService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::Services;
use super::call::{Messages, Reply, until};
use crate::error::Violations;

#[tonic::async_trait]
impl AuditService for Services {
    async fn get_checkpoint(&self, request: Request<pb::GetCheckpointRequest>) -> Reply<pb::Checkpoint> {
        self.read(
            request,
            |request, _| Some(request.cosigned),
            |registry, cosigned| async move {
                if cosigned { registry.cosigned_checkpoint().await } else { registry.checkpoint().await }
            },
        )
        .await
    }

    async fn add_cosignatures(&self, request: Request<pb::AddCosignaturesRequest>) -> Reply<pb::Checkpoint> {
        self.read(
            request,
            |request, found| text("note", request.note.parse::<Note>(), found),
            |registry, note| async move { registry.add_cosignatures(note).await },
        )
        .await
    }

    async fn get_inclusion_proof(&self, request: Request<pb::GetInclusionProofRequest>) -> Reply<pb::InclusionProof> {
        self.read(
            request,
            |request, found| {
                let revision = u64::try_from(request.revision).ok().filter(|revision| *revision > 0);
                if revision.is_none() {
                    found.invalid("revision", "must be at least 1");
                }
                Some((revision?, size("tree_size", request.tree_size, found)?))
            },
            |registry, (revision, size)| async move { registry.prove_inclusion(revision, size).await },
        )
        .await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Reply<pb::ConsistencyProof> {
        self.read(
            request,
            |request, found| {
                let from = number("from_size", request.from_size, found);
                let to = size("to_size", request.to_size, found);
                let (from, to) = from.zip(to)?;
                if to.is_some_and(|to| to < from) {
                    found.invalid("to_size", "must not be less than from_size");
                }
                Some((from, to))
            },
            |registry, (from, to)| async move { registry.prove_consistency(from, to).await },
        )
        .await
    }

    async fn read_tile(&self, request: Request<pb::ReadTileRequest>) -> Reply<pb::AuditTile> {
        self.read(
            request,
            |request, found| text("path", request.path.parse::<Tile>(), found),
            |registry, tile| async move { registry.audit_tile(tile).await },
        )
        .await
    }

    type ExportLogStream = Messages<pb::ExportLogResponse>;

    async fn export_log(&self, request: Request<pb::ExportLogRequest>) -> Reply<Self::ExportLogStream> {
        self.stream(
            request,
            |_, _| Some(()),
            |services, _, ()| async move {
                let messages = ReceiverStream::new(services.registry.export_log());
                let messages = messages.map_ok(|response| pb::ExportLogResponse { response: Some(response) });
                Ok(until(services.stopping.draining.clone(), messages))
            },
        )
        .await
    }
}

/// What a text was read as.
fn text<T>(field: &str, read: Result<T, impl Display>, found: &mut Violations) -> Option<T> {
    read.map_err(|error| found.invalid(field, error.to_string())).ok()
}

/// A number that is not negative.
fn number(field: &str, number: i64, found: &mut Violations) -> Option<u64> {
    let given = u64::try_from(number).ok();
    if given.is_none() {
        found.invalid(field, "must not be negative");
    }
    given
}

/// The size of a tree: 0 is that of now.
#[expect(clippy::option_option, reason = "the outer one is a fault")]
fn size(field: &str, size: i64, found: &mut Violations) -> Option<Option<u64>> {
    number(field, size, found).map(|size| Some(size).filter(|size| *size > 0))
}
