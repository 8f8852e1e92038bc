//! What comes before a handler: compression, methods that do not exist, and clients that take small headers.

use bytes::Bytes;
use futures::stream;
use registry_client::Error;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::lifecycle_service_client::LifecycleServiceClient;
use registry_client::pb::model_service_client::ModelServiceClient;
use registry_client::pb::upload_artifact_request::Request as Part;
use registry_client::pb::version_service_client::VersionServiceClient;
use registry_client::pb::{
    BatchGetVersionsRequest, BatchTransitionStagesRequest, CreateModelRequest, CreateVersionRequest, ErrorReason,
    GetModelRequest, GetVersionRequest, ListModelsRequest, Model, TransitionStageRequest, UploadArtifactRequest,
    Version, WatchEventsRequest,
};
use registry_tests::chunks::metadata;
use registry_tests::expect::unchanged;
use registry_tests::{TestServer, model_with, noise, pending, sha256, soon};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;

const MODEL: &str = "models/fraud";

#[tokio::test]
async fn compressed_requests_are_taken() {
    let server = TestServer::start().await;
    model_with(&server.client(), MODEL, 1).await;
    let version = pending(&server.client(), MODEL).await.name;
    for encoding in [Gzip, Zstd] {
        let channel = server.channel();
        let mut versions = VersionServiceClient::new(channel.clone()).send_compressed(encoding);
        let create = CreateVersionRequest {
            parent: MODEL.to_owned(),
            version: Some(Version { description: "x".repeat(60_000), ..Default::default() }),
            ..Default::default()
        };
        let made = versions.create_version(create).await.unwrap().into_inner();
        assert_eq!(made.description.len(), 60_000);
        let get = GetVersionRequest { name: made.name.clone(), ..Default::default() };
        assert_eq!(versions.get_version(get).await.unwrap().into_inner(), made);

        let mut events = EventServiceClient::new(channel.clone()).send_compressed(encoding);
        let mut watch = events.watch_events(WatchEventsRequest::default()).await.unwrap().into_inner();
        assert!(soon(watch.message()).await.unwrap().is_some());

        let content = noise(100_000);
        let path = format!("{encoding}.bin");
        let parts = [Part::Metadata(metadata(&version, &path, &content)), Part::Data(Bytes::from(content.clone()))];
        let parts = parts.map(|part| UploadArtifactRequest { request: Some(part) });
        let mut artifacts = ArtifactServiceClient::new(channel).send_compressed(encoding);
        let made = artifacts.upload_artifact(stream::iter(parts)).await.unwrap().into_inner();
        assert_eq!(made.sha256, sha256(&content));

        let mut health = HealthClient::new(server.channel()).send_compressed(encoding);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_compressed_is_no_larger_when_it_is_unpacked() {
    let server = TestServer::start().await;
    model_with(&server.client(), MODEL, 1).await;
    let version = pending(&server.client(), MODEL).await.name;
    let zeros = "\0".repeat(9 * 1024 * 1024);
    let refused = |error: Status| {
        let error = Error::from(error);
        assert_eq!(
            (error.code(), error.reason()),
            (Some(Code::ResourceExhausted), Some(ErrorReason::MessageTooLarge)),
            "{error:?}"
        );
    };
    for encoding in [Gzip, Zstd] {
        let model = Model { description: zeros.clone(), ..Default::default() };
        let create = CreateModelRequest { model_id: "m".to_owned(), model: Some(model), ..Default::default() };
        let mut models = ModelServiceClient::new(server.channel()).send_compressed(encoding);
        refused(unchanged(&server, models.create_model(create)).await.unwrap_err());
        let get = GetVersionRequest { name: zeros.clone(), ..Default::default() };
        let mut versions = VersionServiceClient::new(server.channel()).send_compressed(encoding);
        refused(versions.get_version(get).await.unwrap_err());
        let parts =
            [Part::Metadata(metadata(&version, "zeros.bin", zeros.as_bytes())), Part::Data(Bytes::from(zeros.clone()))];
        let parts = parts.map(|part| UploadArtifactRequest { request: Some(part) });
        let mut artifacts = ArtifactServiceClient::new(server.channel()).send_compressed(encoding);
        refused(unchanged(&server, artifacts.upload_artifact(stream::iter(parts))).await.unwrap_err());
    }
}

/// Calls a method that may not exist.
async fn call(server: &TestServer, path: &'static str, encoding: Option<&'static str>) -> Result<Model, Status> {
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let mut request = Request::new(GetModelRequest { name: MODEL.to_owned(), ..Default::default() });
    if let Some(encoding) = encoding {
        request.metadata_mut().insert("grpc-encoding", encoding.parse().unwrap());
    }
    let codec = ProstCodec::<GetModelRequest, Model>::default();
    grpc.unary(request, path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn an_unknown_method_is_refused_with_its_reason() {
    let server = TestServer::start().await;
    for path in ["/modelregistry.v1.ModelService/BuyModel", "/modelregistry.v9.ModelService/GetModel", "/none/at/all"] {
        let error = Error::from(call(&server, path, None).await.unwrap_err());
        assert_eq!((error.code(), error.reason()), (Some(Code::Unimplemented), Some(ErrorReason::MethodUnknown)));
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_compression_is_refused_with_its_reason() {
    let server = TestServer::start().await;
    for path in ["/modelregistry.v1.ModelService/GetModel", "/modelregistry.v1.VersionService/GetVersion"] {
        let status = call(&server, path, Some("br")).await.unwrap_err();
        let known = status.metadata().get("grpc-accept-encoding").unwrap().to_str().unwrap().to_owned();
        assert_eq!(known, "gzip,zstd,identity");
        let error = Error::from(status);
        assert_eq!(
            (error.code(), error.reason()),
            (Some(Code::Unimplemented), Some(ErrorReason::CompressionUnsupported))
        );
    }
}

/// A connection of a client that takes 8 KiB of headers, as gRPC's do by default.
fn small(server: &TestServer) -> Channel {
    Endpoint::from_shared(server.endpoint()).unwrap().http2_max_header_list_size(8 * 1024).connect_lazy()
}

#[tokio::test]
async fn an_error_reaches_a_client_that_takes_8_kib_of_headers() {
    let server = TestServer::start().await;
    model_with(&server.client(), MODEL, 1).await;
    let long = "\u{1f980}".repeat(20_000);
    let mut stages = LifecycleServiceClient::new(small(&server));
    let request = TransitionStageRequest { name: long.clone(), stage: 99, incumbent: 99, ..Default::default() };
    let batch = BatchTransitionStagesRequest { requests: vec![request; 100], ..Default::default() };
    let mut versions = VersionServiceClient::new(small(&server));
    let names = BatchGetVersionsRequest { names: vec![long.clone(); 100], ..Default::default() };
    let create = CreateVersionRequest {
        parent: long.clone(),
        version: Some(Version {
            base_versions: vec![long.clone(); 100],
            framework: long.clone(),
            ..Default::default()
        }),
        request_id: long.clone(),
        version_id: long.clone(),
        ..Default::default()
    };
    let mut models = ModelServiceClient::new(small(&server));
    let list = ListModelsRequest { order_by: long.clone(), page_token: long.clone(), ..Default::default() };
    let get = GetModelRequest { name: long.clone(), ..Default::default() };
    for status in [
        stages.batch_transition_stages(batch).await.unwrap_err(),
        versions.batch_get_versions(names).await.unwrap_err(),
        versions.create_version(create).await.unwrap_err(),
        models.list_models(list).await.unwrap_err(),
        models.get_model(get).await.unwrap_err(),
    ] {
        let error = Error::from(status);
        assert_eq!(error.code(), Some(Code::InvalidArgument), "{error:?}");
        assert!(!error.violations().is_empty(), "{error:?}");
    }
    // The longest name that there may be.
    let name = format!("models/{}", "\u{10400}".repeat(128));
    let error = Error::from(models.get_model(GetModelRequest { name, ..Default::default() }).await.unwrap_err());
    assert!(error.is_not_found() && error.status().unwrap().resource.is_some(), "{error:?}");
}
