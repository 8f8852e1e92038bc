//! Reads of the past.

use crate::call::setters;

/// What each read of the past can be told.
macro_rules! of_the_past {
    ($($request:ident)+) => {
        $(
            setters!($request {
                /// As it was right after this revision: [`is_out_of_range`](crate::Error::is_out_of_range) if that has not come yet, or if
                /// the log has been dropped up to there. 0 is now.
                at_revision(revision: i64) |r| r.revision = revision;
                /// As it was at this time, under the same conditions. All pages of a list are of one revision.
                at_time(time: std::time::SystemTime) |r| r.read_time = Some(time.into());
            });
        )+
    };
}

of_the_past!(
    GetModelRequest ListModelsRequest GetVersionRequest ListVersionsRequest BatchGetVersionsRequest GetArtifactRequest
    ListArtifactsRequest
);
