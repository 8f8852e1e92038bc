//! Calls that are begun and not made: they keep out nobody.

use registry_client::pb::{
    ErrorReason, GetModelRequest, GetVersionRequest, UploadArtifactRequest, UploadChunksRequest, WatchEventsRequest,
};
use registry_proto::rpc::Request as _;
use registry_tests::expect::refused;
use registry_tests::wire::Wire;
use registry_tests::{TestServer, model, noise, pending};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const MODEL: &str = "models/fraud";

async fn is_healthy(server: &TestServer) -> bool {
    let answer = HealthClient::new(server.channel()).check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

#[tokio::test]
async fn half_open_calls_keep_out_nobody() {
    let server = TestServer::with(|config| {
        (config.max_calls, config.max_uploads, config.max_streams) = (4, 4, 4);
    })
    .await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = pending(&client, MODEL).await.name;
    let mut wire = Wire::to(server.address()).await;
    for path in [
        GetModelRequest::PATH,
        GetVersionRequest::PATH,
        UploadArtifactRequest::PATH,
        UploadChunksRequest::PATH,
        WatchEventsRequest::PATH,
        "/grpc.health.v1.Health/Check",
    ] {
        for _ in 0..8 {
            wire.begin(path, &[]);
        }
    }
    wire.settled().await;
    assert!(is_healthy(&server).await);
    client.get_model(MODEL).await.unwrap();
    client.upload(&version, "model.bin", noise(300_000)).await.unwrap();
    let mut watch = client.watch().after(0).stream();
    assert!(futures::StreamExt::next(&mut watch).await.unwrap().is_ok());
    client.finalize_version(&version).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_full_still_says_that_it_is_well() {
    let server = TestServer::with(|config| config.max_calls = 0).await;
    // The log can't be read, so there is nothing to compare.
    let error = server.client().get_model(MODEL).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Some(Code::ResourceExhausted), Some(ErrorReason::Overloaded)));
    assert!(is_healthy(&server).await);
}

#[tokio::test]
async fn uploads_have_places_of_their_own() {
    let server = TestServer::with(|config| config.max_uploads = 0).await;
    let client = server.client();
    model(&client, MODEL).await;
    let version = pending(&client, MODEL).await.name;
    let upload = client.upload(&version, "model.bin", noise(300_000));
    refused(&server, upload, Code::ResourceExhausted, ErrorReason::Overloaded).await;
    client.get_model(MODEL).await.unwrap();
}
