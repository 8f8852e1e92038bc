//! Durable writes by many clients at once, against durable writes without a registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use prost::Message as _;
use registry_client::pb;
use registry_client::pb::lifecycle_service_client::LifecycleServiceClient;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;
use uuid::Uuid;

use super::durable::Durable;
use super::load::{Rate, in_turns, middle, run};
use super::payload::{KIB, create_request, version_of};
use super::{Figure, Setup};
use crate::Failure;

/// `CreateVersion` of one model, by one client and by all of them; and of one model against as many models as clients.
pub(super) async fn create(setup: &Arc<Setup>) -> Result<Vec<Figure>, Failure> {
    let (clients, rounds) = (setup.options.clients, setup.options.rounds);
    let one = vec![setup.model("create").await?];
    let many = setup.models("create", clients).await?;
    // What the registry makes of the version goes to the disk: ask it once how much that is.
    let mut service = VersionServiceClient::new(setup.registry(0));
    let stored = service.create_version(create_request(&one[0], version_of(KIB))).await?.into_inner().encode_to_vec();
    let stored = Bytes::from(stored);
    let durable = Arc::new(Durable::open(setup).await?);

    let ours = || creating(setup, 1, &one);
    let (alone, floor) = in_turns(rounds, ours, || writing(setup, &durable, 1, &stored)).await?;
    let mut figures =
        vec![Figure::calls("create-version, 1 client".to_owned(), alone, durable.name(), floor.per_second)];

    let (mut of_one, mut of_many, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        floors.push(writing(setup, &durable, clients, &stored).await?);
        of_one.push(creating(setup, clients, &one).await?);
        of_many.push(creating(setup, clients, &many).await?);
    }
    let (of_one, of_many, floor) = (middle(&of_one), middle(&of_many), middle(&floors));
    let name = format!("create-version, {clients} clients");
    let figure = Figure::calls(name, of_one, durable.name(), floor.per_second);
    figures.push(Figure { target: durable.target(), ..figure });
    let name = format!("create-version, one model of {clients} clients");
    let figure = Figure::calls(name, of_one, "a model for each client", of_many.per_second);
    figures.push(Figure { target: Some(0.7), ..figure });
    durable.close().await?;
    Ok(figures)
}

/// `TransitionStage`: each client has a model of its own, and puts one of its two versions in the place of the other.
pub(super) async fn promote(setup: &Arc<Setup>) -> Result<Figure, Failure> {
    let clients = setup.options.clients;
    let models = setup.models("promote", clients).await?;
    let mut service = VersionServiceClient::new(setup.registry(0));
    for model in &models {
        for _ in 0..2 {
            service.create_version(create_request(model, version_of(KIB))).await?;
        }
    }
    let mut stored = Bytes::new();
    for number in [1, 2] {
        let request = promotion(&models[0], number);
        let answer = LifecycleServiceClient::new(setup.registry(0)).transition_stage(request).await?.into_inner();
        // The versions that moved, as they are written.
        stored = answer.encode_to_vec().into();
    }
    let durable = Arc::new(Durable::open(setup).await?);
    let turns: Arc<[(String, AtomicU64)]> = models.into_iter().map(|model| (model, AtomicU64::new(0))).collect();
    let ours = || {
        let (setup, turns) = (Arc::clone(setup), Arc::clone(&turns));
        run(clients, setup.round(), move |client, _| {
            let mut service = LifecycleServiceClient::new(setup.registry(client));
            let (model, turn) = &turns[client];
            let request = promotion(model, 1 + turn.fetch_add(1, Ordering::Relaxed) % 2);
            async move { service.transition_stage(request).await.map(drop) }
        })
    };
    let (ours, floor) = in_turns(setup.options.rounds, ours, || writing(setup, &durable, clients, &stored)).await?;
    let figure = Figure::calls(format!("promote, {clients} clients"), ours, durable.name(), floor.per_second);
    durable.close().await?;
    Ok(figure)
}

pub(super) fn promotion(model: &str, number: u64) -> pb::TransitionStageRequest {
    pb::TransitionStageRequest {
        name: format!("{model}/versions/{number}"),
        stage: pb::Stage::Production.into(),
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

/// So many clients make versions of these models, each of one of them.
pub(super) fn creating(
    setup: &Arc<Setup>,
    clients: usize,
    models: &[String],
) -> impl Future<Output = Result<Rate, Status>> + use<> {
    let (setup, models) = (Arc::clone(setup), Arc::<[String]>::from(models));
    run(clients, setup.round(), move |client, _| {
        let mut service = VersionServiceClient::new(setup.registry(client));
        let request = create_request(&models[client % models.len()], version_of(KIB));
        async move { service.create_version(request).await.map(drop) }
    })
}

fn writing(
    setup: &Setup,
    durable: &Arc<Durable>,
    clients: usize,
    bytes: &Bytes,
) -> impl Future<Output = Result<Rate, Status>> + use<> {
    let (durable, bytes) = (Arc::clone(durable), bytes.clone());
    run(clients, setup.round(), move |client, _| {
        let (durable, bytes) = (Arc::clone(&durable), bytes.clone());
        async move { durable.write(client, bytes).await }
    })
}
