//! Reading a folder that another process writes: the whole of it, and later what came since.
//!
//! No lock is taken and nothing is written. All files are opened before the first is read, so that what is
//! removed meanwhile stays readable; where one is gone before it was opened, the folder is listed again. An error
//! may come of the writer's changes, so only one that comes twice is believed.

use std::time::Duration;

use pkv_format::FRAME_HEADER_BYTES;
use pkv_snapshot_set::{FileSnapshotSet, SnapshotInfo, SnapshotType};

use super::logs::{Fate, LogRead, Look, forget_unused, open_logs};
use super::replay::resume;
use super::{Contents, ReadOptions, TornEnd, read, read_root, salvage};
use crate::error::{Error, Result};
use crate::options::RecoveryMode;

/// How often a folder that changes is read again.
const ROUNDS: u32 = 20;

/// The pause before each; the changes of a publish take no longer.
const PAUSE: Duration = Duration::from_millis(5);

/// Reads the latest snapshot and the logs above it, as they are at one moment.
pub(crate) fn read_live(options: &ReadOptions<'_>, mode: RecoveryMode) -> Result<Contents> {
    let mut before = None;
    let mut round = 0;
    loop {
        let error = match read_once(options, mode) {
            Ok(contents) => return Ok(contents),
            Err(
                error @ (Error::WrongType { .. }
                | Error::NewerFormat { .. }
                | Error::OutOfMemory
                | Error::NotFound { .. }),
            ) => return Err(error),
            Err(error) => error,
        };
        let text = error.to_string();
        round += 1;
        if before.as_ref() == Some(&text) || round == ROUNDS {
            return Err(error);
        }
        before = Some(text);
        std::thread::sleep(PAUSE);
    }
}

fn read_once(options: &ReadOptions<'_>, mode: RecoveryMode) -> Result<Contents> {
    let scan = match FileSnapshotSet::scan(options.fs, options.dir) {
        Ok(scan) => scan,
        Err(pkv_snapshot_set::Error::Fs(error))
            if error.kind() == std::io::ErrorKind::NotFound
                && options.fs.list(options.dir).is_err() =>
        {
            return Err(Error::NotFound { path: options.dir.to_path_buf() });
        }
        Err(error) => return Err(error.into()),
    };
    let root = read_root(options.fs, options.dir);
    let options = &ReadOptions { root, ..*options };
    if mode == RecoveryMode::Salvage {
        return salvage(options);
    }
    if let Some(problem) = scan.problems.first() {
        return Err(pkv_snapshot_set::Error::from(problem.clone()).into());
    }
    let restore: Vec<SnapshotInfo> = scan.get_snapshots_to_restore().into_iter().cloned().collect();
    let mut contents = read(&restore, options)?;
    contents.report.mode = mode;
    refuse_torn(&contents)?;
    contents.note_tail();
    Ok(contents)
}

fn refuse_torn(contents: &Contents) -> Result<()> {
    match &contents.report.torn {
        Some(torn) if contents.report.mode == RecoveryMode::Strict => Err(torn_error(torn)),
        _ => Ok(()),
    }
}

/// What [`RecoveryMode::Strict`] says to a torn end.
pub(super) fn torn_error(torn: &TornEnd) -> Error {
    Error::Torn {
        path: torn.path.clone(),
        offset: torn.offset,
        kept: torn.seq.saturating_sub(1),
        reason: torn.reason.clone(),
    }
}

/// Where an earlier reading ended.
#[derive(Debug)]
pub(super) struct TailMark {
    offset: u64,
    header: [u8; FRAME_HEADER_BYTES],
}

impl Contents {
    /// Notes the last frame that was read, to know it again.
    fn note_tail(&mut self) {
        self.tail = self.tail_log().and_then(|log| {
            let mut header = [0; FRAME_HEADER_BYTES];
            let got = log.file.read_at(log.last_offset, &mut header).ok()?;
            (got == header.len() && log.linked)
                .then_some(TailMark { offset: log.last_offset, header })
        });
    }

    /// The log in which the reading ended.
    fn tail_log(&self) -> Option<&LogRead> {
        let stopped = self.logs.stop.as_ref().map(|stop| &stop.path);
        match stopped {
            Some(path) => self.logs.logs.iter().find(|log| log.path == *path),
            None => self.logs.kept().last(),
        }
    }

    /// Whether the last frame still stands where it was read. It does not where the folder was opened again
    /// after a failed sync that lost it.
    fn is_tail_there(&self) -> bool {
        let (Some(log), Some(mark)) = (self.tail_log(), &self.tail) else { return false };
        let mut header = [0; FRAME_HEADER_BYTES];
        let got = log.file.read_at(mark.offset, &mut header);
        got.is_ok_and(|got| got == header.len())
            && header == mark.header
            && log.file.len().is_ok_and(|bytes| bytes >= log.end)
    }
}

/// Applies what was written since the last reading. `None`: that cannot be had from where it ended, and all has
/// to be read again. Where this fails the contents are at some later write than before, and whole.
///
/// 1. The last frame that was read must still be there.
/// 2. The logs behind it are opened, before anything is read.
/// 3. Their frames are applied as by opening.
pub(crate) fn follow(options: &ReadOptions<'_>, contents: &mut Contents) -> Result<Option<u64>> {
    // 1.
    if !contents.is_tail_there() {
        return Ok(None);
    }
    let Some(tail) = contents.tail_log().cloned() else { return Ok(None) };
    // 2.
    let scan = FileSnapshotSet::scan(options.fs, options.dir)?;
    let is_newer = |info: &&SnapshotInfo| {
        info.snapshot_type == SnapshotType::Diff && info.ordinal.0 > tail.ordinal
    };
    let newer: Vec<&SnapshotInfo> = scan.snapshots.iter().filter(is_newer).collect();
    let opened = open_logs(options, &newer, tail.header.as_ref())?;
    let mut logs = vec![LogRead { dropped_bytes: 0, ..tail }];
    logs.extend(opened.0);
    forget_unused(&mut logs, Look::FirstFrame)?;
    // 3.
    let result = resume(options, &contents.map, &mut logs, &mut contents.logs);
    let report = &mut contents.report;
    report.last_seq = contents.logs.next_seq - 1;
    let writes = match result {
        Ok(writes) => writes,
        Err(error @ Error::OutOfMemory) => return Err(error),
        Err(_) => return Ok(None),
    };
    report.writes += writes;
    // What came before the log in which the reading ended is not read again.
    let stopped = contents.logs.stop.as_ref().map(|stop| stop.path.clone());
    let last = match &stopped {
        Some(path) => logs.iter().position(|log| log.path == *path),
        None => logs.iter().rposition(|log| log.fate == Fate::Kept),
    };
    report.logs += u32::try_from(last.unwrap_or(0)).unwrap_or(0);
    logs.drain(..last.unwrap_or(0));
    contents.logs.logs = logs;
    report.torn = None;
    if contents.logs.judge(report).is_err() || refuse_torn(contents).is_err() {
        return Ok(None);
    }
    contents.note_tail();
    Ok(Some(writes))
}
