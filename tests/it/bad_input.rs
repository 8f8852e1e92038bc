//! What no service takes: refused with a reason and the field, and without a trace.

use registry_client::Error;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::{
    CreateModelRequest, CreateVersionRequest, DownloadArtifactRequest, ErrorReason, FinalizeVersionRequest, Model,
    RollbackStageRequest, SetAliasRequest, StandardizationParams, UpdateModelRequest, UpdateVersionRequest, Version,
};
use registry_tests::expect::{invalid, refused};
use registry_tests::{TestServer, model_with};
use tonic::Code;

const MODEL: &str = "models/fraud";

/// Not one of these is an id of anything.
fn bad_ids() -> Vec<String> {
    let bad = [
        "../x",
        "a%2Fb",
        "a\0b",
        "a\nb",
        "a\u{7f}",
        "e\u{301}",
        "\u{212a}",
        "a/b",
        "a@b",
        "a b",
        " a",
        ".hidden",
        "-",
        "",
        "a\\b",
        "a:b",
        "\u{202e}abc",
        "a\u{200b}",
        "\u{fb01}ne\u{0301}",
    ];
    bad.into_iter().map(str::to_owned).chain(["x".repeat(300), "x".repeat(129)]).collect()
}

#[tokio::test]
async fn bad_ids_are_refused_wherever_they_come() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    for id in bad_ids() {
        let create = client.call(CreateModelRequest { model_id: id.clone(), ..Default::default() });
        let reason = if id.is_empty() { ErrorReason::FieldRequired } else { ErrorReason::NameInvalid };
        invalid(&server, create, &[("model_id", reason)]).await;
        let name = [("name", ErrorReason::NameInvalid)];
        invalid(&server, client.get_model(format!("models/{id}")), &name).await;
        invalid(&server, client.get_model(format!("namespaces/{id}/models/x")), &name).await;
        invalid(&server, client.get_version(format!("models/fraud/versions/{id}")), &name).await;
        let parent = format!("namespaces/{id}");
        let create = CreateModelRequest { parent, model_id: "x".to_owned(), ..Default::default() };
        invalid(&server, client.call(create), &[("parent", ErrorReason::NameInvalid)]).await;
        if !id.is_empty() {
            let create = client.create_version(MODEL).version_id(&id);
            invalid(&server, create, &[("version_id", ErrorReason::NameInvalid)]).await;
        }
    }
}

#[tokio::test]
async fn names_of_another_form_are_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let fields = [("name", ErrorReason::NameInvalid)];
    for name in
        ["", "jobs/fraud", "/models/fraud", "models/fraud/", "models//fraud", "Models/fraud", "models/fraud/versions/1"]
    {
        invalid(&server, client.get_model(name), &fields).await;
        invalid(&server, client.delete_model(name), &fields).await;
        invalid(&server, client.rollback(name), &fields).await;
    }
    let too_much = format!("{MODEL}/versions/99999999999999999999");
    for name in
        ["", MODEL, "models/fraud/versions/0", "models/fraud/versions/01", "models/fraud/versions/-1", &too_much]
    {
        invalid(&server, client.get_version(name), &fields).await;
        invalid(&server, client.delete_version(name), &fields).await;
        invalid(&server, client.transition_stage(name, registry_client::pb::Stage::Staging), &fields).await;
    }
}

#[tokio::test]
async fn a_version_id_of_digits_only_would_be_a_number() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    for id in ["2", "0", "20260126"] {
        let create = client.create_version(MODEL).version_id(id);
        invalid(&server, create, &[("version_id", ErrorReason::NameInvalid)]).await;
    }
}

#[tokio::test]
async fn every_field_at_fault_of_a_model_is_listed() {
    let server = TestServer::start().await;
    let client = server.client();
    let model = Model {
        display_name: "x".repeat(257),
        description: "x".repeat(64 * 1024 + 1),
        model_type: "No Type".to_owned(),
        owner: "a\u{7}b".to_owned(),
        tags: [("k".to_owned(), "v".repeat(257)), ("x".repeat(129), String::new())].into(),
        annotations: [("k".to_owned(), "v".repeat(64 * 1024))].into(),
        metric_directions: [("auc".to_owned(), 9)].into(),
        ..Default::default()
    };
    let create = client.create_model(MODEL).model(model);
    let invalid_fields = [
        "model.model_type",
        "model.display_name",
        "model.owner",
        "model.description",
        "model.tags[k]",
        "model.tags",
        "model.annotations",
        "model.metric_directions[auc]",
    ];
    let error = refused(&server, create, Code::InvalidArgument, ErrorReason::FieldInvalid).await;
    let mut found: Vec<_> = error.violations().iter().map(|found| found.field.as_str()).collect();
    let mut expected = invalid_fields.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_name_and_the_content_at_fault_are_listed_together() {
    let server = TestServer::start().await;
    let client = server.client();
    let model = Model { model_type: "No Type".to_owned(), ..Default::default() };
    let create = CreateModelRequest {
        parent: "nonsense".to_owned(),
        model_id: "../x".to_owned(),
        model: Some(model),
        ..Default::default()
    };
    let fields = [
        ("parent", ErrorReason::NameInvalid),
        ("model_id", ErrorReason::NameInvalid),
        ("model.model_type", ErrorReason::FieldInvalid),
    ];
    invalid(&server, client.call(create), &fields).await;
    let version =
        Version { framework: "No Type".to_owned(), base_versions: vec!["x".to_owned()], ..Default::default() };
    let create = CreateVersionRequest { parent: "x".to_owned(), version: Some(version), ..Default::default() };
    let fields = [
        ("parent", ErrorReason::NameInvalid),
        ("version.base_versions[0]", ErrorReason::NameInvalid),
        ("version.framework", ErrorReason::FieldInvalid),
    ];
    invalid(&server, client.call(create), &fields).await;
}

#[tokio::test]
async fn every_field_at_fault_of_a_version_is_listed() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let version = Version {
        framework: "No Type".to_owned(),
        framework_version: "x".repeat(257),
        source_uri: "nowhere".to_owned(),
        tags: [(String::new(), "v".to_owned())].into(),
        features: vec![Default::default()],
        standardization_params: Some(StandardizationParams { mean: vec![1.0], scale: Vec::new() }),
        ..Default::default()
    };
    let fields = [
        ("version_id", ErrorReason::NameInvalid),
        ("version.framework", ErrorReason::FieldInvalid),
        ("version.framework_version", ErrorReason::FieldInvalid),
        ("version.source_uri", ErrorReason::FieldInvalid),
        ("version.tags", ErrorReason::FieldInvalid),
        ("version.features[0].name", ErrorReason::FieldRequired),
        ("version.standardization_params", ErrorReason::FieldInvalid),
    ];
    invalid(&server, client.create_version(MODEL).version(version).version_id("17"), &fields).await;
    let orphan = client.create_version(MODEL).base_versions(["models/fraud/versions/9"]);
    invalid(&server, orphan, &[("version.base_versions[0]", ErrorReason::FieldInvalid)]).await;
    let large = client.create_version(MODEL).hyperparameter("x", "x".repeat(1024 * 1024));
    invalid(&server, large, &[("version", ErrorReason::FieldInvalid)]).await;
    assert_eq!(client.get_model(MODEL).await.unwrap().version_count, 1);
}

#[tokio::test]
async fn what_is_required_is_asked_for() {
    let server = TestServer::start().await;
    let client = server.client();
    invalid(&server, client.call(UpdateModelRequest::default()), &[("model", ErrorReason::FieldRequired)]).await;
    invalid(&server, client.call(UpdateVersionRequest::default()), &[("version", ErrorReason::FieldRequired)]).await;
    let all = ["name", "alias", "version"].map(|field| (field, ErrorReason::NameInvalid));
    invalid(&server, client.call(SetAliasRequest::default()), &all).await;
}

#[tokio::test]
async fn numbers_that_no_enum_has_are_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let name = || "models/fraud/versions/1".to_owned();
    for state in [1, 99, -1] {
        let finalize = client.call(FinalizeVersionRequest { name: name(), state, ..Default::default() });
        invalid(&server, finalize, &[("state", ErrorReason::FieldInvalid)]).await;
    }
    let reason = FinalizeVersionRequest { name: name(), failure_reason: "why".to_owned(), ..Default::default() };
    invalid(&server, client.call(reason), &[("failure_reason", ErrorReason::FieldInvalid)]).await;
    let rollback = RollbackStageRequest { name: MODEL.to_owned(), stage: 99, incumbent: 99, ..Default::default() };
    let fields = [("stage", ErrorReason::FieldInvalid), ("incumbent", ErrorReason::FieldInvalid)];
    invalid(&server, client.call(rollback), &fields).await;
}

#[tokio::test]
async fn a_request_id_is_a_uuid() {
    let server = TestServer::start().await;
    let client = server.client();
    for id in ["x", "1", "00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c"] {
        let create = CreateModelRequest { model_id: "a".to_owned(), request_id: id.to_owned(), ..Default::default() };
        invalid(&server, client.call(create), &[("request_id", ErrorReason::RequestIdInvalid)]).await;
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 1).await;
    let create = client.create_version(MODEL).description("x".repeat(9 * 1024 * 1024));
    refused(&server, create, Code::ResourceExhausted, ErrorReason::MessageTooLarge).await;
    // Small enough to be read, and still too much for the field.
    let create = client.create_version(MODEL).description("x".repeat(64 * 1024 + 1));
    invalid(&server, create, &[("version.description", ErrorReason::FieldInvalid)]).await;
    client.create_version(MODEL).description("x".repeat(64 * 1024)).await.unwrap();
}

#[tokio::test]
async fn a_range_is_not_negative() {
    let server = TestServer::start().await;
    let request = DownloadArtifactRequest { name: "x".to_owned(), offset: -1, length: -1 };
    let download = async {
        let mut service = ArtifactServiceClient::new(server.channel());
        Ok::<_, Error>(service.download_artifact(request).await?.into_inner())
    };
    let fields = [
        ("name", ErrorReason::NameInvalid),
        ("offset", ErrorReason::FieldInvalid),
        ("length", ErrorReason::FieldInvalid),
    ];
    invalid(&server, download, &fields).await;
}

#[tokio::test]
async fn an_actor_is_visible_ascii_and_short() {
    let server = TestServer::start().await;
    let client = registry_client::RegistryClient::builder(server.endpoint()).actor("x".repeat(257));
    let create = client.connect_lazy().unwrap().create_model(MODEL);
    invalid(&server, create, &[("x-registry-actor", ErrorReason::FieldInvalid)]).await;
}
