//! What the methods of the client ask for, before they do.

use std::time::{Duration, SystemTime};

use registry_client::{RegistryClient, pb, prost_types};

fn client() -> RegistryClient {
    RegistryClient::builder("http://127.0.0.1:1").connect_lazy().unwrap()
}

#[tokio::test]
async fn every_method_takes_short_names() {
    let client = client();
    let step = pb::TransitionStageRequest { name: "fraud@latest".to_owned(), ..Default::default() };
    let model = pb::Model { name: "fraud".to_owned(), ..Default::default() };
    let version = pb::Version { name: "fraud/versions/1".to_owned(), ..Default::default() };
    for request in [
        format!("{:?}", client.get_model("fraud")),
        format!("{:?}", client.update_model(model)),
        format!("{:?}", client.delete_model("fraud")),
        format!("{:?}", client.undelete_model("fraud")),
        format!("{:?}", client.purge_model("fraud")),
        format!("{:?}", client.set_alias("fraud", "live", "7")),
        format!("{:?}", client.delete_alias("fraud", "live")),
        format!("{:?}", client.create_version("fraud")),
        format!("{:?}", client.create_version("namespaces/risk/models/other").base_versions(["fraud@production"])),
        format!("{:?}", client.get_version("fraud@production")),
        format!("{:?}", client.list_versions("fraud")),
        format!("{:?}", client.batch_get_versions(["fraud/versions/1"])),
        format!("{:?}", client.update_version(version)),
        format!("{:?}", client.finalize_version("fraud/versions/1")),
        format!("{:?}", client.delete_version("fraud/versions/1")),
        format!("{:?}", client.undelete_version("fraud/versions/1")),
        format!("{:?}", client.purge_version("fraud/versions/1")),
        format!("{:?}", client.withdraw_version("fraud/versions/1")),
        format!("{:?}", client.reinstate_version("fraud/versions/1")),
        format!("{:?}", client.compare_versions(["fraud/versions/1"])),
        format!("{:?}", client.prune_versions("fraud", 3)),
        format!("{:?}", client.transition_stage("fraud/versions/1", pb::Stage::Staging)),
        format!("{:?}", client.promote("fraud/versions/1")),
        format!("{:?}", client.batch_transition_stages([step])),
        format!("{:?}", client.rollback("fraud")),
        format!("{:?}", client.list_events().parent("fraud")),
        format!("{:?}", client.watch().parent("fraud/versions/1")),
        format!("{:?}", client.get_artifact("fraud@latest/artifacts/a")),
        format!("{:?}", client.list_chunks("fraud@latest/artifacts/a")),
        format!("{:?}", client.list_artifacts("fraud@latest")),
        format!("{:?}", client.delete_artifact("fraud/versions/1/artifacts/a")),
        format!("{:?}", client.upload("fraud/versions/1", "a", vec![1])),
        format!("{:?}", client.download("fraud@latest/artifacts/a")),
        format!("{:?}", client.publish("folder", "fraud")),
        format!("{:?}", client.pull("fraud@production", "folder")),
    ] {
        assert!(request.contains(r#""models/fraud"#) && !request.contains(r#""fraud"#), "{request}");
    }
    let request = format!("{:?}", client.create_model("fraud"));
    assert!(request.contains(r#"parent: "", model_id: "fraud""#), "{request}");
    // What can't be read goes to the registry, which says what is wrong with it.
    let request = format!("{:?}", client.get_model("experiments/7"));
    assert!(request.contains(r#"name: "experiments/7""#), "{request}");
}

#[tokio::test]
async fn all_that_is_known_of_a_version_can_be_set() {
    let trained = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    let field = |name: &str| pb::Field { name: name.to_owned(), ..Default::default() };
    let (signature, environment) =
        (pb::Signature { inputs: vec![field("x")], outputs: vec![] }, pb::Environment::default());
    let dataset = pb::DatasetReference { name: "loans".to_owned(), ..Default::default() };
    let params = pb::StandardizationParams { mean: vec![1.0], scale: vec![2.0] };
    let object = |name: &str, value: f64| {
        Some(prost_types::Struct { fields: [(name.to_owned(), value.into())].into_iter().collect() })
    };
    let call = client()
        .create_version("fraud")
        .version_id("1.4.0")
        .description("text")
        .framework("onnx", "1")
        .source_uri("s3://bucket/model.onnx")
        .metric("test", "auc", 0.5)
        .hyperparameter("max_depth", 6.0)
        .features([field("x"), field("y")])
        .signature(signature.clone())
        .standardization_params(params.clone())
        .model_param("bias", 0.25)
        .environment(environment.clone())
        .data_range("1958-03-29", "1960-01-01")
        .dataset(dataset.clone())
        .base_versions(["models/fraud/versions/1"])
        .training_time(trained)
        .additional_metadata("note", 1.0)
        .tag("team", "risk");
    let expected = pb::Version {
        description: "text".to_owned(),
        framework: "onnx".to_owned(),
        framework_version: "1".to_owned(),
        source_uri: "s3://bucket/model.onnx".to_owned(),
        metrics: [("test".to_owned(), pb::MetricSet { values: [("auc".to_owned(), 0.5)].into() })].into(),
        hyperparameters: object("max_depth", 6.0),
        features: vec![field("x"), field("y")],
        signature: Some(signature),
        standardization_params: Some(params),
        model_params: object("bias", 0.25),
        environment: Some(environment),
        data_range: Some(pb::DataRange { start: "1958-03-29".to_owned(), end: "1960-01-01".to_owned() }),
        datasets: vec![dataset],
        base_versions: vec!["models/fraud/versions/1".to_owned()],
        training_time: Some(trained.into()),
        additional_metadata: object("note", 1.0),
        tags: [("team".to_owned(), "risk".to_owned())].into(),
        ..Default::default()
    };
    let request = format!("{call:?}");
    assert!(request.contains(&format!("{expected:?}")) && request.contains("version_id: \"1.4.0\""), "{request}");
}

#[tokio::test]
async fn all_that_is_known_of_a_model_can_be_set() {
    let call = client()
        .create_model("fraud")
        .display_name("Fraud")
        .description("text")
        .model_type("classification")
        .owner("ada")
        .team("risk")
        .project("cards")
        .business_domain("payments")
        .purpose("to refuse")
        .tag("a", "b")
        .annotation("c", "d")
        .policy("strict")
        .metric_direction("cost", pb::MetricDirection::LowerIsBetter);
    let expected = pb::Model {
        display_name: "Fraud".to_owned(),
        description: "text".to_owned(),
        model_type: "classification".to_owned(),
        owner: "ada".to_owned(),
        team: "risk".to_owned(),
        project: "cards".to_owned(),
        business_domain: "payments".to_owned(),
        purpose: "to refuse".to_owned(),
        tags: [("a".to_owned(), "b".to_owned())].into(),
        annotations: [("c".to_owned(), "d".to_owned())].into(),
        policy: "strict".to_owned(),
        metric_directions: [("cost".to_owned(), pb::MetricDirection::LowerIsBetter.into())].into(),
        ..Default::default()
    };
    let request = format!("{call:?}");
    assert!(request.contains(&format!("{expected:?}")), "{request}");
}
