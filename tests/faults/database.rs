//! What becomes of calls when the way between the server and its database is cut, slow, or cut in the middle of a commit.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message as _;
use registry_client::WatchItem;
use registry_client::pb::ErrorReason;
use registry_server::stored::LogGroup;
use registry_tests::process::{ServerProcess, sled_command};
use registry_tests::proxy::{Plan, Proxy};
use registry_tests::{events, noise_of, pending, soon, store};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::impatient;

const MODEL: &str = "models/fraud";
const DELAY: Duration = Duration::from_millis(20);

/// A server on a database.
async fn serve(folder: &Path, url: &str, arguments: &[&str]) -> ServerProcess {
    let mut command = sled_command(folder, "127.0.0.1:0");
    command.args(["--store", url]).args(arguments);
    tokio::task::spawn_blocking(|| ServerProcess::spawn(command)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_out_of_reach_is_unavailable_and_nothing_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::postgres(folder.path());
    let port = url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::new(format!("127.0.0.1:{port}")).await;
    let url = url.replace(&format!(":{port}"), &format!(":{}", proxy.port));
    let server = serve(folder.path(), &url, &["--store-patience", "500ms"]).await;
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();

    // Away: reads and writes say so, and the server says that it can't be used.
    proxy.set_open(false);
    let write = client.create_version(MODEL).version_id("lost").finalize(true).await;
    assert!(write.unwrap_err().is_unavailable());
    assert!(client.get_model(MODEL).await.unwrap_err().is_unavailable());
    let channel = Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut becomes = async |wanted: ServingStatus| {
        soon(async { while health.message().await.unwrap().unwrap().status() != wanted {} }).await;
    };
    becomes(ServingStatus::NotServing).await;
    proxy.set_open(true);
    becomes(ServingStatus::Serving).await;
    client.create_version(MODEL).version_id("back").finalize(true).await.unwrap();

    // Slow: right all the same.
    proxy.set_delay(DELAY);
    let began = Instant::now();
    client.create_version(MODEL).version_id("slow").finalize(true).await.unwrap();
    assert!(began.elapsed() >= DELAY);
    proxy.set_delay(Duration::ZERO);

    // Cut in the middle of commits: before the database was asked, and before it was heard.
    for round in 0..5 {
        for (plan, id) in [(Plan::LoseRequest, "asked"), (Plan::LoseAnswer, "answered")] {
            let id = format!("{id}-{round}");
            let cut = proxy.cut(plan);
            let create = client.create_version(MODEL).version_id(&id).finalize(true).send();
            let (made, ()) = soon(async { futures::join!(create, cut) }).await;
            assert_eq!(made.unwrap().version_id, id);
        }
    }

    // Each once, in order.
    let ids: Vec<_> = events(&client)
        .await
        .into_iter()
        .filter_map(|event| match event.after?.resource? {
            registry_client::pb::resource::Resource::Version(version) => Some(version.version_id),
            _ => None,
        })
        .collect();
    let mut expected = vec!["back".to_owned(), "slow".to_owned()];
    for round in 0..5 {
        expected.extend([format!("asked-{round}"), format!("answered-{round}")]);
    }
    assert_eq!(ids, expected);
}

/// Verify and scrub may take hours: the object store's time, with millions of chunks.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_s_limit_for_idle_transactions_ends_neither_verify_nor_scrub_nor_a_watch() {
    let folder = tempfile::tempdir().unwrap();
    // A millisecond: whatever holds a transaction open while it does something else is ended.
    let url = format!("{}%20-c%20idle_in_transaction_session_timeout%3D1", store::postgres(folder.path()));
    let server = serve(folder.path(), &url, &[]).await;
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    for number in 0..3 {
        let version = pending(&client, MODEL).await.name;
        client.upload(&version, "model.bin", noise_of(number, 3 << 20)).await.unwrap();
    }
    let report = soon(client.verify()).await.unwrap();
    assert_eq!((report.problem_count, report.artifacts), (0, 3));
    let report = soon(client.scrub()).await.unwrap();
    assert_eq!((report.problem_count, report.artifacts), (0, 3));
    let mut watch = client.watch().from_snapshot().stream();
    let mut resources = 0;
    // A namespace, a model, and its versions with their artifacts.
    while resources < 8 {
        if let Some(WatchItem::Snapshot { events, .. }) = soon(watch.try_next()).await.unwrap() {
            resources += events.len();
        }
    }
}

/// What a tombstone is for, and what it can't mend.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_revision_gets_a_tombstone_unless_what_it_wrote_is_lost_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::postgres(folder.path());
    let server = serve(folder.path(), &url, &[]).await;
    let client = impatient(&server.endpoint());
    client.create_model(MODEL).await.unwrap();
    for _ in 0..2 {
        client.create_version(MODEL).description("x".repeat(100)).finalize(true).await.unwrap();
    }
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    damage(&admin, 2, |events| events[0] = 255).await;
    damage(&admin, 3, |events| events.truncate(20)).await;

    let laid = client.tombstone_revision(2).comment("a flipped bit").await.unwrap();
    assert_eq!((laid.resource_name.as_str(), laid.comment.as_str()), ("revisions/2", "a flipped bit"));
    let again = client.tombstone_revision(2).await.unwrap_err();
    assert_eq!(again.reason(), Some(ErrorReason::RevisionReadable), "{again}");
    let refused = client.tombstone_revision(3).await.unwrap_err();
    assert!(refused.to_string().contains("what it wrote is lost"), "{refused}");
    let whole = client.tombstone_revision(1).await.unwrap_err();
    assert_eq!(whole.reason(), Some(ErrorReason::RevisionReadable), "{whole}");
    let none = client.tombstone_revision(99).await.unwrap_err();
    assert_eq!(none.code(), Some(tonic::Code::NotFound), "{none}");
}

/// Changes the events of a revision that has a row of the log to itself.
async fn damage(admin: &tokio_postgres::Client, revision: i64, change: impl Fn(&mut Vec<u8>)) {
    let kept = "SELECT size, entries FROM log WHERE first_revision = $1 AND last_revision = $1";
    let kept = admin.query_one(kept, &[&revision]).await.unwrap();
    let (size, entries): (i32, Vec<u8>) = (kept.get(0), kept.get(1));
    let plain = zstd::bulk::decompress(&entries, size as usize).unwrap();
    let mut group = LogGroup::decode(plain.as_slice()).unwrap();
    let mut events = group.entries[0].events.to_vec();
    change(&mut events);
    group.entries[0].events = events.into();
    // One that is not packed is as long as it says.
    let plain = group.encode_to_vec();
    let changed = "UPDATE log SET size = octet_length($2::bytea), entries = $2::bytea WHERE last_revision = $1";
    admin.execute(changed, &[&revision, &plain]).await.unwrap();
}
