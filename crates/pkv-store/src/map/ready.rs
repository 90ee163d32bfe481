//! Chunks whose memory is there before a writer comes.
//!
//! The first touch of a page of memory is a page fault, in which the system finds a page and clears it: a tenth of an
//! insert's time. So the thread that makes pages of the log ahead of the writer (`log/pages.rs`) makes some chunks, too. Who
//! finds none makes its own.

use super::chunk::{ALLOCATION_HEADER_BYTES, CHUNK_BYTES_MAX, PAGE_BYTES};
use super::record::lossless;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// So many are ready: one thread that inserts without a pause finds one in 19 of 20 cases, and with six in 3 of 4.
const CHUNKS: usize = 10;
/// Smaller ones belong to a map that is small itself.
const BYTES_MIN: usize = 4 * PAGE_BYTES - ALLOCATION_HEADER_BYTES;

/// Chunks of large shards grow with them, and shards are not all of one size. So one is made with up to a 16th more room than
/// was wanted last, in whole pages.
fn bytes_for(wanted_bytes: usize) -> usize {
    let bytes = wanted_bytes + wanted_bytes / 16 / PAGE_BYTES * PAGE_BYTES;
    bytes.min(CHUNK_BYTES_MAX - ALLOCATION_HEADER_BYTES).max(wanted_bytes)
}

/// Whether a chunk has the room that is wanted, and not much more: an 8th, or a page.
fn is_fit(chunk: &Vec<u8>, wanted_bytes: usize) -> bool {
    let bytes_max = wanted_bytes + (wanted_bytes / 8).max(PAGE_BYTES);
    (wanted_bytes..=bytes_max.min(CHUNK_BYTES_MAX)).contains(&chunk.capacity())
}

/// What all shards of a map take their chunks from.
#[derive(Debug, Default)]
pub(crate) struct ReadyChunks {
    ready: Mutex<Ready>,
    /// What the chunks hold, to be read without the lock.
    held_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Ready {
    /// Those that are there have a capacity.
    chunks: [Vec<u8>; CHUNKS],
    /// The size of the last chunk that was wanted.
    wanted_bytes: usize,
}

impl Ready {
    fn take(&mut self, is_taken: impl Fn(&Vec<u8>) -> bool) -> Option<Vec<u8>> {
        self.chunks.iter_mut().find(|chunk| is_taken(chunk)).map(std::mem::take)
    }
}

impl ReadyChunks {
    /// An empty chunk with room for so many bytes and not for many more, if one is ready.
    pub(super) fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut ready = self.ready.lock();
        ready.wanted_bytes = bytes;
        let chunk = ready.take(|chunk| is_fit(chunk, bytes))?;
        drop(ready);
        self.held_bytes.fetch_sub(lossless(chunk.capacity()), Ordering::Relaxed);
        Some(chunk)
    }

    /// Makes one of the size that was wanted last, in the place of one of another size where there is one, unless all are there.
    /// Returns whether it did. For a thread that nobody waits for, and for one alone.
    pub(super) fn make_one(&self) -> bool {
        let mut ready = self.ready.lock();
        let wanted_bytes = ready.wanted_bytes;
        let has_room = ready.chunks.iter().any(|chunk| chunk.capacity() == 0);
        let is_unfit = |chunk: &Vec<u8>| chunk.capacity() > 0 && !is_fit(chunk, wanted_bytes);
        let unfit = ready.take(is_unfit);
        // Freed, and memory asked for, with nothing locked that a writer waits for.
        drop(ready);
        if let Some(unfit) = &unfit {
            self.held_bytes.fetch_sub(lossless(unfit.capacity()), Ordering::Relaxed);
        }
        if wanted_bytes < BYTES_MIN || !has_room && unfit.is_none() {
            return false;
        }
        drop(unfit);
        let mut chunk = Vec::new();
        // One that is not as asked for might be unfit, and be made again and again.
        if chunk.try_reserve_exact(bytes_for(wanted_bytes)).is_err()
            || !is_fit(&chunk, wanted_bytes)
        {
            return false;
        }
        pkv_fs::populate_memory(chunk.spare_capacity_mut());
        let mut ready = self.ready.lock();
        let Some(place) = ready.chunks.iter_mut().find(|chunk| chunk.capacity() == 0) else {
            return false;
        };
        // Counted first, so that it is never taken off what was not added.
        self.held_bytes.fetch_add(lossless(chunk.capacity()), Ordering::Relaxed);
        *place = chunk;
        true
    }

    /// Frees all, and makes no more until some are wanted.
    pub(super) fn clear(&self) {
        let chunks = std::mem::take(&mut *self.ready.lock()).chunks;
        let bytes = chunks.iter().map(|chunk| lossless(chunk.capacity())).sum();
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The memory of the chunks that are ready.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes all that are to be ready.
    fn make(ready: &ReadyChunks) {
        // In the places of those of another size.
        assert!((0..CHUNKS).all(|_| ready.make_one()));
        assert!(!ready.make_one(), "all are there");
    }

    #[test]
    fn a_chunk_is_ready_for_who_wants_one_of_its_size() {
        let ready = ReadyChunks::default();
        assert_eq!(ready.take(BYTES_MIN), None);
        // What a chunk has: whole pages less the header of an allocation; and other sizes.
        for wanted_bytes in [BYTES_MIN, 18 * PAGE_BYTES - 32, 100_000, CHUNK_BYTES_MAX - 32] {
            assert_eq!(ready.take(wanted_bytes), None, "of another size");
            make(&ready);
            let held = ready.held_bytes();
            for left in (0..CHUNKS).rev() {
                let chunk = ready.take(wanted_bytes).unwrap();
                assert!(chunk.is_empty());
                assert!(chunk.capacity() >= wanted_bytes);
                assert!(chunk.capacity() <= wanted_bytes + wanted_bytes / 16);
                // Places in a larger one would be those of another chunk.
                assert!(chunk.capacity() <= CHUNK_BYTES_MAX);
                assert_eq!(ready.held_bytes(), held / lossless(CHUNKS) * lossless(left));
            }
            assert_eq!(ready.take(wanted_bytes), None);
            make(&ready);
            assert!(ready.take(wanted_bytes - PAGE_BYTES).is_some(), "of a smaller shard");
            assert_eq!(ready.take(CHUNK_BYTES_MAX * 2), None);
            assert!(!ready.make_one(), "no chunk is as large");
            assert_eq!(ready.take(wanted_bytes / 2), None, "all have twice as much");
        }
        // What is of no use any more is freed.
        assert_eq!(ready.take(BYTES_MIN / 4), None);
        (0..CHUNKS).for_each(|_| assert!(!ready.make_one()));
        assert_eq!(ready.held_bytes(), 0);
        assert_eq!(ready.take(BYTES_MIN), None);
        make(&ready);
        ready.clear();
        assert_eq!(ready.held_bytes(), 0);
        assert!(!ready.make_one(), "nobody wants one");
    }
}
