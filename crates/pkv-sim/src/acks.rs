//! What a workload reports while it runs, and what of it had happened before a crash.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::choice::Crash;
use crate::disk::SimFs;

/// Where a workload writes down what its store acknowledged, from any thread.
///
/// `T` is yours: a number, a key and a value, a [`crate::WriteEvent`].
pub struct AckLog<T> {
    fs: Arc<SimFs>,
    events: Mutex<Vec<(u64, T)>>,
}

impl<T> AckLog<T> {
    /// An empty log for a workload on this disk.
    #[must_use]
    pub fn new(fs: &Arc<SimFs>) -> Self {
        Self { fs: Arc::clone(fs), events: Mutex::new(Vec::new()) }
    }

    /// Notes that this has happened, after the last operation that the disk has seen. Call it after the
    /// store's call returned; what happened *before* a call (an intention) is noted before the call.
    pub fn ack(&self, event: T) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the numbers rise with the events.
        let op = self.fs.last_op();
        events.push((op, event));
    }

    /// What had been acknowledged when operation `op` was in flight, for disks that are made without an
    /// [`crate::Explorer`], as by [`crate::Journal::state_at`]. Costs a copy of all events.
    #[must_use]
    pub fn before(&self, op: u64, crash: Crash) -> Acked<T>
    where
        T: Clone,
    {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Acked::new(&Arc::new(events), op, crash)
    }

    /// All events, each with the operation it came after.
    pub(crate) fn into_events(self) -> Arc<Vec<(u64, T)>> {
        Arc::new(self.events.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> fmt::Debug for AckLog<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("AckLog").field("events", &events).finish_non_exhaustive()
    }
}

/// What had been acknowledged when the crash came.
pub struct Acked<T> {
    events: Arc<Vec<(u64, T)>>,
    before: usize,
    crash: Crash,
}

impl<T: fmt::Debug> fmt::Debug for Acked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} before a crash ({}): ", self.before, self.crash)?;
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T> Acked<T> {
    pub(crate) fn new(events: &Arc<Vec<(u64, T)>>, op: u64, crash: Crash) -> Self {
        let before = events.partition_point(|(at, _)| *at < op);
        Self { events: Arc::clone(events), before, crash }
    }

    /// The events before the crash, in order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.events.iter().take(self.before).map(|(_, event)| event)
    }

    /// The events of the whole run, those that came after the crash as well: what was *going* to be
    /// acknowledged, and in which order.
    #[must_use]
    pub fn whole_run(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.events.iter().map(|(_, event)| event)
    }

    /// The last event before the crash.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// How many events came before the crash.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before
    }

    /// Whether nothing had been acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before == 0
    }

    /// What happened to the machine; a power cut if there was one among several crashes.
    #[must_use]
    pub fn crash(&self) -> Crash {
        self.crash
    }
}
