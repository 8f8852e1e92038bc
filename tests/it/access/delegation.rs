//! Who may give access to others: nobody gives what they do not have.

use registry_client::Error;
use registry_client::pb::{self, Binding, ErrorReason, Group, Role};
use registry_tests::model;
use tonic::Code;

use super::{Secured, denied};

#[tokio::test]
async fn the_admin_of_a_namespace_gives_access_to_it_alone() {
    let secured = Secured::start().await;
    model(&secured.admin, "namespaces/risk/models/fraud").await;
    let ana = secured.user("users/ana", &[("admin", "namespaces/risk")]).await;
    let bob = secured.user("users/bob", &[]).await;
    denied(bob.get_model("namespaces/risk/models/fraud").await);
    let made =
        ana.create_binding("risk-bob", "viewer", ["users/bob"]).on("namespaces/risk/models/fraud").await.unwrap();
    assert_eq!((made.creator.as_str(), made.role.as_str()), ("users/ana", "roles/viewer"));
    bob.get_model("namespaces/risk/models/fraud").await.unwrap();
    // She sees, changes and removes those that are on her namespace, and no others.
    let seen: Vec<_> = ana.list_bindings().await.unwrap().bindings.into_iter().map(|binding| binding.name).collect();
    assert_eq!(seen, ["bindings/risk-bob", "bindings/users-ana-0"]);
    let both = Binding { members: vec!["users/bob".to_owned(), "users/eve".to_owned()], ..made };
    ana.update_binding(both).await.unwrap();
    ana.delete_binding("risk-bob").await.unwrap();
    for on in ["", "namespaces/play", "namespaces/risky"] {
        denied(ana.create_binding("x", "viewer", ["users/bob"]).on(on).await);
    }
    denied(ana.get_binding("first-admin").await);
    denied(ana.delete_binding("first-admin").await);
    denied(ana.create_group("x", ["users/ana"]).await);
    denied(ana.create_role("x", ["models.get"]).await);
    denied(ana.create_token("users/ana").await);
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    let permissions = ["bindings.*", "roles.*", "models.get"];
    admin.create_role("clerk", permissions).await.unwrap();
    admin.create_role("reader", ["models.get"]).await.unwrap();
    let ana = secured.user("users/ana", &[("clerk", "")]).await;
    ana.create_binding("a", "reader", ["users/bob"]).await.unwrap();
    let error = denied(ana.create_binding("b", "admin", ["users/ana"]).await);
    assert!(error.to_string().contains("access.explain"), "it names what they lack: {error}");
    denied(ana.create_binding("b", "viewer", ["users/ana"]).await);
    ana.create_role("own", ["models.get"]).await.unwrap();
    denied(ana.create_role("more", ["models.purge"]).await);
    denied(ana.create_role("all", ["*"]).await);
    let more =
        |name: &str| Role { name: name.to_owned(), permissions: vec!["models.purge".to_owned()], ..Role::default() };
    denied(ana.update_role(more("own")).await);
    // Nor do they take it from others.
    denied(ana.delete_binding("first-admin").await);
    // Nor into a binding that others made of a role that is more than theirs.
    let first = Binding {
        name: "bindings/first-admin".to_owned(),
        members: vec!["users/ana".to_owned()],
        ..Binding::default()
    };
    denied(ana.update_binding(first).await);
    // Nor into a group that has more than she.
    admin.create_role("grouper", ["groups.*"]).await.unwrap();
    admin.create_binding("grouper", "grouper", ["users/ana"]).await.unwrap();
    ana.create_group("readers", ["users/bob"]).await.unwrap();
    for (group, exists) in [("bosses", true), ("later", false)] {
        admin.create_binding(group, "admin", [format!("groups/{group}")]).on("namespaces/risk").await.unwrap();
        if exists {
            admin.create_group(group, ["users/root"]).await.unwrap();
            let joined = Group { name: group.to_owned(), members: vec!["users/ana".to_owned()], ..Group::default() };
            denied(ana.update_group(joined).await);
        } else {
            denied(ana.create_group(group, ["users/ana"]).await);
        }
    }
    // Where it lies can't be changed.
    let moved = pb::UpdateBindingRequest {
        binding: Some(Binding {
            name: "bindings/a".to_owned(),
            resource: "namespaces/risk".to_owned(),
            ..Binding::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["resource".to_owned()] }),
        ..Default::default()
    };
    assert!(admin.call(moved).await.unwrap_err().is_invalid_argument());
}

#[tokio::test]
async fn roles_that_are_built_in_stay_as_they_are() {
    let secured = Secured::start().await;
    let admin = &secured.admin;
    admin.create_role("namer", ["models.setAlias"]).await.unwrap();
    let roles = admin.list_roles().await.unwrap().roles;
    let listed: Vec<_> = roles.iter().map(|role| (role.name.as_str(), role.built_in)).collect();
    let built_in = |name| (name, true);
    assert_eq!(
        listed,
        [
            built_in("roles/admin"),
            built_in("roles/approver"),
            built_in("roles/auditor"),
            built_in("roles/deployer"),
            built_in("roles/monitor"),
            ("roles/namer", false),
            built_in("roles/publisher"),
            built_in("roles/viewer"),
        ]
    );
    let protected = |error: Error| {
        let expected = (Some(Code::FailedPrecondition), Some(ErrorReason::ResourceProtected));
        assert_eq!((error.code(), error.reason()), expected, "{error:?}");
    };
    let changed = Role { name: "roles/viewer".to_owned(), permissions: vec!["*".to_owned()], ..Role::default() };
    protected(admin.update_role(changed).await.unwrap_err());
    protected(admin.delete_role("viewer").await.unwrap_err());
    assert!(admin.create_role("viewer", ["*"]).await.unwrap_err().is_already_exists());
    assert!(admin.create_binding("x", "nothing", ["users/ana"]).await.unwrap_err().is_not_found());
    assert!(admin.create_role("x", ["models.fly"]).await.unwrap_err().is_invalid_argument());
    assert!(admin.create_binding("x", "viewer", ["ana"]).await.unwrap_err().is_invalid_argument());
    assert!(admin.create_group("x", ["groups/risk"]).await.unwrap_err().is_invalid_argument());
}
