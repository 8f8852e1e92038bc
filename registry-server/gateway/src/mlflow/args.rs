//! What a call of MLflow's is given: in the query of a GET, in a body of JSON otherwise.

use serde_json::{Map, Value};
use url::form_urlencoded;

use super::error::Error;

/// Parameters by their names. What no call knows is no error, as with MLflow's own server.
#[derive(Debug, Default)]
pub(super) struct Args(Map<String, Value>);

impl Args {
    /// A parameter that is there more than once is a list.
    pub(super) fn of_query(query: &str) -> Self {
        let mut args: Map<String, Value> = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = Value::String(value.into_owned());
            match args.get_mut(&*name) {
                None => drop(args.insert(name.into_owned(), value)),
                Some(Value::Array(values)) => values.push(value),
                Some(given) => *given = Value::Array(vec![given.take(), value]),
            }
        }
        Self(args)
    }

    pub(super) fn of_body(body: &[u8]) -> Result<Self, Error> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let args = serde_json::from_slice(body);
        args.map(Self).map_err(|error| Error::invalid(format_args!("The body is no object in JSON: {error}")))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> Result<String, Error> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            // As some clients write the number of a version.
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// A text that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<String, Error> {
        let text = self.text(name)?;
        if text.trim().is_empty() { Err(missing(name)) } else { Ok(text) }
    }

    /// A list of texts; one that stands alone is a list, too.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, value));
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }

    /// A whole number, if it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| wrong(name, value))).transpose()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// An object, if it is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, Error> {
        self.get(name).map(|value| value.as_object().cloned().ok_or_else(|| wrong(name, value))).transpose()
    }

    /// A list of objects.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Map<String, Value>>, Error> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let objects = value.as_array().ok_or_else(|| wrong(name, value))?;
        objects.iter().map(|one| one.as_object().cloned().ok_or_else(|| wrong(name, one))).collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// How many results are asked for at most.
    pub(super) fn max_results(&self, usual: usize, most: usize) -> Result<usize, Error> {
        let Some(value) = self.get("max_results") else { return Ok(usual) };
        let number = match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        match number.ok_or_else(|| wrong("max_results", value))? {
            number if number < 1 => Err(Error::invalid(format_args!(
                "Invalid value for max_results. It must be a positive integer, but got {number}"
            ))),
            number => usize::try_from(number).ok().filter(|number| *number <= most).ok_or_else(|| {
                Error::invalid(format_args!(
                    "Invalid value for request parameter max_results. It must be at most {most}, but got value {number}"
                ))
            }),
        }
    }

    /// Tags as `[{"key": ..., "value": ...}]`. Of one that is there twice the last counts.
    pub(super) fn tags(&self) -> Result<Vec<(String, String)>, Error> {
        let tag = |tag: &Value| {
            let value = match &tag["value"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((tag["key"].as_str()?.to_owned(), value))
        };
        match self.get("tags") {
            None => Ok(Vec::new()),
            Some(Value::Array(tags)) => {
                tags.iter().map(|given| tag(given).ok_or_else(|| wrong("tags", given))).collect()
            }
            Some(other) => Err(wrong("tags", other)),
        }
    }
}

pub(super) fn missing(name: &str) -> Error {
    Error::invalid(format_args!("Missing value for required parameter '{name}'.{HINT}"))
}

const HINT: &str = " See the API docs for more information about request parameters.";

/// What Python calls the type of a value is what those who read it know.
fn wrong(name: &str, value: &Value) -> Error {
    let of = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    let shown = registry_common::shown::cut(&value.to_string(), 256);
    Error::invalid(format_args!(
        "Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{of}'.{HINT}"
    ))
}
