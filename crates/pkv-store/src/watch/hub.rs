//! From writes that end in any order to watches that see them in the order of their numbers.
//!
//! A write hands in its notice after it has let go of its shard, so notices come in nearly any order. Each
//! number above the one at which watching began comes exactly once, and a notice waits here for those before it.
//!
//! Watching begins like this: the flag is raised; every shard is locked and let go once, so that each write
//! has either ended or will see the flag; the last number at that moment is where it begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use super::notice::{Notice, Told};
use super::queue::{End, Queue};
use crate::health::Cause;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where writes meet watches.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// Somebody watches, or is about to.
    on: AtomicBool,
    /// What a watch of durable changes may see. Behind the log's own number, never ahead.
    durable_seq: AtomicU64,
    /// One watch at a time begins. Taken before any shard; see the lock order in `core.rs`.
    beginning: Mutex<()>,
    /// The last lock of all: nothing is taken under it but a queue's own.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Notices that wait for one before them.
    early: BTreeMap<u64, Notice>,
    queues: Vec<Arc<Queue>>,
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Off,
    /// The number at which watching begins is not known yet.
    Beginning,
    /// The next number to tell.
    On(u64),
}

impl Hub {
    /// Whether a write has to hand in a notice. Looked at under the shard's lock.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Adds a watch. `passed_by_all` returns when every write has ended that did not see the flag, with the
    /// last number then. Returns the number behind which this watch begins.
    pub(super) fn join(
        &self,
        queue: &Arc<Queue>,
        durable_seq: u64,
        passed_by_all: impl FnOnce() -> u64,
    ) -> u64 {
        let _beginning = self.beginning.lock();
        self.durable_seq.fetch_max(durable_seq, Ordering::AcqRel);
        {
            let mut state = self.state.lock();
            if let Some(end) = &state.ended {
                queue.end(end);
            }
            state.queues.push(Arc::clone(queue));
            if let Phase::On(next) = state.phase {
                return next.saturating_sub(1);
            }
            state.phase = Phase::Beginning;
            self.on.store(true, Ordering::Relaxed);
        }
        let last_seq = passed_by_all();
        let mut state = self.state.lock();
        state.phase = Phase::On(last_seq.saturating_add(1));
        state.early.retain(|seq, _| *seq > last_seq);
        let wakers = state.tell_early();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        last_seq
    }

    /// Takes a watch away; the last one lowers the flag.
    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        let mut state = self.state.lock();
        state.queues.retain(|other| !Arc::ptr_eq(other, queue));
        if state.queues.is_empty() {
            state.phase = Phase::Off;
            self.on.store(false, Ordering::Relaxed);
            let early = std::mem::take(&mut state.early);
            drop(state);
            drop(early);
        }
    }

    /// Takes the notice of a write that is in the log and in the map. Called with no lock of the store held:
    /// wakers are foreign code.
    #[cold]
    pub(crate) fn tell(&self, seq: u64, notice: Notice) {
        let mut state = self.state.lock();
        let wakers = match state.phase {
            Phase::Off => return,
            // It ended before watching began.
            Phase::On(next) if seq < next => return,
            Phase::On(next) if seq == next => {
                let mut wakers = state.tell_one(seq, notice);
                wakers.append(&mut state.tell_early());
                wakers
            }
            Phase::Beginning | Phase::On(_) => {
                state.early.insert(seq, notice);
                Vec::new()
            }
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The log was synced, or will never be again: watches of durable changes look again, and where nothing
    /// is written any more all learn it.
    pub(crate) fn settle(&self, durable_seq: u64, poisoned: Option<Cause>) {
        self.durable_seq.fetch_max(durable_seq, Ordering::AcqRel);
        if let Some(cause) = poisoned {
            return self.end(&End::Poisoned(cause));
        }
        if !self.is_on() {
            return;
        }
        let wakers: Vec<Waker> = {
            let state = self.state.lock();
            state
                .queues
                .iter()
                .filter(|queue| queue.only_durable)
                .filter_map(|queue| queue.nudge())
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The store is closed, and no write comes any more.
    pub(crate) fn close(&self) {
        self.end(&End::Closed);
    }

    fn end(&self, end: &End) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock();
            state.ended.get_or_insert(end.clone());
            state.queues.iter().filter_map(|queue| queue.end(end)).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Up to which number this watch may be told.
    pub(super) fn visible_seq(&self, queue: &Queue) -> u64 {
        if queue.only_durable { self.durable_seq.load(Ordering::Acquire) } else { u64::MAX }
    }
}

impl State {
    fn tell_one(&mut self, seq: u64, notice: Notice) -> Vec<Waker> {
        self.phase = Phase::On(seq.saturating_add(1));
        let told = Arc::new(Told { seq, notice });
        self.queues.iter().filter_map(|queue| queue.push(&told)).collect()
    }

    /// Tells what waited for the number that has just come.
    fn tell_early(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Phase::On(next) = self.phase
            && let Some(notice) = self.early.remove(&next)
        {
            wakers.append(&mut self.tell_one(next, notice));
        }
        wakers
    }
}
