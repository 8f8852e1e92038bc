//! Comparison of the metrics of versions.

use std::collections::BTreeSet;

use registry_proto::v1 as pb;

use super::Registry;
use super::lists::{Listed, Page};
use super::models::ModelRow;
use crate::error::Error;
use crate::rules::compare;
use crate::rules::compare::Direction;
use crate::rules::names::Name;

impl Registry {
    /// A page of the metrics of versions side by side, with the versions' names; the first is the baseline.
    pub(crate) async fn compare(
        &self,
        names: &[Name],
        page: &Page,
    ) -> Result<(Vec<String>, Listed<pb::MetricComparison>), Error> {
        let mut versions = Vec::with_capacity(names.len());
        for name in names {
            versions.push(self.version(name).await?);
        }
        let overrides = match names.first() {
            Some(baseline) => self.get::<ModelRow>(&baseline.parent()).await?.metric_directions,
            None => Default::default(),
        };
        let every: BTreeSet<(&str, &str)> = versions
            .iter()
            .flat_map(|version| &version.metrics)
            .flat_map(|(split, set)| set.values.keys().map(move |metric| (split.as_str(), metric.as_str())))
            .collect();
        // A position is the last metric: keys have no control characters.
        let position = |(split, metric): (&str, &str)| [split.as_bytes(), &[0], metric.as_bytes()].concat();
        let mut rest = every.into_iter().filter(|at| page.after.as_ref().is_none_or(|after| position(*at) > *after));
        let chosen: Vec<_> = rest.by_ref().take(page.size).collect();
        let next = rest.next().and(chosen.last()).map(|last| position(*last));
        let metrics = chosen.into_iter().map(|(split, metric)| {
            let values: Vec<_> = versions
                .iter()
                .map(|version| version.metrics.get(split).and_then(|set| set.values.get(metric)).copied())
                .collect();
            let direction = match overrides.get(metric) {
                Some(number) => direction_of(*number),
                None => compare::known_direction(metric),
            };
            let comparison = compare::compare(&values, direction);
            let values = comparison.values.into_iter().zip(comparison.deltas);
            pb::MetricComparison {
                split: split.to_owned(),
                metric: metric.to_owned(),
                direction: direction_number(direction),
                values: values.map(|(value, delta)| pb::MetricValue { value, delta }).collect(),
                best: comparison.best.into_iter().filter_map(|at| i32::try_from(at).ok()).collect(),
            }
        });
        let items = metrics.collect();
        Ok((versions.iter().map(|version| version.name.clone()).collect(), Listed::of(items, next)))
    }
}

pub(super) fn direction_of(number: i32) -> Option<Direction> {
    match pb::MetricDirection::try_from(number).ok()? {
        pb::MetricDirection::Unspecified => None,
        pb::MetricDirection::HigherIsBetter => Some(Direction::Higher),
        pb::MetricDirection::LowerIsBetter => Some(Direction::Lower),
    }
}

pub(super) fn direction_number(direction: Option<Direction>) -> i32 {
    let direction = match direction {
        None => pb::MetricDirection::Unspecified,
        Some(Direction::Higher) => pb::MetricDirection::HigherIsBetter,
        Some(Direction::Lower) => pb::MetricDirection::LowerIsBetter,
    };
    direction.into()
}
