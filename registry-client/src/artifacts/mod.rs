//! Artifacts: what lists and names them, and their transfer.

mod cut;
mod digest;
mod download;
mod kind;
mod received;
mod sending;
mod upload;

pub(crate) use digest::{Hasher, hash_file};
pub use download::{Download, DownloadRange};
pub use kind::artifact_type_of;
pub(crate) use received::remove_part;
pub use upload::{Source, Upload};

use crate::call::setters;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Artifacts: the files of a version. An artifact's name is its version's name, `/artifacts/` and its path.
impl RegistryClient {
    /// One artifact: its size, digest and type.
    pub fn get_artifact(&self, name: impl Into<String>) -> Call<pb::GetArtifactRequest> {
        self.call(pb::GetArtifactRequest { name: complete(name), ..Default::default() })
    }

    /// The chunks of an artifact, in order.
    pub fn list_chunks(&self, artifact: impl Into<String>) -> Call<pb::ListChunksRequest> {
        self.call(pb::ListChunksRequest { parent: complete(artifact), ..Default::default() })
    }

    /// The artifacts of a version, by path.
    pub fn list_artifacts(&self, version: impl Into<String>) -> Call<pb::ListArtifactsRequest> {
        self.call(pb::ListArtifactsRequest { parent: complete(version), ..Default::default() })
    }

    /// Removes an artifact of a PENDING version, or one that was added after its version was READY.
    pub fn delete_artifact(&self, name: impl Into<String>) -> Call<pb::DeleteArtifactRequest> {
        self.call(pb::DeleteArtifactRequest { name: complete(name), ..Default::default() })
    }

    /// Stores a local file (a `PathBuf` or `&Path`), bytes, or what a [reader](Source::reader) gives under a path of a version.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use std::path::Path;
    ///
    /// client.upload("fraud/versions/1.4.0", "plots/roc.png", Path::new("out/roc.png")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn upload(&self, version: impl Into<String>, path: impl Into<String>, source: impl Into<Source>) -> Upload {
        Upload::new(self, complete(version), path.into(), source.into())
    }

    /// Fetches an artifact, or a range of it: to a file, to memory, or as a stream.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// client.download("fraud@production/artifacts/model.onnx").to_file("model.onnx").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn download(&self, name: impl Into<String>) -> Download {
        Download::new(self, complete(name))
    }
}

setters!(ListArtifactsRequest {
    /// Only those that meet this condition, in CEL: `artifact.path.endsWith(".onnx")`. A page may be short or empty and not be the last;
    /// `stream()` goes on.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
});

setters!(DeleteArtifactRequest {
    /// Only if this is still the artifact's etag.
    etag(etag: impl Into<String>) |r| r.etag = etag.into();
});
