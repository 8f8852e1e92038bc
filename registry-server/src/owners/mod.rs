//! Whose is a place: artifacts and an archive belong to one registry, at one place of its history.
//!
//! | object | |
//! |---|---|
//! | `registry-id-UUID` | a claim: which registry, and where its records are, which tells it from its copies |
//! | `registry-at-REVISION-HASH` | a note: the registry has this revision, which tells its past from others |
//!
//! No condition is put on a write, since not every object store keeps it: some answer 200 to a put that should have failed. Instead
//! each claim and note has a name of its own, so that none replaces another, and whoever has written one lists them all *behind*
//! that. Of two who write at once at least one sees the other's, and whoever sees one that is not of its registry and its past goes no
//! further. Nobody takes a claim back by itself: then people decide, with `registry-server claim`.
//!
//! *Invariant:* nothing is removed from a place, and nothing added to an archive, but behind such a look.

mod claim;
mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

pub(crate) use self::claim::Claim;
use self::claim::{Listed, claim_name, note_name, parse_claim, read_claim, write_note};
pub use self::error::OwnerError;
use crate::places::{Folder, PlaceError, Trouble};
use crate::registry::chain::Position;
use crate::store::{Seen, Store, StoreError, Whereabouts};

/// How often a server notes how far its registry is.
const EVERY: Duration = Duration::from_secs(60);

/// What the name of an object begins with that is written to find out whether it can be removed.
const PROBE: &str = "registry-probe-";
const PROBE_TEXT: &str = "Written to find out whether it can be removed.\n";

/// What a place is for. Shown as the setting that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The bytes of artifacts.
    Artifacts,
    /// The log, and the bytes of artifacts.
    Archive,
}

impl Display for Purpose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifacts => "--artifacts",
            Self::Archive => "--archive",
        })
    }
}

impl Purpose {
    /// The folder in which a place of this kind has its objects.
    fn content(self) -> &'static str {
        match self {
            Self::Artifacts => "chunks",
            Self::Archive => "log",
        }
    }
}

/// A registry as the owner of a place.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    folder: Folder,
    purpose: Purpose,
    registry: Uuid,
    /// The place is in the folder and on the volume of the store.
    beside: bool,
    known: Arc<Known>,
}

/// Who had a place before it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its claims, in words.
    pub claims: Vec<String>,
    /// A server of theirs is running, or was a moment ago.
    pub running: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// Claims by their names. What has a name never changes.
    claims: Mutex<BTreeMap<String, Claim>>,
    /// It was told that notes stay.
    told: AtomicBool,
}

impl Owner {
    pub(crate) fn new(folder: Folder, purpose: Purpose, registry: Uuid, beside: bool) -> Self {
        Self { folder, purpose, registry, beside, known: Arc::default() }
    }

    /// Makes sure that the place is this registry's, when it begins to use it. It claims the place if nobody has and nothing says
    /// that it should have another one.
    pub(crate) async fn enter(&self, store: &dyn Store) -> Result<Uuid, OwnerError> {
        let mut listed = Listed::of(&self.folder).await?;
        if listed.claims.is_empty() {
            self.check_claimable(store).await?;
            self.write_claim(self.first_id(store).await?, store).await?;
            listed = Listed::of(&self.folder).await?;
        }
        self.judge(&listed, store, false).await
    }

    /// The same for whoever only reads: nothing is claimed.
    pub(crate) async fn look(&self, store: &dyn Store) -> Result<(), OwnerError> {
        let listed = Listed::of(&self.folder).await?;
        if listed.claims.is_empty() {
            return self.check_claimable(store).await;
        }
        self.judge(&listed, store, false).await.map(drop)
    }

    /// Makes sure that the place may be taken, before anything is changed: `for_restore` if by an empty registry.
    pub(crate) async fn check_takeable(&self, store: &dyn Store, for_restore: bool) -> Result<(), OwnerError> {
        let listed = self.takeable().await?;
        if !for_restore && store.newest().await? == 0 {
            self.check_empty_may_take(store, &listed).await?;
        }
        Ok(())
    }

    /// Fails if an empty registry would take the place from another one: the empty one may be a mistake.
    async fn check_empty_may_take(&self, store: &dyn Store, listed: &Listed) -> Result<(), OwnerError> {
        match self.judge(listed, store, false).await {
            Err(error @ (OwnerError::Place(_) | OwnerError::Store(_))) => Err(error),
            Err(_) if !listed.claims.is_empty() => {
                let claims = listed.owners(&self.folder).await?.join("; ");
                Err(OwnerError::Empty { place: self.place(), claims })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that the place is this registry's, and that everything that was noted there is in this registry's past: before
    /// something is removed from it, or added to an archive. Answers the id of the claim.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<Uuid, OwnerError> {
        let here = Position::newest(store).await?;
        let mut listed = Listed::of(&self.folder).await?;
        let mut id = self.agree(&listed, store).await?;
        // Looked at again behind the note: whoever has another past and does the same sees it, or is seen.
        if here.revision > 0 && !listed.notes.contains(&here) {
            write_note(&self.folder, &here).await?;
            listed = Listed::of(&self.folder).await?;
            id = self.agree(&listed, store).await?;
        }
        // What came before a note is in every past that has it.
        for note in listed.notes.iter().filter(|note| note.revision < here.revision) {
            let removed = self.folder.remove(&self.folder.path([note_name(note).as_str()])).await;
            // They do no harm, and who writes an archive need not have the right to remove anything.
            if let Err(error) = removed
                && !self.known.told.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(%error, "old notes of how far the registry was can't be removed, and add up");
            }
        }
        Ok(id)
    }

    /// Makes the place this registry's from now on, under a new id, whoever had it. Answers who that was.
    pub(crate) async fn take(&self, id: Uuid, store: &dyn Store) -> Result<Former, OwnerError> {
        let before = self.takeable().await?;
        let former = Former { claims: before.owners(&self.folder).await?, running: before.in_use() };
        self.write_claim(id, store).await?;
        let notes: Vec<_> = before.notes.iter().map(note_name).collect();
        for name in before.claims.iter().chain(&notes) {
            self.folder.remove(&self.folder.path([name.as_str()])).await?;
        }
        self.check(store).await?;
        Ok(former)
    }

    /// Makes sure that former claims can be removed, before the place is taken: with theirs and a new one nothing could be used.
    pub(crate) async fn check_may_remove(&self) -> Result<(), OwnerError> {
        let probe = self.folder.path([format!("{PROBE}{}", Uuid::now_v7()).as_str()]);
        let refused = |error: PlaceError| match error {
            PlaceError::Failed { trouble: Trouble::Unreachable, .. } => OwnerError::Place(error),
            error => OwnerError::NoRemoval { place: self.place(), source: Box::new(error) },
        };
        // Most stores refuse this also if there is nothing: then no probe is left behind.
        self.folder.remove(&probe).await.map_err(refused)?;
        self.folder.put_small(&probe, PROBE_TEXT.into()).await?;
        self.folder.remove(&probe).await.map_err(refused)
    }

    /// Removes all claims but one that is this registry's, of a place that is its own. Answers what they were.
    pub(crate) async fn tidy(&self, keep: Uuid) -> Result<Option<Former>, OwnerError> {
        let mut others = Listed::of(&self.folder).await?;
        others.claims.retain(|name| parse_claim(name) != Some(keep));
        if others.claims.is_empty() {
            return Ok(None);
        }
        let former = Former { claims: others.owners(&self.folder).await?, running: false };
        for name in &others.claims {
            self.folder.remove(&self.folder.path([name.as_str()])).await?;
        }
        Ok(Some(former))
    }

    /// What there is in the place, if claiming it may change whose it is. What it is for is not changed: the collection of an artifacts'
    /// place that was an archive would remove what was archived.
    async fn takeable(&self) -> Result<Listed, OwnerError> {
        let listed = Listed::of(&self.folder).await?;
        for name in &listed.claims {
            if let Some(claim) = read_claim(&self.folder, name).await? {
                self.check_purpose(&claim)?;
            }
        }
        Ok(listed)
    }

    fn check_purpose(&self, claim: &Claim) -> Result<(), OwnerError> {
        if claim.purpose == self.purpose {
            return Ok(());
        }
        let (theirs, claim) = (claim.purpose, claim.to_string());
        Err(OwnerError::OtherPurpose { place: self.place(), ours: self.purpose, theirs, claim })
    }

    pub(crate) fn place(&self) -> String {
        self.folder.name.clone()
    }

    /// Whether the claims and the notes agree with this registry. Answers the id of its claim.
    async fn agree(&self, listed: &Listed, store: &dyn Store) -> Result<Uuid, OwnerError> {
        // An archive is not given up at a failover: the notes tell pasts apart. But what is removed is gone.
        let id = self.judge(listed, store, self.purpose == Purpose::Artifacts).await?;
        for note in &listed.notes {
            let is_past = match note.is_past_of(store).await {
                // It can't be told any more. Of two pasts the shorter one still sees the newest note of the other.
                Err(StoreError::Compacted { .. }) => true,
                is_past => is_past?,
            };
            if !is_past {
                return Err(OwnerError::OtherPast { place: self.place(), revision: note.revision });
            }
        }
        Ok(id)
    }

    /// Whose a place is with these claims, perhaps strictly: then also a promoted database is another one. Answers the id of this
    /// registry's claim.
    async fn judge(&self, listed: &Listed, store: &dyn Store, strictly: bool) -> Result<Uuid, OwnerError> {
        let ours = self.whereabouts(store).await?;
        let mut first = None;
        for name in &listed.claims {
            let (id, claim) = self.claim(name).await?;
            self.check_purpose(&claim)?;
            if claim.registry != self.registry.to_string() {
                let claim = claim.to_string();
                return Err(OwnerError::Taken { place: self.place(), purpose: self.purpose, claim });
            }
            let seen = claim.records.seen_from(&ours);
            let (place, purpose) = (self.place(), self.purpose);
            let (theirs, ours) = (claim.records.to_string(), ours.to_string());
            match seen {
                Seen::Promoted if strictly => return Err(OwnerError::Promoted { place, theirs, ours }),
                Seen::Same | Seen::Promoted => {}
                Seen::Other => return Err(OwnerError::Copy { place, purpose, theirs, ours }),
            }
            // Claims are sorted: all servers of a registry take the same one.
            first.get_or_insert(id);
        }
        first.ok_or_else(|| self.unclaimed("is no longer claimed by anybody"))
    }

    /// A claim by its name, read once.
    async fn claim(&self, name: &str) -> Result<(Uuid, Claim), OwnerError> {
        let unreadable = || OwnerError::Unreadable { place: self.place(), name: name.to_owned() };
        let id = parse_claim(name).ok_or_else(unreadable)?;
        if let Some(claim) = self.claims().get(name) {
            return Ok((id, claim.clone()));
        }
        let claim = read_claim(&self.folder, name).await?.ok_or_else(unreadable)?;
        self.claims().insert(name.to_owned(), claim.clone());
        Ok((id, claim))
    }

    /// Fails if something says that the place is not for this registry.
    async fn check_claimable(&self, store: &dyn Store) -> Result<(), OwnerError> {
        if self.folder.has_below(&self.folder.path([self.purpose.content()])).await? {
            return Err(self.unclaimed("is in use, and nothing says whose it is"));
        }
        let revision = store.newest().await?;
        if self.purpose == Purpose::Artifacts && revision > 0 {
            let why = format!("was never used by this registry, which is at revision {revision}");
            return Err(self.unclaimed(&why));
        }
        Ok(())
    }

    fn unclaimed(&self, why: &str) -> OwnerError {
        OwnerError::Unclaimed { place: self.place(), purpose: self.purpose, why: why.to_owned() }
    }

    /// The id of the claim that a registry makes by itself: the same on all servers that do so at once.
    async fn first_id(&self, store: &dyn Store) -> Result<Uuid, OwnerError> {
        let records = self.whereabouts(store).await?.to_string();
        let digest = blake3::Hasher::new().update(self.registry.as_bytes()).update(records.as_bytes()).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    pub(crate) async fn write_claim(&self, id: Uuid, store: &dyn Store) -> Result<(), OwnerError> {
        let claim = Claim::new(self.purpose, self.registry, self.whereabouts(store).await?);
        Ok(self.folder.put_small(&self.folder.path([claim_name(id).as_str()]), claim.to_bytes().into()).await?)
    }

    async fn whereabouts(&self, store: &dyn Store) -> Result<Whereabouts, OwnerError> {
        Ok(if self.beside { Whereabouts::Beside } else { store.whereabouts().await? })
    }

    fn claims(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Claim>> {
        self.known.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claims on a place, whoever made them, in the order in which servers take them: `None` are those that can't be read.
pub(crate) async fn claims_on(folder: &Folder) -> Result<Vec<(Uuid, Option<Claim>)>, PlaceError> {
    let mut claims = Vec::new();
    for name in &Listed::of(folder).await?.claims {
        if let Some(id) = parse_claim(name) {
            claims.push((id, read_claim(folder, name).await?));
        }
    }
    Ok(claims)
}

/// Notes how far a registry is, again and again, until the server drains: a copy that removes something has to see it. Says so if the
/// place is not this registry's any more.
pub(crate) async fn keep(owner: Owner, store: Arc<dyn Store>, mut draining: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // An error means that the server is gone.
            _ = draining.wait_for(|draining| *draining) => return,
        }
        let found = owner.check(&*store).await.err().map(|error| error.to_string());
        if found != said {
            match &found {
                Some(error) => tracing::error!(%error, "nothing is removed from the artifacts"),
                None => tracing::info!("the artifacts are this registry's again"),
            }
            said = found;
        }
    }
}
