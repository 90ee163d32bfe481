//! The logs behind a full snapshot as one chain, up to a point: where each ends, and what the last write is.
//!
//! The rules are those of opening (`recover/`), on frames that are not applied. Beside a writer the last log may end
//! in a frame that is being copied in; it is looked at again before it counts as the end.

use std::path::PathBuf;
use std::time::Duration;

use pkv_format::{FRAMES_OFFSET, Frame, FrameKind, Link, Mark, Scanner, Seal, Step, find_frame};
use pkv_snapshot_set::LOCK_FILE_NAME;

use super::source::{Full, Id, Log, Source};
use crate::error::{Error, Result};
use crate::frame::{SEAL_FRAME_BYTES, bytes_u64};
use crate::recover::{Window, last_nonzero};

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// At the last whole frame.
    Latest,
    /// At this write.
    Seq(u64),
    /// At the last whole frame; every mark's time is compared with this one.
    Time(u64),
}

/// The logs from a base on.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    /// The last write.
    pub(super) last_seq: u64,
    /// The write before the last mark that is not later than the time asked for.
    pub(super) time_seq: Option<u64>,
}

/// One log of a chain.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) log: &'a Log,
    /// Where its frames end, a seal not counted.
    pub(super) end: u64,
    /// The last write in it or, where it has none, before it.
    pub(super) last_seq: u64,
    /// The seal right behind its frames.
    pub(super) seal: Option<Seal>,
}

/// How much of a log is in memory at a time; a larger frame gets what it needs.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// A control frame and a little more, by which windows of a search overlap.
const OVERLAP_BYTES: u64 = 64;
/// With fewer bytes left in a window, zeros do not say that the log ends there.
const HEADER_ROOM_BYTES: u64 = 24;

/// How often the place at which a log ends is looked at again, and the pause before. A frame on its way into the
/// log is there after some microseconds, unless the writer's thread lost its processor.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// Walks the logs behind `base`, or from the store's first one.
pub(super) fn walk<'a>(
    source: &'a Source<'_>,
    base: Option<&Full>,
    until: Until,
) -> Result<Chain<'a>> {
    let mut walk = Walk {
        source,
        until,
        is_based: base.is_some(),
        last_seq: base.map_or(0, |base| base.start_seq),
        watermark: base.map_or(0, |base| base.end_seq),
        named: match (base, source.root) {
            (Some(base), _) => {
                let by = base.shards.first().map(|shard| shard.path.clone()).unwrap_or_default();
                Some(Named { id: base.log, by })
            }
            (None, Some(root)) => {
                let id = Id { ordinal: root.ordinal, salt: root.salt };
                Some(Named { id, by: source.dir.join(LOCK_FILE_NAME) })
            }
            (None, None) => None,
        },
        time_seq: None,
        is_time_over: false,
        pieces: Vec::new(),
        stop: None,
    };
    let above = base.map_or(0, |base| base.ordinal);
    let mut logs = source.logs.iter().filter(|log| log.id.ordinal > above);
    for log in logs.by_ref() {
        walk.log(log)?;
        if walk.is_done() {
            break;
        }
    }
    if !walk.has_come_to_its_point() {
        // What lies behind is not taken, but it may know that what is missing had been synced.
        for log in logs {
            walk.search(log, FRAMES_OFFSET)?;
        }
        walk.judge()?;
    }
    let Walk { pieces, last_seq, time_seq, .. } = walk;
    Ok(Chain { pieces, last_seq, time_seq })
}

struct Walk<'a, 's> {
    source: &'a Source<'s>,
    until: Until,
    is_based: bool,
    last_seq: u64,
    watermark: u64,
    /// Who says that a certain log comes next.
    named: Option<Named>,
    time_seq: Option<u64>,
    /// A mark later than the time asked for was met.
    is_time_over: bool,
    pieces: Vec<Piece<'a>>,
    /// The first place where a frame is missing.
    stop: Option<Stop>,
}

struct Named {
    id: Id,
    by: PathBuf,
}

struct Stop {
    path: PathBuf,
    offset: u64,
    reason: String,
    /// No crash explains it.
    is_damage: bool,
}

/// Why the frames of a log end.
enum End {
    /// At zeros, or at the file's end.
    Clean,
    Sealed(Seal),
    /// The point was reached.
    Reached,
    Bad(String),
}

impl<'a> Walk<'a, '_> {
    fn is_done(&self) -> bool {
        self.stop.is_some() || self.has_come_to_its_point()
    }

    fn has_come_to_its_point(&self) -> bool {
        match self.until {
            // The link of the first log says that the base's own writes are all there.
            Until::Seq(seq) => self.last_seq >= seq && !self.pieces.is_empty(),
            Until::Time(_) => self.is_time_over,
            Until::Latest => false,
        }
    }

    fn log(&mut self, log: &'a Log) -> Result<()> {
        if let Some(Named { id, .. }) = &self.named {
            if id.ordinal != log.id.ordinal {
                // Made ahead and never used: another one is named.
                return Ok(());
            }
            if id.salt != log.id.salt {
                let reason = "another log than the one before it names (the salts differ)";
                return Err(Error::damaged(&log.opened.path, 48, reason));
            }
        }
        let Some(link) = self.link(log)? else {
            if self.named.is_some() {
                // It lost its link, and with it all that it held.
                self.stop_at(
                    log,
                    FRAMES_OFFSET,
                    "the log does not begin with a link".to_owned(),
                    false,
                );
                self.search(log, FRAMES_OFFSET)?;
            }
            return Ok(());
        };
        if !self.follows(&link, log) {
            return Ok(());
        }
        self.watermark = self.watermark.max(link.watermark);
        let is_cut = log.opened.bytes < log.opened.header.segment_bytes;
        let (end, how) = match is_cut.then(|| self.cut_log(log)).transpose()?.flatten() {
            Some(seal) => seal,
            None => self.frames(log)?,
        };
        let seal = match how {
            End::Sealed(seal) => Some(seal),
            End::Clean if is_cut => {
                self.stop_at(
                    log,
                    end,
                    "the log was cut short: it ends without a seal".to_owned(),
                    true,
                );
                None
            }
            End::Clean | End::Reached => None,
            End::Bad(reason) => {
                self.stop_at(log, end, reason, is_cut);
                self.search(log, end)?;
                None
            }
        };
        let next = match seal {
            Some(seal) if seal.next_ordinal != 0 => {
                Some(Id { ordinal: seal.next_ordinal, salt: seal.next_salt })
            }
            _ => log.successor,
        };
        self.named = next.map(|id| Named { id, by: log.opened.path.clone() });
        self.watermark = self.watermark.max(seal.map_or(0, |seal| seal.watermark));
        self.pieces.push(Piece { log, end, last_seq: self.last_seq, seal });
        Ok(())
    }

    /// The link at the front of a log; `None` if there is none.
    fn link(&self, log: &Log) -> Result<Option<Link>> {
        let mut window = Window::new(&*log.opened.file, &log.opened.path, log.opened.bytes);
        for look in 0..=LOOKS {
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            window.read(FRAMES_OFFSET, OVERLAP_BYTES)?;
            let step =
                Scanner::new(log.opened.header.seed(), FRAMES_OFFSET, window.bytes()).next_frame();
            match step {
                Step::Frame(frame) if frame.kind == FrameKind::Link => {
                    let is_next = frame.seq == self.last_seq;
                    return Ok(Link::decode(frame.body).ok().filter(|_| is_next));
                }
                Step::Frame(_) | Step::End { .. } => return Ok(None),
                Step::Partial { .. } | Step::Bad { .. } => {}
            }
        }
        Ok(None)
    }

    /// Whether a log is the one behind those that were walked.
    fn follows(&mut self, link: &Link, log: &Log) -> bool {
        let before = match self.pieces.last() {
            Some(piece) => piece.log.id,
            None if self.is_based => return true,
            None => Id { ordinal: 0, salt: 0 },
        };
        if (link.previous_ordinal, link.previous_salt) == (before.ordinal, before.salt) {
            return true;
        }
        let reason = format!(
            "it follows log {}, not log {} before it",
            link.previous_ordinal, before.ordinal
        );
        let is_there = self.source.logs.iter().any(|other| {
            (other.id.ordinal, other.id.salt) == (link.previous_ordinal, link.previous_salt)
        });
        self.stop_at(log, FRAMES_OFFSET, reason, !is_there);
        false
    }

    /// The end of a log that was ended and cut, by its seal alone; `None` where more must be known.
    fn cut_log(&mut self, log: &Log) -> Result<Option<(u64, End)>> {
        let end = log.opened.bytes.saturating_sub(SEAL_FRAME_BYTES);
        let mut window = Window::new(&*log.opened.file, &log.opened.path, log.opened.bytes);
        window.read(end, SEAL_FRAME_BYTES)?;
        let seed = log.opened.header.seed();
        let Step::Frame(frame) = Scanner::new(seed, end, window.bytes()).next_frame() else {
            return Ok(None);
        };
        let Some(seal) = Seal::decode(frame.body).ok().filter(|_| frame.kind == FrameKind::Seal)
        else {
            return Ok(None);
        };
        let is_needed_whole = match self.until {
            Until::Latest => true,
            Until::Seq(seq) => frame.seq <= seq,
            Until::Time(_) => false,
        };
        if !is_needed_whole || frame.seq < self.last_seq {
            return Ok(None);
        }
        self.last_seq = frame.seq;
        Ok(Some((end, End::Sealed(seal))))
    }

    /// Walks the frames of a log; where they end and why.
    fn frames(&mut self, log: &Log) -> Result<(u64, End)> {
        let opened = &log.opened;
        let mut window = Window::new(&*opened.file, &opened.path, opened.bytes);
        let (mut offset, mut want) = (FRAMES_OFFSET, WINDOW_BYTES);
        let mut looks_left = LOOKS;
        while offset < opened.bytes {
            window.read(offset, want)?;
            let mut scanner = Scanner::new(opened.header.seed(), offset, window.bytes());
            let stopped = loop {
                match scanner.next_frame() {
                    Step::Frame(frame) => match self.frame(&frame) {
                        Ok(None) if !self.is_reached() => {}
                        Ok(None) => return Ok((scanner.offset(), End::Reached)),
                        Ok(Some(end)) => return Ok((frame.offset, end)),
                        Err(reason) => break (frame.offset, Some(reason)),
                    },
                    Step::End { offset: at }
                        if !window.at_end() && at + HEADER_ROOM_BYTES > window.end() =>
                    {
                        break (at, None);
                    }
                    Step::Partial { offset: at, bytes }
                        if at + bytes_u64(bytes) <= opened.bytes =>
                    {
                        want = WINDOW_BYTES.max(bytes_u64(bytes));
                        break (at, None);
                    }
                    Step::End { offset: at } => {
                        let last = last_nonzero(&*opened.file, &opened.path, opened.bytes, at)?;
                        if last.is_none() {
                            return Ok((at, End::Clean));
                        }
                        break (at, Some("zeros, and more bytes behind them".to_owned()));
                    }
                    Step::Partial { offset: at, .. } => {
                        break (at, Some("a frame that runs past the end of the file".to_owned()));
                    }
                    Step::Bad { offset: at, why } => {
                        break (at, Some(format!("no valid frame: {why}")));
                    }
                }
            };
            let is_further = stopped.0 > offset;
            offset = stopped.0;
            let Some(reason) = stopped.1 else { continue };
            want = WINDOW_BYTES;
            if is_further {
                looks_left = LOOKS;
            }
            let Some(left) = looks_left.checked_sub(1) else {
                return Ok((offset, End::Bad(reason)));
            };
            looks_left = left;
            std::thread::sleep(PAUSE);
        }
        Ok((offset.min(opened.bytes).max(FRAMES_OFFSET), End::Clean))
    }

    /// Whether the walk may stop behind the frame that it has just passed.
    fn is_reached(&self) -> bool {
        match self.until {
            Until::Latest => false,
            Until::Seq(seq) => self.last_seq >= seq,
            Until::Time(_) => self.is_time_over,
        }
    }

    /// Notes what a frame says. `Some`: the log ends with it. An error: it does not belong here.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<Option<End>, String> {
        let expected = self.last_seq + u64::from(frame.kind == FrameKind::Data);
        if frame.seq != expected {
            return Err(format!("a frame of write {} where {expected} belongs", frame.seq));
        }
        let cannot_read = |what: &str, why| format!("{what} that cannot be read: {why}");
        match frame.kind {
            FrameKind::Data => self.last_seq = frame.seq,
            FrameKind::Link if frame.offset == FRAMES_OFFSET => {}
            FrameKind::Link => return Err("a second link".to_owned()),
            FrameKind::Mark => {
                let mark = Mark::decode(frame.body).map_err(|why| cannot_read("a mark", why))?;
                self.watermark = self.watermark.max(mark.watermark);
                if let Until::Time(unix_ms) = self.until {
                    self.is_time_over |= mark.unix_ms > unix_ms;
                    if !self.is_time_over {
                        self.time_seq = Some(frame.seq);
                    }
                }
            }
            FrameKind::Seal => {
                let seal = Seal::decode(frame.body).map_err(|why| cannot_read("a seal", why))?;
                return Ok(Some(End::Sealed(seal)));
            }
        }
        Ok(None)
    }

    fn stop_at(&mut self, log: &Log, offset: u64, reason: String, is_damage: bool) {
        let path = log.opened.path.clone();
        self.stop.get_or_insert(Stop { path, offset, reason, is_damage });
    }

    /// Looks for watermarks in what is not taken.
    fn search(&mut self, log: &Log, from: u64) -> Result<()> {
        let opened = &log.opened;
        let mut window = Window::new(&*opened.file, &opened.path, opened.bytes);
        let mut offset = from;
        while offset < opened.bytes {
            window.read(offset, WINDOW_BYTES)?;
            let mut at = offset;
            let rest = |at: u64| {
                let skipped = usize::try_from(at - offset).unwrap_or(usize::MAX);
                window.bytes().get(skipped..).unwrap_or_default()
            };
            while let Some(found) = find_frame(opened.header.seed(), at, rest(at)) {
                at = found + 8;
                if let Step::Frame(frame) =
                    Scanner::new(opened.header.seed(), found, rest(found)).next_frame()
                {
                    let watermark = frame.watermark().ok().flatten().unwrap_or(0);
                    self.watermark = self.watermark.max(watermark);
                    at = frame.end_offset();
                }
            }
            if window.at_end() {
                break;
            }
            offset += WINDOW_BYTES - OVERLAP_BYTES;
        }
        Ok(())
    }

    /// Torn or damaged: the rule of `FORMAT.md`; and what is named must be there.
    fn judge(&self) -> Result<()> {
        if let Some(Stop { path, offset, reason, is_damage }) = &self.stop
            && (*is_damage || self.last_seq < self.watermark)
        {
            let reason = format!("{reason}; write {} belongs here", self.last_seq + 1);
            return Err(Error::damaged(path, *offset, reason));
        }
        if let (Some(Named { id, by }), None) = (&self.named, &self.stop)
            && !self.source.has_by_now(*id)?
        {
            let reason = format!("log {} follows here and is missing", id.ordinal);
            return Err(Error::damaged(by, 0, reason));
        }
        if self.last_seq < self.watermark {
            let (path, end) = self.pieces.last().map_or_else(
                || (self.source.dir.to_path_buf(), 0),
                |piece| (piece.log.opened.path.clone(), piece.end),
            );
            let reason = format!(
                "the log ends with write {}, but everything up to {} had been synced",
                self.last_seq, self.watermark
            );
            return Err(Error::damaged(&path, end, reason));
        }
        Ok(())
    }
}
