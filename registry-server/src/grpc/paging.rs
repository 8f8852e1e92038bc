//! Page sizes, page tokens and orders of lists (AIP-132, AIP-158).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::stored::PageToken;

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;
const QUERY_BYTES: usize = 8;

/// How many items to answer.
pub(super) fn size(page_size: i32) -> Result<usize, Error> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(MAX_SIZE)),
        Err(_) => Err(Error::field("page_size", ErrorReason::FieldInvalid, "must not be negative")),
    }
}

/// Ties page tokens to the query they came from.
pub(super) struct Query(Bytes);

impl Query {
    /// The query of a request, in which the page's size and token were cleared.
    pub(super) fn new(method: &str, request: &impl Message) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(method);
        hasher.update(request.encode_to_vec());
        Self(Bytes::copy_from_slice(&hasher.finalize()[..QUERY_BYTES]))
    }

    /// The token of the page behind a position.
    pub(super) fn token(&self, position: &[u8]) -> String {
        let token = PageToken { query: self.0.clone(), position: Bytes::copy_from_slice(position) };
        URL_SAFE_NO_PAD.encode(token.encode_to_vec())
    }

    /// The position in a token; `None` for the first page.
    pub(super) fn position(&self, token: &str) -> Result<Option<Vec<u8>>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let invalid = |why: &str| Error::field("page_token", ErrorReason::PageTokenInvalid, why);
        let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| PageToken::decode(bytes.as_slice()).ok());
        let token = decoded.ok_or_else(|| invalid("is not a page token"))?;
        if token.query != self.0 {
            return Err(invalid("came from a list with other parameters: begin again without a token"));
        }
        Ok(Some(token.position.to_vec()))
    }
}

/// Which of the fields a list is ordered by, and whether from the last to the first. Empty means the first field.
pub(super) fn order<'a>(order_by: &str, fields: &[&'a str]) -> Result<(&'a str, bool), Error> {
    let (field, reverse) = match order_by.trim().split_once(char::is_whitespace) {
        Some((field, direction)) if direction.trim() == "desc" => (field, true),
        Some((field, direction)) if direction.trim() == "asc" => (field, false),
        _ => (order_by.trim(), false),
    };
    let known = fields.iter().find(|known| **known == field || (field.is_empty() && **known == fields[0]));
    known.map(|known| (*known, reverse)).ok_or_else(|| {
        let choice = format!("{order_by:?}: order by {}, each also with \" desc\"", fields.join(" or "));
        Error::field("order_by", ErrorReason::FieldInvalid, choice)
    })
}

#[cfg(test)]
mod tests {
    use registry_proto::v1::ListModelsRequest;

    use super::*;

    #[test]
    fn orders() {
        let fields = ["name", "create_time"];
        for (order_by, expected) in [
            ("", ("name", false)),
            ("name", ("name", false)),
            ("name desc", ("name", true)),
            (" create_time  desc ", ("create_time", true)),
            ("create_time asc", ("create_time", false)),
        ] {
            assert_eq!(order(order_by, &fields).unwrap(), expected, "{order_by:?}");
        }
        for order_by in ["size", "name down", "name, create_time", "desc", "name desc desc"] {
            assert!(order(order_by, &fields).is_err(), "{order_by:?}");
        }
    }

    #[test]
    fn a_token_fits_its_own_query_only() {
        let request = |parent: &str| ListModelsRequest { parent: parent.to_owned(), ..Default::default() };
        let query = Query::new("ListModels", &request("namespaces/a"));
        let token = query.token(b"position");
        assert_eq!(query.position(&token).unwrap().as_deref(), Some(b"position".as_slice()));
        assert_eq!(query.position("").unwrap(), None);
        assert!(Query::new("ListModels", &request("namespaces/b")).position(&token).is_err());
        assert!(Query::new("ListVersions", &request("namespaces/a")).position(&token).is_err());
        assert!(query.position("!").is_err());
        assert!(query.position("AAAA").is_err());
    }
}
