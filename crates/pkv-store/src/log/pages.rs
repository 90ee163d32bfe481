//! Pages of the log, there before the writer comes.
//!
//! A page is read ahead (memory is found for it and zeroed) or written as zeros in large pieces, and then touched, so that the
//! writer's own copy takes no page fault. See `docs/design.md`, "Pages touched ahead".

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use pkv_format::FRAMES_OFFSET;
use pkv_fs::{File, Segment};

use super::{Active, Log, POPULATE_BYTES, State, Tail};
use crate::folder::LogFile;
use crate::sync::MutexGuard;

/// The page cache holds this much ahead of the writer, clean: what some dozens of milliseconds of writing
/// need, which is how long memory may take where it is short.
const READ_AHEAD_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const READ_AHEAD_STEP_BYTES: u64 = 512 * 1024;

/// A log that takes so much between two syncs is a stream: its pages are made by writing zeros, in pieces of 128 KiB. The system
/// then finds memory in pieces of that size, for a third of the processor's time of single pages. What it costs is
/// written by the next sync: the window, and the pieces whole.
const STREAM_BYTES_MIN: u64 = 1024 * 1024;
const STREAM_WINDOW_BYTES: u64 = 256 * 1024;
/// The length of [`ZEROS`].
const ZEROS_BYTES: u64 = 128 * 1024;
static ZEROS: [u8; 128 * 1024] = [0; 128 * 1024];

/// Whether somebody makes pages of the segment in use. One at a time: what one takes for made, another might still
/// write zeros to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    Nothing,
    /// Touches them.
    Touched,
    /// Writes zeros behind `Active::populated`: nothing else may be written there, and the segment stays in use.
    Zeros,
}

/// Pages to be made ahead of the writer.
#[derive(Debug)]
pub(super) struct Pages {
    file: Arc<dyn File>,
    segment: Arc<dyn Segment>,
    segment_bytes: u64,
    from: u64,
    to: u64,
    /// More are due when the writer is so near to the end of these.
    margin_bytes: u64,
    by_zeros: bool,
}

impl Pages {
    /// Those of a new segment.
    pub(super) fn first(log: &LogFile, segment: &Arc<dyn Segment>, by_zeros: bool) -> Self {
        Self::new(log, segment, FRAMES_OFFSET, FRAMES_OFFSET, by_zeros)
    }

    /// Those that come next, if any are due and nobody makes some.
    fn next(tail: &Tail) -> Option<Self> {
        let is_due = tail.needs_pages() && tail.making == Making::Nothing;
        let active = tail.current.as_ref().filter(|_| is_due)?;
        let from = active.populated.max(active.end.next_multiple_of(4096));
        Some(Self::new(&active.log, &active.segment, active.end, from, tail.is_stream()))
    }

    fn new(log: &LogFile, segment: &Arc<dyn Segment>, end: u64, from: u64, by_zeros: bool) -> Self {
        let to = if by_zeros {
            (end + STREAM_WINDOW_BYTES).next_multiple_of(ZEROS_BYTES)
        } else {
            end + POPULATE_BYTES
        };
        let (file, segment) = (Arc::clone(&log.file), Arc::clone(segment));
        let by_zeros = by_zeros && segment.is_mapped();
        let segment_bytes = log.segment_bytes;
        let margin_bytes = (to - end) / 2;
        Self {
            file,
            segment,
            segment_bytes,
            from,
            to: to.min(segment_bytes),
            margin_bytes,
            by_zeros,
        }
    }

    /// Makes them and returns up to where there are some: nothing is to be made behind the end.
    ///
    /// A failure leaves the pages to the writer, which is slower and right.
    pub(super) fn make(&self) -> u64 {
        let Self { file, segment, from, to, .. } = self;
        let mut offset = *from;
        while self.by_zeros && offset < *to {
            let end = (offset + 1).next_multiple_of(ZEROS_BYTES).min(*to);
            let zeros = usize::try_from(end - offset).ok().and_then(|bytes| ZEROS.get(..bytes));
            if zeros.is_none_or(|zeros| file.write_at(offset, zeros).is_err()) {
                break;
            }
            offset = end;
        }
        let _ = segment.populate(*from, to.saturating_sub(*from));
        if self.to == self.segment_bytes || !segment.is_mapped() { u64::MAX } else { self.to }
    }
}

impl Log {
    /// The thread that makes pages ahead of the writer. `make_ready` does so for the map's memory and returns whether there was
    /// need: what is logged is about what the map has to keep. It is called with no lock held, and never before pages of the
    /// log are made that are due.
    pub(crate) fn populate_thread(&self, make_ready: &dyn Fn() -> bool) {
        let mut tail = self.tail.lock();
        let mut is_written_to = false;
        while !tail.stop {
            if tail.needs_pages() {
                is_written_to = true;
                self.make_pages(&mut tail);
                let wants_more = |active: &Active| {
                    let wanted = active.end + READ_AHEAD_BYTES / 2;
                    active.read_ahead < wanted.min(active.log.segment_bytes)
                };
                if !tail.is_stream() && tail.current.as_ref().is_some_and(wants_more) {
                    self.keeper_wanted.notify_one();
                }
            } else if !is_written_to || !MutexGuard::unlocked(&mut tail, make_ready) {
                // Looked at again: the lock was let go.
                if tail.stop || tail.needs_pages() {
                    continue;
                }
                is_written_to = false;
                tail.populate_asleep = true;
                self.populate_wanted.wait(&mut tail);
            }
        }
    }

    /// Makes the next pages, with the lock released meanwhile, and notes it.
    ///
    /// Where they are made by writing zeros, nothing else may be written to them meanwhile, which would be lost: short
    /// frames stay before `populated`, longer ones wait, and the segment is neither ended nor cut.
    pub(super) fn make_pages(&self, tail: &mut MutexGuard<'_, Tail>) {
        let Some(pages) = Pages::next(tail) else { return };
        let ordinal = tail.current.as_ref().map(|active| active.log.ordinal);
        tail.making = if pages.by_zeros { Making::Zeros } else { Making::Touched };
        let make = AssertUnwindSafe(|| pages.make());
        let made = MutexGuard::unlocked(tail, || catch_unwind(make));
        tail.making = Making::Nothing;
        self.room.notify_all();
        // Who waits for the pages finds them due; who has this thread finds the reason.
        let populated = made.unwrap_or_else(|panic| resume_unwind(panic));
        let made_for = tail.current.as_mut().filter(|active| Some(active.log.ordinal) == ordinal);
        if let Some(active) = made_for {
            active.populated = active.populated.max(populated);
            active.populate_at = active.populated.saturating_sub(pages.margin_bytes);
        }
    }

    /// Until nobody writes zeros into the segment in use.
    pub(super) fn wait_for_zeros(&self, tail: &mut MutexGuard<'_, Tail>) {
        while tail.making == Making::Zeros && !matches!(tail.state, State::Poisoned(_)) {
            self.room.wait(tail);
        }
    }
}

impl Tail {
    /// The next pages to take into the page cache, if there are any within the window: for the segment in use,
    /// then for the one behind it.
    pub(super) fn next_read_ahead(&mut self) -> Option<(Arc<dyn Segment>, u64)> {
        if !matches!(self.state, State::Open) || self.is_stream() {
            return None;
        }
        let Self { current, next, .. } = self;
        let now = current.as_mut().and_then(|now| {
            let window_end = (now.end + READ_AHEAD_BYTES).min(now.log.segment_bytes);
            step(&now.segment, &mut now.read_ahead, now.end, window_end)
        });
        now.or_else(|| {
            let next = next.as_mut()?;
            let window_end = READ_AHEAD_BYTES.min(next.log.segment_bytes);
            step(&next.segment, &mut next.read_ahead, 0, window_end)
        })
    }

    pub(super) fn needs_pages(&self) -> bool {
        self.current.as_ref().is_some_and(|active| {
            active.populated < active.log.segment_bytes
                && active.end > active.populate_at
                && matches!(self.state, State::Open)
        })
    }

    /// See [`STREAM_BYTES_MIN`].
    pub(super) fn is_stream(&self) -> bool {
        self.last_sync_bytes.max(self.appended_bytes - self.synced_bytes) >= STREAM_BYTES_MIN
    }
}

/// A step of reading ahead, from where the last one ended or from `from` on, if the window has room for one.
fn step(
    segment: &Arc<dyn Segment>,
    read_ahead: &mut u64,
    from: u64,
    window_end: u64,
) -> Option<(Arc<dyn Segment>, u64)> {
    let offset = (*read_ahead).max(from / 4096 * 4096);
    if !segment.is_mapped() || offset >= window_end {
        return None;
    }
    *read_ahead = offset + READ_AHEAD_STEP_BYTES;
    Some((Arc::clone(segment), offset))
}
