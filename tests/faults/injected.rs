//! Calls on the log that the system fails: nothing is acknowledged then, nothing is tried again, and the server says why.

use std::path::{Path, PathBuf};

use registry_client::{Error, RegistryClient};
use registry_tests::process::{ServerProcess, refusal, sled_command};
use registry_tests::restore::verified;
use registry_tests::{events, soon};
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::impatient;
use crate::trace;

/// What fails. What comes after it would not: it must not be tried.
struct Fault {
    /// As strace's `inject=` wants it.
    inject: &'static str,
    says: &'static str,
    /// What could not be written may be found in the log when it is read again.
    in_doubt: bool,
}

const FAULTS: [Fault; 4] = [
    Fault { inject: "fdatasync:error=EIO:when=3", says: "Input/output error", in_doubt: true },
    Fault { inject: "pwrite64:error=EIO:when=4", says: "Input/output error", in_doubt: false },
    Fault { inject: "pwrite64:error=ENOSPC:when=4", says: "No space left on device", in_doubt: false },
    Fault { inject: "fallocate:error=ENOSPC:when=1", says: "No space left on device", in_doubt: false },
];

/// A storage folder with some models.
struct Place(TempDir);

impl Place {
    async fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let server = ServerProcess::spawn(sled_command(&place.storage(), "127.0.0.1:0"));
        let client = impatient(&server.endpoint());
        for number in 0..3 {
            client.create_model(format!("models/before-{number}")).await.unwrap();
        }
        assert!(server.terminate().success());
        place
    }

    fn storage(&self) -> PathBuf {
        self.0.path().join("storage")
    }

    fn log(&self) -> PathBuf {
        self.storage().join("store/log/00000000000000000001.log")
    }

    fn trace(&self) -> PathBuf {
        self.0.path().join("trace")
    }

    /// A server some of whose calls on the log fail.
    fn command(&self, inject: &str) -> std::process::Command {
        let call = inject.split(':').next().unwrap();
        let (log, only, inject) = (self.log(), format!("trace={call}"), format!("inject={inject}"));
        let options = ["-P", log.to_str().unwrap(), "-e", &only, "-e", &inject];
        trace::command(&sled_command(&self.storage(), "127.0.0.1:0"), &options, &self.trace())
    }

    fn serve(&self) -> ServerProcess {
        ServerProcess::spawn(sled_command(&self.storage(), "127.0.0.1:0"))
    }
}

async fn health(server: &ServerProcess) -> ServingStatus {
    let channel = tonic::transport::Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap().into_inner().status()
}

fn is_of_the_store(error: &Error) -> bool {
    error.is_unavailable() || error.code() == Some(tonic::Code::ResourceExhausted)
}

async fn names(client: &RegistryClient) -> Vec<String> {
    events(client).await.into_iter().map(|event| event.resource_name).filter(|name| name.contains("/models/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_could_not_write_is_not_acknowledged_and_nothing_is_until_a_restart() {
    for Fault { inject, says, in_doubt } in FAULTS {
        let place = Place::new().await;
        let server = ServerProcess::spawn(place.command(inject));
        let client = impatient(&server.endpoint());
        assert_eq!(health(&server).await, ServingStatus::Serving, "{inject}");
        let mut acknowledged = names(&client).await;
        let (failed, error) = loop {
            let name = format!("models/after-{}", acknowledged.len());
            match soon(client.create_model(&name).send()).await {
                Ok(model) => acknowledged.push(model.name),
                Err(error) => break (name, error),
            }
            assert!(acknowledged.len() < 20, "{inject} befalls nothing");
        };
        assert!(is_of_the_store(&error) && error.to_string().contains(says), "{inject}: {error}");
        // The system would do all that is asked of it again.
        for number in 0..3 {
            let error = soon(client.create_model(format!("models/never-{number}")).send()).await.unwrap_err();
            assert!(is_of_the_store(&error) && error.to_string().contains(says), "{inject}: {error}");
        }
        assert_eq!(health(&server).await, ServingStatus::NotServing, "{inject}");
        assert_eq!(names(&client).await, acknowledged, "{inject}");
        client.get_model(&acknowledged[0]).await.unwrap();
        let log = server.log();
        let said: Vec<_> = log.lines().filter(|line| line.contains("the store takes no more writes")).collect();
        let [said] = said.as_slice() else { panic!("{inject}: it is to be said once:\n{log}") };
        assert!(said.contains(says) && said.contains(place.log().to_str().unwrap()), "{inject}: {said}");
        server.terminate();

        let server = place.serve();
        let client = impatient(&server.endpoint());
        let found = names(&client).await;
        assert!(found.starts_with(&acknowledged), "{inject}: {found:?}");
        let further = &found[acknowledged.len()..];
        let may_be = in_doubt && further.iter().all(|name| name.ends_with(&failed)) && further.len() == 1;
        assert!(further.is_empty() || may_be, "{inject}: {further:?}");
        assert_eq!(health(&server).await, ServingStatus::Serving, "{inject}");
        client.create_model("models/again").await.unwrap();
        verified(&client).await;
        assert!(server.terminate().success());
    }
}

/// After a sync that failed, a group may be in the memory of the system only, and no later sync would tell.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_at_the_end_of_the_log_is_written_and_synced_before_anything_follows() {
    let place = Place::new().await;
    let log = place.log();
    let options = ["-s", "99", "-P", log.to_str().unwrap(), "-e", "trace=pwrite64,fsync,fdatasync"];
    let command = trace::command(&sled_command(&place.storage(), "127.0.0.1:0"), &options, &place.trace());
    let server = ServerProcess::spawn(command);
    let id = server.id();
    assert!(server.terminate().success());
    let calls = trace::of(id, &place.trace()).await;
    let log = log.to_str().unwrap();
    let written = calls.iter().find(|call| call.is_write_to(log) && call.text.contains("GRP1")).expect("it is written");
    let synced = calls.iter().any(|call| call.is_sync_of(log) && Some(call.begin) > written.end);
    assert!(synced, "{calls:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_can_not_be_read_or_made_is_named() {
    let place = Place::new().await;
    let assert_names = |said: &str, log: &Path| {
        assert!(said.contains(log.to_str().unwrap()) && said.contains("Input/output error"), "{said}");
    };
    for inject in ["pread64:error=EIO:when=1", "pread64:error=EIO:when=3", "pwrite64:error=EIO:when=1"] {
        assert_names(&refusal(place.command(inject)), &place.log());
    }
    let server = place.serve();
    assert_eq!(names(&impatient(&server.endpoint())).await.len(), 3, "nothing was lost");
    assert!(server.terminate().success());
    let empty = Place(tempfile::tempdir().unwrap());
    for inject in ["openat:error=EIO:when=1", "pwrite64:error=EIO:when=1", "fsync:error=EIO:when=1"] {
        assert_names(&refusal(empty.command(inject)), &empty.log());
    }
    let server = empty.serve();
    impatient(&server.endpoint()).create_model("models/first").await.unwrap();
    assert!(server.terminate().success());
}

/// What can't be read is an error and no end.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_ends_no_backup_without_a_word() {
    let place = Place::new().await;
    // Counted by thread.
    let server = ServerProcess::spawn(place.command("pread64:error=EIO:when=30..45"));
    let client = impatient(&server.endpoint());
    let (mut failed, mut whole) = (0, 0);
    while failed == 0 || whole < 2 {
        match soon(client.backup().write_to(tokio::io::sink())).await {
            Ok(completed) => {
                assert_eq!(completed.revision, 3);
                whole += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("Input/output error"), "{error}");
                failed += 1;
            }
        }
        assert!(failed + whole < 200, "{failed} failed, {whole} were whole");
    }
    assert!(server.terminate().success());
}
