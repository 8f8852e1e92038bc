//! The options that say how long commands wait.

use std::time::Duration;

use clap::Args as Group;

#[derive(Debug, Default, Group)]
#[command(next_help_heading = super::GLOBAL)]
pub(crate) struct Patience {
    /// How long to wait for a registry that is not available, for example because it is restarted: `2m`, or 0 for not at all; `watch`
    /// waits without end [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
    /// How long a call may take in all, waiting included; transfers and watches take as long as they need [default: 30s for an answer,
    /// besides the waiting]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// A length of time with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| "expected a time such as 500ms, 30s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
