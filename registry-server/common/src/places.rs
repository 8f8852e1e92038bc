//! Object stores by their URL.

use std::ffi::OsString;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::HttpConnector;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use crate::shown;

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

/// What URLs begin with, those that are understood and those that people take for such.
const SCHEMES: &[&str] =
    &["file", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "memory", "ftp"];

/// The URL that a place is given by; `None` if it is a path.
///
/// # Errors
/// If it is malformed, or has a part that would not be used: a user, a password, a port, a query or a fragment.
pub fn url(place: &str) -> Result<Option<Url>, UrlError> {
    // A URL that is refused may hold a secret.
    let refused = |problem: &str| UrlError::new(&shown::url(place), problem);
    if !place.contains("://") {
        // With a slash too few it would become a folder of that name.
        return match place.split_once(':') {
            Some((scheme, _)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => Err(refused(&format!(
                "is neither a URL, which begins with {scheme}://, nor a path, such as ./{scheme}:..."
            ))),
            _ => Ok(None),
        };
    }
    let url = Url::parse(place).map_err(|error| refused(&error.to_string()))?;
    // In one form of Azure's URLs the container stands where others have a user.
    let is_user = !url.username().is_empty() && !matches!(url.scheme(), "az" | "abfs" | "abfss");
    if is_user || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(refused("credentials and settings belong in the environment, not in the URL"));
    }
    if url.port().is_some() {
        return Err(refused("has a port, which would not be used: endpoints belong in the environment"));
    }
    Ok(Some(url))
}

/// The object store at a URL, and the path in it. Credentials, endpoints and further settings come from the variables that
/// object_store knows: `AWS_...`, `GOOGLE_...`, `AZURE_...`; one that is empty is unset. Nothing is asked of the store yet.
///
/// # Errors
/// If the URL is malformed, of an unknown kind or has a part that would not be used, or the variables do not fit together.
pub fn open(
    place: &str,
    retry: RetryConfig,
    http: impl HttpConnector,
) -> Result<(Arc<dyn ObjectStore>, Path), UrlError> {
    let unknown = |error: object_store::Error| UrlError::new(place, error);
    let expected = "expected a path, file:///FOLDER, s3://BUCKET/..., gs://BUCKET/... or az://CONTAINER/...";
    let not_understood = || UrlError::new(place, expected);
    let url = url(place)?.ok_or_else(not_understood)?;
    let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|_| not_understood())?;
    let objects: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::Local => Arc::new(LocalFileSystem::new().with_fsync(true)),
        ObjectStoreScheme::AmazonS3 => {
            let set = settings("AWS_").into_iter();
            let builder = set.fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value));
            let builder = builder.with_url(place).with_retry(retry);
            check_endpoint(&builder).map_err(|problem| UrlError::new(place, problem))?;
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let account = variable("SERVICE_ACCOUNT").into_iter();
            let builder = GoogleCloudStorageBuilder::new();
            let builder = account.fold(builder, GoogleCloudStorageBuilder::with_service_account_path);
            let set = settings("GOOGLE_").into_iter();
            let builder = set.fold(builder, |builder, (key, value)| builder.with_config(key, value));
            let builder = builder.with_url(place).with_retry(retry);
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let set = settings("AZURE_").into_iter();
            let builder =
                set.fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value));
            let identity = variable("IDENTITY_ENDPOINT").into_iter();
            let builder = identity.fold(builder, MicrosoftAzureBuilder::with_msi_endpoint);
            let builder = builder.with_url(place).with_retry(retry);
            Arc::new(builder.with_http_connector(http).build().map_err(unknown)?)
        }
        _ => return Err(not_understood()),
    };
    Ok((objects, path))
}

/// The settings of one kind of store in the environment, as object_store reads them; but one that is set and empty is left out, since
/// that is how CI unsets them.
fn settings<K: FromStr>(prefix: &str) -> Vec<(K, String)> {
    let setting = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(prefix))?;
        let value = value.into_string().ok().filter(|value| !value.is_empty())?;
        Some((name.to_ascii_lowercase().parse().ok()?, value))
    };
    std::env::vars_os().filter_map(setting).collect()
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What is wrong with the endpoint in the environment. object_store panics at one that is no URL, and refuses http with nothing
/// but "builder error".
fn check_endpoint(s3: &AmazonS3Builder) -> Result<(), &'static str> {
    let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let Some(endpoint) = keys.iter().find_map(|key| s3.get_config_value(key)) else { return Ok(()) };
    let http = s3.get_config_value(&AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    let url = Url::parse(&endpoint);
    let unused = |url: &Url| {
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some()
    };
    if url.as_ref().is_ok_and(unused) {
        return Err("AWS_ENDPOINT has a user, a password, a query or a fragment, which would not be used");
    }
    match url.as_ref().map(Url::scheme) {
        Ok("http") if http.is_none_or(|allowed| allowed == "false") => {
            Err("AWS_ENDPOINT is not https; AWS_ALLOW_HTTP=true allows that")
        }
        Ok("http" | "https") => Ok(()),
        _ => Err("AWS_ENDPOINT is no URL that begins with https:// or http://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_of_a_url_would_not_be_used_is_refused_and_not_repeated() {
        for path in ["data/archive", "/data", "./s3:bucket", "C:\\data", "2026-11-26T10:00", ""] {
            assert_eq!(url(path).unwrap(), None, "{path}");
        }
        for right in
            ["s3://bucket/a/b", "file:///data", "abfss://container@account.dfs.core.windows.net/a", "gs://bucket"]
        {
            assert!(url(right).unwrap().is_some(), "{right}");
        }
        for wrong in [
            "s3://key@bucket/a",
            "s3://key:secret@bucket/a",
            "s3://key:sec/ret@bucket/secret@b",
            "s3://bucket:9000/a",
            "s3://bucket/a?secret",
            "s3://bucket/a#secret",
            "file:///data?secret",
            "file:///data#secret",
            "abfss://container:secret@account.dfs.core.windows.net/a",
            "s3:bucket/a",
            "S3:/key:secret@bucket/a",
            "file:data",
        ] {
            let Err(error) = url(wrong) else { panic!("{wrong} is taken") };
            let said = error.to_string();
            assert!(!said.contains("secret") && !said.contains("ret@"), "{said}");
        }
    }
}
