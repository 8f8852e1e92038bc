//! Reads and durable writes, by many clients at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use registry_client::pb::version_service_client::VersionServiceClient;
use registry_client::{known, pb};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use super::floor::Blob;
use super::inserts::Inserts;
use super::lane::SledLane;
use super::load::{Rate, in_turns, middle, run};
use super::{Figure, Setup};
use crate::Failure;

/// A version as a training job registers it: three splits of four metrics, hyper-parameters, ten features.
pub(super) fn typical_version() -> pb::Version {
    let metrics = ["accuracy", "f1_score", "log_loss", "roc_auc"];
    let set = pb::MetricSet { values: metrics.iter().map(|name| ((*name).to_owned(), 0.987_654)).collect() };
    let number = |value: f64| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(value)) };
    let parameters = ["max_depth", "n_estimators", "learning_rate", "random_state"];
    let features =
        (0..10).map(|i| pb::Field { name: format!("feature_{i}"), dtype: "float64".to_owned(), shape: Vec::new() });
    pb::Version {
        description: "boosted trees, trained on the data of last week".to_owned(),
        framework: known::framework::XGBOOST.to_owned(),
        framework_version: "3.1.0".to_owned(),
        metrics: ["train", "validation", "test"].iter().map(|split| ((*split).to_owned(), set.clone())).collect(),
        hyperparameters: Some(prost_types::Struct {
            fields: parameters.iter().map(|name| ((*name).to_owned(), number(7.0))).collect(),
        }),
        features: features.collect(),
        tags: BTreeMap::from([("team".to_owned(), "risk".to_owned())]),
        ..Default::default()
    }
}

/// Calls the floor's server with some bytes, and decodes its answer.
async fn floor_call<Answer>(channel: Channel, path: &'static str, data: Bytes) -> Result<(), Status>
where
    Answer: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(Request::new(Blob { data }), path, ProstCodec::<Blob, Answer>::default()).await.map(drop)
}

/// `GetVersion` against a bare tonic service that takes as many bytes and answers the same message from its memory.
pub(super) async fn get(setup: &Setup) -> Result<Figure, Failure> {
    let parent = setup.model("get").await?;
    let create =
        pb::CreateVersionRequest { parent, version: Some(typical_version()), finalize: true, ..Default::default() };
    let version = VersionServiceClient::new(setup.registry(0)).create_version(create).await?.into_inner();
    let request = pb::GetVersionRequest { name: version.name.clone() };
    floor_call::<Blob>(setup.floor(0), "/floor.Floor/Set", version.encode_to_vec().into()).await?;
    let asked = Bytes::from(version.name);

    let (clients, time) = (setup.options.clients, setup.round());
    let ours = || {
        run(clients, time, |client, _| {
            let (mut service, request) = (VersionServiceClient::new(setup.registry(client)), request.clone());
            async move { service.get_version(request).await.map(drop) }
        })
    };
    let floor = || {
        run(clients, time, |client, _| {
            floor_call::<pb::Version>(setup.floor(client), "/floor.Floor/Get", asked.clone())
        })
    };
    let (ours, floor) = in_turns(setup.options.rounds, ours, floor).await?;
    Ok(figure(
        format!("get-version, {clients} clients"),
        ours,
        "bare tonic, the same message",
        floor.per_second,
        Some(0.85),
    ))
}

pub(super) fn figure(name: String, ours: Rate, floor_name: &'static str, floor: f64, target: Option<f64>) -> Figure {
    Figure {
        name,
        unit: "calls/s",
        value: ours.per_second,
        floor_name,
        floor,
        ratio: ours.per_second / floor,
        target,
        p50_micros: Some(ours.p50_micros),
        p99_micros: Some(ours.p99_micros),
    }
}

/// What durable writes are measured against.
enum Durable {
    Sled(SledLane),
    Postgres(Inserts),
}

impl Durable {
    async fn open(setup: &Setup) -> Result<Self, Failure> {
        Ok(match &setup.options.postgres {
            None => Self::Sled(SledLane::open(&setup.options.scratch)?),
            Some(url) => Self::Postgres(Inserts::open(url, &setup.run, setup.options.clients).await?),
        })
    }

    async fn write(&self, client: usize, version: Bytes) -> Result<(), Failure> {
        match self {
            Self::Sled(lane) => Ok(lane.write(version).await?),
            Self::Postgres(inserts) => Ok(inserts.write(client, &version).await?),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Sled(_) => "sled in a lane, the same entries",
            Self::Postgres(_) => "PostgreSQL, a row each",
        }
    }

    /// The share of it that the registry should reach.
    fn target(&self) -> f64 {
        match self {
            Self::Sled(_) => 0.5,
            Self::Postgres(_) => 1.0,
        }
    }

    async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Sled(_) => Ok(()),
            Self::Postgres(inserts) => inserts.close().await,
        }
    }
}

/// `CreateVersion` of one model against durable writes without a registry; and of one model against as many models as clients.
pub(super) async fn create(setup: &Setup) -> Result<Vec<Figure>, Failure> {
    let clients = setup.options.clients;
    let one = vec![setup.model("create").await?];
    let mut many = Vec::new();
    for client in 0..clients {
        many.push(setup.model(&format!("create-{client}")).await?);
    }
    // What the registry makes of the version goes to the disk: ask it once how much that is.
    let stored = {
        let mut service = VersionServiceClient::new(setup.registry(0));
        let bytes = service.create_version(create_request(&one[0])).await?.into_inner().encode_to_vec();
        Bytes::from(bytes)
    };
    let durable = Durable::open(setup).await?;
    let (mut of_one, mut of_many, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.options.rounds {
        floors.push(
            run(clients, setup.round(), |client, _| {
                let (durable, stored) = (&durable, stored.clone());
                async move { durable.write(client, stored).await }
            })
            .await?,
        );
        of_one.push(creating(setup, &one).await?);
        of_many.push(creating(setup, &many).await?);
    }
    let (of_one, of_many, floor) = (middle(&of_one), middle(&of_many), middle(&floors));
    let (name, target) = (durable.name(), durable.target());
    durable.close().await?;
    Ok(vec![
        figure(format!("create-version, {clients} clients"), of_one, name, floor.per_second, Some(target)),
        figure(
            format!("create-version, one model of {clients} clients"),
            of_one,
            "a model for each client",
            of_many.per_second,
            Some(0.7),
        ),
    ])
}

pub(super) fn create_request(parent: &str) -> pb::CreateVersionRequest {
    pb::CreateVersionRequest {
        parent: parent.to_owned(),
        version: Some(typical_version()),
        finalize: true,
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    }
}

pub(super) async fn creating(setup: &Setup, models: &[String]) -> Result<Rate, Status> {
    run(setup.options.clients, setup.round(), |client, _| {
        let mut service = VersionServiceClient::new(setup.registry(client));
        let request = create_request(&models[client % models.len()]);
        async move { service.create_version(request).await.map(drop) }
    })
    .await
}
