//! TLS of the client: how servers at `https://` are recognised, and this client to them, by files that are read again for each connection.
//!
//! Only `ring` is used, by name: with two providers in the program, rustls panics when it has to choose one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as RustlsError, RootCertStore};
use tonic::codegen::http::Uri;
use tonic::codegen::{Service, StdError};
use tracing::warn;

use crate::Error;
use crate::line::{Line, Trouble};

/// What is spoken behind TLS: HTTP/2, which gRPC servers know by this name.
const PROTOCOL: &[u8] = b"h2";

/// The files that TLS is made of, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// The authorities of servers; without them, the roots of the system and Mozilla's count.
    pub(crate) authorities: Option<PathBuf>,
    /// The certificate that the client shows, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// What the files say, as of the last time when they could be used.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    contents: Contents,
    config: Arc<ClientConfig>,
    /// What was wrong at the last look, so that it is said once.
    problem: Option<String>,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if they can't be used.
    pub(crate) fn open(files: Files) -> Result<Arc<Self>, Error> {
        let contents = Contents::read(&files)?;
        let config = contents.build(&files)?;
        Ok(Arc::new(Self { files, last: Mutex::new(Last { contents, config, problem: None }) }))
    }

    /// What the next connection gets. Files that can't be used leave what there is.
    async fn config(self: &Arc<Self>) -> Arc<ClientConfig> {
        let this = Arc::clone(self);
        // Reads files. It fails if the runtime ends, or what it does panics.
        let refreshed = tokio::task::spawn_blocking(move || this.refresh()).await;
        if let Ok(Err(error)) = refreshed {
            let (mut last, problem) = (self.last(), error.to_string());
            if last.problem.as_ref() != Some(&problem) {
                warn!(problem, "the files of TLS can't be used, what they had before is");
                last.problem = Some(problem);
            }
        }
        Arc::clone(&self.last().config)
    }

    fn refresh(&self) -> Result<(), Error> {
        let contents = Contents::read(&self.files)?;
        // What has not changed stays, and with it the sessions that can be resumed.
        if contents != self.last().contents {
            let config = contents.build(&self.files)?;
            *self.last() = Last { contents, config, problem: None };
        }
        Ok(())
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key.
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, Error> {
        let authorities = files.authorities.as_ref().map(|file| read(CA_FILE, file)).transpose()?;
        let identity = match &files.identity {
            Some((certificate, key)) => Some((read(CERTIFICATE, certificate)?, read(KEY, key)?)),
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    fn build(&self, files: &Files) -> Result<Arc<ClientConfig>, Error> {
        let roots = match (&self.authorities, &files.authorities) {
            (Some(pem), Some(file)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(CA_FILE, file, pem)? {
                    roots.add(authority).map_err(|error| invalid(CA_FILE, file, &error))?;
                }
                roots
            }
            _ => public_roots(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| invalid("tls", Path::new(""), &error))?.with_root_certificates(roots);
        let mut config = match (&self.identity, &files.identity) {
            (Some((certificate, key)), Some((certificate_file, key_file))) => {
                let chain = certificates(CERTIFICATE, certificate_file, certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| invalid(KEY, key_file, &format!("has no private key in PEM: {error}")))?;
                // Refuses a key that is not the certificate's.
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let problem = format!("can't be used with the key {}: {error}", key_file.display());
                    invalid(CERTIFICATE, certificate_file, &problem)
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

// Options, as errors name them.
const CA_FILE: &str = "ca_file";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "client key";

fn invalid(option: &'static str, file: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::InvalidOption { option, value: file.display().to_string(), problem: problem.to_string() }
}

fn read(option: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| invalid(option, file, &error))
}

/// The certificates of a file, of which there is at least one.
fn certificates(option: &'static str, file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refused = |error: pem::Error| invalid(option, file, &format!("has no certificate in PEM: {error}"));
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if found.is_empty() { Err(refused(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// The roots of the system and Mozilla's. Of the system's, those that can't be read are left out: it may have none.
fn public_roots() -> RootCertStore {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Makes connections to one server, with TLS.
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    tls: Arc<Tls>,
    server: ServerName<'static>,
    tcp: HttpConnector,
    pub(crate) trouble: Trouble,
}

impl Secured {
    /// `host` is the server's name as its certificate has it. If that is neither a name nor an address, the error says so.
    pub(crate) fn new(tls: Arc<Tls>, host: &str, tcp: HttpConnector) -> Result<Self, String> {
        let server = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        Ok(Self { tls, server: server.map_err(|error| error.to_string())?, tcp, trouble: Trouble::default() })
    }
}

impl Service<Uri> for Secured {
    type Response = TokioIo<Line<TlsStream<TcpStream>>>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Self::Response, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, server, trouble) = (Arc::clone(&self.tls), self.server.clone(), self.trouble.clone());
        let connecting = self.tcp.call(uri);
        Box::pin(async move {
            let stream = connecting.await.inspect_err(|_| trouble.end())?.into_inner();
            let connector = TlsConnector::from(tls.config().await);
            let stream = connector.connect(server, stream).await.inspect_err(|_| trouble.end()).map_err(Unsafe::of)?;
            match stream.get_ref().1.alpn_protocol() {
                Some(PROTOCOL) => Ok(TokioIo::new(Line::new(stream, trouble))),
                _ => Err(Unsafe::NoHttp2.into()),
            }
        })
    }
}

/// Why there is no connection with TLS, in words that say what to do.
#[derive(Debug, thiserror::Error)]
enum Unsafe {
    #[error(
        "the server's certificate is signed by an authority that is not trusted here: ca_file names those that are"
    )]
    UnknownAuthority,
    #[error("the server's certificate has expired, or this machine's clock is wrong")]
    Expired,
    #[error("the server's certificate is not valid yet, or this machine's clock is wrong")]
    NotYetValid,
    #[error("the server's certificate is for {presented}, and not for {expected}")]
    OtherName { presented: String, expected: String },
    #[error("the server does not speak TLS: is it one of http://?")]
    Plain,
    #[error("the server does not speak HTTP/2 behind TLS")]
    NoHttp2,
    #[error("no TLS: {0}")]
    Other(io::Error),
}

impl Unsafe {
    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|error| error.downcast_ref::<RustlsError>()) {
            Some(RustlsError::InvalidCertificate(problem)) => match problem {
                // The second one is of an authority of the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForNameContext { expected, presented } => Self::OtherName {
                    presented: if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") },
                    expected: expected.to_str().into_owned(),
                },
                _ => Self::Other(error),
            },
            Some(RustlsError::InvalidMessage(_)) => Self::Plain,
            _ => Self::Other(error),
        }
    }
}
