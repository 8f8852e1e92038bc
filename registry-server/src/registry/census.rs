//! How many models and versions there are, for `/metrics`: by the index.

use registry_proto::v1 as pb;

use super::Registry;
use super::models::ModelRow;
use super::resource::Resource as _;
use crate::rules::expression::{MODEL, Named, VERSION};
use crate::search::{Counts, State};
use crate::store::Revision;

/// How many of the values that anybody may make up are counted by themselves: the most frequent ones.
const VALUES: usize = 50;

/// What is not deleted.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// The revision that it is of.
    pub(crate) revision: Revision,
    /// The models by their team.
    pub(crate) teams: Counts,
    /// The versions by their framework.
    pub(crate) frameworks: Counts,
    /// The versions by their stage.
    pub(crate) stages: Counts,
}

impl Registry {
    /// Counts, if there is an index that can, and unless nothing has happened since another census. What is counted may be a little
    /// newer than it says.
    pub(crate) async fn census(&self, since: Option<Revision>) -> Option<Census> {
        let index = self.index.as_ref()?;
        let State::At(revision) = index.state() else { return None };
        if since == Some(revision) {
            return None;
        }
        let named = |value, of| Named::parse(value, of).ok();
        let mut teams = index.census(ModelRow::KIND, vec![named("team", &MODEL)?], VALUES).await?;
        let of_versions = vec![named("framework", &VERSION)?, named("stage", &VERSION)?];
        let mut counted = index.census(pb::Version::KIND, of_versions, VALUES).await?;
        let (stages, frameworks) = (counted.pop()?, counted.pop()?);
        Some(Census { revision, teams: teams.pop()?, frameworks, stages })
    }
}
