//! Webhooks: what a receiver gets, whatever it answers, and what becomes of a webhook.

use std::time::Duration;

use registry_client::known::event_type;
use registry_client::pb::{
    ErrorReason, Event, UpdateWebhookRequest, Webhook, WebhookDelivery, WebhookDisabledReason, WebhookSigning,
};
use registry_client::{Call, RegistryClient};
use registry_server::encryption::master::new_key;
use registry_tests::receiver::{Answer, Received, Receiver};
use registry_tests::{PATIENCE, TestServer, events, files, model, model_with, ready, soon, until};
use uuid::Uuid;

/// A server that sends to this machine.
async fn server() -> TestServer {
    TestServer::with(|config| config.webhook_allow = vec!["127.0.0.0/8".parse().unwrap()]).await
}

/// The names of the events that match, in the order of the log.
async fn names(client: &RegistryClient, wanted: impl Fn(&Event) -> bool) -> Vec<String> {
    events(client).await.into_iter().filter(wanted).map(|event| event.name).collect()
}

fn told(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.event.as_str()).collect()
}

async fn get(client: &RegistryClient) -> Webhook {
    client.get_webhook("hook").await.unwrap()
}

async fn log(client: &RegistryClient) -> Vec<WebhookDelivery> {
    client.list_webhook_deliveries("hook").await.unwrap().deliveries
}

/// Changes nothing but that an event which waits is tried at once.
fn nudge(client: &RegistryClient) -> Call<UpdateWebhookRequest> {
    let webhook = Webhook { name: "hook".to_owned(), ..Webhook::default() };
    client.update_webhook(webhook).fields(["disabled"])
}

/// Waits until the webhook has nothing more to send.
async fn sent(client: &RegistryClient) -> Webhook {
    until(PATIENCE, || async {
        let webhook = get(client).await;
        webhook.status.as_ref().is_some_and(|status| status.lag == 0).then_some(webhook)
    })
    .await
}

#[tokio::test]
async fn a_receiver_gets_every_event_it_asked_for_once_in_order_and_signed() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(204)).await;
    let webhook = client
        .create_webhook("hook", receiver.url())
        .parent("models/fraud")
        .types(["model.*", "version.created"])
        .filter("event.actor == 'tester'")
        .await;
    // A typo must not look like silence.
    assert!(webhook.unwrap_err().is_not_found());
    model(&client, "models/fraud").await;
    let webhook = client.create_webhook("hook", receiver.url()).parent("models/fraud").types(["version.*"]).await;
    let webhook = webhook.unwrap();
    model_with(&client, "models/other", 2).await;
    for _ in 0..5 {
        ready(&client, "models/fraud").await;
    }
    let of_fraud =
        |event: &Event| event.resource_name.contains("/fraud/versions/") && event.r#type.starts_with("version.");
    let expected = names(&client, of_fraud).await;
    let received = receiver.take(expected.len()).await;
    assert_eq!(told(&received), expected);
    for message in &received {
        message.verify(&webhook.secret).unwrap();
        assert_eq!(message.json["type"], message.json["data"]["type"]);
        assert_eq!(message.json["timestamp"], message.json["data"]["createTime"]);
        assert_eq!(message.id, format!("msg_{}", message.json["data"]["uid"].as_str().unwrap()));
    }
    let sent = sent(&client).await;
    let status = sent.status.unwrap();
    assert_eq!((status.last_code, status.failures, status.failing_since), (204, 0, None));
    receiver.nothing_more().await;
    let log = log(&client).await;
    let logged: Vec<_> =
        log.iter().rev().map(|delivery| (delivery.event.as_str(), delivery.code, delivery.attempt)).collect();
    assert_eq!(logged, expected.iter().map(|name| (name.as_str(), 204, 1)).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_is_sent_until_it_is_taken_and_the_next_one_waits() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    for answer in [Answer::after(429, 1), Answer::code(204), Answer::after(503, 1), Answer::code(500), Answer::Closes] {
        receiver.then(answer);
    }
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/first").await;
    model(&client, "models/second").await;
    let expected = names(&client, |event| event.r#type == event_type::MODEL_CREATED).await;
    let [first, second] = [expected[0].as_str(), expected[1].as_str()];
    let received = receiver.take(4).await;
    assert_eq!(told(&received), [first, first, second, second]);
    assert_eq!(received[0].id, received[1].id);
    assert_ne!(received[1].id, received[2].id);
    // As the receiver asked, and a little later at most.
    assert!(received[1].at - received[0].at >= Duration::from_secs(1));

    // After the 500 the schedule says five seconds; a change of the webhook says now.
    let failing = until(PATIENCE, || async {
        let webhook = get(&client).await;
        webhook.status.as_ref().is_some_and(|status| status.last_code == 500).then_some(webhook)
    });
    let status = failing.await.status.unwrap();
    assert_eq!(status.failures, 2);
    assert!(status.failing_since.is_some() && status.next_attempt_time.is_some() && status.lag > 0);
    nudge(&client).await.unwrap();
    receiver.take(1).await;
    until(PATIENCE, || async { (log(&client).await.len() == 5).then_some(()) }).await;
    nudge(&client).await.unwrap();
    assert_eq!(told(&receiver.take(1).await), [second]);
    sent(&client).await;
    let log: Vec<_> = log(&client).await.iter().map(|delivery| (delivery.code, delivery.error.is_empty())).collect();
    assert_eq!(log, [(200, true), (0, false), (500, false), (503, false), (204, true), (429, false)]);
}

#[tokio::test]
async fn nothing_is_lost_or_told_out_of_order_when_the_server_is_restarted() {
    let mut server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/m0").await;
    receiver.take(1).await;
    sent(&client).await;
    // From here on the receiver has trouble, and the server is stopped in the middle of it.
    receiver.otherwise(Answer::code(500));
    for n in 1..4 {
        model(&client, &format!("models/m{n}")).await;
    }
    receiver.take(1).await;
    server.restart().await;
    receiver.otherwise(Answer::code(200));
    nudge(&client).await.unwrap();
    sent(&client).await;
    let expected = names(&client, |event| event.r#type == event_type::MODEL_CREATED).await;
    let mut received: Vec<_> = receiver.drain().into_iter().map(|received| received.event).collect();
    received.dedup();
    assert_eq!(received, expected[1..]);
}

#[tokio::test]
async fn both_secrets_sign_after_a_rotation_and_only_those_who_made_them_see_them() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    let id = Uuid::now_v7();
    let create = || client.create_webhook("hook", receiver.url()).types(["model.created"]).request_id(id);
    let old = create().await.unwrap().secret;
    assert_eq!(create().await.unwrap().secret, old);
    let new = client.rotate_webhook_secret("hook").await.unwrap().secret;
    assert!(old.starts_with("whsec_") && new.starts_with("whsec_") && old != new);
    // It was rotated since.
    assert_eq!(create().await.unwrap().secret, "");
    model(&client, "models/m").await;
    let received = receiver.take(1).await.remove(0);
    received.verify(&old).unwrap();
    received.verify(&new).unwrap();

    let own = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(client.rotate_webhook_secret("hook").secret(own).await.unwrap().secret, own);
    let wrong = client.rotate_webhook_secret("hook").secret("secret").await.unwrap_err();
    assert!(wrong.is_invalid_argument() && !wrong.to_string().contains("secret\""), "{wrong}");
    let mut shown = format!("{:?}{:?}", get(&client).await, events(&client).await);
    shown += &format!("{:?}", client.list_webhooks().await.unwrap());
    for secret in [old.as_str(), &new, own] {
        assert!(!shown.contains(secret));
    }
    let rotated = names(&client, |event| event.r#type == event_type::WEBHOOK_SECRET_ROTATED).await;
    assert_eq!(rotated.len(), 2);
}

#[tokio::test]
async fn a_secret_lies_encrypted_where_there_is_a_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    new_key(&first).unwrap();
    new_key(&second).unwrap();
    let mut server = TestServer::with(|config| {
        config.webhook_allow = vec!["127.0.0.1".parse().unwrap()];
        config.encryption_key_file = Some(first.clone());
    })
    .await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    let bytes = [b'!'; 24];
    let secret = format!("whsec_{}", "ISEh".repeat(8));
    let create = client.create_webhook("hook", receiver.url()).types(["model.created"]).secret(&secret);
    assert_eq!(create.await.unwrap().secret, secret);
    let has = |path: &std::path::PathBuf| std::fs::read(path).unwrap().windows(24).any(|window| window == bytes);
    assert!(!files(&server.storage()).iter().any(has));
    // The key that it lies under is wrapped anew, and opens it.
    server
        .restart_with(|config| {
            config.encryption_old_key_files = vec![first.clone()];
            config.encryption_key_file = Some(second.clone());
        })
        .await;
    server.restart_with(|config| config.encryption_old_key_files.clear()).await;
    model(&client, "models/m").await;
    receiver.take(1).await[0].verify(&secret).unwrap();
}

#[tokio::test]
async fn a_replay_sends_again_with_the_same_ids() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    model(&client, "models/before").await;
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/after").await;
    let first = receiver.take(1).await.remove(0);
    client.replay_webhook("hook", 0).await.unwrap();
    let again = receiver.take(2).await;
    assert_eq!(told(&again), names(&client, |event| event.r#type == event_type::MODEL_CREATED).await);
    assert_eq!((&again[1].id, &again[1].event), (&first.id, &first.event));
    let head = sent(&client).await.status.unwrap().revision;
    let error = client.replay_webhook("hook", head + 100).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::RevisionUnknown));
}

#[tokio::test]
async fn a_test_says_what_came_back_and_changes_nothing() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    let webhook = client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    let before = events(&client).await.len();
    for (answer, code, well) in
        [(Answer::code(202), 202, true), (Answer::code(307), 307, false), (Answer::Closes, 0, false)]
    {
        receiver.then(answer);
        let delivery = client.test_webhook("hook").await.unwrap().delivery.unwrap();
        assert_eq!((delivery.code, delivery.error.is_empty()), (code, well), "{delivery:?}");
        assert_eq!((delivery.r#type.as_str(), delivery.event.as_str()), (event_type::WEBHOOK_TEST, ""));
        let received = receiver.take(1).await.remove(0);
        received.verify(&webhook.secret).unwrap();
        assert_eq!((received.json["type"].as_str(), &received.id), (Some("webhook.test"), &delivery.webhook_id));
    }
    receiver.nothing_more().await;
    assert_eq!((events(&client).await.len(), log(&client).await.len()), (before, 0));
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_the_webhook_until_it_is_enabled() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    receiver.then(Answer::code(410));
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/m").await;
    let disabled = until(PATIENCE, || async { Some(get(&client).await).filter(|webhook| webhook.disabled) }).await;
    assert_eq!(disabled.disabled_reason(), WebhookDisabledReason::Gone);
    let told_of = events(&client).await.pop().unwrap();
    assert_eq!((told_of.r#type.as_str(), told_of.actor.as_str()), (event_type::WEBHOOK_DISABLED, "registry-server"));
    let refused = receiver.take(1).await.remove(0);
    model(&client, "models/n").await;
    receiver.nothing_more().await;

    let enabled = nudge(&client).await.unwrap();
    assert_eq!((enabled.disabled, enabled.disabled_reason()), (false, WebhookDisabledReason::Unspecified));
    let received = receiver.take(2).await;
    assert_eq!(told(&received), names(&client, |event| event.r#type == event_type::MODEL_CREATED).await);
    assert_eq!(received[0].id, refused.id);
}

#[tokio::test]
async fn a_webhook_with_a_key_pair_shows_its_public_key_and_no_secret() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    let webhook = client.create_webhook("hook", receiver.url()).types(["model.created"]).ed25519().await.unwrap();
    assert_eq!((webhook.signing(), webhook.secret.as_str()), (WebhookSigning::Ed25519, ""));
    assert!(webhook.public_key.starts_with("whpk_"));
    let rotated = client.rotate_webhook_secret("hook").await.unwrap();
    assert_ne!(rotated.public_key, webhook.public_key);
    model(&client, "models/m").await;
    let received = receiver.take(1).await.remove(0);
    let schemes: Vec<_> = received.signatures.split(' ').map(|one| one.split(',').next().unwrap()).collect();
    assert_eq!(schemes, ["v1a", "v1a"]);
    let secret = client.create_webhook("other", receiver.url()).ed25519().secret("whsec_x").await.unwrap_err();
    assert!(secret.is_invalid_argument());
}

#[tokio::test]
async fn what_the_settings_do_not_name_is_not_sent_to() {
    let server = TestServer::start().await;
    let client = server.client();
    for url in [
        "http://127.0.0.1:1/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/",
        "ftp://x/",
        "",
    ] {
        let error = client.create_webhook("hook", url).await.unwrap_err();
        assert!(error.is_invalid_argument(), "{url}: {error}");
    }
    // A name is looked up when something is sent.
    client.create_webhook("hook", "https://localhost:1/").types(["model.created"]).await.unwrap();
    let delivery = client.test_webhook("hook").await.unwrap().delivery.unwrap();
    assert!(delivery.code == 0 && delivery.error.contains("not allowed"), "{delivery:?}");
    let update = Webhook { name: "hook".to_owned(), url: "https://10.0.0.1/".to_owned(), ..Webhook::default() };
    assert!(client.update_webhook(update).await.unwrap_err().is_invalid_argument());
}

#[tokio::test]
async fn a_webhook_that_is_deleted_is_gone_for_good() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(200)).await;
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/m").await;
    receiver.take(1).await;
    sent(&client).await;
    client.delete_webhook("hook").await.unwrap();
    assert!(client.get_webhook("hook").await.unwrap_err().is_not_found());
    model(&client, "models/n").await;
    // Another one of the name begins anew.
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    model(&client, "models/o").await;
    let received = soon(receiver.take(1)).await;
    assert_eq!(received[0].json["data"]["resourceName"], "namespaces/default/models/o");
    // It is noted when the receiver has answered.
    sent(&client).await;
    assert_eq!(log(&client).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_webhooks_than_are_sent_at_once_get_their_turns() {
    const WEBHOOKS: usize = 300;
    let server = server().await;
    let client = server.client();
    // Nobody has their answer at once: many wait.
    let mut receiver = Receiver::start(Answer::Late(Duration::from_millis(100))).await;
    for n in 0..WEBHOOKS {
        client.create_webhook(format!("hook-{n}"), receiver.url()).types(["model.created"]).await.unwrap();
    }
    model(&client, "models/m").await;
    receiver.take(WEBHOOKS).await;
    model(&client, "models/n").await;
    receiver.take(WEBHOOKS).await;
    receiver.nothing_more().await;
}

/// A webhook that gets events of these types only, from now on.
fn choose(client: &RegistryClient, types: &[&str]) -> Call<UpdateWebhookRequest> {
    let types = types.iter().map(|r#type| (*r#type).to_owned()).collect();
    client.update_webhook(Webhook { name: "hook".to_owned(), types, ..Webhook::default() }).fields(["types"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_webhook_is_changed_to_holds_from_that_revision_on() {
    let server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(204)).await;
    client.create_webhook("hook", receiver.url()).types(["alias.set"]).await.unwrap();
    for round in 0..20 {
        // What is made right after the change must not be missed.
        let make = async |n| drop(client.create_model(format!("m{round}-{n}")).await.unwrap());
        let (changed, ..) = tokio::join!(choose(&client, &["model.created"]).into_future(), make(0), make(1), make(2));
        let changed = changed.unwrap().revision;
        make(3).await;
        sent(&client).await;
        let made = |event: &Event| event.r#type == event_type::MODEL_CREATED && event.revision > changed;
        let of_round = |event: &Event| event.resource_name.contains(&format!("/m{round}-"));
        let expected = names(&client, |event| made(event) && of_round(event)).await;
        let received = receiver.drain();
        let received: Vec<_> =
            told(&received).into_iter().filter(|name| expected.iter().any(|one| one == name)).collect();
        assert_eq!(received, expected);
        choose(&client, &["alias.set"]).await.unwrap();
        sent(&client).await;
    }
}

#[tokio::test]
async fn what_was_passed_over_is_not_sent_later_whoever_looks() {
    let mut server = server().await;
    let client = server.client();
    let mut receiver = Receiver::start(Answer::code(204)).await;
    client.create_webhook("hook", receiver.url()).types(["alias.set"]).await.unwrap();
    model(&client, "models/before").await;
    sent(&client).await;
    choose(&client, &["model.created"]).await.unwrap();
    // Another process knows how far the one before had looked.
    server.restart().await;
    sent(&client).await;
    server.restart().await;
    model(&client, "models/after").await;
    let received = receiver.take(1).await;
    assert_eq!(received[0].json["data"]["resourceName"], "namespaces/default/models/after");
    receiver.nothing_more().await;
}
