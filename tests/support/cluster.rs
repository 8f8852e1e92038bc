//! PostgreSQL servers of a test's own, which it may kill.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A PostgreSQL server. It goes away with this.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    url: String,
}

fn script(command: &str, folder: &Path, url: Option<&str>) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("postgres.sh");
    let output = Command::new(&script).arg(command).arg(folder).args(url).output().expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {command}: {}: {said}", script.display(), output.status);
    String::from_utf8(output.stdout).expect("a URL is text").trim().to_owned()
}

impl Cluster {
    /// A server with nothing in it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = script("start", folder.path(), None);
        Self { folder, url }
    }

    /// A standby of this one, which waits for it with every commit from now on.
    pub fn standby(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = script("standby", folder.path(), Some(&self.url));
        Self { folder, url }
    }

    /// The URL of its database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens, on 127.0.0.1.
    ///
    /// # Panics
    /// Never: the script printed a URL.
    pub fn port(&self) -> u16 {
        self.url.parse::<tokio_postgres::Config>().expect("the script prints a URL").get_ports()[0]
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        script("kill", self.folder.path(), None);
    }

    /// Starts it again after [`kill`](Self::kill), where it was.
    pub fn run(&self) {
        script("run", self.folder.path(), None);
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        script("promote", self.folder.path(), None);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have been killed.
        script("stop", self.folder.path(), None);
    }
}
