//! What a watch promises, one validator for each promise.

mod guarantees;

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _};
use registry_client::known::event_type;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::resource::Resource as Of;
use registry_client::pb::watch_events_request::{Now, Snapshot, Start};
use registry_client::pb::watch_events_response::Response;
use registry_client::pb::{ErrorReason, Event, Stage, WatchEventsRequest, WatchEventsResponse};
use registry_client::{Error, Items, RegistryClient, WatchItem};
use registry_tests::{TestServer, events, model, model_with, pending, ready, soon};
use tonic::{Code, Streaming};

use guarantees::{Watched, atomic, bookmarkable, filtered, ordered, reliable, resumable, unique};

const MODEL: &str = "models/fraud";

/// A watch without the client's help.
async fn open(server: &TestServer, request: WatchEventsRequest) -> Result<Streaming<WatchEventsResponse>, Error> {
    Ok(EventServiceClient::new(server.channel()).watch_events(request).await?.into_inner())
}

fn from(start: Start) -> WatchEventsRequest {
    WatchEventsRequest { start: Some(start), ..Default::default() }
}

async fn next(watch: &mut Streaming<WatchEventsResponse>) -> Response {
    soon(watch.message()).await.unwrap().unwrap().response.unwrap()
}

/// Reads on until everything up to a revision has come.
async fn read_to(watch: &mut Streaming<WatchEventsResponse>, revision: i64, into: &mut Watched) {
    while into.seen() < revision {
        into.push(next(watch).await);
    }
}

async fn head(client: &RegistryClient) -> i64 {
    events(client).await.last().map_or(0, |event| event.revision)
}

/// Some of everything, with revisions of several events.
async fn work(client: &RegistryClient, name: &str) {
    model_with(client, name, 3).await;
    for number in [1, 2, 3, 1] {
        client.transition_stage(format!("{name}/versions/{number}"), Stage::Production).await.unwrap();
    }
    client.set_alias(name, "champion", "1").await.unwrap();
    let version = pending(client, name).await.name;
    client.upload(&version, "a", b"x".to_vec()).await.unwrap();
    client.delete_version(format!("{name}/versions/1")).force(true).await.unwrap();
}

#[tokio::test]
async fn a_watch_of_the_whole_log_keeps_every_promise() {
    let server = TestServer::start().await;
    let client = server.client();
    work(&client, MODEL).await;
    let mut watch = open(&server, from(Start::AfterRevision(0))).await.unwrap();
    let mut watched = Watched::default();
    work(&client, "models/other").await;
    let log = events(&client).await;
    read_to(&mut watch, log.last().unwrap().revision, &mut watched).await;
    assert_eq!(watched.created, Some(0));
    ordered(&watched);
    unique(&watched);
    atomic(&watched, &log);
    reliable(&watched, &log, 0);
    bookmarkable(&watched);
}

#[tokio::test]
async fn a_watch_from_now_begins_with_the_next_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    work(&client, MODEL).await;
    let before = head(&client).await;
    for start in [Some(Start::Now(Now {})), None] {
        let mut watch = open(&server, WatchEventsRequest { start, ..Default::default() }).await.unwrap();
        let mut watched = Watched::default();
        watched.push(next(&mut watch).await);
        let began = watched.created.unwrap();
        assert!(began >= before);
        ready(&client, MODEL).await;
        client.transition_stage("models/fraud@latest", Stage::Production).await.unwrap();
        let log = events(&client).await;
        read_to(&mut watch, began + 2, &mut watched).await;
        assert_eq!(watched.revisions(), [began + 1, began + 2]);
        reliable(&watched, &log, began);
        bookmarkable(&watched);
    }
}

#[tokio::test]
async fn a_watch_is_resumed_behind_any_revision() {
    let server = TestServer::start().await;
    let client = server.client();
    work(&client, MODEL).await;
    let log = events(&client).await;
    let newest = log.last().unwrap().revision;
    let mut whole = Watched::default();
    read_to(&mut open(&server, from(Start::AfterRevision(0))).await.unwrap(), newest, &mut whole).await;
    for revision in 0..=newest {
        let mut rest = Watched::default();
        let mut watch = open(&server, from(Start::AfterRevision(revision))).await.unwrap();
        read_to(&mut watch, newest, &mut rest).await;
        resumable(&whole, &rest, revision);
    }
}

#[tokio::test]
async fn a_filter_chooses_events_and_breaks_no_promise() {
    let server = TestServer::start().await;
    let client = server.client();
    work(&client, MODEL).await;
    work(&client, "namespaces/other/models/fraud").await;
    let log = events(&client).await;
    let newest = log.last().unwrap().revision;
    for (parent, below) in [
        (MODEL, "namespaces/default/models/fraud"),
        ("models/-", "namespaces/default"),
        ("namespaces/other", "namespaces/other"),
        ("namespaces/other/models/fraud/versions/1", "namespaces/other/models/fraud/versions/1"),
        ("", "namespaces"),
    ] {
        for types in [
            vec![],
            vec![event_type::VERSION_STAGE_TRANSITIONED, event_type::ALIAS_DELETED],
            vec![event_type::MODEL_DELETED],
        ] {
            let request = WatchEventsRequest {
                parent: parent.to_owned(),
                types: types.iter().map(|&r#type| r#type.to_owned()).collect(),
                ..from(Start::AfterRevision(0))
            };
            let mut watch = open(&server, request).await.unwrap();
            let mut watched = Watched::default();
            read_to(&mut watch, newest, &mut watched).await;
            ordered(&watched);
            unique(&watched);
            filtered(&watched, &log, below, &types);
        }
    }
}

#[tokio::test]
async fn a_watch_behind_a_response_begins_with_the_next_change() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model(&client, MODEL).await;
    let version = ready(&client, MODEL).await;
    let promoted = client.transition_stage(&version.name, Stage::Production).await.unwrap();
    assert_eq!(promoted.revision, promoted.version.unwrap().revision);
    let aliased = client.set_alias(MODEL, "champion", "1").await.unwrap();
    let plot = client.upload(&version.name, "roc.png", b"x".to_vec()).await.unwrap();
    let deleted = client.delete_version(&version.name).force(true).await.unwrap();
    let back = client.undelete_version(&version.name).await.unwrap();
    let revisions = [
        made.revision,
        version.revision,
        promoted.revision,
        aliased.revision,
        plot.revision,
        deleted.revision,
        back.revision,
    ];
    assert_eq!(revisions, [1, 2, 3, 4, 5, 6, 7]);
    let log = events(&client).await;
    for revision in &revisions[..6] {
        let mut watch = client.watch().after(*revision).stream();
        let next = follow(&mut watch, revision + 1).await;
        assert!(next.iter().eq(log.iter().filter(|event| event.revision == revision + 1)), "after {revision}");
    }
    // Also what is computed from other resources: the artifact changed the version, and the version the model.
    let read = client.get_model(MODEL).await.unwrap().revision;
    assert_eq!((read, client.get_version(&version.name).await.unwrap()), (7, back));

    // What is only checked is of no revision.
    let deleted = client.delete_version(&version.name).validate_only(true).await.unwrap();
    let promoted = client.transition_stage(&version.name, Stage::Production).validate_only(true).await.unwrap();
    assert_eq!((deleted.revision, promoted.version.unwrap().revision, promoted.revision), (0, 0, 0));
}

#[tokio::test]
async fn a_watch_behind_the_head_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let error = open(&server, from(Start::AfterRevision(2))).await.unwrap_err();
    assert!(error.is_out_of_range());
    assert_eq!(error.reason(), Some(ErrorReason::RevisionUnknown));
    let error = soon(client.watch().after(i64::MAX).stream().try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::RevisionUnknown));
    let error = open(&server, from(Start::AfterRevision(-1))).await.unwrap_err();
    assert_eq!((error.code(), error.violations()[0].field.as_str()), (Some(Code::InvalidArgument), "after_revision"));
    let types = soon(client.watch().types(["version.none"]).stream().try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((types.code(), types.violations()[0].field.as_str()), (Some(Code::InvalidArgument), "types[0]"));
    let error = soon(client.watch().parent("nonsense/x").stream().try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((error.code(), error.violations()[0].field.as_str()), (Some(Code::InvalidArgument), "parent"));
}

#[tokio::test]
async fn a_cursor_goes_on_in_its_own_history_only() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_namespace("nowhere").await.unwrap();
    model(&client, MODEL).await;
    let begun = events(&client).await.last().unwrap().clone();
    model(&client, "models/other").await;
    let mut watch = client.watch().after(begun.revision).hash(begun.hash.clone()).stream();
    let first = soon(watch.try_next()).await.unwrap().unwrap();
    assert_eq!(first, WatchItem::Created { revision: begun.revision, hash: begun.hash.clone() });
    let Some(WatchItem::Events { revision, hash, .. }) = soon(watch.try_next()).await.unwrap() else { panic!() };
    // The hash of a message is that of its revision, also if the newest event of it is not one of those that were asked for.
    assert_eq!(hash, events(&client).await.into_iter().rfind(|event| event.revision == revision).unwrap().hash);
    let mut elsewhere = client.watch().parent("namespaces/nowhere").types(["model.*"]).after(0).stream();
    let bookmark = loop {
        match soon(elsewhere.try_next()).await.unwrap().unwrap() {
            WatchItem::Bookmark { revision, hash } => break (revision, hash),
            other => assert!(matches!(other, WatchItem::Created { .. }), "{other:?}"),
        }
    };
    assert_eq!(bookmark, (revision, hash.clone()));

    let strange = client.watch().after(begun.revision).hash(hash.clone()).stream();
    let error = soon(strange.try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((error.is_out_of_range(), error.reason()), (true, Some(ErrorReason::HistoryChanged)));
    let short = client.watch().after(begun.revision).hash(hash.slice(..8)).stream();
    let error = soon(short.try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((error.code(), error.violations()[0].field.as_str()), (Some(Code::InvalidArgument), "after_hash"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_loses_nothing_and_stops_nobody() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let mut watch = open(&server, from(Start::AfterRevision(0))).await.unwrap();
    let text = "x".repeat(4096);
    // More than all the buffers between here and there hold.
    let make = |_| async { drop(client.create_version(MODEL).description(&text).finalize(true).await.unwrap()) };
    soon(stream::iter(0..2000).for_each_concurrent(64, make)).await;
    let log = events(&client).await;
    assert_eq!(log.last().unwrap().revision, 2001);
    let mut watched = Watched::default();
    read_to(&mut watch, 2001, &mut watched).await;
    ordered(&watched);
    reliable(&watched, &log, 0);
}

/// A resource without what other changes than its own bring about, which no event of its own tells of.
fn essence(resource: Of) -> Of {
    match resource {
        Of::Model(mut model) => {
            (model.etag, model.update_time, model.revision, model.latest_version) = Default::default();
            (model.stages, model.version_count) = Default::default();
            Of::Model(model)
        }
        Of::Version(mut version) => {
            (version.etag, version.update_time, version.revision) = Default::default();
            (version.size_bytes, version.artifact_count) = Default::default();
            Of::Version(version)
        }
        other => other,
    }
}

fn is_deleted(resource: &Of) -> bool {
    match resource {
        Of::Model(model) => model.delete_time.is_some(),
        Of::Version(version) => version.delete_time.is_some(),
        _ => false,
    }
}

/// What a reader makes of a snapshot and the events behind it, of models and what is below them.
fn apply(state: &mut BTreeMap<String, Of>, event: &Event) {
    if !event.resource_name.contains("/models/") {
        return;
    }
    let after = event.after.clone().and_then(|after| after.resource);
    match after.filter(|after| !is_deleted(after)) {
        Some(after) => drop(state.insert(event.resource_name.clone(), essence(after))),
        None => {
            let below = format!("{}/", event.resource_name);
            state.retain(|name, _| *name != event.resource_name && !name.starts_with(&below));
        }
    }
}

/// What there is, as the lists have it.
async fn state(client: &RegistryClient) -> BTreeMap<String, Of> {
    let mut state = BTreeMap::new();
    for model in client.list_models().page_size(1000).await.unwrap().models {
        state.insert(model.name.clone(), essence(Of::Model(model)));
    }
    for version in client.list_versions("models/-").page_size(1000).await.unwrap().versions {
        for artifact in client.list_artifacts(&version.name).await.unwrap().artifacts {
            state.insert(artifact.name.clone(), Of::Artifact(artifact));
        }
        state.insert(version.name.clone(), essence(Of::Version(version)));
    }
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_the_events_behind_it_are_the_state_also_while_others_write() {
    let server = TestServer::start().await;
    let client = server.client();
    for i in 0..15 {
        work(&client, &format!("models/old{i}")).await;
    }
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for i in 0..15 {
                work(&client, &format!("models/new{i}")).await;
                client.delete_version(format!("models/old{i}/versions/2")).force(true).await.unwrap();
                client.transition_stage(format!("models/old{i}/versions/3"), Stage::Production).await.unwrap();
            }
            client.delete_model("models/new0").force(true).await.unwrap();
        }
    });
    let mut watches = Vec::new();
    for _ in 0..5 {
        let mut watch = open(&server, from(Start::Snapshot(Snapshot {}))).await.unwrap();
        let Response::Created(created) = next(&mut watch).await else { panic!("created has to come first") };
        watches.push((watch, created.revision));
    }
    writer.await.unwrap();
    let (expected, log) = (state(&client).await, events(&client).await);
    let newest = log.last().unwrap().revision;
    for (mut watch, revision) in watches {
        let mut found = BTreeMap::new();
        loop {
            match next(&mut watch).await {
                Response::Events(part) => {
                    assert!(part.events.iter().all(|event| event.r#type == event_type::RESOURCE_SNAPSHOT));
                    assert!(part.events.iter().all(|event| event.revision == revision && event.hash.is_empty()));
                    part.events.iter().for_each(|event| apply(&mut found, event));
                }
                Response::Bookmark(end) => break assert_eq!(end.revision, revision),
                Response::Created(_) => panic!("created comes once"),
            }
        }
        let mut tail = Watched { bookmarks: vec![(0, revision)], ..Default::default() };
        read_to(&mut watch, newest, &mut tail).await;
        reliable(&tail, &log, revision);
        tail.messages.iter().flat_map(|(_, events)| events).for_each(|event| apply(&mut found, event));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == expected, "the same resources, with another content");
    }
}

#[tokio::test]
async fn a_snapshot_is_of_the_parent_and_holds_nothing_deleted() {
    let server = TestServer::start().await;
    let client = server.client();
    work(&client, MODEL).await;
    work(&client, "models/gone").await;
    work(&client, "namespaces/other/models/fraud").await;
    client.delete_model("models/gone").force(true).await.unwrap();
    let names = async |parent: &str| {
        let types = vec![event_type::MODEL_DELETED.to_owned()];
        let request = WatchEventsRequest { parent: parent.to_owned(), types, ..from(Start::Snapshot(Snapshot {})) };
        let mut watch = open(&server, request).await.unwrap();
        let mut names = Vec::new();
        loop {
            match next(&mut watch).await {
                Response::Events(part) => {
                    let named = part.events.into_iter().map(|event| event.resource_name);
                    names.extend(named.filter(|name| name.contains("/models/")));
                }
                Response::Bookmark(_) => return names,
                Response::Created(_) => {}
            }
        }
    };
    let of = |model: &str| {
        ["", "/versions/2", "/versions/3", "/versions/4", "/versions/4/artifacts/a"]
            .map(|rest| format!("{model}{rest}"))
    };
    let (here, there) = (of("namespaces/default/models/fraud"), of("namespaces/other/models/fraud"));
    assert_eq!(names("").await, [here.clone(), there.clone()].concat());
    assert_eq!(names("namespaces/other").await, there);
    assert_eq!(names(MODEL).await, here);
    assert_eq!(names("models/fraud/versions/4").await, here[3..]);
    assert!(names("models/gone").await.is_empty());
    assert!(names("models/fraud/versions/1").await.is_empty());
}

#[tokio::test]
async fn a_watch_ends_with_a_status_when_the_server_drains() {
    let mut server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    let mut watch = open(&server, from(Start::AfterRevision(0))).await.unwrap();
    let mut watched = Watched::default();
    read_to(&mut watch, 1, &mut watched).await;
    let end = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a watch ends with a status only"),
                Err(status) => return Error::from(status),
            }
        }
    };
    let (end, ()) = soon(futures::future::join(end, server.stop())).await;
    assert_eq!((end.code(), end.reason()), (Some(Code::Unavailable), Some(ErrorReason::ServerDraining)));
    assert!(end.status().unwrap().retry_after.is_some());
}

/// The revisions of the next events of a client's watch, up to one.
async fn follow(watch: &mut Items<WatchItem>, to: i64) -> Vec<Event> {
    let mut found = Vec::new();
    while found.last().is_none_or(|event: &Event| event.revision < to) {
        if let WatchItem::Events { events, .. } = soon(watch.next()).await.unwrap().unwrap() {
            found.extend(events);
        }
    }
    found
}

#[tokio::test]
async fn a_client_s_watch_goes_on_after_a_restart_without_gap_or_double() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let mut watch = client.watch().after(0).stream();
    let mut seen = Vec::new();
    for name in ["models/a", "models/b", "models/c"] {
        work(&client, name).await;
        seen.extend(follow(&mut watch, head(&client).await).await);
        // What is written while nobody listens has to come as well.
        work(&client, &format!("{name}2")).await;
        server.restart().await;
    }
    work(&client, "models/d").await;
    seen.extend(follow(&mut watch, head(&client).await).await);
    assert_eq!(seen, events(&client).await);
}
