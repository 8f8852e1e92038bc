//! Versions that are there before anything is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use registry_client::pb::version_service_client::VersionServiceClient;
use tonic::Status;

use super::Setup;
use super::load::run_calls;
use super::payload::{SMALL, create_request, version_of};
use crate::admin::bar;

/// Makes so many small versions of these models, as many of each, with a progress bar.
pub(super) async fn fill(setup: &Arc<Setup>, models: &[String], versions: u64) -> Result<(), Status> {
    let bar = bar("filling: {wide_bar} {human_pos}/{human_len} versions, {eta} left");
    bar.set_length(versions);
    let (setup, models, next, made) =
        (Arc::clone(setup), Arc::<[String]>::from(models), Arc::new(AtomicUsize::new(0)), bar.clone());
    let filled = run_calls(setup.options.clients, versions, move |client, _| {
        let mut service = VersionServiceClient::new(setup.registry(client));
        let model = &models[next.fetch_add(1, Ordering::Relaxed) % models.len()];
        let (request, made) = (create_request(model, version_of(SMALL)), made.clone());
        async move {
            service.create_version(request).await?;
            made.inc(1);
            Ok(())
        }
    });
    let filled = filled.await;
    bar.finish_and_clear();
    filled.map(drop)
}
