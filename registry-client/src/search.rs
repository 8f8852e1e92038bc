//! Words, counts and metrics.

use crate::call::setters;
use crate::names::complete;
use crate::{Call, RegistryClient, pb};

/// Finding models and versions by words, and counting and comparing many of them in one call.
impl RegistryClient {
    /// Models and versions by words in their names, `version_id`s, types, frameworks, teams, projects, tags and descriptions, the best first.
    ///
    /// ```no_run
    /// # async fn example(client: registry_client::RegistryClient) -> Result<(), registry_client::Error> {
    /// use futures::TryStreamExt as _;
    ///
    /// let mut found = client.search("card fraud").stream();
    /// while let Some(result) = found.try_next().await? {
    ///     println!("{} {:?}", result.score, result.resource);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn search(&self, query: impl Into<String>) -> Call<pb::SearchResourcesRequest> {
        self.call(pb::SearchResourcesRequest { query: query.into(), ..Default::default() })
    }

    /// How many versions of a model, or of all with `models/-`, have which values: of `framework`, `stage`, `tags.region`.
    pub fn count_versions(
        &self,
        model: impl Into<String>,
        fields: impl IntoIterator<Item = impl Into<String>>,
    ) -> Call<pb::CountVersionsRequest> {
        let fields = fields.into_iter().map(Into::into).collect();
        self.call(pb::CountVersionsRequest { parent: complete(model), fields, ..Default::default() })
    }

    /// How many models have which values: of `team`, `model_type`, `project`.
    pub fn count_models(&self, fields: impl IntoIterator<Item = impl Into<String>>) -> Call<pb::CountModelsRequest> {
        let fields = fields.into_iter().map(Into::into).collect();
        self.call(pb::CountModelsRequest { fields, ..Default::default() })
    }

    /// How a metric of a model went from version to version.
    pub fn aggregate_metric(
        &self,
        model: impl Into<String>,
        split: impl Into<String>,
        metric: impl Into<String>,
    ) -> Call<pb::AggregateMetricRequest> {
        let (parent, split, metric) = (complete(model), split.into(), metric.into());
        self.call(pb::AggregateMetricRequest { parent, split, metric, ..Default::default() })
    }
}

setters!(SearchResourcesRequest {
    /// In this namespace: `namespaces/risk`.
    parent(namespace: impl Into<String>) |r| r.parent = namespace.into();
    /// Only of this kind.
    kind(kind: pb::SearchKind) |r| r.kind = kind.into();
});

setters!(CountVersionsRequest {
    /// Only those that meet this condition, in CEL: `version.stage == "PRODUCTION"`.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// So many values of each field at most.
    limit(limit: i32) |r| r.limit = limit;
});

setters!(CountModelsRequest {
    /// In this namespace: `namespaces/risk`.
    parent(namespace: impl Into<String>) |r| r.parent = namespace.into();
    /// Only those that meet this condition, in CEL: `model.team == "risk"`.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// So many values of each field at most.
    limit(limit: i32) |r| r.limit = limit;
});

setters!(AggregateMetricRequest {
    /// Only versions that meet this condition, in CEL: `version.stage == "PRODUCTION"`.
    filter(filter: impl Into<String>) |r| r.filter = filter.into();
    /// So many values at most, the newest ones.
    limit(limit: i32) |r| r.limit = limit;
});
