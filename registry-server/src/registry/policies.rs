//! Policies: what is kept of one, which models are under it, and its rules as they are applied.

mod rules;

use async_trait::async_trait;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

pub(crate) use self::rules::incumbent;
pub(super) use self::rules::moment;
use self::rules::rules;
use super::kinds::kind;
use super::lists::{Listed, Page};
use super::models::{ModelRow, UNDER_POLICY};
use super::resource::{Resource, check_etag};
use super::transaction::{Records as _, Tx, decode, event_of};
use super::{Committed, Mutation, Registry, facts};
use crate::error::{Error, Violations};
use crate::rules::gates::Gates;
use crate::rules::names::{Collection, MODELS, Name, POLICIES, check_id};
use crate::rules::stages::{Policy, Stage};
use crate::store::{FactView, Kind, KindLayout, Place, Range, Source};

/// The id of the policy that models are under which name none.
const DEFAULT: &str = "default";

#[async_trait]
impl Resource for pb::Policy {
    const LAYOUT: KindLayout = KindLayout {
        view: Some(FactView { about: "The policies", facts: facts::MADE, facts_of: facts::standard::<Self> }),
        ..kind(Kind(8), "policies")
    };
    const LISTED: Source = Source::Kind(Self::KIND);
    const OF: &'static Collection = &POLICIES;

    fn places(&self, _: &Name) -> Vec<Place> {
        Vec::new()
    }

    fn check(message: &Self, found: &mut Violations) {
        rules::check(message, found);
    }
}

/// A policy as it is applied.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    /// By stage, of those that have a rule.
    gates: Vec<(Stage, Gates)>,
    /// By stage, of those that need approvals.
    approvals: Vec<(Stage, pb::ApprovalRule)>,
    /// Those that versions enter by themselves.
    automatic: Vec<Stage>,
    /// By alias.
    aliases: Vec<(String, pb::ApprovalRule)>,
}

/// The policy that a model is under.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// Empty: the built-in one.
    pub(super) name: String,
    pub(super) revision: i64,
    rules: Rules,
}

impl InForce {
    fn of(policy: pb::Policy) -> Result<Self, Error> {
        let mut found = Violations::default();
        let rules = rules(&policy, &mut found);
        let rules = found.unless_any(rules).map_err(|error| Error::internal(format!("{}: {error}", policy.name)))?;
        Ok(Self { name: policy.name, revision: policy.revision, rules })
    }

    /// Which transitions it allows.
    pub(super) fn policy(&self) -> &Policy {
        &self.rules.policy
    }

    /// What it asks of those who enter a stage.
    pub(super) fn gates(&self, stage: Stage) -> Option<&Gates> {
        self.rules.gates.iter().find(|(of, _)| *of == stage).map(|(_, gates)| gates)
    }

    /// The approvals that it asks of those who enter a stage.
    pub(super) fn approvals(&self, stage: Stage) -> Option<&pb::ApprovalRule> {
        self.rules.approvals.iter().find(|(of, _)| *of == stage).map(|(_, rule)| rule)
    }

    /// The stages that versions enter by themselves, in the order of a version's life.
    pub(super) fn automatic(&self) -> &[Stage] {
        &self.rules.automatic
    }

    /// The approvals without which an alias does not move.
    pub(super) fn protects(&self, alias: &str) -> Option<&pb::ApprovalRule> {
        self.rules.aliases.iter().find(|(of, _)| of == alias).map(|(_, rule)| rule)
    }
}

/// The policy that a model is under, as it is committed and staged.
///
/// # Errors
/// If it can't be understood: that is no fault of the caller.
pub(super) async fn in_force(tx: &Tx<'_>, model: &pb::Model) -> Result<InForce, Error> {
    policy_of(tx, model).await?.map_or_else(|| Ok(InForce::default()), InForce::of)
}

/// The same, if it has a stage that versions enter by themselves. Every change of a version asks: gates are not read before that is known.
pub(super) async fn in_force_if_automatic(tx: &Tx<'_>, model: &pb::Model) -> Result<Option<InForce>, Error> {
    let policy = policy_of(tx, model).await?;
    policy.filter(|policy| policy.stages.iter().any(|rule| rule.automatic)).map(InForce::of).transpose()
}

/// `None`: the built-in one.
async fn policy_of(tx: &Tx<'_>, model: &pb::Model) -> Result<Option<pb::Policy>, Error> {
    let name = match model.policy.as_str() {
        "" => default_of(&Name::canonical(&MODELS, &model.name)),
        named => Name::canonical(&POLICIES, named),
    };
    match (tx.store.get(pb::Policy::KIND, &name.key()).await?, model.policy.as_str()) {
        (Some(record), _) => Ok(Some(decode(&record)?)),
        (None, "") => Ok(None),
        (None, named) => Err(Error::internal(format!("{} is under {named}, which is gone", model.name))),
    }
}

/// The policy of a model that names none.
fn default_of(model: &Name) -> Name {
    model.parent().child(&POLICIES, DEFAULT)
}

/// What finding the policy of a model reads, if the model names none.
pub(super) fn reads(model: &Name) -> (Kind, Vec<u8>) {
    (pb::Policy::KIND, default_of(model).key())
}

/// Checks how a model names a policy, as far as that can be told without knowing the model.
pub(super) fn check_reference(text: &str, found: &mut Violations) {
    match text {
        "" => {}
        whole if whole.contains('/') => drop(found.name("policy", &POLICIES, whole)),
        id => drop(found.parsed("policy", check_id(id))),
    }
}

/// The name of the policy that a model is to be under, by what its caller wrote, which was checked; it has to be there.
pub(super) async fn admit(tx: &Tx<'_>, model: &Name, text: &str) -> Result<String, Error> {
    let namespace = model.parent();
    let name = match Name::parse(&POLICIES, text) {
        Ok(name) if text.contains('/') => name,
        _ => namespace.child(&POLICIES, text),
    };
    if name.parent() != namespace {
        let why = format!("{name} is a policy of another namespace than {namespace}");
        return Err(Error::field("model.policy", ErrorReason::FieldInvalid, why));
    }
    tx.any::<pb::Policy>(&name).await?;
    Ok(name.to_string())
}

impl Registry {
    /// A page of the policies of a namespace.
    pub(crate) async fn list_policies(&self, namespace: &Name, page: &Page) -> Result<Listed<pb::Policy>, Error> {
        self.store.parent_must_exist(namespace).await?;
        self.page::<pb::Policy, _>(pb::Policy::LISTED, namespace.prefix(), page, |record| decode(&record)).await
    }
}

/// A policy to be removed.
pub(crate) struct DeletePolicy {
    pub(crate) name: Name,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for DeletePolicy {
    type Answer = pb::Policy;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let policy: pb::Policy = tx.any(&self.name).await?;
        check_etag(&policy, &self.etag)?;
        let named = Range::first(self.name.prefix(), 1);
        let hits = tx.store.scan(Source::Index(UNDER_POLICY), &named).await?;
        if let Some(hit) = hits.first() {
            let model = ModelRow::name_in(&hit.record)?;
            let detail = format!("models are under it, such as {model}");
            return Err(Error::precondition(ErrorReason::ResourceProtected, policy.name, detail));
        }
        tx.remove(event_of::<pb::Policy>("deleted"), policy).await
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        committed.changed::<pb::Policy>("deleted")
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Policy::reads(&self.name)
    }
}
