//! The log: what is in it, and that nobody changed it.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use registry_client::RegistryClient;
use registry_client::known::event_type;
use registry_client::pb::resource::Resource as Of;
use registry_client::pb::{ErrorReason, Event, ListEventsRequest, Model, Stage, Version};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, events, events_of, is_of, model, model_with, pending};
use sha2::{Digest as _, Sha256};
use tonic::Code;
use uuid::Uuid;

const MODEL: &str = "models/fraud";

/// Something of every type.
async fn a_life(client: &RegistryClient) {
    model_with(client, MODEL, 2).await;
    client.update_model(Model { name: MODEL.to_owned(), owner: "ada".to_owned(), ..Default::default() }).await.unwrap();
    let third = client.create_version(MODEL).metric("test", "auc", 0.9).metric("a", "b", f64::NAN).tag("k", "v");
    let third = third.hyperparameter("depth", 6.0).await.unwrap();
    client.upload(&third.name, "model.onnx", b"bytes".to_vec()).await.unwrap();
    client.upload(&third.name, "gone", b"bytes".to_vec()).await.unwrap();
    client.delete_artifact(format!("{}/artifacts/gone", third.name)).await.unwrap();
    let described = Version { name: third.name.clone(), description: "x".to_owned(), ..Default::default() };
    client.update_version(described).await.unwrap();
    client.finalize_version(&third.name).await.unwrap();
    for number in 1..=3 {
        client.transition_stage(format!("{MODEL}/versions/{number}"), Stage::Production).await.unwrap();
    }
    client.rollback(MODEL).comment("worse").await.unwrap();
    client.set_alias(MODEL, "champion", "3").await.unwrap();
    client.delete_alias(MODEL, "champion").await.unwrap();
    client.delete_version("models/fraud/versions/2").force(true).await.unwrap();
    client.undelete_version("models/fraud/versions/2").await.unwrap();
    client.delete_model(MODEL).force(true).await.unwrap();
    client.undelete_model(MODEL).await.unwrap();
}

/// Every hash, exactly as events.proto says.
fn verify_chain(log: &[Event]) {
    let mut previous = vec![0; 32];
    for event in log {
        let unhashed = Event { hash: Default::default(), ..event.clone() };
        let expected = Sha256::new().chain_update(&previous).chain_update(unhashed.encode_to_vec()).finalize();
        assert_eq!(event.hash, expected.as_slice(), "{}", event.name);
        previous = event.hash.to_vec();
    }
}

#[tokio::test]
async fn the_hashes_are_a_chain_over_all_events_also_after_a_restart() {
    let mut server = TestServer::start().await;
    let client = server.client();
    a_life(&client).await;
    let before = events(&client).await;
    verify_chain(&before);
    server.restart().await;
    model(&client, "models/later").await;
    let after = events(&client).await;
    verify_chain(&after);
    assert_eq!(format!("{:?}", &after[..before.len()]), format!("{before:?}"), "the past does not change");
    assert_eq!(after.len(), before.len() + 1);
}

#[tokio::test]
async fn revisions_are_contiguous_and_events_are_named_after_them() {
    let server = TestServer::start().await;
    let client = server.client();
    a_life(&client).await;
    let log = events(&client).await;
    let mut previous = (0, 0);
    let mut ids = Vec::new();
    for event in &log {
        let here = (event.revision, event.index);
        let next = [(previous.0, previous.1 + 1), (previous.0 + 1, 0)];
        assert!(next.contains(&here), "{here:?} behind {previous:?}");
        assert_eq!(event.name, format!("events/{}-{}", event.revision, event.index));
        assert!(event.create_time.is_some() && event.actor == "tester");
        let id = Uuid::parse_str(&event.uid).unwrap();
        assert_eq!(id.get_version_num(), 7);
        ids.push(id);
        previous = here;
    }
    assert_eq!(log[0].revision, 1);
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn an_event_has_the_resource_after_the_change_and_of_before_what_the_change_took() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = client.create_model(MODEL).owner("ada").await.unwrap();
    let updated = client
        .update_model(Model { name: MODEL.to_owned(), owner: "bob".to_owned(), ..Default::default() })
        .await
        .unwrap();
    let version = pending(&client, MODEL).await;
    let artifact = client.upload(&version.name, "a", b"x".to_vec()).await.unwrap();
    client.delete_artifact(&artifact.name).await.unwrap();
    let log = events_of(&client, MODEL).await;
    let sides = |event: &Event| {
        let of = |side: &Option<registry_client::pb::Resource>| side.clone().and_then(|side| side.resource);
        (event.r#type.clone(), event.resource_name.clone(), of(&event.before), of(&event.after))
    };
    assert_eq!(log[1].changed_fields, ["owner"]);
    let taken = Model {
        name: made.name.clone(),
        owner: "ada".to_owned(),
        etag: made.etag.clone(),
        update_time: made.update_time,
        revision: made.revision,
        ..Default::default()
    };
    assert!(log.iter().enumerate().all(|(i, event)| i == 1 || event.changed_fields.is_empty()));
    let expected = [
        (event_type::MODEL_CREATED.to_owned(), taken.name.clone(), None, Some(Of::Model(made))),
        (event_type::MODEL_UPDATED.to_owned(), taken.name.clone(), Some(Of::Model(taken)), Some(Of::Model(updated))),
        (event_type::VERSION_CREATED.to_owned(), version.name.clone(), None, Some(Of::Version(version))),
        (event_type::ARTIFACT_CREATED.to_owned(), artifact.name.clone(), None, Some(Of::Artifact(artifact.clone()))),
        (event_type::ARTIFACT_DELETED.to_owned(), artifact.name.clone(), Some(Of::Artifact(artifact)), None),
    ];
    assert_eq!(log.iter().map(sides).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_log_knows_who_and_under_which_request_id() {
    let server = TestServer::start().await;
    let id = Uuid::new_v4();
    server.client().create_model(MODEL).request_id(id).await.unwrap();
    let unnamed = RegistryClient::builder(server.endpoint()).connect().await.unwrap();
    assert_eq!(unnamed.create_version(MODEL).await.unwrap().creator, "anonymous");
    let log = events_of(&server.client(), MODEL).await;
    assert_eq!((log[0].actor.as_str(), log[0].request_id.as_str()), ("tester", id.to_string().as_str()));
    assert_eq!(log[1].actor, "anonymous");
}

#[tokio::test]
async fn one_event_is_answered_by_its_name() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    client.transition_stage("models/fraud/versions/1", Stage::Production).await.unwrap();
    client.transition_stage("models/fraud/versions/2", Stage::Production).await.unwrap();
    for event in events(&client).await {
        assert_eq!(client.get_event(&event.name).await.unwrap(), event);
    }
    for missing in ["events/0-0", "events/1-9", "events/6-0", "events/9223372036854775807-0"] {
        refused(&server, client.get_event(missing), Code::NotFound, ErrorReason::ResourceNotFound).await;
    }
    for bad in [
        "",
        "events/",
        "events/1",
        "events/1-x",
        "events/-1-0",
        "events/01-0",
        "events/+1-0",
        "events/1-00",
        "models/fraud",
    ] {
        invalid(&server, client.get_event(bad), &[("name", ErrorReason::NameInvalid)]).await;
    }
}

#[tokio::test]
async fn events_are_chosen_by_parent_and_type() {
    let server = TestServer::start().await;
    let client = server.client();
    a_life(&client).await;
    model_with(&client, "models/fraud2", 11).await;
    model_with(&client, "namespaces/other/models/fraud", 1).await;
    let all = events(&client).await;
    let below = |event: &Event, parent: &str| {
        event.resource_name == parent || event.resource_name.starts_with(&format!("{parent}/"))
    };
    for (asked, parent) in [
        ("models/fraud", "namespaces/default/models/fraud"),
        ("models/-", "namespaces/default"),
        ("namespaces/default", "namespaces/default"),
        ("namespaces/other", "namespaces/other"),
        ("namespaces/other/models/fraud", "namespaces/other/models/fraud"),
        ("models/fraud/versions/3", "namespaces/default/models/fraud/versions/3"),
        ("models/fraud2/versions/1", "namespaces/default/models/fraud2/versions/1"),
    ] {
        for types in [
            vec![],
            vec![event_type::VERSION_STAGE_TRANSITIONED, event_type::ARTIFACT_CREATED],
            vec!["version.*"],
            vec!["alias.*", event_type::MODEL_CREATED],
        ] {
            for page_size in [1, 1000] {
                let list = client.list_events().parent(asked).types(types.clone()).page_size(page_size);
                let found: Vec<Event> = list.stream().try_collect().await.unwrap();
                let chosen = all.iter().filter(|event| below(event, parent));
                let chosen = chosen.filter(|event| is_of(event, &types));
                let names: Vec<_> = chosen.map(|event| &event.name).collect();
                assert_eq!(found.iter().map(|event| &event.name).collect::<Vec<_>>(), names, "{asked} {types:?}");
                let list = client.list_events().parent(asked).types(types.clone()).order_by("revision desc");
                let found: Vec<Event> = list.page_size(page_size).stream().try_collect().await.unwrap();
                assert!(found.iter().rev().map(|event| &event.name).eq(names), "{asked} {types:?}");
            }
        }
    }
}

fn time_of(event: &Event) -> SystemTime {
    event.create_time.unwrap().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_never_decrease_along_the_log() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let lives = ["models/a", "models/b", "models/c"].map(|name| {
        let client = server.client();
        tokio::spawn(async move { drop(model_with(&client, name, 30).await) })
    });
    for life in lives {
        life.await.unwrap();
    }
    server.restart().await;
    a_life(&client).await;
    assert!(events(&client).await.iter().map(time_of).is_sorted());
}

#[tokio::test]
async fn events_are_chosen_by_time_from_the_start_on_and_before_the_end() {
    let server = TestServer::start().await;
    let client = server.client();
    a_life(&client).await;
    let log = events(&client).await;
    let names = |events: &[Event]| events.iter().map(|event| event.name.clone()).collect::<Vec<_>>();
    let times: Vec<_> = log.iter().map(time_of).collect();
    let (first, last) = (times[0], times[times.len() - 1]);
    let (middle, tick) = (times[times.len() / 2], Duration::from_nanos(1));
    for (start, end) in [
        (None, None),
        (Some(first), Some(last)),
        (Some(first + tick), Some(last + tick)),
        (Some(middle), None),
        (None, Some(middle)),
        (Some(middle), Some(middle)),
        (Some(middle), Some(middle + tick)),
        (Some(last), Some(first)),
        (Some(last + tick), None),
        (None, Some(first)),
        (Some(SystemTime::UNIX_EPOCH), Some(last + Duration::from_secs(1))),
    ] {
        let inside = |time: SystemTime| start.is_none_or(|start| time >= start) && end.is_none_or(|end| time < end);
        for (parent, page_size) in [("", 2), ("", 1000), (MODEL, 3)] {
            let below = |event: &&Event| parent.is_empty() || event.resource_name.contains(parent);
            let chosen: Vec<Event> = log.iter().filter(below).filter(|event| inside(time_of(event))).cloned().collect();
            let mut list = client.list_events().parent(parent).page_size(page_size);
            list = start.into_iter().fold(list, |list, start| list.start_time(start));
            list = end.into_iter().fold(list, |list, end| list.end_time(end));
            let found: Vec<Event> = list.clone().stream().try_collect().await.unwrap();
            assert!(names(&found) == names(&chosen), "{start:?} to {end:?} of {parent:?}");
            let mut found: Vec<Event> = list.order_by("revision desc").stream().try_collect().await.unwrap();
            found.reverse();
            assert!(names(&found) == names(&chosen), "{start:?} to {end:?} of {parent:?}, newest first");
        }
    }
}

#[tokio::test]
async fn what_can_not_be_listed_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    for parent in ["nonsense/x", "models/fraud/versions/@latest", "models/fraud/versions/1.4.0", "models/fraud@latest"]
    {
        invalid(&server, client.list_events().parent(parent), &[("parent", ErrorReason::NameInvalid)]).await;
    }
    let types = client.list_events().types(["model.created", "nonsense", "", "model.*", "*", "model", "model.none"]);
    let error = refused(&server, types, Code::InvalidArgument, ErrorReason::FieldInvalid).await;
    let fields: Vec<_> = error.violations().iter().map(|found| found.field.as_str()).collect();
    assert_eq!(fields, ["types[1]", "types[2]", "types[4]", "types[5]", "types[6]"]);
    // What is no type is answered with the kinds, and what is of a kind with its types.
    let kinds = event_type::all().map(|known| format!("{}.*", known.split_once('.').unwrap().0));
    let description = &error.violations()[0].description;
    assert!(kinds.into_iter().all(|kind| description.contains(&kind)), "{description}");
    let description = &error.violations()[4].description;
    let of_models = event_type::all().filter(|known| known.starts_with("model."));
    assert!(of_models.into_iter().all(|known| description.contains(known)), "{description}");
    assert!(!description.contains("version."), "{description}");
    let order = client.list_events().order_by("create_time");
    invalid(&server, order, &[("order_by", ErrorReason::FieldInvalid)]).await;
    let negative = client.call(ListEventsRequest { page_size: -1, ..Default::default() });
    invalid(&server, negative, &[("page_size", ErrorReason::FieldInvalid)]).await;
}

/// The next page of another registry is not the next one here: whether the head is behind the token, at it, or past it.
#[tokio::test]
async fn a_page_token_goes_on_in_its_own_history_only() {
    let (server, other) = (TestServer::start().await, TestServer::start().await);
    let (here, there) = (server.client(), other.client());
    model_with(&here, MODEL, 2).await;
    let first = here.list_events().page_size(1).await.unwrap();
    let token = here.list_events().page_size(1).page_token(first.next_page_token).await.unwrap().next_page_token;
    assert!(here.list_events().page_size(1).page_token(&token).await.is_ok());
    for number in 0..3 {
        model(&there, &format!("models/m{number}")).await;
        let error = there.list_events().page_size(1).page_token(&token).await.unwrap_err();
        assert_eq!((error.is_out_of_range(), error.reason()), (true, Some(ErrorReason::HistoryChanged)), "{number}");
    }
}
