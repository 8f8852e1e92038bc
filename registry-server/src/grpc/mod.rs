//! The handlers: convert the request, call the registry, convert the answer. One file for each service.

mod admin;
mod artifacts;
mod call;
mod encoded;
mod events;
mod lifecycle;
mod models;
mod namespaces;
mod paging;
mod uploads;
mod versions;

use std::time::Duration;

use registry_proto::v1::admin_service_server::AdminServiceServer;
use registry_proto::v1::artifact_service_server::ArtifactServiceServer;
use registry_proto::v1::event_service_server::EventServiceServer;
use registry_proto::v1::lifecycle_service_server::LifecycleServiceServer;
use registry_proto::v1::model_service_server::ModelServiceServer;
use registry_proto::v1::namespace_service_server::NamespaceServiceServer;
use registry_proto::v1::version_service_server::VersionServiceServer;
use tokio::sync::watch;

use crate::gc::Plan;
use crate::registry::Registry;

/// The services over one registry.
#[derive(Clone)]
pub(crate) struct Services {
    registry: Registry,
    /// Turns true when the server stops: then streams end.
    draining: watch::Receiver<bool>,
    /// How long an upload may wait for its next bytes.
    idle: Duration,
    /// How garbage is collected, unless a request says otherwise.
    plan: Plan,
}

impl Services {
    pub(crate) fn new(registry: Registry, draining: watch::Receiver<bool>, idle: Duration, plan: Plan) -> Self {
        Self { registry, draining, idle, plan }
    }

    pub(crate) fn routes(self, max_message: usize) -> tonic::service::Routes {
        let versions = encoded::Versions {
            services: self.clone(),
            max_message,
            others: VersionServiceServer::new(self.clone()).max_decoding_message_size(max_message),
        };
        tonic::service::Routes::new(ModelServiceServer::new(self.clone()).max_decoding_message_size(max_message))
            .add_service(NamespaceServiceServer::new(self.clone()).max_decoding_message_size(max_message))
            .add_service(versions)
            .add_service(LifecycleServiceServer::new(self.clone()).max_decoding_message_size(max_message))
            .add_service(EventServiceServer::new(self.clone()).max_decoding_message_size(max_message))
            .add_service(ArtifactServiceServer::new(self.clone()).max_decoding_message_size(max_message))
            .add_service(AdminServiceServer::new(self).max_decoding_message_size(max_message))
    }
}
