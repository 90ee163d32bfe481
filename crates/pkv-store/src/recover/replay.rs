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
use super::scan::{End, Flaw, Found, Scan, ScanFrom, Then, WINDOW_BYTES};
use super::spans::Spans;
use super::upgrade::FileUpgrade;
use super::window::Window;
use super::{Phase, Progress, ReadOptions, RecoveryReport};
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::map::Map;

/// Shards are applied to in so many groups at most, each by one thread at a time. More than there are threads, so
/// that none waits long for the others.
const GROUPS_MAX: usize = 64;

/// With less, in bytes of bodies and in frames, another thread would cost more than it saves.
const BYTES_EACH_MIN: usize = 8 * 1024;
const FRAMES_EACH_MIN: usize = 64;

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
    spans: &Spans,
    opened: OpenedLogs,
    base: Option<&Base>,
    report: &mut RecoveryReport,
) -> Result<Logs> {
    let bytes_total = opened.0.iter().map(|log| log.file_bytes).sum();
    let mut replay = Replay {
        options,
        map,
        spans,
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
    let spans = Spans::default();
    let mut replay = Replay {
        options,
        map,
        spans: &spans,
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
    /// header or its first frame is not, nor is one that is older than another of those that were found: the listing missed it.
    fn is_there(&self, named: &Named) -> Result<bool> {
        if self.there.iter().any(|(ordinal, _)| *ordinal > named.ordinal) {
            return Ok(false);
        }
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
    spans: &'a Spans,
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
    ///
    /// 1. The frames of the first window are found.
    /// 2. Their bodies are checked and taken apart, a run of frames for each thread.
    /// 3. What counts is decided in order.
    /// 4. It is applied, each thread to shards of its own; meanwhile the frames of the next window are found, which
    ///    only one thread can do, since each says where the next one begins. Then comes step 2 for these.
    fn frames(
        &mut self,
        log: &mut LogRead,
        header: &FileHeader,
        previous: Option<(u64, u64)>,
    ) -> Result<(u64, End)> {
        let file = Arc::clone(&log.file);
        let path = log.path.clone();
        let first = ScanFrom { offset: log.end, bytes: WINDOW_BYTES };
        if log.file_bytes <= FRAMES_OFFSET {
            return Ok((FRAMES_OFFSET, End::Clean));
        }
        let window = || Window::new(&*file, &path, log.file_bytes).live(self.options.live);
        let (mut now, mut next) = (Scan::new(window()), Scan::new(window()));
        let (pool, map, spans, seed) = (self.options.pool, self.map, self.spans, header.seed());
        let upgrade = FileUpgrade::of(self.options, &path, &header.value_schema);
        // 1.
        let mut then = now.read(seed, first)?;
        loop {
            log.file_bytes = now.file_bytes();
            self.tell(now.bytes_read());
            // 2.
            let frames = now.frames();
            let frame_bytes = now.body_bytes() / frames.len().max(1);
            let each_min = (BYTES_EACH_MIN / frame_bytes.max(1)).clamp(1, FRAMES_EACH_MIN);
            let groups = if frames.len() < each_min { 1 } else { map.shards().min(GROUPS_MAX) };
            let groups: Vec<usize> = (0..groups).collect();
            let run_len = frames.len().div_ceil(pool.threads().max(1) * 2).max(each_min);
            let runs: Vec<&[Found]> = frames.chunks(run_len).collect();
            let read = |run: &&[Found]| {
                Run::read(map, groups.len(), run.iter().map(|found| now.frame(found)))
            };
            let mut runs = pool.map(&runs, read);
            // 3.
            if let Some(early) = self.decide(log, &now, &mut runs, previous) {
                then = Then::Ended(early);
            }
            // 4.
            let apply = |group: &usize| apply(map, spans, &runs, *group, groups.len(), upgrade);
            let from = match then {
                Then::From(from) => from,
                Then::Ended(ended) => {
                    pool.map(&groups, apply).into_iter().collect::<Result<()>>()?;
                    return Ok(ended);
                }
            };
            let (applied, scanned) = pool.map_beside(&groups, apply, || next.read(seed, from));
            applied.into_iter().collect::<Result<()>>()?;
            then = scanned?;
            std::mem::swap(&mut now, &mut next);
        }
    }

    /// Checks the frames of one window in order, and has each run keep what counts. `Some`: they end earlier,
    /// and why.
    fn decide(
        &mut self,
        log: &mut LogRead,
        scan: &Scan<'_>,
        runs: &mut Vec<Run<'_>>,
        previous: Option<(u64, u64)>,
    ) -> Option<(u64, End)> {
        let mut frames = scan.frames().iter().map(|found| scan.frame(found));
        for number in 0..runs.len() {
            let Some(run) = runs.get_mut(number) else { continue };
            let mut early = None;
            for (index, frame) in frames.by_ref().take(run.frames()).enumerate() {
                if let Err(flaw) = self.count(log, &frame, previous) {
                    run.end_before(index);
                    early = Some((frame.offset, End::Bad(flaw)));
                    break;
                }
            }
            let bad = run.bad.take().map(|(offset, reason)| (offset, End::Bad(reason.into())));
            if let Some(early) = early.or(bad) {
                runs.truncate(number + 1);
                return Some(early);
            }
        }
        None
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
                self.spans.note_writes();
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
