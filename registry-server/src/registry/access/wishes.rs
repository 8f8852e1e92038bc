//! Callers, what their calls need, and what they see.

use std::sync::Arc;
use std::time::SystemTime;

use super::came::Came;
use super::guard::{Current, Guard};
use crate::error::Error;
use crate::rules::access::{Access, Bearer, Permission, Permissions, SERVER, is_by_tags, node_of};
use crate::rules::names::BINDINGS;
use crate::rules::tokens::masked;

/// By what somebody has shown who they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Credential {
    /// A token of the registry, by its id.
    Token(Arc<str>),
    /// A JSON Web Token.
    Jwt {
        /// The URL of its issuer.
        issuer: Arc<str>,
    },
    /// A certificate, when they connected.
    Certificate {
        /// The name in it that is theirs.
        name: Arc<str>,
    },
}

/// Somebody whose token or certificate was good when they called.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) credential: Credential,
    pub(crate) bearer: Arc<Bearer>,
    /// When that ends.
    pub(crate) expires: Option<SystemTime>,
    pub(crate) came: Came,
}

/// What somebody has to be allowed.
#[derive(Debug, Clone)]
pub(crate) enum Need {
    /// A permission on a namespace, a model or the server.
    One(Permission, String),
    /// A permission on what the binding with this name is on, as it is when that is decided.
    OnBound(Permission, String),
    /// All permissions of a role on a resource: who gives it to others has them.
    Role(String, String),
    /// The same of the role of a binding, on what that is on.
    RoleBound(String),
    /// All that the group with this name has: who puts somebody into it gives that.
    Group(String),
    /// These permissions, and all that the role with this name has, on the server.
    All(Permissions, String),
}

impl Need {
    /// A permission on something with this name.
    pub(crate) fn on(permission: Permission, name: &str) -> Self {
        match name.strip_prefix(BINDINGS.segment).is_some_and(|rest| rest.starts_with('/')) {
            true => Self::OnBound(permission, name.to_owned()),
            false => Self::One(permission, node_of(name).into_owned()),
        }
    }

    fn check(&self, bearer: &Bearer, access: &Access) -> Result<(), Error> {
        let bound = |name: &str| {
            access.binding(name).map_or((Permissions::default(), SERVER), |bound| {
                (access.role(&bound.role).unwrap_or_default(), bound.resource.as_str())
            })
        };
        let one = |permission: Permission, resource: &str| match bearer.may(access, permission, resource) {
            true => Ok(()),
            false => Err(denied(permission, resource)),
        };
        let (wanted, resource) = match self {
            Self::One(permission, resource) => return one(*permission, resource),
            Self::OnBound(permission, name) => return one(*permission, bound(name).1),
            Self::Role(role, resource) => (access.role(role).unwrap_or_default(), resource.as_str()),
            Self::Group(name) => {
                let lacks = |(resource, held): (&str, Permissions)| {
                    let lacking = held.first_beyond(bearer.permissions(access, resource))?;
                    Some(denied(lacking, resource))
                };
                return access.held_of(name).find_map(lacks).map_or(Ok(()), Err);
            }
            Self::RoleBound(name) => bound(name),
            Self::All(all, role) => (all.and(access.role(role).unwrap_or_default()), SERVER),
        };
        match wanted.first_beyond(bearer.permissions(access, resource)) {
            None => Ok(()),
            Some(permission) => Err(denied(permission, resource)),
        }
    }
}

/// The error of a permission that a caller lacks.
pub(crate) fn denied(permission: Permission, resource: &str) -> Error {
    let resource = if is_by_tags(resource) { SERVER } else { resource };
    Error::Denied { permission: permission.name(), resource: masked(resource).into_owned() }
}

/// A caller, and what their call needs: decided when it comes in and, if it changes something, where that is decided.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) caller: Arc<Caller>,
    pub(crate) needs: Vec<Need>,
}

impl Wish {
    /// Fails if they may not.
    pub(crate) fn check(&self, current: &Current) -> Result<(), Error> {
        current.check(&self.caller)?;
        self.needs.iter().try_for_each(|need| need.check(&self.caller.bearer, &current.access))
    }

    /// Whether a caller may see something of all that they ask for.
    pub(crate) fn sees_some(&self, current: &Current) -> bool {
        self.needs.iter().all(|need| match need {
            Need::One(permission, resource) => self.caller.bearer.may_some(&current.access, *permission, resource),
            _ => false,
        })
    }
}

/// What somebody sees of what is listed or watched: that on which they have a permission.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    guard: Guard,
    caller: Arc<Caller>,
    permission: Permission,
}

impl Seen {
    pub(super) fn new(guard: Guard, caller: Arc<Caller>, permission: Permission) -> Self {
        Self { guard, caller, permission }
    }

    /// Whether they see something with this name.
    pub(crate) fn sees(&self, name: &str) -> bool {
        let current = self.guard.current();
        self.caller.bearer.may(&current.access, self.permission, &current.node_of(name))
    }

    /// Whether they see the events of something with this name. Those of bindings are the server's, as those of tokens and roles are.
    pub(crate) fn sees_events_of(&self, name: &str) -> bool {
        self.caller.bearer.may(&self.guard.current().access, self.permission, &node_of(name))
    }

    /// The error of what can't be answered in part.
    pub(crate) fn denied(&self, name: &str) -> Error {
        let error = denied(self.permission, &node_of(name));
        self.guard.note_denied(&self.caller, &error);
        error
    }
}
