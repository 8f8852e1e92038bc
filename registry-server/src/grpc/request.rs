//! What all requests have in common.

use bytes::Bytes;
use prost::Message;
use registry_proto::ACTOR_HEADER;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::error::Error;
use crate::registry::Order;

/// Who calls, as they say themselves.
fn actor(metadata: &MetadataMap) -> Result<String, Error> {
    const CHARACTERS: usize = 256;
    let Some(value) = metadata.get(ACTOR_HEADER) else { return Ok("anonymous".to_owned()) };
    match value.to_str() {
        Ok(actor) if !actor.is_empty() && actor.len() <= CHARACTERS => Ok(actor.to_owned()),
        _ => Err(Error::field(
            ACTOR_HEADER,
            ErrorReason::FieldInvalid,
            format!("must be 1 to {CHARACTERS} visible ASCII characters"),
        )),
    }
}

/// The order behind a request that is more than one change.
pub(super) fn plain_order(metadata: &MetadataMap) -> Result<Order, Error> {
    Ok(Order { actor: actor(metadata)?, ..Order::default() })
}

/// The order behind a mutation's request. Under a request id the whole request is remembered by its digest.
pub(super) fn order(
    metadata: &MetadataMap,
    method: &str,
    request: &impl Message,
    request_id: &str,
    validate_only: bool,
) -> Result<Order, Error> {
    let request_id = parse_request_id("request_id", request_id)?;
    let fingerprint = match request_id {
        None => Bytes::new(),
        Some(_) => {
            let mut hasher = Sha256::new();
            hasher.update(method);
            hasher.update(request.encode_to_vec());
            Bytes::copy_from_slice(&hasher.finalize())
        }
    };
    Ok(Order { actor: actor(metadata)?, request_id, fingerprint, comment: String::new(), validate_only })
}

fn parse_request_id(field: &str, id: &str) -> Result<Option<Uuid>, Error> {
    if id.is_empty() {
        return Ok(None);
    }
    match Uuid::try_parse(id) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => Err(Error::field(field, ErrorReason::RequestIdInvalid, format!("{id:?} is not a UUID"))),
    }
}

/// Two checks as one: if both fail, the caller hears of the fields of both.
pub(super) fn both<A, B>(first: Result<A, Error>, second: Result<B, Error>) -> Result<(A, B), Error> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(Error::Invalid(mut found)), Err(Error::Invalid(more))) => {
            found.extend(more);
            Err(Error::Invalid(found))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The name in a field.
pub(super) fn name<T>(field: &str, parsed: Result<T, crate::rules::names::NameError>) -> Result<T, Error> {
    parsed.map_err(|error| Error::field(field, ErrorReason::NameInvalid, error))
}

/// A part of the request that can't be left out.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::field(field, ErrorReason::FieldRequired, "is required"))
}

/// Filters are refused, not ignored, until they are understood.
pub(super) fn no_filter(filter: &str) -> Result<(), Error> {
    if filter.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported("filter: this server does not evaluate filters".to_owned()))
}
