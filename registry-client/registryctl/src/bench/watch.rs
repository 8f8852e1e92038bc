//! How long after a commit watchers hear of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry_client::pb;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::version_service_client::VersionServiceClient;
use registry_client::pb::watch_events_response::Response;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Status;

use super::crowd::STREAMS;
use super::load::percentile;
use super::{Better, Figure, Setup, connect};
use crate::Failure;

const COMMITS: usize = 200;

/// Commits one after the other and notes when each watcher hears of each. The floor is the commit itself: how long its caller
/// waits for the answer, which leaves the server when the watchers are told.
pub(super) async fn delivery(setup: &Setup, endpoint: &str, watchers: usize) -> Result<Figure, Failure> {
    let parent = setup.model(&format!("watch-{watchers}")).await?;
    let channels = connect(endpoint, &setup.bearer, watchers.div_ceil(STREAMS)).await?;
    let (heard, mut hearing) = mpsc::unbounded_channel::<(i64, Instant)>();
    let (stop, stopping) = watch::channel(false);
    let mut tasks: JoinSet<Result<(), Status>> = JoinSet::new();
    let ready = Arc::new(tokio::sync::Semaphore::new(0));
    for i in 0..watchers {
        let mut client = EventServiceClient::new(channels[i % channels.len()].clone());
        let (heard, mut stopping, ready) = (heard.clone(), stopping.clone(), Arc::clone(&ready));
        let request = pb::WatchEventsRequest { parent: parent.clone(), ..Default::default() };
        tasks.spawn(async move {
            let mut stream = client.watch_events(request).await?.into_inner();
            loop {
                let message = tokio::select! {
                    message = stream.message() => message?,
                    _ = stopping.wait_for(|stop| *stop) => return Ok(()),
                };
                match message.and_then(|message| message.response) {
                    Some(Response::Created(_)) => ready.add_permits(1),
                    // The bench may have heard enough.
                    Some(Response::Events(events)) => drop(heard.send((events.revision, Instant::now()))),
                    Some(Response::Bookmark(_)) => {}
                    None => return Err(Status::unavailable("a watch ended")),
                }
            }
        });
    }
    let _all = ready.acquire_many(u32::try_from(watchers)?).await?;

    let mut service = VersionServiceClient::new(setup.registry(0));
    let (mut calls, mut deliveries) = (Vec::new(), Vec::new());
    for _ in 0..COMMITS {
        let request = pb::CreateVersionRequest { parent: parent.clone(), finalize: true, ..Default::default() };
        let sent = Instant::now();
        service.create_version(request).await?;
        calls.push(sent.elapsed());
        for _ in 0..watchers {
            let told = tokio::time::timeout(Duration::from_secs(30), hearing.recv()).await?;
            let (_, at) = told.ok_or("the watchers ended")?;
            deliveries.push(at.duration_since(sent));
        }
    }
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    calls.sort_unstable();
    deliveries.sort_unstable();
    let (value, floor) = (percentile(&deliveries, 0.5), percentile(&calls, 0.5));
    Ok(Figure {
        name: format!("told of a commit, {watchers} watchers"),
        unit: "us from the call's start",
        value,
        floor_name: "the call's own answer",
        floor,
        ratio: value / floor,
        better: Better::Less,
        target: None,
        p50_micros: Some(value),
        p99_micros: Some(percentile(&deliveries, 0.99)),
    })
}
