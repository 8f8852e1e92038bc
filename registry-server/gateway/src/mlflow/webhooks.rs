//! MLflow's calls about webhooks: each is one of ours, of the format MLFLOW.

use std::collections::HashSet;

use prost_types::FieldMask;
use registry_common::mlflow::told;
use registry_proto::v1 as pb;
use registry_proto::v1::{WebhookFormat, WebhookSigning};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::args::{Args, missing};
use super::caller::Caller;
use super::error::{Error, MISSING};
use super::search::found;
use super::shapes::{last, millis};

/// The longest name that MLflow takes.
const NAME_CHARACTERS: usize = 63;

/// A call of a path behind `webhooks/`; `None` if there is no such call.
pub(super) async fn call(caller: &Caller, method: &str, path: &str, args: &Args) -> Option<Result<Value, Error>> {
    let parts: Vec<_> = path.split('/').collect();
    let answered = match (method, &parts[..]) {
        ("GET", [id]) => get(caller, id).await.map(|webhook| answer(&webhook)),
        ("PATCH", [id]) => update(caller, id, args).await,
        ("DELETE", [id]) => delete(caller, id).await,
        ("POST", [id, "test"]) => test(caller, id, args).await,
        _ => return None,
    };
    Some(answered)
}

/// `webhooks`, with POST.
pub(super) async fn create(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let name = args.required("name")?;
    check_name(&name)?;
    let mut webhook = pb::Webhook {
        display_name: name,
        description: args.text("description")?,
        url: args.required("url")?,
        parent: caller.namespace.clone(),
        types: types(args)?,
        secret: args.text("secret")?,
        disabled: is_disabled(args)?.unwrap_or_default(),
        ..Default::default()
    };
    if webhook.types.is_empty() {
        return Err(missing("events"));
    }
    webhook.set_format(WebhookFormat::Mlflow);
    let is_signed = !webhook.secret.is_empty();
    webhook.set_signing(if is_signed { WebhookSigning::HmacSha256 } else { WebhookSigning::None });
    // In the order in which they are made.
    let webhook_id = Uuid::now_v7().to_string();
    let create = pb::CreateWebhookRequest { webhook_id, webhook: Some(webhook), ..Default::default() };
    Ok(answer(&caller.call(&create).await?))
}

/// `webhooks`, with GET.
pub(super) async fn list(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let most = args.max_results(100, 1000)?;
    let list = pb::ListWebhooksRequest {
        page_token: args.text("page_token")?,
        order_by: "name desc".to_owned(),
        ..Default::default()
    };
    let (webhooks, token) =
        found(caller, list, most, |webhook| is_mlflows(caller, &webhook).then_some(webhook)).await?;
    let mut answer = json!({ "webhooks": webhooks.iter().map(shown).collect::<Vec<_>>() });
    if !token.is_empty() {
        answer["next_page_token"] = token.into();
    }
    Ok(answer)
}

async fn update(caller: &Caller, id: &str, args: &Args) -> Result<Value, Error> {
    let known = get(caller, id).await?;
    let mut webhook = pb::Webhook { name: known.name.clone(), ..Default::default() };
    let mut paths = Vec::new();
    let mut set = |field: &str| paths.push(field.to_owned());
    // As with MLflow, of these no text is no change.
    webhook.display_name = args.text("name")?;
    if !webhook.display_name.is_empty() {
        check_name(&webhook.display_name)?;
        set("display_name");
    }
    webhook.url = args.text("url")?;
    if !webhook.url.is_empty() {
        set("url");
    }
    webhook.types = types(args)?;
    if !webhook.types.is_empty() {
        set("types");
    }
    if args.has("description") {
        webhook.description = args.text("description")?;
        set("description");
    }
    if let Some(disabled) = is_disabled(args)? {
        webhook.disabled = disabled;
        set("disabled");
    }
    let secret = args.text("secret")?;
    if args.has("secret") && secret.is_empty() && known.signing() != WebhookSigning::None {
        return Err(Error::invalid(
            "A webhook that signs can't be made to sign no more: delete it, and create one without a secret.",
        ));
    }
    let rotate = pb::RotateWebhookSecretRequest { name: known.name.clone(), secret, ..Default::default() };
    if !rotate.secret.is_empty() {
        // What would be refused is, before anything is changed.
        caller.call(&pb::RotateWebhookSecretRequest { validate_only: true, ..rotate.clone() }).await?;
    }
    let update_mask = Some(FieldMask { paths });
    let mut changed = known.clone();
    if update_mask.as_ref().is_some_and(|mask| !mask.paths.is_empty()) {
        let update = pb::UpdateWebhookRequest { webhook: Some(webhook), update_mask, ..Default::default() };
        changed = caller.call(&update).await?;
    }
    if !rotate.secret.is_empty() {
        changed = caller.call(&rotate).await?;
    }
    Ok(answer(&changed))
}

async fn delete(caller: &Caller, id: &str) -> Result<Value, Error> {
    let name = get(caller, id).await?.name;
    caller
        .call(&pb::DeleteWebhookRequest { name, ..Default::default() })
        .await
        .map_err(|refusal| of(refusal.into(), id))?;
    Ok(json!({}))
}

async fn test(caller: &Caller, id: &str, args: &Args) -> Result<Value, Error> {
    let name = get(caller, id).await?.name;
    let r#type = args.object("event")?.map(|event| of_event(&event)).transpose()?.unwrap_or_default();
    let answer = caller.call(&pb::TestWebhookRequest { name, r#type }).await?;
    let delivery = answer.delivery.unwrap_or_default();
    let mut result = json!({ "success": delivery.error.is_empty() });
    if delivery.code != 0 {
        result["response_status"] = delivery.code.into();
    }
    if !delivery.error.is_empty() {
        result["error_message"] = delivery.error.into();
    }
    Ok(json!({ "result": result }))
}

/// The webhook of an id, if it is one of MLflow's in the caller's namespace.
async fn get(caller: &Caller, id: &str) -> Result<pb::Webhook, Error> {
    let get = pb::GetWebhookRequest { name: format!("webhooks/{id}") };
    match caller.call(&get).await {
        Ok(webhook) if is_mlflows(caller, &webhook) => Ok(webhook),
        Ok(_) => Err(not_found(id)),
        Err(refusal) => Err(of(refusal.into(), id)),
    }
}

fn is_mlflows(caller: &Caller, webhook: &pb::Webhook) -> bool {
    let below = webhook.parent.strip_prefix(&*caller.namespace);
    webhook.format() == WebhookFormat::Mlflow && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn of(error: Error, id: &str) -> Error {
    if error.is(MISSING) { not_found(id) } else { error }
}

fn not_found(id: &str) -> Error {
    Error::new(MISSING, format_args!("Webhook with ID {id} not found."))
}

fn answer(webhook: &pb::Webhook) -> Value {
    json!({ "webhook": shown(webhook) })
}

/// A webhook as MLflow has it.
fn shown(webhook: &pb::Webhook) -> Value {
    let given: Vec<_> = webhook.types.iter().map(String::as_str).collect();
    let types = if given.is_empty() { told::types().collect() } else { given };
    let event = |r#type: &str| {
        let (entity, action) = r#type.split_once('.').unwrap_or_default();
        json!({ "entity": entity.to_uppercase(), "action": action.to_uppercase() })
    };
    let id = last(&webhook.name);
    let mut shown = json!({
        "webhook_id": id,
        "name": if webhook.display_name.is_empty() { id } else { &webhook.display_name },
        "url": webhook.url,
        "events": types.into_iter().map(event).collect::<Vec<_>>(),
        "status": if webhook.disabled { "DISABLED" } else { "ACTIVE" },
        "creation_timestamp": millis(&webhook.create_time),
        "last_updated_timestamp": millis(&webhook.update_time),
    });
    if !webhook.description.is_empty() {
        shown["description"] = webhook.description.clone().into();
    }
    shown
}

/// The types that are given as `[{"entity": "MODEL_VERSION", "action": "CREATED"}]`.
fn types(args: &Args) -> Result<Vec<String>, Error> {
    let types: Result<Vec<_>, _> = args.objects("events")?.iter().map(of_event).collect();
    let mut known = HashSet::new();
    Ok(types?.into_iter().filter(|r#type| known.insert(r#type.clone())).collect())
}

fn of_event(event: &Map<String, Value>) -> Result<String, Error> {
    let [Some(entity), Some(action)] = ["entity", "action"].map(|key| event.get(key).and_then(Value::as_str)) else {
        return Err(Error::invalid(
            "An event has an entity and an action by their names, such as MODEL_VERSION and CREATED.",
        ));
    };
    let r#type = format!("{}.{}", entity.to_lowercase(), action.to_lowercase());
    match told::ours(&r#type) {
        Some(_) => Ok(r#type),
        None => {
            let known = told::types().collect::<Vec<_>>().join(", ");
            let message =
                format!("Invalid action '{action}' for entity '{entity}'. What the registry tells is {known}.");
            Err(Error::invalid(message))
        }
    }
}

fn is_disabled(args: &Args) -> Result<Option<bool>, Error> {
    match &*args.text("status")? {
        "" => Ok(None),
        "ACTIVE" => Ok(Some(false)),
        "DISABLED" => Ok(Some(true)),
        other => Err(Error::invalid(format_args!("Invalid status '{other}'. It may be ACTIVE or DISABLED."))),
    }
}

/// MLflow's rule: `_validate_webhook_name` in `mlflow/utils/validation.py`.
fn check_name(name: &str) -> Result<(), Error> {
    let is_outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_right = is_outer(name.chars().next()) && is_outer(name.chars().last()) && name.chars().all(is_inner);
    if is_right && name.len() <= NAME_CHARACTERS {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "Webhook name '{name}' is invalid. It must start and end with a letter or digit, be less than 63 characters long, and contain only \
         letters, digits, dots (.), underscores (_), and hyphens (-)."
    )))
}
