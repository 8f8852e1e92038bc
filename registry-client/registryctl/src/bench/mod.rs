//! `bench`: what a registry does, each figure beside what the machine can do without one, measured in the same run.

mod artifact;
mod backup;
pub(crate) mod floor;
mod inserts;
mod lane;
mod load;
mod steady;
mod unary;
mod watch;

use std::time::Duration;

use registry_client::pb;
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::args::{Bench, Figure as Kind};
use crate::garbage::purge_model;
use crate::output::{Column, Output};
use crate::{Context, Failure};

/// A figure beside its floor.
#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
    floor_name: &'static str,
    floor: f64,
    /// `value / floor`: 1 is as good as the machine can.
    ratio: f64,
    /// What the ratio should be at least, if something was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    /// Of a call, where there are many.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_micros: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_micros: Option<f64>,
}

/// What the figures work with.
struct Setup {
    options: Bench,
    /// Connections to the registry, and to the floor's server.
    registry: Vec<Channel>,
    floor: Vec<Channel>,
    /// Tells this run's models from those of others.
    run: String,
}

impl Setup {
    fn round(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn registry(&self, client: usize) -> Channel {
        self.registry[client % self.registry.len()].clone()
    }

    fn floor(&self, client: usize) -> Channel {
        self.floor[client % self.floor.len()].clone()
    }

    /// Makes a model of this run.
    async fn model(&self, name: &str) -> Result<String, Failure> {
        let model_id = format!("bench-{}-{name}", self.run);
        let request = pb::CreateModelRequest { model_id, ..Default::default() };
        let mut client = pb::model_service_client::ModelServiceClient::new(self.registry(0));
        Ok(client.create_model(request).await?.into_inner().name)
    }
}

/// At least so many connections to one endpoint, or to several that are separated by commas: as many to each, in turns.
async fn connect(endpoints: &str, connections: usize) -> Result<Vec<Channel>, Failure> {
    let endpoints: Vec<_> = endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()).collect();
    let mut channels = Vec::new();
    while channels.len() < connections.max(1) {
        for endpoint in &endpoints {
            let scheme = if endpoint.contains("://") { "" } else { "http://" };
            let endpoint = Endpoint::from_shared(format!("{scheme}{endpoint}"))?
                .tcp_nodelay(true)
                .initial_stream_window_size(4 * 1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024);
            channels.push(endpoint.connect().await?);
        }
    }
    Ok(channels)
}

pub(crate) async fn bench(context: &Context, endpoint: &str, options: Bench) -> Result<(), Failure> {
    if options.figures == [Kind::Steady] {
        return steady::steady(context, &options).await;
    }
    if options.figures.contains(&Kind::Steady) {
        return Err("steady is measured by itself".into());
    }
    let wanted = |kind: Kind| options.figures.is_empty() || options.figures.contains(&kind);
    let (get, create, watch, artifact, backup) = (
        wanted(Kind::Get),
        wanted(Kind::Create),
        wanted(Kind::Watch),
        wanted(Kind::Artifact),
        // It leaves very much behind.
        options.figures.contains(&Kind::Backup),
    );
    let floor_server = floor::FloorServer::start().await?;
    let setup = Setup {
        registry: connect(endpoint, options.connections).await?,
        floor: connect(&floor_server.endpoint, options.connections).await?,
        run: run_id(),
        options,
    };
    let mut figures = Vec::new();
    let measured = async {
        if get {
            figures.push(unary::get(&setup).await?);
        }
        if create {
            figures.extend(unary::create(&setup).await?);
        }
        if watch {
            for watchers in [1, 100, 1000] {
                figures.push(watch::delivery(&setup, endpoint, watchers).await?);
            }
        }
        if artifact {
            figures.extend(artifact::transfer(&setup, &context.client).await?);
        }
        if backup {
            figures.push(backup::backup(&setup, &context.client).await?);
        }
        Ok::<_, Failure>(())
    }
    .await;
    clean_up(context, &setup).await?;
    measured?;
    print(&context.out, &figures)
}

fn run_id() -> String {
    Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// Deletes the models of this run for good.
async fn clean_up(context: &Context, setup: &Setup) -> Result<(), Failure> {
    let mut client = pb::model_service_client::ModelServiceClient::new(setup.registry(0));
    let begin = format!("namespaces/default/models/bench-{}-", setup.run);
    let mut page_token = String::new();
    loop {
        let list = pb::ListModelsRequest { page_token, page_size: 1000, ..Default::default() };
        let page = client.list_models(list).await?.into_inner();
        for model in page.models.into_iter().filter(|model| model.name.starts_with(&begin)) {
            let delete = pb::DeleteModelRequest { name: model.name.clone(), force: true, ..Default::default() };
            client.delete_model(delete).await?;
            purge_model(&context.client, &model.name, String::new()).await?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

fn print(out: &Output, figures: &[Figure]) -> Result<(), Failure> {
    if out.json {
        return out.value(&figures);
    }
    let columns = [
        "figure".into(),
        Column::number("value"),
        Column::number("floor"),
        Column::number("ratio"),
        Column::number("target"),
        Column::number("p50 us"),
        Column::number("p99 us"),
        "unit".into(),
        Column::prose("floor is"),
    ];
    let micros = |micros: Option<f64>| micros.map(|micros| format!("{micros:.0}")).unwrap_or_default();
    let rows = figures.iter().map(|figure| {
        vec![
            figure.name.clone(),
            format!("{:.0}", figure.value),
            format!("{:.0}", figure.floor),
            format!("{:.2}", figure.ratio),
            figure.target.map(|target| format!("{target:.2}")).unwrap_or_default(),
            micros(figure.p50_micros),
            micros(figure.p99_micros),
            figure.unit.to_owned(),
            figure.floor_name.to_owned(),
        ]
    });
    out.table(&columns, rows.collect())
}
