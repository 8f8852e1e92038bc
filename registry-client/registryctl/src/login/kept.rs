//! The tokens of those who are logged in: a file for each endpoint, so that none is shown to another registry.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::Failure;

/// A login at one endpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) issuer: String,
    pub(super) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<String>,
    pub(super) token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
}

impl Login {
    /// The login at an endpoint, if there is one.
    pub(super) fn read(endpoint: &str) -> Result<Option<Self>, Failure> {
        let Some(file) = file(endpoint) else { return Ok(None) };
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", file.display()).into()),
        };
        match serde_json::from_slice(&text) {
            Ok(login) => Ok(Some(login)),
            Err(error) => {
                Err(format!("{}: {error}: log out and in again with `registryctl logout`", file.display()).into())
            }
        }
    }

    /// Keeps it for its user alone, in place of what was kept for that endpoint.
    pub(super) fn write(&self, endpoint: &str) -> Result<(), Failure> {
        let file = file(endpoint).ok_or("there is no home directory to keep the token in: set XDG_CONFIG_HOME")?;
        let folder = file.parent().unwrap_or(&file);
        let write = || {
            create(folder)?;
            // Nobody else may read it, from its first byte on, and nobody finds half of it.
            let mut new = NamedTempFile::new_in(folder)?;
            new.write_all(&serde_json::to_vec_pretty(self)?)?;
            new.persist(&file).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error| format!("{}: {error}", file.display()).into())
    }

    /// Removes what is kept for an endpoint, and says whether there was anything.
    pub(super) fn remove(endpoint: &str) -> Result<bool, Failure> {
        let Some(file) = file(endpoint) else { return Ok(false) };
        match std::fs::remove_file(&file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(format!("{}: {error}", file.display()).into()),
        }
    }
}

/// Makes a folder, and what it lies in, for its user alone.
fn create(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Where the login of an endpoint is kept: in the user's directory for settings.
fn file(endpoint: &str) -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let settings = set.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(settings.join("model-registry").join("logins").join(format!("{}.json", name(endpoint))))
}

/// A file's name for an endpoint, another one for each.
fn name(endpoint: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let mut name = String::new();
    for byte in endpoint.trim_end_matches('/').bytes() {
        match plain(byte) {
            true => name.push(byte.into()),
            false => name += &format!("_{byte:02x}"),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn each_endpoint_has_a_file() {
        assert_eq!(name("https://registry.example:443/"), "https_3a_2f_2fregistry.example_3a443");
        assert_eq!(name("../a"), ".._2fa");
        assert_ne!(name("a_3a"), name("a:"));
    }
}
