//! Configuration: flags over environment over a file over defaults.

mod flags;
mod printed;
mod sources;
#[cfg(test)]
mod tests;
mod variables;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Arg, Command, ValueEnum};
use serde::{Deserialize, Serialize};
use toml::Table;

pub use self::flags::Flags;
pub use self::sources::{ConfigError, Origin, Settings};

use crate::encryption::master::{KeyError, MasterKeys};
use crate::rules::quota::Limits;
use crate::settings::Secret;
pub use crate::settings::{
    CertificateRule, HostName, Issuer, IssuerUrl, Listen, Memory, Network, Period, Prefix, SignatureAlgorithm, Size,
    StoreChoice, WebOrigin,
};
use crate::tls::Files;

const HOUR: u64 = 60 * 60;

/// What the server can be told, with its defaults. Each has a flag, a variable `MODEL_REGISTRY_...`, and a key in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where to answer `/metrics`, `/healthz` and `/readyz` to whoever asks, besides.
    pub metrics_listen: Option<Listen>,
    /// The server's certificate, in PEM: with it, connections are TLS.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key.
    pub tls_key: Option<PathBuf>,
    /// Authorities, in PEM: a client needs a certificate of one of them.
    pub tls_client_ca: Option<PathBuf>,
    /// Which principals the certificates of clients are. With any, a client need not have one.
    pub tls_principals: Vec<CertificateRule>,
    /// Whether other machines may reach the server without TLS, or without access control.
    pub insecure: bool,
    /// Names that callers over HTTP have for the server, beside its addresses and names that are nobody's on the public internet.
    pub http_hosts: Vec<HostName>,
    /// Sites beside the server itself whose pages may call it.
    pub http_origins: Vec<WebOrigin>,
    /// The folder of the embedded store and of the artifacts.
    pub storage_path: PathBuf,
    /// Where the records are.
    pub store: StoreChoice,
    /// How many connections to a database are used for reads.
    pub store_connections: usize,
    /// How long a commit is tried for when the database fails.
    pub store_patience: Period,
    /// Where the artifacts' bytes are: a folder or the URL of an object store; in the storage path unless set.
    pub artifacts: Option<String>,
    /// Where the log is shipped to: a folder or the URL of an object store.
    pub archive: Option<String>,
    /// How often.
    pub archive_every: Period,
    /// How often garbage is collected; zero: never.
    pub gc_every: Period,
    /// How old chunks that no artifact lists have to be.
    pub gc_grace: Period,
    /// How long deleted versions keep their artifacts.
    pub purge_after: Period,
    /// How long revisions stay in the log that are in the archive; without it, for good.
    pub log_keep: Option<Period>,
    /// How long request ids are known: a repetition after that is a new request.
    pub request_id_keep: Period,
    /// A file with the master key that the keys of namespaces are wrapped with: with it, what is stored is encrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// The same key, from the environment.
    #[serde(skip_serializing)]
    pub encryption_key: Option<Secret>,
    /// Files with master keys that were used before.
    pub encryption_old_key_files: Vec<PathBuf>,
    /// How callers prove who they are, and whether they may only do what is bound to them.
    pub access: AccessChoice,
    /// An issuer whose JSON Web Tokens let callers in as well; for more than the defaults, `issuer`.
    pub oidc_issuer: Option<IssuerUrl>,
    /// What its tokens must have in `aud`.
    pub oidc_audience: Option<String>,
    /// Issuers, each with all that can be said of one.
    pub issuer: Vec<Issuer>,
    /// Where the first token is written when nobody may do anything yet.
    pub bootstrap_token_file: Option<PathBuf>,
    /// Networks that are not on the public internet, and that webhooks may be sent to all the same.
    pub webhook_allow: Vec<Network>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// How much memory the embedded store may use for pages.
    pub cache: Memory,
    /// How much memory the index may use that answers filters and orders.
    pub index_memory: Memory,
    /// The largest message that is taken.
    pub max_message_size: Size,
    /// The largest artifact that is taken; without it, any.
    pub max_artifact_size: Option<Size>,
    /// What the artifacts of a namespace without a quota of its own may add up to; without it, anything.
    pub namespace_quota: Option<Size>,
    /// How many calls may be worked on at once.
    pub max_calls: usize,
    /// How many uploads may send their bytes at once.
    pub max_uploads: usize,
    /// How many watches, downloads and other streams may be open at once.
    pub max_streams: usize,
    /// How many calls a principal may make in a second; those of ten seconds may come at once. Without it, any number.
    pub principal_rate: Option<NonZeroU32>,
    /// How many connections there may be at once; no more than half of the files that the process may open.
    pub max_connections: usize,
    /// How long a connection may be without a call.
    pub connection_idle: Period,
    /// How long a watch says nothing before it tells how far it is.
    pub bookmark_every: Period,
    /// How long a watch's snapshot is kept for a reader that takes nothing.
    pub snapshot_patience: Period,
    /// How long a call may take, if its caller's deadline is not sooner; uploads and streams may take longer.
    pub call_timeout: Period,
    /// How long an upload may wait for its next bytes.
    pub upload_idle: Period,
    /// How long calls may go on when the server is told to stop.
    pub drain: Period,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)).into(),
            metrics_listen: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_principals: Vec::new(),
            insecure: false,
            http_hosts: Vec::new(),
            http_origins: Vec::new(),
            storage_path: PathBuf::from("./registry-data"),
            store: StoreChoice::Sled,
            store_connections: 16,
            store_patience: Period::of_secs(10),
            artifacts: None,
            archive: None,
            archive_every: Period::of_secs(5),
            gc_every: Period::of_secs(HOUR),
            gc_grace: Period::of_secs(24 * HOUR),
            purge_after: Period::of_secs(30 * 24 * HOUR),
            log_keep: None,
            request_id_keep: Period::of_secs(24 * HOUR),
            encryption_key_file: None,
            encryption_key: None,
            encryption_old_key_files: Vec::new(),
            access: AccessChoice::Off,
            oidc_issuer: None,
            oidc_audience: None,
            issuer: Vec::new(),
            bootstrap_token_file: None,
            webhook_allow: Vec::new(),
            log_format: LogFormat::Human,
            log: "info".to_owned(),
            cache: Memory::Share(25),
            index_memory: Memory::Share(15),
            max_message_size: Size::of_mib(8),
            max_artifact_size: None,
            namespace_quota: None,
            max_calls: 1024,
            max_uploads: 256,
            max_streams: 4096,
            principal_rate: None,
            max_connections: 4096,
            connection_idle: Period::of_secs(10 * 60),
            bookmark_every: Period::of_secs(5),
            snapshot_patience: Period::of_secs(60),
            call_timeout: Period::of_secs(30),
            upload_idle: Period::of_secs(60),
            drain: Period::of_secs(8),
        }
    }
}

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AccessChoice {
    /// Not at all: everybody may do everything.
    Off,
    /// By a token of the registry or of an issuer, and they may do what is bound to its principal.
    Tokens,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The files of TLS, if connections are to be TLS.
    pub(crate) fn tls_files(&self) -> Option<Files> {
        let (certificate, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        let certificate_is_optional = !self.tls_principals.is_empty();
        Some(Files { certificate, key, client_ca: self.tls_client_ca.clone(), certificate_is_optional })
    }

    /// All issuers.
    pub(crate) fn issuers(&self) -> Vec<Issuer> {
        let one = self.oidc_issuer.clone().zip(self.oidc_audience.clone());
        let one = one.map(|(url, audience)| Issuer::new(url, audience));
        one.into_iter().chain(self.issuer.iter().cloned()).collect()
    }

    /// The place of the artifacts' bytes.
    pub(crate) fn artifacts_place(&self) -> String {
        let in_storage_path = || self.storage_path.join("artifacts").display().to_string();
        self.artifacts.clone().unwrap_or_else(in_storage_path)
    }

    /// The master keys.
    pub(crate) fn master_keys(&self) -> Result<MasterKeys, KeyError> {
        let file = self.encryption_key_file.as_deref();
        MasterKeys::read(file, self.encryption_key.as_ref(), &self.encryption_old_key_files)
    }

    /// How much may be stored.
    pub(crate) fn limits(&self) -> Limits {
        Limits { artifact: self.max_artifact_size.map(Size::bytes), namespace: self.namespace_quota.map(Size::bytes) }
    }
}

/// Adds to the help of each setting what it is by default.
pub fn with_defaults(command: Command) -> Command {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    command.mut_args(|arg| {
        let default = match defaults.get(arg.get_id().as_str()) {
            Some(toml::Value::String(text)) => text.clone(),
            Some(number @ toml::Value::Integer(_)) => number.to_string(),
            _ => return arg,
        };
        let add = |arg: &Arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            format!("{help} [default: {default}]")
        };
        let short = add(&arg);
        let more = arg.get_long_help().map(ToString::to_string);
        let arg = match more.as_deref().and_then(|more| more.split_once("\n\n")) {
            Some((_, more)) => arg.long_help(format!("{short}\n\n{more}")),
            None => arg,
        };
        arg.help(short)
    })
}
