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
    /// Removes some of what is obsolete, at most `files_max` files (and one at least), and leaves it to the caller when the
    /// space of these is given back. All of it goes step by step: until [`Purged::is_done`].
    ///
    /// [`FileSnapshotSet::publish`] can do the same. But to give back the space of a large file takes long, and meanwhile
    /// nobody else gets at the set. Here each file is opened before its name is removed, which takes some microseconds, and
    /// its space is held until [`Purged::space`] is dropped. The process has so many files open until then; where one cannot be
    /// opened, all are removed with their space.
    ///
    /// Obsolete are the full snapshots and diffs below the oldest full snapshot that
    /// [`Options::keep_backups`](crate::Options::keep_backups) keeps, the pending snapshots below the latest full one, and
    /// what [`FileSnapshotSet::purge_dropped_some`] removes. Pending files go first, then full snapshots, then diffs, each kind
    /// gone for good before the next, and the oldest of each first.
    ///
    /// Costs an opening and a removal for each file, eight openings more, and one sync of the folder. A crash at any point
    /// leaves a folder that opens and restores the same state.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Forked`]: nothing was removed. A removal or a sync that fails is in [`Purged::error`].
    pub fn purge_some(&mut self, files_max: usize) -> Result<Purged, Error> {
        let latest = self.get_latest_full_snapshot().map(|info| info.ordinal);
        let oldest_kept = set::oldest_kept(&self.snapshots, self.keep_backups);
        let dropped = self.dropped();
        self.purge_holding(files_max, |snapshot_type, ordinal| match snapshot_type {
            SnapshotType::Pending => {
                latest.is_some_and(|latest| ordinal < latest) || dropped.contains(&ordinal)
            }
            SnapshotType::Diff | SnapshotType::FullCompleted => {
                oldest_kept.is_some_and(|oldest| ordinal < oldest)
            }
        })
    }

    /// The same for pending snapshots alone: those that were given up ([`FileSnapshotSet::give_up_pending`]) and those that
    /// opening dropped and left ([`Options::leave_dropped`](crate::Options::leave_dropped)).
    ///
    /// # Errors
    /// As of [`FileSnapshotSet::purge_some`].
    pub fn purge_dropped_some(&mut self, files_max: usize) -> Result<Purged, Error> {
        let dropped = self.dropped();
        self.purge_holding(files_max, |snapshot_type, ordinal| {
            snapshot_type == SnapshotType::Pending && dropped.contains(&ordinal)
        })
    }

    /// Gives up a pending snapshot: it does not count any more, and its files are removed by the next purge. No file is touched.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn give_up_pending(&mut self, ordinal: SnapshotOrdinal) -> Result<(), Error> {
        let is_meant = |info: &SnapshotInfo| {
            info.ordinal == ordinal && info.snapshot_type == SnapshotType::Pending
        };
        let Some(index) = self.snapshots.iter().position(is_meant) else {
            return Err(Error::NotFound { dir: self.dir.clone(), ordinal });
        };
        let SnapshotInfo { snapshot_type, ordinal, shard_paths } = self.snapshots.remove(index);
        self.remains.push(Remains { snapshot_type, ordinal, paths: shard_paths });
        Ok(())
    }

    /// The ordinals of pending snapshots that do not count.
    fn dropped(&self) -> BTreeSet<SnapshotOrdinal> {
        let pending = |remains: &&Remains| remains.snapshot_type == SnapshotType::Pending;
        self.remains.iter().filter(pending).map(|remains| remains.ordinal).collect()
    }

    /// One step of a purge that holds the space of what it removes.
    fn purge_holding(
        &mut self,
        files_max: usize,
        is_obsolete: impl Fn(SnapshotType, SnapshotOrdinal) -> bool,
    ) -> Result<Purged, Error> {
        self.check_usable()?;
        let files_max = files_max.max(1);
        let mut removal = Removal::holding(files_max, files_max);
        let (is_done, error) = match self.purge_step(&mut removal, is_obsolete) {
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
        let remains = self.remains.iter().map(|remains| (remains.snapshot_type, remains.ordinal));
        let remains: Vec<_> = remains.collect();
        let mut removed = Vec::new();
        self.purge(&mut removed, |snapshot_type, ordinal| {
            snapshot_type == SnapshotType::Pending || remains.contains(&(snapshot_type, ordinal))
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

    /// One step of a purge. Returns whether nothing was left to be removed; of several failures the first.
    ///
    /// Pending files go first, since some may stand beside a full snapshot of their ordinal, with which a part of them would look
    /// whole. Full snapshots go before the diffs that lead on from them: no backup ever looks whole while its diffs have a gap.
    /// What goes before is gone for good before the next goes, in a later step. A pending file that cannot be removed is in
    /// nobody's way.
    fn purge_step(
        &mut self,
        removal: &mut Removal,
        is_obsolete: impl Fn(SnapshotType, SnapshotOrdinal) -> bool,
    ) -> Result<bool, Error> {
        let mut failed = None;
        for snapshot_type in
            [SnapshotType::Pending, SnapshotType::FullCompleted, SnapshotType::Diff]
        {
            let whole = self.snapshots.iter().map(|info| (info.snapshot_type, info.ordinal));
            let remains = self.remains.iter().map(|left| (left.snapshot_type, left.ordinal));
            let obsolete: BTreeSet<_> = whole
                .chain(remains)
                .filter(|one| one.0 == snapshot_type && is_obsolete(one.0, one.1))
                .map(|(_, ordinal)| ordinal)
                .collect();
            let removed_before = removal.removed.len();
            let mut is_left = false;
            for ordinal in obsolete {
                if let Err(error) = self.remove_files(snapshot_type, ordinal, removal) {
                    failed.get_or_insert(error);
                    is_left = true;
                }
            }
            if removal.removed.len() > removed_before {
                removal.spare_files();
                self.sync_dir()?;
                return failed.map_or(Ok(false), Err);
            }
            if is_left && snapshot_type == SnapshotType::FullCompleted {
                break;
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// Removes the files of one snapshot, as many as may go, without a sync. After a failure it goes on counting if all
    /// of its files are still there; otherwise the rest is kept in mind as remains.
    ///
    /// By type and ordinal: beside a backup there may be pending files of its ordinal, which are dropped.
    pub(crate) fn remove_files(
        &mut self,
        snapshot_type: SnapshotType,
        ordinal: SnapshotOrdinal,
        removal: &mut Removal,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        let fs = &*self.fs;
        for remains in &mut self.remains {
            if (remains.snapshot_type, remains.ordinal) == (snapshot_type, ordinal) {
                result = result.and(removal.remove(fs, &mut remains.paths));
            }
        }
        let is_meant =
            |info: &SnapshotInfo| (info.snapshot_type, info.ordinal) == (snapshot_type, ordinal);
        if let Some(index) = self.snapshots.iter().position(is_meant)
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

/// So many files are left for others to open when as many as may be are held.
const SPARE_FILES: usize = 8;

/// Files on their way out.
#[derive(Debug)]
pub(crate) struct Removal {
    removed: Vec<PathBuf>,
    files_max: usize,
    /// The space of how many of them is held, at most.
    held_max: usize,
    space: HeldSpace,
    /// One of those files some times more: a process may have only so many files open, and a sync of the folder that cannot
    /// open it would stop the set.
    spares: Vec<Arc<dyn File>>,
}

impl Removal {
    /// Of all files, and their space with them.
    pub(crate) fn of_all() -> Self {
        Self::holding(usize::MAX, 0)
    }

    /// Of so many files, where the space of so many is held.
    fn holding(files_max: usize, held_max: usize) -> Self {
        Self {
            removed: Vec::new(),
            files_max,
            held_max,
            space: HeldSpace::default(),
            spares: Vec::new(),
        }
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
    fn remove_one(&mut self, fs: &dyn Fs, path: &Path) -> pkv_fs::Result<()> {
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
        let mut is_gone = false;
        let mut open = || match fs.open(path, Access::Read) {
            Ok(file) => Some(file),
            Err(error) => {
                is_gone = error.kind() == io::ErrorKind::NotFound;
                None
            }
        };
        let spares_wanted = if self.space.is_empty() { SPARE_FILES } else { 0 };
        self.spares.extend((0..spares_wanted).map_while(|_| open()));
        let file = if self.spares.len() == SPARE_FILES { open() } else { None };
        if file.is_none() && !is_gone {
            self.held_max = 0;
            self.spares.clear();
            self.space = HeldSpace::default();
        }
        file
    }

    /// Leaves some files to the next call and to others, if it has any open.
    fn spare_files(&mut self) {
        self.spares.clear();
    }
}
