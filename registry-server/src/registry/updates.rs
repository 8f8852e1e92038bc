//! Update masks (AIP-134): which fields of a message an update takes.

use std::marker::PhantomData;

use prost_types::FieldMask;
use registry_proto::resource::Resource;

use crate::error::{Violations, quoted};

/// The fields that an update takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mask<M> {
    paths: Vec<Path>,
    of: PhantomData<fn() -> M>,
}

/// A field, or one entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    field: &'static str,
    key: Option<String>,
}

impl<M: Resource> Mask<M> {
    /// The fields to take from `message`: those the mask names or, without one, those that are not empty.
    pub(crate) fn new(mask: Option<&FieldMask>, message: &M, found: &mut Violations) -> Self {
        let all = |wanted: &dyn Fn(&str) -> bool| -> Vec<_> {
            let fields = M::UPDATABLE.iter().filter(|field| wanted(field));
            fields.map(|field| Path { field, key: None }).collect()
        };
        let paths = match mask {
            None => all(&|field| message.has(field)),
            Some(mask) if mask.paths == ["*"] => all(&|_| true),
            Some(mask) => mask.paths.iter().filter_map(|path| Self::path(path, found)).collect(),
        };
        Self { paths, of: PhantomData }
    }

    fn path(path: &str, found: &mut Violations) -> Option<Path> {
        let (name, key) = match path.split_once('.') {
            Some((name, key)) => (name, Some(key.to_owned())),
            None => (path, None),
        };
        let field = M::UPDATABLE.iter().find(|field| **field == name);
        let entry = |key: &str| !key.is_empty() && M::default().take_entry(name, key, &M::default());
        match field {
            Some(field) if key.as_deref().is_none_or(entry) => Some(Path { field, key }),
            _ => {
                let choice = M::UPDATABLE.join(", ");
                found.invalid("update_mask", format!("{} can't be updated; choose from {choice}", quoted(path)));
                None
            }
        }
    }

    /// Takes them.
    pub(crate) fn apply(&self, from: &M, to: &mut M) {
        for Path { field, key } in &self.paths {
            match key {
                None => to.take(field, from),
                Some(key) => drop(to.take_entry(field, key, from)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_proto::v1 as pb;

    use super::*;
    use crate::error::Error;

    fn version(description: &str, splits: &[&str]) -> pb::Version {
        pb::Version {
            description: description.to_owned(),
            metrics: splits.iter().map(|split| ((*split).to_owned(), pb::MetricSet::default())).collect(),
            ..Default::default()
        }
    }

    fn updated(paths: Option<&[&str]>, from: &pb::Version, to: &pb::Version) -> Result<pb::Version, Error> {
        let mask = paths.map(|paths| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
        let mut found = Violations::default();
        let mask = Mask::new(mask.as_ref(), from, &mut found);
        found.check()?;
        let mut to = to.clone();
        mask.apply(from, &mut to);
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
    fn what_a_caller_may_not_write_is_not_taken() {
        let forged = pb::Version {
            uid: "forged".to_owned(),
            number: 7,
            purge_time: Some(prost_types::Timestamp::default()),
            purged: true,
            stage_revision: 9,
            version_id: "1.0".to_owned(),
            etag: "5".to_owned(),
            source_uri: "s3://bucket/model".to_owned(),
            ..version("new", &["train"])
        };
        let given = pb::Version { source_uri: "s3://bucket/model".to_owned(), ..version("new", &["train"]) };
        assert_eq!(forged.given(), given);
        assert_eq!(updated(Some(&["*"]), &forged, &pb::Version::default()).unwrap(), version("new", &["train"]));
    }

    #[test]
    fn what_a_caller_may_not_write_is_refused() {
        let alone = ["name", "stage", "state", "number", "etag", "metrics.", "features.x", "", "nonsense"];
        for paths in alone.iter().map(std::slice::from_ref).chain([&["*", "name"][..], &["description", "*"]]) {
            let refused = updated(Some(paths), &version("", &[]), &version("", &[]));
            assert!(matches!(refused, Err(Error::Invalid(found)) if found[0].field == "update_mask"), "{paths:?}");
        }
    }
}
