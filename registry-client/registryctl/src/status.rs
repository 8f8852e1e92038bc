//! `status`: what each server of a registry says of itself.

use std::time::Duration;

use futures::future::join_all;
use registry_client::{Error, pb};
use registry_common::hex;
use serde::Serialize;

use crate::Failure;
use crate::failure::message;
use crate::output::{Lines, Output, bytes, fields, json, time};
use crate::settings::{Trust, client};
use crate::values::short;

/// How long a server may take to answer; one that takes longer counts as down.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server is down, or can't serve.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Down(String);

/// Asks each server at these endpoints, prints what it says, and fails if one is not well.
pub(crate) async fn status(out: &Output, endpoints: &str, trust: &Trust) -> Result<(), Failure> {
    let endpoints: Vec<_> = endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()).collect();
    let answers = join_all(endpoints.iter().map(|endpoint| ask(endpoint, trust))).await;
    let mut unwell = Vec::new();
    for (index, (endpoint, answer)) in endpoints.iter().zip(answers).enumerate() {
        let answer = match answer {
            Err(error) if !error.is_unavailable() && !error.is_deadline_exceeded() => return Err(error.into()),
            answer => answer,
        };
        if !out.is_text() {
            out.records(&[said(endpoint, &answer)?], |said| said.endpoint.to_owned(), &["endpoint"], |_| Vec::new())?;
        } else if answer.is_ok() || endpoints.len() > 1 {
            if index > 0 {
                out.line("")?;
            }
            out.lines(lines(endpoint, &answer))?;
        }
        match &answer {
            Ok(status) if status.serving => {}
            Ok(_) => unwell.push(format!("{endpoint} takes no calls now: its store can't be used, or it stops")),
            Err(error) => unwell.push(format!("{endpoint} does not answer: {}", problem(endpoint, error))),
        }
    }
    match unwell.is_empty() {
        true => Ok(()),
        false => Err(Down(unwell.join("\n")).into()),
    }
}

async fn ask(endpoint: &str, trust: &Trust) -> Result<pb::RegistryStatus, Error> {
    let client = client(endpoint).retry_for(Duration::ZERO).connect_timeout(PATIENCE).timeout(PATIENCE);
    trust.shown_by(client).connect_lazy()?.status().await
}

fn lines(endpoint: &str, answer: &Result<pb::RegistryStatus, Error>) -> Lines {
    let status = match answer {
        Ok(status) => status,
        Err(error) => {
            let down = format!("does not answer: {}", problem(endpoint, error));
            return fields(vec![("endpoint", endpoint.to_owned().into()), ("server", down.into())]);
        }
    };
    let archive = status.archive.as_ref().map(|archive| {
        let behind = match status.revision - archive.revision {
            0 => "up to date".to_owned(),
            _ => format!("up to revision {}", archive.revision),
        };
        format!("{}, {behind}", short::<pb::PlaceType>(archive.place))
    });
    let index = status.index.as_ref().map(|index| {
        let (size, limit) = (bytes(index.size_bytes), bytes(index.limit_bytes));
        match index.state() {
            pb::IndexState::Ready => format!("{} resources in {size} of {limit}", index.resource_count),
            pb::IndexState::TooLarge => format!("none: it needs more than {limit}"),
            _ => format!("is being built: {} resources so far", index.resource_count),
        }
    });
    let log = (status.oldest_revision > 1).then(|| format!("from revision {} on", status.oldest_revision));
    let encrypted = if status.encrypted { ", encrypted" } else { "" };
    let artifacts = format!("{}{encrypted}", short::<pb::PlaceType>(status.artifacts));
    fields(vec![
        ("endpoint", endpoint.to_owned().into()),
        ("server", status.server_version.clone().into()),
        ("serving", if status.serving { "yes" } else { "no" }.to_owned().into()),
        ("store", short::<pb::StoreType>(status.store).into()),
        ("revision", status.revision.to_string().into()),
        ("hash", hex(&status.hash).into()),
        ("log", log.unwrap_or_default().into()),
        ("artifacts", artifacts.into()),
        ("archive", archive.unwrap_or_default().into()),
        ("index", index.unwrap_or_default().into()),
        ("registry", status.registry_id.clone().into()),
        ("started", time(status.start_time.as_ref()).into()),
        ("clock", time(status.server_time.as_ref()).into()),
    ])
}

/// What is printed of a server for programs, whatever becomes of it.
#[derive(Serialize)]
struct Said<'a> {
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<json::Tree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn said<'a>(endpoint: &'a str, answer: &Result<pb::RegistryStatus, Error>) -> Result<Said<'a>, Failure> {
    Ok(match answer {
        Ok(status) => Said { endpoint, status: Some(json::tree("RegistryStatus", status)?), error: None },
        Err(error) => Said { endpoint, status: None, error: Some(problem(endpoint, error)) },
    })
}

/// An error with its causes, where the endpoint is said already.
fn problem(endpoint: &str, error: &Error) -> String {
    let problem = message(error);
    problem.strip_prefix(&format!("{endpoint}: ")).map_or(problem.clone(), str::to_owned)
}
