//! JSON over HTTP: every method is called in both ways, with the same requests, and answers the same.
//!
//! A request that changes something is sent with its request id, first over gRPC: that the repetition over HTTP is answered, and with the
//! same, shows that its message was the same to the byte.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage as _, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::descriptors::{get, methods, option, takes};
use crate::fixtures::{CALLER, prepared};
use crate::fuzz::requests;
use crate::server::{TestServer, headers};

/// How many requests of each method are sent.
const CASES: usize = 30;
/// What is another one whenever it is asked for.
const CHANGING: &[&str] = &["GetStatus", "GetMetrics", "ReportInstance", "Acknowledge", "TestWebhook"];

/// A call as HTTP has it.
#[derive(Debug)]
pub(crate) struct Asked {
    method: String,
    pub(crate) path: String,
    pub(crate) body: Option<Json>,
}

/// The ways to call a method, as its annotation has them.
pub(crate) fn rules(method: &MethodDescriptor) -> Vec<DynamicMessage> {
    let Some(Value::Message(rule)) = option(method.options(), "google.api.http") else { return Vec::new() };
    let additional = get(&rule, "additional_bindings");
    let additional = additional.iter().filter_map(Value::as_list).flatten().filter_map(Value::as_message).cloned();
    std::iter::once(rule.clone()).chain(additional).collect()
}

/// A request with whole names, as paths have them.
pub(crate) fn with_whole_names(message: &mut DynamicMessage, rule: &DynamicMessage) {
    for (field, pattern) in captures(&path_of(rule).1) {
        let Some(holder) = holder(message, &field) else { continue };
        let name = field.rsplit('.').next().unwrap_or(&field);
        let Some(Value::String(given)) = get(holder, name) else { continue };
        let whole = match (given.as_str(), pattern.as_str()) {
            ("", "namespaces/*") => "namespaces/default".to_owned(),
            ("", "tile/**") => "tile/0/000".to_owned(),
            (given, pattern) if pattern.starts_with("namespaces/*/") && !given.starts_with("namespaces/") => {
                format!("namespaces/default/{given}")
            }
            (given, "tile/**") if !given.starts_with("tile/") => format!("tile/{given}"),
            _ => continue,
        };
        holder.set_field_by_name(name, Value::String(whole));
    }
}

/// The message that a field lies in.
fn holder<'a>(message: &'a mut DynamicMessage, field: &str) -> Option<&'a mut DynamicMessage> {
    match field.split_once('.') {
        None => Some(message),
        Some((outer, rest)) => holder(message.get_field_by_name_mut(outer)?.as_message_mut()?, rest),
    }
}

pub(crate) fn path_of(rule: &DynamicMessage) -> (String, String) {
    let kinds = ["get", "post", "put", "patch", "delete"].into_iter();
    let paths = kinds.filter_map(|kind| Some((kind, get(rule, kind)?.as_str()?.to_owned())));
    let (kind, path) = paths.into_iter().find(|(_, path)| !path.is_empty()).expect("a rule has a path");
    (kind.to_uppercase(), path)
}

/// The fields in a path, each with what it has to look like.
pub(crate) fn captures(path: &str) -> Vec<(String, String)> {
    let inside = path.split('{').skip(1).map(|rest| rest.split('}').next().expect("a brace"));
    inside
        .map(|inside| inside.split_once('=').expect("a pattern"))
        .map(|(field, pattern)| (field.to_owned(), pattern.to_owned()))
        .collect()
}

/// A text in a path, if it looks like its pattern.
fn expanded(text: &str, pattern: &str) -> Option<String> {
    let (texts, patterns): (Vec<_>, Vec<_>) = (text.split('/').collect(), pattern.split('/').collect());
    let open = patterns.last() == Some(&"**");
    let fits = |(at, text): (usize, &&str)| match patterns.get(at.min(patterns.len() - 1)) {
        Some(&("*" | "**")) => !text.is_empty(),
        literal => literal == Some(text),
    };
    let long_enough = if open { texts.len() >= patterns.len() } else { texts.len() == patterns.len() };
    let encoded = texts.iter().map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
    (long_enough && texts.iter().enumerate().all(fits)).then(|| encoded.collect::<Vec<_>>().join("/"))
}

/// A request over HTTP, if it has a form there: the names in its path look like names, and what is in its query is not too much for one.
pub(crate) fn asked(rule: &DynamicMessage, message: &DynamicMessage) -> Option<Asked> {
    let mut message = message.clone();
    // A time of which a fraction is more than a second is another one in JSON, and some values have no form at all.
    let back = DynamicMessage::deserialize(message.descriptor(), serde_json::to_value(&message).ok()?).ok()?;
    if back != message {
        return None;
    }
    let (method, template) = path_of(rule);
    let mut path = template.clone();
    for (field, pattern) in captures(&template) {
        let name = field.rsplit('.').next().unwrap_or(&field);
        let holder = holder(&mut message, &field)?;
        let text = get(holder, name)?.as_str()?.to_owned();
        path = path.replace(&format!("{{{field}={pattern}}}"), &expanded(&text, &pattern)?);
        if field == name {
            message.clear_field_by_name(name);
        }
    }
    let body = match get(rule, "body")?.as_str()? {
        "" => None,
        "*" => Some(serde_json::to_value(&message).ok()?),
        field => {
            let body = get(&message, field).filter(|_| message.has_field_by_name(field));
            message.clear_field_by_name(field);
            match body {
                Some(body) => Some(serde_json::to_value(body.as_message()?).ok()?),
                None => None,
            }
        }
    };
    let is_whole = get(rule, "body")?.as_str()? == "*";
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (field, value) in message.fields().filter(|_| !is_whole) {
        let values = value.as_list().map_or_else(|| vec![value.clone()], <[Value]>::to_vec);
        for value in values {
            query.append_pair(field.json_name(), &text(&field, &value)?);
        }
    }
    let query = query.finish();
    let path = if query.is_empty() { path } else { format!("{path}?{query}") };
    (path.len() < 8000).then_some(Asked { method, path, body })
}

/// A value in a query.
fn text(field: &FieldDescriptor, value: &Value) -> Option<String> {
    Some(match (value, field.kind()) {
        (Value::Bool(value), _) => value.to_string(),
        (Value::I32(value), _) => value.to_string(),
        (Value::I64(value), _) => value.to_string(),
        (Value::String(value), _) => value.clone(),
        (Value::Bytes(value), _) => STANDARD.encode(value),
        (Value::EnumNumber(number), Kind::Enum(of)) => of.get_value(*number)?.name().to_owned(),
        (Value::Message(message), Kind::Message(of)) if of.fields().len() == 0 => {
            assert_eq!(message.fields().count(), 0);
            "true".to_owned()
        }
        (Value::Message(message), _) => serde_json::to_value(message).ok()?.as_str()?.to_owned(),
        _ => return None,
    })
}

/// Calls over HTTP.
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
}

impl Http {
    pub(crate) fn of(server: &TestServer) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address: server.address.to_string() }
    }

    pub(crate) async fn send(&self, asked: &Asked, actor: &str) -> (u16, Json) {
        let answer = self.answer(asked, actor).await;
        assert_eq!(answer.headers()["content-type"], "application/json", "{asked:?}");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{asked:?}: {error}: {body:?}")))
    }

    /// The same of a call that is answered with a stream: its first message.
    pub(crate) async fn first(&self, asked: &Asked, actor: &str) -> (u16, Json) {
        let mut answer = self.answer(asked, actor).await;
        let mut came = Vec::new();
        while !came.contains(&b'\n') {
            let frame =
                tokio::time::timeout(Duration::from_secs(30), answer.body_mut().frame()).await.expect("in time");
            came.extend_from_slice(frame.expect("a message").expect("a frame").data_ref().expect("data"));
        }
        let line = came.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let message = serde_json::from_slice(line).unwrap_or_else(|error| panic!("{asked:?}: {error}: {line:?}"));
        (answer.status().as_u16(), message)
    }

    async fn answer(&self, asked: &Asked, actor: &str) -> http::Response<Incoming> {
        let request = http::Request::builder()
            .method(asked.method.as_str())
            .uri(format!("http://{}{}", self.address, asked.path))
            .header("x-registry-actor", actor)
            .header("content-type", "application/json");
        let body = asked.body.as_ref().map(Json::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).unwrap_or_else(|error| panic!("{asked:?}: {error}"));
        let answer = tokio::time::timeout(Duration::from_secs(30), self.client.request(request)).await;
        answer.expect("in time").expect("an answer")
    }
}

/// What an error over gRPC is over HTTP.
fn expected(status: &Status) -> (u16, Json) {
    let (http, name) = match status.code() {
        Code::InvalidArgument => (400, "INVALID_ARGUMENT"),
        Code::FailedPrecondition => (400, "FAILED_PRECONDITION"),
        Code::OutOfRange => (400, "OUT_OF_RANGE"),
        Code::NotFound => (404, "NOT_FOUND"),
        Code::AlreadyExists => (409, "ALREADY_EXISTS"),
        Code::Aborted => (409, "ABORTED"),
        Code::ResourceExhausted => (429, "RESOURCE_EXHAUSTED"),
        Code::Unimplemented => (501, "UNIMPLEMENTED"),
        Code::Unavailable => (503, "UNAVAILABLE"),
        code => panic!("{code:?}: {status:?}"),
    };
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has a reason");
    let metadata = (!info.metadata.is_empty()).then_some(&info.metadata);
    let fields = details.bad_request().map(|request| {
        let of = |violation: &tonic_types::FieldViolation| json!([violation.field, violation.description]);
        request.field_violations.iter().map(of).collect::<Vec<_>>()
    });
    (
        http,
        json!({ "code": http, "status": name, "message": status.message(), "reason": info.reason, "metadata": metadata, "fields": fields }),
    )
}

/// The same of an error over HTTP.
fn shown(error: &Json) -> Json {
    let error = &error["error"];
    let detail = |name: &str| {
        let name = format!("type.googleapis.com/google.rpc.{name}");
        error["details"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|detail| detail["@type"] == *name)
            .cloned()
            .unwrap_or_default()
    };
    let info = detail("ErrorInfo");
    let fields = detail("BadRequest")["fieldViolations"].as_array().map(|violations| {
        let text = |violation: &Json, name: &str| violation[name].as_str().unwrap_or_default().to_owned();
        violations
            .iter()
            .map(|violation| json!([text(violation, "field"), text(violation, "description")]))
            .collect::<Vec<_>>()
    });
    json!({
        "code": error["code"], "status": error["status"], "message": error["message"], "reason": info["reason"],
        "metadata": info["metadata"], "fields": fields,
    })
}

/// JSON in which 100 is 100.0: they are the same number.
fn as_doubles(json: Json) -> Json {
    match json {
        Json::Number(number) => number.as_f64().into(),
        Json::Array(items) => items.into_iter().map(as_doubles).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(name, value)| (name, as_doubles(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}

async fn answers_the_same(
    server: &TestServer,
    http: &Http,
    method: &MethodDescriptor,
    rule: &DynamicMessage,
    mut message: DynamicMessage,
) -> Result<bool, TestCaseError> {
    with_whole_names(&mut message, rule);
    let only_checked = get(&message, "validate_only") == Some(Value::Bool(true));
    if takes(method, "request_id") && !only_checked && get(&message, "request_id") == Some(Value::String(String::new()))
    {
        message.set_field_by_name("request_id", Value::String(Uuid::new_v4().to_string()));
    }
    let Some(asked) = asked(rule, &message) else { return Ok(false) };
    let answer = server.call(method, vec![message.clone()], headers(Some(CALLER), None)).await;
    let (status, mut body) = http.send(&asked, CALLER).await;
    match answer {
        Ok(answer) => {
            prop_assert_eq!(status, 200, "{}: {:?}", method.name(), asked);
            let mut answer = serde_json::to_value(&answer[0]).expect("it has a form");
            for answer in [&mut answer, &mut body] {
                // How long it took, and what nobody is shown twice.
                let changing = ["explanation", "secret"];
                answer
                    .as_object_mut()
                    .into_iter()
                    .for_each(|fields| fields.retain(|name, _| !changing.contains(&&**name)));
            }
            if !only_checked && !CHANGING.contains(&method.name()) {
                let (body, answer) = (as_doubles(body), as_doubles(answer));
                prop_assert_eq!(body, answer, "{}: {:?}", method.name(), asked);
            }
        }
        Err(failed) => {
            let (http, failed) = expected(&failed);
            prop_assert_eq!(shown(&body), failed, "{}: {:?}", method.name(), asked);
            prop_assert_eq!(status, http);
        }
    }
    Ok(true)
}

/// For people, without the descriptors.
fn shown_request(request: Vec<DynamicMessage>) -> String {
    crate::fuzz::shown(&Value::List(request.into_iter().map(Value::Message).collect()))
}

#[test]
fn every_method_answers_the_same_over_http() {
    let seed = Uuid::new_v4().as_u64_pair().0;
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &Sha256::digest(seed.to_be_bytes()));
    let mut seeds = TestRunner::new_with_rng(config.clone(), rng);
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(prepared());
    let http = Http::of(&server);
    let mut never = Vec::new();
    let unary = methods().into_iter().filter(|method| !method.is_client_streaming() && !method.is_server_streaming());
    for method in unary {
        let rules = rules(&method);
        assert!(!rules.is_empty(), "{} has no path", method.name());
        for rule in &rules {
            let requests = requests(&method);
            let mut sent = 0;
            for _ in 0..CASES {
                let mut runner = TestRunner::new_with_rng(config.clone(), seeds.new_rng());
                let count = std::cell::Cell::new(0);
                let ran = runner.run(&requests, |mut request| {
                    let message = request.pop().expect("one message");
                    count.set(
                        count.get()
                            + usize::from(runtime.block_on(answers_the_same(&server, &http, &method, rule, message))?),
                    );
                    Ok(())
                });
                sent += count.get();
                if let Err(TestError::Fail(why, request)) = ran {
                    panic!("seed {seed}: {}: {why}\n{}", method.name(), shown_request(request));
                }
            }
            if sent == 0 {
                never.push(method.name().to_owned());
            }
        }
    }
    assert!(never.is_empty(), "no request has a form over HTTP: {never:?}");
}
