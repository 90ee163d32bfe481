//! The logs above the full snapshot: their headers, what reading them showed, and the verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_format::{FRAMES_OFFSET, FileHeader, FileKind, HeaderError, Seal, Successor, frame_bytes};
use pkv_fs::File;
use pkv_snapshot_set::SnapshotInfo;

use super::file::{NameSays, check_name, check_store, header_error, read_header};
use super::window::Window;
use super::{ReadOptions, RecoveryReport, TornEnd, open_for_reading};
use crate::error::{Error, Result};
use crate::frame::bytes_u64;

/// A log in use begins with its link, of which no more is looked at to tell that it is.
const LINK_BYTES: usize = frame_bytes(size_of::<[u64; 3]>());

/// How much of a file is searched for its last byte at a time.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// All logs above the full snapshot, in order, and what reading them showed.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) logs: Vec<LogRead>,
    /// The next sequence number; one more than that of the last write that is there.
    pub(super) next_seq: u64,
    /// Everything up to here was synced once.
    pub(super) watermark: u64,
    /// Where and why the frames ended too early.
    pub(super) stop: Option<Stop>,
}

/// One log file.
#[derive(Clone, Debug)]
pub(super) struct LogRead {
    pub(super) path: PathBuf,
    pub(super) ordinal: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) file_bytes: u64,
    /// `None`: the file has no header, since its creation was interrupted or for the reason below.
    pub(super) header: Option<FileHeader>,
    /// Why its header does not stand, where there is more in the file than an interrupted creation leaves.
    pub(super) bad_header: Option<String>,
    pub(super) fate: Fate,
    /// The end of the last whole frame that counts.
    pub(super) end: u64,
    /// Where the last frame that counts begins.
    pub(super) last_offset: u64,
    /// Where the first write above the watermark of its time begins.
    pub(super) frames: Vec<Piece>,
    pub(super) linked: bool,
    pub(super) seal: Option<Seal>,
    pub(super) successor: Option<Successor>,
    /// Bytes that are dropped with it, or behind its end.
    pub(super) dropped_bytes: u64,
}

/// A run of frames, to find where the unsynced part of a log begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) last_seq: u64,
}

/// What becomes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It holds writes that count, or another file names it.
    Kept,
    /// It was made and never used, or lies behind a torn end.
    Dropped,
}

/// The first place where a frame is missing.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) reason: String,
    /// No crash explains it, whatever the watermarks say.
    pub(super) damage: bool,
}

impl Logs {
    pub(super) fn used_bytes(&self) -> u64 {
        self.kept().map(|log| log.end).sum()
    }

    /// The ordinals that seals and successor records speak of.
    pub(super) fn named_ordinals(&self) -> Vec<u64> {
        self.logs.iter().filter_map(|log| Some(log.names_next()?.ordinal)).collect()
    }

    pub(super) fn kept_count(&self) -> u32 {
        u32::try_from(self.kept().count()).unwrap_or(u32::MAX)
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &LogRead> {
        self.logs.iter().filter(|log| log.fate == Fate::Kept)
    }

    /// Torn or damaged: the rule of `FORMAT.md`.
    pub(super) fn judge(&self, report: &mut RecoveryReport) -> Result<()> {
        report.last_seq = self.next_seq - 1;
        report.watermark = self.watermark;
        let ended = self.kept().last().map(|log| (log.path.clone(), log.end));
        if let Some(stop) = &self.stop
            && (stop.damage || self.next_seq <= self.watermark)
        {
            let reason = format!("{}; write {} belongs here", stop.reason, self.next_seq);
            return Err(Error::damaged(&stop.path, stop.offset, reason));
        }
        if self.next_seq <= self.watermark {
            let (path, offset) = ended.unwrap_or_default();
            let reason = format!(
                "the log ends with write {}, but everything up to {} had been synced",
                self.next_seq - 1,
                self.watermark
            );
            return Err(Error::damaged(&path, offset, reason));
        }
        if let Some(stop) = &self.stop {
            report.torn = Some(TornEnd {
                path: stop.path.clone(),
                offset: stop.offset,
                seq: self.next_seq,
                bytes_dropped: self.logs.iter().map(|log| log.dropped_bytes).sum(),
                reason: stop.reason.clone(),
            });
        }
        Ok(())
    }
}

/// The logs before they are replayed.
#[derive(Debug)]
pub(super) struct OpenedLogs(pub(super) Vec<LogRead>);

impl OpenedLogs {
    pub(super) fn headers(&self) -> impl Iterator<Item = &FileHeader> {
        self.0.iter().filter_map(|log| log.header.as_ref())
    }
}

/// Opens all logs and checks their headers against their names and against the first file's.
pub(super) fn open_logs(
    options: &ReadOptions<'_>,
    infos: &[&SnapshotInfo],
    first: Option<&FileHeader>,
) -> Result<OpenedLogs> {
    let mut first = first.cloned();
    let mut logs = Vec::new();
    for info in infos {
        let [path] = info.shard_paths.as_slice() else {
            let path = info.shard_paths.first().cloned().unwrap_or_default();
            return Err(Error::damaged(
                &path,
                0,
                "a log in several shards, which this version does not write",
            ));
        };
        let file = open_for_reading(options.fs, path)?;
        let header = read_header(&*file)?;
        // Beside a writer: what has a header has its size.
        let file_bytes = file.len()?;
        let mut bad_header = None;
        let header = match header {
            Ok(header) => Some(header),
            Err(newer @ HeaderError::Newer { .. }) => return Err(header_error(path, &newer)),
            // No frame was written before the header was synced, so that without frames it was the
            // creation that was interrupted.
            Err(_) if is_unused(&*file, path, file_bytes)? => None,
            // Of a size that was not synced any byte may be garbage. A log of which anything was synced is named by
            // the one before it, so that replay can tell.
            Err(bad) => {
                bad_header = Some(format!("file header: {bad}"));
                None
            }
        };
        if let Some(header) = &header {
            let name =
                NameSays { kind: FileKind::Log, ordinal: info.ordinal.0, shard: 0, shard_count: 1 };
            check_name(path, header, name)?;
            check_store(path, header, first.as_ref().unwrap_or(header), options.types)?;
            if file_bytes > header.segment_bytes {
                return Err(Error::damaged(
                    path,
                    header.segment_bytes,
                    "the log is longer than its header says",
                ));
            }
            first.get_or_insert_with(|| header.clone());
        }
        logs.push(LogRead {
            path: path.clone(),
            ordinal: info.ordinal.0,
            file,
            file_bytes,
            header,
            bad_header,
            fate: Fate::Dropped,
            end: FRAMES_OFFSET,
            last_offset: FRAMES_OFFSET,
            frames: Vec::new(),
            linked: false,
            seal: None,
            successor: None,
            dropped_bytes: 0,
        });
    }
    Ok(OpenedLogs(logs))
}

/// How closely a log is looked at before it counts as unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At its first frame: what a writer has made ahead since the last reading has nothing behind it.
    FirstFrame,
    /// At all of it.
    Whole,
}

/// Forgets the logs behind the newest that is in use now, beside a writer. Of those before it nothing is written
/// any more; those behind it may be taken into use while the others are read, and would then seem to begin too
/// late. In use is each that holds anything, whole or not: what was lost of it is for replay to say.
pub(super) fn forget_unused(logs: &mut Vec<LogRead>, look: Look) -> Result<()> {
    for (index, log) in logs.iter().enumerate().rev() {
        let is_in_use = match &log.header {
            // Only one that was used is cut.
            Some(header) => {
                log.file_bytes < header.segment_bytes
                    || has_frames(&*log.file, &log.path, log.file_bytes, look)?
            }
            None => log.bad_header.is_some(),
        };
        if is_in_use {
            logs.truncate(index + 1);
            break;
        }
    }
    Ok(())
}

/// Whether anything but zeros stands where a log has its frames.
pub(super) fn has_frames(
    file: &dyn File,
    path: &Path,
    file_bytes: u64,
    look: Look,
) -> Result<bool> {
    let mut first = [0; LINK_BYTES];
    file.read_at(FRAMES_OFFSET, &mut first)?;
    if first.iter().any(|byte| *byte != 0) {
        return Ok(true);
    }
    Ok(look == Look::Whole && last_nonzero(file, path, file_bytes, FRAMES_OFFSET)?.is_some())
}

/// Whether a file without a header can be one whose creation was interrupted: empty, or of at least
/// the size that was synced before the header, with nothing behind the header's sector.
pub(crate) fn is_unused(file: &dyn File, path: &Path, file_bytes: u64) -> Result<bool> {
    if file_bytes > 0 && file_bytes < FRAMES_OFFSET {
        return Ok(false);
    }
    Ok(last_nonzero(file, path, file_bytes, pkv_fs::SECTOR_BYTES)?.is_none())
}

/// The offset behind the last byte that is not zero, from this offset on.
pub(crate) fn last_nonzero(
    file: &dyn File,
    path: &Path,
    file_bytes: u64,
    from: u64,
) -> Result<Option<u64>> {
    let mut window = Window::new(file, path, file_bytes);
    let mut offset = from;
    let mut last = None;
    while offset < file_bytes {
        window.read(offset, WINDOW_BYTES)?;
        if let Some(index) = window.bytes().iter().rposition(|byte| *byte != 0) {
            last = Some(offset + bytes_u64(index) + 1);
        }
        offset += bytes_u64(window.bytes().len()).max(1);
    }
    Ok(last)
}

/// Who says that a certain log comes next.
pub(super) struct Named {
    pub(super) ordinal: u64,
    pub(super) salt: u64,
    pub(super) by: PathBuf,
}

impl LogRead {
    /// The log that must come after this one, by its seal or its successor record.
    pub(super) fn names_next(&self) -> Option<Named> {
        let by = self.path.clone();
        match (&self.seal, &self.successor) {
            (Some(seal), _) if seal.next_ordinal != 0 => {
                Some(Named { ordinal: seal.next_ordinal, salt: seal.next_salt, by })
            }
            (_, Some(next)) => Some(Named { ordinal: next.ordinal, salt: next.salt, by }),
            _ => None,
        }
    }
}
