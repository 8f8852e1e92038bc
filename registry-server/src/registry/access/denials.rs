//! The audit trail of what was refused: gathered where it is refused, and told of in the log by a task.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use registry_common::shown::cut;
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::came::Came;
use super::wishes::{Caller, Credential};
use crate::error::Error;
use crate::registry::transaction::{Tx, event};
use crate::registry::{Committed, Intent, Mutation, Registry};
use crate::rules::denials::{Denials, Told, Tried};

/// How long is gathered what becomes a revision.
const GATHERED: Duration = Duration::from_secs(1);
/// How much is kept of a name, which need not be one.
const NAME_BYTES: usize = 512;
/// Who it was if that is not known.
const NOBODY: &str = "anonymous";

/// Something that was refused to a principal.
///
/// The same by another token or from elsewhere is another attempt: a token that was stolen does not hide behind its owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    permission: &'static str,
    resource: String,
    reason: ErrorReason,
    credential: Option<Credential>,
    address: Option<IpAddr>,
}

/// What was refused and is not told of yet.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    denials: Mutex<Denials<Attempt, pb::Caller>>,
    noted: Notify,
}

impl Refusals {
    /// Notes that a caller lacks a permission.
    pub(super) fn denied(&self, caller: &Caller, permission: &'static str, resource: &str) {
        let attempt = Attempt {
            permission,
            resource: cut(resource, NAME_BYTES),
            reason: ErrorReason::PermissionDenied,
            credential: Some(caller.credential.clone()),
            address: caller.came.address(),
        };
        self.note(&caller.bearer.principal, attempt, || caller.told());
    }

    /// Notes that somebody has shown nothing that lets them in.
    pub(super) fn unknown(&self, reason: ErrorReason, came: &Came) {
        let (permission, resource, credential, address) = ("", String::new(), None, came.address());
        self.note(NOBODY, Attempt { permission, resource, reason, credential, address }, || came.told());
    }

    fn note(&self, principal: &str, attempt: Attempt, caller: impl FnOnce() -> pb::Caller) {
        let now = Instant::now().into_std();
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).note(principal, attempt, now, caller);
        self.noted.notify_one();
    }

    /// Waits until something is to be told of, and takes it.
    async fn due(&self) -> Vec<Told<Attempt, pb::Caller>> {
        loop {
            let next = self.denials.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some(next) => tokio::select! {
                    () = sleep_until(next.into()) => break,
                    () = self.noted.notified() => {}
                },
                None => self.noted.notified().await,
            }
        }
        sleep(GATHERED).await;
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now().into_std())
    }

    fn rest(&self) -> Vec<Told<Attempt, pb::Caller>> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).rest()
    }
}

impl Registry {
    /// Tells in the log of what is refused, until the server stops.
    pub(crate) async fn tell_of_denials(self, mut draining: watch::Receiver<bool>) {
        let Some(guard) = self.guard() else { return };
        loop {
            let (told, is_last) = tokio::select! {
                told = guard.refusals().due() => (told, false),
                // An error means that the server is gone.
                _ = draining.wait_for(|draining| *draining) => (guard.refusals().rest(), true),
            };
            if !told.is_empty()
                && let Err(error) = self.commit(Intent::own(), Tell(told)).await
            {
                tracing::warn!(%error, "the log does not tell of what was refused");
            }
            if is_last {
                return;
            }
        }
    }
}

struct Tell(Vec<Told<Attempt, pb::Caller>>);

#[async_trait]
impl Mutation for Tell {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        for told in &self.0 {
            tx.record(denied(told.clone()));
        }
        Ok(())
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}

fn denied(Told { tried, count, caller }: Told<Attempt, pb::Caller>) -> pb::Event {
    let counted = pb::Denial { count, ..Default::default() };
    let (principal, denial) = match tried {
        Tried::Others => (None, counted),
        Tried::By(principal) => (Some(principal), counted),
        Tried::This(principal, Attempt { permission, resource, reason, .. }) => {
            let (permission, reason) = (permission.to_owned(), reason.word().to_owned());
            (Some(principal), pb::Denial { permission, resource, reason, ..counted })
        }
    };
    let denied = pb::Event { denial: Some(denial), caller, ..event(event_type::ACCESS_DENIED) };
    match principal {
        Some(principal) => pb::Event { actor: principal.clone(), resource_name: principal, ..denied },
        None => pb::Event { resource_name: NOBODY.to_owned(), ..denied },
    }
}
