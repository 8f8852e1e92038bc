//! What is done to the servers and to what they work on.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use registry_tests::accidents::{Fault, Spell};
use registry_tests::process::ServerProcess;
use tokio_postgres::NoTls;

use super::Ground;

/// Ends backends that commit, or are about to, at the moment of asking.
const AMID_COMMITS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
    AND backend_type = 'client backend' AND state <> 'idle' AND query ~* 'commit|insert into log|notify'";
const AT_RANDOM: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
    AND backend_type = 'client backend' AND random() < 0.4";
const CANCEL: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
    AND backend_type = 'client backend' AND state <> 'idle'";

/// The servers, and the one who hurts them.
pub(super) struct Injuries {
    pub(super) ground: Ground,
    pub(super) servers: Vec<ServerProcess>,
    rng: StdRng,
    /// How often what was done.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Injuries {
    pub(super) fn new(ground: Ground, servers: Vec<ServerProcess>, seed: u64) -> Self {
        Self { ground, servers, rng: StdRng::seed_from_u64(!seed), counts: BTreeMap::new() }
    }

    /// Does one thing, and waits until everything runs again.
    pub(super) async fn inflict(&mut self) {
        let victim = self.rng.random_range(0..self.servers.len());
        let pause = |rng: &mut StdRng, most| Duration::from_millis(rng.random_range(1..most));
        match self.rng.random_range(0..100) {
            0..12 => {
                let killed = self.servers.remove(victim);
                let listen = killed.address().to_string();
                killed.kill();
                let started = tokio::task::block_in_place(|| self.ground.server(&listen));
                self.servers.insert(victim, started);
                self.count("servers killed", 1);
            }
            12..22 => {
                self.servers[victim].pause();
                tokio::time::sleep(pause(&mut self.rng, 1500)).await;
                self.servers[victim].go_on();
                self.count("servers stopped", 1);
            }
            22..26 => {
                tokio::task::block_in_place(|| {
                    self.ground.cluster.kill();
                    self.ground.cluster.run();
                });
                self.count("databases killed", 1);
            }
            26..40 => {
                let fault = match self.rng.random_range(0..4) {
                    0 => Fault::Refused(503),
                    1 => Fault::Refused(500),
                    2 => Fault::Denied(500),
                    _ => Fault::Cut,
                };
                let percent = self.rng.random_range(10..100);
                self.ground.accidents.set_spell(Some(Spell { fault, percent }));
                tokio::time::sleep(pause(&mut self.rng, 2000)).await;
                self.ground.accidents.set_spell(None);
                self.count("spells of failing objects", 1);
            }
            40..65 => self.many("backends ended amid commits", AMID_COMMITS, 100).await,
            65..80 => self.many("backends ended", AT_RANDOM, 1).await,
            _ => self.many("statements cancelled", CANCEL, 30).await,
        }
        tokio::time::sleep(pause(&mut self.rng, 300)).await;
    }

    /// Asks the database for something, so often.
    async fn many(&mut self, what: &'static str, statement: &str, times: usize) {
        let (admin, connection) = tokio_postgres::connect(self.ground.cluster.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut hit = 0;
        for _ in 0..times {
            hit += admin.query(statement, &[]).await.unwrap().len();
        }
        self.count(what, hit as u64);
    }

    fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }
}
