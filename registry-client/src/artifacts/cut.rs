//! Cutting what is to be uploaded into chunks, on a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use registry_common::chunks::{self, Chunk};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::upload::Source;
use crate::stamp::Stamp;

/// How much is read at once, at most and at least.
const READ: usize = 4 << 20;
const LEAST: usize = 8 << 10;
/// How many chunks wait to be sent.
const WAITING: usize = 4;

/// What was cut off.
#[derive(Debug)]
pub(super) enum Cut {
    /// All there is, so little that it is sent whole.
    Small(Bytes),
    /// The next chunk.
    Chunk(Piece),
}

/// A chunk and its bytes.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Its place in the whole, from 0.
    pub(super) position: u32,
    pub(super) chunk: Chunk,
    pub(super) bytes: Bytes,
}

/// Begins to cut. An error is the last that comes; so it is if a file is not what it was, as `stamp` says, or when it was opened.
pub(super) fn begin(source: Source, stamp: Option<Stamp>) -> mpsc::Receiver<io::Result<Cut>> {
    let (queue, cuts) = mpsc::channel(WAITING);
    let runtime = Handle::current();
    spawn_blocking(move || {
        let mut cutter = Cutter { queue, rest: BytesMut::new(), position: 0 };
        let ended = match source {
            Source::File(path) => cutter.file(&path, stamp),
            Source::Bytes(bytes) => cutter.slices(bytes),
            Source::Reader(mut reader) => {
                let wanted = cutter.queue.clone();
                cutter.all(|rest| {
                    rest.reserve(READ);
                    runtime.block_on(async {
                        tokio::select! {
                            read = reader.read_buf(rest) => read,
                            // It may never give more, and the runtime waits for this thread when it ends.
                            () = wanted.closed() => Err(io::ErrorKind::BrokenPipe.into()),
                        }
                    })
                })
            }
        };
        if let Err(error) = ended {
            cutter.send(Err(error));
        }
    });
    cuts
}

/// Reads more, up to `most`; 0 at the end.
fn fill(file: &mut File, most: usize, rest: &mut BytesMut) -> io::Result<usize> {
    let before = rest.len();
    rest.resize(before + most, 0);
    let read = loop {
        match file.read(&mut rest[before..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    rest.truncate(before + *read.as_ref().unwrap_or(&0));
    read
}

struct Cutter {
    queue: mpsc::Sender<io::Result<Cut>>,
    /// What is not cut yet.
    rest: BytesMut,
    position: u32,
}

impl Cutter {
    /// Cuts a file.
    fn file(&mut self, path: &Path, stamp: Option<Stamp>) -> io::Result<()> {
        let mut file = File::open(path)?;
        let opened = file.metadata()?;
        let stamp = stamp.unwrap_or_else(|| Stamp::of(&opened));
        let mut left = opened.len();
        self.all(|rest| {
            // No more memory than it has bytes, as far as is known: most files are small.
            let most = usize::try_from(left).unwrap_or(READ).clamp(LEAST, READ);
            let read = fill(&mut file, most, rest)?;
            left = left.saturating_sub(read as u64);
            // What is written to a pipe while it is read was not there before.
            if read == 0 && opened.is_file() {
                stamp.check(&file.metadata()?)?;
            }
            Ok(read)
        })
    }

    /// Cuts all that `fill` gives.
    fn all(&mut self, mut fill: impl FnMut(&mut BytesMut) -> io::Result<usize>) -> io::Result<()> {
        let mut at_end = false;
        while !at_end {
            at_end = fill(&mut self.rest)? == 0;
            if at_end && self.position == 0 && self.rest.len() <= chunks::INLINE {
                let all = self.rest.split().freeze();
                self.send(Ok(Cut::Small(all)));
                return Ok(());
            }
            while let Some(length) = chunks::first(&self.rest, at_end) {
                let bytes = self.rest.split_to(length).freeze();
                if !self.chunk(bytes) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Cuts bytes that are in memory already, where they are.
    fn slices(&mut self, mut bytes: Bytes) -> io::Result<()> {
        if bytes.len() <= chunks::INLINE {
            self.send(Ok(Cut::Small(bytes)));
            return Ok(());
        }
        while let Some(length) = chunks::first(&bytes, true) {
            if !self.chunk(bytes.split_to(length)) {
                break;
            }
        }
        Ok(())
    }

    /// Passes a chunk on; false if nobody wants more.
    fn chunk(&mut self, bytes: Bytes) -> bool {
        let piece = Piece { position: self.position, chunk: Chunk::of(&bytes), bytes };
        self.position += 1;
        self.send(Ok(Cut::Chunk(piece)))
    }

    fn send(&self, cut: io::Result<Cut>) -> bool {
        self.queue.blocking_send(cut).is_ok()
    }
}
