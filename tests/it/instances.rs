//! Instances say what they run, are missed when they say nothing, and leave the log alone while nothing changes.

mod followers;

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use registry_client::known::event_type;
use registry_client::pb::{ErrorReason, Event, Instance, InstanceState};
use registry_client::{Items, RegistryClient, WatchItem};
use registry_tests::{TestServer, model_with, ready, soon};

const MODEL: &str = "namespaces/default/models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// An instance that serves the first version.
fn serving(id: &str) -> Instance {
    Instance {
        name: format!("{MODEL}/instances/{id}"),
        target: "@production".to_owned(),
        desired_version: version(1),
        observed_version: version(1),
        state: InstanceState::Serving.into(),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn time(time: Option<Timestamp>) -> SystemTime {
    time.unwrap().try_into().unwrap()
}

/// What happens to instances from now on.
async fn watch(client: &RegistryClient) -> Items<WatchItem> {
    let mut watch = client.watch().parent(MODEL).types(["instance.*"]).stream();
    let created = soon(watch.try_next()).await.unwrap();
    assert!(matches!(created, Some(WatchItem::Created { .. })), "{created:?}");
    watch
}

/// The next event of a watch.
async fn next(watch: &mut Items<WatchItem>) -> Event {
    loop {
        if let Some(WatchItem::Events { mut events, .. }) = soon(watch.try_next()).await.unwrap() {
            assert_eq!(events.len(), 1, "{events:?}");
            return events.remove(0);
        }
    }
}

#[tokio::test]
async fn what_an_instance_says_is_kept_with_its_changes() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let mut watch = watch(&client).await;
    let first = client.report_instance(serving("a")).await.unwrap();
    assert_eq!(first.ttl, seconds(60));
    assert_eq!((first.heard_time, first.state_time), (first.update_time, first.create_time));
    assert_eq!(time(first.expire_time).duration_since(time(first.heard_time)).unwrap(), Duration::from_secs(60));
    let event = next(&mut watch).await;
    assert_eq!((&*event.r#type, event.resource_name), (event_type::INSTANCE_CREATED, first.name.clone()));

    let labels = [("zone".to_owned(), "a".to_owned())].into();
    let labelled = client.report_instance(Instance { labels, ..serving("a") }).await.unwrap();
    assert_eq!((&labelled.uid, labelled.state_time), (&first.uid, first.state_time));
    assert!(labelled.revision > first.revision && labelled.etag != first.etag);
    let event = next(&mut watch).await;
    assert_eq!(
        (&*event.r#type, &*event.changed_fields),
        (event_type::INSTANCE_UPDATED, ["labels".to_owned()].as_slice())
    );

    let loading = Instance { desired_version: version(2), state: InstanceState::Loading.into(), ..labelled.clone() };
    let loading = client.report_instance(loading).await.unwrap();
    assert!(time(loading.state_time) > time(first.state_time));
    let mut changed = next(&mut watch).await.changed_fields;
    changed.sort_unstable();
    assert_eq!(changed, ["desired_version", "state", "state_time"]);
    assert_eq!(client.get_instance("fraud/instances/a").await.unwrap(), loading);

    client.report_instance(serving("b")).await.unwrap();
    let names = async |parent: &str, filter: &str| {
        let listed = client.list_instances(parent).filter(filter).page_size(1).stream();
        let listed: Vec<Instance> = listed.try_collect().await.unwrap();
        assert!(listed.iter().all(|instance| instance.expire_time.is_some()));
        listed.into_iter().map(|instance| instance.name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(MODEL, "").await, ["a", "b"]);
    assert_eq!(names("models/-", r#"instance.state == "LOADING" && instance.labels["zone"] == "a""#).await, ["a"]);
    let gone = client.delete_instance("fraud/instances/b").await.unwrap();
    assert_eq!(gone.observed_version, version(1));
    assert_eq!(next(&mut watch).await.r#type, event_type::INSTANCE_CREATED);
    assert_eq!(next(&mut watch).await.r#type, event_type::INSTANCE_DELETED);
    assert_eq!(names(MODEL, "").await, ["a"]);
    assert!(client.get_instance("fraud/instances/b").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_heartbeat_leaves_the_log_as_it_is() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let first = client.report_instance(serving("a")).await.unwrap();
    let head = client.status().await.unwrap().revision;
    assert_eq!(head, first.revision);
    let mut heard = time(first.heard_time);
    for _ in 0..3 {
        let again = client.report_instance(serving("a")).await.unwrap();
        assert!(time(again.heard_time) > heard, "{again:?}");
        heard = time(again.heard_time);
        let apart = |instance: &Instance| Instance { heard_time: None, expire_time: None, ..instance.clone() };
        assert_eq!(apart(&again), apart(&first));
        assert_eq!(client.get_instance(&first.name).await.unwrap(), again);
        let listed = client.list_instances(MODEL).await.unwrap().instances;
        assert_eq!(listed, [again]);
    }
    assert_eq!(client.status().await.unwrap().revision, head);
    // Nor does one that is only checked count.
    let check = |instance| registry_client::pb::ReportInstanceRequest { instance: Some(instance), validate_only: true };
    client.call(check(serving("a"))).await.unwrap();
    let new = client.call(check(serving("b"))).await.unwrap();
    assert_eq!((new.revision, client.status().await.unwrap().revision), (0, head));
    assert_eq!(time(client.get_instance(&first.name).await.unwrap().heard_time), heard);
}

#[tokio::test]
async fn who_says_nothing_is_missed() {
    let mut server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let short = Instance { ttl: seconds(5), ..serving("short") };
    client.report_instance(serving("long")).await.unwrap();
    client.report_instance(short.clone()).await.unwrap();
    // While nobody could hear it, it can't be missed.
    server.restart().await;
    let restarted = SystemTime::now();
    let heard = client.report_instance(short.clone()).await.unwrap();
    let mut watch = watch(&client).await;
    let event = next(&mut watch).await;
    assert_eq!((&*event.r#type, &*event.actor), (event_type::INSTANCE_EXPIRED, "registry-server"));
    assert_eq!((event.resource_name, event.after), (short.name.clone(), None));
    let expired = time(event.create_time);
    assert!(expired >= time(heard.heard_time) + Duration::from_secs(5), "{expired:?} {heard:?}");
    assert!(expired >= restarted + Duration::from_secs(5) - Duration::from_secs(1));
    let left = client.list_instances(MODEL).await.unwrap().instances;
    assert_eq!(left.iter().map(|instance| &*instance.name).collect::<Vec<_>>(), [serving("long").name]);
    // Who was only late is another one.
    let again = client.report_instance(short).await.unwrap();
    assert_ne!(again.uid, heard.uid);
    assert_eq!(next(&mut watch).await.r#type, event_type::INSTANCE_CREATED);
}

#[tokio::test]
async fn instances_go_with_their_model() {
    let server = TestServer::start().await;
    let client = server.client();
    let error = client.report_instance(serving("a")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    model_with(&client, MODEL, 1).await;
    for id in ["a", "b"] {
        client.report_instance(serving(id)).await.unwrap();
    }
    client.delete_model(MODEL).await.unwrap();
    for report in [serving("a"), serving("c")] {
        let error = client.report_instance(report).await.unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::ResourceDeleted), "{error}");
    }
    // Who runs a deleted model is still to be seen.
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances.len(), 2);
    let mut watch = watch(&client).await;
    client.purge_model(MODEL).await.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut watch).await.r#type, event_type::INSTANCE_DELETED);
    }
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances, []);
    let error = client.report_instance(serving("a")).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ResourcePurged), "{error}");
    // The next model of that name has none.
    model_with(&client, MODEL, 1).await;
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances, []);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    client.create_model("other").await.unwrap();
    ready(&client, "other").await;
    let wrong = Instance {
        name: format!("{MODEL}/instances/-"),
        target: "@".to_owned(),
        desired_version: "other/versions/1".to_owned(),
        observed_version: "fraud@production".to_owned(),
        state: 0,
        error: "x".repeat(4097),
        labels: [(String::new(), String::new())].into(),
        ttl: seconds(4),
        ..Default::default()
    };
    let fields = async |instance: Instance| {
        let error = client.report_instance(instance).await.unwrap_err();
        let mut fields: Vec<_> = error.violations().iter().map(|violation| violation.field.clone()).collect();
        fields.sort_unstable();
        fields
    };
    let all = ["error", "labels", "name", "observed_version", "state", "target", "ttl"];
    assert_eq!(fields(wrong.clone()).await, all.map(|field| format!("instance.{field}")));
    for (instance, field) in [
        (Instance { desired_version: "other/versions/1".to_owned(), ..serving("a") }, "desired_version"),
        (Instance { desired_version: "fraud/versions/1.0".to_owned(), ..serving("a") }, "desired_version"),
        (Instance { ttl: seconds(3601), ..serving("a") }, "ttl"),
        (Instance { state: 99, ..serving("a") }, "state"),
    ] {
        assert_eq!(fields(instance).await, [format!("instance.{field}")]);
    }
    assert_eq!(client.list_instances(MODEL).await.unwrap().instances, []);
}
