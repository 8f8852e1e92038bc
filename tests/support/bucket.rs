//! Object stores: folders in a bucket of the Garage server that all tests share, and Garage servers of a test's own, which it may
//! kill.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore as _, path};
use tempfile::TempDir;
use uuid::Uuid;

/// A bucket, or a folder in one, and what a program has to know to use it.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The URL that programs are given.
    pub url: String,
    variables: Vec<(String, String)>,
}

impl Bucket {
    /// A folder of a test's own.
    pub fn folder() -> Self {
        Self::shared().under(&Uuid::now_v7().to_string())
    }

    /// The bucket of all tests.
    ///
    /// # Panics
    /// If there is none at `TEST_S3`.
    pub fn shared() -> Self {
        let shared =
            std::env::var("TEST_S3").expect("TEST_S3 has to be a bucket of a Garage server: see tests/garage.sh");
        Self::parse(&shared)
    }

    fn parse(printed: &str) -> Self {
        let mut words = printed.split_whitespace();
        let url = words.next().expect("there is a URL").to_owned();
        let variable = |word: &str| {
            let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word:?} is no variable"));
            (name.to_owned(), value.to_owned())
        };
        Self { url, variables: words.map(variable).collect() }
    }

    /// A folder in this one.
    #[must_use]
    pub fn under(&self, name: &str) -> Self {
        self.at(&format!("{}/{name}", self.url))
    }

    /// Another URL with the same variables.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), variables: self.variables.clone() }
    }

    /// The same with another value for a variable, or without it.
    #[must_use]
    pub fn with(&self, name: &str, value: Option<&str>) -> Self {
        let mut changed = self.clone();
        changed.variables.retain(|(known, _)| known != name);
        changed.variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        changed
    }

    /// The value of a variable.
    ///
    /// # Panics
    /// If there is none.
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("there is no {name}")).1
    }

    /// The command, which may use the bucket now.
    pub fn given_to(&self, mut command: Command) -> Command {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The paths of all objects in the folder, without the folder's own.
    ///
    /// # Panics
    /// If they can't be listed.
    pub async fn objects(&self) -> Vec<String> {
        let settings = self.variables.iter().map(|(name, value)| (name.to_lowercase().parse().unwrap(), value));
        let builder = AmazonS3Builder::new().with_url(&self.url);
        let bucket = settings.fold(builder, |builder, (key, value)| builder.with_config(key, value)).build().unwrap();
        let folder = path::Path::from_url_path(self.url.splitn(4, '/').nth(3).unwrap_or_default()).unwrap();
        let found: Vec<_> = bucket.list(Some(&folder)).try_collect().await.unwrap();
        found
            .iter()
            .map(|object| object.location.prefix_match(&folder).unwrap().collect::<path::Path>().into())
            .collect()
    }
}

/// A Garage server. It goes away with this.
#[derive(Debug)]
pub struct Garage {
    folder: TempDir,
    /// Its bucket.
    pub bucket: Bucket,
}

fn script(command: &str, folder: &Path) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("garage.sh");
    let output = Command::new(&script).arg(command).arg(folder).output().expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {command}: {}: {said}", script.display(), output.status);
    String::from_utf8(output.stdout).expect("what it prints is text")
}

impl Garage {
    /// A server with an empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::parse(&script("start", folder.path()));
        Self { folder, bucket }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        script("kill", self.folder.path());
    }

    /// Starts it again after [`kill`](Self::kill), where it was.
    pub fn run(&self) {
        script("run", self.folder.path());
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        // It may have been killed.
        script("stop", self.folder.path());
    }
}
