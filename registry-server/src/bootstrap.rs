//! The first token of a registry in which nobody may do anything yet.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::registry::Registry;
use crate::registry::access::tokens::{is_secret, new_secret};
use crate::settings::warn_if_open;
use crate::stores::ServeError;

/// Who the first token is of.
const FIRST: &str = "users/admin";

/// If there is no binding, gives one to the token in a file, which is made if it is not there. It is written before it counts: a server
/// that stops between has not lost it, and one that starts again finds it.
pub(crate) async fn first_token(registry: &Registry, file: Option<&Path>) -> Result<(), ServeError> {
    let Some(guard) = registry.guard().filter(|guard| !guard.current().access.has_bindings()) else { return Ok(()) };
    let Some(file) = file else {
        tracing::warn!(
            "there is no binding, so that nobody may do anything: --bootstrap-token-file makes the first token"
        );
        return Ok(());
    };
    let failed = |source| ServeError::Folder { path: file.display().to_string(), source };
    let (text, is_new) = match std::fs::read_to_string(file) {
        Ok(text) => (Zeroizing::new(text), false),
        Err(error) if error.kind() == ErrorKind::NotFound => (write(file, new_secret()?).map_err(failed)?, true),
        Err(error) => return Err(failed(error)),
    };
    warn_if_open(file, "the first token");
    let secret = Zeroizing::new(text.trim().to_owned());
    if !is_secret(&secret) {
        return Err(ServeError::NoToken(file.display().to_string()));
    }
    match registry.make_first_token(FIRST, secret).await? {
        true => {
            guard.refresh().await?;
            tracing::info!(file = %file.display(), principal = FIRST, "the token in the file may do everything");
        }
        // Another server was first.
        false if is_new => std::fs::remove_file(file).map_err(failed)?,
        false => {}
    }
    Ok(())
}

/// Writes a secret into a new file that only its owner can read.
fn write(file: &Path, secret: Zeroizing<String>) -> std::io::Result<Zeroizing<String>> {
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(secret.as_bytes())?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    Ok(secret)
}
