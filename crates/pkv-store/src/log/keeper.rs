//! Ahead of and behind the writers: segments prepared, pages read ahead, full segments closed.
//!
//! Everything slow that a log needs happens here, on threads of its own, so that a writer meets memory
//! alone. Without threads (`Options::background(false)`) the same steps are taken by the writer that
//! needs them, between its attempts and with no lock held.

use std::time::Duration;

use pkv_format::Seal;

use super::pages::{Pages, READ_AHEAD_STEP_BYTES};
use super::{Log, LogSettings, Prepared, Retired, SnapshotSpace, State, Tail, Unavailable};
use crate::error::{Error, Result};
use crate::folder::is_failed_sync;
use crate::frame::{SEAL_FRAME_BYTES, seal_frame};
use crate::health::Cause;
use crate::sync::MutexGuard;

/// At full speed 12 MiB are full before the next segment is made, now and then: see `docs/design.md`, section 7.
const SEGMENT_BYTES_ENOUGH: u64 = 16 * 1024 * 1024;

/// The first pause after a segment could not be prepared, and the longest.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What a change of is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Condition {
    poisoned: bool,
    /// Of a log that cannot grow: whether it is for want of space.
    unavailable: Option<bool>,
    write_refused: bool,
}

impl Condition {
    fn of(tail: &Tail) -> Self {
        Self {
            poisoned: matches!(tail.state, State::Poisoned(_)),
            unavailable: tail.unavailable.as_ref().map(|why| why.full),
            write_refused: tail.write_refused.is_some(),
        }
    }
}

impl Log {
    /// The keeper thread. `compact` decides whether a compaction is due; it is asked whenever the log
    /// went on to a new segment, enough writes were made, or a writer waits for it. `tell_health` is called
    /// when the log came to take writes or not to take them. `snapshot_space` says what the next snapshot takes of the
    /// disk. Each is called with no lock held.
    pub(crate) fn keeper_thread(
        &self,
        compact: &dyn Fn(),
        tell_health: &dyn Fn(),
        snapshot_space: &dyn Fn() -> SnapshotSpace,
    ) {
        let mut retry = RETRY_MIN;
        let mut told = Condition::default();
        loop {
            let mut tail = self.tail.lock();
            if tail.stop {
                return;
            }
            let condition = Condition::of(&tail);
            if condition != told {
                drop(tail);
                told = condition;
                tell_health();
                continue;
            }
            if !tail.retired.is_empty() && matches!(tail.state, State::Open) {
                let retired = std::mem::take(&mut tail.retired);
                drop(tail);
                retired.into_iter().for_each(Retired::close);
                continue;
            }
            let wanted = tail.wanted_segment();
            if let (Some(bytes), State::Open) = (wanted, &tail.state) {
                drop(tail);
                let Some(segment_bytes) = self.allowed_segment(bytes, snapshot_space) else {
                    compact();
                    self.pause(RETRY_MIN);
                    continue;
                };
                if self.prepare_next(bytes, segment_bytes).is_ok() {
                    retry = RETRY_MIN;
                } else {
                    // A compaction is asked for all the same: somebody may wait for one, and must be told
                    // if it fails, too.
                    if self.take_compaction_asked() {
                        compact();
                    }
                    self.pause(retry);
                    retry = (retry * 2).min(RETRY_MAX);
                }
                continue;
            }
            if std::mem::take(&mut tail.compaction_asked) {
                drop(tail);
                compact();
                continue;
            }
            if let Some((segment, offset)) = tail.next_read_ahead() {
                // A failure leaves the pages to who touches them, which is slower and right.
                let _ = MutexGuard::unlocked(&mut tail, || {
                    segment.read_ahead(offset, READ_AHEAD_STEP_BYTES)
                });
                continue;
            }
            self.keeper_wanted.wait(&mut tail);
        }
    }

    fn take_compaction_asked(&self) -> bool {
        std::mem::take(&mut self.tail.lock().compaction_asked)
    }

    fn pause(&self, time: Duration) {
        let mut tail = self.tail.lock();
        if !tail.stop {
            self.keeper_wanted.wait_for(&mut tail, time);
        }
        if tail.next.is_some() {
            // It was a larger segment that could not be had: the log goes on with the one there is.
            tail.unavailable = None;
        }
    }

    /// Has the keeper ask whether a compaction is due.
    pub(crate) fn ask_for_compaction(&self) {
        self.tail.lock().compaction_asked = true;
        self.keeper_wanted.notify_one();
    }

    /// Prepares the next segment, of a size that is enough for a frame of so many bytes, and offers it.
    pub(super) fn prepare_next(&self, frame_bytes: u64, segment_bytes: u64) -> Result<()> {
        let (creation, made) = loop {
            let creation = self.folder.creation();
            {
                let tail = self.tail.lock();
                tail.check_open()?;
                if tail.next.as_ref().is_some_and(|next| next.fits(frame_bytes)) {
                    return Ok(());
                }
            }
            let now = self.folder.space.now();
            let made = self.prepare(segment_bytes);
            if !matches!(made, Err(Error::Fs(ref error)) if error.is_full()) {
                break (creation, made);
            }
            // The disk may be full of what was removed.
            drop(creation);
            if !self.folder.room_has_come_since(now) {
                let creation = self.folder.creation();
                if self.tail.lock().next.as_ref().is_some_and(|next| next.fits(frame_bytes)) {
                    return Ok(());
                }
                break (creation, made);
            }
        };
        let mut tail = self.tail.lock();
        let (outcome, unused) = match made {
            Ok(prepared) => {
                tail.unavailable = None;
                // A wish for a larger one that came meanwhile stays.
                tail.wanted_bytes = tail.wanted_bytes.filter(|bytes| !prepared.fits(*bytes));
                (Ok(()), tail.next.replace(prepared))
            }
            Err(error @ Error::Poisoned(_)) => (Err(error), None),
            Err(error) => {
                let why = Unavailable::from(error);
                let error = why.error();
                tail.unavailable = Some(why);
                // Who still wants a large one asks again; who wants a small one must not wait for it.
                tail.wanted_bytes = None;
                (Err(error), None)
            }
        };
        drop(tail);
        self.room.notify_all();
        if let Some(unused) = unused {
            self.discard(unused);
        }
        drop(creation);
        outcome
    }

    /// Makes a segment ready: file, header, mapping, first pages. The caller holds the creation lock.
    pub(crate) fn prepare(&self, segment_bytes: u64) -> Result<Prepared> {
        let made = self.folder.create_log(segment_bytes).and_then(|log| {
            match log.file.segment(log.segment_bytes, self.settings.way) {
                Ok(segment) => {
                    let pages = Pages::first(&log, &segment, self.tail.lock().is_stream());
                    let populated = pages.make();
                    Ok(Prepared { log, segment, populated, read_ahead: 0 })
                }
                Err(error) => {
                    self.give_up(log.ordinal);
                    Err(error.into())
                }
            }
        });
        made.map_err(|error| self.note_failure(error))
    }

    /// Poisons after a failure that leaves unknown what the folder or a log holds, and says so then.
    pub(crate) fn note_failure(&self, error: Error) -> Error {
        if is_failed_sync(&error) || self.folder.is_stopped() {
            self.poison(Cause::other(error.to_string()));
        }
        self.poisoned().map_or(error, Error::Poisoned)
    }

    /// Removes the files of this ordinal as far as that is possible, but touches nothing after a
    /// poisoning. What stays behind is dropped by the next opening.
    pub(crate) fn give_up(&self, ordinal: u64) {
        if self.poisoned().is_none()
            && let Err(error) = self.folder.remove(ordinal)
        {
            self.note_failure(error);
        }
    }

    /// Removes a segment that was prepared and will not be used.
    pub(crate) fn discard(&self, unused: Prepared) {
        let Prepared { log, segment, .. } = unused;
        drop(segment);
        self.give_up(log.ordinal);
    }

    /// Compaction's rotation: frames go to `fresh` from here on. Returns the last sequence number before.
    /// The caller holds the creation lock, so that no log with a lower ordinal can be taken into use later.
    pub(crate) fn rotate_to(&self, fresh: Prepared) -> Result<Rotated> {
        let mut tail = self.tail.lock();
        self.wait_for_zeros(&mut tail);
        let checked = tail.check_open();
        let unused = match checked {
            Ok(()) => tail.next.replace(fresh),
            Err(error) => {
                drop(tail);
                self.discard(fresh);
                return Err(error);
            }
        };
        let log_bytes_before = tail.log_bytes;
        let rotated = self.rotate(&mut tail, 0);
        let answer = Rotated {
            start_seq: tail.last_seq,
            ordinal: tail.current.as_ref().map_or(0, |active| active.log.ordinal),
            salt: tail.current.as_ref().map_or(0, |active| active.log.salt),
            log_bytes_before,
            log_count_before: tail.log_count.saturating_sub(1),
        };
        drop(tail);
        self.room.notify_all();
        if let Some(unused) = unused {
            self.discard(unused);
        }
        match rotated {
            Ok(()) => Ok(answer),
            Err(super::Refused::Failed(error)) => {
                self.tell_watches();
                Err(error)
            }
            Err(super::Refused::Wait(_)) => {
                Err(Error::LogUnavailable(Cause::other("the fresh log is too small".into())))
            }
        }
    }

    /// Compaction succeeded: the logs before its rotation no longer count.
    pub(crate) fn snapshot_published(&self, rotated: &Rotated) {
        let mut tail = self.tail.lock();
        tail.log_bytes = tail.log_bytes.saturating_sub(rotated.log_bytes_before);
        tail.log_count = tail.log_count.saturating_sub(rotated.log_count_before);
        tail.snapshot_seq = rotated.start_seq;
        tail.compaction_failing = None;
        tail.compaction_waited_for = false;
        if let Some(writes) = self.settings.snapshot_interval {
            tail.compact_at_seq = rotated.start_seq.saturating_add(writes);
        }
        drop(tail);
        self.room.notify_all();
        self.keeper_wanted.notify_one();
    }

    /// Compaction failed: who waits for it is told.
    pub(crate) fn compaction_failed(&self, cause: Cause) {
        self.tail.lock().compaction_failing = Some(cause);
        self.room.notify_all();
        self.keeper_wanted.notify_one();
    }

    /// No compaction is due any more, so none fails.
    pub(crate) fn compaction_not_due(&self) {
        self.tail.lock().compaction_failing = None;
    }

    /// Whether a writer waits for a compaction, due or not.
    pub(crate) fn is_compaction_waited_for(&self) -> bool {
        self.tail.lock().compaction_waited_for
    }

    /// Why compaction fails, if it does.
    pub(crate) fn compaction_failing(&self) -> Option<Cause> {
        self.tail.lock().compaction_failing.clone()
    }

    /// Writes since the last snapshot began.
    pub(crate) fn writes_since_snapshot(&self) -> u64 {
        let tail = self.tail.lock();
        tail.last_seq.saturating_sub(tail.snapshot_seq)
    }

    /// Ends the threads' work.
    pub(crate) fn stop_threads(&self) {
        self.tail.lock().stop = true;
        self.keeper_wanted.notify_all();
        self.populate_wanted.notify_all();
        self.room.notify_all();
        self.stop_commits();
    }

    /// Ends the log so that it needs no recovery. Nothing is written after a poisoning.
    ///
    /// 1. Everything is synced, the seals of full segments too, which are no writes that anybody waits for.
    /// 2. The current segment gets its seal, which is synced.
    /// 3. It is cut to its length.
    /// 4. The prepared segment is removed.
    pub(crate) fn end(&self) -> Result<()> {
        let closing = {
            let mut tail = self.tail.lock();
            let open = tail.check_open();
            if open.is_ok() {
                tail.state = State::Closing;
            }
            open
        };
        // 1.
        let ended = closing.and_then(|()| self.sync_all()).and_then(|()| self.seal_current());
        let (unused, retired) = {
            let mut tail = self.tail.lock();
            if matches!(tail.state, State::Closing) {
                tail.state = State::Closed;
            }
            let poisoned = matches!(tail.state, State::Poisoned(_));
            let retired = std::mem::take(&mut tail.retired);
            // After a poisoning nothing is removed either: recovery decides with all there is.
            (tail.next.take().filter(|_| !poisoned), if poisoned { Vec::new() } else { retired })
        };
        retired.into_iter().for_each(Retired::close);
        // 4.
        if let Some(unused) = unused {
            self.discard(unused);
        }
        ended
    }

    fn seal_current(&self) -> Result<()> {
        let mut tail = self.tail.lock();
        self.wait_for_zeros(&mut tail);
        if let State::Poisoned(cause) = &tail.state {
            return Err(Error::Poisoned(cause.clone()));
        }
        let last_seq = tail.last_seq;
        let Some(mut active) = tail.current.take() else { return Ok(()) };
        drop(tail);
        // 2.
        let seal = Seal { watermark: self.durable_seq(), next_ordinal: 0, next_salt: 0 };
        let frame = seal_frame(&seal, active.log.seed, active.end, last_seq);
        let written = active.segment.write(active.end, &frame);
        if let Err(error) = written.and_then(|()| active.log.file.sync_data()) {
            let full = error.is_full() && error.op == pkv_fs::Op::Write;
            let cause = Cause::fs(error);
            if full {
                return Err(Error::DiskFull(cause));
            }
            self.poison(cause.clone());
            return Err(Error::Poisoned(cause));
        }
        active.end += SEAL_FRAME_BYTES;
        // 3.
        Retired { log: active.log, segment: Some(active.segment), end: active.end }.close();
        Ok(())
    }
}

/// A sixteenth of what the store holds: a store that is small stays small, and one that is large does
/// not begin with segments that are full in a moment.
pub(super) fn first_segment_bytes(settings: &LogSettings, live_bytes: u64) -> u64 {
    let bytes = (live_bytes / 16).checked_next_power_of_two().unwrap_or(u64::MAX);
    bytes.clamp(settings.segment_bytes_min, settings.segment_bytes_max)
}

/// The size of the segments to come, behind one of `bytes` that filled up in this time.
///
/// They double while they fill up in less than a second, since making one takes some milliseconds, and halve when they
/// last for minutes. An empty one is on the disk whole, and so is what is left of the one in use: so they grow no larger
/// than a 16th of the logs, once they are large enough to be made in time.
pub(super) fn next_segment_bytes(
    settings: &LogSettings,
    bytes: u64,
    filled_in: Duration,
    log_bytes: u64,
) -> u64 {
    let next_bytes = match filled_in.as_secs() {
        0 => (bytes * 2).min(SEGMENT_BYTES_ENOUGH.max(log_bytes / 16)).max(bytes),
        1..120 => bytes,
        _ => bytes / 2,
    };
    let whole_pages = next_bytes.next_multiple_of(4096);
    whole_pages.clamp(settings.segment_bytes_min, settings.segment_bytes_max)
}

/// What compaction's rotation found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotated {
    /// The last sequence number before the rotation.
    pub(crate) start_seq: u64,
    /// The log taken into use.
    pub(crate) ordinal: u64,
    pub(crate) salt: u64,
    log_bytes_before: u64,
    log_count_before: u32,
}

impl Retired {
    /// Cuts a sealed and synced segment to its length. Not synced and not checked: a segment of full
    /// length with a seal is as good.
    fn close(self) {
        drop(self.segment);
        let _ = self.log.file.set_len(self.end);
    }
}

impl Tail {
    /// The frame size for which a segment should be prepared now, if one should.
    fn wanted_segment(&self) -> Option<u64> {
        match (&self.next, self.wanted_bytes) {
            (Some(next), Some(bytes)) if !next.fits(bytes) => Some(bytes),
            (None, Some(bytes)) => Some(bytes),
            // Prepared ahead only once the log is in use: a store that is only read makes no files.
            (None, None) if self.current.is_some() => Some(0),
            _ => None,
        }
    }
}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        match error {
            Error::Fs(error) => Self { full: error.is_full(), cause: Cause::fs(error) },
            other => Self { full: false, cause: Cause::other(other.to_string()) },
        }
    }
}
