//! Who may do what: groups, roles, bindings and tokens.

use std::collections::BTreeMap;

use crate::call::setters;
use crate::models::mask;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Who may do what: principals (`users/ana`, `services/trainer`) get roles by bindings, and call with tokens.
impl RegistryClient {
    /// Who the registry takes this client for.
    pub fn who_am_i(&self) -> Call<pb::WhoAmIRequest> {
        self.call(pb::WhoAmIRequest {})
    }

    /// Which of these permissions this client has on a namespace or model, or on the server if the name is empty.
    pub fn test_permissions(
        &self,
        resource: impl Into<String>,
        permissions: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::TestPermissionsRequest> {
        let permissions = permissions.into_iter().map(Into::into).collect();
        self.call(pb::TestPermissionsRequest { resource: complete(resource), permissions })
    }

    /// Whether somebody has a permission on a namespace or model (or the server, if the name is empty), and by which bindings.
    pub fn explain_access(
        &self,
        principal: impl Into<String>,
        permission: impl Into<String>,
        resource: impl Into<String>,
    ) -> Call<pb::ExplainAccessRequest> {
        let (principal, permission) = (principal.into(), permission.into());
        self.call(pb::ExplainAccessRequest { principal, resource: complete(resource), permission })
    }

    /// Makes a group by its id, such as `risk`, of users and services.
    pub fn create_group(
        &self,
        id: impl Into<String>,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::CreateGroupRequest> {
        let members = members.into_iter().map(Into::into).collect();
        let group = Some(pb::Group { members, ..Default::default() });
        self.call(pb::CreateGroupRequest { group_id: id.into(), group, ..Default::default() })
    }

    /// One group: `risk` or `groups/risk`.
    pub fn get_group(&self, name: impl Into<String>) -> Call<pb::GetGroupRequest> {
        self.call(pb::GetGroupRequest { name: named("groups", name) })
    }

    /// All groups, by name.
    pub fn list_groups(&self) -> Call<pb::ListGroupsRequest> {
        self.call(pb::ListGroupsRequest::default())
    }

    /// Changes a group: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    pub fn update_group(&self, mut group: pb::Group) -> Call<pb::UpdateGroupRequest> {
        group.name = named("groups", group.name);
        self.call(pb::UpdateGroupRequest { group: Some(group), ..Default::default() })
    }

    /// Removes a group for good.
    pub fn delete_group(&self, name: impl Into<String>) -> Call<pb::DeleteGroupRequest> {
        self.call(pb::DeleteGroupRequest { name: named("groups", name), ..Default::default() })
    }

    /// Makes a role by its id, of permissions such as `models.get`, `models.*` and `*`.
    pub fn create_role(
        &self,
        id: impl Into<String>,
        permissions: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::CreateRoleRequest> {
        let permissions = permissions.into_iter().map(Into::into).collect();
        let role = Some(pb::Role { permissions, ..Default::default() });
        self.call(pb::CreateRoleRequest { role_id: id.into(), role, ..Default::default() })
    }

    /// One role: `viewer` or `roles/viewer`.
    pub fn get_role(&self, name: impl Into<String>) -> Call<pb::GetRoleRequest> {
        self.call(pb::GetRoleRequest { name: named("roles", name) })
    }

    /// All roles, by name: those that are built in as well.
    pub fn list_roles(&self) -> Call<pb::ListRolesRequest> {
        self.call(pb::ListRolesRequest::default())
    }

    /// Changes a role: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names.
    pub fn update_role(&self, mut role: pb::Role) -> Call<pb::UpdateRoleRequest> {
        role.name = named("roles", role.name);
        self.call(pb::UpdateRoleRequest { role: Some(role), ..Default::default() })
    }

    /// Removes a role for good: its bindings give nothing any more.
    pub fn delete_role(&self, name: impl Into<String>) -> Call<pb::DeleteRoleRequest> {
        self.call(pb::DeleteRoleRequest { name: named("roles", name), ..Default::default() })
    }

    /// Gives a role to users, services and groups: on the server, unless [`on`](Call::on) names a namespace or model.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// client.create_binding("fraud-team", "publisher", ["groups/fraud"]).on("models/fraud").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_binding(
        &self,
        id: impl Into<String>,
        role: impl Into<String>,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::CreateBindingRequest> {
        let (role, members) = (named("roles", role), members.into_iter().map(Into::into).collect());
        let binding = Some(pb::Binding { role, members, ..Default::default() });
        self.call(pb::CreateBindingRequest { binding_id: id.into(), binding, ..Default::default() })
    }

    /// One binding, by its id or its name.
    pub fn get_binding(&self, name: impl Into<String>) -> Call<pb::GetBindingRequest> {
        self.call(pb::GetBindingRequest { name: named("bindings", name) })
    }

    /// All bindings that the caller may see, by name.
    pub fn list_bindings(&self) -> Call<pb::ListBindingsRequest> {
        self.call(pb::ListBindingsRequest::default())
    }

    /// Changes the members or the description of a binding.
    pub fn update_binding(&self, mut binding: pb::Binding) -> Call<pb::UpdateBindingRequest> {
        binding.name = named("bindings", binding.name);
        self.call(pb::UpdateBindingRequest { binding: Some(binding), ..Default::default() })
    }

    /// Removes a binding for good.
    pub fn delete_binding(&self, name: impl Into<String>) -> Call<pb::DeleteBindingRequest> {
        self.call(pb::DeleteBindingRequest { name: named("bindings", name), ..Default::default() })
    }

    /// Makes a token with which programs call as a principal, such as `services/trainer`. The answer has its secret, which nothing shows
    /// again.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let token = client.create_token("services/trainer").roles(["publisher"]).on("namespaces/risk").await?;
    /// println!("{}", token.secret);
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_token(&self, principal: impl Into<String>) -> Call<pb::CreateTokenRequest> {
        let token = Some(pb::Token { principal: principal.into(), ..Default::default() });
        self.call(pb::CreateTokenRequest { token, ..Default::default() })
    }

    /// One token, by its id or its name, without its secret.
    pub fn get_token(&self, name: impl Into<String>) -> Call<pb::GetTokenRequest> {
        self.call(pb::GetTokenRequest { name: named("tokens", name) })
    }

    /// All tokens, by name, also those that have ended.
    pub fn list_tokens(&self) -> Call<pb::ListTokensRequest> {
        self.call(pb::ListTokensRequest::default())
    }

    /// Ends a token, at once and for good.
    pub fn revoke_token(&self, name: impl Into<String>) -> Call<pb::RevokeTokenRequest> {
        self.call(pb::RevokeTokenRequest { name: named("tokens", name), ..Default::default() })
    }
}

setters!(CreateBindingRequest {
    /// On this namespace or model, and all below it.
    on(resource: impl Into<String>) |r| r.binding.get_or_insert_default().resource = complete(resource);
    /// On the namespaces that have all of these tags, and all below them, also when they get them later.
    on_namespaces_with(tags: BTreeMap<String, String>) |r| r.binding.get_or_insert_default().namespace_tags = tags;
    /// Only while this condition in CEL is met: over `permission`, `resource`, `principal` and `now`.
    condition(text: impl Into<String>) |r| r.binding.get_or_insert_default().condition = text.into();
    /// What it is for, for people.
    description(text: impl Into<String>) |r| r.binding.get_or_insert_default().description = text.into();
});

setters!(CreateTokenRequest {
    /// Its id, which is a part of the secret; one is made up unless it is set.
    id(id: impl Into<String>) |r| r.token_id = id.into();
    /// What it is called, for people.
    title(title: impl Into<String>) |r| r.token.get_or_insert_default().title = title.into();
    /// It allows no more than these roles do.
    roles(roles: impl IntoIterator<Item = impl Into<String>>) |r| {
        r.token.get_or_insert_default().roles = roles.into_iter().map(|role| named("roles", role)).collect();
    };
    /// It is good on this namespace or model, and all below it, only.
    on(resource: impl Into<String>) |r| r.token.get_or_insert_default().resource = complete(resource);
    /// It ends then.
    expires(time: impl Into<prost_types::Timestamp>) |r| r.token.get_or_insert_default().expire_time = Some(time.into());
});

setters!(UpdateGroupRequest {
    /// Which fields to take, also if they are empty: `members`, `description`; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(UpdateRoleRequest {
    /// Which fields to take, also if they are empty: `permissions`, `title`, `description`; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(UpdateBindingRequest {
    /// Which fields to take, also if they are empty: `members`, `description`; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
});

setters!(DeleteBindingRequest {
    /// Only if this is still the binding's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

/// The whole name of something that may be given by its id.
fn named(segment: &str, name: impl Into<String>) -> String {
    let name = name.into();
    if name.is_empty() || name.contains('/') { name } else { format!("{segment}/{name}") }
}
