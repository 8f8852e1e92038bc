//! Request ids are known for a time, and then forgotten.

use std::time::Duration;

use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::{Event, Version};
use registry_server::backup::restore::Until;
use registry_server::config::Period;
use registry_server::store::{Kind, Range, Source};
use registry_tests::expect::unchanged;
use registry_tests::restore::{assert_same, back_up, restore_into, stores};
use registry_tests::{PATIENCE, TestServer, events, model, until};
use uuid::Uuid;

const MODEL: &str = "models/fraud";
const DAY: Period = Period::of_secs(24 * 60 * 60);
/// The kind of the records of requests: it is on the disk, and never changes.
const REQUEST: Kind = Kind(130);

async fn create(client: &RegistryClient, id: Uuid) -> Version {
    client.create_version(MODEL).request_id(id).await.unwrap()
}

fn forgetting(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.r#type == event_type::REQUEST_FORGOTTEN).collect()
}

/// How many requests the store of a server that has stopped knows.
async fn known(server: &TestServer) -> usize {
    let stores = stores(&server.storage()).await;
    stores.store.scan(Source::Kind(REQUEST), &Range::first(Vec::new(), 1000)).await.unwrap().len()
}

#[tokio::test]
async fn a_request_that_is_repeated_after_its_time_is_a_new_one() {
    let mut server = TestServer::with(|config| config.request_id_keep = DAY).await;
    let client = server.client();
    model(&client, MODEL).await;
    let id = Uuid::new_v4();
    let first = create(&client, id).await;
    let report = unchanged(&server, client.collect_garbage()).await.unwrap();
    assert_eq!(report.forgotten_requests, 0);
    assert_eq!(unchanged(&server, create(&client, id)).await, first, "within its time");

    server.restart_with(|config| config.request_id_keep = Period(Duration::ZERO)).await;
    assert_eq!(unchanged(&server, create(&client, id)).await, first, "until a collection comes by");
    let dry = unchanged(&server, client.collect_garbage().validate_only(true)).await.unwrap();
    assert_eq!((dry.forgotten_requests, client.collect_garbage().await.unwrap().forgotten_requests), (2, 2));
    assert_eq!(unchanged(&server, client.collect_garbage()).await.unwrap().forgotten_requests, 0, "they are gone");
    let second = create(&client, id).await;
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(unchanged(&server, create(&client, id)).await, second);
    // The id of the first one stays in the audit trail.
    let log = events(&client).await;
    assert_eq!(log.iter().filter(|event| event.request_id == id.to_string()).count(), 2);
    let [forgotten] = forgetting(&log)[..] else { panic!("{log:?}") };
    assert_eq!((forgotten.resource_name.as_str(), forgotten.actor.as_str()), ("revisions/2", "tester"));
    assert_eq!((forgotten.comment.as_str(), forgotten.request_id.as_str()), ("2 request ids of revisions 1 to 2", ""));

    // So it is in what is restored, which goes on from there.
    let file = server.scratch().with_extension("backup");
    back_up(&client, &file).await;
    let restored = server.scratch();
    restore_into(&restored, &file, Until::End).await.unwrap();
    let mut copy = TestServer::on(&restored).await;
    assert_same(&client, &copy.client()).await;
    copy.restart_with(|config| config.request_id_keep = Period(Duration::ZERO)).await;
    assert_eq!(unchanged(&copy, create(&copy.client(), id)).await, second);
    assert_eq!(copy.client().collect_garbage().await.unwrap().forgotten_requests, 1);
    registry_tests::restore::verified(&copy.client()).await;
    server.stop().await;
    copy.stop().await;
    assert_eq!((known(&server).await, known(&copy).await), (1, 0));
}

#[tokio::test]
async fn a_server_forgets_by_itself() {
    let server = TestServer::with(|config| {
        config.gc_every = Period(Duration::from_millis(1));
        config.request_id_keep = Period(Duration::ZERO);
    });
    let server = server.await;
    let client = server.client();
    model(&client, MODEL).await;
    let log = until(PATIENCE, || async {
        let log = events(&client).await;
        (!forgetting(&log).is_empty()).then_some(log)
    });
    assert_eq!(forgetting(&log.await)[0].actor, "registry-server");
}
