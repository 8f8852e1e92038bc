//! What a filled registry answers, and how fast: versions, lists, searches, counts and the past, each against a bare tonic service that has
//! the answer in its memory, asked by one client and by many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry_client::{RegistryClient, pb};
use serde::Serialize;

use super::growth::on_disk;
use super::inserts::database_bytes;
use super::load::{in_turns, run};
use super::questions::{Ask, questions};
use super::stock::Stock;
use super::{Setup, resident};
use crate::output::{Column, bytes, count};
use crate::{Context, Failure};

/// How often the server is asked whether its index is ready.
const ASKED_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize)]
struct Measured {
    registry: Registry,
    questions: Vec<Question>,
}

/// What was asked.
#[derive(Debug, Serialize)]
struct Registry {
    /// Of the namespace.
    models: usize,
    versions: u64,
    /// The index, by its own count.
    index_bytes: i64,
    /// What the server takes of the memory after all questions, if its process is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    /// What its store takes on the disk, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
}

/// A question, asked by so many clients at once.
#[derive(Debug, Serialize)]
struct Question {
    question: &'static str,
    /// One, or as many as were asked for, or fewer if each would not get an answer within a round.
    clients: usize,
    /// How many resources, counts or values an answer has, and how many calls brought it: a page that is short has a token to go on with.
    returned: usize,
    calls: usize,
    /// How many records the server looked at for an answer; only of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    records_read: Option<i64>,
    p50_micros: f64,
    p99_micros: f64,
    per_second: f64,
    floor_per_second: f64,
    /// `per_second / floor_per_second`.
    ratio: f64,
}

/// Asks everything, in turns with the floor.
pub(super) async fn lists(context: &Context, setup: &Arc<Setup>) -> Result<(), Failure> {
    let options = &setup.options;
    let disk = |of: &Setup| of.options.storage_path.as_deref().map(on_disk).transpose();
    // What can't be read is said before anything is measured.
    options.server_pid.map(resident).transpose()?;
    disk(setup)?;
    let namespace = format!("namespaces/{}", context.namespace.as_deref().unwrap_or("default"));
    let index = index(&context.client).await?;
    let stock = Arc::new(Stock::read(&context.client, &namespace).await?);
    let mut all = Vec::new();
    for (question, ask) in questions(&namespace, &stock) {
        all.extend(measure(setup, &stock, question, ask).await?);
    }
    let disk_bytes = match &options.postgres {
        Some(url) => Some(database_bytes(url).await?),
        None => disk(setup)?,
    };
    let registry = Registry {
        models: stock.models(),
        versions: stock.versions(),
        index_bytes: index.size_bytes,
        resident_bytes: options.server_pid.map(resident).transpose()?,
        disk_bytes,
    };
    print(context, &Measured { registry, questions: all })
}

/// The index, when it is not being built any more: without it, other things would be measured.
async fn index(client: &RegistryClient) -> Result<pb::IndexStatus, Failure> {
    loop {
        let index = client.status().await?.index.unwrap_or_default();
        if index.state() != pb::IndexState::Building {
            return Ok(index);
        }
        tokio::time::sleep(ASKED_AGAIN).await;
    }
}

/// By one client, and by as many as were asked for.
async fn measure(
    setup: &Arc<Setup>,
    stock: &Arc<Stock>,
    question: &'static str,
    ask: Ask,
) -> Result<Vec<Question>, Failure> {
    let answer = ask.answer(stock, setup.registry(0), true).await?;
    answer.reply.set_floor(setup.floor(0)).await?;
    let began = Instant::now();
    ask.answer(stock, setup.registry(0), false).await?;
    let fit = setup.round().as_secs_f64() / began.elapsed().as_secs_f64();
    let many = (fit as usize).clamp(1, setup.options.clients);
    let ours = |clients| {
        let (setup, stock, ask) = (Arc::clone(setup), Arc::clone(stock), ask.clone());
        run(clients, setup.round(), move |client, _| {
            let (channel, stock, ask) = (setup.registry(client), Arc::clone(&stock), ask.clone());
            async move { ask.answer(&stock, channel, false).await.map(drop) }
        })
    };
    let floor = |clients| {
        let (setup, ask) = (Arc::clone(setup), ask.clone());
        run(clients, setup.round(), move |client, _| {
            let (channel, ask) = (setup.floor(client), ask.clone());
            async move { ask.floor(channel).await }
        })
    };
    let mut measured = Vec::new();
    for clients in if many == 1 { vec![1] } else { vec![1, many] } {
        let (ours, floor) = in_turns(setup.options.rounds, || ours(clients), || floor(clients)).await?;
        measured.push(Question {
            question,
            clients,
            returned: answer.reply.returned(),
            calls: answer.calls,
            records_read: answer.records_read,
            p50_micros: ours.p50_micros,
            p99_micros: ours.p99_micros,
            per_second: ours.per_second,
            floor_per_second: floor.per_second,
            ratio: ours.per_second / floor.per_second,
        });
    }
    Ok(measured)
}

fn print(context: &Context, measured: &Measured) -> Result<(), Failure> {
    if context.out.json {
        return context.out.value(measured);
    }
    let columns = [
        "question".into(),
        Column::number("clients"),
        Column::number("returned"),
        Column::number("read"),
        Column::number("calls"),
        Column::number("p50 ms"),
        Column::number("p99 ms"),
        Column::number("answers/s"),
        Column::number("floor"),
        Column::number("ratio"),
    ];
    let millis = |micros: f64| format!("{:.2}", micros / 1e3);
    let row = |of: &Question| {
        vec![
            of.question.to_owned(),
            of.clients.to_string(),
            of.returned.to_string(),
            of.records_read.map(|read| read.to_string()).unwrap_or_default(),
            of.calls.to_string(),
            millis(of.p50_micros),
            millis(of.p99_micros),
            format!("{:.1}", of.per_second),
            format!("{:.0}", of.floor_per_second),
            format!("{:.4}", of.ratio),
        ]
    };
    context.out.table(&columns, measured.questions.iter().map(row).collect())?;
    let of = &measured.registry;
    let mut line = format!(
        "{} and {}; the index takes {}",
        count(of.models as u64, "model"),
        count(of.versions, "version"),
        bytes(of.index_bytes)
    );
    let known = [("the server", of.resident_bytes, "of the memory"), ("the store", of.disk_bytes, "on the disk")];
    for (what, taken, of) in known.into_iter().filter_map(|(what, taken, of)| Some((what, taken?, of))) {
        line += &format!(", {what} {} {of}", bytes(taken.cast_signed()));
    }
    context.out.line(&line)
}
