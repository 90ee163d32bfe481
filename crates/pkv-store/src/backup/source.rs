//! The files of a folder that may be in use, opened: from then on they can be read, whatever happens to their names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_format::{
    BlockScanner, BlockStep, FOOTER_BYTES, FRAMES_OFFSET, FileHeader, FileKind, Footer,
    HeaderError, SUCCESSOR_BYTES, SUCCESSOR_OFFSET, Successor,
};
use pkv_fs::{Access, File, Fs};
use pkv_snapshot_set::{FileSnapshotSet, Scan, SnapshotFileName, SnapshotInfo, SnapshotType};

use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::recover::{
    NameSays, Types, check_name, check_store, header_error, is_unused, read_header, read_root,
};

/// How often a folder is listed again when a file was gone that had just been listed.
const ROUNDS: u32 = 200;
/// How often its logs are walked again.
const WALKS: u32 = 20;
/// The pause before each: who has just slept is least likely to lose the processor between the listing and the last file,
/// which on a busy machine happens again and again to who goes on at once.
const PAUSE: Duration = Duration::from_millis(1);

/// A folder's files, open.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) dir: &'a Path,
    /// Whole full snapshots, ascending.
    pub(super) fulls: Vec<Full>,
    /// Logs with a header, ascending.
    pub(super) logs: Vec<Log>,
    /// The first log, by the lock file's word.
    pub(super) root: Option<Successor>,
    /// What the look before ended with.
    error_before: Option<String>,
    /// Nobody looks again after this.
    is_last_look: bool,
}

/// A full snapshot.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) ordinal: u64,
    pub(super) shards: Vec<Opened>,
    /// Replay begins behind this write.
    pub(super) start_seq: u64,
    /// The snapshot may hold writes up to this one.
    pub(super) end_seq: u64,
    /// The log that was taken into use when its copy began.
    pub(super) log: Id,
}

/// A log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) id: Id,
    pub(super) opened: Opened,
    pub(super) successor: Option<Id>,
}

/// One file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) name: SnapshotFileName,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) bytes: u64,
    pub(super) header: FileHeader,
}

/// What tells a log from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) ordinal: u64,
    pub(super) salt: u64,
}

impl<'a> Source<'a> {
    /// Opens all files that count. What a writer makes later is not among them.
    ///
    /// The listing of a folder whose names change meanwhile may miss one. So there are two in a row: what the second shows is
    /// opened, and all that the first showed must be among it. An error other than that a file is gone counts when it comes
    /// twice in a row.
    pub(super) fn open(fs: &'a dyn Fs, dir: &'a Path) -> Result<Self> {
        let mut before = None;
        for _ in 0..ROUNDS {
            let opened = scan(fs, dir).and_then(|first| {
                let listed = scan(fs, dir)?;
                let is_whole = shows_all(&listed, &first);
                is_whole.then(|| Self::open_files(fs, dir, &listed)).transpose()
            });
            match opened {
                Ok(Some(source)) => return Ok(source),
                Ok(None) => before = None,
                Err(error) if is_gone(&error) => before = None,
                Err(error @ Error::NotFound { .. }) => return Err(error),
                Err(error) => {
                    let text = error.to_string();
                    if before.as_ref() == Some(&text) {
                        return Err(error);
                    }
                    before = Some(text);
                }
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::Changing { path: dir.to_path_buf() })
    }

    fn open_files(fs: &'a dyn Fs, dir: &'a Path, listed: &Scan) -> Result<Self> {
        let root = read_root(fs, dir);
        let mut source = Self {
            fs,
            dir,
            fulls: Vec::new(),
            logs: Vec::new(),
            root,
            error_before: None,
            is_last_look: false,
        };
        let mut first = None;
        // The latest first: it is what the others are compared with.
        for info in listed.snapshots.iter().rev() {
            match info.snapshot_type {
                SnapshotType::FullCompleted => {
                    source.fulls.push(open_full(fs, info, &mut first)?);
                }
                SnapshotType::Diff => source.logs.extend(open_log(fs, info, &mut first)?),
                SnapshotType::Pending => {}
            }
        }
        source.fulls.reverse();
        source.logs.reverse();
        Ok(source)
    }

    /// Opens the files and works with them; again, if that failed because of what a writer did meanwhile.
    pub(super) fn with<T>(
        fs: &'a dyn Fs,
        dir: &'a Path,
        mut work: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let mut error_before = None;
        for walk in 1..=WALKS {
            let mut source = Self::open(fs, dir)?;
            source.error_before = error_before;
            source.is_last_look = walk == WALKS;
            let error = match work(&source) {
                Err(error @ (Error::Damaged { .. } | Error::Files(_))) => error,
                done => return done,
            };
            if source.is_believed(&error)? {
                return Err(error);
            }
            error_before = Some(error.to_string());
            std::thread::sleep(PAUSE);
        }
        Err(Error::Changing { path: dir.to_path_buf() })
    }

    /// Of what may be a writer's doing an error counts when it comes twice in a row and no log has changed, or in the last two
    /// looks.
    pub(super) fn is_believed(&self, error: &Error) -> Result<bool> {
        let is_met_twice = self.error_before == Some(error.to_string());
        Ok(is_met_twice && (self.is_last_look || !self.has_changed()?))
    }

    /// Whether a log has another size than when it was opened.
    pub(super) fn has_changed(&self) -> Result<bool> {
        for log in &self.logs {
            if log.opened.file.len()? != log.opened.bytes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A full snapshot and all that are newer.
    pub(super) fn fulls_from(&self, oldest: Option<&Full>) -> Vec<&Full> {
        let Some(oldest) = oldest else { return Vec::new() };
        self.fulls.iter().filter(|full| full.ordinal >= oldest.ordinal).collect()
    }

    /// Whether the folder holds this log by now, or a newer full snapshot that made it obsolete.
    ///
    /// That ends what was read where the log came behind the listing, and so behind every file that is open. An older one was
    /// there, or its snapshot: the listing missed it, and all behind it with it.
    pub(super) fn has_by_now(&self, id: Id) -> Result<bool> {
        let fulls = self.fulls.iter().map(|full| full.ordinal);
        let opened = fulls.chain(self.logs.iter().map(|log| log.id.ordinal)).max();
        if opened.is_some_and(|opened| id.ordinal <= opened) {
            return Ok(false);
        }
        let scan = scan(self.fs, self.dir)?;
        let is_full = |info: &&SnapshotInfo| info.snapshot_type == SnapshotType::FullCompleted;
        if scan.snapshots.iter().filter(is_full).any(|info| info.ordinal.0 > id.ordinal) {
            // Where nothing is open, the listing may have missed it.
            return Ok(opened.is_some());
        }
        let Some(info) = scan.snapshots.iter().find(|info| info.ordinal.0 == id.ordinal) else {
            return Ok(false);
        };
        match open_log(self.fs, info, &mut None) {
            Ok(log) => Ok(log.is_some_and(|log| log.id == id)),
            // Made obsolete between the listing and now.
            Err(error) => {
                if is_gone(&error) {
                    Ok(true)
                } else {
                    Err(error)
                }
            }
        }
    }
}

fn scan(fs: &dyn Fs, dir: &Path) -> Result<Scan> {
    let scan = match FileSnapshotSet::scan(fs, dir) {
        Ok(scan) => scan,
        Err(pkv_snapshot_set::Error::Fs(error))
            if error.kind() == io::ErrorKind::NotFound && fs.list(dir).is_err() =>
        {
            return Err(Error::NotFound { path: dir.to_path_buf() });
        }
        Err(error) => return Err(error.into()),
    };
    match scan.problems.first() {
        Some(problem) => Err(pkv_snapshot_set::Error::from(problem.clone()).into()),
        None => Ok(scan),
    }
}

/// Whether a listing shows all snapshots that one just before it showed.
fn shows_all(listed: &Scan, before: &Scan) -> bool {
    let counts = |info: &&SnapshotInfo| info.snapshot_type != SnapshotType::Pending;
    before.snapshots.iter().filter(counts).all(|info| {
        let is_it = |other: &SnapshotInfo| {
            (other.snapshot_type, other.ordinal) == (info.snapshot_type, info.ordinal)
        };
        listed.snapshots.iter().any(is_it)
    })
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Fs(error) if error.kind() == io::ErrorKind::NotFound)
}

fn open_full(fs: &dyn Fs, info: &SnapshotInfo, first: &mut Option<FileHeader>) -> Result<Full> {
    let mut shards = Vec::new();
    let mut footers: Vec<Footer> = Vec::new();
    let count = bytes_u64(info.shard_paths.len());
    for (shard, path) in (0..).zip(&info.shard_paths) {
        let opened =
            open_file(fs, info, shard, count, path)?.map_err(|error| header_error(path, &error))?;
        agree(&opened, FileKind::Snapshot, first)?;
        footers.push(read_footer(&opened)?);
        shards.push(opened);
    }
    let (Some(footer), Some(head)) = (footers.first(), shards.first()) else {
        let path = info.shard_paths.first().cloned().unwrap_or_default();
        return Err(Error::damaged(&path, 0, "a snapshot without shards"));
    };
    let says = |footer: &Footer| (footer.start_seq, footer.log_ordinal, footer.log_salt);
    let end_seq = footers.iter().map(|footer| footer.end_seq).max().unwrap_or(0);
    if footers.iter().any(|other| says(other) != says(footer)) || footer.start_seq > end_seq {
        let reason = "the shards' footers do not speak of one snapshot";
        return Err(Error::damaged(&head.path, footer_offset(head), reason));
    }
    let log = Id { ordinal: footer.log_ordinal, salt: footer.log_salt };
    Ok(Full { ordinal: info.ordinal.0, start_seq: footer.start_seq, end_seq, log, shards })
}

/// `None`: a log without a header, whose creation goes on or was interrupted.
fn open_log(
    fs: &dyn Fs,
    info: &SnapshotInfo,
    first: &mut Option<FileHeader>,
) -> Result<Option<Log>> {
    let [path] = info.shard_paths.as_slice() else {
        let path = info.shard_paths.first().cloned().unwrap_or_default();
        let reason = "a log in several shards, which this version does not write";
        return Err(Error::damaged(&path, 0, reason));
    };
    let opened = match open_file(fs, info, 0, 1, path)? {
        Ok(opened) => opened,
        Err(error @ HeaderError::Newer { .. }) => return Err(header_error(path, &error)),
        Err(error) => {
            let file = fs.open(path, Access::Read)?;
            if is_unused(&*file, path, file.len()?)? {
                return Ok(None);
            }
            // Its header may have come between the two looks: its writer was making it.
            open_file(fs, info, 0, 1, path)?.map_err(|_| header_error(path, &error))?
        }
    };
    agree(&opened, FileKind::Log, first)?;
    if opened.bytes > opened.header.segment_bytes || opened.bytes < FRAMES_OFFSET {
        let reason = "the log's size is none that its header allows";
        return Err(Error::damaged(path, opened.header.segment_bytes, reason));
    }
    let mut record = [0; SUCCESSOR_BYTES];
    let got = opened.file.read_at(SUCCESSOR_OFFSET, &mut record)?;
    let record = record.get(..got).unwrap_or_default();
    let successor = Successor::decode(opened.header.seed(), record)
        .map(|next| Id { ordinal: next.ordinal, salt: next.salt });
    let id = Id { ordinal: info.ordinal.0, salt: opened.header.salt };
    Ok(Some(Log { id, opened, successor }))
}

fn open_file(
    fs: &dyn Fs,
    info: &SnapshotInfo,
    shard: u64,
    count: u64,
    path: &Path,
) -> Result<Result<Opened, HeaderError>> {
    let file = fs.open(path, Access::Read)?;
    let bytes = file.len()?;
    let name = SnapshotFileName::new(info.snapshot_type, info.ordinal, shard, count)
        .ok_or_else(|| Error::damaged(path, 0, "a name that no shard has"))?;
    let path = path.to_path_buf();
    Ok(read_header(&*file)?.map(|header| Opened { name, path, file, bytes, header }))
}

/// A file must be what its name says, and of the same store as the others.
fn agree(opened: &Opened, kind: FileKind, first: &mut Option<FileHeader>) -> Result<()> {
    let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let name = NameSays {
        kind,
        ordinal: opened.name.ordinal().0,
        shard: narrow(opened.name.shard()),
        shard_count: narrow(opened.name.shard_count()),
    };
    check_name(&opened.path, &opened.header, name)?;
    check_store(
        &opened.path,
        &opened.header,
        first.as_ref().unwrap_or(&opened.header),
        &Types::OfEachFile,
    )?;
    first.get_or_insert_with(|| opened.header.clone());
    Ok(())
}

fn footer_offset(opened: &Opened) -> u64 {
    opened.bytes.saturating_sub(bytes_u64(FOOTER_BYTES))
}

fn read_footer(opened: &Opened) -> Result<Footer> {
    let at = footer_offset(opened);
    let mut bytes = [0; FOOTER_BYTES];
    let got = opened.file.read_at(at, &mut bytes)?;
    let bytes = bytes.get(..got).unwrap_or_default();
    match BlockScanner::new(opened.header.seed(), at, bytes).next_block() {
        BlockStep::Footer { footer, .. } => Ok(footer),
        _ => Err(Error::damaged(&opened.path, at, "the snapshot ends without a footer")),
    }
}
