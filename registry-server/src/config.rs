//! Configuration: flags over environment over a file over defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::encryption::master::{KeyError, MasterKeys};
use crate::rules::quota::Limits;
pub use crate::settings::{Period, Size, StoreChoice};
use crate::settings::{Secret, warn_if_open};

/// The variable that names the file with settings.
const CONFIG: &str = "MODEL_REGISTRY_CONFIG";

const HOUR: u64 = 60 * 60;

/// What the server can be told, with its defaults. Each has a flag, a variable `MODEL_REGISTRY_...`, and a key in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
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
    /// A file with the master key that the keys of namespaces are wrapped with: with it, what is stored is encrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// The same key, from the environment.
    #[serde(skip_serializing)]
    pub encryption_key: Option<Secret>,
    /// Files with master keys that were used before.
    pub encryption_old_key_files: Vec<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines there are, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// How much memory the embedded store may use for pages.
    pub cache: Size,
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
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
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
            encryption_key_file: None,
            encryption_key: None,
            encryption_old_key_files: Vec::new(),
            log_format: LogFormat::Human,
            log: "info".to_owned(),
            cache: Size::of_mib(256),
            max_message_size: Size::of_mib(8),
            max_artifact_size: None,
            namespace_quota: None,
            max_calls: 1024,
            max_uploads: 256,
            max_streams: 4096,
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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The settings as flags.
#[derive(Debug, Default, Args, Serialize)]
pub struct Flags {
    /// A TOML file with settings: the flags' names with `_` [env: MODEL_REGISTRY_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one [default: 127.0.0.1:50051]
    #[arg(long, global = true, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// The folder of the embedded store and, unless --artifacts says otherwise, of the artifacts; made if missing [default: ./registry-data]
    #[arg(long, global = true, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_path: Option<PathBuf>,
    /// Where the records are: `sled`, embedded, or postgres://... for several servers on one database [default: sled]
    ///
    /// Several hosts may be named, separated by commas: the one that takes writes is used. `sslmode` (disable, prefer, require,
    /// verify-ca, verify-full) and `sslrootcert` are as libpq has them. The schema is the first of the search path. Others can see the
    /// flags of a process: a URL with a password belongs into MODEL_REGISTRY_STORE or the file.
    // A text for clap, which would repeat what it can't parse.
    #[arg(long, global = true, value_name = "sled|URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// How many connections to a database to use for reads [default: 16]
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_connections: Option<usize>,
    /// How long to try a commit for when the database fails [default: 10s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_patience: Option<Period>,
    /// Where the artifacts' bytes are: a folder, or s3://BUCKET/PREFIX, gs://... or az://..., for several servers [default: in the
    /// storage path]
    ///
    /// Credentials and endpoints come from the environment: AWS_..., GOOGLE_..., AZURE_... For S3-compatible stores set AWS_ENDPOINT.
    #[arg(long, global = true, value_name = "FOLDER|URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<String>,
    /// Ship the log to a folder or the URL of an object store, with the artifacts' bytes: a lost disk costs what was not shipped yet
    #[arg(long, global = true, value_name = "FOLDER|URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<String>,
    /// How often to ship it [default: 5s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    archive_every: Option<Period>,
    /// How often to purge old versions and remove chunks that no artifact lists; 0s: never [default: 1h]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gc_every: Option<Period>,
    /// How old chunks that no artifact lists have to be; more than any upload takes [default: 24h]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gc_grace: Option<Period>,
    /// How long deleted versions keep their artifacts, and can be undeleted [default: 30days]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_after: Option<Period>,
    /// Encrypt what is stored, under the master key in this file, or the one in MODEL_REGISTRY_ENCRYPTION_KEY; see `new-key`
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_key_file: Option<PathBuf>,
    /// A master key that is replaced by the other one, or will be; may be given several times
    #[arg(long = "encryption-old-key-file", global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    encryption_old_key_files: Vec<PathBuf>,
    /// How log lines look [default: human]
    #[arg(long, global = true, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
    /// Which log lines there are, for example `debug` or `registry_server=debug,warn` [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// How much memory the embedded store may use for pages [default: 256MiB]
    #[arg(long, global = true, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Size>,
    /// The largest message that is taken [default: 8MiB]
    #[arg(long, global = true, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message_size: Option<Size>,
    /// The largest artifact that is taken, for example 10GiB [default: no limit]
    #[arg(long, global = true, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_artifact_size: Option<Size>,
    /// What the artifacts of a namespace without a quota of its own may add up to, for example 1TiB [default: no limit]
    #[arg(long, global = true, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_quota: Option<Size>,
    /// How many calls may be worked on at once [default: 1024]
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_calls: Option<usize>,
    /// How many uploads may send their bytes at once [default: 256]
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uploads: Option<usize>,
    /// How many watches, downloads and other streams may be open at once [default: 4096]
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_streams: Option<usize>,
    /// How many connections there may be at once; no more than half of the files that the process may open [default: 4096]
    #[arg(long, global = true, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<usize>,
    /// How long a connection may be without a call [default: 10m]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_idle: Option<Period>,
    /// How long a watch says nothing before it tells how far it is [default: 5s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bookmark_every: Option<Period>,
    /// How long a watch's snapshot is kept for a reader that takes nothing [default: 60s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_patience: Option<Period>,
    /// How long a call may take; uploads and streams may take longer [default: 30s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    call_timeout: Option<Period>,
    /// How long an upload may wait for its next bytes [default: 1m]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_idle: Option<Period>,
    /// How long calls may go on when the server is told to stop [default: 8s]
    #[arg(long, global = true, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Period>,
}

impl Flags {
    /// The file with settings, if one is named.
    fn file(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(CONFIG).filter(|file| !file.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(variable)
    }
}

impl Config {
    /// The settings that come of these flags, the environment and the file.
    ///
    /// # Errors
    /// If the file can't be read, or a setting is unknown or has no meaning.
    pub fn load(flags: &Flags) -> Result<Self, Box<figment::Error>> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = flags.file() {
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("MODEL_REGISTRY_").ignore(&["config", "endpoint", "actor"]);
        // One that is set but empty is as one that is not: that is how CI unsets them.
        let set = environment.iter().filter(|(_, value)| !value.is_empty());
        let set: Vec<_> = set.map(|(name, _)| name.into_string()).collect();
        let environment = environment.only(&set.iter().map(String::as_str).collect::<Vec<_>>());
        figment.merge(environment).merge(Serialized::defaults(flags)).extract().map_err(Box::new)
    }

    /// Logs what is wrong with how the settings are kept: secrets in a file that others may read.
    pub fn warn(flags: &Flags) {
        let Some(file) = flags.file() else { return };
        let settings = Figment::from(Toml::file_exact(&file));
        let store = settings.extract_inner::<String>("store").unwrap_or_default();
        if settings.contains("encryption_key") || store.contains('@') {
            warn_if_open(&file, "the secrets in the settings");
        }
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

#[cfg(test)]
mod tests;
