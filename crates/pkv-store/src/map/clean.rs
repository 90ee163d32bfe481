//! Winning back dead space in bounded steps: each write moves a few live records out of the chunk with
//! the most dead bytes, and the chunk is given up when it has none left.
//!
//! Only sets that change a record's length and removes leave dead space, and most of it is taken again
//! through the free lists. The cleaner starts where a fourteenth of a shard is not live. A call moves at most
//! [`STEP_BYTES_MAX`] and one record.

use super::chunk::Place;
use super::record::{DEAD, lossless};
use super::shard::Shard;

/// Below this share of dead bytes it never works.
const DEAD_SHARE_MIN: u64 = 32;
/// Below this many of them, too.
const DEAD_BYTES_MIN: u64 = 1 << 10;
/// Which share of the held bytes is not live, dead or room behind the last record, and how many bytes the
/// cleaner moves then for each written one. The more is dead, the harder it works: where a twelfth is,
/// a chunk costs 5 times what it wins.
const WORK: [(u64, u64); 3] = [(12, 16), (13, 8), (14, 4)];
/// Work is saved up to so much, since single records are not worth it.
const STEP_BYTES_MIN: u64 = 4 << 10;
/// The most that one call moves, and one record.
const STEP_BYTES_MAX: u64 = 64 << 10;
/// What looking at a dead record counts as.
const DEAD_RECORD_COST: u64 = 32;
/// How many chunks are looked at to find the worst.
const CHUNKS_LOOKED_AT: usize = 1024;

/// Where the cleaner is.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// The next record to look at in the chunk that is being emptied.
    next: Option<Place>,
    /// Where to begin to look for the next chunk, where there are too many to look at all.
    search_from: usize,
    /// Bytes it may move.
    credit_bytes: u64,
    /// Bytes it has moved, ever.
    moved_bytes: u64,
}

impl Cleaner {
    /// Bytes that it has moved, ever.
    pub(super) fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }
}

impl Shard {
    /// A step of cleaning for so many written bytes; returns the chunk that it emptied.
    #[inline]
    pub(super) fn clean(&mut self, written_bytes: usize) -> Box<[u8]> {
        let (dead, held) = (self.chunks.dead_bytes(), self.chunks.held_bytes());
        if dead * DEAD_SHARE_MIN < held || dead < DEAD_BYTES_MIN {
            return Box::default();
        }
        let waste = held - self.chunks.live_bytes();
        let Some((_, factor)) = WORK.iter().find(|(share, _)| waste * share >= held) else {
            return Box::default();
        };
        let cleaner = &mut self.cleaner;
        cleaner.credit_bytes += lossless(written_bytes) * factor;
        if cleaner.credit_bytes < STEP_BYTES_MIN { Box::default() } else { self.clean_step() }
    }

    #[cold]
    #[inline(never)]
    fn clean_step(&mut self) -> Box<[u8]> {
        let mut credit_bytes = std::mem::take(&mut self.cleaner.credit_bytes).min(STEP_BYTES_MAX);
        while credit_bytes > 0 {
            let Some(place) = self.cleaner.next.or_else(|| self.next_victim()) else { break };
            let record = self.chunks.record(place);
            let (bytes, is_dead) = (record.bytes_used, record.flags & DEAD != 0);
            let next = self.chunks.next(place);
            if is_dead {
                self.chunks.unlink(place, bytes);
                credit_bytes = credit_bytes.saturating_sub(DEAD_RECORD_COST);
            } else {
                // Without memory for a new chunk there is nothing to win now.
                if self.chunks.reserve(std::iter::once(bytes)).is_err() {
                    break;
                }
                self.relocate(place);
                self.cleaner.moved_bytes += lossless(bytes);
                credit_bytes = credit_bytes.saturating_sub(lossless(bytes));
            }
            self.cleaner.next = next;
            if next.is_none() {
                return self.chunks.release(place.chunk());
            }
        }
        Box::default()
    }

    fn next_victim(&mut self) -> Option<Place> {
        let numbers = self.chunks.numbers();
        let from = if self.cleaner.search_from < numbers { self.cleaner.search_from } else { 0 };
        self.cleaner.search_from = from + CHUNKS_LOOKED_AT;
        self.chunks.most_dead(from, CHUNKS_LOOKED_AT).and_then(|chunk| self.chunks.first(chunk))
    }

    fn relocate(&mut self, place: Place) {
        let hash = self.hasher.hash(self.chunks.record(place).key);
        let (bucket, tag) = self.buckets.bucket_of_mut(hash);
        match bucket.table.locate(tag, place.0) {
            Some(found) => bucket.table.set_place(found, self.chunks.relocate(place).0),
            None => unreachable!("a live record is in no bucket"),
        }
    }
}

#[cfg(test)]
impl Shard {
    /// Asserts that records, index and sums agree.
    pub(super) fn verify(&self) {
        self.buckets.verify(&self.chunks, &|key| self.hasher.hash(key));
        let live = self.chunks.verify(self.cleaner.next);
        assert_eq!(self.entries(), lossless(live));
        let indexed: usize = self.buckets.iter().map(|bucket| bucket.table.len()).sum();
        assert_eq!(indexed, live);
    }
}
