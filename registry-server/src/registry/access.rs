//! Groups, roles and bindings: their records and their own rules. [`guard`] decides by them.

pub(crate) mod came;
mod denials;
pub(crate) mod guard;
pub(crate) mod jwt;
pub(crate) mod roles;
mod shared;
pub(super) mod tagged;
pub(crate) mod tokens;
pub(crate) mod wishes;

use async_trait::async_trait;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;

use super::kinds::kind;
use super::lists::{Listed, Page};
use super::resource::{Resource, exists};
use super::standard::Update;
use super::transaction::{Tx, event_of};
use super::{Committed, Mutation, Registry, facts, validate};
use crate::error::{Error, Violations, quoted};
use crate::rules::access::{ALL_AUTHENTICATED, Permissions, built_in};
use crate::rules::expression::ACCESS;
use crate::rules::identity::check_principal_id;
use crate::rules::names::{BINDINGS, Collection, GROUPS, MODELS, NAMESPACES, Name, NameError, ROLES};
use crate::store::{FactView, Kind, KindLayout, Place, Source};

/// How many members a group or a binding has.
const MEMBERS: usize = 1000;
/// How many permissions a role names.
const PERMISSIONS: usize = 200;

macro_rules! kept {
    ($message:ty, $number:literal, $name:literal, $of:ident, $check:ident, $about:literal) => {
        #[async_trait]
        impl Resource for $message {
            const LAYOUT: KindLayout = KindLayout {
                view: Some(FactView { about: $about, facts: facts::MADE, facts_of: facts::standard::<Self> }),
                ..kind(Kind($number), $name)
            };
            const LISTED: Source = Source::Kind(Self::KIND);
            const OF: &'static Collection = &$of;

            fn places(&self, _: &Name) -> Vec<Place> {
                Vec::new()
            }

            fn check(message: &Self, found: &mut Violations) {
                validate::long(found, "description", &message.description, validate::TEXT_BYTES);
                $check(message, found);
            }
        }
    };
}

kept!(pb::Group, 16, "groups", GROUPS, check_group, "The groups");
kept!(pb::Role, 17, "roles", ROLES, check_role, "The roles that are not built in");
kept!(pb::Binding, 18, "bindings", BINDINGS, check_binding, "The bindings of roles");

fn check_group(group: &pb::Group, found: &mut Violations) {
    check_members(&group.members, &["users/", "services/"], found);
}

fn check_role(role: &pb::Role, found: &mut Violations) {
    validate::short(found, "title", &role.title);
    if role.permissions.len() > PERMISSIONS {
        found.invalid(
            "permissions",
            format!("has {} entries; at most {PERMISSIONS} are allowed", role.permissions.len()),
        );
        return;
    }
    for (at, permission) in role.permissions.iter().enumerate() {
        if Permissions::of(permission).is_none() {
            let unknown = "is no permission, nor a collection of permissions and `.*`, nor `*`";
            found.invalid(format!("permissions[{at}]"), format!("{} {unknown}", quoted(permission)));
        }
    }
}

fn check_binding(binding: &pb::Binding, found: &mut Violations) {
    check_members(&binding.members, &["users/", "services/", "groups/"], found);
    if !binding.role.is_empty() {
        found.name("role", &ROLES, &binding.role);
    }
    found.parsed("resource", resource(&binding.resource));
    validate::pairs(found, "namespace_tags", &binding.namespace_tags);
    if !binding.resource.is_empty() && !binding.namespace_tags.is_empty() {
        found.invalid("namespace_tags", "must be empty where a resource is given");
    }
    found.condition("condition", &binding.condition, &ACCESS);
}

fn check_members(members: &[String], kinds: &[&str], found: &mut Violations) {
    if members.len() > MEMBERS {
        found.invalid("members", format!("has {} entries; at most {MEMBERS} are allowed", members.len()));
        return;
    }
    for (at, member) in members.iter().enumerate() {
        let any = kinds.contains(&"groups/") && member == ALL_AUTHENTICATED;
        if !any {
            found.parsed(format!("members[{at}]"), check_principal(member, kinds));
        }
    }
}

/// Checks the name of a principal: a user may be called as in an address, `users/ana@example.com`.
pub(crate) fn check_principal(text: &str, kinds: &[&str]) -> Result<(), NameError> {
    let Some(id) = kinds.iter().find_map(|kind| text.strip_prefix(kind)) else {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("\"{kind}{{id}}\"")).collect();
        return Err(NameError(format!("expected {}", kinds.join(" or "))));
    };
    check_principal_id(id).map_err(|NameError(why)| NameError(format!("the principal's id {why}")))
}

/// The resource that roles are given on: the whole name of a namespace or a model, or nothing.
pub(crate) fn resource(text: &str) -> Result<String, NameError> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let of = if text.split('/').any(|segment| segment == MODELS.segment) { &MODELS } else { &NAMESPACES };
    Ok(Name::parse(of, text)?.to_string())
}

/// A kind of which those are made that say who may do what.
#[async_trait]
pub(crate) trait Access: Resource {
    /// The fields that must not be empty, and are.
    fn lacking(_message: &Self::Message) -> Vec<&'static str> {
        Vec::new()
    }

    /// What a caller gave as it is kept.
    fn completed(message: Self::Message) -> Self::Message {
        message
    }

    /// Fails if it can't be made.
    async fn may_be_made(_name: &Name, _message: &Self::Message, _tx: &Tx<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl Access for pb::Group {}

#[async_trait]
impl Access for pb::Role {
    fn lacking(message: &Self) -> Vec<&'static str> {
        if message.permissions.is_empty() { vec!["permissions"] } else { Vec::new() }
    }

    async fn may_be_made(name: &Name, _: &Self, _: &Tx<'_>) -> Result<(), Error> {
        match built_in(name.as_str()) {
            Some(role) => Err(exists(name.as_str(), &roles::message(role))),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Access for pb::Binding {
    fn lacking(message: &Self) -> Vec<&'static str> {
        let fields = [("role", message.role.is_empty()), ("members", message.members.is_empty())];
        fields.into_iter().filter_map(|(field, empty)| empty.then_some(field)).collect()
    }

    fn completed(message: Self) -> Self {
        Self { resource: resource(&message.resource).unwrap_or_default(), ..message }
    }

    async fn may_be_made(_: &Name, message: &Self, tx: &Tx<'_>) -> Result<(), Error> {
        roles::must_exist(tx, &message.role).await
    }
}

/// A group, role or binding to be made; what its caller gave was checked.
pub(crate) struct Make<R: Resource> {
    name: Name,
    message: R::Message,
}

impl<R: Access> Make<R> {
    /// Checks what a caller gave.
    pub(crate) fn new(name: Option<Name>, message: Option<R::Message>, found: &mut Violations) -> Option<Self> {
        let Some(message) = message else {
            found.required(R::OF.singular);
            return None;
        };
        let message = found.within(R::OF.singular, |found| {
            R::check(&message, found);
            R::lacking(&message).into_iter().for_each(|field| found.required(field));
            R::completed(message)
        });
        Some(Self { name: name?, message })
    }
}

#[async_trait]
impl<R: Access + Default> Mutation for Make<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        if let Some(record) = tx.store.get(R::KIND, &self.name.key()).await? {
            return Err(exists(self.name.as_str(), &R::decode(&record)?));
        }
        R::may_be_made(&self.name, &self.message, tx).await?;
        let mut row = R::default();
        *row.message_mut() = self.message.given();
        *row.message_mut().meta_mut().name = self.name.to_string();
        tx.write(event_of::<R>("created"), None, row).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("created")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        R::reads(&self.name)
    }
}

/// New values for some fields of a group, role or binding.
pub(crate) struct Alter<R: Resource>(pub(crate) Update<R>);

#[async_trait]
impl<R: Access> Mutation for Alter<R> {
    type Answer = R::Message;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let (before, after) = self.0.changed(tx).await?;
        let mut found = Violations::default();
        let lacking = R::lacking(after.message()).into_iter();
        found.within(R::OF.singular, |found| lacking.for_each(|field| found.invalid(field, "must not be empty")));
        found.check()?;
        tx.write(event_of::<R>("updated"), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<R>("updated")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.reads()
    }
}

/// A change of who may do what.
pub(crate) struct Marked<M>(pub(crate) M);

#[async_trait]
impl<M: Mutation> Mutation for Marked<M> {
    type Answer = M::Answer;

    const CHANGES_ACCESS: bool = true;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        self.0.apply(tx).await?;
        match tx.events.is_empty() {
            true => Ok(()),
            false => tx.mark_access().await,
        }
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        M::answer(committed)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        self.0.reads()
    }
}

impl Registry {
    /// A page of the groups or bindings.
    pub(crate) async fn list_access<R: Access>(&self, page: &Page) -> Result<Listed<R::Message>, Error> {
        self.page::<R, _>(R::LISTED, Vec::new(), page, |record| Ok(R::decode(&record)?.into_message())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_have_a_kind_and_an_id() {
        let kinds = ["users/", "services/"];
        for good in ["users/ana", "services/trainer-1", "users/ana@example.com", "users/7"] {
            assert_eq!(check_principal(good, &kinds), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ana",
            "users/",
            "users/a/b",
            "users/@b",
            "users/a@",
            "users/a@b@c",
            "groups/risk",
            "users/a b",
            "Users/ana",
        ] {
            assert!(check_principal(bad, &kinds).is_err(), "{bad}");
        }
    }

    #[test]
    fn roles_are_given_on_the_server_namespaces_and_models() {
        for (text, expected) in [
            ("", ""),
            ("namespaces/risk", "namespaces/risk"),
            ("models/fraud", "namespaces/default/models/fraud"),
            ("namespaces/risk/models/fraud", "namespaces/risk/models/fraud"),
        ] {
            assert_eq!(resource(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "namespaces/-",
            "models/-",
            "models/fraud@production",
            "models/fraud/versions/1",
            "webhooks/a",
            "risk",
            "namespaces/a/models",
        ] {
            assert!(resource(text).is_err(), "{text}");
        }
    }
}
