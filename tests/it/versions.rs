//! `VersionService`: making, changing and comparing versions.

use std::collections::BTreeSet;

use futures::future::join_all;
use prost_types::Timestamp;
use registry_client::known::framework;
use registry_client::pb::{
    CreateVersionRequest, ErrorReason, MetricComparison, MetricDirection, MetricSet, Stage, Version, VersionState,
};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, model, model_with, pending, ready, sha256};
use tonic::Code;

const MODEL: &str = "models/fraud";

#[tokio::test]
async fn a_version_is_answered_as_it_was_made() {
    let server = TestServer::start().await;
    let client = server.client();
    let base = model_with(&client, MODEL, 1).await.remove(0);
    let made = client
        .create_version(MODEL)
        .version_id("1.4.0")
        .description("better")
        .framework(framework::XGBOOST, "2.1.0")
        .metric("validation", "auc", 0.93)
        .metric("validation", "nan", f64::NAN)
        .metric("test", "worst", f64::NEG_INFINITY)
        .hyperparameter("max_depth", 6.0)
        .tag("run", "17")
        .base_versions(["models/fraud@latest"])
        .await
        .unwrap();
    assert_eq!((made.number, made.state(), made.stage()), (2, VersionState::Pending, Stage::Development));
    assert_eq!((made.version_id.as_str(), made.framework.as_str()), ("1.4.0", framework::XGBOOST));
    assert_eq!(made.creator, "tester");
    assert_eq!(made.base_versions, [base.name], "a base version is answered by its canonical name");
    assert_eq!(made.metrics["validation"].values["auc"], 0.93);
    assert!(made.metrics["validation"].values["nan"].is_nan());
    assert_eq!(made.metrics["test"].values["worst"], f64::NEG_INFINITY);
    assert_eq!(made.tags["run"], "17");
    // As text, because NaN is not itself.
    let found = client.get_version(&made.name).await.unwrap();
    assert_eq!(format!("{found:?}"), format!("{made:?}"));
}

#[tokio::test]
async fn what_is_output_only_is_ignored_when_a_version_is_made() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let (mine, time) = (|| "mine".to_owned(), Some(Timestamp { seconds: 1, nanos: 0 }));
    let forged = Version {
        name: "namespaces/other/models/x/versions/7".to_owned(),
        uid: mine(),
        revision: 99,
        creator: mine(),
        create_time: time,
        update_time: time,
        delete_time: time,
        purge_time: time,
        purged: true,
        version_id: mine(),
        number: 7,
        state: VersionState::Failed.into(),
        failure_reason: mine(),
        stage: Stage::Production.into(),
        stage_time: time,
        stage_revision: 99,
        manifest_sha256: mine(),
        size_bytes: 99,
        artifact_count: 99,
        ..Default::default()
    };
    let create = CreateVersionRequest { parent: MODEL.to_owned(), version: Some(forged), ..Default::default() };
    let made = client.call(create).await.unwrap();
    assert_ne!((made.uid.clone(), made.create_time), (mine(), time));
    let own = Version {
        name: format!("namespaces/default/{MODEL}/versions/1"),
        uid: made.uid.clone(),
        etag: made.etag.clone(),
        revision: 2,
        creator: "tester".to_owned(),
        create_time: made.create_time,
        update_time: made.create_time,
        number: 1,
        state: VersionState::Pending.into(),
        stage: Stage::Development.into(),
        stage_time: made.create_time,
        stage_revision: 2,
        ..Default::default()
    };
    assert_eq!(made, own);
    // It goes as others do.
    let deleted = client.delete_version(&made.name).await.unwrap();
    let (planned, since) = (deleted.purge_time.unwrap(), deleted.delete_time.unwrap());
    assert_eq!((planned.seconds - since.seconds, deleted.purged), (30 * 24 * 60 * 60, false));
    let back = client.undelete_version(&made.name).await.unwrap();
    assert_eq!((back.delete_time, back.purge_time), (None, None));
    client.delete_version(&made.name).await.unwrap();
    assert!(client.purge_version(&made.name).await.unwrap().purged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_get_numbers_without_gap_or_double() {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    let clients: Vec<_> = (0..64).map(|_| server.client()).collect();
    let calls = clients.iter().map(|client| async move {
        let mut numbers = Vec::new();
        for _ in 0..3 {
            numbers.push(ready(client, MODEL).await.number);
        }
        assert!(numbers.is_sorted(), "each client sees numbers grow");
        numbers
    });
    let numbers: Vec<i64> = join_all(calls).await.into_iter().flatten().collect();
    assert_eq!(numbers.len(), 192);
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), (1..=192).collect());
    let model = server.client().get_model(MODEL).await.unwrap();
    assert_eq!((model.version_count, model.latest_version.rsplit('/').next().unwrap()), (192, "192"));
}

#[tokio::test]
async fn a_version_is_ready_with_finalize_or_where_its_content_lies_elsewhere() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let empty = client.create_version(MODEL).finalize(true).await.unwrap();
    assert_eq!((empty.state(), empty.manifest_sha256), (VersionState::Ready, sha256(b"")));
    let elsewhere = client.create_version(MODEL).source_uri("s3://bucket/model.onnx").await.unwrap();
    assert_eq!(elsewhere.state(), VersionState::Ready);

    let filled = pending(&client, MODEL).await;
    let sealed = client.finalize_version(&filled.name).etag(&filled.etag).await.unwrap();
    assert_eq!(sealed.state(), VersionState::Ready);
    let given_up = pending(&client, MODEL).await;
    let failed = client.finalize_version(&given_up.name).failed("out of memory").await.unwrap();
    assert_eq!((failed.state(), failed.failure_reason.as_str()), (VersionState::Failed, "out of memory"));
    assert_eq!(failed.manifest_sha256, "");
    for name in [sealed.name, failed.name] {
        let again = client.finalize_version(name);
        refused(&server, again, Code::FailedPrecondition, ErrorReason::VersionSealed).await;
    }
}

#[tokio::test]
async fn a_version_id_is_unique_in_its_model() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    model(&client, "models/other").await;
    client.create_version(MODEL).version_id("1.4.0").await.unwrap();
    let again = client.create_version(MODEL).version_id("1.4.0");
    let error = refused(&server, again, Code::AlreadyExists, ErrorReason::ResourceAlreadyExists).await;
    assert!(error.is_already_exists());
    client.create_version("models/other").version_id("1.4.0").await.unwrap();
    assert_eq!(ready(&client, MODEL).await.number, 2, "a refused version takes no number");
}

#[tokio::test]
async fn an_update_replaces_a_split_or_all_metrics() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let made = client
        .create_version(MODEL)
        .metric("train", "auc", 0.9)
        .metric("test", "auc", 0.8)
        .tag("a", "1")
        .await
        .unwrap();
    let split = |value| MetricSet { values: [("f1".to_owned(), value)].into() };
    let change = Version {
        name: made.name.clone(),
        metrics: [("test".to_owned(), split(0.5)), ("holdout".to_owned(), split(0.4))].into(),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let one = client.update_version(change.clone()).fields(["metrics.test"]).await.unwrap();
    assert_eq!(one.metrics["test"], split(0.5));
    assert_eq!(one.metrics.keys().collect::<Vec<_>>(), ["test", "train"]);
    assert_eq!(one.tags, made.tags);

    let stale = client.update_version(change.clone());
    refused(&server, stale, Code::Aborted, ErrorReason::EtagMismatch).await;
    let all = client.update_version(Version { etag: one.etag, ..change.clone() }).fields(["metrics"]).await.unwrap();
    assert_eq!(all.metrics, change.metrics);
}

#[tokio::test]
async fn what_can_not_be_changed_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model_with(&client, MODEL, 1).await.remove(0);
    for field in [
        "version_id",
        "source_uri",
        "base_versions",
        "stage",
        "state",
        "number",
        "etag",
        "purge_time",
        "revision",
        "nonsense",
        "features.x",
        "description.x",
    ] {
        let update = client.update_version(made.clone()).fields([field]);
        invalid(&server, update, &[("update_mask", ErrorReason::FieldInvalid)]).await;
        let model = client.get_model(MODEL).await.unwrap();
        let update = client.update_model(model).fields([field]);
        invalid(&server, update, &[("update_mask", ErrorReason::FieldInvalid)]).await;
    }
}

#[tokio::test]
async fn several_versions_are_answered_in_the_order_asked_for() {
    let server = TestServer::start().await;
    let client = server.client();
    let made = model_with(&client, MODEL, 3).await;
    let names = [&made[2].name, &made[0].name, &made[2].name];
    let found = client.batch_get_versions(names).await.unwrap().versions;
    assert_eq!(found, [made[2].clone(), made[0].clone(), made[2].clone()]);
    let missing = client.batch_get_versions(["models/fraud/versions/1", "models/fraud/versions/9"]);
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let none = client.batch_get_versions(Vec::<String>::new());
    invalid(&server, none, &[("names", ErrorReason::FieldInvalid)]).await;
    let many = client.batch_get_versions(vec!["models/fraud/versions/1"; 101]);
    invalid(&server, many, &[("names", ErrorReason::FieldInvalid)]).await;
}

fn find<'a>(metrics: &'a [MetricComparison], metric: &str) -> &'a MetricComparison {
    metrics.iter().find(|compared| compared.metric == metric).unwrap()
}

#[tokio::test]
async fn a_comparison_knows_which_value_is_best() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for (rmse, auc) in [(0.5, 0.8), (0.25, 0.9), (0.75, 0.9)] {
        let version = client.create_version(MODEL).metric("test", "rmse", rmse).metric("test", "auc", auc);
        version.metric("test", "unheard_of", 1.0).await.unwrap();
    }
    client.create_version(MODEL).metric("train", "rmse", 9.0).await.unwrap();
    let names = (1..=4).map(|number| format!("{MODEL}/versions/{number}"));
    let answer = client.compare_versions(names).await.unwrap();
    assert_eq!(
        answer.names,
        (1..=4).map(|number| format!("namespaces/default/{MODEL}/versions/{number}")).collect::<Vec<_>>()
    );
    let order: Vec<_> = answer.metrics.iter().map(|m| (m.split.as_str(), m.metric.as_str())).collect();
    assert_eq!(order, [("test", "auc"), ("test", "rmse"), ("test", "unheard_of"), ("train", "rmse")]);

    let rmse = find(&answer.metrics, "rmse");
    assert_eq!((rmse.direction(), &rmse.best[..]), (MetricDirection::LowerIsBetter, &[1][..]));
    let values: Vec<_> = rmse.values.iter().map(|value| (value.value, value.delta)).collect();
    let expected = [(Some(0.5), Some(0.0)), (Some(0.25), Some(-0.25)), (Some(0.75), Some(0.25)), (None, None)];
    assert_eq!(values, expected);
    let auc = find(&answer.metrics, "auc");
    assert_eq!((auc.direction(), &auc.best[..]), (MetricDirection::HigherIsBetter, &[1, 2][..]), "both are best");
    let unknown = find(&answer.metrics, "unheard_of");
    assert_eq!((unknown.direction(), unknown.best.len()), (MetricDirection::Unspecified, 0));
    let alone = &answer.metrics[3];
    assert!(alone.best.is_empty(), "one value alone is not the best");
    assert_eq!(alone.values[0].value, None);
}

#[tokio::test]
async fn a_comparison_comes_in_pages() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for value in [1.0, 2.0] {
        let metrics = (0..1001).map(|number| (format!("m{number:04}"), value + f64::from(number)));
        let metrics = [("test".to_owned(), MetricSet { values: metrics.collect() })].into();
        client.create_version(MODEL).version(Version { metrics, ..Default::default() }).await.unwrap();
    }
    let names = [1, 2].map(|number| format!("namespaces/default/{MODEL}/versions/{number}"));
    let compare = || client.compare_versions([1, 2].map(|number| format!("{MODEL}/versions/{number}")));
    for (page_size, most) in [(0, 1000), (7, 7), (5000, 1000)] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = compare().page_size(page_size).page_token(token).await.unwrap();
            assert_eq!(page.names, names, "on every page");
            assert!(page.metrics.len() <= most, "{page_size}");
            found.extend(page.metrics);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let metrics: Vec<_> = found.iter().map(|compared| compared.metric.clone()).collect();
        assert_eq!(metrics, (0..1001).map(|number| format!("m{number:04}")).collect::<Vec<_>>(), "{page_size}");
        assert!(found.iter().all(|compared| compared.values[1].delta == Some(1.0)));
    }
    let token = compare().page_size(7).await.unwrap().next_page_token;
    let other = client.compare_versions([&names[1], &names[0]]).page_token(token);
    invalid(&server, other, &[("page_token", ErrorReason::PageTokenInvalid)]).await;
}

#[tokio::test]
async fn a_model_overrides_what_the_registry_knows_of_a_metric() {
    let server = TestServer::start().await;
    let client = server.client();
    client
        .create_model(MODEL)
        .metric_direction("rmse", MetricDirection::HigherIsBetter)
        .metric_direction("unheard_of", MetricDirection::LowerIsBetter)
        .await
        .unwrap();
    for value in [1.0, 2.0] {
        let version = client.create_version(MODEL).metric("test", "rmse", value);
        version.metric("test", "unheard_of", value).await.unwrap();
    }
    let names = ["models/fraud/versions/1", "models/fraud/versions/2"];
    let metrics = client.compare_versions(names).await.unwrap().metrics;
    assert_eq!(find(&metrics, "rmse").best, [1]);
    assert_eq!(find(&metrics, "unheard_of").best, [0]);
}

#[tokio::test]
async fn a_comparison_needs_2_to_100_versions_that_exist() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let names = |count| vec!["models/fraud/versions/1"; count];
    let fields = [("names", ErrorReason::FieldInvalid)];
    for count in [0, 1, 101] {
        invalid(&server, client.compare_versions(names(count)), &fields).await;
    }
    client.compare_versions(names(100)).await.unwrap();
    let missing = client.compare_versions(["models/fraud/versions/1", "models/fraud/versions/2"]);
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let malformed = client.compare_versions(["models/fraud/versions/1", "x", "y"]);
    let fields = [("names[1]", ErrorReason::NameInvalid), ("names[2]", ErrorReason::NameInvalid)];
    invalid(&server, malformed, &fields).await;
}
