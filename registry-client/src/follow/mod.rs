//! The version behind a name, in hand: fetched, loaded, checked, and replaced when the name moves on.

#[expect(dead_code, reason = "what uses it comes next")]
mod cache;
#[expect(dead_code, reason = "what does as it says comes next")]
mod state;

use std::path::PathBuf;

use self::cache::InUse;
use crate::pb;

/// A version that is in a folder of the cache, which stays there as long as this does.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "what uses it comes next")]
pub(crate) struct Fetched {
    version: pb::Version,
    folder: PathBuf,
    in_use: InUse,
}
