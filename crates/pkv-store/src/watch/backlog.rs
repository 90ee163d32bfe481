//! What was written before a watch began, out of the logs that are still there.
//!
//! All files are opened at once, with the names of the folder locked, so that no compaction can take one
//! away in between; they are read later, a window at a time. Frames up to the last number at that moment
//! are whole: the log notes a number only behind the copy of its frame.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_format::{
    FRAMES_OFFSET, FileHeader, Frame, FrameKind, Operation, Scanner, Step, frame_bytes,
};
use pkv_fs::{Access, File};
use pkv_snapshot_set::SnapshotType;

use super::queue::Filter;
use super::{Event, Old, Raw};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::expiry::logged_value;
use crate::recover::read_header;

/// How much of a log is in memory at a time; a larger frame gets as much as it needs.
const WINDOW_BYTES: usize = 256 * 1024;

/// Logs that are read from one number to another.
#[derive(Debug)]
pub(super) struct Backlog {
    logs: VecDeque<Log>,
    /// The next frame of the first log.
    offset: u64,
    next_seq: u64,
    after_seq: u64,
    last_seq: u64,
    filter: Filter,
    /// Values have deadlines before them.
    timed: bool,
    ready: VecDeque<Event>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Arc<dyn File>,
    header: FileHeader,
    /// The last number before this log.
    before_seq: u64,
}

impl Event {
    pub(super) fn as_raw(&self) -> Raw<'_> {
        fn old(old: &Old<Vec<u8>>) -> Old<&[u8]> {
            match old {
                Old::Absent => Old::Absent,
                Old::Value(value) => Old::Value(value),
                Old::Unknown => Old::Unknown,
            }
        }
        match self {
            Event::Set { seq, key, value, old: before } => {
                Event::Set { seq: *seq, key, value, old: old(before) }
            }
            Event::Remove { seq, key, old: before } => {
                Event::Remove { seq: *seq, key, old: old(before) }
            }
            Event::Clear { seq } => Event::Clear { seq: *seq },
            Event::Lagged { first_seq, last_seq } => {
                Event::Lagged { first_seq: *first_seq, last_seq: *last_seq }
            }
        }
    }
}

impl Backlog {
    /// Opens the logs that hold the writes above `after_seq` up to `last_seq`.
    pub(super) fn open(core: &Core, filter: Filter, after_seq: u64, last_seq: u64) -> Result<Self> {
        let mut logs: VecDeque<Log> = core.folder.with_set(|set| {
            let diffs =
                set.snapshots().iter().filter(|info| info.snapshot_type == SnapshotType::Diff);
            let mut logs = VecDeque::new();
            for path in diffs.filter_map(|info| info.shard_paths.first()) {
                let file = core.folder.fs.open(path, Access::Read)?;
                logs.extend(Log::open(path.clone(), file)?);
            }
            Ok(logs)
        })?;
        // Values that an older version of their type has written are upgraded by opening alone.
        let is_older = |log: &Log| log.header.value_schema != core.folder.identity.value_schema;
        if let Some(older) = logs.iter().rposition(is_older) {
            logs.drain(..=older);
        }
        let Some(first) = logs.iter().rposition(|log| log.before_seq <= after_seq) else {
            let oldest_seq = logs.front().map_or(last_seq, |log| log.before_seq);
            return Err(Error::WatchTooOld { after_seq, oldest_seq });
        };
        logs.drain(..first);
        let next_seq = logs.front().map_or(0, |log| log.before_seq).saturating_add(1);
        let ready = VecDeque::new();
        let offset = FRAMES_OFFSET;
        let timed = core.expiry.is_some();
        Ok(Self { logs, offset, next_seq, after_seq, last_seq, filter, timed, ready })
    }

    /// The next event, if its write may be seen yet.
    pub(super) fn next(&mut self, visible_seq: u64) -> Result<Option<Event>> {
        while self.ready.is_empty() && self.next_seq <= self.last_seq {
            self.read_window()?;
        }
        let is_visible = self.ready.front().is_some_and(|event| event.seq() <= visible_seq);
        Ok(if is_visible { self.ready.pop_front() } else { None })
    }

    /// Everything was told.
    pub(super) fn is_done(&self) -> bool {
        self.ready.is_empty() && self.next_seq > self.last_seq
    }

    /// Reads one window of the first log, or goes on to the next log.
    fn read_window(&mut self) -> Result<()> {
        let Some(log) = self.logs.front() else {
            let (after_seq, oldest_seq) = (self.after_seq, self.last_seq);
            return Err(Error::WatchTooOld { after_seq, oldest_seq });
        };
        let (path, file, seed) = (log.path.clone(), Arc::clone(&log.file), log.header.seed());
        let mut bytes = Vec::new();
        let mut want = WINDOW_BYTES;
        loop {
            bytes.try_reserve_exact(want).map_err(|_| Error::OutOfMemory)?;
            bytes.resize(want, 0);
            // A log that was full has been cut behind its seal meanwhile, perhaps.
            let got = file.read_at(self.offset, &mut bytes)?;
            let mut scanner = Scanner::new(seed, self.offset, bytes.get(..got).unwrap_or_default());
            while self.next_seq <= self.last_seq {
                match scanner.next_frame() {
                    Step::Frame(frame) if frame.kind == FrameKind::Data => {
                        self.take(&frame, &path)?;
                    }
                    Step::Frame(_) => {}
                    _ if scanner.offset() > self.offset => break,
                    Step::Partial { bytes, .. } if got == want => {
                        want = want.max(bytes) + WINDOW_BYTES;
                        break;
                    }
                    // The next write stands in the next log, or it is gone.
                    _ => {
                        self.logs.pop_front();
                        self.offset = FRAMES_OFFSET;
                        return Ok(());
                    }
                }
            }
            if scanner.offset() > self.offset || self.next_seq > self.last_seq {
                self.offset = scanner.offset();
                return Ok(());
            }
        }
    }

    /// Takes the events of one write.
    fn take(&mut self, frame: &Frame<'_>, path: &Path) -> Result<()> {
        if frame.seq != self.next_seq {
            let reason = format!("write {} where {} belongs", frame.seq, self.next_seq);
            return Err(Error::damaged(path, frame.offset, reason));
        }
        let seq = frame.seq;
        self.next_seq += 1;
        if seq <= self.after_seq {
            return Ok(());
        }
        for operation in frame.operations() {
            let operation =
                operation.map_err(|why| Error::damaged(path, frame.offset, why.to_string()))?;
            let (key, event) = match operation {
                Operation::Set { key, value } => {
                    let value = if self.timed { logged_value(key, value) } else { Some(value) };
                    let Some(value) = value else { continue };
                    let old = Old::Unknown;
                    (Some(key), Event::Set { seq, key: key.into(), value: value.into(), old })
                }
                Operation::Remove { key } => {
                    (Some(key), Event::Remove { seq, key: key.into(), old: Old::Unknown })
                }
                Operation::Clear => (None, Event::Clear { seq }),
            };
            if self.filter.takes(key) {
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}

impl Log {
    /// Reads header and link. `None`: made ahead and not in use yet.
    fn open(path: PathBuf, file: Arc<dyn File>) -> Result<Option<Self>> {
        let Ok(header) = read_header(&*file)? else { return Ok(None) };
        let mut first = [0; frame_bytes(size_of::<[u64; 3]>())];
        let got = file.read_at(FRAMES_OFFSET, &mut first)?;
        let first = first.get(..got).unwrap_or_default();
        match Scanner::new(header.seed(), FRAMES_OFFSET, first).next_frame() {
            Step::Frame(link) if link.kind == FrameKind::Link => {
                Ok(Some(Self { path, file, header, before_seq: link.seq }))
            }
            _ => Ok(None),
        }
    }
}
