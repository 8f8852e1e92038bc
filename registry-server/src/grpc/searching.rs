//! `SearchService`.

use registry_proto::v1 as pb;
use registry_proto::v1::search_service_server::SearchService;
use tonic::Request;

use super::Services;
use super::call::{List, Reply};
use super::models::parent;
use super::paging::Sizes;
use crate::error::{Violations, quoted};
use crate::registry::models::ModelRow;
use crate::registry::searching::{Aggregation, Counted, Counting};
use crate::rules::expression::{MODEL, Named, Subject, VERSION};
use crate::rules::names::{MODELS, Name};

/// How long a query may be, in characters.
const QUERY: usize = 256;
/// By how many values a call counts.
const FIELDS: usize = 16;
// With the longest texts and names that there may be, these fit 4 MiB.
const COUNTS: Sizes = Sizes { default: 20, most: 250 };
const POINTS: Sizes = Sizes { default: 1000, most: 5000 };
const SEARCH: List =
    List { orders: &["score"], sizes: Sizes { default: 20, most: 100 }, filter: None, sorted: false, narrowed: false };

#[tonic::async_trait]
impl SearchService for Services {
    async fn search_resources(
        &self,
        request: Request<pb::SearchResourcesRequest>,
    ) -> Reply<pb::SearchResourcesResponse> {
        self.list_with(
            request,
            SEARCH,
            |request, found| {
                if request.query.chars().count() > QUERY {
                    found.invalid("query", format!("has more than {QUERY} characters"));
                } else if !request.query.contains(char::is_alphanumeric) {
                    found.invalid("query", "has no word: at least one letter or digit");
                }
                let kinds = match pb::SearchKind::try_from(request.kind) {
                    Ok(pb::SearchKind::Unspecified) => vec![pb::SearchKind::Model, pb::SearchKind::Version],
                    Ok(kind) => vec![kind],
                    Err(_) => {
                        found.invalid("kind", "must be a known kind");
                        Vec::new()
                    }
                };
                Some((parent(&request.parent, found)?, request.query, kinds))
            },
            |registry, (namespace, query, kinds), page| async move {
                registry.search(&namespace, &query, &kinds, &page).await
            },
            |total_size, results, next_page_token| pb::SearchResourcesResponse { results, next_page_token, total_size },
        )
        .await
    }

    async fn count_versions(&self, request: Request<pb::CountVersionsRequest>) -> Reply<pb::CountVersionsResponse> {
        self.read(
            request,
            |request, found| {
                let parent = found.parsed("parent", Name::parse_parent(&MODELS, &request.parent));
                counting(parent, &request.filter, request.fields, request.limit, &VERSION, found)
            },
            |registry, counting| async move {
                let Counted { total, facets, approximate } = registry.counted::<pb::Version>(counting).await?;
                Ok(pb::CountVersionsResponse { total_size: total, facets, approximate })
            },
        )
        .await
    }

    async fn count_models(&self, request: Request<pb::CountModelsRequest>) -> Reply<pb::CountModelsResponse> {
        self.read(
            request,
            |request, found| {
                let parent = parent(&request.parent, found);
                counting(parent, &request.filter, request.fields, request.limit, &MODEL, found)
            },
            |registry, counting| async move {
                let Counted { total, facets, approximate } = registry.counted::<ModelRow>(counting).await?;
                Ok(pb::CountModelsResponse { total_size: total, facets, approximate })
            },
        )
        .await
    }

    async fn aggregate_metric(
        &self,
        request: Request<pb::AggregateMetricRequest>,
    ) -> Reply<pb::AggregateMetricResponse> {
        self.read(
            request,
            |request, found| {
                let model = found.name("parent", &MODELS, &request.parent);
                for (field, text) in [("split", &request.split), ("metric", &request.metric)] {
                    if text.is_empty() {
                        found.required(field);
                    }
                }
                let filter = found.condition("filter", &request.filter, &VERSION);
                let limit = POINTS.of("limit", request.limit, found);
                let value = Named::metric(&request.split, &request.metric);
                let mut field = |name| named("metric", name, &VERSION, found);
                let (created, withdrawn, state) = (field("create_time"), field("withdraw_time"), field("state"));
                let (created, withdrawn, state) = (created?, withdrawn?, state?);
                let metric = request.metric;
                Some(Aggregation { model: model?, metric, value, created, withdrawn, state, filter, limit })
            },
            |registry, aggregation| async move { registry.aggregate(aggregation).await },
        )
        .await
    }
}

fn counting(
    parent: Option<Name>,
    filter: &str,
    fields: Vec<String>,
    most: i32,
    of: &Subject,
    found: &mut Violations,
) -> Option<Counting> {
    let filter = found.condition("filter", filter, of);
    let limit = COUNTS.of("limit", most, found);
    if fields.is_empty() || fields.len() > FIELDS {
        found.invalid("fields", format!("must be 1 to {FIELDS}"));
    }
    let by = fields.into_iter().enumerate().filter_map(|(at, field)| {
        let named = named(&format!("fields[{at}]"), &field, of, found)?;
        Some((field, named))
    });
    let by = by.collect();
    Some(Counting { parent: parent?, filter, by, limit })
}

fn named(field: &str, text: &str, of: &Subject, found: &mut Violations) -> Option<Named> {
    Named::parse(text, of).map_err(|fault| found.invalid(field, format!("{}: {fault}", quoted(text)))).ok()
}
