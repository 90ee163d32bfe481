//! Removing files: what order they go in, and what is remembered of those that would not go.
//!
//! Whatever is purged lies below the latest full snapshot or is pending, and there opening tolerates
//! any remains. So a crash between any two removals, and any subset of removals that reaches the
//! disk, leaves a folder that opens.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::set::{self, Remains};
use crate::{Error, FileSnapshotSet, SnapshotInfo, SnapshotOrdinal, SnapshotType};

impl FileSnapshotSet {
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
    ///
    /// Full snapshots go before the diffs that lead on from them, and are gone for good before the
    /// first of these goes: no backup ever looks whole while its diffs have a gap.
    pub(crate) fn purge(
        &mut self,
        removed: &mut Vec<PathBuf>,
        is_obsolete: impl Fn(SnapshotType, SnapshotOrdinal) -> bool,
    ) -> Result<(), Error> {
        for diffs in [false, true] {
            let removed_before = removed.len();
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
            for ordinal in obsolete {
                self.remove_files(ordinal, removed)?;
            }
            if removed.len() > removed_before {
                self.sync_dir()?;
            }
        }
        Ok(())
    }

    /// Removes all files of one snapshot, without a sync. After a failure it goes on counting if all
    /// of its files are still there; otherwise the rest is kept in mind as remains.
    pub(crate) fn remove_files(
        &mut self,
        ordinal: SnapshotOrdinal,
        removed: &mut Vec<PathBuf>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        let fs = &self.fs;
        // Returns whether a file went.
        let mut remove = |paths: &mut Vec<PathBuf>| {
            let count_before = paths.len();
            while let Some(path) = paths.pop() {
                match fs.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        result = Err(error.into());
                        paths.push(path);
                        break;
                    }
                    _ => removed.push(path),
                }
            }
            paths.len() < count_before
        };
        for remains in self.remains.iter_mut().filter(|remains| remains.ordinal == ordinal) {
            remove(&mut remains.paths);
        }
        let index = self.snapshots.iter().position(|info| info.ordinal == ordinal);
        if let Some(info) = index.and_then(|index| self.snapshots.get_mut(index))
            && remove(&mut info.shard_paths)
            && let Some(index) = index
        {
            let SnapshotInfo { snapshot_type, ordinal, shard_paths } = self.snapshots.remove(index);
            self.remains.push(Remains { snapshot_type, ordinal, paths: shard_paths });
        }
        self.remains.retain(|remains| !remains.paths.is_empty());
        result
    }
}
