//! The handlers: convert the request, call the registry, convert the answer. One file for each service.

mod access;
mod admin;
mod admitting;
mod approvals;
mod artifacts;
mod audit;
mod beside;
pub(crate) mod call;
mod encoded;
mod events;
mod instances;
mod lifecycle;
mod locks;
mod masked;
mod models;
mod moments;
mod namespaces;
mod paging;
mod parts;
mod policies;
mod searching;
mod sending;
mod subscriptions;
mod uploads;
mod versions;
mod watching;
mod webhooks;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use registry_proto::v1::access_service_server::AccessServiceServer;
use registry_proto::v1::admin_service_server::AdminServiceServer;
use registry_proto::v1::approval_service_server::ApprovalServiceServer;
use registry_proto::v1::artifact_service_server::ArtifactServiceServer;
use registry_proto::v1::audit_service_server::AuditServiceServer;
use registry_proto::v1::event_service_server::EventServiceServer;
use registry_proto::v1::instance_service_server::InstanceServiceServer;
use registry_proto::v1::lifecycle_service_server::LifecycleServiceServer;
use registry_proto::v1::lock_service_server::LockServiceServer;
use registry_proto::v1::model_service_server::ModelServiceServer;
use registry_proto::v1::namespace_service_server::NamespaceServiceServer;
use registry_proto::v1::policy_service_server::PolicyServiceServer;
use registry_proto::v1::search_service_server::SearchServiceServer;
use registry_proto::v1::subscription_service_server::SubscriptionServiceServer;
use registry_proto::v1::version_service_server::VersionServiceServer;
use registry_proto::v1::webhook_service_server::WebhookServiceServer;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;

use self::beside::Beside;
use crate::about::About;
use crate::gc::Plan;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::registry::watch::Watching;
use crate::webhooks::Webhooks;

/// How far a server is with stopping.
#[derive(Debug, Clone)]
pub(crate) struct Stopping {
    /// Turns true when it begins to: then streams end that are endless, or whose callers lose nothing if they begin them anew.
    pub(crate) draining: watch::Receiver<bool>,
    /// Turns true when its time for that is over: then those end that carry bytes.
    pub(crate) ending: watch::Receiver<bool>,
}

/// The services over one registry. Each call clones them, some of them several times.
#[derive(Clone)]
pub(crate) struct Services(Arc<Means>);

impl From<Means> for Services {
    fn from(means: Means) -> Self {
        Self(Arc::new(means))
    }
}

impl Deref for Services {
    type Target = Means;

    fn deref(&self) -> &Means {
        &self.0
    }
}

/// What the services work with.
pub(crate) struct Means {
    pub(crate) registry: Registry,
    /// What the server is.
    pub(crate) about: About,
    pub(crate) stopping: Stopping,
    /// How long an upload may wait for its next bytes.
    pub(crate) idle: Duration,
    /// How garbage is collected, unless a request says otherwise.
    pub(crate) plan: Plan,
    pub(crate) watching: Watching,
    pub(crate) webhooks: Webhooks,
    pub(crate) metrics: Metrics,
}

impl Services {
    pub(crate) fn routes(self, max_message: usize) -> tonic::service::Routes {
        // Also what is compressed is no larger than this when it is unpacked.
        macro_rules! server {
            ($server:ident) => {
                $server::new(self.clone())
                    .max_decoding_message_size(max_message)
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
            };
        }
        let get = encoded::GetVersion { services: self.clone(), max_message };
        let list = encoded::ListVersions { services: self.clone(), max_message };
        let versions = Beside { others: server!(VersionServiceServer), direct: list };
        let versions = Beside { others: versions, direct: get };
        let watch = watching::WatchEvents { services: self.clone(), max_message };
        let events = Beside { others: server!(EventServiceServer), direct: watch };
        let download = sending::DownloadArtifact { services: self.clone(), max_message };
        let artifacts = Beside { others: server!(ArtifactServiceServer), direct: download };
        tonic::service::Routes::new(server!(ModelServiceServer))
            .add_service(server!(NamespaceServiceServer))
            .add_service(versions)
            .add_service(server!(LifecycleServiceServer))
            .add_service(server!(PolicyServiceServer))
            .add_service(server!(ApprovalServiceServer))
            .add_service(server!(LockServiceServer))
            .add_service(server!(InstanceServiceServer))
            .add_service(events)
            .add_service(server!(SearchServiceServer))
            .add_service(server!(SubscriptionServiceServer))
            .add_service(server!(WebhookServiceServer))
            .add_service(artifacts)
            .add_service(server!(AccessServiceServer))
            .add_service(server!(AuditServiceServer))
            .add_service(server!(AdminServiceServer))
    }
}
