//! Files in parts, and by addresses of their own: `mlflow-artifacts/mpu/...` and `mlflow-artifacts/presigned/...`.
//!
//! The addresses are those of the registry's own files. What its client sends there has no credentials but those that it was told to send:
//! it gets back its own.

use std::collections::BTreeMap;

use http::Method;
use http::header::AUTHORIZATION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use registry_proto::v1 as pb;
use serde_json::{Value, json};
use uuid::Uuid;

use super::args::Args;
use super::caller::Caller;
use super::error::Error;
use super::files::{Place, TYPE, decoded};
use crate::files::EMPTY;

/// How many parts a file may have.
const MOST: i64 = 10_000;
/// How long an answer may be, in bytes.
const ANSWER: usize = 4 << 20;
/// And what the address of a part adds to what is in it.
const ADDRESS: usize = 200;
/// What may stand in the path of an address as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'/');

/// A call about a file in parts: of what, and where the folder of the file is.
pub(super) async fn call(caller: &Caller, what: &str, folder: &str, args: &Args) -> Result<Value, Error> {
    // What a client has as the path of the file on its disk is its name here.
    let given = args.required("path")?;
    let file = given.rsplit(['/', '\\']).next().filter(|file| !file.is_empty());
    let file =
        file.ok_or_else(|| Error::invalid(format_args!("'path' must end with the name of a file, got '{given}'")))?;
    let place = Place::of_file(caller, &format!("{}/{file}", decoded(folder)?.trim_end_matches('/')))?;
    place.check(caller).await?;
    match what {
        "create" => create(caller, place, args).await,
        "complete" => complete(caller, place, args).await,
        // Parts of which no file is made go by themselves.
        _ => Ok(json!({})),
    }
}

/// Where the parts are to be sent, if the file can be made.
async fn create(caller: &Caller, place: Place, args: &Args) -> Result<Value, Error> {
    let count = args.number("num_parts")?.unwrap_or(1);
    if !(1..=MOST).contains(&count) {
        return Err(Error::invalid(format_args!("'num_parts' must be 1 to {MOST}, got {count}")));
    }
    // A caller's credentials are answered once for each part.
    let headers = credentials(caller);
    let each = headers.to_string().len() + place.version.len() + ADDRESS;
    let most = ANSWER / each;
    if usize::try_from(count).is_ok_and(|count| count > most) {
        return Err(Error::invalid(format_args!(
            "'num_parts' must be at most {most} with credentials as long as these, got {count}: let MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE be larger"
        )));
    }
    let version = place.version.clone();
    let trial = pb::CreateArtifactRequest { validate_only: true, ..place.to_create() };
    caller.call(&trial).await?;
    let id = Uuid::new_v4();
    let credentials: Vec<_> = (1..=count)
        .map(|number| {
            let url = address(caller, &format!("{version}/uploads/{id}/parts/{number}"));
            json!({ "url": url, "part_number": number, "headers": headers })
        })
        .collect();
    Ok(json!({ "upload_id": id.to_string(), "credentials": credentials }))
}

/// Makes a file of its parts.
async fn complete(caller: &Caller, place: Place, args: &Args) -> Result<Value, Error> {
    let given = args.objects("parts")?;
    let upload_id = args.required("upload_id")?;
    let numbers = given.iter().map(|part| part.get("part_number").and_then(Value::as_i64));
    if given.is_empty() || !(1..).zip(numbers).all(|(at, number)| number == Some(at)) {
        return Err(Error::invalid("'parts' must have the 'part_number's from 1 on, without a gap"));
    }
    let parent = place.version.clone();
    let list = pb::ListPartsRequest { parent, upload_id: upload_id.clone(), ..Default::default() };
    let stored: BTreeMap<_, _> = caller.all(list).await?.into_iter().map(|part| (part.number, part)).collect();
    for (number, part) in (1..).zip(&given) {
        let etag = part.get("etag").and_then(Value::as_str).unwrap_or_default().trim_matches('"');
        // One that is missing is told by the service.
        if stored.get(&number).is_some_and(|part| !etag.is_empty() && etag != part.sha256) {
            return Err(Error::invalid(format_args!("Part {number} is another one than that with the etag {etag}")));
        }
    }
    let part_count = i32::try_from(given.len()).unwrap_or(i32::MAX);
    let mut create = pb::CreateArtifactRequest { upload_id, part_count, ..place.to_create() };
    if let Some(artifact) = &mut create.artifact {
        // What its client has said is that these are all.
        artifact.size_bytes =
            stored.values().filter(|part| part.number <= part_count).map(|part| part.size_bytes).sum();
        artifact.sha256 = if artifact.size_bytes == 0 { EMPTY.to_owned() } else { String::new() };
    }
    caller.call(&create).await?;
    Ok(json!({}))
}

/// Where a file can be had, in ranges.
pub(super) async fn presigned(caller: &Caller, path: &str) -> Result<Value, Error> {
    let place = Place::of_file(caller, &decoded(path)?)?;
    place.check(caller).await?;
    let name = format!("{}/artifacts/{}", place.version, place.path);
    let artifact = caller.call(&pb::GetArtifactRequest { name, ..Default::default() }).await?;
    let url = address(caller, &format!("{}/files/{}", place.version, place.path));
    Ok(json!({ "url": url, "headers": credentials(caller), "file_size": artifact.size_bytes }))
}

impl Place {
    /// What makes the file there, but for its bytes.
    fn to_create(&self) -> pb::CreateArtifactRequest {
        let artifact = pb::Artifact { path: self.path.clone(), r#type: TYPE.to_owned(), ..Default::default() };
        pb::CreateArtifactRequest { parent: self.version.clone(), artifact: Some(artifact), ..Default::default() }
    }
}

/// Whether there is such a call.
pub(super) fn of<'p>(method: &Method, path: &'p str) -> Option<(&'p str, &'p str)> {
    let (what, folder) = path.strip_prefix("mpu/")?.split_once('/')?;
    (method == Method::POST && ["create", "complete", "abort"].contains(&what)).then_some((what, folder))
}

fn address(caller: &Caller, name: &str) -> String {
    format!("{}/v1/{}", caller.root, utf8_percent_encode(name, &PLAIN))
}

/// What the caller proved to be who it is with.
fn credentials(caller: &Caller) -> Value {
    match caller.parts.headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok()) {
        Some(given) => json!({ "Authorization": given }),
        None => json!({}),
    }
}
