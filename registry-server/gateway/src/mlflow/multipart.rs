//! Files in parts, and by addresses of their own: `mlflow-artifacts/mpu/...` and `mlflow-artifacts/presigned/...`.
//!
//! The addresses are those of the registry's own files. What its client sends there has no credentials but those that it was told to send:
//! it gets back its own.

use http::Method;
use http::header::AUTHORIZATION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use registry_proto::v1 as pb;
use serde_json::{Value, json};
use uuid::Uuid;

use super::args::Args;
use super::caller::Caller;
use super::error::Error;
use super::files::{Place, TYPE};

/// How many parts a file may have.
const MOST: i64 = 10_000;
/// What may stand in the path of an address as it is.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'/');

/// A call about a file in parts: of what, and where the folder of the file is.
pub(super) async fn call(caller: &Caller, what: &str, folder: &str, args: &Args) -> Result<Value, Error> {
    // What a client has as the path of the file on its disk is its name here.
    let given = args.required("path")?;
    let file = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let place = Place::of_file(caller, &format!("{folder}/{file}"))?;
    place.check(caller).await?;
    match what {
        "create" => create(caller, &place, args),
        "complete" => complete(caller, &place, args).await,
        // Parts of which no file is made go by themselves.
        _ => Ok(json!({})),
    }
}

/// Where the parts are to be sent.
fn create(caller: &Caller, place: &Place, args: &Args) -> Result<Value, Error> {
    let count = args.number("num_parts")?.unwrap_or(1);
    if !(1..=MOST).contains(&count) {
        return Err(Error::invalid(format_args!("'num_parts' must be 1 to {MOST}, got {count}")));
    }
    let id = Uuid::new_v4();
    let credentials: Vec<_> = (1..=count)
        .map(|number| {
            let url = address(caller, &format!("{}/uploads/{id}/parts/{number}", place.version));
            json!({ "url": url, "part_number": number, "headers": credentials(caller) })
        })
        .collect();
    Ok(json!({ "upload_id": id.to_string(), "credentials": credentials }))
}

/// Makes a file of its parts.
async fn complete(caller: &Caller, place: &Place, args: &Args) -> Result<Value, Error> {
    let numbers = args.numbers_of("parts", "part_number")?;
    if !(1..).zip(&numbers).all(|(at, number)| at == *number) || numbers.is_empty() {
        return Err(Error::invalid("'parts' must be numbered from 1, without a gap"));
    }
    let create = pb::CreateArtifactRequest {
        parent: place.version.clone(),
        artifact: Some(pb::Artifact { path: place.path.clone(), r#type: TYPE.to_owned(), ..Default::default() }),
        upload_id: args.required("upload_id")?,
        part_count: i32::try_from(numbers.len()).unwrap_or(i32::MAX),
        ..Default::default()
    };
    caller.call(&create).await?;
    Ok(json!({}))
}

/// Where a file can be had, in ranges.
pub(super) async fn presigned(caller: &Caller, path: &str) -> Result<Value, Error> {
    let place = Place::of_file(caller, path)?;
    place.check(caller).await?;
    let name = format!("{}/artifacts/{}", place.version, place.path);
    let artifact = caller.call(&pb::GetArtifactRequest { name, ..Default::default() }).await?;
    let url = address(caller, &format!("{}/files/{}", place.version, place.path));
    Ok(json!({ "url": url, "headers": credentials(caller), "file_size": artifact.size_bytes }))
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
