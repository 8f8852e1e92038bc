//! `AccessService`.

use std::sync::Arc;

use prost_types::Timestamp;
use registry_proto::v1 as pb;
use registry_proto::v1::access_service_server::AccessService;
use tonic::Request;

use super::Services;
use super::admitting::{needs, permission};
use super::call::{List, Reply, actor};
use crate::error::{Error, Violations, quoted};
use crate::registry::access::roles::OfRole;
use crate::registry::access::tokens::{CreateToken, RevokeToken};
use crate::registry::access::wishes::{Caller, Credential, Need};
use crate::registry::access::{Alter, Make, Marked, check_principal};
use crate::registry::standard::{Remove, Update};
use crate::registry::{Intent, Mutation, Registry};
use crate::rules::access::{Grant, Permission, Permissions, node_of};
use crate::rules::names::{BINDINGS, Collection, GROUPS, Name, ROLES, TOKENS, check_id};

/// How many permissions are tested at once.
const TESTED: usize = 200;

#[tonic::async_trait]
impl AccessService for Services {
    async fn create_group(&self, request: Request<pb::CreateGroupRequest>) -> Reply<pb::Group> {
        let needs = |request: &pb::CreateGroupRequest| {
            // It may be bound before it is made.
            let name = Name::top(&GROUPS, &request.group_id).to_string();
            Ok([needs(request)?, vec![Need::Group(name)]].concat())
        };
        self.grant(request, needs, |request, found| {
            Make::<pb::Group>::new(id(&GROUPS, "group_id", &request.group_id, found), request.group, found)
        })
        .await
    }

    async fn get_group(&self, request: Request<pb::GetGroupRequest>) -> Reply<pb::Group> {
        self.read(
            request,
            |request, found| found.name("name", &GROUPS, &request.name),
            |registry, name| async move { registry.get::<pb::Group>(&name).await },
        )
        .await
    }

    async fn list_groups(&self, request: Request<pb::ListGroupsRequest>) -> Reply<pb::ListGroupsResponse> {
        let list = List::by(&["name"]);
        let read = |registry: Registry, (), page| async move { registry.list_access::<pb::Group>(&page).await };
        self.list(request, list, |_, _| Some(()), read).await
    }

    async fn update_group(&self, request: Request<pb::UpdateGroupRequest>) -> Reply<pb::Group> {
        let needs = |request: &pb::UpdateGroupRequest| {
            let name = request.group.clone().unwrap_or_default().name;
            Ok([needs(request)?, vec![Need::Group(name)]].concat())
        };
        self.grant(request, needs, |request, found| {
            Update::<pb::Group>::new(request.group, request.update_mask.as_ref(), found).map(Alter)
        })
        .await
    }

    async fn delete_group(&self, request: Request<pb::DeleteGroupRequest>) -> Reply<pb::Group> {
        let needs =
            |request: &pb::DeleteGroupRequest| Ok([needs(request)?, vec![Need::Group(request.name.clone())]].concat());
        self.grant(request, needs, |request, found| {
            Some(Remove::<pb::Group>::new(found.name("name", &GROUPS, &request.name)?, request.etag))
        })
        .await
    }

    async fn create_role(&self, request: Request<pb::CreateRoleRequest>) -> Reply<pb::Role> {
        let needs =
            |request: &pb::CreateRoleRequest| Ok([needs(request)?, vec![all_of(request.role.as_ref())]].concat());
        self.grant(request, needs, |request, found| {
            Make::<pb::Role>::new(id(&ROLES, "role_id", &request.role_id, found), request.role, found)
        })
        .await
    }

    async fn get_role(&self, request: Request<pb::GetRoleRequest>) -> Reply<pb::Role> {
        self.read(
            request,
            |request, found| found.name("name", &ROLES, &request.name),
            |registry, name| async move { registry.role(&name).await },
        )
        .await
    }

    async fn list_roles(&self, request: Request<pb::ListRolesRequest>) -> Reply<pb::ListRolesResponse> {
        let read = |registry: Registry, (), page| async move { registry.list_roles(&page).await };
        self.list(request, List::by(&["name"]), |_, _| Some(()), read).await
    }

    async fn update_role(&self, request: Request<pb::UpdateRoleRequest>) -> Reply<pb::Role> {
        let needs =
            |request: &pb::UpdateRoleRequest| Ok([needs(request)?, vec![all_of(request.role.as_ref())]].concat());
        self.grant(request, needs, |request, found| {
            Update::new(request.role, request.update_mask.as_ref(), found).map(OfRole::update)
        })
        .await
    }

    async fn delete_role(&self, request: Request<pb::DeleteRoleRequest>) -> Reply<pb::Role> {
        self.grant(request, needs, |request, found| {
            Some(OfRole::remove(found.name("name", &ROLES, &request.name)?, request.etag))
        })
        .await
    }

    async fn create_binding(&self, request: Request<pb::CreateBindingRequest>) -> Reply<pb::Binding> {
        // It belongs to what it is on.
        let needs = |request: &pb::CreateBindingRequest| {
            let pb::Binding { role, resource, .. } = request.binding.clone().unwrap_or_default();
            let on = node_of(&resource).into_owned();
            Ok(vec![Need::One(permission::<pb::CreateBindingRequest>(), on.clone()), Need::Role(role, on)])
        };
        self.grant(request, needs, |request, found| {
            Make::<pb::Binding>::new(id(&BINDINGS, "binding_id", &request.binding_id, found), request.binding, found)
        })
        .await
    }

    async fn get_binding(&self, request: Request<pb::GetBindingRequest>) -> Reply<pb::Binding> {
        self.read(
            request,
            |request, found| found.name("name", &BINDINGS, &request.name),
            |registry, name| async move { registry.get::<pb::Binding>(&name).await },
        )
        .await
    }

    async fn list_bindings(&self, request: Request<pb::ListBindingsRequest>) -> Reply<pb::ListBindingsResponse> {
        let read = |registry: Registry, (), page| async move { registry.list_access::<pb::Binding>(&page).await };
        self.list(request, List::by(&["name"]).narrowed(), |_, _| Some(()), read).await
    }

    async fn update_binding(&self, request: Request<pb::UpdateBindingRequest>) -> Reply<pb::Binding> {
        let needs = |request: &pb::UpdateBindingRequest| {
            let name = request.binding.clone().unwrap_or_default().name;
            Ok([needs(request)?, vec![Need::RoleBound(name)]].concat())
        };
        self.grant(request, needs, |request, found| {
            Update::<pb::Binding>::new(request.binding, request.update_mask.as_ref(), found).map(Alter)
        })
        .await
    }

    async fn delete_binding(&self, request: Request<pb::DeleteBindingRequest>) -> Reply<pb::Binding> {
        // Nobody takes from others what they could not give.
        let needs = |request: &pb::DeleteBindingRequest| {
            Ok([needs(request)?, vec![Need::RoleBound(request.name.clone())]].concat())
        };
        self.grant(request, needs, |request, found| {
            Some(Remove::<pb::Binding>::new(found.name("name", &BINDINGS, &request.name)?, request.etag))
        })
        .await
    }

    async fn create_token(&self, request: Request<pb::CreateTokenRequest>) -> Reply<pb::Token> {
        self.act(
            request,
            |request, found| CreateToken::new(request.token_id, request.token, found),
            |registry, intent, create| async move {
                let made = registry.create_token(intent, create).await?;
                Ok(made)
            },
        )
        .await
    }

    async fn get_token(&self, request: Request<pb::GetTokenRequest>) -> Reply<pb::Token> {
        self.read(
            request,
            |request, found| found.name("name", &TOKENS, &request.name),
            |registry, name| async move { registry.token(&name).await },
        )
        .await
    }

    async fn list_tokens(&self, request: Request<pb::ListTokensRequest>) -> Reply<pb::ListTokensResponse> {
        let read = |registry: Registry, (), page| async move { registry.list_tokens(&page).await };
        self.list(request, List::by(&["name"]), |_, _| Some(()), read).await
    }

    async fn revoke_token(&self, request: Request<pb::RevokeTokenRequest>) -> Reply<pb::Token> {
        self.grant(request, needs, |request, found| {
            Some(RevokeToken { name: found.name("name", &TOKENS, &request.name)?, etag: request.etag })
        })
        .await
    }

    async fn who_am_i(&self, request: Request<pb::WhoAmIRequest>) -> Reply<pb::WhoAmIResponse> {
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        let principal = actor(request.metadata(), &mut Violations::default());
        self.read(
            request,
            |_, _| Some(()),
            |registry, ()| async move {
                let (Some(caller), Some(guard)) = (caller, registry.guard()) else {
                    return Ok(pb::WhoAmIResponse { principal, ..Default::default() });
                };
                let mut shown = pb::WhoAmIResponse::default();
                match &caller.credential {
                    Credential::Token(id) => shown.token = Name::top(&TOKENS, id).to_string(),
                    Credential::Jwt { issuer } => shown.issuer = issuer.to_string(),
                    Credential::Certificate { name } => shown.certificate = name.to_string(),
                }
                Ok(pb::WhoAmIResponse {
                    principal,
                    authenticated: true,
                    groups: caller.bearer.groups(&guard.current().access),
                    expire_time: caller.expires.map(Timestamp::from),
                    ..shown
                })
            },
        )
        .await
    }

    async fn test_permissions(
        &self,
        request: Request<pb::TestPermissionsRequest>,
    ) -> Reply<pb::TestPermissionsResponse> {
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        self.read(
            request,
            |request, found| {
                if request.permissions.is_empty() || request.permissions.len() > TESTED {
                    found.invalid("permissions", format!("must be 1 to {TESTED}"));
                }
                let tested = request.permissions.into_iter().enumerate().filter_map(|(at, pattern)| {
                    let permissions = Permissions::of(&pattern);
                    if permissions.is_none() {
                        found.invalid(format!("permissions[{at}]"), format!("{} is no permission", quoted(&pattern)));
                    }
                    Some((pattern, permissions?))
                });
                Some((request.resource, tested.collect::<Vec<_>>()))
            },
            |registry, (resource, tested)| async move {
                let may = match (registry.guard().map(|guard| guard.current()), caller) {
                    (Some(current), Some(caller)) => {
                        caller.bearer.permissions(&current.access, &current.node_of(&resource))
                    }
                    _ => Permissions::all(),
                };
                let had = tested.into_iter().filter(|(_, tested)| tested.first_beyond(may).is_none());
                Ok(pb::TestPermissionsResponse { permissions: had.map(|(pattern, _)| pattern).collect() })
            },
        )
        .await
    }

    async fn explain_access(&self, request: Request<pb::ExplainAccessRequest>) -> Reply<pb::ExplainAccessResponse> {
        self.read(
            request,
            |request, found| {
                found.parsed("principal", check_principal(&request.principal, &["users/", "services/"]));
                let permission = Permission::named(&request.permission);
                if permission.is_none() {
                    found.invalid("permission", format!("{} is no permission", quoted(&request.permission)));
                }
                Some((request.principal, permission?, request.resource))
            },
            |registry, (principal, permission, resource)| async move {
                let current = registry.known_access().await?;
                let node = current.node_of(&resource);
                let grants = current.access.explain(&principal, permission, &node).into_iter().map(
                    |Grant { binding, role, member, resource }| pb::AccessGrant { binding, role, member, resource },
                );
                let grants: Vec<_> = grants.collect();
                // Others are no business of whoever may ask about this resource.
                let counts = |group: &&String| grants.iter().any(|grant| grant.member == **group);
                let groups = current.access.groups_of(&principal).iter().filter(counts).cloned().collect();
                let granted = current.access.allows(&principal, permission, &node);
                Ok(pb::ExplainAccessResponse { granted, grants, groups })
            },
        )
        .await
    }
}

fn id(of: &'static Collection, field: &str, id: &str, found: &mut Violations) -> Option<Name> {
    found.parsed(field, check_id(id)).map(|()| Name::top(of, id))
}

/// Whoever gives permissions to a role has them, and those that it has already.
fn all_of(role: Option<&pb::Role>) -> Need {
    let role = role.cloned().unwrap_or_default();
    Need::All(Permissions::of_patterns(role.permissions.iter().map(String::as_str)), role.name)
}

impl Services {
    /// A change of who may do what.
    async fn grant<Q: registry_proto::rpc::Mutating, M: Mutation>(
        &self,
        request: Request<Q>,
        needs: impl FnOnce(&Q) -> Result<Vec<Need>, Error>,
        to: impl FnOnce(Q, &mut Violations) -> Option<M>,
    ) -> Reply<M::Answer> {
        let act = |registry: Registry, intent: Intent, mutation: M| async move {
            registry.commit(intent, Marked(mutation)).await
        };
        self.act_needing(request, needs, to, act).await
    }
}
