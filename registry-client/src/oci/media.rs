//! Which layer an artifact is, and which artifact a layer.

use crate::artifact_type_of;
use crate::pb::ArtifactType;

/// What a manifest says it is: a model.
pub(super) const MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";
/// The document that describes a model.
pub(super) const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DATASET: &str = "application/vnd.cncf.model.dataset.v1.raw";
const CODE: &str = "application/vnd.cncf.model.code.v1.raw";
const DOC: &str = "application/vnd.cncf.model.doc.v1.raw";

/// The media type of an artifact's layer.
pub(super) fn layer(artifact_type: ArtifactType) -> &'static str {
    match artifact_type {
        ArtifactType::Model | ArtifactType::Checkpoint => WEIGHT,
        ArtifactType::Config | ArtifactType::Schema => WEIGHT_CONFIG,
        ArtifactType::Predictions => DATASET,
        ArtifactType::Log
        | ArtifactType::Metrics
        | ArtifactType::Plot
        | ArtifactType::ConfusionMatrix
        | ArtifactType::FeatureImportance
        | ArtifactType::Other
        | ArtifactType::Unspecified => DOC,
    }
}

/// What a layer that does not say it is most likely: what its name suggests, if that goes with its media type. An error for a
/// media type that is not of one file.
pub(super) fn artifact_type(media_type: &str, path: &str) -> Result<ArtifactType, &'static str> {
    let any = match media_type {
        WEIGHT => ArtifactType::Model,
        WEIGHT_CONFIG => ArtifactType::Config,
        DATASET | CODE | DOC => ArtifactType::Other,
        _ if media_type.contains(".tar") => return Err("is an archive: only layers of one raw file are supported"),
        _ => return Err("is no layer of a model"),
    };
    let guess = artifact_type_of(path);
    Ok(if layer(guess) == media_type { guess } else { any })
}
