//! Random changes by several clients at once, with the server killed under them: what was acknowledged, the log, what watchers saw and
//! what the registry says at the end are held against a [`spec`] that knows nothing of the server.
//!
//! The log gives the order. Each acknowledged change is one revision, with just the events that the spec has for it there. A refusal is
//! right if the spec refuses as well in one of the states that there were between the question and the answer.

mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::known::{artifact_type, event_type};
use registry_client::pb::{self, Stage, StageChangeCause};
use registry_client::{Error, RegistryClient};
use registry_tests::process::ServerProcess;
use registry_tests::{events, until};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use self::spec::{Op, Spec, State, is_late};
use crate::kill::see_all;
use crate::patient;

/// How many changes are asked for, unless TEST_RANDOM_STEPS says it.
const STEPS: usize = 2_000;
/// After how many answers the server is killed, on average.
const BETWEEN_KILLS: usize = 250;
const CLIENTS: usize = 6;
const MODELS: usize = 3;
/// Versions that are asked for; there may be more.
const NUMBERS: i64 = 12;
const STAGES: [Stage; 4] = [Stage::Development, Stage::Staging, Stage::Production, Stage::Archived];
const IDS: [&str; 3] = ["1.0.0", "2.0.0", "rc"];
const ALIASES: [&str; 3] = ["champion", "challenger", "shadow"];
const PATHS: [&str; 4] = ["weights", "weights/part-1", "config.json", "plot.png"];
const LISTEN: &str = "127.0.0.6:0";

/// What was asked for, and what came of it.
pub(crate) struct Attempt {
    id: Uuid,
    op: Op,
    pub(crate) refused: bool,
    /// What was surely committed when it was asked, and the newest that was when the answer had come.
    between: (i64, i64),
}

fn some_op(rng: &mut StdRng) -> Op {
    let (model, number) = (rng.random_range(0..MODELS), rng.random_range(1..=NUMBERS));
    let text = rng.random::<u16>().to_string();
    let stage = *STAGES.choose(rng).unwrap();
    let alias = *ALIASES.choose(rng).unwrap();
    let path = *PATHS.choose(rng).unwrap();
    let force = rng.random_bool(0.5);
    match rng.random_range(0..100) {
        0..4 => Op::CreateModel(model),
        4..8 => Op::UpdateModel(model, text),
        8..10 => Op::DeleteModel { model, force },
        10..15 => Op::UndeleteModel(model),
        15..28 => {
            let id = rng.random_bool(0.4).then(|| *IDS.choose(rng).unwrap());
            Op::CreateVersion { model, id, finalize: rng.random_bool(0.6) }
        }
        28..31 => Op::UpdateVersion(model, number, text),
        31..37 => Op::Finalize { model, number, fail: rng.random_bool(0.3) },
        37..47 => Op::Upload { model, number, path, bytes: rng.random_range(0..2) },
        47..51 => Op::DeleteArtifact { model, number, path },
        51..67 => Op::Transition(model, number, stage),
        67..70 => {
            let step = |rng: &mut StdRng| {
                (rng.random_range(0..MODELS), rng.random_range(1..=NUMBERS), *STAGES.choose(rng).unwrap())
            };
            Op::Together((0..rng.random_range(1..4)).map(|_| step(rng)).collect())
        }
        70..76 => Op::Rollback(model, stage),
        76..82 => Op::SetAlias { model, alias, number },
        82..84 => Op::DeleteAlias { model, alias },
        84..88 => Op::DeleteVersion { model, number, force },
        88..93 => Op::UndeleteVersion(model, number),
        93..95 => Op::Purge(model, number),
        95..97 => Op::Withdraw { model, number, force },
        97 => Op::Reinstate(model, number),
        _ => Op::Prune { model, keep: rng.random_range(4..9) },
    }
}

fn name_of(model: usize) -> String {
    format!("models/m{model}")
}

fn version_of(model: usize, number: i64) -> String {
    format!("models/m{model}/versions/{number}")
}

/// Asks for a change until there is an answer.
async fn ask(client: &RegistryClient, op: &Op, id: Uuid) -> Result<(), Error> {
    let c = client;
    let step = |model: usize, number: i64, stage: Stage| pb::TransitionStageRequest {
        name: version_of(model, number),
        stage: stage.into(),
        ..Default::default()
    };
    match op.clone() {
        Op::CreateModel(m) => c.create_model(name_of(m)).request_id(id).await.map(drop),
        Op::UpdateModel(m, owner) => {
            c.update_model(pb::Model { name: name_of(m), owner, ..Default::default() }).request_id(id).await.map(drop)
        }
        Op::DeleteModel { model, force } => c.delete_model(name_of(model)).force(force).request_id(id).await.map(drop),
        Op::UndeleteModel(m) => c.undelete_model(name_of(m)).request_id(id).await.map(drop),
        Op::CreateVersion { model, id: version_id, finalize } => {
            let call = c.create_version(name_of(model)).version_id(version_id.unwrap_or_default());
            call.finalize(finalize).request_id(id).await.map(drop)
        }
        Op::UpdateVersion(m, n, description) => {
            let version = pb::Version { name: version_of(m, n), description, ..Default::default() };
            c.update_version(version).request_id(id).await.map(drop)
        }
        Op::Finalize { model, number, fail } => {
            let call = c.finalize_version(version_of(model, number)).request_id(id);
            if fail { call.failed("it came to nothing").await.map(drop) } else { call.await.map(drop) }
        }
        Op::Upload { model, number, path, bytes } => {
            let r#type = if is_late(path) { artifact_type::PLOT } else { artifact_type::MODEL };
            let artifact = pb::Artifact { path: path.to_owned(), r#type: r#type.to_owned(), ..Default::default() };
            let (parent, data) = (version_of(model, number), vec![bytes; 10].into());
            let request = pb::CreateArtifactRequest { parent, artifact: Some(artifact), data, ..Default::default() };
            c.call(request).request_id(id).await.map(drop)
        }
        Op::DeleteArtifact { model, number, path } => {
            let name = format!("{}/artifacts/{path}", version_of(model, number));
            c.delete_artifact(name).request_id(id).await.map(drop)
        }
        Op::Transition(m, n, stage) => c.call(step(m, n, stage)).request_id(id).await.map(drop),
        Op::Together(steps) => {
            let steps = steps.into_iter().map(|(model, number, stage)| step(model, number, stage));
            c.batch_transition_stages(steps).request_id(id).await.map(drop)
        }
        Op::Rollback(m, stage) => c.rollback_stage(name_of(m), stage).request_id(id).await.map(drop),
        Op::SetAlias { model, alias, number } => {
            c.set_alias(name_of(model), alias, number.to_string()).request_id(id).await.map(drop)
        }
        Op::DeleteAlias { model, alias } => c.delete_alias(name_of(model), alias).request_id(id).await.map(drop),
        Op::DeleteVersion { model, number, force } => {
            c.delete_version(version_of(model, number)).force(force).request_id(id).await.map(drop)
        }
        Op::UndeleteVersion(m, n) => c.undelete_version(version_of(m, n)).request_id(id).await.map(drop),
        Op::Purge(m, n) => c.purge_version(version_of(m, n)).request_id(id).await.map(drop),
        Op::Withdraw { model, number, force } => {
            c.withdraw_version(version_of(model, number)).force(force).request_id(id).await.map(drop)
        }
        Op::Reinstate(m, n) => c.reinstate_version(version_of(m, n)).request_id(id).await.map(drop),
        Op::Prune { model, keep } => {
            c.prune_versions(name_of(model), u32::try_from(keep).unwrap()).request_id(id).await.map(drop)
        }
    }
}

async fn head(client: &RegistryClient) -> i64 {
    let newest = client.list_events().order_by("revision desc").page_size(1).await.unwrap();
    newest.events.first().map_or(0, |event| event.revision)
}

/// Asks for one change after the other as long as `go_on`, which hears how many it were, says so.
pub(crate) async fn work(client: RegistryClient, seed: u64, mut go_on: impl FnMut(usize) -> bool) -> Vec<Attempt> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut attempts = Vec::new();
    while go_on(attempts.len()) {
        let (op, id) = (some_op(&mut rng), Uuid::now_v7());
        let before = head(&client).await;
        let mut answer = ask(&client, &op, id).await;
        // Nobody knows what came of it.
        while matches!(answer.as_ref().err().map(Error::code), Some(Some(Code::DeadlineExceeded | Code::Unavailable))) {
            answer = ask(&client, &op, id).await;
        }
        let refused = match answer.as_ref().err().map(Error::code) {
            None => false,
            Some(Some(Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition | Code::InvalidArgument)) => true,
            Some(_) => panic!("seed {seed}: {op:?}: {answer:?}"),
        };
        let after = if refused { head(&client).await } else { i64::MAX };
        attempts.push(Attempt { id, op, refused, between: (before, after) });
    }
    attempts
}

/// An event as the spec tells it.
fn told(event: &pb::Event) -> String {
    let name = event.resource_name.trim_start_matches("namespaces/default").trim_start_matches("/models/");
    let name = name.replacen("/versions/", "/", 1).replacen("/artifacts/", "/", 1);
    let number = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
    let mut parts = vec![event.r#type.clone(), name];
    if let Some(change) = &event.stage_change {
        let cause = match change.cause() {
            StageChangeCause::Transition => "asked",
            StageChangeCause::Displaced => "displaced",
            StageChangeCause::Rollback => "rollback",
            StageChangeCause::Deleted => "deleted",
            StageChangeCause::Withdrawn => "withdrawn",
            StageChangeCause::Automatic => "automatic",
            StageChangeCause::Unspecified => "?",
        };
        parts.push(format!("{}>{} {cause}", change.from_stage, change.to_stage));
    }
    for change in &event.alias_changes {
        parts.push(format!("{}:{}>{}", change.alias, number(&change.from_version), number(&change.to_version)));
    }
    parts.join(" ").trim_end().to_owned()
}

/// The numbers of the versions that were deleted.
fn deleted(events: &[pb::Event]) -> Vec<i64> {
    let gone = events.iter().filter(|event| event.r#type == event_type::VERSION_DELETED);
    gone.filter_map(|event| event.resource_name.rsplit('/').next()?.parse().ok()).collect()
}

/// Carries the log out on the spec, and asks it of each refusal. Answers the state at the end. What happens elsewhere, as `elsewhere`
/// says of the first event of a revision, is no business of the spec's.
pub(crate) fn replay(log: &[pb::Event], attempts: &[Attempt], elsewhere: impl Fn(&pb::Event) -> bool) -> Spec {
    let by_id: BTreeMap<String, &Attempt> = attempts.iter().map(|attempt| (attempt.id.to_string(), attempt)).collect();
    let mut refusals: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.refused).collect();
    let mut acknowledged = attempts.len() - refusals.len();
    let mut spec = Spec::default();
    let still_open = |spec: &Spec, revision: i64, refusals: &mut Vec<&Attempt>| {
        refusals.retain(|attempt| {
            let there = attempt.between.0 <= revision && revision <= attempt.between.1;
            let right = there && spec.clone().apply(&attempt.op, &[]).is_err();
            assert!(
                right || revision < attempt.between.1,
                "{:?} was refused at {:?}: {spec:?}",
                attempt.op,
                attempt.between
            );
            !right
        });
    };
    still_open(&spec, 0, &mut refusals);
    for (expected, events) in (1..).zip(log.chunk_by(|one, other| one.revision == other.revision)) {
        let revision = events[0].revision;
        assert_eq!(revision, expected, "the log has no gap");
        if elsewhere(&events[0]) {
            still_open(&spec, revision, &mut refusals);
            continue;
        }
        let attempt = by_id.get(&events[0].request_id).unwrap_or_else(|| panic!("nobody asked for {events:?}"));
        assert!(!attempt.refused, "{:?} was refused, and carried out in {revision}", attempt.op);
        let found: Vec<_> = events.iter().map(told).collect();
        let wanted = spec.apply(&attempt.op, &deleted(events));
        assert_eq!(wanted.as_ref().ok(), Some(&found), "revision {revision}: {:?} on {spec:?}", attempt.op);
        acknowledged -= 1;
        still_open(&spec, revision, &mut refusals);
    }
    assert_eq!((acknowledged, refusals.len()), (0, 0), "each acknowledged change is in the log, once");
    spec
}

/// What the registry says is what the spec says.
pub(crate) async fn compare(client: &RegistryClient, spec: &Spec) {
    let name = |model: usize| format!("namespaces/default/models/m{model}");
    let models: Vec<_> = client.list_models().show_deleted(true).stream().try_collect().await.unwrap();
    assert_eq!(models.len(), spec.0.len());
    for ((number, expected), found) in spec.0.iter().zip(models) {
        let version = |version: i64| format!("{}/versions/{version}", name(*number));
        assert_eq!(
            (&found.name, &found.owner, found.delete_time.is_some()),
            (&name(*number), &expected.owner, expected.deleted)
        );
        let aliases: BTreeMap<_, _> =
            expected.aliases.iter().map(|(alias, to)| ((*alias).to_owned(), version(*to))).collect();
        assert_eq!(found.aliases, aliases);
        let live = expected.versions.iter().filter(|version| !version.deleted).count();
        assert_eq!(found.version_count, live as i64, "{found:?}");
        assert_eq!(found.latest_version, expected.latest().map(version).unwrap_or_default());
        let held: Vec<_> = [Stage::Staging, Stage::Production, Stage::Archived]
            .into_iter()
            .map(|stage| (i32::from(stage), expected.in_stage(stage)))
            .filter(|(_, versions)| !versions.is_empty())
            .map(|(stage, versions)| (stage, version(versions[0]), versions.len() as i64))
            .collect();
        let stages = found.stages.iter().map(|stage| (stage.stage, stage.version.clone(), stage.version_count));
        assert_eq!(stages.collect::<Vec<_>>(), held, "{found:?}");

        let versions = client.list_versions(&found.name).show_deleted(true).page_size(1000).stream();
        let versions: Vec<pb::Version> = versions.try_collect().await.unwrap();
        assert_eq!(versions.len(), expected.versions.len());
        for (expected, found) in expected.versions.iter().zip(versions) {
            let state = match found.state() {
                pb::VersionState::Pending => State::Pending,
                pb::VersionState::Ready => State::Ready,
                _ => State::Failed,
            };
            let marks = (found.delete_time.is_some(), found.purged, found.artifact_count);
            assert_eq!((state, found.stage()), (expected.state, expected.stage), "{found:?}");
            assert_eq!(found.withdraw_time.is_some(), expected.withdrawn, "{found:?}");
            assert_eq!(marks, (expected.deleted, expected.purged, expected.files.len() as i64), "{found:?}");
            let texts = (found.version_id.as_str(), &found.description);
            assert_eq!(texts, (expected.id.unwrap_or_default(), &expected.description));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_changes_under_kills_are_what_the_contract_says() {
    let steps = std::env::var("TEST_RANDOM_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    let seed: u64 = std::env::var("TEST_RANDOM_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TEST_RANDOM_SEED={seed}: {steps} steps of {CLIENTS} clients");
    let folder = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(folder.path(), LISTEN);
    let (client, listen) = (patient(&server.endpoint()), server.address().to_string());
    let (reached, until_head) = watch::channel(i64::MAX);
    let watcher = tokio::spawn(see_all(client.clone(), until_head));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS as u64 {
        let answers = Arc::clone(&answers);
        let go_on = move |done| {
            // The first time there is no answer yet.
            answers.fetch_add(usize::from(done > 0), Ordering::Relaxed);
            done < steps / CLIENTS
        };
        clients.spawn(work(client.clone(), seed.wrapping_add(number), go_on));
    }
    let mut rng = StdRng::seed_from_u64(!seed);
    let mut kills = 0;
    let all = steps / CLIENTS * CLIENTS;
    loop {
        let next = answers.load(Ordering::Relaxed) + rng.random_range(1..2 * BETWEEN_KILLS);
        if next >= all {
            break;
        }
        until(registry_tests::PATIENCE, || async { (answers.load(Ordering::Relaxed) >= next).then_some(()) }).await;
        server.kill();
        server = ServerProcess::start(folder.path(), &listen);
        kills += 1;
    }
    let attempts: Vec<_> = clients.join_all().await.into_iter().flatten().collect();

    let log = events(&client).await;
    let spec = replay(&log, &attempts, |_| false);
    compare(&client, &spec).await;
    reached.send_replace(log.last().map_or(0, |event| event.revision));
    let seen = watcher.await.unwrap();
    assert!(seen.into_iter().flat_map(|(_, events)| events).eq(log.iter().cloned()), "a watch is the log");
    let report = client.verify().await.unwrap();
    assert_eq!(report.problem_count, 0, "{report:?}");
    let refused = attempts.iter().filter(|attempt| attempt.refused).count();
    println!(
        "{} changes carried out, {refused} refused, {kills} kills, {} events",
        attempts.len() - refused,
        log.len()
    );
    assert!(server.terminate().success());
}
