#![doc = include_str!("../docs/policies.md")]

use crate::call::setters;
use crate::models::mask;
use crate::{Call, RegistryClient, pb};

/// Policies: which stage changes models allow, and what versions have to show. See [`policies`](crate::policies).
impl RegistryClient {
    /// Makes a policy: `strict`, `policies/strict` or `namespaces/risk/policies/strict`.
    ///
    /// [`is_already_exists`](crate::Error::is_already_exists) if the name is taken;
    /// [`is_invalid_argument`](crate::Error::is_invalid_argument) if something in it can't be, such as a condition: all that is wrong is in
    /// [`violations`](crate::Error::violations).
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use registry_client::policies::{gate, rule};
    /// use registry_client::pb::Stage;
    ///
    /// let better = gate("better", "version.metrics.test.rmse < incumbent.metrics.test.rmse").message("no better than what is live");
    /// client.create_policy("strict").stage(rule(Stage::Production).exclusive().gate(better)).await?;
    /// client.create_model("fraud").policy("strict").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_policy(&self, policy: impl Into<String>) -> Call<pb::CreatePolicyRequest> {
        let name = named(policy);
        let (parent, policy_id) = match name.strip_prefix("policies/") {
            Some(id) => ("", id),
            None => name.split_once("/policies/").unwrap_or(("", &name)),
        };
        let (parent, policy_id) = (parent.to_owned(), policy_id.to_owned());
        self.call(pb::CreatePolicyRequest { parent, policy_id, ..Default::default() })
    }

    /// One policy.
    pub fn get_policy(&self, name: impl Into<String>) -> Call<pb::GetPolicyRequest> {
        self.call(pb::GetPolicyRequest { name: named(name) })
    }

    /// The policies of the default namespace, or of [`parent`](Call::parent).
    pub fn list_policies(&self) -> Call<pb::ListPoliciesRequest> {
        self.call(pb::ListPoliciesRequest::default())
    }

    /// Changes a policy: those of its changeable fields that are not empty, or those that [`fields`](Call::fields) names. What is in a
    /// stage stays there.
    ///
    /// If the policy has an etag, [`is_conflict`](crate::Error::is_conflict) unless it is still the current one.
    pub fn update_policy(&self, mut policy: pb::Policy) -> Call<pb::UpdatePolicyRequest> {
        policy.name = named(policy.name);
        self.call(pb::UpdatePolicyRequest { policy: Some(policy), ..Default::default() })
    }

    /// Removes a policy for good. [`is_failed_precondition`](crate::Error::is_failed_precondition) if models name it.
    pub fn delete_policy(&self, name: impl Into<String>) -> Call<pb::DeletePolicyRequest> {
        self.call(pb::DeletePolicyRequest { name: named(name), ..Default::default() })
    }
}

setters!(CreatePolicyRequest {
    /// Everything of the policy at once, in place of what was set before.
    policy(policy: pb::Policy) |r| r.policy = Some(policy);
    /// What it is for, for people.
    description(text: impl Into<String>) |r| draft(r).description = text.into();
    /// Adds a tag, for selecting.
    tag(key: impl Into<String>, value: impl Into<String>) |r| {
        draft(r).tags.insert(key.into(), value.into());
    };
    /// Makes a transition legal. Without any, all are.
    transition(from: pb::Stage, to: pb::Stage) |r| {
        draft(r).transitions.push(pb::StageTransition { from_stage: from.into(), to_stage: to.into() });
    };
    /// Adds the rule of a stage: see [`rule`].
    stage(rule: impl Into<pb::StageRule>) |r| draft(r).stages.push(rule.into());
    /// Protects an alias, without its `@`: it moves with approvals only. See [`approvals`].
    protect(alias: impl Into<String>, approvals: pb::ApprovalRule) |r| {
        draft(r).aliases.push(pb::AliasRule { alias: alias.into(), approvals: Some(approvals) });
    };
});

setters!(ListPoliciesRequest {
    /// Of this namespace: `namespaces/risk`.
    parent(namespace: impl Into<String>) |r| r.parent = namespace.into();
    /// `name` (the default) or `name desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
});

setters!(UpdatePolicyRequest {
    /// Which fields to take, also if they are empty: `stages`, `transitions`, ...; `*` takes all.
    fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.update_mask = Some(mask(fields));
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

setters!(DeletePolicyRequest {
    /// Only if this is still the policy's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
    /// Why, for the audit trail.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

fn draft(request: &mut pb::CreatePolicyRequest) -> &mut pb::Policy {
    request.policy.get_or_insert_default()
}

/// A policy by its name, or only the last part of that.
pub(crate) fn named(name: impl Into<String>) -> String {
    let name = name.into();
    if name.is_empty() || name.contains('/') { name } else { format!("policies/{name}") }
}

/// The rule of a stage, to be filled.
pub fn rule(stage: pb::Stage) -> Rule {
    Rule(pb::StageRule { stage: stage.into(), ..Default::default() })
}

/// So many members of a group have to approve: `groups/risk`, or only `risk`.
pub fn approvals(count: i32, group: impl Into<String>) -> pb::ApprovalRule {
    let group = group.into();
    let group = if group.contains('/') { group } else { format!("groups/{group}") };
    pb::ApprovalRule { count, group, ..Default::default() }
}

/// A condition that a version has to meet, in CEL: see [`pb::Gate::condition`].
pub fn gate(name: impl Into<String>, condition: impl Into<String>) -> Gate {
    Gate(pb::Gate { name: name.into(), condition: condition.into(), ..Default::default() })
}

/// How a stage is filled, and what a version has to show to enter it. Made by [`rule`].
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Rule(pb::StageRule);

impl Rule {
    /// The stage holds one version at most; the incumbent is archived, unless [`incumbent`](Self::incumbent) says otherwise.
    pub fn exclusive(mut self) -> Self {
        self.0.exclusive = true;
        self
    }

    /// The stage holds one version at most, and this becomes of it when another one enters.
    pub fn incumbent(mut self, action: pb::IncumbentAction) -> Self {
        self.0.incumbent = action.into();
        self.exclusive()
    }

    /// A version enters by itself as soon as it is READY and passes all gates, once, unless somebody has moved it: for STAGING and PRODUCTION,
    /// without approvals.
    pub fn automatic(mut self) -> Self {
        self.0.automatic = true;
        self
    }

    /// A version needs a check with this id that has succeeded.
    pub fn check(mut self, id: impl Into<String>) -> Self {
        self.0.required_checks.push(id.into());
        self
    }

    /// A version has to meet this as well: see [`gate`].
    pub fn gate(mut self, gate: impl Into<pb::Gate>) -> Self {
        self.0.gates.push(gate.into());
        self
    }

    /// A version needs an artifact of this type, for example [`SCHEMA`](crate::known::artifact_type::SCHEMA).
    pub fn requires(mut self, artifact_type: impl Into<String>) -> Self {
        self.0.required_artifact_types.push(artifact_type.into());
        self
    }

    /// Whoever calls the incumbent can call the version in its place, by their signatures.
    pub fn compatible_signature(mut self) -> Self {
        self.0.compatible_signature = true;
        self
    }

    /// For so long a version has to have been in the stage that it comes from. At most 10,000 years.
    pub fn soak(mut self, time: std::time::Duration) -> Self {
        self.0.soak_duration = prost_types::Duration::try_from(time).ok();
        self
    }

    /// Versions enter on these days between these times of the day, `09:00` and `17:00`, in this zone, `Europe/Berlin`; or in another
    /// window.
    pub fn window(
        mut self,
        days: impl IntoIterator<Item = pb::DayOfWeek>,
        start: impl Into<String>,
        end: impl Into<String>,
        time_zone: impl Into<String>,
    ) -> Self {
        self.0.change_windows.push(pb::ChangeWindow {
            days: days.into_iter().map(Into::into).collect(),
            start: start.into(),
            end: end.into(),
            time_zone: time_zone.into(),
        });
        self
    }

    /// A version enters with approvals only: see [`approvals`].
    pub fn approvals(mut self, approvals: pb::ApprovalRule) -> Self {
        self.0.approvals = Some(approvals);
        self
    }

    /// Versions do not enter in this time.
    pub fn freeze(mut self, freeze: pb::Freeze) -> Self {
        self.0.freezes.push(freeze);
        self
    }
}

impl From<Rule> for pb::StageRule {
    fn from(Rule(rule): Rule) -> Self {
        rule
    }
}

/// A condition that a version has to meet. Made by [`gate`].
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Gate(pb::Gate);

impl Gate {
    /// What to say to those who do not pass.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// It keeps nobody out, and only says what it finds.
    pub fn warns(mut self) -> Self {
        self.0.severity = pb::GateSeverity::Warn.into();
        self
    }
}

impl From<Gate> for pb::Gate {
    fn from(Gate(gate): Gate) -> Self {
        gate
    }
}
