//! Object stores by URL.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig};
use url::Url;

use crate::Failure;

/// How long a request that fails is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The object store behind a URL, which has to answer, and the path in it. Credentials, endpoints and further settings come from
/// the variables that object_store knows: `AWS_...`, `GOOGLE_...`, `AZURE_...`.
pub(crate) async fn open(place: &str) -> Result<(Arc<dyn ObjectStore>, Path), Failure> {
    let url = Url::parse(place)?;
    if url.password().is_some() || url.query().is_some() {
        return Err("credentials and settings belong in the environment, not in the URL".into());
    }
    let not_understood =
        || format!("{place}: expected file:///..., s3://BUCKET/..., gs://BUCKET/... or az://CONTAINER/...");
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|_| not_understood())?;
    let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
    let objects: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new().with_fsync(true)),
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::from_env().with_url(place).with_retry(retry);
            check_endpoint(&builder).map_err(|problem| format!("{place}: {problem}"))?;
            Arc::new(builder.build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            Arc::new(GoogleCloudStorageBuilder::from_env().with_url(place).with_retry(retry).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_url(place).with_retry(retry).build()?)
        }
        _ => return Err(not_understood().into()),
    };
    match objects.head(&path).await {
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok((objects, path)),
        Err(error) => Err(format!("{place}: {error}").into()),
    }
}

/// What is wrong with the endpoint that the environment names: object_store panics at what is no URL, and tells of http only as a
/// "builder error".
fn check_endpoint(s3: &AmazonS3Builder) -> Result<(), &'static str> {
    let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let Some(endpoint) = keys.iter().find_map(|key| s3.get_config_value(key)) else { return Ok(()) };
    let http = s3.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    match Url::parse(&endpoint).as_ref().map(Url::scheme) {
        Ok("http") if http.is_none_or(|allowed| allowed == "false") => {
            Err("AWS_ENDPOINT is not https; AWS_ALLOW_HTTP=true allows that")
        }
        Ok("http" | "https") => Ok(()),
        _ => Err("AWS_ENDPOINT is no URL that begins with https:// or http://"),
    }
}
