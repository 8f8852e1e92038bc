//! A registry with something of everything, and a request that succeeds in it for every method that changes something, or lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::server::TestServer;

/// The contents of chunks that are in the default namespace.
pub(crate) const CHUNKS: [&[u8]; 3] = [b"first", b"second", b"third"];

/// Bytes as JSON has them.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As long as an id may be, in bytes too.
pub(crate) fn long_id() -> String {
    "\u{10400}".repeat(128)
}

/// As long as that of a namespace may be.
pub(crate) fn long_namespace() -> String {
    "n".repeat(128)
}

/// As long as a path may be.
pub(crate) fn long_path() -> String {
    ["y".repeat(255), "y".repeat(255), "y".repeat(255), "y".repeat(255)].join("/")
}

pub(crate) fn chunk(bytes: &[u8]) -> Json {
    json!({ "blake3": base64(blake3::hash(bytes).as_bytes()), "sizeBytes": bytes.len() })
}

fn artifact(parent: &str, path: &str) -> (&'static str, Json) {
    let artifact = json!({ "path": path, "type": "model" });
    ("CreateArtifact", json!({ "parent": parent, "artifact": artifact, "data": base64(path) }))
}

/// The kinds with all the standard methods, under an id of their own and nothing else that is required.
pub(crate) const KINDS: &[&str] = &["Model", "Namespace"];

/// Makes three of a kind, and deletes one.
fn standard_steps(kind: &str) -> Vec<(&'static str, Json)> {
    let (create, name) = (format!("Create{kind}").leak(), |id: &str| name_of(kind, id));
    let mut steps: Vec<_> = ["spare", "old", "gone"].map(|id| (&*create, with_id(kind, id))).into();
    steps.push((format!("Delete{kind}").leak(), json!({ "name": name("gone") })));
    steps
}

pub(crate) fn with_id(kind: &str, id: &str) -> Json {
    json!({ format!("{}Id", kind.to_lowercase()): id })
}

/// The whole name of one in the default namespace.
pub(crate) fn name_of(kind: &str, id: &str) -> String {
    let name = format!("{}s/{id}", kind.to_lowercase());
    if name.starts_with("namespaces/") { name } else { format!("namespaces/default/{name}") }
}

/// The standard methods, in what these steps make.
fn standard_mutations(kind: &str) -> Vec<Case> {
    let named = |id: &str| json!({ "name": name_of(kind, id) });
    let update = |text: &str| {
        let resource = json!({ "name": name_of(kind, "spare"), "description": text });
        json!({ kind.to_lowercase(): resource })
    };
    let of = |verb: &str, request, other| case(format!("{verb}{kind}").leak(), request, other);
    vec![
        of("Create", with_id(kind, "new"), with_id(kind, "newer")),
        of("Update", update("x"), update("y")),
        of("Delete", named("spare"), named("old")),
        of("Undelete", named("gone"), json!({ "name": name_of(kind, "gone"), "etag": "1" })),
    ]
}

/// A report of an instance that stays for as long as the test.
fn instance(id: &str, state: &str) -> Json {
    let name = format!("models/fraud/instances/{id}");
    json!({ "instance": { "name": name, "target": "@production", "state": state, "ttl": "3600s" } })
}

/// A webhook that nothing is sent to.
fn webhook(id: &str) -> Json {
    json!({ "webhookId": id, "webhook": { "url": "http://127.0.0.1:9/", "disabled": true } })
}

/// What makes one of the kinds that say who may do what.
fn access(kind: &str, id: &str) -> Json {
    let resource = match kind {
        "Group" => json!({ "members": ["users/ana"] }),
        "Role" => json!({ "permissions": ["models.get"] }),
        "Binding" => json!({ "role": "roles/viewer", "members": ["users/ana"], "resource": "models/fraud" }),
        _ => json!({ "principal": "users/ana", "roles": ["roles/viewer"] }),
    };
    let kind = kind.to_lowercase();
    json!({ format!("{kind}Id"): id, kind: resource })
}

/// One for each method that changes them.
fn access_mutations() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["Group", "Role", "Binding", "Token"] {
        let named = |id: &str| json!({ "name": format!("{}s/{id}", kind.to_lowercase()) });
        let mut of = |verb: &str, request, other| cases.push(case(format!("{verb}{kind}").leak(), request, other));
        of("Create", access(kind, "new"), access(kind, "newer"));
        if kind == "Token" {
            of("Revoke", named("spare"), named("old"));
            continue;
        }
        let update = |text: &str| {
            let mut resource = named("spare");
            resource["description"] = json!(text);
            json!({ kind.to_lowercase(): resource })
        };
        of("Update", update("x"), update("y"));
        of("Delete", named("spare"), named("old"));
    }
    cases
}

/// What the registry is made with, in order.
fn steps() -> Vec<(&'static str, Json)> {
    let metrics = json!({ "validation": { "values": { "rmse": 0.5, "mae": 0.25, "r2": 0.75 } } });
    let ready = json!({ "parent": "models/fraud", "finalize": true, "version": { "metrics": metrics } });
    let mut steps: Vec<_> = KINDS.iter().flat_map(|kind| standard_steps(kind)).collect();
    steps.extend([
        ("CreateSubscription", subscription("a")),
        ("CreateSubscription", subscription("b")),
        ("CreateSubscription", subscription("c")),
        ("CreatePolicy", policy("spare")),
        ("CreatePolicy", policy("old")),
        ("CreatePolicy", policy("other")),
        ("CreateModel", json!({ "modelId": "fraud" })),
        // 1 was in production, and 2 is.
        ("CreateVersion", ready.clone()),
        ("CreateVersion", ready.clone()),
        ("TransitionStage", json!({ "name": "models/fraud/versions/1", "stage": "STAGE_PRODUCTION" })),
        ("TransitionStage", json!({ "name": "models/fraud/versions/2", "stage": "STAGE_PRODUCTION" })),
        ("SetAlias", json!({ "name": "models/fraud", "alias": "champion", "version": "2" })),
        // 3 is being filled.
        ("CreateVersion", json!({ "parent": "models/fraud", "versionId": "1.3" })),
        artifact("models/fraud/versions/3", "a.bin"),
        artifact("models/fraud/versions/3", "b/c.bin"),
        part(1),
        part(2),
        part(3),
        ("UploadChunks", CHUNKS.iter().enumerate().map(upload_chunk).collect()),
        (
            "CreateArtifact",
            json!({
                "parent": "models/fraud/versions/3",
                "artifact": { "path": "chunks.bin", "type": "model" },
                "chunks": CHUNKS.map(chunk),
            }),
        ),
        // 4 is deleted.
        ("CreateVersion", json!({ "parent": "models/fraud" })),
        artifact("models/fraud/versions/4", "a.bin"),
        ("DeleteVersion", json!({ "name": "models/fraud/versions/4" })),
        // 5 is of no use to anybody.
        ("CreateVersion", ready.clone()),
        // 6 is withdrawn.
        ("CreateVersion", ready),
        ("WithdrawVersion", json!({ "name": "models/fraud/versions/6", "reason": "leaks" })),
        ("ReportInstance", instance("a", "INSTANCE_STATE_LOADING")),
        ("ReportInstance", instance("b", "INSTANCE_STATE_SERVING")),
        ("ReportInstance", instance("c", "INSTANCE_STATE_FAILED")),
    ]);
    let old = json!({ "parent": "models/old", "finalize": true, "version": { "tags": { "suite": "contract" } } });
    steps.extend(std::iter::repeat_n(("CreateVersion", old), 3));
    steps.extend(["spare", "old", "other"].map(|id| ("CreateWebhook", webhook(id))));
    for id in ["spare", "old", "other"] {
        steps.extend(
            ["Group", "Role", "Binding", "Token"].map(|kind| (&*format!("Create{kind}").leak(), access(kind, id))),
        );
    }
    let (outer, long) = (long_namespace(), long_id());
    for (namespace, model, path) in
        [("risk", "score", "a.bin"), ("play", "score", "a.bin"), (&outer, &long, &long_path())]
    {
        let parent = format!("namespaces/{namespace}");
        steps.push(("CreateModel", json!({ "parent": parent, "modelId": model })));
        steps.push(("CreateVersion", json!({ "parent": format!("{parent}/models/{model}") })));
        steps.push(artifact(&format!("{parent}/models/{model}/versions/1"), path));
    }
    steps
}

/// Who calls the methods of the cases: a member of the group that approves. What there is was made by others.
pub(crate) const CALLER: &str = "users/ada";

/// Asks for approvals of the only version of a model that needs them.
fn approval(id: &str) -> Json {
    json!({ "parent": "models/eyes", "version": "1", "stage": "STAGE_PRODUCTION", "approvalId": id })
}

fn named_approval(id: &str) -> Json {
    json!({ "name": format!("models/eyes/approvals/{id}") })
}

/// What is done for the cases of approvals and locks, and by whom.
fn approval_steps() -> Vec<(Option<&'static str>, &'static str, Json)> {
    let rule = json!({ "count": 1, "group": "groups/eyes" });
    let policy = json!({ "stages": [{ "stage": "STAGE_PRODUCTION", "exclusive": true, "approvals": rule }] });
    vec![
        (None, "CreateGroup", json!({ "groupId": "eyes", "group": { "members": [CALLER] } })),
        (None, "CreatePolicy", json!({ "policyId": "eyes", "policy": policy })),
        (None, "CreateModel", json!({ "modelId": "eyes", "model": { "policy": "eyes" } })),
        (None, "CreateVersion", json!({ "parent": "models/eyes", "finalize": true })),
        (None, "RequestApproval", approval("a")),
        (None, "RequestApproval", approval("b")),
        (None, "RequestApproval", approval("approved")),
        (Some(CALLER), "Approve", named_approval("approved")),
        (Some(CALLER), "RequestApproval", approval("own")),
        (None, "CreateModel", json!({ "modelId": "kept" })),
        (None, "CreateVersion", json!({ "parent": "models/kept", "finalize": true })),
        (None, "CreateLock", lock("a")),
        (None, "CreateLock", lock("b")),
        (None, "CreateLock", lock("c")),
    ]
}

/// A lock of a model that nothing else is done to.
fn lock(id: &str) -> Json {
    let lock = json!({ "version": "1", "scope": "LOCK_SCOPE_DELETION", "reason": "an audit" });
    json!({ "parent": "models/kept", "lockId": id, "lock": lock })
}

/// A check of a version.
fn check(id: &str) -> Json {
    json!({ "name": "models/fraud/versions/1", "checkId": id, "check": { "state": "CHECK_STATE_SUCCEEDED" } })
}

/// A policy with gates that all versions pass.
fn policy(id: &str) -> Json {
    let gates = json!([{ "name": "measured", "condition": "size(version.metrics) >= 0" }]);
    json!({ "policyId": id, "policy": { "stages": [{ "stage": "STAGE_STAGING", "gates": gates }] } })
}

fn subscription(id: &str) -> Json {
    json!({ "subscriptionId": id, "subscription": { "types": ["model.*"] } })
}

/// What a file in parts is called.
pub(crate) const UPLOAD: &str = "0191e4c0-7b2a-7000-8000-000000000003";

/// A part of a file that no artifact is made of.
fn part(number: i32) -> (&'static str, Json) {
    let parent = "models/fraud/versions/3";
    let metadata = json!({ "parent": parent, "uploadId": UPLOAD, "number": number, "sizeBytes": 5 });
    ("UploadPart", json!([{ "metadata": metadata }, { "data": base64("bytes") }]))
}

fn upload_chunk((position, bytes): (usize, &&[u8])) -> Json {
    let mut message = json!({ "blake3": base64(blake3::hash(bytes).as_bytes()), "data": base64(bytes) });
    if position == 0 {
        message["parent"] = json!("models/fraud/versions/3");
    }
    message
}

/// A server with that registry.
pub(crate) async fn prepared() -> TestServer {
    fill(TestServer::start().await).await
}

/// The same, but its first revision can't be read.
pub(crate) async fn prepared_and_damaged() -> TestServer {
    fill(TestServer::damaged().await).await
}

async fn fill(server: TestServer) -> TestServer {
    for (method, request) in steps() {
        server.ok(method, request).await;
    }
    for (actor, method, request) in approval_steps() {
        server.ok_by(actor, method, request).await;
    }
    server
}

/// A request that succeeds in that registry, and another one that is not malformed.
pub(crate) struct Case {
    pub(crate) method: &'static str,
    pub(crate) request: Json,
    pub(crate) other: Json,
}

fn case(method: &'static str, request: Json, other: Json) -> Case {
    Case { method, request, other }
}

/// One for each method that takes a request id, or can be asked only to check.
pub(crate) fn mutations() -> Vec<Case> {
    let step = |version: i32| json!({ "name": format!("models/fraud/versions/{version}"), "stage": "STAGE_STAGING" });
    let upload = |path: &str| {
        let artifact = json!({ "path": path, "type": "model", "sha256": sha256("bytes") });
        json!([
            { "metadata": { "parent": "models/fraud/versions/3", "artifact": artifact } },
            { "data": base64("bytes") },
        ])
    };
    let named = |name: &str| json!({ "name": name });
    let mut cases: Vec<_> = KINDS.iter().flat_map(|kind| standard_mutations(kind)).collect();
    cases.extend(access_mutations());
    cases.extend([
        case("PurgeModel", named("models/gone"), named("models/old")),
        case(
            "SetAlias",
            json!({ "name": "models/fraud", "alias": "stable", "version": "1" }),
            json!({ "name": "models/fraud", "alias": "stable", "version": "2" }),
        ),
        case(
            "DeleteAlias",
            json!({ "name": "models/fraud", "alias": "champion" }),
            json!({ "name": "models/fraud", "alias": "stable" }),
        ),
        case(
            "CreateVersion",
            json!({ "parent": "models/fraud", "versionId": "2.0" }),
            json!({ "parent": "models/fraud", "versionId": "2.1" }),
        ),
        case(
            "UpdateVersion",
            json!({ "version": { "name": "models/fraud/versions/1", "description": "x" } }),
            json!({ "version": { "name": "models/fraud/versions/1", "description": "y" } }),
        ),
        case("FinalizeVersion", named("models/fraud/versions/3"), named("models/fraud/versions/1")),
        case("DeleteVersion", named("models/fraud/versions/5"), named("models/fraud/versions/1")),
        case("UndeleteVersion", named("models/fraud/versions/4"), named("models/fraud/versions/5")),
        case("PurgeVersion", named("models/fraud/versions/4"), named("models/fraud/versions/5")),
        case("WithdrawVersion", named("models/fraud/versions/5"), named("models/fraud/versions/1")),
        case("ReportCheck", check("lint"), check("other")),
        case("ReinstateVersion", named("models/fraud/versions/6"), named("models/fraud/versions/5")),
        case(
            "PruneVersions",
            json!({ "parent": "models/old", "keep": 1 }),
            json!({ "parent": "models/old", "keep": 2 }),
        ),
        case("TransitionStage", step(5), step(1)),
        case("BatchTransitionStages", json!({ "requests": [step(1), step(5)] }), json!({ "requests": [step(1)] })),
        case("RollbackStage", named("models/fraud"), named("models/old")),
        case("UploadArtifact", upload("new.bin"), upload("newer.bin")),
        {
            let (method, request) = artifact("models/fraud/versions/3", "new.bin");
            case(method, request, artifact("models/fraud/versions/3", "newer.bin").1)
        },
        case(
            "DeleteArtifact",
            named("models/fraud/versions/3/artifacts/a.bin"),
            named("models/fraud/versions/3/artifacts/b/c.bin"),
        ),
        case("CreatePolicy", policy("new"), policy("newer")),
        case(
            "UpdatePolicy",
            json!({ "policy": { "name": "policies/spare", "description": "x" } }),
            json!({ "policy": { "name": "policies/spare", "description": "y" } }),
        ),
        case("DeletePolicy", named("policies/spare"), named("policies/old")),
        case("CreateSubscription", subscription("new"), subscription("newer")),
        case(
            "UpdateSubscription",
            json!({ "subscription": { "name": "subscriptions/a", "description": "x" } }),
            json!({ "subscription": { "name": "subscriptions/a", "description": "y" } }),
        ),
        case("MoveSubscription", named("subscriptions/a"), json!({ "name": "subscriptions/a", "afterRevision": 1 })),
        case("DeleteSubscription", named("subscriptions/b"), named("subscriptions/c")),
        case("ReportInstance", instance("a", "INSTANCE_STATE_SERVING"), instance("d", "INSTANCE_STATE_SERVING")),
        case("DeleteInstance", named("models/fraud/instances/a"), named("models/fraud/instances/b")),
        case("RequestApproval", approval("new"), approval("newer")),
        case("Approve", named_approval("a"), named_approval("b")),
        case("Reject", named_approval("a"), named_approval("b")),
        case("Withdraw", named_approval("own"), named_approval("b")),
        case("CommitApproval", named_approval("approved"), named_approval("a")),
        case("CreateLock", lock("new"), lock("newer")),
        case("DeleteLock", named("models/kept/locks/a"), named("models/kept/locks/b")),
        case("CollectGarbage", json!({ "grace": "0s" }), json!({})),
        case("CreateWebhook", webhook("new"), webhook("newer")),
        case(
            "UpdateWebhook",
            json!({ "webhook": { "name": "webhooks/spare", "description": "x" } }),
            json!({ "webhook": { "name": "webhooks/spare", "description": "y" } }),
        ),
        case("DeleteWebhook", named("webhooks/spare"), named("webhooks/old")),
        case(
            "ReplayWebhook",
            json!({ "name": "webhooks/spare", "afterRevision": 3 }),
            json!({ "name": "webhooks/spare", "afterRevision": 2 }),
        ),
        case("RotateWebhookSecret", named("webhooks/spare"), named("webhooks/old")),
        case("TombstoneRevision", json!({ "revision": 1 }), json!({ "revision": 2 })),
    ]);
    cases
}

/// One for each list; what it lists are at least three items.
pub(crate) fn lists() -> Vec<Case> {
    let versions = |numbers: &[i32]| {
        let names = numbers.iter().map(|number| format!("models/fraud/versions/{number}"));
        json!({ "names": names.collect::<Vec<_>>() })
    };
    let under = |parent: &str| json!({ "parent": parent });
    let of_upload = |parent: &str| json!({ "parent": parent, "uploadId": UPLOAD });
    let standard = |kind: &&str| case(format!("List{kind}s").leak(), json!({}), json!({ "showDeleted": true }));
    let mut cases: Vec<_> = KINDS.iter().map(standard).collect();
    cases.extend([
        case("ListVersions", under("models/old"), under("models/fraud")),
        case("CompareVersions", versions(&[1, 2]), versions(&[2, 1])),
        case("ListArtifacts", under("models/fraud/versions/3"), under("models/fraud/versions/4")),
        case(
            "ListChunks",
            under("models/fraud/versions/3/artifacts/chunks.bin"),
            under("models/fraud/versions/3/artifacts/a.bin"),
        ),
        case("ListParts", of_upload("models/fraud/versions/3"), of_upload("models/fraud/versions/4")),
        case("ListInstances", under("models/fraud"), under("models/old")),
        case("ListApprovals", under("models/eyes"), under("models/fraud")),
        case("ListLocks", under("models/kept"), under("models/fraud")),
        case("ListEvents", under("models/old"), under("models/fraud")),
        case("SearchResources", json!({ "query": "contract" }), json!({ "query": "suite" })),
        case("ListPolicies", json!({}), json!({ "orderBy": "name desc" })),
        case("ListWebhooks", json!({}), json!({ "orderBy": "name desc" })),
        case("ListGroups", json!({}), json!({ "orderBy": "name desc" })),
        case("ListRoles", json!({}), json!({ "orderBy": "name desc" })),
        case("ListBindings", json!({}), json!({ "orderBy": "name desc" })),
        case("ListTokens", json!({}), json!({ "orderBy": "name desc" })),
        // Has nothing to tell one query from another.
        case("ListUsage", json!({}), Json::Null),
        case("ListSubscriptions", json!({}), Json::Null),
    ]);
    cases
}

/// All requests here of a method.
pub(crate) fn requests(method: &str) -> Vec<Json> {
    let cases = mutations().into_iter().chain(lists());
    let cases = cases.flat_map(|case| [(case.method, case.request), (case.method, case.other)]);
    let approvals = approval_steps().into_iter().map(|(_, method, request)| (method, request));
    let all =
        steps().into_iter().chain(approvals).chain(cases).filter(|(of, request)| *of == method && !request.is_null());
    all.map(|(_, request)| request).collect()
}
