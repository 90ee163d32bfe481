//! Removing files: what order they go in, and what is remembered of those that would not go.
//!
//! Whatever is purged lies below the latest full snapshot or is pending, and there opening tolerates
//! any remains. So a crash between any two removals, and any subset of removals that reaches the
//! disk, leaves a folder that opens.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::{Access, File, Fs};

use crate::set::{self, Remains};
use crate::{
    Error, FileSnapshotSet, HeldSpace, Purged, SnapshotInfo, SnapshotOrdinal, SnapshotType,
};

impl FileSnapshotSet {
    /// Removes some of what the publishes so far have made obsolete, at most `files_max` files (and one at least), and leaves it to the caller
    /// when the space of these is given back. All of it goes step by step: until [`Purged::is_done`].
    ///
    /// [`FileSnapshotSet::publish`] can do the same. But to give back the space of a large file takes long, and meanwhile
    /// nobody else gets at the set. Here each file is opened before its name is removed, which takes some microseconds, and
    /// its space is held until [`Purged::space`] is dropped. The process has so many files open until then; where one cannot be
    /// opened, all are removed with their space.
    ///
    /// Obsolete are the full snapshots and diffs below the oldest full snapshot that
    /// [`Options::keep_backups`](crate::Options::keep_backups) keeps, and the pending snapshots below the latest full one.
    /// Oldest first; full snapshots go, and are gone for good, before the first diff.
    ///
    /// Costs an opening and a removal for each file, and one sync of the folder. A crash at any point leaves a folder
    /// that opens and restores the same state; the space is given back by then.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Forked`]: nothing was removed. A removal or a sync that fails is in [`Purged::error`].
    pub fn purge_some(&mut self, files_max: usize) -> Result<Purged, Error> {
        self.check_usable()?;
        let latest = self.get_latest_full_snapshot().map(|info| info.ordinal);
        let oldest_kept = set::oldest_kept(&self.snapshots, self.keep_backups);
        let files_max = files_max.max(1);
        let mut removal = Removal::holding(files_max, files_max);
        let step = self.purge_step(&mut removal, |snapshot_type, ordinal| {
            let lowest_kept =
                if snapshot_type == SnapshotType::Pending { latest } else { oldest_kept };
            lowest_kept.is_some_and(|kept| ordinal < kept)
        });
        let (is_done, error) = match step {
            Ok(is_done) => (is_done, None),
            Err(error) => (false, Some(error)),
        };
        let Removal { removed, space, .. } = removal;
        Ok(Purged { removed, is_done, error, space })
    }

    /// Removes the full snapshots and diffs below the latest full snapshot but for `max_backups` full
    /// ones and the diffs that lead on from them. Without a full snapshot nothing is obsolete.
    pub(crate) fn prune_backups(&mut self, max_backups: usize) -> Result<Vec<PathBuf>, Error> {
        self.check_usable()?;
        let oldest_kept = set::oldest_kept(&self.snapshots, max_backups);
        let mut removed = Vec::new();
        self.purge(&mut removed, |snapshot_type, ordinal| {
            snapshot_type != SnapshotType::Pending
                && oldest_kept.is_some_and(|oldest| ordinal < oldest)
        })?;
        Ok(removed)
    }

    /// Removes pending snapshots and all files of what is not whole.
    pub(crate) fn prune_not_completed(&mut self) -> Result<Vec<PathBuf>, Error> {
        self.check_usable()?;
        let remains: BTreeSet<_> = self.remains.iter().map(|remains| remains.ordinal).collect();
        let mut removed = Vec::new();
        self.purge(&mut removed, |snapshot_type, ordinal| {
            snapshot_type == SnapshotType::Pending || remains.contains(&ordinal)
        })?;
        Ok(removed)
    }

    /// Removes what `is_obsolete` says, oldest first, up to the first failure; `removed` says what
    /// went. What is left is kept in mind for the next purge.
    pub(crate) fn purge(
        &mut self,
        removed: &mut Vec<PathBuf>,
        is_obsolete: impl Fn(SnapshotType, SnapshotOrdinal) -> bool,
    ) -> Result<(), Error> {
        let mut removal = Removal::of_all();
        let mut purge = || {
            while !self.purge_step(&mut removal, &is_obsolete)? {}
            Ok(())
        };
        let purged = purge();
        removed.append(&mut removal.removed);
        purged
    }

    /// One step of a purge, up to the first failure. Returns whether nothing was left to be removed.
    ///
    /// Full snapshots go before the diffs that lead on from them, and are gone for good before the
    /// first of these goes, in a later step: no backup ever looks whole while its diffs have a gap.
    fn purge_step(
        &mut self,
        removal: &mut Removal,
        is_obsolete: impl Fn(SnapshotType, SnapshotOrdinal) -> bool,
    ) -> Result<bool, Error> {
        let obsolete = [false, true].into_iter().find_map(|diffs| {
            let whole = self.snapshots.iter().map(|info| (info.snapshot_type, info.ordinal));
            let remains = self.remains.iter().map(|left| (left.snapshot_type, left.ordinal));
            let obsolete: BTreeSet<_> = whole
                .chain(remains)
                .filter(|&(snapshot_type, ordinal)| {
                    (snapshot_type == SnapshotType::Diff) == diffs
                        && is_obsolete(snapshot_type, ordinal)
                })
                .map(|(_, ordinal)| ordinal)
                .collect();
            (!obsolete.is_empty()).then_some(obsolete)
        });
        let Some(obsolete) = obsolete else { return Ok(true) };
        for ordinal in obsolete {
            self.remove_files(ordinal, removal)?;
        }
        removal.spare_a_file();
        self.sync_dir()?;
        Ok(false)
    }

    /// Removes the files of one snapshot, as many as may go, without a sync. After a failure it goes on counting if all
    /// of its files are still there; otherwise the rest is kept in mind as remains.
    pub(crate) fn remove_files(
        &mut self,
        ordinal: SnapshotOrdinal,
        removal: &mut Removal,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        let fs = &*self.fs;
        for remains in self.remains.iter_mut().filter(|remains| remains.ordinal == ordinal) {
            result = result.and(removal.remove(fs, &mut remains.paths));
        }
        let index = self.snapshots.iter().position(|info| info.ordinal == ordinal);
        if let Some(index) = index
            && let Some(info) = self.snapshots.get_mut(index)
        {
            let count = info.shard_paths.len();
            result = result.and(removal.remove(fs, &mut info.shard_paths));
            if info.shard_paths.len() < count {
                let SnapshotInfo { snapshot_type, ordinal, shard_paths } =
                    self.snapshots.remove(index);
                self.remains.push(Remains { snapshot_type, ordinal, paths: shard_paths });
            }
        }
        self.remains.retain(|remains| !remains.paths.is_empty());
        result
    }
}

/// Files on their way out.
#[derive(Debug)]
pub(crate) struct Removal {
    removed: Vec<PathBuf>,
    files_max: usize,
    /// The space of how many of them is held, at most.
    held_max: usize,
    space: HeldSpace,
    /// One of those files once more: a process may have only so many files open, and a sync of the folder that cannot open it
    /// would stop the set.
    spare: Option<Arc<dyn File>>,
}

impl Removal {
    /// Of all files, and their space with them.
    pub(crate) fn of_all() -> Self {
        Self::holding(usize::MAX, 0)
    }

    /// Of so many files, where the space of so many is held.
    pub(crate) fn holding(files_max: usize, held_max: usize) -> Self {
        Self { removed: Vec::new(), files_max, held_max, space: HeldSpace::default(), spare: None }
    }

    /// Removes the last of these files, as many as may go, and their paths from the list; up to the first failure.
    fn remove(&mut self, fs: &dyn Fs, paths: &mut Vec<PathBuf>) -> Result<(), Error> {
        while self.removed.len() < self.files_max
            && let Some(path) = paths.pop()
        {
            match self.remove_one(fs, &path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    paths.push(path);
                    return Err(error.into());
                }
                _ => self.removed.push(path),
            }
        }
        Ok(())
    }

    /// Removes a file, and holds its space where it may.
    pub(crate) fn remove_one(&mut self, fs: &dyn Fs, path: &Path) -> pkv_fs::Result<()> {
        let file = self.open(fs, path);
        fs.remove(path)?;
        self.space.0.extend(file);
        Ok(())
    }

    /// Opens a file whose space may be held. If one cannot be opened, the process may be short of files, and none is held any
    /// more.
    fn open(&mut self, fs: &dyn Fs, path: &Path) -> Option<Arc<dyn File>> {
        if self.space.0.len() >= self.held_max {
            return None;
        }
        let open = || fs.open(path, Access::Read).ok();
        if self.spare.is_none() {
            self.spare = open();
        }
        let file = self.spare.is_some().then(open).flatten();
        if file.is_none() {
            self.held_max = 0;
            self.spare = None;
            self.space = HeldSpace::default();
        }
        file
    }

    /// Leaves a file to the next call, if it has any open.
    pub(crate) fn spare_a_file(&mut self) {
        self.spare = None;
    }

    /// What it holds.
    pub(crate) fn into_space(self) -> HeldSpace {
        self.space
    }
}
