//! Lists of what meets a condition.

use futures::TryStreamExt as _;
use registry_client::pb::{ErrorReason, Event, Stage};
use registry_client::{RegistryClient, WatchItem};
use registry_tests::expect::{invalid, unchanged};
use registry_tests::{TestServer, events, model, ready, soon};

const MODEL: &str = "models/fraud";

/// Twelve versions, of which every third is made with onnx, and whose AUC grows; the first has none.
async fn prepared(server: &TestServer) -> RegistryClient {
    let client = server.client();
    client.create_model(MODEL).team("risk").await.unwrap();
    for number in 1..=12_i32 {
        let framework = if number % 3 == 0 { "onnx" } else { "sklearn" };
        let version = client.create_version(MODEL).framework(framework, "").finalize(true);
        let version = if number % 2 == 0 { version.tag("parity", "even") } else { version };
        let auc = f64::from(80 + number) / 100.0;
        let version = if number > 1 { version.metric("validation", "auc", auc) } else { version };
        version.await.unwrap();
    }
    client
}

async fn numbers(client: &RegistryClient, filter: &str, order: &str, page_size: u32) -> Vec<i64> {
    let list = client.list_versions(MODEL).filter(filter).order_by(order).page_size(page_size);
    list.stream().map_ok(|version| version.number).try_collect().await.unwrap()
}

#[tokio::test]
async fn versions_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.transition_stage(format!("{MODEL}/versions/9"), Stage::Production).await.unwrap();
    let mut lost = client.get_version(format!("{MODEL}/versions/12")).await.unwrap();
    lost.metrics.entry("validation".to_owned()).or_default().values.insert("auc".to_owned(), f64::NAN);
    client.update_version(lost).fields(["metrics"]).await.unwrap();
    for (filter, expected) in [
        ("version.framework == \"onnx\"", vec![3, 6, 9, 12]),
        ("version.framework == 'onnx' && version.tags['parity'] == 'even'", vec![6, 12]),
        ("version.metrics['validation']['auc'] > 0.9", vec![11]),
        ("!(version.metrics['validation']['auc'] > 0.82)", vec![2]),
        ("version.metrics['validation']['auc'] >= 0.9 || version.number < 3", vec![1, 2, 10, 11]),
        ("!has(version.metrics.validation.auc)", vec![1]),
        ("version.stage == 'PRODUCTION'", vec![9]),
        ("version.number > -9223372036854775808 && version.number < 2", vec![1]),
        ("version.stage in ['STAGING', 'ARCHIVED']", vec![]),
        ("true", (1..=12).collect()),
        ("false", vec![]),
    ] {
        for page_size in [1, 2, 5, 50] {
            assert_eq!(numbers(&client, filter, "", page_size).await, expected, "{filter}, {page_size}");
            let reversed: Vec<_> = expected.iter().copied().rev().collect();
            assert_eq!(numbers(&client, filter, "number desc", page_size).await, reversed, "{filter}, {page_size}");
        }
    }
}

#[tokio::test]
async fn versions_of_all_models_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    for name in ["models/churn", "models/gone", "models/zeta"] {
        model(&client, name).await;
        client.create_version(name).framework("onnx", "").finalize(true).await.unwrap();
        ready(&client, name).await;
    }
    client.delete_model("models/gone").await.unwrap();
    client.delete_version("models/fraud/versions/6").await.unwrap();
    let live = ["churn/versions/1", "fraud/versions/3", "fraud/versions/9", "fraud/versions/12", "zeta/versions/1"];
    for page_size in [1, 2, 3, 50] {
        let list = client.list_versions("models/-").filter("version.framework == 'onnx'").page_size(page_size);
        let names = |name: String| name.trim_start_matches("namespaces/default/models/").to_owned();
        let listed: Vec<_> = list.clone().stream().map_ok(|version| names(version.name)).try_collect().await.unwrap();
        assert_eq!(listed, live, "{page_size}");
        let all: Vec<_> = list.show_deleted(true).stream().try_collect().await.unwrap();
        assert_eq!(all.len(), live.len() + 2, "{page_size}");
    }
}

#[tokio::test]
async fn other_kinds_that_meet_a_condition_are_listed() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.create_model("models/churn").tag("pci", "yes").await.unwrap();
    client.create_namespace("risk").tag("cost", "low").await.unwrap();
    let version = client.create_version("models/churn").await.unwrap();
    for path in ["a.bin", "plots/roc.png", "plots/lift.png"] {
        client.upload(&version.name, path, path.as_bytes().to_vec()).await.unwrap();
    }

    for (filter, expected) in [
        ("model.team == 'risk'", vec!["fraud"]),
        ("model.tags['pci'] == 'yes' || model.version_count > 5", vec!["churn", "fraud"]),
        ("model.name.endsWith('/churn')", vec!["churn"]),
    ] {
        for order in ["name", "create_time"] {
            let list = client.list_models().filter(filter).order_by(order).page_size(1).stream();
            let ids = list.map_ok(|model| model.name.rsplit('/').next().unwrap().to_owned());
            let mut ids: Vec<_> = ids.try_collect().await.unwrap();
            ids.sort();
            assert_eq!(ids, expected, "{filter} by {order}");
        }
    }
    let namespaces = client.list_namespaces().filter("resource.tags.cost == 'low'").await.unwrap().namespaces;
    assert_eq!(namespaces.iter().map(|namespace| namespace.name.as_str()).collect::<Vec<_>>(), ["namespaces/risk"]);
    let artifacts = client.list_artifacts(&version.name).filter("artifact.path.startsWith('plots/')").page_size(1);
    let paths: Vec<_> = artifacts.stream().map_ok(|artifact| artifact.path).try_collect().await.unwrap();
    assert_eq!(paths, ["plots/lift.png", "plots/roc.png"]);
}

#[tokio::test]
async fn a_condition_that_is_not_understood_is_refused_and_says_where() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = |filter: &str| client.list_versions(MODEL).filter(filter);
    let wrong = "version.framewrk == 'onnx'";
    invalid(&server, list(wrong), &[("filter", ErrorReason::FieldInvalid)]).await;
    let error = list(wrong).await.unwrap_err();
    assert_eq!(
        error.violations()[0].description,
        "column 9: Version has no field \"framewrk\"; did you mean \"framework\"?"
    );
    // With whatever else is wrong.
    let fields = [("filter", ErrorReason::FieldInvalid), ("order_by", ErrorReason::FieldInvalid)];
    invalid(&server, list("version.stage == 'LIVE'").order_by("age"), &fields).await;
    invalid(&server, list(&"(".repeat(10_000)), &[("filter", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn a_token_belongs_to_its_filter() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = |filter: &str| client.list_versions(MODEL).filter(filter).page_size(1);
    let token = list("version.framework == 'onnx'").await.unwrap().next_page_token;
    assert!(!token.is_empty());
    for filter in ["version.framework == 'sklearn'", ""] {
        let other = list(filter).page_token(&token);
        invalid(&server, other, &[("page_token", ErrorReason::PageTokenInvalid)]).await;
    }
    assert_eq!(list("version.framework == 'onnx'").page_token(token).await.unwrap().versions[0].number, 6);
}

#[tokio::test]
async fn filtered_pages_are_stable_while_versions_come_and_go() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    let list = || client.list_versions(MODEL).filter("version.framework == 'onnx'").page_size(2);
    let first = list().await.unwrap();
    assert_eq!(first.versions.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 6]);
    client.delete_version(format!("{MODEL}/versions/6")).await.unwrap();
    client.delete_version(format!("{MODEL}/versions/7")).await.unwrap();
    client.create_version(MODEL).framework("onnx", "").await.unwrap();
    let rest = list().page_token(first.next_page_token).stream();
    assert_eq!(rest.map_ok(|version| version.number).try_collect::<Vec<_>>().await.unwrap(), [9, 12, 13]);
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// A condition on events, and what meets it by the rules of another language.
type Condition = (&'static str, fn(&Event) -> bool);

fn conditions() -> Vec<Condition> {
    vec![
        ("event.type == 'version.stage_transitioned'", |event| event.r#type == "version.stage_transitioned"),
        ("event.stage_change.to_stage == 'PRODUCTION'", |event| {
            event.stage_change.is_some_and(|change| change.to_stage() == Stage::Production)
        }),
        ("has(event.before) && !has(event.after.model)", |event| {
            let model = event.resource_name.rsplit('/').nth(1) == Some("models");
            event.before.is_some() && !model
        }),
        ("event.actor == 'ana' || event.resource_name.endsWith('/versions/2')", |event| {
            event.actor == "ana" || event.resource_name.ends_with("/versions/2")
        }),
        ("'stage' in event.changed_fields && event.revision > 15", |event| {
            event.changed_fields.iter().any(|field| field == "stage") && event.revision > 15
        }),
        ("false", |_| false),
        ("true", |_| true),
    ]
}

async fn prepared_with_events(server: &TestServer) -> RegistryClient {
    let client = prepared(server).await;
    for number in [2, 5, 2, 9] {
        client.transition_stage(format!("{MODEL}/versions/{number}"), Stage::Production).await.unwrap();
    }
    client.set_alias(MODEL, "champion", "5").await.unwrap();
    client.delete_version(format!("{MODEL}/versions/2")).await.unwrap();
    client
}

#[tokio::test]
async fn events_that_meet_a_condition_are_listed_and_watched() {
    let server = TestServer::start().await;
    let client = prepared_with_events(&server).await;
    let log = events(&client).await;
    let newest = log.last().unwrap().revision;
    for (filter, meets) in conditions() {
        let expected: Vec<_> = log.iter().filter(|event| meets(event)).cloned().collect();
        for page_size in [1, 3, 100] {
            let list = client.list_events().filter(filter).page_size(page_size);
            let listed: Vec<_> = list.stream().try_collect().await.unwrap();
            assert_eq!(names(&listed), names(&expected), "{filter}, {page_size}");
            let list = client.list_events().parent(MODEL).filter(filter).order_by("revision desc").page_size(page_size);
            let of_model: Vec<_> = list.stream().try_collect().await.unwrap();
            let mut below: Vec<_> = expected.iter().filter(|event| event.resource_name.contains("/models/")).collect();
            below.reverse();
            assert!(of_model.iter().eq(below), "{filter}, {page_size}");
        }

        let mut watch = client.watch().filter(filter).after(0).stream();
        let mut watched = Vec::new();
        loop {
            match soon(watch.try_next()).await.unwrap().unwrap() {
                WatchItem::Events { events, .. } => watched.extend(events),
                WatchItem::Bookmark { revision, .. } if revision >= newest => break,
                _ => {}
            }
        }
        assert!(watched.iter().eq(expected.iter()), "{filter}: {:?}", names(&watched));
    }
}

#[tokio::test]
async fn a_watch_with_a_condition_is_told_of_what_leaves_only_if_it_asks() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.transition_stage(format!("{MODEL}/versions/3"), Stage::Production).await.unwrap();
    let holds = "event.after.version.stage == 'PRODUCTION'";
    let leaves = format!("{holds} || event.before.version.stage == 'PRODUCTION'");
    let watch = |filter: &str| client.watch().filter(filter).from_snapshot().stream();
    let (mut holders, mut leavers) = (watch(holds), watch(&leaves));
    let next = async |watch: &mut registry_client::Items<WatchItem>| {
        loop {
            match soon(watch.try_next()).await.unwrap().unwrap() {
                WatchItem::Snapshot { events, .. } | WatchItem::Events { events, .. } => {
                    let number = |event: Event| event.resource_name.rsplit('/').next().unwrap().to_owned();
                    return events.into_iter().map(number).collect::<Vec<_>>();
                }
                _ => {}
            }
        }
    };
    // Of all that there is, the one that matches.
    assert_eq!(next(&mut holders).await, ["3"]);
    assert_eq!(next(&mut leavers).await, ["3"]);
    client.transition_stage(format!("{MODEL}/versions/4"), Stage::Production).await.unwrap();
    assert_eq!(next(&mut holders).await, ["4"]);
    assert_eq!(next(&mut leavers).await, ["4", "3"]);
}

#[tokio::test]
async fn a_watch_with_a_condition_that_is_not_understood_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    let mut watch = client.watch().filter("event.typ == 'version.created'").after(0).stream();
    let error = soon(watch.try_next()).await.unwrap_err();
    assert!(error.is_invalid_argument());
    assert_eq!(error.violations()[0].description, "column 7: Event has no field \"typ\"; did you mean \"type\"?");
    invalid(&server, client.list_events().filter("event.typ"), &[("filter", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn only_versions_that_meet_a_condition_are_pruned() {
    let server = TestServer::start().await;
    let client = prepared(&server).await;
    client.transition_stage(format!("{MODEL}/versions/3"), Stage::Production).await.unwrap();
    let prune = |keep| client.prune_versions(MODEL, keep).filter("version.framework == 'onnx'");
    let numbers = |versions: &[registry_client::pb::Version]| versions.iter().map(|v| v.number).collect::<Vec<_>>();
    // Of 3, 6, 9 and 12, the first is in production.
    let planned = unchanged(&server, prune(1).validate_only(true)).await.unwrap();
    assert_eq!(numbers(&planned.versions), [6, 9]);
    assert_eq!(numbers(&prune(2).await.unwrap().versions), [6]);
    assert_eq!(numbers(&unchanged(&server, prune(2)).await.unwrap().versions), [0; 0]);
    assert_eq!(numbers(&unchanged(&server, prune(100)).await.unwrap().versions), [0; 0]);
    let left = client.list_versions(MODEL).await.unwrap().versions;
    assert_eq!(numbers(&left), [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]);
    invalid(&server, client.prune_versions(MODEL, 1).filter("version"), &[("filter", ErrorReason::FieldInvalid)]).await;
}
