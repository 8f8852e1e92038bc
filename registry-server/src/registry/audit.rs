//! Proof of the audit trail: who signs the tree over the events, and what witnesses add to it.

mod export;

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use registry_common::tlog::{Checkpoint, Hash, Note, NoteError, Signer, Tile};
use registry_proto::known::event_type;
use registry_proto::v1 as pb;
use registry_proto::v1::ErrorReason;
use uuid::Uuid;

use super::secrets::Kept;
use super::transaction::{Tx, event};
use super::tree::reading::Log;
use super::{Committed, Intent, Mutation, Registry, kinds};
use crate::encryption::Key;
use crate::error::{Error, Violation};
use crate::store::{StoreError, decode};
use crate::stored::AuditKeyRecord;

/// What the newest cosigned checkpoint is under, on the slate.
const COSIGNED: &[u8] = b"a/cosigned";
/// The most lines of witnesses that a checkpoint has.
const WITNESSES: usize = 16;

impl Registry {
    /// The log as it is now, signed.
    pub(crate) async fn checkpoint(&self) -> Result<pb::Checkpoint, Error> {
        // Before the log is read: its first use makes the key, which is an event.
        let signer = self.signer().await?;
        signed(&signer, &self.transparency_log().await?).await
    }

    /// The newest checkpoint that witnesses have signed, too.
    pub(crate) async fn cosigned_checkpoint(&self) -> Result<pb::Checkpoint, Error> {
        match self.cosigned().await? {
            Some((_, note, size)) => Ok(checkpoint(&self.signer().await?, &note, size)),
            None => Err(Error::NotFound { of: "Checkpoint", name: "a cosigned checkpoint".to_owned(), at: None }),
        }
    }

    /// Adds the lines of witnesses to a checkpoint that this registry has signed.
    pub(crate) async fn add_cosignatures(&self, given: Note) -> Result<pb::Checkpoint, Error> {
        // Where there is no key yet, none is made for it: nothing can be signed with it.
        let signer = self.signer_of(self.store.identity().await?).await?;
        let signer = signer.ok_or_else(|| refused("is not signed by this registry".to_owned()))?;
        let size = self.is_ours(&signer, &given).await?;
        loop {
            let there = self.cosigned().await?;
            let mut note = given.clone();
            let old = match there {
                Some((_, _, newer)) if newer > size => {
                    let detail = format!("a checkpoint of {newer} leaves is cosigned already");
                    return Err(Error::precondition(ErrorReason::CosignedLater, "note", detail));
                }
                Some((old, cosigned, same)) => {
                    if same == size {
                        cosigned.signatures().iter().for_each(|line| note.add(line.clone()));
                    }
                    Some(old)
                }
                None => None,
            };
            if note.signatures().len() > 1 + WITNESSES {
                return Err(refused(format!(
                    "has more lines than those of {WITNESSES} witnesses, with those that are there"
                )));
            }
            if self.store.slate_swap(COSIGNED, old.as_deref(), Some(note.to_string().as_bytes())).await? {
                return Ok(checkpoint(&signer, &note, size));
            }
        }
    }

    /// The size of the tree that a note is about, if this registry has signed it, and there are lines of others.
    async fn is_ours(&self, signer: &Signer, note: &Note) -> Result<u64, Error> {
        signer.verifier().verify(note).map_err(|error| match error {
            NoteError::Unsigned => refused(format!("is not signed by {}", signer.verifier())),
            error => refused(error.to_string()),
        })?;
        // A second line of its own, or of a witness, could only be false.
        let mut keys = HashSet::new();
        if !note.signatures().iter().all(|line| keys.insert(line.key())) {
            return Err(refused("has two lines of one key".to_owned()));
        }
        if keys.len() < 2 {
            return Err(refused("has no line of a witness".to_owned()));
        }
        // It is signed, so it was one. But perhaps of what has been lost since.
        let Checkpoint { size, root, .. } = note.text().parse().map_err(|_| refused("is no checkpoint".to_owned()))?;
        match self.transparency_log().await?.root(size).await? {
            Some(ours) if ours == root => Ok(size),
            _ => Err(refused("is of another past than this log has".to_owned())),
        }
    }

    /// The newest cosigned checkpoint, as it is on the slate and read, and the size of its tree.
    async fn cosigned(&self) -> Result<Option<(Bytes, Note, u64)>, Error> {
        let Some(kept) = self.store.slate_get(COSIGNED).await? else { return Ok(None) };
        let note = str::from_utf8(&kept).ok().and_then(|note| note.parse::<Note>().ok());
        let read = note.and_then(|note| {
            let size = note.text().parse::<Checkpoint>().ok()?.size;
            Some((note, size))
        });
        let (note, size) = read.ok_or_else(|| Error::internal("the cosigned checkpoint can't be read"))?;
        Ok(Some((kept, note, size)))
    }

    /// That the events of a revision are in the tree of so many leaves, or in that of now.
    pub(crate) async fn prove_inclusion(&self, revision: u64, size: Option<u64>) -> Result<pb::InclusionProof, Error> {
        let log = self.transparency_log().await?;
        let size = size.unwrap_or(log.size());
        let root = log.root(size).await?.ok_or_else(|| never_so_large(size, &log))?;
        let leaves = log.leaves_of(revision).await?;
        if leaves.is_empty() || leaves.end > size {
            let detail = format!("the events of revision {revision} are not among the first {size}");
            return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
        }
        let mut events = export::Events::of(&self.tail);
        let mut proofs = Vec::new();
        for (index, leaf) in leaves.enumerate() {
            let hashes = log.inclusion(leaf, size).await?.ok_or_else(|| never_so_large(size, &log))?;
            let leaf_hash = Bytes::copy_from_slice(&log.leaf(leaf).await?.0);
            let event = events.event(revision, index).await?;
            let leaf = pb::AuditLeaf { leaf: leaf.cast_signed(), revision: revision.cast_signed(), leaf_hash, event };
            proofs.push(pb::LeafProof { leaf: Some(leaf), hashes: in_bytes(&hashes) });
        }
        Ok(pb::InclusionProof { tree_size: size.cast_signed(), root: root.0.to_vec().into(), leaves: proofs })
    }

    /// That the tree of so many leaves, or that of now, begins with the one of size `from`.
    pub(crate) async fn prove_consistency(&self, from: u64, to: Option<u64>) -> Result<pb::ConsistencyProof, Error> {
        let log = self.transparency_log().await?;
        let to = to.unwrap_or(log.size());
        let (Some(from_root), Some(to_root)) = (log.root(from).await?, log.root(to).await?) else {
            return Err(never_so_large(from.max(to), &log));
        };
        let hashes = log.consistency(from, to).await?.ok_or_else(|| never_so_large(from, &log))?;
        Ok(pb::ConsistencyProof {
            to_size: to.cast_signed(),
            from_root: from_root.0.to_vec().into(),
            to_root: to_root.0.to_vec().into(),
            hashes: in_bytes(&hashes),
        })
    }

    /// A part of the tree.
    pub(crate) async fn audit_tile(&self, tile: Tile) -> Result<pb::AuditTile, Error> {
        let log = self.transparency_log().await?;
        let Some(hashes) = log.tile(tile).await? else {
            let detail = format!("the tree over {} events has no {}", log.size(), tile.path());
            return Err(Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail });
        };
        Ok(pb::AuditTile { path: tile.path(), hashes: hashes.iter().flat_map(|hash| hash.0).collect() })
    }

    /// Who signs for this registry.
    async fn signer(&self) -> Result<Signer, Error> {
        let registry = self.store.identity().await?;
        if let Some(signer) = self.signer_of(registry).await? {
            return Ok(signer);
        }
        let seed = Key::random().map_err(Error::internal)?;
        let signer = signer(registry, *seed.bytes())?;
        let Kept { bytes, sealed } = self.seal(seed.bytes(), &about(registry)).await?;
        let key = AuditKeyRecord { seed: bytes, sealed };
        let intent = Intent { comment: signer.verifier().to_string(), ..Intent::own() };
        self.commit(intent, MakeKey { registry, key }).await?;
        // Another server may have been faster.
        self.signer_of(registry).await?.ok_or_else(|| Error::internal("the key that was made is gone"))
    }

    async fn signer_of(&self, registry: Uuid) -> Result<Option<Signer>, Error> {
        let Some(record) = self.store.get(kinds::AUDIT_KEY, registry.as_bytes()).await? else { return Ok(None) };
        let AuditKeyRecord { seed, sealed } = decode(record.payload)?;
        let seed = self.unseal(&Kept { bytes: seed, sealed }, &about(registry)).await?;
        let seed = seed.as_deref().and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok());
        let damaged = || StoreError::Damaged("the key of the audit trail can't be decrypted".to_owned());
        Ok(Some(signer(registry, seed.ok_or_else(damaged)?)?))
    }
}

/// The key of a registry. Its origin is the registry's alone: what is restored from a backup is another log.
fn signer(registry: Uuid, seed: [u8; 32]) -> Result<Signer, Error> {
    Signer::new(&format!("modelregistry.dev/{registry}"), seed).map_err(|error| Error::internal(error.to_string()))
}

/// What an encrypted key is about.
fn about(registry: Uuid) -> Vec<u8> {
    [b"audit key ".as_slice(), registry.as_bytes()].concat()
}

async fn signed(signer: &Signer, log: &Log) -> Result<pb::Checkpoint, Error> {
    let size = log.size();
    let root = log.root(size).await?.ok_or_else(|| never_so_large(size, log))?;
    let of = Checkpoint { origin: signer.verifier().name().to_owned(), size, root };
    Ok(checkpoint(signer, &signer.sign(&of.to_string()), size))
}

fn checkpoint(signer: &Signer, note: &Note, size: u64) -> pb::Checkpoint {
    let public_key = signer.verifier().to_string();
    pb::Checkpoint { note: note.to_string(), tree_size: size.cast_signed(), public_key }
}

fn in_bytes(hashes: &[Hash]) -> Vec<Bytes> {
    hashes.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect()
}

fn never_so_large(size: u64, log: &Log) -> Error {
    let detail = format!("the log has {} events, and never had {size}", log.size());
    Error::OutOfRange { reason: ErrorReason::RevisionUnknown, detail }
}

fn refused(description: String) -> Error {
    Error::Invalid(vec![Violation { field: "note".to_owned(), reason: ErrorReason::FieldInvalid, description }])
}

/// A key to be recorded, unless another server was faster.
struct MakeKey {
    registry: Uuid,
    key: AuditKeyRecord,
}

#[async_trait]
impl Mutation for MakeKey {
    type Answer = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        let key = self.registry.as_bytes();
        if tx.store.get(kinds::AUDIT_KEY, key).await?.is_some() {
            return Ok(());
        }
        let resource_name = format!("auditKeys/{}", self.registry);
        tx.record(pb::Event { resource_name, ..event(event_type::AUDIT_KEY_CREATED) });
        tx.put(kinds::AUDIT_KEY, key.to_vec(), &self.key, Vec::new()).await
    }

    fn answer(_: Committed) -> Result<(), Error> {
        Ok(())
    }
}
