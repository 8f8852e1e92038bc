//! Whether whoever calls one version of a model can call another one in its place: by what both take and return.

use serde_json::{Map, Value as Json};

/// A column or tensor that a model takes or returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// As the framework calls it; empty if unknown.
    pub(crate) dtype: String,
    /// The lengths of a tensor's dimensions; -1 is any length. Empty: a column.
    pub(crate) shape: Vec<i64>,
    /// It may be left out.
    pub(crate) optional: bool,
}

/// What a model takes and returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

impl Signature {
    /// A signature as MLflow keeps it: each side is a list of JSON in a text, or empty.
    ///
    /// # Errors
    /// If it is something else.
    pub(crate) fn of_mlflow(inputs: &str, outputs: &str) -> Result<Self, String> {
        Ok(Self { inputs: ports(inputs)?, outputs: ports(outputs)? })
    }
}

/// What MLflow says of one side. What has no name goes by its position.
fn ports(text: &str) -> Result<Vec<Port>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let specs: Vec<Map<String, Json>> =
        serde_json::from_str(text).map_err(|error| format!("the signature is not as MLflow writes it: {error}"))?;
    let port = |(i, spec): (usize, Map<String, Json>)| {
        let name = spec.get("name").and_then(Json::as_str).map_or_else(|| i.to_string(), str::to_owned);
        let is = |key: &str| spec.get(key).and_then(Json::as_bool);
        // Before MLflow 2.10 it was the other way round.
        let optional = is("required") == Some(false) || is("optional") == Some(true);
        match spec.get("tensor-spec") {
            Some(tensor) => {
                let shape = tensor["shape"].as_array().into_iter().flatten().filter_map(Json::as_i64).collect();
                let dtype = tensor["dtype"].as_str().unwrap_or_default().to_owned();
                Port { name, dtype, shape, optional }
            }
            None => Port { name, dtype: dtype(&Json::Object(spec)), shape: Vec::new(), optional },
        }
    };
    Ok(specs.into_iter().enumerate().map(port).collect())
}

/// The type of a column: `double`, `array<string>`, `map<long>`.
fn dtype(spec: &Json) -> String {
    match spec["type"].as_str().unwrap_or_default() {
        "array" => format!("array<{}>", dtype(&spec["items"])),
        "map" => format!("map<{}>", dtype(&spec["values"])),
        kind => kind.to_owned(),
    }
}

/// What keeps those who call `old` from calling `new` in its place, for people; empty if nothing does.
pub(crate) fn misfits(new: &Signature, old: &Signature) -> Vec<String> {
    let mut found = Vec::new();
    for input in &new.inputs {
        match old.inputs.iter().find(|known| known.name == input.name) {
            None if input.optional => {}
            None => found.push(format!("needs the input {:?}, which the incumbent does not take", input.name)),
            Some(known) => {
                if known.optional && !input.optional {
                    found.push(format!("needs the input {:?}, which may be left out of the incumbent's", input.name));
                }
                found.extend(unlike("input", known, input));
            }
        }
    }
    for output in &old.outputs {
        match new.outputs.iter().find(|known| known.name == output.name) {
            None => found.push(format!("lacks the output {:?}, which the incumbent returns", output.name)),
            Some(known) => found.extend(unlike("output", known, output)),
        }
    }
    found
}

/// Why what is sent as `from` can't be taken as `to`.
fn unlike(what: &str, from: &Port, to: &Port) -> Option<String> {
    if !casts(&from.dtype, &to.dtype) {
        return Some(format!("the {what} {:?} is {}, which does not cast to {}", to.name, from.dtype, to.dtype));
    }
    let fits = |(from, to): (&i64, &i64)| to == from || *to == -1;
    let same = from.shape.len() == to.shape.len() && from.shape.iter().zip(&to.shape).all(fits);
    (!same).then(|| format!("the {what} {:?} has the shape {:?}, and not {:?}", to.name, from.shape, to.shape))
}

/// A type, as far as it is known what fits into it.
#[derive(Debug, PartialEq, Eq)]
enum Type<'a> {
    /// Of so many bits.
    Int(u32),
    Unsigned(u32),
    Float(u32),
    Text,
    Bool,
    Other(&'a str),
}

fn of_name(name: &str) -> Type<'_> {
    match name {
        "int8" | "byte" => Type::Int(8),
        "int16" | "short" => Type::Int(16),
        "int32" | "integer" => Type::Int(32),
        "int64" | "int" | "long" => Type::Int(64),
        "uint8" => Type::Unsigned(8),
        "uint16" => Type::Unsigned(16),
        "uint32" => Type::Unsigned(32),
        "uint64" => Type::Unsigned(64),
        "float16" | "half" => Type::Float(16),
        // As MLflow calls it.
        "float32" | "float" => Type::Float(32),
        "float64" | "double" => Type::Float(64),
        "string" | "str" | "utf8" => Type::Text,
        "bool" | "boolean" => Type::Bool,
        other => Type::Other(other),
    }
}

/// Whether every value of a type is one of another, too. Of an unknown one nothing is said.
fn casts(from: &str, to: &str) -> bool {
    let exact = |bits: u32, float: u32| {
        bits <= [(16, 11), (32, 24)].into_iter().find(|(of, _)| *of == float).map_or(53, |(_, bits)| bits)
    };
    match (of_name(from), of_name(to)) {
        _ if from.is_empty() || to.is_empty() => true,
        (Type::Int(from), Type::Int(to)) | (Type::Unsigned(from), Type::Unsigned(to)) => from <= to,
        (Type::Float(from), Type::Float(to)) => from <= to,
        (Type::Unsigned(from), Type::Int(to)) => from < to,
        (Type::Int(from) | Type::Unsigned(from), Type::Float(to)) => exact(from, to),
        (from, to) => from == to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dtype: &str, shape: &[i64]) -> Port {
        Port { name: name.to_owned(), dtype: dtype.to_owned(), shape: shape.to_vec(), optional: false }
    }

    fn takes(inputs: &[Port]) -> Signature {
        Signature { inputs: inputs.to_vec(), outputs: Vec::new() }
    }

    fn returns(outputs: &[Port]) -> Signature {
        Signature { inputs: Vec::new(), outputs: outputs.to_vec() }
    }

    #[test]
    fn a_type_casts_to_one_that_has_all_of_its_values() {
        for (from, to, fits) in [
            ("int32", "int64", true),
            ("int64", "int32", false),
            ("integer", "double", true),
            ("int32", "float32", false),
            ("int16", "float32", true),
            ("long", "double", false),
            ("float", "double", true),
            ("float64", "float32", false),
            ("double", "long", false),
            ("uint8", "int16", true),
            ("uint8", "int8", false),
            ("uint32", "int32", false),
            ("int8", "uint8", false),
            ("uint8", "float16", true),
            ("uint16", "float16", false),
            ("string", "str", true),
            ("string", "double", false),
            ("double", "string", false),
            ("boolean", "bool", true),
            ("boolean", "int64", false),
            ("datetime", "datetime", true),
            ("array<long>", "array<double>", false),
            ("", "double", true),
            ("double", "", true),
        ] {
            assert_eq!(casts(from, to), fits, "{from} to {to}");
        }
    }

    #[test]
    fn a_version_takes_what_the_incumbent_takes_and_returns_what_it_returns() {
        let (a, b) = (port("a", "float64", &[]), port("b", "int32", &[]));
        let optional = |port: &Port| Port { optional: true, ..port.clone() };
        let wide = port("b", "int64", &[]);
        let image = |shape: &[i64]| takes(&[port("image", "uint8", shape)]);
        let scores = |shape: &[i64]| returns(&[port("scores", "float32", shape)]);
        for (new, old, found) in [
            (takes(&[a.clone(), b.clone()]), takes(&[a.clone(), b.clone()]), None),
            // Order does not matter, and what is not needed any more is left alone.
            (takes(&[b.clone(), a.clone()]), takes(&[a.clone(), b.clone()]), None),
            (takes(std::slice::from_ref(&a)), takes(&[a.clone(), b.clone()]), None),
            (takes(&[a.clone(), b.clone()]), takes(std::slice::from_ref(&a)), Some("needs the input \"b\"")),
            (takes(&[a.clone(), optional(&b)]), takes(std::slice::from_ref(&a)), None),
            (takes(std::slice::from_ref(&b)), takes(&[optional(&b)]), Some("may be left out")),
            (takes(&[optional(&b)]), takes(std::slice::from_ref(&b)), None),
            (takes(std::slice::from_ref(&wide)), takes(std::slice::from_ref(&b)), None),
            (
                takes(std::slice::from_ref(&b)),
                takes(std::slice::from_ref(&wide)),
                Some("int64, which does not cast to int32"),
            ),
            (returns(std::slice::from_ref(&b)), returns(std::slice::from_ref(&wide)), None),
            (returns(std::slice::from_ref(&wide)), returns(std::slice::from_ref(&b)), Some("does not cast to int32")),
            (returns(&[a.clone(), b.clone()]), returns(std::slice::from_ref(&a)), None),
            (returns(std::slice::from_ref(&a)), returns(&[a.clone(), b]), Some("lacks the output \"b\"")),
            (image(&[-1, 28, 28]), image(&[-1, 28, 28]), None),
            (image(&[-1, -1, -1]), image(&[-1, 28, 28]), None),
            (image(&[-1, 28, 28]), image(&[-1, -1, -1]), Some("has the shape [-1, -1, -1], and not [-1, 28, 28]")),
            (image(&[-1, 28, 28]), image(&[-1, 28, 28, 1]), Some("has the shape")),
            (image(&[]), image(&[-1]), Some("has the shape")),
            (scores(&[-1, 10]), scores(&[-1, -1]), None),
            (scores(&[-1, -1]), scores(&[-1, 10]), Some("has the shape")),
            (Signature::default(), Signature::default(), None),
        ] {
            let misfits = misfits(&new, &old);
            assert_eq!(misfits.len(), found.iter().count(), "{new:?} {old:?} {misfits:?}");
            assert!(found.is_none_or(|found| misfits[0].contains(found)), "{misfits:?}");
        }
    }

    #[test]
    fn mlflow_writes_each_side_as_a_list_of_json() {
        let inputs = r#"[{"type": "double", "name": "a", "required": true}, {"type": "long", "name": "b", "required": false},
            {"type": "string", "name": "c", "optional": true}, {"type": "array", "items": {"type": "long"}, "name": "d"}]"#;
        let outputs = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}]"#;
        let optional = |port: Port| Port { optional: true, ..port };
        let expected = Signature {
            inputs: vec![
                port("a", "double", &[]),
                optional(port("b", "long", &[])),
                optional(port("c", "string", &[])),
                port("d", "array<long>", &[]),
            ],
            outputs: vec![port("0", "float32", &[-1, 10])],
        };
        assert_eq!(Signature::of_mlflow(inputs, outputs), Ok(expected));
        assert_eq!(Signature::of_mlflow("", ""), Ok(Signature::default()));
        assert!(Signature::of_mlflow("{}", "").is_err());
    }
}
