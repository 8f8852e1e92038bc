//! What can be done about an error, by command.

use std::iter::successors;

use registry_client::pb::ErrorReason;
use registry_client::{Error, Kind, Name};

use crate::output::brief;

/// A hint at what helps, if there is one.
pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let error = successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref::<Error>())?;
    let status = error.status()?;
    match status.reason {
        ErrorReason::ResourceAlreadyExists if status.metadata.contains_key("deleted") => {
            status.resource.as_ref().map(|there| of_deleted(&there.resource_name))
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
}
