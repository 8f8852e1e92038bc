//! TLS needs the feature `tls`: without it there is none.

use tonic::codegen::http::Uri;

use super::Builder;
use crate::Error;
use crate::transport::Origin;

/// What there is in its place.
pub(super) struct Means;

impl Means {
    pub(super) fn of(_: &Builder) -> Result<Self, Error> {
        Ok(Self)
    }

    pub(super) fn are_set(_: &Builder) -> bool {
        false
    }

    pub(super) fn origin(&self, _: Uri, _: &Builder) -> Result<Origin, String> {
        Err("https needs the feature `tls` of the crate registry-client".to_owned())
    }
}
