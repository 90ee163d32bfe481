//! The index of a snapshot file: where the records of a range of hashes stand.

use alloc::vec::Vec;

use crate::block::encode_header;
use crate::bytes::{get_u64, put, wide};
use crate::checksum::FileSeed;
use crate::error::EncodeError;
use crate::layout::{
    BLOCK_HEADER_BYTES, BLOCK_KIND_INDEX, BLOCK_PAYLOAD_BYTES_MAX, INDEX_COUNT_BYTES,
    index_entry as at,
};

/// One entry: from this block up to that of the next entry stand the records whose hashes are from this one up to
/// that of the next entry, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexEntry {
    /// The lowest hash that may stand here. Which hash it is of a key is its user's to say; pkv's is seeded by the
    /// header's `hash_seed`.
    pub first_hash: u64,
    /// Where the first of the blocks starts in the file.
    pub offset: u64,
}

/// The entries of an index whose checksum was right.
#[derive(Clone, Debug)]
pub struct IndexEntries<'a> {
    rest: &'a [u8],
}

impl<'a> IndexEntries<'a> {
    /// `None`: the count at the end is not that of the entries before it. `payload` has a length that
    /// [`is_payload_length`] takes.
    pub(crate) fn new(payload: &'a [u8]) -> Option<IndexEntries<'a>> {
        let (entries, count) = payload.split_last_chunk::<INDEX_COUNT_BYTES>()?;
        (u64::from_le_bytes(*count) == wide(entries.len() / at::BYTES))
            .then_some(IndexEntries { rest: entries })
    }
}

impl Iterator for IndexEntries<'_> {
    type Item = IndexEntry;

    fn next(&mut self) -> Option<IndexEntry> {
        let (entry, rest) = self.rest.split_first_chunk::<{ at::BYTES }>()?;
        self.rest = rest;
        Some(IndexEntry {
            first_hash: get_u64(entry, at::FIRST_HASH),
            offset: get_u64(entry, at::OFFSET),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() / at::BYTES;
        (left, Some(left))
    }
}

impl ExactSizeIterator for IndexEntries<'_> {}

/// Appends the whole index block, as it is to be written at `offset` of the file with this seed: behind the last block
/// of records and right before the footer.
///
/// # Errors
/// When there are more entries than a block takes (over four millions); `out` is as before then.
pub fn push_index(
    out: &mut Vec<u8>,
    seed: FileSeed,
    offset: u64,
    entries: &[IndexEntry],
) -> Result<(), EncodeError> {
    let payload_bytes = entries.len().saturating_mul(at::BYTES).saturating_add(INDEX_COUNT_BYTES);
    if payload_bytes > BLOCK_PAYLOAD_BYTES_MAX {
        return Err(EncodeError::TooLong {
            what: "the index",
            bytes: wide(payload_bytes),
            bytes_max: wide(BLOCK_PAYLOAD_BYTES_MAX),
        });
    }
    let mut payload = Vec::with_capacity(payload_bytes);
    for entry in entries {
        let mut bytes = [0; at::BYTES];
        put(&mut bytes, at::FIRST_HASH, entry.first_hash.to_le_bytes());
        put(&mut bytes, at::OFFSET, entry.offset.to_le_bytes());
        payload.extend_from_slice(&bytes);
    }
    payload.extend_from_slice(&wide(entries.len()).to_le_bytes());
    out.extend_from_slice(&encode_header(seed, offset, &payload, 0, BLOCK_KIND_INDEX));
    out.extend_from_slice(&payload);
    Ok(())
}

/// How long an index block is, header and all, if the [`INDEX_COUNT_BYTES`] before the footer are its last: so it is
/// found from the file's end. They are covered by no checksum yet, and where the file has no index they are something
/// else: compare with the file's length, read, and believe what a [`crate::BlockScanner`] finds there.
#[must_use]
pub fn index_bytes(count: [u8; INDEX_COUNT_BYTES]) -> Option<u64> {
    let entries = u64::from_le_bytes(count);
    let entry_bytes = entries.checked_mul(wide(at::BYTES))?;
    let payload_bytes = entry_bytes.checked_add(wide(INDEX_COUNT_BYTES))?;
    (payload_bytes <= wide(BLOCK_PAYLOAD_BYTES_MAX))
        .then_some(payload_bytes + wide(BLOCK_HEADER_BYTES))
}

/// Whether an index may have a payload of this length.
pub(crate) fn is_payload_length(payload_bytes: usize) -> bool {
    payload_bytes <= BLOCK_PAYLOAD_BYTES_MAX
        && payload_bytes
            .checked_sub(INDEX_COUNT_BYTES)
            .is_some_and(|entries| entries.is_multiple_of(at::BYTES))
}
