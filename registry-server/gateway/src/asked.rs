//! The message that a request stands for: what its path, its query and its body say.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use prost::encoding::{WireType, encode_key, encode_varint};
use url::form_urlencoded;

use crate::refusal::Refusal;
use crate::routes::{BodyOf, Captured, Route};
use crate::schema::{MessageAt, Problem, Schema, Shape};

/// How many fields a query may name.
const NAMED: usize = 200;

/// Writes the message. A field may be given once: in the path, in the query, or in the body.
pub(crate) fn message(
    schema: &Schema,
    route: &Route,
    captured: &[Captured],
    query: &str,
    body: &[u8],
    most: usize,
) -> Result<Vec<u8>, Refusal> {
    let of = route.input;
    let mut out = from_body(schema, of, route, body, most)?;
    for captured in captured {
        let given = schema.text_at(of, &out, captured.field.split('.')).filter(|given| !given.is_empty());
        if given.is_some_and(|given| given != captured.text) {
            return Err(Refusal::invalid(&captured.field, "is another one in the body than in the path"));
        }
    }
    for given in parameters(schema, of, query)? {
        let name = &given.name;
        match &route.body {
            BodyOf::Message => return Err(Refusal::invalid(name, "must be in the body: this call has no query")),
            BodyOf::Field(field) if given.path.first() == schema.field(of, field.name()).as_ref() => {
                return Err(Refusal::invalid(name, format!("must be in the body, which is the {}", field.name())));
            }
            _ => {}
        }
        let is_captured = |captured: &Captured| captured.field.split('.').eq(given.fields.iter().map(String::as_str));
        if captured.iter().any(is_captured) {
            return Err(Refusal::invalid(name, "is what the path says, and can't be in the query as well"));
        }
        write(schema, of, &given.path, &given.texts, &mut out).map_err(|problem| refused(name, problem))?;
    }
    for captured in captured {
        let path = resolved(schema, of, &captured.field)?.path;
        let texts = std::slice::from_ref(&captured.text);
        write(schema, of, &path, texts, &mut out).map_err(|problem| refused(&captured.field, problem))?;
    }
    Ok(out)
}

fn from_body(schema: &Schema, of: MessageAt, route: &Route, body: &[u8], most: usize) -> Result<Vec<u8>, Refusal> {
    match &route.body {
        _ if body.is_empty() => Ok(Vec::new()),
        BodyOf::Message => schema.read(of, body, most).map_err(|problem| match &*problem.path.clone() {
            "" => refused("body", problem),
            path => refused(path, Problem { path: String::new(), ..problem }),
        }),
        BodyOf::Field(field) => {
            let shape = schema.field(of, field.name()).map(|at| schema.shape(of, at));
            let inside =
                shape.and_then(|shape| shape.inside).ok_or_else(|| Refusal::internal("a body is a message"))?;
            let inside = schema.read(inside, body, most).map_err(|problem| refused(field.name(), problem))?;
            let mut out = Vec::with_capacity(inside.len() + 8);
            nested(field.number(), &inside, &mut out);
            Ok(out)
        }
        BodyOf::Nothing => {
            Err(Refusal::invalid("body", "must be empty: all that this call takes is in its path and its query"))
        }
    }
}

/// What can't be read, in a field or in what is inside it.
fn refused(field: &str, problem: Problem) -> Refusal {
    if problem.is_too_large {
        return Refusal::too_large(&format!("{field}: {}", problem.text));
    }
    match problem.path.as_str() {
        "" => Refusal::invalid(field, problem.text),
        path => Refusal::invalid(&format!("{field}.{path}"), problem.text),
    }
}

/// A field that a query names, and what it says of it.
struct Given {
    /// As it is written.
    name: String,
    /// Where it is: the field of the message, the field of that, and so on.
    path: Vec<usize>,
    /// The names of those, as the contract has them.
    fields: Vec<String>,
    texts: Vec<String>,
}

/// The fields that a query names, each with all of its values.
fn parameters(schema: &Schema, of: MessageAt, query: &str) -> Result<Vec<Given>, Refusal> {
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Refusal::invalid("query", "is not UTF-8"));
    }
    let mut all: Vec<Given> = Vec::new();
    let mut places: HashMap<Vec<usize>, usize> = HashMap::new();
    // Of the members of a oneof, which one is given.
    let mut chosen: HashMap<(Vec<usize>, i32), String> = HashMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Resolved { path, fields, shape } = resolved(schema, of, &name)?;
        if let Some(&at) = places.get(&path) {
            if !shape.is_list {
                return Err(Refusal::invalid(&name, "is given twice"));
            }
            all[at].texts.push(value.into_owned());
            continue;
        }
        if all.len() == NAMED {
            return Err(Refusal::invalid("query", format!("names more than {NAMED} fields")));
        }
        if let (Some(oneof), [within @ .., _]) = (shape.oneof, &path[..])
            && let Some(other) = chosen.insert((within.to_vec(), oneof), name.clone().into_owned())
        {
            return Err(Refusal::invalid(&name, format!("can't be given with {other}")));
        }
        places.insert(path.clone(), all.len());
        all.push(Given { name: name.into_owned(), path, fields, texts: vec![value.into_owned()] });
    }
    Ok(all)
}

struct Resolved {
    path: Vec<usize>,
    fields: Vec<String>,
    shape: Shape,
}

/// The field of a name, in either spelling, with those that it lies in before it.
fn resolved(schema: &Schema, mut of: MessageAt, name: &str) -> Result<Resolved, Refusal> {
    let unknown = || Refusal::invalid(name, "is no field of this call");
    let (mut path, mut fields) = (Vec::new(), Vec::new());
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        let at = schema.field(of, part).ok_or_else(unknown)?;
        let shape = schema.shape(of, at);
        path.push(at);
        fields.push(shape.proto_name.clone());
        match (parts.peek(), shape.inside) {
            (Some(_), Some(inside)) if !shape.is_list && !shape.is_map => of = inside,
            (Some(_), _) => return Err(unknown()),
            (None, _) if shape.is_map => return Err(Refusal::invalid(name, "is a map, which a query has no form for")),
            (None, _) if !shape.is_text && !shape.is_mark => {
                return Err(Refusal::invalid(name, "is an object, which a query has no form for"));
            }
            (None, _) => return Ok(Resolved { path, fields, shape }),
        }
    }
    Err(unknown())
}

/// Writes a field, by texts.
fn write(schema: &Schema, of: MessageAt, path: &[usize], texts: &[String], out: &mut Vec<u8>) -> Result<(), Problem> {
    let [at, rest @ ..] = path else { return Ok(()) };
    let shape = schema.shape(of, *at);
    let wrong = |text: &str| Problem { path: String::new(), text: text.to_owned(), is_too_large: false };
    match shape.inside {
        Some(inside) if !rest.is_empty() => {
            let mut bytes = Vec::new();
            write(schema, inside, rest, texts, &mut bytes)?;
            nested(shape.number, &bytes, out);
        }
        _ if shape.is_mark => {
            if !texts.iter().all(|text| matches!(&**text, "" | "{}" | "true")) {
                return Err(wrong("says nothing more than that it is there"));
            }
            nested(shape.number, &[], out);
        }
        _ if shape.is_bool => {
            for text in texts {
                let value = match &**text {
                    // `?force` alone.
                    "" | "true" => true,
                    "false" => false,
                    _ => return Err(wrong("must be true or false")),
                };
                prost::encoding::bool::encode(shape.number, &value, out);
            }
        }
        _ => schema.read_texts(of, *at, texts, out)?,
    }
    Ok(())
}

fn nested(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}
