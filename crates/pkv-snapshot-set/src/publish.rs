//! Publishing: how a pending snapshot comes to count.

use std::io;

use pkv_fs::EntryKind;

use crate::file_snapshot_set::{shard_count, shard_names};
use crate::{
    Error, FileSnapshotSet, PublishReport, SnapshotFileName, SnapshotOrdinal, SnapshotType, set,
};

impl FileSnapshotSet {
    /// Makes a pending snapshot the one to restore from, and purges what it makes obsolete.
    ///
    /// **Precondition:** the caller has written every shard, synced its content, and given up writing
    /// to it; and whatever else restoring needs (such as a log up to the last change that the
    /// snapshot may contain) is durable, too.
    ///
    /// 1. Check that the snapshot is there and that nothing is in the way.
    /// 2. Sync the folder: the pending names are durable.
    /// 3. Rename each shard from pending to full. **The first rename is the commit point**: from here
    ///    on, opening finishes the publish after a crash.
    /// 4. Sync the folder: the full names are durable.
    /// 5. Purge, oldest first. With `purge_obsolete_diff`: the full snapshots and diffs below the
    ///    oldest full snapshot that [`Options::keep_backups`](crate::Options::keep_backups) keeps.
    ///    With `purge_obsolete_pending`: the pending snapshots below this one. Sync the folder.
    ///
    /// Costs a listing of the folder, a rename for each shard, and two syncs; purging adds a removal
    /// for each file and at most two syncs, and takes as long as the file system needs to give the space of these files
    /// back: for large ones see [`FileSnapshotSet::purge_some`]. A crash up to step 3 leaves the snapshot pending, to be
    /// dropped by opening; a later one leaves it published.
    ///
    /// A failure in step 5 is no failure of the publish; the report has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlreadyExists`], [`Error::Inconsistent`] if a shard vanished:
    /// nothing was changed. The same holds for [`Error::Fs`] unless the set is stopped by it.
    pub fn publish(
        &mut self,
        pending_ordinal: SnapshotOrdinal,
        purge_obsolete_diff: bool,
        purge_obsolete_pending: bool,
    ) -> Result<PublishReport, Error> {
        // 1.
        self.check_usable()?;
        let pending = self.snapshots.iter().find(|info| {
            info.ordinal == pending_ordinal && info.snapshot_type == SnapshotType::Pending
        });
        let Some(pending) = pending else {
            return Err(Error::NotFound { dir: self.dir.clone(), ordinal: pending_ordinal });
        };
        let from = pending.shard_paths.clone();
        let to: Vec<_> =
            shard_names(SnapshotType::FullCompleted, pending_ordinal, shard_count(pending))
                .map(|name| set::path(&self.dir, name))
                .collect();
        self.check_files(pending_ordinal, shard_count(pending))?;

        // 2.
        self.sync_dir()?;

        // 3.
        let mut is_committed = false;
        for (from, to) in from.iter().zip(&to) {
            if let Err(error) = self.fs.rename(from, to) {
                // Of other errors nobody can tell whether the rename was done. Then, and after the
                // commit point, opening alone can go on.
                let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists;
                return Err(match (is_committed, is_in_the_way, error.is_full()) {
                    (false, true, _) => Error::AlreadyExists { path: to.clone() },
                    (false, _, true) => error.into(),
                    _ => self.stop(error),
                });
            }
            is_committed = true;
        }

        // 4.
        self.sync_dir()?;
        for info in self.snapshots.iter_mut().filter(|info| info.ordinal == pending_ordinal) {
            info.snapshot_type = SnapshotType::FullCompleted;
            info.shard_paths.clone_from(&to);
        }

        // 5.
        let oldest_kept = set::oldest_kept(&self.snapshots, self.keep_backups);
        let mut report = PublishReport::default();
        report.purge_error = self
            .purge(&mut report.removed, |snapshot_type, ordinal| match snapshot_type {
                SnapshotType::Pending => purge_obsolete_pending && ordinal < pending_ordinal,
                SnapshotType::Diff | SnapshotType::FullCompleted => {
                    purge_obsolete_diff && oldest_kept.is_some_and(|oldest| ordinal < oldest)
                }
            })
            .err();
        Ok(report)
    }

    /// Checks on the disk that all shards of a pending snapshot are there and no other file of its
    /// ordinal is. After the commit point, opening would refuse the folder for it.
    fn check_files(&self, ordinal: SnapshotOrdinal, shard_count: u64) -> Result<(), Error> {
        let mut pendings = Vec::new();
        for entry in self.fs.list(&self.dir)? {
            let name =
                SnapshotFileName::parse(&entry.name).filter(|name| name.ordinal() == ordinal);
            let Some(name) = name else { continue };
            let is_ours = name.snapshot_type() == SnapshotType::Pending
                && name.shard_count() == shard_count
                && entry.kind == EntryKind::File;
            if !is_ours {
                return Err(Error::AlreadyExists { path: set::path(&self.dir, name) });
            }
            pendings.push(name);
        }
        pendings.sort_unstable_by_key(SnapshotFileName::shard);
        set::check_whole(&self.dir, SnapshotType::Pending, ordinal, shard_count, &pendings)?;
        Ok(())
    }
}
