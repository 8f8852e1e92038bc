//! What went wrong in the database, and what can be done about it: the one place that looks at SQLSTATEs.

use tokio_postgres::error::{DbError, Severity};

use super::home;
use crate::store::StoreError;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The connection is gone, or leads to a server that can't work now: another one may do.
    Broken,
    /// It was in somebody's way, or took too long: the same again may do.
    Again,
    /// A key is there already.
    Duplicate,
    /// There is no room.
    Full,
    /// What is stored can't be understood.
    Damaged,
    /// A table or a column is not there.
    NoTable,
    /// The database will not do it, now or later.
    Refused,
}

/// Why the database did not do what it was asked.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// The server said that the statement did not happen: its transaction will not either.
    pub(super) aborted: bool,
    pub(super) message: String,
}

impl Failure {
    /// The connection is of no use any more.
    pub(super) fn broken(message: impl Into<String>) -> Self {
        Self { cause: Cause::Broken, aborted: false, message: message.into() }
    }

    pub(super) fn damaged(message: impl std::fmt::Display) -> Self {
        Self { cause: Cause::Damaged, aborted: false, message: message.to_string() }
    }

    pub(super) fn refused(message: impl std::fmt::Display) -> Self {
        Self { cause: Cause::Refused, aborted: false, message: message.to_string() }
    }

    /// Whether to try once more.
    pub(super) fn passes(&self) -> bool {
        matches!(self.cause, Cause::Broken | Cause::Again)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else { return Self::broken(described(&error)) };
        let aborted = matches!(said.parsed_severity(), Some(Severity::Error));
        let message = match said.code().code() {
            ROWS_MISSING => "a row that is to be replaced is not there, or not what it was when it was read".to_owned(),
            "53300" => format!(
                "{said}: the database's max_connections are in use; each server takes up to twice its store_connections and two more"
            ),
            // It tells a registry from its copies.
            "42501" if said.message().contains("pg_control_system") => {
                format!("{said}: GRANT EXECUTE ON FUNCTION pg_control_system() to the role that the servers connect as")
            }
            // A statement of this name is there, or is not: somebody else's.
            "42P05" | "26000" => format!("{said}: {}", home::pooled().message),
            _ => said.to_string(),
        };
        Self { cause: cause(said), aborted, message }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.cause {
            Cause::Broken | Cause::Again | Cause::NoTable | Cause::Refused => Self::Unavailable(failure.message),
            Cause::Full => Self::Full(failure.message),
            Cause::Damaged | Cause::Duplicate => Self::Damaged(failure.message),
        }
    }
}

/// An error with its sources, which tokio-postgres leaves out.
fn described(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// A division by zero: see [`super::flush`].
const ROWS_MISSING: &str = "22012";

fn cause(said: &DbError) -> Cause {
    let code = said.code().code();
    match code {
        // A serialization failure, a deadlock, a lock or statement that took too long.
        "40001" | "40P01" | "55P03" | "57014" => Cause::Again,
        // Shutting down, crashed, starting up; idle for too long in a transaction; read-only, since it was demoted; no place for
        // one more connection.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006" | "53300" => Cause::Broken,
        "23505" => Cause::Duplicate,
        "53100" | "53200" => Cause::Full,
        "XX001" | "XX002" | ROWS_MISSING => Cause::Damaged,
        "42P01" | "42703" => Cause::NoTable,
        _ if code.starts_with("08") => Cause::Broken,
        _ => Cause::Refused,
    }
}
