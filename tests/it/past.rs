//! Reads of the past: what they give is what a registry holds that was restored up to then.

use std::collections::BTreeSet;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::pb::{Artifact, Event, Model, Stage, Version};
use registry_client::{Error, RegistryClient};
use registry_server::backup::restore::Until;
use registry_tests::restore::{back_up, restore_into};
use registry_tests::{TestServer, events};

mod refusals;

const MODELS: [&str; 3] = ["models/fraud", "models/churn", "namespaces/risk/models/fraud"];
const IDS: [&str; 3] = ["1.0.0", "2.0.0", "rc"];
const ALIASES: [&str; 2] = ["champion", "challenger"];
const COMPUTED: [&str; 3] = ["latest", "production", "staging"];
const PATHS: [&str; 3] = ["config.json", "weights/part-1", "plot.png"];
const STAGES: [Stage; 4] = [Stage::Development, Stage::Staging, Stage::Production, Stage::Archived];
/// How many changes are asked for.
const STEPS: usize = 250;

/// Asks for some change, which may be refused.
async fn change(client: &RegistryClient, rng: &mut StdRng) -> Result<(), Error> {
    let model = *MODELS.choose(rng).unwrap();
    let version = format!("{model}/versions/{}", rng.random_range(1..=5));
    let artifact = format!("{version}/artifacts/{}", PATHS.choose(rng).unwrap());
    let (alias, stage) = (*ALIASES.choose(rng).unwrap(), *STAGES.choose(rng).unwrap());
    let text = rng.random::<u16>().to_string();
    match rng.random_range(0..100) {
        0..8 => client.create_model(model).team(text).await.map(drop),
        8..12 => {
            let changed = Model { name: model.to_owned(), owner: text, ..Default::default() };
            client.update_model(changed).await.map(drop)
        }
        12..30 => {
            let id = if rng.random_bool(0.4) { *IDS.choose(rng).unwrap() } else { "" };
            client.create_version(model).version_id(id).finalize(rng.random_bool(0.4)).await.map(drop)
        }
        30..36 => {
            let changed = Version { name: version, description: text, ..Default::default() };
            client.update_version(changed).await.map(drop)
        }
        36..52 => {
            let path = artifact.split_once("/artifacts/").unwrap().1;
            client.upload(version, path, text.into_bytes()).await.map(drop)
        }
        52..57 => client.delete_artifact(artifact).await.map(drop),
        57..61 => match rng.random_bool(0.3) {
            true => client.finalize_version(version).failed("spoilt").await.map(drop),
            false => client.finalize_version(version).await.map(drop),
        },
        61..71 => client.transition_stage(version, stage).await.map(drop),
        71..74 => client.rollback_stage(model, Stage::Production).await.map(drop),
        74..80 => client.set_alias(model, alias, version).await.map(drop),
        80..82 => client.delete_alias(model, alias).await.map(drop),
        82..87 => client.delete_version(version).force(true).await.map(drop),
        87..89 => client.undelete_version(version).await.map(drop),
        89..92 => client.purge_version(version).await.map(drop),
        92..94 => client.withdraw_version(version).force(true).await.map(drop),
        94..95 => client.reinstate_version(version).await.map(drop),
        95..97 => client.delete_model(model).force(true).await.map(drop),
        97..99 => client.undelete_model(model).await.map(drop),
        _ => client.purge_model(model).await.map(drop),
    }
}

/// Makes a history.
async fn live(client: &RegistryClient, rng: &mut StdRng, steps: usize) {
    for model in MODELS {
        // It may be there.
        let _ = client.create_model(model).await;
    }
    for _ in 0..steps {
        if let Err(error) = change(client, rng).await {
            assert!(error.reason().is_some(), "{error}");
        }
    }
}

/// Everything that there is a name for.
struct Names {
    namespaces: BTreeSet<String>,
    models: BTreeSet<String>,
    versions: BTreeSet<String>,
    artifacts: BTreeSet<String>,
}

impl Names {
    fn of(log: &[Event]) -> Self {
        let names = || log.iter().map(|event| event.resource_name.as_str());
        let up_to = |parts: usize| -> BTreeSet<String> {
            let whole = names().filter(|name| name.split('/').count() >= parts);
            whole.map(|name| name.split('/').take(parts).collect::<Vec<_>>().join("/")).collect()
        };
        let models = up_to(4);
        let moving = models.iter().flat_map(|model| {
            let aliases = ALIASES.iter().chain(&COMPUTED).map(move |alias| format!("{model}@{alias}"));
            aliases.chain(IDS.iter().map(move |id| format!("{model}/versions/{id}")))
        });
        let versions = up_to(6).into_iter().filter(|name| name.contains("/versions/")).chain(moving).collect();
        let artifacts = names().filter(|name| name.contains("/artifacts/")).map(str::to_owned);
        let moving = models.iter().map(|model| format!("{model}@champion/artifacts/{}", PATHS[0]));
        Self { namespaces: up_to(2), artifacts: artifacts.chain(moving).collect(), models, versions }
    }
}

/// What all reads give, errors as well.
#[derive(Debug, PartialEq)]
struct Found {
    models: Vec<Result<Model, String>>,
    versions: Vec<Result<Version, String>>,
    artifacts: Vec<Result<Artifact, String>>,
    lists_of_models: Vec<Result<Vec<Model>, String>>,
    lists_of_versions: Vec<Result<Vec<Version>, String>>,
    lists_of_artifacts: Vec<Result<Vec<Artifact>, String>>,
}

fn kept<T>(read: Result<T, Error>) -> Result<T, String> {
    // A registry that was restored up to then says it of now.
    let now = |text: String| match text.split_once(" did not exist") {
        Some((name, _)) => format!("{name} does not exist"),
        None => text,
    };
    read.map_err(|error| format!("{:?} {}", error.reason(), now(error.to_string())))
}

/// A namespace is there today that was not then, and is empty.
fn listed<T>(read: Result<Vec<T>, Error>, in_namespace: bool) -> Result<Vec<T>, String> {
    match read {
        Err(error) if error.is_not_found() && in_namespace => Ok(Vec::new()),
        read => kept(read),
    }
}

/// Reads everything, at a revision, or with 0 as it is.
async fn read(client: &RegistryClient, names: &Names, at: i64) -> Found {
    let mut found = Found {
        models: Vec::new(),
        versions: Vec::new(),
        artifacts: Vec::new(),
        lists_of_models: Vec::new(),
        lists_of_versions: Vec::new(),
        lists_of_artifacts: Vec::new(),
    };
    for model in &names.models {
        found.models.push(kept(client.get_model(model).at_revision(at).await));
    }
    for version in &names.versions {
        found.versions.push(kept(client.get_version(version).at_revision(at).await));
    }
    for artifact in &names.artifacts {
        found.artifacts.push(kept(client.get_artifact(artifact).at_revision(at).await));
    }
    for (deleted, filter, order) in [(false, "", "name"), (true, "", "name desc"), (true, "model.owner > '3'", "name")]
    {
        for namespace in &names.namespaces {
            let list = client.list_models().parent(namespace).show_deleted(deleted).filter(filter).order_by(order);
            let read = list.page_size(2).at_revision(at).stream().try_collect().await;
            found.lists_of_models.push(listed(read, true));
        }
    }
    let all = names.namespaces.iter().map(|namespace| format!("{namespace}/models/-"));
    for (deleted, filter, order) in
        [(false, "", "number"), (true, "", "number desc"), (false, "version.stage == 'PRODUCTION'", "number desc")]
    {
        for parent in all.clone().chain(names.models.iter().cloned()) {
            let list = client.list_versions(&parent).show_deleted(deleted).filter(filter).order_by(order);
            let read = list.page_size(2).at_revision(at).stream().try_collect().await;
            found.lists_of_versions.push(listed(read, parent.ends_with('-')));
        }
    }
    for version in &names.versions {
        let list = client.list_artifacts(version).page_size(2).at_revision(at);
        found.lists_of_artifacts.push(listed(list.stream().try_collect().await, false));
    }
    found
}

/// Holds the past of a registry against restores of it to each of these revisions.
async fn assert_restores_agree(client: &RegistryClient, revisions: &BTreeSet<i64>, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    back_up(client, &backup).await;
    let log = events(client).await;
    let names = Names::of(&log);
    for revision in revisions.iter().copied() {
        let then = read(client, &names, revision).await;
        let storage = folder.path().join(revision.to_string());
        restore_into(&storage, &backup, Until::Revision(revision.cast_unsigned())).await.unwrap();
        let mut restored = TestServer::on(&storage).await;
        let expected = read(&restored.client(), &names, 0).await;
        assert_same(&then, &expected, &format!("{what}, revision {revision}"));
        restored.stop().await;

        // By its time, which revisions may share.
        let time = log.iter().find(|event| event.revision == revision).and_then(|event| event.create_time).unwrap();
        let last = log.iter().rev().find(|event| event.create_time == Some(time)).unwrap().revision;
        for model in &names.models {
            let at_time = client.get_model(model).at_time(time.try_into().unwrap()).await;
            assert_eq!(kept(at_time), kept(client.get_model(model).at_revision(last).await), "{what}, {time}");
        }
    }
}

fn assert_same(then: &Found, expected: &Found, what: &str) {
    assert_eq!(then.models, expected.models, "{what}");
    assert_eq!(then.versions, expected.versions, "{what}");
    assert_eq!(then.artifacts, expected.artifacts, "{what}");
    assert_eq!(then.lists_of_models, expected.lists_of_models, "{what}");
    assert_eq!(then.lists_of_versions, expected.lists_of_versions, "{what}");
    assert_eq!(then.lists_of_artifacts, expected.lists_of_artifacts, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_what_a_restore_up_to_then_has() {
    for seed in 0..4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let server = TestServer::start().await;
        let client = server.client();
        live(&client, &mut rng, STEPS).await;
        let newest = client.status().await.unwrap().revision;
        let revisions: BTreeSet<i64> = (0..3).map(|_| rng.random_range(1..=newest)).chain([newest]).collect();
        assert_restores_agree(&client, &revisions, &format!("seed {seed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_all_formats_tell_the_past() {
    // The first one is from before writes told what they replace: there it is searched for.
    for (format, seed) in [("v5", 7), ("v5-linked", 8)] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden").join(format).join("backup");
        let folder = tempfile::tempdir().unwrap();
        restore_into(folder.path(), &golden, Until::End).await.unwrap();
        let server = TestServer::on(folder.path()).await;
        let client = server.client();
        let old = client.status().await.unwrap().revision;
        let model = "namespaces/risk/models/fraud";
        for number in 1..=3 {
            let name = format!("{model}/versions/{number}");
            client
                .update_version(Version { name, description: "later".to_owned(), ..Default::default() })
                .await
                .unwrap();
        }
        let deleted = client.delete_version(format!("{model}/versions/1")).force(true).await.unwrap();
        client.purge_version(deleted.name).await.unwrap();
        live(&client, &mut StdRng::seed_from_u64(seed), 30).await;
        let revisions = (1..=old).step_by(4).chain([old, old + 3]).collect();
        assert_restores_agree(&client, &revisions, format).await;
    }
}
