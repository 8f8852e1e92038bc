//! What a filled registry answers, and how fast: a version, and pages of lists, each against a bare tonic service that has the answer in its
//! memory.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt as _;
use registry_client::pb::version_service_client::VersionServiceClient;
use registry_client::{RegistryClient, pb};
use serde::Serialize;
use tonic::Status;
use tonic::transport::Channel;

use super::catalogue::SELECTIVE;
use super::load::{in_turns, run};
use super::{Setup, floor};
use crate::failure::Hinted;
use crate::output::Column;
use crate::{Context, Failure};

/// How many resources a page has.
const PAGE: usize = 50;
/// What nearly all versions meet.
const UNSELECTIVE: &str = r#"version.metrics["validation"]["auc"] > 0.5"#;
/// The best of all versions first.
const METRIC: &str = "metrics.validation.auc desc";
const FILL: &str = "fill it with registryctl bench fill";
/// How many models are read at once.
const MODELS: i32 = 1000;

/// A question and its answers.
#[derive(Debug, Serialize)]
struct Measured {
    question: &'static str,
    /// As many as were asked for, or fewer if each would not get an answer within a round.
    clients: usize,
    /// What one answer has, and how many calls brought it: a page that is short has a token to go on with.
    resources: usize,
    calls: usize,
    p50_micros: f64,
    p99_micros: f64,
    per_second: f64,
    floor_per_second: f64,
    /// `per_second / floor_per_second`.
    ratio: f64,
}

/// What is asked for.
#[derive(Debug, Clone)]
enum Ask {
    /// Any version.
    Get,
    /// The first versions of any model that has enough.
    OfAModel,
    /// As many versions as a page has, in as many calls as that takes.
    Page(pb::ListVersionsRequest),
}

/// A line of the table for each. Whoever adds one adds it here.
fn questions(namespace: &str) -> Vec<(&'static str, Ask)> {
    let page = |filter: &str| {
        let (parent, filter) = (format!("{namespace}/models/-"), filter.to_owned());
        pb::ListVersionsRequest { parent, filter, ..Default::default() }
    };
    let by_metric = pb::ListVersionsRequest { order_by: METRIC.to_owned(), ..page("") };
    let of_many = pb::ListVersionsRequest { order_by: METRIC.to_owned(), ..page(UNSELECTIVE) };
    vec![
        ("get a version", Ask::Get),
        ("50 of a model", Ask::OfAModel),
        ("50 of all models", Ask::Page(page(""))),
        ("50 by a selective filter", Ask::Page(page(SELECTIVE))),
        ("50 by an unselective filter", Ask::Page(page(UNSELECTIVE))),
        ("50 by a metric", Ask::Page(by_metric)),
        ("50 by a filter and a metric", Ask::Page(of_many)),
    ]
}

/// Asks everything, in turns with the floor.
pub(super) async fn lists(context: &Context, setup: &Arc<Setup>) -> Result<(), Failure> {
    let namespace = context.namespace.as_deref().unwrap_or("default");
    let namespace = format!("namespaces/{namespace}");
    let filled = Filled::read(&context.client, &namespace).await;
    let filled = filled.map_err(|error| Hinted::if_for(pb::ErrorReason::ResourceNotFound, error, FILL))?;
    let filled = Arc::new(filled);
    let mut all = Vec::new();
    for (question, ask) in questions(&namespace) {
        all.push(measure(setup, &filled, question, ask).await?);
    }
    print(context, &all)
}

async fn measure(
    setup: &Arc<Setup>,
    filled: &Arc<Filled>,
    question: &'static str,
    ask: Ask,
) -> Result<Measured, Failure> {
    let began = Instant::now();
    let (answer, calls) = filled.answer(&ask, setup.registry(0)).await?;
    let fit = setup.round().as_secs_f64() / began.elapsed().as_secs_f64();
    let clients = (fit as usize).clamp(1, setup.options.clients);
    floor::set(setup.floor(0), &answer).await?;
    let ours = || {
        let (setup, filled, ask) = (Arc::clone(setup), Arc::clone(filled), ask.clone());
        let round = setup.round();
        run(clients, round, move |client, _| {
            let (channel, filled, ask) = (setup.registry(client), Arc::clone(&filled), ask.clone());
            async move { filled.answer(&ask, channel).await.map(drop) }
        })
    };
    let floor = || {
        let setup = Arc::clone(setup);
        let round = setup.round();
        run(clients, round, move |client, _| {
            floor::call::<pb::ListVersionsResponse>(setup.floor(client), "/floor.Floor/Get", SELECTIVE.into())
        })
    };
    let (ours, floor) = in_turns(setup.options.rounds, ours, floor).await?;
    Ok(Measured {
        question,
        clients,
        resources: answer.versions.len(),
        calls,
        p50_micros: ours.p50_micros,
        p99_micros: ours.p99_micros,
        per_second: ours.per_second,
        floor_per_second: floor.per_second,
        ratio: ours.per_second / floor.per_second,
    })
}

/// The models of a namespace, and how many versions they and those before them have.
struct Filled {
    models: Vec<(String, u64)>,
    /// Those with a page of versions.
    large: Vec<String>,
}

impl Filled {
    async fn read(client: &RegistryClient, namespace: &str) -> Result<Self, Failure> {
        let (mut models, mut large, mut versions, mut page_token) = (Vec::new(), Vec::new(), 0, String::new());
        loop {
            let parent = namespace.to_owned();
            let request = pb::ListModelsRequest { parent, page_token, page_size: MODELS, ..Default::default() };
            let page = client.call(request).await?;
            for model in page.models.into_iter().filter(|model| model.version_count > 0) {
                versions += model.version_count.cast_unsigned();
                if model.version_count >= PAGE as i64 {
                    large.push(model.name.clone());
                }
                models.push((model.name, versions));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if large.is_empty() {
            return Err(Hinted::of(format!("no model of {namespace} has {PAGE} versions"), FILL).into());
        }
        Ok(Self { models, large })
    }

    /// The name of any version, each as likely as the next, if none was deleted.
    fn version(&self) -> String {
        let all = self.models.last().map_or(0, |(_, versions)| *versions);
        let any = rand::rng().random_range(0..all.max(1));
        let at = self.models.partition_point(|(_, versions)| *versions <= any);
        let before = at.checked_sub(1).map_or(0, |before| self.models[before].1);
        format!("{}/versions/{}", self.models[at].0, any - before + 1)
    }

    /// The answer, and how many calls it took.
    async fn answer(&self, ask: &Ask, channel: Channel) -> Result<(pb::ListVersionsResponse, usize), Status> {
        let mut service = VersionServiceClient::new(channel);
        let mut request = match ask {
            Ask::Get => {
                let request = pb::GetVersionRequest { name: self.version(), ..Default::default() };
                let version = service.get_version(request).await?.into_inner();
                return Ok((pb::ListVersionsResponse { versions: vec![version], ..Default::default() }, 1));
            }
            Ask::OfAModel => {
                let parent = self.large[rand::rng().random_range(..self.large.len())].clone();
                pb::ListVersionsRequest { parent, ..Default::default() }
            }
            Ask::Page(request) => request.clone(),
        };
        let (mut answer, mut calls) = (pb::ListVersionsResponse::default(), 0);
        loop {
            request.page_size = (PAGE - answer.versions.len()) as i32;
            let page = service.list_versions(request.clone()).await?.into_inner();
            calls += 1;
            answer.versions.extend(page.versions);
            request.page_token = page.next_page_token;
            if answer.versions.len() >= PAGE || request.page_token.is_empty() {
                return Ok((answer, calls));
            }
        }
    }
}

fn print(context: &Context, all: &[Measured]) -> Result<(), Failure> {
    let columns = [
        "question".into(),
        Column::number("clients"),
        Column::number("resources"),
        Column::number("calls"),
        Column::number("p50 ms"),
        Column::number("p99 ms"),
        Column::number("answers/s"),
        Column::number("floor"),
        Column::number("ratio"),
    ];
    let millis = |micros: f64| format!("{:.2}", micros / 1e3);
    context.out.records(
        all,
        |record| record.question.to_owned(),
        &columns,
        |record| {
            vec![
                record.question.to_owned(),
                record.clients.to_string(),
                record.resources.to_string(),
                record.calls.to_string(),
                millis(record.p50_micros),
                millis(record.p99_micros),
                format!("{:.1}", record.per_second),
                format!("{:.0}", record.floor_per_second),
                format!("{:.4}", record.ratio),
            ]
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn any_version_is_one_that_is_there() {
        let models = vec![("a".to_owned(), 2), ("b".to_owned(), 3), ("c".to_owned(), 5)];
        let filled = Filled { models, large: Vec::new() };
        let names: HashSet<_> = (0..1000).map(|_| filled.version()).collect();
        let expected = ["a/versions/1", "a/versions/2", "b/versions/1", "c/versions/1", "c/versions/2"];
        assert_eq!(names, expected.map(str::to_owned).into());
    }
}
