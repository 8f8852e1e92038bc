//! What was approved is done: the promotion or the move of the alias, and the approval's own change, in one revision.

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::{Standing, Target, state_number};
use crate::error::Error;
use crate::registry::models::ModelRow;
use crate::registry::resource::Resource;
use crate::registry::stages::{Transition, moves};
use crate::registry::transaction::{Tx, event, resource_of};
use crate::registry::withdrawal::must_not_be_withdrawn;
use crate::registry::{Committed, Mutation, aliases};
use crate::rules::approvals::Action;
use crate::rules::names::{Name, VERSIONS};
use crate::store::Kind;

/// A request to be committed.
pub(crate) struct CommitApproval {
    pub(crate) name: Name,
}

#[async_trait]
impl Mutation for CommitApproval {
    type Answer = pb::CommitApprovalResponse;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Approval = tx.live(&self.name).await?;
        let standing = Standing::of(tx, &before).await?;
        let state = standing.step(&before, Action::Commit, tx.actor)?;
        let name = Name::canonical(&VERSIONS, &before.version);
        match Target::of(&before) {
            Target::Stage(to, incumbent) => {
                let transition = Transition {
                    name,
                    to,
                    incumbent,
                    comment: before.comment.clone(),
                    etag: String::new(),
                    override_gates: false,
                    approval: before.name.clone(),
                };
                transition.carry_out(tx).await?;
            }
            Target::Alias(alias) => {
                let version: pb::Version = tx.live(&name).await?;
                must_not_be_withdrawn(&version)?;
                aliases::point(tx, standing.row, &alias, version.name).await?;
            }
        }
        for event in &mut tx.events {
            event.comment.clone_from(&before.comment);
        }
        let after = pb::Approval { state: state_number(state).into(), ..before.clone() };
        tx.write(event(event_type::APPROVAL_COMMITTED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<Self::Answer, Error> {
        let Committed { revision, events } = committed;
        let (of_approval, others): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| event.r#type == event_type::APPROVAL_COMMITTED);
        let approval = of_approval.into_iter().next().map(resource_of::<pb::Approval>).transpose()?;
        let answer = pb::CommitApprovalResponse { approval, revision: revision.cast_signed(), ..Default::default() };
        if others.iter().any(|event| event.r#type == event_type::ALIAS_SET) {
            let model = others.into_iter().next().map(resource_of::<ModelRow>).transpose()?;
            return Ok(pb::CommitApprovalResponse { model, ..answer });
        }
        let moved = moves(Committed { revision, events: others })?.into_iter().next().unwrap_or_default();
        let pb::TransitionStageResponse { version, displaced, gates, .. } = moved;
        Ok(pb::CommitApprovalResponse { version, displaced, gates, ..answer })
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Approval::reads(&self.name)
    }
}
