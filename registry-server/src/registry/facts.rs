//! What people see of a record when they look into a database with its own tools.

use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use registry_proto::v1 as pb;

use crate::store::{Facts, Kind};
use crate::stored::{ArtifactFacts, ModelFacts, VersionFacts};

/// The facts of a model, a version or an artifact. A payload that can't be read has none: this is no place to fail.
pub fn facts(kind: Kind, payload: &Bytes) -> Option<Facts> {
    match kind {
        Kind::Model => {
            let model = ModelFacts::decode(payload.clone()).unwrap_or_default().model.unwrap_or_default();
            Some(Facts {
                name: Some(model.name),
                team: Some(model.team).filter(|team| !team.is_empty()),
                created: time(model.create_time),
                updated: time(model.update_time),
                deleted: time(model.delete_time),
                ..Facts::default()
            })
        }
        Kind::Version => {
            let version = VersionFacts::decode(payload.clone()).unwrap_or_default();
            let stage = pb::Stage::try_from(version.stage).ok();
            Some(Facts {
                name: Some(version.name),
                stage: stage.and_then(|stage| word(stage.as_str_name(), "STAGE_")),
                framework: Some(version.framework).filter(|framework| !framework.is_empty()),
                created: time(version.create_time),
                updated: time(version.update_time),
                deleted: time(version.delete_time),
                ..Facts::default()
            })
        }
        Kind::Artifact => {
            let artifact = ArtifactFacts::decode(payload.clone()).unwrap_or_default();
            Some(Facts { name: Some(artifact.name), created: time(artifact.create_time), ..Facts::default() })
        }
        Kind::Label
        | Kind::StageHolder
        | Kind::Request
        | Kind::ChainHead
        | Kind::EventReference
        | Kind::Manifest
        | Kind::Sweep
        | Kind::Condemned
        | Kind::DataKey
        | Kind::Usage => None,
    }
}

/// An enum's value as people say it; an unspecified one is nothing.
fn word(name: &str, prefix: &str) -> Option<String> {
    let word = name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase();
    (word != "unspecified").then_some(word)
}

fn time(timestamp: Option<Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(timestamp?).ok()
}
