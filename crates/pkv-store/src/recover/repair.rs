//! Making the disk say what opening decided, so that the next write builds on firm ground.

use pkv_format::{FRAMES_OFFSET, Link, Seal};
use pkv_fs::{Access, File, Fs};
use pkv_snapshot_set::{FileSnapshotSet, SnapshotOrdinal};

use super::logs::{Fate, LogRead};
use super::window::Window;
use super::{Contents, PreviousLog};
use crate::error::Result;
use crate::frame::{LINK_FRAME_BYTES, SEAL_FRAME_BYTES, link_frame, seal_frame};

/// How much is rewritten at a time.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Brings the logs into the state that a clean close leaves behind. Cut off anywhere and run again,
/// it decides and does the same.
///
/// 1. What lies above the watermark is written again and synced, oldest log first: it was read from a
///    page cache that may hold what the disk does not, and after a failed sync never will. So is the
///    end of a log that has a seal and was not cut: torn, it would hide all that stands in later logs.
/// 2. A log without an end gets its seal (and its link, where that was lost), synced.
/// 3. It is cut to its length, which also removes the torn end.
/// 4. Logs that were never used, or lie behind the torn end, are removed, newest first.
pub(super) fn repair(
    set: &mut FileSnapshotSet,
    fs: &dyn Fs,
    contents: &mut Contents,
) -> Result<Option<PreviousLog>> {
    let last_seq = contents.report.last_seq;
    let watermark = contents.report.watermark;
    // 1.
    for log in contents.logs.kept() {
        let mut from = log.frames.iter().find(|piece| piece.last_seq > watermark);
        let uncut =
            log.header.as_ref().is_some_and(|header| log.file_bytes == header.segment_bytes);
        if uncut {
            // No watermark speaks for a seal, nor for a mark behind the last sync.
            from = from.or(log.frames.last());
        }
        let Some(from) = from else { continue };
        let file = fs.open(&log.path, Access::Write)?;
        rewrite(&*file, log, from.offset)?;
        file.sync_data()?;
        if log.seal.is_some() {
            file.set_len(log.end)?;
        }
    }
    // 2. and 3.
    let kept: Vec<usize> = (0..)
        .zip(&contents.logs.logs)
        .filter(|(_, log)| log.fate == Fate::Kept)
        .map(|(i, _)| i)
        .collect();
    let mut previous: Option<PreviousLog> = None;
    // The last write up to each log: one that lost all its frames speaks for those before it alone.
    let mut log_last_seq = contents.base.as_ref().map_or(0, |base| base.start_seq);
    for (position, index) in kept.iter().enumerate() {
        let next = kept
            .get(position + 1)
            .and_then(|next| contents.logs.logs.get(*next))
            .and_then(|log| log.header.as_ref().map(|header| (log.ordinal, header.salt)));
        let Some(log) = contents.logs.logs.get_mut(*index) else { continue };
        let Some(header) = log.header.clone() else { continue };
        log_last_seq = log.frames.last().map_or(log_last_seq, |piece| piece.last_seq);
        if log.seal.is_none() {
            let seq = if next.is_some() { log_last_seq } else { last_seq };
            let file = fs.open(&log.path, Access::Write)?;
            if !log.linked {
                let link = Link {
                    previous_ordinal: previous.as_ref().map_or(0, |log| log.ordinal),
                    previous_salt: previous.as_ref().map_or(0, |log| log.salt),
                    watermark: seq,
                };
                file.write_at(
                    FRAMES_OFFSET,
                    &link_frame(&link, header.seed(), FRAMES_OFFSET, seq),
                )?;
                log.end = FRAMES_OFFSET + LINK_FRAME_BYTES;
            }
            let (next_ordinal, next_salt) = next.unwrap_or((0, 0));
            let seal = Seal { watermark: seq, next_ordinal, next_salt };
            file.write_at(log.end, &seal_frame(&seal, header.seed(), log.end, seq))?;
            file.sync_data()?;
            log.end += SEAL_FRAME_BYTES;
            file.set_len(log.end)?;
            log.seal = Some(seal);
        }
        previous = Some(PreviousLog {
            path: log.path.clone(),
            ordinal: log.ordinal,
            salt: header.salt,
            seed: header.seed(),
            names_next: false,
        });
    }
    // 4.
    for log in contents.logs.logs.iter().rev().filter(|log| log.fate == Fate::Dropped) {
        set.remove_snapshot(SnapshotOrdinal(log.ordinal))?;
        contents.report.dropped.push(log.path.clone());
    }
    Ok(previous)
}

/// Writes a log's bytes again, as they were read, from this offset to the end of its last frame.
fn rewrite(file: &dyn File, log: &LogRead, from: u64) -> Result<()> {
    let mut window = Window::new(&*log.file, &log.path, log.end);
    let mut offset = from;
    while offset < log.end {
        window.read(offset, PIECE_BYTES)?;
        file.write_at(offset, window.bytes())?;
        offset += PIECE_BYTES;
    }
    Ok(())
}
