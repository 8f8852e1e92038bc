//! Lists of the past. Of each record that is listed today they look at what it was, so a page costs what it looks at, which is bounded as
//! that of a search is.

use std::collections::BTreeMap;

use bytes::Bytes;
use registry_proto::v1 as pb;
use tokio::sync::SemaphorePermit;

use super::written::{ArtifactChanges, Before};
use super::{Moment, Past, model_prefix};
use crate::error::{Error, Violations};
use crate::registry::Registry;
use crate::registry::lists::{Listed, Page, page_token_invalid};
use crate::registry::models::ModelRow;
use crate::registry::pages::{Budget, LOOKED_AT, READ};
use crate::registry::resource::{Resource, Row as _};
use crate::registry::transaction::{Lookup as _, Records as _};
use crate::rules::names::{MODELS, Name};
use crate::store::{Range, Record, Revision, SCAN_BYTES, Source};

impl Registry {
    /// The models of a namespace, as they were.
    pub(crate) async fn list_models_at(
        &self,
        moment: Moment,
        namespace: &Name,
        page: &Page,
    ) -> Result<Listed<pb::Model>, Error> {
        // A namespace is never removed; one that is younger has nothing yet.
        self.store.parent_must_exist(namespace).await?;
        let (past, mut found) = self.begin(moment, page, "name").await?;
        let mut range = found.range(namespace.prefix(), page);
        loop {
            let hits = self.store.scan(Source::Kind(ModelRow::KIND), &range).await?;
            if hits.is_empty() {
                return Ok(found.end());
            }
            for hit in hits {
                if found.is_over() {
                    return Ok(found.until(range.after));
                }
                range.after = Some(hit.position);
                found.budget.looked_at += 1;
                let Some(record) = past.as_it_was(ModelRow::KIND, hit.record).await? else { continue };
                found.take(record, |row: ModelRow, _| row.into_message())?;
            }
        }
    }

    /// The versions of a model, or of all models of a namespace, as they were, each a `Version` as it goes over the wire.
    pub(crate) async fn list_versions_at(
        &self,
        moment: Moment,
        parent: &Name,
        page: &Page,
    ) -> Result<Listed<Bytes>, Error> {
        let (past, mut found) = self.begin(moment, page, "number").await?;
        let of_model = std::ptr::eq(parent.of(), &MODELS);
        if of_model {
            past.must_exist(parent).await.map_err(|error| error.looked_up_at(past.at))?;
        } else {
            self.store.parent_must_exist(parent).await?;
        }
        let mut range = found.range(parent.prefix(), page);
        let mut model: Option<OfModel> = None;
        loop {
            let hits = self.store.scan(Source::Kind(pb::Version::KIND), &range).await?;
            if hits.is_empty() {
                return Ok(found.end());
            }
            for hit in hits {
                let key = &hit.record.key;
                let of = match model.take_if(|model| key.starts_with(&model.prefix)) {
                    Some(of) => of,
                    None => OfModel::read(&past, key, of_model || page.show_deleted).await?,
                };
                let step = of.step(key, page.reverse);
                model = Some(of);
                if let Some(position) = step {
                    found.budget.looked_at += 1;
                    range.after = Some(position);
                    if found.is_over() {
                        return Ok(found.until(range.after));
                    }
                    break;
                }
                if found.is_over() {
                    return Ok(found.until(range.after));
                }
                range.after = Some(hit.position);
                found.budget.looked_at += 1;
                let Some(record) = past.as_it_was(pb::Version::KIND, hit.record).await? else { continue };
                found.take(record, |_: pb::Version, payload| payload)?;
            }
        }
    }

    /// The artifacts of a version, by path, as they were.
    pub(crate) async fn list_artifacts_at(
        &self,
        moment: Moment,
        version: &Name,
        page: &Page,
    ) -> Result<Listed<pb::Artifact>, Error> {
        let (past, mut found) = self.begin(moment, page, "path").await?;
        let version = past.resolve(version).await?;
        past.must_exist(&version).await.map_err(|error| error.looked_up_at(past.at))?;
        let mut changes = ArtifactChanges::of(&version.key());
        let mut range = found.range(version.prefix(), page);
        loop {
            let hits = self.store.scan(Source::Kind(pb::Artifact::KIND), &range).await?;
            // Behind the scan: what it missed, or saw too much, was changed by now.
            changes.catch_up(&past).await?;
            let last = hits.last().map(|hit| hit.position.clone());
            let after = range.after.clone().unwrap_or_default();
            let is_next = |key: &[u8]| key > after.as_slice() && last.as_deref().is_none_or(|last| key <= last);
            let changed = changes.found.iter().filter(|(key, _)| is_next(key));
            let mut then: BTreeMap<Vec<u8>, Then> =
                changed.map(|(key, before)| (key.clone(), Then::Before(*before))).collect();
            for hit in hits {
                then.entry(hit.record.key.clone()).or_insert(Then::Same(hit.record));
            }
            for (key, then) in then {
                if found.is_over() {
                    return Ok(found.until(range.after));
                }
                found.budget.looked_at += 1;
                let record = match then {
                    Then::Same(record) => Some(record),
                    Then::Before(before) => past.before(&key, before).await?,
                };
                range.after = Some(key);
                if let Some(record) = record {
                    found.take(record, |artifact: pb::Artifact, _| artifact)?;
                }
            }
            if last.is_none() {
                return Ok(found.end());
            }
        }
    }

    /// Begins a page when its turn has come.
    async fn begin<'a, T>(
        &'a self,
        moment: Moment,
        page: &'a Page,
        order: &'static str,
    ) -> Result<(Past, Found<'a, T>), Error> {
        let mut found = Violations::default();
        if page.order != order {
            found.invalid("order_by", format!("a list of the past is in the order of {order}, or {order} desc"));
        }
        for (field, asked) in [("count", page.count), ("explain", page.explain)] {
            if asked {
                found.invalid(field, "a list of the past is neither counted nor explained");
            }
        }
        found.check()?;
        // The first page says of which revision the others are.
        let (moment, after) = match &page.after {
            None => (moment, None),
            Some(token) => {
                let (revision, after) = token.split_first_chunk().ok_or_else(page_token_invalid)?;
                (Moment::Revision(Revision::from_be_bytes(*revision)), Some(after.to_vec()))
            }
        };
        let past = self.past(moment).await?;
        let turn = self.searches.acquire().await.ok();
        let found = Found {
            page,
            show_deleted: page.show_deleted,
            size: page.size,
            at: past.at,
            after,
            items: Vec::new(),
            bytes: 0,
            budget: Budget::new(LOOKED_AT),
            _turn: turn,
        };
        Ok((past, found))
    }
}

/// What is at the key of an artifact now, or was.
enum Then {
    Same(Record),
    Before(Before),
}

/// What a page has found so far.
struct Found<'a, T> {
    page: &'a Page,
    show_deleted: bool,
    size: usize,
    at: Revision,
    /// Where it goes on.
    after: Option<Vec<u8>>,
    items: Vec<T>,
    bytes: usize,
    budget: Budget,
    _turn: Option<SemaphorePermit<'a>>,
}

impl<T> Found<'_, T> {
    /// What is to be scanned, a little at a time.
    fn range(&mut self, prefix: Vec<u8>, page: &Page) -> Range {
        Range { prefix, after: self.after.take(), reverse: page.reverse, limit: READ.min(page.size + 1) }
    }

    /// Whether the page is full, or it is time to return what was found.
    fn is_over(&self) -> bool {
        let is_full = self.items.len() == self.size || self.bytes >= SCAN_BYTES;
        is_full || self.budget.is_spent()
    }

    /// Takes a record, as it was, if it is wanted.
    fn take<R: Resource>(&mut self, record: Record, item: impl FnOnce(R, Bytes) -> T) -> Result<(), Error> {
        let row = R::decode(&record)?;
        let shown = self.show_deleted || row.meta().delete_time.is_none();
        if shown && self.page.takes(R::encoded(&record)) {
            self.bytes += record.payload.len();
            self.items.push(item(row, record.payload));
        }
        Ok(())
    }

    /// The page, and that there may be more behind a position.
    fn until(self, position: Option<Vec<u8>>) -> Listed<T> {
        let next = position.map(|position| [self.at.to_be_bytes().as_slice(), &position].concat());
        Listed::of(self.items, next)
    }

    /// The last page.
    fn end(self) -> Listed<T> {
        Listed::of(self.items, None)
    }
}

/// What of the versions of a model was there.
struct OfModel {
    /// What their keys begin with.
    prefix: Vec<u8>,
    /// The highest number; `None` if none of them is listed.
    last: Option<i64>,
}

impl OfModel {
    /// Of the model of a version, by its key; `also_deleted`: whether the versions of a deleted one are listed.
    async fn read(past: &Past, version: &[u8], also_deleted: bool) -> Result<Self, Error> {
        let prefix = model_prefix(version);
        let record = past.look_up(ModelRow::KIND, &prefix[..prefix.len() - 1]).await?;
        let row = record.map(|record| ModelRow::decode(&record)).transpose()?;
        let listed = row.filter(|row| also_deleted || row.model.delete_time.is_none());
        Ok(Self { prefix, last: listed.map(|row| row.last_number) })
    }

    /// Where to go on behind a version if it was not there: behind all that were not.
    fn step(&self, version: &[u8], reverse: bool) -> Option<Vec<u8>> {
        let at = |end: &[u8]| Some([self.prefix.as_slice(), end].concat());
        // A number's first byte is less.
        const BEHIND: [u8; 1] = [u8::MAX];
        match self.last {
            None if reverse => Some(self.prefix.clone()),
            None => at(&BEHIND),
            Some(last) => {
                let newer = (last + 1).to_be_bytes();
                match (version[self.prefix.len()..] >= newer[..], reverse) {
                    (false, _) => None,
                    (true, true) => at(&newer),
                    (true, false) => at(&BEHIND),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_came_later_are_passed_over_in_one_step() {
        let key = |number: i64| [b"n\0m\0".as_slice(), &number.to_be_bytes()].concat();
        let of = |last| OfModel { prefix: b"n\0m\0".to_vec(), last };
        for (last, number, reverse, expected) in [
            (Some(7), 7, false, None),
            (Some(7), 1, true, None),
            (Some(7), 8, false, Some(b"n\0m\0\xff".to_vec())),
            (Some(7), 300, true, Some(key(8))),
            (Some(7), 8, true, Some(key(8))),
            (None, 1, false, Some(b"n\0m\0\xff".to_vec())),
            (None, 1, true, Some(b"n\0m\0".to_vec())),
        ] {
            assert_eq!(of(last).step(&key(number), reverse), expected, "{last:?} {number} {reverse}");
        }
    }
}
