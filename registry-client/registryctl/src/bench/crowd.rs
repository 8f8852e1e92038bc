//! Many watchers at once, of whom each has to be told of everything, in order.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::uri::PathAndQuery;
use prost::Message;
use registry_client::pb::watch_events_response::Response;
use registry_client::rpc::Request as _;
use registry_client::{Error, pb};
use tokio::task::JoinSet;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Channel;
use crate::Failure;
use crate::failure::Hinted;

/// How many streams share a connection.
pub(super) const STREAMS: usize = 64;
/// How many watches are begun at once.
const OPENING: usize = 64;
/// When no watcher has heard anything for so long, what is missing won't come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many deliveries have their time noted at most: of more, an even share.
const NOTES: u64 = 1_000_000;

/// What a message of a watch says, as far as it matters here.
pub(super) enum Said {
    Created,
    /// Of this revision.
    Events(i64),
    Bookmark,
}

/// A message of a watch, decoded as a whole or in part.
pub(super) trait Heard: Message + Default + 'static {
    fn said(&self) -> Said;
}

impl Heard for pb::WatchEventsResponse {
    fn said(&self) -> Said {
        match &self.response {
            Some(Response::Created(_)) => Said::Created,
            Some(Response::Events(events)) => Said::Events(events.revision),
            Some(Response::Bookmark(_)) | None => Said::Bookmark,
        }
    }
}

/// Begins a watch: from the first message on, which has come, it misses nothing.
pub(super) async fn begin<M: Heard>(channel: Channel, request: pb::WatchEventsRequest) -> Result<Streaming<M>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(pb::WatchEventsRequest::PATH);
    let codec = ProstCodec::<pb::WatchEventsRequest, M>::default();
    let mut watch = client.server_streaming(Request::new(request), path, codec).await?.into_inner();
    match next(&mut watch).await?.said() {
        Said::Created => Ok(watch),
        Said::Events(_) | Said::Bookmark => Err(Status::internal("a watch began with something else than `created`")),
    }
}

async fn next<M: Heard>(watch: &mut Streaming<M>) -> Result<M, Status> {
    watch.message().await?.ok_or_else(|| Status::unavailable("a watch ended"))
}

/// What a watcher has been told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    revisions: u64,
    /// Of all of them, in their order.
    digest: u64,
    /// When some of them came.
    notes: Vec<(i64, Instant)>,
    ended: Instant,
}

/// Reads on until there were so many revisions; of every so many deliveries, one is noted.
async fn hear<M: Heard>(
    mut watch: Streaming<M>,
    revisions: u64,
    mut until_noted: u64,
    noted_every: u64,
    heard: Arc<AtomicU64>,
) -> Result<Told, Status> {
    let (mut hasher, mut last, mut notes) = (DefaultHasher::new(), 0, Vec::new());
    for _ in 0..revisions {
        let revision = loop {
            if let Said::Events(revision) = next(&mut watch).await?.said() {
                break revision;
            }
        };
        if revision <= last {
            return Err(Status::data_loss(format!("a watcher was told of revision {revision} after {last}")));
        }
        last = revision;
        revision.hash(&mut hasher);
        heard.fetch_add(1, Ordering::Relaxed);
        if until_noted == 0 {
            notes.push((revision, Instant::now()));
            until_noted = noted_every;
        }
        until_noted -= 1;
    }
    Ok(Told { revisions, digest: hasher.finish(), notes, ended: Instant::now() })
}

/// Watchers at work.
pub(super) struct Crowd {
    tasks: JoinSet<Result<Told, Status>>,
    /// How many deliveries there were.
    heard: Arc<AtomicU64>,
}

impl Crowd {
    /// Begins so many watches, each of which is to be told of so many revisions.
    pub(super) async fn gather<M: Heard>(
        channels: &[Channel],
        watchers: usize,
        request: &pb::WatchEventsRequest,
        revisions: u64,
    ) -> Result<Self, Failure> {
        let begun = stream::iter(0..watchers).map(|i| begin(channels[i % channels.len()].clone(), request.clone()));
        let watches: Vec<Streaming<M>> = begun.buffer_unordered(OPENING).try_collect().await.map_err(refused)?;
        Ok(Self::of(watches, revisions))
    }

    /// Reads these watches until there were so many revisions.
    pub(super) fn of<M: Heard>(watches: Vec<Streaming<M>>, revisions: u64) -> Self {
        let heard = Arc::<AtomicU64>::default();
        let noted_every = (watches.len() as u64 * revisions).div_ceil(NOTES).max(1);
        let mut tasks = JoinSet::new();
        for (until_noted, watch) in (0..noted_every).cycle().zip(watches) {
            tasks.spawn(hear(watch, revisions, until_noted, noted_every, Arc::clone(&heard)));
        }
        Self { tasks, heard }
    }

    /// What each was told, when all have been told of everything.
    pub(super) async fn told(mut self) -> Result<Vec<Told>, Failure> {
        let mut all = Vec::new();
        let mut before = self.heard.load(Ordering::Relaxed);
        while !self.tasks.is_empty() {
            match tokio::time::timeout(PATIENCE, self.tasks.join_next()).await {
                Ok(Some(told)) => all.push(told?.map_err(Error::from)?),
                Ok(None) => break,
                Err(_) => {
                    let now = self.heard.load(Ordering::Relaxed);
                    if now == before {
                        let waiting = self.tasks.len();
                        return Err(format!("{waiting} watchers wait for events that do not come").into());
                    }
                    before = now;
                }
            }
        }
        Ok(all)
    }
}

/// Why a watch could not begin.
pub(super) fn refused(status: Status) -> Failure {
    let hint = "the server sends as many streams as it may: start it with a larger --max-streams";
    Hinted::if_for(pb::ErrorReason::Overloaded, Error::from(status).into(), hint)
}

/// How long after the answer of the change that made it a delivery came, sorted; none if it came before.
///
/// # Errors
/// If a watcher was told of something else than these revisions.
pub(super) fn delays(told: &[Told], answered: &HashMap<i64, Instant>) -> Result<Vec<Duration>, Failure> {
    let mut revisions: Vec<_> = answered.keys().copied().collect();
    revisions.sort_unstable();
    let mut hasher = DefaultHasher::new();
    revisions.iter().for_each(|revision| revision.hash(&mut hasher));
    let digest = hasher.finish();
    let mut delays = Vec::new();
    for told in told {
        if (told.revisions, told.digest) != (revisions.len() as u64, digest) {
            return Err("a watcher was told of other revisions than there were".into());
        }
        delays.extend(told.notes.iter().map(|(revision, at)| at.saturating_duration_since(answered[revision])));
    }
    delays.sort_unstable();
    Ok(delays)
}

/// When the last one had been told of everything.
pub(super) fn end(told: &[Told]) -> Option<Instant> {
    told.iter().map(|told| told.ended).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_was_told_something_else_is_found() {
        let began = Instant::now();
        let told = |revisions: &[i64]| {
            let mut hasher = DefaultHasher::new();
            revisions.iter().for_each(|revision| revision.hash(&mut hasher));
            let notes = revisions.iter().map(|revision| (*revision, began + Duration::from_millis(5))).collect();
            Told { revisions: revisions.len() as u64, digest: hasher.finish(), notes, ended: began }
        };
        let answered: HashMap<_, _> = [(3, began), (4, began + Duration::from_millis(7))].into();
        let found = delays(&[told(&[3, 4]), told(&[3, 4])], &answered).unwrap();
        let (none, five) = (Duration::ZERO, Duration::from_millis(5));
        assert_eq!(found, [none, none, five, five]);
        for wrong in [&[4, 3][..], &[3], &[3, 5], &[3, 4, 5]] {
            assert!(delays(&[told(&[3, 4]), told(wrong)], &answered).is_err(), "{wrong:?}");
        }
    }
}
