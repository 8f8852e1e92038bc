//! JSON Web Tokens: who shows a good one of an issuer in the settings is whom its claims name, and nothing else lets anybody in.

use std::collections::BTreeMap;

use futures::future::join_all;
use registry_client::pb::ErrorReason;
use registry_server::settings;
use registry_server::settings::{Period, Prefix};
use registry_tests::issuer::{AUDIENCE, Issuer, Key, by_secret, from_now, unsigned};
use registry_tests::{PATIENCE, TestServer, events, model, soon, until};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{SECOND, Secured, client, denied, first_token, secure, unauthenticated};

/// A server that knows these issuers beside its own tokens.
async fn knowing(issuers: Vec<settings::Issuer>) -> Secured {
    let server = TestServer::with(|config| {
        secure(config);
        config.issuer = issuers;
    })
    .await;
    let token = std::fs::read_to_string(first_token(&server.storage())).unwrap();
    let admin = client(&server, token);
    Secured { server, admin }
}

/// The claims of a good token, with others in place of some; those that are null are left out.
fn with(claims: &Value, others: Value) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    claims.extend(others.as_object().unwrap().clone());
    claims.retain(|_, value| !value.is_null());
    Value::Object(claims)
}

#[tokio::test]
async fn a_good_token_is_whom_its_claims_name() {
    let keys = [Key::es256("ec"), Key::ed25519("ed"), Key::rs256("rsa")];
    let issuer = Issuer::start(&keys.each_ref()).await;
    let secured = knowing(vec![issuer.settings()]).await;
    secured.admin.create_binding("ana", "publisher", ["users/ana"]).on("namespaces/risk").await.unwrap();
    for key in &keys {
        let claims = issuer.claims("ana");
        let ana = client(&secured.server, key.token(&claims));
        let caller = ana.who_am_i().await.unwrap();
        assert_eq!((caller.principal.as_str(), caller.authenticated), ("users/ana", true));
        assert_eq!((caller.issuer, caller.token.as_str()), (issuer.url(), ""));
        // With the minute for clocks that differ.
        assert_eq!(caller.expire_time.unwrap().seconds, claims["exp"].as_i64().unwrap() + 60);
        let name = format!("namespaces/risk/models/by-{}", key.head()["kid"].as_str().unwrap());
        // The client says that it is the admin, as all of these tests' do.
        assert_eq!(ana.create_model(&name).await.unwrap().creator, "users/ana");
        denied(ana.create_model("namespaces/play/models/toy").await);
    }
    let log = events(&secured.admin).await;
    for event in log.iter().filter(|event| event.r#type == "model.created") {
        let shown = event.caller.clone().unwrap_or_default();
        assert_eq!((event.actor.as_str(), shown.issuer, shown.token), ("users/ana", issuer.url(), String::new()));
    }
    // Another subject is another principal, with nothing of hers.
    let bob = client(&secured.server, keys[0].token(&issuer.claims("bob")));
    denied(bob.get_model("namespaces/risk/models/by-ec").await);
    // Several audiences, and a type of access tokens.
    let many = with(&issuer.claims("ana"), json!({"aud": ["other", AUDIENCE]}));
    let head = with(&keys[0].head(), json!({"typ": "at+jwt"}));
    client(&secured.server, keys[0].token_with(&head, &many)).who_am_i().await.unwrap();
    // The registry's own tokens are what they were.
    assert_eq!(secured.admin.who_am_i().await.unwrap().principal, "users/admin");
    let wrong = client(&secured.server, "mr_none_none");
    unauthenticated(wrong.who_am_i().await, ErrorReason::TokenInvalid);
    assert_eq!(issuer.fetched(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said_and_nobody_let_in() {
    let (key, rsa, strange) = (Key::es256("one"), Key::rs256("rsa"), Key::es256("one"));
    let issuer = Issuer::start(&[&key, &rsa]).await;
    let secured = knowing(vec![issuer.settings()]).await;
    let (claims, head) = (issuer.claims("ana"), key.head());
    let by = |claims: Value| key.token(&claims);
    let headed = |head: Value| key.token_with(&head, &claims);
    let good = by(claims.clone());
    let parts: Vec<_> = good.split('.').collect();
    let secret = |key: &Key, id: &str| by_secret(&key.public_bytes(), &json!({"alg": "HS256", "kid": id}), &claims);
    let none = json!({"alg": "none", "kid": "one"});
    for (what, token, reason) in [
        ("expired", by(with(&claims, json!({"exp": from_now(-61)}))), ErrorReason::TokenExpired),
        ("not yet", by(with(&claims, json!({"nbf": from_now(90)}))), ErrorReason::TokenNotYetValid),
        ("another audience", by(with(&claims, json!({"aud": "other"}))), ErrorReason::TokenAudienceWrong),
        ("other audiences", by(with(&claims, json!({"aud": ["a", "b"]}))), ErrorReason::TokenAudienceWrong),
        ("no audience", by(with(&claims, json!({"aud": null}))), ErrorReason::TokenAudienceWrong),
        ("another issuer", by(with(&claims, json!({"iss": "https://id.example"}))), ErrorReason::TokenIssuerUnknown),
        ("nearly its issuer", by(with(&claims, json!({"iss": issuer.url() + "/"}))), ErrorReason::TokenIssuerUnknown),
        ("no issuer", by(with(&claims, json!({"iss": null}))), ErrorReason::TokenInvalid),
        ("no end", by(with(&claims, json!({"exp": null}))), ErrorReason::TokenInvalid),
        ("an end that is no number", by(with(&claims, json!({"exp": "never"}))), ErrorReason::TokenInvalid),
        ("a beginning that is none", by(with(&claims, json!({"nbf": "now"}))), ErrorReason::TokenInvalid),
        ("no signature at all", unsigned(&none, &claims) + ".", ErrorReason::TokenInvalid),
        ("none, and a signature", headed(none.clone()), ErrorReason::TokenInvalid),
        ("HS256 with the public key", secret(&key, "one"), ErrorReason::TokenInvalid),
        ("HS256 with the RSA key", secret(&rsa, "rsa"), ErrorReason::TokenInvalid),
        ("an algorithm that is not allowed", headed(with(&head, json!({"alg": "ES384"}))), ErrorReason::TokenInvalid),
        ("the key of another kind", headed(with(&head, json!({"kid": "rsa"}))), ErrorReason::TokenKeyUnknown),
        ("another algorithm of the key", headed(with(&head, json!({"alg": "RS256"}))), ErrorReason::TokenKeyUnknown),
        ("a stranger's key", strange.token(&claims), ErrorReason::TokenInvalid),
        (
            "a key of its own",
            strange.token_with(&with(&head, json!({"jwk": strange.public()})), &claims),
            ErrorReason::TokenInvalid,
        ),
        ("critical", headed(with(&head, json!({"crit": ["exp"]}))), ErrorReason::TokenInvalid),
        ("for something else", headed(with(&head, json!({"typ": "logout+jwt"}))), ErrorReason::TokenInvalid),
        (
            "claims of another token",
            format!(
                "{}.{}.{}",
                parts[0],
                unsigned(&head, &issuer.claims("admin")).split('.').nth(1).unwrap(),
                parts[2]
            ),
            ErrorReason::TokenInvalid,
        ),
        ("cut short", good[..good.len() - 4].to_owned(), ErrorReason::TokenInvalid),
        ("no token", "x".to_owned(), ErrorReason::TokenInvalid),
        ("nobody", by(with(&claims, json!({"sub": null}))), ErrorReason::TokenClaimsInvalid),
        ("a path", by(with(&claims, json!({"sub": "../services/root"}))), ErrorReason::TokenClaimsInvalid),
        ("a number", by(with(&claims, json!({"sub": 7}))), ErrorReason::TokenClaimsInvalid),
    ] {
        let error = client(&secured.server, &token).who_am_i().await.expect_err(what);
        assert_eq!((error.reason(), error.is_unauthenticated()), (Some(reason), true), "{what}: {error:?}");
        assert!(token.len() < 20 || !format!("{error:?}").contains(&token[token.len() - 20..]), "{what}: {error:?}");
    }
    client(&secured.server, &good).who_am_i().await.unwrap();
    // The one for an unknown key asked again, once for both.
    assert_eq!(issuer.fetched(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_and_one_that_is_withdrawn_is_not() {
    let (old, new, newer) = (Key::es256("old"), Key::es256("new"), Key::es256("newer"));
    let issuer = Issuer::start(&[&old]).await;
    let secured = knowing(vec![issuer.settings()]).await;
    let claims = issuer.claims("ana");
    let call = async |key: &Key| client(&secured.server, key.token(&claims)).who_am_i().await;
    call(&old).await.unwrap();
    issuer.publish(&[&new]);
    call(&new).await.unwrap();
    unauthenticated(call(&old).await, ErrorReason::TokenKeyUnknown);
    // Not twice within the minute, whoever asks.
    issuer.publish(&[&newer]);
    unauthenticated(call(&newer).await, ErrorReason::TokenKeyUnknown);
    call(&new).await.unwrap();
    assert_eq!(issuer.fetched(), 2);
}

#[tokio::test]
async fn keys_that_nobody_knows_are_looked_for_once() {
    const CALLS: usize = 200;
    let (key, strange) = (Key::es256("one"), Key::es256("x"));
    let issuer = Issuer::start(&[&key]).await;
    let secured = knowing(vec![issuer.settings()]).await;
    let claims = issuer.claims("ana");
    let good = client(&secured.server, key.token(&claims));
    soon(good.who_am_i()).await.unwrap();
    let calls = (0..CALLS).map(|number| {
        let head = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
        let caller = client(&secured.server, strange.token_with(&head, &claims));
        async move { caller.who_am_i().await }
    });
    for answer in soon(join_all(calls)).await {
        unauthenticated(answer, ErrorReason::TokenKeyUnknown);
    }
    assert_eq!(issuer.fetched(), 2);
    good.who_am_i().await.unwrap();
}

#[tokio::test]
async fn known_keys_stay_while_their_issuer_is_away() {
    let (key, new) = (Key::es256("one"), Key::es256("two"));
    let mut issuer = Issuer::start(&[&key]).await;
    let secured = knowing(vec![issuer.settings()]).await;
    let claims = issuer.claims("ana");
    let known = client(&secured.server, key.token(&claims));
    known.who_am_i().await.unwrap();
    issuer.stop().await;
    unauthenticated(client(&secured.server, new.token(&claims)).who_am_i().await, ErrorReason::TokenKeyUnknown);
    known.who_am_i().await.unwrap();
}

#[tokio::test]
async fn a_server_starts_without_its_issuer_and_finds_it_later() {
    let key = Key::es256("one");
    let mut issuer = Issuer::start(&[&key]).await;
    issuer.stop().await;
    let secured = knowing(vec![issuer.settings()]).await;
    secured.admin.who_am_i().await.unwrap();
    let ana = client(&secured.server, key.token(&issuer.claims("ana")));
    unauthenticated(ana.who_am_i().await, ErrorReason::TokenKeyUnknown);
    issuer.start_again().await;
    let caller = until(PATIENCE, async || ana.who_am_i().await.ok()).await;
    assert_eq!(caller.principal, "users/ana");
}

#[tokio::test]
async fn an_issuer_that_says_something_else_has_no_keys() {
    let key = Key::es256("one");
    let other = Issuer::start(&[&key]).await;
    let (elsewhere, there) = (other.url(), format!("{}/keys", other.url()));
    for (what, status, document) in [
        ("another issuer", 200, json!({"issuer": elsewhere, "jwks_uri": there})),
        ("no issuer", 200, json!({"jwks_uri": there})),
        ("no keys", 200, json!({"issuer": "URL"})),
        ("keys without TLS", 200, json!({"issuer": "URL", "jwks_uri": "http://id.example/keys"})),
        ("keys in a file", 200, json!({"issuer": "URL", "jwks_uri": "file:///etc/passwd"})),
        ("a redirect", 302, json!({"location": format!("{elsewhere}/.well-known/openid-configuration")})),
        ("an error", 500, json!({"issuer": "URL", "jwks_uri": there})),
        ("too much", 200, json!({"issuer": "URL", "jwks_uri": there, "more": "x".repeat(300 * 1024)})),
    ] {
        let issuer = Issuer::start(&[&key]).await;
        let document = document.to_string().replace("\"URL\"", &format!("\"{}\"", issuer.url()));
        issuer.discover_instead(status, serde_json::from_str(&document).unwrap());
        let secured = knowing(vec![issuer.settings()]).await;
        let answer = client(&secured.server, key.token(&issuer.claims("ana"))).who_am_i().await;
        assert_eq!(answer.expect_err(what).reason(), Some(ErrorReason::TokenKeyUnknown), "{what}");
    }
    assert_eq!(other.fetched(), 0);
    // A key that is a secret, also for whoever reads the set.
    let issuer = Issuer::start(&[]).await;
    issuer.publish_instead(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"}]}));
    let secured = knowing(vec![issuer.settings()]).await;
    let claims = issuer.claims("ana");
    let signed = by_secret(b"secret", &json!({"alg": "HS256", "kid": "one"}), &claims);
    unauthenticated(client(&secured.server, signed).who_am_i().await, ErrorReason::TokenInvalid);
    unauthenticated(client(&secured.server, key.token(&claims)).who_am_i().await, ErrorReason::TokenKeyUnknown);
}

#[tokio::test]
async fn groups_of_claims_hold_for_their_call_alone() {
    let key = Key::es256("one");
    let issuer = Issuer::start(&[&key]).await;
    let groups = BTreeMap::from([("ml-risk".to_owned(), "groups/risk".to_owned())]);
    let settings = settings::Issuer { groups_claim: "/access/roles".to_owned(), groups, ..issuer.settings() };
    let secured = knowing(vec![settings]).await;
    let admin = &secured.admin;
    model(admin, "fraud").await;
    admin.create_binding("risk", "viewer", ["groups/risk"]).await.unwrap();
    admin.create_binding("admins", "admin", ["groups/admins"]).await.unwrap();
    let claims = issuer.claims("ana");
    let of = |roles: Value| client(&secured.server, key.token(&with(&claims, json!({"access": {"roles": roles}}))));
    let ana = of(json!(["ml-risk", "admins", "groups/admins"]));
    assert_eq!(ana.who_am_i().await.unwrap().groups, ["groups/risk"]);
    ana.get_model("fraud").await.unwrap();
    assert_eq!(ana.list_models().await.unwrap().models.len(), 1);
    denied(ana.create_model("other").await);
    // The same principal without them.
    denied(of(json!([])).get_model("fraud").await);
    let tokens = admin.create_token("users/ana").await.unwrap();
    denied(client(&secured.server, tokens.secret).get_model("fraud").await);
    assert!(!admin.explain_access("users/ana", "models.get", "fraud").await.unwrap().granted);
    unauthenticated(of(json!({"ml-risk": true})).who_am_i().await, ErrorReason::TokenClaimsInvalid);
    // What a group of claims is given can be taken away like anything else.
    admin.delete_binding("risk").await.unwrap();
    denied(ana.get_model("fraud").await);
}

#[tokio::test]
async fn two_issuers_are_kept_apart() {
    let (one, other, service) = (Key::es256("key"), Key::es256("key"), Key::es256("key"));
    let (a, b, c) = (Issuer::start(&[&one]).await, Issuer::start(&[&other]).await, Issuer::start(&[&service]).await);
    let at = |issuer: &Issuer, domain: &str| settings::Issuer { domain: Some(domain.to_owned()), ..issuer.settings() };
    let of_services = settings::Issuer { prefix: Prefix::Services, name_claim: "azp".to_owned(), ..c.settings() };
    let secured = knowing(vec![at(&a, "a.example"), at(&b, "b.example"), of_services]).await;
    let call = async |key: &Key, claims: &Value| client(&secured.server, key.token(claims)).who_am_i().await;
    assert_eq!(call(&one, &a.claims("ana")).await.unwrap().principal, "users/ana@a.example");
    assert_eq!(call(&other, &b.claims("ana")).await.unwrap().principal, "users/ana@b.example");
    let claims = with(&c.claims("7"), json!({"azp": "trainer"}));
    assert_eq!(call(&service, &claims).await.unwrap().principal, "services/trainer");
    unauthenticated(call(&other, &b.claims("ana@a.example")).await, ErrorReason::TokenClaimsInvalid);
    // Each one's keys are for its own tokens, also if they are called the same.
    unauthenticated(call(&other, &a.claims("ana")).await, ErrorReason::TokenInvalid);
    unauthenticated(call(&service, &b.claims("ana")).await, ErrorReason::TokenInvalid);
}

#[tokio::test]
async fn a_stream_ends_with_the_token_of_its_reader() {
    let key = Key::es256("one");
    let issuer = Issuer::start(&[&key]).await;
    let secured = knowing(vec![settings::Issuer { leeway: Period::of_secs(0), ..issuer.settings() }]).await;
    secured.admin.create_binding("ana", "viewer", ["users/ana"]).await.unwrap();
    let claims = with(&issuer.claims("ana"), json!({"exp": from_now(3)}));
    let ana = client(&secured.server, key.token(&claims));
    let mut watch = ana.watch().stream();
    soon(watch.try_next()).await.unwrap();
    let ended = async {
        loop {
            if let Err(error) = watch.try_next().await {
                return error;
            }
        }
    };
    let error = timeout(SECOND, ended).await.expect("the watch has to end");
    assert_eq!(error.reason(), Some(ErrorReason::TokenExpired), "{error:?}");
    assert!(from_now(0) >= claims["exp"].as_i64().unwrap(), "it ended before its time");
    unauthenticated(ana.get_model("fraud").await, ErrorReason::TokenExpired);
}

#[tokio::test]
async fn without_issuers_a_json_web_token_is_no_token() {
    let key = Key::es256("one");
    let issuer = Issuer::start(&[&key]).await;
    let secured = Secured::start().await;
    let answer = client(&secured.server, key.token(&issuer.claims("admin"))).who_am_i().await;
    unauthenticated(answer, ErrorReason::TokenInvalid);
    assert_eq!(issuer.fetched(), 0);
}
