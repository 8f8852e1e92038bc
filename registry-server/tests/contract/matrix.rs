//! Who may call what: every method, with every role that is built in.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use registry_server::config::AccessChoice;
use serde_json::{Value as Json, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::descriptors::{get, method, methods, permission, request};
use crate::server::TestServer;

/// What everybody with a token may call.
const OF_ALL: [&str; 2] = ["access.testPermissions", "access.whoAmI"];
/// Those that take a stream say what they are about in its first message, and not in a field of their own.
const IN_METADATA: [&str; 2] = ["UploadArtifact", "UploadPart"];

fn with(token: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    headers
}

async fn ok(server: &TestServer, token: &str, name: &str, json: Json) -> DynamicMessage {
    let method = method(name);
    let answers = server.call(&method, request(&method, &json), with(token)).await;
    answers.unwrap_or_else(|status| panic!("{name}: {status:?}")).remove(0)
}

fn text(message: &DynamicMessage, field: &str) -> String {
    get(message, field).and_then(|value| value.as_str().map(str::to_owned)).expect("a text")
}

/// A request that says what it is about, and nothing else: something in one namespace, if it can.
fn about(method: &MethodDescriptor) -> Vec<DynamicMessage> {
    let fraud = "namespaces/risk/models/fraud";
    let named = |field: &str| method.input().get_field_by_name(field).is_some();
    let json = match method.name() {
        name if IN_METADATA.contains(&name) => json!([{ "metadata": { "parent": format!("{fraud}/versions/1") } }]),
        "BatchTransitionStages" => json!({ "requests": [{ "name": format!("{fraud}/versions/1") }] }),
        name if name.ends_with("Namespace") && name != "CreateNamespace" => match name {
            "UpdateNamespace" => json!({ "namespace": { "name": "namespaces/risk" } }),
            _ => json!({ "name": "namespaces/risk" }),
        },
        _ if named("names") => json!({ "names": [format!("{fraud}/versions/1")] }),
        _ if named("name") => json!({ "name": fraud }),
        _ if named("parent") => json!({ "parent": "namespaces/risk" }),
        _ => json!({}),
    };
    request(method, &json)
}

/// Whether patterns allow a permission: those of a role as callers see it.
fn allows(patterns: &[String], permission: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => permission.starts_with(start),
        None => pattern == permission,
    })
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn every_method_asks_for_its_permission() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let server = TestServer::with(|config| {
        config.access = AccessChoice::Tokens;
        config.bootstrap_token_file = Some(file.clone());
    })
    .await;
    let admin = std::fs::read_to_string(&file).expect("the first token").trim().to_owned();
    let roles = ok(&server, &admin, "ListRoles", json!({})).await;
    let roles: BTreeMap<String, Vec<String>> = get(&roles, "roles")
        .and_then(|roles| {
            let texts = |value: &Value| {
                value
                    .as_list()
                    .map(|list| list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>())
            };
            let roles = roles.as_list()?.iter().filter_map(Value::as_message);
            Some(
                roles
                    .map(|role| {
                        (text(role, "name"), get(role, "permissions").as_ref().and_then(texts).unwrap_or_default())
                    })
                    .collect(),
            )
        })
        .expect("roles");
    assert_eq!(roles.len(), 7, "{:?}", roles.keys());
    // Each role, on the server and on the namespace alone; and nobody's.
    let mut callers = vec![("users/nobody".to_owned(), Vec::new(), true)];
    for (name, patterns) in &roles {
        let id = name.trim_start_matches("roles/");
        for (user, resource) in [(format!("{id}-of-all"), ""), (format!("{id}-of-risk"), "namespaces/risk")] {
            let binding = json!({ "role": name, "members": [format!("users/{user}")], "resource": resource });
            ok(&server, &admin, "CreateBinding", json!({ "bindingId": user, "binding": binding })).await;
            callers.push((format!("users/{user}"), patterns.clone(), resource.is_empty()));
        }
    }
    let mut asked = 0;
    for (principal, patterns, of_all) in callers {
        let made = ok(&server, &admin, "CreateToken", json!({ "token": { "principal": principal } })).await;
        let token = text(&made, "secret");
        for method in methods() {
            let (permission, messages) = (permission(&method), about(&method));
            let in_risk = messages.iter().any(|message| message.to_string().contains("namespaces/risk"));
            // Who may see a part gets that part.
            let narrowed = ["ListNamespaces", "ListBindings", "ListEvents", "GetEvent", "WatchEvents"];
            let part = narrowed.contains(&method.name()) && allows(&patterns, &permission);
            let may = OF_ALL.contains(&permission.as_str())
                || (allows(&patterns, &permission) && (of_all || in_risk))
                || (part && method.name() != "GetEvent");
            let answer = server.call(&method, messages, with(&token)).await;
            let denied = answer.as_ref().err().filter(|status| status.code() == Code::PermissionDenied);
            assert_eq!(denied.is_none(), may, "{principal}, {}: {answer:?}", method.full_name());
            if let Some(status) = denied {
                assert_eq!(reason(status), "PERMISSION_DENIED");
                assert!(status.message().contains("or it might not exist"), "{}", status.message());
            } else if let Err(status) = answer {
                assert_ne!(status.code(), Code::Unauthenticated, "{}", method.full_name());
            }
            asked += 1;
        }
    }
    assert_eq!(asked, 15 * methods().len());
    // And nobody gets in without a token.
    for method in methods() {
        let answer = server.call(&method, about(&method), MetadataMap::new()).await;
        let status = answer.expect_err(method.full_name());
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unauthenticated, "TOKEN_MISSING"),
            "{}",
            method.name()
        );
    }
}
