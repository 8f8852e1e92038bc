//! Which stores the servers under test use: `TEST_STORE` says `sled`, which is the default and keeps artifacts in the storage
//! folder, or `postgres`, which keeps them on Garage.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use registry_server::config::StoreChoice;
use tokio_postgres::NoTls;

use crate::bucket::Bucket;
use crate::sha256;

/// The store of the server that works on a folder: always the same for the same folder.
///
/// # Panics
/// If `TEST_STORE` has another value, or says `postgres` and there is no server at `TEST_POSTGRES`.
pub fn choice(folder: &Path) -> StoreChoice {
    if embedded() { StoreChoice::Sled } else { StoreChoice::Postgres(postgres(folder)) }
}

/// Whether the store under test is the embedded one.
///
/// # Panics
/// If `TEST_STORE` has another value than the two.
pub fn embedded() -> bool {
    match std::env::var("TEST_STORE").as_deref() {
        Err(_) | Ok("sled") => true,
        Ok("postgres") => false,
        Ok(other) => panic!("TEST_STORE is {other:?}; it may be sled or postgres"),
    }
}

static IN_FOLDER: AtomicBool = AtomicBool::new(false);

/// From now on the servers of this process keep artifacts in their storage folders, whichever store is under test: for tests that
/// look at the files, or damage them.
pub fn artifacts_in_folder() {
    IN_FOLDER.store(true, Ordering::Relaxed);
}

/// Where the artifacts of the server that works on a folder are: always the same for the same folder. `None` is in the folder.
pub fn artifacts(folder: &Path) -> Option<Bucket> {
    (!embedded() && !IN_FOLDER.load(Ordering::Relaxed)).then(|| Bucket::shared().under(&digest(folder)))
}

fn digest(folder: &Path) -> String {
    sha256(folder.as_os_str().as_encoded_bytes())[..16].to_owned()
}

/// The URL of a schema that goes with a folder. It is made if it is missing.
///
/// # Panics
/// If there is no server at `TEST_POSTGRES`.
pub fn postgres(folder: &Path) -> String {
    let server = server();
    let schema = format!("test_{}", digest(folder));
    let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    run(server.clone(), create);
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options=-c%20search_path%3D{schema}")
}

/// The PostgreSQL server of the tests.
///
/// # Panics
/// If there is none.
pub fn server() -> String {
    std::env::var("TEST_POSTGRES")
        .expect("TEST_POSTGRES has to be the URL of a PostgreSQL server: see tests/postgres.sh")
}

/// Runs statements, from a thread of its own: callers may be in a runtime or not.
fn run(url: String, statements: String) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async move {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&statements).await.unwrap();
    };
    std::thread::spawn(move || runtime().block_on(work)).join().expect("TEST_POSTGRES answers");
}
