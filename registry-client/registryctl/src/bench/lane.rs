//! sled behind a lane, without a registry: no gRPC, no decisions, no events, no encoding.
//!
//! It is fed what the registry feeds sled for a version: the same number of entries under keys of the same shape, with as many bytes in
//! them, in the same order: the log, a flush and `fdatasync`, then the state.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use uuid::Uuid;

use crate::Failure;

/// How many writes share a sync at most.
const GROUP: usize = 256;
/// The log's values are cut into parts of this size.
const PART: usize = 32 * 1024;
/// What an event has beside the version in it.
const EVENT: usize = 300;

/// A version to write, and who waits for it.
type Job = (Bytes, oneshot::Sender<()>);

/// A lane over a database of its own.
pub(super) struct SledLane {
    jobs: mpsc::Sender<Job>,
    _folder: tempfile::TempDir,
}

impl SledLane {
    pub(super) fn open(scratch: &Path) -> Result<Self, Failure> {
        let folder = tempfile::tempdir_in(scratch)?;
        let config = sled::Config::new().path(folder.path()).cache_capacity(256 << 20).segment_size(4 << 20);
        let db = config.flush_every_ms(None).open()?;
        let mut disk = Disk {
            log: db.open_tree("log")?,
            state: db.open_tree("state")?,
            file: File::open(folder.path().join("db"))?,
            db,
            revision: 0,
        };
        let (jobs, mut queue) = mpsc::channel::<Job>(1024);
        std::thread::spawn(move || -> Result<(), sled::Error> {
            while let Some(first) = queue.blocking_recv() {
                let mut group = vec![first];
                while group.len() < GROUP {
                    let Ok(job) = queue.try_recv() else { break };
                    group.push(job);
                }
                disk.write(&group)?;
                for (_, answer) in group {
                    // The bench may have stopped waiting.
                    let _ = answer.send(());
                }
            }
            Ok(())
        });
        Ok(Self { jobs, _folder: folder })
    }

    pub(super) async fn write(&self, version: Bytes) -> Result<(), Status> {
        let stopped = || Status::internal("the lane of the floor has stopped");
        let (answer, answered) = oneshot::channel();
        self.jobs.send((version, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }
}

struct Disk {
    db: sled::Db,
    log: sled::Tree,
    state: sled::Tree,
    file: File,
    revision: u64,
}

impl Disk {
    fn write(&mut self, group: &[Job]) -> Result<(), sled::Error> {
        let first = self.revision + 1;
        let mut log = Vec::new();
        for (version, _) in group {
            log.extend_from_slice(version);
            log.extend_from_slice(&[0; EVENT]);
        }
        let mut batch = sled::Batch::default();
        for (part, bytes) in (0u32..).zip(log.chunks(PART)) {
            batch.insert([first.to_be_bytes().as_slice(), &part.to_be_bytes()].concat(), bytes);
        }
        self.log.apply_batch(batch)?;
        self.db.flush()?;
        self.file.sync_data()?;

        let mut batch = sled::Batch::default();
        for (version, _) in group {
            self.revision += 1;
            let key = [b"default\0bench-01234567-create\0".as_slice(), &self.revision.to_be_bytes()].concat();
            let under = |kind: &[u8]| [kind, key.as_slice()].concat();
            // The record, its places in two indexes, the model's reference to the event, the request id.
            batch.insert(under(b"R2"), version.as_ref());
            batch.insert(under(b"I4"), key.as_slice());
            batch.insert(under(b"I5"), key.as_slice());
            batch.insert(under(b"R8"), [1u8; 4].as_slice());
            batch.insert([b"R6".as_slice(), Uuid::now_v7().as_bytes()].concat(), [0u8; 45].as_slice());
        }
        // Once in a group: the model, the head of the hash chain, the newest revision.
        batch.insert(b"R1default\0bench-01234567-create".as_slice(), [0u8; 300].as_slice());
        batch.insert(b"R7".as_slice(), [0u8; 40].as_slice());
        batch.insert(b"A".as_slice(), self.revision.to_be_bytes().as_slice());
        self.state.apply_batch(batch)
    }
}
