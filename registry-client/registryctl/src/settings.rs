//! What the environment says. A variable that is set but empty is as one that is not: that is how CI unsets them.

use std::env::VarError;

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
/// Whoever is logged in.
const USER: &str = "USER";

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

/// Who calls, for the audit trail; nobody if nobody is logged in.
pub(crate) fn actor(flag: Option<String>) -> Result<Option<String>, Failure> {
    if flag.is_some() {
        return Ok(flag);
    }
    if let Some(actor) = variable(ACTOR)? {
        return Ok(Some(actor));
    }
    let unfit = |problem: &str| format!("the login name in {USER} {problem}: say who calls with --actor or {ACTOR}");
    match std::env::var(USER) {
        Ok(user) if user.is_empty() => Ok(None),
        Ok(user) if user.contains(char::is_control) => Err(unfit("has control characters").into()),
        Ok(user) => Ok(Some(user)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(unfit("is not UTF-8").into()),
    }
}

/// Logs to standard error, as much as `RUST_LOG` says.
pub(crate) fn log() -> Result<(), Failure> {
    let filter = match variable("RUST_LOG")?.map(EnvFilter::try_new) {
        None => EnvFilter::new("warn"),
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            note(&format!("RUST_LOG is not used: {error}"));
            EnvFilter::new("warn")
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
}
