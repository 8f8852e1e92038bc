//! What may be deleted, and what pruning may take.

use std::time::SystemTime;

/// What matters about a version when something wants to delete it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its stage is PRODUCTION.
    pub(crate) in_production: bool,
    /// Its stage is STAGING.
    pub(crate) in_staging: bool,
    /// An alias that somebody set points at it. The computed ones don't count: they move on by themselves.
    pub(crate) aliased: bool,
    /// It is still being filled, as far as is known.
    pub(crate) pending: bool,
    /// It is deleted already.
    pub(crate) deleted: bool,
}

/// Why the version can't be deleted without force, as the end of a sentence that begins with its name.
///
/// Staging does not protect from a deletion that names the version: somebody chose it. Pruning chooses by age alone and
/// is more careful: see [`prunable`].
pub(crate) fn protected_from_deletion(standing: &Standing) -> Option<&'static str> {
    if standing.in_production {
        Some("is in production")
    } else if standing.aliased {
        Some("carries an alias")
    } else {
        None
    }
}

/// Why the version can't be withdrawn without force, as the end of a sentence that begins with its name. Unlike a deletion, a withdrawal
/// says that nobody should use the version: whoever tries it out in staging has to hear of it.
pub(crate) fn protected_from_withdrawal(standing: &Standing) -> Option<&'static str> {
    protected_from_deletion(standing).or_else(|| standing.in_staging.then_some("is in staging"))
}

/// Whether pruning may delete the version: nobody serves it, tests it, points at it or is filling it.
pub(crate) fn prunable(standing: &Standing) -> bool {
    let Standing { in_production, in_staging, aliased, pending, deleted } = *standing;
    !(in_production || in_staging || aliased || pending || deleted)
}

/// Whether a PENDING version is filled by nobody any more, if that is so of those that changed last before a time.
pub(crate) fn abandoned(changed: Option<SystemTime>, before: Option<SystemTime>) -> bool {
    changed.zip(before).is_some_and(|(changed, before)| changed < before)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_stands_in_the_way() {
        let none = Standing::default();
        let table = [
            (none, None, true),
            (Standing { in_production: true, ..none }, Some("is in production"), false),
            (Standing { in_staging: true, ..none }, None, false),
            (Standing { aliased: true, ..none }, Some("carries an alias"), false),
            (Standing { pending: true, ..none }, None, false),
            (Standing { deleted: true, ..none }, None, false),
            (Standing { in_production: true, aliased: true, ..none }, Some("is in production"), false),
            (Standing { in_staging: true, aliased: true, ..none }, Some("carries an alias"), false),
        ];
        for (standing, protected, prune) in table {
            assert_eq!(protected_from_deletion(&standing), protected, "{standing:?}");
            let staging = standing.in_staging.then_some("is in staging");
            assert_eq!(protected_from_withdrawal(&standing), protected.or(staging), "{standing:?}");
            assert_eq!(prunable(&standing), prune, "{standing:?}");
        }
    }

    #[test]
    fn only_who_asks_for_it_takes_a_version_for_abandoned() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (changed, before, expected) in [
            (at(5), None, false),
            (at(5), at(6), true),
            (at(6), at(6), false),
            (at(7), at(6), false),
            (None, at(6), false),
        ] {
            assert_eq!(abandoned(changed, before), expected, "{changed:?} {before:?}");
        }
    }

    #[test]
    fn what_is_protected_is_never_pruned() {
        for bits in 0_u8..32 {
            let bit = |at: u8| bits & (1 << at) != 0;
            let standing = Standing {
                in_production: bit(0),
                in_staging: bit(1),
                aliased: bit(2),
                pending: bit(3),
                deleted: bit(4),
            };
            assert!(!prunable(&standing) || protected_from_deletion(&standing).is_none(), "{standing:?}");
        }
    }
}
