//! The event log, as a client with the limits that all have reads it.

use prost::Message as _;
use registry_proto::v1::event_service_client::EventServiceClient;
use registry_proto::v1::{Event, ListEventsRequest};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::descriptors::get;
use crate::server::TestServer;

/// Reads all events with the generated client, which takes messages of 4 MiB at most, and expects that they come out of it as
/// they went in, and that the registry finds nothing wrong with itself.
pub(crate) async fn is_readable(server: &TestServer) {
    let mut client = EventServiceClient::new(server.channel.clone());
    let mut request = ListEventsRequest { page_size: 1000, ..Default::default() };
    let (mut hash, mut revision) = (vec![0; 32], 0);
    loop {
        let page = client.list_events(request.clone()).await.expect("a page of events").into_inner();
        for event in page.events {
            assert!((revision..=revision + 1).contains(&event.revision), "{} after {revision}", event.name);
            revision = event.revision;
            // The hash covers the bytes as they were written.
            let bytes = Event { hash: Default::default(), ..event.clone() }.encode_to_vec();
            hash = Sha256::digest([hash, bytes].concat()).to_vec();
            assert_eq!(event.hash, hash, "{} can't be written as it was", event.name);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let verified = server.ok("Verify", json!({})).await;
    let report = get(&verified, "report").expect("a report");
    let problems = report.as_message().and_then(|report| get(report, "problem_count")?.as_i64());
    assert_eq!(problems, Some(0), "{report:?}");
}
