//! A registry of several servers, in simulated time, and callers of it. The client is the real one, over services in place of connections.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use registry_client::rpc::Request as _;
use registry_client::{Error, RegistryClient, pb};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::{ServiceExt, service_fn};

use crate::fake::Fake;

/// After so long the client's keep-alive finds a connection dead on which nothing is answered.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answers, within ten milliseconds.
    Up,
    /// There is no connection.
    Gone,
    /// It answers `UNAVAILABLE`, and says that it does not serve.
    Refuses,
    /// It answers `UNAVAILABLE`, and says that it serves.
    Lies,
    /// It answers nothing, until the connection is found dead. Half of the mutations happen all the same.
    Hangs,
    /// It does what it is asked for, and the connection breaks before the answer.
    LosesAnswers,
}

pub(super) const FAILURES: [Condition; 5] =
    [Condition::Gone, Condition::Refuses, Condition::Lies, Condition::Hangs, Condition::LosesAnswers];

/// How a server is from which moment on, in milliseconds from the start. Before the first one it is up.
pub(super) type Schedule = Vec<(u64, Condition)>;

/// What a simulation is about.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) servers: Vec<Schedule>,
    /// How long calls are made, in milliseconds.
    pub(super) ms: u64,
    pub(super) calls_per_second: u64,
    /// How long each call waits for the registry, at random.
    pub(super) patience: Vec<Duration>,
}

/// A call, and what became of it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) patience: Duration,
    pub(super) is_mutation: bool,
    pub(super) result: Result<(), Error>,
}

/// A call that arrived at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) call: String,
    pub(super) at: Duration,
}

/// What was seen of a simulation.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) calls: Vec<Call>,
    pub(super) attempts: Vec<Attempt>,
    /// When a server was asked for its health.
    pub(super) probes: Vec<Duration>,
    /// How often each mutation took effect.
    pub(super) effects: BTreeMap<String, usize>,
    /// How many arrived again after they had taken effect.
    pub(super) repeated: usize,
}

#[derive(Default)]
struct Seen {
    attempts: Vec<Attempt>,
    probes: Vec<Duration>,
    effects: BTreeMap<String, usize>,
    repeated: usize,
    /// What was done under each request id, as all servers of a registry know it.
    done: HashMap<String, pb::Model>,
}

/// What all servers have in common.
#[derive(Clone)]
struct World {
    start: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl World {
    fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// What a server does when it works. A mutation that was done is not done again.
    fn registry(&self) -> Routes {
        let world = self.clone();
        let create = move |request: Request<pb::CreateModelRequest>| {
            let pb::CreateModelRequest { model_id, request_id, .. } = request.into_inner();
            assert!(!request_id.is_empty(), "every mutation has one");
            let mut seen = world.seen.lock().unwrap();
            if let Some(model) = seen.done.get(&request_id).cloned() {
                seen.repeated += 1;
                return Ok(model);
            }
            *seen.effects.entry(model_id.clone()).or_default() += 1;
            let model = pb::Model { name: format!("models/{model_id}"), ..Default::default() };
            seen.done.insert(request_id, model.clone());
            Ok(model)
        };
        let get = |request: Request<pb::GetModelRequest>| {
            Ok(pb::Model { name: request.into_inner().name, ..Default::default() })
        };
        let health = |_: Request<HealthCheckRequest>| Ok(HealthCheckResponse { status: ServingStatus::Serving.into() });
        Fake::default().on(create).on(get).on(health).routes()
    }

    /// A server that is as its schedule says.
    fn server(
        &self,
        schedule: &Schedule,
        seed: u64,
    ) -> impl Service<http::Request<Body>, Response = http::Response<Body>, Error = StdError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        let (world, registry, schedule) = (self.clone(), self.registry(), Arc::new(schedule.clone()));
        let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        service_fn(move |request: http::Request<Body>| {
            let (world, registry, schedule, rng) =
                (world.clone(), registry.clone(), Arc::clone(&schedule), Arc::clone(&rng));
            async move {
                let (takes, happens) = {
                    let mut rng = rng.lock().unwrap();
                    (Duration::from_millis(rng.random_range(1..=10)), rng.random_bool(0.5))
                };
                let is_probe = request.uri().path().starts_with("/grpc.health");
                let (request, call) = named(request).await?;
                let at = world.age();
                match is_probe {
                    true => world.seen.lock().unwrap().probes.push(at),
                    false => world.seen.lock().unwrap().attempts.push(Attempt { call, at }),
                }
                let condition = || {
                    let now = world.age().as_millis() as u64;
                    schedule.iter().rev().find(|(ms, _)| *ms <= now).map_or(Condition::Up, |(_, condition)| *condition)
                };
                let refused = || Ok(Status::unavailable("not now").into_http());
                let broken =
                    || Err::<http::Response<Body>, StdError>(io::Error::from(io::ErrorKind::ConnectionReset).into());
                let answered = async |request| {
                    let answer: Result<_, Infallible> = registry.clone().oneshot(request).await;
                    answer
                };
                match condition() {
                    Condition::Gone => return broken(),
                    Condition::Refuses => return refused(),
                    Condition::Lies if !is_probe => return refused(),
                    Condition::LosesAnswers if !is_probe => {
                        answered(request).await?;
                        return broken();
                    }
                    Condition::Hangs => {
                        sleep(KEEP_ALIVE).await;
                        if happens {
                            answered(request).await?;
                        }
                        return broken();
                    }
                    Condition::Up | Condition::Lies | Condition::LosesAnswers => {}
                }
                sleep(takes).await;
                // It may have gone meanwhile, with the work done or not.
                if condition() == Condition::Gone {
                    if happens {
                        answered(request).await?;
                    }
                    return broken();
                }
                Ok(answered(request).await?.map(Body::new))
            }
        })
    }
}

/// Which call a request belongs to: each is about a model of its own.
async fn named(request: http::Request<Body>) -> Result<(http::Request<Body>, String), StdError> {
    let (parts, body) = request.into_parts();
    let bytes: Bytes = body.collect().await?.to_bytes();
    let message = bytes.slice(5..);
    let name = match parts.uri.path() {
        pb::CreateModelRequest::PATH => pb::CreateModelRequest::decode(message)?.model_id,
        pb::GetModelRequest::PATH => pb::GetModelRequest::decode(message)?.name.replace("models/", ""),
        _ => String::new(),
    };
    Ok((http::Request::from_parts(parts, Body::new(Full::new(bytes))), name))
}

/// Runs a scenario in simulated time. The same seed gives the same calls and the same servers; the client's own jitter differs.
pub(super) fn simulate(scenario: &Scenario, seed: u64) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(scenario, seed))
}

async fn run(scenario: &Scenario, seed: u64) -> Report {
    let world = World { start: Instant::now(), seen: Arc::default() };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut servers = scenario.servers.iter().map(|schedule| world.server(schedule, rng.random()));
    let builder = RegistryClient::with_service(servers.next().expect("there is a server"));
    let builder = servers.fold(builder, |builder, server| builder.service(server));
    // Those that differ in patience are of one program: clones of one builder share the budget.
    let clients: Vec<_> =
        scenario.patience.iter().map(|patience| (*patience, builder.clone().retry_for(*patience))).collect();
    let clients: Vec<_> =
        clients.into_iter().map(|(patience, builder)| (patience, builder.connect_lazy().unwrap())).collect();
    let count = scenario.ms * scenario.calls_per_second / 1000;
    let mut calls = JoinSet::new();
    for id in 0..count {
        let (patience, client) = clients[rng.random_range(0..clients.len())].clone();
        let at = world.start + Duration::from_millis(rng.random_range(0..scenario.ms));
        let is_mutation = rng.random_bool(0.5);
        let world = world.clone();
        calls.spawn(async move {
            sleep_until(at).await;
            let (id, start) = (format!("m{id}"), world.age());
            let result = match is_mutation {
                true => client.create_model(format!("models/{id}")).await,
                false => client.get_model(format!("models/{id}")).await,
            };
            Call { id, start, end: world.age(), patience, is_mutation, result: result.map(drop) }
        });
    }
    let calls = calls.join_all().await;
    // What hung may still happen.
    sleep(2 * KEEP_ALIVE).await;
    let seen = std::mem::take(&mut *world.seen.lock().unwrap());
    let Seen { attempts, probes, effects, repeated, .. } = seen;
    Report { calls, attempts, probes, effects, repeated }
}
