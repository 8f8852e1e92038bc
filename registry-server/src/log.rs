//! The log: lines on standard error, for people or for programs. They never have colours: they are kept in files.

use registry_common::shown::LogToStderr;
use registry_server::config::{LogFormat, Settings};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

#[cfg(feature = "otlp")]
use crate::telemetry::Telemetry;

/// The crates whose lines are the registry's own.
const OURS: [&str; 2] = ["registry_server", "registry_common"];

/// Begins to log, as the settings say.
pub(crate) fn begin(settings: &Settings) -> Result<Logging, String> {
    let config = &settings.config;
    let filter = directives(&config.log).and_then(|log| EnvFilter::try_new(log).map_err(|error| error.to_string()));
    let filter = filter.map_err(|problem| format!("{}: {problem}", settings.whence("log")))?;
    let lines = match config.log_format {
        LogFormat::Human => fmt::layer().with_writer(LogToStderr::default).with_ansi(false).boxed(),
        // For programs: what is escaped for people would be no JSON.
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().boxed(),
    };
    let log = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    {
        let telemetry = Telemetry::begin()?;
        log.with(telemetry.as_ref().map(Telemetry::layer)).init();
        Ok(Logging { _telemetry: telemetry })
    }
    #[cfg(not(feature = "otlp"))]
    {
        log.init();
        Ok(Logging {})
    }
}

/// The log, and what traces go to, for as long as the program runs.
pub(crate) struct Logging {
    #[cfg(feature = "otlp")]
    _telemetry: Option<Telemetry>,
}

/// What to log: a level alone is for the registry's own lines, and the libraries (sled's pages, HTTP/2's frames) only warn. A filter is
/// taken as it is, but for a word alone that is no level: it would be the name of a crate, and nothing would be logged.
fn directives(log: &str) -> Result<String, String> {
    let log = log.trim();
    let Ok(level) = log.parse::<LevelFilter>() else {
        let is_word = !log.is_empty() && log.chars().all(|c| c.is_alphanumeric());
        return match is_word {
            true => Err(format!(
                "{log:?} is no level (trace, debug, info, warn, error, off), and no filter such as registry_server=debug"
            )),
            false => Ok(log.to_owned()),
        };
    };
    let others = level.min(LevelFilter::WARN);
    let ours = OURS.map(|ours| format!("{ours}={level}"));
    Ok(format!("{others},{}", ours.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_our_own_lines() {
        for (log, expected) in [
            ("debug", "warn,registry_server=debug,registry_common=debug"),
            ("INFO", "warn,registry_server=info,registry_common=info"),
            ("error", "error,registry_server=error,registry_common=error"),
            ("off", "off,registry_server=off,registry_common=off"),
            ("registry_server=debug", "registry_server=debug"),
            ("debug,sled=info", "debug,sled=info"),
        ] {
            assert_eq!(directives(log).as_deref(), Ok(expected));
            assert!(EnvFilter::try_new(expected).is_ok());
        }
        for word in ["inof", "verbose"] {
            assert!(directives(word).unwrap_err().contains("is no level"), "{word}");
        }
    }
}
