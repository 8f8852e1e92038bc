//! Object stores by their URL.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpConnector;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

/// A URL at which no object store can be opened.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct UrlError {
    /// As it was given, without what may be a secret.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

impl UrlError {
    fn new(place: &str, problem: impl ToString) -> Self {
        Self { place: place.to_owned(), problem: problem.to_string() }
    }
}

/// The object store at a URL, and the path in it. Credentials, endpoints and further settings come from the variables that
/// object_store knows: `AWS_...`, `GOOGLE_...`, `AZURE_...`. Nothing is asked of the store yet.
///
/// # Errors
/// If the URL is malformed or of an unknown kind, holds a secret, or the variables do not fit together.
pub fn open(
    place: &str,
    retry: RetryConfig,
    http: impl HttpConnector,
) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
    // A URL that is refused may hold a secret: it is not printed.
    let shown = format!("{}://...", place.split("://").next().unwrap_or_default());
    let url = Url::parse(place).map_err(|error| UrlError::new(&shown, error))?;
    if url.password().is_some() || url.query().is_some() {
        return Err(UrlError::new(&shown, "credentials and settings belong in the environment, not in the URL"));
    }
    let unknown = |error: object_store::Error| UrlError::new(place, error);
    let expected = "expected a path, file:///FOLDER, s3://BUCKET/..., gs://BUCKET/... or az://CONTAINER/...";
    let not_understood = || UrlError::new(place, expected);
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|_| not_understood())?;
    let objects: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new().with_fsync(true)),
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::from_env().with_url(place).with_retry(retry);
            check_endpoint(&builder).map_err(|problem| UrlError::new(place, problem))?;
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(place).with_retry(retry);
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(place).with_retry(retry);
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        _ => return Err(not_understood()),
    };
    Ok((objects, path))
}

/// What is wrong with the endpoint in the environment. object_store panics at one that is no URL, and refuses http with nothing
/// but "builder error".
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
