//! What the environment says. A variable that is set but empty is as one that is not: that is how CI unsets them.

use std::env::VarError;
use std::path::{Path, PathBuf};

use registry_client::{Builder, RegistryClient};
use registry_common::shown::LogToStderr;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::Failure;
use crate::args::Tls;
use crate::output::note;
use crate::traces::traces;

/// The endpoints of the registry.
pub(crate) const ENDPOINT: &str = "MODEL_REGISTRY_ENDPOINT";
/// The namespace of short names.
pub(crate) const NAMESPACE: &str = "MODEL_REGISTRY_NAMESPACE";
/// Who calls.
pub(crate) const ACTOR: &str = "MODEL_REGISTRY_ACTOR";
/// The secret of a token.
const TOKEN: &str = "MODEL_REGISTRY_TOKEN";
/// Files of TLS.
const CA_FILE: &str = "MODEL_REGISTRY_CA_FILE";
const CLIENT_CERT: &str = "MODEL_REGISTRY_CLIENT_CERT";
const CLIENT_KEY: &str = "MODEL_REGISTRY_CLIENT_KEY";
/// Whoever is logged in. A container, a unit of systemd, cron or CI may have one of them, or none.
const LOGINS: [&str; 2] = ["USER", "LOGNAME"];

/// What is logged unless `RUST_LOG` says otherwise. What a follower has to tell is told by `follow`.
const LOG: &str = "warn,registry_client::follow=off";

/// Where a registry is unless something else is said.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// A variable, unless it is unset or empty.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    read(name, std::env::var(name))
}

fn read(name: &str, value: Result<String, VarError>) -> Result<Option<String>, Failure> {
    match value {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("the variable {name} is not UTF-8").into()),
    }
}

/// Where the registry is.
pub(crate) fn endpoint(flag: Option<String>) -> Result<String, Failure> {
    match flag {
        Some(endpoint) => Ok(endpoint),
        None => Ok(variable(ENDPOINT)?.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())),
    }
}

/// Who calls, for the audit trail: whoever is logged in, unless somebody else is named.
pub(crate) fn actor(flag: Option<String>) -> Result<Option<String>, Failure> {
    if flag.is_some() {
        return Ok(flag);
    }
    if let Some(actor) = variable(ACTOR)? {
        return Ok(Some(actor));
    }
    for name in LOGINS {
        let value = std::env::var(name);
        if let Some(user) = login(name, value)? {
            return Ok(Some(user));
        }
    }
    Ok(account(whoami::username().ok(), uid(), whoami::hostname().ok()))
}

/// By what callers prove who they are, and recognise the registry.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    token: Token,
    ca_file: Option<PathBuf>,
    /// A certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone)]
enum Token {
    /// Its secret is in this file.
    File(PathBuf),
    Secret(Secret),
    Absent,
}

/// What is not shown.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Trust {
    /// What is not said by options is taken from the environment: the certificate and its key together, as one does not fit another's.
    pub(crate) fn of(token_file: Option<PathBuf>, tls: Tls) -> Result<Self, Failure> {
        let token = match token_file {
            Some(file) => Token::File(file),
            None => variable(TOKEN)?.map_or(Token::Absent, |secret| Token::Secret(Secret(secret))),
        };
        let file = |name| Ok::<_, Failure>(variable(name)?.map(PathBuf::from));
        let Tls { ca_file, client_cert, client_key } = tls;
        let ca_file = if ca_file.is_some() { ca_file } else { file(CA_FILE)? };
        let identity = match (client_cert, client_key) {
            (None, None) => pair((file(CLIENT_CERT)?, file(CLIENT_KEY)?), (CLIENT_CERT, CLIENT_KEY))?,
            given => pair(given, ("--client-cert", "--client-key"))?,
        };
        Ok(Self { token, ca_file, identity })
    }

    /// The certificate of the authority that is trusted.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Whether it was said which token to show.
    pub(crate) fn has_token(&self) -> bool {
        !matches!(self.token, Token::Absent)
    }

    /// The same with this token.
    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Token::Secret(Secret(token.to_owned())), ..self }
    }

    /// The token.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        Ok(match &self.token {
            Token::File(file) => Some(std::fs::read_to_string(file)?.trim().to_owned()),
            Token::Secret(Secret(secret)) => Some(secret.clone()),
            Token::Absent => None,
        })
    }

    /// A client that shows it.
    pub(crate) fn shown_by(&self, mut builder: Builder) -> Builder {
        builder = match &self.token {
            Token::File(file) => builder.token_file(file),
            Token::Secret(Secret(secret)) => builder.token(secret),
            Token::Absent => builder,
        };
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some((certificate, key)) = &self.identity {
            builder = builder.identity(certificate, key);
        }
        builder
    }
}

/// A client that says that it is registryctl.
pub(crate) fn client(endpoint: &str) -> Builder {
    RegistryClient::builder(endpoint).header("user-agent", concat!("registryctl/", env!("CARGO_PKG_VERSION")))
}

/// A certificate and its key, of which there are both or none.
fn pair<T>(found: (Option<T>, Option<T>), (certificate, key): (&str, &str)) -> Result<Option<(T, T)>, Failure> {
    match found {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(format!("{certificate} needs {key} as well: a certificate is shown with its key").into())
        }
        (None, Some(_)) => {
            Err(format!("{key} needs {certificate} as well: a certificate is shown with its key").into())
        }
    }
}

/// The login name in a variable.
fn login(name: &str, value: Result<String, VarError>) -> Result<Option<String>, Failure> {
    let unfit = |problem: &str| format!("the login name in {name} {problem}: say who calls with --actor or {ACTOR}");
    match value {
        Ok(user) if user.contains(char::is_control) => Err(unfit("has control characters").into()),
        Ok(user) => Ok(Some(user).filter(|user| !user.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(unfit("is not UTF-8").into()),
    }
}

/// The name of the process's user in the password database, or else its number, which means something on its host only.
fn account(name: Option<String>, uid: Option<u32>, host: Option<String>) -> Option<String> {
    let fit = |text: &String| !text.is_empty() && !text.contains(char::is_control);
    name.filter(fit).or_else(|| {
        let uid = uid?;
        Some(host.filter(fit).map_or_else(|| format!("uid-{uid}"), |host| format!("uid-{uid}@{host}")))
    })
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn uid() -> Option<u32> {
    Some(rustix::process::getuid().as_raw())
}

#[cfg(not(unix))]
fn uid() -> Option<u32> {
    None
}

/// Logs to standard error, as much as `RUST_LOG` says, and traces of calls if they are wanted.
pub(crate) fn log(wanted: bool) -> Result<(), Failure> {
    let filter = match variable("RUST_LOG")?.map(EnvFilter::try_new) {
        None => EnvFilter::new(LOG),
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            note(&format!("RUST_LOG is not used: {error}"));
            EnvFilter::new(LOG)
        }
    };
    let lines = fmt::layer().with_writer(LogToStderr::default).with_ansi(false).with_filter(filter);
    tracing_subscriber::registry().with(lines).with(wanted.then(traces)).init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_set_but_empty_is_unset() {
        assert_eq!(read("X", Ok(String::new())).unwrap(), None);
        assert_eq!(read("X", Err(VarError::NotPresent)).unwrap(), None);
        assert_eq!(read("X", Ok("ana".to_owned())).unwrap().as_deref(), Some("ana"));
        let error = read("X", Err(VarError::NotUnicode("?".into()))).unwrap_err();
        assert_eq!(error.to_string(), "the variable X is not UTF-8");
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let names = ("--client-cert", "--client-key");
        assert_eq!(pair((Some(1), Some(2)), names).unwrap(), Some((1, 2)));
        assert_eq!(pair::<u8>((None, None), names).unwrap(), None);
        let error = |found| pair::<u8>(found, names).unwrap_err().to_string();
        assert!(error((Some(1), None)).starts_with("--client-cert needs --client-key"));
        assert!(error((None, Some(2))).starts_with("--client-key needs --client-cert"));
    }

    #[test]
    fn whoever_is_known_is_told() {
        let text = |text: &str| Some(text.to_owned());
        for (name, uid, host, expected) in [
            (text("ana"), Some(1000), text("node-7"), text("ana")),
            (None, Some(1000), text("node-7"), text("uid-1000@node-7")),
            (text(""), Some(0), None, text("uid-0")),
            (text("a\nb"), Some(7), text("a\tb"), text("uid-7")),
            (None, None, text("node-7"), None),
        ] {
            assert_eq!(account(name, uid, host), expected);
        }
        assert_eq!(login("USER", Ok("Zoë".to_owned())).unwrap(), text("Zoë"));
        assert_eq!(login("USER", Ok(String::new())).unwrap(), None);
        let error = login("LOGNAME", Ok("a\tb".to_owned())).unwrap_err().to_string();
        assert!(error.contains("the login name in LOGNAME") && error.contains("--actor"), "{error}");
    }
}
