//! Copying a shard in slices, in the order of hash positions, while it changes.
//!
//! A slice is the part of a bucket in which the first bits behind those that the bucket shares are the same:
//! a range of positions, told apart in the table, without a look at the records. Buckets own ranges of
//! positions, and a split only makes ranges finer; so a walk by position meets every key that stays in the
//! map exactly once, whatever moves, grows, splits or is emptied between two slices.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::OutOfMemory;
use super::bucket::Bucket;
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

    /// The lowest hash of a key that stands here or behind.
    pub(super) fn first_hash(self, shard: u64, shard_bits: u32) -> u64 {
        // Shifted in two steps, since a map of one shard has no bits of its own.
        (shard << 1) << (63 - shard_bits) | self.0 >> shard_bits
    }
}

/// One slice's entries; reused for the next, so that nothing is allocated under the lock after a while.
#[derive(Debug, Default)]
pub(crate) struct SliceCopy {
    /// Records encoded as for disk, back to back.
    pub(crate) bytes: Vec<u8>,
    /// How many records `bytes` has.
    pub(crate) records: u32,
    /// Of all entries, those with large values too.
    pub(crate) payload_bytes: u64,
    large: LargeCopies,
    /// Where the slice's entries were found.
    places: Vec<u32>,
}

/// Entries with large values, which are copied by reference.
#[derive(Debug, Default)]
pub(crate) struct LargeCopies {
    keys: Vec<u8>,
    /// Where a key ends in `keys`, and its value.
    values: Vec<(usize, Arc<[u8]>)>,
}

impl LargeCopies {
    /// Lets go of the values; keeps the buffers.
    fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<[u8]>)> {
        self.values.iter().scan(0, |start, (end, value)| {
            let key = self.keys.get(*start..*end)?;
            *start = *end;
            Some((key, value))
        })
    }
}

impl SliceCopy {
    /// Forgets the entries and lets go of the large values; keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
        self.payload_bytes = 0;
        self.large.clear();
    }

    /// The entries with large values, which are not in `bytes`.
    pub(crate) fn large(&self) -> impl Iterator<Item = (&[u8], &Arc<[u8]>)> {
        self.large.iter()
    }

    /// Takes the entries with large values out of it, until [`SliceCopy::give_back`].
    pub(crate) fn take_large(&mut self) -> LargeCopies {
        std::mem::take(&mut self.large)
    }

    /// Takes the buffers of those back, empty, for the next slice.
    pub(crate) fn give_back(&mut self, mut large: LargeCopies) {
        large.clear();
        self.large = large;
    }
}

/// A slice is a part of a bucket with about so much in it at most: what is copied under one hold of the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceSize {
    entries: usize,
    bytes: usize,
}

impl SliceSize {
    /// Some microseconds, for which a writer need not sleep.
    pub(crate) const BESIDE_WRITERS: Self = Self { entries: 192, bytes: 32 << 10 };
    /// Where nobody writes: a bucket's table is read for each of its slices, and so less often.
    pub(crate) const ALONE: Self = Self { entries: 768, bytes: 64 << 10 };
}

/// Bytes of large values in a slice, about: they are not copied under the lock, but held until they are written, and
/// loaded together.
const SLICE_LARGE_BYTES: u64 = 256 << 10;

/// Positions of one bucket, up to `last`, that are told apart by the first 8 bits of their tags.
#[derive(Debug)]
struct Slice {
    bits: RangeInclusive<u8>,
    /// Positions with the lowest of these bits may lie before the cursor.
    begins_within: bool,
    last: u64,
}

impl Slice {
    /// From a position in the bucket on. `large_bytes`: of the large values in it, about.
    fn of(bucket: &Bucket, from: u64, size: SliceSize, large_bytes: u64) -> Slice {
        let step_bits = bucket.step_bits();
        let parts =
            bucket.table.len().div_ceil(size.entries).max(bucket.bytes.div_ceil(size.bytes));
        let for_large = usize::try_from(large_bytes / SLICE_LARGE_BYTES).unwrap_or(usize::MAX);
        let parts = parts.max(for_large).clamp(1, 256).next_power_of_two();
        let offset = from - bucket.first;
        let low = u8::try_from(offset >> step_bits).unwrap_or(u8::MAX);
        let high = low | u8::try_from(256 / parts - 1).unwrap_or(u8::MAX);
        let behind = (1 << step_bits) - 1;
        Slice {
            bits: low..=high,
            begins_within: offset & behind != 0,
            last: bucket.first | u64::from(high) << step_bits | behind,
        }
    }
}

/// So many records ahead of the one that is copied are asked for.
const PREFETCHED: usize = 16;

impl Shard {
    /// Copies the entries of a slice, from the cursor on, in place of what `out` held. Returns where to go on,
    /// `None` at the shard's end.
    ///
    /// Cost: about 192 entries and 32 KiB are copied at most, except where a slice holds a single larger
    /// record. So the lock is held for some microseconds, and a writer that comes meanwhile need not sleep.
    pub(crate) fn copy_slice(
        &self,
        cursor: Cursor,
        out: &mut SliceCopy,
    ) -> Result<Option<Cursor>, OutOfMemory> {
        out.clear();
        self.append_slice(cursor, out, SliceSize::BESIDE_WRITERS)
    }

    /// The same behind what `out` holds, for a slice of this size.
    pub(crate) fn append_slice(
        &self,
        cursor: Cursor,
        out: &mut SliceCopy,
        size: SliceSize,
    ) -> Result<Option<Cursor>, OutOfMemory> {
        let bucket = self.buckets.at(cursor.0);
        let slice = Slice::of(bucket, cursor.0, size, self.large_bytes_in(bucket));
        out.bytes.try_reserve(size.bytes).map_err(|_| failed(size.bytes))?;
        let mut places = std::mem::take(&mut out.places);
        let found = bucket.table.places_with(&slice.bits, &mut places)?;
        // The bits tell only some of what stands before the cursor from what does not.
        let from = slice.begins_within.then_some(cursor);
        let mut ahead = found.iter();
        let ahead_first = ahead.by_ref().take(PREFETCHED);
        ahead_first.for_each(|place| self.chunks.prefetch(Place(*place)));
        for place in found {
            if let Some(place) = ahead.next() {
                self.chunks.prefetch(Place(*place));
            }
            self.copy_record(Place(*place), from, out)?;
        }
        out.places = places;
        Ok(slice.last.checked_add(1).map(Cursor))
    }

    /// The bytes of a bucket's large values, if they are spread evenly.
    fn large_bytes_in(&self, bucket: &Bucket) -> u64 {
        let large_bytes = self.slab.value_bytes();
        if large_bytes == 0 {
            return 0;
        }
        large_bytes / self.entries().max(1) * lossless(bucket.table.len())
    }

    /// Copies one record, unless it stands before `from`.
    fn copy_record(
        &self,
        place: Place,
        from: Option<Cursor>,
        out: &mut SliceCopy,
    ) -> Result<(), OutOfMemory> {
        let (record, encoded) = self.chunks.record_and_encoded(place);
        let position = || self.buckets.position(self.hasher.hash(record.key));
        if from.is_some_and(|from| position() < from.0) {
            return Ok(());
        }
        let value_bytes = match record::large_slot(record.value, record.flags) {
            None => {
                out.bytes.try_reserve(encoded.len()).map_err(|_| failed(encoded.len()))?;
                out.bytes.extend_from_slice(encoded);
                out.records += 1;
                record.value.len()
            }
            Some(number) => {
                let key_bytes = record.key.len();
                let LargeCopies { keys, values } = &mut out.large;
                keys.try_reserve(key_bytes).map_err(|_| failed(key_bytes))?;
                values.try_reserve(1).map_err(|_| failed(key_bytes))?;
                keys.extend_from_slice(record.key);
                let value = Arc::clone(self.slab.get(number));
                let value_bytes = value.len();
                values.push((keys.len(), value));
                value_bytes
            }
        };
        out.payload_bytes += lossless(record.key.len() + value_bytes);
        Ok(())
    }
}

fn failed(bytes: usize) -> OutOfMemory {
    OutOfMemory { bytes: lossless(bytes) }
}
