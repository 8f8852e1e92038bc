//! How a command that failed says so: as text, or as JSON where that was asked for; and its exit code.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io::Write as _;
use std::iter::successors;
use std::process::ExitCode;

use registry_client::{Error, pb};
use registry_common::shown;
use serde::Serialize;

use crate::interrupt::Interrupted;
use crate::output::{json, note};
use crate::policies::KeptOut;
use crate::run::Ended;
use crate::{Failure, InTheWay, Usage, admin, hints, rollout, status};

/// Of the command line itself; it is clap's.
const WRONG_USAGE: u8 = 2;

/// What is printed of an error as JSON.
#[derive(Debug, Serialize)]
struct Envelope<'a> {
    error: &'a Report<'a>,
}

/// An error for programs. A key without a value is null.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// The gRPC code, for example `NOT_FOUND`, if the error has one.
    code: Option<String>,
    /// The registry's `ErrorReason`, for example `RESOURCE_NOT_FOUND`, if the error is one of the registry's.
    reason: Option<&'a str>,
    message: String,
    violations: Vec<Violation<'a>>,
    exit_code: u8,
}

/// A field of the request that is at fault.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Violation<'a> {
    field: &'a str,
    reason: &'a str,
    description: &'a str,
}

/// Nobody answered, which the client says without where.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}")]
struct NoAnswer {
    endpoint: String,
    source: Failure,
}

/// The error with where the registry was asked, if it does not tell.
pub(crate) fn at(endpoint: &str, error: Failure) -> Failure {
    let no_answer = chain(&*error).any(|error| matches!(error.downcast_ref(), Some(Error::DeadlineExceeded)));
    if no_answer { Box::new(NoAnswer { endpoint: endpoint.to_owned(), source: error }) } else { error }
}

/// An error, and what can be done about it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Hinted {
    error: Failure,
    hint: Cow<'static, str>,
}

impl Hinted {
    pub(crate) fn of(error: impl Into<Failure>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { error: error.into(), hint: hint.into() }
    }

    /// The error, with the hint if it has this reason.
    pub(crate) fn if_for(reason: pb::ErrorReason, error: Failure, hint: impl Into<Cow<'static, str>>) -> Failure {
        let is_for = error.downcast_ref::<Error>().and_then(Error::reason) == Some(reason);
        if is_for { Self::of(error, hint).into() } else { error }
    }
}

/// Says why a command failed.
pub(crate) fn report(error: &(dyn StdError + 'static), json: bool) -> ExitCode {
    let (error, hint) = match error.downcast_ref::<Hinted>() {
        Some(Hinted { error, hint }) => (&**error, Some(&**hint)),
        None => (error, None),
    };
    let report = of(error);
    if json {
        // Of what is for people nothing comes behind it.
        print(&report)
    } else {
        note(&report.message);
        hint.map(str::to_owned).or_else(|| hints::of(error)).iter().for_each(|hint| note(hint));
    }
    ExitCode::from(report.exit_code)
}

/// Says what is wrong with the arguments, or the help that was asked for.
pub(crate) fn refuse(error: &clap::Error) -> ! {
    let text = error.to_string();
    // Whether JSON was asked for, arguments that can't be read do not tell for sure; a flag that is there will be meant.
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        print(&Report { message, exit_code: WRONG_USAGE, ..Report::default() });
        std::process::exit(WRONG_USAGE.into());
    }
    // What was typed, or came from a script, is repeated in it.
    if text.lines().all(|line| line.chars().all(shown::is_plain)) {
        error.exit();
    }
    text.lines().for_each(|line| drop(writeln!(std::io::stderr(), "{}", shown::line(line))));
    std::process::exit(error.exit_code());
}

fn print(report: &Report<'_>) {
    // Where nobody listens, nobody can be told.
    let _ = json::value(&Envelope { error: report }).map(|json| writeln!(std::io::stderr(), "{json}"));
}

fn of<'a>(error: &'a (dyn StdError + 'static)) -> Report<'a> {
    let of_client = chain(error).find_map(|error| error.downcast_ref::<Error>());
    let reason = |reason: pb::ErrorReason| reason.as_str_name().trim_start_matches("ERROR_REASON_");
    let violations = of_client.map(Error::violations).unwrap_or_default();
    Report {
        code: of_client.and_then(Error::code).map(|code| upper_snake(&format!("{code:?}"))),
        reason: of_client.and_then(Error::reason).map(reason),
        message: message(error),
        violations: violations
            .iter()
            .map(|at| Violation { field: &at.field, reason: reason(at.reason), description: &at.description })
            .collect(),
        exit_code: exit_code(error, of_client),
    }
}

/// An error with its causes.
pub(crate) fn message(error: &(dyn StdError + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// `NOT_FOUND` for `NotFound`.
fn upper_snake(name: &str) -> String {
    let letter = |(at, letter): (usize, char)| {
        let begins = at > 0 && letter.is_ascii_uppercase();
        begins.then_some('_').into_iter().chain([letter.to_ascii_uppercase()])
    };
    name.chars().enumerate().flat_map(letter).collect()
}

/// What the exit code tells a script; clap's own for wrong usage is 2.
fn exit_code(error: &(dyn StdError + 'static), of_client: Option<&Error>) -> u8 {
    match of_client {
        // What is out of range has not come yet, or is no longer there.
        Some(error) if error.is_not_found() || error.is_out_of_range() => 3,
        Some(Error::InvalidOption { .. }) => 4,
        Some(error) if error.is_invalid_argument() => 4,
        Some(error) if error.is_already_exists() || error.is_conflict() || error.is_failed_precondition() => 5,
        Some(error) if error.is_unavailable() || error.is_deadline_exceeded() => 6,
        Some(error) if error.is_data_loss() => 7,
        None if error.is::<status::Down>() => 6,
        None if error.is::<admin::Damaged>() => 7,
        None if error.is::<rollout::NotArrived>() => 8,
        None if error.is::<Interrupted>() => Interrupted::EXIT_CODE,
        None if error.is::<Usage>() => WRONG_USAGE,
        None if error.is::<InTheWay>() || error.is::<KeptOut>() => 5,
        _ => error.downcast_ref().map_or(1, Ended::exit_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_program_has_all_its_keys() {
        let error = at("http://127.0.0.1:1", Error::DeadlineExceeded.into());
        assert_eq!(of(&*error).message, "http://127.0.0.1:1: the registry did not answer within the deadline");
        let json = serde_json::to_value(of(&*error)).unwrap();
        assert_eq!((&json["code"], &json["exitCode"]), (&"DEADLINE_EXCEEDED".into(), &6.into()));
        let error: Box<dyn StdError> = "nothing was imported".into();
        let expected = r#"{"code":null,"reason":null,"message":"nothing was imported","violations":[],"exitCode":1}"#;
        assert_eq!(serde_json::to_string(&of(&*error)).unwrap(), expected);
    }
}
