//! MLflow's webhooks over ours, and what their receivers get.

use registry_client::RegistryClient;
use registry_client::pb::{WebhookFormat, WebhookSigning};
use registry_tests::receiver::{Answer, Received, Receiver};
use registry_tests::{PATIENCE, TestServer, model, model_with, ready, until};
use serde_json::{Value, json};

use super::{done, pending, refused, register};

async fn server() -> TestServer {
    TestServer::with(|config| config.webhook_allow = vec!["127.0.0.0/8".parse().unwrap()]).await
}

fn event(entity: &str, action: &str) -> Value {
    json!({ "entity": entity, "action": action })
}

/// What a receiver was told: the entity, the action and the data.
fn told(received: &[Received]) -> Vec<(String, &Value)> {
    let told =
        |one: &Received| format!("{}.{}", one.json["entity"].as_str().unwrap(), one.json["action"].as_str().unwrap());
    received.iter().map(|one| (told(one), &one.json["data"])).collect()
}

async fn settled(client: &RegistryClient, id: &str) {
    until(PATIENCE, || async {
        let webhook = client.get_webhook(id).await.unwrap();
        webhook.status.filter(|status| status.lag == 0)
    })
    .await;
}

#[tokio::test]
async fn the_six_calls_make_find_change_test_and_remove_webhooks() {
    let server = server().await;
    let (client, address) = (server.client(), server.address());
    let mut receiver = Receiver::start(Answer::code(204)).await;
    let events = [event("MODEL_VERSION", "CREATED"), event("MODEL_VERSION_ALIAS", "CREATED")];
    let create = json!({ "name": "ci", "url": receiver.url(), "events": events, "secret": "s" });
    let made = done(address, "POST", "webhooks", create.clone()).await["webhook"].clone();
    let id = made["webhook_id"].as_str().unwrap();
    let expected = json!({
        "webhook_id": id, "name": "ci", "url": receiver.url(), "events": events, "status": "ACTIVE",
        "creation_timestamp": made["creation_timestamp"], "last_updated_timestamp": made["creation_timestamp"],
    });
    // MLflow shows no secret, either.
    assert_eq!(made, expected);
    assert_eq!(done(address, "GET", &format!("webhooks/{id}"), json!({})).await["webhook"], made);
    let kept = client.get_webhook(id).await.unwrap();
    assert_eq!((kept.format(), &*kept.parent), (WebhookFormat::Mlflow, "namespaces/default"));
    assert_eq!(kept.types, ["model_version.created", "model_version_alias.created"]);

    let test = done(address, "POST", &format!("webhooks/{id}/test"), json!({})).await;
    assert_eq!(test["result"], json!({ "success": true, "response_status": 204 }));
    let asked = json!({ "event": event("PROMPT_TAG", "SET") });
    receiver.then(Answer::code(500));
    let test = done(address, "POST", &format!("webhooks/{id}/test"), asked).await;
    let error = "the receiver refused it";
    assert_eq!(test["result"], json!({ "success": false, "response_status": 500, "error_message": error }));
    let examples = receiver.take(2).await;
    let tag = json!({ "name": "example_prompt", "key": "example_key", "value": "example_value" });
    assert_eq!(told(&examples)[1], ("prompt_tag.set".to_owned(), &tag));
    assert_eq!(examples[0].json["data"]["source"], "models:/123");
    examples[0].verify_mlflow("s").unwrap();

    let change = json!({ "name": "cd", "description": "x", "status": "DISABLED", "events": [event("PROMPT", "CREATED")], "secret": "t" });
    let changed = done(address, "PATCH", &format!("webhooks/{id}"), change).await["webhook"].clone();
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["status"]),
        (&json!("cd"), &json!("x"), &json!("DISABLED"))
    );
    assert_eq!((&changed["events"], &changed["url"]), (&json!([event("PROMPT", "CREATED")]), &json!(receiver.url())));
    done(address, "POST", &format!("webhooks/{id}/test"), json!({})).await;
    let example = receiver.take(1).await.remove(0);
    example.verify_mlflow("t").unwrap();
    assert!(example.verify_mlflow("s").is_err(), "MLflow's receivers look for one signature");
    let unchanged = done(address, "PATCH", &format!("webhooks/{id}"), json!({})).await["webhook"].clone();
    assert_eq!(unchanged, changed);

    // What is refused changes nothing of the rest, either.
    let too_long = json!({ "name": "x", "description": "y", "secret": "s".repeat(1001) });
    let none = json!({ "name": "x", "secret": "" });
    for (change, text) in [(too_long, "secret: must have 1 to 1000 bytes"), (none, "can't be made to sign no more")] {
        let (status, _, message) = refused(address, "PATCH", &format!("webhooks/{id}"), change).await;
        assert_eq!((status, message.contains(text)), (400, true), "{message}");
        assert_eq!(done(address, "GET", &format!("webhooks/{id}"), json!({})).await["webhook"], changed);
    }

    // Newest first, and none that MLflow did not make, or that is of another namespace.
    client.create_webhook("ours", receiver.url()).await.unwrap();
    let second = done(address, "POST", "webhooks", create).await["webhook"]["webhook_id"].clone();
    let ids = |list: &Value| {
        list["webhooks"].as_array().unwrap().iter().map(|one| one["webhook_id"].clone()).collect::<Vec<_>>()
    };
    let all = done(address, "GET", "webhooks", json!({})).await;
    assert_eq!((ids(&all), all.get("next_page_token")), (vec![second.clone(), id.into()], None));
    let page = done(address, "GET", "webhooks", json!({ "max_results": "1" })).await;
    assert_eq!(ids(&page), [second]);
    let next = json!({ "max_results": "1", "page_token": page["next_page_token"] });
    assert_eq!(ids(&done(address, "GET", "webhooks", next).await), [id]);
    let missing = |id: &str| (404, "RESOURCE_DOES_NOT_EXIST".to_owned(), format!("Webhook with ID {id} not found."));
    assert_eq!(refused(address, "GET", "webhooks/ours", json!({})).await, missing("ours"));

    assert_eq!(done(address, "DELETE", &format!("webhooks/{id}"), json!({})).await, json!({}));
    assert_eq!(refused(address, "GET", &format!("webhooks/{id}"), json!({})).await, missing(id));
    assert_eq!(refused(address, "POST", &format!("webhooks/{id}/test"), json!({})).await, missing(id));
    for (create, text) in [
        (json!({}), "'name'"),
        (json!({ "name": "x" }), "'url'"),
        (json!({ "name": "-", "url": "http://127.0.0.1:1/" }), "Webhook name '-' is invalid"),
        (json!({ "name": "x", "url": "http://127.0.0.1:1/" }), "'events'"),
        (json!({ "name": "x", "url": "ftp://x/", "events": [event("PROMPT", "CREATED")] }), "url"),
        (
            json!({ "name": "x", "url": "http://127.0.0.1:1/", "events": [event("PROMPT", "SET")] }),
            "Invalid action 'SET'",
        ),
        (
            json!({ "name": "x", "url": "http://127.0.0.1:1/", "events": [{ "entity": 2, "action": 1 }] }),
            "by their names",
        ),
        (json!({ "name": "x", "url": "http://10.0.0.1/", "events": [event("PROMPT", "CREATED")] }), "url"),
        (
            json!({ "name": "x", "url": "http://127.0.0.1:1/", "events": [event("PROMPT", "CREATED")], "status": "ON" }),
            "'ON'",
        ),
    ] {
        let (status, code, message) = refused(address, "POST", "webhooks", create).await;
        assert_eq!((status, &*code, message.contains(text)), (400, "INVALID_PARAMETER_VALUE", true), "{message}");
    }
    for (method, path) in
        [("PUT", "webhooks"), ("GET", "webhooks/x/test"), ("GET", "webhooksx"), ("POST", "webhooks/x/y")]
    {
        assert_eq!(refused(address, method, path, json!({})).await.0, 404, "{method} {path}");
    }
}

#[tokio::test]
async fn a_receiver_is_told_what_mlflow_would_tell_whoever_did_it() {
    let server = server().await;
    let (client, address) = (server.client(), server.address());
    let mut receiver = Receiver::start(Answer::code(200)).await;
    client.create_webhook("hook", receiver.url()).parent("namespaces/default").mlflow().unsigned().await.unwrap();
    done(address, "POST", "registered-models/create", json!({ "name": "my model" })).await;
    let first = register(address, "my model").await;
    let tag = |key: &str, value: &str| json!({ "name": "my model", "version": first, "key": key, "value": value });
    done(address, "POST", "model-versions/set-tag", tag("a", "1")).await;
    done(address, "DELETE", "model-versions/delete-tag", json!({ "name": "my model", "version": first, "key": "a" }))
        .await;
    let alias = |alias: &str| json!({ "name": "my model", "alias": alias, "version": first });
    done(address, "POST", "registered-models/alias", alias("champion")).await;
    done(address, "DELETE", "registered-models/alias", json!({ "name": "my model", "alias": "champion" })).await;
    done(address, "POST", "registered-models/alias", alias("production")).await;
    // Ours, one of which is told when it is ready.
    model(&client, "models/ours").await;
    pending(&client, "models/pending").await;
    client.finalize_version("models/pending/versions/1").await.unwrap();
    ready(&client, "models/ours").await;
    client.promote("models/ours/versions/1").await.unwrap();
    settled(&client, "hook").await;

    let received = receiver.drain();
    let all = told(&received);
    let types = |name: &str| {
        let of_it = all.iter().filter(|(_, data)| data["name"] == name);
        of_it.map(|(r#type, _)| &**r#type).collect::<Vec<_>>()
    };
    let expected = [
        "registered_model.created",
        "model_version.created",
        "model_version_tag.set",
        "model_version_tag.deleted",
        "model_version_alias.created",
        "model_version_alias.deleted",
        "model_version_alias.created",
    ];
    assert_eq!(types("my model"), expected);
    assert_eq!(all[2].1, &tag("a", "1"));
    assert_eq!(all[6].1, &alias("production"));
    assert_eq!(types("pending"), ["registered_model.created", "model_version.created"]);
    assert_eq!(types("ours"), ["registered_model.created", "model_version.created", "model_version_alias.created"]);
    assert!(received.iter().all(|one| one.signatures.is_empty()));
    let mut ids: Vec<_> = received.iter().map(|one| &one.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), received.len());
}

#[tokio::test]
async fn versions_of_a_prompt_are_told_as_such() {
    let server = server().await;
    let (client, address) = (server.client(), server.address());
    let mut receiver = Receiver::start(Answer::code(200)).await;
    client.create_webhook("hook", receiver.url()).mlflow().unsigned().await.unwrap();
    let prompt = json!([{ "key": "mlflow.prompt.is_prompt", "value": "true" }]);
    done(address, "POST", "registered-models/create", json!({ "name": "p", "tags": prompt })).await;
    let version = register(address, "p").await;
    let tag = json!({ "name": "p", "version": version, "key": "a", "value": "1" });
    done(address, "POST", "model-versions/set-tag", tag).await;
    client.promote("models/p/versions/1").await.unwrap();
    settled(&client, "hook").await;
    let received = receiver.drain();
    let types: Vec<_> = told(&received).into_iter().map(|(r#type, _)| r#type).collect();
    // As with MLflow, a version that does not say that it is a prompt is made as a model's.
    assert_eq!(types, ["prompt.created", "model_version.created", "prompt_version_tag.set", "prompt_alias.created"]);
}

#[tokio::test]
async fn an_event_of_several_posts_goes_on_behind_the_last_that_was_taken() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    let made = client.create_webhook("hook", receiver.url()).mlflow().types(["model_version_tag.set"]).await.unwrap();
    model_with(&client, "models/m", 1).await;
    for code in [200, 200, 503] {
        receiver.then(Answer::after(code, 0));
    }
    let tags = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let version = registry_client::pb::Version { name: "models/m/versions/1".to_owned(), tags, ..Default::default() };
    client.update_version(version).await.unwrap();
    let received = receiver.take(5).await;
    let keys: Vec<_> = received.iter().map(|one| one.json["data"]["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a", "b", "c", "c", "d"]);
    assert_eq!(received[2].id, received[3].id);
    for one in &received {
        one.verify_mlflow(&made.secret).unwrap();
    }
    settled(&client, "hook").await;
    let log = client.list_webhook_deliveries("hook").await.unwrap().deliveries;
    let attempts: Vec<_> = log.iter().rev().map(|one| (one.code, one.attempt)).collect();
    assert_eq!(attempts, [(200, 1), (200, 1), (503, 1), (200, 2), (200, 1)]);
    assert!(log.iter().all(|one| one.r#type == "model_version_tag.set" && one.event == log[0].event));
    receiver.nothing_more().await;
}

#[tokio::test]
async fn what_only_mlflows_receivers_can_have_is_for_them_only() {
    let server = server().await;
    let client = server.client();
    let url = "http://127.0.0.1:1/";
    for (call, field) in [
        (client.create_webhook("x", url).unsigned(), "webhook.signing"),
        (client.create_webhook("x", url).mlflow().ed25519(), "webhook.signing"),
        (client.create_webhook("x", url).mlflow().unsigned().secret("s"), "webhook.secret"),
        (client.create_webhook("x", url).mlflow().types(["version.created"]), "webhook.types[0]"),
        (client.create_webhook("x", url).types(["model_version.created"]), "webhook.types[0]"),
    ] {
        let error = call.await.unwrap_err();
        assert_eq!(error.violations().first().map(|one| one.field.as_str()), Some(field), "{error}");
    }
    client.create_webhook("own", url).await.unwrap();
    let error = client.test_webhook("own").event_type("prompt.created").await.unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
    // Whoever gives it a secret has it signed from then on.
    client.create_webhook("silent", url).mlflow().unsigned().await.unwrap();
    let rotated = client.rotate_webhook_secret("silent").await.unwrap();
    assert_eq!((rotated.signing(), rotated.secret.is_empty()), (WebhookSigning::HmacSha256, false));
}
