//! A store that somebody changed behind the server's back. (What a healthy one is told by, the other tests of backups show.)

use registry_client::pb::{Stage, VerifyProblem, VerifyProblemType};
use registry_server::config::StoreChoice;
use registry_server::stored::LogGroup;
use registry_tests::restore::{damage_log, replace, replace_in_log, rewrite_log, tamper, verified};
use registry_tests::{TestServer, events, model, pending, ready};

const CHAIN: VerifyProblemType = VerifyProblemType::ChainBroken;
const STATE: VerifyProblemType = VerifyProblemType::StateDiffers;
const MODEL: &str = "models/fraud";

/// Numbers that are on the disk; see `registry/kinds.rs`.
const MODELS: &[u8] = b"R\x01";
const VERSIONS: &[u8] = b"R\x02";
const VERSION_IDS: &[u8] = b"R\x80";
const LIVE_VERSIONS: &[u8] = b"I\x02\x01";
/// A version of the model, in that index.
const LISTED: &str = "versions (not deleted, by number) default\\x00fraud";

/// A registry of a few revisions, each written to the disk by itself: to that of the embedded store, whichever is under test.
async fn registry() -> TestServer {
    let server = TestServer::with(|config| config.store = StoreChoice::Sled).await;
    let client = server.client();
    client.create_model(MODEL).owner("the-owner-of-it").await.unwrap();
    let first = client.create_version(MODEL).version_id("1.0.0").description("a-description").finalize(true);
    first.await.unwrap();
    ready(&client, MODEL).await;
    client
        .transition_stage(format!("{MODEL}/versions/1"), Stage::Production)
        .comment("because-it-is-good")
        .await
        .unwrap();
    client.delete_version(format!("{MODEL}/versions/2")).await.unwrap();
    let version = pending(&client, MODEL).await.name;
    client.upload(&version, "model.onnx", b"bytes".to_vec()).await.unwrap();
    assert_eq!(verified(&client).await.revision, 7);
    server
}

/// What is found once somebody has changed the state.
async fn problems_after(change: impl FnOnce(&sled::Tree)) -> Vec<VerifyProblem> {
    let mut server = registry().await;
    server.stop().await;
    tamper(&server.storage(), change).await;
    problems_of(&mut server).await
}

/// What is found once somebody has changed the log, and the state was made of it again.
async fn problems_after_log(change: impl FnOnce(&mut Vec<LogGroup>)) -> Vec<VerifyProblem> {
    let mut server = registry().await;
    server.stop().await;
    rewrite_log(&server.storage(), change);
    std::fs::remove_dir_all(server.storage().join("store/state")).unwrap();
    problems_of(&mut server).await
}

async fn problems_of(server: &mut TestServer) -> Vec<VerifyProblem> {
    // With what was acknowledged, the server would not even start on some of this.
    let _ = std::fs::remove_file(server.storage().join("store/acknowledged"));
    server.start_again().await;
    let report = server.client().verify().await.unwrap();
    assert_eq!(report.problem_count, report.problems.len() as i64);
    report.problems
}

/// Exactly these, with a part of the name and of the detail of each.
#[track_caller]
fn assert_are(problems: &[VerifyProblem], expected: &[(VerifyProblemType, &str, &str)]) {
    let fits = |(problem, expected): (&VerifyProblem, &(VerifyProblemType, &str, &str))| {
        problem.r#type() == expected.0 && problem.name.contains(expected.1) && problem.detail.contains(expected.2)
    };
    let all = problems.len() == expected.len() && problems.iter().zip(expected).all(fits);
    assert!(all, "{problems:#?}\ninstead of {expected:#?}");
}

fn first(tree: &sled::Tree, prefix: &[u8]) -> (sled::IVec, sled::IVec) {
    tree.scan_prefix(prefix).next().expect("there is one").unwrap()
}

#[tokio::test]
async fn a_changed_record_is_found() {
    let problems = problems_after(|state| replace(state, MODELS, "the-owner", "no-owners")).await;
    assert_are(&problems, &[(STATE, "models default\\x00fraud", "is not what the log says")]);
    let problems = problems_after(|state| replace(state, VERSIONS, "a-description", "another-thing")).await;
    let version = "versions default\\x00fraud\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01";
    assert_are(&problems, &[(STATE, version, "is not what the log says")]);
}

#[tokio::test]
async fn a_removed_record_or_index_entry_is_found() {
    let problems = problems_after(|state| drop(state.remove(first(state, VERSION_IDS).0).unwrap())).await;
    assert_are(&problems, &[(STATE, "version_ids default\\x00fraud\\x001.0.0", "is in the log, and not in the state")]);
    let problems = problems_after(|state| drop(state.remove(first(state, LIVE_VERSIONS).0).unwrap())).await;
    assert_are(&problems, &[(STATE, LISTED, "is in the log, and not in the state")]);
}

#[tokio::test]
async fn an_added_record_or_index_entry_is_found() {
    let problems = problems_after(|state| {
        let (key, value) = first(state, VERSION_IDS);
        state.insert([&key, b"9".as_slice()].concat(), value).unwrap();
    });
    let expected = (STATE, "version_ids default\\x00fraud\\x001.0.09", "is in the state, and not in the log");
    assert_are(&problems.await, &[expected]);
    // The deleted version is listed again.
    let problems = problems_after(|state| {
        let (key, value) = first(state, LIVE_VERSIONS);
        state.insert([&key[..key.len() - 1], &[2]].concat(), value).unwrap();
    });
    assert_are(&problems.await, &[(STATE, LISTED, "is in the state, and not in the log")]);
}

#[tokio::test]
async fn a_record_that_can_not_be_read_is_found() {
    let problems = problems_after(|state| {
        let (key, value) = first(state, VERSION_IDS);
        state.insert(key, [&[99], &value[1..]].concat()).unwrap();
    });
    assert_are(&problems.await, &[(STATE, "version_ids", "unknown format")]);
}

#[tokio::test]
async fn a_changed_event_breaks_the_chain_once() {
    // A comment is in the log only; the chain goes on behind it with the hashes that are there.
    let problems = problems_after_log(|log| replace_in_log(log, "because-it-is-good", "because-it-is-evil")).await;
    assert_are(&problems, &[(CHAIN, "events/4-0", "its hash")]);
    let problems = problems_after_log(|log| replace_in_log(&mut log[..1], "the-owner", "no-owners")).await;
    assert!(
        problems.iter().any(|problem| problem.r#type() == CHAIN && problem.name.starts_with("events/1-")),
        "{problems:#?}"
    );
    assert!(problems.iter().all(|problem| problem.r#type() == CHAIN), "{problems:#?}");
}

#[tokio::test]
async fn a_log_that_is_damaged_under_a_running_server_is_found() {
    let server = registry().await;
    damage_log(&server.storage(), 3);
    let report = server.client().verify().await.unwrap();
    assert_are(&report.problems, &[(CHAIN, "behind revision 3", "a group of revisions is not what was written")]);
}

#[tokio::test]
async fn a_log_that_was_cut_makes_a_state_of_what_is_left() {
    let problems = problems_after_log(|log| drop(log.pop().unwrap())).await;
    assert_are(&problems, &[]);
}

#[tokio::test]
async fn what_was_slipped_into_the_log_without_an_event_is_found() {
    use registry_server::stored::{LogEntry, LoggedWrite, logged_write::Value};

    // An id that leads to version 1, as if it had been committed: the server itself brings it into the state.
    let problems = problems_after_log(|log| {
        let write = LoggedWrite {
            kind: 128,
            key: b"default\0fraud\x009.9.9".as_slice().into(),
            places: Vec::new(),
            value: Some(Value::Payload(vec![8, 1].into())),
            replaced: None,
        };
        let entry = LogEntry { revision: 8, events: Default::default(), writes: vec![write] };
        log.push(LogGroup { entries: vec![entry] });
    });
    assert_are(&problems.await, &[(CHAIN, "revision 8", "no events")]);
}

#[tokio::test]
async fn the_report_is_of_the_registry_that_is_served() {
    let server = registry().await;
    let client = server.client();
    let log = events(&client).await;
    let report = verified(&client).await;
    assert_eq!((report.revision, report.events), (7, log.len() as i64));
    assert_eq!(report.chain_head, log.last().unwrap().hash);
    assert_eq!((report.artifacts, report.artifact_bytes), (1, 5));
    let skipped = client.verify().skip_artifacts(true).await.unwrap();
    assert_eq!((skipped.records, skipped.artifacts, skipped.artifact_bytes), (report.records, 0, 0));

    let empty = TestServer::start().await;
    let none = verified(&empty.client()).await;
    assert_eq!((none.revision, none.events, none.records, none.chain_head), (0, 0, 0, vec![0; 32].into()));
    model(&empty.client(), MODEL).await;
    let first = verified(&empty.client()).await;
    assert_eq!(first.revision, 1);
    // Three versions, an artifact, what it consists of and what the namespace adds up to, an id, a holder of the stage; a request and
    // a reference for each revision.
    assert_eq!(report.records, first.records + 8 + 6 + 6);
}
