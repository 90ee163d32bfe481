//! The write-ahead log: one ordered stream of frames over numbered segments.
//!
//! *Append* (here) copies a frame behind the last one under one lock: sequence number, header checksum,
//! copy. Frames are in order and without holes at every instant, so a killed process leaves a prefix.
//! *Commit* (`commit.rs`, `callbacks.rs`) makes everything appended so far durable, once for all who wait.
//! *Mark* (`mark.rs`) says in the log how far that was.
//! *Keep* (`keeper.rs`) is what happens ahead of and behind the writers: preparing segments, cutting and closing those
//! that are full; their *pages* (`pages.rs`) are there before the writer comes, and what is left of the disk to the next
//! snapshot is *reserve* (`reserve.rs`). *Wait* (`wait.rs`) is where a writer is while it must not go on.
//!
//! No lock of this module is held across a system call, but for the `write` of a log that is not mapped, and of a frame that
//! comes alone between two syncs.

mod callbacks;
mod commit;
mod group;
mod keeper;
mod mark;
mod pages;
mod pass;
mod reserve;
mod state;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkv_format::{FRAMES_OFFSET, FileSeed, Link, Seal};
use pkv_fs::{Segment, SegmentWay};

use crate::error::{Error, Result};
use crate::folder::{Folder, LogFile};
use crate::frame::{
    Frame, LINK_FRAME_BYTES, MARK_FRAME_BYTES, SEAL_FRAME_BYTES, link_frame, seal_frame,
};
use crate::health::Cause;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, lock_soon};
use crate::watch::Hub;

use commit::Commit;
pub(crate) use keeper::Rotated;
use pages::Making;
pub(crate) use reserve::SnapshotSpace;

/// Pages touched ahead of the writer. Larger windows make the first commit flush them all; smaller
/// ones are outrun: see `docs/design.md`, "Pages touched ahead".
const POPULATE_BYTES: u64 = 256 * 1024;

/// Every segment keeps this much for the frames that end it.
const ROOM_KEPT_BYTES: u64 = MARK_FRAME_BYTES + SEAL_FRAME_BYTES;

/// The smallest segment that can take a frame of this size.
pub(crate) fn segment_bytes_for(frame_bytes: u64) -> u64 {
    (FRAMES_OFFSET + LINK_FRAME_BYTES + MARK_FRAME_BYTES + frame_bytes + ROOM_KEPT_BYTES)
        .next_multiple_of(4096)
}

/// What the log needs to know of the options.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) way: SegmentWay,
    pub(crate) segment_bytes_min: u64,
    pub(crate) segment_bytes_max: u64,
    pub(crate) max_unsynced_bytes: u64,
    pub(crate) max_log_bytes: Option<u64>,
    pub(crate) snapshot_interval: Option<u64>,
    pub(crate) sync_interval: Duration,
    pub(crate) background: bool,
    /// Told of syncs and of poisonings.
    pub(crate) watch: Arc<Hub>,
}

/// Where the log stands when a store is opened.
#[derive(Debug, Default)]
pub(crate) struct LogStart {
    /// The last sequence number of the log.
    pub(crate) last_seq: u64,
    /// The last log, which the next one links to.
    pub(crate) previous: Option<Previous>,
    /// Bytes in use in all logs above the latest full snapshot.
    pub(crate) log_bytes: u64,
    /// How many such logs there are.
    pub(crate) log_count: u32,
    /// Keys and values in the store.
    pub(crate) live_bytes: u64,
    /// The last sequence number that the latest full snapshot covers for sure.
    pub(crate) snapshot_seq: u64,
}

/// A log that ended before this store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Previous {
    pub(crate) path: PathBuf,
    pub(crate) ordinal: u64,
    pub(crate) salt: u64,
    pub(crate) seed: FileSeed,
    /// False once a seal or a successor record of it names the next log.
    pub(crate) names_next: bool,
}

/// The log. What each append changes stands on the first cache line, with the lock: each line more would have to come from the
/// processor that appended last.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Log {
    /// The last appended sequence number. Written with `tail` held.
    last_seq: AtomicU64,
    tail: Mutex<Tail>,
    /// With `tail`: there is room again, or a reason why not.
    room: Condvar,
    /// With `tail`: the keeper has something to do.
    keeper_wanted: Condvar,
    /// With `tail`: the writer comes near the end of the touched pages.
    populate_wanted: Condvar,
    commit: Commit,
    /// Everything up to this sequence number is synced. Written with `tail` held.
    durable_seq: AtomicU64,
    folder: Arc<Folder>,
    settings: LogSettings,
}

/// Everything that appending changes. What each append changes comes first; see [`Log`].
#[derive(Debug)]
#[repr(C)]
struct Tail {
    last_seq: u64,
    /// Bytes appended since the store was opened.
    appended_bytes: u64,
    /// Bytes of the logs above the latest full snapshot; below, how many there are.
    log_bytes: u64,
    populate_asleep: bool,
    sync_asleep: bool,
    stop: bool,
    /// The keeper should ask whether a compaction is due.
    compaction_asked: bool,
    /// A writer waits for one, due or not.
    compaction_waited_for: bool,
    /// A mark was written behind the last sync.
    mark_unsynced: bool,
    making: Making,
    current: Option<Active>,
    state: State,
    /// A watermark that moved and has no mark in the log yet.
    mark_due: Option<u64>,
    /// The last sync was for one write.
    is_alone: bool,
    /// How many of the bytes appended are synced.
    synced_bytes: u64,
    /// Appending this sequence number asks for a compaction.
    compact_at_seq: u64,
    /// The last frame met a full disk and was not written.
    write_refused: Option<Cause>,
    next: Option<Prepared>,
    previous: Option<Previous>,
    /// Rotated away and not yet synced, oldest first.
    behind: VecDeque<Behind>,
    /// Synced and no longer needed open.
    retired: Vec<Retired>,
    /// How many bytes the last sync was for.
    last_sync_bytes: u64,
    log_count: u32,
    snapshot_seq: u64,
    /// The size of the segment to prepare next.
    next_segment_bytes: u64,
    /// A writer needs a segment for a frame of this size.
    wanted_bytes: Option<u64>,
    /// Why the last attempt to prepare a segment failed.
    unavailable: Option<Unavailable>,
    /// Why compaction fails; writers that wait for it must not wait for ever.
    compaction_failing: Option<Cause>,
}

#[derive(Clone, Debug)]
enum State {
    Open,
    Poisoned(Cause),
    /// Takes no writes; the last sync and the seal are under way.
    Closing,
    Closed,
}

#[derive(Clone, Debug)]
struct Unavailable {
    full: bool,
    cause: Cause,
}

/// The segment that frames go to.
#[derive(Debug)]
#[repr(C)]
struct Active {
    /// Where the next frame goes.
    end: u64,
    /// A frame that ends behind it has more pages touched.
    populate_at: u64,
    /// Pages are touched up to here.
    populated: u64,
    segment: Arc<dyn Segment>,
    log: LogFile,
    /// The page cache holds its pages up to here.
    read_ahead: u64,
    /// Everything before it was synced, and its pages are out of the mapping.
    released: u64,
    /// When it was taken into use.
    since: Instant,
}

/// A segment ready to be taken into use.
#[derive(Debug)]
pub(crate) struct Prepared {
    log: LogFile,
    segment: Arc<dyn Segment>,
    /// Pages are touched up to here.
    populated: u64,
    /// The page cache holds its pages up to here.
    read_ahead: u64,
}

#[derive(Clone, Debug)]
enum Behind {
    /// A rotated segment, sealed.
    Segment { log: LogFile, segment: Arc<dyn Segment>, end: u64 },
    /// A log of an earlier opening, which must name its successor before that one counts as synced.
    Successor { previous: Previous, ordinal: u64, salt: u64 },
    /// The lock file, which names the first log of a store: nothing else does.
    Root { ordinal: u64, salt: u64 },
}

/// A log file to be cut to its length and closed.
#[derive(Debug)]
struct Retired {
    log: LogFile,
    segment: Option<Arc<dyn Segment>>,
    end: u64,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The caller lets go of its locks, calls [`Log::wait`] and tries again.
    Wait(Wait),
    /// It will not be.
    Failed(Error),
}

/// What an append has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A segment with room for a frame of so many bytes.
    Room(u64),
    /// A sync, so that not too much is unsynced.
    Sync,
    /// A compaction, so that the logs have room for so many bytes.
    Compaction(u64),
    /// Touched pages.
    Populate,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Log {
    pub(crate) fn new(folder: Arc<Folder>, settings: LogSettings, start: LogStart) -> Self {
        let compact_at_seq = settings
            .snapshot_interval
            .map_or(u64::MAX, |writes| start.snapshot_seq.saturating_add(writes));
        let tail = Tail {
            state: State::Open,
            current: None,
            next: None,
            previous: start.previous,
            behind: VecDeque::new(),
            retired: Vec::new(),
            last_seq: start.last_seq,
            appended_bytes: 0,
            synced_bytes: 0,
            last_sync_bytes: 0,
            log_bytes: start.log_bytes,
            log_count: start.log_count,
            compact_at_seq,
            compaction_asked: true,
            compaction_waited_for: false,
            snapshot_seq: start.snapshot_seq,
            mark_due: None,
            is_alone: false,
            mark_unsynced: false,
            next_segment_bytes: keeper::first_segment_bytes(&settings, start.live_bytes),
            wanted_bytes: None,
            unavailable: None,
            write_refused: None,
            compaction_failing: None,
            making: Making::Nothing,
            populate_asleep: false,
            sync_asleep: false,
            stop: false,
        };
        Self {
            folder,
            settings,
            tail: Mutex::new(tail),
            room: Condvar::new(),
            keeper_wanted: Condvar::new(),
            populate_wanted: Condvar::new(),
            commit: Commit::default(),
            durable_seq: AtomicU64::new(start.last_seq),
            last_seq: AtomicU64::new(start.last_seq),
        }
    }

    /// Appends a finished frame and returns its sequence number. Once this returns, the frame survives
    /// the death of the process. Called with the locks of the frame's shards held, so that the order of
    /// the log is the order of the map.
    pub(crate) fn append(&self, frame: &mut Frame) -> Result<u64, Refused> {
        let mut tail = lock_soon(&self.tail);
        self.admit(&mut tail, frame.len())?;
        let seq = tail.last_seq + 1;
        let populate = if tail.is_mark_written_with(frame) {
            self.write_with_mark(&mut tail, frame, seq)?
        } else {
            self.write_due_mark(&mut tail)?;
            self.copy(&mut tail, frame, seq)?
        };
        if tail.write_refused.is_some() {
            tail.write_refused = None;
        }
        tail.last_seq = seq;
        tail.appended_bytes += frame.len();
        tail.log_bytes += frame.len();
        self.last_seq.store(seq, Ordering::Release);

        let wake_populate = populate && std::mem::take(&mut tail.populate_asleep);
        let wake_sync = std::mem::take(&mut tail.sync_asleep);
        let wake_keeper = seq >= tail.compact_at_seq;
        if wake_keeper {
            tail.compact_at_seq = u64::MAX;
            tail.compaction_asked = true;
        }
        drop(tail);
        if wake_populate {
            self.populate_wanted.notify_one();
        }
        if wake_keeper {
            self.keeper_wanted.notify_one();
        }
        if wake_sync {
            self.commit.wake_sync_thread();
        }
        Ok(seq)
    }

    /// Copies a frame behind the last one. Returns whether more pages are due.
    #[inline]
    fn copy(&self, tail: &mut Tail, frame: &mut Frame, seq: u64) -> Result<bool, Refused> {
        let is_zeroing = tail.making == Making::Zeros;
        let Some(active) = &mut tail.current else {
            return Err(Refused::Wait(Wait::Room(frame.len())));
        };
        let end = active.end + frame.len();
        debug_assert!(!is_zeroing || end <= active.populated, "amid zeros");
        let bytes = frame.seal_header(active.log.seed, active.end, seq);
        if let Err(error) = active.segment.write(active.end, bytes) {
            return Err(self.write_failed(tail, error).into());
        }
        active.end = end;
        Ok(end > active.populate_at)
    }

    /// Whether a frame of this size can be appended right now; takes a new segment into use if need be.
    fn admit(&self, tail: &mut Tail, bytes: u64) -> Result<(), Refused> {
        tail.check_open()?;
        let unsynced = tail.appended_bytes - tail.synced_bytes;
        if unsynced > 0 && unsynced + bytes > self.settings.max_unsynced_bytes {
            return Err(Refused::Wait(Wait::Sync));
        }
        if let Some(bytes_max) = self.settings.max_log_bytes
            && segment_bytes_for(bytes) > bytes_max
        {
            let reason = "one write is larger than the logs may be".to_owned();
            return Err(Error::LogFull { bytes: tail.log_bytes, bytes_max, reason }.into());
        }
        if tail.is_log_full(self.settings.max_log_bytes, bytes) {
            return Err(Refused::Wait(Wait::Compaction(bytes)));
        }
        if !tail.current.as_ref().is_some_and(|active| active.fits(bytes)) {
            self.rotate(tail, bytes)?;
        }
        // A frame of many pages touches its own: waiting for a window smaller than itself would never end.
        let touches = bytes > POPULATE_BYTES / 4 && tail.making != Making::Zeros;
        let touched = tail.current.as_ref().is_none_or(|active| {
            active.end + bytes + MARK_FRAME_BYTES <= active.populated || touches
        });
        if touched { Ok(()) } else { Err(Refused::Wait(Wait::Populate)) }
    }

    /// Takes the prepared segment into use.
    ///
    /// 1. The next log gets its link, which names the one before.
    /// 2. The full segment gets its seal, which names the next log: **the commit point**. What a seal names
    ///    must be there when the folder is opened, so it comes when nothing can fail any more.
    /// 3. Frames go to the next log.
    ///
    /// Nothing is synced here: the next sync goes over both, the older one first.
    fn rotate(&self, tail: &mut Tail, bytes: u64) -> Result<(), Refused> {
        if tail.making == Making::Zeros {
            return Err(Refused::Wait(Wait::Populate));
        }
        if !tail.next.as_ref().is_some_and(|next| next.fits(bytes)) {
            return Err(Refused::Wait(Wait::Room(bytes)));
        }
        let Some(next) = tail.next.take() else {
            return Err(Refused::Wait(Wait::Room(bytes)));
        };
        tail.adapt_segment_bytes(&self.settings);
        match self.take_into_use(tail, &next) {
            Ok(active) => {
                tail.current = Some(active);
                tail.unavailable = None;
                tail.write_refused = None;
                tail.log_bytes += FRAMES_OFFSET + LINK_FRAME_BYTES;
                tail.log_count += 1;
                tail.compaction_asked = true;
                self.keeper_wanted.notify_one();
                tail.populate_asleep = false;
                self.populate_wanted.notify_one();
                Ok(())
            }
            Err(error) => {
                tail.next = Some(next);
                Err(error.into())
            }
        }
    }

    fn take_into_use(&self, tail: &mut Tail, next: &Prepared) -> Result<Active> {
        let watermark = self.durable_seq.load(Ordering::Acquire);
        let (ordinal, salt) = (next.log.ordinal, next.log.salt);
        // 1. A link to a log that goes on after all, because step 2 failed, does not count: the numbers differ.
        let link = tail.link(watermark);
        let frame = link_frame(&link, next.log.seed, FRAMES_OFFSET, tail.last_seq);
        if let Err(error) = next.segment.write(FRAMES_OFFSET, &frame) {
            return Err(self.write_failed(tail, error));
        }
        // 2.
        let last_seq = tail.last_seq;
        if let Some(mut full) = tail.current.take() {
            let seal = Seal { watermark, next_ordinal: ordinal, next_salt: salt };
            let frame = seal_frame(&seal, full.log.seed, full.end, last_seq);
            if let Err(error) = full.segment.write(full.end, &frame) {
                tail.current = Some(full);
                return Err(self.write_failed(tail, error));
            }
            full.end += SEAL_FRAME_BYTES;
            tail.previous = Some(Previous::of(&full.log));
            tail.appended_bytes += SEAL_FRAME_BYTES;
            tail.log_bytes += SEAL_FRAME_BYTES;
            let Active { log, segment, end, .. } = full;
            tail.behind.push_back(Behind::Segment { log, segment, end });
        }
        match &mut tail.previous {
            None => tail.behind.push_back(Behind::Root { ordinal, salt }),
            Some(previous) if !previous.names_next => {
                previous.names_next = true;
                let previous = previous.clone();
                tail.behind.push_back(Behind::Successor { previous, ordinal, salt });
            }
            Some(_) => {}
        }
        // 3.
        Ok(Active {
            log: next.log.clone(),
            segment: Arc::clone(&next.segment),
            end: FRAMES_OFFSET + LINK_FRAME_BYTES,
            populated: next.populated,
            populate_at: next.populated.saturating_sub(POPULATE_BYTES / 2),
            read_ahead: next.read_ahead,
            released: FRAMES_OFFSET,
            since: Instant::now(),
        })
    }

    /// A write of the log failed: a full disk heals, everything else poisons.
    fn write_failed(&self, tail: &mut Tail, error: pkv_fs::Error) -> Error {
        if error.is_full() {
            let cause = Cause::fs(error);
            tail.write_refused = Some(cause.clone());
            return Error::DiskFull(cause);
        }
        let cause = Cause::fs(error);
        self.poison_tail(tail, cause.clone());
        Error::Poisoned(cause)
    }

    /// No write from now on; who waits is told why.
    pub(crate) fn poison(&self, cause: Cause) {
        self.poison_tail(&mut self.tail.lock(), cause);
        self.commit.wake_all();
        self.tell_watches();
    }

    fn poison_tail(&self, tail: &mut Tail, cause: Cause) {
        if matches!(tail.state, State::Open | State::Closing) {
            tail.state = State::Poisoned(cause);
        }
        self.room.notify_all();
        self.keeper_wanted.notify_all();
    }
}

impl Tail {
    /// The size of a segment that is to take a frame of this size.
    fn segment_bytes(&self, frame_bytes: u64) -> u64 {
        self.next_segment_bytes.max(segment_bytes_for(frame_bytes))
    }

    /// Adapts the size of the segments to come to how fast this one filled up.
    fn adapt_segment_bytes(&mut self, settings: &LogSettings) {
        let Some(active) = &self.current else { return };
        let filled_in = active.since.elapsed();
        self.next_segment_bytes = keeper::next_segment_bytes(
            settings,
            self.next_segment_bytes,
            filled_in,
            self.log_bytes,
        );
    }

    /// The link of the log that comes next.
    fn link(&self, watermark: u64) -> Link {
        let before = match (&self.current, &self.previous) {
            (Some(active), _) => (active.log.ordinal, active.log.salt),
            (None, Some(previous)) => (previous.ordinal, previous.salt),
            (None, None) => (0, 0),
        };
        Link { previous_ordinal: before.0, previous_salt: before.1, watermark }
    }

    /// Whether the logs are over their limit with so many bytes more, and a compaction could help.
    fn is_log_full(&self, max: Option<u64>, bytes: u64) -> bool {
        max.is_some_and(|max| self.log_bytes + bytes > max && self.last_seq > self.snapshot_seq)
    }

    fn check_open(&self) -> Result<()> {
        match &self.state {
            State::Open => Ok(()),
            State::Poisoned(cause) => Err(Error::Poisoned(cause.clone())),
            State::Closing | State::Closed => Err(Error::Closed),
        }
    }
}

impl Previous {
    /// Of a log whose seal has just named the next one.
    fn of(log: &LogFile) -> Self {
        let LogFile { path, ordinal, salt, seed, .. } = log.clone();
        Self { path, ordinal, salt, seed, names_next: true }
    }
}

impl Active {
    fn fits(&self, bytes: u64) -> bool {
        self.end + MARK_FRAME_BYTES + bytes + ROOM_KEPT_BYTES <= self.log.segment_bytes
    }
}

impl Prepared {
    fn fits(&self, bytes: u64) -> bool {
        segment_bytes_for(bytes) <= self.log.segment_bytes
    }
}

impl Unavailable {
    fn error(&self) -> Error {
        if self.full {
            Error::DiskFull(self.cause.clone())
        } else {
            Error::LogUnavailable(self.cause.clone())
        }
    }
}
