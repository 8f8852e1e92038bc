//! How many events a second reach watchers when commits come as fast as they can.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::future::try_join_all;
use registry_client::known::event_type;
use registry_client::pb;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::crowd::{Crowd, STREAMS, begin, delays, end, refused};
use super::load::{Rate, in_turns, percentile};
use super::payload::{KIB, create_request, version_of};
use super::{Channel, Figure, Setup, connect, floor};
use crate::Failure;

/// How many make versions at once.
const WRITERS: usize = 16;
/// How many deliveries a round has, if it is not said how many events.
const DELIVERIES: usize = 200_000;

/// Makes versions flat out. All watchers have to be told of all of them, in order. The floor is a bare tonic server that sends the
/// same message as often to as many.
pub(super) async fn fan_out(setup: &Arc<Setup>, endpoint: &str, watchers: usize) -> Result<Figure, Failure> {
    let events = setup.options.events.unwrap_or_else(|| (DELIVERIES / watchers).max(1) as u64);
    let model = setup.model(&format!("fan-out-{watchers}")).await?;
    let request = pb::WatchEventsRequest {
        parent: model.clone(),
        types: vec![event_type::VERSION_CREATED.to_owned()],
        ..Default::default()
    };
    let registry = connect(endpoint, &setup.bearer, watchers.div_ceil(STREAMS)).await?;
    let bare = connect(&setup.floor_server.endpoint, &setup.bearer, watchers.div_ceil(STREAMS)).await?;

    let mut watch = begin::<pb::WatchEventsResponse>(registry[0].clone(), request.clone()).await.map_err(refused)?;
    VersionServiceClient::new(setup.registry(0)).create_version(create_request(&model, version_of(KIB))).await?;
    let message = loop {
        let message = watch.message().await?.ok_or("a watch ended")?;
        if let Some(pb::watch_events_response::Response::Events(_)) = message.response {
            break message;
        }
    };
    drop(watch);
    floor::set(setup.floor(0), &message).await?;

    let ours = || async {
        let crowd = Crowd::gather::<pb::WatchEventsResponse>(&registry, watchers, &request, events).await?;
        let began = Instant::now();
        let answered = make(setup, &model, events).await?;
        let told = crowd.told().await?;
        let delays = delays(&told, &answered)?;
        let took = end(&told).ok_or("there are no watchers")?.duration_since(began);
        Ok(Rate {
            per_second: (watchers as u64 * events) as f64 / took.as_secs_f64(),
            p50_micros: percentile(&delays, 0.5),
            p99_micros: percentile(&delays, 0.99),
        })
    };
    let floor = || async {
        let began = Instant::now();
        let streams = (0..watchers).map(|i| tokio::spawn(stream(bare[i % bare.len()].clone(), events)));
        for sent in try_join_all(streams).await? {
            sent?;
        }
        let per_second = (watchers as u64 * events) as f64 / began.elapsed().as_secs_f64();
        Ok::<_, Failure>(Rate { per_second, p50_micros: 0.0, p99_micros: 0.0 })
    };
    let (ours, floor) = in_turns(setup.options.rounds, ours, floor).await?;
    let name = format!("fan-out to {watchers} watchers");
    Ok(Figure {
        unit: "events/s",
        ..Figure::calls(name, ours, "bare tonic streams, the same message", floor.per_second)
    })
}

/// Makes so many versions, and notes the revision of each and when its answer came.
async fn make(setup: &Setup, model: &str, versions: u64) -> Result<HashMap<i64, Instant>, Status> {
    let begun = AtomicU64::new(0);
    let writers = (0..WRITERS).map(async |_| {
        let mut service = VersionServiceClient::new(setup.registry(0));
        let mut answered = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < versions {
            let version = service.create_version(create_request(model, version_of(KIB))).await?.into_inner();
            answered.push((version.revision, Instant::now()));
        }
        Ok::<_, Status>(answered)
    });
    Ok(try_join_all(writers).await?.into_iter().flatten().collect())
}

/// Reads a stream of the floor to its end.
async fn stream(channel: Channel, messages: u64) -> Result<(), Status> {
    let mut stream = floor::repeat::<pb::WatchEventsResponse>(channel, messages).await?;
    while stream.message().await?.is_some() {}
    Ok(())
}
