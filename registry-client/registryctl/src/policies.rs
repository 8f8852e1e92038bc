//! `policy`, `gates`, and what `promote` says of gates.

use std::path::PathBuf;

use clap::Subcommand;
use registry_client::{Error, Name, pb};

use crate::args::{IfMatch, Shape, TableShape, one_of};
use crate::output::{
    self, Column, Lines, brief, double, fields, first, last, minute, note, page_size, pairs, some, time,
};
use crate::values::{self, short};
use crate::{Context, Failure, approvals, metadata};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Make a policy, as a file says, or like the built-in one.
    Create {
        /// For example `strict`; models without a policy are under `default`.
        policy: String,
        /// JSON or YAML with the fields of a policy, as `policy show -o yaml` prints them; `-` is standard input.
        file: Option<PathBuf>,
    },
    /// Show a policy.
    #[command(visible_alias = "get")]
    Show {
        /// For example `strict`.
        policy: String,
        #[command(flatten)]
        shape: Shape,
    },
    /// List the policies of a namespace.
    #[command(visible_alias = "ls")]
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        table: TableShape,
    },
    /// Change a policy: the fields in the file take the place of those that are there, lists as a whole.
    Set {
        /// For example `strict`.
        policy: String,
        /// JSON or YAML; `-` is standard input.
        file: PathBuf,
        /// Only say what would come out.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        if_match: IfMatch,
    },
    /// Remove a policy for good; refused while models name it.
    Delete {
        /// For example `strict`.
        policy: String,
        /// Why, for the audit trail.
        #[arg(short = 'm', long)]
        comment: Option<String>,
        #[command(flatten)]
        if_match: IfMatch,
    },
}

/// What the gates of a stage say of a version.
#[derive(Debug, clap::Args)]
pub(crate) struct Gates {
    /// The version.
    #[arg(value_name = "VERSION")]
    name: Name,
    /// The stage.
    #[arg(long, default_value = "production", value_parser = one_of::<pb::Stage>(), ignore_case = true)]
    #[arg(hide_possible_values = true)]
    stage: pb::Stage,
    #[command(flatten)]
    pub(crate) table: TableShape,
}

/// Gates keep a version out, or would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KeptOut(String);

pub(crate) async fn policy(context: &Context, command: Policy) -> Result<(), Failure> {
    let (client, out) = (&context.client, &context.out);
    match command {
        Policy::Create { policy, file } => {
            let mut draft = pb::Policy::default();
            if let Some(file) = file {
                metadata::read_file::<pb::Policy>(&file).await?.apply(&mut draft);
            }
            let made = client.create_policy(named(context, policy)).policy(draft).await?;
            out.message("Policy", &made, |made| format!("created {}", made.name))
        }
        Policy::Show { policy, .. } => out.message("Policy", &client.get_policy(named(context, policy)).await?, text),
        Policy::List { limit, .. } => list(context, limit).await,
        Policy::Set { policy, file, dry_run, if_match } => {
            let file = metadata::read_file::<pb::Policy>(&file).await?;
            let edit = client.edit(named(context, policy), move |policy: &mut pb::Policy| file.apply(policy));
            let changed = if_match.of(edit).validate_only(dry_run).await?;
            match dry_run {
                true => out.message("Policy", &changed, text),
                false => out.message("Policy", &changed, |changed| {
                    format!("changed {} (revision {})", changed.name, changed.revision)
                }),
            }
        }
        Policy::Delete { policy, comment, if_match } => {
            let delete = client.delete_policy(named(context, policy)).etag(if_match.into_etag());
            let deleted = delete.comment(comment.unwrap_or_default()).await?;
            out.message("Policy", &deleted, |deleted| format!("deleted {}", deleted.name))
        }
    }
}

/// A policy by its name, in the namespace that was asked for.
fn named(context: &Context, policy: String) -> String {
    match (policy.split_once('/'), &context.namespace) {
        (None, Some(namespace)) => format!("namespaces/{namespace}/policies/{policy}"),
        _ => policy,
    }
}

async fn list(context: &Context, limit: usize) -> Result<(), Failure> {
    let parent = context.namespace_name();
    let list = pb::ListPoliciesRequest { parent, page_size: page_size(limit), ..Default::default() };
    let policies = first(context.client.call(list).stream(), limit, "first").await?;
    let columns = [
        "policy".into(),
        Column::number("revision"),
        Column::number("gates"),
        Column::from("updated"),
        Column::prose("description").if_any(),
    ];
    context.out.rows("Policy", &policies, &columns, |policy| {
        vec![
            last(&policy.name).to_owned(),
            policy.revision.to_string(),
            policy.stages.iter().map(|rule| asks(rule).count()).sum::<usize>().to_string(),
            minute(policy.update_time.as_ref()),
            policy.description.clone(),
        ]
    })
}

/// A policy as text.
fn text(policy: &pb::Policy) -> Lines {
    let transitions = policy
        .transitions
        .iter()
        .map(|legal| format!("{} -> {}", short::<pb::Stage>(legal.from_stage), short::<pb::Stage>(legal.to_stage)));
    let aliases = policy.aliases.iter().map(|protected| {
        let rule = protected.approvals.clone().unwrap_or_default();
        format!("@{}: {}", protected.alias, needs(&rule))
    });
    let rules = policy.stages.iter().flat_map(|rule| {
        let stage = short::<pb::Stage>(rule.stage);
        let asks: Vec<_> = asks(rule).map(|line| format!("  {line}")).collect();
        [format!("{stage}: {}", holds(rule))].into_iter().chain(asks)
    });
    fields(vec![
        ("name", policy.name.clone().into()),
        ("description", output::text(&policy.description)),
        ("tags", pairs(&policy.tags)),
        ("transitions", some(transitions)),
        ("stages", rules.collect::<Vec<_>>().into()),
        ("protected aliases", some(aliases)),
        ("creator", policy.creator.clone().into()),
        ("created", time(policy.create_time.as_ref()).into()),
        ("updated", time(policy.update_time.as_ref()).into()),
        ("revision", policy.revision.to_string().into()),
        ("etag", policy.etag.clone().into()),
    ])
}

/// Which approvals are needed.
fn needs(rule: &pb::ApprovalRule) -> String {
    let others = if rule.exclude_version_creator { ", not by whoever registered the version" } else { "" };
    format!("approvals: {} of {}{others}", rule.count, rule.group)
}

/// How many versions a stage holds.
fn holds(rule: &pb::StageRule) -> String {
    match (rule.exclusive, short::<pb::IncumbentAction>(rule.incumbent).as_str()) {
        (false, _) => "any number of versions".to_owned(),
        (true, "") => "one version".to_owned(),
        (true, incumbent) => format!("one version, incumbent={incumbent}"),
    }
}

/// What a stage asks of those who enter it, one a line.
fn asks(rule: &pb::StageRule) -> impl Iterator<Item = String> {
    let gates = rule.gates.iter().map(|gate| {
        let warns = if gate.severity() == pb::GateSeverity::Warn { " (warns)" } else { "" };
        format!("{}{warns}: {}", gate.name, gate.condition)
    });
    let types = rule.required_artifact_types.iter().map(|of| format!("artifact of the type {of}"));
    let signature = rule.compatible_signature.then(|| "signature compatible with the incumbent's".to_owned());
    let soak = rule.soak_duration.and_then(|soak| std::time::Duration::try_from(soak).ok());
    let soak = soak.map(|soak| format!("{} in the stage before", humantime::format_duration(soak)));
    let windows = rule.change_windows.iter().map(|window| {
        let days: Vec<_> = window.days.iter().map(|day| short::<pb::DayOfWeek>(*day)).collect();
        format!("open {} {}-{} {}", days.join(","), window.start, window.end, window.time_zone)
    });
    let freezes = rule.freezes.iter().map(|freeze| {
        let moment = |at: Option<&prost_types::Timestamp>| at.map_or_else(|| "...".to_owned(), ToString::to_string);
        let (start, end) = (moment(freeze.start_time.as_ref()), moment(freeze.end_time.as_ref()));
        format!("frozen {start} to {end}: {}", freeze.reason)
    });
    let approvals = rule.approvals.as_ref().map(needs);
    gates.chain(types).chain(signature).chain(soak).chain(windows).chain(freezes).chain(approvals)
}

pub(crate) async fn gates(context: &Context, command: Gates) -> Result<(), Failure> {
    let Gates { name, stage, .. } = command;
    let request = pb::TransitionStageRequest { name: name.into(), stage: stage.into(), ..Default::default() };
    ask(context, request).await.map(drop)
}

/// Prints what the gates say of a promotion, and fails if they would keep the version out.
pub(crate) async fn check(context: &Context, request: pb::TransitionStageRequest) -> Result<(), Failure> {
    let (name, stage) = (request.name.trim_start_matches("models/").to_owned(), short::<pb::Stage>(request.stage));
    let report = ask(context, request).await?;
    match report {
        Some(report) if !report.promotable => {
            let failed: Vec<_> = report.verdicts.iter().filter(|verdict| blocks(verdict)).map(|v| &*v.gate).collect();
            let mut why = failed.join(", ");
            if let (true, Some(rule)) = (why.is_empty(), &report.approvals) {
                why = format!("it needs approvals, {} of {}", rule.count, rule.group);
            }
            Err(KeptOut(format!("{name} would not get into {stage}: {why}")).into())
        }
        _ => Ok(()),
    }
}

/// Prints all that gates say if they are why a promotion failed. The error that a call ends with has only what fits into it.
pub(crate) async fn explain(context: &Context, request: pb::TransitionStageRequest, error: Error) -> Failure {
    let (name, to) = (request.name.clone(), format!("--stage {}", short::<pb::Stage>(request.stage)));
    if !error.failed_gates().is_empty()
        && context.out.is_text()
        && let Err(failed) = ask(context, request).await
    {
        note(&format!("what the gates say can't be shown: {failed}"));
    }
    approvals::hinted(error, &name, &to)
}

/// Asks the gates, and prints their verdicts as a table.
async fn ask(context: &Context, request: pb::TransitionStageRequest) -> Result<Option<pb::GateReport>, Failure> {
    let request = pb::TransitionStageRequest { validate_only: true, request_id: String::new(), ..request };
    let answer = context.client.call(request).await?;
    let Some(report) = answer.gates else {
        let version = answer.version.unwrap_or_default();
        if context.out.is_text() {
            context.out.line(&match version.stage == answer.from_stage {
                true => format!("{} is in {} already", brief(&version.name), short::<pb::Stage>(version.stage)),
                false => format!("{} is under no policy: there are no gates", brief(&version.name)),
            })?;
        }
        return Ok(None);
    };
    let columns = [
        "gate".into(),
        Column::from("verdict").stays(),
        Column::from("saw").stays().if_any(),
        Column::prose("says").if_any(),
    ];
    let row = |verdict: &pb::GateVerdict| {
        let says = [&verdict.message, &verdict.detail].into_iter().filter(|text| !text.is_empty()).cloned();
        vec![
            verdict.gate.clone(),
            word(verdict).to_owned(),
            verdict.readings.iter().map(saw).collect::<Vec<_>>().join(", "),
            says.collect::<Vec<_>>().join(": "),
        ]
    };
    if !(context.out.is_text() && report.verdicts.is_empty()) {
        context.out.rows("GateVerdict", &report.verdicts, &columns, row)?;
    }
    if context.out.is_text() {
        let policy = format!("{} at revision {}", brief(&report.policy), report.policy_revision);
        let may = match (report.verdicts.iter().any(blocks), &report.approvals) {
            (true, None) => "is kept out".to_owned(),
            (true, Some(rule)) => format!("is kept out, and needs {}", needs(rule)),
            (false, None) => "may enter".to_owned(),
            (false, Some(rule)) => format!("may enter with {}", needs(rule)),
        };
        context.out.line(&format!("by {policy}, the version {may}"))?;
    }
    Ok(Some(report))
}

/// What a promotion says of its gates: those that are overridden, that only warn, or that would keep the version out.
pub(crate) fn remarks(report: &pb::GateReport) -> impl Iterator<Item = String> {
    let passed = |verdict: &&pb::GateVerdict| {
        matches!(verdict.outcome(), pb::GateOutcome::Passed | pb::GateOutcome::NotApplicable)
    };
    report.verdicts.iter().filter(move |verdict| !passed(verdict)).map(|verdict| {
        let says = [&verdict.message, &verdict.detail].into_iter().filter(|text| !text.is_empty()).cloned();
        format!("gate {}: {}: {}", verdict.gate, word(verdict), says.collect::<Vec<_>>().join(": "))
    })
}

/// A value that a gate saw.
fn saw(reading: &pb::GateReading) -> String {
    let value = reading.value.as_ref();
    let shown = match value.and_then(|value| value.kind.as_ref()) {
        Some(prost_types::value::Kind::NumberValue(number)) => double(*number),
        _ => value.map(values::text).unwrap_or_default(),
    };
    format!("{}={shown}", reading.path)
}

/// What came of a gate, in a word or two.
fn word(verdict: &pb::GateVerdict) -> &'static str {
    let warns = verdict.severity() == pb::GateSeverity::Warn;
    match verdict.outcome() {
        _ if verdict.overridden => "overridden",
        pb::GateOutcome::Passed => "passed",
        pb::GateOutcome::NotApplicable => "not applicable",
        pb::GateOutcome::Failed if warns => "warns",
        pb::GateOutcome::NoVerdict if warns => "warns: no value",
        pb::GateOutcome::NoVerdict => "no value",
        pb::GateOutcome::Failed | pb::GateOutcome::Unspecified => "failed",
    }
}

/// Whether a verdict keeps the version out.
fn blocks(verdict: &pb::GateVerdict) -> bool {
    let fails = matches!(verdict.outcome(), pb::GateOutcome::Failed | pb::GateOutcome::NoVerdict);
    fails && verdict.severity() != pb::GateSeverity::Warn && !verdict.overridden
}
