//! Who calls, and what makes a change happen once.

use bytes::Bytes;
use prost::Message;
use registry_proto::rpc::Mutating;
use registry_proto::v1::ErrorReason;
use registry_proto::{ACTOR_BIN_HEADER, ACTOR_HEADER, REQUEST_ID_HEADER};
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::error::{Violations, quoted};
use crate::registry::{Intent, validate};

/// The most characters that the name of a caller has.
const CHARACTERS: usize = 256;

/// Who calls, as they say themselves.
pub(super) fn actor(headers: &MetadataMap, found: &mut Violations) -> String {
    if let Some(value) = headers.get_bin(ACTOR_BIN_HEADER) {
        let bytes = value.to_bytes().unwrap_or_default();
        let fits = |actor: &&str| !actor.is_empty() && actor.chars().count() <= CHARACTERS;
        return match str::from_utf8(&bytes).ok().filter(fits).filter(|actor| !actor.contains(char::is_control)) {
            Some(actor) => actor.to_owned(),
            None => {
                let form = format!("must be 1 to {CHARACTERS} characters in UTF-8, without control characters");
                found.invalid(ACTOR_BIN_HEADER, form);
                String::new()
            }
        };
    }
    let Some(value) = headers.get(ACTOR_HEADER) else { return "anonymous".to_owned() };
    match value.to_str() {
        Ok(actor) if !actor.is_empty() && actor.len() <= CHARACTERS => actor.to_owned(),
        _ => {
            found.invalid(ACTOR_HEADER, format!("must be 1 to {CHARACTERS} visible ASCII characters"));
            String::new()
        }
    }
}

/// The intent behind a request that changes something, from which its request id is taken.
pub(super) fn intent<Q: Mutating>(headers: &MetadataMap, message: &mut Q, found: &mut Violations) -> Intent {
    validate::comment(found, "comment", message.comment());
    let request_id = message.request_id_mut().map(std::mem::take).unwrap_or_default();
    let intent = intent_of(headers, Q::METHOD, message, &request_id, found);
    Intent { comment: message.comment().to_owned(), validate_only: message.validate_only(), ..intent }
}

/// The same, of a message that is a part of a request. Under a request id the message without it is remembered by its digest, so
/// that it is the same in the field and in the header, and who sent it: the id belongs to them.
pub(super) fn intent_of(
    headers: &MetadataMap,
    method: &str,
    message: &impl Message,
    request_id: &str,
    found: &mut Violations,
) -> Intent {
    let actor = actor(headers, found);
    let request_id = request_id_of(headers, request_id, found);
    let fingerprint = match request_id {
        None => Bytes::new(),
        Some(_) => {
            let mut hasher = Sha256::new();
            for part in [method.as_bytes(), &[0], actor.as_bytes(), &[0], &message.encode_to_vec()] {
                hasher.update(part);
            }
            Bytes::copy_from_slice(&hasher.finalize())
        }
    };
    Intent { actor, request_id, fingerprint, ..Intent::default() }
}

/// The request id in the field or, so that an interceptor can set it, in the header.
fn request_id_of(headers: &MetadataMap, field: &str, found: &mut Violations) -> Option<Uuid> {
    let header = headers.get(REQUEST_ID_HEADER).map(|value| value.to_str().unwrap_or("?"));
    let in_header = header.and_then(|id| parse_request_id(REQUEST_ID_HEADER, id, found));
    let in_field = Some(field).filter(|id| !id.is_empty());
    let in_field = in_field.and_then(|id| parse_request_id("request_id", id, found));
    if let (Some(field), Some(header)) = (in_field, in_header)
        && field != header
    {
        found.invalid("request_id", format!("is {field}, and the header {REQUEST_ID_HEADER} has {header}"));
    }
    in_field.or(in_header)
}

fn parse_request_id(field: &str, id: &str, found: &mut Violations) -> Option<Uuid> {
    match Uuid::try_parse(id) {
        Ok(id) if !id.is_nil() => Some(id),
        _ => {
            found.add(field, ErrorReason::RequestIdInvalid, format!("{} is not a UUID", quoted(id)));
            None
        }
    }
}
