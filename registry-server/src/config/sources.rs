//! Where settings come from: defaults, a file, the environment, flags; each over the one before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::error::{Actual, Kind};
use figment::value::{Dict, Empty, Value};
use registry_common::shown;
use serde::Serialize;

use super::flags::{Flags, described, flag};
use super::variables::{PREFIX, Variable, meant, nearest};
use super::{AccessChoice, Config};
use crate::settings::{check_issuers, warn_if_open};

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What they are.
    pub config: Config,
    pub(super) origins: BTreeMap<String, Origin>,
    /// Variables that look like settings and are none, as messages.
    pub(super) unknown: Vec<String>,
    /// Variables that Kubernetes makes of Services.
    pub(super) of_services: Vec<String>,
    pub(super) file: Option<PathBuf>,
}

/// A setting that can't be used. No value of a secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file with settings can't be read.
    #[error("{}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {problem}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file has a key that is no setting.
    #[error("{}: {key} is not a setting{}", file.display(), meant(near.as_deref()))]
    Unknown {
        /// Which.
        file: PathBuf,
        /// The key.
        key: String,
        /// The setting that was probably meant.
        near: Option<String>,
    },
    /// A setting has a value without a meaning.
    #[error("{origin}: {problem}")]
    Value {
        /// Where it is set: in a file, with its key.
        origin: String,
        /// What is wrong.
        problem: String,
    },
}

/// A time that uploads may well take, and callers may well repeat a request for: a shorter one for garbage or for request ids is warned of.
const SHORTEST: Duration = Duration::from_secs(10 * 60);

/// Settings whose values are not repeated.
const SECRETS: &[&str] = &["encryption_key", "store"];

impl Settings {
    /// The settings that come of these flags, the environment and the file.
    ///
    /// # Errors
    /// If the file can't be read, a key in it is unknown, or a value has no meaning.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::with(flags, std::env::vars_os())
    }

    /// The same in an environment of these variables.
    pub(super) fn with(
        flags: &Flags,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut merged = dict(&Config::default());
        let mut environment = Environment::of(variables, &merged)?;
        let mut layers = Vec::new();
        let file = flags.config.clone().or(environment.file.take());
        if let Some(file) = &file {
            layers.extend(read(file)?.into_iter().map(|(key, value)| (key, value, Origin::File(file.clone()))));
        }
        layers.append(&mut environment.settings);
        let is_given = |(_, value): &(String, Value)| !matches!(value, Value::Array(_, values) if values.is_empty());
        for (key, value) in dict(flags).into_iter().filter(is_given) {
            let origin = Origin::Flag(flag(&key));
            layers.push((key, value, origin));
        }
        let mut origins = BTreeMap::new();
        for (key, value, origin) in layers {
            origins.insert(key.clone(), origin);
            merged.insert(key, value);
        }
        let config: Config = Value::from(merged).deserialize().map_err(|error| refused(error, &origins))?;
        if config.log_keep.is_some() && config.archive.is_none() {
            let problem = "needs an archive, which has what is dropped from the log".to_owned();
            return Err(ConfigError::Value { origin: whence("log_keep", &origins), problem });
        }
        for (key, is_given, needed, is_there) in [
            ("tls_cert", config.tls_cert.is_some(), "tls_key", config.tls_key.is_some()),
            ("tls_key", config.tls_key.is_some(), "tls_cert", config.tls_cert.is_some()),
            ("tls_client_ca", config.tls_client_ca.is_some(), "tls_cert", config.tls_cert.is_some()),
        ] {
            if is_given && !is_there {
                let problem = format!("needs {needed} as well: TLS has both a certificate and its key");
                return Err(ConfigError::Value { origin: whence(key, &origins), problem });
            }
        }
        if let Err((key, problem)) = check_access(&config) {
            return Err(ConfigError::Value { origin: whence(key, &origins), problem });
        }
        let Environment { unknown, of_services, .. } = environment;
        Ok(Self { config, origins, unknown, of_services, file })
    }

    /// Where a setting comes from, by its key.
    pub(super) fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Where a setting comes from, as the beginning of a message about it.
    pub fn whence(&self, key: &str) -> String {
        whence(key, &self.origins)
    }

    /// Logs the settings that somebody has set, and what may be a mistake among them.
    pub fn describe(&self) {
        if !self.origins.is_empty() {
            tracing::info!(target: "registry_server", "settings: {}", self.changed());
        }
        let Config { gc_every, gc_grace: grace, request_id_keep: keep, .. } = self.config;
        if gc_every.0.is_zero() {
            return;
        }
        if grace.0 < SHORTEST {
            let whence = self.whence("gc_grace");
            tracing::warn!(
                target: "registry_server",
                "{whence}: uploads that take longer than {grace} lose chunks to the collection, and have to send them again"
            );
        }
        if keep.0 < SHORTEST {
            let whence = self.whence("request_id_keep");
            tracing::warn!(target: "registry_server", "{whence}: a request that is repeated after {keep} or more may happen twice");
        }
    }

    /// Logs what is wrong with how the settings are kept, and which variables look like settings.
    pub fn warn(&self) {
        for unknown in &self.unknown {
            tracing::warn!(target: "registry_server", "{unknown}");
        }
        for variable in &self.of_services {
            tracing::debug!(target: "registry_server", variable, "Kubernetes tells of a Service by this variable, which is no setting");
        }
        let has_secret = |key: &str| match key {
            "encryption_key" => true,
            key => key == "store" && self.config.store.has_secret(),
        };
        let in_file = self.origins.iter().filter(|(_, origin)| matches!(origin, Origin::File(_)));
        if let Some(file) = &self.file
            && in_file.into_iter().any(|(key, _)| has_secret(key))
        {
            warn_if_open(file, "the secrets in the settings");
        }
    }
}

/// What is wrong with how callers prove who they are: the key of the setting, and what it is.
fn check_access(config: &Config) -> Result<(), (&'static str, String)> {
    match (&config.oidc_issuer, &config.oidc_audience) {
        (Some(_), None) => return Err(("oidc_issuer", "needs oidc_audience, which its tokens are for".to_owned())),
        (None, Some(_)) => return Err(("oidc_audience", "needs oidc_issuer, whose tokens have it".to_owned())),
        _ => {}
    }
    if !config.tls_principals.is_empty() {
        let lacks = match (&config.tls_client_ca, config.access) {
            (None, _) => Some("needs tls_client_ca, whose certificates are these"),
            (_, AccessChoice::Off) => Some("needs access = \"tokens\": without it, nobody is asked who they are"),
            _ => None,
        };
        if let Some(lacks) = lacks {
            return Err(("tls_principals", lacks.to_owned()));
        }
    }
    let key = if config.oidc_issuer.is_some() && config.issuer.is_empty() { "oidc_issuer" } else { "issuer" };
    let issuers = config.issuers();
    if config.access == AccessChoice::Off && !issuers.is_empty() {
        return Err((key, "needs access = \"tokens\": without it, nobody is asked for a token".to_owned()));
    }
    check_issuers(&issuers).map_err(|problem| (key, problem))
}

/// Settings that something gives, by their keys, without those that it leaves open.
fn dict(settings: &impl Serialize) -> Dict {
    let is_given = |value: &Value| !matches!(value, Value::Empty(_, Empty::None | Empty::Unit));
    // What is serialized has keys that are texts, and no values that can't be.
    let Ok(Value::Dict(_, dict)) = Value::serialize(settings) else { return Dict::new() };
    dict.into_iter().filter(|(_, value)| is_given(value)).collect()
}

/// What a file has.
fn read(file: &Path) -> Result<Dict, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|source| ConfigError::File { file: file.to_owned(), source })?;
    // The error of the library repeats the line, in which there may be a secret.
    let table: toml::Table = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        file: file.to_owned(),
        line: error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1)),
        problem: error.message().to_owned(),
    })?;
    let known = described();
    if let Some(key) = table.keys().find(|key| known.iter().all(|known| known.key != **key)) {
        let near = nearest(key);
        return Err(ConfigError::Unknown { file: file.to_owned(), key: key.clone(), near });
    }
    Ok(dict(&table))
}

/// What the environment has.
#[derive(Default)]
struct Environment {
    settings: Vec<(String, Value, Origin)>,
    file: Option<PathBuf>,
    unknown: Vec<String>,
    of_services: Vec<String>,
}

impl Environment {
    /// A variable that is set but empty is as one that is not: that is how CI unsets them.
    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>, defaults: &Dict) -> Result<Self, ConfigError> {
        let mut found = Self::default();
        let text = |name: &str, value: OsString| {
            let problem = || ConfigError::Value { origin: name.to_owned(), problem: "is not UTF-8".to_owned() };
            value.into_string().map_err(|_| problem())
        };
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        for (name, value) in variables.into_iter().filter_map(named).filter(|(_, value)| !value.is_empty()) {
            let Some(name_of_ours) = name.strip_prefix(PREFIX) else { continue };
            match Variable::of(name_of_ours, &value.to_string_lossy()) {
                Variable::Setting(key) => {
                    let value = value_of(text(&name, value)?, defaults.get(&key));
                    found.settings.push((key, value, Origin::Variable(name)));
                }
                Variable::File => found.file = Some(value.into()),
                Variable::OfClients => {}
                Variable::OfService => found.of_services.push(name),
                Variable::Unknown { near } => {
                    let meant = meant(near.as_deref());
                    found.unknown.push(format!("{name} is not a setting, and is ignored{meant}"));
                }
            }
        }
        Ok(found)
    }
}

/// A value as a variable has it: what is a number or a list by default is read as such, everything else is text.
fn value_of(text: String, default: Option<&Value>) -> Value {
    match default {
        Some(Value::Num(..)) => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::from(text),
        },
        Some(Value::Bool(..)) => match text.parse::<bool>() {
            Ok(value) => Value::from(value),
            Err(_) => Value::from(text),
        },
        Some(Value::Array(..)) => Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()),
        _ => Value::from(text),
    }
}

/// Where a setting comes from: in a file, with its key.
fn whence(key: &str, origins: &BTreeMap<String, Origin>) -> String {
    match origins.get(key) {
        Some(Origin::File(file)) => format!("{}: {key}", file.display()),
        Some(origin) => origin.to_string(),
        None => key.to_owned(),
    }
}

/// What is wrong with a value, and where it is.
fn refused(error: figment::Error, origins: &BTreeMap<String, Origin>) -> ConfigError {
    let key = error.path.first().map(String::as_str).unwrap_or_default();
    let origin = whence(key, origins);
    let found = |actual: &Actual| match actual {
        _ if SECRETS.contains(&key) => "something else".to_owned(),
        Actual::Str(text) => format!("{:?}", shown::line(text)),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Bool(value) => value.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    };
    let problem = match &error.kind {
        Kind::Message(problem) => problem.clone(),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("expected {}, found {}", plainly(expected), found(actual))
        }
        Kind::UnknownVariant(found, expected) => format!("expected {}, found {found:?}", expected.join(" or ")),
        kind => kind.to_string(),
    };
    ConfigError::Value { origin, problem }
}

/// What is expected, in words.
fn plainly(expected: &str) -> &str {
    match expected {
        "usize" => "a whole number",
        "path string" => "a path",
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list of texts",
        "struct Issuer" => "a table with url and audience, in a file",
        other => other,
    }
}
