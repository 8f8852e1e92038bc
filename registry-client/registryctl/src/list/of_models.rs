//! Versions by what is known of their models. A condition is over one kind of resource, so the models are found first, and then the versions
//! of each: that is a call for each model.

use futures::TryStreamExt as _;
use registry_client::pb;

use super::{Pages, versions_table};
use crate::output::{brief, first, mask};
use crate::{Context, Failure, Usage};

pub(super) async fn versions(
    context: &Context,
    namespace: String,
    of_models: String,
    filter: String,
    pages: &Pages,
) -> Result<(), Failure> {
    if pages.is_ordered() {
        let detail = "versions that are chosen by their models (--team, --owner) are listed by model, without --order-by, --count and --explain";
        return Err(Usage(detail.to_owned()).into());
    }
    let models = pb::ListModelsRequest {
        parent: namespace.clone(),
        filter: of_models,
        page_size: 1000,
        read_mask: mask("Model", &["name".to_owned()], &[]),
        revision: pages.as_of.revision(),
        read_time: pages.as_of.read_time(),
        ..Default::default()
    };
    let of_model = |model: pb::Model| context.client.call(pages.of_versions(model.name, filter.clone(), "")).stream();
    let listed = context.client.call(models).stream().map_ok(of_model).try_flatten();
    let versions = first(listed, pages.limit, "first").await?;
    versions_table(context, namespace, &versions, pages, |version| brief(&version.name).to_owned()).await
}
