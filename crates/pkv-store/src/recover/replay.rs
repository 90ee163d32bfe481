//! Replaying the logs above the full snapshot, and judging how they end.
//!
//! Frames are applied in the order of their sequence numbers up to the first that is missing or bad.
//! Behind it nothing is applied, but everything is still searched for watermarks: whole frames may well
//! stand behind a hole, since unsynced pages reach the disk in any order, and one of them may know
//! that the missing write had been synced.

use std::sync::Arc;
use std::time::Duration;

use pkv_format::{
    FRAMES_OFFSET, FileHeader, Frame, FrameKind, Link, Mark, Scanner, Seal, Step, Successor,
    find_frame,
};
use pkv_fs::Access;
use pkv_snapshot_set::{LOCK_FILE_NAME, SnapshotFileName, SnapshotOrdinal, SnapshotType};

use super::apply::{Run, apply};
use super::file::read_header;
use super::load::Base;
use super::logs::{
    Fate, LogRead, Logs, Look, Named, OpenedLogs, Piece, Stop, has_frames, last_nonzero,
};
use super::upgrade::FileUpgrade;
use super::window::Window;
use super::{Phase, Progress, ReadOptions, RecoveryReport};
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::map::Map;

/// How much of a log is in memory at a time; a larger frame gets as much as it needs.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// With fewer bytes left in a window, zeros do not say that the log ends there.
const HEADER_ROOM_BYTES: u64 = 24;

/// How often the end of a log is followed while a writer moves it, how often a bad frame is read again
/// that does not change, and the pause before.
const TAIL_MOVES_MAX: u32 = 3;
const TAIL_WAITS_MAX: u32 = 5;
const TAIL_WAIT: Duration = Duration::from_millis(1);

/// A control frame and a little more: windows of the search behind a hole overlap by this much.
const OVERLAP_BYTES: u64 = 64;

/// Replays all logs in order.
pub(super) fn replay(
    options: &ReadOptions<'_>,
    map: &Map,
    opened: OpenedLogs,
    base: Option<&Base>,
    report: &mut RecoveryReport,
) -> Result<Logs> {
    let bytes_total = opened.0.iter().map(|log| log.file_bytes).sum();
    let mut replay = Replay {
        options,
        map,
        based: base.is_some(),
        next_seq: base.map_or(0, |base| base.start_seq) + 1,
        watermark: base.map_or(0, |base| base.end_seq),
        stop: None,
        there: opened
            .0
            .iter()
            .filter_map(|log| Some((log.ordinal, log.header.as_ref()?.salt)))
            .collect(),
        writes: 0,
        bytes_done: 0,
        bytes_total,
    };
    let mut logs = opened.0;
    let named = match (base, options.root) {
        (Some(base), _) => Some(Named {
            ordinal: base.log_ordinal,
            salt: base.log_salt,
            by: options.dir.to_path_buf(),
        }),
        (None, Some(root)) => {
            let by = options.dir.join(LOCK_FILE_NAME);
            Some(Named { ordinal: root.ordinal, salt: root.salt, by })
        }
        (None, None) => None,
    };
    let kept = replay.all(&mut logs, named, None)?;
    report.logs = kept;
    report.writes = replay.writes;
    report.bytes_read += bytes_total;
    let Replay { next_seq, watermark, stop, .. } = replay;
    Ok(Logs { logs, next_seq, watermark, stop })
}

/// Goes on where an earlier reading ended: `logs` are the log that it ended in, and those behind it. What
/// was applied is in `read`, also after an error.
pub(super) fn resume(
    options: &ReadOptions<'_>,
    map: &Map,
    logs: &mut [LogRead],
    read: &mut Logs,
) -> Result<u64> {
    let Some(tail) = logs.first() else { return Ok(0) };
    let Some(salt) = tail.header.as_ref().map(|header| header.salt) else { return Ok(0) };
    let named = Named { ordinal: tail.ordinal, salt, by: tail.path.clone() };
    let mut replay = Replay {
        options,
        map,
        based: true,
        next_seq: read.next_seq,
        watermark: read.watermark,
        stop: None,
        there: logs
            .iter()
            .filter_map(|log| Some((log.ordinal, log.header.as_ref()?.salt)))
            .collect(),
        writes: 0,
        bytes_done: 0,
        bytes_total: 0,
    };
    let done = replay.all(logs, Some(named), None);
    let Replay { next_seq, watermark, stop, writes, .. } = replay;
    (read.next_seq, read.watermark, read.stop) = (next_seq, watermark, stop);
    done.map(|_| writes)
}

impl Replay<'_> {
    /// Replays all logs in order. Returns how many of them count.
    fn all(
        &mut self,
        logs: &mut [LogRead],
        mut named: Option<Named>,
        mut previous: Option<(u64, u64)>,
    ) -> Result<u32> {
        let replay = self;
        let mut kept = 0;
        let last = logs.last().map(|log| log.ordinal);
        for log in logs {
            let names_this = named.as_ref().is_some_and(|named| named.ordinal == log.ordinal);
            let Some(header) = log.header.clone() else {
                if names_this {
                    let gone = "the log is in use, but its header is gone".to_owned();
                    let reason = log.bad_header.clone().unwrap_or(gone);
                    return Err(Error::damaged(&log.path, 0, reason));
                }
                // Where another one is known to follow, this one was never used, whatever is in it.
                if let (Some(reason), None) = (log.bad_header.clone(), &named) {
                    let last = last_nonzero(&*log.file, &log.path, log.file_bytes, 0)?;
                    log.dropped_bytes = last.unwrap_or(0);
                    replay.stop_at(log, 0, &reason, false);
                }
                continue;
            };
            if let Some(named) = named.as_ref().filter(|_| names_this)
                && named.salt != header.salt
            {
                return Err(Error::damaged(
                    &log.path,
                    48,
                    "another log than the one before it names (the salts differ)",
                ));
            }
            let is_tail = replay.options.live && last == Some(log.ordinal);
            replay.log(
                log,
                &header,
                previous,
                named.is_some() && !names_this,
                names_this,
                is_tail,
            )?;
            if log.fate == Fate::Dropped {
                continue;
            }
            kept += 1;
            previous = Some((log.ordinal, header.salt));
            if replay.stop.is_none() {
                named = log.names_next();
            } else if names_this {
                named = None;
            }
        }
        if let (Some(named), None) = (&named, &replay.stop)
            && !(replay.options.live && replay.is_there(named)?)
        {
            let reason = format!("log {} follows here and is missing", named.ordinal);
            return Err(Error::damaged(&named.by, 0, reason));
        }
        Ok(kept)
    }

    /// Whether this log is there now, one that was taken into use since the folder was looked at. One that lost its
    /// header or its first frame is not.
    fn is_there(&self, named: &Named) -> Result<bool> {
        let ordinal = SnapshotOrdinal(named.ordinal);
        let Some(name) = SnapshotFileName::new(SnapshotType::Diff, ordinal, 0, 1) else {
            return Ok(false);
        };
        let path = self.options.dir.join(name.to_string());
        let Ok(file) = self.options.fs.open(&path, Access::Read) else { return Ok(false) };
        let Ok(header) = read_header(&*file)? else { return Ok(false) };
        let bytes = file.len()?;
        let is_empty = || {
            let frames = has_frames(&*file, &path, bytes, Look::Whole)?;
            Ok::<bool, Error>(bytes == header.segment_bytes && !frames)
        };
        Ok(header.salt == named.salt
            && (has_frames(&*file, &path, bytes, Look::FirstFrame)? || is_empty()?))
    }
}

/// The state of a replay between logs.
struct Replay<'a> {
    options: &'a ReadOptions<'a>,
    map: &'a Map,
    /// There is a full snapshot: the logs before it are gone.
    based: bool,
    next_seq: u64,
    watermark: u64,
    stop: Option<Stop>,
    /// Ordinal and salt of every log whose header stands.
    there: Vec<(u64, u64)>,
    writes: u64,
    bytes_done: u64,
    bytes_total: u64,
}

/// Why reading a log's frames came to an end.
enum End {
    /// At zeros, or exactly at the file's end.
    Clean,
    /// At a seal.
    Sealed,
    /// At the place to which a writer has come just now.
    Moving,
    /// At something that is no frame, or not the one that belongs there.
    Bad(Flaw),
}

/// What is wrong with a frame.
struct Flaw {
    reason: String,
    /// No crash explains it.
    damage: bool,
}

impl From<String> for Flaw {
    fn from(reason: String) -> Self {
        Self { reason, damage: false }
    }
}

impl Replay<'_> {
    /// Replays one log. `other_named`: a log that comes later is known to follow here, so that this one
    /// was never used. `named`: another file says that this one is in use.
    fn log(
        &mut self,
        log: &mut LogRead,
        header: &FileHeader,
        previous: Option<(u64, u64)>,
        other_named: bool,
        named: bool,
        is_tail: bool,
    ) -> Result<()> {
        let mut successor = [0; pkv_format::SUCCESSOR_BYTES];
        let got = log.file.read_at(pkv_format::SUCCESSOR_OFFSET, &mut successor)?;
        log.successor = Successor::decode(header.seed(), successor.get(..got).unwrap_or_default());

        if self.stop.is_some() || other_named {
            self.search(log, header, FRAMES_OFFSET)?;
            log.fate = if named { Fate::Kept } else { Fate::Dropped };
            return Ok(());
        }
        if log.seal.is_some() {
            // It was read to its end before.
            log.fate = Fate::Kept;
            return Ok(());
        }
        let (at, end) = if is_tail {
            self.tail(log, header, previous)?
        } else {
            self.frames(log, header, previous)?
        };
        log.end = at;
        log.fate = if log.linked || named { Fate::Kept } else { Fate::Dropped };
        match end {
            End::Sealed => {
                // A crash may come between the seal and the cut: then the file has its full length.
                if log.file_bytes < header.segment_bytes && log.file_bytes != at {
                    self.stop_at(log, at, "bytes behind the seal of a log that was cut", true);
                }
            }
            End::Moving => {}
            End::Clean if log.file_bytes < header.segment_bytes => {
                self.stop_at(log, at, "the log was cut short: it ends without a seal", true);
            }
            End::Clean => {
                if let Some(last) = last_nonzero(&*log.file, &log.path, log.file_bytes, at)? {
                    log.dropped_bytes = last - at;
                    self.stop_at(log, at, "zeros, and more bytes behind them", false);
                    self.search(log, header, at)?;
                }
            }
            End::Bad(Flaw { reason, damage }) => {
                // A log is cut only after all of it was synced: a shorter one is never torn.
                let cut = log.file_bytes < header.segment_bytes;
                self.stop_at(log, at, &reason, damage || cut);
                let last = last_nonzero(&*log.file, &log.path, log.file_bytes, at)?;
                log.dropped_bytes = last.map_or(0, |last| last - at);
                self.search(log, header, at)?;
            }
        }
        Ok(())
    }

    /// The frames of the log that a writer may be appending to. A bad frame, and zeros with more bytes behind
    /// them, are read again before they are believed: they may be half copied. What had been copied before the
    /// bytes behind it were seen is whole when it is read again.
    fn tail(
        &mut self,
        log: &mut LogRead,
        header: &FileHeader,
        previous: Option<(u64, u64)>,
    ) -> Result<(u64, End)> {
        let (mut moved, mut waited) = (0, 0);
        loop {
            let from = log.end;
            let (at, end) = self.frames(log, header, previous)?;
            log.end = at;
            log.file_bytes = log.file_bytes.min(log.file.len()?);
            let is_good = match &end {
                End::Sealed | End::Moving => true,
                End::Clean => last_nonzero(&*log.file, &log.path, log.file_bytes, at)?.is_none(),
                End::Bad(flaw) => flaw.damage,
            };
            if is_good {
                return Ok((at, end));
            }
            if at > from {
                // Where nothing whole stood a moment ago there is more now: somebody writes here, and what
                // was there when the reading began has been read.
                moved += 1;
                if moved > TAIL_MOVES_MAX {
                    return Ok((at, End::Moving));
                }
            } else {
                waited += 1;
                if waited > TAIL_WAITS_MAX {
                    return Ok((at, end));
                }
                std::thread::sleep(TAIL_WAIT);
            }
        }
    }

    fn stop_at(&mut self, log: &LogRead, offset: u64, reason: &str, damage: bool) {
        self.stop.get_or_insert_with(|| Stop {
            path: log.path.clone(),
            offset,
            reason: reason.to_owned(),
            damage,
        });
    }

    /// Applies whole frames in order; returns where they end and why.
    fn frames(
        &mut self,
        log: &mut LogRead,
        header: &FileHeader,
        previous: Option<(u64, u64)>,
    ) -> Result<(u64, End)> {
        let file = Arc::clone(&log.file);
        let path = log.path.clone();
        let mut window = Window::new(&*file, &path, log.file_bytes).live(self.options.live);
        let mut offset = log.end;
        let mut want = WINDOW_BYTES;
        if log.file_bytes <= FRAMES_OFFSET {
            return Ok((FRAMES_OFFSET, End::Clean));
        }
        loop {
            window.read(offset, want)?;
            log.file_bytes = window.file_bytes();
            want = WINDOW_BYTES;
            self.tell(window.bytes().len());
            let mut frames = Vec::new();
            let mut scanner = Scanner::new(header.seed(), offset, window.bytes());
            // `None`: the window is used up and the file goes on.
            let mut ended = loop {
                match scanner.next_unchecked_body() {
                    Step::Frame(frame) => {
                        let sealed = frame.kind == FrameKind::Seal;
                        frames.push(frame);
                        if sealed {
                            break Some((scanner.offset(), End::Sealed));
                        }
                    }
                    // The end of the window, or too near to it for a header.
                    Step::End { offset: at }
                        if !window.at_end() && at + HEADER_ROOM_BYTES > window.end() =>
                    {
                        offset = at;
                        break None;
                    }
                    Step::End { offset: at } => break Some((at, End::Clean)),
                    Step::Partial { offset: at, bytes }
                        if at.saturating_add(bytes_u64(bytes)) <= log.file_bytes =>
                    {
                        offset = at;
                        want = want.max(bytes_u64(bytes));
                        break None;
                    }
                    Step::Partial { offset: at, .. } => {
                        break Some((
                            at,
                            End::Bad(Flaw::from(
                                "a frame that runs past the end of the file".to_owned(),
                            )),
                        ));
                    }
                    Step::Bad { offset: at, why } => {
                        break Some((at, End::Bad(format!("no valid frame: {why}").into())));
                    }
                }
            };
            if let Some(early) = self.window(log, header, &frames, previous)? {
                ended = Some(early);
            }
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }

    /// Checks and applies the frames of one window. `Some`: they end earlier, and why.
    fn window(
        &mut self,
        log: &mut LogRead,
        header: &FileHeader,
        frames: &[Frame<'_>],
        previous: Option<(u64, u64)>,
    ) -> Result<Option<(u64, End)>> {
        // Bodies are checked and taken apart in parallel, a run of frames for each thread.
        let threads = self.options.pool.threads().max(1);
        let runs: Vec<&[Frame<'_>]> =
            frames.chunks(frames.len().div_ceil(threads * 2).max(1)).collect();
        let map = self.map;
        let runs: Vec<Run<'_>> = self.options.pool.map(&runs, |run| Run::read(map, run));

        // What counts is decided in order.
        let mut early = None;
        let mut counted = Vec::new();
        for run in &runs {
            let mut operations = 0;
            for frame in run.frames {
                match self.count(log, frame, previous) {
                    Ok(()) => operations += run.operations_of(frame),
                    Err(flaw) => {
                        early = Some((frame.offset, End::Bad(flaw)));
                        break;
                    }
                }
            }
            counted.push(run.operations.get(..operations).unwrap_or_default());
            if early.is_none()
                && let Some((offset, reason)) = &run.bad
            {
                early = Some((*offset, End::Bad(reason.clone().into())));
            }
            if early.is_some() {
                break;
            }
        }

        // Applied in parallel by shard: each thread goes over all operations and takes its own.
        let groups: Vec<usize> = (0..threads).collect();
        let upgrade = FileUpgrade::of(self.options, &log.path, &header.value_schema);
        let applied =
            self.options.pool.map(&groups, |group| apply(map, &counted, *group, threads, upgrade));
        applied.into_iter().collect::<Result<()>>()?;
        Ok(early)
    }

    /// Checks a frame's place in the order and notes what it says.
    fn count(
        &mut self,
        log: &mut LogRead,
        frame: &Frame<'_>,
        previous: Option<(u64, u64)>,
    ) -> Result<(), Flaw> {
        let cannot_read = |what, why| format!("{what} that cannot be read: {why}");
        if frame.kind == FrameKind::Link {
            let link = Link::decode(frame.body).map_err(|why| cannot_read("a link", why))?;
            self.check_link(&link, log.ordinal, previous)?;
            if log.linked {
                return Err("a second link".to_owned().into());
            }
            self.watermark = self.watermark.max(link.watermark);
        } else if !log.linked {
            return Err("the log does not begin with a link".to_owned().into());
        }
        let last_seq = self.next_seq - 1;
        let expected = if frame.kind == FrameKind::Data { self.next_seq } else { last_seq };
        if frame.seq != expected {
            return Err(format!("a frame of write {} where {expected} belongs", frame.seq).into());
        }
        match frame.kind {
            FrameKind::Data => {
                self.next_seq += 1;
                self.writes += 1;
            }
            FrameKind::Link => log.linked = true,
            FrameKind::Mark => {
                let mark = Mark::decode(frame.body).map_err(|why| cannot_read("a mark", why))?;
                self.watermark = self.watermark.max(mark.watermark);
            }
            FrameKind::Seal => {
                let seal = Seal::decode(frame.body).map_err(|why| cannot_read("a seal", why))?;
                self.watermark = self.watermark.max(seal.watermark);
                log.seal = Some(seal);
            }
        }
        log.last_offset = frame.offset;
        match log.frames.last_mut() {
            Some(piece) if frame.offset - piece.offset < 64 * 1024 => piece.last_seq = frame.seq,
            _ => log.frames.push(Piece { offset: frame.offset, last_seq: frame.seq }),
        }
        Ok(())
    }

    /// A log whose predecessor is not there is damage, whatever the watermarks say: the name and the header of
    /// a log are durable before its first frame, and logs are removed from the newest down. One that is
    /// there and does not count lost its own link, which is as torn as any other frame.
    fn check_link(
        &self,
        link: &Link,
        log_ordinal: u64,
        previous: Option<(u64, u64)>,
    ) -> Result<(), Flaw> {
        let (ordinal, salt) = match previous {
            Some(previous) => previous,
            None if self.based => return Ok(()),
            None => (0, 0),
        };
        if (link.previous_ordinal, link.previous_salt) == (ordinal, salt) {
            return Ok(());
        }
        let reason = match ordinal {
            0 => format!("it follows log {}, which is missing or empty", link.previous_ordinal),
            _ => format!("it follows log {}, not log {ordinal} before it", link.previous_ordinal),
        };
        let damage = link.previous_ordinal >= log_ordinal
            || !self.there.contains(&(link.previous_ordinal, link.previous_salt));
        Err(Flaw { reason, damage })
    }

    /// Looks for watermarks in what is not applied.
    fn search(&mut self, log: &LogRead, header: &FileHeader, from: u64) -> Result<()> {
        let mut window = Window::new(&*log.file, &log.path, log.file_bytes);
        let mut offset = from;
        while offset < log.file_bytes {
            window.read(offset, WINDOW_BYTES)?;
            let bytes = window.bytes();
            let mut at = offset;
            while let Some(found) = bytes
                .get(usize::try_from(at - offset).unwrap_or(usize::MAX)..)
                .and_then(|rest| find_frame(header.seed(), at, rest))
            {
                let rest = bytes
                    .get(usize::try_from(found - offset).unwrap_or(usize::MAX)..)
                    .unwrap_or_default();
                at = found + 8;
                if let Step::Frame(frame) = Scanner::new(header.seed(), found, rest).next_frame() {
                    let watermark = frame.watermark().ok().flatten().unwrap_or(0);
                    self.watermark = self.watermark.max(watermark);
                    at = frame.end_offset();
                }
            }
            if window.at_end() {
                break;
            }
            offset += bytes_u64(bytes.len()).saturating_sub(OVERLAP_BYTES).max(OVERLAP_BYTES);
        }
        Ok(())
    }

    fn tell(&mut self, bytes: usize) {
        self.bytes_done += bytes_u64(bytes);
        if let Some(observer) = self.options.progress {
            observer.tell(Progress {
                phase: Phase::Replay,
                bytes_done: self.bytes_done.min(self.bytes_total),
                bytes_total: self.bytes_total,
            });
        }
    }
}
