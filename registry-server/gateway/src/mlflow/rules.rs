//! What MLflow's tags, aliases and sources may be.

use percent_encoding::percent_decode_str;
use registry_common::mlflow::tags::KEY_CHARACTERS;

use super::args::missing;
use super::error::Error;

/// Whether all of MLflow's rules are met.
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), Error> {
    const CHARACTERS: usize = 100_000;
    if key.is_empty() {
        return Err(missing("key"));
    }
    if value.chars().count() > CHARACTERS {
        return Err(Error::invalid(format_args!("'value' exceeds the maximum length of {CHARACTERS} characters")));
    }
    if key.chars().count() > KEY_CHARACTERS {
        return Err(Error::invalid(format_args!("'key' exceeds the maximum length of {KEY_CHARACTERS} characters")));
    }
    Ok(())
}

/// Checks an alias as MLflow does.
pub(super) fn check_alias(alias: &str) -> Result<(), Error> {
    if alias.is_empty() {
        return Err(Error::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return Err(Error::invalid(format_args!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    Ok(())
}

/// Checks an alias that is to be set.
pub(super) fn check_new_alias(alias: &str) -> Result<(), Error> {
    check_alias(alias)?;
    if alias.eq_ignore_ascii_case("latest") {
        return Err(Error::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if alias.strip_prefix(['v', 'V']).is_some_and(is_number) {
        return Err(Error::invalid(format_args!("Version alias name '{alias}' is reserved.")));
    }
    Ok(())
}

/// Checks that a source leads nowhere else than it seems to. Nothing here opens it, but clients do.
pub(super) fn check_path(source: &str) -> Result<(), Error> {
    let mut plain = source.to_owned();
    while let Ok(decoded) = percent_decode_str(&plain).decode_utf8().map(std::borrow::Cow::into_owned)
        && decoded != plain
    {
        plain = decoded;
    }
    if !plain.split(['/', '\\']).any(|part| part == "..") && !plain.contains(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, objectstore, or \
         mlflow-artifacts uri, an absolute path must be provided without relative path references present. Please provide an absolute \
         path."
    )))
}

/// Checks that a source is not on a host that somebody chose: whoever loads it would send their token there.
pub(super) fn check_host(source: &str, base: &str) -> Result<(), Error> {
    // Python's `urlsplit` leaves out control characters, some anywhere and some where a text begins.
    let plain = source.replace(|c: char| c.is_control() || c.is_whitespace(), "");
    let (scheme, rest) = plain.split_once(':').unwrap_or_default();
    let has_host = rest.starts_with("//") && !rest.starts_with("///");
    let names_host = match &*scheme.to_ascii_lowercase() {
        "http" | "https" => !plain.strip_prefix(base).is_some_and(|path| path.starts_with('/')),
        "mlflow-artifacts" | "models" | "runs" => has_host,
        _ => false,
    };
    if !names_host {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "Invalid model version source: '{source}'. It addresses a host other than this registry, and whoever loads it would send their \
         token there."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_leads_elsewhere() {
        let base = "http://models:50051";
        for (source, is_good) in [
            ("s3://bucket/model", true),
            ("/srv/mlruns/1", true),
            ("mlflow-artifacts:/1/model", true),
            ("mlflow-artifacts:///1/model", true),
            ("models:/m-1f", true),
            ("http://models:50051/api/2.0/mlflow-artifacts/artifacts/fraud/1", true),
            ("prompt-template", true),
            ("mlflow-artifacts://evil/1/model", false),
            ("MLFLOW-ARTIFACTS://evil/1/model", false),
            (" mlflow-artifacts://evil/1/model", false),
            ("mlflow-artifacts:\t//evil/1/model", false),
            ("mlflow-artifacts:/\n/evil/1/model", false),
            ("mlflow-artif\tacts://evil/1/model", false),
            ("\u{1c}mlflow-artifacts://evil/1/model", false),
            ("ht\ttp://evil/x", false),
            ("http://evil/api/2.0/mlflow-artifacts/artifacts/x", false),
            ("http://models:50051.evil/x", false),
            ("http://models:50051@evil/x", false),
            ("https://evil", false),
            ("models://profile@databricks/m/1", false),
            ("runs://evil/r/m", false),
            ("s3://bucket/a/../b", false),
            ("s3://bucket/%2e%2E/b", false),
            ("s3://bucket/%252e%252e%252fb", false),
            ("file:///a\\..\\b", false),
            ("s3://bucket/a%00", false),
        ] {
            let checked = check_path(source).and_then(|()| check_host(source, base));
            assert_eq!(checked.is_ok(), is_good, "{source:?}");
            // What came another way is checked for its host alone.
            assert!(check_host(source, base).is_err() || !source.contains("evil"), "{source:?}");
        }
    }
}
