//! Checks of versions: what others report about them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::policies::moment;
use super::resource::{Resource, check_etag};
use super::transaction::{Tx, event};
use super::{Committed, Mutation, validate};
use crate::error::{Error, Violations};
use crate::rules::checks::{Check, MOST, State};
use crate::rules::names::Name;
use crate::store::Kind;

/// How many bytes a summary or a link has at most.
const BYTES: usize = 4 * 1024;

/// Checks what a caller reports.
pub(crate) fn check(check: &pb::Check, found: &mut Violations) {
    match pb::CheckState::try_from(check.state) {
        Ok(pb::CheckState::Unspecified) => found.required("state"),
        Ok(_) => {}
        Err(_) => found.invalid("state", format!("has no value {}", check.state)),
    }
    validate::long(found, "summary", &check.summary, BYTES);
    validate::long(found, "uri", &check.uri, BYTES);
    if !check.uri.is_empty() && !["https://", "http://"].iter().any(|scheme| check.uri.starts_with(scheme)) {
        found.invalid("uri", "must begin with https:// or http://");
    }
    check.expire_time.iter().for_each(|time| validate::time(found, "expire_time", time));
}

/// The checks of a version, as the rules have them.
pub(super) fn of(version: &pb::Version) -> BTreeMap<String, Check> {
    let rule = |check: &pb::Check| Check {
        state: match check.state() {
            pb::CheckState::Succeeded => State::Succeeded,
            pb::CheckState::Failed => State::Failed,
            pb::CheckState::Pending | pb::CheckState::Unspecified => State::Pending,
        },
        summary: check.summary.clone(),
        expires: check.expire_time.as_ref().and_then(moment),
    };
    version.checks.iter().map(|(id, check)| (id.clone(), rule(check))).collect()
}

/// What a check of a version is now; its fields were checked.
pub(crate) struct ReportCheck {
    pub(crate) name: Name,
    pub(crate) id: String,
    pub(crate) check: pb::Check,
    pub(crate) etag: String,
}

#[async_trait]
impl Mutation for ReportCheck {
    type Answer = pb::Version;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let before: pb::Version = tx.live(&self.name).await?;
        check_etag(&before, &self.etag)?;
        let mut after = before.clone();
        let check = pb::Check { reporter: tx.actor.to_owned(), report_time: Some(tx.now), ..self.check.clone() };
        after.checks.insert(self.id.clone(), check);
        if after.checks.len() > MOST {
            let why = format!("the version has {MOST} checks already");
            return Err(Error::field("check_id", ErrorReason::FieldInvalid, why));
        }
        tx.write(event(event_type::VERSION_CHECK_REPORTED), Some(before), after).await.map(drop)
    }

    fn answer(committed: Committed) -> Result<pb::Version, Error> {
        committed.resource::<pb::Version>(event_type::VERSION_CHECK_REPORTED)
    }

    fn reads(&self) -> Vec<(Kind, Vec<u8>)> {
        pb::Version::reads(&self.name)
    }
}
