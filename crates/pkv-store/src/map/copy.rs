//! Copying a shard in slices, in the order of hash positions, while it changes.
//!
//! A slice is one bucket. Buckets own ranges of positions, and a split only makes ranges finer; so a walk
//! by position meets every key that stays in the map exactly once, whatever moves, grows, splits or is
//! emptied between two slices.

use std::sync::Arc;

use super::OutOfMemory;
use super::chunk::Place;
use super::record::{self, lossless};
use super::shard::Shard;

/// A position in a shard, from which on a copy goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor(u64);

impl Cursor {
    /// Where the key of this hash stands in its shard.
    #[inline]
    pub(super) fn of(hash: u64, shard_bits: u32) -> Self {
        // As `Buckets::position` has it.
        Self(hash << shard_bits)
    }
}

/// One bucket's entries; reused for the next, so that nothing is allocated under the lock after a while.
#[derive(Debug, Default)]
pub(crate) struct BucketCopy {
    /// Records encoded as for disk, back to back.
    pub(crate) bytes: Vec<u8>,
    /// How many records `bytes` has.
    pub(crate) records: u32,
    large_keys: Vec<u8>,
    /// Where a key ends in `large_keys`, and its value.
    large: Vec<(usize, Arc<[u8]>)>,
}

impl BucketCopy {
    /// Forgets the entries and lets go of the large values; keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
        self.large_keys.clear();
        self.large.clear();
    }

    /// The entries with large values, which are not in `bytes`.
    pub(crate) fn large(&self) -> impl Iterator<Item = (&[u8], &Arc<[u8]>)> {
        self.large.iter().scan(0, |start, (end, value)| {
            let key = self.large_keys.get(*start..*end)?;
            *start = *end;
            Some((key, value))
        })
    }
}

impl Shard {
    /// Copies the entries of the bucket at the cursor, from the cursor on, in place of what `out` held.
    /// Returns where to go on, `None` at the shard's end.
    ///
    /// Cost: about 512 KiB are copied at most, except where a bucket holds a single larger record.
    pub(crate) fn copy_bucket(
        &self,
        cursor: Cursor,
        out: &mut BucketCopy,
    ) -> Result<Option<Cursor>, OutOfMemory> {
        out.clear();
        let bucket = self.buckets.at(cursor.0);
        let failed = |bytes| OutOfMemory { bytes: lossless(bytes) };
        out.bytes.try_reserve(bucket.bytes).map_err(|_| failed(bucket.bytes))?;
        // Splits keep a cursor at a bucket's beginning; a shard that was emptied begins with one bucket again.
        let whole = bucket.first == cursor.0;
        for place in bucket.table.places() {
            let encoded = self.chunks.encoded(Place(place));
            let record = record::decode(encoded);
            if !whole && self.buckets.position(self.hasher.hash(record.key)) < cursor.0 {
                continue;
            }
            match record::large_slot(record.value, record.flags) {
                None => {
                    // The bucket's own count is not exact.
                    out.bytes.try_reserve(encoded.len()).map_err(|_| failed(encoded.len()))?;
                    out.bytes.extend_from_slice(encoded);
                    out.records += 1;
                }
                Some(number) => {
                    let key_bytes = record.key.len();
                    out.large_keys.try_reserve(key_bytes).map_err(|_| failed(key_bytes))?;
                    out.large.try_reserve(1).map_err(|_| failed(key_bytes))?;
                    out.large_keys.extend_from_slice(record.key);
                    out.large.push((out.large_keys.len(), Arc::clone(self.slab.get(number))));
                }
            }
        }
        Ok(bucket.last.checked_add(1).map(Cursor))
    }
}
