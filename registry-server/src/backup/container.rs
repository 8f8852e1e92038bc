//! The container of a backup file and of an archive's segments: frames that can't be cut, changed, dropped or moved unseen.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `MRBACKUP` |
//! | 4 | the version of this layout, 2, big-endian |
//! | then for each frame: 4 | the length of its payload, big-endian |
//! | 32 | BLAKE3 of the digest of the frame before (32 zeros for the first) and the payload |
//! | length | the payload, a `BackupFrame` |
//!
//! The first frame is the header and the last one the end. A reader trusts a frame once it has checked its digest, and the
//! whole once it has seen the end.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::stored::backup_frame::Frame;
use crate::stored::{BackupEnd, BackupFrame, BackupHeader};

const MAGIC: &[u8; 8] = b"MRBACKUP";
/// Of the frames and of the log in them. The one before was never released.
const LAYOUT: u32 = 2;
/// No frame is longer: a damaged length must not fill the memory. A revision is in one frame, and pruning a hundred of the
/// largest versions makes one of 200 MiB.
const FRAME_BYTES: u32 = 1024 * 1024 * 1024;

/// Why a container can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It can't be read at all.
    #[error("can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is not a container.
    #[error("is not a backup of Model Registry")]
    Foreign,
    /// A newer program wrote it.
    #[error("has layout {0}, and this program knows layout {LAYOUT}: use the newer program that wrote it")]
    TooNew(u32),
    /// An earlier program wrote it, and this one can't read it.
    #[error(
        "has layout {0}, and this program knows layout {LAYOUT}: it was written by an earlier development version; make a new one"
    )]
    TooOld(u32),
    /// It ends too early.
    #[error("is cut off: it ends before its end")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("is damaged: {0}")]
    Damaged(String),
}

/// Writes a container, frame by frame.
#[derive(Debug)]
pub(crate) struct Sealer {
    digest: [u8; 32],
}

impl Sealer {
    /// Begins one; answers its first bytes.
    pub(crate) fn begin(header: BackupHeader) -> (Self, Bytes) {
        let mut sealer = Self { digest: [0; 32] };
        let frame = sealer.seal(Frame::Header(header));
        let mut bytes = BytesMut::from(MAGIC.as_slice());
        bytes.put_u32(LAYOUT);
        bytes.put(frame);
        (sealer, bytes.freeze())
    }

    /// The bytes of the next frame.
    pub(crate) fn seal(&mut self, frame: Frame) -> Bytes {
        const HEAD: usize = 4 + 32;
        let frame = BackupFrame { frame: Some(frame) };
        let length = frame.encoded_len();
        let mut bytes = BytesMut::with_capacity(HEAD + length);
        bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        bytes.put_bytes(0, 32);
        // A BytesMut grows: encoding into it can't fail.
        let _ = frame.encode(&mut bytes);
        self.digest = chain(&self.digest, &bytes[HEAD..]);
        bytes[4..HEAD].copy_from_slice(&self.digest);
        bytes.freeze()
    }

    /// The bytes of the last frame.
    pub(crate) fn end(mut self, revision: u64) -> Bytes {
        self.seal(Frame::End(BackupEnd { revision }))
    }
}

/// Reads a container, frame by frame.
#[derive(Debug)]
pub(crate) struct Opener<R> {
    bytes: R,
    digest: [u8; 32],
}

impl<R: AsyncRead + Unpin> Opener<R> {
    /// Reads the beginning.
    pub(crate) async fn begin(mut bytes: R) -> Result<(Self, BackupHeader), ContainerError> {
        let mut magic = [0; 8];
        match bytes.read_exact(&mut magic).await {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error.into()),
            Ok(_) if &magic == MAGIC => {}
            _ => return Err(ContainerError::Foreign),
        }
        match bytes.read_u32().await.map_err(cut)? {
            LAYOUT => {}
            layout if layout < LAYOUT => return Err(ContainerError::TooOld(layout)),
            layout => return Err(ContainerError::TooNew(layout)),
        }
        let mut opener = Self { bytes, digest: [0; 32] };
        match opener.next().await? {
            Frame::Header(header) => Ok((opener, header)),
            _ => Err(ContainerError::Damaged("it does not begin with a header".to_owned())),
        }
    }

    /// The next frame, checked. Behind the end there is none: stop there.
    pub(crate) async fn next(&mut self) -> Result<Frame, ContainerError> {
        let length = self.bytes.read_u32().await.map_err(cut)?;
        if length > FRAME_BYTES {
            return Err(ContainerError::Damaged(format!("a frame of {length} bytes")));
        }
        let mut digest = [0; 32];
        self.bytes.read_exact(&mut digest).await.map_err(cut)?;
        // It grows with what comes, not with what the length says.
        let mut payload = Vec::with_capacity((length as usize).min(4 * 1024 * 1024));
        (&mut self.bytes).take(length.into()).read_to_end(&mut payload).await?;
        if payload.len() < length as usize {
            return Err(ContainerError::Cut);
        }
        self.digest = chain(&self.digest, &payload);
        if self.digest != digest {
            return Err(ContainerError::Damaged("a frame does not have its digest".to_owned()));
        }
        let frame =
            BackupFrame::decode(Bytes::from(payload)).map_err(|error| ContainerError::Damaged(error.to_string()));
        frame?
            .frame
            .ok_or_else(|| ContainerError::Damaged("an unknown frame: a newer program may have written it".to_owned()))
    }
}

fn chain(before: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(before).update(payload).finalize().as_bytes()
}

fn cut(error: std::io::Error) -> ContainerError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof { ContainerError::Cut } else { ContainerError::Io(error) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stored::{BackupChunk, LogEntry, LogGroup};

    fn container() -> Vec<u8> {
        let (mut sealer, mut bytes) = {
            let (sealer, bytes) = Sealer::begin(BackupHeader { after: 4, ..BackupHeader::default() });
            (sealer, bytes.to_vec())
        };
        let entries = vec![LogEntry { revision: 5, events: Bytes::from_static(b"events"), writes: Vec::new() }];
        bytes.extend(sealer.seal(Frame::Log(LogGroup { entries })));
        let sealed = Bytes::from_static(b"weights");
        bytes.extend(sealer.seal(Frame::Chunk(BackupChunk { sealed, ..BackupChunk::default() })));
        bytes.extend(sealer.end(5));
        bytes
    }

    async fn read(bytes: &[u8]) -> Result<Vec<Frame>, ContainerError> {
        let (mut opener, header) = Opener::begin(bytes).await?;
        let mut frames = vec![Frame::Header(header)];
        loop {
            let frame = opener.next().await?;
            let end = matches!(frame, Frame::End(_));
            frames.push(frame);
            if end {
                return Ok(frames);
            }
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        futures::executor::block_on(future)
    }

    #[test]
    fn frames_come_back() {
        let frames = block_on(read(&container())).unwrap();
        assert!(matches!(&frames[0], Frame::Header(header) if header.after == 4));
        assert!(matches!(&frames[1], Frame::Log(group) if group.entries[0].revision == 5));
        assert!(matches!(&frames[2], Frame::Chunk(chunk) if chunk.sealed == "weights"));
        assert!(matches!(&frames[3], Frame::End(end) if end.revision == 5));
        assert_eq!(frames.len(), 4);
    }

    #[test]
    fn other_files_and_other_layouts_are_told_apart() {
        assert!(matches!(block_on(read(b"")), Err(ContainerError::Foreign)));
        assert!(matches!(block_on(read(b"PK\x03\x04 and so on")), Err(ContainerError::Foreign)));
        let mut other = container();
        other[11] = 3;
        assert!(matches!(block_on(read(&other)), Err(ContainerError::TooNew(3))));
        other[11] = 1;
        assert!(matches!(block_on(read(&other)), Err(ContainerError::TooOld(1))));
    }

    #[test]
    fn a_frame_may_be_as_long_as_a_large_revision() {
        let (mut sealer, begin) = Sealer::begin(BackupHeader::default());
        let events = Bytes::from(vec![7; 70 * 1024 * 1024]);
        let entries = vec![LogEntry { revision: 1, events: events.clone(), writes: Vec::new() }];
        let mut bytes = begin.to_vec();
        bytes.extend(sealer.seal(Frame::Log(LogGroup { entries })));
        bytes.extend(sealer.end(1));
        let frames = block_on(read(&bytes)).unwrap();
        assert!(matches!(&frames[1], Frame::Log(group) if group.entries[0].events == events));
    }

    proptest! {
        #[test]
        fn a_cut_is_seen_wherever_it_is(at in 12..container().len()) {
            let cut = block_on(read(&container()[..at]));
            prop_assert!(matches!(cut, Err(ContainerError::Cut)), "{cut:?}");
        }

        #[test]
        fn a_changed_bit_is_seen_wherever_it_is(at in 0..container().len(), bit in 0_u32..8) {
            let mut bytes = container();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(block_on(read(&bytes)).is_err());
        }
    }
}
