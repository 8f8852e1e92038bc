//! A registry that comes to be, call by call: what the examples in the OpenAPI document are made of. Each call is answered with success when
//! it is made after those before it.

use serde_json::{Value as Json, json};

use crate::fixtures::{CHUNKS, UPLOAD, base64, chunk, sha256};

/// Who does most of it, and who looks at it with other eyes.
const ANA: &str = "users/ana";
const BEN: &str = "users/ben";

/// A call of the story.
pub(crate) struct Call {
    pub(crate) actor: &'static str,
    pub(crate) method: &'static str,
    pub(crate) request: Json,
}

fn ana(method: &'static str, request: Json) -> Call {
    Call { actor: ANA, method, request }
}

fn ben(method: &'static str, request: Json) -> Call {
    Call { actor: BEN, method, request }
}

fn named(name: &str) -> Json {
    json!({ "name": name })
}

/// All calls, in order.
pub(crate) fn story() -> Vec<Call> {
    [models(), versions(), files(), lifecycle(), policies(), access(), outside(), log(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

const RISK: &str = "namespaces/risk";
const FRAUD: &str = "namespaces/risk/models/fraud";
const V1: &str = "namespaces/risk/models/fraud/versions/1";
const V2: &str = "namespaces/risk/models/fraud/versions/2";
const V3: &str = "namespaces/risk/models/fraud/versions/3";

fn models() -> Vec<Call> {
    let namespace = json!({ "displayName": "Risk", "description": "Models that say what may go wrong." });
    let model = json!({
        "displayName": "Card fraud", "modelType": "classification", "owner": "ana", "team": "risk", "tags": { "region": "eu" },
        "metricDirections": { "auc": "METRIC_DIRECTION_HIGHER_IS_BETTER" },
    });
    vec![
        ana("CreateNamespace", json!({ "namespaceId": "risk", "namespace": namespace })),
        ana("GetNamespace", named(RISK)),
        ana(
            "UpdateNamespace",
            json!({ "namespace": { "name": RISK, "quotaBytes": "1000000000" }, "updateMask": "quotaBytes" }),
        ),
        ana("ListNamespaces", json!({ "pageSize": 10 })),
        ana("CreateModel", json!({ "parent": RISK, "modelId": "fraud", "model": model })),
        ana("GetModel", named(FRAUD)),
        ana(
            "UpdateModel",
            json!({ "model": { "name": FRAUD, "description": "Finds stolen cards." }, "updateMask": "description" }),
        ),
        ana("ListModels", json!({ "parent": RISK, "filter": "model.team == \"risk\"", "pageSize": 10 })),
        ana("CountModels", json!({ "parent": RISK, "fields": ["team"] })),
    ]
}

fn versions() -> Vec<Call> {
    let version = |auc: f64| {
        let version = json!({
            "framework": "sklearn", "frameworkVersion": "1.8.0", "hyperparameters": { "max_depth": 8 },
            "metrics": { "validation": { "values": { "auc": auc } } },
        });
        json!({ "parent": FRAUD, "version": version, "finalize": true })
    };
    vec![
        ana("CreateVersion", version(0.943)),
        ana("CreateVersion", version(0.961)),
        ana("CreateVersion", json!({ "parent": FRAUD, "versionId": "1.4.0" })),
        ana("GetVersion", named(V1)),
        ana(
            "UpdateVersion",
            json!({ "version": { "name": V1, "tags": { "validated": "yes" } }, "updateMask": "tags" }),
        ),
        ana(
            "ListVersions",
            json!({ "parent": FRAUD, "filter": "version.metrics.validation.auc > 0.9", "orderBy": "number desc" }),
        ),
        ana("BatchGetVersions", json!({ "names": [V1, V2] })),
        ana("CompareVersions", json!({ "names": [V1, V2] })),
        ana("CountVersions", json!({ "parent": FRAUD, "fields": ["framework"] })),
        ana("AggregateMetric", json!({ "parent": FRAUD, "split": "validation", "metric": "auc" })),
        ana("SearchResources", json!({ "parent": RISK, "query": "cards" })),
    ]
}

fn files() -> Vec<Call> {
    let artifact = json!({ "path": "threshold.txt", "type": "config", "mediaType": "text/plain" });
    let (data, weights) = ("MC44Cg==", CHUNKS.map(chunk));
    let file = |path: &str| format!("{V3}/artifacts/{path}");
    vec![
        ana("CreateArtifact", json!({ "parent": V3, "artifact": artifact, "data": data })),
        ana("FindMissingChunks", json!({ "parent": V3, "blake3": CHUNKS.map(hash) })),
        ana("UploadChunks", CHUNKS.iter().enumerate().map(upload_chunk).collect()),
        ana(
            "CreateArtifact",
            json!({
                "parent": V3, "artifact": { "path": "weights.bin", "type": "model", "sha256": sha256(CHUNKS.concat()) }, "chunks": weights,
            }),
        ),
        ana(
            "UploadPart",
            json!([
                { "metadata": { "parent": V3, "uploadId": UPLOAD, "number": 1, "sizeBytes": 5 } }, { "data": "Ynl0ZXM=" },
            ]),
        ),
        ana("ListParts", json!({ "parent": V3, "uploadId": UPLOAD })),
        ana("ListChunks", json!({ "parent": file("weights.bin") })),
        ana("GetArtifact", named(&file("weights.bin"))),
        ana("ListArtifacts", json!({ "parent": V3 })),
        ana("DeleteArtifact", named(&file("threshold.txt"))),
        ana("FinalizeVersion", named(V3)),
    ]
}

fn upload_chunk((at, bytes): (usize, &&[u8])) -> Json {
    let mut message = json!({ "blake3": hash(bytes), "data": base64(bytes) });
    if at == 0 {
        message["parent"] = json!(V3);
    }
    message
}

fn hash(bytes: &[u8]) -> String {
    base64(blake3::hash(bytes).as_bytes())
}

fn lifecycle() -> Vec<Call> {
    let check =
        json!({ "state": "CHECK_STATE_SUCCEEDED", "uri": "https://ci.example.com/runs/7", "summary": "all good" });
    let instance = json!({ "name": format!("{FRAUD}/instances/scorer-1"), "target": "@production", "state": "INSTANCE_STATE_SERVING", "observedVersion": V1, "ttl": "90s" });
    vec![
        ana("TransitionStage", json!({ "name": V1, "stage": "STAGE_PRODUCTION", "comment": "the first" })),
        ana(
            "BatchTransitionStages",
            json!({ "requests": [{ "name": V2, "stage": "STAGE_PRODUCTION" }, { "name": V3, "stage": "STAGE_STAGING" }] }),
        ),
        ana("RollbackStage", json!({ "name": FRAUD, "stage": "STAGE_PRODUCTION", "comment": "too many false alarms" })),
        ana("SetAlias", json!({ "name": FRAUD, "alias": "champion", "version": "1" })),
        ana("DeleteAlias", json!({ "name": FRAUD, "alias": "champion" })),
        ana("ReportCheck", json!({ "name": V2, "checkId": "bias", "check": check })),
        ana("WithdrawVersion", json!({ "name": V2, "reason": "trained on leaked labels" })),
        ana("ReinstateVersion", named(V2)),
        ana("ReportInstance", json!({ "instance": instance })),
        ana("GetInstance", named(&format!("{FRAUD}/instances/scorer-1"))),
        ana("ListInstances", json!({ "parent": FRAUD })),
        ana("DeleteInstance", named(&format!("{FRAUD}/instances/scorer-1"))),
    ]
}

fn policies() -> Vec<Call> {
    let gate = json!({ "name": "better", "condition": "version.metrics.validation.auc > 0.9", "message": "The AUC has to be above 0.9." });
    let approvals = json!({ "count": 1, "group": "groups/deployers" });
    let production = json!({ "stage": "STAGE_PRODUCTION", "exclusive": true, "gates": [gate], "approvals": approvals });
    let approval = |id: &str| json!({ "parent": FRAUD, "approvalId": id, "version": "2", "stage": "STAGE_PRODUCTION" });
    let one = |id: &str| named(&format!("{FRAUD}/approvals/{id}"));
    let policy = "namespaces/risk/policies/careful";
    let lock = format!("{FRAUD}/locks/audit");
    vec![
        ana("CreateGroup", json!({ "groupId": "deployers", "group": { "members": [BEN] } })),
        ana("CreatePolicy", json!({ "parent": RISK, "policyId": "careful", "policy": { "stages": [production] } })),
        ana("GetPolicy", named(policy)),
        ana("ListPolicies", json!({ "parent": RISK })),
        ana(
            "UpdatePolicy",
            json!({ "policy": { "name": policy, "description": "For what decides about money." }, "updateMask": "description" }),
        ),
        ana("UpdateModel", json!({ "model": { "name": FRAUD, "policy": "careful" } })),
        ana("RequestApproval", approval("a")),
        ben("Approve", one("a")),
        ana("GetApproval", one("a")),
        ana("ListApprovals", json!({ "parent": FRAUD })),
        ana("CommitApproval", one("a")),
        ana(
            "RequestApproval",
            json!({ "parent": FRAUD, "approvalId": "b", "version": "3", "stage": "STAGE_PRODUCTION" }),
        ),
        ben("Reject", json!({ "name": format!("{FRAUD}/approvals/b"), "comment": "not before the audit" })),
        ana(
            "RequestApproval",
            json!({ "parent": FRAUD, "approvalId": "c", "version": "3", "stage": "STAGE_PRODUCTION" }),
        ),
        ana("Withdraw", one("c")),
        ana(
            "CreateLock",
            json!({ "parent": FRAUD, "lockId": "audit", "lock": { "scope": "LOCK_SCOPE_DELETION", "reason": "kept for the audit" } }),
        ),
        ana("GetLock", named(&lock)),
        ana("ListLocks", json!({ "parent": FRAUD })),
        ana("DeleteLock", named(&lock)),
    ]
}

fn access() -> Vec<Call> {
    let role = json!({ "permissions": ["models.get", "versions.*"] });
    let binding = json!({ "role": "roles/viewer", "members": ["groups/deployers"], "resource": RISK });
    let token = json!({ "principal": "services/trainer", "roles": ["roles/publisher"], "resource": RISK, "expireTime": "2100-01-01T00:00:00Z" });
    vec![
        ana("GetGroup", named("groups/deployers")),
        ana("ListGroups", json!({})),
        ana(
            "UpdateGroup",
            json!({ "group": { "name": "groups/deployers", "members": [ANA, BEN] }, "updateMask": "members" }),
        ),
        ana("CreateRole", json!({ "roleId": "trainer", "role": role })),
        ana("GetRole", named("roles/trainer")),
        ana("ListRoles", json!({ "pageSize": 1 })),
        ana(
            "UpdateRole",
            json!({ "role": { "name": "roles/trainer", "description": "For jobs that train." }, "updateMask": "description" }),
        ),
        ana("CreateBinding", json!({ "bindingId": "deployers", "binding": binding })),
        ana("GetBinding", named("bindings/deployers")),
        ana("ListBindings", json!({})),
        ana(
            "UpdateBinding",
            json!({ "binding": { "name": "bindings/deployers", "description": "What deployers may see." }, "updateMask": "description" }),
        ),
        ana("CreateToken", json!({ "tokenId": "trainer", "token": token })),
        ana("GetToken", named("tokens/trainer")),
        ana("ListTokens", json!({})),
        ana("RevokeToken", named("tokens/trainer")),
        ana("WhoAmI", json!({})),
        ana("TestPermissions", json!({ "resource": FRAUD, "permissions": ["models.get", "models.delete"] })),
        ana("ExplainAccess", json!({ "principal": BEN, "resource": FRAUD, "permission": "models.get" })),
        ana("DeleteBinding", named("bindings/deployers")),
        ana("DeleteRole", named("roles/trainer")),
    ]
}

fn outside() -> Vec<Call> {
    let subscription = json!({ "parent": FRAUD, "types": ["version.stage_transitioned"], "leaseDuration": "60s" });
    let webhook = json!({ "url": "https://chat.example.com/hooks/models", "parent": FRAUD, "types": ["version.stage_transitioned"]  });
    vec![
        ana("CreateSubscription", json!({ "subscriptionId": "deployer", "subscription": subscription })),
        ana("GetSubscription", named("subscriptions/deployer")),
        ana("ListSubscriptions", json!({})),
        ana(
            "UpdateSubscription",
            json!({ "subscription": { "name": "subscriptions/deployer", "description": "Restarts the scorers." }, "updateMask": "description" }),
        ),
        ana("Subscribe", json!({ "name": "subscriptions/deployer", "consumer": "deployer-1" })),
        ana("MoveSubscription", json!({ "name": "subscriptions/deployer", "afterRevision": "1" })),
        ana("DeleteSubscription", named("subscriptions/deployer")),
        ana("CreateWebhook", json!({ "webhookId": "chat", "webhook": webhook })),
        ana("GetWebhook", named("webhooks/chat")),
        ana("ListWebhooks", json!({})),
        ana(
            "UpdateWebhook",
            json!({ "webhook": { "name": "webhooks/chat", "description": "The channel of the team." }, "updateMask": "description" }),
        ),
        // Nobody is there, and no name is to be resolved.
        ana(
            "CreateWebhook",
            json!({ "webhookId": "local", "webhook": { "url": "http://127.0.0.1:9/hooks", "disabled": true } }),
        ),
        ana("TestWebhook", named("webhooks/local")),
        ana("ListWebhookDeliveries", json!({ "parent": "webhooks/chat" })),
        ana("ReplayWebhook", json!({ "name": "webhooks/chat", "afterRevision": "1" })),
        ana("RotateWebhookSecret", named("webhooks/chat")),
        ana("DeleteWebhook", named("webhooks/chat")),
    ]
}

fn log() -> Vec<Call> {
    vec![
        ana("ListEvents", json!({ "parent": FRAUD, "types": ["version.stage_transitioned"], "pageSize": 1 })),
        ana("GetEvent", named("events/1-0")),
        ana("WatchEvents", json!({ "parent": FRAUD, "types": ["version.stage_transitioned"], "afterRevision": "0" })),
        ana("GetCheckpoint", json!({})),
        ana("GetInclusionProof", json!({ "revision": "3" })),
        ana("GetConsistencyProof", json!({ "fromSize": "3", "toSize": "9" })),
        ana("ReadTile", json!({ "path": "tile/0/000.p/9" })),
        ana("GetStatus", json!({})),
        ana("GetMetrics", json!({})),
        ana("ListUsage", json!({})),
        ana("ExportLog", json!({})),
        ana("Verify", json!({})),
        ana("Scrub", json!({})),
        ana("CollectGarbage", json!({ "validateOnly": true })),
        ana("Backup", json!({})),
    ]
}

fn ends() -> Vec<Call> {
    vec![
        ana("DeleteVersion", named(V3)),
        ana("UndeleteVersion", named(V3)),
        ana("DeleteVersion", named(V3)),
        ana("PurgeVersion", named(V3)),
        ana("PruneVersions", json!({ "parent": FRAUD, "keep": 2 })),
        ana("CreateModel", json!({ "parent": RISK, "modelId": "churn" })),
        ana("DeleteModel", json!({ "name": "namespaces/risk/models/churn" })),
        ana("UndeleteModel", named("namespaces/risk/models/churn")),
        ana("DeleteModel", json!({ "name": "namespaces/risk/models/churn", "force": true })),
        ana("PurgeModel", named("namespaces/risk/models/churn")),
        ana("CreatePolicy", json!({ "parent": RISK, "policyId": "old", "policy": {} })),
        ana("DeletePolicy", named("namespaces/risk/policies/old")),
        ana("CreateGroup", json!({ "groupId": "old", "group": {} })),
        ana("DeleteGroup", named("groups/old")),
        ana("CreateNamespace", json!({ "namespaceId": "play" })),
        ana("DeleteNamespace", named("namespaces/play")),
        ana("UndeleteNamespace", named("namespaces/play")),
    ]
}
