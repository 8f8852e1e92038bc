//! Examples of calls, with what they are answered. A test of the contract makes them, and sees that they are still true.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value as Json;
use url::form_urlencoded;

use crate::routes::Route;
use crate::template::Segment;

/// The examples by their methods.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Examples(BTreeMap<String, Example>);

#[derive(Debug, Deserialize)]
struct Example {
    /// With the query.
    path: String,
    body: Option<Json>,
    answer: Option<Json>,
}

impl Examples {
    /// Those that were kept.
    pub(super) fn kept() -> Self {
        serde_json::from_str(include_str!("examples.json")).expect("they are what a test wrote")
    }

    /// Adds the example of a route to its operation, if there is one.
    pub(super) fn add(&self, route: &Route, operation: &mut Json) {
        let Some(example) = self.0.get(route.rpc.name()) else { return };
        let (path, query) = example.path.split_once('?').unwrap_or((&example.path, ""));
        let values = values(route, path);
        let mut query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if operation.get("requestBody").is_none() {
            // Another way to make the call, of which there is one with a body.
            query.extend(example.body.iter().filter_map(Json::as_object).flatten().flat_map(in_query));
        }
        let mut of_path = values.into_iter();
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            if parameter["in"] == "path" {
                parameter["example"] = of_path.next().into();
                continue;
            }
            let given = query.iter().filter(|(name, _)| parameter["name"] == **name).map(|(_, value)| &**value);
            if let Some(value) = value(&parameter["schema"], given.collect()) {
                parameter["example"] = value;
            }
        }
        if let (Some(body), Some(request)) = (&example.body, operation.get_mut("requestBody")) {
            request["content"]["application/json"]["example"] = body.clone();
        }
        if let Some(answer) = &example.answer {
            let content = &mut operation["responses"]["200"]["content"];
            let form = ["application/json", "application/x-ndjson"].into_iter().find(|form| !content[form].is_null());
            content[form.unwrap_or_default()]["example"] = answer.clone();
        }
    }
}

/// What stands in a path for the variables of its route.
fn values(route: &Route, path: &str) -> Vec<String> {
    let verb = route.template.verb.as_ref().map(|verb| format!(":{verb}")).unwrap_or_default();
    let parts: Vec<_> = path.strip_suffix(&verb).unwrap_or(path).split('/').skip(1).collect();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let value = |(at, segment): (usize, &Segment)| match segment {
        Segment::Literal(_) => None,
        Segment::One => Some(decoded(parts[at])),
        Segment::Rest => Some(decoded(&parts[at..].join("/"))),
    };
    route.template.segments.iter().enumerate().filter_map(value).collect()
}

/// A member of a body as it stands in a query.
fn in_query((name, value): (&String, &Json)) -> Vec<(String, String)> {
    let values = value.as_array().map_or(std::slice::from_ref(value), |values| values);
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    values.iter().map(|value| (name.clone(), text(value))).collect()
}

/// What a parameter is given in a query, as its schema has it.
fn value(schema: &Json, given: Vec<&str>) -> Option<Json> {
    let (first, kind) = (*given.first()?, schema["type"].as_str());
    Some(match kind {
        Some("array") => given.into(),
        Some("integer") => first.parse::<i64>().ok()?.into(),
        Some("boolean") => (first == "true").into(),
        _ => first.into(),
    })
}
