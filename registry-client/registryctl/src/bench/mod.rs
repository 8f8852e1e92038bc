//! `bench`: what a registry does, each figure beside what the machine can do without one, measured in the same run.

mod artifact;
mod backup;
mod catalogue;
mod crowd;
mod durable;
mod fan_out;
mod files;
mod fill;
mod filling;
pub(crate) mod floor;
mod follow;
mod growth;
mod inserts;
mod json;
mod lane;
mod lists;
mod load;
mod memory;
mod payload;
mod questions;
mod reads;
mod replay;
mod steady;
mod stock;
mod watch;
mod watchers;
mod words;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use registry_client::{RegistryClient, pb};
use serde::Serialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use uuid::Uuid;

use self::floor::FloorServer;
use self::load::Rate;
use self::memory::resident;
use crate::admin::bar;
use crate::args::{Bench, Figure as Kind};
use crate::garbage::purge_model;
use crate::output::{Column, Output};
use crate::{Context, Failure, Usage};

/// How many models are deleted at once.
const DISCARDED: usize = 4;

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
    /// Which values are the good ones.
    better: Better,
    /// What the ratio should be at least, or at most where less is better; if something was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    /// Of a call, where there are many; of a delivery, from the answer of the call that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_micros: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_micros: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Better {
    More,
    Less,
}

impl Better {
    fn sign(self) -> &'static str {
        match self {
            Self::More => ">=",
            Self::Less => "<=",
        }
    }
}

impl Figure {
    /// Things that are moved: how many in a second, and how many without a registry.
    fn moved(
        name: &str,
        unit: &'static str,
        value: f64,
        floor_name: &'static str,
        floor: f64,
        target: Option<f64>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            value,
            floor_name,
            floor,
            ratio: value / floor,
            better: Better::More,
            target,
            p50_micros: None,
            p99_micros: None,
        }
    }

    /// Calls by many clients: `floor` is what they are in a second without a registry.
    fn calls(name: String, ours: Rate, floor_name: &'static str, floor: f64) -> Self {
        Self {
            name,
            unit: "calls/s",
            value: ours.per_second,
            floor_name,
            floor,
            ratio: ours.per_second / floor,
            better: Better::More,
            target: None,
            p50_micros: Some(ours.p50_micros),
            p99_micros: Some(ours.p99_micros),
        }
    }
}

/// A connection whose calls show a token, if there is one: nothing else of the client is in the way.
type Channel = InterceptedService<tonic::transport::Channel, Bearer>;

/// Shows a token.
#[derive(Debug, Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn of(context: &Context) -> Result<Self, Failure> {
        let token = context.trust.token()?;
        Ok(Self(token.map(|token| format!("Bearer {token}").parse()).transpose()?))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// What the figures work with.
struct Setup {
    options: Bench,
    /// Connections to the registry, and to the floor's server.
    registry: Vec<Channel>,
    floor: Vec<Channel>,
    floor_server: FloorServer,
    bearer: Bearer,
    /// Tells this run's models from those of others.
    run: String,
}

impl Setup {
    async fn begin(context: &Context, endpoint: &str, options: Bench) -> Result<Arc<Self>, Failure> {
        let floor_server = FloorServer::start().await?;
        let bearer = Bearer::of(context)?;
        Ok(Arc::new(Self {
            registry: connect(endpoint, &bearer, options.connections).await?,
            floor: connect(&floor_server.endpoint, &bearer, options.connections).await?,
            floor_server,
            bearer,
            run: run_id(),
            options,
        }))
    }

    fn round(&self) -> Duration {
        self.options.seconds
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

    /// Makes so many of them.
    async fn models(&self, name: &str, count: usize) -> Result<Vec<String>, Failure> {
        let make = |number| async move { self.model(&format!("{name}-{number}")).await };
        stream::iter(0..count).map(make).buffered(self.options.clients).try_collect().await
    }
}

/// One endpoint, or several that are separated by commas.
fn endpoints(endpoints: &str) -> Result<Vec<Endpoint>, Failure> {
    let endpoints = endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
    let endpoints = endpoints.map(|endpoint| {
        let scheme = if endpoint.contains("://") { "" } else { "http://" };
        Ok(Endpoint::from_shared(format!("{scheme}{endpoint}"))?.tcp_nodelay(true))
    });
    endpoints.collect()
}

/// At least so many connections to one endpoint, or to several: as many to each, in turns.
async fn connect(to: &str, bearer: &Bearer, connections: usize) -> Result<Vec<Channel>, Failure> {
    let endpoints = endpoints(to)?;
    let mut channels = Vec::new();
    while channels.len() < connections.max(1) {
        for endpoint in &endpoints {
            let endpoint = endpoint
                .clone()
                .initial_stream_window_size(4 * 1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024);
            channels.push(Channel::new(endpoint.connect().await?, bearer.clone()));
        }
    }
    Ok(channels)
}

pub(crate) async fn bench(context: &Context, endpoint: &str, options: Bench) -> Result<(), Failure> {
    match options.figures.as_slice() {
        [Kind::Fill] => return fill::fill(context, &options).await,
        [Kind::Lists] => return lists::lists(context, &Setup::begin(context, endpoint, options).await?).await,
        [Kind::Replay] => return replay::replay(context, &Setup::begin(context, endpoint, options).await?).await,
        [Kind::Steady] => return steady::steady(context, &options).await,
        [Kind::Watchers] => return watchers::watchers(context, endpoint, &options).await,
        named if named.iter().any(|kind| kind.is_by_itself()) => {
            return Err(Usage("fill, lists, replay, steady and watchers go by themselves".to_owned()).into());
        }
        _ => {}
    }
    let wanted = |kind: Kind| match options.figures.as_slice() {
        [] => kind.is_usual(),
        named => named.contains(&kind),
    };
    let wanted: Vec<_> = Kind::value_variants().iter().copied().filter(|kind| wanted(*kind)).collect();
    let setup = Setup::begin(context, endpoint, options).await?;
    let mut figures = Vec::new();
    let measured = async {
        for kind in wanted {
            figures.extend(measure(context, endpoint, &setup, kind).await?);
        }
        Ok::<_, Failure>(())
    }
    .await;
    // Cleaning up may take as long as filling did: whoever has seen enough can end it.
    let printed = measured.and_then(|()| print(&context.out, &figures));
    let cleaned_up = clean_up(context, &setup).await;
    printed?;
    cleaned_up
}

async fn measure(context: &Context, endpoint: &str, setup: &Arc<Setup>, kind: Kind) -> Result<Vec<Figure>, Failure> {
    Ok(match kind {
        Kind::Get => vec![reads::get(setup).await?],
        Kind::List => vec![reads::list(setup).await?],
        Kind::Json => json::json(setup, endpoint).await?,
        Kind::Files => files::files(setup, endpoint).await?,
        Kind::Create => writes::create(setup).await?,
        Kind::Promote => vec![writes::promote(setup).await?],
        Kind::Watch => {
            let mut figures = Vec::new();
            for watchers in setup.options.watchers_or(&[1, 100, 1000]) {
                figures.push(watch::delivery(setup, endpoint, watchers).await?);
            }
            figures
        }
        Kind::FanOut => {
            let mut figures = Vec::new();
            for watchers in setup.options.watchers_or(&[100, 1000]) {
                figures.push(fan_out::fan_out(setup, endpoint, watchers).await?);
            }
            figures
        }
        Kind::Artifact => artifact::transfer(setup, &context.client).await?,
        Kind::Follow => follow::swap(setup, &context.client).await?,
        Kind::Growth => growth::growth(setup).await?,
        Kind::Backup => vec![backup::backup(setup, &context.client).await?],
        // By itself.
        Kind::Fill | Kind::Lists | Kind::Replay | Kind::Steady | Kind::Watchers => Vec::new(),
    })
}

fn run_id() -> String {
    Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// Deletes the models of this run for good.
async fn clean_up(context: &Context, setup: &Setup) -> Result<(), Failure> {
    let mut client = pb::model_service_client::ModelServiceClient::new(setup.registry(0));
    let begin = format!("namespaces/default/models/bench-{}-", setup.run);
    let bar = bar("cleaning up: {wide_bar} {human_pos}/{human_len} versions, {eta} left");
    bar.set_length(0);
    let mut models = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = pb::ListModelsRequest { page_token, page_size: 1000, ..Default::default() };
        let page = client.list_models(list).await?.into_inner();
        models.extend(page.models.into_iter().filter(|model| model.name.starts_with(&begin)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let size = |model: &pb::Model| model.version_count.cast_unsigned();
    bar.set_length(models.iter().map(size).sum());
    let discarded = stream::iter(models).map(async |model| {
        discard(&context.client, &model.name).await?;
        bar.inc(size(&model));
        Ok::<_, Failure>(())
    });
    let discarded = discarded.buffer_unordered(DISCARDED).try_collect::<()>().await;
    bar.finish_and_clear();
    discarded
}

/// Deletes a model for good.
async fn discard(client: &RegistryClient, model: &str) -> Result<(), Failure> {
    client.delete_model(model).force(true).await?;
    purge_model(client, model, String::new()).await?;
    Ok(())
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
            figure.target.map(|target| format!("{} {target:.2}", figure.better.sign())).unwrap_or_default(),
            micros(figure.p50_micros),
            micros(figure.p99_micros),
            figure.unit.to_owned(),
            figure.floor_name.to_owned(),
        ]
    });
    out.table(&columns, rows.collect())
}
