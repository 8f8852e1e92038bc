//! `ApprovalService`.

use registry_proto::v1 as pb;
use registry_proto::v1::approval_service_server::ApprovalService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use super::models::version_of;
use crate::error::Violations;
use crate::registry::access::check_principal;
use crate::registry::approvals::{CommitApproval, Decide, Listing, RequestApproval, Target};
use crate::registry::policies::incumbent;
use crate::registry::stages::stage;
use crate::rules::approvals::Action;
use crate::rules::names::{APPROVALS, MODELS, Name, check_alias, check_id};

#[tonic::async_trait]
impl ApprovalService for Services {
    async fn request_approval(&self, request: Request<pb::RequestApprovalRequest>) -> Reply<pb::Approval> {
        self.change(request, |request, found| {
            let model = found.name("parent", &MODELS, &request.parent);
            let id = request.approval_id;
            if !id.is_empty() {
                found.parsed("approval_id", check_id(&id));
                if id.bytes().all(|byte| byte.is_ascii_digit()) {
                    found.invalid("approval_id", "must not be a number: those are given by the registry");
                }
            }
            let version = version_of(model.as_ref(), &request.version, found);
            let incumbent = incumbent("incumbent", request.incumbent, found);
            let target = match (request.stage, request.alias.as_str()) {
                (0, "") => {
                    found.required("stage");
                    None
                }
                (0, alias) => {
                    found.parsed("alias", check_alias(alias));
                    if request.incumbent != 0 {
                        found.invalid("incumbent", "must be left out with an alias");
                    }
                    Some(Target::Alias(request.alias))
                }
                (number, alias) => {
                    if !alias.is_empty() {
                        found.invalid("alias", "must be left out with a stage");
                    }
                    let to = stage(number);
                    if to.is_none() {
                        found.invalid("stage", format!("has no value {number}"));
                    }
                    to.map(|to| Target::Stage(to, incumbent))
                }
            };
            let pb::RequestApprovalRequest { incumbent: incumbent_action, comment, etag, .. } = request;
            Some(RequestApproval { id, version: version?, target: target?, incumbent_action, comment, etag })
        })
        .await
    }

    async fn get_approval(&self, request: Request<pb::GetApprovalRequest>) -> Reply<pb::Approval> {
        self.read(
            request,
            |request, found| found.name("name", &APPROVALS, &request.name),
            |registry, name| async move { registry.get::<pb::Approval>(&name).await },
        )
        .await
    }

    async fn list_approvals(&self, request: Request<pb::ListApprovalsRequest>) -> Reply<pb::ListApprovalsResponse> {
        self.list(
            request,
            List::by(&["create_time"]),
            |request, found| {
                let state = pb::ApprovalState::try_from(request.state);
                if state.is_err() {
                    found.invalid("state", format!("has no value {}", request.state));
                }
                if !request.approver.is_empty() {
                    found.parsed("approver", check_principal(&request.approver, &["users/", "services/"]));
                }
                let parent = found.parsed("parent", Name::parse_parent(&MODELS, &request.parent))?;
                Some(Listing { parent, state: state.ok()?, approver: request.approver })
            },
            |registry, listing, page| async move { registry.list_approvals(&listing, &page).await },
        )
        .await
    }

    async fn approve(&self, request: Request<pb::ApproveRequest>) -> Reply<pb::Approval> {
        let to = |r: pb::ApproveRequest, found: &mut Violations| decide(Action::Approve, &r.name, r.comment, found);
        self.change(request, to).await
    }

    async fn reject(&self, request: Request<pb::RejectRequest>) -> Reply<pb::Approval> {
        let to = |r: pb::RejectRequest, found: &mut Violations| decide(Action::Reject, &r.name, r.comment, found);
        self.change(request, to).await
    }

    async fn withdraw(&self, request: Request<pb::WithdrawRequest>) -> Reply<pb::Approval> {
        let to = |r: pb::WithdrawRequest, found: &mut Violations| decide(Action::Withdraw, &r.name, r.comment, found);
        self.change(request, to).await
    }

    async fn commit_approval(&self, request: Request<pb::CommitApprovalRequest>) -> Reply<pb::CommitApprovalResponse> {
        self.change(request, |request, found| {
            Some(CommitApproval { name: found.name("name", &APPROVALS, &request.name)? })
        })
        .await
    }
}

fn decide(action: Action, name: &str, comment: String, found: &mut Violations) -> Option<Decide> {
    Some(Decide { name: found.name("name", &APPROVALS, name)?, action, comment })
}
