//! Request ids and `validate_only`, of every method that has them.

use prost_reflect::{DynamicMessage, Value};
use registry_proto::v1::ErrorReason::RequestIdReused;
use tonic::Code;
use uuid::Uuid;

use crate::descriptors::{method, methods, request, set, takes};
use crate::fixtures::{CALLER, mutations, prepared_and_damaged};
use crate::server::{headers, refused, text};

fn with(mut messages: Vec<DynamicMessage>, field: &str, value: Value) -> Vec<DynamicMessage> {
    set(&mut messages[0], field, value);
    messages
}

#[test]
fn every_mutation_has_a_case() {
    let cases: Vec<_> = mutations().iter().map(|case| case.method).collect();
    for method in methods() {
        let changes = takes(&method, "request_id") || takes(&method, "validate_only");
        let there = cases.iter().filter(|case| **case == method.name()).count();
        assert_eq!(there, usize::from(changes), "{}: cases in `fixtures::mutations`", method.full_name());
    }
}

#[tokio::test]
async fn what_is_only_checked_changes_nothing() {
    let server = prepared_and_damaged().await;
    let head = server.head().await;
    for case in mutations() {
        let method = method(case.method);
        if takes(&method, "validate_only") {
            let checked = with(request(&method, &case.request), "validate_only", Value::Bool(true));
            let answer = server.call(&method, checked, headers(Some(CALLER), None)).await;
            assert!(answer.is_ok(), "{}: {answer:?}", case.method);
            assert_eq!(server.head().await, head, "{}", case.method);
        }
    }
}

/// The answer of a call, without what nobody is shown twice, since the registry does not know it any more.
fn without_secret(name: &str, mut answers: Vec<DynamicMessage>) -> Vec<DynamicMessage> {
    if name == "CreateToken" {
        answers.iter_mut().for_each(|token| token.clear_field_by_name("secret"));
    }
    answers
}

#[tokio::test]
async fn a_request_that_is_repeated_happens_once() {
    for case in mutations() {
        let (name, method) = (case.method, method(case.method));
        if !takes(&method, "request_id") {
            continue;
        }
        let server = prepared_and_damaged().await;
        let id = Uuid::new_v4().to_string();
        let of = |json| request(&method, json);
        let named = |json| with(of(json), "request_id", text(&id));
        let caller = || headers(Some(CALLER), None);

        let before = server.head().await;
        let first = server.call(&method, named(&case.request), caller()).await;
        let first = first.unwrap_or_else(|status| panic!("{name}: {status:?}"));
        let head = server.head().await;
        assert_eq!(head, before + 1, "{name}");

        let again = server.call(&method, named(&case.request), caller()).await.expect(name);
        let first = without_secret(name, first);
        assert_eq!(again, first, "{name}");
        let in_header = server.call(&method, of(&case.request), headers(Some(CALLER), Some(&id))).await.expect(name);
        assert_eq!(in_header, first, "{name}");

        let other = server.call(&method, named(&case.other), caller()).await;
        refused(name, other, Code::InvalidArgument, &[RequestIdReused]);
        let other = server.call(&method, of(&case.other), headers(Some(CALLER), Some(&id))).await;
        refused(name, other, Code::InvalidArgument, &[RequestIdReused]);
        for actor in [None, Some("bob")] {
            let somebody_else = server.call(&method, named(&case.request), headers(actor, None)).await;
            refused(name, somebody_else, Code::InvalidArgument, &[RequestIdReused]);
        }
        assert_eq!(server.head().await, head, "{name}");
    }
}
