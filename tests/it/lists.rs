//! Lists and their pages.

use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use registry_client::RegistryClient;
use registry_client::pb::{ErrorReason, ListModelsRequest, ListVersionsRequest};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, model, model_with, pending, ready};
use tonic::Code;

fn last(name: &str) -> String {
    name.rsplit('/').next().unwrap().to_owned()
}

async fn models(client: &RegistryClient, order: &str, page_size: u32) -> Vec<String> {
    let listed = client.list_models().order_by(order).page_size(page_size).stream();
    listed.map_ok(|model| last(&model.name)).try_collect().await.unwrap()
}

#[tokio::test]
async fn every_page_size_gives_every_item_once_and_in_order() {
    let server = TestServer::start().await;
    let client = server.client();
    for id in ["d", "a", "c", "b", "e"] {
        model(&client, id).await;
    }
    model(&client, "namespaces/other/models/x").await;
    for page_size in [0, 1, 2, 5, 6, 100_000] {
        assert_eq!(models(&client, "", page_size).await, ["a", "b", "c", "d", "e"], "{page_size}");
        assert_eq!(models(&client, "name", page_size).await, ["a", "b", "c", "d", "e"]);
        assert_eq!(models(&client, "name desc", page_size).await, ["e", "d", "c", "b", "a"]);
        assert_eq!(models(&client, "create_time", page_size).await, ["d", "a", "c", "b", "e"]);
        assert_eq!(models(&client, "create_time desc", page_size).await, ["e", "b", "c", "a", "d"]);
    }
    let others = client.list_models().parent("namespaces/other").await.unwrap();
    assert_eq!((others.models.len(), others.next_page_token.as_str()), (1, ""));
}

#[tokio::test]
async fn versions_are_listed_by_number_not_by_its_digits() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/fraud", 12).await;
    for page_size in [1, 5, 50] {
        let list = |order: &str| {
            let listed = client.list_versions("models/fraud").order_by(order).page_size(page_size).stream();
            listed.map_ok(|version| version.number).try_collect::<Vec<_>>()
        };
        assert_eq!(list("").await.unwrap(), (1..=12).collect::<Vec<_>>());
        assert_eq!(list("number").await.unwrap(), (1..=12).collect::<Vec<_>>());
        assert_eq!(list("number desc").await.unwrap(), (1..=12).rev().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn pages_are_stable_while_models_come_and_go() {
    let server = TestServer::start().await;
    let client = server.client();
    for id in ["b", "d", "f", "h", "j"] {
        model(&client, id).await;
    }
    let first = client.list_models().page_size(2).await.unwrap();
    assert_eq!(first.models.iter().map(|model| last(&model.name)).collect::<Vec<_>>(), ["b", "d"]);
    // Before, at and behind the position.
    model(&client, "a").await;
    model(&client, "c").await;
    model(&client, "e").await;
    client.delete_model("models/b").await.unwrap();
    client.delete_model("models/d").await.unwrap();
    client.delete_model("models/h").await.unwrap();
    let rest = client.list_models().page_token(first.next_page_token).page_size(1).stream();
    let rest: Vec<_> = rest.map_ok(|model| last(&model.name)).try_collect().await.unwrap();
    assert_eq!(rest, ["e", "f", "j"]);
}

#[tokio::test]
async fn pages_of_versions_from_the_last_are_stable_while_more_are_made() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/fraud", 5).await;
    let list = || client.list_versions("models/fraud").order_by("number desc").page_size(2);
    let first = list().await.unwrap();
    assert_eq!(first.versions.iter().map(|version| version.number).collect::<Vec<_>>(), [5, 4]);
    pending(&client, "models/fraud").await;
    client.delete_version("models/fraud/versions/4").await.unwrap();
    client.delete_version("models/fraud/versions/2").await.unwrap();
    let rest = list().page_token(first.next_page_token).stream();
    assert_eq!(rest.map_ok(|version| version.number).try_collect::<Vec<_>>().await.unwrap(), [3, 1]);
}

#[tokio::test]
async fn the_versions_of_all_models_are_listed_but_not_those_of_a_deleted_one() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/b", 2).await;
    model_with(&client, "models/a", 11).await;
    model_with(&client, "namespaces/other/models/c", 1).await;
    for gone in ["models/0", "models/ab", "models/ac", "models/gone"] {
        model_with(&client, gone, 2).await;
        client.delete_model(gone).await.unwrap();
    }
    let list = async |page_size: u32, order: &str| -> Vec<String> {
        let listed = client.list_versions("models/-").page_size(page_size).order_by(order).stream();
        listed.map_ok(|version| version.name.replace("namespaces/default/models/", "")).try_collect().await.unwrap()
    };
    let mut expected: Vec<_> = (1..=11).map(|number| format!("a/versions/{number}")).collect();
    expected.extend(["b/versions/1", "b/versions/2"].map(str::to_owned));
    for page_size in [0, 1, 3] {
        assert_eq!(list(page_size, "number").await, expected, "{page_size}");
        let mut found = list(page_size, "number desc").await;
        found.reverse();
        assert_eq!(found, expected, "{page_size}, from the last one");
    }
    let others = client.list_versions("namespaces/other/models/-").await.unwrap().versions;
    assert_eq!(others.len(), 1);
}

#[tokio::test]
async fn a_page_of_versions_costs_nothing_for_models_without_any() {
    let server = TestServer::start().await;
    let client = server.client();
    let names = (0..300).map(|number| format!("models/m{number}"));
    stream::iter(names).for_each_concurrent(32, async |name| drop(model(&client, &name).await)).await;
    ready(&client, "models/m77").await;
    for order in ["number", "number desc"] {
        let page = client.list_versions("models/-").order_by(order).await.unwrap();
        assert_eq!((page.versions.len(), page.next_page_token.as_str()), (1, ""));
    }
}

#[tokio::test]
async fn artifacts_are_listed_by_path() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "fraud").await;
    pending(&client, "models/fraud").await;
    for path in ["b", "a/z", "a-z", "c/d/e"] {
        client.upload("models/fraud/versions/1", path, b"x".to_vec()).await.unwrap();
    }
    for page_size in [1, 50] {
        let listed = client.list_artifacts("models/fraud/versions/1").page_size(page_size).stream();
        let paths: Vec<_> = listed.map_ok(|artifact| artifact.path).try_collect().await.unwrap();
        assert_eq!(paths, ["a-z", "a/z", "b", "c/d/e"]);
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_list() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/a", 3).await;
    model_with(&client, "models/b", 3).await;
    let token = client.list_versions("models/a").page_size(1).await.unwrap().next_page_token;
    let fields = [("page_token", ErrorReason::PageTokenInvalid)];
    for other in [
        client.list_versions("models/b"),
        client.list_versions("models/a").order_by("number desc"),
        client.list_versions("models/a").show_deleted(true),
    ] {
        invalid(&server, other.page_token(&token), &fields).await;
    }
    invalid(&server, client.list_models().page_token(&token), &fields).await;
    invalid(&server, client.list_events().page_token(&token), &fields).await;
    invalid(&server, client.list_artifacts("models/a/versions/1").page_token(&token), &fields).await;
    // The page's size is not a part of the query.
    let rest = client.list_versions("models/a").page_size(2).page_token(&token).await.unwrap();
    assert_eq!(rest.versions.len(), 2);
    let damaged = token.chars().rev().collect::<String>();
    for garbage in ["x", "!!", "AAAA", &damaged] {
        invalid(&server, client.list_versions("models/a").page_token(garbage), &fields).await;
        invalid(&server, client.list_events().page_token(garbage), &fields).await;
    }
}

#[tokio::test]
async fn what_a_list_can_not_do_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, "models/a", 1).await;
    let negative = client.call(ListModelsRequest { page_size: -1, ..Default::default() });
    invalid(&server, negative, &[("page_size", ErrorReason::FieldInvalid)]).await;
    let negative = ListVersionsRequest { parent: "models/a".to_owned(), page_size: i32::MIN, ..Default::default() };
    invalid(&server, client.call(negative), &[("page_size", ErrorReason::FieldInvalid)]).await;
    let order = [("order_by", ErrorReason::FieldInvalid)];
    for by in ["nonsense", "name asc desc", "name, create_time", "number", "DESC", "desc"] {
        invalid(&server, client.list_models().order_by(by), &order).await;
    }
    invalid(&server, client.list_versions("models/a").order_by("name"), &order).await;
    invalid(&server, client.list_versions("models/a/b"), &[("parent", ErrorReason::NameInvalid)]).await;
    let missing = client.list_versions("models/none");
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
    let missing = client.list_artifacts("models/a/versions/9");
    refused(&server, missing, Code::NotFound, ErrorReason::ResourceNotFound).await;
}
