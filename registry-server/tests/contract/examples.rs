//! The examples in the OpenAPI document: each was sent, and answered so, and is so today.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::descriptors::{self, methods};
use crate::json::{Http, asked, captures, path_of, rules, with_whole_names};
use crate::server::TestServer;
use crate::story::{Call, story};

/// Where the examples are kept.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway/src/openapi/examples.json");
/// What has none: it takes a store that is damaged, a witness's key, or a consumer that is connected.
const WITHOUT: &[&str] = &["TombstoneRevision", "AddCosignatures", "Acknowledge"];
/// What is answered otherwise whenever it is asked.
const CHANGING: &[&str] = &[
    "GetCheckpoint",
    "GetConsistencyProof",
    "GetInclusionProof",
    "GetMetrics",
    "GetStatus",
    "ReadTile",
    "TestWebhook",
    // The first message of a stream.
    "Backup",
    "CollectGarbage",
    "ExportLog",
    "Scrub",
    "Subscribe",
    "Verify",
];

#[tokio::test]
async fn the_examples_of_the_document_are_answered_as_it_says() {
    let server = TestServer::start().await;
    let http = Http::of(&server);
    let mut failed = Vec::new();
    let mut found: BTreeMap<String, Json> = BTreeMap::new();
    for Call { actor, method: name, request } in story() {
        let method = descriptors::method(name);
        if method.is_client_streaming() {
            server.ok_by(Some(actor), name, request).await;
            continue;
        }
        let rule = &rules(&method)[0];
        let mut message = descriptors::request(&method, &request).remove(0);
        with_whole_names(&mut message, rule);
        let mut asked = asked(rule, &message).unwrap_or_else(|| panic!("{name} of {request} has no form over HTTP"));
        // What the path has need not be in the body.
        if captures(&path_of(rule).1).iter().any(|(field, _)| field.contains(".name")) {
            asked.body.as_mut().and_then(Json::as_object_mut).map(|body| body.remove("name"));
        }
        let (status, answer) = match method.is_server_streaming() {
            true => http.first(&asked, actor).await,
            false => http.send(&asked, actor).await,
        };
        if status != 200 {
            failed.push(format!("{name} of {request}: {status}: {answer}"));
            continue;
        }
        found.entry(name.to_owned()).or_insert_with(|| {
            let mut example = json!({ "path": asked.path });
            if let Some(body) = asked.body {
                example["body"] = body;
            }
            if !CHANGING.contains(&name) {
                example["answer"] = steady(answer);
            }
            example
        });
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Those with paths of their own in the document.
    let others = ["DownloadArtifact"];
    let shown = methods().into_iter().filter(|method| !method.is_client_streaming());
    let shown = shown.map(|method| method.name().to_owned()).filter(|name| !others.contains(&&**name));
    let missing: Vec<_> = shown.filter(|name| !found.contains_key(name)).collect();
    assert_eq!(missing, WITHOUT);
    let text = serde_json::to_string_pretty(&found).expect("it is JSON") + "\n";
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(FILE, &text).expect("it can be written");
    }
    let kept = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    assert!(kept == text, "the examples are of another registry: with WRITE_OPENAPI=1 this test writes them anew");
}

/// An answer with the same in place of what is different whenever it is made.
fn steady(answer: Json) -> Json {
    match answer {
        Json::Array(items) => items.into_iter().map(steady).collect(),
        Json::Object(members) => {
            members.into_iter().map(|(name, value)| (name.clone(), steady_of(&name, value))).collect()
        }
        other => other,
    }
}

fn steady_of(name: &str, value: Json) -> Json {
    match (name, &value) {
        (name, Json::String(_)) if name.ends_with("Time") => json!("2026-11-28T09:30:00.123456789Z"),
        ("uid", Json::String(_)) => json!("0193c0de-4a5b-7c6d-8e7f-0123456789ab"),
        ("etag", Json::String(_)) => json!("7f8"),
        ("hash", Json::String(_)) => json!("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ("nextPageToken", Json::String(token)) if !token.is_empty() => json!("CAESBm1vZGVscw"),
        ("secret", Json::String(secret)) => {
            let begin = secret.split_once('_').map_or("", |(begin, _)| begin);
            json!(format!("{begin}_..."))
        }
        _ => steady(value),
    }
}
