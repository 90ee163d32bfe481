//! `pkv prune-backups`: all but the newest backups go, once what is kept is known to be good.

use std::path::PathBuf;

use pkv_snapshot_set::admin::SnapshotSetAdmin;
use pkv_snapshot_set::{SnapshotFileName, SnapshotInfo, SnapshotType};

use super::prune::{Pruned, lock, plan};
use super::verify::{Verdict, verify};
use crate::error::{Error, Exit, Result};
use crate::folder::Folder;
use crate::output::Output;

/// Arguments of `pkv prune-backups`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// How many full snapshots below the latest one stay
    max: usize,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let pruned = if self.dry_run {
            plan_prune_backups(&folder, self.max)?
        } else {
            prune_backups(&folder, self.max)?
        };
        out.report(&pruned)?;
        Ok(Exit::Good)
    }
}

/// Keeps what opening needs and `backups_max` full snapshots below it, with the logs that lead on from them; removes
/// older ones. Without a full snapshot nothing is a backup.
///
/// 1. Take the lock; this finishes or drops what a crash left half done, as every opening does.
/// 2. Verify all files, and stop if what would be kept is damaged: a backup may then be all there is.
/// 3. Remove, oldest first. A crash leaves a folder that opens with the same contents.
///
/// # Errors
/// [`Error::Locked`], [`Error::KeptIsDamaged`], and those of the file system.
pub fn prune_backups(folder: &Folder, backups_max: usize) -> Result<Pruned> {
    // 1.
    let mut locked = lock(folder)?;
    // 2.
    check_kept(folder, oldest_kept(locked.set.snapshots(), backups_max))?;
    // 3.
    let removed = SnapshotSetAdmin::new(&mut locked.set).prune_backup_snapshots(backups_max)?;
    Ok(Pruned::new(folder, locked.dropped, removed, locked.finished))
}

/// What [`prune_backups`] would do. Takes no lock and changes nothing.
///
/// # Errors
/// As [`prune_backups`], but for the lock.
pub fn plan_prune_backups(folder: &Folder, backups_max: usize) -> Result<Pruned> {
    let plan = plan(folder)?;
    let oldest = oldest_kept(&plan.scan.snapshots, backups_max);
    check_kept(folder, oldest)?;
    Ok(plan.pruned(folder, |snapshot_type, ordinal| {
        snapshot_type != SnapshotType::Pending && oldest.is_some_and(|oldest| ordinal < oldest)
    }))
}

/// The ordinal of the oldest full snapshot that is kept.
fn oldest_kept(snapshots: &[SnapshotInfo], backups_max: usize) -> Option<u64> {
    let mut fulls =
        snapshots.iter().rev().filter(|info| info.snapshot_type == SnapshotType::FullCompleted);
    let mut oldest = fulls.next()?;
    for backup in fulls.take(backups_max) {
        oldest = backup;
    }
    Some(oldest.ordinal.0)
}

fn check_kept(folder: &Folder, oldest: Option<u64>) -> Result<()> {
    let found = verify(folder)?;
    let is_obsolete = |path: &PathBuf| {
        let name = path.file_name().and_then(SnapshotFileName::parse);
        oldest.is_some_and(|oldest| name.is_some_and(|name| name.ordinal().0 < oldest))
    };
    let damage = found
        .faults
        .into_iter()
        .find(|fault| fault.verdict != Verdict::Torn && !is_obsolete(&fault.path));
    match damage {
        None => Ok(()),
        Some(fault) => Err(Error::KeptIsDamaged {
            path: fault.path,
            offset: fault.offset,
            reason: fault.reason,
        }),
    }
}
