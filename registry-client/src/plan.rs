//! What a publication would send, before it does.

use crate::artifacts::artifact_type_of;
use crate::publish::Publish;
use crate::selection::LeftOut;
use crate::walk::{Listed, LocalFile};
use crate::{Error, pb};

/// What a [`Publish`] found in its folder. Nothing was sent yet.
#[must_use = "nothing is published until it is sent"]
#[derive(Debug, Clone)]
pub struct PublishPlan {
    publish: Publish,
    listed: Listed,
}

/// A file that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path as an artifact.
    pub path: String,
    /// The artifact's type, as its name suggests.
    pub artifact_type: String,
    /// In bytes.
    pub size: u64,
    /// Whether its owner may run it.
    pub executable: bool,
}

/// What a publication would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The version, unless its model has to be made first.
    pub version: Option<String>,
    /// The version is there, PENDING: a publication like this broke off, and this one would go on with it.
    pub taken_up: bool,
}

impl PublishPlan {
    pub(crate) fn new(publish: Publish, listed: Listed) -> Self {
        Self { publish, listed }
    }

    /// The files, by path.
    pub fn files(&self) -> Vec<PlannedFile> {
        let planned = |file: &LocalFile| PlannedFile {
            path: file.path.clone(),
            artifact_type: match &file.known {
                Some(known) => known.artifact_type.clone(),
                None => artifact_type_of(&file.path).to_owned(),
            },
            size: file.size,
            executable: file.is_executable(),
        };
        self.listed.files.iter().map(planned).collect()
    }

    /// What in the folder is not published, by path.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.listed.left_out
    }

    /// Asks the registry whether it would take the version, as far as that can be told before there are files in it. Nothing is changed.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) before the first file is sent.
    pub async fn check(&self) -> Result<Foreseen, Error> {
        let begun = self.publish.begin(&self.listed.files, true).await?;
        Ok(Foreseen { version: Some(begun.name).filter(|name| !name.is_empty()), taken_up: begun.taken_up })
    }

    /// Publishes the files.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) without the model, [`is_already_exists`](Error::is_already_exists) if the
    /// version's id is taken, [`Error::Incomplete`] if that is by a PENDING version which this can't go on with;
    /// [`Error::Upload`] if a file could not be uploaded, for example because it changed.
    pub async fn send(self) -> Result<pb::Version, Error> {
        self.publish.run(self.listed.files).await
    }
}
