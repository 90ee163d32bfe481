//! The new folder: files copied or linked under names of their own, then renamed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_format::{FRAMES_OFFSET, HEADER_BYTES, Mark, SUCCESSOR_OFFSET, Seal, Successor};
use pkv_fs::{Access, File, Fs, Lock};
use pkv_snapshot_set::{LOCK_FILE_NAME, SnapshotFileName, SnapshotType};

use super::chain::{Chain, Piece};
use super::source::{Full, Id, Opened, Source};
use super::{Backup, BackupProgress, BackupReport};
use crate::error::{Error, Result};
use crate::folder::root_seed;
use crate::frame::{MARK_FRAME_BYTES, SEAL_FRAME_BYTES, bytes_u64, mark_frame, seal_frame};

/// How much is copied at a time.
const PIECE_BYTES: u64 = 1024 * 1024;

/// A copy is synced each time it grew by this much, so that no writer's sync waits behind a flood.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// The last bytes of a file that is whole: a footer or, behind more, a seal.
const TAIL_BYTES: u64 = 64;

/// A file of the new folder.
struct Item<'a> {
    name: SnapshotFileName,
    of: &'a Opened,
    what: What<'a>,
}

enum What<'a> {
    /// A file that never changes again, as it is.
    Whole,
    /// The frames of a log, and an end of its own.
    Log { piece: &'a Piece<'a>, next: Option<Id> },
}

/// How a file came to its place.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// So many bytes were written.
    Copied(u64),
    Cloned,
    Linked,
}

impl Item<'_> {
    /// Its size, but for a mark.
    fn bytes(&self) -> u64 {
        match &self.what {
            What::Whole => self.of.bytes,
            What::Log { piece, .. } => piece.end + SEAL_FRAME_BYTES,
        }
    }
}

impl Backup {
    /// Makes a folder that holds these snapshots and logs.
    ///
    /// 1. The folder is made, and its name durable. One that is there must be empty.
    /// 2. It is locked, and the lock file gets a root record, durable with its name: a folder that holds nothing else
    ///    yet names a log that is not there, and does not open.
    /// 3. Every file is copied, cloned or linked under a name that no store looks at, and synced.
    /// 4. All but the last log get their names, which are made durable. The folder does not open: seals and
    ///    footers lead to the last log.
    /// 5. The last log gets its name: **the commit point**. It is made durable.
    ///
    /// After a failure what was made is removed.
    pub(super) fn copy_to_new_folder(
        &self,
        source: &Source<'_>,
        fulls: &[&Full],
        chain: &Chain<'_>,
        to: &Path,
    ) -> Result<BackupReport> {
        let items = items(fulls, chain);
        let mut made = Made { fs: &*self.fs, paths: Vec::new() };
        // 1.
        make_folder(&*self.fs, to)?;
        let lock_path = to.join(LOCK_FILE_NAME);
        made.paths.push(lock_path.clone());
        // 2.
        let lock = self.fs.lock(&lock_path, Duration::ZERO)?;
        write_root(&*lock, fulls, chain)?;
        self.fs.sync_dir(to)?;
        // 3.
        let mut report = BackupReport {
            seq: chain.last_seq,
            seq_min: fulls.first().map_or(0, |full| full.end_seq),
            files: bytes_u64(items.len()),
            files_linked: 0,
            files_cloned: 0,
            bytes: 0,
            bytes_copied: 0,
        };
        let total = items.iter().map(Item::bytes).sum();
        let mut done = 0;
        for item in &items {
            let partial = partial(to, item.name);
            made.paths.push(partial.clone());
            let before = done;
            let copied = self.take(source, item, chain.last_seq, &partial, &mut |bytes| {
                self.tell(before + bytes, total);
            })?;
            report.bytes += match copied {
                Taken::Copied(bytes) => {
                    report.bytes_copied += bytes;
                    bytes
                }
                Taken::Cloned => {
                    report.files_cloned += 1;
                    item.of.bytes
                }
                Taken::Linked => {
                    report.files_linked += 1;
                    item.of.bytes
                }
            };
            done += item.bytes();
            self.tell(done, total);
        }
        self.fs.sync_dir(to)?;
        // 4.
        let (last, others) = match items.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, &items[..]),
        };
        for item in others {
            made.rename(to, item.name)?;
        }
        self.fs.sync_dir(to)?;
        // 5.
        if let Some(last) = last {
            made.rename(to, last.name)?;
            // From here on it may be a whole backup, whatever the sync says.
            made.paths.clear();
            self.fs.sync_dir(to)?;
        }
        made.paths.clear();
        Ok(report)
    }

    fn tell(&self, bytes_done: u64, bytes_total: u64) {
        if let Some(progress) = &self.progress {
            progress(BackupProgress { bytes_done, bytes_total });
        }
    }

    /// Brings one file to its place, synced.
    fn take(
        &self,
        source: &Source<'_>,
        item: &Item<'_>,
        last_seq: u64,
        to: &Path,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Taken> {
        match &item.what {
            What::Whole => {
                let earlier = self.since.as_deref().map(|dir| dir.join(item.name.to_string()));
                let earlier = earlier.filter(|path| is_same(source.fs, path, item.of));
                let own = self.link.then(|| item.of.path.clone());
                for from in [earlier, own].into_iter().flatten() {
                    // A file of its own is better than a second name: what happens to the one does not happen to
                    // the other. Whatever keeps it from being either, it can be copied.
                    let taken = if self.fs.clone_file(&from, to).is_ok() {
                        Taken::Cloned
                    } else if self.fs.link(&from, to).is_ok() {
                        Taken::Linked
                    } else {
                        continue;
                    };
                    self.fs.open(to, Access::Read)?.sync_data()?;
                    return Ok(taken);
                }
                let file = self.fs.create_new(to)?;
                copy(item.of, &*file, 0, item.of.bytes, tell)?;
                file.sync_data()?;
                Ok(Taken::Copied(item.of.bytes))
            }
            What::Log { piece, next } => {
                let file = self.fs.create_new(to)?;
                let bytes = copy_log(&*self.fs, &*file, piece, *next, last_seq, tell)?;
                file.sync_data()?;
                Ok(Taken::Copied(bytes))
            }
        }
    }
}

/// The files of the new folder, the last log last.
fn items<'a>(fulls: &[&'a Full], chain: &'a Chain<'_>) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for full in fulls {
        items.extend(full.shards.iter().map(|shard| {
            Item {
                // A publish may be half done: its files are whole, whatever their present names.
                name: SnapshotFileName::new(
                    SnapshotType::FullCompleted,
                    shard.name.ordinal(),
                    shard.name.shard(),
                    shard.name.shard_count(),
                )
                .unwrap_or(shard.name),
                of: shard,
                what: What::Whole,
            }
        }));
    }
    let nexts = chain.pieces.iter().skip(1).map(|piece| Some(piece.log.id)).chain([None]);
    for (piece, next) in chain.pieces.iter().zip(nexts) {
        let of = &piece.log.opened;
        let what = if is_final(piece, next) { What::Whole } else { What::Log { piece, next } };
        items.push(Item { name: of.name, of, what });
    }
    items
}

/// Whether nobody will write to this log any more: it was ended, cut, and names the log behind it.
fn is_final(piece: &Piece<'_>, next: Option<Id>) -> bool {
    let is_cut = piece.log.opened.bytes < piece.log.opened.header.segment_bytes
        && piece.end + SEAL_FRAME_BYTES == piece.log.opened.bytes;
    let named = match piece.seal {
        Some(seal) if seal.next_ordinal != 0 => {
            Some(Id { ordinal: seal.next_ordinal, salt: seal.next_salt })
        }
        Some(_) => piece.log.successor,
        None => None,
    };
    is_cut && next.is_some() && named == next
}

/// Step 1.
fn make_folder(fs: &dyn Fs, to: &Path) -> Result<()> {
    if !fs.create_dir(to)? && !fs.list(to)?.is_empty() {
        return Err(Error::NotEmpty { path: to.to_path_buf() });
    }
    if let Some(parent) = to.parent() {
        fs.sync_dir(parent)?;
    }
    Ok(())
}

/// The record that opening reads as long as there is no full snapshot. Where there will be one it is the last log that
/// is named: that comes last, and until then nothing opens.
fn write_root(lock: &dyn Lock, fulls: &[&Full], chain: &Chain<'_>) -> Result<()> {
    let root = if fulls.is_empty() { chain.pieces.first() } else { chain.pieces.last() };
    if let Some(Id { ordinal, salt }) = root.map(|piece| piece.log.id) {
        let record = Successor { ordinal, salt }.encode(root_seed());
        lock.file().write_at(SUCCESSOR_OFFSET, &record)?;
        lock.file().sync_data()?;
    }
    Ok(())
}

fn partial(to: &Path, name: SnapshotFileName) -> PathBuf {
    to.join(format!("backup_{name}.partial"))
}

/// Whether a file of an earlier backup is this one: the same header, with its random salt, size and end.
fn is_same(fs: &dyn Fs, earlier: &Path, of: &Opened) -> bool {
    let Ok(file) = fs.open(earlier, Access::Read) else { return false };
    if file.len().ok() != Some(of.bytes) {
        return false;
    }
    let same = |offset: u64, bytes: u64| {
        let part = |file: &Arc<dyn File>| {
            let mut buffer = vec![0; usize::try_from(bytes).ok()?];
            let got = file.read_at(offset, &mut buffer).ok()?;
            buffer.truncate(got);
            Some(buffer)
        };
        part(&file).is_some_and(|bytes| Some(bytes) == part(&of.file))
    };
    same(0, bytes_u64(HEADER_BYTES)) && same(of.bytes.saturating_sub(TAIL_BYTES), TAIL_BYTES)
}

/// Copies a part of a file to the same place of another.
fn copy(of: &Opened, to: &dyn File, from: u64, end: u64, tell: &mut dyn FnMut(u64)) -> Result<()> {
    let mut buffer = Vec::new();
    let (mut offset, mut synced) = (from, from);
    while offset < end {
        let bytes = usize::try_from(PIECE_BYTES.min(end - offset)).unwrap_or(usize::MAX);
        buffer.resize(bytes, 0);
        if of.file.read_at(offset, &mut buffer)? < bytes {
            return Err(Error::damaged(
                &of.path,
                offset,
                "the file became shorter while it was read",
            ));
        }
        to.write_at(offset, &buffer)?;
        offset += bytes_u64(bytes);
        if offset - synced >= SYNC_BYTES {
            to.sync_data()?;
            synced = offset;
        }
        tell(offset);
    }
    Ok(())
}

/// Copies a log: its header, its frames, and an end that says what comes next in the new folder. The last one gets a
/// mark with the time as well, where its segment has the room, so that it is known when all of it was there.
fn copy_log(
    fs: &dyn Fs,
    to: &dyn File,
    piece: &Piece<'_>,
    next: Option<Id>,
    last_seq: u64,
    tell: &mut dyn FnMut(u64),
) -> Result<u64> {
    let of = &piece.log.opened;
    copy(of, to, 0, bytes_u64(HEADER_BYTES), tell)?;
    copy(of, to, FRAMES_OFFSET, piece.end, tell)?;
    let seed = of.header.seed();
    let mut end = piece.end;
    let room = of.header.segment_bytes.saturating_sub(end);
    if next.is_none() && room >= MARK_FRAME_BYTES + SEAL_FRAME_BYTES {
        let mark = Mark { watermark: last_seq, unix_ms: fs.unix_time_ms() };
        to.write_at(end, &mark_frame(&mark, seed, end, last_seq))?;
        end += MARK_FRAME_BYTES;
    }
    let Id { ordinal: next_ordinal, salt: next_salt } = next.unwrap_or(Id { ordinal: 0, salt: 0 });
    // All that the new folder holds is synced before it opens.
    let seal = Seal { watermark: piece.last_seq, next_ordinal, next_salt };
    to.write_at(end, &seal_frame(&seal, seed, end, piece.last_seq))?;
    Ok(end + SEAL_FRAME_BYTES)
}

/// What was made so far, to be removed if the rest fails.
struct Made<'a> {
    fs: &'a dyn Fs,
    paths: Vec<PathBuf>,
}

impl Made<'_> {
    fn rename(&mut self, to: &Path, name: SnapshotFileName) -> Result<()> {
        let place = to.join(name.to_string());
        self.fs.rename(&partial(to, name), &place)?;
        self.paths.push(place);
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        // The lock file last: nobody opens what is being removed.
        for path in self.paths.iter().rev() {
            let _ = self.fs.remove(path);
        }
    }
}
