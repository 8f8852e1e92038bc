//! A command that is asked to end before it is done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal;
use tokio::time::timeout;

use crate::Context;
use crate::output::brief;

/// What to do after that.
pub(crate) const GO_ON: &str = "run the same command again to go on";
/// How long it may take to say in the registry that a version is given up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Somebody asked the command to end. It has said all there is to say.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {0}")]
pub(crate) struct Interrupted(pub(crate) String);

impl Interrupted {
    /// What shells say of a command that Ctrl-C ended.
    pub(crate) const EXIT_CODE: u8 = 130;
}

/// Waits until somebody asks the command to end: by Ctrl-C or, as whoever stops a job does, by SIGTERM.
pub(crate) async fn asked_to_end() {
    #[cfg(unix)]
    {
        // Without the signal there is still Ctrl-C.
        if let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = signal::ctrl_c() => return,
            }
        }
    }
    let _ = signal::ctrl_c().await;
}

/// The version that a publication has begun, if it has.
#[derive(Debug, Default)]
pub(crate) struct Begun(Arc<Mutex<Option<String>>>);

impl Begun {
    /// Keeps the name.
    pub(crate) fn told(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let begun = Arc::clone(&self.0);
        move |name| *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned())
    }

    /// What becomes of the version when the publication is interrupted: the same command takes it up, if it `takes_up`; otherwise it is
    /// given up, since nobody would come back to it.
    pub(crate) async fn left(&self, context: &Context, takes_up: bool) -> Interrupted {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(version) = begun else { return Interrupted("nothing was published".to_owned()) };
        let name = brief(&version);
        if takes_up {
            return Interrupted(format!("{name} stays pending: {GO_ON}"));
        }
        let failed = context.client.finalize_version(&version).failed("interrupted");
        let given_up = tokio::select! {
            given_up = timeout(LAST_WORDS, failed.send()) => given_up.is_ok_and(|failed| failed.is_ok()),
            // Twice means now.
            () = asked_to_end() => false,
        };
        Interrupted(if given_up {
            format!("{name} is given up; with --version-id, the same command would go on with it")
        } else {
            format!("{name} stays pending: delete it")
        })
    }
}
