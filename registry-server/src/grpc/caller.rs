//! Who calls, and what makes a change happen once.

use bytes::Bytes;
use prost::Message;
use registry_proto::ACTOR_HEADER;
use registry_proto::rpc::Mutating;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::error::Violations;
use crate::registry::{Intent, validate};

/// Who calls, as they say themselves.
pub(super) fn actor(headers: &MetadataMap, found: &mut Violations) -> String {
    const CHARACTERS: usize = 256;
    let Some(value) = headers.get(ACTOR_HEADER) else { return "anonymous".to_owned() };
    match value.to_str() {
        Ok(actor) if !actor.is_empty() && actor.len() <= CHARACTERS => actor.to_owned(),
        _ => {
            found.invalid(ACTOR_HEADER, format!("must be 1 to {CHARACTERS} visible ASCII characters"));
            String::new()
        }
    }
}

/// The intent behind a request that changes something.
pub(super) fn intent<Q: Mutating>(headers: &MetadataMap, message: &Q, found: &mut Violations) -> Intent {
    validate::comment(found, "comment", message.comment());
    let intent = intent_of(headers, Q::METHOD, message, message.request_id(), found);
    Intent { comment: message.comment().to_owned(), validate_only: message.validate_only(), ..intent }
}

/// The same, of a message that is a part of a request. Under a request id the whole message is remembered by its digest, and who
/// sent it: the id belongs to them.
pub(super) fn intent_of(
    headers: &MetadataMap,
    method: &str,
    message: &impl Message,
    request_id: &str,
    found: &mut Violations,
) -> Intent {
    let actor = actor(headers, found);
    let request_id = parse_request_id(request_id, found);
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

fn parse_request_id(id: &str, found: &mut Violations) -> Option<Uuid> {
    if id.is_empty() {
        return None;
    }
    match Uuid::try_parse(id) {
        Ok(id) if !id.is_nil() => Some(id),
        _ => {
            found.add("request_id", ErrorReason::RequestIdInvalid, format!("{id:?} is not a UUID"));
            None
        }
    }
}
