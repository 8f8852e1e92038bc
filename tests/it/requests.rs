//! Request ids: what was asked twice happens once.

use std::fmt::Debug;

use futures::future::{BoxFuture, join_all};
use registry_client::known::artifact_type;
use registry_client::pb::artifact_service_client::ArtifactServiceClient;
use registry_client::pb::upload_artifact_request::Request;
use registry_client::pb::{
    Artifact, ErrorReason, Model, Stage, TransitionStageRequest, UploadArtifactRequest, UploadMetadata, Version,
};
use registry_client::rpc::{Mutating, Unary};
use registry_client::{Call, Error};
use registry_tests::expect::{invalid, unchanged};
use registry_tests::{TestServer, events, events_of, model, model_with, ready};
use uuid::Uuid;

const MODEL: &str = "models/fraud";

fn version(number: i64) -> String {
    format!("{MODEL}/versions/{number}")
}

/// Makes a call again, and sees that the answer is the first one's.
type Again = Box<dyn Fn() -> BoxFuture<'static, ()>>;

/// Makes a call twice: it may happen once only, and has to be answered alike.
async fn twice<R: Mutating + Unary>(server: &TestServer, call: Call<R>) -> Again
where
    R::Response: Clone + Debug + PartialEq + Sync + 'static,
{
    let call = call.request_id(Uuid::new_v4());
    let before = events(&server.client()).await.len();
    let first = call.clone().await.unwrap();
    assert!(events(&server.client()).await.len() > before, "it has to happen: {first:?}");
    let again: Again = Box::new(move || {
        let (call, first) = (call.clone(), first.clone());
        Box::pin(async move { assert_eq!(call.await.unwrap(), first) })
    });
    unchanged(server, again()).await;
    again
}

#[tokio::test]
async fn every_mutation_asked_twice_happens_once_also_across_a_restart() {
    let mut server = TestServer::start().await;
    let client = server.client();
    let change = |owner: &str| Model { name: MODEL.to_owned(), owner: owner.to_owned(), ..Default::default() };
    let describe = Version { name: version(1), description: "x".to_owned(), ..Default::default() };
    let step =
        |number| TransitionStageRequest { name: version(number), stage: Stage::Staging.into(), ..Default::default() };
    let mut done = vec![
        twice(&server, client.create_model(MODEL).owner("ada")).await,
        twice(&server, client.update_model(change("bob"))).await,
        twice(&server, client.create_version(MODEL).version_id("1.4.0")).await,
        twice(&server, client.update_version(describe)).await,
    ];
    client.upload(version(1), "gone", b"x".to_vec()).await.unwrap();
    done.push(twice(&server, client.delete_artifact(format!("{}/artifacts/gone", version(1)))).await);
    done.push(twice(&server, client.finalize_version(version(1))).await);
    for _ in 2..=4 {
        ready(&client, MODEL).await;
    }
    done.push(twice(&server, client.transition_stage(version(1), Stage::Production)).await);
    done.push(twice(&server, client.transition_stage(version(1), Stage::Production)).await);
    done.push(twice(&server, client.transition_stage(version(2), Stage::Production)).await);
    done.push(twice(&server, client.rollback(MODEL)).await);
    done.push(twice(&server, client.batch_transition_stages([step(3), step(4)])).await);
    done.push(twice(&server, client.set_alias(MODEL, "champion", "2")).await);
    done.push(twice(&server, client.delete_alias(MODEL, "champion")).await);
    done.push(twice(&server, client.delete_version(version(3)).force(true)).await);
    done.push(twice(&server, client.undelete_version(version(3))).await);
    done.push(twice(&server, client.prune_versions(MODEL, 1)).await);
    done.push(twice(&server, client.delete_model(MODEL).force(true)).await);
    done.push(twice(&server, client.undelete_model(MODEL)).await);
    client.delete_model(MODEL).force(true).await.unwrap();
    done.push(twice(&server, client.purge_model(MODEL)).await);
    done.push(twice(&server, client.create_model(MODEL).owner("eve")).await);

    server.restart().await;
    let log = events(&client).await;
    for again in &done {
        again().await;
    }
    assert_eq!(events(&client).await, log);
}

async fn upload(server: &TestServer, id: Uuid, path: &str, bytes: &'static [u8]) -> Result<Artifact, Error> {
    let log = Artifact {
        path: path.to_owned(),
        r#type: artifact_type::LOG.to_owned(),
        size_bytes: bytes.len() as i64,
        ..Default::default()
    };
    let metadata = UploadMetadata { parent: version(1), artifact: Some(log), request_id: id.to_string() };
    let parts = [Request::Metadata(metadata), Request::Data(bytes.into())];
    let parts = futures::stream::iter(parts.map(|part| UploadArtifactRequest { request: Some(part) }));
    Ok(ArtifactServiceClient::new(server.channel()).upload_artifact(parts).await?.into_inner())
}

#[tokio::test]
async fn an_upload_sent_twice_happens_once_also_across_a_restart() {
    let mut server = TestServer::start().await;
    model_with(&server.client(), MODEL, 1).await;
    let id = Uuid::new_v4();
    let first = upload(&server, id, "train.log", b"bytes").await.unwrap();
    assert_eq!(unchanged(&server, upload(&server, id, "train.log", b"bytes")).await.unwrap(), first);
    server.restart().await;
    assert_eq!(unchanged(&server, upload(&server, id, "train.log", b"bytes")).await.unwrap(), first);
    let reused = [("metadata.request_id", ErrorReason::RequestIdReused)];
    invalid(&server, upload(&server, id, "other.log", b"bytes"), &reused).await;
    invalid(&server, upload(&server, id, "train.log", b"other"), &reused).await;
    let files = server.client().list_artifacts(version(1)).await.unwrap().artifacts;
    assert_eq!(files, [first]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_under_way_together_happen_once() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    for _ in 0..20 {
        let head = events(&client).await.last().unwrap().revision;
        let call = client.create_version(MODEL).finalize(true).request_id(Uuid::new_v4());
        let answers = join_all((0..16).map(|_| call.clone().send())).await;
        let first = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first), "{answers:?}");
        assert_eq!(events(&client).await.last().unwrap().revision, head + 1);

        let promote = client.transition_stage(&first.name, Stage::Production).request_id(Uuid::new_v4());
        let answers = join_all((0..16).map(|_| promote.clone().send())).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().revision == head + 2));
        assert_eq!(events(&client).await.last().unwrap().revision, head + 2);
    }
}

#[tokio::test]
async fn the_first_answer_is_kept_when_the_world_has_moved_on() {
    let server = TestServer::start().await;
    let client = server.client();
    let create = client.create_model(MODEL).owner("ada").request_id(Uuid::new_v4());
    let first = create.clone().await.unwrap();
    model_with(&client, "models/other", 0).await;
    client.update_model(Model { name: MODEL.to_owned(), owner: "bob".to_owned(), ..Default::default() }).await.unwrap();
    assert_eq!(unchanged(&server, create.clone()).await.unwrap(), first);
    client.delete_model(MODEL).await.unwrap();
    assert_eq!(unchanged(&server, create).await.unwrap(), first);
}

#[tokio::test]
async fn a_request_id_is_for_one_request_only() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let id = Uuid::new_v4();
    client.transition_stage(version(1), Stage::Production).comment("a").request_id(id).await.unwrap();
    let reused = [("request_id", ErrorReason::RequestIdReused)];
    let promote = |number, stage| client.transition_stage(version(number), stage).request_id(id);
    invalid(&server, promote(2, Stage::Production).comment("a"), &reused).await;
    invalid(&server, promote(1, Stage::Staging).comment("a"), &reused).await;
    invalid(&server, promote(1, Stage::Production).comment("b"), &reused).await;
    invalid(&server, client.create_version(MODEL).request_id(id), &reused).await;
    invalid(&server, client.create_model("models/other").request_id(id), &reused).await;
    // Also where the other request would not be possible anyway.
    invalid(&server, client.create_model(MODEL).request_id(id), &reused).await;
}

#[tokio::test]
async fn to_validate_only_does_not_use_a_request_id_up() {
    let server = TestServer::start().await;
    let client = server.client();
    let id = Uuid::new_v4();
    let create = client.create_model(MODEL).request_id(id);
    unchanged(&server, create.clone().validate_only(true)).await.unwrap();
    unchanged(&server, create.clone().validate_only(true)).await.unwrap();
    create.await.unwrap();
    assert_eq!(events_of(&client, MODEL).await.len(), 1);
}

#[tokio::test]
async fn without_a_request_id_nothing_ties_a_repetition_to_the_first_call() {
    use registry_client::pb::CreateVersionRequest;
    use registry_client::pb::version_service_client::VersionServiceClient;
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    let mut service = VersionServiceClient::new(server.channel());
    for number in 1..=2 {
        let create = CreateVersionRequest { parent: MODEL.to_owned(), ..Default::default() };
        assert_eq!(service.create_version(create).await.unwrap().into_inner().number, number);
    }
}

/// Whatever changes between the two calls: what is known is looked up before anything is checked.
#[tokio::test]
async fn what_was_asked_once_is_answered_alike_after_any_later_change() {
    let server = TestServer::start().await;
    let client = server.client();
    model_with(&client, MODEL, 2).await;
    let file = |path: &str, bytes: &'static [u8]| client.upload(version(1), path, bytes.to_vec());
    client.upload(version(1), "there.log", b"there".to_vec()).artifact_type(artifact_type::LOG).await.unwrap();

    let (prune, add, found) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let nothing = client.prune_versions(MODEL, 2).request_id(prune);
    assert!(nothing.clone().await.unwrap().versions.is_empty());
    let added = upload(&server, add, "new.log", b"new").await.unwrap();
    let there = upload(&server, found, "there.log", b"there").await.unwrap();
    assert_eq!(there.name, format!("namespaces/default/{}/artifacts/there.log", version(1)));
    let log = events(&client).await;
    let unchanged_types: Vec<_> = log.iter().rev().take(3).map(|event| event.r#type.as_str()).collect();
    assert_eq!(unchanged_types, ["request.unchanged", "artifact.created", "request.unchanged"]);

    let again = async || {
        let pruned = unchanged(&server, nothing.clone()).await.unwrap();
        assert!(pruned.versions.is_empty(), "{pruned:?}");
        assert_eq!(unchanged(&server, upload(&server, add, "new.log", b"new")).await.unwrap(), added);
        assert_eq!(unchanged(&server, upload(&server, found, "there.log", b"there")).await.unwrap(), there);
    };
    again().await;
    for _ in 0..3 {
        ready(&client, MODEL).await;
    }
    again().await;
    for artifact in [&added, &there] {
        client.delete_artifact(&artifact.name).await.unwrap();
    }
    again().await;
    file("new.log", b"others").artifact_type(artifact_type::LOG).await.unwrap();
    again().await;
    client.delete_version(version(1)).await.unwrap();
    again().await;
    client.purge_version(version(1)).await.unwrap();
    again().await;
    client.delete_model(MODEL).await.unwrap();
    again().await;
}
