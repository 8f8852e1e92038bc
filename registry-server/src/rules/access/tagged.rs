//! What bindings give by the tags of namespaces: those of a team, those of a project.

use std::collections::{BTreeMap, HashMap};

use super::{Permissions, SERVER, namespace_of};

/// Pairs, as a namespace has them.
pub(crate) type Tags = BTreeMap<String, String>;

/// No resource's name begins like that.
const MARK: char = '?';

/// The node of all namespaces that have these tags.
pub(super) fn node_of_tags(tags: &Tags) -> String {
    format!("{MARK}{tags:?}")
}

/// Whether a node is one of namespaces with some tags, which has no name that would tell anybody anything.
pub(crate) fn is_by_tags(node: &str) -> bool {
    node.starts_with(MARK)
}

/// The tags that bindings go by, and the namespaces that have them.
#[derive(Debug, Default)]
pub(super) struct Tagged {
    /// By node: what has to be there, and all that is given by it, to whomever.
    wanted: BTreeMap<String, (Tags, Permissions)>,
    /// The nodes of each namespace that has any.
    nodes: HashMap<String, Vec<String>>,
}

impl Tagged {
    /// Adds what a binding gives by tags; without any, it is none of these.
    pub(super) fn add(&mut self, tags: &Tags, permissions: Permissions) {
        if !tags.is_empty() {
            let (_, all) =
                self.wanted.entry(node_of_tags(tags)).or_insert_with(|| (tags.clone(), Permissions::default()));
            *all = all.and(permissions);
        }
    }

    /// Tells the tags of a namespace, when all bindings are added.
    pub(super) fn choose(&mut self, namespace: String, tags: &Tags) {
        let chosen = self.wanted.iter().filter(|(_, (wanted, _))| has_all(tags, wanted));
        let nodes: Vec<_> = chosen.map(|(node, _)| node.clone()).collect();
        if !nodes.is_empty() {
            self.nodes.insert(namespace, nodes);
        }
    }

    /// The nodes that a resource lies in by the tags of its namespace.
    pub(super) fn nodes_of(&self, resource: &str) -> impl Iterator<Item = &str> {
        let namespace = (resource != SERVER).then(|| self.nodes.get(namespace_of(resource))).flatten();
        namespace.into_iter().flatten().map(String::as_str)
    }

    /// All that is given by some tags and not by the others.
    pub(super) fn given_by(&self, before: &Tags, after: &Tags) -> Permissions {
        let changed = self.wanted.values().filter(|(wanted, _)| has_all(before, wanted) != has_all(after, wanted));
        changed.fold(Permissions::default(), |all, (_, permissions)| all.and(*permissions))
    }
}

fn has_all(tags: &Tags, wanted: &Tags) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}
