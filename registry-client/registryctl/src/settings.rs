//! What the environment says. A variable that is set but empty is as one that is not: that is how CI unsets them.

use std::env::VarError;
use std::path::PathBuf;

use registry_client::Builder;
use registry_common::shown::LogToStderr;
use tracing_subscriber::EnvFilter;

use crate::Failure;
use crate::output::note;

/// The endpoints of the registry.
pub(crate) const ENDPOINT: &str = "MODEL_REGISTRY_ENDPOINT";
/// The namespace of short names.
pub(crate) const NAMESPACE: &str = "MODEL_REGISTRY_NAMESPACE";
/// Who calls.
pub(crate) const ACTOR: &str = "MODEL_REGISTRY_ACTOR";
/// The secret of a token.
const TOKEN: &str = "MODEL_REGISTRY_TOKEN";
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

/// By what callers prove who they are.
pub(crate) enum Token {
    /// Its secret is in this file.
    File(PathBuf),
    Secret(String),
    Absent,
}

impl Token {
    /// The one in a file or, if none is named, in the environment.
    pub(crate) fn of(file: Option<PathBuf>) -> Result<Self, Failure> {
        match file {
            Some(file) => Ok(Self::File(file)),
            None => Ok(variable(TOKEN)?.map_or(Self::Absent, Self::Secret)),
        }
    }

    /// A client that shows it.
    pub(crate) fn shown_by(&self, builder: Builder) -> Builder {
        match self {
            Self::File(file) => builder.token_file(file),
            Self::Secret(secret) => builder.token(secret),
            Self::Absent => builder,
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

/// Logs to standard error, as much as `RUST_LOG` says.
pub(crate) fn log() -> Result<(), Failure> {
    let filter = match variable("RUST_LOG")?.map(EnvFilter::try_new) {
        None => EnvFilter::new(LOG),
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            note(&format!("RUST_LOG is not used: {error}"));
            EnvFilter::new(LOG)
        }
    };
    tracing_subscriber::fmt().with_writer(LogToStderr::default).with_ansi(false).with_env_filter(filter).init();
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
