//! What the receiver of a webhook gets, whatever happens to it and to the servers, under load: servers killed and stopped, connections
//! cut, a receiver that refuses, and one that is away.
//!
//! Each event arrives at least once and none before those ahead of it. When something is cut off, the last ones before that may come again, in
//! their order.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use registry_client::RegistryClient;
use registry_tests::process::{ServerProcess, server_command, sled_command};
use registry_tests::receiver::{Answer, Received, Receiver};
use registry_tests::{events, is_of, store};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::patient;

/// Unless TEST_DELIVERIES says otherwise.
const ROUNDS: usize = 10;
/// Of those with two servers, unless it does.
const ROUNDS_OF_TWO: usize = 4;
/// Clients come from 127.0.0.1. On another address of this machine, none of their ports can take the server's while it is away.
const LISTEN: &str = "127.0.0.4:0";
const ALLOW: [&str; 2] = ["--webhook-allow", "127.0.0.0/8"];
/// The longest that a webhook waits: a server that was killed beside others has its turn for so long.
const TURN: Duration = Duration::from_secs(60);

fn rounds() -> Option<usize> {
    std::env::var("TEST_DELIVERIES").ok().map(|rounds| rounds.parse().unwrap())
}

fn start(folder: &Path, listen: &str) -> ServerProcess {
    let mut command = server_command(folder, listen);
    command.args(ALLOW);
    ServerProcess::spawn(command)
}

/// A server on the database that goes with a folder.
fn start_on_postgres(folder: &Path, listen: &str) -> ServerProcess {
    let mut command = sled_command(folder, listen);
    command.args(["--store", &store::postgres(folder)]).args(ALLOW);
    ServerProcess::spawn(command)
}

/// What a receiver got.
#[derive(Default)]
struct Deliveries {
    received: Vec<Received>,
    /// The ids of what it has taken.
    taken: HashSet<String>,
    /// How often something was cut off.
    cuts: usize,
}

impl Deliveries {
    /// Waits for what has not come before, and is taken.
    async fn go_on(&mut self, receiver: &mut Receiver) {
        for message in receiver.drain() {
            self.note(message);
        }
        loop {
            let message = timeout(TURN, receiver.next()).await.expect("nothing comes any more");
            if self.note(message) {
                return;
            }
        }
    }

    fn note(&mut self, message: Received) -> bool {
        let is_new = message.answer.is_success() && self.taken.insert(message.id.clone());
        self.received.push(message);
        is_new
    }

    /// Waits until all that there is has been taken.
    async fn finish(&mut self, receiver: &mut Receiver, created: &[String]) {
        for message in receiver.drain() {
            self.note(message);
        }
        while self.taken.len() < created.len() {
            self.go_on(receiver).await;
        }
        receiver.nothing_more().await;
        self.check(created);
    }

    /// Checks what came against the events that there are.
    fn check(&self, created: &[String]) {
        // How many have been taken, which one is expected, and how often that was an earlier one again.
        let (mut taken, mut next, mut back) = (0, 0, 0);
        let mut ids = HashMap::new();
        for message in &self.received {
            let at = created.iter().position(|name| *name == message.event).unwrap();
            assert!(at <= next, "{} came before {}", message.event, created[next]);
            back += usize::from(at < next);
            next = at + usize::from(message.answer.is_success());
            taken = taken.max(next);
            let id = ids.entry(&message.event).or_insert(&message.id);
            assert_eq!(*id, &message.id, "an event that comes again is known by its id");
        }
        assert_eq!(taken, created.len());
        assert!(back <= self.cuts, "it went back {back} times after {} cuts", self.cuts);
        println!(
            "{taken} events in {} messages; it went back {back} times after {} cuts",
            self.received.len(),
            self.cuts
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_gets_every_event_in_order_whatever_happens() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path(), LISTEN);
    let (client, listen) = (patient(&server.endpoint()), server.address().to_string());
    let mut receiver = Receiver::start(Answer::code(204)).await;
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(client.clone(), stopped));
    let mut deliveries = Deliveries::default();
    for _ in 0..rounds().unwrap_or(ROUNDS) {
        match rand::random_range(0..6) {
            // On a database, others have to wait for the turn of one that was killed.
            0 | 1 if store::embedded() => {
                deliveries.cuts += 1;
                server.kill();
                server = start(folder.path(), &listen);
            }
            0..=2 => {
                deliveries.cuts += 1;
                assert!(server.terminate().success());
                server = start(folder.path(), &listen);
            }
            3 => {
                deliveries.cuts += 1;
                receiver.restart().await;
            }
            4 => receiver.then(Answer::Closes),
            _ => (0..rand::random_range(1..3)).for_each(|_| receiver.then(Answer::after(503, 1))),
        }
        deliveries.go_on(&mut receiver).await;
    }
    stop.send_replace(true);
    writing.await.unwrap();
    let created = created(&client).await;
    deliveries.finish(&mut receiver, &created).await;
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_one_database_deliver_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers: Vec<_> = (0..2).map(|_| start_on_postgres(folder.path(), LISTEN)).collect();
    let client = patient(&servers.iter().map(ServerProcess::endpoint).collect::<Vec<_>>().join(","));
    let mut receiver = Receiver::start(Answer::code(204)).await;
    client.create_webhook("hook", receiver.url()).types(["model.created"]).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(client.clone(), stopped));
    let mut deliveries = Deliveries::default();
    for round in 0..rounds().map_or(ROUNDS_OF_TWO, |rounds| rounds / 10) {
        let server = servers.remove(0);
        let listen = server.address().to_string();
        deliveries.cuts += 1;
        if rounds().is_some() && round % 2 == 1 {
            // The other one waits for its turn: that takes long.
            server.kill();
        } else {
            server.begin_termination();
            deliveries.go_on(&mut receiver).await;
            assert!(server.wait().success());
        }
        servers.push(start_on_postgres(folder.path(), &listen));
        deliveries.go_on(&mut receiver).await;
    }
    stop.send_replace(true);
    writing.await.unwrap();
    let created = created(&client).await;
    deliveries.finish(&mut receiver, &created).await;
}

/// The names of the models, in the order in which they were made.
async fn created(client: &RegistryClient) -> Vec<String> {
    let events = events(client).await.into_iter().filter(|event| is_of(event, &["model.created"]));
    events.map(|event| event.name).collect()
}

/// Makes models, one every some milliseconds, until it is told to stop.
async fn write(client: RegistryClient, stopped: watch::Receiver<bool>) {
    let mut number = 0;
    while !*stopped.borrow() {
        number += 1;
        client.create_model(format!("m{number}")).await.unwrap();
        // The pace of the load, which receivers keep up with.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
