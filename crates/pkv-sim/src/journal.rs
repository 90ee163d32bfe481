//! A record of one run, from which the disk at every operation is built again.

use std::sync::Arc;

use crate::call::Settings;
use crate::choice::{Choice, Crash};
use crate::disk::SimFs;
use crate::rng::mix;
use crate::state::{Event, Instant, State};

/// Every change that a run made to a disk, in order, and the disk it began with.
///
/// One run of a workload is enough to try a crash at each of its operations: see [`Journal::replay`].
#[derive(Clone, Debug)]
pub struct Journal {
    pub(crate) base: State,
    pub(crate) events: Vec<(u64, Event)>,
    /// The number of the last call made, whether it changed the disk or not.
    pub(crate) last_op: u64,
    pub(crate) settings: Settings,
}

impl Journal {
    /// The operations at which a crash can differ from a crash at the one before: each one that changes
    /// the disk, and last the one that would have come after the run.
    #[must_use]
    pub fn cuts(&self) -> Vec<u64> {
        let mut ops: Vec<u64> = self.events.iter().map(|(op, _)| *op).collect();
        ops.push(self.last_op.saturating_add(1));
        ops.dedup();
        ops
    }

    /// The disk as it was when operation `op` was in flight, and every one before it was done.
    #[must_use]
    pub fn state_at(&self, op: u64) -> Replay<'_> {
        let mut replay = self.replay();
        replay.advance_to(op);
        replay
    }

    /// A walk over the run. Advancing costs what the operations in between cost.
    #[must_use]
    pub fn replay(&self) -> Replay<'_> {
        let instant = Instant::new(self.base.clone(), 0, None);
        Replay { journal: self, state: self.base.clone(), next: 0, op: 0, instant }
    }
}

/// A place in a [`Journal`].
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    journal: &'a Journal,
    state: State,
    /// The first event that is not in `state`.
    next: usize,
    op: u64,
    instant: Instant,
}

impl Replay<'_> {
    /// Goes to the moment when operation `op` was in flight; backwards means from the start again.
    pub fn advance_to(&mut self, op: u64) {
        // The instant shares the disk; without it the walk changes its own copy in place.
        self.instant = Instant::new(State::new(), 0, None);
        if op < self.op {
            self.state = self.journal.base.clone();
            self.next = 0;
        }
        self.op = op;
        let mut in_flight = None;
        for (at, event) in self.journal.events.iter().skip(self.next) {
            if *at >= op {
                in_flight = (*at == op).then(|| event.clone());
                break;
            }
            self.state.apply(*at, event);
            self.next = self.next.saturating_add(1);
        }
        self.instant = Instant::new(self.state.clone(), op, in_flight);
    }

    /// How many things a crash now may take or leave, each on its own; with 0 every [`Choice`] gives the
    /// same disk.
    #[must_use]
    pub fn units(&self, crash: Crash) -> usize {
        self.instant.units(crash)
    }

    /// What a crash now leaves: a disk of its own, switched on, without faults and locks. Its operations are
    /// numbered on from here. Costs a pointer per file, and per sector of files with unsynced bytes.
    #[must_use]
    pub fn survivors(&self, crash: Crash, choice: Choice) -> Arc<SimFs> {
        let settings = self.journal.settings.clone();
        survivors(&self.instant, self.op, settings, crash, choice)
    }
}

/// Switches a disk on again after a crash.
pub(crate) fn survivors(
    instant: &Instant,
    op: u64,
    mut settings: Settings,
    crash: Crash,
    choice: Choice,
) -> Arc<SimFs> {
    let drawn = match choice {
        Choice::Nothing => 0,
        Choice::Everything => 1,
        Choice::AllBut(unit) | Choice::Only(unit) => u64::try_from(unit).unwrap_or(u64::MAX),
        Choice::Random(seed) => seed,
    };
    // The next life draws other salts than the one before it, as real ones do.
    settings.seed = mix(settings.seed, mix(op, drawn));
    SimFs::with_state(instant.survivors(crash, choice), op, settings)
}
