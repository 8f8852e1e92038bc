use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use registry_client::pb::watch_events_request::Start;
use registry_client::pb::watch_events_response::Response;
use registry_client::{Items, RegistryClient, WatchItem, pb};
use tonic::{Request, Status};

use crate::fake::{Answers, Fake, Proxy, client, client_of, endpoints};

type Answer = Result<pb::WatchEventsResponse, Status>;

fn answer(response: Response) -> Answer {
    Ok(pb::WatchEventsResponse { response: Some(response) })
}

fn created(revision: i64) -> Answer {
    answer(Response::Created(pb::WatchCreated { revision, ..Default::default() }))
}

fn events(revision: i64) -> Answer {
    answer(Response::Events(pb::WatchedEvents { revision, events: vec![pb::Event::default()], ..Default::default() }))
}

fn bookmark(revision: i64) -> Answer {
    answer(Response::Bookmark(pb::Bookmark { revision, ..Default::default() }))
}

/// Serves one script for each connection, and keeps what was asked for. A script that ends well stays open.
fn scripted(scripts: impl IntoIterator<Item = Vec<Answer>>) -> (Fake, Arc<Mutex<Vec<pb::WatchEventsRequest>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&asked);
    let scripts: Mutex<VecDeque<_>> = Mutex::new(scripts.into_iter().collect());
    let fake = Fake::default().on(move |request: Request<pb::WatchEventsRequest>| {
        requests.lock().unwrap().push(request.into_inner());
        let script = scripts.lock().unwrap().pop_front().ok_or_else(|| Status::internal("no more scripts"))?;
        let stays_open = script.last().is_some_and(Result::is_ok);
        let answers = stream::iter(script);
        let answers: Answers<_> = if stays_open { answers.chain(stream::pending()).boxed() } else { answers.boxed() };
        Ok(answers)
    });
    (fake, asked)
}

fn cut() -> Answer {
    Err(Status::unavailable("draining"))
}

fn name(item: &WatchItem) -> String {
    match item {
        WatchItem::Created { revision, .. } => format!("created {revision}"),
        WatchItem::Snapshot { revision, .. } => format!("snapshot {revision}"),
        WatchItem::SnapshotRestarted { revision } => format!("restarted {revision}"),
        WatchItem::Disconnected { .. } => "disconnected".to_owned(),
        WatchItem::Resumed { revision } => format!("resumed {revision}"),
        WatchItem::Events { revision, .. } => format!("events {revision}"),
        WatchItem::Bookmark { revision, .. } => format!("bookmark {revision}"),
        other => format!("{other:?}"),
    }
}

/// The next so many items.
async fn told(mut watch: Items<WatchItem>, count: usize) -> String {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(name(&watch.try_next().await.unwrap().unwrap()));
    }
    names.join(", ")
}

#[tokio::test]
async fn a_watch_resumes_behind_the_last_revision() {
    let (fake, asked) = scripted([
        vec![cut()],
        vec![created(7), events(8), events(9), cut()],
        vec![created(9), bookmark(12), cut()],
        vec![created(12), events(13)],
    ]);
    let watch = fake.client().await.watch().parent("models/fraud").types(["alias.set"]);
    let expected = "disconnected, created 7, events 8, events 9, disconnected, resumed 9, bookmark 12, disconnected, \
                    resumed 12, events 13";
    assert_eq!(told(watch.stream(), 10).await, expected);

    let asked = asked.lock().unwrap();
    let starts: Vec<_> = asked.iter().map(|request| request.start.unwrap()).collect();
    let now = Start::Now(Default::default());
    assert_eq!(starts, [now, now, Start::AfterRevision(9), Start::AfterRevision(12)]);
    let same = |request: &pb::WatchEventsRequest| (request.parent.clone(), request.types.clone());
    let expected = ("models/fraud".to_owned(), vec!["alias.set".to_owned()]);
    assert!(asked.iter().all(|request| same(request) == expected), "{asked:?}");
}

#[tokio::test]
async fn a_watch_survives_the_loss_of_its_connection() {
    let (fake, asked) = scripted([vec![created(3), events(4)], vec![created(4), events(5)]]);
    let proxy = Proxy::to(fake.serve().await).await;
    let mut watch = client(proxy.address).await.watch().after(3).stream();
    for expected in ["created 3", "events 4"] {
        assert_eq!(name(&watch.try_next().await.unwrap().unwrap()), expected);
    }
    proxy.cut();
    assert_eq!(told(watch, 3).await, "disconnected, resumed 4, events 5");
    let starts: Vec<_> = asked.lock().unwrap().iter().map(|request| request.start.unwrap()).collect();
    assert_eq!(starts, [Start::AfterRevision(3), Start::AfterRevision(4)]);
}

#[tokio::test]
async fn a_watch_goes_on_at_another_server() {
    let (one, asked_one) = scripted([vec![created(7), events(8), events(9), cut()], vec![created(12), events(13)]]);
    // The second is behind, and tells something again.
    let (two, asked_two) = scripted([vec![created(8), events(9), events(10), bookmark(12), cut()]]);
    let client = client_of([one.serve().await, two.serve().await]);
    let expected = "created 7, events 8, events 9, disconnected, resumed 9, events 10, bookmark 12, disconnected, \
                    resumed 12, events 13";
    assert_eq!(told(client.watch().stream(), 10).await, expected);
    let starts = |asked: &Mutex<Vec<pb::WatchEventsRequest>>| -> Vec<_> {
        asked.lock().unwrap().iter().map(|request| request.start.unwrap()).collect()
    };
    assert_eq!(starts(&asked_one), [Start::Now(Default::default()), Start::AfterRevision(12)]);
    assert_eq!(starts(&asked_two), [Start::AfterRevision(9)]);
}

#[tokio::test]
async fn a_watch_leaves_a_server_that_is_gone() {
    let (one, _) = scripted([vec![created(3), events(4)]]);
    let (two, asked) = scripted([vec![created(4), events(5)]]);
    let proxy = Proxy::to(one.serve().await).await;
    let mut watch = client_of([proxy.address, two.serve().await]).watch().after(3).stream();
    for expected in ["created 3", "events 4"] {
        assert_eq!(name(&watch.try_next().await.unwrap().unwrap()), expected);
    }
    proxy.go_down();
    assert_eq!(told(watch, 3).await, "disconnected, resumed 4, events 5");
    assert_eq!(asked.lock().unwrap()[0].start, Some(Start::AfterRevision(4)));
}

#[tokio::test]
async fn half_a_snapshot_starts_again() {
    let (fake, _) = scripted([vec![created(5), events(5), cut()], vec![created(6), events(6), bookmark(6), events(7)]]);
    let watch = fake.client().await.watch().from_snapshot();
    let expected = "created 5, snapshot 5, disconnected, restarted 6, snapshot 6, bookmark 6, events 7";
    assert_eq!(told(watch.stream(), 7).await, expected);
}

#[tokio::test]
async fn what_waiting_does_not_cure_ends_a_watch() {
    let (fake, asked) = scripted([vec![Err(Status::out_of_range("compacted"))]]);
    let mut watch = fake.client().await.watch().after(1).stream();
    assert!(watch.try_next().await.unwrap_err().is_out_of_range());
    assert!(watch.try_next().await.unwrap().is_none());
    assert_eq!(asked.lock().unwrap().len(), 1);
}

/// It says that it is blind, and what is wrong, once, however often it tries.
#[tokio::test]
async fn a_watch_that_begins_before_the_registry_says_so() {
    let (fake, _) = scripted([vec![created(7), events(8)]]);
    let proxy = Proxy::to(fake.serve().await).await;
    proxy.go_down();
    let client = RegistryClient::builder(endpoints([proxy.address])).connect_lazy().unwrap();
    let mut watch = client.watch().stream();
    match watch.next().await.unwrap().unwrap() {
        WatchItem::Disconnected { reason } => {
            assert!(reason.starts_with(&format!("http://{}: ", proxy.address)), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    // It is at work as long as somebody waits for an item, and can be left at any time.
    for _ in 0..3 {
        tokio::select! {
            biased;
            item = watch.try_next() => panic!("{item:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    proxy.come_back();
    assert_eq!(told(watch, 2).await, "created 7, events 8");
}
