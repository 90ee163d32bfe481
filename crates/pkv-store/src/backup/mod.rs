//! Backups of a folder that may be in use, and folders made from them: files copied or linked up to one write.
//!
//! A backup is a store's folder like any other, closed at one sequence number: it opens, it can be verified, and a
//! store can go on from it. It needs no lock on the folder it is made from. What a writer does meanwhile is told
//! apart by the rules of opening: frames are in order and without holes, so every place between two frames is a
//! state that the store had, and all that was acknowledged before the backup began stands before the place at
//! which the last log is left.
//!
//! # How a folder comes to be
//!
//! `Backup::copy_to_new_folder` has the steps; **the commit point** is the last rename. Before it the new folder does
//! not open: what is there names, by seal, footer or root record, the log that is not.

mod chain;
mod source;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::{Fs, StdFs};

use crate::error::{Error, Result};
use chain::{Chain, Until};
use source::{Full, Source};

/// How backups are made and stores restored from them: a builder.
///
/// ```
/// use pkv_store::{Backup, RestorePoint, Store};
/// # let dir = tempfile::tempdir()?;
/// # let (data, monday, tuesday) = (dir.path().join("data"), dir.path().join("mon"), dir.path().join("tue"));
/// let visits: Store<String, u64> = Store::open(&data)?;
/// visits.insert("alice", &1)?;
/// // From the program that has the store open, or, with `Backup`, from any other beside it.
/// visits.backup_to(&monday)?;
/// visits.insert("alice", &2)?;
/// let report = Backup::new().since(&monday).copy(&data, &tuesday)?;
/// assert_eq!(report.seq, 2);
///
/// // A backup is a store's folder. One made from it may end at an earlier write, or at a time.
/// let earlier = dir.path().join("earlier");
/// Backup::new().restore(&tuesday, &earlier, RestorePoint::Seq(1))?;
/// let restored: Store<String, u64> = Store::open(&earlier)?;
/// assert_eq!(restored.get("alice")?, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Backup {
    fs: Arc<dyn Fs>,
    since: Option<PathBuf>,
    link: bool,
    progress: Option<Arc<dyn Fn(BackupProgress) + Send + Sync>>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fs, since, link, progress: _ } = self;
        f.debug_struct("Backup")
            .field("fs", fs)
            .field("since", since)
            .field("link", link)
            .finish_non_exhaustive()
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a backup or a restoration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Bytes of files that are copied or linked already.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// The state that a folder is restored to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RestorePoint {
    /// The last one there is.
    #[default]
    Latest,
    /// That of the write with this sequence number, and of all before it.
    Seq(u64),
    /// The last one that is known to be no later than this time, in milliseconds since 1970 by the clock of the
    /// machine that wrote. Known are the times of syncs, `sync_interval` apart while a store is written to, and that
    /// of the backup itself.
    Time {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
}

/// What a backup holds, and what making it took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The last write in it; the folder holds exactly the writes up to this one.
    pub seq: u64,
    /// The first write to which [`Backup::restore`] can go back from it: the end of its oldest full snapshot, or 0.
    pub seq_min: u64,
    /// Its files, the lock file not counted.
    pub files: u64,
    /// Of these, files that are second names of files of the folder or of the backup before, and took no space.
    pub files_linked: u64,
    /// Of these, files that share their bytes with one of the folder or of the backup before (a reflink), and took no
    /// space either.
    pub files_cloned: u64,
    /// The size of all files.
    pub bytes: u64,
    /// Of these, bytes that were read and written.
    pub bytes_copied: u64,
}

impl Backup {
    /// A backup of its own, whose files are links where that is possible, on the real file system.
    #[must_use]
    pub fn new() -> Self {
        Self { fs: Arc::new(StdFs), since: None, link: true, progress: None }
    }

    /// A backup of the same store that was made before, on the same file system as the new one: what both have in
    /// common shares the bytes of its files and is neither read from the store nor written again. Both stay whole
    /// without the other.
    #[must_use]
    pub fn since(mut self, earlier: impl AsRef<Path>) -> Self {
        self.since = Some(earlier.as_ref().to_path_buf());
        self
    }

    /// Whether files that never change again (snapshots, and logs that were ended) may share their bytes with the
    /// folder's own files, where both are on one file system: as reflinks where it has them, else as second names.
    /// Default true: it takes no space and no time. Damage to the disk below one is then damage to both; false copies
    /// all.
    #[must_use]
    pub fn link(mut self, link: bool) -> Self {
        self.link = link;
        self
    }

    /// Called with how far it has come, some times for each megabyte copied.
    #[must_use]
    pub fn on_progress(
        mut self,
        observer: impl Fn(BackupProgress) + Send + Sync + 'static,
    ) -> Self {
        self.progress = Some(Arc::new(observer));
        self
    }

    /// The file system that all the folders are on. Default: the real one.
    #[must_use]
    pub fn file_system(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// Copies the store in folder `from` to the new folder `to`: all whole snapshots with the logs that lead on from
    /// them, and the last log up to its last whole frame. A program may have the store open and write to it; whatever
    /// was acknowledged before the call is in the copy. The store's types do not matter.
    ///
    /// Cost: a read of what is copied, one window of 1 MiB in memory at a time, and a sync of each file.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`] when `to` is there and not empty; [`Error::Damaged`] when `from` is found damaged (not every
    /// byte is looked at: `pkv verify` does that, also with the copy); [`Error::Changing`] when files vanished or
    /// changed each time they were listed. The new folder is removed then, and one that a crash leaves half made does not open.
    pub fn copy(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<BackupReport> {
        Source::with(&*self.fs, from.as_ref(), |source| {
            let (full, chain) = oldest_chain(source, Until::Latest)?;
            self.copy_to_new_folder(source, &source.fulls_from(full), &chain, to.as_ref())
        })
    }

    /// Makes the new folder `to` from a backup, or from a store's own folder, in the state of this point: the full
    /// snapshot that ends before it, and the logs up to it. What lies behind is not in the new folder.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPoint`] when the files do not reach back or forward to it: never before the end of the oldest
    /// full snapshot. Otherwise as [`Backup::copy`].
    pub fn restore(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        point: RestorePoint,
    ) -> Result<BackupReport> {
        Source::with(&*self.fs, from.as_ref(), |source| {
            self.restore_from(source, to.as_ref(), point)
        })
    }

    fn restore_from(
        &self,
        source: &Source<'_>,
        to: &Path,
        point: RestorePoint,
    ) -> Result<BackupReport> {
        let asked = |seq: u64| match point {
            RestorePoint::Time { unix_ms } => {
                format!("the time {unix_ms} ms since 1970 (write {seq})")
            }
            _ => format!("write {seq}"),
        };
        let until = match point {
            RestorePoint::Latest => Until::Latest,
            RestorePoint::Seq(seq) => Until::Seq(seq),
            RestorePoint::Time { unix_ms } => Until::Seq(seq_at(source, unix_ms)?),
        };
        let base = match until {
            Until::Seq(seq) => source.fulls.iter().rev().find(|full| full.end_seq <= seq),
            _ => source.fulls.last(),
        };
        if let (None, Until::Seq(seq), Some(oldest)) = (base, until, source.fulls.first()) {
            let latest = oldest_chain(source, Until::Latest)?.1.last_seq;
            return Err(no_such_point(source, asked(seq), oldest.end_seq, latest));
        }
        let chain = chain::walk(source, base, until)?;
        if let Until::Seq(seq) = until
            && chain.last_seq != seq
        {
            let earliest = source.fulls.first().map_or(0, |full| full.end_seq);
            return Err(no_such_point(source, asked(seq), earliest, chain.last_seq));
        }
        let fulls: Vec<&Full> = base.into_iter().collect();
        self.copy_to_new_folder(source, &fulls, &chain, to)
    }
}

/// The chain from the oldest full snapshot from which one leads to the latest. Below the latest one nothing must be
/// whole: pruning may have been interrupted there.
fn oldest_chain<'a>(source: &'a Source<'_>, until: Until) -> Result<(Option<&'a Full>, Chain<'a>)> {
    let Some((latest, older)) = source.fulls.split_last() else {
        return Ok((None, chain::walk(source, None, until)?));
    };
    for full in older {
        match chain::walk(source, Some(full), until) {
            Ok(chain) => return Ok((Some(full), chain)),
            // Not for what a writer did meanwhile: then all is read again.
            Err(error) if source.has_changed()? && !source.is_believed(&error)? => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok((Some(latest), chain::walk(source, Some(latest), until)?))
}

/// The last write that is known to be no later than a time: that before the last mark that is not later.
fn seq_at(source: &Source<'_>, unix_ms: u64) -> Result<u64> {
    let (full, chain) = oldest_chain(source, Until::Time(unix_ms))?;
    chain.time_seq.ok_or_else(|| {
        let earliest = full.map_or(0, |full| full.end_seq);
        let asked = format!("the time {unix_ms} ms since 1970, which is before its first sync");
        no_such_point(source, asked, earliest, chain.last_seq)
    })
}

fn no_such_point(source: &Source<'_>, asked: String, earliest: u64, latest: u64) -> Error {
    Error::NoSuchPoint { path: source.dir.to_path_buf(), asked, earliest, latest }
}
