//! Events as a table, for people and their spreadsheets.

use registry_client::pb;

use super::lines::event;
use crate::Failure;
use crate::output::time;

const HEAD: [&str; 18] = [
    "leaf",
    "revision",
    "event",
    "time",
    "actor",
    "type",
    "resource",
    "comment",
    "request_id",
    "token",
    "issuer",
    "certificate",
    "address",
    "user_agent",
    "denied_count",
    "denied_permission",
    "denied_resource",
    "denied_reason",
];

/// Rows, the first of which is the head.
pub(super) struct Table {
    begun: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { begun: false }
    }

    /// The row of a leaf. One whose event the log no longer has is nearly empty.
    pub(super) fn row(&mut self, leaf: &pb::AuditLeaf) -> Result<String, Failure> {
        let event = if leaf.event.is_empty() { pb::Event::default() } else { event(leaf)? };
        let mut rows = csv::Writer::from_writer(Vec::new());
        if !std::mem::replace(&mut self.begun, true) {
            rows.write_record(HEAD)?;
        }
        let time = time(event.create_time.as_ref());
        let (leaf, revision) = (leaf.leaf.to_string(), leaf.revision.to_string());
        let texts = [&leaf, &revision, &event.name, &time, &event.actor, &event.r#type, &event.resource_name];
        let pb::Caller { token, issuer, certificate, address, user_agent } = &event.caller.clone().unwrap_or_default();
        let told = [&event.comment, &event.request_id, token, issuer, certificate, address, user_agent];
        let pb::Denial { count, permission, resource, reason } = &event.denial.clone().unwrap_or_default();
        let count = event.denial.as_ref().map(|_| count.to_string()).unwrap_or_default();
        let denied = [&count, permission, resource, reason];
        let texts = texts.into_iter().chain(told).chain(denied);
        rows.write_record(texts.map(|text| inert(text)))?;
        Ok(String::from_utf8(rows.into_inner()?)?)
    }
}

/// A text that no spreadsheet takes for a formula (OWASP, "CSV Injection").
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn texts_stay_in_their_cells_and_are_no_formulas() {
        let event = pb::Event {
            name: "events/7-0".to_owned(),
            actor: "users/ana".to_owned(),
            caller: Some(pb::Caller { address: "::1".to_owned(), user_agent: "@x".to_owned(), ..Default::default() }),
            comment: "=HYPERLINK(\"http://evil\", \"a,b\")\nnext".to_owned(),
            ..Default::default()
        };
        let leaf = pb::AuditLeaf { leaf: 12, revision: 7, event: event.encode_to_vec().into(), ..Default::default() };
        let mut table = Table::new();
        let row =
            "12,7,events/7-0,,users/ana,,,\"'=HYPERLINK(\"\"http://evil\"\", \"\"a,b\"\")\nnext\",,,,,::1,'@x,,,,\n";
        assert_eq!(table.row(&leaf).unwrap(), format!("{}\n{row}", HEAD.join(",")));
        let denial = pb::Denial { count: 3, permission: "models.get".to_owned(), ..Default::default() };
        let denied = pb::Event { denial: Some(denial), ..Default::default() };
        let leaf = pb::AuditLeaf { leaf: 13, revision: 8, event: denied.encode_to_vec().into(), ..Default::default() };
        assert_eq!(table.row(&leaf).unwrap(), "13,8,,,,,,,,,,,,,3,models.get,,\n");
        let gone = pb::AuditLeaf { leaf: 0, revision: 1, ..Default::default() };
        assert_eq!(table.row(&gone).unwrap(), "0,1,,,,,,,,,,,,,,,,\n");
    }
}
