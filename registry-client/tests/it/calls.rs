use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future;
use registry_client::{Error, RegistryClient, RetryPolicy, pb};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::fake::{Fake, Proxy, client, endpoints, nobody};

#[tokio::test]
async fn a_mutation_is_repeated_with_its_request_id() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let ids = Arc::clone(&seen);
    let fake = Fake::default().on(move |request: Request<pb::CreateModelRequest>| {
        assert_eq!(request.metadata().get("x-registry-actor").unwrap(), "tester");
        assert!(request.metadata().contains_key("grpc-timeout"));
        let mut ids = ids.lock().unwrap();
        ids.push(request.into_inner().request_id);
        if ids.len() < 3 { Err(Status::unavailable("not yet")) } else { Ok(pb::Model::default()) }
    });
    fake.client().await.create_model("models/fraud").owner("risk").await.unwrap();

    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(Uuid::parse_str(&seen[0]).is_ok() && seen.iter().all(|id| *id == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_request_id_of_the_caller_is_kept() {
    let id = Uuid::now_v7();
    let fake = Fake::default().on(move |request: Request<pb::DeleteModelRequest>| {
        let expected = pb::DeleteModelRequest {
            name: "models/fraud".to_owned(),
            etag: "e".to_owned(),
            force: true,
            request_id: id.to_string(),
            validate_only: true,
        };
        assert_eq!(request.into_inner(), expected);
        Ok(pb::Model::default())
    });
    let client = fake.client().await;
    client.delete_model("models/fraud").etag("e").force(true).request_id(id).validate_only(true).await.unwrap();
}

/// Fails the first so many calls, and counts all.
fn failing(first: usize) -> (Fake, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let fake = Fake::default().on(move |_: Request<pb::GetModelRequest>| {
        if counter.fetch_add(1, Ordering::Relaxed) < first {
            return Err(Status::unavailable("down"));
        }
        Ok(pb::Model::default())
    });
    (fake, calls)
}

#[tokio::test]
async fn retries_end_with_the_patience() {
    let (fake, calls) = failing(usize::MAX);
    let ms = Duration::from_millis(1);
    let retry = RetryPolicy { patience: 100 * ms, initial_backoff: ms, max_backoff: ms };
    let client = RegistryClient::builder(endpoints([fake.serve().await])).retry(retry).connect().await.unwrap();
    let (start, error) = (Instant::now(), client.get_model("models/fraud").await.unwrap_err());
    assert!(error.is_unavailable(), "{error:?}");
    assert!(start.elapsed() >= 90 * ms, "{:?}", start.elapsed());
    assert!(calls.load(Ordering::Relaxed) > 2);
}

/// A call's time for an answer is one thing, the time in which the registry may come back another one.
#[tokio::test]
async fn a_call_has_its_time_for_an_answer_behind_the_patience() {
    let (fake, _) = failing(3);
    let address = fake.serve().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let timeouts = Arc::clone(&seen);
    let see = move |request: Request<()>| {
        let timeout = request.metadata().get("grpc-timeout").unwrap().to_str().unwrap();
        let (number, unit) = timeout.split_at(timeout.len() - 1);
        let unit = if unit == "u" { 1_000_000 } else { 1_000 };
        timeouts.lock().unwrap().push(number.parse::<u64>().unwrap().div_ceil(unit));
        Ok(request)
    };
    let client = || RegistryClient::builder(endpoints([address])).interceptor(see.clone());
    client().connect_lazy().unwrap().get_model("models/fraud").await.unwrap();
    // Seconds, of which some milliseconds are over.
    assert_eq!(*seen.lock().unwrap(), [30; 4]);
    let hour = Duration::from_secs(3600);
    client().timeout(hour).connect_lazy().unwrap().get_model("models/fraud").await.unwrap();
    client().retry_for(Duration::MAX).connect_lazy().unwrap().get_model("models/fraud").await.unwrap();
    assert_eq!(seen.lock().unwrap()[4..], [3600, 30]);
}

#[tokio::test]
async fn the_first_connection_waits_for_the_registry_and_so_do_calls() {
    let address = nobody();
    let ms = Duration::from_millis(1);
    let retry = RetryPolicy { patience: Duration::MAX, initial_backoff: ms, max_backoff: 20 * ms };
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = RegistryClient::builder(endpoints([address])).retry(retry);
    let builder = builder.on_outage(move |outage| tell.send(outage.to_string()).unwrap());
    let lazy = builder.clone().connect_lazy().unwrap();
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(lazy.get_model("models/fraud").send())).collect();
    let connecting = tokio::spawn(builder.connect());
    // Once for each client.
    for _ in 0..2 {
        let expected = format!("http://{address} is not available (Connection refused), trying until that changes");
        assert_eq!(told.recv().await.unwrap(), expected);
    }
    assert!(told.try_recv().is_err());
    let (fake, answered) = failing(0);
    fake.serve_on(TcpListener::bind(address).await.unwrap(), future::pending());
    connecting.await.unwrap().unwrap().get_model("models/fraud").await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(answered.load(Ordering::Relaxed), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_is_replaced_and_the_call_repeated() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::default().on(move |request: Request<pb::UpdateModelRequest>| {
        called.send(request.into_inner().request_id).unwrap();
        // Answers the first call only after its connection is gone.
        wait.lock().unwrap().recv().unwrap();
        Ok(pb::Model::default())
    });
    let proxy = Proxy::to(fake.serve().await).await;
    let client = client(proxy.address).await;

    let call = tokio::spawn(client.update_model(pb::Model::default()).send());
    let first = calls.recv().await.unwrap();
    proxy.cut();
    release.send(()).unwrap();
    release.send(()).unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(calls.recv().await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let fake = Fake::default().on(move |_: Request<pb::GetModelRequest>| {
        // Ends when the test drops the other side. What waits for this thread, the deadline perhaps, goes on elsewhere.
        let _ = tokio::task::block_in_place(|| wait.lock().unwrap().recv());
        Ok(pb::Model::default())
    });
    let endpoint = format!("http://{}", fake.serve().await);
    let client = RegistryClient::builder(endpoint).timeout(Duration::from_millis(50)).connect().await.unwrap();
    let error = client.get_model("models/fraud").await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    drop(release);
}

#[tokio::test]
async fn a_list_is_streamed_page_by_page() {
    let fake = Fake::default().on(|request: Request<pb::ListModelsRequest>| {
        let request = request.into_inner();
        assert_eq!((request.parent.as_str(), request.page_size), ("namespaces/risk", 2));
        let (names, next): (&[&str], _) = match request.page_token.as_str() {
            "" => (&["a", "b"], "1"),
            // A page may be empty and not the last.
            "1" => (&[], "2"),
            "2" => (&["c"], ""),
            token => panic!("{token}"),
        };
        let models = names.iter().map(|name| pb::Model { name: (*name).to_owned(), ..Default::default() }).collect();
        Ok(pb::ListModelsResponse { models, next_page_token: next.to_owned(), ..Default::default() })
    });
    let list = fake.client().await.list_models().parent("namespaces/risk").page_size(2);
    let models: Vec<_> = list.stream().try_collect().await.unwrap();
    assert_eq!(models.iter().map(|model| model.name.as_str()).collect::<String>(), "abc");
}

#[tokio::test]
async fn a_list_ends_with_its_first_error() {
    let fake =
        Fake::default().on(|request: Request<pb::ListEventsRequest>| match request.into_inner().page_token.as_str() {
            "" => Ok(pb::ListEventsResponse { events: vec![pb::Event::default()], next_page_token: "1".to_owned() }),
            _ => Err(Status::invalid_argument("page_token")),
        });
    let mut events = fake.client().await.list_events().stream();
    assert!(events.try_next().await.unwrap().is_some());
    assert!(events.try_next().await.unwrap_err().is_invalid_argument());
    assert!(events.try_next().await.unwrap().is_none());
}
