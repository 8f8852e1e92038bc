//! How much may be stored.

/// The limits that a server keeps to, in bytes. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one artifact.
    pub artifact: Option<u64>,
    /// Of all artifacts of a namespace together, if it has no quota of its own.
    pub namespace: Option<u64>,
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
    /// Whether an artifact may have so many bytes.
    pub(crate) fn admit_size(&self, asked: u64) -> Result<(), Exceeded> {
        match self.artifact {
            Some(limit) if asked > limit => Err(Exceeded::Artifact { limit, asked }),
            _ => Ok(()),
        }
    }
}

/// How much a namespace has and may have, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The id of the namespace.
    pub(crate) namespace: String,
    pub(crate) used: u64,
    /// `None` is no limit.
    pub(crate) limit: Option<u64>,
}

impl Quota {
    /// Whether some more fit. None more always do, also if there is too much: the limit may have been lowered.
    pub(crate) fn admit(&self, asked: u64) -> Result<(), Exceeded> {
        match self.limit {
            Some(limit) if asked > 0 && self.used.saturating_add(asked) > limit => {
                Err(Exceeded::Namespace { namespace: self.namespace.clone(), limit, used: self.used, asked })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_has_its_limit() {
        for (artifact, asked, fits) in
            [(None, u64::MAX, true), (Some(5), 5, true), (Some(5), 6, false), (Some(0), 0, true)]
        {
            let limits = Limits { artifact, namespace: Some(0) };
            assert_eq!(limits.admit_size(asked).is_ok(), fits, "{limits:?}: {asked}");
        }
    }

    #[test]
    fn what_fits_into_a_namespace() {
        let table = [
            // The limit, what there is, what is to come, and whether it may.
            (None, u64::MAX, u64::MAX, true),
            (Some(20), 15, 5, true),
            (Some(20), 15, 6, false),
            (Some(10), 10, 0, true),
            (Some(10), 11, 0, true),
            (Some(10), 11, 1, false),
            (Some(10), 1, u64::MAX, false),
            (Some(0), 0, 0, true),
            (Some(0), 0, 1, false),
        ];
        for (limit, used, asked, fits) in table {
            let quota = Quota { namespace: "risk".to_owned(), used, limit };
            assert_eq!(quota.admit(asked).is_ok(), fits, "{quota:?}: {asked}");
        }
    }
}
