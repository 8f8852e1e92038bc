//! Lists that the index helps with: those of a condition that chooses few of many, and those in any order.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::time::Instant;

use super::lists::{Findings, Listed, Page};
use super::models::ModelRow;
use super::pages::{LOOKED_AT, Search, TIME};
use super::resource::{Resource, Row};
use super::{Registry, count};
use crate::error::Error;
use crate::rules::expression::{self, Condition, Expression, MODEL, VERSION};
use crate::search::{Candidates, Index, Indexed, Order, Spoken, State, Wanted};
use crate::store::{Record, SCAN_BYTES};

/// What is indexed.
pub(super) static KINDS: [Indexed; 2] = [
    Indexed { kind: ModelRow::KIND, of: MODEL, depth: 1, message: ModelRow::encoded, live, spoken: of_model },
    Indexed { kind: pb::Version::KIND, of: VERSION, depth: 2, message: pb::Version::encoded, live, spoken: of_version },
];

// The numbers of fields, the first ones in models and versions.
const NAME: u32 = 1;
const TAGS: u32 = 10;
const DESCRIPTION: u32 = 12;
const DISPLAY_NAME: u32 = 13;
const MODEL_TYPE: u32 = 20;
const TEAM: u32 = 22;
const PROJECT: u32 = 23;
const VERSION_ID: u32 = 20;
const FRAMEWORK: u32 = 27;

fn of_model(message: &[u8]) -> Spoken<'_> {
    let id = expression::text(message, NAME).rsplit('/').next().unwrap_or_default();
    let texts = [MODEL_TYPE, TEAM, PROJECT].map(|field| expression::text(message, field));
    Spoken { names: vec![id, expression::text(message, DISPLAY_NAME)], texts: described(message, texts) }
}

fn of_version(message: &[u8]) -> Spoken<'_> {
    // `.../models/fraud/versions/7`: the model is found before its versions by what it is called.
    let model = expression::text(message, NAME).rsplit('/').nth(2).unwrap_or_default();
    let texts = [model, expression::text(message, FRAMEWORK)];
    Spoken { names: vec![expression::text(message, VERSION_ID)], texts: described(message, texts) }
}

fn described<'a>(message: &'a [u8], others: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let tags = expression::texts(message, TAGS);
    others.into_iter().chain(tags).chain([expression::text(message, DESCRIPTION)]).collect()
}

/// The number of `delete_time` in every resource.
const DELETE_TIME: u32 = 8;

/// A condition that this part of the records meets fills a page soon.
const WIDE: f64 = 0.125;
/// How many records are scanned before the index goes on, if it can.
const SCANNED: usize = 2_000;
/// How many records are read at once.
const READS: usize = 16;
/// How many candidates are taken from the index at once, at most.
const TAKEN: usize = 1000;

// What things cost, in records that are read in order and looked at: one that is read by its key, and so many candidates that are put in order.
const BY_KEY: u64 = 4;
const PUT_IN_ORDER: u64 = 8;

fn live(message: &[u8]) -> bool {
    !expression::has(message, DELETE_TIME)
}

/// What the index says of a list.
struct LookUp {
    candidates: Arc<Candidates>,
    order: Order,
    /// Whether to go by it, rather than by the store's own order.
    better: bool,
}

impl Registry {
    /// A page of what is indexed, by whichever way costs less: the index, or a scan in the store's own order, which is only begun if it
    /// is the better one.
    pub(super) async fn found<R: Resource, T>(
        &self,
        prefix: Vec<u8>,
        page: &Page,
        read: impl Fn(Record) -> Result<T, Error>,
        scan: impl Future<Output = Result<Listed<T>, Error>>,
    ) -> Result<Listed<T>, Error> {
        let told = page.sortings.is_some() || page.count || page.explain;
        // What only some see is looked for one by one.
        if page.seen.is_some() || (page.filter.is_none() && !told) {
            return scan.await;
        }
        let began = Instant::now();
        let mut look_up = match !told && self.is_wide::<R>(&prefix, page).await {
            true => None,
            false => self.look_up::<R>(prefix.clone(), page).await?,
        };
        let mut listed = match look_up.as_ref().filter(|look_up| look_up.better) {
            Some(look_up) => self.page_of::<R, T>(look_up, page, 0, &read).await?,
            None => {
                let scanned = scan.await?;
                let rest = self.rest_of(page, &scanned);
                if rest.is_some() && look_up.is_none() {
                    look_up = self.look_up::<R>(prefix, page).await?;
                }
                match (rest, &look_up) {
                    (Some(rest), Some(look_up)) => self.go_on::<R, T>(scanned, look_up, &rest, &read).await?,
                    _ => scanned,
                }
            }
        };
        let total_size = match &look_up {
            Some(look_up) if page.count => self.count_of::<R>(&look_up.candidates, page).await?,
            _ => None,
        };
        let explanation = page.explain.then(|| explain(look_up.as_ref(), &listed, began.elapsed()));
        listed.findings = Findings { total_size, explanation, ..listed.findings };
        Ok(listed)
    }

    /// The page as it is scanned first: if little of it is found soon, the index knows more.
    pub(super) fn before_index(&self, page: &Page) -> Page {
        let look_at = if self.helps(page) { SCANNED } else { page.look_at };
        Page { look_at, ..page.clone() }
    }

    /// What is left of a page of which little was found where it was looked for.
    fn rest_of<T>(&self, page: &Page, scanned: &Listed<T>) -> Option<Page> {
        let after = scanned.next.clone().filter(|_| self.helps(page))?;
        let size = page.size.checked_sub(scanned.items.len()).filter(|size| *size > 0)?;
        Some(Page { after: Some(after), size, ..page.clone() })
    }

    /// The same page with what the index finds of the rest.
    async fn go_on<R: Resource, T>(
        &self,
        mut scanned: Listed<T>,
        look_up: &LookUp,
        rest: &Page,
        read: &impl Fn(Record) -> Result<T, Error>,
    ) -> Result<Listed<T>, Error> {
        let found = self.page_of::<R, T>(look_up, rest, scanned.findings.bytes, read).await?;
        scanned.items.extend(found.items);
        scanned.next = found.next;
        scanned.findings.looked_at += found.findings.looked_at;
        Ok(scanned)
    }

    /// Whether the index can go on where a scan has ended.
    fn helps(&self, page: &Page) -> bool {
        // By age the store has positions of its own.
        let by_key = page.order != "create_time";
        let tests = page.filter.as_ref().is_some_and(|filter| *filter.condition() != Condition::Unknown);
        page.seen.is_none() && by_key && tests && self.index.as_ref().is_some_and(Index::is_ready)
    }

    /// Whether so many meet the condition that a page is full soon, as a sample has it.
    async fn is_wide<R: Resource>(&self, prefix: &[u8], page: &Page) -> bool {
        let (Some(index), Some(filter), true) = (&self.index, &page.filter, self.helps(page)) else { return false };
        let (condition, deleted) = (filter.condition().clone(), page.show_deleted);
        let wanted = Wanted { kind: R::KIND, prefix: prefix.to_vec(), deleted, condition };
        index.share(wanted).await.is_some_and(|share| share >= WIDE)
    }

    /// The index, when it knows what the store does.
    pub(super) async fn current_index(&self) -> Result<&Index, Error> {
        let index = self.index.as_ref().ok_or_else(too_large)?;
        match index.reach(self.store.newest().await?).await {
            State::At(_) => Ok(index),
            State::Building => Err(Error::IndexBuilding),
            State::TooLarge => Err(too_large()),
        }
    }

    /// What the index says. `None`: it is not there, and is not needed.
    async fn look_up<R: Resource>(&self, prefix: Vec<u8>, page: &Page) -> Result<Option<LookUp>, Error> {
        let needed = page.sortings.is_some();
        let index = match self.current_index().await {
            Ok(index) => index,
            Err(error) if needed => return Err(error),
            Err(_) => return Ok(None),
        };
        let condition = page.filter.as_ref().map_or(Condition::All(Vec::new()), |filter| filter.condition().clone());
        let wanted = Wanted { kind: R::KIND, prefix, deleted: page.show_deleted, condition };
        let Some(candidates) = index.find(wanted).await else { return Ok(None) };
        let order = match &page.sortings {
            Some(sortings) => Order::Values(sortings.clone()),
            None => Order::Keys { reverse: page.reverse },
        };
        let better = needed || (self.helps(page) && candidates.narrowed && is_better(&candidates, page.size));
        Ok(Some(LookUp { candidates: Arc::new(candidates), order, better }))
    }

    /// A page of candidates.
    async fn page_of<R: Resource, T>(
        &self,
        look_up: &LookUp,
        page: &Page,
        mut bytes: usize,
        read: &impl Fn(Record) -> Result<T, Error>,
    ) -> Result<Listed<T>, Error> {
        let LookUp { candidates, order, .. } = look_up;
        let mut search = Search::of(page, &self.searches).await;
        let (mut items, mut after) = (Vec::new(), page.after.clone());
        let mut take = page.size + 1;
        loop {
            let first = match &self.index {
                Some(index) => index.first(candidates, order, after.as_deref(), take).await,
                None => None,
            };
            // Its paths are too many.
            let first = first.ok_or_else(too_large)?;
            let more = first.len() == take;
            let mut records = stream::iter(first)
                .map(|(placed, key)| async move { Ok::<_, Error>((placed, self.store.get(R::KIND, &key).await?)) })
                .buffered(READS);
            while let Some(found) = records.next().await {
                let (placed, record) = found?;
                if items.len() == page.size || bytes >= SCAN_BYTES || search.is_over() {
                    return Ok(search.listed(items, bytes, after));
                }
                after = Some(placed.position);
                // It may have changed since the index knew it.
                let Some(record) = record else { continue };
                let wanted = search.wants(|| R::encoded(&record));
                if wanted && (page.show_deleted || live(R::encoded(&record))) {
                    bytes += record.payload.len();
                    items.push(read(record)?);
                }
            }
            if !more {
                return Ok(search.listed(items, bytes, None));
            }
            take = (take * 4).min(TAKEN);
        }
    }

    /// How many there are. `None`: that would take too long.
    async fn count_of<R: Resource>(&self, candidates: &Arc<Candidates>, page: &Page) -> Result<Option<i64>, Error> {
        let exact = match &page.filter {
            Some(filter) => self.exactly::<R>(candidates, filter).await?,
            None => Some(Arc::clone(candidates)),
        };
        Ok(exact.map(|exact| exact.len().cast_signed()))
    }

    /// Those that meet a condition, by their records where the index can't tell. `None`: that would take too long.
    pub(super) async fn exactly<R: Resource>(
        &self,
        candidates: &Arc<Candidates>,
        filter: &Expression,
    ) -> Result<Option<Arc<Candidates>>, Error> {
        if candidates.exact {
            return Ok(Some(Arc::clone(candidates)));
        }
        let Some(index) = self.index.as_ref().filter(|_| candidates.len() <= LOOKED_AT as u64) else {
            return Ok(None);
        };
        let order = Order::Keys { reverse: false };
        let Some(all) = index.first(candidates, &order, None, LOOKED_AT).await else { return Ok(None) };
        let began = Instant::now();
        let mut records =
            stream::iter(all).map(|(_, key)| async move { self.store.get(R::KIND, &key).await }).buffered(READS);
        let mut met = Vec::new();
        while let Some(record) = records.next().await {
            met.extend(record?.filter(|record| filter.matches(R::encoded(record))).map(|record| record.key));
            if began.elapsed() > TIME {
                return Ok(None);
            }
        }
        Ok(index.only(candidates, met).await.map(Arc::new))
    }
}

/// Whether reading the candidates costs less than reading in the store's own order until a page is full.
fn is_better(candidates: &Candidates, size: usize) -> bool {
    let wanted = size as u64 + 1;
    let found = candidates.len().max(1);
    let by_scan = (wanted.min(found) * candidates.of / found).min(candidates.of);
    by_scan > candidates.len() / PUT_IN_ORDER + wanted.min(found) * BY_KEY
}

pub(super) fn too_large() -> Error {
    let detail = "needs more memory than it may have (`index_memory`), or lacks this key: it has 20,000, and 1,000 of one resource";
    Error::precondition(ErrorReason::IndexTooLarge, "index", detail)
}

fn explain<T>(look_up: Option<&LookUp>, listed: &Listed<T>, elapsed: Duration) -> pb::ListExplanation {
    let candidates = look_up.map(|look_up| &look_up.candidates);
    let plan = match look_up {
        Some(LookUp { candidates, order: Order::Values(_), .. }) => {
            format!("ordered by the index; {}", candidates.plan)
        }
        Some(LookUp { candidates, better: true, .. }) => candidates.plan.clone(),
        Some(_) => "one record after the other: that costs less than the index".to_owned(),
        None => "one record after the other: there is no index".to_owned(),
    };
    pb::ListExplanation {
        plan,
        resources: candidates.map(|candidates| candidates.of.cast_signed()),
        candidates: candidates.map(|candidates| candidates.len().cast_signed()),
        records_read: count(listed.findings.looked_at),
        records_returned: count(listed.items.len()),
        duration: prost_types::Duration::try_from(elapsed).ok(),
    }
}
