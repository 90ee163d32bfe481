//! Where a shard keeps its records: packed one behind the other in chunks that are never resized.
//!
//! - A reference is 32 bits: the chunk's number and the record's offset in 4-byte words. So a chunk has
//!   at most 256 KiB, and a shard at most 65,536 chunks.
//! - A new chunk has a 32nd part of what the shard holds already, 1 to 16 KiB, so that little room is behind the last
//!   record; some of these are ready before a writer comes (`ready.rs`). In a shard over 16 MiB it has a 1,024th, so that the
//!   numbers are enough for 15 GiB, and for a record over 256 bytes a 32nd up to 256 KiB, so that little is left over behind
//!   the last one that found room. No write ever copies a chunk to grow it.
//! - A dead record is linked into the free list of its length, and the next record takes the front of the
//!   shortest free one that has room; its links stand in it. What the lists do not win back, the cleaner
//!   does (`clean.rs`). Measured with values replaced by others of random sizes: 0.2 to 2.1 bytes moved
//!   for each written one; without the lists 6.9 to 8.2.

use std::collections::VecDeque;
use std::sync::Arc;

use pkv_format::{Record, push_record_with_flags, record_bytes};

use super::ready::ReadyChunks;
use super::record::{self, WORD_BYTES, index, lossless};
use super::{LINE_BYTES, OutOfMemory};

/// The 16 bits of an offset, in words.
pub(super) const CHUNK_BYTES_MAX: usize = (1 << 16) * WORD_BYTES;
const CHUNK_BYTES_MIN: usize = 1 << 10;
const CHUNK_SHARE: u64 = 32;
/// Up to here a chunk has its share.
const CHUNK_BYTES_ENOUGH: u64 = 16 << 10;
/// From here on it has this one.
const CHUNK_SHARE_LARGE: u64 = 1024;
pub(super) const CHUNKS_MAX: usize = 1 << 16;
/// Chunks of four of them and more end where the allocator's page does, with its header, unless their size follows from a record.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const ALLOCATION_HEADER_BYTES: usize = 32;

/// Longer dead records are left to the cleaner.
const FREE_LIST_BYTES_MAX: usize = 1280;
/// A header of two bytes and two links.
const FREE_LIST_BYTES_MIN: usize = 12;
const LINK_BYTES: usize = 4;
const NONE: u32 = u32::MAX;

/// What a new chunk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkSize {
    pub(super) bytes: usize,
    /// It follows from the shard and not from the record, and is that of most chunks of its shard.
    pub(super) is_usual: bool,
}

impl ChunkSize {
    /// In a shard that holds so many bytes, with room for a record of this length.
    pub(super) fn new(held_bytes: u64, record_bytes: usize) -> ChunkSize {
        let share = held_bytes / CHUNK_SHARE;
        let enough = (held_bytes / CHUNK_SHARE_LARGE).max(CHUNK_BYTES_ENOUGH);
        let usual = share.min(enough);
        let target = if is_long(record_bytes, enough) { share } else { usual };
        let in_bounds = usize::try_from(target).unwrap_or(CHUNK_BYTES_MAX);
        let in_bounds = in_bounds.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        // So that records of one length leave little or nothing over.
        if in_bounds < 4 * PAGE_BYTES {
            let bytes = in_bounds.div_ceil(record_bytes.max(1)) * record_bytes;
            ChunkSize { bytes, is_usual: false }
        } else if is_long(record_bytes, lossless(in_bounds)) {
            let bytes = (in_bounds / record_bytes).max(1) * record_bytes;
            ChunkSize { bytes, is_usual: false }
        } else {
            let bytes = in_bounds / PAGE_BYTES * PAGE_BYTES - ALLOCATION_HEADER_BYTES;
            ChunkSize { bytes, is_usual: target == usual }
        }
    }
}

/// Whether more than a 64th of a chunk might be left over behind the last record.
fn is_long(record_bytes: usize, chunk_bytes: u64) -> bool {
    lossless(record_bytes) * 64 > chunk_bytes
}

/// A record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

impl Place {
    /// Chunk numbers have 16 bits, offsets are multiples of the word within a chunk.
    fn new(chunk: u32, offset_bytes: usize) -> Place {
        let words = u32::try_from(offset_bytes / WORD_BYTES).unwrap_or(u32::MAX);
        debug_assert!(chunk < 1 << 16 && words < 1 << 16, "chunk {chunk} word {words}");
        Place((chunk << 16) | words)
    }

    #[inline]
    pub(super) fn chunk(self) -> u32 {
        self.0 >> 16
    }

    #[inline]
    pub(super) fn offset_bytes(self) -> usize {
        index(self.0 & 0xffff) * WORD_BYTES
    }
}

/// A record that is about to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRecord<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) flags: u8,
}

impl NewRecord<'_> {
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        record_bytes(self.key.len(), self.value.len())
    }
}

/// The records of one shard. What a get needs stands first, then what each new record changes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Chunks {
    /// Chunks by number, full to their ends; the tail's and those of unused numbers are empty.
    full: Vec<Box<[u8]>>,
    /// The chunk that takes new records. Its capacity is never exceeded and never changed.
    tail: Vec<u8>,
    /// The tail's number; `NONE` before the first.
    tail_number: u32,
    /// The first number of a freed chunk; see `unused_numbers`.
    unused: u32,
    live_bytes: u64,
    held_bytes: u64,
    dead_bytes: u64,
    /// How many numbers are of freed chunks. They are linked: see `dead_in`.
    unused_numbers: usize,
    /// Dead bytes in each chunk; of an unused number: the next unused number.
    dead_in: Vec<u32>,
    /// Empty chunks for records that were promised room, in the order of their use.
    spares: VecDeque<Vec<u8>>,
    /// The first dead record of each length, by words, and a bit for each length that has one.
    free_lists: Vec<u32>,
    free_lengths: [u64; FREE_LIST_BYTES_MAX / WORD_BYTES / 64],
    ready: Arc<ReadyChunks>,
}

/// What each new record changes.
#[cfg(test)]
pub(super) const CHANGED: std::ops::Range<usize> =
    std::mem::offset_of!(Chunks, tail)..std::mem::offset_of!(Chunks, held_bytes);

impl Chunks {
    /// None yet; those to come are taken from the ready ones.
    pub(super) fn new(ready: Arc<ReadyChunks>) -> Chunks {
        Chunks {
            ready,
            full: Vec::new(),
            dead_in: Vec::new(),
            tail: Vec::new(),
            tail_number: NONE,
            spares: VecDeque::new(),
            unused: NONE,
            unused_numbers: 0,
            free_lists: Vec::new(),
            free_lengths: Default::default(),
            held_bytes: 0,
            dead_bytes: 0,
            live_bytes: 0,
        }
    }

    /// What its chunks are taken from.
    pub(super) fn ready(&self) -> &Arc<ReadyChunks> {
        &self.ready
    }

    /// Bytes allocated for records.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Bytes of dead records, in a free list or not.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.dead_bytes
    }

    /// Bytes of live records.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of the lists that are needed to find all this.
    pub(super) fn overhead_bytes(&self) -> u64 {
        lossless(
            self.full.capacity() * (size_of::<Box<[u8]>>() + size_of::<u32>())
                + self.free_lists.capacity() * size_of::<u32>(),
        )
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "places name chunks; the hot path of a get")]
    fn chunk(&self, number: u32) -> &[u8] {
        if number == self.tail_number { &self.tail } else { &self.full[index(number)] }
    }

    /// The record's bytes and all that is behind them in its chunk.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "places are made here, in bounds")]
    pub(super) fn bytes_at(&self, place: Place) -> &[u8] {
        &self.chunk(place.chunk())[place.offset_bytes()..]
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "places are made here, in bounds")]
    fn slot_mut(&mut self, place: Place, bytes: usize) -> &mut [u8] {
        let number = place.chunk();
        let start = place.offset_bytes();
        let chunk = if number == self.tail_number {
            &mut self.tail[..]
        } else {
            &mut self.full[index(number)][..]
        };
        &mut chunk[start..start + bytes]
    }

    /// Has these records in the cache when they are read next. They lie anywhere in memory: loads that depend
    /// on nothing wait together, reading them one by one would wait for each.
    #[inline]
    pub(super) fn touch(&self, places: impl Iterator<Item = Place>) {
        std::hint::black_box(
            places.fold(0, |touched, place| touched ^ touch(self.bytes_at(place))),
        );
    }

    /// Asks for the first lines of this record, which is read soon.
    #[inline]
    pub(super) fn prefetch(&self, place: Place) {
        let record = self.bytes_at(place);
        for line in [0, LINE_BYTES, 2 * LINE_BYTES] {
            if let Some(byte) = record.get(line) {
                pkv_fs::prefetch(byte);
            }
        }
    }

    /// The value and flags of the record at `place`, if it has this key.
    #[inline]
    pub(super) fn value_of(&self, place: Place, key: &[u8]) -> Option<(&[u8], u8)> {
        record::value_of(self.bytes_at(place), key)
    }

    /// The record at `place`.
    #[inline]
    pub(super) fn record(&self, place: Place) -> Record<'_> {
        record::decode(self.bytes_at(place))
    }

    /// The record at `place`, and as it is encoded.
    #[inline]
    pub(super) fn record_and_encoded(&self, place: Place) -> (Record<'_>, &[u8]) {
        let bytes = self.bytes_at(place);
        let record = record::decode(bytes);
        (record, bytes.get(..record.bytes_used).unwrap_or(bytes))
    }

    /// The record behind the one at `place`; `None` at the chunk's end.
    pub(super) fn next(&self, place: Place) -> Option<Place> {
        let end = place.offset_bytes() + self.record(place).bytes_used;
        self.place_in(place.chunk(), end)
    }

    /// The first record of a chunk.
    pub(super) fn first(&self, chunk: u32) -> Option<Place> {
        self.place_in(chunk, 0)
    }

    fn place_in(&self, chunk: u32, offset_bytes: usize) -> Option<Place> {
        (offset_bytes < self.chunk(chunk).len()).then(|| Place::new(chunk, offset_bytes))
    }

    /// Makes sure that records of these lengths, stored in this order, find room.
    #[inline]
    pub(super) fn reserve(
        &mut self,
        lengths: impl Iterator<Item = usize>,
    ) -> Result<(), OutOfMemory> {
        let mut room = self.tail_room();
        let mut spare = 0;
        for bytes in lengths {
            while room < bytes {
                if spare == self.spares.len() {
                    self.add_spare(bytes)?;
                }
                room = self.spares.get(spare).map_or(0, Vec::capacity);
                spare += 1;
            }
            room -= bytes;
        }
        Ok(())
    }

    /// Is there room for one record, without a further chunk?
    #[inline]
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.tail_room() >= bytes
    }

    /// Makes the chunks that so many bytes of records will fill, while there is none. The system gives their
    /// memory when they are filled, so that it is in the processor's cache then.
    pub(super) fn expect(&mut self, record_bytes: u64) -> Result<(), OutOfMemory> {
        let share = usize::try_from(record_bytes / CHUNK_SHARE).unwrap_or(CHUNK_BYTES_MAX);
        let chunk_bytes = share.min(CHUNK_BYTES_MAX) / PAGE_BYTES * PAGE_BYTES;
        if self.held_bytes > 0 || chunk_bytes < 4 * PAGE_BYTES {
            return Ok(());
        }
        // The last ones come when they are needed, since shards differ.
        let chunks = record_bytes / lossless(chunk_bytes) / 16 * 15;
        for _ in 0..chunks {
            self.add_spare(chunk_bytes - ALLOCATION_HEADER_BYTES)?;
        }
        Ok(())
    }

    /// Makes sure that a record finds room, in memory that the system gave all at once: for chunks that are
    /// filled at once.
    #[inline]
    pub(super) fn reserve_populated(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        if self.has_room(bytes) {
            return Ok(());
        }
        self.reserve(std::iter::once(bytes))?;
        if let Some(spare) = self.spares.front_mut() {
            pkv_fs::populate_memory(spare.spare_capacity_mut());
        }
        Ok(())
    }

    #[inline]
    fn tail_room(&self) -> usize {
        self.tail.capacity() - self.tail.len()
    }

    /// A chunk of the size that fits what the shard holds, with room for a record of `record_bytes`.
    #[cold]
    #[inline(never)]
    fn add_spare(&mut self, record_bytes: usize) -> Result<(), OutOfMemory> {
        let ChunkSize { bytes, is_usual } = ChunkSize::new(self.held_bytes, record_bytes);
        let failed = |_| OutOfMemory { bytes: lossless(bytes) };
        // The number is given when the chunk becomes the tail; its place in the lists is made now.
        let numbers = self.full.len() + (self.spares.len() + 1).saturating_sub(self.unused_numbers);
        if numbers > CHUNKS_MAX {
            return Err(OutOfMemory { bytes: lossless(bytes) });
        }
        if numbers > self.full.capacity() {
            let more = numbers - self.full.len() + numbers / 8 + 3;
            self.full.try_reserve_exact(more).map_err(failed)?;
            self.dead_in.try_reserve_exact(more).map_err(failed)?;
        }
        self.spares.try_reserve(1).map_err(failed)?;
        // Two sizes in turn would throw the ready ones away again and again.
        let ready = is_usual.then(|| self.ready.take(bytes));
        let mut chunk = ready.flatten().unwrap_or_default();
        debug_assert!(chunk.capacity() <= CHUNK_BYTES_MAX, "offsets have 16 bits");
        chunk.try_reserve_exact(bytes).map_err(failed)?;
        self.held_bytes += lossless(chunk.capacity());
        self.spares.push_back(chunk);
        Ok(())
    }

    /// Stores a record in a free place of its exact length, else behind the last one.
    ///
    /// Without a [`Chunks::reserve`] before it, it may abort for want of memory.
    pub(super) fn store(&mut self, new: &NewRecord<'_>) -> Place {
        let bytes = new.bytes();
        let Some(place) = self.take_free(bytes) else { return self.append(new) };
        record::write(self.slot_mut(place, bytes), new.key, new.value, new.flags);
        self.live_bytes += lossless(bytes);
        place
    }

    /// Stores a record behind the last one.
    pub(super) fn append(&mut self, new: &NewRecord<'_>) -> Place {
        let bytes = new.bytes();
        self.append_with(bytes, |out| push_record_with_flags(out, new.key, new.value, new.flags))
    }

    /// Stores a record, whole and as it is encoded, behind the last one.
    pub(super) fn append_encoded(&mut self, encoded: &[u8]) -> Place {
        self.append_with(encoded.len(), |out| out.extend_from_slice(encoded))
    }

    #[inline]
    fn append_with(&mut self, bytes: usize, push: impl FnOnce(&mut Vec<u8>)) -> Place {
        if self.tail_room() < bytes {
            self.advance_tail(bytes);
        }
        self.live_bytes += lossless(bytes);
        let place = Place::new(self.tail_number, self.tail.len());
        push(&mut self.tail);
        debug_assert_eq!(self.tail.len(), place.offset_bytes() + bytes, "record_bytes");
        place
    }

    /// Turns what the tail has left over into a dead record, and the next spare chunk with room into the tail.
    #[cold]
    #[inline(never)]
    fn advance_tail(&mut self, bytes: usize) {
        while self.tail_room() < bytes {
            if self.spares.is_empty()
                && let Err(why) = self.add_spare(bytes)
            {
                unreachable!("a record was stored without room reserved for it: {why}");
            }
            self.close_tail();
            self.tail = self.spares.pop_front().unwrap_or_default();
            self.tail_number = self.new_number();
        }
    }

    fn close_tail(&mut self) {
        let number = self.tail_number;
        if number == NONE {
            return;
        }
        let start = self.tail.len();
        let left_over = self.tail_room() / WORD_BYTES * WORD_BYTES;
        if left_over > 0 {
            self.tail.resize(start + left_over, 0);
            if let Some(slot) = self.tail.get_mut(start..) {
                record::write_filler(slot);
            }
            self.add_dead(Place::new(number, start), left_over);
        }
        // As long as its capacity, so this does not move it.
        let full = std::mem::take(&mut self.tail).into_boxed_slice();
        if let Some(slot) = self.full.get_mut(index(number)) {
            *slot = full;
        }
    }

    fn new_number(&mut self) -> u32 {
        let number = self.unused;
        if let Some(dead_in) = self.dead_in.get_mut(index(number)) {
            self.unused = std::mem::take(dead_in);
            self.unused_numbers -= 1;
            return number;
        }
        self.full.push(Box::default());
        self.dead_in.push(0);
        u32::try_from(self.full.len() - 1).unwrap_or(NONE)
    }

    /// Overwrites the record at `place` with one of the same length.
    pub(super) fn overwrite(&mut self, place: Place, new: &NewRecord<'_>) {
        record::write(self.slot_mut(place, new.bytes()), new.key, new.value, new.flags);
    }

    /// Overwrites the value of the record at `place`, which has a key of this length, with one of the same length.
    #[inline]
    pub(super) fn overwrite_value(&mut self, place: Place, key_len: usize, value: &[u8]) {
        record::write_value(
            self.slot_mut(place, record_bytes(key_len, value.len())),
            key_len,
            value,
        );
    }

    /// Declares the record at `place` dead.
    pub(super) fn kill(&mut self, place: Place) {
        let bytes = self.record(place).bytes_used;
        self.live_bytes -= lossless(bytes);
        record::mark_dead(self.slot_mut(place, bytes));
        self.add_dead(place, bytes);
    }

    /// Moves a live record behind the last one. What is left is dead, in no free list.
    pub(super) fn relocate(&mut self, place: Place) -> Place {
        let bytes = self.record(place).bytes_used;
        if self.tail_room() < bytes {
            self.advance_tail(bytes);
        }
        debug_assert_ne!(place.chunk(), self.tail_number, "the tail is not cleaned");
        let new_place = Place::new(self.tail_number, self.tail.len());
        let start = place.offset_bytes();
        if let Some(slot) = self
            .full
            .get_mut(index(place.chunk()))
            .and_then(|chunk| chunk.get_mut(start..start + bytes))
        {
            self.tail.extend_from_slice(slot);
            record::mark_dead(slot);
        }
        self.dead_bytes += lossless(bytes);
        self.change_dead_in(place.chunk(), |dead| dead.saturating_add(bytes));
        new_place
    }

    fn add_dead(&mut self, place: Place, bytes: usize) {
        self.dead_bytes += lossless(bytes);
        self.change_dead_in(place.chunk(), |dead| dead.saturating_add(bytes));
        self.link(place, bytes);
    }

    fn change_dead_in(&mut self, chunk: u32, change: impl FnOnce(usize) -> usize) {
        if let Some(dead) = self.dead_in.get_mut(index(chunk)) {
            *dead = u32::try_from(change(index(*dead))).unwrap_or(u32::MAX);
        }
    }

    fn listed(bytes: usize) -> bool {
        (FREE_LIST_BYTES_MIN..=FREE_LIST_BYTES_MAX).contains(&bytes)
    }

    /// Puts a dead record in front of the free list of its length.
    fn link(&mut self, place: Place, bytes: usize) {
        if !Self::listed(bytes) {
            return;
        }
        let list = bytes / WORD_BYTES;
        self.set_links(place, bytes, Some(NONE), Some(NONE));
        if self.free_lists.len() <= list {
            // Without memory for the list's head the record stays for the cleaner.
            if self.free_lists.try_reserve_exact(list + 1 - self.free_lists.len()).is_err() {
                return;
            }
            self.free_lists.resize(list + 1, NONE);
        }
        let Some(head) = self.free_lists.get_mut(list) else { return };
        let next = std::mem::replace(head, place.0);
        self.set_links(place, bytes, None, Some(next));
        if next == NONE {
            self.set_free_length(list, true);
        } else {
            self.set_links(Place(next), bytes, Some(place.0), None);
        }
    }

    fn set_free_length(&mut self, list: usize, has_one: bool) {
        if let Some(bits) = self.free_lengths.get_mut(list / 64) {
            let bit = 1 << (list % 64);
            *bits = if has_one { *bits | bit } else { *bits & !bit };
        }
    }

    /// The shortest length, from `list` words on, that has a free record.
    fn free_length_from(&self, list: usize) -> Option<usize> {
        let first_bits = self.free_lengths.get(list / 64)? & (u64::MAX << (list % 64));
        let later = self.free_lengths.iter().copied().enumerate().skip(list / 64 + 1);
        std::iter::once((list / 64, first_bits))
            .chain(later)
            .find(|(_, bits)| *bits != 0)
            .map(|(word, bits)| word * 64 + index(bits.trailing_zeros()))
    }

    /// Takes a dead record out of the free list of its length.
    pub(super) fn unlink(&mut self, place: Place, bytes: usize) {
        if !Self::listed(bytes) {
            return;
        }
        let (previous, next) = links(self.slot_mut(place, bytes));
        if previous == NONE {
            let list = bytes / WORD_BYTES;
            match self.free_lists.get_mut(list) {
                Some(head) if *head == place.0 => *head = next,
                _ => return,
            }
            if next == NONE {
                self.set_free_length(list, false);
            }
        } else {
            self.set_links(Place(previous), bytes, None, Some(next));
        }
        if next != NONE {
            self.set_links(Place(next), bytes, Some(previous), None);
        }
    }

    /// Takes the front of the shortest free record that has room; the rest of it stays free.
    #[inline]
    fn take_free(&mut self, bytes: usize) -> Option<Place> {
        if self.free_lists.is_empty() { None } else { self.take_best(bytes) }
    }

    fn take_best(&mut self, bytes: usize) -> Option<Place> {
        let list = self.free_length_from(bytes / WORD_BYTES)?;
        let place = Place(*self.free_lists.get(list)?);
        let free_bytes = list * WORD_BYTES;
        self.unlink(place, free_bytes);
        self.dead_bytes -= lossless(free_bytes);
        self.change_dead_in(place.chunk(), |dead| dead.saturating_sub(free_bytes));
        if free_bytes > bytes {
            let rest = Place::new(place.chunk(), place.offset_bytes() + bytes);
            record::write_filler(self.slot_mut(rest, free_bytes - bytes));
            self.add_dead(rest, free_bytes - bytes);
        }
        Some(place)
    }

    fn set_links(&mut self, place: Place, bytes: usize, previous: Option<u32>, next: Option<u32>) {
        let slot = self.slot_mut(place, bytes);
        let start = bytes - 2 * LINK_BYTES;
        for (link, offset) in [(previous, start), (next, start + LINK_BYTES)] {
            if let Some(link) = link
                && let Some(bytes) = slot.get_mut(offset..).and_then(<[u8]>::first_chunk_mut)
            {
                *bytes = link.to_le_bytes();
            }
        }
    }

    /// The chunk with the most dead bytes for its size, of `looked_at` chunks from number `start` on; the
    /// tail and the spares are none.
    pub(super) fn most_dead(&self, start: usize, looked_at: usize) -> Option<u32> {
        let mut best = (0, None);
        let numbers = self.full.len();
        for position in (0..numbers).take(looked_at) {
            let number = (start + position) % numbers;
            let full = self.full.get(number).map_or(0, |chunk| chunk.len());
            if full > 0 {
                let dead = self.dead_in.get(number).map_or(0, |dead| index(*dead));
                // In 1/1024 of its size.
                let share = lossless(dead) * 1024 / lossless(full);
                if share > best.0 {
                    best = (share, u32::try_from(number).ok());
                }
            }
        }
        best.1
    }

    /// How many chunk numbers there are.
    pub(super) fn numbers(&self) -> usize {
        self.full.len()
    }

    /// Gives up a chunk in which all records are dead and in no free list.
    pub(super) fn release(&mut self, chunk: u32) -> Box<[u8]> {
        let Some(slot) = self.full.get_mut(index(chunk)) else { return Box::default() };
        let bytes = std::mem::take(slot);
        self.held_bytes -= lossless(bytes.len());
        if let Some(dead_in) = self.dead_in.get_mut(index(chunk)) {
            self.dead_bytes -= lossless(index(*dead_in));
            *dead_in = self.unused;
            self.unused = chunk;
            self.unused_numbers += 1;
        }
        bytes
    }
}

/// Reads the first two lines of a record, which begins here. What it returns means nothing, and is there so that the
/// reads are not left out.
#[inline]
pub(super) fn touch(record: &[u8]) -> u8 {
    let byte = |at| record.get(at).copied().unwrap_or(0);
    byte(0) ^ byte(LINE_BYTES)
}

/// The links of a dead record: the last 8 of its bytes.
fn links(slot: &[u8]) -> (u32, u32) {
    match slot.last_chunk::<{ 2 * LINK_BYTES }>() {
        Some([a, b, c, d, rest @ ..]) => {
            (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes(*rest))
        }
        None => (NONE, NONE),
    }
}

#[cfg(test)]
impl Chunks {
    /// Asserts that all sums are right, and returns how many live records there are. `cleaned_to`: dead
    /// records before it in its chunk are in no list any more.
    pub(super) fn verify(&self, cleaned_to: Option<Place>) -> usize {
        let (mut live, mut live_bytes, mut dead_bytes, mut listed) = (0, 0, 0, 0);
        for number in 0..self.full.len() {
            let number = u32::try_from(number).unwrap();
            let mut dead_in = 0;
            let mut next = self.first(number);
            while let Some(place) = next {
                let record = self.record(place);
                if record.flags & record::DEAD == 0 {
                    live += 1;
                    live_bytes += record.bytes_used;
                } else {
                    dead_in += record.bytes_used;
                    let cleaned =
                        cleaned_to.is_some_and(|to| to.chunk() == place.chunk() && place.0 < to.0);
                    listed += usize::from(Self::listed(record.bytes_used) && !cleaned);
                }
                next = self.next(place);
            }
            if !self.chunk(number).is_empty() {
                assert_eq!(index(self.dead_in[index(number)]), dead_in, "chunk {number}");
            }
            dead_bytes += dead_in;
        }
        assert_eq!(self.live_bytes, lossless(live_bytes));
        assert_eq!(self.dead_bytes, lossless(dead_bytes));
        let full: usize = self.full.iter().map(|chunk| chunk.len()).sum();
        let spare: usize = self.spares.iter().map(Vec::capacity).sum();
        assert_eq!(self.held_bytes, lossless(full + self.tail.capacity() + spare));
        for (list, head) in self.free_lists.iter().enumerate() {
            assert_eq!(*head != NONE, self.free_lengths[list / 64] >> (list % 64) & 1 == 1);
            let (mut previous, mut next) = (NONE, *head);
            while next != NONE {
                let place = Place(next);
                let record = self.record(place);
                assert_eq!(record.flags & record::DEAD, record::DEAD);
                assert_eq!(record.bytes_used, list * WORD_BYTES);
                let links = links(&self.bytes_at(place)[..record.bytes_used]);
                assert_eq!(links.0, previous);
                (previous, next) = (next, links.1);
                listed -= 1;
            }
        }
        assert_eq!(listed, 0, "dead records in no list");
        live
    }
}
