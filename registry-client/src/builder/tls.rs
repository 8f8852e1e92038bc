//! What a client is asked for of TLS.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::codegen::http::Uri;
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::Builder;
use crate::Error;
use crate::tls::{Files, Secured, Tls};
use crate::transport::Origin;

/// The port of `https://` where none is said.
const HTTPS_PORT: u16 = 443;

/// What was said about TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    of_tonic: Option<ClientTlsConfig>,
    files: Files,
}

/// What TLS is made with.
pub(super) enum Means {
    Tonic(Box<ClientTlsConfig>),
    Files(Arc<Tls>),
}

impl Means {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if they can't be used.
    pub(super) fn of(builder: &Builder) -> Result<Self, Error> {
        let Options { of_tonic, files } = &builder.tls;
        match of_tonic {
            None => Tls::open(files.clone()).map(Self::Files),
            Some(of_tonic) if *files == Files::default() => Ok(Self::Tonic(Box::new(of_tonic.clone()))),
            Some(_) => {
                let problem = "can't be used together with ca_file or identity".to_owned();
                Err(Error::InvalidOption { option: "tls", value: String::new(), problem })
            }
        }
    }

    /// Whether anything was said about TLS.
    pub(super) fn are_set(builder: &Builder) -> bool {
        let Options { of_tonic, files } = &builder.tls;
        of_tonic.is_some() || *files != Files::default()
    }

    /// The way to a server at `https://`, or what is wrong with it.
    pub(super) fn origin(&self, uri: Uri, builder: &Builder) -> Result<Origin, String> {
        match self {
            Self::Tonic(tls) => {
                let endpoint = Endpoint::from(uri).tls_config((**tls).clone());
                let endpoint = endpoint.map_err(|error| crate::error::causes(&error))?;
                Ok(Origin::Endpoint(Box::new(builder.set(endpoint))))
            }
            Self::Files(tls) => {
                let host = uri.host().unwrap_or_default();
                let dial = Secured::new(Arc::clone(tls), host, builder.tcp())?;
                // tonic adds TLS of its own to what begins with https, or refuses it; requests say https all the same.
                let address = format!("http://{host}:{}", uri.port_u16().unwrap_or(HTTPS_PORT));
                let endpoint = Endpoint::from_shared(address).map_err(|error| error.to_string())?;
                Ok(Origin::Secured(Box::new(builder.set(endpoint.origin(uri))), Box::new(dial)))
            }
        }
    }
}

impl Builder {
    /// A file with the certificates, in PEM, of the authorities that servers at `https://` are recognised by, and no other authority.
    /// Without it, the roots of the system and Mozilla's count. With it, an endpoint that begins with `http://` is refused.
    ///
    /// The file is read at once, and again for each new connection: a registry may change its authority while clients run. If it can't
    /// be used any more, what it had before is, and a warning logged.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.files.authorities = Some(file.into());
        self
    }

    /// Files with the certificate that this client shows to servers at `https://`, and behind it those between it and its authority, and
    /// with its private key, both in PEM. They are read as [`ca_file`](Self::ca_file) is; a certificate whose key has not come yet waits. One file may have both.
    pub fn identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.files.identity = Some((certificate.into(), key.into()));
        self
    }

    /// The same by tonic's means, once: for what [`ca_file`](Self::ca_file) and [`identity`](Self::identity), beside which it is refused,
    /// do not know.
    pub fn tls(mut self, tls: ClientTlsConfig) -> Self {
        self.tls.of_tonic = Some(tls);
        self
    }
}
