//! What a snapshot is, and the trait of a set of them.

use std::fmt;
use std::path::PathBuf;

use crate::{Error, SnapshotOrdinal};

/// What a snapshot's files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotType {
    /// Changes since the snapshot before it, in their order: a write-ahead log.
    Diff,
    /// Everything there was at one point in time, complete and published.
    FullCompleted,
    /// A full snapshot that is still being written. Opening the folder drops it.
    Pending,
}

impl fmt::Display for SnapshotType {
    /// Prints the word that stands in file names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Diff => "diff",
            Self::FullCompleted => "full",
            Self::Pending => "pending",
        })
    }
}

/// One snapshot with all of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What its files hold.
    pub snapshot_type: SnapshotType,
    /// Its number.
    pub ordinal: SnapshotOrdinal,
    /// The file of each shard; the index is the shard's number. Shards hold distinct keys, so they
    /// can be written and read in parallel.
    pub shard_paths: Vec<PathBuf>,
}

/// A set of snapshots: hands out files for new ones, lets a finished one count, says what to restore.
///
/// It manages whole files by their names. What is in them is the caller's.
pub trait SnapshotSet: Send {
    /// Creates the empty files of a new snapshot, or hands out those of the newest one of that type.
    ///
    /// A new snapshot's ordinal is above every one that the set has ever seen. With
    /// `may_append_existing`, the newest snapshot of that type is returned instead if its shard count
    /// is `shard_count` and no full snapshot is above it; its files may hold bytes.
    fn create_or_get_snapshot(
        &mut self,
        snapshot_type: SnapshotType,
        shard_count: u64,
        may_append_existing: bool,
    ) -> Result<SnapshotInfo, Error>;

    /// Makes a pending snapshot the one to restore from. The caller has written and synced the
    /// content of every shard before.
    ///
    /// `purge_obsolete_diff_snapshots` removes what is no longer needed to restore: the diffs below
    /// the new snapshot, and the full snapshots that no retention rule keeps.
    /// `purge_obsolete_pending_snapshots` removes pending snapshots below the new one.
    fn publish_completed_snapshot(
        &mut self,
        pending_snapshot_ordinal: SnapshotOrdinal,
        purge_obsolete_diff_snapshots: bool,
        purge_obsolete_pending_snapshots: bool,
    ) -> Result<(), Error>;

    /// What must be read, in this order, to get the latest state: the latest full snapshot, if there
    /// is one, and all diffs above it.
    fn get_snapshots_to_restore(&self) -> Vec<&SnapshotInfo>;
}
