//! The layers of `registry_client::resilience`, around services that do as a test says, and in a client.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use registry_client::pb::model_service_client::ModelServiceClient;
use registry_client::resilience::{
    BreakerLayer, BreakerPolicy, Budget, EndpointState, HedgeLayer, MetricsLayer, RetryLayer, TraceLayer,
};
use registry_client::{RegistryClient, pb};
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::codegen::{StdError, http};
use tonic::{Code, Request, Status};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use crate::fake::{Fake, client_of};

/// What a server does with a request, which was the so-maniest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Answers,
    /// With UNAVAILABLE.
    Refuses,
    Breaks,
    NotFound,
    /// Answers after so many milliseconds.
    Late(u64),
}
use Does::*;

type Scripted = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, StdError>;
/// The headers of each request.
type Seen = Arc<Mutex<Vec<http::HeaderMap>>>;

/// Answers GetModel, and CreateModel, and does so as the script says; behind its end, it answers. Counts the calls.
fn scripted(script: impl IntoIterator<Item = Does>) -> (Scripted, Seen) {
    let routes = Fake::default()
        .on(|request: Request<pb::GetModelRequest>| {
            Ok(pb::Model { name: request.into_inner().name, ..Default::default() })
        })
        .on(|_: Request<pb::CreateModelRequest>| Ok(pb::Model::default()))
        .routes();
    let script: Arc<Vec<_>> = Arc::new(script.into_iter().collect());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let service = service_fn(move |request: http::Request<Body>| {
        let does = {
            let mut calls = calls.lock().unwrap();
            calls.push(request.headers().clone());
            script.get(calls.len() - 1).copied().unwrap_or(Answers)
        };
        let routes = routes.clone();
        let answer: BoxFuture<'static, Result<http::Response<Body>, StdError>> = Box::pin(async move {
            match does {
                Refuses => return Ok(Status::unavailable("not now").into_http()),
                NotFound => return Ok(Status::not_found("no such model").into_http()),
                Breaks => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
                Late(ms) => sleep(Duration::from_millis(ms)).await,
                Answers => {}
            }
            Ok(routes.oneshot(request).await?)
        });
        answer
    });
    (BoxCloneSyncService::new(service), seen)
}

fn get() -> pb::GetModelRequest {
    pb::GetModelRequest { name: "models/fraud".to_owned(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_plain_client_repeats_what_is_safe_as_often_as_it_may() {
    // What the server does, how often it is asked for a read, and how that ends.
    for (script, calls, code) in [
        (&[Refuses, Breaks][..], 3, Code::Ok),
        (&[Refuses, Refuses, Refuses, Refuses], 3, Code::Unavailable),
        (&[NotFound], 1, Code::NotFound),
        (&[], 1, Code::Ok),
    ] {
        let (service, seen) = scripted(script.iter().copied());
        let mut client = ModelServiceClient::new(RetryLayer::default().layer(service));
        let ended = client.get_model(get()).await;
        let ended = ended.map_or_else(
            |status| status.code(),
            |answer| {
                assert_eq!(answer.get_ref().name, "models/fraud", "the request is the same");
                Code::Ok
            },
        );
        assert_eq!((ended, seen.lock().unwrap().len()), (code, calls), "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mutation_is_repeated_under_an_id_or_not_at_all() {
    for (layer, calls) in [(RetryLayer::default(), 1), (RetryLayer::default().give_request_ids(), 3)] {
        let (service, seen) = scripted([Refuses, Breaks]);
        let mut client = ModelServiceClient::new(layer.layer(service));
        let ended = client.create_model(pb::CreateModelRequest::default()).await;
        assert_eq!(ended.is_ok(), calls == 3);
        let seen = seen.lock().unwrap();
        let ids: HashSet<_> = seen.iter().map(|headers| headers.get("x-registry-request-id")).collect();
        assert_eq!((seen.len(), ids.len()), (calls, 1));
        assert_eq!(ids.contains(&None), calls == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_no_more_than_the_budget() {
    const CALLS: usize = 1000;
    for (budget, calls) in [(Budget::new(0.1, 0), CALLS + CALLS / 10), (Budget::new(0.0, 0), CALLS)] {
        let (service, seen) = scripted(std::iter::repeat_n(Refuses, 3 * CALLS));
        let layer = RetryLayer::default().budget(budget).pauses(Duration::ZERO, Duration::ZERO);
        let mut client = ModelServiceClient::new(layer.layer(service));
        for _ in 0..CALLS {
            client.get_model(get()).await.unwrap_err();
        }
        assert_eq!(seen.lock().unwrap().len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_be_held_is_sent_once_and_whole() {
    let (service, seen) = scripted([Answers, Refuses]);
    let mut client = ModelServiceClient::new(RetryLayer::default().hold(100).layer(service));
    let large = pb::GetModelRequest { name: "m".repeat(1000), ..Default::default() };
    assert_eq!(client.get_model(large.clone()).await.unwrap().into_inner().name, large.name);
    assert_eq!(client.get_model(large).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_leaves_an_endpoint_alone_until_a_trial_is_answered() {
    let (service, seen) = scripted([Refuses, Breaks, Refuses, NotFound]);
    let policy = BreakerPolicy { failures: 2, ..BreakerPolicy::default() };
    let mut client = ModelServiceClient::new(BreakerLayer::new(policy).layer(service));
    // How many milliseconds later it is called, how often the endpoint was called then, and what came of it.
    for (ms, calls, code) in [
        (0, 1, Code::Unavailable),
        (0, 2, Code::Unknown),
        // Open.
        (0, 2, Code::Unavailable),
        (49, 2, Code::Unavailable),
        // The trial fails; the pause is twice as long.
        (51, 3, Code::Unavailable),
        (99, 3, Code::Unavailable),
        // An answer of any kind closes it.
        (101, 4, Code::NotFound),
        (0, 5, Code::Ok),
    ] {
        tokio::time::advance(Duration::from_millis(ms)).await;
        let ended = client.get_model(get()).await.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!((seen.lock().unwrap().len(), ended), (calls, code), "{ms} ms later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_late_is_asked_twice_and_the_first_answer_counts() {
    let hedge = || HedgeLayer::default().after(Duration::from_millis(50)).budget(Budget::new(0.0, 1));
    // What the server does with the first calls, how often it is asked, and after how many milliseconds there is an answer.
    for (script, calls, ms) in [
        (&[Late(40)][..], 1, 40),
        (&[Late(500), Late(10)], 2, 60),
        (&[Late(70), Late(500)], 2, 70),
        // Who can't answer is not waited for, and does not answer for the other.
        (&[Late(500), Refuses], 2, 500),
    ] {
        let (service, seen) = scripted(script.iter().copied());
        let mut client = ModelServiceClient::new(hedge().layer(service));
        let start = Instant::now();
        client.get_model(get()).await.unwrap();
        assert_eq!((seen.lock().unwrap().len(), start.elapsed().as_millis()), (calls, ms), "{script:?}");
    }
    let (service, seen) = scripted([Late(500)]);
    ModelServiceClient::new(hedge().layer(service)).create_model(pb::CreateModelRequest::default()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1, "only reads are asked twice");
}

#[tokio::test(start_paused = true)]
async fn late_is_what_took_longer_than_most_and_few_are_asked_twice() {
    // Each tenth call takes a hundred times as long.
    let script = (0..1100).map(|call| Late(if call % 10 == 9 { 100 } else { 1 }));
    let (service, seen) = scripted(script);
    let mut client = ModelServiceClient::new(HedgeLayer::default().layer(service));
    for _ in 0..1000 {
        client.get_model(get()).await.unwrap();
    }
    let more = seen.lock().unwrap().len() - 1000;
    assert!(more <= 50, "{more} of 1000 were asked twice");
}

#[tokio::test(start_paused = true)]
async fn a_client_asks_another_server_when_one_is_late() {
    let ((slow, of_slow), (quick, of_quick)) = (scripted([Late(10_000); 8]), scripted([]));
    let hedge = HedgeLayer::default().after(Duration::from_millis(50)).budget(Budget::new(0.0, 100));
    let builder = RegistryClient::with_service(slow).service(quick).hedge(hedge);
    let client = builder.connect_lazy().unwrap();
    let start = Instant::now();
    for _ in 0..8 {
        client.get_model("fraud").await.unwrap();
    }
    assert_eq!(start.elapsed().as_millis(), 4 * 50, "half of them go to the slow one first");
    assert_eq!((of_slow.lock().unwrap().len(), of_quick.lock().unwrap().len()), (4, 8));
}

#[tokio::test]
async fn a_token_from_a_file_goes_with_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let builder = || RegistryClient::with_service(scripted([]).0).token_file(&path);
    let error = builder().connect_lazy().unwrap_err();
    assert!(error.to_string().starts_with("token_file"), "{error}");
    std::fs::write(&path, "secret\n").unwrap();
    let (service, seen) = scripted([]);
    let client = RegistryClient::with_service(service).token_file(&path).connect_lazy().unwrap();
    client.get_model("fraud").await.unwrap();
    assert_eq!(seen.lock().unwrap()[0]["authorization"], "Bearer secret");
}

#[test]
fn calls_are_counted_by_method_and_code() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (service, _) = scripted([Answers, NotFound, Late(250), Breaks, Late(1000)]);
            let mut client = ModelServiceClient::new(MetricsLayer::default().layer(service));
            for _ in 0..4 {
                let _ = client.get_model(get()).await;
            }
            // Nobody waits for the fifth.
            let _ = tokio::time::timeout(Duration::from_millis(10), client.get_model(get())).await;
        });
    });
    let (mut counts, mut seconds) = (Vec::new(), 0.0);
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        match value {
            DebugValue::Counter(count) => {
                assert_eq!(key.key().name(), "registry_client_calls_total");
                assert_eq!(labels[0], "modelregistry.v1.ModelService/GetModel");
                counts.push((labels[1].clone(), count));
            }
            DebugValue::Histogram(values) => seconds += values.iter().map(|value| value.into_inner()).sum::<f64>(),
            DebugValue::Gauge(_) => unreachable!("there is none"),
        }
    }
    counts.sort();
    let expected = [("CANCELLED", 1), ("NOT_FOUND", 1), ("OK", 2), ("UNAVAILABLE", 1)];
    assert_eq!(counts, expected.map(|(code, count)| (code.to_owned(), count)));
    assert!((0.25..0.27).contains(&(seconds)), "{seconds}");
}

/// The trace and the span of a `traceparent`.
fn trace(headers: &http::HeaderMap) -> (String, String) {
    let text = headers["traceparent"].to_str().unwrap();
    let fields: Vec<_> = text.split('-').collect();
    assert!(fields[0] == "00" && fields[3] == "01", "{text}");
    (fields[1].to_owned(), fields[2].to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_call_are_spans_of_one_trace() {
    let (service, seen) = scripted([Refuses, Answers]);
    let client = RegistryClient::with_service(service).trace().connect_lazy().unwrap();
    client.get_model("fraud").await.unwrap();
    client.get_model("fraud").await.unwrap();
    let traces: Vec<_> = seen.lock().unwrap().iter().map(trace).collect();
    assert!(traces[0].0 == traces[1].0 && traces[0].1 != traces[1].1, "{traces:?}");
    assert_ne!(traces[1].0, traces[2].0, "another call, another trace");

    // What the request brings is kept.
    let (service, seen) = scripted([]);
    let mut request = Request::new(get());
    let brought = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.metadata_mut().insert("traceparent", brought.parse().unwrap());
    ModelServiceClient::new(TraceLayer::default().layer(service)).get_model(request).await.unwrap();
    let (trace, span) = trace(&seen.lock().unwrap()[0]);
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(span, "00f067aa0ba902b7");
}

#[tokio::test]
async fn a_client_shows_which_servers_are_in_use() {
    let serves = Fake::default().on(|_: Request<pb::GetModelRequest>| Ok(pb::Model::default())).serve().await;
    let gone = crate::fake::nobody();
    let client = client_of([gone, serves]);
    let states =
        |client: &RegistryClient| client.endpoints().into_iter().map(|server| server.state).collect::<Vec<_>>();
    assert_eq!(states(&client), [EndpointState::InUse; 2]);
    client.get_model("fraud").await.unwrap();
    assert_ne!(states(&client)[0], EndpointState::InUse);
    assert_eq!(states(&client)[1], EndpointState::InUse);
    assert_eq!(client.endpoints()[1].name, format!("http://{serves}"));
}

/// However many calls wait, the server hears of few of them until it is back.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_do_not_call() {
    let (server, back) = (Arc::new(AtomicUsize::new(0)), Duration::from_secs(10));
    let (calls, start) = (Arc::clone(&server), Instant::now());
    let (answers, _) = scripted([]);
    let service = service_fn(move |request: http::Request<Body>| {
        calls.fetch_add(1, Ordering::Relaxed);
        let answers = answers.clone();
        async move {
            if start.elapsed() < back {
                return Ok(Status::unavailable("not now").into_http());
            }
            answers.oneshot(request).await
        }
    });
    let client = RegistryClient::with_service(service).connect_lazy().unwrap();
    let waiting: Vec<_> = (0..500).map(|_| tokio::spawn(client.get_model("fraud").send())).collect();
    sleep(back - Duration::from_millis(1)).await;
    let (first, trials) = (500, 5 + 2 * 10);
    assert!(server.load(Ordering::Relaxed) <= first + trials, "{server:?}");
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    assert!(start.elapsed() < back + Duration::from_secs(3), "{:?}", start.elapsed());
}
