//! Very many watchers through a steady rate of promotions, one of whom reads nothing until the others have all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use prost::Message;
use registry_client::known::event_type;
use registry_client::pb;
use registry_client::pb::lifecycle_service_client::LifecycleServiceClient;
use serde::Serialize;
use tonic::Status;

use super::crowd::{Crowd, Heard, STREAMS, Said, begin, delays, end, refused};
use super::load::percentile;
use super::payload::{SMALL, version_of};
use super::writes::promotion;
use super::{Bearer, Channel, connect, discard, endpoints, resident, run_id};
use crate::args::Bench;
use crate::output::Column;
use crate::{Context, Failure};

/// How many promote at once, each two versions of its own in turns.
const PROMOTERS: usize = 16;
/// How often it is looked at how much memory the server takes.
const SAMPLED: Duration = Duration::from_millis(200);
/// What HTTP/2 lets a server send to somebody who reads nothing, if nothing else was said.
const WINDOW: u32 = 65_535;
/// What a watcher should take of the server's memory, at most.
const TARGET_BYTES: u64 = 32 * 1024;

#[derive(Debug, Serialize)]
struct Watchers {
    /// Without the one that reads nothing.
    watchers: usize,
    connections: usize,
    promotions: u64,
    /// Until the last one was answered.
    seconds: f64,
    promotions_per_second: f64,
    /// Until the last watcher had been told of the last promotion.
    deliveries_per_second: f64,
    /// From the answer of a promotion until a watcher was told.
    p50_micros: f64,
    p99_micros: f64,
    max_micros: f64,
    /// How long the one that had read nothing took to read everything.
    unread_micros: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

/// What a watcher takes of the server's memory: what the server has more of than before the first one, by the number of them.
#[derive(Debug, Clone, Copy, Serialize)]
struct Memory {
    /// When nothing had happened yet.
    idle_bytes: u64,
    most_bytes: u64,
    target_bytes: u64,
}

/// Measures each number of watchers that was asked for.
pub(super) async fn watchers(context: &Context, endpoint: &str, options: &Bench) -> Result<(), Failure> {
    let run = run_id();
    let mut all = Vec::new();
    for watchers in options.watchers_or(&[1000]) {
        let model = context.client.create_model(format!("models/bench-{run}-watchers-{watchers}")).await?.name;
        let measured = measure(context, endpoint, options, &model, watchers).await;
        discard(&context.client, &model).await?;
        all.push(measured?);
    }
    print(context, &all)
}

async fn measure(
    context: &Context,
    endpoint: &str,
    options: &Bench,
    model: &str,
    watchers: usize,
) -> Result<Watchers, Failure> {
    for _ in 0..2 * PROMOTERS {
        let version = Some(version_of(SMALL));
        let request =
            pb::CreateVersionRequest { parent: model.to_owned(), version, finalize: true, ..Default::default() };
        context.client.call(request).await?;
    }
    let promotions = ((f64::from(options.rate) * options.seconds.as_secs_f64()).round() as u64).max(1);
    let before = options.server_pid.map(resident).transpose()?;
    let request = pb::WatchEventsRequest {
        parent: model.to_owned(),
        types: vec![event_type::VERSION_STAGE_TRANSITIONED.to_owned()],
        ..Default::default()
    };
    let bearer = Bearer::of(context)?;
    let channels = connect(endpoint, &bearer, watchers.div_ceil(STREAMS)).await?;
    let crowd = Crowd::gather::<Brief>(&channels, watchers, &request, promotions).await?;
    let narrow = endpoints(endpoint)?.swap_remove(0);
    let narrow = narrow.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let unread =
        begin::<Brief>(Channel::new(narrow.connect().await?, bearer.clone()), request).await.map_err(refused)?;
    let idle = options.server_pid.map(resident).transpose()?;

    let promoters = connect(endpoint, &bearer, 1).await?.swap_remove(0);
    let began = Instant::now();
    let told = async {
        let answered = promote(promoters, model, promotions, f64::from(options.rate)).await?;
        Ok::<_, Failure>((answered, began.elapsed(), crowd.told().await?))
    };
    let (told, most) = most_resident(options.server_pid, told).await?;
    let (answered, took, told) = told?;
    let delays = delays(&told, &answered)?;
    let deliveries = watchers as u64 * promotions;
    let in_all = end(&told).ok_or("there are no watchers")?.duration_since(began);

    let comes_back = Instant::now();
    let late = Crowd::of(vec![unread], promotions).told().await?;
    super::crowd::delays(&late, &answered)?;
    let a_watcher = |bytes: u64, before: u64| bytes.saturating_sub(before) / watchers as u64;
    let memory = match (before, idle, most) {
        (Some(before), Some(idle), Some(most)) => Some(Memory {
            idle_bytes: a_watcher(idle, before),
            most_bytes: a_watcher(most, before),
            target_bytes: TARGET_BYTES,
        }),
        _ => None,
    };
    Ok(Watchers {
        watchers,
        connections: channels.len(),
        promotions,
        seconds: took.as_secs_f64(),
        promotions_per_second: promotions as f64 / took.as_secs_f64(),
        deliveries_per_second: deliveries as f64 / in_all.as_secs_f64(),
        p50_micros: percentile(&delays, 0.5),
        p99_micros: percentile(&delays, 0.99),
        max_micros: percentile(&delays, 1.0),
        unread_micros: comes_back.elapsed().as_secs_f64() * 1e6,
        memory,
    })
}

/// Promotes at a rate, or as fast as it can if that is slower, and notes the revision of each and when its answer came.
async fn promote(channel: Channel, model: &str, promotions: u64, rate: f64) -> Result<HashMap<i64, Instant>, Status> {
    let began = tokio::time::Instant::now();
    let promoters = (0..PROMOTERS as u64).map(|promoter| {
        let mut service = LifecycleServiceClient::new(channel.clone());
        async move {
            let mut answered = Vec::new();
            for (number, version) in (promoter..promotions).step_by(PROMOTERS).zip([1, 2].into_iter().cycle()) {
                tokio::time::sleep_until(began + Duration::from_secs_f64(number as f64 / rate)).await;
                let answer = service.transition_stage(promotion(model, 2 * promoter + version)).await?;
                answered.push((answer.into_inner().revision, Instant::now()));
            }
            Ok::<_, Status>(answered)
        }
    });
    Ok(try_join_all(promoters).await?.into_iter().flatten().collect())
}

/// The most memory that a process takes while something goes on.
async fn most_resident<T>(pid: Option<u32>, going_on: impl Future<Output = T>) -> Result<(T, Option<u64>), Failure> {
    let Some(pid) = pid else { return Ok((going_on.await, None)) };
    let (mut most, mut samples) = (0, tokio::time::interval(SAMPLED));
    let mut going_on = std::pin::pin!(going_on);
    loop {
        tokio::select! {
            done = &mut going_on => return Ok((done, Some(most))),
            _ = samples.tick() => most = resident(pid)?.max(most),
        }
    }
}

fn print(context: &Context, all: &[Watchers]) -> Result<(), Failure> {
    let columns = [
        Column::number("watchers"),
        Column::number("promotions"),
        Column::number("seconds"),
        Column::number("promotions/s"),
        Column::number("deliveries/s"),
        Column::number("p50 ms"),
        Column::number("p99 ms"),
        Column::number("max ms"),
        Column::number("unread ms"),
        Column::number("KiB idle").if_any(),
        Column::number("KiB at most").if_any(),
        Column::number("target").if_any(),
    ];
    let millis = |micros: f64| format!("{:.1}", micros / 1e3);
    context.out.records(
        all,
        |record| record.watchers.to_string(),
        &columns,
        |record| {
            let kib = |bytes: fn(Memory) -> u64| {
                record.memory.map(|memory| format!("{:.1}", bytes(memory) as f64 / 1024.0)).unwrap_or_default()
            };
            vec![
                record.watchers.to_string(),
                record.promotions.to_string(),
                format!("{:.1}", record.seconds),
                format!("{:.0}", record.promotions_per_second),
                format!("{:.0}", record.deliveries_per_second),
                millis(record.p50_micros),
                millis(record.p99_micros),
                millis(record.max_micros),
                millis(record.unread_micros),
                kib(|memory| memory.idle_bytes),
                kib(|memory| memory.most_bytes),
                kib(|memory| memory.target_bytes),
            ]
        },
    )
}

/// A message of a watch, read by somebody who only wants to know which revision it is of: very many that decode every version would
/// measure themselves.
#[derive(Clone, PartialEq, Message)]
struct Brief {
    #[prost(message, optional, tag = "1")]
    created: Option<OfRevision>,
    #[prost(message, optional, tag = "2")]
    events: Option<OfRevision>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct OfRevision {
    #[prost(int64, tag = "1")]
    revision: i64,
}

impl Heard for Brief {
    fn said(&self) -> Said {
        match (self.created, self.events) {
            (Some(_), _) => Said::Created,
            (None, Some(events)) => Said::Events(events.revision),
            (None, None) => Said::Bookmark,
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_client::pb::watch_events_response::Response;

    use super::*;

    #[test]
    fn a_message_is_read_in_part() {
        let events = pb::WatchedEvents { revision: 7, events: vec![pb::Event::default(); 2], hash: vec![1; 32].into() };
        for (response, expected) in [
            (Response::Created(pb::WatchCreated { revision: 3, ..Default::default() }), None),
            (Response::Events(events), Some(7)),
            (Response::Bookmark(pb::Bookmark { revision: 7, ..Default::default() }), None),
        ] {
            let message = pb::WatchEventsResponse { response: Some(response) };
            let brief = Brief::decode(message.encode_to_vec().as_slice()).unwrap();
            for said in [message.said(), brief.said()] {
                assert_eq!(matches!(said, Said::Created), matches!(message.response, Some(Response::Created(_))));
                let revision = if let Said::Events(revision) = said { Some(revision) } else { None };
                assert_eq!(revision, expected);
            }
        }
    }
}
