//! `access`: tokens, roles, groups and bindings.

use chrono::Utc;
use registry_client::{Error, pb};

use super::secret::SecretFile;
use super::{Access, Binding, Group, Place, Role, TRIES, Token, on};
use crate::output::{self, Column, Lines, count, fields, first, last, minute, note, page_size};
use crate::values::timestamp;
use crate::{Context, Failure};

pub(crate) async fn access(context: &Context, command: Access) -> Result<(), Failure> {
    match command {
        Access::Token(command) => token(context, command).await,
        Access::Role(command) => role(context, command).await,
        Access::Group(command) => group(context, command).await,
        Access::Binding(command) => binding(context, command).await,
    }
}

async fn token(context: &Context, command: Token) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Token::Create { principal, id, title, roles, resource, expires, secret_file, .. } => {
            let mut create = client.create_token(principal).roles(roles).title(title.unwrap_or_default());
            if let Some(id) = id {
                create = create.id(id);
            }
            if let Some(resource) = resource {
                create = create.on(on(context, &resource)?);
            }
            if let Some(expires) = expires {
                create = create.expires(timestamp(expires));
            }
            let file = secret_file.map(SecretFile::create).transpose()?;
            let mut made = create.await?;
            if let Some(file) = file {
                let secret = std::mem::take(&mut made.secret);
                let path = file.write(&secret)?;
                return out.message("Token", &made, |made| {
                    format!("created {}: its secret is in {}", made.name, path.display())
                });
            }
            out.message("Token", &made, |made| {
                vec![format!("created {}", made.name), format!("secret: {}", made.secret)]
            })?;
            note("keep the secret where only its bearer can read it: it is not shown again");
            Ok(())
        }
        Token::List { limit, .. } => {
            let list = pb::ListTokensRequest { page_size: page_size(limit), ..Default::default() };
            let tokens = first(client.call(list).stream(), limit, "first").await?;
            let columns = [
                "token".into(),
                "principal".into(),
                "state".into(),
                Column::from("roles").if_any(),
                Column::from("on").if_any(),
                Column::from("used").rank(1).if_any(),
                Column::from("expires").rank(1).if_any(),
                Column::prose("title").if_any(),
            ];
            out.rows("Token", &tokens, &columns, |token| {
                vec![
                    last(&token.name).to_owned(),
                    token.principal.clone(),
                    state(token).to_owned(),
                    token.roles.iter().map(|role| last(role)).collect::<Vec<_>>().join(", "),
                    token.resource.clone(),
                    minute(token.last_use_time.as_ref()),
                    minute(token.expire_time.as_ref()),
                    token.title.clone(),
                ]
            })
        }
        Token::Revoke { id } => {
            let revoked = client.revoke_token(id).await?;
            out.message("Token", &revoked, |revoked| format!("revoked {}", revoked.name))
        }
    }
}

/// What a token is good for, in a word.
fn state(token: &pb::Token) -> &'static str {
    let now = timestamp(Utc::now());
    match (&token.revoke_time, &token.expire_time) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if (end.seconds, end.nanos) <= (now.seconds, now.nanos) => "expired",
        (None, _) => "good",
    }
}

async fn role(context: &Context, command: Role) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Role::Create { id, permissions, title } => {
            let role = pb::Role { permissions, title: title.unwrap_or_default(), ..Default::default() };
            let request =
                pb::CreateRoleRequest { role_id: last(&id).to_owned(), role: Some(role), ..Default::default() };
            let made = client.call(request).await?;
            out.message("Role", &made, |made| format!("created {}", made.name))
        }
        Role::Get { id, .. } => out.message("Role", &client.get_role(id).await?, role_text),
        Role::List { limit, .. } => {
            let list = pb::ListRolesRequest { page_size: page_size(limit), ..Default::default() };
            let roles = first(client.call(list).stream(), limit, "first").await?;
            let columns = ["role".into(), Column::from("kind").rank(1), Column::prose("allows")];
            out.rows("Role", &roles, &columns, |role| {
                let kind = if role.built_in { "built in" } else { "own" };
                vec![last(&role.name).to_owned(), kind.to_owned(), role.permissions.join(", ")]
            })
        }
        Role::Delete { id } => {
            let deleted = client.delete_role(id).await?;
            out.message("Role", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
    }
}

fn role_text(role: &pb::Role) -> Lines {
    fields(vec![
        ("name", role.name.clone().into()),
        ("title", role.title.clone().into()),
        ("allows", role.permissions.clone().into()),
        ("built in", if role.built_in { "yes" } else { "" }.to_owned().into()),
        ("description", output::text(&role.description)),
        ("etag", role.etag.clone().into()),
    ])
}

async fn group(context: &Context, command: Group) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Group::Create { id, members } => {
            let made = client.create_group(last(&id), members).await?;
            out.message("Group", &made, |made| format!("created {}", made.name))
        }
        Group::Get { id, .. } => out.message("Group", &client.get_group(id).await?, |group| {
            fields(vec![
                ("name", group.name.clone().into()),
                ("members", group.members.clone().into()),
                ("description", output::text(&group.description)),
                ("etag", group.etag.clone().into()),
            ])
        }),
        Group::List { limit, .. } => {
            let list = pb::ListGroupsRequest { page_size: page_size(limit), ..Default::default() };
            let groups = first(client.call(list).stream(), limit, "first").await?;
            let columns = ["group".into(), Column::prose("members")];
            out.rows("Group", &groups, &columns, |group| vec![last(&group.name).to_owned(), group.members.join(", ")])
        }
        Group::Add { id, members } => {
            let change = |group: &mut pb::Group| {
                let new = members.iter().filter(|member| !group.members.contains(member)).cloned().collect::<Vec<_>>();
                group.members.extend(new);
            };
            change_members(context, &id, change).await
        }
        Group::Remove { id, members } => {
            change_members(context, &id, |group| group.members.retain(|member| !members.contains(member))).await
        }
        Group::Delete { id } => {
            let deleted = client.delete_group(id).await?;
            out.message("Group", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
    }
}

/// Changes the members of a group, again if somebody else changes it meanwhile.
async fn change_members(context: &Context, id: &str, change: impl Fn(&mut pb::Group)) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let mut group = context.client.get_group(id).await?;
        change(&mut group);
        tries += 1;
        match context.client.update_group(group).fields(["members"]).await {
            Err(Error::Status(_)) if tries < TRIES => {}
            changed => {
                let changed = changed?;
                let members = count(i64::try_from(changed.members.len()).unwrap_or(i64::MAX), "member");
                return context.out.message("Group", &changed, |changed| format!("{} has {members}", changed.name));
            }
        }
    }
}

async fn binding(context: &Context, command: Binding) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Binding::List { limit, .. } => {
            let list = pb::ListBindingsRequest { page_size: page_size(limit), ..Default::default() };
            let bindings = first(client.call(list).stream(), limit, "first").await?;
            let condition = Column::from("if").if_any();
            let columns = ["binding".into(), "role".into(), "on".into(), condition, Column::prose("members")];
            out.rows("Binding", &bindings, &columns, |binding| {
                vec![
                    last(&binding.name).to_owned(),
                    last(&binding.role).to_owned(),
                    Place::of(binding).to_string(),
                    binding.condition.clone(),
                    binding.members.join(", "),
                ]
            })
        }
        Binding::Create { id, role, members, resource, tags, condition } => {
            let Place { resource, tags } = Place::new(context, resource.as_deref(), tags)?;
            let made = client.create_binding(id, role, members).on(resource).on_namespaces_with(tags);
            let made = made.condition(condition.unwrap_or_default());
            out.message("Binding", &made.await?, |made| format!("made {}", made.name))
        }
        Binding::Delete { id } => {
            let deleted = client.delete_binding(id).await?;
            out.message("Binding", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_ends() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        for (revoke_time, expire_time, expected) in [
            (None, None, "good"),
            (None, time(4_000_000_000), "good"),
            (None, time(1), "expired"),
            (time(1), time(1), "revoked"),
        ] {
            assert_eq!(state(&pb::Token { revoke_time, expire_time, ..Default::default() }), expected);
        }
    }
}
