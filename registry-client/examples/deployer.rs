//! Promotes what is better: watches a model, compares the versions that were published since with the one in production by a metric, and
//! promotes the best of them, if that is not the incumbent. Which of two values is better the registry knows.
//!
//! ```text
//! cargo run -p registry-client --example deployer -- diabetes-progression validation.rmse
//! ```
//!
//! A version that somebody has moved to any stage is left alone: one that was rolled back is not promoted again. Of several deployers of a
//! model, run one. `MODEL_REGISTRY_ENDPOINT` says where the registry is, otherwise it is `http://127.0.0.1:50051`.

use std::time::Duration;

use registry_client::known::event_type;
use registry_client::pb::{MetricComparison, MetricDirection, Version};
use registry_client::{Error, RegistryClient, WatchItem};
use tokio::time::timeout;

/// When a look that failed is taken again, if nothing happens before.
const AGAIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "diabetes-progression".to_owned());
    let metric = arguments.next().unwrap_or_else(|| "validation.rmse".to_owned());
    let (split, metric) = metric.split_once('.').ok_or("the metric is named SPLIT.METRIC")?;
    let endpoint = std::env::var("MODEL_REGISTRY_ENDPOINT").ok().filter(|set| !set.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let client = RegistryClient::builder(endpoint).actor("deployer").connect_lazy()?;

    // The watch stands before the first look, so that no version falls between the two.
    let mut watch = client.watch().parent(&model).types([event_type::VERSION_FINALIZED]).stream();
    let mut again = false;
    loop {
        // No event comes again for a look that failed.
        let item = match timeout(if again { AGAIN } else { Duration::MAX }, watch.try_next()).await {
            Ok(item) => item?,
            Err(_) => None,
        };
        match item {
            Some(WatchItem::Disconnected { reason }) => eprintln!("the registry is away: {reason}"),
            Some(WatchItem::Bookmark { .. }) => {}
            // The watch stands (again), or a version is there: what counts is what there is by now.
            _ => {
                let looked = promote_best(&client, &model, split, metric).await;
                again = looked.is_err();
                looked.unwrap_or_else(|error| eprintln!("not compared: {error}"));
            }
        }
    }
}

/// Promotes the best of what was published after the version in production, if it is better than that.
async fn promote_best(client: &RegistryClient, model: &str, split: &str, metric: &str) -> Result<(), Error> {
    let incumbent = match client.get_version(format!("{model}@production")).await {
        Ok(incumbent) => Some(incumbent),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let after = incumbent.as_ref().map_or(0, |incumbent| incumbent.number);
    let fresh = format!(
        "version.number > {after} && version.state == 'READY' && version.stage == 'DEVELOPMENT' \
         && {metric:?} in version.metrics[{split:?}] && !has(version.withdraw_time)"
    );
    // The newest hundred are what a comparison takes.
    let mut candidates = client.list_versions(model).filter(fresh).order_by("number desc").stream();
    let mut versions: Vec<Version> = incumbent.into_iter().collect();
    let has_incumbent = !versions.is_empty();
    while versions.len() < 100
        && let Some(candidate) = candidates.try_next().await?
    {
        versions.push(candidate);
    }
    let best = match &versions[..] {
        [] => return Ok(()),
        [_] => 0,
        several => {
            let names = several.iter().map(|version| &version.name);
            let mut compared = client.compare_versions(names).stream();
            loop {
                match compared.try_next().await? {
                    Some(row) if row.split == split && row.metric == metric => break best_of(&row),
                    Some(_) => {}
                    None => break 0,
                }
            }
        }
    };
    if best == 0 && has_incumbent {
        return Ok(());
    }
    let winner = &versions[best];
    let value = |version: &Version| version.metrics.get(split).and_then(|set| set.values.get(metric)).copied();
    let was = if has_incumbent { value(&versions[0]) } else { None };
    let comment = match (value(winner), was) {
        (Some(value), Some(was)) => format!("{split}.{metric} {value:.4}, was {was:.4}"),
        _ => format!("nothing with {split}.{metric} is in production"),
    };
    // With its etag: if somebody has touched it meanwhile, it is looked at again.
    client.promote(&winner.name).etag(&winner.etag).comment(&comment).await?;
    println!("promoted {}: {comment}", winner.name);
    Ok(())
}

/// The position of the best value; of equal ones, of the first, so that the incumbent stays.
fn best_of(row: &MetricComparison) -> usize {
    if row.direction() == MetricDirection::Unspecified {
        eprintln!("whether more of {} is better is not known: set it in the model", row.metric);
    }
    row.best.first().and_then(|best| usize::try_from(*best).ok()).unwrap_or(0)
}
