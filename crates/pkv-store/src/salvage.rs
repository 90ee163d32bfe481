//! Salvage: what is whole in a damaged folder, written into a new one. The damaged one is only read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pkv_fs::{Fs, Lock};
use pkv_snapshot_set::LOCK_FILE_NAME;

use crate::core::Core;
use crate::error::{Error, Holder, Result};
use crate::folder::Identity;
use crate::options::{Options, RecoveryMode};
use crate::pool::IoPool;
use crate::recover::{self, Contents, ReadOptions, Types};

/// Places and gaps that a report lists; what is beyond is counted.
const LISTED_MAX: usize = 1000;

/// What a salvage kept, and what it had to leave behind.
///
/// *Whole* is what its checksum proves: a block of a snapshot with all its records, a log frame with all
/// its changes. What is not whole is never used, and stands here instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The folder that was read.
    pub source: PathBuf,
    /// The new folder; `None` where the contents were only read.
    pub destination: Option<PathBuf>,
    /// The schema name of the keys; `None`: no file told.
    pub key_schema: Option<String>,
    /// The schema name of the values; `None`: no file told.
    pub value_schema: Option<String>,
    /// The ordinal of the full snapshot from which the contents were built.
    pub snapshot: Option<u64>,
    /// Newer full snapshots that are damaged and were not needed: the one that was used has its whole chain
    /// of logs. Ascending.
    pub passed_over: Vec<u64>,
    /// Records kept of the snapshot.
    pub snapshot_records: u64,
    /// Records that the snapshot had and that are lost, as far as its footers tell.
    pub records_lost: u64,
    /// Whether more records may be lost: a file of the snapshot is missing or has no footer.
    pub records_lost_unknown: bool,
    /// Logs of which something was kept.
    pub logs: u32,
    /// Writes applied from them; a batch is one.
    pub writes: u64,
    /// Writes that are lost: the sum of [`SalvageReport::gaps`], those not listed included.
    pub writes_lost: u64,
    /// Entries that are there now.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub payload_bytes: u64,
    /// The last write that is there.
    pub last_seq: u64,
    /// Everything up to this write had been synced once.
    pub watermark: u64,
    /// What was not whole: files and places in them, in the order of reading; at most 1000.
    pub lost: Vec<Lost>,
    /// Places beyond those listed.
    pub lost_unlisted: u64,
    /// Writes that are missing between those that are there, ascending; at most 1000.
    pub gaps: Vec<Gap>,
    /// Gaps beyond those listed.
    pub gaps_unlisted: u64,
}

impl SalvageReport {
    /// Whether nothing is lost: the contents are what opening would have shown of the undamaged folder.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.gaps.is_empty() && !self.records_lost_unknown
    }

    /// Whether nothing is lost that had been synced: what is lost is a torn end, as any crash leaves one.
    #[must_use]
    pub fn is_torn_only(&self) -> bool {
        self.records_lost == 0
            && !self.records_lost_unknown
            && self.gaps_unlisted == 0
            && self.gaps.iter().all(|gap| !gap.was_synced)
            && self.lost.iter().all(|lost| lost.is_torn)
            && self.lost_unlisted == 0
    }

    pub(crate) fn lose(&mut self, lost: Lost) {
        if self.lost.len() < LISTED_MAX {
            self.lost.push(lost);
        } else {
            self.lost_unlisted += 1;
        }
    }

    pub(crate) fn miss(&mut self, path: PathBuf, reason: impl Into<String>) {
        // Both neighbours of a log may name it.
        if !self.lost.iter().any(|lost| lost.path == path && lost.bytes == 0) {
            self.lose(Lost { path, offset: 0, bytes: 0, reason: reason.into(), is_torn: false });
        }
    }

    pub(crate) fn gap(&mut self, gap: Gap) {
        self.writes_lost += gap.last_seq - gap.first_seq + 1;
        if self.gaps.len() < LISTED_MAX {
            self.gaps.push(gap);
        } else {
            self.gaps_unlisted += 1;
        }
    }
}

/// A place of a file that was not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The file.
    pub path: PathBuf,
    /// Where the loss begins.
    pub offset: u64,
    /// How many bytes were passed over; 0 where the file is missing.
    pub bytes: u64,
    /// What was wrong.
    pub reason: String,
    /// Whether a crash explains it: it lies in a log, above everything that was known to be synced.
    pub is_torn: bool,
}

/// A run of writes that is missing.
///
/// The writes behind it were applied all the same. So a key that was changed within the gap and not
/// behind it has the value that it had before, or is missing, or is there although it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The sequence number of the first write that is missing.
    pub first_seq: u64,
    /// That of the last.
    pub last_seq: u64,
    /// The log in which the next whole write was found, or in which one was expected.
    pub path: PathBuf,
    /// Whether the first of them had been synced: then it is damage. Else a crash explains it.
    pub was_synced: bool,
}

/// Reads what is whole in a damaged folder and writes it into a new one. Nothing in `source` is changed.
///
/// For the folder that opening refuses with [`Error::Damaged`] when there is no backup. What comes of it:
///
/// - Nothing damaged: the same contents as by opening.
/// - The newest full snapshot is damaged, an older one is whole and so are all logs from it to the newest
///   (see [`Options::keep_backups`]): that one is used, and nothing is lost.
/// - Otherwise every whole block of the newest full snapshot and every whole frame of the logs above it, in
///   the order of their numbers, also those behind damage and behind a torn end. The contents are then
///   *not* those of any moment: see [`Gap`].
///
/// A log whose header is gone is read if another file still names it. A snapshot file without a header, and
/// pending snapshots, are not read.
///
/// `destination` must be missing or empty. It becomes a new store, of the same types and with an id and sequence
/// numbers of its own, that holds one full snapshot. `options` say how it is written, and which
/// [`Options::on_progress`] and file system are used; [`Options::recovery`] does not matter.
///
/// 1. The source is read, under its lock where there is a lock file that can be locked.
/// 2. The destination is made, as an empty store.
/// 3. The contents become its full snapshot; the publish of that is the commit point.
///
/// A crash before the commit point leaves an empty store or a part of one in `destination`: remove it and
/// begin again. Cost: memory for all entries; each file is read up to twice, and what is damaged several times.
///
/// # Errors
///
/// [`Error::NotEmpty`], [`Error::Locked`] while somebody has the source open, [`Error::NotFound`],
/// [`Error::NewerFormat`], and those of writing a store. [`Error::WrongType`] where the files hold values of
/// several versions of their type: only a program that has the type can tell them apart, by
/// [`Options::open_read_only`] with [`RecoveryMode::Salvage`]. Damage is no error: it is in the report.
///
/// ```
/// use pkv_store::{Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let (path, rescued) = (dir.path().join("store"), dir.path().join("rescued"));
/// let store: Store<String, u64> = Store::open(&path)?;
/// store.insert("alice", &1)?;
/// store.close()?;
///
/// let report = pkv_store::salvage(&path, &rescued, &Options::new())?;
/// assert!(report.is_complete());
/// let store: Store<String, u64> = Store::open(&rescued)?;
/// assert_eq!(store.get("alice")?, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn salvage(
    source: impl AsRef<Path>,
    destination: impl AsRef<Path>,
    options: &Options,
) -> Result<SalvageReport> {
    let (source, destination) = (source.as_ref(), destination.as_ref());
    let options = &options.clone().create(true).recovery(RecoveryMode::TornTail);
    options.check()?;
    check_empty(&*options.fs, destination)?;
    // 1.
    let _lock = lock_source(&*options.fs, source)?;
    let contents = read_whole(source, options)?;
    let mut report = contents.report.salvage.map(|report| *report).unwrap_or_default();
    report.destination = Some(destination.to_path_buf());
    let Some(found) = contents.identity else {
        // Nothing that tells what keys and values are: there is nothing to write.
        return Ok(report);
    };
    // 2.
    let identity = Identity {
        hash_seed: contents.map.hash_seed(),
        ..Identity::new(&*options.fs, found.key_schema, found.value_schema)
    };
    let core = Core::create(options, destination, identity, contents.map)?;
    // 3.
    let written = core.compact().map(drop);
    let closed = core.close();
    written.and(closed).map(|()| report)
}

/// What [`salvage`] would keep and lose: reads, and writes nothing; takes no lock.
///
/// Cost: that of [`salvage`] but for the writing; memory for all entries.
///
/// # Errors
///
/// Those of [`salvage`] that come of the source.
pub fn plan_salvage(source: impl AsRef<Path>, options: &Options) -> Result<SalvageReport> {
    options.check()?;
    let contents = read_whole(source.as_ref(), options)?;
    Ok(contents.report.salvage.map(|report| *report).unwrap_or_default())
}

/// Everything that is whole in a folder.
fn read_whole(source: &Path, options: &Options) -> Result<Contents> {
    let pool = IoPool::new(if options.background { options.io_threads } else { 1 });
    recover::salvage(&ReadOptions {
        fs: &*options.fs,
        dir: source,
        root: recover::read_root(&*options.fs, source),
        map_shards: options.map_shards,
        types: &Types::OfFolder,
        pool: &pool,
        progress: options.progress.as_ref(),
        live: false,
        instant: false,
    })
}

/// A folder that is to be filled must hold nothing.
pub(crate) fn check_empty(fs: &dyn Fs, dir: &Path) -> Result<()> {
    match fs.list(dir) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(Error::NotEmpty { path: dir.to_path_buf() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps others from opening the folder, where that is possible without changing it: there is a lock file,
/// and the file system lets it be locked.
fn lock_source(fs: &dyn Fs, dir: &Path) -> Result<Option<Box<dyn Lock>>> {
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NotFound { path: dir.to_path_buf() });
        }
        Err(error) => return Err(error.into()),
    };
    if !entries.iter().any(|entry| entry.name == LOCK_FILE_NAME) {
        return Ok(None);
    }
    let path = dir.join(LOCK_FILE_NAME);
    match fs.lock(&path, Duration::ZERO) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(Error::Locked { path, holder: Holder::Unknown })
        }
        // A read-only file system, or a file that is not ours: nobody of us can have it open.
        Err(_) => Ok(None),
    }
}
