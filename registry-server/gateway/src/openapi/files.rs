//! The files of versions, which no method of the contract stands for.

use serde_json::{Map, Value as Json, json};

/// What they are listed under.
pub(super) const TAG: &str = "Files";
const FILE: &str = "/v1/namespaces/{namespace}/models/{model}/versions/{version}/files/{path}";
const PART: &str = "/v1/namespaces/{namespace}/models/{model}/versions/{version}/uploads/{upload}/parts/{number}";

pub(super) fn paths() -> [(String, Map<String, Json>); 2] {
    [(FILE, file()), (PART, part())].map(|(path, operations)| {
        let Json::Object(operations) = operations else { unreachable!("it is an object") };
        (path.to_owned(), operations)
    })
}

fn path(name: &str, example: &str, description: &str) -> Json {
    json!({
        "name": name, "in": "path", "required": true, "description": description, "example": example,
        "schema": { "type": "string", "minLength": 1 },
    })
}

/// A parameter that is a number.
fn number(mut parameter: Json, example: i32, schema: Json) -> Json {
    (parameter["schema"], parameter["example"]) = (schema, example.into());
    parameter
}

fn with_schema(mut parameter: Json, schema: Json) -> Json {
    parameter["schema"] = schema;
    parameter
}

fn header(name: &str, description: &str) -> Json {
    json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } })
}

fn error() -> Json {
    json!({ "$ref": "#/components/responses/Error" })
}

fn version() -> [Json; 3] {
    [
        path("namespace", "risk", "The id of the namespace."),
        path("model", "fraud", "The id of the model."),
        path("version", "3", "The number of the version, its id, or an alias: `7`, `1.4.0`, `@production`."),
    ]
}

fn body() -> Json {
    json!({
        "required": true,
        "content": { "*/*": { "schema": { "type": "string", "format": "binary" } } },
    })
}

fn answer(description: &str, schema: &str) -> Json {
    json!({
        "200": {
            "description": description,
            "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } },
        },
        "4XX": error(), "5XX": error(),
    })
}

fn part() -> Json {
    let [namespace, model, version] = version();
    json!({
        "parameters": [
            namespace, model, version,
            with_schema(path("upload", "0191e4c0-7b2a-7000-8000-000000000003", "A UUID of the caller's choice for one file."), json!({ "type": "string", "format": "uuid" })),
            number(
                path("number", "", "The part's place in the file."),
                1,
                json!({ "type": "integer", "minimum": 1, "maximum": 10_000 }),
            ),
        ],
        "put": {
            "operationId": "UploadFilePart",
            "tags": [TAG],
            "summary": "Stores a part of a file",
            "description": "What `ArtifactService.UploadPart` does: parts come in any order, several at once, and again if they broke off. \
                            `CreateArtifact` with `uploadId` and `partCount` makes the artifact of them. `Content-Length` or a digest \
                            announces the part, and is checked. `ETag` is its SHA-256.",
            "parameters": [header("Repr-Digest", "The SHA-256 that the part has: `sha-256=:BASE64:`.")],
            "requestBody": body(),
            "responses": answer("The part.", "Part"),
        },
    })
}

fn file() -> Json {
    let [namespace, model, version] = version();
    let query = |name: &str, r#type: &str, description: &str| {
        let required = name == "type";
        json!({ "name": name, "in": "query", "required": required, "description": description, "schema": { "type": r#type } })
    };
    let bytes =
        json!({ "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } });
    let with = |description: &str, answer: &Json| {
        let mut answer = answer.clone();
        answer["description"] = description.into();
        answer
    };
    let read = |verb: &str, summary: &str| {
        json!({
            "operationId": format!("{verb}File"),
            "tags": [TAG],
            "summary": summary,
            "description": "`ETag` is the SHA-256 of the file, which `Repr-Digest` has as well. A `Range` of bytes is answered with that part; \
                            of several at once, with the whole file. Every part was checked when it left its place.",
            "parameters": [
                header("Range", "Which bytes: `bytes=0-1023`."),
                header("If-Range", "The `ETag` that the range is of; of another file, the whole is answered."),
                header("If-None-Match", "The `ETag` of what the caller has."),
                header("If-Match", "The `ETag` that the file must have."),
            ],
            "responses": {
                "200": with("The file.", &bytes),
                "206": with("A part of it.", &bytes),
                "304": { "description": "The caller has it." },
                "4XX": error(), "5XX": error(),
            },
        })
    };
    let mut kind = query("type", "string", "What the file is: see `Artifact.type`.");
    kind["example"] = "model".into();
    json!({
        "parameters": [
            namespace, model, version,
            path("path", "weights.bin", "Where the file lies in the version, whose slashes may be written as `%2F`."),
        ],
        "get": read("Download", "Returns the bytes of an artifact, or a range of them"),
        "head": read("Describe", "Returns what is known of an artifact's bytes, without them"),
        "put": {
            "operationId": "UploadFile",
            "tags": [TAG],
            "summary": "Stores one file",
            "description": "What `ArtifactService.UploadArtifact` does: the artifact exists once this returns, and an upload that breaks off \
                            leaves none. `Content-Length` or a digest announces the file, and is checked. If the path has the same bytes \
                            already, their artifact is returned as it is.",
            "parameters": [
                kind,
                query("executable", "boolean", "The file may be run."),
                query("requestId", "string", "A UUID that makes the call repeatable."),
                header("Repr-Digest", "The SHA-256 that the file has: `sha-256=:BASE64:`."),
                header("Content-Type", "The type of the file; without it, it is guessed from the path."),
            ],
            "requestBody": body(),
            "responses": answer("The artifact.", "Artifact"),
        },
    })
}
