//! Webhooks by the command line, to the receiver of the examples; and what a receiver that is dead costs.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry_tests::process::{ServerProcess, example, server_command};
use registry_tests::receiver::{self, Answer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::cli::Ctl;
use crate::held::resident;
use crate::patient;

/// How many events a dead receiver does not take, unless the environment says otherwise.
const EVENTS: usize = 1_000_000;

/// Ends with the test.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(arguments: &[&str]) -> (tempfile::TempDir, ServerProcess) {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["--webhook-allow", "127.0.0.0/8"], arguments].concat();
    let server = ServerProcess::start_with(folder.path(), "127.0.0.1:0", &arguments);
    (folder, server)
}

/// A URL at which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[test]
fn the_command_line_makes_tests_and_replays_webhooks_of_the_example() {
    let (_folder, server) = server(&[]);
    let ctl = Ctl::new(&server);
    let made = ctl.run(&["webhook", "create", "hook", &nowhere(), "--type", "model.created"]);
    let said = String::from_utf8(made.stdout).unwrap();
    let secret = said.strip_prefix("created webhooks/hook\nsecret: ").unwrap().trim();
    assert!(String::from_utf8(made.stderr).unwrap().contains("it is not shown again"));
    let (_, complaint) = ctl.fails(&["webhook", "test", "hook"]);
    assert!(complaint.contains("can't be connected to"), "{complaint}");

    let mut command = Command::new(example("webhook_receiver"));
    let command = command.arg("127.0.0.1:0").env("WEBHOOK_SECRET", secret).stdout(Stdio::piped());
    let mut receiver = Receiver(command.spawn().unwrap());
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.next().unwrap();
    let url = format!("http://{}/", address.split_whitespace().last().unwrap());
    ctl.ok(&["webhook", "update", "hook", "--url", &url]);
    assert!(ctl.ok(&["webhook", "test", "hook"]).starts_with("the receiver answered 204 after "));
    ctl.ok(&["create", "fraud"]);
    let mut next = || lines.next().unwrap().split_once(' ').unwrap().1.to_owned();
    assert_eq!(next(), r#""webhook.test" "webhooks/hook""#);
    let created = r#""model.created" "namespaces/default/models/fraud""#;
    assert_eq!(next(), created);
    assert_eq!(ctl.ok(&["webhook", "replay", "hook", "--after", "0"]), "webhooks/hook goes on behind revision 0\n");
    assert_eq!(next(), created);

    // The key that the receiver does not know signs beside the one that it knows.
    assert!(ctl.ok(&["webhook", "rotate", "hook"]).starts_with("rotated webhooks/hook\nsecret: whsec_"));
    assert!(ctl.ok(&["webhook", "test", "hook"]).starts_with("the receiver answered 204 after "));
    let logged = ctl.json(&["webhook", "log", "hook"]);
    assert!(logged.iter().all(|delivery| delivery["code"] == 204 && delivery["type"] == "model.created"), "{logged:?}");
    assert!(ctl.ok(&["webhook", "log", "hook"]).starts_with("TIME"));
    assert_eq!(ctl.json(&["webhook", "get", "hook"])[0]["url"], url);
    ctl.ok(&["webhook", "update", "hook", "--disable"]);
    let listed = ctl.ok(&["webhook", "list"]);
    assert!(listed.contains("disabled") && !listed.contains(secret), "{listed}");
    assert_eq!(ctl.ok(&["webhook", "delete", "hook"]), "deleted webhooks/hook\n");
    assert_eq!(ctl.fails(&["webhook", "get", "hook"]).0, Some(3));
}

/// An authority of the test's own, and what a server shows that it has certified for 127.0.0.1.
fn certified() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = authority.self_signed(&key).unwrap();
    let server = KeyPair::generate().unwrap();
    let shown = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let shown = shown.signed_by(&server, &Issuer::new(authority, key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![shown.der().clone()], server.into()).unwrap();
    (own.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_receiver_has_to_show_a_certificate_that_the_machine_trusts() {
    let (trusted, tls) = certified();
    let (_, stranger) = certified();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("trusted.pem");
    std::fs::write(&bundle, trusted).unwrap();
    let mut command = server_command(&folder.path().join("storage"), "127.0.0.1:0");
    // Where OpenSSL's programs look for the authorities of the machine.
    command.args(["--webhook-allow", "127.0.0.0/8"]).env("SSL_CERT_FILE", bundle).env_remove("SSL_CERT_DIR");
    let server = ServerProcess::spawn(command);
    let client = patient(&server.endpoint());
    let mut receiver = receiver::Receiver::start_with(Answer::code(204), tls).await;
    let made = client.create_webhook("hook", format!("https://{}/", receiver.address())).await.unwrap();
    let delivery = client.test_webhook("hook").await.unwrap().delivery.unwrap();
    assert_eq!((delivery.code, &*delivery.error), (204, ""));
    receiver.take(1).await[0].verify(&made.secret).unwrap();
    client.create_model("fraud").await.unwrap();
    assert_eq!(receiver.take(1).await[0].event, "events/2-0");

    let mut receiver = receiver::Receiver::start_with(Answer::code(204), stranger).await;
    client.create_webhook("stranger", format!("https://{}/", receiver.address())).await.unwrap();
    let delivery = client.test_webhook("stranger").await.unwrap().delivery.unwrap();
    assert_eq!(delivery.code, 0);
    assert!(delivery.error.contains("certificate"), "{}", delivery.error);
    receiver.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes, and measures: tests/full.sh runs it"]
async fn a_million_events_for_a_dead_receiver_take_no_memory() {
    let events = std::env::var("TEST_WEBHOOK_EVENTS").map_or(EVENTS, |events| events.parse().unwrap());
    let (_folder, server) = server(&["--cache", "64MiB", "--index-memory", "64MiB"]);
    let client = patient(&server.endpoint());
    client.create_model("models/m").await.unwrap();
    let version = client.create_version("models/m").await.unwrap();
    let update = async |_| {
        let mut changed = version.clone();
        (changed.etag, changed.description) = (String::new(), "x".repeat(100));
        client.update_version(changed).fields(["description"]).await.unwrap();
    };
    // What writes cost by themselves is there before.
    stream::iter(0..events / 10).map(update).buffer_unordered(64).for_each(async |()| {}).await;
    client.create_webhook("hook", nowhere()).await.unwrap();
    let before = resident(&server, "VmRSS");
    stream::iter(0..events).map(update).buffer_unordered(64).for_each(async |()| {}).await;
    let status = client.get_webhook("hook").await.unwrap().status.unwrap();
    let now = resident(&server, "VmRSS");
    eprintln!("{} revisions wait, after {} attempts: {before} MiB before, {now} MiB now", status.lag, status.failures);
    assert!(status.failures > 0 && status.lag >= i64::try_from(events).unwrap());
    assert!(now < before + 64, "{before} MiB before, {now} MiB now");
}
