//! Health, of every service by name.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::descriptors::services;
use crate::server::TestServer;

#[tokio::test]
async fn every_service_says_that_it_serves() {
    let server = TestServer::start().await;
    // The server is up.
    server.head().await;
    let mut health = HealthClient::new(server.channel.clone());
    let names = services().iter().map(|service| service.full_name().to_owned()).collect::<Vec<_>>();
    for name in names.iter().map(String::as_str).chain([""]) {
        let request = HealthCheckRequest { service: name.to_owned() };
        let answer = health.check(request).await.unwrap_or_else(|status| panic!("{name:?}: {status}"));
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{name:?}");
    }
}
