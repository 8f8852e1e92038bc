//! Authorities and certificates of tests.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use registry_client::Builder;
use registry_server::config::Config;
use tempfile::TempDir;
use uuid::Uuid;

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    /// Its own one.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody knows.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self::named(&Uuid::new_v4().to_string())
    }

    /// The same with a name, which others may have too.
    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for 127.0.0.1, where the servers of tests are.
    pub fn sign(&self) -> Pair {
        self.sign_with(|_| {})
    }

    /// The same with changes.
    pub fn sign_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// The files of a server or a client: its certificate and key, and the authorities of the other side.
#[derive(Debug)]
pub struct Files(TempDir);

impl Files {
    /// Of a certificate.
    pub fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put(pair);
        files
    }

    /// Of whoever recognises others by an authority, and shows no certificate.
    pub fn trusting(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.trust(&[authority]);
        files
    }

    /// Replaces the certificate and its key.
    pub fn put(&self, pair: &Pair) {
        replace(&self.certificate(), &pair.certificate);
        replace(&self.key(), &pair.key);
    }

    /// Replaces a file that has both, in one step.
    pub fn put_together(&self, pair: &Pair) -> PathBuf {
        let file = self.0.path().join("both.pem");
        replace(&file, &(pair.certificate.clone() + &pair.key));
        file
    }

    /// Replaces the authorities of the other side.
    pub fn trust(&self, authorities: &[&Authority]) {
        let pems: Vec<_> = authorities.iter().map(|authority| authority.pem.as_str()).collect();
        replace(&self.authorities(), &pems.concat());
    }

    /// The certificate.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// The authorities of the other side.
    pub fn authorities(&self) -> PathBuf {
        self.0.path().join("authorities.pem")
    }

    /// Makes a server use them.
    pub fn serve(&self, config: &mut Config) {
        (config.tls_cert, config.tls_key) = (Some(self.certificate()), Some(self.key()));
        config.tls_client_ca = Some(self.authorities()).filter(|file| file.exists());
    }

    /// Makes a client use them.
    pub fn connect(&self, mut builder: Builder) -> Builder {
        if self.authorities().exists() {
            builder = builder.ca_file(self.authorities());
        }
        match self.certificate().exists() {
            true => builder.identity(self.certificate(), self.key()),
            false => builder,
        }
    }
}

/// As a careful program does it: a reader finds the old file or the new one.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}
