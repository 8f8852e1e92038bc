//! Limits on what is stored, and the count of what is.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{Artifact, ErrorReason, Namespace, NamespaceUsage, UploadArtifactRequest, UploadMetadata};
use registry_client::{Error, RegistryClient};
use registry_server::backup::restore::Until;
use registry_server::settings::Size;
use registry_tests::expect::{invalid, refused, unchanged};
use registry_tests::restore::{back_up, restore_into, verified};
use registry_tests::{TestServer, chunks, model, noise, pending};
use tonic::Code;

const MODEL: &str = "models/fraud";
const VERSION: &str = "models/fraud/versions/1";
const QUOTA: i64 = 100_000;

async fn server(artifact: Option<u64>, namespace: Option<u64>) -> TestServer {
    let server = TestServer::with(|config| {
        config.max_artifact_size = artifact.map(Size::of);
        config.namespace_quota = namespace.map(Size::of);
    })
    .await;
    model(&server.client(), MODEL).await;
    pending(&server.client(), MODEL).await;
    server
}

/// An announcement by the size.
fn sized(path: &str, size_bytes: i64) -> Request {
    let artifact = Artifact { size_bytes, ..chunks::given(path) };
    Request::Metadata(UploadMetadata { parent: VERSION.to_owned(), artifact: Some(artifact), ..Default::default() })
}

/// An announcement by the digest, which does not tell the size.
fn hashed(path: &str, bytes: &[u8]) -> Request {
    Request::Metadata(chunks::metadata(VERSION, path, bytes))
}

/// `UploadArtifact`, of a stream that does not end by itself unless `ends`.
async fn send(server: &TestServer, parts: Vec<Request>, ends: bool) -> Result<Artifact, Error> {
    let parts = stream::iter(parts).map(|part| UploadArtifactRequest { request: Some(part) });
    let mut service = chunks::service(server);
    let answer = match ends {
        true => service.upload_artifact(parts).await,
        false => service.upload_artifact(parts.chain(stream::pending())).await,
    };
    Ok(answer?.into_inner())
}

async fn send_chunks(server: &TestServer, pieces: &[Bytes]) -> Result<(), Error> {
    let messages = pieces.iter().map(|bytes| chunks::message(0, bytes));
    chunks::send(server, std::iter::once(chunks::first(VERSION, "")).chain(messages).collect()).await.map(drop)
}

async fn missing(server: &TestServer, bytes: &[u8]) -> Result<Vec<i32>, Error> {
    chunks::missing(server, VERSION, &[Bytes::copy_from_slice(bytes)]).await
}

async fn commit(server: &TestServer, path: &str, pieces: &[Bytes]) -> Result<Artifact, Error> {
    chunks::create(server, chunks::create_of(VERSION, path, pieces)).await
}

async fn usage(client: &RegistryClient) -> Vec<NamespaceUsage> {
    client.list_usage().page_size(1).stream().try_collect().await.unwrap()
}

fn entry(namespace: &str, size_bytes: i64, artifact_count: i64, quota_bytes: Option<i64>) -> NamespaceUsage {
    NamespaceUsage { name: format!("namespaces/{namespace}"), size_bytes, artifact_count, quota_bytes }
}

/// Refused because of the namespace's quota, with these numbers.
async fn full<'a, T: std::fmt::Debug>(
    server: &'a TestServer,
    call: impl IntoFuture<Output = Result<T, Error>> + 'a,
    used: i64,
    asked: i64,
) {
    let error = refused(server, call, Code::ResourceExhausted, ErrorReason::QuotaExceeded).await;
    let said = &error.status().unwrap().metadata;
    let number = |name: &str| said[name].parse::<i64>().unwrap();
    assert_eq!((number("limit"), number("used"), number("asked")), (QUOTA, used, asked), "{error}");
    assert_eq!(said["namespace"], "namespaces/default");
    assert_eq!(error.status().unwrap().retry_after, None, "it does not pass by itself");
}

#[tokio::test]
async fn a_namespace_may_be_filled_to_its_last_byte_and_no_further() {
    let server = server(None, Some(QUOTA.cast_unsigned())).await;
    let client = server.client();
    let bytes = noise(60_000);
    client.upload(VERSION, "large.bin", bytes.clone()).await.unwrap();

    // One byte too many, in every way that bytes come.
    let much = Bytes::from([&bytes[..], b"other"].concat()).slice(..40_001);
    let data = || Request::Data(much.clone());
    full(&server, send(&server, vec![sized("more.bin", 40_001)], false), 60_000, 40_001).await;
    full(&server, send(&server, vec![hashed("more.bin", &much), data()], false), 60_000, 40_001).await;
    full(&server, send_chunks(&server, std::slice::from_ref(&much)), 60_000, 40_001).await;
    let halves = [much.slice(..20_000), much.slice(20_000..)];
    full(&server, send_chunks(&server, &halves), 60_000, 40_001).await;
    let stored: Vec<_> = halves[..1].iter().cycle().take(3).cloned().collect();
    send_chunks(&server, &stored[..1]).await.unwrap();
    full(&server, commit(&server, "more.bin", &stored), 60_000, 60_000).await;

    let exactly = commit(&server, "more.bin", &stored[..2]).await.unwrap();
    assert_eq!(exactly.size_bytes, 40_000);
    assert_eq!(usage(&client).await, [entry("default", QUOTA, 2, Some(QUOTA))]);
    full(&server, client.upload(VERSION, "small.bin", b"x".to_vec()), QUOTA, 1).await;
    full(&server, missing(&server, b"new"), QUOTA, 1).await;
    full(&server, send_chunks(&server, &[Bytes::from_static(b"new")]), QUOTA, 3).await;
    // What takes no room goes on: nothing at all, and what is there already.
    assert_eq!(missing(&server, &bytes).await.unwrap(), [0; 0]);
    let again = unchanged(&server, client.upload(VERSION, "large.bin", bytes.clone())).await.unwrap();
    assert_eq!(again.size_bytes, 60_000);
    let whole = vec![hashed("large.bin", &bytes), Request::Data(bytes.clone().into())];
    assert_eq!(unchanged(&server, send(&server, whole, true)).await.unwrap(), again);
    client.upload(VERSION, "empty", Vec::new()).await.unwrap();
    assert_eq!(client.download(&again.name).bytes().await.unwrap(), bytes);

    client.delete_artifact(exactly.name).await.unwrap();
    assert_eq!(usage(&client).await, [entry("default", 60_000, 2, Some(QUOTA))]);
    client.upload(VERSION, "small.bin", b"x".to_vec()).await.unwrap();
    verified(&client).await;
}

#[tokio::test]
async fn an_artifact_may_have_so_many_bytes_and_no_more() {
    let server = server(Some(20_000), None).await;
    let client = server.client();
    let bytes = Bytes::from(noise(20_001));
    let large = async |parts, asked: &str| {
        let call = send(&server, parts, false);
        let error = refused(&server, call, Code::ResourceExhausted, ErrorReason::ArtifactTooLarge).await;
        let said = &error.status().unwrap().metadata;
        assert_eq!((said["limit"].as_str(), said["asked"].as_str()), ("20000", asked), "{error}");
    };
    large(vec![sized("model.bin", 20_001)], "20001").await;
    let pieces = [bytes.slice(..15_000), bytes.slice(15_000..)];
    let data = pieces.iter().cloned().map(Request::Data);
    large(std::iter::once(hashed("model.bin", &bytes)).chain(data).collect(), "20001").await;
    send_chunks(&server, &pieces).await.unwrap();
    let call = commit(&server, "model.bin", &pieces);
    refused(&server, call, Code::ResourceExhausted, ErrorReason::ArtifactTooLarge).await;
    client.upload(VERSION, "model.bin", bytes.slice(1..)).await.unwrap();
    assert_eq!(usage(&client).await, [entry("default", 20_000, 1, None)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_never_exceed_a_quota_together() {
    const UPLOADS: usize = 16;
    let server = server(None, Some(QUOTA.cast_unsigned())).await;
    let client = server.client();
    let bytes = noise(UPLOADS * 18_000);
    let uploads = bytes
        .chunks(18_000)
        .enumerate()
        .map(|(number, bytes)| client.upload(VERSION, format!("{number}.bin"), bytes.to_vec()).send());
    let done = stream::iter(uploads.collect::<Vec<_>>()).buffer_unordered(UPLOADS).collect::<Vec<_>>().await;
    let (made, over): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    // As many as fit, and none more.
    assert_eq!((made.len(), over.len()), (5, UPLOADS - 5));
    assert!(over.into_iter().all(|upload| upload.unwrap_err().reason() == Some(ErrorReason::QuotaExceeded)));
    assert_eq!(usage(&client).await, [entry("default", 90_000, 5, Some(QUOTA))]);
    let there: Vec<Artifact> = client.list_artifacts(VERSION).stream().try_collect().await.unwrap();
    assert_eq!(there.iter().map(|artifact| artifact.size_bytes).sum::<i64>(), 90_000);
}

#[tokio::test]
async fn a_namespace_has_its_own_quota_and_its_own_count() {
    let server = TestServer::with(|config| config.namespace_quota = Some(Size::of(10))).await;
    let client = server.client();
    let negative = client.create_namespace("risk").quota_bytes(-1);
    invalid(&server, negative, &[("namespace.quota_bytes", ErrorReason::FieldInvalid)]).await;
    client.create_namespace("risk").quota_bytes(20_000).await.unwrap();
    for name in [MODEL, "namespaces/risk/models/fraud"] {
        model(&client, name).await;
        pending(&client, name).await;
    }
    assert!(usage(&client).await.is_empty());
    client.upload("namespaces/risk/models/fraud/versions/1", "a", noise(20_000)).await.unwrap();
    let (over, reason) = (client.upload(VERSION, "a", noise(11)), ErrorReason::QuotaExceeded);
    refused(&server, over, Code::ResourceExhausted, reason).await;
    client.upload(VERSION, "a", noise(10)).await.unwrap();
    let expected = [entry("default", 10, 1, Some(10)), entry("risk", 20_000, 1, Some(20_000))];
    assert_eq!(usage(&client).await, expected);

    // It may be changed at any time, also to less than there is, and be given up.
    let quota = |quota_bytes| {
        let change = Namespace { name: "default".to_owned(), quota_bytes, ..Default::default() };
        client.update_namespace(change).fields(["quota_bytes"])
    };
    quota(Some(11)).await.unwrap();
    client.upload(VERSION, "b", noise(1)).await.unwrap();
    quota(Some(0)).await.unwrap();
    refused(&server, client.upload(VERSION, "c", noise(1)), Code::ResourceExhausted, reason).await;
    assert_eq!(usage(&client).await[0], entry("default", 11, 2, Some(0)));
    quota(None).await.unwrap();
    assert_eq!(usage(&client).await[0], entry("default", 11, 2, Some(10)));
}

#[tokio::test]
async fn no_bytes_are_taken_for_what_is_deleted_and_no_room_is_asked_for() {
    let server = server(None, Some(0)).await;
    let client = server.client();
    let version = client.get_version(VERSION).await.unwrap();
    client.delete_model(MODEL).await.unwrap();
    let (code, reason) = (Code::FailedPrecondition, ErrorReason::ResourceDeleted);
    refused(&server, send(&server, vec![sized("a", 1)], false), code, reason).await;
    refused(&server, commit(&server, "a", &[Bytes::from_static(b"a")]), code, reason).await;
    refused(&server, missing(&server, b"a"), code, reason).await;
    refused(&server, send_chunks(&server, &[Bytes::from_static(b"a")]), code, reason).await;
    client.undelete_model(MODEL).await.unwrap();
    client.delete_version(&version.name).await.unwrap();
    refused(&server, missing(&server, b"a"), code, reason).await;
    refused(&server, send_chunks(&server, &[Bytes::from_static(b"a")]), code, reason).await;
}

#[tokio::test]
async fn what_is_counted_is_restored_and_a_lower_quota_takes_nothing_away() {
    let mut server = server(None, None).await;
    let client = server.client();
    let large = client.upload(VERSION, "large.bin", noise(60_000)).await.unwrap();
    client.upload(VERSION, "small.bin", noise(100)).await.unwrap();
    let gone = client.upload(VERSION, "gone.bin", noise(7)).await.unwrap();
    client.delete_artifact(gone.name).await.unwrap();
    let counted = usage(&client).await;
    assert_eq!(counted, [entry("default", 60_100, 2, None)]);

    let folder = tempfile::tempdir().unwrap();
    back_up(&client, &folder.path().join("backup")).await;
    let storage = folder.path().join("restored");
    restore_into(&storage, &folder.path().join("backup"), Until::End).await.unwrap();
    let restored = TestServer::on(&storage).await;
    assert_eq!(usage(&restored.client()).await, counted);

    server.restart_with(|config| config.namespace_quota = Some(Size::of(50_000))).await;
    let client = server.client();
    assert_eq!(client.download(&large.name).bytes().await.unwrap(), noise(60_000));
    let (more, reason) = (client.upload(VERSION, "more.bin", noise(1)), ErrorReason::QuotaExceeded);
    refused(&server, more, Code::ResourceExhausted, reason).await;
    client.delete_artifact(large.name).await.unwrap();
    client.upload(VERSION, "more.bin", noise(1)).await.unwrap();
    assert_eq!(usage(&client).await, [entry("default", 101, 2, Some(50_000))]);
}
