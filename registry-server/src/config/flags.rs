//! The settings as flags, in groups as the help has them. The help of a setting is here, once; its default is in [`Config`].
//!
//! [`Config`]: super::Config

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Arg, Args, Command};
use serde::Serialize;

use super::{AccessChoice, LogFormat};
use crate::settings::{
    CertificateRule, HostName, IssuerUrl, Listen, Memory, Network as Addresses, Period, Size, WebOrigin,
};

/// All settings that a flag can give.
#[derive(Debug, Default, Args, Serialize)]
pub struct Flags {
    /// A TOML file with settings: the flags' names with `_`; `registry-server config` prints one [env: MODEL_REGISTRY_CONFIG]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Network")]
    #[serde(flatten)]
    network: Network,
    #[command(flatten, next_help_heading = "Store")]
    #[serde(flatten)]
    store: Store,
    #[command(flatten, next_help_heading = "Artifacts")]
    #[serde(flatten)]
    artifacts: Artifacts,
    #[command(flatten, next_help_heading = "Archive")]
    #[serde(flatten)]
    archive: Archive,
    #[command(flatten, next_help_heading = "Encryption")]
    #[serde(flatten)]
    encryption: Encryption,
    #[command(flatten, next_help_heading = "Access")]
    #[serde(flatten)]
    access: Access,
    #[command(flatten, next_help_heading = "Webhooks")]
    #[serde(flatten)]
    webhooks: Webhooks,
    #[command(flatten, next_help_heading = "Garbage")]
    #[serde(flatten)]
    garbage: Garbage,
    #[command(flatten, next_help_heading = "Limits")]
    #[serde(flatten)]
    limits: Limits,
    #[command(flatten, next_help_heading = "Time limits")]
    #[serde(flatten)]
    times: Times,
    #[command(flatten, next_help_heading = "Log")]
    #[serde(flatten)]
    log: Log,
}

#[derive(Debug, Default, Args, Serialize)]
struct Network {
    /// Where to listen: HOST:PORT; port 0 picks a free one, :PORT is every interface
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Listen>,
    /// Also answer /metrics, /healthz and /readyz here, without TLS and to whoever asks: 127.0.0.1:9464. There is nothing else of the
    /// registry on this port
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<Listen>,
    /// The server's certificate in PEM, behind it those between it and its authority: connections are TLS. It is read again when it changes
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Authorities of clients, in PEM: only clients with a certificate of theirs are served
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Which principal the certificates of clients are, by their SPIFFE URI or their common name:
    /// spiffe://corp.example/sa/{id}=services/{id}, CN={id}=users/{id}; may be given several times. Who shows no certificate needs a token
    #[arg(long = "tls-principal", value_name = "NAME=PRINCIPAL")]
    tls_principals: Vec<CertificateRule>,
    /// Listen to other machines also without TLS or without --access; without it, such a start is refused
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    insecure: Option<bool>,
    /// A name that HTTP callers have for the server: models.example.com; may be given several times. Addresses, names without a dot, and
    /// those under local, internal and the like need none of it, and with --access any name will do
    #[arg(id = "http_hosts", long = "http-host", value_name = "NAME")]
    http_hosts: Vec<HostName>,
    /// Another site whose pages may call the server: https://ui.example.com; may be given several times
    #[arg(id = "http_origins", long = "http-origin", value_name = "ORIGIN")]
    http_origins: Vec<WebOrigin>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Store {
    /// The folder of the embedded store and, unless --artifacts says otherwise, of the artifacts; made if missing
    #[arg(long, value_name = "FOLDER")]
    storage_path: Option<PathBuf>,
    /// Where the records are: `sled`, embedded, or postgres://... for several servers on one database
    ///
    /// Several hosts may be named, separated by commas: the one that takes writes is used. `sslmode` (disable, prefer, require,
    /// verify-ca, verify-full) and `sslrootcert` are as libpq has them. The schema is the first of the search path. Others can see the
    /// flags of a process: a URL with a password belongs into MODEL_REGISTRY_STORE or the file.
    // A text for clap, which would repeat what it can't parse.
    #[arg(long, value_name = "sled|URL")]
    store: Option<String>,
    /// How many connections to a database to use for reads
    #[arg(long, value_name = "N")]
    store_connections: Option<usize>,
    /// How long to try a commit for when the database fails
    #[arg(long, value_name = "TIME")]
    store_patience: Option<Period>,
    /// How much memory the embedded store may use for pages: a size, or a part of what there is (in the machine or, if less, for its
    /// cgroup)
    #[arg(long, value_name = "SIZE|N%")]
    cache: Option<Memory>,
    /// How much memory the index may use that answers filters and orders; if it needs more there is none, and filters look at one record
    /// after the other
    #[arg(long, value_name = "SIZE|N%")]
    index_memory: Option<Memory>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Artifacts {
    /// Where the artifacts' bytes are: a folder, or s3://BUCKET/PREFIX, gs://... or az://..., for several servers [default: in the
    /// storage path]
    ///
    /// Credentials and endpoints come from the environment: AWS_..., GOOGLE_..., AZURE_... For S3-compatible stores set AWS_ENDPOINT.
    #[arg(long, value_name = "FOLDER|URL")]
    artifacts: Option<String>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Archive {
    /// Ship the log to a folder or the URL of an object store, with the artifacts' bytes: a lost disk costs what was not shipped yet
    #[arg(long, value_name = "FOLDER|URL")]
    archive: Option<String>,
    /// How often to ship it
    #[arg(long, value_name = "TIME")]
    archive_every: Option<Period>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Encryption {
    /// Encrypt what is stored, under the master key in this file, or the one in MODEL_REGISTRY_ENCRYPTION_KEY; see `new-key`
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// A master key that is replaced by the other one, or will be; may be given several times
    #[arg(id = "encryption_old_key_files", long = "encryption-old-key-file", value_name = "FILE")]
    encryption_old_key_files: Vec<PathBuf>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Access {
    /// How callers prove who they are: `off`, not at all, and everybody may do everything; `tokens`, by a token, and they may do what is
    /// bound to its principal
    #[arg(long, value_enum)]
    access: Option<AccessChoice>,
    /// An issuer of OpenID Connect whose JSON Web Tokens let callers in as well: its URL, letter by letter as its tokens have it in `iss`
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<IssuerUrl>,
    /// What the tokens of --oidc-issuer must have in `aud`
    #[arg(long, value_name = "AUDIENCE")]
    oidc_audience: Option<String>,
    /// Where to write a token of `users/admin` that may do everything, if there is no binding yet; a token that is in the file is used
    #[arg(long, value_name = "FILE")]
    bootstrap_token_file: Option<PathBuf>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Webhooks {
    /// A network that is not on the public internet, and that webhooks may be sent to all the same, also without TLS: 10.1.0.0/16; may be
    /// given several times
    #[arg(long, value_name = "CIDR")]
    webhook_allow: Vec<Addresses>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Garbage {
    /// How often to forget request ids, purge old versions and remove chunks that no artifact lists; 0s: never
    #[arg(long, value_name = "TIME")]
    gc_every: Option<Period>,
    /// How old chunks that no artifact lists have to be; more than any upload takes
    #[arg(long, value_name = "TIME")]
    gc_grace: Option<Period>,
    /// How long deleted versions keep their artifacts, and can be undeleted
    #[arg(long, value_name = "TIME")]
    purge_after: Option<Period>,
    /// How long revisions stay in the log that are in the archive, for example 90days; needs --archive [default: for good]
    #[arg(long, value_name = "TIME")]
    log_keep: Option<Period>,
    /// How long request ids are known: a request that is repeated after that happens again
    #[arg(long, value_name = "TIME")]
    request_id_keep: Option<Period>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Limits {
    /// The largest artifact that is taken, for example 10GiB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    max_artifact_size: Option<Size>,
    /// What the artifacts of a namespace without a quota of its own may add up to, for example 1TiB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    namespace_quota: Option<Size>,
    /// The largest message that is taken
    #[arg(long, value_name = "SIZE")]
    max_message_size: Option<Size>,
    /// How many calls may be worked on at once
    #[arg(long, value_name = "N")]
    max_calls: Option<usize>,
    /// How many uploads may send their bytes at once
    #[arg(long, value_name = "N")]
    max_uploads: Option<usize>,
    /// How many watches, downloads and other streams may be open at once
    #[arg(long, value_name = "N")]
    max_streams: Option<usize>,
    /// How many calls a second one principal may make, with --access [default: no limit]. Those of ten seconds may come at once, more are
    /// refused with RATE_LIMITED
    #[arg(long, value_name = "N")]
    principal_rate: Option<NonZeroU32>,
    /// How many connections there may be at once; no more than half of the files that the process may open
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Times {
    /// How long a call may take, if its caller's deadline is not sooner; uploads and streams may take longer
    #[arg(long, value_name = "TIME")]
    call_timeout: Option<Period>,
    /// How long an upload may wait for its next bytes
    #[arg(long, value_name = "TIME")]
    upload_idle: Option<Period>,
    /// How long a connection may be without a call
    #[arg(long, value_name = "TIME")]
    connection_idle: Option<Period>,
    /// How long a watch says nothing before it tells how far it is
    #[arg(long, value_name = "TIME")]
    bookmark_every: Option<Period>,
    /// How long a watch's snapshot is kept for a reader that takes nothing
    #[arg(long, value_name = "TIME")]
    snapshot_patience: Option<Period>,
    /// How long calls may go on when the server is told to stop
    #[arg(long, value_name = "TIME")]
    drain: Option<Period>,
}

#[derive(Debug, Default, Args, Serialize)]
struct Log {
    /// Which log lines there are: a level (`debug`) is for the registry's own lines, a filter (`registry_server=debug,sled=info`) for
    /// all
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

/// A setting, as the help tells of it.
pub(super) struct Described {
    /// Its key in the file.
    pub(super) key: String,
    pub(super) help: String,
    pub(super) group: String,
}

/// The settings that have no flag: behind which each is listed, its key and its help.
const WITHOUT_FLAG: [(&str, &str, &str); 2] = [
    (
        "encryption_key_file",
        "encryption_key",
        "The master key itself, in base64 or hex; it has no flag, because others can see the flags of a process",
    ),
    (
        "oidc_audience",
        "issuer",
        "Issuers with all that can be said of each, as tables [[issuer]] with url, audience and more; only in a file",
    ),
];

/// All settings, in the order of the help.
pub(super) fn described() -> Vec<Described> {
    let command = Flags::augment_args(Command::new("settings"));
    let is_setting = |arg: &&Arg| arg.get_help_heading().is_some();
    let of = |arg: &Arg| {
        let group = arg.get_help_heading().unwrap_or_default().to_owned();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let behind = WITHOUT_FLAG.into_iter().find(|(behind, ..)| arg.get_id() == *behind);
        let other =
            behind.map(|(_, key, help)| Described { key: key.to_owned(), help: help.to_owned(), group: group.clone() });
        [Some(Described { key: arg.get_id().to_string(), help, group }), other].into_iter().flatten()
    };
    command.get_arguments().filter(is_setting).flat_map(of).collect()
}

/// The long flag of a setting, if it has one.
pub(super) fn flag(key: &str) -> String {
    let command = Flags::augment_args(Command::new("settings"));
    let arg = command.get_arguments().find(|arg| arg.get_id() == key);
    format!("--{}", arg.and_then(Arg::get_long).unwrap_or(key))
}
