//! Words, counts and metrics: what the index answers by itself.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use prost_types::Timestamp;
use registry_proto::resource::Resource as _;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;

use super::compare::{direction_number, direction_of};
use super::indexed::too_large;
use super::lists::{Listed, Page, page_token_invalid};
use super::models::ModelRow;
use super::resource::{Resource, Row};
use super::transaction::Records as _;
use super::{Registry, count};
use crate::error::Error;
use crate::rules::compare::{self, Direction};
use crate::rules::expression::{Condition, Expression, Named, Test, number_of, time_of};
use crate::rules::names::{Name, VERSIONS};
use crate::search::{Candidates, Index, Place, Wanted};
use crate::store::{Kind, Record, SCAN_BYTES};

/// How many records are read at once.
const READS: usize = 16;

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) parent: Name,
    pub(crate) filter: Option<Expression>,
    /// By which values, with their names as the caller has them.
    pub(crate) by: Vec<(String, Named)>,
    /// How many of each at most.
    pub(crate) limit: usize,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) total: i64,
    pub(crate) facets: Vec<pb::Facet>,
    pub(crate) approximate: bool,
}

/// A metric of a model over its versions.
#[derive(Debug)]
pub(crate) struct Aggregation {
    pub(crate) model: Name,
    pub(crate) metric: String,
    /// Where versions have it.
    pub(crate) value: Named,
    /// Where they have the time of their making.
    pub(crate) created: Named,
    /// Where they have the time of their withdrawal, if they were withdrawn.
    pub(crate) withdrawn: Named,
    /// Where they have their state.
    pub(crate) state: Named,
    pub(crate) filter: Option<Expression>,
    pub(crate) limit: usize,
}

impl Registry {
    /// Models and versions of a namespace that have all words of a query, and how many there are.
    pub(crate) async fn search(
        &self,
        namespace: &Name,
        query: &str,
        of: &[pb::SearchKind],
        page: &Page,
    ) -> Result<(i64, Listed<pb::SearchResult>), Error> {
        self.store.parent_must_exist(namespace).await?;
        let kinds = of.iter().filter_map(|kind| match kind {
            pb::SearchKind::Model => Some(ModelRow::KIND),
            pb::SearchKind::Version => Some(pb::Version::KIND),
            pb::SearchKind::Unspecified => None,
        });
        let after = page.after.as_deref().map(place_of).transpose()?;
        let index = self.current_index().await?;
        let found = index.search(kinds.collect(), namespace.prefix(), query.to_owned(), after, page.size + 1).await;
        let found = found.ok_or_else(too_large)?;
        let more = found.hits.len() > page.size;
        let read = stream::iter(found.hits.into_iter().take(page.size)).map(|hit| async move {
            let record = self.store.get(hit.kind, &hit.key).await?;
            Ok::<_, Error>((hit, record))
        });
        let mut read = std::pin::pin!(read.buffered(READS));
        let (mut results, mut bytes, mut last) = (Vec::new(), 0, None);
        let total = found.total.cast_signed();
        while let Some((hit, record)) = read.try_next().await? {
            if bytes >= SCAN_BYTES {
                return Ok((total, Listed::of(results, last)));
            }
            last = Some(position_of(&hit));
            // It may have gone since the index knew it.
            let Some(record) = record else { continue };
            bytes += record.payload.len();
            results.push(result(&hit, &record)?);
        }
        Ok((total, Listed::of(results, last.filter(|_| more))))
    }

    /// How many resources of a kind have which values.
    pub(crate) async fn counted<R: Resource>(&self, counting: Counting) -> Result<Counted, Error> {
        let Counting { parent, filter, by, limit } = counting;
        self.store.parent_must_exist(&parent).await?;
        let index = self.current_index().await?;
        let (candidates, exact) = self.candidates::<R>(index, &parent, filter.as_ref(), None).await?;
        let (names, values): (Vec<_>, Vec<_>) = by.into_iter().unzip();
        let counts = index.counts(&candidates, values, limit).await.ok_or_else(too_large)?;
        let facet = |(field, counts): (String, crate::search::Counts)| pb::Facet {
            field,
            counts: counts
                .values
                .into_iter()
                .map(|(value, count)| pb::FacetCount { value, count: count.cast_signed() })
                .collect(),
            other_count: counts.others.cast_signed(),
            missing_count: counts.missing.cast_signed(),
        };
        let facets = names.into_iter().zip(counts).map(facet).collect();
        Ok(Counted { total: candidates.len().cast_signed(), facets, approximate: !exact })
    }

    /// How a metric went from version to version.
    pub(crate) async fn aggregate(&self, wanted: Aggregation) -> Result<pb::AggregateMetricResponse, Error> {
        let Aggregation { model, metric, value, created, withdrawn, state, filter, limit } = wanted;
        let row = self.store.resource::<ModelRow>(&model).await?;
        let index = self.current_index().await?;
        let failed = Condition::Test(state.path, Test::OtherChoice(pb::VersionState::Failed as i64));
        let (candidates, exact) = self.candidates::<pb::Version>(index, &model, filter.as_ref(), Some(failed)).await?;
        if !exact {
            let detail =
                "has a part that only the records tell, and there are more than 10,000 of them: narrow it down";
            return Err(Error::precondition(ErrorReason::FilterTooWide, "filter", detail));
        }
        let withdrawn = index.numbers(&candidates, withdrawn.path, created.path.clone()).await.ok_or_else(too_large)?;
        let withdrawn: HashSet<_> = withdrawn.into_iter().map(|(key, ..)| key).collect();
        let numbers = index.numbers(&candidates, value.path, created.path).await.ok_or_else(too_large)?;
        let counted = numbers.iter().filter(|(key, ..)| !withdrawn.contains(key));
        let mut points: Vec<_> = counted.map(|(key, value, time)| point(&model, key, *value, *time)).collect();
        points.sort_by_key(|(number, _)| *number);
        let points: Vec<_> = points.into_iter().map(|(_, point)| point).collect();
        let direction = match row.model.metric_directions.get(&metric) {
            Some(number) => direction_of(*number),
            None => compare::known_direction(&metric),
        };
        Ok(summary(points, direction, limit))
    }

    /// Those that are counted, and whether they are just those. `also` is a condition that the index answers.
    async fn candidates<R: Resource>(
        &self,
        index: &Index,
        parent: &Name,
        filter: Option<&Expression>,
        also: Option<Condition>,
    ) -> Result<(Arc<Candidates>, bool), Error> {
        let condition =
            Condition::All(filter.map(|filter| filter.condition().clone()).into_iter().chain(also).collect());
        let wanted = Wanted { condition, ..Wanted::all_of(R::KIND, parent.prefix()) };
        let candidates = Arc::new(index.find(wanted).await.ok_or_else(too_large)?);
        let exact = match filter {
            Some(filter) => self.exactly::<R>(&candidates, filter).await?,
            None => Some(Arc::clone(&candidates)),
        };
        Ok(exact.map_or((candidates, false), |exact| (exact, true)))
    }
}

fn position_of(place: &Place) -> Vec<u8> {
    [place.score.0.to_be_bytes().as_slice(), &[place.kind.0], &place.key].concat()
}

fn place_of(position: &[u8]) -> Result<Place, Error> {
    let (score, rest) = position.split_first_chunk().ok_or_else(page_token_invalid)?;
    let (kind, key) = rest.split_first().ok_or_else(page_token_invalid)?;
    Ok(Place { score: Reverse(u32::from_be_bytes(*score)), kind: Kind(*kind), key: key.to_vec() })
}

fn result(place: &Place, record: &Record) -> Result<pb::SearchResult, Error> {
    let resource = match place.kind {
        ModelRow::KIND => ModelRow::decode(record)?.into_message().into_resource(),
        _ => pb::Version::decode(record)?.into_resource(),
    };
    Ok(pb::SearchResult { resource: Some(resource), score: place.score.0.cast_signed() })
}

/// A version's metric, and its number.
fn point(model: &Name, key: &[u8], value: u64, created: u64) -> (i64, pb::MetricPoint) {
    let number = key.last_chunk().map_or(0, |number| i64::from_be_bytes(*number));
    let micros = time_of(created);
    let create_time = Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default(),
    };
    let version = model.child(&VERSIONS, number).to_string();
    (number, pb::MetricPoint { version, create_time: Some(create_time), value: number_of(value) })
}

/// What values add up to that are in the order of versions.
fn summary(
    mut points: Vec<pb::MetricPoint>,
    direction: Option<Direction>,
    limit: usize,
) -> pb::AggregateMetricResponse {
    let by_value = |one: &&pb::MetricPoint, other: &&pb::MetricPoint| one.value.total_cmp(&other.value);
    let least = points.iter().min_by(by_value).cloned();
    // Of equal ones the last would be taken.
    let most = points.iter().rev().max_by(by_value).cloned();
    let (best, worst) = match direction {
        Some(Direction::Higher) => (most.clone(), least.clone()),
        Some(Direction::Lower) => (least.clone(), most.clone()),
        None => (None, None),
    };
    // A sum of many may be infinite where their mean is not.
    let of = points.len() as f64;
    let mean = (!points.is_empty()).then(|| points.iter().map(|point| point.value / of).sum());
    let (all, last) = (count(points.len()), points.last().cloned());
    points.drain(..points.len().saturating_sub(limit));
    pb::AggregateMetricResponse {
        direction: direction_number(direction),
        count: all,
        mean,
        least,
        most,
        best,
        worst,
        last,
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_oldest_of_equal_ones() {
        let values = [3.0, 1.0, 4.0, 1.0, 4.0, 2.0];
        let point = |(at, value): (usize, &f64)| pb::MetricPoint {
            version: at.to_string(),
            value: *value,
            ..Default::default()
        };
        let points: Vec<_> = values.iter().enumerate().map(point).collect();
        let of = |direction| {
            let found = summary(points.clone(), direction, 2);
            let name = |point: Option<pb::MetricPoint>| point.map(|point| point.version);
            let points: Vec<_> = found.points.into_iter().map(|point| point.version).collect();
            assert_eq!((found.count, found.mean, points), (6, Some(2.5), vec!["4".to_owned(), "5".to_owned()]));
            [found.least, found.most, found.best, found.worst, found.last].map(name)
        };
        let (least, most, last) = (Some("1".to_owned()), Some("2".to_owned()), Some("5".to_owned()));
        let [l, m, e] = [&least, &most, &last].map(Clone::clone);
        assert_eq!(of(Some(Direction::Higher)), [l.clone(), m.clone(), m.clone(), l.clone(), e.clone()]);
        assert_eq!(of(Some(Direction::Lower)), [l.clone(), m.clone(), l.clone(), m.clone(), e.clone()]);
        assert_eq!(of(None), [l, m, None, None, e]);
        let none = summary(Vec::new(), Some(Direction::Lower), 2);
        assert_eq!((none.count, none.mean, none.best, none.last), (0, None, None, None));
        assert_eq!(
            summary(vec![pb::MetricPoint { value: f64::MAX, ..Default::default() }; 4], None, 0).mean,
            Some(f64::MAX)
        );
    }
}
