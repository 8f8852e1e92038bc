//! What is wrong when an object store fails.
//!
//! object_store has variants for the failures of single objects. Other answers, and all answers to a listing, become an error
//! whose status is private: so they are caught on the way, and found again in the error's sources.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientConfigKey, ClientOptions};

use super::settling::{self, Deletion};

/// How long a store may take to answer, or to go on with an answer.
const STALL: Duration = Duration::from_secs(10);

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The object is not there, or the bucket.
    Missing,
    /// The credentials don't suffice.
    Denied,
    /// Nothing more fits in.
    Full,
    /// It may work later: there was no answer, or one that says so.
    Unreachable,
    /// Something else.
    Other,
}

impl Display for Trouble {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "it does not exist",
            Self::Denied => "access is denied",
            Self::Full => "it is full",
            Self::Unreachable => "it can't be reached",
            Self::Other => "it can't be used",
        })
    }
}

impl Trouble {
    /// What is behind an error.
    pub(crate) fn of(error: &object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => return Self::Missing,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                return Self::Denied;
            }
            _ => {}
        }
        // The outermost one says most: below an `HttpError` is what the network says.
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = source {
            if let Some(trouble) = Self::of_source(error) {
                return trouble;
            }
            source = error.source();
        }
        Self::Other
    }

    fn of_source(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return Some(match error.source().and_then(|source| source.downcast_ref::<Refusal>()) {
                Some(refusal) => refusal.trouble(),
                None if error.kind() == HttpErrorKind::Unknown => Self::Other,
                None => Self::Unreachable,
            });
        }
        match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Full),
            io::ErrorKind::PermissionDenied => Some(Self::Denied),
            _ => None,
        }
    }
}

/// An answer that refuses.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {body}")]
struct Refusal {
    status: StatusCode,
    body: String,
}

impl Refusal {
    /// What S3 calls the error, as do Google and Azure.
    fn code(&self) -> Option<&str> {
        settling::codes(&self.body).next()
    }

    fn trouble(&self) -> Trouble {
        match (self.status, self.code()) {
            (StatusCode::INSUFFICIENT_STORAGE, _) | (_, Some("QuotaExceeded")) => Trouble::Full,
            (StatusCode::NOT_FOUND, _) => Trouble::Missing,
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Trouble::Denied,
            _ if self.is_passing() => Trouble::Unreachable,
            _ => Trouble::Other,
        }
    }

    /// Whether the same request may succeed later.
    fn is_passing(&self) -> bool {
        match self.status {
            StatusCode::INSUFFICIENT_STORAGE => false,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => true,
            status => status.is_server_error(),
        }
    }

    /// Whether object_store has a variant for it, or acts on it.
    fn has_variant(&self) -> bool {
        match self.status {
            StatusCode::NOT_FOUND => !matches!(self.code(), Some("NoSuchBucket" | "ContainerNotFound")),
            // To a HEAD there is no more than the status.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.code().is_none(),
            status => matches!(status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED),
        }
    }
}

/// Makes the clients of object stores.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Bytes may flow for as long as they like, if only they flow: an artifact can be of any size.
        let mut options = options.clone().with_timeout_disabled();
        if options.get_config_value(&ClientConfigKey::ReadTimeout).is_none() {
            options = options.with_read_timeout(STALL);
        }
        Ok(HttpClient::new(Service(ReqwestConnector::default().connect(&options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().clone();
        let deletion = Deletion::sent(&method);
        let response = match self.0.execute(request).await {
            Err(error) if error.kind() == HttpErrorKind::Connect => {
                // It was not sent after all.
                if let Some(deletion) = deletion {
                    deletion.settle();
                }
                return Err(error);
            }
            response => response?,
        };
        let refused = response.status().is_client_error() || response.status().is_server_error();
        if !refused && deletion.is_none() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        let mut refusal = Refusal { status: parts.status, body: String::from_utf8_lossy(&body).into_owned() };
        if let Some(deletion) = deletion
            && settling::settles(&method, refusal.status, &refusal.body)
        {
            deletion.settle();
        }
        if !refused {
            if !settling::codes(&refusal.body).any(|code| code == settling::SLOW_DOWN) {
                return Ok(HttpResponse::from_parts(parts, body.into()));
            }
            // Some objects are deleted. To ask again for all of them does no harm.
            refusal.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        if refusal.has_variant() {
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        // object_store tries a request again that was not sent, and nothing of an unknown kind.
        let kind = if refusal.is_passing() { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
        Err(HttpError::new(kind, refusal))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::path::Path;
    use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt as _, RetryConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A store at an address that tries each request twice.
    fn store(port: u16) -> AmazonS3 {
        let backoff = BackoffConfig { max_backoff: Duration::from_millis(1), ..BackoffConfig::default() };
        let options = ClientOptions::new().with_allow_http(true).with_read_timeout(Duration::from_millis(500));
        AmazonS3Builder::new()
            .with_url("s3://bucket")
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_client_options(options)
            .with_http_connector(Connector)
            .with_retry(RetryConfig { backoff, max_retries: 1, retry_timeout: Duration::from_secs(60) })
            .build()
            .unwrap()
    }

    /// A store that gives these answers, a connection each, and none after them.
    async fn answering(answers: Vec<String>) -> AmazonS3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    connection.read_buf(&mut request).await.unwrap();
                }
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
            // Connections are taken, and nothing comes of them.
            std::future::pending::<()>().await;
            drop(listener);
        });
        store(port)
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn refusal(status: &str, code: &str) -> String {
        answer(status, &format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"))
    }

    async fn list(store: &AmazonS3) -> Trouble {
        Trouble::of(&store.list(None).try_next().await.unwrap_err())
    }

    async fn get(store: &AmazonS3) -> object_store::Error {
        store.get(&Path::from("object")).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_its_status_and_its_code() {
        for (status, code, trouble) in [
            ("404 Not Found", "NoSuchBucket", Trouble::Missing),
            ("401 Unauthorized", "AuthenticationFailed", Trouble::Denied),
            ("403 Forbidden", "AccessDenied", Trouble::Denied),
            ("403 Forbidden", "QuotaExceeded", Trouble::Full),
            ("507 Insufficient Storage", "XMinioStorageFull", Trouble::Full),
            ("400 Bad Request", "AuthorizationHeaderMalformed", Trouble::Other),
        ] {
            // Asked once: a second request would not be answered, and be UNREACHABLE.
            let answers = || answering(vec![refusal(status, code)]);
            assert_eq!(list(&answers().await).await, trouble, "{status} {code}");
            assert_eq!(Trouble::of(&get(&answers().await).await), trouble, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn a_missing_object_is_told_from_a_missing_bucket() {
        let error = get(&answering(vec![refusal("404 Not Found", "NoSuchKey")]).await).await;
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error:?}");
        assert_eq!(Trouble::of(&error), Trouble::Missing);
        // Whoever takes one for the other takes every artifact for lost.
        let error = get(&answering(vec![refusal("404 Not Found", "NoSuchBucket")]).await).await;
        assert!(!matches!(error, object_store::Error::NotFound { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_head_has_no_more_than_its_status() {
        for (status, trouble) in [("404 Not Found", Trouble::Missing), ("403 Forbidden", Trouble::Denied)] {
            let store = answering(vec![answer(status, "")]).await;
            assert_eq!(Trouble::of(&store.head(&Path::from("object")).await.unwrap_err()), trouble, "{status}");
        }
    }

    #[tokio::test]
    async fn what_passes_is_tried_again() {
        for status in ["503 Service Unavailable", "500 Internal Server Error", "429 Too Many Requests"] {
            let refusal = || refusal(status, "SlowDown");
            assert_eq!(list(&answering(vec![refusal(), refusal()]).await).await, Trouble::Unreachable, "{status}");
            let found = answer("200 OK", "");
            let found =
                found.replacen("\r\n", "\r\nlast-modified: Sat, 21 Nov 2026 12:00:00 GMT\r\netag: \"1\"\r\n", 1);
            let store = answering(vec![refusal(), found]).await;
            assert_eq!(store.get(&Path::from("object")).await.unwrap().bytes().await.unwrap(), "", "{status}");
        }
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_unreachable() {
        assert_eq!(list(&answering(Vec::new()).await).await, Trouble::Unreachable);
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        assert_eq!(list(&store(port)).await, Trouble::Unreachable, "nobody is there");
    }

    #[test]
    fn a_full_disk_is_full() {
        for (kind, trouble) in [
            (io::ErrorKind::StorageFull, Trouble::Full),
            (io::ErrorKind::QuotaExceeded, Trouble::Full),
            (io::ErrorKind::PermissionDenied, Trouble::Denied),
            (io::ErrorKind::IsADirectory, Trouble::Other),
        ] {
            let error = object_store::Error::Generic { store: "disk", source: io::Error::from(kind).into() };
            assert_eq!(Trouble::of(&error), trouble, "{kind}");
        }
    }
}
