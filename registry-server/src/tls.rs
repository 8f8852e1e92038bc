//! TLS of the server: what its certificate, its key and its clients' authorities make, read again when the files change.
//!
//! Only `ring` is used, by name: with two providers in the program, rustls panics when it has to choose one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry as Exposition, Unit};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::connections::Presented;
use crate::settings::warn_if_open;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// What is spoken behind TLS, by the names that clients ask for: HTTP/2, which gRPC needs, and what browsers and scripts fall back to.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS that new connections get.
pub(crate) type Current = watch::Receiver<Arc<ServerConfig>>;

/// The files that TLS is made of, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The server's certificate, and behind it those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// The certificate's private key.
    pub(crate) key: PathBuf,
    /// The authorities of clients: with them, a client with a certificate of another one is not served.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether a client without any certificate is served all the same.
    pub(crate) certificate_is_optional: bool,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{setting} {}: {source}", file.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has no PEM of what it should have.
    #[error("{setting} {}: no {expected} in PEM: {source}", file.display())]
    Pem {
        /// The setting that names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The certificate can't be used with the key.
    #[error("--tls-cert {} can't be used with --tls-key {}: {source}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// An authority of clients can't be used.
    #[error("--tls-client-ca {}: {problem}", file.display())]
    ClientAuthority {
        /// Which file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
}

/// The server's TLS, which follows its files.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Files,
    /// The digest of what is in force.
    digest: blake3::Hash,
    current: watch::Sender<Arc<ServerConfig>>,
    /// When the server's certificate ends, in seconds since 1970.
    expires: Gauge,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they can't be used.
    pub(crate) async fn open(files: Files) -> Result<Self, TlsError> {
        warn_if_open(&files.key, "the server's private key");
        let contents = Contents::read(&files).await?;
        let current = watch::Sender::new(Arc::new(contents.build(&files)?));
        let tls = Self { digest: contents.digest(), files, current, expires: Gauge::default() };
        tls.note_expiry(&contents);
        Ok(tls)
    }

    /// Has it told of when the certificate ends.
    pub(crate) fn expose(&self, to: &mut Exposition) {
        let expires = "When the server's certificate ends, in seconds since 1970; 0 if that can't be read";
        to.register_with_unit("tls_certificate_expiry_timestamp", expires, Unit::Seconds, self.expires.clone());
    }

    fn note_expiry(&self, Contents { certificate, .. }: &Contents) {
        let first = CertificateDer::from_pem_slice(certificate).ok().and_then(|first| Presented::read(&first));
        let since = first.and_then(|first| first.expires.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.expires.set(since.unwrap_or_default().as_secs().cast_signed());
    }

    /// What new connections get, now and later.
    pub(crate) fn current(&self) -> Current {
        self.current.subscribe()
    }

    /// Follows the files until the server drains. Files that can't be used are warned of once, and change nothing: two of them are seldom
    /// replaced in the same moment.
    pub(crate) async fn keep(mut self, mut draining: watch::Receiver<bool>) {
        let mut warned = None;
        loop {
            tokio::select! {
                // An error means that the server is gone.
                _ = draining.wait_for(|draining| *draining) => return,
                () = sleep(EVERY) => {}
            }
            match self.refresh().await {
                Ok(changed) => {
                    warned = None;
                    if changed {
                        tracing::info!("new connections get the certificates that are in the files now");
                    }
                }
                Err(error) => {
                    let problem = error.to_string();
                    if warned.as_ref() != Some(&problem) {
                        tracing::warn!(%error, "the new certificates can't be used; the old ones stay");
                        warned = Some(problem);
                    }
                }
            }
        }
    }

    /// Reads the files again. Answers whether something else is in force now: open connections go on with what they began with. The
    /// sessions that clients could resume go with the old authorities, which had let them in.
    async fn refresh(&mut self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.files).await?;
        let digest = contents.digest();
        if digest == self.digest {
            return Ok(false);
        }
        self.current.send_replace(Arc::new(contents.build(&self.files)?));
        self.note_expiry(&contents);
        self.digest = digest;
        Ok(true)
    }
}

/// The TLS of what the server connects to itself: it trusts the authorities that the system trusts.
pub(crate) fn of_clients() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

/// What is in the files.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    async fn read(files: &Files) -> Result<Self, TlsError> {
        let client_ca = match &files.client_ca {
            Some(file) => Some(read("--tls-client-ca", file).await?),
            None => None,
        };
        let certificate = read("--tls-cert", &files.certificate).await?;
        let key = Zeroizing::new(read("--tls-key", &files.key).await?);
        Ok(Self { certificate, key, client_ca })
    }

    /// A digest of all of it: times of files say less, because two changes may have the same one.
    fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [Some(&self.certificate), Some(&*self.key), self.client_ca.as_ref()].into_iter().flatten() {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }

    fn build(&self, files: &Files) -> Result<ServerConfig, TlsError> {
        let Files { certificate, key, .. } = files;
        let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(file)) => {
                let refused = |problem: String| TlsError::ClientAuthority { file: file.clone(), problem };
                let mut roots = RootCertStore::empty();
                for authority in certificates("--tls-client-ca", file, pem)? {
                    roots.add(authority).map_err(|error| refused(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if files.certificate_is_optional { verifier.allow_unauthenticated() } else { verifier };
                let verifier = verifier.build();
                builder.with_client_cert_verifier(verifier.map_err(|error| refused(error.to_string()))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = certificates("--tls-cert", certificate, &self.certificate)?;
        let secret = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem {
            setting: "--tls-key",
            file: key.clone(),
            expected: "private key",
            source,
        })?;
        // Refuses a key that is not the certificate's.
        let mut config = builder.with_single_cert(chain, secret).map_err(pair)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

async fn read(setting: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { setting, file: file.to_owned(), source };
    tokio::fs::read(file).await.map_err(unreadable)
}

/// The certificates of a file, of which there is at least one.
fn certificates(setting: &'static str, file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |source| TlsError::Pem { setting, file: file.to_owned(), expected: "certificate", source };
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if found.is_empty() { Err(refused(pem::Error::NoItemsFound)) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::generate_simple_self_signed;

    use super::*;

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn files(folder: &Path) -> Files {
        Files {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
            certificate_is_optional: false,
        }
    }

    #[tokio::test]
    async fn a_pair_counts_once_both_halves_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let (certificate, key) = pair();
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, &key).unwrap();
        let mut tls = Tls::open(files.clone()).await.unwrap();
        let current = tls.current();
        let before = Arc::clone(&current.borrow());
        assert!(!tls.refresh().await.unwrap(), "nothing has changed");

        let (certificate, key) = pair();
        fs::write(&files.certificate, certificate).unwrap();
        assert!(matches!(tls.refresh().await, Err(TlsError::Pair { .. })));
        fs::write(&files.key, &key[..key.len() / 2]).unwrap();
        assert!(matches!(tls.refresh().await, Err(TlsError::Pem { setting: "--tls-key", .. })));
        fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.refresh().await, Err(TlsError::Unreadable { setting: "--tls-key", .. })));
        assert!(Arc::ptr_eq(&before, &current.borrow()), "the old one stays");

        fs::write(&files.key, key).unwrap();
        assert!(tls.refresh().await.unwrap());
        assert!(!Arc::ptr_eq(&before, &current.borrow()));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_said_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = pair();
        let other = pair().1;
        for (certificate, key, authority, said) in [
            ("", key.as_str(), None, "--tls-cert "),
            (certificate.as_str(), "", None, "--tls-key "),
            (certificate.as_str(), other.as_str(), None, "can't be used with --tls-key "),
            (certificate.as_str(), key.as_str(), Some(""), "--tls-client-ca "),
            (certificate.as_str(), key.as_str(), Some(key.as_str()), "--tls-client-ca "),
        ] {
            let mut files = files(folder.path());
            fs::write(&files.certificate, certificate).unwrap();
            fs::write(&files.key, key).unwrap();
            if let Some(authority) = authority {
                let file = folder.path().join("clients.pem");
                fs::write(&file, authority).unwrap();
                files.client_ca = Some(file);
            }
            let found = Tls::open(files).await.unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
        }
    }
}
