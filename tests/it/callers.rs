//! Headers: who calls, and request ids.

use registry_client::known::event_type;
use registry_client::pb::model_service_client::ModelServiceClient;
use registry_client::pb::{CreateModelRequest, ErrorReason, Model};
use registry_client::{Error, RegistryClient};
use registry_tests::expect::{invalid, unchanged};
use registry_tests::{TestServer, events};
use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};
use uuid::Uuid;

const ACTOR: &str = "x-registry-actor";
const ACTOR_BIN: &str = "x-registry-actor-bin";
const REQUEST_ID: &str = "x-registry-request-id";

/// Makes a model, under a request id in the field if it is not empty.
async fn create(
    server: &TestServer,
    model: &str,
    request_id: &str,
    headers: impl FnOnce(&mut MetadataMap),
) -> Result<Model, Error> {
    let create =
        CreateModelRequest { model_id: model.to_owned(), request_id: request_id.to_owned(), ..Default::default() };
    let mut request = Request::new(create);
    headers(request.metadata_mut());
    Ok(ModelServiceClient::new(server.channel()).create_model(request).await?.into_inner())
}

/// Sets a header.
fn header(name: &'static str, value: &str) -> impl FnOnce(&mut MetadataMap) {
    move |headers| drop(headers.insert(name, value.parse().unwrap()))
}

/// Names a caller in bytes.
fn in_bytes(actor: &[u8]) -> impl FnOnce(&mut MetadataMap) {
    move |headers| drop(headers.insert_bin(ACTOR_BIN, MetadataValue::from_bytes(actor)))
}

#[tokio::test]
async fn an_actor_may_have_a_name_in_any_script() {
    let server = TestServer::start().await;
    let made = create(&server, "a", "", in_bytes("Žofie 模型".as_bytes())).await.unwrap();
    assert_eq!(made.creator, "Žofie 模型");
    let longest = "é".repeat(256);
    assert_eq!(create(&server, "b", "", in_bytes(longest.as_bytes())).await.unwrap().creator, longest);
    let both = |headers: &mut MetadataMap| {
        header(ACTOR, "zofie")(headers);
        in_bytes("Žofie".as_bytes())(headers);
    };
    assert_eq!(create(&server, "c", "", both).await.unwrap().creator, "Žofie", "the one in bytes counts");
    let client = RegistryClient::builder(server.endpoint()).actor("Ana Čapek").connect_lazy().unwrap();
    assert_eq!(client.create_model("e").await.unwrap().creator, "Ana Čapek");
    let log = events(&server.client()).await;
    let made = log.iter().filter(|event| event.r#type == event_type::MODEL_CREATED);
    assert_eq!(made.map(|event| &event.actor).collect::<Vec<_>>(), ["Žofie 模型", &longest, "Žofie", "Ana Čapek"]);

    for bad in [&b""[..], b"\xff", "a\nb".as_bytes(), "é".repeat(257).as_bytes()] {
        invalid(&server, create(&server, "d", "", in_bytes(bad)), &[(ACTOR_BIN, ErrorReason::FieldInvalid)]).await;
    }
}

#[tokio::test]
async fn an_actor_has_no_control_characters() {
    let server = TestServer::start().await;
    for bad in ["a\tb", "\t"] {
        invalid(&server, create(&server, "a", "", header(ACTOR, bad)), &[(ACTOR, ErrorReason::FieldInvalid)]).await;
    }
}

#[tokio::test]
async fn a_request_id_may_come_in_a_header() {
    let server = TestServer::start().await;
    let (id, other) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let made = create(&server, "a", "", header(REQUEST_ID, &id)).await.unwrap();
    assert_eq!(events(&server.client()).await[0].request_id, id);
    assert_eq!(unchanged(&server, create(&server, "a", "", header(REQUEST_ID, &id))).await.unwrap(), made);
    let reused = [("request_id", ErrorReason::RequestIdReused)];
    invalid(&server, create(&server, "b", "", header(REQUEST_ID, &id)), &reused).await;

    let same = create(&server, "b", &other, header(REQUEST_ID, &other)).await.unwrap();
    assert_eq!(unchanged(&server, create(&server, "b", &other, |_| {})).await.unwrap(), same);
    let both = create(&server, "c", &other, header(REQUEST_ID, &id));
    invalid(&server, both, &[("request_id", ErrorReason::FieldInvalid)]).await;
    let malformed = [(REQUEST_ID, ErrorReason::RequestIdInvalid)];
    invalid(&server, create(&server, "c", "", header(REQUEST_ID, "nonsense")), &malformed).await;
}

#[tokio::test]
async fn a_request_id_belongs_to_the_actor_who_used_it() {
    let server = TestServer::start().await;
    let id = Uuid::new_v4().to_string();
    create(&server, "a", &id, header(ACTOR, "ada")).await.unwrap();
    let reused = [("request_id", ErrorReason::RequestIdReused)];
    invalid(&server, create(&server, "a", &id, header(ACTOR, "bob")), &reused).await;
    invalid(&server, create(&server, "a", &id, |_| {}), &reused).await;
    unchanged(&server, create(&server, "a", &id, header(ACTOR, "ada"))).await.unwrap();
}
