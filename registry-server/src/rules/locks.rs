//! Locks: what each keeps from happening.

/// What a lock is of, and how much it forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The number of the version; `None`: the model, with all of its versions.
    pub(crate) version: Option<i64>,
    /// Only deletions and purges, and no other change.
    pub(crate) deletions_only: bool,
}

/// A change of a model or of a version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The number of the version, also if it is one of its artifacts that changes; `None`: the model itself.
    pub(crate) version: Option<i64>,
    /// Something is deleted or purged.
    pub(crate) deletes: bool,
}

impl Lock {
    /// Whether it keeps a change of its model from happening.
    pub(crate) fn forbids(self, change: Change) -> bool {
        let concerns = match (self.version, change.version) {
            (None, _) => true,
            (Some(locked), Some(changed)) => locked == changed,
            // A model takes its versions along.
            (Some(_), None) => change.deletes,
        };
        concerns && (change.deletes || !self.deletions_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_lock_forbids() {
        let (model, seven, eight) = (None, Some(7), Some(8));
        for (locked, deletions_only, changed, deletes, forbidden) in [
            (model, false, model, false, true),
            (model, false, model, true, true),
            (model, false, seven, false, true),
            (model, false, seven, true, true),
            (model, true, model, false, false),
            (model, true, model, true, true),
            (model, true, seven, false, false),
            (model, true, seven, true, true),
            (seven, false, model, false, false),
            (seven, false, model, true, true),
            (seven, false, seven, false, true),
            (seven, false, seven, true, true),
            (seven, false, eight, false, false),
            (seven, false, eight, true, false),
            (seven, true, model, false, false),
            (seven, true, model, true, true),
            (seven, true, seven, false, false),
            (seven, true, seven, true, true),
            (seven, true, eight, true, false),
        ] {
            let lock = Lock { version: locked, deletions_only };
            let change = Change { version: changed, deletes };
            assert_eq!(lock.forbids(change), forbidden, "{lock:?} {change:?}");
        }
    }
}
