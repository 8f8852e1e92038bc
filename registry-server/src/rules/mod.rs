//! The rules of the registry, as pure code: no I/O, no async, no wire types. (Conditions are over the contract's messages: `expression`
//! reads them where they are, in the bytes of a record.)
//!
//! What a name looks like, what a stage change means, which of two metrics is the better one and what may be
//! deleted is decided here and nowhere else. The handlers convert from the wire and back; a store holds no rules.

pub(crate) mod access;
pub(crate) mod approvals;
pub(crate) mod artifacts;
pub(crate) mod certificates;
pub(crate) mod checks;
pub(crate) mod compare;
pub(crate) mod denials;
pub(crate) mod exposure;
pub(crate) mod expression;
pub(crate) mod forgetting;
pub(crate) mod garbage;
pub(crate) mod gates;
pub(crate) mod identity;
pub(crate) mod instances;
pub(crate) mod leases;
pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod quota;
pub(crate) mod retention;
pub(crate) mod signatures;
pub(crate) mod stages;
pub(crate) mod tokens;
pub(crate) mod windows;
