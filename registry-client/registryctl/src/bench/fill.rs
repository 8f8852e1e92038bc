//! Fills a registry with models and versions as a large one has them, and leaves them there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use registry_client::{Error, RegistryClient, pb};
use serde::Serialize;

use super::catalogue::{Call, Catalogue, SELECTED, SELECTIVE};
use super::load::run_calls;
use crate::admin::bar;
use crate::args::Bench;
use crate::failure::Hinted;
use crate::output::{brief, count};
use crate::{Context, Failure, Usage};

/// How many versions there are, if it is not said.
const VERSIONS: u64 = 1_000_000;
/// A model has so many of them on average, if it is not said how many models there are.
const A_MODEL: u64 = 100;
/// How many stage changes a call has: as many as the contract allows.
const BATCH: usize = 100;
const TAKEN: &str =
    "fill an empty namespace (-n), or give the options of a fill of the last day that broke off, to go on with it";

/// What was made.
#[derive(Debug, Serialize)]
struct Filled {
    models: usize,
    versions: usize,
    stage_changes: usize,
    seconds: f64,
    /// While versions were made.
    versions_per_second: f64,
    largest_model: String,
    largest_model_versions: i64,
    selective_filter: &'static str,
    selective_versions: usize,
}

/// What every call needs.
struct Filling {
    client: RegistryClient,
    /// Of all models, as `namespaces/risk`.
    namespace: String,
    catalogue: Catalogue,
    /// The numbers that the versions got.
    numbers: Vec<AtomicI64>,
    stages: Vec<(usize, pb::Stage)>,
}

/// Fills the namespace of the context. Every call is repeatable: a fill that broke off is taken up by the same one.
pub(super) async fn fill(context: &Context, options: &Bench) -> Result<(), Failure> {
    let versions = options.versions.unwrap_or(VERSIONS);
    let models = options.models.map_or(versions / A_MODEL, u64::from);
    if models > versions {
        return Err(Usage(format!("--models {models} need as many --versions at least, not {versions}")).into());
    }
    let catalogue = Catalogue::new(options.seed, u32::try_from(models)?, usize::try_from(versions)?);
    let (numbers, stages) = ((0..versions).map(|_| AtomicI64::new(0)).collect(), catalogue.stages());
    let namespace = context.namespace.as_deref().unwrap_or("default");
    let namespace = format!("namespaces/{namespace}");
    let filling = Filling { client: context.client.clone(), namespace, catalogue, numbers, stages };
    let filling = Arc::new(filling);

    let began = Instant::now();
    let all = filling.catalogue.models();
    at_once(&filling, options, "models", all, 1, Filling::make_model)
        .await
        .map_err(|error| Hinted::if_for(pb::ErrorReason::ResourceAlreadyExists, error.into(), TAKEN))?;
    let all = filling.catalogue.versions();
    let took = at_once(&filling, options, "versions", all, 1, Filling::make_version).await?;
    let all = filling.stages.len();
    at_once(&filling, options, "stage changes", all, BATCH, Filling::change_stages).await?;
    let largest = filling.client.get_model(filling.model_name(0)).await?;

    let filled = Filled {
        models: filling.catalogue.models(),
        versions: filling.catalogue.versions(),
        stage_changes: filling.stages.len(),
        seconds: began.elapsed().as_secs_f64(),
        versions_per_second: filling.catalogue.versions() as f64 / took.as_secs_f64(),
        largest_model: largest.name,
        largest_model_versions: largest.version_count,
        selective_filter: SELECTIVE,
        selective_versions: SELECTED,
    };
    print(context, &filled)
}

/// Carries out all calls, each for so many things, with a progress bar. Returns how long that took.
async fn at_once<F>(
    filling: &Arc<Filling>,
    options: &Bench,
    what: &str,
    things: usize,
    a_call: usize,
    call: impl Fn(Arc<Filling>, usize) -> F + Clone + Send + 'static,
) -> Result<Duration, Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let bar: ProgressBar = bar(&format!("{{wide_bar}} {{human_pos}}/{{human_len}} {what}, {{per_sec}}, {{eta}} left"));
    bar.set_length(things as u64);
    let (filling, next, moved) = (Arc::clone(filling), Arc::new(AtomicUsize::new(0)), bar.clone());
    let began = Instant::now();
    let done = run_calls(options.clients, things.div_ceil(a_call) as u64, move |_, _| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (called, moved) = (call(Arc::clone(&filling), number), moved.clone());
        async move {
            called.await?;
            moved.inc(a_call as u64);
            Ok(())
        }
    });
    let done = done.await;
    bar.finish_and_clear();
    done.map(|_| began.elapsed())
}

impl Filling {
    fn model_name(&self, number: usize) -> String {
        format!("{}/models/{}", self.namespace, Catalogue::model_id(number))
    }

    fn request_id(&self, call: Call, number: usize) -> String {
        self.catalogue.request_id(&self.namespace, call, number)
    }

    async fn make_model(self: Arc<Self>, number: usize) -> Result<(), Error> {
        let request = pb::CreateModelRequest {
            parent: self.namespace.clone(),
            model_id: Catalogue::model_id(number),
            model: Some(self.catalogue.model(number)),
            request_id: self.request_id(Call::Model, number),
            validate_only: false,
        };
        self.client.call(request).await.map(drop)
    }

    async fn make_version(self: Arc<Self>, number: usize) -> Result<(), Error> {
        let request = pb::CreateVersionRequest {
            parent: self.model_name(self.catalogue.model_of(number)),
            version: Some(self.catalogue.version(number)),
            finalize: true,
            request_id: self.request_id(Call::Version, number),
            ..Default::default()
        };
        let made = self.client.call(request).await?;
        self.numbers[number].store(made.number, Ordering::Relaxed);
        Ok(())
    }

    async fn change_stages(self: Arc<Self>, batch: usize) -> Result<(), Error> {
        let changes = self.stages.iter().skip(batch * BATCH).take(BATCH);
        let requests = changes.map(|(version, stage)| {
            let model = self.model_name(self.catalogue.model_of(*version));
            let number = self.numbers[*version].load(Ordering::Relaxed);
            pb::TransitionStageRequest {
                name: format!("{model}/versions/{number}"),
                stage: (*stage).into(),
                ..Default::default()
            }
        });
        let request = pb::BatchTransitionStagesRequest {
            requests: requests.collect(),
            request_id: self.request_id(Call::Stages, batch),
            validate_only: false,
        };
        self.client.call(request).await.map(drop)
    }
}

fn print(context: &Context, filled: &Filled) -> Result<(), Failure> {
    if context.out.json {
        return context.out.value(filled);
    }
    let (models, versions) = (count(filled.models as u64, "model"), count(filled.versions as u64, "version"));
    context.out.lines(vec![
        format!(
            "filled with {models}, {versions} and {} stage changes in {:.0} s: {:.0} versions/s",
            filled.stage_changes, filled.seconds, filled.versions_per_second
        ),
        format!("the largest is {}, with {} versions", brief(&filled.largest_model), filled.largest_model_versions),
        format!("{} versions meet {}", filled.selective_versions, filled.selective_filter),
    ])
}
