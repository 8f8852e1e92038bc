use std::time::Duration;

use registry_client::pb::ErrorReason;
use registry_client::{Error, FieldViolation, RegistryClient, pb};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as WireViolation, StatusExt};

use crate::fake::{Fake, endpoints, impatient, nobody};

type Predicate = fn(&Error) -> bool;

fn info(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, "modelregistry.dev", [("name".to_owned(), "models/x".to_owned())])
}

/// What the client makes of an answer, over the wire.
async fn decoded(code: Code, message: &'static str, details: ErrorDetails) -> Error {
    answered(Status::with_error_details(code, message, details)).await
}

async fn answered(status: Status) -> Error {
    let refuse = move |_| Err::<pb::Model, _>(status.clone());
    let client = impatient([Fake::default().on::<pb::GetModelRequest, _>(refuse).serve().await]).await;
    client.get_model("models/x").await.unwrap_err()
}

#[tokio::test]
async fn errors_are_known_by_code_and_reason() {
    let predicates: [(&str, Predicate); 13] = [
        ("not found", Error::is_not_found),
        ("already exists", Error::is_already_exists),
        ("conflict", Error::is_conflict),
        ("failed precondition", Error::is_failed_precondition),
        ("invalid argument", Error::is_invalid_argument),
        ("unavailable", Error::is_unavailable),
        ("deadline exceeded", Error::is_deadline_exceeded),
        ("out of range", Error::is_out_of_range),
        ("data loss", Error::is_data_loss),
        ("resource exhausted", Error::is_resource_exhausted),
        ("permission denied", Error::is_permission_denied),
        ("unauthenticated", Error::is_unauthenticated),
        ("outcome unknown", Error::is_outcome_unknown),
    ];
    let rows = [
        (Code::NotFound, "RESOURCE_NOT_FOUND", Some(ErrorReason::ResourceNotFound), "not found"),
        (Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS", Some(ErrorReason::ResourceAlreadyExists), "already exists"),
        (Code::Aborted, "ETAG_MISMATCH", Some(ErrorReason::EtagMismatch), "conflict"),
        (Code::FailedPrecondition, "VERSION_SEALED", Some(ErrorReason::VersionSealed), "failed precondition"),
        (Code::InvalidArgument, "NAME_INVALID", Some(ErrorReason::NameInvalid), "invalid argument"),
        (Code::Unavailable, "SERVER_DRAINING", Some(ErrorReason::ServerDraining), "unavailable outcome unknown"),
        (
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            Some(ErrorReason::DeadlineExceeded),
            "deadline exceeded outcome unknown",
        ),
        (Code::ResourceExhausted, "OVERLOADED", Some(ErrorReason::Overloaded), "resource exhausted"),
        (Code::OutOfRange, "REVISION_COMPACTED", Some(ErrorReason::RevisionCompacted), "out of range"),
        (Code::DataLoss, "ARTIFACT_DAMAGED", Some(ErrorReason::ArtifactDamaged), "data loss"),
        (Code::Internal, "INTERNAL", Some(ErrorReason::Internal), ""),
        // A reason of a newer server: the code still tells.
        (Code::PermissionDenied, "MOON", None, "permission denied"),
        (Code::Unauthenticated, "MOON", None, "unauthenticated"),
        (Code::NotFound, "MOON_NOT_FOUND", None, "not found"),
    ];
    for (code, name, reason, expected) in rows {
        let error = decoded(code, "text", info(name)).await;
        assert_eq!((error.code(), error.reason()), (Some(code), reason), "{name}");
        let holding: Vec<_> = predicates.iter().filter(|(_, holds)| holds(&error)).map(|(name, _)| *name).collect();
        assert_eq!(holding.join(" "), expected, "{name}");
        assert_eq!(error.status().unwrap().metadata["name"], "models/x");
        assert_eq!(error.to_string(), "text");
    }
}

#[tokio::test]
async fn a_reason_of_somebody_else_is_none_of_ours() {
    let details = ErrorDetails::with_error_info("RESOURCE_NOT_FOUND", "proxy.example", []);
    let error = decoded(Code::NotFound, "RESOURCE_NOT_FOUND", details).await;
    assert_eq!(error.reason(), None);
    assert!(error.is_not_found());
}

#[tokio::test]
async fn an_invalid_argument_names_every_field() {
    let violation = |field: &str, description: &str, reason: &str| WireViolation {
        field: field.to_owned(),
        description: description.to_owned(),
        reason: reason.to_owned(),
        localized_message: None,
    };
    let mut details = info("FIELD_REQUIRED");
    details.set_bad_request([
        violation("parent", "is empty", "FIELD_REQUIRED"),
        violation("model.owner", "is too long", "FIELD_INVALID"),
    ]);
    let error = decoded(Code::InvalidArgument, "two fields at fault", details).await;
    let expected = [
        FieldViolation {
            field: "parent".to_owned(),
            reason: ErrorReason::FieldRequired,
            description: "is empty".to_owned(),
        },
        FieldViolation {
            field: "model.owner".to_owned(),
            reason: ErrorReason::FieldInvalid,
            description: "is too long".to_owned(),
        },
    ];
    assert_eq!(error.violations(), expected);
    assert_eq!(error.to_string(), "parent: is empty; model.owner: is too long");
}

#[tokio::test]
async fn the_wait_that_the_registry_asks_for_is_known() {
    let mut details = info("OVERLOADED");
    details.set_retry_info(Some(Duration::from_millis(1500)));
    let error = decoded(Code::ResourceExhausted, "busy", details).await;
    assert_eq!(error.status().unwrap().retry_after, Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let endpoint = endpoints([nobody()]);
    let error = RegistryClient::builder(&endpoint).retry_for(Duration::ZERO).connect().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_unavailable(), "{error:?}");
    assert!(!error.is_outcome_unknown());

    // With several, each has its reason.
    let many = [nobody(), nobody()];
    let error = RegistryClient::builder(endpoints(many)).retry_for(Duration::ZERO).connect().await.unwrap_err();
    let Error::Connect { endpoints } = &error else { panic!("{error:?}") };
    let named: Vec<_> = endpoints.iter().map(|unreachable| unreachable.endpoint.clone()).collect();
    assert_eq!(named, many.map(|address| format!("http://{address}")));
    assert!(endpoints.iter().all(|unreachable| unreachable.problem.contains("refused")), "{error}");
    assert!(named.iter().all(|endpoint| error.to_string().contains(endpoint)), "{error}");

    let client = RegistryClient::builder(&endpoint).retry_for(Duration::ZERO).connect_lazy().unwrap();
    let error = client.get_model("models/x").await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)) && error.is_unavailable(), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("{endpoint}: ")) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn an_answer_without_a_reason_is_none() {
    // What is left when a stream is closed without a status, and what proxies make of a call that they give up.
    for code in [Code::Unknown, Code::Cancelled] {
        let error = answered(Status::new(code, "cut off")).await;
        assert!(matches!(&error, Error::Transport(broken) if broken.problem == "cut off"), "{error:?}");
        let error = decoded(code, "refused", info("UPLOAD_INCOMPLETE")).await;
        assert_eq!((error.code(), error.reason()), (Some(code), Some(ErrorReason::UploadIncomplete)));
    }
}

#[tokio::test]
async fn options_that_are_no_good_are_named() {
    for (endpoint, actor, expected) in [
        ("localhost", "me", "endpoint"),
        ("not a url", "me", "endpoint"),
        ("http://localhost,localhost", "me", "endpoint"),
        (" , ", "me", "endpoint"),
        ("http://localhost", "line\nbreak", "actor"),
        ("http://localhost", "a\ttab", "actor"),
    ] {
        let error = RegistryClient::builder(endpoint).actor(actor).connect_lazy().unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { option, .. } if *option == expected), "{error:?}");
    }
}

#[tokio::test]
async fn what_an_endpoint_asks_for_is_done_or_refused_and_no_password_is_repeated() {
    for endpoint in [
        "http://ana:secret@localhost",
        "http://ana:sec,secret@localhost",
        "http:/ana:secret@localhost",
        "ana:secret@localhost",
        "http://localhost/registry",
        "http://localhost?token=secret",
        "http://localhost#secret",
        "http://localhost:99999",
        "grpc://localhost",
    ] {
        let builder = RegistryClient::builder(endpoint);
        assert!(!format!("{builder:?}").contains("secret"), "{builder:?}");
        let error = builder.connect_lazy().unwrap_err();
        assert!(matches!(&error, Error::InvalidOption { option: "endpoint", .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_that_was_configured_is_not_left_out() {
    let tls = tonic::transport::ClientTlsConfig::new();
    let error = RegistryClient::builder("http://localhost").tls(tls).connect_lazy().unwrap_err();
    assert!(error.to_string().contains("TLS is configured"), "{error}");
}
