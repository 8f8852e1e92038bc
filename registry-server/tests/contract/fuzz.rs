//! Requests that nobody should send: none may break the server, or change anything and fail.
//!
//! `FUZZ_CASES` says how many requests are sent; `FUZZ_SEED`, which a failure tells, makes them the same again. `FUZZ_STORES` is a folder
//! in which the registries are left.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use registry_proto::v1::ErrorReason;
use registry_server::stored::PageToken;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::descriptors::{get, methods, request, takes};
use crate::fixtures::{self, prepared};
use crate::log;
use crate::server::{TestServer, text};
use crate::values::messages;

/// How many requests go to one registry, before its log is read.
const BATCH: usize = 200;

fn setting(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

#[test]
fn no_request_breaks_the_server() {
    let batches = setting("FUZZ_CASES").map_or(5 * BATCH, |cases| cases as usize).div_ceil(BATCH);
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &Sha256::digest(seed.to_be_bytes()));
    let mut seeds = TestRunner::new_with_rng(config.clone(), rng);
    let runtime = Runtime::new().expect("a runtime");
    let methods: Vec<_> = methods().into_iter().map(|method| (requests(&method), method)).collect();
    assert!(methods.len() <= BATCH, "not every method gets a request");
    for _ in 0..batches {
        let server = runtime.block_on(prepared());
        for (requests, method) in methods.iter().cycle().take(BATCH) {
            // A runner counts what it ran.
            let mut runner = TestRunner::new_with_rng(config.clone(), seeds.new_rng());
            match runner.run(requests, |request| runtime.block_on(survives(&server, method, request))) {
                Ok(()) => {}
                Err(TestError::Fail(why, request)) => {
                    let request = Value::List(request.into_iter().map(Value::Message).collect());
                    panic!("FUZZ_SEED={seed}: {}: {why}\n{}", method.name(), shown(&request))
                }
                Err(TestError::Abort(why)) => panic!("{why}"),
            }
        }
        runtime.block_on(log::everything_is_readable(&server));
    }
}

/// Requests of a method: some of any messages that it takes, and some that are all but one that makes sense.
pub(crate) fn requests(method: &MethodDescriptor) -> BoxedStrategy<Vec<DynamicMessage>> {
    let message = messages(&method.input());
    let odd = match (method.is_client_streaming(), takes(method, "page_token")) {
        (true, _) => vec(message.clone(), 0..5).boxed(),
        (false, true) => paged(method.name().to_owned(), message.clone()).prop_map(|message| vec![message]).boxed(),
        (false, false) => message.clone().prop_map(|message| vec![message]).boxed(),
    };
    let valid: Vec<_> = fixtures::requests(method.name()).iter().map(|json| request(method, json)).collect();
    if valid.is_empty() {
        return odd;
    }
    let is_stream = method.is_client_streaming();
    let close = move |(mut request, odd, at): (Vec<DynamicMessage>, Option<DynamicMessage>, Index)| {
        match odd {
            None => {}
            Some(odd) if is_stream => request.insert(at.index(request.len() + 1), odd),
            Some(odd) => {
                let fields: Vec<_> = odd.fields().map(|(field, value)| (field, value.clone())).collect();
                if let Some((field, value)) = fields.get(at.index(fields.len().max(1))) {
                    request[0].set_field(field, value.clone());
                }
            }
        }
        request
    };
    let close = (select(valid), proptest::option::of(message), any::<Index>()).prop_map(close);
    prop_oneof![odd, close].boxed()
}

/// Requests for pages, also with tokens that fit and hold any position.
fn paged(method: String, message: BoxedStrategy<DynamicMessage>) -> impl Strategy<Value = DynamicMessage> {
    let sizes = select(vec![0, 1, 7, 8, 9, 16, 300]);
    let position = (select(vec![0, 1, 0x7f, 0x80, 0xff_u8]), sizes).prop_map(|(byte, size)| vec![byte; size]);
    (message, proptest::option::weighted(0.3, position)).prop_map(move |(mut message, position)| {
        if let Some(position) = position {
            let token = token(&method, &message, position);
            message.set_field_by_name("page_token", text(token));
        }
        message
    })
}

/// A page token as a server makes it for this list.
fn token(method: &str, request: &DynamicMessage, position: Vec<u8>) -> String {
    let mut query = request.clone();
    query.clear_field_by_name("page_size");
    query.clear_field_by_name("page_token");
    let mut hasher = Sha256::new();
    hasher.update(method);
    hasher.update(query.encode_to_vec());
    let query = hasher.finalize()[..8].to_vec().into();
    URL_SAFE_NO_PAD.encode(PageToken { query, position: position.into() }.encode_to_vec())
}

async fn survives(
    server: &TestServer,
    method: &MethodDescriptor,
    request: Vec<DynamicMessage>,
) -> Result<(), TestCaseError> {
    let only_checked = request.iter().any(|message| get(message, "validate_only") == Some(Value::Bool(true)));
    let before = server.head().await;
    let answer = server.call(method, request, MetadataMap::new()).await;
    let after = server.head().await;
    prop_assert!(after == before || answer.is_ok() && !only_checked, "{before} turned into {after}: {answer:?}");
    match answer {
        Ok(_) => Ok(()),
        Err(status) => is_an_error_of_the_contract(&status),
    }
}

fn is_an_error_of_the_contract(status: &Status) -> Result<(), TestCaseError> {
    prop_assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss), "{status:?}");
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!("ERROR_REASON_{}", info.reason)).unwrap_or_default();
    prop_assert!(ErrorReason::from_str_name(&reason).is_some(), "no reason: {status:?}");
    // So that it fits the 8 KiB of headers that clients and proxies take.
    prop_assert!(status.message().len() <= 512, "{} bytes: {status:?}", status.message().len());
    prop_assert!(status.details().len() <= 2048, "{} bytes: {status:?}", status.details().len());
    Ok(())
}

/// A request for people, without the descriptors and with the beginnings of what is long.
pub(crate) fn shown(value: &Value) -> String {
    const MANY: usize = 3;
    let joined = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join(", ");
    match value {
        Value::Message(message) => {
            let mut fields = message.fields().map(|(field, value)| format!("{}: {}", field.name(), shown(value)));
            format!("{{ {} }}", joined(&mut fields))
        }
        Value::List(items) => format!("{} items [ {} ]", items.len(), joined(&mut items.iter().take(MANY).map(shown))),
        Value::Map(entries) => {
            let mut shown = entries.iter().take(MANY).map(|(key, value)| format!("{key:.100?}: {}", shown(value)));
            format!("{} entries [ {} ]", entries.len(), joined(&mut shown))
        }
        value => format!("{value:?}").chars().take(100).collect(),
    }
}
