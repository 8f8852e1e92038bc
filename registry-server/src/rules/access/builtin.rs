//! The roles that are built in: computed, and kept nowhere.

use std::sync::LazyLock;

use super::Permissions;

/// A role that is built in.
#[derive(Debug)]
pub(crate) struct BuiltIn {
    /// `roles/viewer`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Patterns, as in other roles.
    pub(crate) allows: Vec<&'static str>,
    permissions: Permissions,
}

impl BuiltIn {
    /// What it allows.
    pub(crate) fn permissions(&self) -> Permissions {
        self.permissions
    }
}

const VIEWER: &[&str] = &[
    "approvals.get",
    "approvals.list",
    "artifacts.download",
    "artifacts.get",
    "artifacts.list",
    "events.get",
    "events.list",
    "events.watch",
    "instances.get",
    "instances.list",
    "locks.get",
    "locks.list",
    "models.get",
    "models.list",
    "namespaces.get",
    "namespaces.list",
    "policies.get",
    "policies.list",
    "registry.getStatus",
    "resources.search",
    "subscriptions.get",
    "subscriptions.list",
    "versions.get",
    "versions.list",
];
const PUBLISHER: &[&str] = &[
    "artifacts.create",
    "artifacts.delete",
    "models.create",
    "models.update",
    "versions.create",
    "versions.finalize",
    "versions.update",
];
const DEPLOYER: &[&str] = &[
    "approvals.commit",
    "approvals.request",
    "approvals.withdraw",
    "instances.delete",
    "instances.report",
    "models.deleteAlias",
    "models.rollbackStage",
    "models.setAlias",
    "subscriptions.*",
    "versions.reinstate",
    "versions.transitionStage",
    "versions.withdraw",
];
const APPROVER: &[&str] = &["approvals.approve", "approvals.reject"];
/// Of Prometheus, and of what else watches over the server.
const MONITOR: &[&str] = &["registry.getMetrics", "registry.getStatus"];
const AUDITOR: &[&str] = &[
    "access.explain",
    "audit.export",
    "audit.getCheckpoint",
    "audit.prove",
    "bindings.get",
    "bindings.list",
    "groups.get",
    "groups.list",
    "registry.verify",
    "roles.get",
    "roles.list",
    "tokens.get",
    "tokens.list",
    "webhooks.deliveries",
    "webhooks.get",
    "webhooks.list",
];

/// The roles that are built in, by name.
pub(crate) static BUILT_IN: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
    let role = |name, title, allows: &[&[&'static str]]| {
        let mut allows = allows.concat();
        allows.sort_unstable();
        BuiltIn { name, title, permissions: Permissions::of_patterns(allows.iter().copied()), allows }
    };
    let readings: Vec<_> = VIEWER.iter().copied().filter(|allowed| *allowed != "artifacts.download").collect();
    vec![
        role("roles/admin", "Admin", &[&["*"]]),
        role("roles/approver", "Approver", &[VIEWER, APPROVER]),
        role("roles/auditor", "Auditor", &[&readings, AUDITOR]),
        role("roles/deployer", "Deployer", &[VIEWER, DEPLOYER]),
        role("roles/monitor", "Monitor", &[MONITOR]),
        role("roles/publisher", "Publisher", &[VIEWER, PUBLISHER]),
        role("roles/viewer", "Viewer", &[VIEWER]),
    ]
});

/// The role that is built in under a name.
pub(crate) fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|role| role.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_allow_what_there_is() {
        for role in BUILT_IN.iter() {
            for allowed in &role.allows {
                assert!(Permissions::of(allowed).is_some(), "{}: {allowed}", role.name);
            }
        }
        assert_eq!(built_in("roles/admin").map(BuiltIn::permissions), Some(Permissions::all()));
        assert!(built_in("roles/nobody").is_none());
    }

    #[test]
    fn only_the_admin_gives_access_away_or_removes_for_good() {
        for role in BUILT_IN.iter().filter(|role| role.name != "roles/admin") {
            for pattern in ["bindings.create", "bindings.update", "roles.create", "tokens.create", "tokens.revoke"] {
                let permissions = Permissions::of(pattern).expect("it is declared");
                assert!(permissions.first_beyond(role.permissions()).is_some(), "{}: {pattern}", role.name);
            }
            for pattern in ["registry.backup", "versions.purge", "models.purge", "namespaces.delete", "webhooks.create"]
            {
                let permissions = Permissions::of(pattern).expect("it is declared");
                assert!(permissions.first_beyond(role.permissions()).is_some(), "{}: {pattern}", role.name);
            }
        }
    }
}
