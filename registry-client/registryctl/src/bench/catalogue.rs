//! What `fill` makes: models and versions as a large registry has them, the same ones for the same seed.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use registry_client::pb;
use registry_client::pb::Stage;
use sha2::{Digest as _, Sha256};

use super::words::{DOMAINS, FRAMEWORKS, REGIONS, TASKS, TEAMS, WORDS};

/// What the selective versions meet, and no others.
pub(super) const SELECTIVE: &str = r#"version.framework == "onnx" && version.tags["review"] == "legal""#;
/// How many those are.
pub(super) const SELECTED: usize = 20;
/// The first model has one of so many versions.
const FIRST: usize = 10;
/// The others have the fewer the later they come: like 1 / (place + this).
const FLATTENED: usize = 10;
/// When the first version was trained, in seconds of Unix time: 2025-01-01. The last one was two years later.
const BEGIN: i64 = 1_735_689_600;
const LASTED: i64 = 2 * 365 * 24 * 60 * 60;

/// All models and versions of a filled registry.
pub(super) struct Catalogue {
    seed: u64,
    /// How many versions each model has.
    sizes: Vec<usize>,
    /// The model of each version, in the order in which they are made.
    order: Vec<u32>,
}

impl Catalogue {
    /// So many models, at least one, and versions, of which each model has at least one.
    pub(super) fn new(seed: u64, models: u32, versions: usize) -> Self {
        let sizes = sizes(models as usize, versions);
        let of_model = |(model, size): (u32, &usize)| std::iter::repeat_n(model, *size);
        let mut order: Vec<_> = (0..).zip(&sizes).flat_map(of_model).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        Self { seed, sizes, order }
    }

    pub(super) fn models(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn versions(&self) -> usize {
        self.order.len()
    }

    pub(super) fn model_of(&self, version: usize) -> usize {
        self.order[version] as usize
    }

    /// What makes a call in a namespace repeatable: the same in the same fill, and in the order of the calls, as those of a client are.
    pub(super) fn request_id(&self, namespace: &str, call: Call, number: usize) -> String {
        let fill = format!("{namespace} {} {} {} {}", self.seed, self.models(), self.versions(), call as u8);
        let mut of_fill = [0; 10];
        of_fill.copy_from_slice(&Sha256::digest(fill)[..10]);
        let millis = BEGIN.cast_unsigned() * 1000 + number as u64;
        uuid::Builder::from_unix_timestamp_millis(millis, &of_fill).into_uuid().to_string()
    }

    /// The id of a model.
    pub(super) fn model_id(number: usize) -> String {
        format!("{}-{number:05}", domain(number))
    }

    /// A model.
    pub(super) fn model(&self, number: usize) -> pb::Model {
        let mut random = self.random(Call::Model, number);
        let (domain, (task, model_type)) = (domain(number), some(&TASKS, &mut random));
        pb::Model {
            display_name: format!("{task} for {domain}"),
            description: text(&mut random, 8..20),
            model_type: model_type.to_owned(),
            owner: format!("person{}@example.com", random.random_range(0..300)),
            team: some(&TEAMS, &mut random).to_owned(),
            project: format!("{domain}-{}", random.random_range(1..=4)),
            business_domain: domain.to_owned(),
            tags: pairs([("tier", some(&["1", "2", "3"], &mut random)), ("region", some(&REGIONS, &mut random))]),
            ..Default::default()
        }
    }

    /// A version: some 600 bytes.
    pub(super) fn version(&self, number: usize) -> pb::Version {
        let mut random = self.random(Call::Version, number);
        let (framework, framework_version, _) =
            FRAMEWORKS.choose_weighted(&mut random, |(_, _, weight)| *weight).copied().unwrap_or(FRAMEWORKS[0]);
        let kind = ["nightly", "nightly", "nightly", "release", "experiment"];
        let commit = format!("{:08x}", random.random::<u32>());
        let trained = BEGIN + LASTED * number as i64 / self.versions() as i64;
        let dataset = format!("week-{}", (trained - BEGIN) / (7 * 24 * 60 * 60));
        let mut version = pb::Version {
            description: text(&mut random, 15..40),
            framework: framework.to_owned(),
            framework_version: framework_version.to_owned(),
            tags: pairs([
                ("region", some(&REGIONS, &mut random)),
                ("kind", some(&kind, &mut random)),
                ("pci", if random.random_bool(0.1) { "yes" } else { "no" }),
                ("commit", &commit),
                ("dataset", &dataset),
            ]),
            metrics: metrics(&mut random),
            hyperparameters: Some(hyperparameters(&mut random)),
            training_time: Some(prost_types::Timestamp { seconds: trained, nanos: 0 }),
            ..Default::default()
        };
        if self.is_selected(number) {
            "onnx".clone_into(&mut version.framework);
            version.tags.insert("review".to_owned(), "legal".to_owned());
        }
        version
    }

    /// Whether the version is one of the [`SELECTED`], which are spread evenly.
    fn is_selected(&self, number: usize) -> bool {
        let place = |number: usize| number * SELECTED / self.versions();
        number == 0 || place(number) != place(number - 1)
    }

    /// Which versions enter a stage, in the order in which they do. Half of the models have their newest version in production, some the one
    /// before in staging, and of the older ones some are archived.
    pub(super) fn stages(&self) -> Vec<(usize, Stage)> {
        let mut seen = vec![0; self.models()];
        let mut stages = Vec::new();
        for (version, model) in self.order.iter().enumerate() {
            let (seen, all) = (&mut seen[*model as usize], self.sizes[*model as usize]);
            *seen += 1;
            let (stage, share) = match all - *seen {
                0 => (Stage::Production, 0.5),
                1 => (Stage::Staging, 0.3),
                _ => (Stage::Archived, 0.05),
            };
            if self.random(Call::Stages, version).random_bool(share) {
                stages.push((version, stage));
            }
        }
        stages
    }

    fn random(&self, of: Call, number: usize) -> StdRng {
        // Seeds that differ in any of the three differ.
        let of = u64::from(of as u8) << 60 | (number as u64) << 20;
        StdRng::seed_from_u64(self.seed.rotate_left(40) ^ of)
    }
}

/// What is called, and what is random about it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Model,
    Version,
    Stages,
}

/// How many versions each model has: the first a tenth of all, the others the rest, few of them much of it.
fn sizes(models: usize, versions: usize) -> Vec<usize> {
    let others = models - 1;
    let first = if others == 0 { versions } else { (versions / FIRST).clamp(1, versions - others) };
    let weight = |place: usize| 1.0 / (place + FLATTENED) as f64;
    let all: f64 = (0..others).map(weight).sum();
    // Each has one at least.
    let shared = versions - first - others;
    let mut sizes = vec![first];
    sizes.extend((0..others).map(|place| 1 + (shared as f64 * weight(place) / all) as usize));
    let left = versions - sizes.iter().sum::<usize>();
    // What rounding left is less than one for each.
    sizes.iter_mut().skip(1).take(left).for_each(|size| *size += 1);
    sizes
}

fn domain(model: usize) -> &'static str {
    DOMAINS[model % DOMAINS.len()]
}

/// One of some.
fn some<T: Copy>(of: &[T], random: &mut StdRng) -> T {
    of[random.random_range(..of.len())]
}

fn text(random: &mut StdRng, words: std::ops::Range<usize>) -> String {
    let words = random.random_range(words);
    (0..words).map(|_| some(&WORDS, random)).collect::<Vec<_>>().join(" ")
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Four metrics on each of two splits; what is good on one is about as good on the other.
fn metrics(random: &mut StdRng) -> BTreeMap<String, pb::MetricSet> {
    let quality = random.random_range(0.0..1.0_f64);
    let mut on = |split: &str| {
        let mut near = |value: f64| value + random.random_range(-0.02..0.02);
        let values = [
            ("auc", near(0.45 + 0.52 * quality)),
            ("accuracy", near(0.4 + 0.55 * quality)),
            ("log_loss", near(0.9 - 0.8 * quality)),
            ("rmse", near(1.0 - 0.9 * quality)),
        ];
        (split.to_owned(), pb::MetricSet { values: values.map(|(name, value)| (name.to_owned(), value)).into() })
    };
    [on("validation"), on("test")].into()
}

fn hyperparameters(random: &mut StdRng) -> prost_types::Struct {
    let values = [
        ("max_depth", f64::from(random.random_range(2..13))),
        ("n_estimators", f64::from(random.random_range(1..21) * 50)),
        ("learning_rate", some(&[0.001, 0.01, 0.03, 0.1, 0.3], random)),
        ("random_state", f64::from(random.random_range(0..100))),
    ];
    let value = |value| prost_types::Value { kind: Some(Kind::NumberValue(value)) };
    prost_types::Struct { fields: values.map(|(name, number)| (name.to_owned(), value(number))).into() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn versions_are_where_most_are_in_large_registries() {
        for (models, versions) in [(1, 100), (2, 100), (100, 100), (7, 300), (100, 10_000), (10_000, 1_000_000)] {
            let sizes = sizes(models, versions);
            assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (models, versions));
            assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
        }
        let sizes = sizes(10_000, 1_000_000);
        assert_eq!(sizes[0], 100_000);
        assert!(sizes[1..].is_sorted_by(|one, next| one >= next));
        assert!(sizes[1] < 20_000 && sizes[9_999] < 20, "{} {}", sizes[1], sizes[9_999]);
    }

    #[test]
    fn the_same_seed_gives_the_same() {
        let [one, same, other] = [7, 7, 8].map(|seed| Catalogue::new(seed, 10, 1000));
        assert_eq!((one.model(3), one.version(5), &one.order), (same.model(3), same.version(5), &same.order));
        assert_eq!(one.stages(), same.stages());
        assert_ne!(one.order, other.order);
        assert_ne!(one.version(5), other.version(5));
        assert_ne!(one.version(5), one.version(6));
    }

    #[test]
    fn calls_are_repeated_by_the_same_fill_only() {
        let [one, same, other] = [7, 7, 8].map(|seed| Catalogue::new(seed, 10, 1000));
        let mut ids = HashSet::new();
        for call in [Call::Model, Call::Version, Call::Stages] {
            for number in [0, 1] {
                let id = one.request_id("namespaces/a", call, number);
                assert!(Uuid::try_parse(&id).is_ok(), "{id}");
                assert_eq!(id, same.request_id("namespaces/a", call, number));
                ids.extend([
                    id,
                    one.request_id("namespaces/b", call, number),
                    other.request_id("namespaces/a", call, number),
                ]);
            }
        }
        assert_eq!(ids.len(), 18);
    }

    #[test]
    fn as_many_as_are_said_are_selected() {
        for versions in [100, 101, 999, 12_345] {
            let all = Catalogue::new(1, 10, versions);
            let tagged = |version: &pb::Version| version.tags.contains_key("review");
            let selected: Vec<_> = (0..versions).map(|number| all.version(number)).filter(tagged).collect();
            assert_eq!(selected.len(), SELECTED, "of {versions}");
            assert!(selected.iter().all(|version| version.framework == "onnx" && version.tags["review"] == "legal"));
        }
    }

    #[test]
    fn a_model_has_one_version_in_production_at_most() {
        let all = Catalogue::new(1, 200, 20_000);
        let stages = all.stages();
        let in_stage = |stage| stages.iter().filter(move |(_, entered)| *entered == stage).map(|(version, _)| *version);
        let production: Vec<_> = in_stage(Stage::Production).map(|version| all.model_of(version)).collect();
        assert_eq!(production.iter().collect::<HashSet<_>>().len(), production.len());
        assert!((70..130).contains(&production.len()), "{}", production.len());
        assert!((30..90).contains(&in_stage(Stage::Staging).count()));
        assert!((800..1200).contains(&in_stage(Stage::Archived).count()));
    }

    #[test]
    fn a_version_is_as_large_as_most_are() {
        let all = Catalogue::new(1, 10, 1000);
        let bytes: usize = (0..1000).map(|number| prost::Message::encoded_len(&all.version(number))).sum();
        assert!((500..900).contains(&(bytes / 1000)), "{}", bytes / 1000);
        let good = (0..1000).filter(|number| all.version(*number).metrics["validation"].values["auc"] > 0.5).count();
        assert!((800..1000).contains(&good), "{good}");
    }
}
