//! Records as bytes, as the journal and the books keep them. Whatever was written once can be read for ever: what an event's
//! encoding is must never change, and a new form gets a version of its own.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::domain::event::Record;

#[cfg(test)]
mod tests;

/// First byte: records by postcard.
const PLAIN: u8 = 2;
/// First byte: the length of the same, as four bytes, and then one LZ4 block of it. Records of a batch say much that the others
/// say too: they take a quarter of the room, and compressing that costs less than writing it.
const COMPRESSED: u8 = 3;
const HEAD: usize = 5;
/// No LZ4 block stands for more than so many times its own length.
const MOST_RATIO: usize = 255;
/// Bytes of a record, roughly: so much room is made at once.
const RECORD: usize = 280;
/// Most room that is kept from one batch to the next, in bytes, of each kind: batches are smaller at full speed.
const KEPT: usize = 4 << 20;

/// Why bytes are no records.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("has version {0:?}, this quotad reads {PLAIN} and {COMPRESSED}")]
    Version(Option<u8>),
    #[error("can't be decompressed: {0}")]
    Block(String),
    #[error("holds no records: {0}")]
    Records(#[from] postcard::Error),
}

/// Packs batch after batch in the same room: new memory for each costs as much as compressing it.
#[derive(Default)]
pub struct Packer {
    plain: Vec<u8>,
    block: Vec<u8>,
    table: CompressTable,
}

impl Packer {
    /// # Errors
    /// When a record can't be encoded, which is a defect.
    pub fn pack(&mut self, records: &[Record]) -> Result<Vec<u8>, postcard::Error> {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.reserve(records.len() * RECORD);
        let plain = postcard::to_extend(records, plain)?;
        let full = |_| postcard::Error::SerializeBufferFull;
        let length = u32::try_from(plain.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
        let most = get_maximum_output_size(plain.len());
        if self.block.len() < most {
            self.block.resize(most, 0);
        }
        let written = compress_into_with_table(&plain, &mut self.block, &mut self.table).map_err(full)?;
        let mut packed = Vec::with_capacity(HEAD + written);
        packed.push(COMPRESSED);
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&self.block[..written]);
        self.plain = plain;
        if self.plain.capacity().max(self.block.capacity()) > KEPT {
            *self = Self::default();
        }
        Ok(packed)
    }
}

/// One batch, by [`Packer::pack`].
///
/// # Errors
/// When a record can't be encoded, which is a defect.
pub fn pack(records: &[Record]) -> Result<Vec<u8>, postcard::Error> {
    Packer::default().pack(records)
}

/// What [`pack`] was given, in this version or an earlier one.
///
/// # Errors
/// [`Unreadable`], whatever the bytes are.
pub fn unpack(packed: &[u8]) -> Result<Vec<Record>, Unreadable> {
    match packed.split_first() {
        Some((&PLAIN, records)) => Ok(postcard::from_bytes(records)?),
        Some((&COMPRESSED, rest)) => Ok(postcard::from_bytes(&decompressed(rest)?)?),
        version => Err(Unreadable::Version(version.map(|(version, _)| *version))),
    }
}

fn decompressed(rest: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (length, block) = rest.split_first_chunk().ok_or_else(|| Unreadable::Block("has no length".into()))?;
    // What the bytes say of themselves isn't believed before room is made for it.
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length / MOST_RATIO > block.len() {
        return Err(Unreadable::Block(format!("{length} bytes don't come of {}", block.len())));
    }
    let plain = lz4_flex::block::decompress(block, length).map_err(|error| Unreadable::Block(error.to_string()))?;
    if plain.len() != length {
        return Err(Unreadable::Block(format!("has {} bytes instead of {length}", plain.len())));
    }
    Ok(plain)
}
