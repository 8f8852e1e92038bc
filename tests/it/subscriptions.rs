//! The registry remembers how far a consumer is: at least once, in order, one consumer at a time.

use std::time::Duration;

use registry_client::known::event_type;
use registry_client::pb::subscribe_response::Response;
use registry_client::pb::subscription_service_client::SubscriptionServiceClient;
use registry_client::pb::{AcknowledgeRequest, ConsumptionState, ErrorReason, SubscribeRequest, Subscription};
use registry_client::{Consumed, Consumer, Error, RegistryClient};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, events, soon};
use tonic::{Code, Streaming};

use crate::compaction::{drop_some, forgetful};

const NAME: &str = "subscriptions/scorer";

/// The next item that is not about the lease or the connection.
async fn next(consumer: &mut Consumer) -> (i64, Vec<String>) {
    loop {
        match soon(consumer.next()).await.unwrap() {
            Consumed::Events { revision, events } => {
                return (revision, events.into_iter().map(|event| event.resource_name).collect());
            }
            Consumed::Active { .. } | Consumed::Bookmark { .. } | Consumed::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Makes models, each in a revision.
async fn make(client: &RegistryClient, models: &[&str]) -> Vec<i64> {
    let mut revisions = Vec::new();
    for model in models {
        revisions.push(client.create_model(*model).await.unwrap().revision);
    }
    revisions
}

async fn lag(client: &RegistryClient) -> i64 {
    client.get_subscription("scorer").await.unwrap().consumption.unwrap().lag
}

fn model(id: &str) -> String {
    format!("namespaces/default/models/{id}")
}

#[tokio::test]
async fn a_consumer_goes_on_where_the_last_one_acknowledged() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, &["before"]).await;
    let made = client.create_subscription("scorer").types(["model.created"]).await.unwrap();
    assert_eq!((made.name.as_str(), made.start_revision, made.creator.as_str()), (NAME, made.revision, "tester"));
    let revisions = make(&client, &["a", "b", "c"]).await;

    let mut consumer = client.consume("scorer");
    assert_eq!(next(&mut consumer).await, (revisions[0], vec![model("a")]));
    assert_eq!(next(&mut consumer).await, (revisions[1], vec![model("b")]));
    consumer.acknowledge(revisions[0]);
    assert_eq!(consumer.close().await.unwrap(), revisions[0]);

    // What was delivered and not acknowledged comes again.
    let mut consumer = client.consume("scorer");
    assert_eq!(next(&mut consumer).await, (revisions[1], vec![model("b")]));
    assert_eq!(next(&mut consumer).await, (revisions[2], vec![model("c")]));
    consumer.acknowledge(revisions[2]);
    // What does not match counts as done with what comes before it.
    client
        .update_model(registry_client::pb::Model { name: model("a"), description: "x".into(), ..Default::default() })
        .await
        .unwrap();
    loop {
        let Consumed::Bookmark { .. } = soon(consumer.next()).await.unwrap() else { continue };
        consumer.flush().await.unwrap();
        if lag(&client).await == 0 {
            break;
        }
    }
}

#[tokio::test]
async fn one_consumer_at_a_time_is_active() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_subscription("scorer").types(["model.created"]).lease(Duration::from_secs(600)).await.unwrap();
    let revisions = make(&client, &["a", "b"]).await;
    let mut first = client.consume("scorer").named("first");
    assert_eq!(next(&mut first).await, (revisions[0], vec![model("a")]));

    let mut second = client.consume("scorer").named("second");
    assert_eq!(soon(second.next()).await.unwrap(), Consumed::Standby { consumer: "first".to_owned() });
    let far = client.get_subscription("scorer").await.unwrap().consumption.unwrap();
    assert_eq!((far.consumer.as_str(), far.state(), far.lag), ("first", ConsumptionState::Active, 2));
    first.acknowledge(revisions[0]);
    first.close().await.unwrap();
    assert_eq!(next(&mut second).await, (revisions[1], vec![model("b")]));
    assert!(second.holds_lease());
}

#[tokio::test]
async fn a_consumer_that_was_overtaken_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_subscription("scorer").lease(Duration::from_secs(1)).await.unwrap();
    let revisions = make(&client, &["a", "b"]).await;
    // A consumer that acknowledges nothing, as one that was stopped: its connection stands.
    let mut paused = subscribe(&server, "paused", 0).await.unwrap();
    let (old, attempt) = lease(&mut paused).await;
    assert_eq!(attempt, 1);

    let mut other = client.consume("scorer").named("other");
    let epoch = loop {
        if let Consumed::Active { epoch, attempt, .. } = soon(other.next()).await.unwrap() {
            assert_eq!(attempt, 2, "it was begun before");
            break epoch;
        }
    };
    assert!(epoch > old);
    let acknowledge = |epoch| AcknowledgeRequest { name: NAME.into(), epoch, revision: revisions[0], release: false };
    refused(&server, client.call(acknowledge(old)), Code::Aborted, ErrorReason::LeaseLost).await;
    // Its stream ends, and so does an attempt to go on under its lease.
    let ended = loop {
        match soon(paused.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a status"),
            Err(status) => break Error::from(status),
        }
    };
    assert_eq!(ended.reason(), Some(ErrorReason::LeaseLost), "{ended}");
    let again = subscribe(&server, "paused", old).await;
    let again = soon(again.unwrap().message()).await.unwrap_err();
    assert_eq!(Error::from(again).reason(), Some(ErrorReason::LeaseLost));
    assert_eq!(client.call(acknowledge(epoch)).await.unwrap().revision, revisions[0]);
}

async fn subscribe(
    server: &TestServer,
    consumer: &str,
    epoch: i64,
) -> Result<Streaming<registry_client::pb::SubscribeResponse>, tonic::Status> {
    let request = SubscribeRequest { name: NAME.into(), consumer: consumer.into(), epoch };
    Ok(SubscriptionServiceClient::new(server.channel()).subscribe(request).await?.into_inner())
}

/// The epoch of the lease that a stream gets, and its attempt.
async fn lease(stream: &mut Streaming<registry_client::pb::SubscribeResponse>) -> (i64, i32) {
    match soon(stream.message()).await.unwrap().unwrap().response.unwrap() {
        Response::Lease(lease) => (lease.epoch, lease.attempt),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lease_outlasts_its_connection_and_the_server() {
    let mut server = TestServer::start().await;
    let client = server.client();
    client.create_subscription("scorer").types(["model.created"]).await.unwrap();
    let revisions = make(&client, &["a", "b"]).await;
    let mut consumer = client.consume("scorer");
    assert_eq!(next(&mut consumer).await.0, revisions[0]);
    consumer.acknowledge(revisions[0]);
    consumer.flush().await.unwrap();
    assert_eq!(next(&mut consumer).await.0, revisions[1]);
    server.restart().await;
    let revisions = make(&client, &["c"]).await;
    // Under the same lease nothing comes twice.
    assert_eq!(next(&mut consumer).await, (revisions[0], vec![model("c")]));
    assert!(consumer.holds_lease());
    assert_eq!(lag(&client).await, 2);
}

#[tokio::test]
async fn a_subscription_that_is_moved_delivers_again() {
    let server = TestServer::start().await;
    let client = server.client();
    let revisions = make(&client, &["a", "b"]).await;
    client.create_subscription("scorer").types(["model.created"]).after(0).await.unwrap();
    let mut consumer = client.consume("scorer");
    for expected in &revisions {
        assert_eq!(next(&mut consumer).await.0, *expected);
        consumer.acknowledge(*expected);
    }
    consumer.flush().await.unwrap();
    let moved = client.move_subscription("scorer").after(revisions[0]).comment("once more").await.unwrap();
    assert_eq!((moved.start_revision, moved.moved_revision), (revisions[0], moved.revision));
    assert_eq!(moved.consumption.unwrap().revision, revisions[0]);
    loop {
        match soon(consumer.next()).await.unwrap() {
            Consumed::Lost => break,
            Consumed::Bookmark { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next(&mut consumer).await.0, revisions[1]);
    // Nothing of how it got on is in the log.
    let told: Vec<_> =
        events(&client).await.into_iter().filter(|event| event.r#type.starts_with("subscription.")).collect();
    let types: Vec<_> = told.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(types, [event_type::SUBSCRIPTION_CREATED, event_type::SUBSCRIPTION_MOVED]);
    assert_eq!(told[1].comment, "once more");
}

#[tokio::test]
async fn subscriptions_are_changed_listed_and_deleted() {
    let server = TestServer::start().await;
    let client = server.client();
    make(&client, &["a"]).await;
    for id in ["b", "scorer"] {
        client.create_subscription(id).parent(model("a")).await.unwrap();
    }
    let changed = Subscription { name: "scorer".into(), types: vec!["model.*".into()], ..Default::default() };
    let changed = client.update_subscription(changed).await.unwrap();
    assert_eq!((changed.parent.as_str(), changed.types.as_slice()), (&*model("a"), &["model.*".to_owned()][..]));
    let listed = client.list_subscriptions().await.unwrap().subscriptions;
    let states: Vec<_> = listed.iter().map(|one| (&*one.name, one.consumption.as_ref().unwrap().state())).collect();
    assert_eq!(states, [("subscriptions/b", ConsumptionState::Idle), (NAME, ConsumptionState::Idle)]);
    let elsewhere = Subscription { name: "scorer".into(), parent: model("none"), ..Default::default() };
    refused(&server, client.update_subscription(elsewhere), Code::NotFound, ErrorReason::ResourceNotFound).await;
    // A consumer hears that it is gone, and one that comes later.
    let mut consumer = client.consume("scorer");
    assert!(matches!(soon(consumer.next()).await.unwrap(), Consumed::Active { .. }));
    client.delete_subscription("scorer").await.unwrap();
    let error = loop {
        if let Err(error) = soon(consumer.next()).await {
            break error;
        }
    };
    assert!(error.is_not_found(), "{error}");
    refused(&server, client.get_subscription("scorer"), Code::NotFound, ErrorReason::ResourceNotFound).await;
    // Another one of its name begins anew.
    let again = client.create_subscription("scorer").await.unwrap();
    assert_eq!((again.start_revision, again.consumption.unwrap().epoch), (again.revision, 0));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    use ErrorReason::{FieldInvalid, FieldRequired, NameInvalid};
    let server = TestServer::start().await;
    let client = server.client();
    invalid(
        &server,
        client.create_subscription("a b").after(-1),
        &[("subscription_id", NameInvalid), ("after_revision", FieldInvalid)],
    )
    .await;
    let bad = client.create_subscription("a").parent("models/").types(["x"]).filter("1").lease(Duration::ZERO);
    invalid(
        &server,
        bad,
        &[
            ("subscription.filter", FieldInvalid),
            ("subscription.parent", NameInvalid),
            ("subscription.types[0]", FieldInvalid),
            ("subscription.lease_duration", FieldInvalid),
        ],
    )
    .await;
    let missing = client.create_subscription("a").parent("models/none");
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let ahead = client.create_subscription("a").after(99);
    refused(&server, ahead, Code::OutOfRange, ErrorReason::RevisionUnknown).await;
    client.create_subscription("scorer").await.unwrap();
    refused(&server, client.create_subscription("scorer"), Code::AlreadyExists, ErrorReason::ResourceAlreadyExists)
        .await;
    let nothing = client.call(AcknowledgeRequest { name: NAME.into(), ..Default::default() });
    invalid(&server, nothing, &[("epoch", FieldRequired)]).await;
    let mut stream = SubscriptionServiceClient::new(server.channel());
    let nobody = stream.subscribe(SubscribeRequest { name: NAME.into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(nobody.code(), Code::InvalidArgument);
    // Ahead of the log nothing can be done.
    let mut consumer = client.consume("scorer");
    let Consumed::Active { epoch, .. } = soon(consumer.next()).await.unwrap() else { panic!("no lease") };
    let ahead = AcknowledgeRequest { name: NAME.into(), epoch, revision: 99, release: false };
    refused(&server, client.call(ahead), Code::OutOfRange, ErrorReason::RevisionUnknown).await;
}

#[tokio::test]
async fn what_was_dropped_from_the_log_is_not_skipped_in_silence() {
    let archive = tempfile::tempdir().unwrap();
    let server = TestServer::with(forgetful(archive.path())).await;
    let client = server.client();
    client.create_subscription("scorer").types(["model.created"]).await.unwrap();
    make(&client, &["fraud"]).await;
    while drop_some(&client).await < 3 {}
    let far = client.get_subscription("scorer").await.unwrap().consumption.unwrap();
    assert_eq!(far.state(), ConsumptionState::Lapsed);
    let mut consumer = client.consume("scorer");
    let error = loop {
        if let Err(error) = soon(consumer.next()).await {
            break error;
        }
    };
    assert_eq!(error.reason(), Some(ErrorReason::RevisionCompacted), "{error}");
    let behind = client.move_subscription("scorer").after(1);
    refused(&server, behind, Code::OutOfRange, ErrorReason::RevisionCompacted).await;
    client.move_subscription("scorer").await.unwrap();
    let revisions = make(&client, &["z"]).await;
    assert_eq!(next(&mut client.consume("scorer")).await.0, revisions[0]);
}
