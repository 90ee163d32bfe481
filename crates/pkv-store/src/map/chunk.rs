//! Where a shard keeps its records: packed one behind the other in chunks that are never resized.
//!
//! - A reference is 32 bits: the chunk's number and the record's offset in 4-byte words. So a chunk has
//!   at most 256 KiB, and a shard at most 65,536 chunks.
//! - A new chunk has a 32nd part of what the shard holds already (1 to 256 KiB): what the tail has left
//!   over is 1.6 % on average at any size, and no write ever copies a chunk to grow it.
//! - A dead record is linked into the free list of its exact length, from where the next record of that
//!   length takes it; the links stand in the dead record itself. What the lists do not win back, the
//!   cleaner does (`clean.rs`).

use std::collections::VecDeque;

use pkv_format::{Record, push_record_with_flags, record_bytes};

use super::OutOfMemory;
use super::record::{self, WORD_BYTES, index, lossless};

/// The 16 bits of an offset, in words.
const CHUNK_BYTES_MAX: usize = (1 << 16) * WORD_BYTES;
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// The tail has half of a chunk left over on average.
const CHUNK_SHARE: u64 = 32;
const CHUNKS_MAX: usize = 1 << 16;
/// Chunks from here on end where the allocator's page does, with its header.
const PAGE_BYTES: usize = 4096;
const ALLOCATION_HEADER_BYTES: usize = 32;

/// Longer dead records are rare and left to the cleaner.
const FREE_LIST_BYTES_MAX: usize = 1280;
/// A header of two bytes and two links.
const FREE_LIST_BYTES_MIN: usize = 12;
const LINK_BYTES: usize = 4;
const NONE: u32 = u32::MAX;

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

/// Records up to the vector's length; its capacity is never exceeded and never changed.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Dead records in it. Of an unused number: the next unused number.
    dead_bytes: u32,
}

/// The records of one shard.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Vec<Chunk>,
    /// The chunk that takes new records; `NONE` before the first.
    tail: u32,
    /// Empty chunks for records that were promised room, in the order of their use.
    spares: VecDeque<u32>,
    /// Numbers of freed chunks.
    unused: u32,
    /// The first dead record of each length, by words.
    free_lists: Vec<u32>,
    held_bytes: u64,
    dead_bytes: u64,
    live_bytes: u64,
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks {
            chunks: Vec::new(),
            tail: NONE,
            spares: VecDeque::new(),
            unused: NONE,
            free_lists: Vec::new(),
            held_bytes: 0,
            dead_bytes: 0,
            live_bytes: 0,
        }
    }
}

impl Chunks {
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
            self.chunks.capacity() * size_of::<Chunk>()
                + self.free_lists.capacity() * size_of::<u32>(),
        )
    }

    /// The record's bytes and all that is behind them in its chunk.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "places are made here, in bounds; the hot path of a get"
    )]
    fn bytes_at(&self, place: Place) -> &[u8] {
        &self.chunks[index(place.chunk())].bytes[place.offset_bytes()..]
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "places are made here, in bounds")]
    fn slot_mut(&mut self, place: Place, bytes: usize) -> &mut [u8] {
        let start = place.offset_bytes();
        &mut self.chunks[index(place.chunk())].bytes[start..start + bytes]
    }

    /// The record at `place`.
    #[inline]
    pub(super) fn record(&self, place: Place) -> Record<'_> {
        record::decode(self.bytes_at(place))
    }

    /// The record at `place` as it is encoded.
    #[inline]
    pub(super) fn encoded(&self, place: Place) -> &[u8] {
        let bytes = self.bytes_at(place);
        bytes.get(..record::decode(bytes).bytes_used).unwrap_or(bytes)
    }

    /// Is the record behind `place` within its chunk? `None` at the chunk's end.
    pub(super) fn next(&self, place: Place) -> Option<Place> {
        let end = place.offset_bytes() + self.record(place).bytes_used;
        self.place_in(place.chunk(), end)
    }

    /// The first record of a chunk.
    pub(super) fn first(&self, chunk: u32) -> Option<Place> {
        self.place_in(chunk, 0)
    }

    fn place_in(&self, chunk: u32, offset_bytes: usize) -> Option<Place> {
        let end = self.chunks.get(index(chunk))?.bytes.len();
        (offset_bytes < end).then(|| Place::new(chunk, offset_bytes))
    }

    /// Makes sure that records of these lengths, stored in this order, find room.
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
                room = self.spares.get(spare).map_or(0, |chunk| self.room(*chunk));
                spare += 1;
            }
            room -= bytes;
        }
        Ok(())
    }

    fn tail_room(&self) -> usize {
        self.room(self.tail)
    }

    fn room(&self, chunk: u32) -> usize {
        self.chunks
            .get(index(chunk))
            .map_or(0, |c| c.bytes.capacity().min(CHUNK_BYTES_MAX) - c.bytes.len())
    }

    /// A chunk of the size that fits what the shard holds, with room for a record of `record_bytes`.
    fn add_spare(&mut self, record_bytes: usize) -> Result<(), OutOfMemory> {
        let target = usize::try_from(self.held_bytes / CHUNK_SHARE).unwrap_or(CHUNK_BYTES_MAX);
        let target = target.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let bytes = if target >= 4 * PAGE_BYTES {
            (target / PAGE_BYTES * PAGE_BYTES - ALLOCATION_HEADER_BYTES).max(record_bytes)
        } else {
            // So that records of one length leave nothing over.
            target.div_ceil(record_bytes.max(1)) * record_bytes
        };
        let failed = |_| OutOfMemory { bytes: lossless(bytes) };
        let mut vec = Vec::new();
        vec.try_reserve_exact(bytes).map_err(failed)?;
        self.spares.try_reserve(1).map_err(failed)?;
        let chunk = Chunk { bytes: vec, dead_bytes: 0 };
        let number = if let Some(slot) = self.chunks.get_mut(index(self.unused)) {
            let number = self.unused;
            self.unused = slot.dead_bytes;
            *slot = chunk;
            number
        } else {
            let number = u32::try_from(self.chunks.len()).unwrap_or(NONE);
            if self.chunks.len() == CHUNKS_MAX {
                return Err(OutOfMemory { bytes: lossless(bytes) });
            }
            if self.chunks.len() == self.chunks.capacity() {
                self.chunks.try_reserve_exact(self.chunks.len() / 8 + 4).map_err(failed)?;
            }
            self.chunks.push(chunk);
            number
        };
        self.held_bytes += lossless(self.room(number));
        self.spares.push_back(number);
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
        let tail = self.tail;
        match self.chunks.get_mut(index(tail)) {
            Some(chunk) => {
                let offset_bytes = chunk.bytes.len();
                push(&mut chunk.bytes);
                debug_assert_eq!(chunk.bytes.len(), offset_bytes + bytes, "record_bytes");
                Place::new(tail, offset_bytes)
            }
            None => unreachable!("the tail was just made"),
        }
    }

    /// Turns what the tail has left over into a dead record, and the next spare chunk with room into the tail.
    #[cold]
    fn advance_tail(&mut self, bytes: usize) {
        while self.tail_room() < bytes {
            let left_over = self.tail_room() / WORD_BYTES * WORD_BYTES;
            if left_over > 0
                && let Some(chunk) = self.chunks.get_mut(index(self.tail))
            {
                let start = chunk.bytes.len();
                chunk.bytes.resize(start + left_over, 0);
                let place = Place::new(self.tail, start);
                record::write_filler(self.slot_mut(place, left_over));
                self.add_dead(place, left_over);
            }
            if self.spares.is_empty()
                && let Err(why) = self.add_spare(bytes)
            {
                unreachable!("a record was stored without room reserved for it: {why}");
            }
            self.tail = self.spares.pop_front().unwrap_or(NONE);
        }
    }

    /// Overwrites the record at `place` with one of the same length.
    pub(super) fn overwrite(&mut self, place: Place, new: &NewRecord<'_>) {
        record::write(self.slot_mut(place, new.bytes()), new.key, new.value, new.flags);
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
        let tail = self.tail;
        debug_assert_ne!(place.chunk(), tail, "the tail is not cleaned");
        // The tail's bytes are taken out for a moment, so that both chunks can be borrowed.
        let mut to = self.take_bytes(tail);
        let new_place = Place::new(tail, to.len());
        to.extend_from_slice(self.encoded(place));
        if let Some(chunk) = self.chunks.get_mut(index(tail)) {
            chunk.bytes = to;
        }
        record::mark_dead(self.slot_mut(place, bytes));
        self.dead_bytes += lossless(bytes);
        self.change_dead_of(place.chunk(), |dead| dead.saturating_add(bytes));
        new_place
    }

    fn take_bytes(&mut self, chunk: u32) -> Vec<u8> {
        match self.chunks.get_mut(index(chunk)) {
            Some(chunk) => std::mem::take(&mut chunk.bytes),
            None => unreachable!("a chunk number without a chunk"),
        }
    }

    fn add_dead(&mut self, place: Place, bytes: usize) {
        self.dead_bytes += lossless(bytes);
        self.change_dead_of(place.chunk(), |dead| dead.saturating_add(bytes));
        self.link(place, bytes);
    }

    fn change_dead_of(&mut self, chunk: u32, change: impl FnOnce(usize) -> usize) {
        if let Some(chunk) = self.chunks.get_mut(index(chunk)) {
            chunk.dead_bytes = u32::try_from(change(index(chunk.dead_bytes))).unwrap_or(u32::MAX);
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
        if next != NONE {
            self.set_links(Place(next), bytes, Some(place.0), None);
        }
    }

    /// Takes a dead record out of the free list of its length.
    pub(super) fn unlink(&mut self, place: Place, bytes: usize) {
        if !Self::listed(bytes) {
            return;
        }
        let (previous, next) = self.links(place, bytes);
        if previous == NONE {
            match self.free_lists.get_mut(bytes / WORD_BYTES) {
                Some(head) if *head == place.0 => *head = next,
                _ => return,
            }
        } else {
            self.set_links(Place(previous), bytes, None, Some(next));
        }
        if next != NONE {
            self.set_links(Place(next), bytes, Some(previous), None);
        }
    }

    fn take_free(&mut self, bytes: usize) -> Option<Place> {
        let head = *self.free_lists.get(bytes / WORD_BYTES)?;
        if head == NONE {
            return None;
        }
        let place = Place(head);
        self.unlink(place, bytes);
        self.dead_bytes -= lossless(bytes);
        self.change_dead_of(place.chunk(), |dead| dead.saturating_sub(bytes));
        Some(place)
    }

    /// The links of a dead record: the last 8 of its bytes.
    fn links(&mut self, place: Place, bytes: usize) -> (u32, u32) {
        match self.slot_mut(place, bytes).last_chunk::<{ 2 * LINK_BYTES }>() {
            Some([a, b, c, d, rest @ ..]) => {
                (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes(*rest))
            }
            None => (NONE, NONE),
        }
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
        let (before, from) = self.chunks.split_at_checked(start)?;
        for (position, chunk) in from.iter().chain(before).enumerate().take(looked_at) {
            let number = u32::try_from((start + position) % self.chunks.len()).ok()?;
            let full = chunk.bytes.len();
            if full == 0 || number == self.tail {
                continue;
            }
            // In 1/1024 of its size.
            let share = lossless(index(chunk.dead_bytes)) * 1024 / lossless(full);
            if share > best.0 {
                best = (share, Some(number));
            }
        }
        best.1
    }

    /// How many chunk numbers there are.
    pub(super) fn numbers(&self) -> usize {
        self.chunks.len()
    }

    /// Gives up a chunk in which all records are dead and in no free list.
    pub(super) fn release(&mut self, chunk: u32) -> Vec<u8> {
        let bytes = self.take_bytes(chunk);
        self.held_bytes -= lossless(bytes.capacity());
        if let Some(slot) = self.chunks.get_mut(index(chunk)) {
            self.dead_bytes -= lossless(index(slot.dead_bytes));
            slot.dead_bytes = self.unused;
            self.unused = chunk;
        }
        bytes
    }
}
