//! The beginning of the log is dropped once it is old and archived: what can be read then, and what takes the rest from the archive.

use std::path::Path;
use std::time::{Duration, SystemTime};

use registry_client::pb::{CollectGarbageReport, ErrorReason, Event, RegistryStatus};
use registry_client::{Error, RegistryClient};
use registry_server::backup::restore::Until;
use registry_server::config::{Config, Period};
use registry_tests::expect::unchanged;
use registry_tests::restore::{back_up, contents, restore_into, verified};
use registry_tests::store::embedded;
use registry_tests::{PATIENCE, TestServer, events, events_of, model, model_with, ready, until};

const MODEL: &str = "models/fraud";
const AT_ONCE: Period = Period(Duration::ZERO);

/// The settings of a server that keeps nothing that it need not.
pub(crate) fn forgetful(archive: &Path) -> impl Fn(&mut Config) + Clone + use<> {
    let archive = archive.to_str().unwrap().to_owned();
    move |config| {
        config.archive = Some(archive.clone());
        config.archive_every = Period(Duration::from_millis(1));
        config.request_id_keep = AT_ONCE;
        config.log_keep = Some(AT_ONCE);
        config.gc_every = AT_ONCE;
    }
}

async fn archived(client: &RegistryClient) -> RegistryStatus {
    let status = async || {
        let status = client.status().await.unwrap();
        (status.archive.as_ref().unwrap().revision == status.revision).then_some(status)
    };
    until(PATIENCE, status).await
}

async fn collect(client: &RegistryClient) -> CollectGarbageReport {
    archived(client).await;
    client.collect_garbage().await.unwrap()
}

/// Creates versions and drops what may go, until something was dropped. Answers the first revision that is left.
pub(crate) async fn drop_some(client: &RegistryClient) -> i64 {
    let before = client.status().await.unwrap().oldest_revision;
    for _ in 0..4 {
        ready(client, MODEL).await;
        let dropped = collect(client).await.dropped_revisions;
        let oldest = client.status().await.unwrap().oldest_revision;
        assert_eq!(oldest - before, dropped);
        if dropped > 0 {
            return oldest;
        }
    }
    panic!("nothing was dropped");
}

#[track_caller]
fn compacted<T>(read: Result<T, Error>) {
    let error = read.err().expect("it was dropped");
    assert_eq!((error.is_out_of_range(), error.reason()), (true, Some(ErrorReason::RevisionCompacted)), "{error}");
}

#[tokio::test]
async fn what_is_dropped_is_refused_and_the_rest_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    model_with(&client, MODEL, 3).await;
    let first = events(&client).await.remove(0);
    let oldest = drop_some(&client).await;
    let before = contents(&client).await;

    let log = events(&client).await;
    assert_eq!(log[0].revision, oldest);
    let of_model: Vec<Event> = log.iter().filter(|event| event.resource_name.contains(MODEL)).cloned().collect();
    assert!(events_of(&client, MODEL).await == of_model);
    let newest_first = client.list_events().parent(MODEL).order_by("revision desc").stream();
    let newest_first: Vec<Event> = newest_first.try_collect().await.unwrap();
    assert!(newest_first.into_iter().rev().collect::<Vec<_>>() == of_model);
    compacted(client.get_event(&first.name).await);
    let then: SystemTime = first.create_time.unwrap().try_into().unwrap();
    compacted(client.list_events().start_time(then).await);
    compacted(client.list_events().end_time(then).await);
    compacted(client.list_events().parent(MODEL).start_time(then).await);
    for after in [0, first.revision, oldest - 1] {
        compacted(client.watch().after(after).stream().try_next().await);
    }
    let mut watch = client.watch().after(oldest).stream();
    watch.try_next().await.unwrap().expect("it begins");

    server.restart().await;
    assert!(contents(&client).await == before && events(&client).await == log);
    assert_eq!(client.status().await.unwrap().oldest_revision, oldest);
    if embedded() {
        // The log that is left can't make the state again: with what was kept in its place it can.
        let state = server.storage().join("store/state");
        server.restart_with(|_| std::fs::remove_dir_all(state).unwrap()).await;
        assert!(contents(&client).await == before);
    }
    assert!(drop_some(&client).await > oldest, "the archive goes on");
}

#[tokio::test]
async fn the_past_is_read_as_far_as_the_log_tells() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    let quiet = model(&client, "models/quiet").await;
    let (made, old) = (model(&client, MODEL).await, ready(&client, MODEL).await);
    drop_some(&client).await;
    // What has not changed is answered, whatever was dropped.
    assert_eq!(client.get_model("models/quiet").at_revision(made.revision).await.unwrap(), quiet);
    assert_eq!(client.get_version(&old.name).at_revision(old.revision).await.unwrap(), old);
    // What has, not; nor what was at a time of which nobody knows the revision.
    compacted(client.get_model(MODEL).at_revision(made.revision).await);
    compacted(client.list_models().at_revision(made.revision).await);
    compacted(client.get_version(format!("{MODEL}@latest")).at_revision(old.revision).await);
    let then: SystemTime = made.create_time.unwrap().try_into().unwrap();
    compacted(client.get_model("models/quiet").at_time(then).await);
    // What is newer than the log's beginning is there.
    ready(&client, MODEL).await;
    let newest = client.get_model(MODEL).await.unwrap();
    ready(&client, MODEL).await;
    assert_eq!(client.get_model(MODEL).at_revision(newest.revision).await.unwrap(), newest);
}

#[tokio::test]
async fn a_verification_and_a_backup_take_the_beginning_from_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    model(&client, MODEL).await;
    let all = events(&client).await;
    let oldest = drop_some(&client).await;
    let report = verified(&client).await;
    assert_eq!((report.archived_revisions, report.revision), (oldest - 1, client.status().await.unwrap().revision));
    assert_eq!(report.chain_head, events(&client).await.last().unwrap().hash);

    let file = server.scratch().with_extension("backup");
    back_up(&client, &file).await;
    for (name, from) in [("of the backup", file.as_path()), ("of the archive", folder.path())] {
        let restored = server.scratch().with_extension(name);
        archived(&client).await;
        restore_into(&restored, from, Until::End).await.unwrap();
        let copy = TestServer::on(&restored).await;
        let log = events(&copy.client()).await;
        assert_eq!(log[..all.len()], all);
        assert!(log.ends_with(&events(&client).await));
        assert!(contents(&copy.client()).await == contents(&client).await);
        assert_eq!(verified(&copy.client()).await.chain_head, report.chain_head);
    }

    // Without the archive nothing has it.
    server.restart_with(|config| (config.archive, config.log_keep) = (None, None)).await;
    compacted(client.verify().await);
    compacted(client.backup().write_to(tokio::io::sink()).await);
}

#[tokio::test]
async fn nothing_is_dropped_that_is_young_or_may_be_repeated_or_is_not_archived() {
    let folder = tempfile::tempdir().unwrap();
    let settings = forgetful(folder.path());
    let mut server = TestServer::with(settings.clone()).await;
    let client = server.client();
    model(&client, MODEL).await;
    let day = Period::of_secs(24 * 60 * 60);
    let long: [&dyn Fn(&mut Config); 3] =
        [&|config| config.request_id_keep = day, &|config| config.log_keep = Some(day), &|config| {
            (config.archive, config.log_keep) = (None, None)
        }];
    for keep in long {
        server
            .restart_with(|config| {
                settings(config);
                keep(config);
            })
            .await;
        for _ in 0..3 {
            ready(&client, MODEL).await;
            let dropped = client.collect_garbage().await.unwrap().dropped_revisions;
            assert_eq!((dropped, client.status().await.unwrap().oldest_revision), (0, 1));
        }
    }
    server.restart_with(&settings).await;
    archived(&client).await;
    let dry = unchanged(&server, client.collect_garbage().validate_only(true)).await.unwrap();
    assert!(dry.dropped_revisions > 0);
    assert_eq!(client.status().await.unwrap().oldest_revision, 1);
}

#[tokio::test]
async fn nothing_is_dropped_behind_a_gap_in_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    model(&client, MODEL).await;
    let oldest = drop_some(&client).await;
    ready(&client, MODEL).await;
    archived(&client).await;
    for segment in registry_tests::files(&folder.path().join("log")) {
        std::fs::remove_file(segment).unwrap();
    }
    for _ in 0..3 {
        ready(&client, MODEL).await;
        assert_eq!(collect(&client).await.dropped_revisions, 0);
    }
    assert_eq!(client.status().await.unwrap().oldest_revision, oldest);
}

#[tokio::test]
async fn an_archive_that_lost_what_the_log_has_not_any_more_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::with(forgetful(folder.path())).await;
    let client = server.client();
    model(&client, MODEL).await;
    drop_some(&client).await;
    let lose = || std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    server.restart_with(|_| lose()).await;
    ready(&client, MODEL).await;
    let status = client.status().await.unwrap();
    assert_eq!((status.serving, status.archive.unwrap().revision), (true, 0));
    assert!(!folder.path().join("log").exists());
}
