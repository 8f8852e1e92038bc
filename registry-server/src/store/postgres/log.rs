//! How the log lies in its table: a row has several revisions that were committed together, packed.

use bytes::Bytes;
use prost::Message as _;
use tokio_postgres::Row;
use uuid::Uuid;
use zstd::bulk::{Compressor, Decompressor};

use super::error::Failure;
use super::read::{SqlParameters, revision};
use crate::store::{Revision, logged};
use crate::stored::{self, LogGroup};

/// How many bytes of entries are packed into a row, about: packed they fill a page of the database, and whoever wants one of them unpacks
/// no more than these.
const ROW_BYTES: usize = 20 * 1024;
/// The quickest one: it is packed while others wait.
const LEVEL: i32 = 1;
/// The number of `LogGroup.entries`.
const ENTRIES_FIELD: u32 = 1;

/// The columns of a row that an [`Unpacker`] takes.
pub(super) const COLUMNS: &str = "first_revision, last_revision, size, entries";

/// Packs rows.
pub(super) struct Packer(Option<Compressor<'static>>);

impl Packer {
    pub(super) fn new() -> Self {
        let compressor = Compressor::new(LEVEL).and_then(|mut compressor| {
            compressor.include_checksum(true)?;
            Ok(compressor)
        });
        // Without one, nothing is packed.
        Self(compressor.ok())
    }

    fn pack(&mut self, entries: &[stored::LogEntry]) -> Result<(i32, Vec<u8>), Failure> {
        let mut plain = Vec::new();
        for entry in entries {
            prost::encoding::message::encode(ENTRIES_FIELD, entry, &mut plain);
        }
        let size = i32::try_from(plain.len()).map_err(Failure::refused)?;
        let packed = self.0.as_mut().and_then(|compressor| compressor.compress(&plain).ok());
        Ok((size, packed.filter(|packed| packed.len() < plain.len()).unwrap_or(plain)))
    }
}

/// Rows of the log, column by column.
pub(super) struct LogRows {
    pub(super) batch: Uuid,
    firsts: Vec<i64>,
    lasts: Vec<i64>,
    sizes: Vec<i32>,
    entries: Vec<Vec<u8>>,
}

impl LogRows {
    pub(super) fn new(packer: &mut Packer, batch: Uuid, log: &[stored::LogEntry]) -> Result<Self, Failure> {
        let mut rows = Self { batch, firsts: Vec::new(), lasts: Vec::new(), sizes: Vec::new(), entries: Vec::new() };
        let mut rest = log;
        while let Some(first) = rest.first() {
            let mut bytes = 0;
            let fit = rest.iter().take_while(|entry| {
                bytes += logged::size_of(entry);
                bytes <= ROW_BYTES
            });
            let (row, behind) = rest.split_at(fit.count().max(1));
            let (size, entries) = packer.pack(row)?;
            rows.firsts.push(first.revision.cast_signed());
            rows.lasts.push(first.revision.cast_signed() + row.len() as i64 - 1);
            rows.sizes.push(size);
            rows.entries.push(entries);
            rest = behind;
        }
        Ok(rows)
    }

    /// The first revision.
    pub(super) fn first(&self) -> Revision {
        self.firsts.first().map_or(0, |revision| revision.cast_unsigned())
    }

    /// The last revision.
    pub(super) fn last(&self) -> Revision {
        self.lasts.last().map_or(0, |revision| revision.cast_unsigned())
    }

    pub(super) fn columns(&self) -> SqlParameters<'_> {
        vec![&self.batch, &self.firsts, &self.lasts, &self.sizes, &self.entries]
    }
}

/// Unpacks rows.
pub(super) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    pub(super) fn new() -> Result<Self, Failure> {
        Decompressor::new().map(Self).map_err(Failure::damaged)
    }

    /// The entries of a row with [`COLUMNS`].
    pub(super) fn unpack(&mut self, row: &Row) -> Result<Vec<stored::LogEntry>, Failure> {
        let (first, last) = (revision(row, 0)?, revision(row, 1)?);
        let damaged =
            |what: &dyn std::fmt::Display| Failure::damaged(format!("revisions {first} to {last} of the log: {what}"));
        let size = usize::try_from(row.try_get::<_, i32>(2)?).map_err(|error| damaged(&error))?;
        let packed: &[u8] = row.try_get(3)?;
        let plain = if packed.len() == size {
            packed.to_vec()
        } else {
            self.0.decompress(packed, size).map_err(|error| damaged(&error))?
        };
        if plain.len() != size {
            return Err(damaged(&"it has another length than it says"));
        }
        let LogGroup { entries } = LogGroup::decode(Bytes::from(plain)).map_err(|error| damaged(&error))?;
        if !entries.iter().map(|entry| entry.revision).eq(first..=last) {
            return Err(damaged(&"it has others"));
        }
        Ok(entries)
    }
}
