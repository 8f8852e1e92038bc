//! Page sizes, page tokens and orders of lists (AIP-132, AIP-158).

use crate::stored::PageToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use registry_proto::rpc::Paged;
use registry_proto::v1::ErrorReason;
use sha2::{Digest, Sha256};

use crate::error::{Violations, quoted};
use crate::rules::expression::did_you_mean;
use crate::rules::expression::{Named, Sorting, Subject};

const QUERY_BYTES: usize = 8;

/// How long the pages of a list are.
pub(super) struct Sizes {
    /// If the request says nothing.
    pub(super) default: usize,
    /// If it asks for more.
    pub(super) most: usize,
}

impl Sizes {
    /// How many items to return, as a field has it.
    pub(super) fn of(&self, field: &str, asked: i32, found: &mut Violations) -> usize {
        match usize::try_from(asked) {
            Ok(0) => self.default,
            Ok(size) => size.min(self.most),
            Err(_) => {
                found.invalid(field, "must not be negative");
                0
            }
        }
    }
}

/// Ties page tokens to the query they came from.
pub(super) struct Query(Bytes);

impl Query {
    /// The query of a request, in which the page's size and token were cleared.
    pub(super) fn of<Q: Paged>(request: &Q) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(Q::METHOD);
        hasher.update(request.encode_to_vec());
        Self(Bytes::copy_from_slice(&hasher.finalize()[..QUERY_BYTES]))
    }

    /// The token of the page after a position.
    pub(super) fn token(&self, position: &[u8]) -> String {
        let token = PageToken { query: self.0.clone(), position: Bytes::copy_from_slice(position) };
        URL_SAFE_NO_PAD.encode(token.encode_to_vec())
    }

    /// The position in a token; `None` for the first page.
    pub(super) fn position(&self, token: &str, found: &mut Violations) -> Option<Vec<u8>> {
        if token.is_empty() {
            return None;
        }
        let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| PageToken::decode(bytes.as_slice()).ok());
        let why = match decoded {
            Some(token) if token.query == self.0 => return Some(token.position.to_vec()),
            Some(_) => "came from a list with other parameters: begin again without a token",
            None => "is not a page token",
        };
        found.add("page_token", ErrorReason::PageTokenInvalid, why);
        None
    }
}

/// By how many values a list is ordered at most.
const SORTINGS: usize = 8;

/// A field or value to order by, and whether from the last to the first.
fn directed(order_by: &str) -> (&str, bool) {
    match order_by.trim().rsplit_once(char::is_whitespace) {
        Some((field, "desc")) => (field.trim(), true),
        Some((field, "asc")) => (field.trim(), false),
        _ => (order_by.trim(), false),
    }
}

/// The values that a list is ordered by, if it is by others than these fields, which it has an order of its own for.
pub(super) fn sortings(order_by: &str, fields: &[&str], of: &Subject, found: &mut Violations) -> Option<Vec<Sorting>> {
    let (field, _) = directed(order_by);
    if field.is_empty() || fields.contains(&field) {
        return None;
    }
    if order_by.split(',').count() > SORTINGS {
        found.invalid("order_by", format!("has more than {SORTINGS} values"));
        return Some(Vec::new());
    }
    let sorting = |part: &str| {
        let (text, descending) = directed(part);
        let named = Named::parse(text, of);
        let named = named.map_err(|fault| found.invalid("order_by", format!("{}: {fault}", quoted(text)))).ok()?;
        Some(Sorting { path: named.path, descending })
    };
    Some(order_by.split(',').filter_map(sorting).collect())
}

/// Which of the fields a list is ordered by, and whether from the last to the first. Empty means the first field.
pub(super) fn order(order_by: &str, fields: &'static [&'static str], found: &mut Violations) -> (&'static str, bool) {
    let (field, reverse) = directed(order_by);
    let first = fields.first().copied().unwrap_or_default();
    match fields.iter().find(|known| **known == field) {
        Some(known) => (known, reverse),
        None if field.is_empty() => (first, reverse),
        None => {
            let hint = did_you_mean(field, fields);
            let known = fields.join(" or ");
            found
                .invalid("order_by", format!("{}: order by {known}, each also with \" desc\"{hint}", quoted(order_by)));
            (first, reverse)
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_proto::v1::{ListModelsRequest, ListVersionsRequest};

    use super::*;

    #[test]
    fn orders() {
        let order = |order_by: &str| {
            let mut found = Violations::default();
            let order = order(order_by, &["name", "create_time"], &mut found);
            found.unless_any(Some(order)).ok()
        };
        for (order_by, expected) in [
            ("", ("name", false)),
            ("name", ("name", false)),
            ("name desc", ("name", true)),
            (" create_time  desc ", ("create_time", true)),
            ("create_time asc", ("create_time", false)),
        ] {
            assert_eq!(order(order_by), Some(expected), "{order_by:?}");
        }
        for order_by in ["size", "name down", "name, create_time", "desc", "name desc desc"] {
            assert_eq!(order(order_by), None, "{order_by:?}");
        }
        for (order_by, hint) in [("creat_time desc", "; did you mean \"create_time\"?"), ("size", "\" desc\"")] {
            let mut found = Violations::default();
            super::order(order_by, &["name", "create_time"], &mut found);
            let error = found.check().unwrap_err().to_string();
            assert!(error.ends_with(hint), "{error}");
        }
    }

    #[test]
    fn a_token_fits_its_own_query_only() {
        let request = |parent: &str| ListModelsRequest { parent: parent.to_owned(), ..Default::default() };
        let position = |query: &Query, token: &str| {
            let mut found = Violations::default();
            let position = query.position(token, &mut found);
            found.unless_any(Some(position)).ok()
        };
        let query = Query::of(&request("namespaces/a"));
        let token = query.token(b"position");
        assert_eq!(position(&query, &token), Some(Some(b"position".to_vec())));
        assert_eq!(position(&query, ""), Some(None));
        assert_eq!(position(&Query::of(&request("namespaces/b")), &token), None);
        let versions = ListVersionsRequest { parent: "namespaces/a".to_owned(), ..Default::default() };
        assert_eq!(position(&Query::of(&versions), &token), None);
        assert_eq!(position(&query, "!"), None);
        assert_eq!(position(&query, "AAAA"), None);
    }
}
