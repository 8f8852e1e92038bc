//! Several hundred watchers at once: each is told of everything, in order, and one that reads nothing harms nobody.

use futures::future::join_all;
use registry_client::known::event_type;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::watch_events_response::Response;
use registry_client::pb::{Stage, WatchEventsRequest, WatchEventsResponse};
use registry_tests::{TestServer, events_of, model, soon};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const MODEL: &str = "models/fraud";
const WATCHERS: usize = 300;
/// How many of them share a connection.
const STREAMS: usize = 64;
const PROMOTERS: usize = 8;
const PROMOTIONS: usize = 80;
/// What a connection takes for somebody who reads nothing.
const WINDOW: u32 = 65_535;

async fn watch(channel: Channel) -> Streaming<WatchEventsResponse> {
    let types = vec![event_type::VERSION_STAGE_TRANSITIONED.to_owned()];
    let request = WatchEventsRequest { parent: MODEL.to_owned(), types, ..Default::default() };
    let mut watch = EventServiceClient::new(channel).watch_events(request).await.unwrap().into_inner();
    // From here on it misses nothing.
    assert!(matches!(next(&mut watch).await, Response::Created(_)));
    watch
}

async fn next(watch: &mut Streaming<WatchEventsResponse>) -> Response {
    watch.message().await.unwrap().expect("a watch ends with a status").response.unwrap()
}

/// The names of the events in the order in which they come, until there are so many.
async fn read(mut watch: Streaming<WatchEventsResponse>, events: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < events {
        if let Response::Events(told) = next(&mut watch).await {
            names.extend(told.events.into_iter().map(|event| event.name));
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_one_of_many_watchers_is_told_of_everything() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, MODEL).await;
    let text = "x".repeat(1000);
    for _ in 0..2 * PROMOTERS {
        client.create_version(MODEL).description(&text).finalize(true).await.unwrap();
    }
    let narrow = Endpoint::from_shared(server.endpoint()).unwrap();
    let narrow = narrow.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let unread = watch(narrow.connect_lazy()).await;
    let channels: Vec<_> = (0..WATCHERS.div_ceil(STREAMS)).map(|_| server.channel()).collect();
    let watches = join_all((0..WATCHERS).map(|i| watch(channels[i % channels.len()].clone()))).await;
    // The first promotion has nobody to displace.
    let events = 2 * PROMOTIONS - 1;
    let readers: Vec<_> = watches.into_iter().map(|watch| tokio::spawn(read(watch, events))).collect();

    let promoters = (0..PROMOTERS).map(|promoter| {
        let client = client.clone();
        async move {
            for number in [1, 2].into_iter().cycle().take(PROMOTIONS / PROMOTERS) {
                let version = format!("{MODEL}/versions/{}", 2 * promoter + number);
                client.transition_stage(version, Stage::Production).await.unwrap();
            }
        }
    });
    soon(join_all(promoters)).await;
    let log = events_of(&client, MODEL).await;
    let moved = log.iter().filter(|event| event.r#type == event_type::VERSION_STAGE_TRANSITIONED);
    let moved: Vec<_> = moved.map(|event| event.name.clone()).collect();
    assert_eq!(moved.len(), events);
    for reader in readers {
        assert_eq!(soon(reader).await.unwrap(), moved);
    }
    assert_eq!(soon(read(unread, events)).await, moved, "it comes back");
}
