//! The tree of an older registry, taken over and given back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost_types::value::Kind;
use registry_client::{RegistryClient, pb};
use registry_tests::process::ServerProcess;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Ctl;
use crate::patient;

/// The parts of a `metadata.json` that are compared. Numbers stay text until Rust reads them: it rounds correctly.
#[derive(Deserialize)]
struct Metadata {
    version: String,
    description: String,
    framework: String,
    framework_version: String,
    metrics: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
    hyperparameters: BTreeMap<String, Box<RawValue>>,
    features: Vec<Column>,
    standardization_params: Option<Standardization>,
    environment: Environment,
    dataset: Dataset,
    data_range: Option<Range>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    dtype: String,
}

#[derive(Deserialize)]
struct Standardization {
    mean: Vec<Box<RawValue>>,
    scale: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Environment {
    python: String,
    packages: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Dataset {
    name: String,
    rows: i64,
    sha256: String,
    splits: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Range {
    start: String,
    end: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_tree_comes_back_byte_for_byte() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/legacy-registry");
    let data = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(data.path(), "127.0.0.1:0");
    let (ctl, client) = (Ctl::new(&server), patient(&server.endpoint()));

    let said = ctl.ok(&["import", tree.to_str().unwrap()]);
    assert_eq!(said.trim(), "3 models (3 new), 9 versions (9 new), 3 promotions");
    let mut versions = 0;
    for model in folders(&tree) {
        let id = name(&model);
        for folder in folders(&model).into_iter().filter(|folder| name(folder) != "production") {
            let version = client.get_version(format!("models/{id}/versions/{}", name(&folder))).await.unwrap();
            assert_pulled_is(&ctl, &version, &folder, data.path());
            assert_says_the_same(&version, &folder);
            versions += 1;
        }
        let latest = fs::read_to_string(model.join("production/latest")).unwrap();
        let live = client.get_version(format!("models/{id}@production")).await.unwrap();
        assert_eq!(Some(live.version_id.as_str()), latest.trim().strip_prefix("../"), "{id}");
    }
    assert_eq!(versions, 9);

    let before = head(&client).await;
    let said = ctl.ok(&["import", tree.to_str().unwrap()]);
    assert_eq!(said.trim(), "3 models (0 new), 9 versions (0 new), 0 promotions");
    assert_eq!(head(&client).await, before, "importing again changes nothing");
}

#[test]
fn nothing_is_sent_while_something_is_bad_and_the_rest_with_skip_bad() {
    let (folder, server) = crate::cli::server();
    let ctl = Ctl::new(&server);
    let tree = folder.path().join("tree");
    let secret = folder.path().join("secret.json");
    fs::write(&secret, r#"{"description": "secret"}"#).unwrap();
    let version = |model: &str, id: &str, metadata: &str| {
        let folder = tree.join(model).join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("metadata.json"), metadata).unwrap();
        folder
    };
    version("fraud", "20260101_000000", r#"{"training_date": "2026-01-26T10:30:00", "hyperparameters": {"x": NaN}}"#);
    let linked = version("fraud", "20260102_000000", "{}").join("metadata.json");
    fs::remove_file(&linked).unwrap();
    std::os::unix::fs::symlink(&secret, &linked).unwrap();
    let piped = version("fraud", "20260103_000000", "{}").join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(piped).status().unwrap().success());
    version("fraud", "20260104_000000", r#"{"features": [{"name": ""}]}"#);
    version("two words", "20260101_000000", "{}");
    version("fraud", "v5", "{}");
    let tree = tree.to_str().unwrap();

    let (code, complaint) = ctl.fails(&["import", tree]);
    assert_eq!(code, Some(1), "{complaint}");
    for said in [
        "bad: TREE/fraud/20260102_000000: metadata.json: is a link that leads out of the tree",
        "bad: TREE/fraud/20260103_000000: pipe: is no file",
        "bad: TREE/two words: model_id: must not contain ' '",
        "not taken: TREE/fraud/v5: is not named as versions are",
        "TREE/fraud/20260101_000000/metadata.json: training_date: 2026-01-26T10:30:00 has no time zone",
        "nothing was imported",
    ] {
        assert!(complaint.contains(&said.replace("TREE", tree)), "{said}: {complaint}");
    }
    assert!(ctl.json(&["events"]).is_empty(), "something was sent");

    let summary = &ctl.json(&["import", tree, "--skip-bad"])[0];
    let expected = serde_json::json!({
        "models": 1, "modelsCreated": 1, "versions": 1, "versionsCreated": 1, "promotions": 0, "notTaken": 1, "leftOut": 4,
    });
    assert_eq!(summary, &expected);
    assert_eq!(ctl.json(&["get", "fraud/versions/20260101_000000"])[0]["hyperparameters"]["x"], "NaN");
    assert!(!ctl.ok(&["--json", "events"]).contains("secret"));
    let said = ctl.ok(&["import", tree, "--skip-bad"]);
    assert_eq!(said, "1 model (0 new), 1 version (0 new), 0 promotions, 1 not taken, 4 left out\n");
}

async fn head(client: &RegistryClient) -> i64 {
    registry_tests::events(client).await.last().map_or(0, |event| event.revision)
}

/// `registryctl pull` gives every file of the folder back, and says in one more that it did.
fn assert_pulled_is(ctl: &Ctl, version: &pb::Version, folder: &Path, scratch: &Path) {
    let pulled = scratch.join("pulled").join(&version.uid);
    ctl.ok(&["pull", &version.name, "--output", pulled.to_str().unwrap()]);
    let (expected, mut found) = (contents(folder), contents(&pulled));
    assert!(found.remove(".model-registry.json").is_some());
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "{}", version.name);
    assert!(found == expected, "{}: other bytes", version.name);
    assert_eq!(version.artifact_count, expected.len() as i64);
}

/// What `metadata.json` says is what the version says, numbers to the last bit.
fn assert_says_the_same(version: &pb::Version, folder: &Path) {
    let text = fs::read_to_string(folder.join("metadata.json")).unwrap();
    let metadata: Metadata = serde_json::from_str(&text).unwrap();
    assert_eq!(version.version_id, metadata.version);
    assert_eq!(version.description, metadata.description);
    assert_eq!(version.framework, metadata.framework.to_lowercase());
    assert_eq!(version.framework_version, metadata.framework_version);

    let expected: BTreeMap<_, BTreeMap<_, _>> = metadata
        .metrics
        .iter()
        .map(|(split, values)| (split, values.iter().map(|(metric, value)| (metric, bits(value))).collect()))
        .collect();
    let found: BTreeMap<_, BTreeMap<_, _>> = version
        .metrics
        .iter()
        .map(|(split, set)| (split, set.values.iter().map(|(metric, value)| (metric, value.to_bits())).collect()))
        .collect();
    assert_eq!(found, expected, "{}", version.name);

    let told = version.hyperparameters.as_ref().unwrap();
    assert!(told.fields.keys().eq(metadata.hyperparameters.keys()), "{}", version.name);
    for (name, expected) in &metadata.hyperparameters {
        if let Some(Kind::NumberValue(number)) = told.fields[name].kind {
            assert_eq!(number.to_bits(), bits(expected), "{}: {name}", version.name);
        }
    }
    let features = version.features.iter().map(|field| (&field.name, &field.dtype));
    assert!(features.eq(metadata.features.iter().map(|column| (&column.name, &column.dtype))), "{}", version.name);
    assert_eq!(version.standardization_params.is_some(), metadata.standardization_params.is_some());
    if let (Some(found), Some(expected)) = (&version.standardization_params, &metadata.standardization_params) {
        assert!(found.mean.iter().map(|mean| mean.to_bits()).eq(expected.mean.iter().map(|text| bits(text))));
        assert!(found.scale.iter().map(|scale| scale.to_bits()).eq(expected.scale.iter().map(|text| bits(text))));
    }
    let environment = version.environment.as_ref().unwrap();
    assert_eq!(environment.language_version, metadata.environment.python);
    assert!(environment.packages.iter().eq(&metadata.environment.packages));
    let dataset = &version.datasets[0];
    assert_eq!((&dataset.name, dataset.rows), (&metadata.dataset.name, metadata.dataset.rows));
    assert_eq!(dataset.digest, format!("sha256:{}", metadata.dataset.sha256));
    assert!(dataset.split_rows.iter().eq(&metadata.dataset.splits));
    let range = |range: &pb::DataRange| (range.start.clone(), range.end.clone());
    assert_eq!(version.data_range.as_ref().map(range), metadata.data_range.map(|range| (range.start, range.end)));
}

fn bits(number: &RawValue) -> u64 {
    number.get().parse::<f64>().expect("a number").to_bits()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).collect()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
