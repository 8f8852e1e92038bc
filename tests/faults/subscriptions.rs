//! Two consumers of one subscription, and everything that may happen to them and to the server, under load: servers killed, connections
//! cut, consumers killed, and stopped for longer than their lease.
//!
//! What they do goes to a place that refuses what comes under an earlier epoch than it has seen. At the end it has every event, in order
//! and without a gap, however often it was delivered; and what a consumer did that was overtaken is not among it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use registry_client::{Consumed, RegistryClient};
use registry_tests::line::Line;
use registry_tests::process::ServerProcess;
use registry_tests::{events, is_of, soon};
use tokio::sync::watch;

use crate::patient;

/// Unless TEST_CONSUMPTIONS says otherwise.
const ROUNDS: usize = 10;
const CONSUMERS: usize = 2;
const LEASE: Duration = Duration::from_secs(1);
/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take the server's while it is away.
const LISTEN: &str = "127.0.0.3:0";

/// Where consumers write, with the epoch of their lease.
#[derive(Default)]
struct Elsewhere {
    written: Mutex<Vec<(i64, i64)>>,
    /// The newest revision of these.
    reached: watch::Sender<i64>,
    refused: AtomicUsize,
    /// Somebody is to stop for longer than a lease.
    pause: AtomicBool,
}

impl Elsewhere {
    fn write(&self, epoch: i64, revision: i64) -> bool {
        let mut written = self.written.lock().unwrap();
        if written.last().is_some_and(|(newest, _)| epoch < *newest) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        written.push((epoch, revision));
        self.reached.send_modify(|reached| *reached = revision.max(*reached));
        true
    }
}

/// A consumer on a thread and a runtime of its own, so that it can be killed, and stop, with all that it has.
struct Thread {
    kill: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

impl Thread {
    fn start(endpoint: String, elsewhere: Arc<Elsewhere>) -> Self {
        let (kill, mut killed) = watch::channel(false);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = patient(&endpoint);
                tokio::select! {
                    () = consume(&client, &elsewhere) => {}
                    _ = killed.wait_for(|killed| *killed) => {}
                }
            });
            // Whatever it has not said by now, it never says.
            runtime.shutdown_background();
        });
        Self { kill, thread }
    }

    fn kill(self) {
        self.kill.send_replace(true);
        self.thread.join().unwrap();
    }
}

async fn consume(client: &RegistryClient, elsewhere: &Elsewhere) {
    let mut consumer = client.consume("scorer");
    let mut lease = 0;
    loop {
        match consumer.next().await.unwrap() {
            Consumed::Active { epoch, .. } => {
                assert!(epoch > lease, "epochs grow");
                lease = epoch;
            }
            Consumed::Events { revision, .. } => {
                if elsewhere.pause.swap(false, Ordering::Relaxed) {
                    // All of the runtime stands still, the keeping of the lease as well.
                    thread::sleep(LEASE * 2);
                }
                if elsewhere.write(lease, revision) {
                    consumer.acknowledge(revision);
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumers_miss_nothing_and_are_never_two_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(folder.path(), LISTEN);
    let (endpoint, listen) = (server.endpoint(), server.address().to_string());
    let client = patient(&endpoint);
    client.create_subscription("scorer").types(["model.created"]).lease(LEASE).await.unwrap();
    let elsewhere = Arc::new(Elsewhere::default());
    let mut reached = elsewhere.reached.subscribe();
    let line = Line::to(server.address()).await;
    let start = || Thread::start(format!("http://{}", line.address), Arc::clone(&elsewhere));
    let mut consumers: Vec<_> = (0..CONSUMERS).map(|_| start()).collect();
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(client.clone(), stopped));

    let rounds = std::env::var("TEST_CONSUMPTIONS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        match round % 5 {
            0 => {
                server.kill();
                server = ServerProcess::start(folder.path(), &listen);
            }
            1 => {
                consumers.remove(rand::random_range(0..CONSUMERS)).kill();
                consumers.push(start());
            }
            2 => elsewhere.pause.store(true, Ordering::Relaxed),
            // Amid what consumers say next: they acknowledge, and keep their leases.
            3 => {
                let broke = line.broke();
                line.break_after([rand::random_range(1..200)]);
                while line.broke() == broke {
                    soon(reached.changed()).await.unwrap();
                }
            }
            _ => {
                assert!(server.terminate().success());
                server = ServerProcess::start(folder.path(), &listen);
            }
        }
        // It goes on.
        let before = *reached.borrow_and_update();
        let goes_on = reached.wait_for(|reached| *reached > before && !elsewhere.pause.load(Ordering::Relaxed));
        soon(goes_on).await.unwrap();
    }
    stop.send_replace(true);
    writing.await.unwrap();
    let created: Vec<_> = events(&client).await.into_iter().filter(|event| is_of(event, &["model.created"])).collect();
    let created: Vec<_> = created.iter().map(|event| event.revision).collect();
    soon(reached.wait_for(|reached| created.last() == Some(reached))).await.unwrap();
    consumers.into_iter().for_each(Thread::kill);
    let written = elsewhere.written.lock().unwrap().clone();
    println!(
        "{rounds} rounds: {} events, delivered {} times under {} leases; {} writes refused",
        created.len(),
        written.len(),
        written.chunk_by(|a, b| a.0 == b.0).count(),
        elsewhere.refused.load(Ordering::Relaxed)
    );
    assert!(written.is_sorted_by_key(|(epoch, _)| *epoch));
    let mut left = created.iter().copied().peekable();
    for lease in written.chunk_by(|a, b| a.0 == b.0) {
        assert!(lease.is_sorted_by(|a, b| a.1 < b.1), "under one lease nothing comes twice");
        for (_, revision) in lease {
            // What comes again was there before; what is new is the next one.
            if left.peek().is_some_and(|next| revision >= next) {
                assert_eq!(left.next(), Some(*revision), "an event was left out");
            }
        }
    }
    assert_eq!(left.next(), None);
    assert!(server.terminate().success());
}

/// Makes models, one every few milliseconds, until it is told to stop.
async fn write(client: RegistryClient, stopped: watch::Receiver<bool>) {
    let mut number = 0;
    while !*stopped.borrow() {
        number += 1;
        client.create_model(format!("m{number}")).await.unwrap();
        // The pace of the load, which consumers keep up with.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
