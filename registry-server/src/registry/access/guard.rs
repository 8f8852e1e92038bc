//! What decides who may do what: all that is kept of it, in memory, and by the log as new as it has to be.
//!
//! Every change of it leaves a mark. Whoever sees the head of the log move looks at the mark, and reads everything anew if that is newer:
//! reads and streams are decided by what was so less than a second ago. A commit looks at the mark in its lane, and is decided by nothing
//! older: *Invariant:* what is revoked in one revision is not used in a later one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use tokio::sync::{MutexGuard, watch};
use tokio::time::{Instant, sleep, timeout};

use super::came::Came;
use super::denials::Refusals;
use super::jwt::Issuers;
use super::shared::Shared;
use super::tokens::{TokenRow, USE_NOTED, use_key, use_value};
use super::wishes::{Caller, Credential, Seen, Wish};
use crate::connections::Presented;
use crate::error::Error;
use crate::registry::resource::Resource;
use crate::registry::{Registry, kinds};
use crate::rules::access::{Access, Bearer, Bound, Condition, Permission, Permissions, node_of};
use crate::rules::certificates::{Rule, principal};
use crate::rules::names::{BINDINGS, Name, TOKENS};
use crate::rules::tokens::{self, Ended, Shown};
use crate::store::{Pages, Revision, Store, StoreError};

/// How long a commit waits for this server to know of a change of who may do what.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked for, if the store says nothing.
const LOOK: Duration = Duration::from_millis(50);
/// How long revisions are gathered that may have changed something.
const GATHERED: Duration = Duration::from_millis(20);
/// How often it is asked again what a reader may do under conditions.
const LOOKED_AT: Duration = Duration::from_millis(500);
/// When to look again if the store can't be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Who may do what, as of a revision.
#[derive(Default)]
pub(crate) struct Current {
    /// That of the last change.
    revision: Revision,
    pub(crate) access: Access,
    /// By id.
    tokens: HashMap<String, Known>,
}

struct Known {
    sha256: Vec<u8>,
    bearer: Arc<Bearer>,
    expires: Option<SystemTime>,
    is_revoked: bool,
}

impl Current {
    /// The revision of the last change that is in it.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The resource on which it is decided what may be done with something of this name. Bindings belong to the resource that they are on;
    /// of one that does not exist nobody is told more than the server tells.
    pub(crate) fn node_of(&self, name: &str) -> String {
        match name.strip_prefix(BINDINGS.segment).is_some_and(|rest| rest.starts_with('/')) {
            true => self.access.binding(name).map(|bound| bound.resource.clone()).unwrap_or_default(),
            false => node_of(name).into_owned(),
        }
    }

    /// Fails if what a caller has shown has ended.
    pub(super) fn check(&self, caller: &Caller) -> Result<(), Error> {
        let (is_revoked, expires) = match &caller.credential {
            Credential::Token(id) => {
                let known = self.tokens.get(&**id).ok_or_else(|| unauthenticated(ErrorReason::TokenInvalid))?;
                (known.is_revoked, known.expires)
            }
            // Nobody can take it back before it ends.
            Credential::Jwt { .. } | Credential::Certificate { .. } => (false, caller.expires),
        };
        tokens::check(is_revoked, expires, SystemTime::now()).map_err(|ended| match (ended, &caller.credential) {
            (Ended::Revoked, _) => unauthenticated(ErrorReason::TokenRevoked),
            (Ended::Expired, Credential::Certificate { .. }) => unauthenticated(ErrorReason::CertificateExpired),
            (Ended::Expired, _) => unauthenticated(ErrorReason::TokenExpired),
        })
    }
}

fn unauthenticated(reason: ErrorReason) -> Error {
    Error::Unauthenticated(reason)
}

/// Knows who may do what.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    issuers: Issuers,
    certificates: Vec<Rule>,
    current: watch::Sender<Arc<Current>>,
    looks: Shared,
    /// Whose holder changes who may do what.
    turn: tokio::sync::Mutex<()>,
    /// When the use of a token was noted last.
    noted: Mutex<HashMap<Arc<str>, Instant>>,
    refusals: Refusals,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("revision", &self.current.borrow().revision).finish_non_exhaustive()
    }
}

impl Guard {
    /// Reads who may do what in a store. Tokens of these issuers count beside those that are in it, and by these rules certificates.
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) async fn open(store: Arc<dyn Store>, issuers: Issuers, certificates: Vec<Rule>) -> Result<Self, Error> {
        let current = watch::Sender::new(Arc::new(read(&*store).await?));
        let (looks, turn, noted, refusals) = Default::default();
        Ok(Self { inner: Arc::new(Inner { store, issuers, certificates, current, looks, turn, noted, refusals }) })
    }

    /// Whose tokens count beside the registry's own.
    pub(crate) fn issuers(&self) -> &Issuers {
        &self.inner.issuers
    }

    /// Who may do what, as far as this server knows.
    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.inner.current.borrow())
    }

    /// Looks whether that has changed. All who ask meanwhile share one look: tokens that are none, however many, wait for no queue of them.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let Inner { store, current, looks, .. } = &*self.inner;
        looks
            .look(async {
                if mark(&**store).await? > self.current().revision {
                    current.send_replace(Arc::new(read(&**store).await?));
                }
                Ok(())
            })
            .await
    }

    /// Waits until no other change of who may do what is on its way here. Each has to be decided by the one before it, which is looked for
    /// in all that there is: without turns, of many who wait for that one wins, and another one may lose until its time is over.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.inner.turn.lock().await
    }

    /// Waits until the change of a revision is known.
    ///
    /// # Errors
    /// If that takes long, or the store can't be read.
    pub(crate) async fn reach(&self, revision: Revision) -> Result<(), Error> {
        let mut head = self.inner.store.head();
        let end = Instant::now() + PATIENCE;
        loop {
            head.borrow_and_update();
            self.refresh().await?;
            if self.current().revision >= revision {
                return Ok(());
            }
            if Instant::now() >= end {
                let late = "who may do what has changed, and is not known here yet";
                return Err(StoreError::Unavailable(late.to_owned()).into());
            }
            // An error means that the store is gone, which the next read says.
            let _ = timeout(LOOK, head.changed()).await;
        }
    }

    /// Keeps what is known new until the server stops.
    pub(crate) async fn keep(self, mut draining: watch::Receiver<bool>) {
        let mut head = self.inner.store.head();
        let follow = async {
            while head.changed().await.is_ok() {
                sleep(GATHERED).await;
                head.borrow_and_update();
                while let Err(error) = self.refresh().await {
                    tracing::warn!(%error, "who may do what could not be read, and may have changed");
                    sleep(PAUSE).await;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = follow => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => {}
        }
    }

    /// Whether certificates say who calls.
    pub(crate) fn knows_certificates(&self) -> bool {
        !self.inner.certificates.is_empty()
    }

    /// The caller that has shown a certificate.
    ///
    /// # Errors
    /// If it names nobody, or has ended since.
    pub(crate) fn named(&self, shown: &Presented) -> Result<Caller, Error> {
        let (principal, name) = principal(&self.inner.certificates, &shown.names).map_err(|problem| {
            tracing::info!(%problem, "a client's certificate names no principal");
            unauthenticated(ErrorReason::CertificateUnknown)
        })?;
        let bearer = Arc::new(Bearer { principal, ..Bearer::default() });
        let credential = Credential::Certificate { name: name.into() };
        let caller = Caller { credential, bearer, expires: Some(shown.expires), came: Came::default() };
        self.current().check(&caller)?;
        Ok(caller)
    }

    /// The caller that shows a token.
    ///
    /// # Errors
    /// If it is none, or has ended.
    pub(crate) async fn authenticate(&self, text: &str) -> Result<Caller, Error> {
        if !tokens::is_ours(text) && !self.inner.issuers.is_empty() {
            return self.inner.issuers.authenticate(text).await;
        }
        let shown = Shown::parse(text).ok_or_else(|| unauthenticated(ErrorReason::TokenInvalid))?;
        let mut current = self.current();
        if !current.tokens.contains_key(shown.id) {
            // It may have been made on another server just now.
            self.refresh().await?;
            current = self.current();
        }
        let Some((id, known)) = current.tokens.get_key_value(shown.id).filter(|(_, known)| shown.is(&known.sha256))
        else {
            return Err(unauthenticated(ErrorReason::TokenInvalid));
        };
        let id: Arc<str> = id.as_str().into();
        let (credential, bearer) = (Credential::Token(Arc::clone(&id)), Arc::clone(&known.bearer));
        let caller = Caller { credential, bearer, expires: known.expires, came: Came::default() };
        current.check(&caller)?;
        self.note_use(&id);
        Ok(caller)
    }

    /// Notes that a token was used, now and then.
    fn note_use(&self, token: &Arc<str>) {
        let now = Instant::now();
        {
            let mut noted = self.inner.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(token).is_some_and(|last| now.duration_since(*last) < USE_NOTED) {
                return;
            }
            noted.insert(Arc::clone(token), now);
        }
        let (store, key) = (Arc::clone(&self.inner.store), use_key(token));
        tokio::spawn(async move {
            let noted = async {
                let old = store.slate_get(&key).await?;
                // If another server was first, that is as good.
                store.slate_swap(&key, old.as_deref(), Some(&use_value(SystemTime::now()))).await
            };
            if let Err(error) = noted.await {
                tracing::debug!(%error, "the use of a token could not be noted");
            }
        });
    }

    /// What was refused and is not in the log yet.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.inner.refusals
    }

    /// Fails if a wish is not granted, and has it told in the log.
    pub(crate) fn grant(&self, wish: &Wish) -> Result<(), Error> {
        wish.check(&self.current()).inspect_err(|error| self.note_denied(&wish.caller, error))
    }

    /// Has it told in the log if this is the error of a permission that a caller lacks.
    pub(crate) fn note_denied(&self, caller: &Caller, error: &Error) {
        if let Error::Denied { permission, resource } = error {
            self.inner.refusals.denied(caller, permission, resource);
        }
    }

    /// Has it told in the log if this is the error of somebody who has shown nothing that lets them in.
    pub(crate) fn note_unknown(&self, came: &Came, error: &Error) {
        if let Error::Unauthenticated(reason) = error {
            self.inner.refusals.unknown(*reason, came);
        }
    }

    /// What a caller sees.
    pub(crate) fn seen(&self, caller: &Arc<Caller>, permission: Permission) -> Seen {
        Seen::new(self.clone(), Arc::clone(caller), permission)
    }

    /// Waits until a wish is not granted any more, or nothing of what it asks for is to be seen if that is enough, and says why.
    pub(crate) async fn revoked(self, wish: Arc<Wish>, some: bool) -> Error {
        let mut changes = self.inner.current.subscribe();
        loop {
            let current = Arc::clone(&changes.borrow_and_update());
            if let Err(error) = current.check(&wish.caller) {
                return error;
            }
            if let Err(error) = wish.check(&current)
                && !(some && wish.sees_some(&current))
            {
                return error;
            }
            let end = wish.caller.expires.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
            // Conditions may go by the time.
            let left = end.into_iter().chain(current.access.has_conditions().then_some(LOOKED_AT)).min();
            let changed = match left {
                Some(left) => timeout(left, changes.changed()).await.unwrap_or(Ok(())),
                None => changes.changed().await,
            };
            if changed.is_err() {
                return Error::Draining;
            }
        }
    }
}

impl Registry {
    /// Who may do what, also where nobody is asked.
    pub(crate) async fn known_access(&self) -> Result<Arc<Current>, Error> {
        match self.guard() {
            Some(guard) => Ok(guard.current()),
            None => Ok(Arc::new(read(&**self.store()).await?)),
        }
    }
}

/// The revision that last changed who may do what; 0 if none did.
async fn mark(store: &dyn Store) -> Result<Revision, StoreError> {
    Ok(store.get(kinds::ACCESS, &[]).await?.map_or(0, |record| record.revision))
}

/// All resources of a kind.
async fn all<R: Resource>(store: &dyn Store) -> Result<Vec<R>, Error> {
    let (mut all, mut pages) = (Vec::new(), Pages::of(R::LISTED));
    while let Some(hit) = pages.next(store).await? {
        all.push(R::decode(&hit.record)?);
    }
    Ok(all)
}

async fn read(store: &dyn Store) -> Result<Current, Error> {
    loop {
        let revision = mark(store).await?;
        let roles = all::<pb::Role>(store).await?.into_iter().map(|role| {
            let permissions = Permissions::of_patterns(role.permissions.iter().map(String::as_str));
            (role.name, permissions)
        });
        let groups = all::<pb::Group>(store).await?.into_iter().map(|group| (group.name, group.members));
        let bindings = all::<pb::Binding>(store).await?.into_iter();
        let bindings =
            bindings.map(|pb::Binding { name, role, members, resource, namespace_tags, condition, .. }| {
                let condition = (!condition.is_empty()).then(|| Condition::of(&condition));
                (name, Bound { role, members, resource, tags: namespace_tags, condition })
            });
        let namespaces =
            all::<pb::Namespace>(store).await?.into_iter().map(|namespace| (namespace.name, namespace.tags));
        let access = Access::new(roles, groups, bindings, namespaces);
        let tokens = all::<TokenRow>(store).await?.into_iter().map(known).collect();
        // Not all of it is from one revision if there was a change meanwhile.
        if mark(store).await? == revision {
            return Ok(Current { revision, access, tokens });
        }
    }
}

fn known(TokenRow { token, sha256 }: TokenRow) -> (String, Known) {
    let id = Name::canonical(&TOKENS, &token.name).id().to_owned();
    let expires = token.expire_time.and_then(|time| SystemTime::try_from(time).ok());
    let is_revoked = token.revoke_time.is_some();
    let pb::Token { principal, roles, resource, .. } = token;
    let bearer = Arc::new(Bearer { principal, groups: Vec::new(), roles, resource });
    (id, Known { sha256: sha256.to_vec(), bearer, expires, is_revoked })
}
