//! Large values whose memory is there before a writer comes.
//!
//! A large value is an allocation of its own, and the first touch of its pages is a page fault each: half of the time that
//! inserting one of 4 KiB took. So where they come in one length, as blocks, tiles and vectors do, the thread that makes chunks
//! (`ready.rs`) makes some of these, too, and one that was replaced, and that nobody else holds any more, is filled
//! again. Who finds none makes its own.

use std::sync::Arc;

use super::record::lossless;
use super::value;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// All that are ready together: what is written while the thread that makes them makes pages of the log.
const BYTES_MAX: usize = 256 * 1024;
/// A length that comes so often in a row is the one that is made ready.
const IN_A_ROW: usize = 8;
/// Longer ones are few, and take memory that the allocator returns to the system when they go.
const EACH_BYTES_MAX: usize = 64 * 1024;
/// So much is made at a time: pages of the log come first, and are asked for in between.
const PIECE_BYTES: usize = 16 * 1024;
/// The two counters of a shared allocation, the header that the allocator puts before it, and what rounds it up.
const VALUE_OVERHEAD_BYTES: usize = 48;

/// What all shards of a map take large values from.
#[derive(Debug, Default)]
pub(super) struct ReadyValues {
    ready: Mutex<Ready>,
    /// What the values hold, to be read without the lock.
    held_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Ready {
    /// The last that came back is the next that is taken: its memory may still be in a cache.
    values: Vec<Arc<[u8]>>,
    /// The length of each; 0: of none yet.
    len: usize,
    /// How many of this length were wanted; counted up to [`Ready::count_max`].
    wanted: usize,
    /// The length that was wanted last, and how often in a row.
    last_len: usize,
    in_a_row: usize,
    /// Values of the length before, to be freed by who holds no other lock.
    unfit: Vec<Arc<[u8]>>,
}

impl Ready {
    fn count_max(&self) -> usize {
        BYTES_MAX.checked_div(self.len).unwrap_or(0)
    }

    /// Notes that this length is wanted, and returns whether it is the one that is made ready. One that comes [`IN_A_ROW`] times in a row
    /// is from then on: where lengths change with each value nothing is made and nothing kept. (Two that come in turns of more
    /// than that throw each other's away.)
    fn want(&mut self, len: usize) -> bool {
        self.in_a_row = if len == self.last_len { IN_A_ROW.min(self.in_a_row + 1) } else { 1 };
        self.last_len = len;
        if len == self.len {
            self.wanted = self.count_max().min(self.wanted + 1);
        } else if self.in_a_row == IN_A_ROW {
            self.len = len;
            self.wanted = 0;
            if self.unfit.is_empty() {
                self.unfit = std::mem::take(&mut self.values);
            } else {
                self.unfit.append(&mut self.values);
            }
        }
        len == self.len
    }
}

impl ReadyValues {
    /// A copy of a value in memory that is ready, if there is some of its length.
    pub(super) fn copy(&self, value: &[u8]) -> Option<Arc<[u8]>> {
        if value.len() > EACH_BYTES_MAX {
            return None;
        }
        let mut ready = self.ready.lock();
        let taken = if ready.want(value.len()) { ready.values.pop() } else { None };
        drop(ready);
        let mut taken = taken?;
        self.forget(std::slice::from_ref(&taken));
        Arc::get_mut(&mut taken)?.copy_from_slice(value);
        Some(taken)
    }

    /// Takes a value that was replaced or removed, to be filled again, where it is of the length that is wanted and nobody else
    /// holds it. Called with no shard locked: else it is freed here.
    pub(super) fn give_back(&self, mut value: Arc<[u8]>) {
        if value.len() > EACH_BYTES_MAX || Arc::get_mut(&mut value).is_none() {
            return;
        }
        drop(self.keep(value));
        self.free_unfit();
    }

    /// Makes some of the length that is wanted, up to as many as were wanted so far. Returns whether it did. For a thread that
    /// nobody waits for.
    pub(super) fn make_some(&self) -> bool {
        self.free_unfit();
        let ready = self.ready.lock();
        let (len, wanted) = (ready.len, ready.wanted.saturating_sub(ready.values.len()));
        drop(ready);
        let count = wanted.min(PIECE_BYTES.checked_div(len).unwrap_or(0).max(1));
        // The heap of a thread of its own grows by a system call for each allocation that finds no room in it (glibc), of which
        // this makes one for all: a sixth of this thread's time went there.
        if value::try_allocate(count * (len + VALUE_OVERHEAD_BYTES)).is_err() {
            return false;
        }
        let mut made = false;
        for _ in 0..count {
            if self.keep(std::iter::repeat_n(0, len).collect()).is_err() {
                break;
            }
            made = true;
        }
        made
    }

    /// Frees all, and makes none until some are wanted.
    pub(super) fn clear(&self) {
        let ready = std::mem::take(&mut *self.ready.lock());
        self.forget(&ready.values);
        self.forget(&ready.unfit);
    }

    /// Frees what is of no use any more. With no lock held: some of it may be another thread's memory.
    fn free_unfit(&self) {
        let unfit = std::mem::take(&mut self.ready.lock().unfit);
        self.forget(&unfit);
    }

    /// The memory of the values that are ready.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Keeps one of the length that is wanted, unless enough are there; else returns it, to be freed with nothing locked.
    fn keep(&self, value: Arc<[u8]>) -> Result<(), Arc<[u8]>> {
        let mut ready = self.ready.lock();
        let is_wanted = value.len() == ready.len && ready.values.len() < ready.count_max();
        if !is_wanted || ready.values.try_reserve(1).is_err() {
            return Err(value);
        }
        // Counted first, so that it is never taken off what was not added.
        self.held_bytes.fetch_add(lossless(value.len()), Ordering::Relaxed);
        ready.values.push(value);
        Ok(())
    }

    fn forget(&self, values: &[Arc<[u8]>]) {
        if !values.is_empty() {
            let bytes = values.iter().map(|value| lossless(value.len())).sum();
            self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(byte: u8, len: usize) -> Vec<u8> {
        vec![byte; len]
    }

    /// How many copies find memory that is ready, of as many as are tried.
    fn ready_of(ready: &ReadyValues, len: usize, tries: usize) -> usize {
        (0..tries).filter(|_| ready.copy(&value(7, len)).is_some()).count()
    }

    #[test]
    fn a_length_that_comes_again_and_again_is_made_ready_and_no_more_than_were_wanted() {
        let ready = ReadyValues::default();
        assert!(!ready.make_some(), "none was wanted");
        for len in [2000, 4096, 30_000, EACH_BYTES_MAX] {
            assert_eq!(ready_of(&ready, len, IN_A_ROW), 0, "the first ones");
            assert!(!ready.make_some());
            assert_eq!(ready_of(&ready, len, 3), 0);
            let mut pieces = 0;
            while ready.make_some() {
                pieces += 1;
            }
            assert_eq!(pieces, 3_usize.div_ceil((PIECE_BYTES / len).max(1)), "{len}");
            assert_eq!(ready.held_bytes(), lossless(3 * len));
            let copy = ready.copy(&value(9, len)).unwrap();
            assert_eq!(*copy, *value(9, len));
            assert_eq!(ready.held_bytes(), lossless(2 * len));
            assert_eq!(ready_of(&ready, len, 5), 2);
            assert_eq!(ready.held_bytes(), 0);
            while ready.make_some() {}
            // All that is ready goes when another length comes.
            assert!(ready.held_bytes() >= lossless(4 * len).min(lossless(BYTES_MAX)));
        }
        ready.clear();
        assert_eq!(ready.held_bytes(), 0);
        assert!(!ready.make_some());
    }

    #[test]
    fn there_are_never_more_than_their_bound() {
        let ready = ReadyValues::default();
        ready_of(&ready, 3000, 1000);
        while ready.make_some() {}
        let full = ready.held_bytes();
        assert_eq!(full, lossless(BYTES_MAX / 3000 * 3000));
        ready.give_back(Arc::from(value(1, 3000)));
        assert_eq!(ready.held_bytes(), full);
        assert_eq!(ready_of(&ready, EACH_BYTES_MAX + 1, 3), 0);
        while ready.make_some() {}
        assert_eq!(ready.held_bytes(), full, "of longer ones none is ready");
    }

    #[test]
    fn one_that_was_replaced_is_filled_again_unless_somebody_holds_it() {
        let ready = ReadyValues::default();
        ready.give_back(Arc::from(value(1, 2000)));
        assert_eq!(ready_of(&ready, 2000, IN_A_ROW), 0, "nobody had wanted that length");
        ready.give_back(Arc::from(value(1, 2000)));
        ready.give_back(Arc::from(value(1, 2001)));
        assert_eq!(ready.held_bytes(), 2000);
        assert_eq!(*ready.copy(&value(2, 2000)).unwrap(), *value(2, 2000));
        let held: Arc<[u8]> = Arc::from(value(1, 2000));
        ready.give_back(Arc::clone(&held));
        let weak = Arc::downgrade(&held);
        ready.give_back(held);
        assert_eq!(weak.upgrade(), None, "freed, since a weak reference could come back to it");
        assert_eq!((ready.held_bytes(), ready_of(&ready, 2000, 1)), (0, 0));
    }

    /// Also in a store without threads, where nobody makes any.
    #[test]
    fn those_of_the_length_before_go_with_the_next_that_comes_back() {
        let ready = ReadyValues::default();
        ready_of(&ready, 2000, IN_A_ROW);
        (0..3).for_each(|_| ready.give_back(Arc::from(value(1, 2000))));
        assert_eq!(ready.held_bytes(), 6000);
        ready_of(&ready, 3000, IN_A_ROW);
        assert_eq!(
            ready.held_bytes(),
            6000,
            "freed with nothing locked, which this call cannot know"
        );
        ready.give_back(Arc::from(value(1, 3000)));
        assert_eq!(ready.held_bytes(), 3000);
        ready_of(&ready, 2000, IN_A_ROW);
        ready.clear();
        assert_eq!(ready.held_bytes(), 0);
    }

    #[test]
    fn lengths_that_change_with_each_value_leave_what_is_ready_alone() {
        let ready = ReadyValues::default();
        ready_of(&ready, 2000, IN_A_ROW + 5);
        while ready.make_some() {}
        let held = ready.held_bytes();
        for (len, times) in [(3000, IN_A_ROW - 1), (4000, 1), (3000, IN_A_ROW - 1), (2500, 1)] {
            assert_eq!(ready_of(&ready, len, times), 0);
            ready.give_back(Arc::from(value(1, len)));
            assert!(!ready.make_some());
        }
        assert_eq!(ready.held_bytes(), held);
        assert_eq!(ready_of(&ready, 2000, 5), 5);
    }
}
