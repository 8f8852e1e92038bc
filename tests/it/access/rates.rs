//! How often one principal may call.

use std::num::NonZeroU32;

use registry_client::pb::ErrorReason;
use tonic::Code;

use super::{SECOND, Secured, client};
use registry_tests::until;

#[tokio::test]
async fn who_calls_too_often_is_refused_and_nobody_else() {
    let mut secured = Secured::start().await;
    let ana = secured.user("users/ana", &[("viewer", "")]).await;
    let bob = secured.admin.create_token("users/bob").await.unwrap().secret;
    secured.server.restart_with(|config| config.principal_rate = NonZeroU32::new(1)).await;

    let mut taken = 0;
    let refused = loop {
        match ana.list_models().await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 100, "nothing is refused");
    };
    assert!(taken >= 10, "ten seconds' worth may come at once: {taken}");
    assert_eq!((refused.code(), refused.reason()), (Some(Code::ResourceExhausted), Some(ErrorReason::RateLimited)));
    let wait = refused.retry_after().unwrap();
    assert!(wait.as_millis() <= 1000, "{wait:?}");

    client(&secured.server, bob).who_am_i().await.expect("others have calls of their own");
    until(SECOND, || async { ana.list_models().await.ok() }).await;
}
