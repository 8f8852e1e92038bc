//! How a group of revisions lies in a segment of the log.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `GRP1` |
//! | 1 | how the payload is packed: 0 as it is, 1 as a zstd frame (RFC 8878) |
//! | 4 | the payload's length as it lies there; all numbers are big-endian |
//! | 4 | its length unpacked |
//! | 8 | the first revision |
//! | 4 | how many revisions |
//! | 32 | BLAKE3 of what stands before this and behind it, under the key of the log |
//! | length | the payload, a `LogGroup` |
//!
//! The key is made of the store's identity, so that the frame of another log is none of this one.

use std::cell::RefCell;

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;
use zstd::bulk::{Compressor, Decompressor};

use crate::store::Revision;
use crate::stored::LogGroup;

pub(super) const MARK: &[u8; 4] = b"GRP1";
/// Of what the digest covers in the head.
const COVERED: usize = 4 + 1 + 4 + 4 + 8 + 4;
/// In bytes.
pub(super) const HEAD: usize = COVERED + 32;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// The quickest one: a group is packed on its way to the disk.
const LEVEL: i32 = 1;
/// Less is not worth the time.
const WORTH_IT: usize = 256;
/// No payload is longer: a damaged length must not fill the memory. A revision is in one group, and pruning a hundred of the largest
/// versions makes one of 200 MiB.
const LARGEST: u32 = 1024 * 1024 * 1024;

/// What the digests of a log are made with.
#[derive(Debug, Clone)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(store: Uuid) -> Self {
        Self(blake3::derive_key("modelregistry.dev 2026-11-26 frames of the log", store.as_bytes()))
    }

    fn digest(&self, covered: &[u8], payload: &[u8]) -> [u8; 32] {
        *self.hasher().update(covered).update(payload).finalize().as_bytes()
    }

    pub(super) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }
}

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: Revision,
    pub(super) count: u32,
    packing: u8,
    length: u32,
    unpacked: u32,
}

impl Head {
    /// Reads one, if these bytes can be one. Only with its payload it is known to be.
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let (mark, numbers) = bytes.split_first_chunk::<4>()?;
        let (packing, numbers) = numbers.split_first()?;
        let (length, numbers) = numbers.split_first_chunk()?;
        let (unpacked, numbers) = numbers.split_first_chunk()?;
        let (first, numbers) = numbers.split_first_chunk()?;
        let (count, _) = numbers.split_first_chunk()?;
        let [length, unpacked, count] = [length, unpacked, count].map(|number| u32::from_be_bytes(*number));
        let head = Self { first: u64::from_be_bytes(*first), count, packing: *packing, length, unpacked };
        let can_be = mark == MARK && *packing <= ZSTD && length <= LARGEST && unpacked <= LARGEST && count > 0;
        can_be.then_some(head)
    }

    /// The length of the payload as it lies behind the head, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length as usize
    }

    /// The revision behind the last one.
    pub(super) fn end(&self) -> Revision {
        self.first.saturating_add(self.count.into())
    }
}

/// Whether a frame is one of this log, and as it was written.
pub(super) fn is_whole(key: &Key, head: &[u8; HEAD], payload: &[u8]) -> bool {
    key.digest(&head[..COVERED], payload) == head[COVERED..]
}

/// Makes frames.
pub(super) struct Sealer {
    key: Key,
    compressor: Option<Compressor<'static>>,
}

impl Sealer {
    pub(super) fn new(key: Key) -> Self {
        // Without one, nothing is packed.
        Self { key, compressor: Compressor::new(LEVEL).ok() }
    }

    /// A group as a frame.
    ///
    /// # Errors
    /// If it is longer than a frame can be.
    pub(super) fn seal(&mut self, group: &LogGroup) -> Result<Vec<u8>, std::io::Error> {
        let too_long = || std::io::Error::other("a group of commits is too long for the log");
        let plain = group.encode_to_vec();
        let unpacked = u32::try_from(plain.len()).ok().filter(|length| *length <= LARGEST).ok_or_else(too_long)?;
        let packed = match &mut self.compressor {
            Some(compressor) if plain.len() >= WORTH_IT => compressor.compress(&plain).ok(),
            _ => None,
        };
        let packed = packed.filter(|packed| packed.len() < plain.len());
        let (packing, payload) = packed.map_or((PLAIN, plain), |packed| (ZSTD, packed));
        let first = group.entries.first().map_or(0, |entry| entry.revision);
        let mut frame = Vec::with_capacity(HEAD + payload.len());
        frame.extend_from_slice(MARK);
        frame.push(packing);
        frame.extend_from_slice(&u32::try_from(payload.len()).map_err(|_| too_long())?.to_be_bytes());
        frame.extend_from_slice(&unpacked.to_be_bytes());
        frame.extend_from_slice(&first.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(group.entries.len()).map_err(|_| too_long())?.to_be_bytes());
        let digest = self.key.digest(&frame, &payload);
        frame.extend_from_slice(&digest);
        frame.extend_from_slice(&payload);
        Ok(frame)
    }
}

thread_local! {
    /// To make one takes as long as to unpack a small group.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
}

/// The group in a frame that is whole.
///
/// # Errors
/// What is wrong with it: then it was not written by this program.
pub(super) fn open(head: &Head, payload: Vec<u8>) -> Result<LogGroup, String> {
    let plain = match head.packing {
        PLAIN => payload,
        _ => {
            let unpacked = UNPACKER.with_borrow_mut(|unpacker| match unpacker {
                Some(unpacker) => unpacker.decompress(&payload, head.unpacked as usize),
                None => Err(std::io::Error::other("there is no memory to unpack it")),
            });
            unpacked.map_err(|error| error.to_string())?
        }
    };
    let group = LogGroup::decode(Bytes::from(plain)).map_err(|error| error.to_string())?;
    let revisions = group.entries.iter().map(|entry| entry.revision);
    if revisions.eq(head.first..head.end()) { Ok(group) } else { Err("it has other revisions than it says".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::LogEntry;

    fn group(first: Revision, sizes: &[usize]) -> LogGroup {
        let entry = |(revision, size): (Revision, &usize)| LogEntry {
            revision,
            events: Bytes::from(vec![7; *size]),
            writes: Vec::new(),
        };
        LogGroup { entries: (first..).zip(sizes).map(entry).collect() }
    }

    fn read(key: &Key, frame: &[u8]) -> Option<(Head, Vec<u8>)> {
        let (bytes, payload) = frame.split_first_chunk()?;
        let head = Head::read(bytes)?;
        (head.length() == payload.len() && is_whole(key, bytes, payload)).then(|| (head, payload.to_vec()))
    }

    #[test]
    fn groups_come_back_and_what_repeats_itself_is_packed() {
        let key = Key::of(Uuid::from_u128(1));
        for (sizes, packed) in [(&[0][..], false), (&[9, 1], false), (&[10_000, 0, 400], true)] {
            let group = group(41, sizes);
            let frame = Sealer::new(key.clone()).seal(&group).unwrap();
            assert_eq!(frame.len() < HEAD + group.encoded_len(), packed, "{sizes:?}");
            let (head, payload) = read(&key, &frame).unwrap();
            assert_eq!((head.first, head.end()), (41, 41 + sizes.len() as u64));
            assert_eq!(open(&head, payload).unwrap(), group);
        }
    }

    #[test]
    fn a_frame_of_another_log_or_with_another_bit_is_none() {
        let key = Key::of(Uuid::from_u128(1));
        let frame = Sealer::new(key.clone()).seal(&group(1, &[300])).unwrap();
        assert!(read(&key, &frame).is_some());
        assert!(read(&Key::of(Uuid::from_u128(2)), &frame).is_none());
        for at in 0..frame.len() * 8 {
            let mut other = frame.clone();
            other[at / 8] ^= 1 << (at % 8);
            assert!(read(&key, &other).is_none(), "bit {at}");
        }
    }
}
