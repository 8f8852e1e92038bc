//! nginx and HAProxy in front of the server, with the settings of `registry-server/docs/proxies.md` and time-outs of a second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::upload_artifact_request::Request as Part;
use registry_client::pb::watch_events_response::Response;
use registry_client::pb::{ErrorReason, UploadArtifactRequest, WatchEventsRequest};
use registry_client::{Error, RegistryClient};
use registry_server::config::Period;
use registry_tests::chunks::metadata;
use registry_tests::gateway::{Gateway, Kind};
use registry_tests::{TestServer, model, noise, pending, sha256, soon};
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::patient;

const MODEL: &str = "models/fraud";
/// Longer than the proxies wait.
const LONG: Duration = Duration::from_secs(4);
const MIB: usize = 1024 * 1024;

/// A server behind a proxy, and a client that goes through it.
async fn behind(kind: Kind) -> (TestServer, Gateway, RegistryClient) {
    let server = TestServer::with(|config| config.bookmark_every = Period(Duration::from_millis(200))).await;
    let gateway = Gateway::to(kind, server.address());
    let client = patient(&gateway.endpoint());
    model(&client, MODEL).await;
    client.create_namespace("quiet").await.unwrap();
    (server, gateway, client)
}

fn channel(gateway: &Gateway) -> Channel {
    Endpoint::from_shared(gateway.endpoint()).unwrap().connect_lazy()
}

/// Watches a namespace where nothing happens, for longer than the proxy waits.
async fn quiet_watch_lives(gateway: &Gateway) {
    let request = WatchEventsRequest { parent: "namespaces/quiet".to_owned(), ..Default::default() };
    let mut watch = EventServiceClient::new(channel(gateway)).watch_events(request).await.unwrap().into_inner();
    let began = Instant::now();
    while began.elapsed() < LONG {
        let message = soon(watch.message()).await.unwrap().unwrap();
        assert!(matches!(message.response, Some(Response::Created(_) | Response::Bookmark(_))), "{message:?}");
    }
}

async fn watches_live(kind: Kind) {
    let (_server, gateway, client) = behind(kind).await;
    quiet_watch_lives(&gateway).await;
    let writing = async {
        loop {
            pending(&client, MODEL).await;
        }
    };
    tokio::select! {
        () = quiet_watch_lives(&gateway) => {}
        () = writing => {}
    }
}

fn parts(content: &[u8], path: &str) -> Vec<UploadArtifactRequest> {
    let data = content.chunks(MIB).map(|piece| Part::Data(Bytes::copy_from_slice(piece)));
    let first = Part::Metadata(metadata(&format!("{MODEL}/versions/1"), path, content));
    std::iter::once(first).chain(data).map(|part| UploadArtifactRequest { request: Some(part) }).collect()
}

async fn uploads_pass(kind: Kind) {
    let (server, gateway, client) = behind(kind).await;
    let version = pending(&client, MODEL).await.name;
    let content = noise(40 * MIB);
    let mut service = ArtifactServiceClient::new(channel(&gateway));
    let made = service.upload_artifact(stream::iter(parts(&content, "stream.bin"))).await.unwrap().into_inner();
    assert_eq!(made.sha256, sha256(&content));
    let made = client.upload(&version, "chunks.bin", content.clone()).await.unwrap();
    assert!(client.download(&made.name).bytes().await.unwrap() == content);

    for number in 0..5 {
        let half = parts(&content, &format!("{number}.bin")).into_iter().take(20);
        // Another channel, which goes with the call.
        let mut service = ArtifactServiceClient::new(channel(&gateway));
        let (sent, mut all_sent) = watch::channel(false);
        let half = stream::iter(half).chain(stream::once(async move {
            sent.send_replace(true);
            std::future::pending().await
        }));
        let upload = tokio::spawn(async move { service.upload_artifact(half).await });
        soon(all_sent.wait_for(|sent| *sent)).await.unwrap();
        upload.abort();
    }
    let sealed = server.client().finalize_version(&version).await.unwrap();
    assert_eq!(sealed.artifact_count, 2);
}

async fn early_errors_arrive(kind: Kind) {
    let (_server, gateway, _client) = behind(kind).await;
    for _ in 0..20 {
        let mut service = ArtifactServiceClient::new(channel(&gateway));
        let upload = service.upload_artifact(stream::iter(parts(&noise(10 * MIB), "model.bin")));
        let error = Error::from(soon(upload).await.unwrap_err());
        assert_eq!((error.code(), error.reason()), (Some(Code::NotFound), Some(ErrorReason::ResourceNotFound)));
    }
}

async fn a_reload_is_not_noticed(kind: Kind) {
    let (_server, gateway, client) = behind(kind).await;
    let request = WatchEventsRequest { parent: MODEL.to_owned(), ..Default::default() };
    let mut watch = EventServiceClient::new(channel(&gateway)).watch_events(request).await.unwrap().into_inner();
    let mut revision = 0;
    for round in 0..100 {
        if round % 20 == 10 {
            gateway.reload();
        }
        revision = pending(&client, MODEL).await.revision;
    }
    let mut seen = 0;
    while seen < revision {
        if let Response::Events(events) = soon(watch.message()).await.unwrap().unwrap().response.unwrap() {
            assert!(seen == 0 || events.revision == seen + 1, "{} after {seen}", events.revision);
            seen = events.revision;
        }
    }
}

macro_rules! behind_a_proxy {
    ($($proxy:ident: $kind:expr),*) => {$(
        mod $proxy {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn watches_outlive_its_time_outs() {
                watches_live($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn uploads_pass_and_cancelled_ones_leave_nothing() {
                uploads_pass($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_error_before_the_end_of_an_upload_has_its_details() {
                early_errors_arrive($kind).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_reload_fails_no_call_and_no_watch() {
                a_reload_is_not_noticed($kind).await;
            }
        }
    )*};
}

behind_a_proxy!(nginx: Kind::Nginx, haproxy: Kind::Haproxy);
