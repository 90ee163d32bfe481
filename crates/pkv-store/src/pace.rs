//! How many threads write a snapshot at the moment: all there are while nobody else writes, half of them beside writers.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

/// So long after a write others count as writing.
const QUIET: Duration = Duration::from_millis(10);

/// Shared by the threads of one snapshot.
#[derive(Debug)]
pub(crate) struct Pace {
    /// So many go on beside writers.
    threads_beside_writers: usize,
    state: Mutex<State>,
    /// With `state`: one more may go on.
    turn: Condvar,
}

#[derive(Debug)]
struct State {
    /// The last write that was seen, and when it was seen first.
    seq: u64,
    written: Option<Instant>,
    /// How many threads are copying.
    running: usize,
}

impl State {
    /// Whether others write, now that the log has come to `seq`.
    fn is_beside_writers(&mut self, seq: u64) -> bool {
        if seq != self.seq {
            self.seq = seq;
            self.written = Some(Instant::now());
        }
        self.written.is_some_and(|written| written.elapsed() < QUIET)
    }
}

impl Pace {
    /// Of a pool of so many threads, where the log stood at `seq` a moment ago.
    pub(crate) fn new(threads: usize, seq: u64) -> Self {
        Self {
            threads_beside_writers: (threads / 2).max(1),
            state: Mutex::new(State { seq, written: None, running: 0 }),
            turn: Condvar::new(),
        }
    }

    /// One thread more begins to copy, and waits for its turn.
    pub(crate) fn begin(&self, seq: impl Fn() -> u64) -> Turn<'_> {
        self.state.lock().running += 1;
        let turn = Turn { pace: self };
        turn.step(seq);
        turn
    }
}

/// Held by a thread that copies.
#[derive(Debug)]
#[must_use = "dropping it lets another thread go on"]
pub(crate) struct Turn<'a> {
    pace: &'a Pace,
}

impl Turn<'_> {
    /// To be called every few dozen microseconds, with no lock held: waits while writers need the processor that this
    /// thread would take, and says whether there are any. `seq` is the last write's number.
    pub(crate) fn step(&self, seq: impl Fn() -> u64) -> bool {
        let mut state = self.pace.state.lock();
        loop {
            let is_beside = state.is_beside_writers(seq());
            if !is_beside || state.running <= self.pace.threads_beside_writers {
                return is_beside;
            }
            state.running -= 1;
            while state.running >= self.pace.threads_beside_writers
                && state.is_beside_writers(seq())
            {
                self.pace.turn.wait_for(&mut state, QUIET);
            }
            state.running += 1;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pace.state.lock().running -= 1;
        self.pace.turn.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// The most threads that ran at once of four that take twenty steps each.
    fn running_max(pace: &Pace, seq: impl Fn() -> u64 + Sync) -> usize {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = pace.begin(&seq);
                    for _ in 0..20 {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        std::thread::sleep(Duration::from_millis(1));
                        running.fetch_sub(1, Ordering::SeqCst);
                        turn.step(&seq);
                    }
                });
            }
        });
        most.into_inner()
    }

    #[test]
    fn all_threads_go_on_where_nobody_writes() {
        let pace = Pace::new(4, 7);
        let turns = [(); 4].map(|()| pace.begin(|| 7));
        assert!(turns.iter().all(|turn| !turn.step(|| 7)));
        assert_eq!(pace.state.lock().running, 4);
    }

    #[test]
    fn half_of_the_threads_go_on_beside_writers_and_all_come_to_their_end() {
        let seq = AtomicU64::new(0);
        for threads in [4, 2, 1] {
            let pace = Pace::new(threads, 0);
            let most = running_max(&pace, || seq.fetch_add(1, Ordering::Relaxed));
            assert!(most <= (threads / 2).max(1), "{most} of {threads}");
        }
    }

    #[test]
    fn a_thread_that_waits_goes_on_when_writing_ends() {
        let pace = Pace::new(2, 0);
        let _copying = pace.begin(|| 1);
        // Nobody gives up a turn: the other goes on since the log stays where it is.
        assert!(!pace.begin(|| 2).step(|| 2));
    }
}
