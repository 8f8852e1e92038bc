//! Bindings that count only while their condition is met.

use std::sync::Arc;
use std::time::SystemTime;

use prost::Message as _;
use registry_proto::v1 as pb;

use super::{Permission, Permissions};
use crate::rules::expression::{ACCESS, Expression};

/// The condition of a binding; `None` if it is no condition, which is never met. It was checked when the binding was made.
#[derive(Debug, Clone)]
pub(crate) struct Condition(Option<Arc<Expression>>);

impl Condition {
    pub(crate) fn of(text: &str) -> Self {
        Self(Expression::parse(text, &ACCESS).ok().map(Arc::new))
    }

    /// Whether it is met when this principal asks for a permission on a resource. What has no verdict is not met.
    pub(super) fn is_met(&self, principal: &str, permission: Permission, resource: &str, now: SystemTime) -> bool {
        let Some(expression) = &self.0 else { return false };
        let input = pb::AccessInput {
            permission: permission.name().to_owned(),
            resource: resource.to_owned(),
            principal: principal.to_owned(),
            now: Some(now.into()),
        };
        expression.matches(&input.encode_to_vec())
    }
}

/// What a member of a binding holds while its condition is met.
#[derive(Debug, Clone)]
pub(super) struct Conditional {
    pub(super) node: String,
    pub(super) permissions: Permissions,
    pub(super) condition: Condition,
}

impl Conditional {
    /// Whether it gives somebody a permission now, on a resource that is its node or lies in it.
    pub(super) fn gives(&self, principal: &str, permission: Permission, resource: &str, now: SystemTime) -> bool {
        self.permissions.has(permission) && self.condition.is_met(principal, permission, resource, now)
    }
}

/// Tells the time by which conditions are decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub(crate) fn() -> SystemTime);

impl Default for Clock {
    fn default() -> Self {
        Self(SystemTime::now)
    }
}
