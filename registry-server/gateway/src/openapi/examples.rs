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
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
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
        if let Some(body) = &example.body {
            operation["requestBody"]["content"]["application/json"]["example"] = body.clone();
        }
        if let Some(answer) = &example.answer {
            operation["responses"]["200"]["content"]["application/json"]["example"] = answer.clone();
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
