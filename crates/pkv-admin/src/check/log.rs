//! One log by itself: what its frames say, and what is wrong with them.

use std::path::Path;

use pkv_format::{
    FRAMES_OFFSET, FileHeader, Frame, FrameKind, Link, Mark, SUCCESSOR_BYTES, SUCCESSOR_OFFSET,
    Seal, Successor,
};
use pkv_fs::File;

use super::walk::{End, How, Place, walk};
use super::window::Buffer;
use super::{FAULTS_LISTED_MAX, Result};

/// What a log's frames say.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFacts {
    /// The link that the log begins with, and its sequence number.
    pub(crate) link: Option<(Link, u64)>,
    pub(crate) successor: Option<Successor>,
    /// The seal, where no flaw is before it.
    pub(crate) seal: Option<Seal>,
    /// The last write before the first flaw; 0 without a link.
    pub(crate) last_seq: u64,
    /// Where the frames end that count: at the first flaw, or where there are no more.
    pub(crate) end: u64,
    /// The highest watermark in any valid frame, those behind flaws included.
    pub(crate) watermark: u64,
    pub(crate) frames: u64,
    pub(crate) writes: u64,
    pub(crate) operations: u64,
    pub(crate) file_bytes: u64,
    pub(crate) flaws: Vec<Flaw>,
    /// Flaws beyond those listed.
    pub(crate) flaws_unlisted: u64,
}

/// Something wrong in a log. Whether it is damage depends on the watermark of the whole store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) offset: u64,
    pub(crate) reason: String,
    /// The write that is missing here; `None`: no crash explains this, it is damage in any case.
    pub(crate) seq: Option<u64>,
}

/// Reads a whole log.
pub(crate) fn read_log(
    file: &dyn File,
    path: &Path,
    header: &FileHeader,
    buffer: &mut Buffer<'_>,
) -> Result<LogFacts> {
    let mut record = [0; SUCCESSOR_BYTES];
    let got = file.read_at(SUCCESSOR_OFFSET, &mut record)?;
    let mut reader = Reader {
        facts: LogFacts {
            successor: Successor::decode(header.seed(), record.get(..got).unwrap_or_default()),
            end: FRAMES_OFFSET,
            ..LogFacts::default()
        },
        last_seq: None,
        is_flawed: false,
    };
    let end = walk(file, path, header.seed(), buffer, &mut |place| {
        match place {
            Place::Frame(frame) => reader.frame(&frame),
            Place::Gap(gap) => reader.gap(gap.offset, gap.end, &gap.reason),
        }
        true
    })?;
    let mut facts = reader.facts;
    facts.file_bytes = end.file_bytes;
    facts.judge_end(end, header.segment_bytes);
    Ok(facts)
}

impl LogFacts {
    /// What the file's length says. A log is cut to its length only behind a synced seal, so one that is
    /// shorter than its segment and does not end with a seal has lost synced bytes, watermark or not.
    fn judge_end(&mut self, end: End, segment_bytes: u64) {
        let End { offset, how, file_bytes } = end;
        let damage = |offset, reason: &str| Flaw { offset, reason: reason.to_owned(), seq: None };
        if file_bytes > segment_bytes {
            self.flaw(damage(segment_bytes, "the log is longer than its header says"));
        } else if file_bytes == segment_bytes {
            // Still in use, killed, or a crash between the seal and the cut.
        } else if how == How::Sealed && offset != file_bytes {
            self.flaw(damage(offset, "bytes behind the seal of a log that was cut"));
        } else if how != How::Sealed {
            match self.flaws.first_mut() {
                Some(first) => {
                    first.seq = None;
                    first
                        .reason
                        .push_str("; the log is cut to its length, so all of it had been synced");
                }
                None => self.flaw(damage(offset, "the log was cut short: it ends without a seal")),
            }
        }
    }

    fn flaw(&mut self, flaw: Flaw) {
        if self.flaws.len() < FAULTS_LISTED_MAX {
            self.flaws.push(flaw);
        } else {
            self.flaws_unlisted = self.flaws_unlisted.saturating_add(1);
        }
    }
}

struct Reader {
    facts: LogFacts,
    /// The last write so far, flaws or not; `None` before the first frame.
    last_seq: Option<u64>,
    is_flawed: bool,
}

impl Reader {
    fn gap(&mut self, offset: u64, end: u64, reason: &str) {
        let reason = match end.saturating_sub(offset) {
            0 => reason.to_owned(),
            bytes => format!("{reason} ({bytes} bytes from here on cannot be read)"),
        };
        self.flaw(offset, reason);
    }

    fn flaw(&mut self, offset: u64, reason: String) {
        let seq = self.last_seq.map(|seq| seq.saturating_add(1));
        self.is_flawed = true;
        // Before the first frame the chain knows which write is missing.
        self.facts.flaw(Flaw { offset, reason, seq: Some(seq.unwrap_or(0)) });
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.facts.frames = self.facts.frames.saturating_add(1);
        let flaw = match self.last_seq {
            None => self.first(frame),
            Some(last_seq) => self.next(frame, last_seq),
        };
        let operations = self.body(frame);
        if let Err(reason) = flaw.and(operations) {
            self.flaw(frame.offset, reason);
        }
        self.last_seq = Some(frame.seq);
        if !self.is_flawed {
            self.facts.last_seq = frame.seq;
            self.facts.end = frame.end_offset();
        }
    }

    fn first(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if frame.kind == FrameKind::Link && frame.offset == FRAMES_OFFSET {
            let link = Link::decode(frame.body).map_err(|why| format!("a bad link: {why}"))?;
            self.facts.link = Some((link, frame.seq));
            return Ok(());
        }
        if self.is_flawed { Ok(()) } else { Err("the log does not begin with a link".to_owned()) }
    }

    fn next(&self, frame: &Frame<'_>, last_seq: u64) -> Result<(), String> {
        if frame.kind == FrameKind::Link {
            return Err("a second link".to_owned());
        }
        let expected = match frame.kind {
            FrameKind::Data => last_seq.saturating_add(1),
            FrameKind::Link | FrameKind::Mark | FrameKind::Seal => last_seq,
        };
        // Behind a gap, writes are missing of which the gap tells.
        let follows_gap = self.is_flawed && frame.seq > expected;
        if frame.seq == expected || follows_gap {
            return Ok(());
        }
        Err(format!("a frame of write {} where {expected} belongs", frame.seq))
    }

    fn body(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let facts = &mut self.facts;
        let mut watermark = 0;
        match frame.kind {
            FrameKind::Data => {
                facts.writes = facts.writes.saturating_add(1);
                for operation in frame.operations() {
                    operation.map_err(|why| format!("an operation that cannot be read: {why}"))?;
                    facts.operations = facts.operations.saturating_add(1);
                }
            }
            FrameKind::Link => {
                watermark = Link::decode(frame.body).map_or(0, |link| link.watermark);
            }
            FrameKind::Mark => {
                let mark = Mark::decode(frame.body).map_err(|why| format!("a bad mark: {why}"))?;
                watermark = mark.watermark;
            }
            FrameKind::Seal => {
                let seal = Seal::decode(frame.body).map_err(|why| format!("a bad seal: {why}"))?;
                watermark = seal.watermark;
                if !self.is_flawed {
                    facts.seal = Some(seal);
                }
            }
        }
        facts.watermark = facts.watermark.max(watermark);
        Ok(())
    }
}
