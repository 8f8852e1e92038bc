//! Tokens: the first one, what is none, how they end, and what they narrow.

use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use prost_types::Timestamp;
use registry_client::pb::{ErrorReason, Token};
use registry_client::{RegistryClient, pb};
use registry_tests::{PATIENCE, TestServer, events, files, model, until};
use uuid::Uuid;

use super::{Secured, client, denied, first_token, secure, unauthenticated};

/// Times as far from now as this, in seconds.
fn from_now(seconds: i64) -> Timestamp {
    let now = Timestamp::from(SystemTime::now());
    Timestamp { seconds: now.seconds + seconds, nanos: 0 }
}

#[tokio::test]
async fn the_first_token_is_made_once_and_only_its_owner_can_read_it() {
    let Secured { mut server, admin } = Secured::start().await;
    let file = first_token(&server.storage());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let caller = admin.who_am_i().await.unwrap();
    assert_eq!((caller.principal.as_str(), caller.authenticated), ("users/admin", true));
    assert!(caller.token.starts_with("tokens/"), "{caller:?}");
    model(&admin, "fraud").await;

    let before = std::fs::read_to_string(&file).unwrap();
    server.restart().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    assert_eq!(client(&server, &before).get_model("models/fraud").await.unwrap().creator, "users/admin");
    std::fs::remove_file(&file).unwrap();
    server.restart().await;
    assert!(!file.exists(), "there is a binding already");

    // Without any binding the way in is open again for whoever runs the server: with a token that is in the file.
    let admin = client(&server, &before);
    admin.delete_binding("first-admin").await.unwrap();
    denied(admin.get_model("models/fraud").await);
    std::fs::write(&file, format!("{before}\n")).unwrap();
    server.restart().await;
    admin.get_model("models/fraud").await.unwrap();
}

#[tokio::test]
async fn without_access_control_the_caller_is_who_they_say() {
    let server = TestServer::start().await;
    let client = RegistryClient::builder(server.endpoint()).actor("ana").token("mr_none").connect_lazy().unwrap();
    let caller = client.who_am_i().await.unwrap();
    assert_eq!((caller.principal.as_str(), caller.authenticated, caller.token.as_str()), ("ana", false, ""));
    let had = client.test_permissions("", ["models.purge", "*"]).await.unwrap();
    assert_eq!(had.permissions, ["models.purge", "*"]);
    // What is kept has no effect, and is explained all the same.
    client.create_binding("b", "viewer", ["users/ana"]).await.unwrap();
    assert!(client.explain_access("users/ana", "models.get", "").await.unwrap().granted);
    assert!(!client.explain_access("users/bob", "models.get", "").await.unwrap().granted);
}

#[tokio::test]
async fn what_is_no_token_of_this_registry_lets_nobody_in() {
    let Secured { server, admin } = Secured::start().await;
    let token = admin.create_token("users/ana").await.unwrap().secret;
    let mistyped = token.replace(&token[10..11], if &token[10..11] == "x" { "y" } else { "x" });
    let other = Secured::start().await.admin.create_token("users/ana").await.unwrap().secret;
    for wrong in ["mr_", "x", &mistyped, &other, &token[..token.len() - 1]] {
        unauthenticated(client(&server, wrong).who_am_i().await, ErrorReason::TokenInvalid);
    }
    let basic = RegistryClient::builder(server.endpoint()).header("authorization", format!("Basic {token}"));
    unauthenticated(basic.connect_lazy().unwrap().who_am_i().await, ErrorReason::TokenInvalid);
    unauthenticated(server.client().who_am_i().await, ErrorReason::TokenMissing);
    unauthenticated(server.client().create_model("models/fraud").await, ErrorReason::TokenMissing);
    client(&server, &token).who_am_i().await.unwrap();
}

#[tokio::test]
async fn a_token_ends_by_its_time_or_when_it_is_revoked() {
    let Secured { server, admin } = Secured::start().await;
    let make = |expires| admin.create_token("users/ana").title("laptop").expires(expires);
    let expired = make(from_now(-60)).await.unwrap();
    unauthenticated(client(&server, &expired.secret).who_am_i().await, ErrorReason::TokenExpired);

    let token = make(from_now(3600)).id("ana-1").await.unwrap();
    assert_eq!(token.name, "tokens/ana-1");
    let ana = client(&server, &token.secret);
    assert_eq!(ana.who_am_i().await.unwrap().token, token.name);
    assert!(admin.create_token("users/bob").id("ana-1").await.unwrap_err().is_already_exists());
    let revoked = admin.revoke_token("ana-1").await.unwrap();
    assert!(revoked.revoke_time.is_some() && revoked.secret.is_empty());
    unauthenticated(ana.who_am_i().await, ErrorReason::TokenRevoked);
    assert_eq!(admin.revoke_token("ana-1").await.unwrap().revoke_time, revoked.revoke_time, "once");
}

#[tokio::test]
async fn a_token_allows_no_more_than_its_roles_on_its_resource() {
    let Secured { server, admin } = Secured::start().await;
    for name in ["namespaces/risk/models/fraud", "namespaces/play/models/toy"] {
        model(&admin, name).await;
    }
    let narrow = admin.create_token("users/admin").roles(["viewer"]).on("namespaces/risk").await.unwrap();
    let narrow = client(&server, narrow.secret);
    narrow.get_model("namespaces/risk/models/fraud").await.unwrap();
    denied(narrow.get_model("namespaces/play/models/toy").await);
    denied(narrow.create_version("namespaces/risk/models/fraud").await);
    let had = narrow.test_permissions("namespaces/risk/models/fraud", ["models.*", "models.get", "versions.list"]);
    assert_eq!(had.await.unwrap().permissions, ["models.get", "versions.list"]);
    // What a token of somebody else narrows counts for nothing if they lack it.
    let lacking = admin.create_token("users/ana").roles(["admin"]).await.unwrap();
    denied(client(&server, lacking.secret).get_model("namespaces/risk/models/fraud").await);
}

#[tokio::test]
async fn the_actor_is_the_tokens_principal_whatever_the_header_says() {
    let secured = Secured::start().await;
    let ana = secured.user("users/ana@example.com", &[("publisher", "namespaces/risk")]).await;
    let made = ana.create_model("namespaces/risk/models/fraud").await.unwrap();
    assert_eq!(made.creator, "users/ana@example.com");
    let log = events(&secured.admin).await;
    let of_model = log.iter().find(|event| event.r#type == "model.created").unwrap();
    assert_eq!(of_model.actor, "users/ana@example.com");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let Secured { mut server, admin } = Secured::start().await;
    let id = Uuid::now_v7().to_string();
    let request = pb::CreateTokenRequest {
        token: Some(Token { principal: "users/ana".to_owned(), ..Token::default() }),
        request_id: id.clone(),
        ..Default::default()
    };
    let token = admin.call(request.clone()).await.unwrap();
    assert!(token.secret.starts_with("mr_"), "{token:?}");
    let again = admin.call(request.clone()).await.unwrap();
    assert_eq!(again, Token { secret: String::new(), ..token.clone() });
    let only_checked = pb::CreateTokenRequest { request_id: String::new(), validate_only: true, ..request };
    assert_eq!(admin.call(only_checked).await.unwrap().secret, "");
    assert_eq!(admin.get_token(&token.name).await.unwrap().secret, "");
    let listed = admin.list_tokens().await.unwrap().tokens;
    assert!(listed.len() == 2 && listed.iter().all(|token| token.secret.is_empty()), "{listed:?}");
    let log = format!("{:?}", events(&admin).await);
    // The part behind the id is what nobody may know.
    let hidden = token.secret.rsplit('_').next().unwrap();
    assert!(!log.contains(hidden));
    client(&server, &token.secret).who_am_i().await.unwrap();
    let storage = server.storage();
    server.stop().await;
    for file in files(&storage) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn it_is_known_when_a_token_was_last_used() {
    let Secured { server, admin } = Secured::start().await;
    let token = admin.create_token("users/ana").await.unwrap();
    assert_eq!(admin.get_token(&token.name).await.unwrap().last_use_time, None);
    client(&server, &token.secret).who_am_i().await.unwrap();
    let used = until(PATIENCE, || async { admin.get_token(&token.name).await.unwrap().last_use_time }).await;
    assert!(used.seconds >= token.create_time.unwrap().seconds - 1, "{used:?}");
    let listed = admin.list_tokens().await.unwrap().tokens;
    assert_eq!(listed.iter().find(|listed| listed.name == token.name).unwrap().last_use_time, Some(used));
}

#[tokio::test]
async fn a_server_without_a_binding_lets_nobody_do_anything() {
    let server = TestServer::with(|config| {
        secure(config);
        config.bootstrap_token_file = None;
    })
    .await;
    unauthenticated(server.client().list_models().await, ErrorReason::TokenMissing);
}
