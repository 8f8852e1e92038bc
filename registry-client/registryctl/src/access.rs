//! `whoami`, `can`, `grant`, `revoke` and `access`: who may do what.

mod kept;
mod secret;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use registry_client::pb;

pub(crate) use self::kept::access;
use crate::args::{Shape, TableShape, pair, time};
use crate::output::{self, fields, last};
use crate::{Context, Failure, Usage};

/// Who gets a role, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Grant {
    /// `users/ana`, `services/trainer`, `groups/risk` or `allAuthenticated`.
    principal: String,
    /// For example `viewer`, `publisher`, `deployer`, `approver`, `auditor`, `admin`.
    role: String,
    /// A namespace or model: `namespaces/risk`, `fraud`; without it, the server with all there is.
    resource: Option<String>,
    /// On the namespaces that have this tag, such as `team=risk`; may be given several times, for those that have all of them.
    #[arg(long = "on-tag", value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "resource")]
    tags: Vec<(String, String)>,
}

/// Where a role is given.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The name of a namespace or a model; empty otherwise.
    resource: String,
    /// Of namespaces.
    tags: BTreeMap<String, String>,
}

impl Place {
    fn new(context: &Context, resource: Option<&str>, tags: Vec<(String, String)>) -> Result<Self, Failure> {
        let resource = resource.map(|resource| on(context, resource)).transpose()?.unwrap_or_default();
        let given = tags.len();
        let tags: BTreeMap<_, _> = tags.into_iter().collect();
        // The last one alone would be more than what was asked for.
        if tags.len() < given {
            return Err(Usage("--on-tag has a key twice, and no namespace has two values of it".to_owned()).into());
        }
        Ok(Self { resource, tags })
    }

    fn of(binding: &pb::Binding) -> Self {
        Self { resource: binding.resource.clone(), tags: binding.namespace_tags.clone() }
    }

    /// The id of the binding of a role that `grant` makes here: one for all who have it.
    fn binding_id(&self, role: &str) -> String {
        let names = self.resource.split('/').skip(1).step_by(2);
        let tags = self.tags.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        std::iter::once(last(role)).chain(names).chain(tags).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tags.is_empty() {
            return f.write_str(place(&self.resource));
        }
        let tags: Vec<_> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        write!(f, "namespaces with {}", tags.join(", "))
    }
}

/// Who may do something, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Can {
    /// `users/ana` or `services/trainer`.
    principal: String,
    /// For example `versions.transitionStage`.
    permission: String,
    /// A namespace or model: `namespaces/risk`, `fraud`; without it, the server.
    resource: Option<String>,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Access {
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(Token),
    /// Make, show, list and remove roles.
    #[command(subcommand)]
    Role(Role),
    /// Make, show, list, fill and remove groups.
    #[command(subcommand)]
    Group(Group),
    /// List and remove bindings; `grant` and `revoke` make and change them.
    #[command(subcommand)]
    Binding(Binding),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token, and print its secret, once.
    Create {
        /// As whom its bearer calls: `users/ana` or `services/trainer`.
        principal: String,
        /// Its id; one is made up by default.
        #[arg(long)]
        id: Option<String>,
        /// What it is called.
        #[arg(long)]
        title: Option<String>,
        /// It allows no more than this role does; may be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// It is good on this namespace or model only.
        #[arg(long = "on", value_name = "NAME")]
        resource: Option<String>,
        /// When it ends, for example 2027-01-31 or 2027-01-31T12:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires: Option<DateTime<Utc>>,
        /// Write the secret to a new file that only you can read, and don't print it.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the tokens, also those that have ended.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// End a token, at once and for good.
    Revoke {
        /// The id of the token.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Make a role.
    Create {
        /// For example `namer`.
        id: String,
        /// What it allows: `models.get`, `models.*`.
        #[arg(required = true, value_name = "PERMISSION")]
        permissions: Vec<String>,
        /// What it is called.
        #[arg(long)]
        title: Option<String>,
    },
    /// Show a role, with what it allows.
    Get {
        /// For example `viewer`.
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the roles, those that are built in as well.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Remove a role for good: its bindings give nothing any more.
    Delete {
        /// For example `namer`.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Make a group.
    Create {
        /// For example `risk`.
        id: String,
        /// Who is in it: `users/ana`, `services/trainer`.
        #[arg(value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Show a group.
    Get {
        /// For example `risk`.
        id: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the groups.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Put users and services into a group.
    Add {
        /// The id of the group.
        id: String,
        /// Who: `users/ana`, `services/trainer`.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Take users and services out of a group.
    Remove {
        /// The id of the group.
        id: String,
        /// Who.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Remove a group for good.
    Delete {
        /// The id of the group.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Binding {
    /// List the bindings that you may see.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Give a role to one or more at once; `grant` does so for one, without a condition.
    Create {
        /// The id of the binding.
        id: String,
        /// The role: `publisher`.
        role: String,
        /// Who: `users/ana`, `services/trainer`, `groups/risk` or `allAuthenticated`.
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
        /// On this namespace (`namespaces/risk`) or model; by default on the server.
        #[arg(long = "on", value_name = "NAME")]
        resource: Option<String>,
        /// On the namespaces that have this tag, such as `team=risk`; may be given several times, for those that have all of them.
        #[arg(long = "on-tag", value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "resource")]
        tags: Vec<(String, String)>,
        /// Only while this condition in CEL is met: 'now < timestamp("2027-01-01T00:00:00Z")'.
        #[arg(long = "if", value_name = "CONDITION")]
        condition: Option<String>,
    },
    /// Remove a binding for good.
    Delete {
        /// The id of the binding.
        id: String,
    },
}

pub(crate) async fn whoami(context: &Context) -> Result<(), Failure> {
    let caller = context.client.who_am_i().await?;
    context.out.message("WhoAmIResponse", &caller, |caller| {
        let proof = match caller.authenticated {
            true if !caller.certificate.is_empty() => format!("the certificate of {}", caller.certificate),
            true if !caller.issuer.is_empty() => format!("a token of {}", caller.issuer),
            true => caller.token.clone(),
            false => "nobody has checked that".to_owned(),
        };
        fields(vec![
            ("principal", caller.principal.clone().into()),
            ("by", proof.into()),
            ("until", output::time(caller.expire_time.as_ref()).into()),
            ("groups", caller.groups.clone().into()),
        ])
    })
}

pub(crate) async fn can(context: &Context, command: Can) -> Result<(), Failure> {
    let Can { principal, permission, resource, .. } = command;
    let resource = resource.map(|resource| on(context, &resource)).transpose()?.unwrap_or_default();
    let explained = context.client.explain_access(&principal, &permission, &resource).await?;
    context.out.message("ExplainAccessResponse", &explained, |explained| {
        let place = place(&resource);
        let verdict = if explained.granted { "may" } else { "may not" };
        let because = explained.grants.iter().map(|grant| {
            let pb::AccessGrant { binding, role, member, resource } = grant;
            format!("by {binding}: {role} for {member} on {}", self::place(resource))
        });
        let first = std::iter::once(format!("{principal} {verdict} {permission} on {place}"));
        first.chain(because).collect::<Vec<_>>()
    })?;
    if explained.granted { Ok(()) } else { Err(format!("{principal} lacks {permission}").into()) }
}

/// A resource as people read it.
fn place(resource: &str) -> &str {
    if resource.is_empty() { "the server" } else { resource }
}

/// The whole name of a namespace or model.
fn on(context: &Context, resource: &str) -> Result<String, Failure> {
    let resource = resource.trim_start_matches("models/");
    match resource.split('/').collect::<Vec<_>>()[..] {
        ["namespaces", _] | ["namespaces", _, "models", _] => Ok(resource.to_owned()),
        [model] if !model.is_empty() && !model.contains('@') => {
            let namespace = context.namespace.as_deref().unwrap_or("default");
            Ok(format!("namespaces/{namespace}/models/{model}"))
        }
        _ => Err(Usage(format!("{resource} is neither a namespace nor a model")).into()),
    }
}

/// How often it is tried to change a binding that others change meanwhile.
const TRIES: usize = 5;

pub(crate) async fn grant(context: &Context, command: Grant) -> Result<(), Failure> {
    let Grant { principal, role, resource, tags } = command;
    let place = Place::new(context, resource.as_deref(), tags)?;
    let (client, id) = (&context.client, place.binding_id(&role));
    for _ in 0..TRIES {
        let made = client.create_binding(&id, &role, [&principal]).on(&place.resource);
        let made = made.on_namespaces_with(place.tags.clone()).await;
        let binding = match made {
            Err(error) if error.is_already_exists() => client.get_binding(&id).await,
            made => made,
        }?;
        let there = Place::of(&binding);
        let same = last(&binding.role) == last(&role) && there == place && binding.condition.is_empty();
        if !same {
            let condition = if binding.condition.is_empty() { "" } else { ", under a condition" };
            return Err(format!("{} is of {} on {there}{condition}", binding.name, binding.role).into());
        }
        if binding.members.contains(&principal) {
            return said(context, &binding, format!("{principal} has {} on {place}", binding.role));
        }
        let mut more = binding;
        more.members.push(principal.clone());
        match client.update_binding(more).fields(["members"]).await {
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            changed => {
                let changed = changed?;
                return said(context, &changed, format!("{principal} has {} on {place}", changed.role));
            }
        }
    }
    Err(format!("the binding {id} is changed by others all the time").into())
}

pub(crate) async fn revoke(context: &Context, command: Grant) -> Result<(), Failure> {
    let Grant { principal, role, resource, tags } = command;
    let place = Place::new(context, resource.as_deref(), tags)?;
    let client = &context.client;
    let mut revoked = Vec::new();
    let bindings: Vec<pb::Binding> = client.list_bindings().stream().try_collect().await?;
    for binding in bindings {
        // Also what is there under a condition.
        let is_it = last(&binding.role) == last(&role) && Place::of(&binding) == place;
        if !is_it || !binding.members.contains(&principal) {
            continue;
        }
        let name = binding.name.clone();
        if binding.members == [principal.clone()] {
            client.delete_binding(&name).etag(binding.etag).await?;
        } else {
            let mut fewer = binding;
            fewer.members.retain(|member| *member != principal);
            client.update_binding(fewer).fields(["members"]).await?;
        }
        revoked.push(name);
    }
    if revoked.is_empty() {
        return Err(format!("{principal} has no binding of {role} on {place}").into());
    }
    // They may have it by a group, or by another role.
    context.out.text(&format!("{principal} has {role} on {place} no more by {}\n", revoked.join(", ")))
}

fn said(context: &Context, binding: &pb::Binding, text: String) -> Result<(), Failure> {
    context.out.message("Binding", binding, |binding| format!("{text} by {}", binding.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_called_after_what_it_gives_where() {
        let team = ("team".to_owned(), "risk".to_owned());
        for (role, resource, tags, expected, shown) in [
            ("viewer", "", None, "viewer", "the server"),
            ("roles/viewer", "namespaces/risk", None, "viewer.risk", "namespaces/risk"),
            (
                "publisher",
                "namespaces/default/models/fraud",
                None,
                "publisher.default.fraud",
                "namespaces/default/models/fraud",
            ),
            ("viewer", "", Some(team), "viewer.team.risk", "namespaces with team=risk"),
        ] {
            let place = Place { resource: resource.to_owned(), tags: tags.into_iter().collect() };
            assert_eq!((place.binding_id(role).as_str(), place.to_string().as_str()), (expected, shown));
        }
    }
}
