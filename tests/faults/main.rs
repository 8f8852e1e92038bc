//! What becomes of the registry when its process is killed, stopped, started twice, or looked at from outside: the real binaries,
//! as processes of their own.

mod access;
mod approvals;
mod archive;
mod asked;
mod automatic;
mod away;
mod backup;
mod bench;
mod certificates;
mod changes;
mod chaos;
mod cli;
mod clocks;
mod complaints;
mod database;
mod deliveries;
mod destinations;
mod dropped;
mod encryption;
mod fields;
mod folders;
mod follow;
mod full;
mod garbage;
mod grpcurl;
mod held;
mod import;
mod init;
mod injected;
mod kill;
mod limits;
mod locks;
mod login;
mod names;
mod objects;
mod open_transaction;
mod options;
mod owners;
mod past;
mod printed;
mod program;
mod proxies;
mod pruned;
mod random;
mod restarts;
mod rollouts;
mod servers;
mod standby;
mod stands_still;
mod start;
mod stop;
mod subscriptions;
mod sweeps;
mod sync;
mod terminal;
mod trace;
mod typos;
mod uploads;
mod verify;
mod walk;
mod watch_exec;
mod webhooks;
mod withdrawal;
mod writer;

use std::time::Duration;

use registry_client::{RegistryClient, RetryPolicy};

/// A client that tries nothing again.
fn impatient(endpoint: &str) -> RegistryClient {
    RegistryClient::builder(endpoint)
        .retry_for(Duration::ZERO)
        .connections(4)
        .connect_lazy()
        .expect("the endpoint is a URL")
}

/// A client that comes back quickly when the registry does.
fn patient(endpoint: &str) -> RegistryClient {
    let quick = RetryPolicy {
        patience: Duration::MAX,
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(50),
    };
    RegistryClient::builder(endpoint).retry(quick).connect_lazy().expect("the endpoint is a URL")
}
