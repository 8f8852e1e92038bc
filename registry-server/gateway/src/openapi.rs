//! The contract as OpenAPI 3.1, made of its descriptors: what is served at `/openapi.json`.
//!
//! The document is a file of the project, so that programs can be generated from it without a server, and so that a change of the contract
//! shows what it does to it. A test compares them.

mod comments;
mod examples;
mod files;
mod schemas;

use std::collections::{BTreeMap, HashSet};

use http::Method;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind};
use serde_json::{Map, Value as Json, json};

use self::comments::Comments;
use self::examples::Examples;
use self::schemas::{Schemas, behaviors};
use crate::PACKAGE;
use crate::routes::{BodyOf, Route, Routes};
use crate::stream::start;
use crate::template::{Segment, Template};

/// Values of `google.api.FieldBehavior`.
const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;

/// The tags that come first, in this order: what most readers look for. The others follow as the contract has them.
const FIRST: [&str; 6] =
    ["ModelService", "VersionService", "LifecycleService", files::TAG, "ArtifactService", "EventService"];

/// The last words of the description of a call that is answered with a stream.
const STREAM: &str = "\n\nThe answer is a stream. Swagger UI shows none before it has ended, and a watch does not end: call it with `curl -N`.";

/// What stands before all calls.
const ABOUT: &str = include_str!("openapi/about.md");

/// Makes the document.
pub(crate) fn document(pool: &DescriptorPool, routes: &Routes) -> Json {
    let comments = Comments::of(pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
    let mut writer = Writer { singulars: singulars(pool), comments: &comments, schemas: &mut schemas };
    let mut done = HashSet::new();
    let examples = Examples::kept();
    for route in routes.all() {
        let (path, mut operation) = writer.operation(route);
        examples.add(route, &mut operation);
        if !done.insert(&route.path) {
            operation["operationId"] = format!("{}By{}", route.rpc.name(), title(&route.method)).into();
        }
        let verb = route.method.as_str().to_lowercase();
        assert!(paths.entry(path).or_default().insert(verb, operation).is_none(), "{} has two methods", route.path);
    }
    paths.extend(files::paths());
    let services = pool.services().filter(|service| service.package_name() == PACKAGE);
    let services = services.map(|service| {
        let name = service.name();
        (name.to_owned(), comments.text(&service.parent_file(), service.path()))
    });
    let files = (files::TAG.to_owned(), "The bytes of artifacts, as HTTP has files.".to_owned());
    let mut tags: Vec<_> = services.chain([files]).collect();
    tags.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    let mut components = schemas.into_json();
    components.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Model Registry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "externalDocs": { "url": "/docs/reference", "description": "All of it on one page, to read and search" },
        "tags": tags.into_iter().map(|(name, description)| json!({ "name": name, "description": description })).collect::<Vec<_>>(),
        "paths": paths,
        // Where access control is off, nothing is needed.
        "security": [{ "token": [] }, {}],
        "components": {
            "schemas": components,
            "responses": { "Error": {
                "description": "The call failed; `reason` in the details says why, for programs.",
                "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Error" },
                    "example": error_example(),
                } },
            } },
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of the registry (`mr_...`), or a JSON Web Token of an issuer that the server knows.",
            } },
        },
    })
}

struct Writer<'a, 'b> {
    /// Of the plural of each resource its singular; and of uploads, which are none.
    singulars: BTreeMap<String, String>,
    comments: &'b Comments,
    schemas: &'a mut Schemas<'b>,
}

impl Writer<'_, '_> {
    /// The path of a route, with a name for each part of it that is a variable, and the operation.
    fn operation(&mut self, route: &Route) -> (String, Json) {
        let (path, mut parameters) = self.path(&route.template);
        let captured: Vec<_> = route.template.variables.iter().map(|variable| variable.field.as_str()).collect();
        let body = match &route.body {
            BodyOf::Nothing => None,
            BodyOf::Field(field) => {
                let Kind::Message(of) = field.kind() else { panic!("{} has a body that is no message", route.path) };
                let required = behaviors(field).contains(&REQUIRED);
                Some(
                    json!({ "required": required, "content": { "application/json": { "schema": self.schemas.reference(&of) } } }),
                )
            }
            BodyOf::Message => {
                let schema = self.schemas.request(&route.rpc.input(), &captured);
                let required = schema.get("required").is_some();
                // Without what the path has, it is another one than where it is part of a message.
                let whole = route.rpc.input().name().to_owned();
                let name = if captured.is_empty() { whole } else { format!("{whole}Body") };
                self.schemas.insert(&name, schema);
                let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
                Some(json!({ "required": required, "content": { "application/json": { "schema": schema } } }))
            }
        };
        let in_query = |field: &FieldDescriptor| match &route.body {
            BodyOf::Message => false,
            BodyOf::Field(body) => field != body,
            BodyOf::Nothing => true,
        };
        for field in route.rpc.input().fields().filter(in_query) {
            if !captured.iter().any(|captured| captured.split('.').next() == Some(field.name())) {
                parameters.push(self.parameter(&field));
            }
        }
        let mut text = self.comments.text(&route.rpc.parent_file(), route.rpc.path());
        let summary = first_sentence(&text);
        if route.rpc.is_server_streaming() {
            text += STREAM;
        }
        if start(&route.rpc.input()).is_some() {
            parameters.push(json!({
                "name": "Last-Event-ID", "in": "header", "schema": { "type": "string" },
                "description": "The `id` of the last server-sent event that the caller has: the stream goes on after it.",
            }));
        }
        let error = json!({ "$ref": "#/components/responses/Error" });
        let mut operation = json!({
            "operationId": route.rpc.name(),
            "tags": [route.rpc.parent_service().name()],
            "summary": summary,
            "description": text,
            "parameters": parameters,
            "responses": { "200": self.answer(route), "4XX": error, "5XX": error },
        });
        if let Some(body) = body {
            operation["requestBody"] = body;
        }
        (path, operation)
    }

    fn answer(&mut self, route: &Route) -> Json {
        let schema = self.schemas.reference(&route.rpc.output());
        if route.rpc.is_server_streaming() {
            return json!({
                "description": "A stream: a message on each line or, for who accepts `text/event-stream`, an event for each.",
                "content": {
                    "application/x-ndjson": { "schema": schema },
                    "text/event-stream": { "schema": { "type": "string" } },
                },
            });
        }
        json!({ "description": "It is done.", "content": { "application/json": { "schema": schema } } })
    }

    fn path(&self, template: &Template) -> (String, Vec<Json>) {
        let (mut path, mut parameters, mut before) = (String::new(), Vec::new(), "");
        for segment in &template.segments {
            path.push('/');
            let (name, description) = match segment {
                Segment::Literal(text) => {
                    before = text;
                    path += text;
                    continue;
                }
                Segment::One => {
                    let name = self.singulars.get(before).unwrap_or_else(|| panic!("nothing is called {before}"));
                    (name.as_str(), format!("The id of the {name}."))
                }
                Segment::Rest => ("path", "The path, whose slashes may be written as `%2F`.".to_owned()),
            };
            let description = match name {
                "version" => "The number of the version, its id, or an alias: `7`, `1.4.0`, `@production`.".to_owned(),
                _ => description,
            };
            path += &format!("{{{name}}}");
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": description,
                "schema": { "type": "string", "minLength": 1 },
            }));
        }
        if let Some(verb) = &template.verb {
            path += &format!(":{verb}");
        }
        (path, parameters)
    }

    fn parameter(&mut self, field: &FieldDescriptor) -> Json {
        let mut schema = match field.kind() {
            // That it is there is all that it says.
            Kind::Message(of) if of.fields().len() == 0 => json!({ "type": "boolean", "const": true }),
            Kind::Message(of) if !of.full_name().starts_with("google.protobuf.") => {
                panic!("{} has no form in a query", field.full_name())
            }
            _ => self.schemas.field(field),
        };
        let description = self.comments.text(&field.parent_message().parent_file(), field.path());
        schema.as_object_mut().map(|schema| schema.remove("description"));
        let mut parameter =
            json!({ "name": field.json_name(), "in": "query", "description": description, "schema": schema });
        if behaviors(field).contains(&REQUIRED) {
            parameter["required"] = true.into();
        }
        parameter
    }
}

/// Of the plural of each resource its singular; and of uploads, which are none.
fn singulars(pool: &DescriptorPool) -> BTreeMap<String, String> {
    let resource = pool.get_extension_by_name("google.api.resource").expect("it is a known annotation");
    let resources = pool.all_messages().filter_map(|message| {
        let options = message.options();
        options.has_extension(&resource).then(|| options.get_extension(&resource).into_owned())
    });
    let names = resources.filter_map(|resource| {
        let text = |name| resource.as_message()?.get_field_by_name(name)?.as_str().map(str::to_owned);
        Some((text("plural")?, text("singular")?))
    });
    names.chain([("uploads".to_owned(), "upload".to_owned())]).collect()
}

/// `Get`.
fn title(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    first.to_owned() + &rest.to_lowercase()
}

fn first_sentence(text: &str) -> String {
    let ends = [". ", ".\n", ": ", ":\n"].into_iter().filter_map(|end| text.find(end));
    text[..ends.min().unwrap_or(text.trim_end_matches('.').len())].replace('\n', " ")
}

/// What is answered where there is no such model.
fn error_example() -> Json {
    let name = "namespaces/risk/models/fraud";
    let of_google = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    json!({ "error": {
        "code": 404,
        "status": "NOT_FOUND",
        "message": format!("{name} does not exist"),
        "details": [
            { "@type": of_google("ErrorInfo"), "reason": "RESOURCE_NOT_FOUND", "domain": "modelregistry.dev" },
            { "@type": of_google("ResourceInfo"), "resourceType": "modelregistry.dev/Model", "resourceName": name },
        ],
    } })
}

/// An error, as AIP-193 has it.
fn error() -> Json {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["code", "status", "message", "details"],
            "properties": {
                "code": { "type": "integer", "description": "The status of HTTP." },
                "status": { "type": "string", "description": "The status of gRPC: `NOT_FOUND`." },
                "message": { "type": "string", "description": "For people; it may change." },
                "details": {
                    "type": "array",
                    "description": "What else is known. One is a `google.rpc.ErrorInfo`, whose `reason` is one of those in `ErrorReason`.",
                    "items": { "type": "object", "required": ["@type"], "properties": { "@type": text, "reason": text }, "additionalProperties": true },
                },
            },
        } },
    })
}

#[cfg(test)]
mod tests;
