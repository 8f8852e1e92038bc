//! Streams over HTTP: as events of browsers, and as lines.

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use registry_tests::http::{begin, request, send};
use registry_tests::{TestServer, model, pending, soon};
use serde_json::Value as Json;

/// What has come of a stream.
struct Text {
    body: Incoming,
    text: String,
}

impl Text {
    fn of(response: Response<Incoming>, media_type: &str) -> Self {
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"].to_str().unwrap()),
            (200, &media_type)
        );
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body(), text: String::new() }
    }

    /// What comes up to an end, without it. `None` when there is no more.
    async fn up_to(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((next, rest)) = self.text.split_once(end) {
                let next = next.to_owned();
                self.text = rest.to_owned();
                return Some(next);
            }
            let frame = soon(self.body.frame()).await?.expect("the stream goes on");
            self.text += str::from_utf8(frame.data_ref().expect("bytes")).expect("text");
        }
    }

    /// The next event: what it is called, its id, and its data.
    async fn event(&mut self) -> Option<(String, Option<String>, Json)> {
        let event = self.up_to("\n\n").await?;
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        Some((
            field("event").expect("a name").to_owned(),
            field("id").map(str::to_owned),
            serde_json::from_str(field("data").expect("data")).unwrap(),
        ))
    }
}

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test]
async fn a_browser_goes_on_after_the_last_event_that_it_has() {
    let server = TestServer::start().await;
    let client = server.client();
    model(&client, "models/fraud").await;
    let opened = begin(server.address(), request("GET", "/v1/events:watch?afterRevision=0", &[EVENTS], "")).await;
    let mut events = Text::of(opened, "text/event-stream");
    let (name, id, _) = events.event().await.unwrap();
    assert_eq!(
        (name.as_str(), id),
        ("created", Some(format!("0-{}", "00".repeat(32)))),
        "there is an id from the begin on"
    );
    let (name, id, data) = events.event().await.unwrap();
    assert_eq!((name.as_str(), &data["revision"]), ("events", &Json::from("1")));
    let last = id.unwrap();
    assert!(last.starts_with("1-") && last.len() == 2 + 64, "{last}");
    drop(events);
    pending(&client, "models/fraud").await;
    // The address is the same, so it asks for the beginning: what it has counts.
    for last in [&*last, "1"] {
        let headers = [EVENTS, ("last-event-id", last)];
        let opened = begin(server.address(), request("GET", "/v1/events:watch?afterRevision=0", &headers, "")).await;
        let mut events = Text::of(opened, "text/event-stream");
        let (name, id, _) = events.event().await.unwrap();
        assert_eq!(name, "created");
        assert!(id.unwrap().starts_with("1-"));
        let (name, id, data) = events.event().await.unwrap();
        assert_eq!((name.as_str(), &data["events"][0]["type"]), ("events", &Json::from("version.created")));
        assert!(id.unwrap().starts_with("2-"));
    }
    // The revision is another one since the registry was restored.
    let other = format!("1-{}", "ab".repeat(32));
    let asked = request("GET", "/v1/events:watch", &[EVENTS, ("last-event-id", &*other)], "");
    let refused = send(server.address(), asked).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["details"][0]["reason"]),
        (400, &Json::from("HISTORY_CHANGED"))
    );
    for bad in ["x", "-1", "1-", "1-0g", "1-00", "99999999999999999999", "77"] {
        let asked = request("GET", "/v1/events:watch", &[EVENTS, ("last-event-id", bad)], "");
        assert_eq!(send(server.address(), asked).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_says_so_last() {
    let mut server = TestServer::start().await;
    model(&server.client(), "models/fraud").await;
    let path = "/v1/events:watch?after_revision=0";
    let mut events = Text::of(begin(server.address(), request("GET", path, &[EVENTS], "")).await, "text/event-stream");
    let mut lines = Text::of(begin(server.address(), request("GET", path, &[], "")).await, "application/x-ndjson");
    assert_eq!(events.event().await.unwrap().0, "created");
    let first: Json = serde_json::from_str(&lines.up_to("\n").await.unwrap()).unwrap();
    assert!(first["created"].is_object(), "{first}");
    let stopping = tokio::spawn(async move { server.stop().await });
    let mut last = events.event().await.unwrap();
    while let Some(event) = events.event().await {
        last = event;
    }
    assert_eq!((last.0.as_str(), last.2["error"]["status"].as_str()), ("error", Some("UNAVAILABLE")));
    assert!(last.2.to_string().contains("\"SERVER_DRAINING\""), "{last:?}");
    let mut end = Json::Null;
    while let Some(line) = lines.up_to("\n").await {
        end = serde_json::from_str(&line).unwrap();
    }
    assert_eq!(end["error"]["code"], 503);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ends_by_itself_has_all_of_its_messages() {
    let server = TestServer::start().await;
    model(&server.client(), "models/fraud").await;
    let asked = request("GET", "/v1/audit:export", &[], "");
    let mut lines = Text::of(begin(server.address(), asked).await, "application/x-ndjson");
    let mut count = 0;
    while let Some(line) = lines.up_to("\n").await {
        let message: Json = serde_json::from_str(&line).unwrap();
        assert!(message.get("error").is_none(), "{message}");
        count += 1;
    }
    assert!(count > 0);
}
