//! Gates of a transition: what they are asked about is gathered in the transaction, and what they say goes into its event and answer.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;

use super::told::unchanged;
use super::{Transition, stage_number};
use crate::error::{Error, FailedGate};
use crate::registry::approvals::required;
use crate::registry::checks;
use crate::registry::models::ModelRow;
use crate::registry::policies::{InForce, moment};
use crate::registry::resource::Resource as _;
use crate::registry::transaction::{Tx, decode, event};
use crate::rules::expression::Reading;
use crate::rules::gates::{Facts, Gates, Kind, Outcome, Verdict, may_enter};
use crate::rules::names::{Name, VERSIONS};
use crate::rules::signatures::{Port, Signature};
use crate::store::Pages;

/// Asks the gates of a stage about a version that is to enter it. `None`: it is under no policy.
///
/// # Errors
/// If they keep it out, unless nothing is to be kept of it anyway, or the request overrides them.
pub(super) async fn pass(
    tx: &Tx<'_>,
    in_force: &InForce,
    row: &ModelRow,
    version: &pb::Version,
    transition: &Transition,
) -> Result<Option<pb::GateReport>, Error> {
    if in_force.name.is_empty() {
        return Ok(None);
    }
    let mut verdicts = verdicts(tx, in_force, row, version, transition).await?;
    if transition.override_gates {
        for verdict in &mut verdicts {
            verdict.overridden = verdict.blocks();
        }
    }
    let passed = may_enter(&verdicts);
    if !passed && !tx.only_checks() {
        let failed = verdicts.iter().filter(|verdict| verdict.blocks()).map(failed).collect();
        return Err(Error::GatesFailed { name: version.name.clone(), gates: failed });
    }
    let approvals = in_force.approvals(transition.to);
    let lacking = approvals.filter(|_| transition.approval.is_empty());
    if let Some(rule) = lacking
        && !tx.only_checks()
    {
        return Err(required(&version.name, &transition.to.to_string(), rule));
    }
    Ok(Some(pb::GateReport {
        promotable: passed && lacking.is_none(),
        approvals: approvals.cloned(),
        approval: transition.approval.clone(),
        ..report(in_force, verdicts)
    }))
}

/// What the gates of a stage that versions enter by themselves say of one, if it passes all of them.
pub(super) async fn passed(
    tx: &Tx<'_>,
    in_force: &InForce,
    row: &ModelRow,
    version: &pb::Version,
    transition: &Transition,
) -> Result<Option<pb::GateReport>, Error> {
    let verdicts = verdicts(tx, in_force, row, version, transition).await?;
    Ok(may_enter(&verdicts).then(|| pb::GateReport { promotable: true, ..report(in_force, verdicts) }))
}

/// What was asked, and what the gates said.
fn report(in_force: &InForce, verdicts: Vec<Verdict>) -> pb::GateReport {
    let verdicts = verdicts.into_iter().map(told).collect();
    let policy_revision = in_force.revision;
    pb::GateReport { policy: in_force.name.clone(), policy_revision, verdicts, ..Default::default() }
}

async fn verdicts(
    tx: &Tx<'_>,
    in_force: &InForce,
    row: &ModelRow,
    version: &pb::Version,
    transition: &Transition,
) -> Result<Vec<Verdict>, Error> {
    Ok(match in_force.gates(transition.to) {
        Some(gates) => gates.ask(&Gathered::for_gates(gates, tx, row, version, transition).await?.facts()),
        None => Vec::new(),
    })
}

/// The event of gates that were overridden; `None` if none was.
pub(super) fn overridden(version: pb::Version, report: &pb::GateReport) -> Option<pb::Event> {
    let verdicts: Vec<_> = report.verdicts.iter().filter(|verdict| verdict.overridden).cloned().collect();
    let gates = Some(pb::GateReport { verdicts, ..report.clone() });
    report
        .verdicts
        .iter()
        .any(|verdict| verdict.overridden)
        .then(|| pb::Event { gates, ..unchanged(version, event(event_type::VERSION_GATES_OVERRIDDEN)) })
}

/// What was read for the gates.
struct Gathered {
    input: Vec<u8>,
    version: pb::Version,
    incumbent: Option<pb::Version>,
    artifact_types: BTreeSet<String>,
    now: prost_types::Timestamp,
}

impl Gathered {
    async fn for_gates(
        gates: &Gates,
        tx: &Tx<'_>,
        row: &ModelRow,
        version: &pb::Version,
        transition: &Transition,
    ) -> Result<Self, Error> {
        let held = row.stage(transition.to).filter(|_| transition.to.is_stacked());
        let incumbent: Option<pb::Version> = match held {
            Some(held) => Some(tx.any(&Name::canonical(&VERSIONS, &held.version)).await?),
            None => None,
        };
        let request = pb::GateRequest {
            actor: tx.actor.to_owned(),
            comment: transition.comment.clone(),
            from_stage: version.stage,
            to_stage: stage_number(transition.to),
        };
        let input = pb::GateInput {
            version: Some(version.clone()),
            incumbent,
            model: Some(row.model.clone()),
            request: Some(request),
            now: Some(tx.now),
        };
        Ok(Self {
            input: input.encode_to_vec(),
            artifact_types: artifact_types(gates, tx, version).await?,
            version: version.clone(),
            incumbent: input.incumbent,
            now: tx.now,
        })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            input: &self.input,
            has_incumbent: self.incumbent.is_some(),
            artifact_types: self.artifact_types.clone(),
            signature: signature(&self.version),
            incumbent_signature: self.incumbent.as_ref().map_or(Ok(None), signature),
            in_stage_since: self.version.stage_time.or(self.version.create_time).as_ref().and_then(moment),
            checks: checks::of(&self.version),
            now: moment(&self.now).unwrap_or_default(),
        }
    }
}

/// The types of a version's artifacts that gates ask for: no more are read when all of them were seen.
async fn artifact_types(gates: &Gates, tx: &Tx<'_>, version: &pb::Version) -> Result<BTreeSet<String>, Error> {
    let mut there = BTreeSet::new();
    let mut wanted: BTreeSet<_> = gates.artifact_types.iter().map(String::as_str).collect();
    let prefix = Name::canonical(&VERSIONS, &version.name).prefix();
    let mut artifacts = Pages::under(pb::Artifact::LISTED, prefix);
    while !wanted.is_empty()
        && let Some(hit) = artifacts.next(&*tx.store).await?
    {
        let artifact: pb::Artifact = decode(&hit.record)?;
        if wanted.remove(artifact.r#type.as_str()) {
            there.insert(artifact.r#type);
        }
    }
    Ok(there)
}

/// What a version takes and returns: by its own signature, or by MLflow's in its metadata.
fn signature(version: &pb::Version) -> Result<Option<Signature>, String> {
    if let Some(pb::Signature { inputs, outputs }) = &version.signature {
        let ports = |fields: &[pb::Field]| fields.iter().map(port).collect();
        return Ok(Some(Signature { inputs: ports(inputs), outputs: ports(outputs) }));
    }
    let mlflow = version.additional_metadata.as_ref().and_then(|metadata| object(metadata.fields.get("mlflow")?));
    let Some(signature) = mlflow.and_then(|mlflow| object(mlflow.fields.get("signature")?)) else { return Ok(None) };
    let side = |name: &str| match signature.fields.get(name).and_then(|side| side.kind.as_ref()) {
        Some(Json::StringValue(text)) => text.as_str(),
        _ => "",
    };
    Signature::of_mlflow(side("inputs"), side("outputs")).map(Some)
}

fn object(value: &Value) -> Option<&Struct> {
    match &value.kind {
        Some(Json::StructValue(object)) => Some(object),
        _ => None,
    }
}

fn port(field: &pb::Field) -> Port {
    let pb::Field { name, dtype, shape } = field.clone();
    Port { name, dtype, shape, optional: false }
}

fn kind_of(kind: Kind) -> pb::GateKind {
    match kind {
        Kind::Condition => pb::GateKind::Condition,
        Kind::RequiredArtifactTypes => pb::GateKind::RequiredArtifactTypes,
        Kind::CompatibleSignature => pb::GateKind::CompatibleSignature,
        Kind::SoakDuration => pb::GateKind::SoakDuration,
        Kind::ChangeWindows => pb::GateKind::ChangeWindows,
        Kind::Freezes => pb::GateKind::Freezes,
        Kind::RequiredChecks => pb::GateKind::RequiredChecks,
    }
}

/// A verdict as the contract has it.
fn told(verdict: Verdict) -> pb::GateVerdict {
    let outcome = match verdict.outcome {
        Outcome::Passed => pb::GateOutcome::Passed,
        Outcome::Failed => pb::GateOutcome::Failed,
        Outcome::NoVerdict => pb::GateOutcome::NoVerdict,
        Outcome::NotApplicable => pb::GateOutcome::NotApplicable,
    };
    let severity = if verdict.warns { pb::GateSeverity::Warn } else { pb::GateSeverity::Block };
    let reading = |(path, reading): (String, Reading)| pb::GateReading { path, value: Some(value(reading)) };
    pb::GateVerdict {
        gate: verdict.gate,
        kind: kind_of(verdict.kind).into(),
        severity: severity.into(),
        outcome: outcome.into(),
        overridden: verdict.overridden,
        message: verdict.message,
        detail: verdict.detail,
        condition: verdict.condition,
        readings: verdict.readings.into_iter().map(reading).collect(),
        missing: verdict.missing,
    }
}

fn value(reading: Reading) -> Value {
    Value {
        kind: Some(match reading {
            Reading::Null => Json::NullValue(0),
            Reading::Bool(value) => Json::BoolValue(value),
            Reading::Number(value) => Json::NumberValue(value),
            Reading::Text(text) => Json::StringValue(text),
        }),
    }
}

/// A gate that keeps a version out, as the error has it: what it says, what was found, and the numbers.
fn failed(verdict: &Verdict) -> FailedGate {
    let shown = |(path, reading): &(String, Reading)| match reading {
        Reading::Null => format!("{path} = null"),
        Reading::Bool(value) => format!("{path} = {value}"),
        Reading::Number(value) => format!("{path} = {value}"),
        Reading::Text(text) => format!("{path} = {text:?}"),
    };
    let readings: Vec<_> = verdict.readings.iter().map(shown).collect();
    let texts = [verdict.message.as_str(), &verdict.detail, &readings.join(", ")];
    let said: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    let kind = kind_of(verdict.kind).as_str_name();
    FailedGate {
        kind: kind.strip_prefix("GATE_KIND_").unwrap_or(kind).to_owned(),
        gate: verdict.gate.clone(),
        description: said.join(": "),
    }
}
