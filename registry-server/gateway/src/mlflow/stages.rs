//! Versions on their way into stages and out of them.

use registry_proto::v1 as pb;
use registry_proto::v1::{IncumbentAction, Stage};
use serde_json::{Value, json};

use super::caller::{Caller, TRIES, is_outrun, pause};
use super::error::{BAD_REQUEST, Error, MISSING};
use super::search::{found, in_stage};
use crate::refusal::Refusal;

/// How many versions make room for another one at most, in one revision with it.
const INCUMBENTS: usize = 99;

/// Moves a version. Others in the stage are archived if that is asked for; otherwise the policy of the model says whether they may stay.
pub(super) async fn transition(
    caller: &Caller,
    name: &str,
    version: &str,
    stage: Stage,
    archives: bool,
) -> Result<pb::Version, Error> {
    let (model, version) = caller.version(name, version).await?;
    let mut enter = to(&version, stage);
    if !archives {
        return moved(caller.call(&enter).await?.version);
    }
    enter.incumbent = IncumbentAction::Archive.into();
    let list = pb::ListVersionsRequest { parent: model.name, filter: in_stage(stage), ..Default::default() };
    let (mut others, _) =
        found(caller, list.clone(), INCUMBENTS + 1, |other| (other.name != version.name).then_some(other)).await?;
    if others.len() > INCUMBENTS {
        let message = format!("More than {INCUMBENTS} versions are in that stage: archive some of them before");
        return Err(Error::new(BAD_REQUEST, message));
    }
    if !others.is_empty() {
        let tried = caller.call(&pb::TransitionStageRequest { validate_only: true, ..enter.clone() }).await?;
        others.retain(|other| tried.displaced.iter().all(|displaced| displaced.name != other.name));
    }
    let entered = if others.is_empty() {
        moved(caller.call(&enter).await?.version)?
    } else {
        let mut requests: Vec<_> = others.iter().map(|other| to(other, Stage::Archived)).collect();
        requests.push(enter);
        let mut answer = caller.call(&pb::BatchTransitionStagesRequest { requests, ..Default::default() }).await?;
        moved(answer.responses.pop().and_then(|last| last.version))?
    };
    // What came into the stage after it was listed, and before this version, leaves as well. What came later may stay.
    let earlier = |other: pb::Version| {
        (other.name != entered.name && other.stage_revision < entered.stage_revision).then_some(other)
    };
    let (late, _) = found(caller, list, INCUMBENTS, earlier).await?;
    for other in late {
        match caller.call(&pb::TransitionStageRequest { etag: other.etag.clone(), ..to(&other, Stage::Archived) }).await
        {
            Err(refusal) if !is_outrun(&refusal) => return Err(refusal.into()),
            _ => {}
        }
    }
    Ok(entered)
}

/// Archives a version if it is in this stage.
pub(super) async fn leave(caller: &Caller, name: &str, version: &str, stage: Stage) -> Result<Value, Error> {
    for tried in 1.. {
        let held = match caller.version(name, version).await {
            Err(error) if error.is(MISSING) => break,
            held => held?.1,
        };
        if held.stage() != stage {
            break;
        }
        match caller.call(&pb::TransitionStageRequest { etag: held.etag.clone(), ..to(&held, Stage::Archived) }).await {
            Err(refusal) if is_outrun(&refusal) && tried < TRIES => pause(tried).await,
            Err(refusal) => return Err(refusal.into()),
            Ok(_) => break,
        }
    }
    Ok(json!({}))
}

fn to(version: &pb::Version, stage: Stage) -> pb::TransitionStageRequest {
    pb::TransitionStageRequest { name: version.name.clone(), stage: stage.into(), ..Default::default() }
}

fn moved(version: Option<pb::Version>) -> Result<pb::Version, Error> {
    version.ok_or_else(|| Refusal::internal("the transition was answered without the version").into())
}
