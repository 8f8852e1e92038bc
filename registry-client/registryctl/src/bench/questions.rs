//! What a filled registry is asked, and its answers.

use bytes::Bytes;
use prost::Message as _;
use registry_client::pb;
use registry_client::pb::search_service_client::SearchServiceClient;
use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::catalogue::SELECTIVE;
use super::stock::Stock;
use super::{Channel, floor};

/// How many resources a page has.
pub(super) const PAGE: usize = 50;
/// What nearly all versions meet.
const UNSELECTIVE: &str = r#"version.metrics["validation"]["auc"] > 0.5"#;
/// The best of all versions first.
const METRIC: &str = "metrics.validation.auc desc";
/// A word that the versions have which [`SELECTIVE`] chooses, and two that every fourth version has, or so.
const RARE: &str = "legal";
const FREQUENT: &str = "better recall";

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// Any version.
    Get,
    /// What any model with a version in production had there when that had just come.
    InProduction,
    /// The first versions of any model that has enough.
    OfAModel,
    /// As many versions as a page has, in as many calls as that takes.
    Page(pb::ListVersionsRequest),
    Search(pb::SearchResourcesRequest),
    Count(pb::CountVersionsRequest),
    Trend(pb::AggregateMetricRequest),
}

/// A line of the table for each. Whoever adds one adds it here.
pub(super) fn questions(namespace: &str, stock: &Stock) -> Vec<(&'static str, Ask)> {
    let all = format!("{namespace}/models/-");
    let page = |filter: &str| {
        let (parent, filter) = (all.clone(), filter.to_owned());
        pb::ListVersionsRequest { parent, filter, ..Default::default() }
    };
    let by_metric = |filter| pb::ListVersionsRequest { order_by: METRIC.to_owned(), ..page(filter) };
    let then = pb::ListVersionsRequest { parent: stock.largest.clone(), read_time: stock.halfway, ..page("") };
    let search = |query: &str| pb::SearchResourcesRequest {
        parent: namespace.to_owned(),
        query: query.to_owned(),
        page_size: PAGE as i32,
        ..Default::default()
    };
    let count = pb::CountVersionsRequest {
        parent: all.clone(),
        filter: UNSELECTIVE.to_owned(),
        fields: ["framework", "stage"].map(str::to_owned).into(),
        ..Default::default()
    };
    let trend = pb::AggregateMetricRequest {
        parent: stock.largest.clone(),
        split: "validation".to_owned(),
        metric: "auc".to_owned(),
        ..Default::default()
    };
    vec![
        ("get a version", Ask::Get),
        ("50 of a model", Ask::OfAModel),
        ("50 of all models", Ask::Page(page(""))),
        ("50 by a selective filter", Ask::Page(page(SELECTIVE))),
        ("50 by an unselective filter", Ask::Page(page(UNSELECTIVE))),
        ("50 by a metric", Ask::Page(by_metric(""))),
        ("50 by a filter and a metric", Ask::Page(by_metric(UNSELECTIVE))),
        ("search for a rare word", Ask::Search(search(RARE))),
        ("search for two frequent words", Ask::Search(search(FREQUENT))),
        ("counts by framework and stage, of a filter", Ask::Count(count)),
        ("trend of the largest model's metric", Ask::Trend(trend)),
        ("what was in production then", Ask::InProduction),
        ("50 of the largest model, when it had half", Ask::Page(then)),
    ]
}

/// All that one question brings.
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// How many calls brought it: a page that is short has a token to go on with.
    pub(super) calls: usize,
    /// How many records were looked at for it, if it was asked for and the server says so.
    pub(super) records_read: Option<i64>,
}

pub(super) enum Reply {
    Version(Box<pb::Version>),
    Versions(pb::ListVersionsResponse),
    Found(pb::SearchResourcesResponse),
    Counted(pb::CountVersionsResponse),
    Trend(pb::AggregateMetricResponse),
}

impl Reply {
    /// How many resources, counts or values it has.
    pub(super) fn returned(&self) -> usize {
        match self {
            Self::Version(_) => 1,
            Self::Versions(page) => page.versions.len(),
            Self::Found(found) => found.results.len(),
            Self::Counted(counted) => counted.facets.iter().map(|facet| facet.counts.len()).sum(),
            Self::Trend(trend) => trend.points.len(),
        }
    }

    /// Has the floor answer with it from now on.
    pub(super) async fn set_floor(&self, channel: Channel) -> Result<(), Status> {
        match self {
            Self::Version(version) => floor::set(channel, &**version).await,
            Self::Versions(page) => floor::set(channel, page).await,
            Self::Found(found) => floor::set(channel, found).await,
            Self::Counted(counted) => floor::set(channel, counted).await,
            Self::Trend(trend) => floor::set(channel, trend).await,
        }
    }
}

impl Ask {
    /// Asks the floor, which is given about as much, and decodes an answer of the kind.
    pub(super) async fn floor(&self, channel: Channel) -> Result<(), Status> {
        const GET: &str = "/floor.Floor/Get";
        let asked: Bytes = match self {
            Self::Page(request) => request.encode_to_vec().into(),
            _ => Bytes::from_static(SELECTIVE.as_bytes()),
        };
        match self {
            Self::Get | Self::InProduction => floor::call::<pb::Version>(channel, GET, asked).await,
            Self::OfAModel | Self::Page(_) => floor::call::<pb::ListVersionsResponse>(channel, GET, asked).await,
            Self::Search(_) => floor::call::<pb::SearchResourcesResponse>(channel, GET, asked).await,
            Self::Count(_) => floor::call::<pb::CountVersionsResponse>(channel, GET, asked).await,
            Self::Trend(_) => floor::call::<pb::AggregateMetricResponse>(channel, GET, asked).await,
        }
    }

    /// The whole answer; with `explain`, lists of what is say how many records they looked at.
    pub(super) async fn answer(&self, stock: &Stock, channel: Channel, explain: bool) -> Result<Answer, Status> {
        let one = |reply| Answer { reply, calls: 1, records_read: None };
        let mut service = SearchServiceClient::new(channel.clone());
        Ok(match self {
            Self::Get => {
                one(get(channel, pb::GetVersionRequest { name: stock.version(), ..Default::default() }).await?)
            }
            Self::InProduction => {
                let (model, revision) = stock.promoted();
                let name = format!("{model}@production");
                one(get(channel, pb::GetVersionRequest { name, revision, ..Default::default() }).await?)
            }
            Self::OfAModel => {
                let parent = stock.large();
                page(channel, pb::ListVersionsRequest { parent, explain, ..Default::default() }).await?
            }
            Self::Page(request) => {
                // Lists of the past are not explained.
                let explain = explain && request.read_time.is_none();
                page(channel, pb::ListVersionsRequest { explain, ..request.clone() }).await?
            }
            Self::Search(request) => one(Reply::Found(service.search_resources(request.clone()).await?.into_inner())),
            Self::Count(request) => one(Reply::Counted(service.count_versions(request.clone()).await?.into_inner())),
            Self::Trend(request) => one(Reply::Trend(service.aggregate_metric(request.clone()).await?.into_inner())),
        })
    }
}

async fn get(channel: Channel, request: pb::GetVersionRequest) -> Result<Reply, Status> {
    let version = VersionServiceClient::new(channel).get_version(request).await?.into_inner();
    Ok(Reply::Version(Box::new(version)))
}

/// A page of versions, in as many calls as it takes.
async fn page(channel: Channel, mut request: pb::ListVersionsRequest) -> Result<Answer, Status> {
    let mut service = VersionServiceClient::new(channel);
    let (mut all, mut calls, mut records_read) = (pb::ListVersionsResponse::default(), 0, None);
    loop {
        request.page_size = (PAGE - all.versions.len()) as i32;
        let page = service.list_versions(request.clone()).await?.into_inner();
        calls += 1;
        all.versions.extend(page.versions);
        if let Some(explanation) = page.explanation {
            *records_read.get_or_insert(0) += explanation.records_read;
        }
        request.page_token = page.next_page_token;
        if all.versions.len() >= PAGE || request.page_token.is_empty() {
            return Ok(Answer { reply: Reply::Versions(all), calls, records_read });
        }
    }
}
