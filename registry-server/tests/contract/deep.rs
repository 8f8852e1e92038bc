//! JSON in versions: as deep as it may be it can be read from wherever it is, and what could not is refused.

use registry_proto::v1::ErrorReason::FieldInvalid;
use serde_json::{Value as Json, json};
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic_types::StatusExt;

use crate::descriptors::{message, method};
use crate::log;
use crate::server::{TestServer, refused};

const FIELDS: [&str; 3] = ["hyperparameters", "model_params", "additional_metadata"];

/// An object of so many levels.
fn nested(levels: usize) -> Json {
    (1..levels).fold(json!({ "key": 1 }), |inner, _| json!({ "key": inner }))
}

#[tokio::test]
async fn as_deep_as_allowed_it_can_be_read_everywhere() {
    let server = TestServer::start().await;
    server.ok("CreateModel", json!({ "modelId": "deep" })).await;
    let version: Json = FIELDS.iter().map(|field| ((*field).to_owned(), nested(24))).collect();
    server.ok("CreateVersion", json!({ "parent": "models/deep", "version": version, "finalize": true })).await;
    server.ok("UpdateVersion", json!({ "version": { "name": "models/deep@latest", "description": "x" } })).await;
    let step = json!({ "name": "models/deep@latest", "stage": "STAGE_STAGING" });
    server.ok("BatchTransitionStages", json!({ "requests": [step] })).await;
    server.ok("ListVersions", json!({ "parent": "models/-" })).await;
    server.ok("WatchEvents", json!({ "afterRevision": "0" })).await;
    server.ok("WatchEvents", json!({ "snapshot": {} })).await;
    log::everything_is_readable(&server).await;
}

#[tokio::test]
async fn what_not_everybody_can_read_is_refused() {
    let server = TestServer::start().await;
    server.ok("CreateModel", json!({ "modelId": "deep" })).await;
    let head = server.head().await;
    let create = method("CreateVersion");
    let lists = (1..25).fold(json!([]), |inner, _| json!([inner]));
    for field in FIELDS {
        for json in [nested(25), json!({ "key": lists })] {
            let request = json!({ "parent": "models/deep", "version": { field: json } });
            let answer = server.call(&create, vec![message(&create.input(), &request)], MetadataMap::new()).await;
            let details = answer.as_ref().map_err(StatusExt::get_error_details).expect_err("a refusal");
            let violations = &details.bad_request().expect("the fields at fault").field_violations;
            assert_eq!(violations[0].field, format!("version.{field}"));
            refused(field, answer, Code::InvalidArgument, &[FieldInvalid]);
        }
    }
    assert_eq!(server.head().await, head);
}
