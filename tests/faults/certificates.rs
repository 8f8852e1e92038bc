//! Certificates and authorities that are replaced while clients call.

use std::time::Duration;

use registry_client::{Builder, RegistryClient};
use registry_tests::certificates::{Authority, Files};
use registry_tests::process::ServerProcess;
use registry_tests::{PATIENCE, soon, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 64;
const ROUNDS: usize = 3;
/// Calls of each client in which those that were under way have ended.
const SEVERAL: usize = 2;

/// The calls of each client, and whether they are to go on.
struct Callers {
    calls: Vec<watch::Receiver<usize>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Callers {
    /// Every other one makes a connection for each call, and the rest keep theirs. A call is attempted once.
    fn begin(builder: &Builder) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (mut calls, mut tasks) = (Vec::new(), JoinSet::new());
        for number in 0..CLIENTS {
            let (count, counted) = watch::channel(0);
            calls.push(counted);
            let (builder, stopped) = (builder.clone(), stopped.clone());
            tasks.spawn(async move {
                let mut client = builder.clone().connect_lazy().unwrap();
                while !*stopped.borrow() {
                    if number % 2 == 0 {
                        client = builder.clone().connections(1).connect_lazy().unwrap();
                    }
                    soon(client.get_model("fraud")).await.expect("no call fails");
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self { calls, stop, tasks }
    }

    /// Waits until each has made some more calls.
    async fn go_on(&mut self) {
        for calls in &mut self.calls {
            let enough = *calls.borrow() + SEVERAL;
            // An error means that its client has failed, which is told at the end.
            let _ = soon(calls.wait_for(|count| *count >= enough)).await;
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        soon(self.tasks.join_all()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_many_clients_without_a_failed_call() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, clients) = (Authority::new(), Authority::new());
    let of_server = Files::of(&servers.sign());
    of_server.trust(&[&clients]);
    let of_clients = Files::trusting(&servers);
    let identity = of_clients.put_together(&clients.sign());
    let server = {
        let paths = [of_server.certificate(), of_server.key(), of_server.authorities()];
        let [certificate, key, authorities] = paths.map(|path| path.to_str().unwrap().to_owned());
        let arguments = ["--tls-cert", &certificate, "--tls-key", &key, "--tls-client-ca", &authorities];
        ServerProcess::start_with(folder.path(), "127.0.0.1:0", &arguments)
    };
    let at = || RegistryClient::builder(format!("https://{}", server.address())).retry_for(Duration::ZERO);
    let builder = of_clients.connect(at()).identity(&identity, &identity);
    builder.clone().connect_lazy().unwrap().create_model("fraud").await.unwrap();
    let mut callers = Callers::begin(&builder);
    for _ in 0..ROUNDS {
        // Clients first learn of the new authority.
        let next = Authority::new();
        of_clients.trust(&[&servers, &next]);
        callers.go_on().await;
        of_server.put(&next.sign());
        of_clients.put_together(&clients.sign());
        let only_next = Files::of(&clients.sign());
        only_next.trust(&[&next]);
        let serves = async || only_next.connect(at()).connect_lazy().unwrap().get_model("fraud").await.ok();
        until(PATIENCE, serves).await;
        // Nothing of the old one is shown any more.
        of_clients.trust(&[&next]);
        callers.go_on().await;
        servers = next;
    }
    callers.end().await;
    let log = server.log();
    assert!(log.matches("new connections get the certificates that are in the files now").count() >= ROUNDS, "{log}");
}
