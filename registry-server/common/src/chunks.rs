//! How artifacts are cut into chunks, and what names a chunk. Client and server must cut alike: only then does one find the
//! chunks of the other again.

use bytes::Bytes;
use fastcdc::v2020::{FastCDC, Normalization};
use registry_proto::v1;

/// No chunk but the last of an artifact is smaller, in bytes. Of less, there is more than one in a page of the allocator, and
/// transfers took twice the memory.
const SMALLEST: usize = 512 << 10;
/// What FastCDC calls the average, in bytes. The mean is 0.83 MiB (of random bytes), and a change adds 1.7 MiB to what it changes.
/// At 1 MiB, these were 1.26 and 2.6.
const AVERAGE: usize = 640 << 10;
/// No chunk is larger, in bytes.
pub const LARGEST: usize = 2 << 20;
/// An artifact has at most so many: about 106 GiB, and a list that a message can have.
pub const MOST: usize = 1 << 17;
/// An artifact of at most so many bytes is sent and kept whole.
pub const INLINE: usize = 16 << 10;

/// The length of the first chunk of some bytes; `None` if there is none, or more bytes are needed to tell.
///
/// FastCDC 2020 with normalization level 1 (Xia et al., *The Design of Fast Content-Defined Chunking*, IEEE TPDS 31(9)).
pub fn first(bytes: &[u8], at_end: bool) -> Option<usize> {
    if bytes.is_empty() || (bytes.len() < LARGEST && !at_end) {
        return None;
    }
    let window = &bytes[..bytes.len().min(LARGEST)];
    let cutter = FastCDC::with_level(window, SMALLEST, AVERAGE, LARGEST, Normalization::Level1);
    Some(cutter.cut(0, window.len()).1)
}

/// Which bytes a chunk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chunk {
    /// Of its bytes.
    pub blake3: [u8; 32],
    /// In bytes.
    pub size: u32,
}

/// The length of a chunk in a packed list.
const PACKED: usize = 32 + 4;

impl Chunk {
    /// The chunk of these bytes, which are at most [`LARGEST`].
    pub fn of(bytes: &[u8]) -> Self {
        Self { blake3: *blake3::hash(bytes).as_bytes(), size: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }
    }

    /// What a message says, if it says a chunk at all.
    pub fn from_message(message: &v1::Chunk) -> Option<Self> {
        let size = u32::try_from(message.size_bytes).ok()?;
        let sound = (1..=LARGEST).contains(&(size as usize));
        Some(Self { blake3: message.blake3.as_ref().try_into().ok()?, size }).filter(|_| sound)
    }

    /// The chunk as a message.
    pub fn to_message(self) -> v1::Chunk {
        v1::Chunk { blake3: Bytes::copy_from_slice(&self.blake3), size_bytes: i64::from(self.size) }
    }

    /// Its name: lower-case hex.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.blake3).to_hex().to_string()
    }

    fn packed(&self) -> [u8; PACKED] {
        let mut packed = [0; PACKED];
        packed[..32].copy_from_slice(&self.blake3);
        packed[32..].copy_from_slice(&self.size.to_be_bytes());
        packed
    }
}

/// The chunks one after the other: of each its BLAKE3 and its size, big-endian.
pub fn pack(chunks: &[Chunk]) -> Bytes {
    chunks.iter().flat_map(Chunk::packed).collect()
}

/// What [`pack`] made; `None` if it did not.
pub fn unpack(packed: &[u8]) -> Option<Vec<Chunk>> {
    let (chunks, rest) = packed.as_chunks::<PACKED>();
    let chunk = |packed: &[u8; PACKED]| {
        let (blake3, size) = packed.split_first_chunk()?;
        Some(Chunk { blake3: *blake3, size: u32::from_be_bytes(size.try_into().ok()?) })
    };
    chunks.iter().map(chunk).collect::<Option<_>>().filter(|_| rest.is_empty())
}

/// The digest of a list of chunks, that of `Artifact.chunks_blake3`, from one chunk to the next.
#[derive(Debug, Clone, Default)]
pub struct ListDigest(blake3::Hasher);

impl ListDigest {
    /// Of a whole list.
    pub fn of(chunks: &[Chunk]) -> Self {
        let mut digest = Self::default();
        chunks.iter().for_each(|chunk| digest.add(chunk));
        digest
    }

    /// Goes on to the next chunk.
    pub fn add(&mut self, chunk: &Chunk) {
        self.0.update(&chunk.packed());
    }

    /// The digest of the list up to here, in lower-case hex.
    pub fn hex(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that look random, the same for the same seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut noise);
        noise
    }

    fn cut(mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(length) = first(bytes, true) {
            lengths.push(length);
            bytes = &bytes[length..];
        }
        lengths
    }

    #[test]
    fn where_a_file_is_cut_never_changes() {
        // Else what is stored is not found again.
        assert_eq!(cut(&noise(1, 5 << 20)), [1_217_099, 986_914, 1_114_037, 760_768, 679_783, 484_279]);
    }

    #[test]
    fn a_change_moves_few_chunks() {
        // How many is chance, so the bytes are always the same.
        let chunks = |bytes: &[u8]| {
            let mut at = 0;
            cut(bytes)
                .into_iter()
                .map(|length| {
                    at += length;
                    Chunk::of(&bytes[at - length..at])
                })
                .collect::<Vec<_>>()
        };
        let changed = (0..32).map(|seed| {
            let before = noise(seed, 8 << 20);
            let mut after = before.clone();
            after.splice(4 << 20..4 << 20, *b"inserted");
            let before = chunks(&before);
            chunks(&after).iter().filter(|chunk| !before.contains(chunk)).count()
        });
        let changed: usize = changed.sum();
        assert!((32..48).contains(&changed), "{changed}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn chunks_have_their_sizes_and_make_up_the_whole(seed: u64, length in 0_usize..6 << 20) {
            let lengths = cut(&noise(seed, length));
            prop_assert_eq!(lengths.iter().sum::<usize>(), length);
            prop_assert!(lengths.iter().all(|length| (1..=LARGEST).contains(length)));
            prop_assert!(lengths.iter().rev().skip(1).all(|length| *length >= SMALLEST));
        }

        #[test]
        fn a_chunk_does_not_depend_on_what_comes_behind_it(seed: u64, more in 0_usize..3 << 20) {
            let bytes = noise(seed, LARGEST + more);
            prop_assert_eq!(first(&bytes, false), first(&bytes[..LARGEST], false));
            prop_assert_eq!(first(&bytes[..LARGEST - 1], false), None);
        }

        #[test]
        fn lists_come_back(digests in proptest::collection::vec((any::<[u8; 32]>(), any::<u32>()), 0..5), cut in 1_usize..PACKED) {
            let chunks: Vec<_> = digests.into_iter().map(|(blake3, size)| Chunk { blake3, size }).collect();
            let packed = pack(&chunks);
            prop_assert_eq!(unpack(&packed), Some(chunks.clone()));
            prop_assert_eq!(ListDigest::of(&chunks).hex(), blake3::hash(&packed).to_hex().to_string());
            if !packed.is_empty() {
                prop_assert_eq!(unpack(&packed[cut..]), None);
            }
        }
    }
}
