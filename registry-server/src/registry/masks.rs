//! Field masks (AIP-157, AIP-161): which fields of a message an update takes, or a reply has.

use std::marker::PhantomData;

use prost_types::FieldMask;
use registry_proto::resource::Resource;

use crate::error::{Violations, quoted};
use crate::rules::expression::did_you_mean;

/// Some fields of a message.
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

/// The field whose entries have values of their own.
const METRICS: &str = "metrics";
/// How many paths a mask has at most.
const PATHS: usize = 100;

/// Why a path names nothing, for people.
type Wrong = fn(&str, &'static [&'static str]) -> String;

impl<M: Resource> Mask<M> {
    /// The fields to take from `message`: those the mask names or, without one, those that are not empty.
    pub(crate) fn of_update(mask: Option<&FieldMask>, message: &M, found: &mut Violations) -> Self {
        let all = |wanted: &dyn Fn(&str) -> bool| -> Vec<_> {
            let fields = M::UPDATABLE.iter().filter(|field| wanted(field));
            fields.map(|field| Path { field, key: None }).collect()
        };
        let wrong = |name: &str, known: &'static [&'static str]| {
            format!("can't be updated; choose from {}{}", known.join(", "), did_you_mean(name, known))
        };
        let paths = match mask {
            None => all(&|field| message.has(field)),
            Some(mask) if is_all(mask) => all(&|_| true),
            Some(mask) => Self::paths("update_mask", mask, M::UPDATABLE, wrong, found),
        };
        Self { paths, of: PhantomData }
    }

    /// The fields that a reply has; `None` means all.
    pub(crate) fn of_reply(mask: Option<&FieldMask>, found: &mut Violations) -> Option<Self> {
        let wrong = |name: &str, known: &'static [&'static str]| match known.contains(&name) {
            true => format!("is no field: {name} has none that a mask can name"),
            false => format!("is no field of {} {}{}", article(M::SINGULAR), M::SINGULAR, did_you_mean(name, known)),
        };
        let mask = mask.filter(|mask| !mask.paths.is_empty() && !is_all(mask))?;
        Some(Self { paths: Self::paths("read_mask", mask, M::FIELDS, wrong, found), of: PhantomData })
    }

    fn paths(
        at: &str,
        mask: &FieldMask,
        known: &'static [&'static str],
        wrong: Wrong,
        found: &mut Violations,
    ) -> Vec<Path> {
        let path = |path: &String| {
            let (name, key) = match path.split_once('.') {
                Some((name, key)) => (name, Some(key.to_owned())),
                None => (path.as_str(), None),
            };
            let field = known.iter().find(|field| **field == name);
            let entry = |key: &str| !key.is_empty() && M::default().take_entry(name, key, &M::default());
            match field {
                Some(field) if key.as_deref().is_none_or(entry) => Some(Path { field, key }),
                _ => {
                    found.invalid(at, format!("{} {}", quoted(path), wrong(name, known)));
                    None
                }
            }
        };
        if mask.paths.len() > PATHS {
            found.invalid(at, format!("has {} paths; at most {PATHS} are allowed", mask.paths.len()));
            return Vec::new();
        }
        mask.paths.iter().filter_map(path).collect()
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

    /// A message that has nothing else.
    pub(crate) fn only(&self, from: &M) -> M {
        let mut only = M::default();
        self.apply(from, &mut only);
        // `metrics.test.auc` is how filters and orders name a metric: its split is the entry that has it.
        let metrics = self.paths.iter().filter(|path| path.field == METRICS);
        for (split, _) in metrics.filter_map(|path| path.key.as_deref()?.split_once('.')) {
            only.take_entry(METRICS, split, from);
        }
        only
    }
}

fn is_all(mask: &FieldMask) -> bool {
    mask.paths == ["*"]
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" }
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
        let mask = Mask::of_update(mask.as_ref(), from, &mut found);
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
    fn a_reply_has_what_its_mask_names() {
        let model = pb::Model {
            name: "namespaces/default/models/m".to_owned(),
            description: "text".to_owned(),
            etag: "7".to_owned(),
            tags: ["team.a", "pci"].map(|key| (key.to_owned(), "x".to_owned())).into(),
            aliases: [("champion".to_owned(), "3".to_owned())].into(),
            ..Default::default()
        };
        let only = |paths: &[&str]| {
            let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
            let mut found = Violations::default();
            let mask = Mask::<pb::Model>::of_reply(Some(&mask), &mut found);
            found.check().map(|()| mask.map_or_else(|| model.clone(), |mask| mask.only(&model)))
        };
        let tag = pb::Model { tags: [("team.a".to_owned(), "x".to_owned())].into(), ..Default::default() };
        for (paths, expected) in [
            (&[][..], model.clone()),
            (&["*"], model.clone()),
            // Also what callers do not write; and nothing more, not even the name.
            (&["etag", "etag"], pb::Model { etag: model.etag.clone(), ..Default::default() }),
            (&["name"], pb::Model { name: model.name.clone(), ..Default::default() }),
            (&["tags.team.a", "tags.none", "purged"], tag.clone()),
            (&["tags.pci", "tags"], pb::Model { tags: model.tags.clone(), ..Default::default() }),
            (&["aliases.champion"], pb::Model { aliases: model.aliases.clone(), ..Default::default() }),
        ] {
            assert_eq!(only(paths).unwrap(), expected, "{paths:?}");
        }
        for (paths, says) in [
            (&["descripton"][..], "\"descripton\" is no field of a model; did you mean \"description\"?"),
            (&["name", "nonsense"], "\"nonsense\" is no field of a model"),
            (&["policy.stages"], "\"policy.stages\" is no field: policy has none that a mask can name"),
            (&["tags."], "\"tags.\" is no field: tags has none that a mask can name"),
            (&["*", "name"], "\"*\" is no field of a model"),
            (&["name"; PATHS + 1], "has 101 paths; at most 100 are allowed"),
        ] {
            assert_eq!(only(paths).unwrap_err().to_string(), format!("read_mask: {says}"));
        }
    }

    #[test]
    fn a_metric_comes_with_its_split() {
        let from = version("text", &["test", "test.v2", "train"]);
        let only = |path: &str| {
            let mask = FieldMask { paths: vec![path.to_owned()] };
            Mask::<pb::Version>::of_reply(Some(&mask), &mut Violations::default()).unwrap().only(&from)
        };
        assert_eq!(only("metrics.test"), version("", &["test"]));
        assert_eq!(only("metrics.test.auc"), version("", &["test"]));
        assert_eq!(only("metrics.test.v2"), version("", &["test", "test.v2"]));
        assert_eq!(only("metrics.none.auc"), version("", &[]));
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
