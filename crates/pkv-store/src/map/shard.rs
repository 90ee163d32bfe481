//! One shard: the keys whose hashes begin with the same bits, behind one lock.

use std::sync::Arc;

use pkv_format::Record;

use super::bucket::Buckets;
use super::chunk::{self, Chunks, NewRecord, Place};
use super::clean::Cleaner;
use super::large::Slab;
use super::ready::ReadyChunks;
use super::record::{self, LARGE, lossless};
use super::table::{First, Table, Tag};
use super::{Garbage, Hasher, NewValue, OutOfMemory, Usage, ValueRef};

/// Bytes of the slab slot number that a record of a large value holds.
const SLOT_NUMBER_BYTES: usize = 4;
/// An emptied shard that holds less keeps it, so that a key that comes and goes costs nothing.
pub(super) const EMPTY_BYTES_MAX: u64 = 4 << 10;

/// Records, index and large values of one shard; reached through the lock that [`super::Map`] holds.
///
/// What each write changes stands right behind the lock, on its cache line; then comes what a get needs.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard {
    /// Sets that were promised not to fail, and did not come yet: until then nothing else uses memory.
    promised_sets: usize,
    entries: u64,
    /// Bytes of keys and values.
    payload_bytes: u64,
    pub(super) buckets: Buckets,
    pub(super) chunks: Chunks,
    pub(super) slab: Slab,
    pub(super) cleaner: Cleaner,
    pub(super) hasher: Hasher,
}

/// How much of a shard's beginning each write changes.
#[cfg(test)]
pub(super) const CHANGED_BYTES: usize = std::mem::offset_of!(Shard, buckets);

impl Shard {
    pub(super) fn new(hasher: Hasher, shard_bits: u32, ready: Arc<ReadyChunks>) -> Shard {
        Shard {
            buckets: Buckets::new(shard_bits),
            chunks: Chunks::new(ready),
            slab: Slab::default(),
            entries: 0,
            payload_bytes: 0,
            promised_sets: 0,
            cleaner: Cleaner::default(),
            hasher,
        }
    }

    /// The value of `key`. Cost: one probe of a small table and one record.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<ValueRef<'_>> {
        let (table, tag) = self.buckets.table_of(hash);
        let found = table.find(tag, |place| self.chunks.value_of(Place(place), key))?;
        Some(self.value_ref(found))
    }

    /// The bytes of the value of `key`: [`Shard::get`] for who wants nothing else. Where the key is short and the first with
    /// its tag, and the value no large one, as is the rule, it takes so few instructions that a processor begins the next search while it waits for the
    /// memory of this one.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call is a tenth of it, and is made where two places call it"
    )]
    pub(crate) fn get_bytes(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let (table, tag) = self.buckets.table_of(hash);
        match table.first(tag) {
            First::Place(place) => {
                match record::short_value_of(self.chunks.bytes_at(Place(place)), key) {
                    Some(value) => Some(value),
                    None => self.get_any_bytes(hash, key),
                }
            }
            First::Behind => self.get_any_bytes(hash, key),
            First::Nowhere => None,
        }
    }

    /// [`Shard::get_bytes`] of every key.
    #[inline(never)]
    fn get_any_bytes(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        self.get(hash, key).map(|value| value.as_bytes())
    }

    /// [`Shard::get`], and where it was found, for a change of the key.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> (Found, Option<ValueRef<'_>>) {
        let found = self.place_of(hash, key);
        let record = found.0.map(|place| self.chunks.record(place));
        (found, record.map(|record| self.value_ref((record.value, record.flags))))
    }

    /// Where `key` is found.
    #[inline]
    pub(super) fn place_of(&self, hash: u64, key: &[u8]) -> Found {
        let (table, tag) = self.buckets.table_of(hash);
        Found(table.find(tag, |place| {
            let record = self.chunks.bytes_at(Place(place));
            record::has_key(record, key).then_some(Place(place))
        }))
    }

    /// What a record with this value and these flags holds.
    #[inline]
    fn value_ref<'a>(&'a self, (value, flags): (&'a [u8], u8)) -> ValueRef<'a> {
        match record::large_slot(value, flags) {
            None => ValueRef::Inline(value),
            Some(number) => ValueRef::Large(self.slab.get(number)),
        }
    }

    /// A lookup in steps, so that one thread has many under way.
    #[inline]
    pub(crate) fn lookup(&self, hash: u64) -> Lookup<'_> {
        let (table, tag) = self.buckets.table_of(hash);
        Lookup { shard: Some((self, table)), tag, hash, record: &[] }
    }

    /// Asks for the line of the index in which a key with this hash stands, and does not wait for it.
    #[inline]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        let (table, tag) = self.buckets.table_of(hash);
        table.prefetch(tag);
    }

    /// Asks for the record of the key with this hash, behind [`Shard::prefetch_index`]; mostly it is the first with the key's
    /// tag.
    #[inline]
    pub(crate) fn prefetch_record(&self, hash: u64) {
        let (table, tag) = self.buckets.table_of(hash);
        if let Some(place) = table.find(tag, Some) {
            self.chunks.prefetch(Place(place));
        }
    }

    /// How many keys the shard holds.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Makes sure that the next set with these cannot fail for want of memory.
    ///
    /// It does what growing costs: at most one bucket is split (at most 3,072 entries are rehashed) and one
    /// chunk allocated. Nothing is lost where the set does not come.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        hash: u64,
        key_len: usize,
        value: &NewValue<'_>,
    ) -> Result<(), OutOfMemory> {
        let bytes = stored_bytes(key_len, value.len());
        if self.chunks.has_room(bytes)
            && self.buckets.has_room(hash, bytes)
            && matches!(value, NewValue::Inline(_))
        {
            self.promised_sets = 1;
            return Ok(());
        }
        self.reserve_all(std::iter::once((hash, key_len, value.len())))
    }

    /// [`Shard::reserve`] for a key that was found there: its value may be overwritten, which takes no memory.
    #[inline]
    pub(super) fn reserve_found(
        &mut self,
        hash: u64,
        key_len: usize,
        value: &NewValue<'_>,
        found: Found,
    ) -> Result<(), OutOfMemory> {
        if let (Some(place), NewValue::Inline(value)) = (found.0, value)
            && is_overwritten(&self.chunks.record(place), value)
        {
            self.promised_sets = 1;
            return Ok(());
        }
        self.reserve(hash, key_len, value)
    }

    /// Makes sure that the next sets, with these hashes, key and value lengths and in this order, cannot
    /// fail for want of memory.
    ///
    /// Removes and gets may come between them. A further reservation takes the place of this one.
    pub(super) fn reserve_all(
        &mut self,
        sets: impl Iterator<Item = (u64, usize, usize)> + Clone,
    ) -> Result<(), OutOfMemory> {
        self.promised_sets = 0;
        self.buckets.forget_promises(sets.clone().map(|(hash, _, _)| hash));
        let mut promised = 0;
        let mut large = 0;
        let hasher = &self.hasher;
        for (hash, key_len, value_len) in sets.clone() {
            let bytes = stored_bytes(key_len, value_len);
            self.buckets.reserve(hash, bytes, &self.chunks, &|key| hasher.hash(key))?;
            promised += 1;
            large += usize::from(!NewValue::is_inline(value_len));
        }
        self.chunks
            .reserve(sets.map(|(_, key_len, value_len)| stored_bytes(key_len, value_len)))?;
        if large > 0 {
            self.slab.reserve(large)?;
        }
        self.promised_sets = promised;
        Ok(())
    }

    /// Sets the value of `key`; whether it was there. Where it was not reserved before, want of memory is a panic.
    ///
    /// `garbage`: an empty one, for what becomes free. (It is no part of what is returned, since that would be moved
    /// with each write, and almost always empty.)
    pub(super) fn set(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
        garbage: &mut Garbage,
    ) -> bool {
        let found = self.place_of(hash, key);
        self.set_found(hash, key, value, found, garbage)
    }

    /// [`Shard::set`] of a key that was found there.
    pub(super) fn set_found(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
        found: Found,
        garbage: &mut Garbage,
    ) -> bool {
        debug_assert_eq!(found, self.place_of(hash, key), "changed since");
        if self.promised_sets == 0
            && let Err(why) = self.reserve_found(hash, key.len(), value, found)
        {
            unreachable!("a set was not reserved: {why}");
        }
        self.promised_sets -= 1;
        let value_len = value.len();
        let Shard { buckets, chunks, slab, .. } = self;
        let written_bytes;
        let mut number = [0; SLOT_NUMBER_BYTES];
        if let Some(place) = found.0 {
            let old = chunks.record(place);
            if let NewValue::Inline(value) = value
                && is_overwritten(&old, value)
            {
                written_bytes = old.bytes_used;
                chunks.overwrite_value(place, key.len(), value);
                self.tend(written_bytes, garbage);
                return true;
            }
            let (bucket, tag) = buckets.bucket_of_mut(hash);
            let (old_bytes, old_slot) = (old.bytes_used, record::large_slot(old.value, old.flags));
            let old_len = match old_slot {
                None => old.value.len(),
                Some(number) => slab.get(number).len(),
            };
            self.payload_bytes = self.payload_bytes + lossless(value_len) - lossless(old_len);
            match (value, old_slot) {
                (NewValue::Large(new), Some(number)) => {
                    garbage.value = Some(slab.replace(number, Arc::clone(new)));
                    self.tend(old_bytes, garbage);
                    return true;
                }
                (NewValue::Inline(_), Some(number)) => garbage.value = Some(slab.remove(number)),
                (_, None) => {}
            }
            let new = new_record(key, value, slab, &mut number);
            written_bytes = new.bytes();
            if written_bytes == old_bytes {
                chunks.overwrite(place, &new);
            } else {
                if let Some(entry) = bucket.table.locate(tag, place.0) {
                    bucket.table.set_place(entry, chunks.store(&new).0);
                }
                chunks.kill(place);
                bucket.add_bytes(written_bytes);
                bucket.sub_bytes(old_bytes);
            }
        } else {
            let (bucket, tag) = buckets.bucket_of_mut(hash);
            let new = new_record(key, value, slab, &mut number);
            written_bytes = new.bytes();
            bucket.add_bytes(written_bytes);
            let place = chunks.store(&new);
            bucket.table.insert(tag, place.0);
            self.entries += 1;
            self.payload_bytes += lossless(key.len() + value_len);
        }
        self.tend(written_bytes, garbage);
        found.0.is_some()
    }

    /// Removes a key, if it was found there. Needs no reservation and cannot fail. `garbage` as in [`Shard::set`].
    pub(super) fn remove_found(
        &mut self,
        hash: u64,
        key: &[u8],
        found: Found,
        garbage: &mut Garbage,
    ) -> bool {
        debug_assert_eq!(found, self.place_of(hash, key), "changed since");
        let Some(place) = found.0 else { return false };
        let Shard { buckets, chunks, slab, .. } = self;
        let (bucket, tag) = buckets.bucket_of_mut(hash);
        if let Some(entry) = bucket.table.locate(tag, place.0) {
            bucket.table.remove(entry);
        }
        let old = chunks.record(place);
        let (old_bytes, old_slot) = (old.bytes_used, record::large_slot(old.value, old.flags));
        let old_len = match old_slot {
            None => old.value.len(),
            Some(number) => garbage.value.insert(slab.remove(number)).len(),
        };
        bucket.sub_bytes(old_bytes);
        chunks.kill(place);
        self.entries -= 1;
        self.payload_bytes -= lossless(key.len() + old_len);
        if self.promised_sets == 0 {
            if self.entries == 0 && self.held_bytes() > EMPTY_BYTES_MAX {
                garbage.contents = self.take_contents().contents;
                return true;
            }
            self.buckets.shrink(hash);
        }
        self.tend(old_bytes, garbage);
        true
    }

    /// Empties the shard. Cost: constant; what it held is freed where the caller drops it.
    pub(super) fn take_contents(&mut self) -> Garbage {
        let ready = Arc::clone(self.chunks.ready());
        let empty = Shard::new(self.hasher.clone(), self.buckets.shard_bits(), ready);
        let contents = std::mem::replace(self, empty);
        Garbage { contents: Some(Box::new(contents)), ..Garbage::default() }
    }

    /// Prepares an empty shard for so many entries with so many bytes of records, to be loaded in any order.
    pub(super) fn expect(&mut self, entries: u64, record_bytes: u64) -> Result<(), OutOfMemory> {
        self.expect_entries(entries, record_bytes)?;
        self.chunks.expect(record_bytes)
    }

    /// The same for its index alone.
    pub(super) fn expect_entries(
        &mut self,
        entries: u64,
        record_bytes: u64,
    ) -> Result<(), OutOfMemory> {
        let narrow = |count| usize::try_from(count).unwrap_or(usize::MAX);
        self.buckets.expect(narrow(entries), narrow(record_bytes))
    }

    /// Stores a record as it was encoded for disk, and checked. False: the key is there already, and
    /// stays as it is.
    pub(super) fn load(&mut self, hash: u64, encoded: &[u8]) -> Result<bool, OutOfMemory> {
        let Record { key, value, .. } = record::decode(encoded);
        let Shard { buckets, chunks, hasher, .. } = self;
        let hash_of = |key: &[u8]| hasher.hash(key);
        let (table, tag) = buckets.table_of(hash);
        if table.find(tag, |place| chunks.value_of(Place(place), key)).is_some() {
            return Ok(false);
        }
        if !NewValue::is_inline(value.len()) {
            let value = NewValue::new(value)?;
            return self.load_value(hash, key, &value);
        }
        buckets.forget_promises(std::iter::once(hash));
        buckets.reserve(hash, encoded.len(), chunks, &hash_of)?;
        chunks.reserve_populated(encoded.len())?;
        let place = chunks.append_encoded(encoded);
        let (bucket, tag) = buckets.bucket_of_mut(hash);
        bucket.add_bytes(encoded.len());
        bucket.table.insert(tag, place.0);
        self.entries += 1;
        self.payload_bytes += lossless(key.len() + value.len());
        Ok(true)
    }

    /// The same for a key and a value that is not inline, and was made before the shard was locked.
    pub(super) fn load_value(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &NewValue<'_>,
    ) -> Result<bool, OutOfMemory> {
        if self.get(hash, key).is_some() {
            return Ok(false);
        }
        self.reserve(hash, key.len(), value)?;
        Ok(!self.set(hash, key, value, &mut Garbage::default()))
    }

    /// Bytes of chunks and large values.
    #[inline]
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.chunks.held_bytes() + self.slab.value_bytes()
    }

    /// What the shard holds and what it takes. Cost: constant.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            entries: self.entries,
            payload_bytes: self.payload_bytes,
            live_bytes: self.chunks.live_bytes(),
            held_bytes: self.chunks.held_bytes(),
            dead_bytes: self.chunks.dead_bytes(),
            index_bytes: self.buckets.held_bytes()
                + self.chunks.overhead_bytes()
                + self.slab.overhead_bytes(),
            large_bytes: self.slab.value_bytes(),
            moved_bytes: self.cleaner.moved_bytes(),
        }
    }

    /// Bytes of chunks, tables and lists.
    fn held_bytes(&self) -> u64 {
        let usage = self.usage();
        usage.held_bytes + usage.index_bytes
    }

    /// What a write does behind its change: a step of cleaning, unless promised sets are still to come.
    #[inline]
    fn tend(&mut self, written_bytes: usize, garbage: &mut Garbage) {
        if self.promised_sets == 0 {
            let chunk = self.clean(written_bytes);
            if !chunk.is_empty() {
                garbage.chunk = chunk;
            }
        }
    }
}

/// A lookup of one key, in the steps between which it waits for memory; by default of none. What the touching ones return
/// means nothing, and is there so that the reads are not left out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookup<'a> {
    /// With the table of the key's bucket.
    shard: Option<(&'a Shard, &'a Table)>,
    tag: Tag,
    hash: u64,
    /// The first record with the low bits of the key's tag, and what is behind it; mostly it is the key's.
    record: &'a [u8],
}

impl<'a> Lookup<'a> {
    /// Reads the key's line of the index.
    #[inline]
    pub(crate) fn touch_index(&self) -> u8 {
        self.shard.map_or(0, |(_, table)| *table.line(self.tag))
    }

    /// Finds out where the record is.
    #[inline]
    pub(crate) fn find_record(&mut self) {
        let Some((shard, table)) = self.shard else { return };
        let place = match table.first(self.tag) {
            First::Place(place) => Some(place),
            First::Behind => table.find(self.tag, Some),
            First::Nowhere => None,
        };
        if let Some(place) = place {
            self.record = shard.chunks.bytes_at(Place(place));
        }
    }

    /// Reads the lines of the record, behind [`Lookup::find_record`].
    #[inline]
    pub(crate) fn touch_record(&self) -> u8 {
        chunk::touch(self.record)
    }

    /// The value of `key`, which has the lookup's hash; behind [`Lookup::find_record`].
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        match record::short_value_of(self.record, key) {
            Some(value) => Some(value),
            None if self.record.is_empty() => None,
            None => self.get_another(key),
        }
    }

    /// [`Lookup::get`] of records of every kind, and where the first record with the key's tag is another key's.
    #[inline(never)]
    fn get_another(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.shard.and_then(|(shard, _)| shard.get_bytes(self.hash, key))
    }
}

/// Where a key was found in its shard, or that it was not: true until a key of the shard is set or removed. What is
/// reserved moves no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found(Option<Place>);

/// Whether a new value takes the place of a record's old one, so that nothing else changes.
#[inline]
fn is_overwritten(old: &Record<'_>, value: &[u8]) -> bool {
    old.flags & LARGE == 0 && old.value.len() == value.len()
}

/// Bytes of the record in a chunk for a key and a value of these lengths.
#[inline]
fn stored_bytes(key_len: usize, value_len: usize) -> usize {
    let inline_len = if NewValue::is_inline(value_len) { value_len } else { SLOT_NUMBER_BYTES };
    pkv_format::record_bytes(key_len, inline_len)
}

/// The record for `key` and `value`; a large value goes to the slab, and its slot's number to `number`.
#[inline]
fn new_record<'a>(
    key: &'a [u8],
    value: &NewValue<'a>,
    slab: &mut Slab,
    number: &'a mut [u8; SLOT_NUMBER_BYTES],
) -> NewRecord<'a> {
    match value {
        NewValue::Inline(value) => NewRecord { key, value, flags: 0 },
        NewValue::Large(value) => {
            *number = slab.insert(Arc::clone(value)).to_le_bytes();
            NewRecord { key, value: number, flags: LARGE }
        }
    }
}
