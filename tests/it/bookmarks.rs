//! Bookmarks: how far a watch is that has nothing to tell.

use std::time::Duration;

use registry_client::pb::WatchEventsRequest;
use registry_client::pb::event_service_client::EventServiceClient;
use registry_client::pb::watch_events_response::Response;
use registry_server::config::Period;
use registry_tests::{TestServer, model, ready, soon};

const MODEL: &str = "models/fraud";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_watch_s_cursor_moves_while_others_write() {
    let server = TestServer::with(|config| config.bookmark_every = Period(Duration::from_millis(100))).await;
    let client = server.client();
    model(&client, MODEL).await;
    client.create_namespace("quiet").await.unwrap();
    let request = WatchEventsRequest { parent: "namespaces/quiet".to_owned(), ..Default::default() };
    let mut watch = EventServiceClient::new(server.channel()).watch_events(request).await.unwrap().into_inner();
    let writing = tokio::spawn(async move {
        loop {
            ready(&client, MODEL).await;
        }
    });
    let mut cursors = Vec::new();
    while cursors.len() < 5 {
        if let Some(Response::Bookmark(bookmark)) = soon(watch.message()).await.unwrap().unwrap().response {
            cursors.push(bookmark.revision);
        }
    }
    writing.abort();
    assert!(cursors.is_sorted_by(|earlier, later| earlier < later), "{cursors:?}");
}
