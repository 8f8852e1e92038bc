//! Object stores by URL.

use std::sync::Arc;
use std::time::Duration;

use object_store::client::ReqwestConnector;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig};
use registry_common::places;

use crate::Failure;

/// How long a request that fails is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The object store at a URL, which has to answer, and the path in it.
pub(crate) async fn open(place: &str) -> Result<(Arc<dyn ObjectStore>, Path), Failure> {
    let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
    let (objects, path) = places::open(place, retry, ReqwestConnector::default())?;
    match objects.head(&path).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok((objects, path)),
        Err(error) => Err(format!("{place}: {error}").into()),
    }
}
