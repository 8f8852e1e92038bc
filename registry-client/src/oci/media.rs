//! Which layer an artifact is, and which artifact a layer.

use registry_proto::known::artifact_type;

use crate::artifact_type_of;

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
pub(super) fn layer(r#type: &str) -> &'static str {
    match r#type {
        artifact_type::MODEL | artifact_type::CHECKPOINT => WEIGHT,
        artifact_type::CONFIG | artifact_type::SCHEMA => WEIGHT_CONFIG,
        artifact_type::PREDICTIONS => DATASET,
        _ => DOC,
    }
}

/// What a layer that does not say it is most likely: what its name suggests, if that goes with its media type. An error for a
/// media type that is not of one file.
pub(super) fn type_of(media_type: &str, path: &str) -> Result<&'static str, &'static str> {
    let any = match media_type {
        WEIGHT => artifact_type::MODEL,
        WEIGHT_CONFIG => artifact_type::CONFIG,
        DATASET | CODE | DOC => artifact_type::OTHER,
        _ if media_type.contains(".tar") => return Err("is an archive: only layers of one raw file are supported"),
        _ => return Err("is no layer of a model"),
    };
    let guess = artifact_type_of(path);
    Ok(if layer(guess) == media_type { guess } else { any })
}
