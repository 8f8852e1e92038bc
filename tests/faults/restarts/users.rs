//! Those who use the registry.

use std::fs;
use std::path::{Path, PathBuf};

use registry_client::pb::VersionState;
use registry_client::{RegistryClient, verify_folder};
use registry_tests::noise_of;
use registry_tests::printing::Printing;
use registry_tests::process::registryctl;

use super::Ground;
use crate::verify::Log;

/// Of the larger file that is published: some chunks.
const SIZE: usize = 3 << 20;

/// Somebody who does one thing again and again, and panics if it fails once.
pub(super) struct User {
    ground: Ground,
    number: usize,
    client: RegistryClient,
}

impl User {
    pub(super) fn new(ground: &Ground, number: usize) -> Self {
        Self { ground: ground.clone(), number, client: ground.client() }
    }

    /// The model that is a user's own.
    pub(super) fn model_of(number: usize) -> String {
        format!("namespaces/default/models/of-{number}")
    }

    fn model(&self) -> String {
        Self::model_of(self.number)
    }

    fn goes_on(&self) -> bool {
        *self.ground.on.borrow()
    }

    fn did(&self) {
        self.ground.done.send_modify(|done| done[self.number] += 1);
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.ground.folder.join(format!("{}-{name}", self.number))
    }

    /// A folder to publish, with other files each time.
    fn trained(&self, times: usize) -> PathBuf {
        let out = self.folder("out");
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("model.bin"), noise_of((self.number * 100_000 + times) as u64, SIZE)).unwrap();
        fs::write(out.join("notes.txt"), times.to_string()).unwrap();
        out
    }

    /// Publishes a version and puts it into production. Answers the names of all.
    pub(super) async fn publish(self) -> Vec<String> {
        let mut published = Vec::new();
        while self.goes_on() {
            let out = self.trained(published.len());
            let mut publish = self.client.publish(out, self.model()).create_model_if_missing(Default::default());
            if published.len() % 2 == 1 {
                publish = publish.version_id(format!("v{}", published.len()));
            }
            let version = publish.await.unwrap().name;
            self.client.promote(&version).comment("it is newer").await.unwrap();
            published.push(version);
            self.did();
        }
        published
    }

    /// The same with `registryctl`, and other commands in between.
    pub(super) async fn command(self) -> Vec<String> {
        let mut published = Vec::new();
        while self.goes_on() {
            let (out, model) = (self.trained(published.len()), self.model());
            let id = format!("v{}", published.len());
            let version = format!("{model}/versions/{id}");
            self.run(&["publish", text(&out), &model, "--create", "--version-id", &id]).await;
            self.run(&["promote", &version, "production", "-m", "it is newer"]).await;
            let serving = self.folder("serving");
            self.run(&["pull", &format!("{model}@production"), "-o", text(&serving)]).await;
            assert_eq!(fs::read_to_string(serving.join("notes.txt")).unwrap(), published.len().to_string());
            for command in [&["list"][..], &["get", &version], &["list", &model], &["events", &model, "--limit", "3"]] {
                self.run(command).await;
            }
            published.push(self.client.get_version(version).await.unwrap().name);
            self.did();
        }
        published
    }

    async fn run(&self, arguments: &[&str]) {
        let mut command = registryctl(&self.ground.endpoint);
        command.args(arguments);
        let shown = format!("{command:?}");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{shown}: {output:?}");
    }

    /// Makes versions, and reads. Answers how many it made.
    pub(super) async fn call(self) -> i64 {
        let mut made = 0;
        self.client.create_model(self.model()).await.unwrap();
        while self.goes_on() {
            let version = self.client.create_version(self.model()).finalize(true).await.unwrap();
            made += 1;
            assert_eq!(version.number, made, "it was made once");
            let there = self.client.get_version(&version.name).await.unwrap();
            assert_eq!(there, version);
            let newest = self.client.list_versions(self.model()).order_by("number desc").page_size(1).await.unwrap();
            assert_eq!(newest.versions, [version]);
            self.did();
        }
        made
    }

    /// Pulls what is in production of a model, into a new folder each time. Answers how often.
    pub(super) async fn pull(self, model: String) -> usize {
        let mut pulled = 0;
        while self.goes_on() {
            let production = format!("{model}@production");
            let missing = |error: &registry_client::Error| error.is_not_found();
            if self.client.get_version(&production).await.as_ref().is_err_and(missing) {
                // Nothing was published yet.
                tokio::task::yield_now().await;
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            self.client.pull(production, folder.path()).await.unwrap();
            let report = verify_folder(folder.path()).await.unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
            pulled += 1;
            self.did();
        }
        pulled
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a user published is there, whole, once, and nothing else is; the last one is in production.
pub(super) async fn check(client: &RegistryClient, model: &str, published: &[String]) {
    let versions: Vec<_> = client.list_versions(model).order_by("number").stream().try_collect().await.unwrap();
    let names: Vec<_> = versions.iter().map(|version| version.name.as_str()).collect();
    assert_eq!(names, published);
    for version in &versions {
        assert_eq!((version.state(), version.artifact_count), (VersionState::Ready, 2), "{version:?}");
    }
    let production = client.get_version(format!("{model}@production")).await.unwrap();
    assert_eq!(Some(&production.name), published.last());
    let promoted: Vec<_> = client.list_events().parent(model).stream().try_collect().await.unwrap();
    let promoted = promoted.into_iter().filter(|event: &registry_client::pb::Event| event.comment == "it is newer");
    // The one that comes, and from the second one on the one that leaves.
    assert_eq!(promoted.count(), 2 * published.len() - 1, "each was promoted once");
}

/// `registryctl follow`, which keeps what is in production at hand, as services do.
pub(super) struct Follower {
    process: Printing,
    model: String,
}

impl Follower {
    pub(super) fn start(ground: &Ground, model: &str) -> Self {
        let mut command = registryctl(&ground.endpoint);
        command.args(["--json", "follow", &format!("{model}@production"), "--cache"]).arg(ground.folder.join("cache"));
        Self { process: Printing::start(&mut command), model: model.to_owned() }
    }

    pub(super) async fn serves_what_is_in_production(mut self, client: &RegistryClient) {
        let production = client.get_version(format!("{}@production", self.model)).await.unwrap().name;
        let is = |line: &String| {
            let status: serde_json::Value = serde_json::from_str(line).unwrap();
            status["state"] == "SERVING" && status["serving"] == serde_json::json!([production])
        };
        self.process.until(|lines| lines.last().is_some_and(is)).await;
    }
}

/// `registryctl watch`, from the beginning.
pub(super) struct Watcher(Printing);

impl Watcher {
    pub(super) fn start(endpoint: &str) -> Self {
        Self(Printing::start(registryctl(endpoint).args(["--json", "watch", "--after", "0"])))
    }

    pub(super) async fn assert_saw(mut self, log: &Log) {
        let expected = log.names();
        let lines = self.0.until(|lines| lines.len() >= expected.len()).await;
        let name = |line: &String| -> String {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["name"].as_str().unwrap().to_owned()
        };
        assert!(lines.iter().map(name).eq(expected), "a watch saw other events than the log has");
    }
}
