//! What opening did, what a scan saw, what publishing left behind.

use std::path::PathBuf;
use std::sync::Arc;

use pkv_fs::File;

use crate::{Error, Inconsistency, SnapshotInfo, SnapshotOrdinal, set};

/// What opening a folder found and did. A scan says with it what opening would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Publishes that a crash had interrupted and that were finished, ascending.
    pub rolled_forward: Vec<SnapshotOrdinal>,
    /// Pending snapshots, whole or not, whose files were removed, or were left by [`Options::leave_dropped`], ascending.
    ///
    /// [`Options::leave_dropped`]: crate::Options::leave_dropped
    pub dropped_pendings: Vec<SnapshotOrdinal>,
    /// The newest diff, if a crash had interrupted its creation: it lacked shards, and those there
    /// were empty. Its files were removed.
    pub dropped_creation: Option<SnapshotOrdinal>,
    /// Full snapshots below the latest one that are not whole, ascending. Their files stay until
    /// they are pruned; they do not count.
    pub incomplete_fulls: Vec<Inconsistency>,
    /// Diffs below the latest full snapshot that are not whole, ascending. Their files stay until
    /// they are pruned; they do not count.
    pub incomplete_diffs: Vec<Inconsistency>,
    /// How many names are not ours. They are left alone.
    pub foreign_names: u64,
}

/// A folder as a look without the lock shows it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Scan {
    /// The complete full snapshots and diffs, ascending. One whose publish was interrupted and that
    /// opening would finish is among the full ones, with the files' present names.
    pub snapshots: Vec<SnapshotInfo>,
    /// What opening would do.
    pub report: Report,
    /// Why opening would fail; empty if it would not.
    pub problems: Vec<Inconsistency>,
}

impl Scan {
    /// The latest full snapshot.
    #[must_use]
    pub fn get_latest_full_snapshot(&self) -> Option<&SnapshotInfo> {
        set::latest_full(&self.snapshots)
    }

    /// All diffs with an ordinal above this one, ascending.
    #[must_use]
    pub fn get_all_diff_snapshots_since(&self, ordinal: SnapshotOrdinal) -> Vec<&SnapshotInfo> {
        set::diffs_since(&self.snapshots, ordinal)
    }

    /// What must be read, in this order, to get the latest state.
    #[must_use]
    pub fn get_snapshots_to_restore(&self) -> Vec<&SnapshotInfo> {
        set::to_restore(&self.snapshots)
    }
}

/// What a publish did beyond making its snapshot count.
#[derive(Debug, Default)]
#[must_use = "it says whether obsolete files are left"]
#[non_exhaustive]
pub struct PublishReport {
    /// The obsolete files that were removed, in that order.
    pub removed: Vec<PathBuf>,
    /// Why obsolete files are left, if they are. The publish itself is durable nevertheless, and
    /// the next purge takes what is left.
    pub purge_error: Option<Error>,
}

/// What a step of a purge removed.
#[derive(Debug)]
#[must_use = "it says whether more is left, and has the space of what was removed"]
#[non_exhaustive]
pub struct Purged {
    /// The files whose names were removed, in that order.
    pub removed: Vec<PathBuf>,
    /// Whether nothing obsolete had been left.
    pub is_done: bool,
    /// Why obsolete files are left, if they are: the next purge begins with them.
    pub error: Option<Error>,
    /// The space of the removed files.
    pub space: HeldSpace,
}

/// The space of files that were removed. Dropping it gives the space back, which takes some milliseconds for 32 MB, and
/// more where the disk is told of it (`discard`): with nothing locked that others wait for.
///
/// It has the files open: a file system gives the space of a file back when it has no name any more and nobody has it open. A
/// process that ends gives it back, unless a child that it has forked has the files, too. Network file systems and those in user space give such a file a hidden name of their own
/// until then, which stays if the machine fails; to a set it is foreign.
#[derive(Debug, Default)]
#[must_use = "dropped with a lock held, it keeps others waiting"]
pub struct HeldSpace(pub(crate) Vec<Arc<dyn File>>);

impl HeldSpace {
    /// Whether it is the space of no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The space of how many files it is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the space of one file out of it, for giving it back file by file.
    pub fn split_one(&mut self) -> Option<Self> {
        self.0.pop().map(|file| Self(vec![file]))
    }

    /// Takes the space that another holds in addition.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}
