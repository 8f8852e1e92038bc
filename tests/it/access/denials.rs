//! The audit trail of who called from where, and of what was refused.

use registry_client::pb::{Denial, ErrorReason, Event};
use registry_tests::{TestServer, events, until};

use super::{SECOND, Secured, client, denied, unauthenticated};

/// What was refused, as far as the log tells of it.
async fn refused(admin: &registry_client::RegistryClient) -> Vec<Event> {
    events(admin).await.into_iter().filter(|event| event.r#type == "access.denied").collect()
}

#[tokio::test]
async fn what_is_refused_is_told_in_the_log() {
    let mut secured = Secured::start().await;
    let ana = secured.user("users/ana", &[("viewer", "namespaces/risk/models/fraud")]).await;
    let stranger = client(&secured.server, "mr_stranger");
    for _ in 0..7 {
        denied(ana.delete_model("namespaces/risk/models/fraud").await);
        unauthenticated(stranger.get_model("fraud").await, ErrorReason::TokenInvalid);
    }
    let told = || async {
        let told = refused(&secured.admin).await;
        (told.len() >= 2).then_some(told)
    };
    let told = until(SECOND, told).await;

    let of = |actor: &str| told.iter().find(|event| event.actor == actor).unwrap_or_else(|| panic!("{told:?}"));
    let (by_ana, by_stranger) = (of("users/ana"), of("anonymous"));
    let Denial { permission, resource, reason, .. } = by_ana.denial.clone().unwrap();
    assert_eq!((permission.as_str(), resource.as_str()), ("models.delete", "namespaces/risk/models/fraud"));
    assert_eq!(reason, "PERMISSION_DENIED");
    assert_eq!(by_ana.resource_name, "users/ana");
    let caller = by_ana.caller.clone().unwrap();
    assert!(caller.token.starts_with("tokens/") && caller.address == "127.0.0.1", "{caller:?}");
    assert!(caller.user_agent.contains("tonic/"), "{caller:?}");

    let Denial { permission, resource, reason, .. } = by_stranger.denial.clone().unwrap();
    assert_eq!((permission.as_str(), resource.as_str(), reason.as_str()), ("", "", "TOKEN_INVALID"));
    assert_eq!(by_stranger.caller.clone().unwrap().token, "");

    // Whoever sees a model sees nothing of who else was refused there.
    assert!(refused(&ana).await.is_empty());

    // What was only counted is told of when the server stops.
    secured.server.restart().await;
    let told = refused(&secured.admin).await;
    for actor in ["users/ana", "anonymous"] {
        let of = told.iter().filter(|event| event.actor == actor);
        let counts: Vec<_> = of.map(|event| event.denial.as_ref().unwrap().count).collect();
        // That she may not list all events was refused as well.
        assert!(counts.len() <= 3 && counts.iter().sum::<i64>() >= 7, "{actor}: {counts:?}");
    }
}

#[tokio::test]
async fn the_same_by_another_token_is_told_of_by_itself() {
    let secured = Secured::start().await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let token = secured.admin.create_token("users/ana").await.unwrap();
        let ana = client(&secured.server, &token.secret);
        for _ in 0..3 {
            denied(ana.delete_model("fraud").await);
        }
        tokens.push(token.name);
    }
    let told = || async {
        let told =
            refused(&secured.admin).await.into_iter().filter_map(|event| Some((event.caller?.token, event.denial?)));
        let mut told: Vec<_> = told.map(|(token, denial)| (token, denial.permission)).collect();
        told.sort();
        (told.len() >= 2).then_some(told)
    };
    tokens.sort();
    let expected: Vec<_> = tokens.into_iter().map(|token| (token, "models.delete".to_owned())).collect();
    assert_eq!(until(SECOND, told).await, expected);
}

#[tokio::test]
async fn the_log_tells_how_each_call_came() {
    let secured = Secured::start().await;
    let token = secured.admin.create_token("users/ana").await.unwrap();
    secured.admin.create_binding("ana", "admin", ["users/ana"]).await.unwrap();
    let ana = client(&secured.server, &token.secret);
    ana.create_model("fraud").await.unwrap();
    let log = events(&secured.admin).await;
    let made = log.iter().find(|event| event.r#type == "model.created").unwrap();
    let caller = made.caller.clone().unwrap();
    assert_eq!((caller.token, caller.address.as_str()), (token.name, "127.0.0.1"));
    assert!(!format!("{log:?}").contains(&token.secret), "nothing of the secret");
    assert!(log[0].caller.is_none(), "nobody called for what the server does by itself: {:?}", log[0]);
}

#[tokio::test]
async fn without_access_control_nothing_is_proven() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_model("fraud").await.unwrap();
    let caller = events(&client).await.pop().unwrap().caller.unwrap();
    assert_eq!((caller.token.as_str(), caller.address.as_str()), ("", "127.0.0.1"));
}
