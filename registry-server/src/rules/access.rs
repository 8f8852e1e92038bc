//! Who may do what: decided over roles, groups and bindings, which are kept in tables that a decision only looks up.
//!
//! Bindings only add. A permission on a resource is one on everything below it, so that a decision walks up: the model, its namespace,
//! the server. What somebody holds is looked up for them, for each of their groups, and for everybody who has a token. What bindings give by
//! the tags of namespaces is held on a node of its own, between the namespaces that have them and the server.

mod builtin;
mod conditions;
mod permissions;
mod tagged;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

pub(crate) use self::builtin::{BUILT_IN, BuiltIn, built_in};
use self::conditions::Conditional;
pub(crate) use self::conditions::{Clock, Condition};
pub(crate) use self::permissions::{Permission, Permissions};
use self::tagged::{Tagged, node_of_tags};
pub(crate) use self::tagged::{Tags, is_by_tags};
use super::names::DEFAULT_NAMESPACE;

/// Everybody who has a valid token.
pub(crate) const ALL_AUTHENTICATED: &str = "allAuthenticated";
/// The server, with all there is.
pub(crate) const SERVER: &str = "";
/// What everybody who has a valid token may do.
pub(crate) const OF_ALL: [&str; 2] = ["access.testPermissions", "access.whoAmI"];

/// A binding, as far as it decides.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) role: String,
    pub(crate) members: Vec<String>,
    /// The name of a namespace or a model, or [`SERVER`].
    pub(crate) resource: String,
    /// If there are any, it is on the namespaces that have them all.
    pub(crate) tags: Tags,
    /// Without one, it always counts.
    pub(crate) condition: Option<Condition>,
}

impl Bound {
    /// The node that it is on.
    fn node(&self) -> String {
        if self.tags.is_empty() { self.resource.clone() } else { node_of_tags(&self.tags) }
    }
}

/// What gives somebody a permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Grant {
    pub(crate) binding: String,
    pub(crate) role: String,
    /// They themselves, a group that they are in, or [`ALL_AUTHENTICATED`].
    pub(crate) member: String,
    pub(crate) resource: String,
}

/// Somebody about whom is decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    principal: &'a str,
    /// Groups that they are in beside those that have them as a member.
    groups: &'a [String],
}

impl<'a> From<&'a str> for Who<'a> {
    fn from(principal: &'a str) -> Self {
        Self { principal, groups: &[] }
    }
}

impl<'a> From<&'a String> for Who<'a> {
    fn from(principal: &'a String) -> Self {
        principal.as_str().into()
    }
}

/// All roles, groups and bindings.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// By name; those that are built in are not among them.
    roles: HashMap<String, Permissions>,
    /// The groups that each principal is in.
    groups: HashMap<String, Vec<String>>,
    /// By name.
    bindings: HashMap<String, Bound>,
    /// What each member of a binding holds, by the resource.
    held: HashMap<String, HashMap<String, Permissions>>,
    /// What each member of a binding with a condition holds while that is met.
    conditional: HashMap<String, Vec<Conditional>>,
    tagged: Tagged,
    clock: Clock,
}

impl Access {
    /// The roles, groups and bindings with these names, and the tags that namespaces have.
    pub(crate) fn new(
        roles: impl IntoIterator<Item = (String, Permissions)>,
        groups: impl IntoIterator<Item = (String, Vec<String>)>,
        bindings: impl IntoIterator<Item = (String, Bound)>,
        namespaces: impl IntoIterator<Item = (String, Tags)>,
    ) -> Self {
        let mut access = Self { roles: roles.into_iter().collect(), ..Self::default() };
        for (group, members) in groups {
            for member in members {
                access.groups.entry(member).or_default().push(group.clone());
            }
        }
        for (name, bound) in bindings {
            let permissions = access.role(&bound.role).unwrap_or_default();
            let node = bound.node();
            access.tagged.add(&bound.tags, permissions);
            for member in &bound.members {
                if let Some(condition) = bound.condition.clone() {
                    let conditional = Conditional { node: node.clone(), permissions, condition };
                    access.conditional.entry(member.clone()).or_default().push(conditional);
                    continue;
                }
                let held = access.held.entry(member.clone()).or_default().entry(node.clone()).or_default();
                *held = held.and(permissions);
            }
            access.bindings.insert(name, bound);
        }
        for (name, tags) in namespaces {
            access.tagged.choose(name, &tags);
        }
        access
    }

    /// What a role allows; `None` if there is none with this name.
    pub(crate) fn role(&self, name: &str) -> Option<Permissions> {
        built_in(name).map(BuiltIn::permissions).or_else(|| self.roles.get(name).copied())
    }

    /// The groups that a principal is in.
    pub(crate) fn groups_of(&self, principal: &str) -> &[String] {
        self.groups.get(principal).map(Vec::as_slice).unwrap_or_default()
    }

    /// The binding with a name.
    pub(crate) fn binding(&self, name: &str) -> Option<&Bound> {
        self.bindings.get(name)
    }

    /// What changes by other tags of a namespace: all that bindings give there by these or by those.
    pub(crate) fn given_by(&self, before: &Tags, after: &Tags) -> Permissions {
        self.tagged.given_by(before, after)
    }

    /// What a member of bindings holds, by the node, also under conditions.
    pub(crate) fn held_of(&self, member: &str) -> impl Iterator<Item = (&str, Permissions)> {
        let held = self.held.get(member).into_iter().flatten();
        let held = held.map(|(resource, permissions)| (resource.as_str(), *permissions));
        let conditional = self.conditional.get(member).into_iter().flatten();
        held.chain(conditional.map(|conditional| (conditional.node.as_str(), conditional.permissions)))
    }

    /// Whether what somebody may do can change though nothing is changed: with the time.
    pub(crate) fn has_conditions(&self) -> bool {
        !self.conditional.is_empty()
    }

    /// Whether there is any binding.
    pub(crate) fn has_bindings(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// What somebody may do on a resource, and so give to others: what they have under a condition is not among it.
    pub(crate) fn permissions<'a>(&'a self, who: impl Into<Who<'a>>, resource: &str) -> Permissions {
        let mut all = Permissions::of_all();
        for held in self.held_by(who.into()) {
            for node in self.upwards(resource) {
                all = all.and(held.get(node).copied().unwrap_or_default());
            }
        }
        all
    }

    /// Whether somebody has a permission on a resource.
    pub(crate) fn allows<'a>(&'a self, who: impl Into<Who<'a>>, permission: Permission, resource: &str) -> bool {
        let has = |held: &HashMap<String, Permissions>| {
            self.upwards(resource).any(|node| held.get(node).is_some_and(|held| held.has(permission)))
        };
        let who = who.into();
        self.held_by(who).any(has)
            || Permissions::of_all().has(permission)
            || self.conditional_of(who).any(|held| {
                self.upwards(resource).any(|node| node == held.node)
                    && held.gives(who.principal, permission, resource, (self.clock.0)())
            })
    }

    /// Whether somebody has a permission on something below a resource, or could under a condition.
    pub(crate) fn allows_below<'a>(&'a self, who: impl Into<Who<'a>>, permission: Permission, resource: &str) -> bool {
        let has = |held: &HashMap<String, Permissions>| {
            held.iter().any(|(node, held)| held.has(permission) && node != resource && is_within(node, resource))
        };
        let who = who.into();
        self.held_by(who).any(has)
            || self.conditional_of(who).any(|held| {
                let overlaps = is_within(&held.node, resource) || self.upwards(resource).any(|node| node == held.node);
                overlaps && held.permissions.has(permission)
            })
    }

    /// By what a principal has a permission on a resource, in the order of the bindings' names.
    pub(crate) fn explain(&self, principal: &str, permission: Permission, resource: &str) -> Vec<Grant> {
        let nodes: Vec<_> = self.upwards(resource).collect();
        let ids = self.ids(principal);
        let mut grants = Vec::new();
        for (name, bound) in &self.bindings {
            let Bound { role, members, tags, resource: on, condition } = bound;
            let is_met = |condition: &Condition| condition.is_met(principal, permission, resource, (self.clock.0)());
            if nodes.contains(&&*bound.node())
                && self.role(role).is_some_and(|role| role.has(permission))
                && condition.as_ref().is_none_or(is_met)
            {
                grants.extend(members.iter().filter(|member| ids.contains(&member.as_str())).map(|member| Grant {
                    binding: name.clone(),
                    role: role.clone(),
                    member: member.clone(),
                    resource: if tags.is_empty() { on.clone() } else { namespace_of(resource).to_owned() },
                }));
            }
        }
        grants.sort();
        grants
    }

    /// As which members of bindings a principal counts.
    fn ids<'a>(&'a self, principal: &'a str) -> Vec<&'a str> {
        let groups = self.groups_of(principal).iter().map(String::as_str);
        [principal, ALL_AUTHENTICATED].into_iter().chain(groups).collect()
    }

    /// A resource on which permissions are held, and the nodes that it lies in.
    fn upwards<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a str> {
        upwards(resource).chain(self.tagged.nodes_of(resource))
    }

    fn held_by<'a>(&'a self, who: Who<'a>) -> impl Iterator<Item = &'a HashMap<String, Permissions>> {
        self.members_of(who).filter_map(|id| self.held.get(id))
    }

    fn conditional_of<'a>(&'a self, who: Who<'a>) -> impl Iterator<Item = &'a Conditional> {
        // Most registries have none.
        let members = self.has_conditions().then(|| self.members_of(who)).into_iter().flatten();
        members.filter_map(|id| self.conditional.get(id)).flatten()
    }

    fn members_of<'a>(&'a self, who: Who<'a>) -> impl Iterator<Item = &'a str> {
        let groups = self.groups_of(who.principal).iter().chain(who.groups).map(String::as_str);
        [who.principal, ALL_AUTHENTICATED].into_iter().chain(groups)
    }

    /// The same, at another time.
    #[cfg(test)]
    fn at(self, clock: fn() -> std::time::SystemTime) -> Self {
        Self { clock: Clock(clock), ..self }
    }
}

/// Somebody who calls, as their token has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// `users/alice` or `services/trainer`.
    pub(crate) principal: String,
    /// The groups that the token puts them into, beside those that have them as a member.
    pub(crate) groups: Vec<String>,
    /// The roles that the token is narrowed to; empty: none.
    pub(crate) roles: Vec<String>,
    /// The resource that the token is narrowed to, or [`SERVER`].
    pub(crate) resource: String,
}

impl Bearer {
    /// What they may do on a resource.
    pub(crate) fn permissions(&self, access: &Access, resource: &str) -> Permissions {
        self.narrow(access, resource).with(access.permissions(self.who(), resource)).and(Permissions::of_all())
    }

    /// Whether they have a permission on a resource.
    pub(crate) fn may(&self, access: &Access, permission: Permission, resource: &str) -> bool {
        let narrowed = Permissions::of_all().has(permission) || self.narrow(access, resource).has(permission);
        narrowed && access.allows(self.who(), permission, resource)
    }

    /// Whether they have a permission on a resource, or on something below it.
    pub(crate) fn may_some(&self, access: &Access, permission: Permission, resource: &str) -> bool {
        if self.may(access, permission, resource) {
            return true;
        }
        // What the token is narrowed to may lie below.
        let at = if is_within(&self.resource, resource) { &self.resource } else { resource };
        self.narrow(access, at).has(permission)
            && (access.allows(self.who(), permission, at) || access.allows_below(self.who(), permission, at))
    }

    /// The groups that they are in, in order.
    pub(crate) fn groups(&self, access: &Access) -> Vec<String> {
        let all: BTreeSet<_> = access.groups_of(&self.principal).iter().chain(&self.groups).collect();
        all.into_iter().cloned().collect()
    }

    fn who(&self) -> Who<'_> {
        Who { principal: &self.principal, groups: &self.groups }
    }

    /// What the token allows of what its principal may do.
    fn narrow(&self, access: &Access, resource: &str) -> Permissions {
        if !is_within(resource, &self.resource) {
            return Permissions::default();
        }
        match self.roles.is_empty() {
            true => Permissions::all(),
            false => {
                let roles = self.roles.iter().filter_map(|role| access.role(role));
                roles.fold(Permissions::default(), Permissions::and)
            }
        }
    }
}

/// A resource on which permissions are held, and those that it lies in: the server last.
fn upwards(resource: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(resource), |node| match node.rmatch_indices('/').nth(1) {
        Some((end, _)) => Some(&node[..end]),
        None => Some(SERVER).filter(|_| !node.is_empty()),
    })
}

/// The namespace that a resource is or lies in.
fn namespace_of(resource: &str) -> &str {
    resource.match_indices('/').nth(1).map_or(resource, |(end, _)| &resource[..end])
}

/// Whether a resource on which permissions are held is another one, or lies in it.
pub(crate) fn is_within(resource: &str, outer: &str) -> bool {
    let rest = resource.strip_prefix(outer);
    outer.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The resource on which it is decided what may be done with something of this name: the model that it is or lies in, or the
/// namespace, or the server.
///
/// The name may be anything that a request has: what is none is the server's. `-`, which stands for all models, is their namespace's.
pub(crate) fn node_of(name: &str) -> Cow<'_, str> {
    let in_default = name.starts_with("models/");
    let name = match in_default {
        true => Cow::Owned(format!("namespaces/{DEFAULT_NAMESPACE}/{name}")),
        false => Cow::Borrowed(name),
    };
    let length = node_length(&name);
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(&name[..length]),
        Cow::Owned(mut name) => {
            name.truncate(length);
            Cow::Owned(name)
        }
    }
}

fn node_length(name: &str) -> usize {
    let id_in = |text: &str, segment: &str| -> Option<usize> {
        let id = text.strip_prefix(segment)?;
        let id = &id[..id.find(['/', '@']).unwrap_or(id.len())];
        (!id.is_empty() && id != "-").then(|| segment.len() + id.len())
    };
    let Some(namespace) = id_in(name, "namespaces/") else { return 0 };
    let model = name[namespace..].strip_prefix('/').and_then(|rest| id_in(rest, "models/"));
    model.map_or(namespace, |model| namespace + 1 + model)
}

#[cfg(test)]
mod tests;
