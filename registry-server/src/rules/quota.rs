//! How much may be stored.

use std::collections::BTreeMap;

/// The limits that a server keeps to, in bytes. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one artifact.
    pub artifact: Option<u64>,
    /// Of all artifacts of a namespace together.
    pub namespace: Option<u64>,
    /// The same for some namespaces, by their ids, in place of the general one.
    pub namespaces: BTreeMap<String, u64>,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// One artifact is larger than any may be.
    #[error("the artifact has {asked} bytes or more, and may have at most {limit}")]
    Artifact {
        /// The most that there may be.
        limit: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A namespace would have more than it may.
    #[error("namespaces/{namespace} has {used} of at most {limit} bytes: {asked} more do not fit")]
    Namespace {
        /// The id of the namespace.
        namespace: String,
        /// The most that there may be.
        limit: u64,
        /// What there is.
        used: u64,
        /// What was asked for.
        asked: u64,
    },
}

impl Limits {
    /// The most that a namespace may have.
    pub(crate) fn of(&self, namespace: &str) -> Option<u64> {
        self.namespaces.get(namespace).copied().or(self.namespace)
    }

    /// Whether an artifact may have so many bytes.
    pub(crate) fn admit_size(&self, asked: u64) -> Result<(), Exceeded> {
        match self.artifact {
            Some(limit) if asked > limit => Err(Exceeded::Artifact { limit, asked }),
            _ => Ok(()),
        }
    }

    /// Whether a namespace that has so many bytes may have some more. None more always fit, also into one that has too many: the
    /// limit may have been lowered.
    pub(crate) fn admit(&self, namespace: &str, used: u64, asked: u64) -> Result<(), Exceeded> {
        match self.of(namespace) {
            Some(limit) if asked > 0 && used.saturating_add(asked) > limit => {
                Err(Exceeded::Namespace { namespace: namespace.to_owned(), limit, used, asked })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        let limits = |artifact, namespace| Limits { artifact, namespace, namespaces: [("risk".to_owned(), 10)].into() };
        let table = [
            // The limits, the namespace, what it has, what it is to have more, and whether both may be.
            (limits(None, None), "other", u64::MAX, u64::MAX, true, true),
            (limits(Some(5), None), "other", 9, 5, true, true),
            (limits(Some(5), None), "other", 9, 6, false, true),
            (limits(Some(0), None), "other", 0, 0, true, true),
            (limits(None, Some(20)), "other", 15, 5, true, true),
            (limits(None, Some(20)), "other", 15, 6, true, false),
            (limits(None, Some(20)), "risk", 5, 5, true, true),
            (limits(None, Some(20)), "risk", 5, 6, true, false),
            (limits(None, None), "risk", 10, 0, true, true),
            (limits(None, None), "risk", 11, 0, true, true),
            (limits(None, None), "risk", 11, 1, true, false),
            (limits(None, None), "risk", 1, u64::MAX, true, false),
            (limits(Some(1), Some(0)), "other", 0, 2, false, false),
        ];
        for (limits, namespace, used, asked, size_fits, fits) in table {
            let case = format!("{limits:?}: {asked} to {used} of {namespace}");
            assert_eq!(limits.admit_size(asked).is_ok(), size_fits, "{case}");
            assert_eq!(limits.admit(namespace, used, asked).is_ok(), fits, "{case}");
        }
    }
}
