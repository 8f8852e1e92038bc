//! Pages of lists. Each costs what it returns; with a filter, what it looks at.

use std::sync::Arc;

use bytes::Bytes;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::access::wishes::Seen;
use super::models::ModelRow;
use super::pages::Search;
use super::resource::{Resource as _, Row as _};
use super::transaction::{Records as _, decode};
use super::{Registry, versions};
use crate::error::Error;
use crate::rules::expression::{self, Expression, Sorting};
use crate::rules::names::{MODELS, Name, VERSIONS};
use crate::store::{Range, Record, SCAN_BYTES, Source};

/// How many deleted models a page of versions passes over at most.
const PASSED_OVER: usize = 100;
/// The number of `name` in every resource.
const NAME: u32 = 1;

/// Which part of a list to return.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// How many at most.
    pub(crate) size: usize,
    /// After this position.
    pub(crate) after: Option<Vec<u8>>,
    /// The field that orders it.
    pub(crate) order: &'static str,
    /// From the last to the first.
    pub(crate) reverse: bool,
    /// What is deleted as well.
    pub(crate) show_deleted: bool,
    /// By values of the resources, rather than by that field.
    pub(crate) sortings: Option<Vec<Sorting>>,
    /// Only what meets this condition.
    pub(crate) filter: Option<Arc<Expression>>,
    /// Count the whole list.
    pub(crate) count: bool,
    /// Say how the page came about.
    pub(crate) explain: bool,
    /// How many records to look at, at most, where there is a filter.
    pub(crate) look_at: usize,
    /// Only what the caller sees, who may not see all.
    pub(crate) seen: Option<Seen>,
}

impl Page {
    /// Fails if a part of the list is asked for what only the whole list tells.
    pub(crate) fn check_seen(&self, of: &str) -> Result<(), Error> {
        match &self.seen {
            Some(seen) if self.sortings.is_some() || self.count || self.explain => Err(seen.denied(of)),
            _ => Ok(()),
        }
    }

    /// Whether the page looks at records that are not on it.
    pub(super) fn chooses(&self) -> bool {
        self.filter.is_some() || self.seen.is_some()
    }

    /// Whether a resource is on the page, by its bytes, if the page gets that far.
    pub(super) fn takes(&self, message: &[u8]) -> bool {
        self.seen.as_ref().is_none_or(|seen| seen.sees(expression::text(message, NAME)))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(message))
    }
}

/// A page, and the position to go on after, if there may be more.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<Vec<u8>>,
    pub(crate) findings: Findings,
}

/// What was found out about a list beside its items.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// How many records were looked at.
    pub(super) looked_at: usize,
    /// How many bytes the items have.
    pub(super) bytes: usize,
    pub(crate) total_size: Option<i64>,
    pub(crate) explanation: Option<pb::ListExplanation>,
}

impl<T> Listed<T> {
    pub(crate) fn of(items: Vec<T>, next: Option<Vec<u8>>) -> Self {
        Self { items, next, findings: Findings::default() }
    }

    /// What was found beside the items, and these.
    pub(crate) fn with_findings(mut self) -> (Findings, Self) {
        (std::mem::take(&mut self.findings), self)
    }
}

/// The error of a position that is none of the list's: a token is checked, but not sealed.
pub(crate) fn page_token_invalid() -> Error {
    Error::field("page_token", ErrorReason::PageTokenInvalid, "is not a page token")
}

impl Registry {
    /// The models of a namespace.
    pub(crate) async fn list_models(&self, namespace: &Name, page: &Page) -> Result<Listed<pb::Model>, Error> {
        self.store.parent_must_exist(namespace).await?;
        let read = |hit| Ok(ModelRow::decode(&hit)?.into_message());
        let short = self.before_index(page);
        let scan = self.list::<ModelRow>(namespace.prefix(), &short);
        self.found::<ModelRow, _>(namespace.prefix(), page, read, scan).await
    }

    /// The versions of a model, or of all models of a namespace, each a `Version` as it goes over the wire.
    pub(crate) async fn list_versions(&self, parent: &Name, page: &Page) -> Result<Listed<Bytes>, Error> {
        self.store.parent_must_exist(parent).await?;
        let read = |record: Record| Ok(record.payload);
        let short = self.before_index(page);
        self.found::<pb::Version, _>(parent.prefix(), page, read, self.scan_versions(parent, &short)).await
    }

    async fn scan_versions(&self, parent: &Name, page: &Page) -> Result<Listed<Bytes>, Error> {
        let of_model = std::ptr::eq(parent.of(), &MODELS);
        let source = match page.show_deleted {
            true => Source::Kind(pb::Version::KIND),
            false if of_model => Source::Index(versions::LIVE),
            false => return self.versions_of_live_models(parent, page).await,
        };
        self.page::<pb::Version, _>(source, parent.prefix(), page, |record| Ok(record.payload)).await
    }

    /// The versions of a namespace, without those of deleted models, which are not deleted themselves: these models are passed over,
    /// each in one step.
    async fn versions_of_live_models(&self, namespace: &Name, page: &Page) -> Result<Listed<Bytes>, Error> {
        let mut items = Vec::new();
        let mut range =
            Range { prefix: namespace.prefix(), after: page.after.clone(), reverse: page.reverse, limit: 0 };
        let mut search = Search::of(page, &self.searches).await;
        // The model that was looked at last, and whether it lives.
        let mut model: Option<(Name, bool)> = None;
        // Where the last item is.
        let mut last = None;
        let (mut passed_over, mut bytes) = (0, 0);
        loop {
            range.limit = search.next_read().await;
            let hits = self.store.scan(Source::Index(versions::LIVE), &range).await?;
            if hits.is_empty() {
                return Ok(search.listed(items, bytes, None));
            }
            for hit in hits {
                // Whether there is more than its reader sees is not for them to know.
                if page.chooses() && items.len() == page.size && page.seen.is_none() {
                    return Ok(search.listed(items, bytes, last));
                }
                if !search.wants(|| &hit.record.payload) {
                    range.after = Some(hit.position);
                    continue;
                }
                let version: pb::Version = decode(&hit.record)?;
                let of = Name::canonical(&VERSIONS, &version.name).parent();
                let live = match &model {
                    Some((model, live)) if *model == of => *live,
                    _ => self.store.resource::<ModelRow>(&of).await?.meta().delete_time.is_none(),
                };
                let prefix = of.prefix();
                model = Some((of, live));
                if !live {
                    passed_over += 1;
                    range.after = Some(if page.reverse { prefix } else { [prefix.as_slice(), &[u8::MAX]].concat() });
                    break;
                }
                if items.len() == page.size || bytes >= SCAN_BYTES {
                    return Ok(search.listed(items, bytes, last));
                }
                bytes += hit.record.payload.len();
                range.after = Some(hit.position);
                last.clone_from(&range.after);
                items.push(hit.record.payload);
            }
            if passed_over == PASSED_OVER || search.is_over() {
                let next = if items.len() == page.size { last } else { range.after };
                return Ok(search.listed(items, bytes, next));
            }
        }
    }

    /// The artifacts of a version, by path.
    pub(crate) async fn list_artifacts(&self, version: &Name, page: &Page) -> Result<Listed<pb::Artifact>, Error> {
        let version = self.store.resolve(version).await?;
        self.store.must_exist(&version).await?;
        self.page::<pb::Artifact, _>(Source::Kind(pb::Artifact::KIND), version.prefix(), page, |hit| decode(&hit)).await
    }
}
