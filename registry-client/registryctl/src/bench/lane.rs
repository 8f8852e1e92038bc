//! A log behind a lane, without a registry: no gRPC, no decisions, no state.
//!
//! It is fed as many bytes as the registry's log gets for a change, uncompressed. What has come while the disk was busy is one group: one
//! write at the end of a file, and one `fdatasync`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::Failure;

/// How many writes share a sync at most.
const GROUP: usize = 256;
/// What an event has beside the resource in it.
const EVENT: usize = 300;
/// The file grows in such steps: a sync need not write then how long it is.
const RESERVE: u64 = 4 * 1024 * 1024;

/// Bytes to write, and who waits for them.
type Job = (Bytes, oneshot::Sender<()>);

/// A lane over a file of its own.
pub(super) struct FileLane {
    jobs: mpsc::Sender<Job>,
}

impl FileLane {
    pub(super) fn open(scratch: &Path) -> Result<Self, Failure> {
        let mut log = Log { file: tempfile::tempfile_in(scratch)?, end: 0, reserved: 0 };
        let (jobs, mut queue) = mpsc::channel::<Job>(1024);
        std::thread::spawn(move || -> io::Result<()> {
            while let Some(first) = queue.blocking_recv() {
                let mut group = vec![first];
                while group.len() < GROUP {
                    let Ok(job) = queue.try_recv() else { break };
                    group.push(job);
                }
                log.write(&group)?;
                for (_, answer) in group {
                    // The bench may have stopped waiting.
                    let _ = answer.send(());
                }
            }
            Ok(())
        });
        Ok(Self { jobs })
    }

    pub(super) async fn write(&self, bytes: Bytes) -> Result<(), Status> {
        let stopped = || Status::internal("the lane of the floor has stopped: is the disk full?");
        let (answer, answered) = oneshot::channel();
        self.jobs.send((bytes, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }
}

struct Log {
    file: File,
    end: u64,
    reserved: u64,
}

impl Log {
    fn write(&mut self, group: &[Job]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (job, _) in group {
            bytes.extend_from_slice(job);
            bytes.extend_from_slice(&[0; EVENT]);
        }
        self.end += bytes.len() as u64;
        if self.end > self.reserved {
            self.reserved = self.end.next_multiple_of(RESERVE);
            self.file.set_len(self.reserved)?;
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}
