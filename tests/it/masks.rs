//! Reads of some fields of models, versions and artifacts.

use registry_client::pb::{self, GetVersionRequest, ListVersionsRequest};
use registry_client::{Error, RegistryClient};
use registry_tests::{TestServer, model};

use crate::index::indexed;

const MODEL: &str = "models/fraud";

/// Versions with a metric, an artifact each.
async fn versions(client: &RegistryClient, values: &[f64]) -> Vec<pb::Version> {
    let mut made = Vec::new();
    for value in values {
        let version = client.create_version(MODEL).framework("onnx", "1.17").tag("team", "risk").tag("pci", "yes");
        let version = version.metric("validation", "auc", *value).metric("test", "auc", 0.5).await.unwrap();
        client.upload(&version.name, "model.onnx", b"bytes".to_vec()).await.unwrap();
        made.push(client.finalize_version(&version.name).await.unwrap());
    }
    made
}

#[track_caller]
fn assert_refused<T>(read: Result<T, Error>, says: &str) {
    let error = read.err().expect("it is refused");
    assert!(error.is_invalid_argument() && error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn a_reply_has_the_fields_that_are_named() {
    let server = TestServer::start().await;
    let client = server.client();
    let whole_model = model(&client, MODEL).await;
    let whole = versions(&client, &[0.9]).await.remove(0);

    let get = client.get_version(&whole.name).fields(["stage", "metrics.validation", "tags.team", "tags.none"]);
    let part = get.await.unwrap();
    let mut expected = pb::Version { stage: whole.stage, ..Default::default() };
    expected.metrics.insert("validation".to_owned(), whole.metrics["validation"].clone());
    expected.tags.insert("team".to_owned(), "risk".to_owned());
    assert_eq!(part, expected);
    assert_eq!(client.get_version(&whole.name).fields(["*"]).await.unwrap(), whole);
    assert_eq!(client.get_version(&whole.name).fields([""; 0]).await.unwrap(), whole);

    let part = client.get_model(MODEL).fields(["name", "revision"]).await.unwrap();
    assert_eq!(part.name, whole_model.name);
    assert_eq!(pb::Model { name: String::new(), revision: 0, ..part }, pb::Model::default());
    let part =
        client.get_artifact(format!("{}/artifacts/model.onnx", whole.name)).fields(["size_bytes"]).await.unwrap();
    assert_eq!(part, pb::Artifact { size_bytes: 5, ..Default::default() });

    let listed = client.list_models().fields(["name"]).await.unwrap();
    assert_eq!(listed.models, [pb::Model { name: whole_model.name.clone(), ..Default::default() }]);
    let listed = client.list_artifacts(&whole.name).fields(["path"]).await.unwrap();
    assert_eq!(listed.artifacts, [pb::Artifact { path: "model.onnx".to_owned(), ..Default::default() }]);
    let listed = client.list_versions(MODEL).fields(["number"]).await.unwrap();
    assert_eq!(listed.versions, [pb::Version { number: 1, ..Default::default() }]);
}

#[tokio::test]
async fn what_is_returned_changes_nothing_of_what_is_read() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let made = versions(&client, &[0.5, 0.9, 0.7, 0.8]).await;
    indexed(&client).await;

    // Filter and order see whole versions, and each page may have a mask of its own.
    let page = |token: &str, fields: &[&str]| {
        let list = ListVersionsRequest {
            parent: MODEL.to_owned(),
            page_size: 2,
            page_token: token.to_owned(),
            filter: "version.metrics.validation.auc > 0.6".to_owned(),
            order_by: "metrics.validation.auc desc".to_owned(),
            ..Default::default()
        };
        client.call(list).fields(fields.iter().copied())
    };
    let first = page("", &["number"]).await.unwrap();
    let number = |number| pb::Version { number, ..Default::default() };
    assert_eq!(first.versions, [number(2), number(4)]);
    let second = page(&first.next_page_token, &["name"]).await.unwrap();
    assert_eq!(second.versions, [pb::Version { name: made[2].name.clone(), ..Default::default() }]);

    // The past.
    let renamed = pb::Version { name: made[0].name.clone(), description: "new".to_owned(), ..Default::default() };
    client.update_version(renamed).await.unwrap();
    let before = client.get_version(&made[0].name).at_revision(made[3].revision).fields(["description", "number"]);
    assert_eq!(before.await.unwrap(), number(1));
    let before = client.list_versions(MODEL).at_revision(made[3].revision).fields(["number"]).await.unwrap();
    assert_eq!(before.versions, [number(1), number(2), number(3), number(4)]);
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_refused_by_its_name() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let made = versions(&client, &[0.5]).await.remove(0);

    let says = "read_mask: \"metric.validation\" is no field of a version; did you mean \"metrics\"?";
    assert_refused(client.get_version(&made.name).fields(["name", "metric.validation"]).await, says);
    assert_refused(client.list_versions(MODEL).fields(["metric.validation"]).await, says);
    let says = "read_mask: \"maker\" is no field of an artifact";
    assert_refused(client.list_artifacts(&made.name).fields(["maker"]).await, says);
    assert_refused(client.get_model(MODEL).fields(["ownr"]).await, "did you mean \"owner\"?");
    // With all other faults.
    let get = GetVersionRequest { name: "versions".to_owned(), ..Default::default() };
    assert_refused(client.call(get).fields(["nonsense"]).await, "; name: ");
}
