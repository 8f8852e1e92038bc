//! How fast a watch comes through a log that is there already: all of it, and what a filter leaves.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use registry_client::pb;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::watch_events_request::Start;
use registry_client::pb::watch_events_response::Response;
use serde::Serialize;
use tonic::Status;

use super::crowd::{Heard, Said, begin};
use super::load::median;
use super::{Channel, Setup, floor};
use crate::failure::Hinted;
use crate::output::Column;
use crate::{Context, Failure};

/// What is asked for, and how it is called: nothing, what nearly all events of a fill meet, and what those of some twenty versions do.
const FILTERS: [(&str, &str); 3] = [
    ("", "no filter"),
    (
        r#"event.type.startsWith("model.") || event.after.version.metrics["validation"]["auc"] > 0.0"#,
        "a filter that nearly all events meet",
    ),
    (
        r#"event.after.version.framework == "onnx" && event.after.version.tags["review"] == "legal""#,
        "a filter that few events meet",
    ),
];

/// A watch from the first revision until the one that was the newest when it began.
#[derive(Debug, Serialize)]
struct Measured {
    watch: &'static str,
    filter: &'static str,
    /// How many events the log has, and how many of them came.
    events: u64,
    told: u64,
    seconds: f64,
    /// Of those that the log has.
    events_per_second: f64,
    floor_per_second: f64,
    /// `events_per_second / floor_per_second`.
    ratio: f64,
}

/// Replays the log with each filter, in turns with the floor: bare tonic that sends as many messages as there are revisions, all of them
/// the one in the middle of the log.
pub(super) async fn replay(context: &Context, setup: &Arc<Setup>) -> Result<(), Failure> {
    let newest = context.client.status().await?.revision;
    if newest == 0 {
        return Err(
            Hinted::of("the log has no events".to_owned(), "fill the registry with registryctl bench fill").into()
        );
    }
    floor::set(setup.floor(0), &message_after(setup.registry(0), newest / 2).await?).await?;
    let mut floors = Vec::new();
    let mut replays: [Vec<Replay>; FILTERS.len()] = Default::default();
    for _ in 0..setup.options.rounds {
        floors.push(repeated(setup.floor(0), newest.cast_unsigned()).await?);
        for ((filter, _), replays) in FILTERS.iter().zip(&mut replays) {
            replays.push(Replay::of(setup.registry(0), filter, newest).await?);
        }
    }
    let events = replays[0].first().map_or(0, |replay| replay.told);
    let floor_per_second = events as f64 / median(floors);
    let measured = FILTERS.into_iter().zip(&replays).map(|((filter, watch), replays)| {
        let seconds = median(replays.iter().map(|replay| replay.seconds).collect());
        let events_per_second = events as f64 / seconds;
        let told = replays.first().map_or(0, |replay| replay.told);
        let ratio = events_per_second / floor_per_second;
        Measured { watch, filter, events, told, seconds, events_per_second, floor_per_second, ratio }
    });
    print(context, &measured.collect::<Vec<_>>())
}

/// The first message with events behind a revision.
async fn message_after(channel: Channel, revision: i64) -> Result<pb::WatchEventsResponse, Status> {
    let request = pb::WatchEventsRequest { start: Some(Start::AfterRevision(revision)), ..Default::default() };
    let mut watch = EventServiceClient::new(channel).watch_events(request).await?.into_inner();
    while let Some(message) = watch.message().await? {
        if let Some(Response::Events(_)) = message.response {
            return Ok(message);
        }
    }
    Err(ended())
}

/// How long bare tonic takes for so many messages.
async fn repeated(channel: Channel, messages: u64) -> Result<f64, Status> {
    let began = Instant::now();
    let mut watch = floor::repeat::<Counted>(channel, messages).await?;
    while watch.message().await?.is_some() {}
    Ok(began.elapsed().as_secs_f64())
}

struct Replay {
    told: u64,
    seconds: f64,
}

impl Replay {
    async fn of(channel: Channel, filter: &str, newest: i64) -> Result<Self, Status> {
        let (filter, start) = (filter.to_owned(), Some(Start::AfterRevision(0)));
        let request = pb::WatchEventsRequest { filter, start, ..Default::default() };
        let (began, mut told) = (Instant::now(), 0);
        let mut watch = begin::<Counted>(channel, request).await?;
        loop {
            let message = watch.message().await?.ok_or_else(ended)?;
            told += message.events.map_or(0, |events| events.events.len() as u64);
            if message.bookmark.is_some_and(|bookmark| bookmark.revision >= newest) {
                return Ok(Self { told, seconds: began.elapsed().as_secs_f64() });
            }
        }
    }
}

fn ended() -> Status {
    Status::unavailable("a watch ended")
}

/// A message of a watch, read by somebody who only counts: decoding every version would measure that.
#[derive(Clone, PartialEq, Message)]
struct Counted {
    #[prost(message, optional, tag = "1")]
    created: Option<Nothing>,
    #[prost(message, optional, tag = "2")]
    events: Option<OfRevision>,
    #[prost(message, optional, tag = "3")]
    bookmark: Option<At>,
}

#[derive(Clone, PartialEq, Message)]
struct OfRevision {
    #[prost(message, repeated, tag = "2")]
    events: Vec<Nothing>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct At {
    #[prost(int64, tag = "1")]
    revision: i64,
}

/// What is skipped.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Nothing {}

impl Heard for Counted {
    fn said(&self) -> Said {
        match self.created {
            Some(Nothing {}) => Said::Created,
            None => Said::Bookmark,
        }
    }
}

fn print(context: &Context, all: &[Measured]) -> Result<(), Failure> {
    let columns = [
        "watch".into(),
        Column::number("events"),
        Column::number("told"),
        Column::number("seconds"),
        Column::number("events/s"),
        Column::number("floor"),
        Column::number("ratio"),
    ];
    context.out.records(
        all,
        |record| record.watch.to_owned(),
        &columns,
        |record| {
            vec![
                record.watch.to_owned(),
                record.events.to_string(),
                record.told.to_string(),
                format!("{:.2}", record.seconds),
                format!("{:.0}", record.events_per_second),
                format!("{:.0}", record.floor_per_second),
                format!("{:.2}", record.ratio),
            ]
        },
    )
}
