//! The whole frames of logs that have others, applied by their numbers.

use std::collections::BTreeMap;
use std::path::Path;

use pkv_format::{
    BadFrame, FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FRAMES_OFFSET, FileSeed, Frame, FrameHeader,
    FrameKind, Link, SUCCESSOR_BYTES, SUCCESSOR_OFFSET, Scanner, Seal, Step, Successor,
    frame_bytes,
};
use pkv_snapshot_set::{SnapshotFileName, SnapshotOrdinal, SnapshotType};

use super::window::SalvageWindow;
use super::{LogFile, Named, Salvage};
use crate::error::Result;
use crate::frame::{LINK_FRAME_BYTES, SEAL_FRAME_BYTES, bytes_u64};
use crate::recover::apply::{Run, apply};
use crate::recover::logs::last_nonzero;
use crate::recover::spans::Spans;
use crate::recover::upgrade::FileUpgrade;
use crate::salvage::Lost;

const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

impl Salvage<'_> {
    /// Opens all logs. The salt of one whose header is gone may be known from its neighbours; each log that
    /// is opened adds what it says of its own.
    pub(super) fn open_logs(
        &mut self,
        named: &[&Named],
        salts: &mut BTreeMap<u64, u64>,
    ) -> Result<Vec<LogFile>> {
        let mut logs = Vec::new();
        let mut headless = Vec::new();
        for log in named {
            if !log.is_file || log.name.shard_count() != 1 {
                self.lose_file(&log.path, 0, "not a log");
                continue;
            }
            let (file, header) = log.open(self.options)?;
            let file_bytes = file.len()?;
            self.bytes_read += file_bytes;
            let ordinal = log.name.ordinal().0;
            match header {
                Ok(header) => {
                    if let Err(reason) = self.check(&log.path, &header)? {
                        self.lose_file(&log.path, file_bytes, reason);
                        continue;
                    }
                    let mut log = LogFile {
                        path: log.path.clone(),
                        ordinal,
                        file,
                        file_bytes,
                        segment_bytes: Some(header.segment_bytes),
                        seed: header.seed(),
                        salt: header.salt,
                        value_schema: header.value_schema.clone(),
                        begins_behind: None,
                    };
                    look_around(&mut log, salts)?;
                    logs.push(log);
                }
                Err(reason) => headless.push((log.path.clone(), ordinal, file, file_bytes, reason)),
            }
        }
        // From the newest down: each that is found names the one before it.
        for (path, ordinal, file, file_bytes, reason) in headless.into_iter().rev() {
            let Some((salt, first)) = salts.get(&ordinal).copied().zip(self.first.as_ref()) else {
                // Without its salt no checksum of the file can be computed. One that was never used is no loss.
                if last_nonzero(&*file, &path, file_bytes, 0).is_ok_and(|last| last.is_none()) {
                    continue;
                }
                self.lose_file(&path, file_bytes, reason);
                continue;
            };
            if self.has_versions {
                let reason = format!("{reason}; of which version its values are is unknown");
                self.lose_file(&path, file_bytes, reason);
                continue;
            }
            let seed = FileSeed::new(first.store_id, salt, ordinal, 0, 1);
            let value_schema = first.value_schema.clone();
            self.report.lose(Lost {
                path: path.clone(),
                offset: 0,
                bytes: 512,
                reason,
                is_torn: false,
            });
            let mut log = LogFile {
                path,
                ordinal,
                file,
                file_bytes,
                segment_bytes: None,
                seed,
                salt,
                value_schema,
                begins_behind: None,
            };
            look_around(&mut log, salts)?;
            logs.push(log);
        }
        logs.sort_by_key(|log| log.ordinal);
        Ok(logs)
    }

    /// Applies the whole frames of all logs.
    pub(super) fn logs(&mut self, logs: &[LogFile], is_based: bool) -> Result<()> {
        for (index, log) in logs.iter().enumerate() {
            // What stands in a log beyond the begin of the next was cut off by an opening in between.
            let ends_with =
                logs.get(index + 1..).unwrap_or_default().iter().find_map(|log| log.begins_behind);
            let before = self.report.writes;
            let mut said = Said::default();
            let mut window = SalvageWindow::new(&*log.file, log.file_bytes);
            self.log(log, ends_with, &mut window, &mut said)?;
            self.lose_unreadable(&log.path, &window);
            self.report.logs += u32::from(self.report.writes > before);
            let is_first = index == 0;
            self.name_missing_logs(log, logs, &said, is_first && is_based);
        }
        let last_seq = self.last_seq.unwrap_or(0);
        if last_seq < self.report.watermark {
            let path = logs.last().map_or(self.options.dir, |log| &log.path);
            self.gaps.push((last_seq + 1, self.report.watermark, path.to_path_buf()));
        }
        Ok(())
    }

    /// The neighbours of a log that its frames speak of and that are not there.
    fn name_missing_logs(
        &mut self,
        log: &LogFile,
        logs: &[LogFile],
        said: &Said,
        is_above_base: bool,
    ) {
        let is_there = |ordinal: u64, salt: u64| {
            logs.iter().any(|log| log.ordinal == ordinal && log.salt == salt)
        };
        let previous = said
            .link
            .filter(|link| link.previous_ordinal != 0 && !is_above_base)
            .map(|link| (link.previous_ordinal, link.previous_salt));
        let next = said
            .seal
            .filter(|seal| seal.next_ordinal != 0)
            .map(|seal| (seal.next_ordinal, seal.next_salt))
            .or_else(|| {
                let next = read_successor(log)?;
                Some((next.ordinal, next.salt))
            });
        for (ordinal, salt) in [previous, next].into_iter().flatten() {
            if !is_there(ordinal, salt) {
                self.miss_log(ordinal, &log.path);
            }
        }
    }

    /// Notes that a log is missing that this file names.
    pub(super) fn miss_log(&mut self, ordinal: u64, by: &Path) {
        let name = SnapshotFileName::new(SnapshotType::Diff, SnapshotOrdinal(ordinal), 0, 1);
        if let Some(name) = name {
            let reason = format!("{} names this log, which is missing", by.display());
            self.report.miss(self.options.dir.join(name.to_string()), reason);
        }
    }

    fn log(
        &mut self,
        log: &LogFile,
        ends_with: Option<u64>,
        window: &mut SalvageWindow<'_>,
        said: &mut Said,
    ) -> Result<()> {
        let mut offset = FRAMES_OFFSET;
        let mut want = WINDOW_BYTES;
        // Where whole frames ended, and why.
        let mut lost: Option<(u64, String)> = None;
        while offset < log.file_bytes {
            window.read(offset, want)?;
            want = WINDOW_BYTES;
            let mut scanner = Scanner::new(log.seed, offset, window.bytes());
            let step = loop {
                match scanner.next_frame() {
                    Step::Frame(frame) => {
                        self.lose_in_log(&log.path, &mut lost, frame.offset);
                        self.frame(log, &frame, ends_with, said)?;
                        if said.seal.is_some() {
                            return Ok(());
                        }
                    }
                    other => break other,
                }
            };
            let (at, reason, next) = match step {
                Step::End { offset: at }
                    if !window.at_end() && at + bytes_u64(FRAME_HEADER_BYTES) > window.end() =>
                {
                    offset = at;
                    continue;
                }
                Step::Partial { offset: at, bytes }
                    if at.saturating_add(bytes_u64(bytes)) <= log.file_bytes =>
                {
                    offset = at;
                    want = want.max(bytes_u64(bytes));
                    continue;
                }
                Step::End { offset: at } => {
                    (at, "zeros where a frame belongs".to_owned(), at + ALIGN_BYTES)
                }
                Step::Partial { offset: at, .. } => {
                    let reason = "a frame that runs past the end of the file".to_owned();
                    (at, reason, at + ALIGN_BYTES)
                }
                Step::Bad { offset: at, why } => {
                    let next = behind_body(log.seed, at, why, window.from(at));
                    (at, format!("no valid frame: {why}"), next)
                }
                Step::Frame(_) => break,
            };
            lost.get_or_insert((at, reason));
            match search(log, window, next)? {
                Some(found) => offset = found,
                None => break,
            }
        }
        self.end_of_log(log, lost);
        Ok(())
    }

    /// What stands behind the last whole frame of a log without a seal.
    fn end_of_log(&mut self, log: &LogFile, lost: Option<(u64, String)>) {
        let (from, reason) = lost.unwrap_or((log.file_bytes, String::new()));
        if let Ok(Some(last)) = last_nonzero(&*log.file, &log.path, log.file_bytes, from) {
            self.lose_in_log(&log.path, &mut Some((from, reason)), last);
        }
        if log.segment_bytes.is_some_and(|segment_bytes| log.file_bytes < segment_bytes) {
            let reason = "the log was cut short: it ends without a seal".to_owned();
            let path = log.path.clone();
            self.report.lose(Lost {
                path,
                offset: log.file_bytes,
                bytes: 0,
                reason,
                is_torn: false,
            });
        }
    }

    fn lose_in_log(&mut self, path: &Path, lost: &mut Option<(u64, String)>, end: u64) {
        if let Some((offset, reason)) = lost.take() {
            let bytes = end.saturating_sub(offset);
            let lost = Lost { path: path.to_path_buf(), offset, bytes, reason, is_torn: false };
            self.lost_in_logs.push((lost, self.last_seq.unwrap_or(0).saturating_add(1)));
        }
    }

    /// Applies one whole frame.
    fn frame(
        &mut self,
        log: &LogFile,
        frame: &Frame<'_>,
        ends_with: Option<u64>,
        said: &mut Said,
    ) -> Result<()> {
        if let Ok(Some(watermark)) = frame.watermark() {
            self.report.watermark = self.report.watermark.max(watermark);
        }
        match frame.kind {
            FrameKind::Link => said.link = Link::decode(frame.body).ok(),
            FrameKind::Seal => said.seal = Seal::decode(frame.body).ok(),
            FrameKind::Mark | FrameKind::Data => {}
        }
        let lose = |reason: String| {
            let path = log.path.clone();
            let bytes = frame.end_offset() - frame.offset;
            (Lost { path, offset: frame.offset, bytes, reason, is_torn: false }, frame.seq)
        };
        if ends_with.is_some_and(|end| frame.seq > end) {
            let reason = format!("write {}, which an earlier opening had cut off", frame.seq);
            self.lost_in_logs.push(lose(reason));
            return Ok(());
        }
        let before = if frame.kind == FrameKind::Data { frame.seq - 1 } else { frame.seq };
        match self.last_seq {
            Some(last) if before > last => self.gaps.push((last + 1, before, log.path.clone())),
            Some(last) if frame.kind == FrameKind::Data && before < last => {
                let reason = format!("write {} behind write {last}", frame.seq);
                self.lost_in_logs.push(lose(reason));
                return Ok(());
            }
            _ => {}
        }
        self.last_seq = Some(self.last_seq.unwrap_or(0).max(frame.seq));
        if frame.kind != FrameKind::Data {
            return Ok(());
        }
        let run = Run::read(&self.map, 1, std::iter::once(*frame));
        if let Some((_, reason)) = run.bad {
            self.lost_in_logs.push(lose(reason));
            return Ok(());
        }
        let upgrade = FileUpgrade::of(self.options, &log.path, &log.value_schema);
        apply(&self.map, &Spans::default(), &[run], 0, 1, upgrade)?;
        self.report.writes += 1;
        self.report.last_seq = self.report.last_seq.max(frame.seq);
        Ok(())
    }
}

/// What a log's frames say of its neighbours.
#[derive(Debug, Default)]
struct Said {
    link: Option<Link>,
    seal: Option<Seal>,
}

const ALIGN_BYTES: u64 = 8;
const _: () = assert!(FRAME_ALIGN_BYTES == 8);

fn read_successor(log: &LogFile) -> Option<Successor> {
    let mut record = [0; SUCCESSOR_BYTES];
    let got = log.file.read_at(SUCCESSOR_OFFSET, &mut record).ok()?;
    Successor::decode(log.seed, record.get(..got)?)
}

/// Reads what a log says of itself and its neighbours at its front, and in the seal at its end.
fn look_around(log: &mut LogFile, salts: &mut BTreeMap<u64, u64>) -> Result<()> {
    if let Some(next) = read_successor(log) {
        salts.insert(next.ordinal, next.salt);
    }
    let mut window = SalvageWindow::new(&*log.file, log.file_bytes);
    window.read(FRAMES_OFFSET, LINK_FRAME_BYTES)?;
    if let Step::Frame(frame) = Scanner::new(log.seed, FRAMES_OFFSET, window.bytes()).next_frame()
        && frame.kind == FrameKind::Link
        && let Ok(link) = Link::decode(frame.body)
    {
        log.begins_behind = Some(frame.seq);
        if link.previous_ordinal != 0 {
            salts.insert(link.previous_ordinal, link.previous_salt);
        }
    }
    let end = log.file_bytes.saturating_sub(SEAL_FRAME_BYTES);
    window.read(end, SEAL_FRAME_BYTES)?;
    if let Step::Frame(frame) = Scanner::new(log.seed, end, window.bytes()).next_frame()
        && frame.kind == FrameKind::Seal
        && let Ok(seal) = Seal::decode(frame.body)
        && seal.next_ordinal != 0
    {
        salts.insert(seal.next_ordinal, seal.next_salt);
    }
    Ok(())
}

/// Where to look on behind a bad frame. One whose header stands has the length that it says; inside it
/// there is no other.
fn behind_body(seed: FileSeed, offset: u64, why: BadFrame, bytes: &[u8]) -> u64 {
    let header =
        bytes.first_chunk().filter(|_| matches!(why, BadFrame::BodyChecksum | BadFrame::Padding));
    let whole = header.and_then(|header| FrameHeader::decode(seed, offset, header).ok());
    let body_bytes = whole.and_then(|header| usize::try_from(header.body_bytes).ok());
    offset + body_bytes.map_or(ALIGN_BYTES, |bytes| bytes_u64(frame_bytes(bytes)))
}

/// The next offset, from this one on, at which a frame's header stands and the frame fits into the file.
fn search(log: &LogFile, window: &mut SalvageWindow<'_>, from: u64) -> Result<Option<u64>> {
    let header_bytes = bytes_u64(FRAME_HEADER_BYTES);
    let mut offset = from;
    while offset.saturating_add(header_bytes) <= log.file_bytes {
        window.read(offset, WINDOW_BYTES)?;
        while let Some(header) = window.from(offset).first_chunk::<FRAME_HEADER_BYTES>() {
            if let Ok(header) = FrameHeader::decode(log.seed, offset, header) {
                let body_bytes = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
                if offset.saturating_add(bytes_u64(frame_bytes(body_bytes))) <= log.file_bytes {
                    return Ok(Some(offset));
                }
            }
            offset += ALIGN_BYTES;
        }
    }
    Ok(None)
}
