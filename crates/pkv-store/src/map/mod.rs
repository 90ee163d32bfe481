//! The map in memory: sharded, packed, and without a pause that grows with it.
//!
//! ```text
//! hash | leading bits: shard | next bits: bucket (bucket.rs) | lowest bits: tag in its table (table.rs)
//!                                                     |
//!                              32-bit place -> record in a chunk (chunk.rs, record.rs)
//!                                                     |
//!                              values over 1 KiB: shared allocations (large.rs)
//! ```
//!
//! - **Small.** A record has 2 bytes of header and padding to 4 (3.4 % at 16-byte keys and 100-byte
//!   values); an index entry is a 32-bit place and a 24-bit tag; chunks leave 2 % over.
//! - **No stall.** One write splits at most one bucket, of at most 3,072 entries, allocates at most one chunk
//!   of 256 KiB and moves at most 64 KiB of records (`clean.rs`). Memory that becomes free is handed to
//!   the caller as [`Garbage`], for [`Map::free`] after unlocking.
//! - **Copied while it changes.** `copy.rs` walks a shard by hash position, in slices of some microseconds, or some
//!   dozens where nobody writes.
//!
//! It knows nothing of logs, files and durability, and evaluates no conditions.

mod bucket;
mod chunk;
mod clean;
mod copy;
mod hot;
mod large;
mod read;
mod ready;
mod ready_values;
mod record;
mod shard;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::ops::{Deref, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use crate::sync::{BiasedRwLock, Readers, RwWriteGuard, readers};

pub(crate) use copy::{Cursor, SliceCopy, SliceSize};
pub(crate) use shard::{Found, Lookup, Shard};
pub(crate) use value::{Garbage, NewValue, ValueRef};

use hot::{Hot, Votes};
use ready::ReadyChunks;
use ready_values::ReadyValues;

/// Longer values are allocations of their own.
pub(crate) const INLINE_VALUE_BYTES_MAX: usize = 1024;

/// What a processor fetches at once.
pub(crate) const LINE_BYTES: usize = 64;

/// Memory could not be had; nothing was changed.
///
/// Also where a shard's 15 GiB of records (12 with the longest keys) are used up: more shards hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "out of memory: {bytes} bytes more could not be allocated; remove entries or allow more memory"
)]
pub(crate) struct OutOfMemory {
    /// What was asked for.
    pub(crate) bytes: u64,
}

/// How a map is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapOptions {
    /// How many shards; rounded up to a power of two, at most 65,536.
    pub(crate) shards: usize,
    /// Seeds the hash; the same seed gives the same hashes in every version.
    pub(crate) hash_seed: u64,
}

/// Sums over a shard or the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Keys.
    pub(crate) entries: u64,
    /// Bytes of keys and values.
    pub(crate) payload_bytes: u64,
    /// Bytes of live records: keys and inline values with headers and padding.
    pub(crate) live_bytes: u64,
    /// Bytes of chunks: live records, dead ones and room; of a map those that are ready, and large values that are,
    /// too.
    pub(crate) held_bytes: u64,
    /// Bytes of dead records in the chunks.
    pub(crate) dead_bytes: u64,
    /// Bytes of tables and lists.
    pub(crate) index_bytes: u64,
    /// Bytes of large values.
    pub(crate) large_bytes: u64,
    /// Bytes that were moved to win back dead ones, since the shard was last emptied.
    pub(crate) moved_bytes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.entries += other.entries;
        self.payload_bytes += other.payload_bytes;
        self.live_bytes += other.live_bytes;
        self.held_bytes += other.held_bytes;
        self.dead_bytes += other.dead_bytes;
        self.index_bytes += other.index_bytes;
        self.large_bytes += other.large_bytes;
        self.moved_bytes += other.moved_bytes;
    }
}

/// The seeded hash of keys: rapidhash v3, which is the same in every version.
#[derive(Clone, Debug)]
pub(crate) struct Hasher(RapidSecrets);

impl Hasher {
    fn new(seed: u64) -> Hasher {
        Hasher(RapidSecrets::seed(seed))
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_seeded(key, &self.0)
    }
}

/// A shard on cache lines of its own: in pairs, since processors fetch them so.
#[derive(Debug)]
#[repr(C, align(128))]
struct Slot {
    hot: Hot,
    /// The shard's entries as of its last unlocking, to be read without the lock.
    entries: AtomicU64,
    /// The shard's memory, likewise.
    memory_bytes: AtomicU64,
    /// Who gets their votes comes from behind the lock.
    votes: Votes,
    shard: BiasedRwLock<Shard>,
}

/// All shards.
#[derive(Debug)]
pub(crate) struct Map {
    slots: Box<[Slot]>,
    shard_bits: u32,
    hasher: Hasher,
    hash_seed: u64,
    readers: Readers,
    ready: Arc<ReadyChunks>,
    ready_values: ReadyValues,
}

impl Map {
    /// An empty map.
    pub(crate) fn new(options: &MapOptions) -> Result<Map, OutOfMemory> {
        let shards = options.shards.clamp(1, 1 << 16).next_power_of_two();
        let shard_bits = shards.trailing_zeros();
        let hasher = Hasher::new(options.hash_seed);
        let ready = Arc::default();
        let mut slots = Vec::new();
        slots
            .try_reserve_exact(shards)
            .map_err(|_| OutOfMemory { bytes: record::lossless(shards * size_of::<Slot>()) })?;
        slots.extend((0..shards).map(|_| Slot {
            shard: BiasedRwLock::new(Shard::new(hasher.clone(), shard_bits, Arc::clone(&ready))),
            votes: Votes::default(),
            hot: Hot::default(),
            entries: AtomicU64::new(0),
            memory_bytes: AtomicU64::new(0),
        }));
        Ok(Map {
            slots: slots.into_boxed_slice(),
            shard_bits,
            hasher,
            hash_seed: options.hash_seed,
            readers: readers(),
            ready,
            ready_values: ReadyValues::default(),
        })
    }

    /// The hash of a key, for all the rest.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The shard of a hash: its leading bits.
    #[inline]
    pub(crate) fn shard_index(&self, hash: u64) -> usize {
        // Shifted in two steps, since a map of one shard has no bits to keep.
        usize::try_from((hash >> 1) >> (63 - self.shard_bits)).unwrap_or(usize::MAX)
    }

    /// Where the key of this hash stands in its shard: a copy from a cursor up to another takes the keys
    /// from the one on that stand before the other.
    #[inline]
    pub(crate) fn cursor(&self, hash: u64) -> Cursor {
        Cursor::of(hash, self.shard_bits)
    }

    /// The lowest hash of a key that stands there in a shard or behind: copied by cursors in ascending order, shards come
    /// in the order of hashes.
    pub(crate) fn first_hash(&self, shard: usize, cursor: Cursor) -> u64 {
        cursor.first_hash(record::lossless(shard), self.shard_bits)
    }

    /// The hashes of all keys that a shard may hold.
    pub(crate) fn hashes(&self, shard: usize) -> RangeInclusive<u64> {
        let first = self.first_hash(shard, Cursor::default());
        first..=first | u64::MAX >> self.shard_bits
    }

    /// The seed of the hash.
    pub(crate) fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// How many shards there are: a power of two.
    pub(crate) fn shards(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "indices come from shard_index, or run below shards()"
    )]
    fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// Locks a shard for writing. Several are locked in ascending order.
    #[inline]
    pub(crate) fn write(&self, index: usize) -> WriteGuard<'_> {
        let slot = self.slot(index);
        WriteGuard { shard: slot.shard.write(), slot }
    }

    /// Before these shards are locked for writing, one after the other: what their readers need to be told is told once.
    pub(crate) fn end_biases(&self, indices: impl Iterator<Item = usize>) {
        BiasedRwLock::end_biases(indices.map(|index| &self.slot(index).shard));
    }

    /// Prepares an empty map for so many entries with so many bytes of records.
    pub(crate) fn expect(&self, entries: u64, record_bytes: u64) -> Result<(), OutOfMemory> {
        let shards = record::lossless(self.shards());
        (0..self.shards())
            .try_for_each(|index| self.write(index).expect(entries / shards, record_bytes / shards))
    }

    /// [`Map::expect`] for the index alone.
    pub(crate) fn expect_entries(
        &self,
        entries: u64,
        record_bytes: u64,
    ) -> Result<(), OutOfMemory> {
        let shards = record::lossless(self.shards());
        (0..self.shards()).try_for_each(|index| {
            self.write(index).expect_entries(entries / shards, record_bytes / shards)
        })
    }

    /// How many keys there are, without a lock: changes in progress count or do not.
    pub(crate) fn len(&self) -> u64 {
        self.slots.iter().map(|slot| slot.entries.load(Ordering::Relaxed)).sum()
    }

    /// The memory of all records and large values, without a lock: for the memory cap. Without what is ready, since a write
    /// that takes it takes no more memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.memory_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Makes a chunk and some large values ahead of who will need them, unless enough are ready: see [`ReadyChunks`] and
    /// [`ReadyValues`]. Returns whether it made anything.
    pub(crate) fn make_ready(&self) -> bool {
        let has_made_chunk = self.ready.make_one();
        self.ready_values.make_some() || has_made_chunk
    }

    /// Frees what is ready: nothing is left that might need it soon.
    pub(crate) fn forget_ready(&self) {
        self.ready.clear();
        self.ready_values.clear();
    }

    /// The memory of what is ready: no value's, which a snapshot would have to write.
    fn ready_usage(&self) -> Usage {
        let held_bytes = self.ready.held_bytes() + self.ready_values.held_bytes();
        Usage { held_bytes, ..Usage::default() }
    }

    /// The shared copy that a large value lives in, in memory that is ready where there is some; `None` for a value that lives in
    /// a chunk.
    #[inline]
    pub(crate) fn share_if_large(&self, value: &[u8]) -> Result<Option<Arc<[u8]>>, OutOfMemory> {
        if NewValue::is_inline(value.len()) { Ok(None) } else { self.share(value) }
    }

    #[inline(never)]
    fn share(&self, value: &[u8]) -> Result<Option<Arc<[u8]>>, OutOfMemory> {
        if let Some(shared) = self.ready_values.copy(value) {
            return Ok(Some(shared));
        }
        match NewValue::new(value)? {
            NewValue::Large(shared) => Ok(Some(shared)),
            NewValue::Inline(_) => Ok(None),
        }
    }

    /// Frees what became free, but for large values that are wanted again. Called with no shard locked.
    pub(crate) fn free(&self, garbage: Garbage) {
        self.free_large(garbage.value);
    }

    /// The same of a large value that was made for a write and is not needed.
    pub(crate) fn free_large(&self, value: Option<Arc<[u8]>>) {
        if let Some(value) = value {
            self.ready_values.give_back(value);
        }
    }

    /// [`Map::usage`] for a thread that may hold a shard's lock: of a shard that is locked only entries and
    /// memory count, as of its last unlocking.
    pub(crate) fn usage_without_waiting(&self) -> Usage {
        let mut sum = self.ready_usage();
        for slot in &self.slots {
            sum += slot.shard.try_read().map_or_else(
                || Usage {
                    entries: slot.entries.load(Ordering::Relaxed),
                    held_bytes: slot.memory_bytes.load(Ordering::Relaxed),
                    ..Usage::default()
                },
                |shard| shard.usage(),
            );
        }
        sum
    }

    /// Sums over all shards. Cost: one short read lock each.
    pub(crate) fn usage(&self) -> Usage {
        let mut sum = self.ready_usage();
        for slot in &self.slots {
            let usage = slot.shard.read().usage();
            sum += usage;
            sum.index_bytes += slot.hot.bytes();
        }
        sum
    }
}

/// A shard that is locked for writing. All changes go through here, so that none of them passes by the copy that
/// [`Hot`] shows.
#[derive(Debug)]
pub(crate) struct WriteGuard<'a> {
    shard: RwWriteGuard<'a, Shard>,
    slot: &'a Slot,
}

impl WriteGuard<'_> {
    /// To be called before a change of a key with this hash is logged: from the moment in which it has a number, who
    /// reads the key waits for it. Where the change does not come after all, nothing has changed.
    #[inline]
    pub(crate) fn announce(&self, hash: u64) {
        if self.slot.hot.is_of(hash) {
            self.slot.hot.close();
        }
    }

    /// [`WriteGuard::announce`] for all keys of the shard.
    pub(crate) fn announce_all(&self) {
        self.slot.hot.close();
    }

    /// [`Shard::reserve`].
    #[inline]
    pub(crate) fn reserve(
        &mut self,
        hash: u64,
        key_len: usize,
        value: &NewValue<'_>,
    ) -> Result<(), OutOfMemory> {
        self.shard.reserve(hash, key_len, value)
    }

    /// [`Shard::reserve_found`].
    #[inline]
    pub(crate) fn reserve_found(
        &mut self,
        hash: u64,
        key_len: usize,
        value: &NewValue<'_>,
        found: Found,
    ) -> Result<(), OutOfMemory> {
        self.shard.reserve_found(hash, key_len, value, found)
    }

    /// [`Shard::reserve_all`].
    pub(crate) fn reserve_all(
        &mut self,
        sets: impl Iterator<Item = (u64, usize, usize)> + Clone,
    ) -> Result<(), OutOfMemory> {
        self.shard.reserve_all(sets)
    }

    /// [`Shard::expect_entries`].
    pub(crate) fn expect_entries(
        &mut self,
        entries: u64,
        record_bytes: u64,
    ) -> Result<(), OutOfMemory> {
        self.shard.expect_entries(entries, record_bytes)
    }

    /// [`Shard::expect`].
    pub(crate) fn expect(&mut self, entries: u64, record_bytes: u64) -> Result<(), OutOfMemory> {
        self.shard.expect(entries, record_bytes)
    }

    /// [`Shard::set`].
    #[inline]
    pub(crate) fn set(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
        garbage: &mut Garbage,
    ) -> bool {
        if self.slot.hot.is_of(hash) {
            self.slot.hot.change(hash, key, value);
        }
        self.shard.set(hash, key, value, garbage)
    }

    /// [`Shard::set_found`].
    #[inline]
    pub(crate) fn set_found(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
        found: Found,
        garbage: &mut Garbage,
    ) -> bool {
        if self.slot.hot.is_of(hash) {
            self.slot.hot.change(hash, key, value);
        }
        self.shard.set_found(hash, key, value, found, garbage)
    }

    /// Removes `key`, if it is there. Needs no reservation and cannot fail.
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8], garbage: &mut Garbage) -> bool {
        let found = self.shard.place_of(hash, key);
        self.remove_found(hash, key, found, garbage)
    }

    /// [`Shard::remove_found`].
    pub(crate) fn remove_found(
        &mut self,
        hash: u64,
        key: &[u8],
        found: Found,
        garbage: &mut Garbage,
    ) -> bool {
        if self.slot.hot.is_of(hash) {
            self.slot.hot.remove();
        }
        self.shard.remove_found(hash, key, found, garbage)
    }

    /// [`Shard::take_contents`].
    pub(crate) fn take_contents(&mut self) -> Garbage {
        self.slot.hot.remove();
        self.shard.take_contents()
    }

    /// [`Shard::load_value`]: of a key that is not there, and so is not shown.
    pub(crate) fn load_value(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
    ) -> Result<bool, OutOfMemory> {
        self.shard.load_value(hash, key, value)
    }

    /// [`Shard::load`]: of a key that is not there, and so is not shown.
    pub(crate) fn load(&mut self, hash: u64, encoded: &[u8]) -> Result<bool, OutOfMemory> {
        self.shard.load(hash, encoded)
    }
}

impl Deref for WriteGuard<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl Drop for WriteGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Under the lock still, so stores are in order; readers need no more than some recent number.
        self.slot.entries.store(self.shard.entries(), Ordering::Relaxed);
        self.slot.memory_bytes.store(self.shard.memory_bytes(), Ordering::Relaxed);
        if self.slot.hot.is_closed() {
            if std::thread::panicking() {
                // Between the log and the map: what is shown may not be what is there.
                self.slot.hot.remove();
            }
            self.slot.hot.open();
        }
    }
}
