//! Lists in any order, counted and explained, from the index that each server keeps in memory.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};
use registry_client::pb::{self, ErrorReason, ListVersionsRequest, Stage};
use registry_client::{Call, RegistryClient};
use registry_server::config::Memory;
use registry_tests::expect::{invalid, refused};
use registry_tests::{PATIENCE, TestServer, ready, until};
use tonic::Code;

const MODEL: &str = "models/fraud";

/// Versions with these metrics, each in a team of two.
async fn versions(client: &RegistryClient, aucs: &[Option<f64>]) {
    client.create_model(MODEL).await.unwrap();
    for (at, auc) in aucs.iter().enumerate() {
        let version = client.create_version(MODEL).tag("team", if at % 2 == 0 { "risk" } else { "fx" }).finalize(true);
        let version = match auc {
            Some(auc) => version.metric("validation", "auc", *auc),
            None => version,
        };
        version.await.unwrap();
    }
}

/// The server's index, once it has one.
pub(crate) async fn indexed(client: &RegistryClient) -> pb::IndexStatus {
    let ready = async || {
        let index = client.status().await.unwrap().index.unwrap();
        (index.state() == pb::IndexState::Ready).then_some(index)
    };
    until(PATIENCE, ready).await
}

async fn numbers(list: Call<ListVersionsRequest>) -> Vec<i64> {
    list.stream().map_ok(|version| version.number).try_collect().await.unwrap()
}

#[tokio::test]
async fn versions_are_listed_by_any_value() {
    let server = TestServer::start().await;
    let client = server.client();
    versions(&client, &[Some(0.7), None, Some(0.9), Some(-1.0), Some(0.9), Some(f64::NAN), Some(0.8)]).await;
    indexed(&client).await;
    for (order, expected) in [
        ("metrics.validation.auc desc", [3, 5, 7, 1, 4, 2, 6]),
        ("metrics.validation.auc", [4, 1, 7, 3, 5, 2, 6]),
        (" metrics[\"validation\"][\"auc\"]  asc ", [4, 1, 7, 3, 5, 2, 6]),
        ("metrics.validation.auc desc, number desc", [5, 3, 7, 1, 4, 6, 2]),
        ("tags.team, metrics.validation.auc desc", [4, 2, 6, 3, 5, 7, 1]),
        ("tags.team desc, number", [1, 3, 5, 7, 2, 4, 6]),
        ("create_time desc", [7, 6, 5, 4, 3, 2, 1]),
        ("metrics.test.auc", [1, 2, 3, 4, 5, 6, 7]),
    ] {
        for page_size in [1, 3, 50] {
            for parent in [MODEL, "models/-"] {
                let list = client.list_versions(parent).order_by(order).page_size(page_size);
                assert_eq!(numbers(list).await, expected, "{order}, {page_size}, {parent}");
            }
            let list = client.list_versions(MODEL).order_by(order).filter("version.tags.team == 'risk'");
            let risk: Vec<_> = expected.into_iter().filter(|number| number % 2 == 1).collect();
            assert_eq!(numbers(list.page_size(page_size)).await, risk, "{order}, {page_size}");
        }
    }
    client.create_model("models/churn").team("risk").await.unwrap();
    let models = client.list_models().order_by("team desc, version_count desc").stream();
    let ids: Vec<_> = models.map_ok(|model| model.name).try_collect().await.unwrap();
    assert_eq!(ids, ["namespaces/default/models/churn", "namespaces/default/models/fraud"]);
}

#[tokio::test]
async fn an_order_that_is_not_understood_is_refused_and_says_where() {
    let server = TestServer::start().await;
    let client = server.client();
    versions(&client, &[Some(0.7)]).await;
    for order in ["metrics.validation", "framewrk", "description", "number,, size_bytes", &"number, ".repeat(9)] {
        let list = client.list_versions(MODEL).order_by(order);
        invalid(&server, list, &[("order_by", ErrorReason::FieldInvalid)]).await;
    }
    let error = client.list_versions(MODEL).order_by("number, framewrk desc").await.unwrap_err();
    let expected = "\"framewrk\": column 1: Version has no field \"framewrk\"; did you mean \"framework\"?";
    assert_eq!(error.violations()[0].description, expected);
}

#[tokio::test]
async fn a_list_has_seen_what_its_caller_wrote() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model(MODEL).await.unwrap();
    for _ in 0..20 {
        client.create_version(MODEL).finalize(true).await.unwrap();
    }
    indexed(&client).await;
    let production = || client.list_versions(MODEL).filter("version.stage == 'PRODUCTION'").order_by("stage_time");
    for number in 1..=20 {
        let name = format!("{MODEL}/versions/{number}");
        client.transition_stage(&name, Stage::Production).await.unwrap();
        assert_eq!(numbers(production()).await, [number]);
        let list = client.list_versions(MODEL).order_by("tags.moved desc").page_size(1);
        client
            .update_version(pb::Version { name, tags: [("moved".into(), "now".into())].into(), ..Default::default() })
            .await
            .unwrap();
        let first = list.await.unwrap().versions.remove(0);
        assert_eq!(first.tags["moved"], "now");
        client.delete_version(format!("{MODEL}/versions/{number}")).force(true).await.unwrap();
        assert!(numbers(production()).await.is_empty());
        let left = client.list_versions("models/-").order_by("number desc");
        assert_eq!(numbers(left).await.len(), 20 - usize::try_from(number).unwrap());
    }
    let count = |deleted| client.list_versions("models/-").count(true).show_deleted(deleted);
    assert_eq!(count(true).await.unwrap().total_size, Some(20));
    for _ in 0..3 {
        ready(&client, MODEL).await;
    }
    assert_eq!(count(false).await.unwrap().total_size, Some(3));
    client.delete_model(MODEL).await.unwrap();
    assert_eq!(count(false).await.unwrap().total_size, Some(0), "what lies in what is deleted is not listed");
    assert_eq!(count(true).await.unwrap().total_size, Some(23));
}

#[tokio::test]
async fn a_condition_that_few_meet_costs_few_records() {
    let server = TestServer::start().await;
    let client = server.client();
    let aucs: Vec<_> = (0..300).map(|number| Some(f64::from(number) / 300.0)).collect();
    versions(&client, &aucs).await;
    indexed(&client).await;
    let list = |filter: &str| client.list_versions(MODEL).filter(filter).count(true).explain(true).page_size(5);
    for (filter, total, most) in [
        ("version.metrics['validation']['auc'] >= 0.98", 6, 7),
        ("version.tags['team'] == 'fx' && version.metrics['validation']['auc'] >= 0.98", 3, 4),
        ("version.number == 299 || version.number == 300", 2, 3),
        // Its second half is in no index.
        ("version.metrics['validation']['auc'] >= 0.98 && version.name.endsWith('9')", 1, 7),
        ("version.tags['team'] == 'none'", 0, 0),
        // In the list's own order the first ones are found at once.
        ("version.tags['team'] == 'fx'", 150, 60),
    ] {
        let page = list(filter).await.unwrap();
        let explanation = page.explanation.unwrap();
        assert_eq!(page.total_size, Some(total), "{filter}");
        assert_eq!(explanation.records_returned, total.min(5), "{filter}");
        assert!(explanation.records_read <= most, "{filter}: {explanation:?}");
        assert_eq!(explanation.resources, Some(300));
    }
    let page = client.list_versions(MODEL).await.unwrap();
    assert_eq!((page.total_size, page.explanation), (None, None), "only on request");
}

/// Half of the versions meet it, and none of the first 3,000.
#[tokio::test]
async fn what_many_meet_but_not_the_first_ones_is_found_as_well() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model(MODEL).await.unwrap();
    let made = futures::stream::iter(0..6_000).map(|_| client.create_version(MODEL).finalize(true).into_future());
    made.buffer_unordered(64).try_for_each(async |_| Ok(())).await.unwrap();
    indexed(&client).await;
    for page_size in [7, 1000] {
        let list = client.list_versions(MODEL).filter("version.number > 3000").page_size(page_size);
        let page = list.clone().await.unwrap();
        assert_eq!(page.versions[0].number, 3001, "the first page has the first ones");
        if page_size == 7 {
            assert_eq!(page.versions.len(), 7);
        } else {
            // On a busy machine its time may be over before a long page is full: then the next one goes on.
            assert_eq!(numbers(list).await, (3001..=6000).collect::<Vec<_>>());
        }
    }
}

/// What was there throughout is neither skipped nor doubled, whatever is written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_stable_under_writes() {
    let server = TestServer::start().await;
    let client = server.client();
    versions(&client, &(0..60).map(|number| Some(f64::from(number * 7 % 60))).collect::<Vec<_>>()).await;
    indexed(&client).await;
    let writing = tokio::spawn({
        let client = client.clone();
        async move {
            for number in (1..=60_i32).cycle().filter(|number| number % 3 == 0) {
                let name = format!("{MODEL}/versions/{number}");
                let moved = client.create_version(MODEL).metric("validation", "auc", f64::from(number)).finalize(true);
                moved.await.unwrap();
                let mut version = client.get_version(&name).await.unwrap();
                let auc = version.metrics.get_mut("validation").unwrap().values.get_mut("auc").unwrap();
                *auc = (*auc + 13.0) % 60.0;
                client.update_version(version).fields(["metrics"]).await.unwrap();
            }
        }
    });
    for round in 0..7 {
        for order in ["metrics.validation.auc desc", "metrics.validation.auc", "number desc", "tags.team, number"] {
            let list = client.list_versions(MODEL).order_by(order).filter("version.number <= 60").page_size(1 + round);
            let listed = numbers(list).await;
            let untouched: Vec<_> = listed.iter().filter(|number| *number % 3 != 0).collect();
            assert_eq!(untouched.iter().collect::<BTreeSet<_>>().len(), 40, "{order}: something is skipped");
            assert_eq!(untouched.len(), 40, "{order}: something is doubled");
        }
    }
    assert!(!writing.is_finished());
    writing.abort();
}

#[tokio::test]
async fn without_memory_for_an_index_lists_are_searched_in_their_own_order() {
    let mut server =
        TestServer::with(|config| config.index_memory = Memory::Of(registry_server::config::Size::of(1))).await;
    let client = server.client();
    versions(&client, &[Some(0.7), Some(0.9)]).await;
    server.restart().await;
    let too_large = async || {
        let index = client.status().await.unwrap().index.unwrap();
        (index.state() == pb::IndexState::TooLarge).then_some(index)
    };
    let index = until(PATIENCE, too_large).await;
    assert_eq!((index.limit_bytes, index.revision), (1, 0));
    let list = || client.list_versions(MODEL).filter("version.metrics.validation.auc > 0.8").count(true).explain(true);
    let page = list().await.unwrap();
    assert_eq!((page.versions[0].number, page.total_size), (2, None));
    assert_eq!(page.explanation.unwrap().records_read, 2);
    let ordered = list().order_by("metrics.validation.auc");
    refused(&server, ordered, Code::FailedPrecondition, ErrorReason::IndexTooLarge).await;
}

#[tokio::test]
async fn what_has_the_words_is_found_and_the_best_comes_first() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("models/fraud-cards").display_name("Card fraud").tag("team", "risk").await.unwrap();
    client.create_model("models/churn").description("Says who leaves; not for fraud.").await.unwrap();
    client.create_model("models/gone").description("fraud").await.unwrap();
    client.create_version("models/churn").version_id("fraudulent-1.0").finalize(true).await.unwrap();
    client.create_version("models/gone").version_id("fraud").finalize(true).await.unwrap();
    client.delete_model("models/gone").await.unwrap();
    indexed(&client).await;
    let names = async |query: &str, kind: pb::SearchKind, page_size: u32| {
        let list = client.search(query).kind(kind).page_size(page_size);
        let found: Vec<pb::SearchResult> = list.stream().try_collect().await.unwrap();
        let name = |found: pb::SearchResult| {
            let name = match found.resource.unwrap().resource.unwrap() {
                pb::resource::Resource::Model(model) => model.name,
                pb::resource::Resource::Version(version) => version.name,
                other => panic!("{other:?}"),
            };
            format!("{} {}", found.score, name.trim_start_matches("namespaces/default/models/"))
        };
        found.into_iter().map(name).collect::<Vec<_>>()
    };
    let all = pb::SearchKind::Unspecified;
    for page_size in [1, 2, 20] {
        let found = names("FRAUD", all, page_size).await;
        assert_eq!(found, ["8 fraud-cards", "4 churn/versions/1", "2 churn"], "{page_size}");
    }
    assert_eq!(names("card fraud", all, 5).await, ["16 fraud-cards"]);
    assert_eq!(names("ris", all, 5).await, ["1 fraud-cards"]);
    assert_eq!(names("fraud", pb::SearchKind::Version, 5).await, ["4 churn/versions/1"]);
    assert!(names("zebra", all, 5).await.is_empty());
    assert_eq!(client.search("fraud").page_size(1).await.unwrap().total_size, 3);
    client
        .update_model(pb::Model { name: "models/churn".into(), ..Default::default() })
        .fields(["description"])
        .await
        .unwrap();
    assert_eq!(names("fraud", pb::SearchKind::Model, 5).await, ["8 fraud-cards"], "it has been told otherwise");
    invalid(&server, client.search(" - "), &[("query", ErrorReason::FieldInvalid)]).await;
    invalid(&server, client.search("x".repeat(257)), &[("query", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn versions_and_models_are_counted_by_their_values() {
    let server = TestServer::start().await;
    let client = server.client();
    versions(&client, &[Some(0.5), Some(0.5), None, Some(0.75), Some(0.5)]).await;
    client.create_model("models/churn").team("risk").await.unwrap();
    client.promote(format!("{MODEL}/versions/2")).await.unwrap();
    indexed(&client).await;
    let shown = |facet: &pb::Facet| {
        let counts = facet.counts.iter().map(|count| format!("{} {}", count.value, count.count)).collect::<Vec<_>>();
        format!("{}: {}; {} others, {} without", facet.field, counts.join(", "), facet.other_count, facet.missing_count)
    };
    let fields = ["stage", "tags.team", "metrics.validation.auc", "tags.none"];
    let counted = client.count_versions(MODEL, fields).await.unwrap();
    assert_eq!((counted.total_size, counted.approximate), (5, false));
    assert_eq!(
        counted.facets.iter().map(shown).collect::<Vec<_>>(),
        [
            "stage: DEVELOPMENT 4, PRODUCTION 1; 0 others, 0 without",
            "tags.team: risk 3, fx 2; 0 others, 0 without",
            "metrics.validation.auc: 0.5 3, 0.75 1; 0 others, 1 without",
            "tags.none: ; 0 others, 5 without",
        ]
    );
    // A part of it is in no index.
    let filter = "version.metrics.validation.auc < 0.6 && !version.name.endsWith('5')";
    let counted = client.count_versions("models/-", ["tags.team"]).filter(filter).limit(1).await.unwrap();
    assert_eq!((counted.total_size, counted.approximate), (2, false));
    assert_eq!(shown(&counted.facets[0]), "tags.team: fx 1; 1 others, 0 without");
    let counted = client.count_models(["team"]).filter("model.version_count == 0").await.unwrap();
    assert_eq!(shown(&counted.facets[0]), "team: risk 1; 0 others, 0 without");
    let none: [&str; 0] = [];
    invalid(&server, client.count_models(none), &[("fields", ErrorReason::FieldInvalid)]).await;
    invalid(&server, client.count_models(["name"]), &[("fields[0]", ErrorReason::FieldInvalid)]).await;
}

#[tokio::test]
async fn a_metric_is_summed_up_over_the_versions_of_a_model() {
    let server = TestServer::start().await;
    let client = server.client();
    versions(&client, &[Some(0.7), None, Some(0.9), None, Some(0.8)]).await;
    indexed(&client).await;
    let auc = || client.aggregate_metric(MODEL, "validation", "auc");
    let number =
        |point: Option<pb::MetricPoint>| point.map(|point| point.version.rsplit('/').next().unwrap().to_owned());
    let found = auc().await.unwrap();
    assert_eq!((found.direction(), found.count), (pb::MetricDirection::HigherIsBetter, 3));
    assert!((found.mean.unwrap() - 0.8).abs() < 1e-9);
    let made = client.get_version(format!("{MODEL}/versions/1")).await.unwrap().create_time.unwrap();
    let first = found.points[0].create_time.unwrap();
    assert_eq!((first.seconds, first.nanos / 1000), (made.seconds, made.nanos / 1000));
    assert_eq!(found.points.iter().map(|point| point.value).collect::<Vec<_>>(), [0.7, 0.9, 0.8]);
    assert_eq!(number(found.best), Some("3".to_owned()));
    assert_eq!(number(found.worst), Some("1".to_owned()));
    assert_eq!(number(found.last), Some("5".to_owned()));
    let found = auc().filter("version.tags.team == 'risk' && version.number < 5").limit(1).await.unwrap();
    assert_eq!((found.count, found.points.len(), number(found.last)), (2, 1, Some("3".to_owned())));
    assert_eq!(client.aggregate_metric(MODEL, "no such", "\"m\u{301}etric\"").await.unwrap().count, 0);
    let missing = client.aggregate_metric("models/none", "validation", "auc");
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let fields = [("split", ErrorReason::FieldRequired), ("metric", ErrorReason::FieldRequired)];
    invalid(&server, client.aggregate_metric(MODEL, "", ""), &fields).await;
}

#[tokio::test]
async fn what_is_not_written_has_its_place_in_an_order() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("models/a").metric_direction("auc", pb::MetricDirection::Unspecified).await.unwrap();
    client.create_model("models/b").metric_direction("auc", pb::MetricDirection::HigherIsBetter).await.unwrap();
    client.create_model("models/c").metric_direction("auc", pb::MetricDirection::Unspecified).await.unwrap();
    for number in 1..=3 {
        let version = client.create_version("models/a").tag("my team", format!("t{}", number % 2)).await.unwrap();
        if number == 2 {
            client.upload(&version.name, "a.bin", b"a".to_vec()).await.unwrap();
        }
    }
    indexed(&client).await;
    let unknown = client.list_models().filter("model.metric_directions['auc'] == 'UNSPECIFIED'").count(true);
    assert_eq!(unknown.await.unwrap().total_size, Some(2));
    for (order, expected) in [
        ("artifact_count", [1, 3, 2]),
        ("artifact_count desc", [2, 1, 3]),
        ("tags[\"my team\"] desc, number desc", [3, 1, 2]),
    ] {
        assert_eq!(numbers(client.list_versions("models/a").order_by(order)).await, expected, "{order}");
    }
    let counted = client.count_versions("models/a", ["artifact_count", "purged"]).await.unwrap();
    let zero = |facet: &pb::Facet| (facet.counts[0].value.clone(), facet.counts[0].count, facet.missing_count);
    let zeros: Vec<_> = counted.facets.iter().map(zero).collect();
    assert_eq!(zeros, [("0".to_owned(), 2, 0), ("false".to_owned(), 3, 0)]);
}

/// A version may have any number of parameters, and large ones.
#[tokio::test]
async fn a_version_with_very_much_in_it_harms_nobody() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model(MODEL).await.unwrap();
    let wide = pb::Version {
        hyperparameters: Some(prost_types::Struct {
            fields: (0..21_000).map(|at| (format!("p{at}"), prost_types::Value::from(1.0))).collect(),
        }),
        ..Default::default()
    };
    client
        .call(pb::CreateVersionRequest { parent: MODEL.into(), version: Some(wide), ..Default::default() })
        .await
        .unwrap();
    let large = prost_types::Value::from("x".repeat(700 * 1024));
    for _ in 0..6 {
        let version = pb::Version {
            model_params: Some(prost_types::Struct { fields: [("p".to_owned(), large.clone())].into() }),
            description: "elephant".to_owned(),
            tags: [("team".to_owned(), "risk".to_owned())].into(),
            ..Default::default()
        };
        let create = pb::CreateVersionRequest { parent: MODEL.into(), version: Some(version), ..Default::default() };
        client.call(create).await.unwrap();
    }
    indexed(&client).await;
    assert_eq!(numbers(client.list_versions(MODEL).order_by("tags.team, number")).await, [2, 3, 4, 5, 6, 7, 1]);
    for order in ["withdraw_time, number", "metrics.test.auc"] {
        assert_eq!(numbers(client.list_versions(MODEL).order_by(order).page_size(3)).await.len(), 7);
    }
    let unknown = client.list_versions(MODEL).order_by("hyperparameters.p20000");
    refused(&server, unknown, Code::FailedPrecondition, ErrorReason::IndexTooLarge).await;
    let found = client.list_versions(MODEL).filter("version.hyperparameters.p20999 == 1.0 && version.number < 9");
    assert_eq!(numbers(found).await, [1], "the record has what the index lacks");
    let page = client.search("elephant").page_size(100).await.unwrap();
    assert!((3..6).contains(&page.results.len()) && !page.next_page_token.is_empty(), "a response fits 4 MiB");
    let all: Vec<pb::SearchResult> = client.search("elephant").page_size(100).stream().try_collect().await.unwrap();
    assert_eq!(all.len(), 6);
}
