//! How names refer to versions: by number, by id or by alias.

use super::{NameError, check_id, check_version_id, is_digits};
use crate::rules::stages::Stage;

/// How a name says which version of its model is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VersionRef {
    /// By the number that the registry gave it, from 1.
    Number(i64),
    /// By the id that its maker gave it.
    Id(String),
    /// By an alias, without the `@`: one that was set, or `latest`, `production`, `staging`.
    Alias(String),
}

impl VersionRef {
    /// Parses the last part of a version's name: `7`, `1.4.0` or `@champion`.
    pub(crate) fn parse(segment: &str) -> Result<Self, NameError> {
        let refused = |why: String| Err(NameError(why));
        if let Some(alias) = segment.strip_prefix('@') {
            let checked = check_id(alias).map_err(|NameError(why)| NameError(format!("the alias {why}")));
            return checked.map(|()| Self::Alias(alias.to_owned()));
        }
        if !is_digits(segment) {
            let checked = check_version_id(segment);
            let checked = checked.map_err(|NameError(why)| NameError(format!("the version's id {why}")));
            return checked.map(|()| Self::Id(segment.to_owned()));
        }
        // `07` would be a second spelling of `7`, and no version has the number 0.
        if segment.starts_with('0') {
            return refused("the version's number must be 1 or more, without leading zeros".to_owned());
        }
        match segment.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => refused(format!("the version's number must be at most {}", i64::MAX)),
        }
    }
}

/// What an alias that the registry computes stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Computed {
    /// The READY version with the highest number.
    Latest,
    /// The version that entered a stage last and is still there.
    In(Stage),
}

/// What an alias stands for if nobody sets it.
pub(crate) fn computed(alias: &str) -> Option<Computed> {
    match alias {
        "latest" => Some(Computed::Latest),
        "production" => Some(Computed::In(Stage::Production)),
        "staging" => Some(Computed::In(Stage::Staging)),
        _ => None,
    }
}
