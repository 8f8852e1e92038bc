//! Which limits a method has.

use registry_proto::rpc::{Request as _, is_read};
use registry_proto::v1 as pb;

/// What a call costs the server, as far as that can be told from its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks whether the server is well: has no limit, so that a busy server does not pass for a dead one.
    Health,
    /// Asks what the server measures: has no limit either, since it is asked for most when there is too much to do.
    Metrics,
    /// Sends bytes in a stream.
    Upload,
    /// Is answered with a stream.
    Stream,
    /// Is answered with what is there: perhaps with much. Or only notes how far its caller is.
    Read,
    /// Changes something.
    Change,
}

/// The calls whose answer may take as long as it takes: they move bytes, and watch over the pace themselves.
const UNHURRIED: &[&str] = &[UPLOADS[0], UPLOADS[1], UPLOADS[2], pb::CreateArtifactRequest::PATH];
const UPLOADS: [&str; 3] =
    [pb::UploadArtifactRequest::PATH, pb::UploadChunksRequest::PATH, pb::UploadPartRequest::PATH];
const STREAMS: &[&str] = &[
    pb::WatchEventsRequest::PATH,
    pb::SubscribeRequest::PATH,
    pb::DownloadArtifactRequest::PATH,
    pb::BackupRequest::PATH,
    pb::VerifyRequest::PATH,
    pb::CollectGarbageRequest::PATH,
    pb::ScrubRequest::PATH,
    pb::ExportLogRequest::PATH,
];
/// Those that only note how far their caller is or what they have seen, or try something out.
const NOTES: &[&str] = &[pb::AcknowledgeRequest::PATH, pb::TestWebhookRequest::PATH, pb::AddCosignaturesRequest::PATH];

impl Kind {
    /// The kind of the method with this path.
    pub(super) fn of(path: &str) -> Self {
        match path {
            path if path.starts_with("/grpc.health.v1.Health/") => Self::Health,
            pb::GetMetricsRequest::PATH => Self::Metrics,
            path if UPLOADS.contains(&path) => Self::Upload,
            path if STREAMS.contains(&path) || path.starts_with("/grpc.reflection.") => Self::Stream,
            path if is_read(path) || NOTES.contains(&path) => Self::Read,
            _ => Self::Change,
        }
    }
}

/// Whether a method watches over its pace itself.
pub(super) fn is_unhurried(path: &str) -> bool {
    UNHURRIED.contains(&path)
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, MethodDescriptor};

    use super::*;

    fn expected(method: &MethodDescriptor) -> Kind {
        if method.name() == "GetMetrics" {
            return Kind::Metrics;
        }
        let takes = |field| method.input().get_field_by_name(field).is_some();
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (true, _) => Kind::Upload,
            (_, true) => Kind::Stream,
            _ if takes("request_id") || takes("validate_only") => Kind::Change,
            _ => Kind::Read,
        }
    }

    #[test]
    fn every_method_of_the_contract_is_of_the_kind_that_its_descriptor_says() {
        let pool = DescriptorPool::decode(registry_proto::DESCRIPTORS).unwrap();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                assert_eq!(Kind::of(&path), expected(&method), "{path}");
            }
        }
        assert_eq!(Kind::of("/grpc.health.v1.Health/Check"), Kind::Health);
        assert_eq!(Kind::of("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), Kind::Stream);
    }
}
