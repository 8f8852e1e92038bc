//! Reads of some fields.

use crate::call::setters;
use crate::models::mask;

/// What each read of resources can be told.
macro_rules! of_parts {
    ($($request:ident)+) => {
        $(
            setters!($request {
                /// Return only these fields: `name`, `stage`, or an entry of a map, such as `tags.team` or `metrics.validation`. All others have
                /// their default, also the name. [`is_invalid_argument`](crate::Error::is_invalid_argument) if one does not exist.
                fields(fields: impl IntoIterator<Item = impl Into<String>>) |r| r.read_mask = Some(mask(fields));
            });
        )+
    };
}

of_parts!(
    GetModelRequest ListModelsRequest GetVersionRequest ListVersionsRequest GetArtifactRequest ListArtifactsRequest
);
