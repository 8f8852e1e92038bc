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

/// Of a command that makes instances run another version. The option takes the place of the global one of its name, which has the same
/// value then: one time for the registry and, behind that, for the instances.
#[derive(Debug, Default, Group)]
pub(crate) struct Arrival {
    /// Wait this long until every instance that follows what is changed runs the version, and exit with 8 if one fails or is missing; a
    /// registry that is not available is waited for as long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

/// A length of time with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|_| "expected a time such as 500ms, 30s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Alias, Command, parse};
    use super::*;

    #[test]
    fn one_time_is_for_the_registry_and_for_the_instances() {
        let parsed = |arguments: &[&str]| {
            let arguments = ["registryctl"].iter().chain(arguments).map(OsString::from);
            let args = parse(arguments, None).unwrap();
            let of_instances = match args.command {
                Command::Promote(promote) => promote.change.arrival.wait,
                Command::Alias(Alias::Set { arrival, .. }) => arrival.wait,
                command => panic!("{command:?}"),
            };
            (args.patience.wait, of_instances)
        };
        let minute = Some(Duration::from_secs(60));
        for (arguments, expected) in [
            (&["promote", "fraud/versions/1", "production", "--wait", "1m"][..], minute),
            (&["--wait", "1m", "promote", "fraud/versions/1", "production"], minute),
            (&["alias", "set", "fraud", "champion", "1", "--wait", "1m"], minute),
            (&["promote", "fraud/versions/1", "production"], None),
        ] {
            assert_eq!(parsed(arguments), (expected, expected), "{arguments:?}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
