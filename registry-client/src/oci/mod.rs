//! Versions as OCI image layouts, the way that the CNCF ModelPack specification has them (github.com/modelpack/model-spec).
//!
//! A version is one manifest. Its layers are the artifacts as they are, so that a layer's digest is its artifact's; nothing is
//! archived or compressed. What the specification has no place for is in annotations:
//!
//! | annotation | of | what it is |
//! |---|---|---|
//! | `org.modelregistry.version.name` | manifest | the version's name where it came from |
//! | `org.modelregistry.version+json` | manifest | what is known of the version, a `Version` in protobuf's JSON form |
//! | `org.modelregistry.artifact.type` | layer | `Artifact.type` |
//! | `org.modelregistry.artifact.media-type` | layer | the artifact's media type |
//! | `org.modelregistry.artifact.supplementary` | layer | `true` if it was added after the version was READY |
//! | `org.modelregistry.artifact.executable` | layer | `true` if the file may be run |

mod export;
mod import;
mod layout;
mod media;
mod model;

pub use export::{ExportOci, Exported};
pub use import::{ImportOci, verify_oci};

#[cfg(test)]
mod tests;
