//! `approval`, and what `promote` and `alias` say where approvals are needed.

use clap::Subcommand;
use registry_client::{Error, Name, pb};

use crate::args::{Shape, TableShape, one_of};
use crate::failure::Hinted;
use crate::output::{self, Column, Lines, brief, fields, first, minute, page_size, some, time};
use crate::values::short;
use crate::{Context, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Approval {
    /// Ask for approvals of a promotion, or of a move of an alias.
    Request {
        /// The version.
        #[arg(value_name = "VERSION")]
        name: Name,
        /// The stage that it is to enter.
        #[arg(long, default_value = "production", value_parser = one_of::<pb::Stage>(), ignore_case = true)]
        #[arg(hide_possible_values = true, conflicts_with = "alias")]
        stage: pb::Stage,
        /// The alias that is to point at it.
        #[arg(long)]
        alias: Option<String>,
        /// What happens to the version that holds the stage; by default, what the model's policy says.
        #[arg(long, value_name = "ACTION", value_parser = one_of::<pb::IncumbentAction>(), ignore_case = true)]
        #[arg(conflicts_with = "alias")]
        incumbent: Option<pb::IncumbentAction>,
        /// What the request is called; by default, a number.
        #[arg(long)]
        id: Option<String>,
        /// Why, for those who approve.
        #[arg(short = 'm', long)]
        comment: Option<String>,
    },
    /// List the approvals of a model, or of all models of the namespace.
    #[command(visible_alias = "ls")]
    List {
        /// The model; without it, all.
        model: Option<Name>,
        /// Only those in this state.
        #[arg(long, value_parser = one_of::<pb::ApprovalState>(), ignore_case = true)]
        state: Option<pb::ApprovalState>,
        /// Only those that wait for somebody: users/ana.
        #[arg(long, value_name = "PRINCIPAL")]
        approver: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Show an approval: what was asked for, and who approved.
    #[command(visible_alias = "get")]
    Show {
        /// For example fraud/approvals/74.
        approval: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// Approve.
    Approve(Decision),
    /// Reject, for good.
    Reject(Decision),
    /// Take back what you asked for.
    Withdraw(Decision),
    /// Do what was approved.
    Commit {
        /// For example fraud/approvals/74.
        approval: String,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decision {
    /// For example fraud/approvals/74.
    approval: String,
    /// Why, for the audit trail.
    #[arg(short = 'm', long, default_value = "", hide_default_value = true)]
    comment: String,
}

pub(crate) async fn approval(context: &Context, command: Approval) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    let told = |what: &'static str| move |approval: &pb::Approval| format!("{what} {}", brief(&approval.name));
    match command {
        Approval::Request { name, stage, alias, incumbent, id, comment } => {
            let call = client.request_approval(name).comment(comment.unwrap_or_default());
            let mut call = call.id(id.unwrap_or_default());
            call = match alias {
                Some(alias) => call.alias(alias),
                None => call.stage(stage).incumbent(incumbent.unwrap_or_default()),
            };
            out.message("Approval", &call.await?, requested)
        }
        Approval::List { model, state, approver, limit, .. } => {
            let list = pb::ListApprovalsRequest {
                parent: model.map_or_else(|| context.all_models(), String::from),
                state: state.unwrap_or_default().into(),
                approver: approver.unwrap_or_default(),
                page_size: page_size(limit),
                ..Default::default()
            };
            listed(context, &first(client.call(list).stream(), limit, "first").await?)
        }
        Approval::Show { approval, .. } => {
            out.message("Approval", &client.get_approval(context.below_models(approval)).await?, text)
        }
        Approval::Approve(Decision { approval, comment }) => {
            let approved = client.approve(context.below_models(approval)).comment(comment).await?;
            out.message("Approval", &approved, |approval| {
                let needed = approval.rule.as_ref().map_or(0, |rule| rule.count);
                format!("approved {}: {} of {needed}", brief(&approval.name), approval.votes.len())
            })
        }
        Approval::Reject(Decision { approval, comment }) => {
            let rejected = client.reject(context.below_models(approval)).comment(comment).await?;
            out.message("Approval", &rejected, told("rejected"))
        }
        Approval::Withdraw(Decision { approval, comment }) => {
            let withdrawn = client.withdraw_approval(context.below_models(approval)).comment(comment).await?;
            out.message("Approval", &withdrawn, told("withdrawn"))
        }
        Approval::Commit { approval, dry_run } => {
            let done = client.commit_approval(context.below_models(approval)).validate_only(dry_run).await?;
            out.message("CommitApprovalResponse", &done, committed)
        }
    }
}

/// What it is for: `production` or `@champion`.
fn target(approval: &pb::Approval) -> String {
    match approval.alias.as_str() {
        "" => short::<pb::Stage>(approval.stage),
        alias => format!("@{alias}"),
    }
}

fn requested(approval: &pb::Approval) -> Vec<String> {
    let (name, rule) = (brief(&approval.name), approval.rule.clone().unwrap_or_default());
    vec![
        format!("requested {name}: {} of {} have to approve", rule.count, rule.group),
        format!("each by `registryctl approval approve {name}`, and then `registryctl approval commit {name}`"),
    ]
}

fn listed(context: &Context, approvals: &[pb::Approval]) -> Result<(), Failure> {
    let columns = [
        "approval".into(),
        "version".into(),
        "to".into(),
        "state".into(),
        Column::from("approved").stays(),
        "by".into(),
        Column::from("expires"),
        Column::prose("comment").if_any(),
    ];
    context.out.rows("Approval", approvals, &columns, |approval| {
        vec![
            brief(&approval.name).to_owned(),
            output::last(&approval.version).to_owned(),
            target(approval),
            short::<pb::ApprovalState>(approval.state),
            format!("{} of {}", approval.votes.len(), approval.rule.as_ref().map_or(0, |rule| rule.count)),
            approval.creator.clone(),
            minute(approval.expire_time.as_ref()),
            approval.comment.clone(),
        ]
    })
}

pub(crate) fn text(approval: &pb::Approval) -> Lines {
    let rule = approval.rule.clone().unwrap_or_default();
    let votes = approval.votes.iter().map(|vote| match vote.comment.as_str() {
        "" => format!("{} at {}", vote.principal, time(vote.create_time.as_ref())),
        why => format!("{} at {}: {why}", vote.principal, time(vote.create_time.as_ref())),
    });
    fields(vec![
        ("name", approval.name.clone().into()),
        ("version", approval.version.clone().into()),
        ("to", target(approval).into()),
        ("incumbent", approval.incumbent.clone().into()),
        ("state", short::<pb::ApprovalState>(approval.state).into()),
        ("needs", format!("{} of {}", rule.count, rule.group).into()),
        ("approved", some(votes)),
        ("comment", output::text(&approval.comment)),
        ("policy", format!("{} at revision {}", approval.policy, approval.policy_revision).into()),
        ("requested by", approval.creator.clone().into()),
        ("requested", time(approval.create_time.as_ref()).into()),
        ("expires", time(approval.expire_time.as_ref()).into()),
        ("revision", approval.revision.to_string().into()),
    ])
}

fn committed(done: &pb::CommitApprovalResponse) -> Vec<String> {
    let approval = done.approval.clone().unwrap_or_default();
    let (is, at) = match done.revision {
        0 => ("would be", String::new()),
        revision => ("is", format!(" (revision {revision})")),
    };
    let mut lines = vec![match approval.alias.as_str() {
        "" => format!("{} {is} in {}{at}", brief(&approval.version), target(&approval)),
        alias => format!("@{alias} {is} {}{at}", brief(&approval.version)),
    }];
    let left =
        |version: &pb::Version| format!("{} {is} in {}", brief(&version.name), short::<pb::Stage>(version.stage));
    lines.extend(done.displaced.iter().map(left));
    lines.extend(done.gates.iter().flat_map(crate::policies::remarks));
    lines
}

/// An error that says how approvals are asked for, if they are needed.
pub(crate) fn hinted(error: Error, version: &str, to: &str) -> Failure {
    let version = brief(version);
    let version = version.strip_prefix("models/").unwrap_or(version);
    let hint = format!("`registryctl approval request {version} {to}` asks for them");
    Hinted::if_for(pb::ErrorReason::ApprovalRequired, error.into(), hint)
}
