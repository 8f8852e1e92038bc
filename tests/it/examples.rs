//! The examples, as processes of their own: what they say they do, they do.

mod pipeline;
mod scoring;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use registry_tests::printing::Printing;
use registry_tests::process::example;
use registry_tests::{PATIENCE, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

/// A table of numbers without its header.
fn table(path: &str) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(data(path)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

/// The rows of a test set without their targets.
fn rows(model: &str) -> Vec<Vec<f64>> {
    let mut rows = table(&format!("rows/{model}/test.csv"));
    rows.iter_mut().for_each(|row| row.truncate(row.len() - 1));
    rows
}

/// An example, for the registry at an endpoint.
fn command(name: &str, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(block_in_place(|| example(name)));
    command.args(arguments).env("MODEL_REGISTRY_ENDPOINT", endpoint);
    command
}

/// A version of a model, published by the training job.
fn train(endpoint: &str, model: &str, alpha: &str) -> String {
    let output = block_in_place(|| command("trainer", endpoint, &[model, alpha]).output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The scoring service.
struct Scoring {
    _process: Printing,
    address: String,
}

impl Scoring {
    /// Starts it, and waits until it serves.
    async fn start(endpoint: &str, name: &str, cache: &Path) -> Self {
        let mut command = command("scoring_service", endpoint, &[name]);
        let mut process = Printing::start(command.env("MODEL_REGISTRY_CACHE_FOLDER", cache));
        let address = process.line("listening on ").await;
        Self { _process: process, address }
    }

    fn connect(&self) -> Http {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Http(BufReader::new(stream))
    }

    /// What it says of itself.
    fn health(&self) -> Value {
        self.connect().call("GET", "/health", &Value::Null).1
    }

    /// Waits until that is as it should be.
    async fn becomes(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until(PATIENCE, async || Some(block_in_place(|| self.health())).filter(&wanted)).await
    }

    /// Waits until it serves a version.
    async fn serves(&self, version: &str) {
        self.becomes(|health| health["serving"] == json!([version]) && health["state"] == "Serving").await;
    }

    /// Which version scored rows, and how.
    fn score(&self, rows: &[Vec<f64>]) -> (String, Vec<Vec<f64>>) {
        self.connect().score(&json!(rows))
    }
}

/// A connection that is used again and again.
struct Http(BufReader<TcpStream>);

impl Http {
    fn call(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let (kind, length) = ("content-type: application/json", body.len());
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = || {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line.trim_end().to_ascii_lowercase()
        };
        let status = line().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty())).collect();
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")).unwrap();
        let mut answer = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut answer).unwrap();
        let text = || Value::String(String::from_utf8_lossy(&answer).into_owned());
        (status, serde_json::from_slice(&answer).unwrap_or_else(|_| text()))
    }

    fn score(&mut self, rows: &Value) -> (String, Vec<Vec<f64>>) {
        let (status, answer) = self.call("POST", "/score", rows);
        assert_eq!(status, 200, "{answer}");
        let scores = serde_json::from_value(answer["scores"].clone()).unwrap();
        (answer["version"].as_str().unwrap().to_owned(), scores)
    }
}
