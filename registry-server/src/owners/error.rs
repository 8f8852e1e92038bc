//! Why a place may not be used, or nothing be removed from it or added to it: each with what to do.

use registry_proto::v1::ErrorReason;

use super::Purpose;
use crate::error::Error;
use crate::places::PlaceError;
use crate::store::{Revision, StoreError};

/// Why a place is not this registry's, or can't be told to be.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The place can't be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The registry can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is another registry's.
    #[error(
        "{place} belongs to another registry ({claim}): choose another {purpose}. If this one takes its place for good, stop that one \
         and run `registry-server claim`"
    )]
    Taken {
        /// Which place.
        place: String,
        /// What it is for.
        purpose: Purpose,
        /// Whose it is.
        claim: String,
    },
    /// It is that of a registry of which this one is a copy, or which has moved.
    #[error(
        "{place} belongs to this registry with its records in {theirs}, and here they are in {ours}: a copy needs another {purpose}. If \
         the records have moved here for good, run `registry-server claim`"
    )]
    Copy {
        /// Which place.
        place: String,
        /// What it is for.
        purpose: Purpose,
        /// Where the records were when it was claimed.
        theirs: String,
        /// Where they are.
        ours: String,
    },
    /// Nobody claims it, and this registry must have another one.
    #[error(
        "{place} {why}: is it the right {purpose}? If it is this registry's from now on, run `registry-server claim`"
    )]
    Unclaimed {
        /// Which place.
        place: String,
        /// What it is for.
        purpose: Purpose,
        /// What speaks against claiming it.
        why: String,
    },
    /// Former claims could not be removed.
    #[error("claiming {place} needs the right to remove objects, and that is refused; nothing was claimed: {source}")]
    NoRemoval {
        /// Which place.
        place: String,
        /// Why.
        source: Box<PlaceError>,
    },
    /// It is used for something else.
    #[error(
        "{place} is claimed as {theirs} ({claim}), and can't be used as {ours}: are --artifacts and --archive swapped? Each needs a place \
         of its own"
    )]
    OtherPurpose {
        /// Which place.
        place: String,
        /// What it should be for.
        ours: Purpose,
        /// What it is for.
        theirs: Purpose,
        /// Whose it is.
        claim: String,
    },
    /// A registry with nothing in it would take it from another one.
    #[error(
        "this registry is empty, and {place} is claimed by {claims}: are --store and --storage-path right? Nothing was claimed. If it is to \
         be filled by a restore, and takes the other's place for good, run `registry-server claim --for-restore`"
    )]
    Empty {
        /// Which place.
        place: String,
        /// Whose it is.
        claims: String,
    },
    /// A claim can't be read.
    #[error(
        "{place}/{name} can't be read: another version wrote it, or it is gone again; `registry-server claim` replaces it"
    )]
    Unreadable {
        /// Which place.
        place: String,
        /// The claim.
        name: String,
    },
    /// The database was promoted or recovered since the place was claimed.
    #[error(
        "the database was promoted or recovered since {place} was claimed (then {theirs}; now {ours}): if this is the one that goes on, run \
         `registry-server claim`"
    )]
    Promoted {
        /// Which place.
        place: String,
        /// What it was.
        theirs: String,
        /// What it is.
        ours: String,
    },
    /// The registry that used the place had another past than this one.
    #[error(
        "this registry was at revision {revision} when it used {place}, and does not have that revision now: its database has fallen back, \
         or this is a copy of it. If this one goes on, run `registry-server claim`"
    )]
    OtherPast {
        /// Which place.
        place: String,
        /// What was noted there.
        revision: Revision,
    },
}

impl From<OwnerError> for Error {
    fn from(error: OwnerError) -> Self {
        match error {
            OwnerError::Place(error) => StoreError::from(error).into(),
            OwnerError::Store(error) => error.into(),
            error => Self::precondition(ErrorReason::ArtifactsNotOwned, "artifacts", error),
        }
    }
}
