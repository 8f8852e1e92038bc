//! What can be done about an error, by command.

use std::iter::successors;

use registry_client::pb::ErrorReason;
use registry_client::{Error, Kind, Name, StatusError};

use crate::output::brief;

/// A hint at what helps, if there is one.
pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref::<Error>())?;
    of_status(error.status()?)
}

fn of_status(status: &StatusError) -> Option<String> {
    match status.reason {
        ErrorReason::ResourceAlreadyExists if status.metadata.contains_key("deleted") => {
            status.resource.as_ref().map(|there| of_deleted(&there.resource_name))
        }
        ErrorReason::RevisionCompacted => Some(
            "what was dropped from the log is in the archive: `registry-server restore --from ARCHIVE --revision N` makes a registry \
             of any revision"
                .to_owned(),
        ),
        ErrorReason::TokenMissing => {
            let shown = "show a token: --token-file FILE, its secret in the variable MODEL_REGISTRY_TOKEN, or `registryctl login`";
            Some(shown.to_owned())
        }
        ErrorReason::TokenExpired => {
            Some("if it is that of `registryctl login`: log in again; otherwise show another one".to_owned())
        }
        ErrorReason::ResourceDeleted => status.metadata.get("name").map(|name| of_deleted(name)),
        _ => None,
    }
}

/// What brings a deleted resource back, and what frees its name.
pub(crate) fn of_deleted(name: &str) -> String {
    let short = brief(name);
    match name.parse::<Name>().ok().map(|name| name.kind()) {
        Some(Kind::Model) => format!(
            "it is deleted: `registryctl undelete {short}` brings it back, `registryctl purge {short}` gives it up for good and \
             frees its name"
        ),
        Some(Kind::Version) => format!(
            "it is deleted: `registryctl undelete {short}` brings it back, `registryctl purge {short}` gives it up for good and \
             frees its version id"
        ),
        _ => format!("it is deleted: `registryctl undelete {short}` brings it back"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_deleted_can_be_brought_back_or_given_up() {
        for (name, purge) in [
            ("namespaces/default/models/fraud", "purge fraud`"),
            ("namespaces/risk/models/fraud/versions/1.4.0", "purge namespaces/risk/models/fraud/versions/1.4.0`"),
            ("namespaces/risk", ""),
        ] {
            let hint = of_deleted(name);
            assert!(hint.contains("`registryctl undelete ") && hint.contains(purge), "{hint}");
            assert_eq!(hint.contains("purge"), !purge.is_empty(), "{hint}");
        }
    }

    #[test]
    fn what_was_dropped_from_the_log_is_in_the_archive() {
        let refused = |reason| StatusError {
            code: tonic::Code::OutOfRange,
            reason,
            message: String::new(),
            violations: Vec::new(),
            failed_gates: Vec::new(),
            resource: None,
            metadata: BTreeMap::new(),
            retry_after: None,
        };
        let hint = of_status(&refused(ErrorReason::RevisionCompacted)).unwrap();
        assert!(hint.contains("`registry-server restore --from ARCHIVE --revision N`"), "{hint}");
        assert_eq!(of_status(&refused(ErrorReason::RevisionUnknown)), None);
    }
}
