//! Update masks (AIP-134): which fields of a message an update takes.

use prost_types::FieldMask;
use registry_proto::v1 as pb;

use crate::error::{Error, Violations};

/// Declares a mask type for a message: the fields that may be updated, by name.
macro_rules! mask {
    ($(#[$doc:meta])* $name:ident, $message:ty, [$($field:ident),+ $(,)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(Vec<Path>);

        impl $name {
            const FIELDS: &[&str] = &[$(stringify!($field)),+];

            /// The fields to take from `message`: those the mask names or, without one, those that are not empty.
            pub(crate) fn new(mask: Option<&FieldMask>, message: &$message) -> Result<Self, Error> {
                let empty = <$message>::default();
                let filled = || {
                    let mut paths = Vec::new();
                    $(if message.$field != empty.$field { paths.push(Path::field(stringify!($field))); })+
                    paths
                };
                parse(mask, Self::FIELDS).map(|paths| Self(paths.unwrap_or_else(filled)))
            }

            fn take(field: &str, from: &$message, to: &mut $message) {
                match field {
                    $(stringify!($field) => to.$field.clone_from(&from.$field),)+
                    _ => unreachable!("a mask holds known fields only"),
                }
            }
        }
    };
}

mask!(
    /// What an update may change of a model.
    ModelMask, pb::Model,
    [
        display_name, description, model_type, owner, team, project, business_domain, purpose, labels, annotations,
        stage_policy, metric_directions,
    ]
);

mask!(
    /// What an update may change of a version.
    VersionMask, pb::Version,
    [
        description, framework, framework_version, metrics, hyperparameters, features, signature, standardization_params,
        model_params, environment, data_range, datasets, training_time, additional_metadata, tags,
    ]
);

impl ModelMask {
    pub(crate) fn apply(&self, from: &pb::Model, to: &mut pb::Model) {
        for path in &self.0 {
            Self::take(path.field, from, to);
        }
    }
}

impl VersionMask {
    pub(crate) fn apply(&self, from: &pb::Version, to: &mut pb::Version) {
        for path in &self.0 {
            match &path.key {
                None => Self::take(path.field, from, to),
                Some(split) => match from.metrics.get(split) {
                    Some(metrics) => drop(to.metrics.insert(split.clone(), metrics.clone())),
                    None => drop(to.metrics.remove(split)),
                },
            }
        }
    }
}

/// A field, or one entry of the map of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    field: &'static str,
    key: Option<String>,
}

impl Path {
    fn field(field: &'static str) -> Self {
        Self { field, key: None }
    }
}

fn parse(mask: Option<&FieldMask>, fields: &[&'static str]) -> Result<Option<Vec<Path>>, Error> {
    let Some(mask) = mask else { return Ok(None) };
    let mut found = Violations::default();
    let mut paths = Vec::new();
    for path in &mask.paths {
        let (name, key) = match path.split_once('.') {
            Some(("metrics", split)) if !split.is_empty() => ("metrics", Some(split.to_owned())),
            _ => (path.as_str(), None),
        };
        match fields.iter().find(|field| **field == name) {
            Some(field) => paths.push(Path { field, key }),
            None if name == "*" => paths.extend(fields.iter().map(|field| Path::field(field))),
            None => {
                found.invalid("update_mask", format!("{path:?} can't be updated; choose from {}", fields.join(", ")))
            }
        }
    }
    found.check()?;
    Ok(Some(paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(description: &str, splits: &[&str]) -> pb::Version {
        pb::Version {
            description: description.to_owned(),
            metrics: splits.iter().map(|split| ((*split).to_owned(), pb::MetricSet::default())).collect(),
            ..Default::default()
        }
    }

    fn updated(paths: Option<&[&str]>, from: &pb::Version, to: &pb::Version) -> Result<pb::Version, Error> {
        let mask = paths.map(|paths| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
        let mut to = to.clone();
        VersionMask::new(mask.as_ref(), from)?.apply(from, &mut to);
        Ok(to)
    }

    #[test]
    fn a_mask_takes_what_it_names() {
        let old = version("old", &["train", "test"]);
        let cases: &[(Option<&[&str]>, pb::Version, pb::Version)] = &[
            // Absent: what is not empty.
            (None, version("new", &[]), version("new", &["train", "test"])),
            // Named: also what is empty.
            (Some(&["description"]), version("", &["x"]), version("", &["train", "test"])),
            (Some(&["metrics"]), version("new", &["x"]), version("old", &["x"])),
            // One split comes, goes, or is put in place of another.
            (Some(&["metrics.x"]), version("new", &["x", "y"]), version("old", &["train", "test", "x"])),
            (Some(&["metrics.train"]), version("new", &[]), version("old", &["test"])),
            (Some(&["*"]), version("", &[]), version("", &[])),
            (Some(&[]), version("new", &["x"]), old.clone()),
        ];
        for (paths, from, expected) in cases {
            assert_eq!(updated(*paths, from, &old).unwrap(), *expected, "{paths:?}");
        }
    }

    #[test]
    fn what_a_caller_may_not_write_is_refused() {
        for path in ["name", "stage", "state", "number", "etag", "metrics.", "tags.x", "", "nonsense"] {
            let refused = updated(Some(&[path]), &version("", &[]), &version("", &[]));
            assert!(matches!(refused, Err(Error::Invalid(found)) if found[0].field == "update_mask"), "{path}");
        }
    }
}
