//! Values of settings, as people write them.

mod certificates;
mod issuer;
mod listen;
mod memory;
mod network;
mod units;
mod web;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::str::FromStr;

use registry_common::shown;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::certificates::CertificateRule;
pub(crate) use self::issuer::check_issuers;
pub use self::issuer::{Issuer, IssuerUrl, Prefix, SignatureAlgorithm};
pub use self::listen::Listen;
pub use self::memory::Memory;
pub use self::network::Network;
pub use self::units::{Period, Size};
pub use self::web::{HostName, WebOrigin};

/// Which store keeps the records.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreChoice {
    /// The embedded one, in the storage path: for one server.
    Sled,
    /// A PostgreSQL database by its URL: for several servers.
    Postgres(String),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // There may be a password in it, also where it is mistyped.
        let refused = |problem: String| format!("{}: {problem}", shown::url(text));
        match text {
            "sled" => Ok(Self::Sled),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                check_postgres_url(url).map_err(refused)?;
                Ok(Self::Postgres(url.to_owned()))
            }
            _ => {
                let expected = "expected `sled` or postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned();
                if may_be_told(text) { Err(refused(expected)) } else { Err(expected) }
            }
        }
    }
}

/// Whether it is known which part of a text that is no store may be a password: in libpq's own form, `host=db password=...`, and in a word
/// alone it may stand anywhere.
fn may_be_told(text: &str) -> bool {
    match text.split_once("://") {
        Some((_, rest)) => rest.contains('@') || !rest.contains(':'),
        None => text.contains('@') && !text.contains('='),
    }
}

impl TryFrom<String> for StoreChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StoreChoice> for String {
    fn from(choice: StoreChoice) -> Self {
        match choice {
            StoreChoice::Sled => "sled".to_owned(),
            StoreChoice::Postgres(url) => url,
        }
    }
}

/// Without the URL: there may be a password in it.
impl std::fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Sled) { "Sled" } else { "Postgres" })
    }
}

impl StoreChoice {
    /// Whether there is a password in it.
    pub(crate) fn has_secret(&self) -> bool {
        let Self::Postgres(url) = self else { return false };
        let user = url.rsplit_once('@').map_or("", |(user, _)| user);
        let user = user.split_once("://").map_or(user, |(_, user)| user);
        user.contains(':') || url.contains("password=")
    }
}

/// What a database's URL may ask for that tokio-postgres reads and a server does not use.
const UNUSED: &[&str] = &[
    "hostaddr",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
];

/// Refuses what a database's URL asks for and would not get. What is unknown is refused where it is read.
fn check_postgres_url(url: &str) -> Result<(), String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    if base.contains("://...@") || query == "..." {
        return Err("has `...` where something was left out: write what it stands for".to_owned());
    }
    // As a part of the query it would be repeated in messages.
    if query.contains('@') && !base.contains('@') {
        return Err("a `?` or `@` in a user or password has to be written as %3F or %40".to_owned());
    }
    for parameter in query.split('&') {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            (name, _) if UNUSED.contains(&name) => return Err(format!("has {name}, which would not be used")),
            ("target_session_attrs", value) if value != "read-write" => {
                return Err("target_session_attrs can only be read-write, which it always is".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Warns of a file with a secret that others may read. Refused it is not: where an orchestrator mounts secrets, all of the container may
/// read them.
pub(crate) fn warn_if_open(file: &Path, what: &str) {
    // Whoever reads the file says what is wrong with it.
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let mode = format!("{mode:o}");
        tracing::warn!(file = %file.display(), mode, "others may read or replace {what}: chmod 600");
    }
}

/// A text that is not shown, and is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Without the text.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_s_url_asks_for_is_done_or_refused() {
        for right in [
            "postgres://db/registry",
            "postgres://ana:p%40ss@db1:1,db2/registry?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://db/registry?options=-c%20search_path%3Dr&target_session_attrs=read-write&application_name=a%40b",
        ] {
            assert_eq!(check_postgres_url(right), Ok(()), "{right}");
        }
        for wrong in [
            "postgres://db/registry?connect_timeout=3",
            "postgres://db/registry?sslmode=require&hostaddr=127.0.0.1",
            "postgres://db/registry?target_session_attrs=any",
            "postgres://db/registry?load_balance_hosts=random",
            "postgres://ana:pa?ss@db/registry",
            "postgres://...@db/registry",
            "postgres://db/registry?...",
        ] {
            assert!(check_postgres_url(wrong).is_err(), "{wrong}");
        }
    }
}
