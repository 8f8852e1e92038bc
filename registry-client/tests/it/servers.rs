//! Several servers of one registry.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use registry_client::{Error, RegistryClient, pb};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tonic::{Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Fake, Proxy, client_of, endpoints, impatient, nobody};

/// How many calls reached a server.
type Count = Arc<AtomicUsize>;

fn read(count: &Count) -> usize {
    count.load(Ordering::Relaxed)
}

/// Answers every GetModel, and every CreateModel, and counts them.
fn counting() -> (Fake, Count) {
    let count = Count::default();
    let (gets, creates) = (Arc::clone(&count), Arc::clone(&count));
    let answer = |count: &Count| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(pb::Model::default())
    };
    let fake = Fake::default()
        .on(move |_: Request<pb::GetModelRequest>| answer(&gets))
        .on(move |_: Request<pb::CreateModelRequest>| answer(&creates));
    (fake, count)
}

async fn get(client: &RegistryClient) -> Result<pb::Model, Error> {
    client.get_model("models/fraud").await
}

/// Calls until it is so.
async fn get_until(client: &RegistryClient, so: impl Fn() -> bool) {
    let calls = async {
        while !so() {
            get(client).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), calls).await.expect("it comes to that");
}

#[tokio::test]
async fn calls_take_turns() {
    let (fakes, counts): (Vec<_>, Vec<_>) = (0..3).map(|_| counting()).unzip();
    let servers = join_all(fakes.into_iter().map(Fake::serve)).await;
    let client = client_of(servers.clone());
    for _ in 0..30 {
        get(&client).await.unwrap();
    }
    assert_eq!(counts.iter().map(read).collect::<Vec<_>>(), [10, 10, 10]);

    // One that makes a connection first uses the others once they have answered.
    let client = impatient(servers).await;
    get_until(&client, || counts.iter().all(|count| read(count) > 10)).await;
}

#[tokio::test]
async fn a_list_of_servers_may_be_given_in_parts() {
    let (fakes, counts): (Vec<_>, Vec<_>) = (0..3).map(|_| counting()).unzip();
    let servers = join_all(fakes.into_iter().map(Fake::serve)).await;
    let one = endpoints([servers[0]]);
    let client = RegistryClient::builder(format!(" {one} , {}, {one},", endpoints([servers[1]])));
    let client = client.endpoint(endpoints([servers[2]])).connect_lazy().unwrap();
    for _ in 0..30 {
        get(&client).await.unwrap();
    }
    assert_eq!(counts.iter().map(read).collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over() {
    let (fake, count) = counting();
    let servers = [nobody(), fake.serve().await, nobody()];
    for client in [client_of(servers), impatient(servers).await] {
        let before = read(&count);
        for _ in 0..20 {
            get(&client).await.unwrap();
        }
        assert_eq!(read(&count), before + 20);
    }
}

/// Sixteen callers, half of whose calls change something. After so many calls, something happens.
async fn under_calls(client: RegistryClient, counts: &[Count], happens: impl FnOnce()) {
    const CALLS: usize = 3200;
    let caller = |_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..CALLS / 32 {
                get(&client).await?;
                client.create_model("models/fraud").await?;
            }
            Ok::<_, Error>(())
        })
    };
    let callers: Vec<_> = (0..16).map(caller).collect();
    while counts.iter().map(read).sum::<usize>() < CALLS / 4 {
        yield_now().await;
    }
    happens();
    for result in try_join_all(callers).await.unwrap() {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_when_a_server_goes_away() {
    let (fakes, counts): (Vec<_>, Vec<_>) = (0..3).map(|_| counting()).unzip();
    let mut proxies = Vec::new();
    for fake in fakes {
        proxies.push(Proxy::to(fake.serve().await).await);
    }
    let client = impatient(proxies.iter().map(|proxy| proxy.address)).await;
    get_until(&client, || counts.iter().all(|count| read(count) > 0)).await;
    under_calls(client, &counts, || proxies[1].go_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_when_a_server_stops_in_good_order() {
    let (fakes, counts): (Vec<_>, Vec<_>) = (0..3).map(|_| counting()).unzip();
    let (mut servers, mut stops) = (Vec::new(), Vec::new());
    for fake in fakes {
        let (stop, stopped) = oneshot::channel::<()>();
        servers.push(fake.serve_until(async { drop(stopped.await) }).await);
        stops.push(stop);
    }
    let client = impatient(servers).await;
    get_until(&client, || counts.iter().all(|count| read(count) > 0)).await;
    under_calls(client, &counts, || stops.remove(1).send(()).unwrap()).await;
}

#[tokio::test]
async fn a_mutation_goes_elsewhere_under_its_request_id() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = |name: &'static str, available: bool| {
        let seen = Arc::clone(&seen);
        Fake::default().on(move |request: Request<pb::CreateModelRequest>| {
            seen.lock().unwrap().push((name, request.into_inner().request_id));
            // However long the one asks to be left alone, the other is asked at once.
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3600)));
            let refusal = Status::with_error_details(tonic::Code::Unavailable, "draining", details);
            if available { Ok(pb::Model::default()) } else { Err(refusal) }
        })
    };
    let (one, two) = (server("one", false), server("two", true));
    client_of([one.serve().await, two.serve().await]).create_model("models/fraud").await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["one", "two"]);
    assert!(!seen[0].1.is_empty() && seen[0].1 == seen[1].1, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_whose_answer_is_lost_goes_elsewhere_under_its_request_id() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (wait, called_too) = (Mutex::new(wait), called.clone());
    let one = Fake::default().on(move |request: Request<pb::UpdateModelRequest>| {
        called.send(request.into_inner().request_id).unwrap();
        // Answers only after the connection is gone.
        wait.lock().unwrap().recv().unwrap();
        Ok(pb::Model::default())
    });
    let two = Fake::default().on(move |request: Request<pb::UpdateModelRequest>| {
        called_too.send(request.into_inner().request_id).unwrap();
        Ok(pb::Model::default())
    });
    let proxy = Proxy::to(one.serve().await).await;
    let client = client_of([proxy.address, two.serve().await]);
    let call = tokio::spawn(client.update_model(pb::Model::default()).send());
    let first = calls.recv().await.unwrap();
    proxy.go_down();
    call.await.unwrap().unwrap();
    assert_eq!(calls.recv().await.unwrap(), first);
    release.send(()).unwrap();
}

#[tokio::test]
async fn without_patience_everybody_is_asked_once() {
    let counts: Vec<_> = (0..3).map(|_| Count::default()).collect();
    let mut servers = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        let fake = Fake::default().on(move |_: Request<pb::GetModelRequest>| {
            count.fetch_add(1, Ordering::Relaxed);
            Err::<pb::Model, _>(Status::unavailable("down"))
        });
        servers.push(fake.serve().await);
    }
    let client = impatient(servers).await;
    let error = get(&client).await.unwrap_err();
    assert_eq!(error.status().map(|status| status.message.as_str()), Some("down"), "{error:?}");
    assert_eq!(counts.iter().map(read).collect::<Vec<_>>(), [1, 1, 1]);

    let nobody = RegistryClient::builder(endpoints([nobody(), nobody()])).retry_for(Duration::ZERO);
    let client = nobody.connect_lazy().unwrap();
    let error = get(&client).await.unwrap_err();
    assert!(matches!(error, Error::Transport(_)) && error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let ((one, of_one), (two, of_two)) = (counting(), counting());
    let proxy = Proxy::to(one.serve().await).await;
    let client = client_of([proxy.address, two.serve().await]);
    get_until(&client, || read(&of_one) > 0 && read(&of_two) > 0).await;
    proxy.go_down();
    let before = read(&of_two);
    get_until(&client, || read(&of_two) > before + 20).await;

    proxy.come_back();
    let before = read(&of_one);
    get_until(&client, || read(&of_one) > before).await;
    // Its share is its own again.
    let before = (read(&of_one), read(&of_two));
    for _ in 0..20 {
        get(&client).await.unwrap();
    }
    assert_eq!((read(&of_one), read(&of_two)), (before.0 + 10, before.1 + 10));
}

#[tokio::test]
async fn a_server_that_says_it_does_not_serve_is_not_used() {
    let (asked, called, serving) = (Count::default(), Count::default(), Arc::new(AtomicBool::new(false)));
    let (checks, calls) = (Arc::clone(&asked), Arc::clone(&called));
    let (healthy, able) = (Arc::clone(&serving), Arc::clone(&serving));
    let one = Fake::default()
        .on(move |_: Request<HealthCheckRequest>| {
            checks.fetch_add(1, Ordering::Relaxed);
            let serving = healthy.load(Ordering::Relaxed);
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            Ok(HealthCheckResponse { status: status.into() })
        })
        .on(move |_: Request<pb::GetModelRequest>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let serving = able.load(Ordering::Relaxed);
            if serving { Ok(pb::Model::default()) } else { Err(Status::unavailable("no database")) }
        });
    let (two, _) = counting();
    let client = client_of([one.serve().await, two.serve().await]);
    get_until(&client, || read(&asked) >= 3).await;
    assert_eq!(read(&called), 1);

    serving.store(true, Ordering::Relaxed);
    get_until(&client, || read(&called) > 1).await;
}
