//! How a follower is doing.

use std::time::{Duration, SystemTime};

/// What a follower is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FollowState {
    /// Another version is being fetched, loaded or checked; what was served until then is served meanwhile.
    Loading,
    /// What is to be served is served, as far as is known.
    Serving,
    /// What is to be served can't be: see [`error`](FollowStatus::error). The last good one is served, and another attempt follows.
    Failed,
}

/// How a [`Followed`](crate::Followed) is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowStatus {
    /// What it is at.
    pub state: FollowState,
    /// Since when nothing but [`heard`](Self::heard) has changed here.
    pub since: SystemTime,
    /// The versions that are to be served, one for each name that is followed; empty if the registry has not said, or if it has none.
    pub desired: Vec<String>,
    /// The versions that are served, in the same order. Empty while there are none, as after [`unload_first`](crate::Follower::unload_first).
    pub serving: Vec<String>,
    /// Why the desired versions are not served, with [`FollowState::Failed`].
    pub error: Option<String>,
    /// What people should know of what is served: that it was deleted, purged or withdrawn, that nothing has taken its place, or that
    /// the registry refuses to say.
    pub notice: Option<String>,
    /// The registry tells of changes as they happen. If not, there may be some that are not known.
    pub connected: bool,
    /// When the registry was last heard of, perhaps by an earlier process.
    pub heard: Option<SystemTime>,
}

impl FollowStatus {
    /// Whether something else may be in place of what is served, or is and can't be loaded.
    pub fn is_stale(&self) -> bool {
        !self.connected || self.state != FollowState::Serving
    }

    /// How long ago the registry was last heard of; while there is a connection, a few seconds at most.
    pub fn age(&self) -> Option<Duration> {
        self.heard.map(|heard| SystemTime::now().duration_since(heard).unwrap_or_default())
    }

    /// The same, apart from when that was.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let timeless = |status: &Self| Self { since: SystemTime::UNIX_EPOCH, heard: None, ..status.clone() };
        timeless(self) == timeless(other)
    }
}
