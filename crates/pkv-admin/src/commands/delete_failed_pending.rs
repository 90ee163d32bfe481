//! `pkv delete-failed-pending-snapshots`: what was never finished goes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pkv_snapshot_set::SnapshotType;
use pkv_snapshot_set::admin::SnapshotSetAdmin;

use super::prune::{Pruned, lock, plan};
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::output::Output;

/// Arguments of `pkv delete-failed-pending-snapshots`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let pruned = if self.dry_run {
            plan_delete_failed_pending(&folder)?
        } else {
            delete_failed_pending(&folder)?
        };
        out.report(&pruned)?;
        Ok(Exit::Good)
    }
}

/// Removes pending snapshots, and the files of what is not whole below the latest full snapshot.
///
/// Takes the lock, so that no snapshot that is being written is taken for a failed one.
///
/// # Errors
/// [`crate::Error::Locked`], and those of the file system.
pub fn delete_failed_pending(folder: &Folder) -> Result<Pruned> {
    let mut locked = lock(folder)?;
    let removed = SnapshotSetAdmin::new(&mut locked.set).prune_not_completed_snapshots()?;
    Ok(Pruned::new(folder, locked.dropped, removed, locked.finished))
}

/// What [`delete_failed_pending`] would do. Takes no lock and changes nothing: beside a writer, a snapshot that
/// is being written is listed, too.
///
/// # Errors
/// As [`delete_failed_pending`], but for the lock.
pub fn plan_delete_failed_pending(folder: &Folder) -> Result<Pruned> {
    let plan = plan(folder)?;
    // A plan has no problems, so whatever is not whole lies below the latest full snapshot.
    let whole: BTreeSet<_> = plan
        .scan
        .snapshots
        .iter()
        .map(|info| (info.snapshot_type.to_string(), info.ordinal.0))
        .collect();
    Ok(plan.pruned(folder, |snapshot_type, ordinal| {
        snapshot_type != SnapshotType::Pending
            && !whole.contains(&(snapshot_type.to_string(), ordinal))
    }))
}
