//! Approvals: four eyes, or more, before a version enters a stage or a protected alias moves.

use crate::call::setters;
use crate::names::{complete, model_and_version};
use crate::{Call, RegistryClient, pb};

/// Approvals, where a [policy](crate::policies) asks for them.
impl RegistryClient {
    /// Asks for approvals of a promotion: `fraud/versions/7`, to production unless [`stage`](Call::stage) or [`alias`](Call::alias) says
    /// otherwise.
    ///
    /// [`is_failed_precondition`](crate::Error::is_failed_precondition) if no approvals are needed there.
    ///
    /// ```no_run
    /// # async fn example(ana: registry_client::RegistryClient, bob: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// let approval = ana.request_approval("fraud/versions/7").comment("better on all splits").await?;
    /// bob.approve(&approval.name).await?;
    /// ana.commit_approval(&approval.name).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_approval(&self, version: impl Into<String>) -> Call<pb::RequestApprovalRequest> {
        // Without a version the registry says what is wrong with it.
        let (parent, version) = model_and_version(version);
        let stage = pb::Stage::Production.into();
        self.call(pb::RequestApprovalRequest { parent, version, stage, ..Default::default() })
    }

    /// One approval: `fraud/approvals/12`.
    pub fn get_approval(&self, name: impl Into<String>) -> Call<pb::GetApprovalRequest> {
        self.call(pb::GetApprovalRequest { name: complete(name) })
    }

    /// The approvals of a model, or of all of a namespace (`models/-`), the oldest of each model first. A page may be short or empty and
    /// not be the last; `stream()` goes on.
    pub fn list_approvals(&self, model: impl Into<String>) -> Call<pb::ListApprovalsRequest> {
        self.call(pb::ListApprovalsRequest { parent: complete(model), ..Default::default() })
    }

    /// Approves. Nobody approves what they asked for, and a principal counts once.
    pub fn approve(&self, name: impl Into<String>) -> Call<pb::ApproveRequest> {
        self.call(pb::ApproveRequest { name: complete(name), ..Default::default() })
    }

    /// Rejects, for good.
    pub fn reject(&self, name: impl Into<String>) -> Call<pb::RejectRequest> {
        self.call(pb::RejectRequest { name: complete(name), ..Default::default() })
    }

    /// Takes back what this client asked for.
    pub fn withdraw_approval(&self, name: impl Into<String>) -> Call<pb::WithdrawRequest> {
        self.call(pb::WithdrawRequest { name: complete(name), ..Default::default() })
    }

    /// Does what was approved, if it has enough approvals and nothing of it has changed, and its gates let it in.
    pub fn commit_approval(&self, name: impl Into<String>) -> Call<pb::CommitApprovalRequest> {
        self.call(pb::CommitApprovalRequest { name: complete(name), ..Default::default() })
    }
}

setters!(RequestApprovalRequest {
    /// The stage that the version is to enter.
    stage(stage: pb::Stage) |r| r.stage = stage.into();
    /// The last part of its name; without it, a number.
    id(id: impl Into<String>) |r| r.approval_id = id.into();
    /// Not a stage, but this alias, without its `@`, is to point at the version.
    alias(alias: impl Into<String>) |r| {
        r.stage = 0;
        r.alias = alias.into();
    };
    /// What becomes of the version that holds the stage; without it, what the model's policy says.
    incumbent(action: pb::IncumbentAction) |r| r.incumbent = action.into();
    /// Why; those who approve read it, and gates see it.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
    /// Only if this is still the version's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});

setters!(ListApprovalsRequest {
    /// Only those in this state.
    state(state: pb::ApprovalState) |r| r.state = state.into();
    /// Only those that wait for this principal: `users/ana`.
    approver(principal: impl Into<String>) |r| r.approver = principal.into();
    /// `create_time` (the default) or `create_time desc`.
    order_by(order: impl Into<String>) |r| r.order_by = order.into();
});

setters!(ApproveRequest {
    /// Why.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

setters!(RejectRequest {
    /// Why.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});

setters!(WithdrawRequest {
    /// Why.
    comment(comment: impl Into<String>) |r| r.comment = comment.into();
});
