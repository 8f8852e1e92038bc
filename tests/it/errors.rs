//! Errors fit the limits of those whom they pass.

use registry_client::Error;
use registry_client::pb::version_service_client::VersionServiceClient;
use registry_client::pb::{CreateVersionRequest, ErrorReason, Version};
use registry_tests::expect::unchanged;
use registry_tests::{TestServer, model};
use tonic::Status;
use tonic::codegen::http::HeaderMap;

const MODEL: &str = "models/fraud";

/// Why a version can't be made, and how many bytes of headers that takes.
async fn refusal(server: &TestServer, version: Version) -> (Error, usize) {
    let create = CreateVersionRequest { parent: MODEL.to_owned(), version: Some(version), ..Default::default() };
    let mut service = VersionServiceClient::new(server.channel());
    let status: Status = unchanged(server, service.create_version(create)).await.unwrap_err();
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (status.into(), bytes)
}

#[tokio::test]
async fn sixteen_violations_are_listed_and_all_are_counted() {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    for count in [1, 16, 17, 500] {
        let version = Version { features: vec![Default::default(); count], ..Default::default() };
        let (error, bytes) = refusal(&server, version).await;
        let fields: Vec<_> = error.violations().iter().map(|found| found.field.clone()).collect();
        let listed = (0..count.min(16)).map(|at| format!("version.features[{at}].name"));
        assert_eq!(fields, listed.collect::<Vec<_>>());
        assert!(error.violations().iter().all(|found| found.reason == ErrorReason::FieldRequired));
        assert_eq!(error.status().unwrap().metadata["violation_count"], count.to_string());
        assert!(bytes < 8192, "{count}: {bytes} bytes");
    }
}

#[tokio::test]
async fn an_error_is_small_whatever_it_repeats() {
    let server = TestServer::start().await;
    model(&server.client(), MODEL).await;
    let key = |number: usize| format!("{number:02}{}", "\u{1f980}".repeat(126));
    let versions = [
        // Values that are repeated, and fields with keys in their names.
        Version { framework: "\u{1f980}".repeat(10_000), ..Default::default() },
        Version { tags: (0..64).map(|number| (key(number), "x".repeat(257))).collect(), ..Default::default() },
        Version { base_versions: vec!["\u{1f980}".repeat(10_000); 20], ..Default::default() },
    ];
    for version in versions {
        let (error, bytes) = refusal(&server, version).await;
        assert!(!error.violations().is_empty() && bytes < 8192, "{bytes} bytes: {error:?}");
        let status = error.status().unwrap();
        assert!(status.message.len() <= 512, "{status:?}");
        let echoed = |text: &str| text.matches('\u{1f980}').count();
        assert!(status.violations.iter().all(|found| echoed(&found.description) <= 64), "{status:?}");
    }
}
