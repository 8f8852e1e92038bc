//! Pages, of every list.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use registry_proto::v1::ErrorReason::{FieldInvalid, FieldRequired, NameInvalid, PageTokenInvalid};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::descriptors::{get, message, message_in, method, methods, set, takes};
use crate::fixtures::{lists, prepared};
use crate::server::{TestServer, refused, text};

/// The items of a page, as bytes, and the token of the next one.
async fn page(
    server: &TestServer,
    method: &MethodDescriptor,
    request: &DynamicMessage,
) -> Result<(Vec<Vec<u8>>, String), Status> {
    let answers = server.call(method, vec![request.clone()], MetadataMap::new()).await?;
    let next = get(&answers[0], "next_page_token").and_then(|token| Some(token.as_str()?.to_owned()));
    let items = method.output().fields().find(|field| field.is_list() && message_in(field).is_some());
    let items = answers[0].get_field(&items.expect("a list of messages")).into_owned();
    let items = items.as_list().expect("a list").iter().filter_map(|item| Some(item.as_message()?.encode_to_vec()));
    Ok((items.collect(), next.expect("a token")))
}

fn with(request: &DynamicMessage, fields: &[(&str, Value)]) -> DynamicMessage {
    let mut request = request.clone();
    for (field, value) in fields {
        set(&mut request, field, value.clone());
    }
    request
}

#[test]
fn every_list_has_a_case() {
    let cases: Vec<_> = lists().iter().map(|case| case.method).collect();
    for method in methods() {
        let there = cases.iter().filter(|case| **case == method.name()).count();
        let list = takes(&method, "page_token");
        assert_eq!(there, usize::from(list), "{}: cases in `fixtures::lists`", method.full_name());
        for field in ["page_size", "next_page_token"] {
            let of = if field == "page_size" { method.input() } else { method.output() };
            assert_eq!(of.get_field_by_name(field).is_some(), list, "{}.{field}", of.full_name());
        }
    }
}

#[tokio::test]
async fn pages_together_are_the_list() {
    let server = prepared().await;
    for case in lists() {
        let (name, method) = (case.method, method(case.method));
        let whole = message(&method.input(), &case.request);
        let (all, end) = page(&server, &method, &whole).await.expect(name);
        assert!(all.len() >= 3 && end.is_empty(), "{name}: {} items", all.len());
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let next = with(&whole, &[("page_size", Value::I32(1)), ("page_token", text(&token))]);
            let items;
            (items, token) = page(&server, &method, &next).await.expect(name);
            assert!(items.len() <= 1, "{name}: {} items on a page of 1", items.len());
            paged.extend(items);
            if token.is_empty() {
                break;
            }
        }
        assert!(paged == all, "{name}: {} items in pages, {} at once", paged.len(), all.len());
    }
}

#[tokio::test]
async fn a_token_fits_the_list_that_it_came_from() {
    let server = prepared().await;
    let mut tokens = BTreeMap::new();
    for case in lists() {
        let method = method(case.method);
        let first = with(&message(&method.input(), &case.request), &[("page_size", Value::I32(1))]);
        let (_, token) = page(&server, &method, &first).await.expect(case.method);
        assert!(!token.is_empty(), "{}", case.method);
        tokens.insert(case.method, token);
    }
    for case in lists() {
        let (name, method) = (case.method, method(case.method));
        for (of, token) in &tokens {
            let queries = if *of == name { vec![&case.other] } else { vec![&case.request, &case.other] };
            for query in queries.into_iter().filter(|query| !query.is_null()) {
                let request = with(&message(&method.input(), query), &[("page_token", text(token))]);
                let answer = page(&server, &method, &request).await;
                refused(
                    &format!("{name} of {query} with a token of {of}"),
                    answer,
                    Code::InvalidArgument,
                    &[PageTokenInvalid],
                );
            }
        }
    }
}

#[tokio::test]
async fn what_a_list_can_not_do_is_refused() {
    let server = prepared().await;
    for case in lists() {
        let (name, method) = (case.method, method(case.method));
        let whole = message(&method.input(), &case.request);
        let negative = page(&server, &method, &with(&whole, &[("page_size", Value::I32(-1))])).await;
        refused(name, negative, Code::InvalidArgument, &[FieldInvalid]);
    }
    for method in methods().iter().filter(|method| takes(method, "filter")) {
        let filtered = with(&DynamicMessage::new(method.input()), &[("filter", text("no.such == 'thing'"))]);
        let answer = server.call(method, vec![filtered], MetadataMap::new()).await;
        refused(method.name(), answer, Code::InvalidArgument, &[FieldInvalid, FieldRequired, NameInvalid]);
    }
}
