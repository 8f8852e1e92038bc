//! A registry that answers what a test tells it to, over real connections that can be cut.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future;
use futures::stream::BoxStream;
use http_body_util::BodyExt;
use registry_client::{RegistryClient, RetryPolicy, pb};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::util::MapRequestLayer;

type Handler<Q, A> = Arc<dyn Fn(Request<Q>) -> Result<A, Status> + Send + Sync>;
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// What one call sent, all of it.
pub(crate) type Sent = Vec<pb::UploadChunksRequest>;

/// Answers each request as the handler for its type says, and UNIMPLEMENTED without one.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    handlers: Arc<HashMap<TypeId, Box<dyn Any + Send + Sync>>>,
}

impl Fake {
    pub(crate) fn on<Q: 'static, A: 'static>(
        mut self,
        handler: impl Fn(Request<Q>) -> Result<A, Status> + Send + Sync + 'static,
    ) -> Self {
        let handler: Handler<Q, A> = Arc::new(handler);
        let handlers = Arc::get_mut(&mut self.handlers).expect("handlers are set before the fake is cloned");
        handlers.insert(TypeId::of::<Q>(), Box::new(handler));
        self
    }

    fn answer<Q: 'static, A: 'static>(&self, request: Request<Q>) -> Result<Response<A>, Status> {
        let Some(handler) = self.handlers.get(&TypeId::of::<Q>()) else {
            return Err(Status::unimplemented(type_name::<Q>()));
        };
        let handler = handler.downcast_ref::<Handler<Q, A>>().expect("the handler's answer is of the RPC's type");
        handler(request).map(Response::new)
    }

    /// Its services, without a server around them.
    pub(crate) fn routes(self) -> Routes {
        Routes::new(pb::model_service_server::ModelServiceServer::new(self.clone()))
            .add_service(pb::version_service_server::VersionServiceServer::new(self.clone()))
            .add_service(pb::artifact_service_server::ArtifactServiceServer::new(self.clone()))
            .add_service(pb::search_service_server::SearchServiceServer::new(self.clone()))
            .add_service(pb::lifecycle_service_server::LifecycleServiceServer::new(self.clone()))
            .add_service(pb::event_service_server::EventServiceServer::new(self.clone()))
            .add_service(HealthServer::new(self))
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn serve(self) -> SocketAddr {
        self.serve_until(future::pending()).await
    }

    /// The same, until it is told to stop: then it takes no more calls and answers those that it has.
    pub(crate) async fn serve_until(self, stop: impl Future<Output = ()> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.serve_on(listener, stop);
        address
    }

    /// The same where somebody has chosen.
    pub(crate) fn serve_on(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) {
        let server = Server::builder()
            // A call that the client cancels looks to tonic's handlers like a stream that has come to its end. As an error of
            // another kind it stays an error.
            .layer(MapRequestLayer::new(|request: http::Request<Body>| {
                request.map(|body| Body::new(body.map_err(|error| Status::aborted(error.to_string()))))
            }))
            .add_routes(self.routes());
        tokio::spawn(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop));
    }

    pub(crate) async fn client(self) -> RegistryClient {
        client(self.serve().await).await
    }
}

/// A client that does not wait long before it tries again, and never gives up.
pub(crate) async fn client(address: SocketAddr) -> RegistryClient {
    let ms = Duration::from_millis(1);
    let retry = RetryPolicy { patience: Duration::MAX, initial_backoff: ms, max_backoff: 5 * ms };
    RegistryClient::builder(format!("http://{address}")).actor("tester").retry(retry).connect().await.unwrap()
}

/// A client of several servers, the first of which it asks first. If it ever waited before it tries again, its test would hang.
pub(crate) fn client_of(servers: impl IntoIterator<Item = SocketAddr>) -> RegistryClient {
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { patience: 5 * hour, initial_backoff: hour, max_backoff: hour };
    RegistryClient::builder(endpoints(servers)).timeout(2 * hour).retry(retry).connect_lazy().unwrap()
}

pub(crate) fn endpoints(servers: impl IntoIterator<Item = SocketAddr>) -> String {
    servers.into_iter().map(|server| format!("http://{server}")).collect::<Vec<_>>().join(",")
}

/// A client that asks every server once, and then gives up.
pub(crate) async fn impatient(servers: impl IntoIterator<Item = SocketAddr>) -> RegistryClient {
    RegistryClient::builder(endpoints(servers)).retry_for(Duration::ZERO).connect().await.unwrap()
}

/// Where nobody is: a port that was free a moment ago.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Stands between client and server, and cuts what passes.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    down: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let down = Arc::new(AtomicBool::new(false));
        let proxy = Self { address, connections: Arc::clone(&connections), down: Arc::clone(&down) };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut up) = TcpStream::connect(server).await else { return };
                let mut connections = connections.lock().unwrap();
                if down.load(Ordering::Relaxed) {
                    continue;
                }
                connections.spawn(async move {
                    // However it ends: the test is about the client.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut up).await;
                });
            }
        });
        proxy
    }

    /// Breaks all connections. New ones may be made.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// Breaks all connections, and those that are made from now on.
    pub(crate) fn go_down(&self) {
        self.down.store(true, Ordering::Relaxed);
        self.cut();
    }

    pub(crate) fn come_back(&self) {
        self.down.store(false, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Health for Fake {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.answer(request)
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.answer(request)
    }
}

macro_rules! fake_service {
    ($service:path { $($method:ident($request:ident) -> $answer:ident;)* }) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $(
                async fn $method(&self, request: Request<pb::$request>) -> Result<Response<pb::$answer>, Status> {
                    self.answer(request)
                }
            )*
        }
    };
}

fake_service!(pb::model_service_server::ModelService {
    create_model(CreateModelRequest) -> Model;
    get_model(GetModelRequest) -> Model;
    list_models(ListModelsRequest) -> ListModelsResponse;
    update_model(UpdateModelRequest) -> Model;
    delete_model(DeleteModelRequest) -> Model;
    undelete_model(UndeleteModelRequest) -> Model;
    purge_model(PurgeModelRequest) -> Model;
    set_alias(SetAliasRequest) -> Model;
    delete_alias(DeleteAliasRequest) -> Model;
});

fake_service!(pb::version_service_server::VersionService {
    create_version(CreateVersionRequest) -> Version;
    get_version(GetVersionRequest) -> Version;
    list_versions(ListVersionsRequest) -> ListVersionsResponse;
    batch_get_versions(BatchGetVersionsRequest) -> BatchGetVersionsResponse;
    update_version(UpdateVersionRequest) -> Version;
    finalize_version(FinalizeVersionRequest) -> Version;
    delete_version(DeleteVersionRequest) -> Version;
    undelete_version(UndeleteVersionRequest) -> Version;
    purge_version(PurgeVersionRequest) -> Version;
    withdraw_version(WithdrawVersionRequest) -> Version;
    reinstate_version(ReinstateVersionRequest) -> Version;
    compare_versions(CompareVersionsRequest) -> CompareVersionsResponse;
    prune_versions(PruneVersionsRequest) -> PruneVersionsResponse;
    report_check(ReportCheckRequest) -> Version;
});

#[tonic::async_trait]
impl pb::artifact_service_server::ArtifactService for Fake {
    type DownloadArtifactStream = Answers<pb::DownloadArtifactResponse>;

    async fn upload_artifact(
        &self,
        request: Request<Streaming<pb::UploadArtifactRequest>>,
    ) -> Result<Response<pb::Artifact>, Status> {
        self.answer(request)
    }

    async fn find_missing_chunks(
        &self,
        request: Request<pb::FindMissingChunksRequest>,
    ) -> Result<Response<pb::FindMissingChunksResponse>, Status> {
        self.answer(request)
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<pb::UploadChunksRequest>>,
    ) -> Result<Response<pb::UploadChunksResponse>, Status> {
        let mut messages = request.into_inner();
        let mut sent = Sent::new();
        while let Some(message) = messages.message().await? {
            sent.push(message);
        }
        self.answer(Request::new(sent))
    }

    async fn upload_part(
        &self,
        request: Request<Streaming<pb::UploadPartRequest>>,
    ) -> Result<Response<pb::Part>, Status> {
        self.answer(request)
    }

    async fn list_parts(
        &self,
        request: Request<pb::ListPartsRequest>,
    ) -> Result<Response<pb::ListPartsResponse>, Status> {
        self.answer(request)
    }

    async fn create_artifact(
        &self,
        request: Request<pb::CreateArtifactRequest>,
    ) -> Result<Response<pb::Artifact>, Status> {
        self.answer(request)
    }

    async fn list_chunks(
        &self,
        request: Request<pb::ListChunksRequest>,
    ) -> Result<Response<pb::ListChunksResponse>, Status> {
        self.answer(request)
    }

    async fn download_artifact(
        &self,
        request: Request<pb::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        self.answer(request)
    }

    async fn get_artifact(&self, request: Request<pb::GetArtifactRequest>) -> Result<Response<pb::Artifact>, Status> {
        self.answer(request)
    }

    async fn list_artifacts(
        &self,
        request: Request<pb::ListArtifactsRequest>,
    ) -> Result<Response<pb::ListArtifactsResponse>, Status> {
        self.answer(request)
    }

    async fn delete_artifact(
        &self,
        request: Request<pb::DeleteArtifactRequest>,
    ) -> Result<Response<pb::Artifact>, Status> {
        self.answer(request)
    }
}

fake_service!(pb::search_service_server::SearchService {
    search_resources(SearchResourcesRequest) -> SearchResourcesResponse;
    count_versions(CountVersionsRequest) -> CountVersionsResponse;
    count_models(CountModelsRequest) -> CountModelsResponse;
    aggregate_metric(AggregateMetricRequest) -> AggregateMetricResponse;
});

fake_service!(pb::lifecycle_service_server::LifecycleService {
    transition_stage(TransitionStageRequest) -> TransitionStageResponse;
    batch_transition_stages(BatchTransitionStagesRequest) -> BatchTransitionStagesResponse;
    rollback_stage(RollbackStageRequest) -> RollbackStageResponse;
});

#[tonic::async_trait]
impl pb::event_service_server::EventService for Fake {
    type WatchEventsStream = Answers<pb::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.answer(request)
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        self.answer(request)
    }

    async fn get_event(&self, request: Request<pb::GetEventRequest>) -> Result<Response<pb::Event>, Status> {
        self.answer(request)
    }
}
