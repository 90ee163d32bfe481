//! Pruning on request, for tools and for owners that purge at times of their own choice.

use std::path::PathBuf;

use crate::{Error, FileSnapshotSet};

/// Removes snapshots that are no longer wanted from an open set.
///
/// Each method returns the files that it removed, in that order, and costs one removal for each and at
/// most two syncs of the folder. The first failure ends it; what is left stays for the next time.
/// A crash at any point leaves a folder that opens and restores the same state.
#[derive(Debug)]
pub struct SnapshotSetAdmin<'a> {
    set: &'a mut FileSnapshotSet,
}

impl<'a> SnapshotSetAdmin<'a> {
    /// Prunes in this set.
    #[must_use]
    pub fn new(set: &'a mut FileSnapshotSet) -> Self {
        Self { set }
    }

    /// Keeps the latest full snapshot, the diffs above it, and `max_backups` full snapshots below it
    /// with the diffs that lead from each to the next. Removes all older full snapshots and diffs,
    /// those that are not whole among them. Does nothing in a folder without a full snapshot.
    pub fn prune_backup_snapshots(&mut self, max_backups: usize) -> Result<Vec<PathBuf>, Error> {
        self.set.prune_backups(max_backups)
    }

    /// Removes the pending snapshots and the files of what is not whole below the latest full
    /// snapshot. Pending ones of a writer that is still at work are removed, too.
    pub fn prune_not_completed_snapshots(&mut self) -> Result<Vec<PathBuf>, Error> {
        self.set.prune_not_completed()
    }
}
