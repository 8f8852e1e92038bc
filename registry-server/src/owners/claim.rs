//! The objects that say whose a place is, and how far its registry has come.

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use registry_common::hex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Purpose;
use crate::places::{Folder, PlaceError};
use crate::registry::chain::Position;
use crate::store::{Revision, Whereabouts};

/// What the names of claims begin with.
pub(super) const CLAIM: &str = "registry-id";
/// What the names of notes begin with.
const NOTE: &str = "registry-at-";
/// How old the newest note of a server is at most that has just written something: it notes so every minute.
const RECENT: TimeDelta = TimeDelta::minutes(2);
/// What a note says to people.
const NOTE_TEXT: &str = "The registry that claims this place was at the revision in this name, with this hash.\n";

/// Which registry uses a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// What it uses the place for.
    pub(crate) purpose: Purpose,
    /// Its identity, a UUID, which copies share.
    pub(crate) registry: String,
    /// Where its records are.
    pub(crate) records: Whereabouts,
    /// Since when: RFC 3339.
    since: String,
}

impl Claim {
    pub(super) fn new(purpose: Purpose, registry: Uuid, records: Whereabouts) -> Self {
        let since = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { purpose, registry: registry.to_string(), records, since }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        // Strings and numbers can always be written.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        Bytes::from(text + "\n")
    }
}

impl Display for Claim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "registry {}, with its records in {}, since {}", self.registry, self.records, self.since)
    }
}

/// The claims and notes in a place.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The names of the claims.
    pub(super) claims: Vec<String>,
    pub(super) notes: Vec<Position>,
    /// When the newest note was written.
    noted: Option<DateTime<Utc>>,
}

impl Listed {
    pub(super) async fn of(folder: &Folder) -> Result<Self, PlaceError> {
        let mut listed = Self::default();
        for (name, written) in folder.names().await? {
            if let Some(note) = parse_note(&name) {
                listed.notes.push(note);
                listed.noted = listed.noted.max(Some(written));
            } else if name.starts_with(CLAIM) {
                listed.claims.push(name);
            }
        }
        listed.claims.sort_unstable();
        Ok(listed)
    }

    /// Whether the owner's server is running, or was a moment ago.
    pub(super) fn in_use(&self) -> bool {
        self.noted.is_some_and(|written| Utc::now() - written < RECENT)
    }

    /// The claims, for people.
    pub(super) async fn owners(&self, folder: &Folder) -> Result<Vec<String>, PlaceError> {
        let mut owners = Vec::new();
        for name in &self.claims {
            let claim = read_claim(folder, name).await?;
            owners.push(claim.map_or_else(|| name.clone(), |claim| claim.to_string()));
        }
        Ok(owners)
    }
}

/// The name of a claim.
pub(super) fn claim_name(id: Uuid) -> String {
    format!("{CLAIM}-{id}")
}

/// The id in the name of a claim.
pub(super) fn parse_claim(name: &str) -> Option<Uuid> {
    name.strip_prefix(CLAIM)?.strip_prefix('-')?.parse().ok()
}

/// Reads a claim; `None` if it is gone, or is none that this program can read.
pub(super) async fn read_claim(folder: &Folder, name: &str) -> Result<Option<Claim>, PlaceError> {
    let bytes = folder.get(&folder.path([name])).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The name of a note.
pub(super) fn note_name(position: &Position) -> String {
    format!("{NOTE}{:020}-{}", position.revision, hex(&position.hash))
}

fn parse_note(name: &str) -> Option<Position> {
    let (revision, hash) = name.strip_prefix(NOTE)?.split_once('-')?;
    let hash = Bytes::copy_from_slice(blake3::Hash::from_hex(hash).ok()?.as_bytes());
    Some(Position { revision: revision.parse::<Revision>().ok()?, hash })
}

pub(super) async fn write_note(folder: &Folder, position: &Position) -> Result<(), PlaceError> {
    folder.put_small(&folder.path([note_name(position).as_str()]), NOTE_TEXT.into()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_claims_come_back() {
        let position = Position { revision: 7, hash: Bytes::from_static(&[5; 32]) };
        assert_eq!(parse_note(&note_name(&position)), Some(position));
        let id = Uuid::now_v7();
        assert_eq!(parse_claim(&claim_name(id)), Some(id));
        for other in ["registry-id", "registry-id-", "registry-id-7", "registry-at-7-5", "registry-at-", "chunks"] {
            assert_eq!((parse_claim(other), parse_note(other)), (None, None), "{other}");
        }
        let records = Whereabouts::Postgres {
            system: "7301".to_owned(),
            timeline: 1,
            database: (5, "registry".to_owned()),
            schema: (2200, "public".to_owned()),
        };
        let claim = Claim::new(Purpose::Archive, id, records);
        assert_eq!(serde_json::from_slice::<Claim>(&claim.to_bytes()).unwrap(), claim);
    }
}
