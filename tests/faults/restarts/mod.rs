//! A restart costs nobody anything: one server is stopped and killed in turns, and is away for a while each time, under everything
//! that uses a registry with the settings that it comes with: programs that publish, pull and call, processes of `registryctl`, watches,
//! and the example service that follows production.
//!
//! No command and no call may fail, nothing may be done twice, no watch may miss anything, and at the end every follower serves what is
//! in production.

mod users;

use std::path::PathBuf;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_client::RegistryClient;
use registry_tests::process::ServerProcess;
use registry_tests::{PATIENCE, soon};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::users::{Follower, User, Watcher};
use crate::kill::see_all;
use crate::verify::Log;

/// How often the server is restarted, unless TEST_RESTARTS says otherwise; then it is away for up to `LONG` instead of `SHORT`.
const RESTARTS: usize = 3;
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(25);
/// See `kill.rs`.
const LISTEN: &str = "127.0.0.5:0";
/// Those who do something again and again.
const USERS: usize = 6;

/// What the test and its users share.
#[derive(Clone)]
struct Ground {
    endpoint: String,
    folder: PathBuf,
    /// How often each user has done what it does.
    done: watch::Sender<[u64; USERS]>,
    /// Whether they are to go on.
    on: watch::Sender<bool>,
}

impl Ground {
    /// A client as it comes.
    fn client(&self) -> RegistryClient {
        RegistryClient::builder(&self.endpoint).connect_lazy().unwrap()
    }

    /// Waits until every user has got on, so often.
    async fn everybody_gets_on(&self, times: u64) {
        let before = *self.done.borrow();
        let mut done = self.done.subscribe();
        let all = done.wait_for(|done| done.iter().zip(before).all(|(done, before)| *done >= before + times));
        if tokio::time::timeout(2 * PATIENCE, all).await.is_err() {
            panic!("somebody does not get on: {before:?}, and now {:?}", self.done.borrow());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_costs_nobody_anything() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seed = number("TEST_RESTARTS_SEED").unwrap_or_else(rand::random);
    let restarts = number("TEST_RESTARTS").map(|restarts| (restarts as usize, LONG));
    let (restarts, longest) = restarts.unwrap_or((RESTARTS, SHORT));
    println!("TEST_RESTARTS_SEED={seed}: {restarts} restarts of up to {longest:?}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().join("storage");
    let mut server = tokio::task::block_in_place(|| ServerProcess::start(&storage, LISTEN));
    let listen = server.address().to_string();
    let (done, on) = (watch::Sender::new([0; USERS]), watch::Sender::new(true));
    let ground = Ground { endpoint: server.endpoint(), folder: folder.path().to_owned(), done, on };

    for number in 0..3 {
        ground.client().create_model(User::model_of(number)).await.unwrap();
    }
    let (reached, head) = watch::channel(i64::MAX);
    let watches: Vec<_> = (0..2).map(|_| tokio::spawn(see_all(ground.client(), head.clone()))).collect();
    let watcher = Watcher::start(&ground.endpoint);
    let user = |number| User::new(&ground, number);
    let publishers = [0, 1].map(|number| (User::model_of(number), tokio::spawn(user(number).publish())));
    let commander = (User::model_of(2), tokio::spawn(user(2).command()));
    let caller = tokio::spawn(user(3).call());
    let pullers = [(4, 0), (5, 2)].map(|(number, of)| tokio::spawn(user(number).pull(User::model_of(of))));
    let followers: Vec<_> = [0, 1].map(|of| Follower::start(&ground, &User::model_of(of))).into();

    let mut away_in_all = Duration::ZERO;
    for restart in 0..restarts {
        ground.everybody_gets_on(rng.random_range(1..=2)).await;
        let away = Duration::from_millis(rng.random_range(1000..=longest.as_millis() as u64));
        away_in_all += away;
        let back = Instant::now() + away;
        tokio::task::block_in_place(|| match restart % 2 {
            0 => assert!(server.terminate().success(), "it stops in good order"),
            _ => server.kill(),
        });
        sleep_until(back).await;
        server = tokio::task::block_in_place(|| ServerProcess::start(&storage, &listen));
    }
    ground.everybody_gets_on(1).await;
    ground.on.send_replace(false);

    let client = ground.client();
    let mut published = Vec::new();
    for (model, publisher) in publishers.into_iter().chain([commander]) {
        let versions = soon(publisher).await.unwrap();
        users::check(&client, &model, &versions).await;
        published.push(versions.len());
    }
    let calls = soon(caller).await.unwrap();
    assert_eq!(client.get_model(User::model_of(3)).await.unwrap().version_count, calls);
    let mut pulled = Vec::new();
    for puller in pullers {
        pulled.push(soon(puller).await.unwrap());
    }
    for follower in followers {
        follower.serves_what_is_in_production(&client).await;
    }

    let log = Log::read(&client).await;
    log.assert_is_whole();
    reached.send_replace(log.head());
    for watch in watches {
        log.assert_was_seen(&soon(watch).await.unwrap());
    }
    watcher.assert_saw(&log).await;
    assert_eq!(client.verify().await.unwrap().problem_count, 0);
    assert!(tokio::task::block_in_place(|| server.terminate()).success());
    println!(
        "away for {away_in_all:?} in all; published {published:?}, pulled {pulled:?}, versions made {calls}, revisions {}",
        log.head()
    );
}
