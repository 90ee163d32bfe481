//! Chunks whose memory is there before a writer comes.
//!
//! The first touch of a page of memory is a page fault, in which the system finds a page and clears it: a tenth of an
//! insert's time. So the thread that makes pages of the log ahead of the writer (`log/pages.rs`) makes some chunks, too. Who
//! finds none makes its own.

use super::chunk::{ALLOCATION_HEADER_BYTES, PAGE_BYTES};
use super::record::lossless;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// So many are ready: one thread that inserts without a pause finds one in 19 of 20 cases, and with six in 3 of 4.
const CHUNKS: usize = 10;
/// Smaller ones belong to a map that is small itself.
const BYTES_MIN: usize = 4 * PAGE_BYTES - ALLOCATION_HEADER_BYTES;

/// Chunks of large shards grow with them, and shards are not all of one size. So one is made with up to a 16th more room than
/// was wanted last, in whole pages, and is taken where it has up to twice as much more than is wanted then.
fn growth(wanted_bytes: usize) -> usize {
    wanted_bytes / 16 / PAGE_BYTES * PAGE_BYTES
}

fn is_fit(chunk: &Vec<u8>, wanted_bytes: usize) -> bool {
    (wanted_bytes..=wanted_bytes + 2 * growth(wanted_bytes)).contains(&chunk.capacity())
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
    chunks: Vec<Vec<u8>>,
    /// The size of the last chunk that was wanted.
    wanted_bytes: usize,
}

impl ReadyChunks {
    /// An empty chunk with room for so many bytes and not for many more, if one is ready.
    pub(super) fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut ready = self.ready.lock();
        ready.wanted_bytes = bytes;
        let at = ready.chunks.iter().position(|chunk| is_fit(chunk, bytes))?;
        let chunk = ready.chunks.swap_remove(at);
        self.held_bytes.fetch_sub(lossless(chunk.capacity()), Ordering::Relaxed);
        Some(chunk)
    }

    /// Makes one of the size that was wanted last, if not enough are ready, and frees those of another size. Returns whether it
    /// did. For a thread that nobody waits for.
    pub(super) fn make_one(&self) -> bool {
        let Some(bytes) = self.bytes_of_next() else { return false };
        let mut chunk = Vec::new();
        // One that is larger than asked for might be unfit, and be made again and again.
        if chunk.try_reserve_exact(bytes).is_err() || chunk.capacity() > bytes {
            return false;
        }
        pkv_fs::populate_memory(chunk.spare_capacity_mut());
        self.held_bytes.fetch_add(lossless(chunk.capacity()), Ordering::Relaxed);
        self.ready.lock().chunks.push(chunk);
        true
    }

    /// How large the next one is to be, if there are not enough.
    fn bytes_of_next(&self) -> Option<usize> {
        let mut ready = self.ready.lock();
        let wanted_bytes = ready.wanted_bytes;
        let (fit, unfit): (Vec<_>, Vec<_>) = std::mem::take(&mut ready.chunks)
            .into_iter()
            .partition(|chunk| wanted_bytes >= BYTES_MIN && is_fit(chunk, wanted_bytes));
        ready.chunks = fit;
        let is_enough = wanted_bytes < BYTES_MIN || ready.chunks.len() >= CHUNKS;
        drop(ready);
        let unfit_bytes = unfit.iter().map(|chunk| lossless(chunk.capacity())).sum();
        self.held_bytes.fetch_sub(unfit_bytes, Ordering::Relaxed);
        (!is_enough).then_some(wanted_bytes + growth(wanted_bytes))
    }

    /// The memory of the chunks that are ready.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(ready: &ReadyChunks) {
        assert!((0..CHUNKS).all(|_| ready.make_one()));
        assert!(!ready.make_one(), "enough are ready");
    }

    #[test]
    fn a_chunk_is_ready_for_who_wants_one_of_its_size() {
        let ready = ReadyChunks::default();
        assert_eq!(ready.take(BYTES_MIN), None);
        // What a chunk has: whole pages less the header of an allocation; and any other size.
        for wanted_bytes in [BYTES_MIN, 18 * PAGE_BYTES - 32, 70_000, (1 << 18) - 32] {
            assert_eq!(ready.take(wanted_bytes), None, "of another size");
            make(&ready);
            let held = ready.held_bytes();
            for left in (0..CHUNKS).rev() {
                let chunk = ready.take(wanted_bytes).unwrap();
                assert!(chunk.is_empty());
                assert!(chunk.capacity() >= wanted_bytes);
                assert!(chunk.capacity() <= wanted_bytes + wanted_bytes / 16);
                assert_eq!(ready.held_bytes(), held / lossless(CHUNKS) * lossless(left));
            }
            assert_eq!(ready.take(wanted_bytes), None);
            make(&ready);
            if growth(wanted_bytes) > 0 {
                assert!(ready.take(wanted_bytes + PAGE_BYTES).is_some(), "of a larger shard");
                assert!(ready.take(wanted_bytes - PAGE_BYTES).is_some(), "of a smaller one");
            }
            // What is of no use any more is freed.
            assert_eq!(ready.take(wanted_bytes * 2), None);
            assert_eq!(ready.take(BYTES_MIN / 2), None);
            assert!(!ready.make_one());
            assert_eq!(ready.held_bytes(), 0);
        }
    }
}
