//! Group commit: one sync for all frames appended so far, whoever waits for them.
//!
//! The first waiter becomes the leader: it waits a moment for others (`group.rs`), notes the end of the log, syncs every
//! file that has unsynced frames (`pass.rs`), and wakes those it was for. Who comes meanwhile waits for the next sync, and
//! the first of them for the lead. A failed sync poisons the log for good: the kernel has marked the pages clean, so a
//! second sync that succeeds would prove nothing.

use std::time::{Duration, Instant};

use super::callbacks::{Callback, Callbacks, Notifier, Outcomes};
use super::group::Group;
use super::pass::Unsynced;
use super::{Log, State};
use crate::error::{Error, Result};
use crate::health::Cause;
use crate::histogram::{Histogram, Timings};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;
use crate::sync::{Condvar, Mutex, MutexGuard, Rounds};

/// With so much written during a sync, a writer waits for none: see [`Gathering`].
const GATHER_BYTES_MIN: u64 = 64 * 1024;
/// The longest pause of the sync thread for it, and how often it looks whether there is more.
const GATHER_MAX: Duration = Duration::from_millis(5);
const GATHER_STEP: Duration = Duration::from_micros(200);

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Commit {
    waiting: Mutex<Waiting>,
    /// Of the syncs with an even number and of those with an odd one: who waits for the next is not woken by the end of
    /// this. Read with `waiting`.
    rounds: [Rounds; 2],
    /// With `waiting`: the lead may be free.
    lead_freed: Condvar,
    /// With `waiting`: all are there that the next sync waits for.
    gathered: Condvar,
    /// With `waiting`: the sync thread has something to do.
    wanted: Condvar,
    syncs: AtomicU64,
    sync_times: Timings,
    unsynced_since: UnsyncedSince,
}

/// No write that is not synced is older than this. Taken alone or below `waiting`; nothing is taken below it.
#[derive(Debug)]
struct UnsyncedSince(Mutex<Instant>);

impl Default for UnsyncedSince {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says what one thread does, or is to do")]
struct Waiting {
    lead: Lead,
    /// Numbers the syncs that threads wait for: the last one that began.
    sync_number: u64,
    /// The sync that somebody waits for the lead for.
    heir_of: u64,
    group: Group,
    callbacks: Callbacks,
    /// The sync thread sleeps until it is woken, or for the interval.
    sync_sleeps: bool,
    /// It is to sync before the interval is over.
    asked: bool,
    notifier: Option<Notifier>,
    stop: bool,
    /// The log has ended: what is not durable now will not be.
    ended: bool,
}

/// What is done by whom, at most one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lead {
    #[default]
    Free,
    /// Waits for others. The next sync is for all who come.
    Gathering,
    /// Syncs what has a number up to this; 0: no write.
    Syncing(u64),
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("lead", &self.lead)
            .field("callbacks", &self.callbacks.len())
            .finish_non_exhaustive()
    }
}

/// How long the sync thread waits for more.
struct Gathering {
    pause: Duration,
    appended: Option<u64>,
}

impl Gathering {
    /// Behind a sync that took so long.
    fn new(sync_time: Duration) -> Self {
        Self { pause: (sync_time * 2).min(GATHER_MAX), appended: None }
    }

    /// Whether to wait for one more step. Where much was written during the last sync, somebody writes and waits for
    /// nothing; a writer that waits has little on its way, and one that has come to a limit of its own writes no
    /// more: for both the next sync begins at once.
    fn goes_on(&mut self, unsynced: u64, appended: u64, elapsed: Duration) -> bool {
        let before = self.appended.replace(appended);
        unsynced >= GATHER_BYTES_MIN && before != Some(appended) && elapsed < self.pause
    }
}

impl Commit {
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Syncs begin.
    pub(super) fn count_pass(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that began then have ended: what came before them is synced.
    pub(super) fn passed(&self, started: Instant) {
        self.sync_times.count_since(started);
        *self.unsynced_since.0.lock() = started;
    }

    pub(super) fn sync_times(&self) -> Histogram {
        self.sync_times.get()
    }

    /// How old a write that is not synced can be.
    pub(super) fn unsynced_for(&self) -> Duration {
        self.unsynced_since.0.lock().elapsed()
    }

    pub(super) fn wake_sync_thread(&self) {
        // The lock makes sure that the thread is either before its check or already waiting.
        drop(self.waiting.lock());
        self.wanted.notify_one();
    }

    /// Waits until those have come who waited for the last sync, too; see [`Group`].
    fn gather(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        let Some(time) = waiting.group.wait_time() else { return };
        let deadline = Instant::now() + time;
        let mut is_over = false;
        while !is_over && !waiting.group.is_complete() {
            is_over = self.gathered.wait_until(waiting, deadline).timed_out();
        }
        waiting.group.waited();
    }

    /// Of those who wait for the sync of this number.
    fn rounds_of(&self, sync_number: u64) -> &Rounds {
        let [even, odd] = &self.rounds;
        if sync_number.is_multiple_of(2) { even } else { odd }
    }

    pub(super) fn wake_all(&self) {
        drop(self.waiting.lock());
        self.lead_freed.notify_all();
        self.rounds.iter().for_each(Rounds::end);
        self.wanted.notify_all();
    }
}

impl Log {
    /// Waits until everything up to `seq` is synced; syncs itself if nobody else does.
    ///
    /// 1. Whoever comes while nobody leads takes the lead.
    /// 2. It waits for others, for a moment.
    /// 3. It notes the end of the log and syncs up to there.
    /// 4. It gives the lead back: to the first who came since, who goes on with step 2 at once.
    /// 5. It wakes all others it synced for.
    pub(crate) fn wait_durable(&self, seq: u64) -> Result<()> {
        if self.durable_seq() >= seq {
            return Ok(());
        }
        let mut waiting = self.commit.waiting.lock();
        waiting.group.join();
        if waiting.lead == Lead::Gathering && waiting.group.is_complete() {
            self.commit.gathered.notify_one();
        }
        loop {
            if self.durable_seq() >= seq {
                return Ok(());
            }
            if let Some(cause) = self.poisoned() {
                return Err(Error::Unconfirmed { seq, cause });
            }
            // 1.
            let sync_number = match waiting.lead {
                Lead::Free => {
                    waiting = self.sync_as_leader(waiting, seq)?;
                    continue;
                }
                Lead::Syncing(to) if seq <= to => waiting.sync_number,
                Lead::Syncing(_) if waiting.heir_of <= waiting.sync_number => {
                    waiting = self.wait_for_lead(waiting, seq)?;
                    continue;
                }
                Lead::Gathering | Lead::Syncing(_) => waiting.sync_number + 1,
            };
            let rounds = self.commit.rounds_of(sync_number);
            let round = rounds.current();
            drop(waiting);
            rounds.wait(round);
            if self.durable_seq() >= seq {
                return Ok(());
            }
            waiting = self.commit.waiting.lock();
        }
    }

    /// Steps 2 to 5 of [`Log::wait_durable`]; fails where `seq` does not become durable.
    fn sync_as_leader<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
        seq: u64,
    ) -> Result<MutexGuard<'a, Waiting>> {
        // 2.
        waiting.lead = Lead::Gathering;
        self.commit.gather(&mut waiting);
        // 3.
        let joined = waiting.group.begin();
        let unsynced = self.lead_sync(&mut waiting);
        waiting.sync_number += 1;
        drop(waiting);
        let lead = Leader { log: self };
        let started = Instant::now();
        let synced = self.sync_pass(unsynced);
        self.commit.waiting.lock().group.end(joined, started.elapsed());
        // 4. and 5.
        drop(lead);
        let waiting = self.commit.waiting.lock();
        match synced {
            Err(cause) if self.durable_seq() < seq => Err(Error::Unconfirmed { seq, cause }),
            _ => Ok(waiting),
        }
    }

    /// Waits as the heir of the lead until it is free and makes the next sync, unless another was quicker.
    ///
    /// Others rely on that sync, so it is made or they are woken: also where the log was poisoned meanwhile, which the
    /// sync finds.
    fn wait_for_lead<'a>(
        &'a self,
        mut waiting: MutexGuard<'a, Waiting>,
        seq: u64,
    ) -> Result<MutexGuard<'a, Waiting>> {
        let sync_number = waiting.sync_number + 1;
        waiting.heir_of = sync_number;
        while waiting.lead != Lead::Free && waiting.sync_number < sync_number {
            self.commit.lead_freed.wait(&mut waiting);
        }
        if waiting.sync_number >= sync_number {
            return Ok(waiting);
        }
        if self.durable_seq() < seq {
            return self.sync_as_leader(waiting, seq);
        }
        // Who had the lead for something else has synced this, too.
        waiting.heir_of = 0;
        drop(waiting);
        self.commit.rounds_of(sync_number).end();
        Ok(self.commit.waiting.lock())
    }

    /// Notes what is to be synced, and that it is. Whoever comes later finds out whether that is enough.
    fn lead_sync(&self, waiting: &mut MutexGuard<'_, Waiting>) -> Result<Unsynced, Cause> {
        let unsynced = self.unsynced();
        waiting.lead = Lead::Syncing(unsynced.as_ref().map_or(0, |unsynced| unsynced.seq));
        unsynced
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let seq = self.last_seq();
        match self.wait_durable(seq) {
            Err(Error::Unconfirmed { cause, .. }) => Err(Error::Poisoned(cause)),
            other => other,
        }
    }

    /// Syncs even where everything is synced: links and marks count as unsynced nowhere else.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.sync()?;
        let mut waiting = self.wait_for_free_lead();
        let unsynced = self.lead_sync(&mut waiting);
        drop(waiting);
        let lead = Leader { log: self };
        let synced = self.sync_pass(unsynced);
        drop(lead);
        synced.map(drop).map_err(Error::Poisoned)
    }

    /// Waits for the lead, to be taken by the caller. Whoever syncs a log has it: a failure is told by the system to one
    /// of two syncs of a file that overlap, and the other would acknowledge what is not there.
    fn wait_for_free_lead(&self) -> MutexGuard<'_, Waiting> {
        let mut waiting = self.commit.waiting.lock();
        while waiting.lead != Lead::Free {
            self.commit.lead_freed.wait(&mut waiting);
        }
        waiting
    }

    /// Has the sync thread sync what was appended so far, and does not wait for it.
    pub(crate) fn begin_sync(&self) {
        self.commit.waiting.lock().asked = true;
        self.commit.wanted.notify_one();
    }

    /// Calls back once everything up to `seq` is durable, or when it is known that it will not be.
    pub(crate) fn on_durable(&self, seq: u64, callback: Callback) {
        let mut waiting = self.commit.waiting.lock();
        waiting.callbacks.add(seq, callback);
        // Woken for what is durable already, the sync thread would begin its interval anew.
        let wake = self.durable_seq() < seq && std::mem::take(&mut waiting.sync_sleeps);
        let ended = waiting.ended;
        drop(waiting);
        if wake {
            self.commit.wanted.notify_one();
        }
        if !self.settings.background {
            // Nobody else would: a failure poisons, and the callback is told below.
            let _ = self.wait_durable(seq);
        }
        let is_known = self.durable_seq() >= seq || self.poisoned().is_some() || ended;
        if is_known || !self.settings.background {
            self.resolve();
        }
    }

    /// Hands every callback whose outcome is known to the notifying thread.
    fn resolve(&self) {
        let poisoned = self.poisoned();
        let durable = self.durable_seq();
        let mut waiting = self.commit.waiting.lock();
        let all = poisoned.is_some() || waiting.ended;
        let callbacks = waiting.callbacks.take_up_to(if all { u64::MAX } else { durable });
        if callbacks.is_empty() {
            return;
        }
        let outcomes = Outcomes { callbacks, durable, cause: poisoned };
        if waiting.notifier.is_none() && self.settings.background {
            waiting.notifier = Notifier::start();
        }
        let left = match &waiting.notifier {
            Some(notifier) => notifier.tell(outcomes).err(),
            None => Some(outcomes),
        };
        drop(waiting);
        if let Some(outcomes) = left {
            // No thread to be had: they run here, with no lock held.
            outcomes.tell();
        }
    }

    /// The sync thread: syncs for callbacks at once, and for everything else every `sync_interval`.
    pub(crate) fn sync_thread(&self) {
        loop {
            let mut waiting = self.commit.waiting.lock();
            if waiting.stop {
                return;
            }
            let callbacks = !waiting.callbacks.is_empty();
            if !std::mem::take(&mut waiting.asked) && !callbacks {
                let idle = {
                    let mut tail = self.tail.lock();
                    // Nothing to do, ever, until somebody writes: the writer wakes this thread.
                    let idle = !matches!(tail.state, State::Open)
                        || (tail.last_seq == self.durable_seq()
                            && !tail.mark_unsynced
                            && tail.mark_due.is_none());
                    tail.sync_asleep = idle;
                    idle
                };
                waiting.sync_sleeps = true;
                if idle {
                    self.commit.wanted.wait(&mut waiting);
                    waiting.sync_sleeps = false;
                    // Woken by the first write in a while: those before it are synced.
                    *self.commit.unsynced_since.0.lock() = Instant::now();
                    continue;
                }
                let timeout =
                    self.commit.wanted.wait_for(&mut waiting, self.settings.sync_interval);
                waiting.sync_sleeps = false;
                if waiting.stop || !timeout.timed_out() {
                    continue;
                }
            }
            drop(waiting);
            let started = Instant::now();
            if self.last_seq() > self.durable_seq() {
                // A failure poisons; whoever waits is told by `resolve`.
                let _ = self.sync();
            } else {
                self.sync_idle_mark();
            }
            self.resolve();
            if callbacks {
                // Twice that time at most, and no longer than a write may stay unsynced.
                self.gather(started.elapsed().min(self.settings.sync_interval / 2));
            }
        }
    }

    /// Between two syncs for callbacks: lets a stream of writes come together.
    ///
    /// A sync has its price whatever it writes, and half of it is paid by the writer (pages that are write-protected are
    /// faulted in again). A thread that waits in [`Log::wait_durable`] meanwhile syncs by itself.
    fn gather(&self, sync_time: Duration) {
        let mut gathering = Gathering::new(sync_time);
        let started = Instant::now();
        loop {
            let (unsynced, appended) = {
                let tail = self.tail.lock();
                if !matches!(tail.state, State::Open) {
                    return;
                }
                (tail.appended_bytes - tail.synced_bytes, tail.appended_bytes)
            };
            if !gathering.goes_on(unsynced, appended, started.elapsed()) {
                return;
            }
            let mut waiting = self.commit.waiting.lock();
            if waiting.stop {
                return;
            }
            self.commit.wanted.wait_for(&mut waiting, GATHER_STEP);
        }
    }

    /// Makes the last watermark durable when writing has paused, so that damage to the last group of a
    /// killed store is known as damage.
    pub(super) fn sync_idle_mark(&self) {
        // No write is synced by it, so whoever comes meanwhile makes the next sync.
        self.wait_for_free_lead().lead = Lead::Syncing(0);
        let _lead = Leader { log: self };
        let file = {
            let mut tail = self.tail.lock();
            self.wait_for_zeros(&mut tail);
            // Looked at again with the lead: somebody may have written and synced meanwhile.
            let is_idle = tail.check_open().is_ok() && tail.last_seq == self.durable_seq();
            if !is_idle || self.write_due_mark(&mut tail).is_err() {
                return;
            }
            tail.mark_unsynced = false;
            tail.mark_due = None;
            tail.current.as_ref().map(|active| active.log.file.clone())
        };
        if let Some(Err(error)) = file.map(|file| file.sync_data()) {
            self.poison(Cause::fs(error));
        }
    }

    /// Ends the sync thread's work and every wait; the callbacks that are left are told.
    pub(super) fn stop_commits(&self) {
        self.commit.waiting.lock().stop = true;
        self.commit.wake_all();
    }

    /// Tells every callback that is left and ends the thread that runs them.
    pub(crate) fn finish_callbacks(&self) {
        self.commit.waiting.lock().ended = true;
        self.resolve();
        let notifier = self.commit.waiting.lock().notifier.take();
        if let Some(notifier) = notifier {
            notifier.end();
        }
    }
}

/// Gives the lead back, even when a sync panics.
struct Leader<'a> {
    log: &'a Log,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.log.poison(Cause::panic("sync"));
        }
        let sync_number = {
            let mut waiting = self.log.commit.waiting.lock();
            waiting.lead = Lead::Free;
            waiting.sync_number
        };
        // The next sync begins while those of this one are woken.
        self.log.commit.lead_freed.notify_all();
        self.log.commit.rounds_of(sync_number).end();
        if self.log.settings.background {
            self.log.resolve_if_any();
        }
        self.log.tell_watches();
    }
}

impl Log {
    /// Tells watches how far the log is durable, and whether it will ever be more. Called with no lock held
    /// that a write takes.
    pub(crate) fn tell_watches(&self) {
        self.settings.watch.settle(self.durable_seq(), self.poisoned());
    }

    fn resolve_if_any(&self) {
        let any = !self.commit.waiting.lock().callbacks.is_empty();
        if any {
            self.resolve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stream_of_writes_is_waited_for() {
        const MS: Duration = Duration::from_millis(1);
        let stream = GATHER_BYTES_MIN;
        let new = || Gathering::new(MS);
        // Little was written meanwhile: somebody may wait for it.
        assert!(!new().goes_on(stream - 1, stream, Duration::ZERO));
        // As long as more comes, and twice as long as the sync took.
        let mut gathering = new();
        assert!(gathering.goes_on(stream, stream, Duration::ZERO));
        assert!(gathering.goes_on(stream + 8, stream + 8, MS));
        assert!(!gathering.goes_on(stream + 16, stream + 16, MS * 2));
        let mut gathering = new();
        assert!(gathering.goes_on(stream, stream, Duration::ZERO));
        assert!(!gathering.goes_on(stream, stream, MS));
        // A slow disk is not waited for as long again.
        assert!(!Gathering::new(GATHER_MAX * 9).goes_on(stream, stream, GATHER_MAX));
    }
}
