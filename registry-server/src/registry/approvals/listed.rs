//! Lists of approvals.

use std::collections::HashMap;

use prost_types::Timestamp;
use registry_proto::v1 as pb;

use super::{BY_AGE, PENDING, is_expired, members, request};
use crate::error::Error;
use crate::registry::Registry;
use crate::registry::lists::{Listed, Page};
use crate::registry::transaction::{Records as _, decode};
use crate::rules::approvals::Changed;
use crate::rules::names::{Name, VERSIONS};
use crate::store::Source;

/// Which approvals to list.
pub(crate) struct Listing {
    /// A model, or a namespace for all of its models.
    pub(crate) parent: Name,
    pub(crate) state: pb::ApprovalState,
    /// Only those that wait for this principal; empty: all.
    pub(crate) approver: String,
}

impl Registry {
    /// A page of approvals, the oldest of each model first. What is not asked for is left out of a page after it was read.
    pub(crate) async fn list_approvals(&self, listing: &Listing, page: &Page) -> Result<Listed<pb::Approval>, Error> {
        let Listing { parent, state, approver } = listing;
        self.store.parent_must_exist(parent).await?;
        let pending = !approver.is_empty() || *state == pb::ApprovalState::Pending;
        let source = Source::Index(if pending { PENDING } else { BY_AGE });
        let read = |record| decode::<pb::Approval>(&record);
        let mut listed = self.page::<pb::Approval, _>(source, parent.prefix(), page, read).await?;
        if *state != pb::ApprovalState::Unspecified {
            listed.items.retain(|approval| approval.state() == *state);
        }
        if !approver.is_empty() {
            let mut waiting = Vec::new();
            let mut groups = HashMap::new();
            for approval in std::mem::take(&mut listed.items) {
                if self.awaits(&approval, approver, &mut groups).await? {
                    waiting.push(approval);
                }
            }
            listed.items = waiting;
        }
        Ok(listed)
    }

    async fn awaits(
        &self,
        approval: &pb::Approval,
        principal: &str,
        groups: &mut HashMap<String, Vec<String>>,
    ) -> Result<bool, Error> {
        let group = approval.rule.as_ref().map(|rule| rule.group.clone()).unwrap_or_default();
        if !groups.contains_key(&group) {
            groups.insert(group.clone(), members(&*self.store, approval).await?);
        }
        let version: pb::Version = self.store.resource(&Name::canonical(&VERSIONS, &approval.version)).await?;
        let expired = is_expired(approval, &Timestamp::from(self.store.time().await?));
        let changed = (version.etag != approval.version_etag).then_some(Changed::Version);
        let members = groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        Ok(request(approval, &version.creator, members, expired, changed).awaits(principal))
    }
}
