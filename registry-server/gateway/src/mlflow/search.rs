//! Searches, and what of each stage is the latest.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use registry_common::mlflow::{STAGES, stage_named};
use registry_proto::rpc;
use registry_proto::v1 as pb;
use registry_proto::v1::{ErrorReason, Stage};
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic_types::StatusExt as _;

use super::args::Args;
use super::caller::Caller;
use super::error::{Error, INVALID, MISSING};
use super::filter::{Facts, Filter, Of};
use super::shapes::{Aliases, ModelVersion, Registered, aliases};
use crate::refusal::Refusal;

/// How many models or versions are read at once.
const PAGE: usize = 1000;
/// How long is searched for one page, and how many bytes of what is found may be held.
const PATIENCE: Duration = Duration::from_secs(20);
const HELD_BYTES: usize = 16 << 20;

/// `registered-models/search`.
pub(super) async fn models(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let most = args.max_results(100, 1000)?;
    let filter = Filter::parse(Of::Models, &args.text("filter")?)?;
    let order_by = order_of_models(order(&args.texts("order_by")?, &MODEL_KEYS)?);
    let matching = |model: pb::Model| {
        let shown = Registered::of(&model, Vec::new());
        let facts = Facts { name: &shown.name, tags: &shown.tags, run_id: "", source: "", number: 0 };
        filter.matches(facts).then_some(model)
    };
    let (models, token) = match filter.name() {
        // There is one at most.
        Some(name) => match caller.model(name).await {
            Ok(model) => (matching(model).into_iter().collect(), String::new()),
            Err(error) if is_nothing(&error) => (Vec::new(), String::new()),
            Err(error) => return Err(error),
        },
        None => {
            let list = pb::ListModelsRequest {
                parent: caller.namespace.clone(),
                page_token: args.text("page_token")?,
                filter: filter.passed_on(&caller.namespace),
                order_by,
                ..Default::default()
            };
            found(caller, list, most, matching).await?
        }
    };
    let mut shown = Vec::with_capacity(models.len());
    for model in &models {
        shown.push(registered(caller, model).await?);
    }
    let mut answer = json!({ "registered_models": shown });
    if !token.is_empty() {
        answer["next_page_token"] = token.into();
    }
    Ok(answer)
}

/// Whether there is no model of a name, or can be none.
fn is_nothing(error: &Error) -> bool {
    error.is(MISSING) || error.is(INVALID)
}

/// `model-versions/search`.
pub(super) async fn versions(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let most = args.max_results(10_000, 200_000)?;
    let filter = Filter::parse(Of::Versions, &args.text("filter")?)?;
    let mut orders = order(&args.texts("order_by")?, &VERSION_KEYS)?;
    if orders.is_empty() {
        orders.push(("last_updated_timestamp", "update_time desc".to_owned()));
    }
    let parent = match filter.name() {
        Some(name) => match caller.model(name).await {
            Ok(model) => model.name,
            Err(error) if is_nothing(&error) => return Ok(json!({ "model_versions": [] })),
            Err(error) => return Err(error),
        },
        None => format!("{}/models/-", caller.namespace),
    };
    let list = pb::ListVersionsRequest {
        order_by: order_of_versions(orders, parent.ends_with("/-")),
        parent,
        page_token: args.text("page_token")?,
        filter: filter.passed_on(&caller.namespace),
        ..Default::default()
    };
    let matching = |version: pb::Version| {
        let shown = ModelVersion::without_aliases(&version, &caller.base);
        let facts = Facts {
            name: &shown.name,
            tags: &shown.tags,
            run_id: &shown.run_id,
            source: &shown.source,
            number: shown.number,
        };
        filter.matches(facts).then_some(shown)
    };
    let (mut versions, token) = found(caller, list, most, matching).await?;
    let mut models: BTreeMap<String, Aliases> = BTreeMap::new();
    for version in &mut versions {
        if !models.contains_key(&version.name) {
            // It may be gone by now.
            let of_model = caller.model(&version.name).await.map(|model| aliases(&model)).unwrap_or_default();
            models.insert(version.name.clone(), of_model);
        }
        version.take_aliases(&models[&version.name]);
    }
    let mut answer = json!({ "model_versions": versions });
    if !token.is_empty() {
        answer["next_page_token"] = token.into();
    }
    Ok(answer)
}

/// `registered-models/get-latest-versions`.
pub(super) async fn latest(caller: &Caller, args: &Args) -> Result<Value, Error> {
    let model = caller.model(&args.required("name")?).await?;
    let stages: Vec<_> = args.texts("stages")?.iter().map(|stage| parse_stage(stage)).collect::<Result<_, _>>()?;
    let latest = latest_versions(caller, &model, &stages).await?;
    Ok(json!({ "model_versions": latest }))
}

/// A model with the latest version of each stage.
pub(super) async fn registered(caller: &Caller, model: &pb::Model) -> Result<Registered, Error> {
    Ok(Registered::of(model, latest_versions(caller, model, &[]).await?))
}

/// The version with the highest number in each of these stages, or in all if there are none.
async fn latest_versions(caller: &Caller, model: &pb::Model, stages: &[Stage]) -> Result<Vec<ModelVersion>, Error> {
    let held = |stage| model.stages.iter().find(|held| held.stage() == stage).map_or(0, |held| held.version_count);
    let elsewhere: i64 = model.stages.iter().map(|held| held.version_count).sum();
    let aliases = aliases(model);
    let mut latest = Vec::new();
    for (_, stage) in STAGES {
        let count = if stage == Stage::Development { model.version_count - elsewhere } else { held(stage) };
        if count <= 0 || !(stages.is_empty() || stages.contains(&stage)) {
            continue;
        }
        let list = pb::ListVersionsRequest {
            parent: model.name.clone(),
            filter: in_stage(stage),
            order_by: "number desc".to_owned(),
            ..Default::default()
        };
        let (found, _) = found(caller, list, 1, Some).await?;
        latest.extend(found.iter().map(|version| ModelVersion::of(version, &aliases, &caller.base)));
    }
    Ok(latest)
}

/// The condition that a version is in a stage.
pub(super) fn in_stage(stage: Stage) -> String {
    let name = stage.as_str_name();
    format!("version.stage == \"{}\"", name.strip_prefix("STAGE_").unwrap_or(name))
}

/// A stage, however it is written.
pub(super) fn parse_stage(text: &str) -> Result<Stage, Error> {
    let unknown =
        || format!("Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived.");
    stage_named(text).ok_or_else(|| Error::invalid(unknown()))
}

/// What becomes of the next so many items of a list that are wanted, and the token to go on with.
pub(super) async fn found<L: rpc::Paged + rpc::Unary, T>(
    caller: &Caller,
    mut list: L,
    most: usize,
    wanted: impl Fn(L::Item) -> Option<T>,
) -> Result<(Vec<T>, String), Error> {
    let until = Instant::now() + PATIENCE;
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        // So it is never cut in the midst of a page.
        *list.page_size_mut() = i32::try_from(PAGE.min(most - found.len())).unwrap_or(i32::MAX);
        let page = caller.call(&list).await.map_err(of_page)?;
        let (items, token) = L::into_page(page);
        for item in items {
            let size = item.encoded_len();
            if let Some(item) = wanted(item) {
                bytes += size;
                found.push(item);
            }
        }
        if token.is_empty() || found.len() >= most || bytes > HELD_BYTES || Instant::now() > until {
            return Ok((found, token));
        }
        *list.page_token_mut() = token;
    }
}

fn of_page(refusal: Refusal) -> Error {
    let details = refusal.status().get_error_details();
    match details.error_info() {
        Some(info) if info.reason == ErrorReason::PageTokenInvalid.word() => {
            Error::invalid(format_args!("Invalid page token, could not base64-decode: {refusal}"))
        }
        _ => refusal.into(),
    }
}

/// MLflow's keys of orders, and ours.
const MODEL_KEYS: [(&str, &str); 4] = [
    ("name", "name"),
    ("creation_timestamp", "create_time"),
    ("last_updated_timestamp", "update_time"),
    ("timestamp", "update_time"),
];
const VERSION_KEYS: [(&str, &str); 4] = [
    ("name", "name"),
    ("version_number", "number"),
    ("creation_timestamp", "create_time"),
    ("last_updated_timestamp", "update_time"),
];

/// An order of ours for one of MLflow's, each part of which is a key, alone or with ASC or DESC: the keys, and what they are here.
fn order<'k>(given: &[String], keys: &'k [(&str, &str)]) -> Result<Vec<(&'k str, String)>, Error> {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for text in given.iter().flat_map(|text| text.split(',')) {
        let mut words = text.split_whitespace();
        let (key, direction) = (words.next().unwrap_or_default(), words.next().unwrap_or("asc"));
        if words.next().is_some() || key.is_empty() {
            return Err(Error::invalid(format_args!("Invalid order_by clause '{text}'. Could not be parsed.")));
        }
        let plain = key.trim_matches(['`', '"']);
        let plain = plain.strip_prefix("attribute.").or(plain.strip_prefix("attributes.")).unwrap_or(plain);
        let Some((key, ours)) = keys.iter().find(|(known, _)| *known == plain) else {
            let known: Vec<_> = keys.iter().map(|(key, _)| format!("'{key}'")).collect();
            let known = known.join(", ");
            return Err(Error::invalid(format_args!(
                "Invalid attribute key '{key}' specified. Valid keys are '{{{known}}}'"
            )));
        };
        let direction = match () {
            () if direction.eq_ignore_ascii_case("asc") => "",
            () if direction.eq_ignore_ascii_case("desc") => " desc",
            () => return Err(Error::invalid(format_args!("Invalid ordering key in order_by clause '{text}'."))),
        };
        if parts.iter().any(|(known, _)| known == key) {
            return Err(Error::invalid(format_args!("`order_by` contains duplicate fields: {given:?}")));
        }
        parts.push((key, format!("{ours}{direction}")));
    }
    Ok(parts)
}

/// What is equal is in the order of the names anyway, and no two have the same.
fn order_of_models(mut parts: Vec<(&str, String)>) -> String {
    match &parts[..] {
        [("name", order), ..] => order.clone(),
        _ => {
            parts.retain(|(key, _)| *key != "name");
            joined(parts)
        }
    }
}

/// Versions of one model all have its name. Those of several are in the order of the names anyway, and of the numbers in it, unless something
/// else comes first; of what is equal, MLflow has the newer one first.
fn order_of_versions(mut parts: Vec<(&str, String)>, of_several: bool) -> String {
    if let [("name", order), ..] = &parts[..]
        && of_several
    {
        return order.replace("name", "number");
    }
    parts.retain(|(key, _)| *key != "name");
    if !parts.iter().any(|(key, _)| *key == "version_number") {
        parts.push(("version_number", "number desc".to_owned()));
    }
    joined(parts)
}

fn joined(parts: Vec<(&str, String)>) -> String {
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_ours() {
        for (given, several, expected) in [
            (&["name"][..], true, "number"),
            (&["name DESC", "creation_timestamp"], true, "number desc"),
            (&["name DESC"], false, "number desc"),
            (&["creation_timestamp ASC", "name"], true, "create_time, number desc"),
            (&["last_updated_timestamp desc, `version_number`"], false, "update_time desc, number"),
            (&["attribute.version_number desc"], true, "number desc"),
        ] {
            let given: Vec<_> = given.iter().map(|&text| text.to_owned()).collect();
            let order = order(&given, &VERSION_KEYS).unwrap();
            assert_eq!(order_of_versions(order, several), expected, "{given:?}");
        }
        for (given, expected) in [
            ("name DESC, timestamp", "name desc"),
            ("timestamp, name DESC", "update_time"),
            ("creation_timestamp DESC", "create_time desc"),
        ] {
            assert_eq!(order_of_models(order(&[given.to_owned()], &MODEL_KEYS).unwrap()), expected, "{given}");
        }
        for (given, expected) in [
            ("size", "Invalid attribute key 'size' specified. Valid keys are '{'name', 'creation_timestamp'"),
            ("name up", "Invalid ordering key in order_by clause 'name up'."),
            ("name asc x", "Invalid order_by clause 'name asc x'. Could not be parsed."),
            ("name, name desc", "`order_by` contains duplicate fields: [\"name, name desc\"]"),
        ] {
            let error = order(&[given.to_owned()], &MODEL_KEYS).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
