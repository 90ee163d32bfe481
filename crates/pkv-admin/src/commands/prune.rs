//! What both pruning commands share: the locked set, and the list of what went.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use pkv_snapshot_set::{FileSnapshotSet, Options, Scan, SnapshotType};

use crate::check::window::wide;
use crate::error::{Error, Result};
use crate::folder::{Folder, Listed, Listing};
use crate::json::{Json, append, object};
use crate::output::Report;
use crate::text::{Count, Shown};

/// What pruning removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The folder.
    pub dir: PathBuf,
    /// Nothing was done: the rest says what would be.
    pub is_dry_run: bool,
    /// The files that went, by path. Those that opening alone drops are among them.
    pub removed: Vec<PathBuf>,
    /// Snapshots whose interrupted publish was finished: their pending files were renamed to full ones.
    pub finished: Vec<u64>,
}

/// A folder before pruning, and its set of files, locked. Opening has repaired what a crash left.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) set: FileSnapshotSet,
    /// What opening the set removed.
    pub(crate) dropped: Vec<PathBuf>,
    pub(crate) finished: Vec<u64>,
}

/// Locks the folder. Looks before it locks, since locking makes the lock file: a wrong path stays as it is.
pub(crate) fn lock(folder: &Folder) -> Result<Locked> {
    let before = folder.list()?;
    let opened = FileSnapshotSet::open_with(Arc::clone(folder.fs()), folder.dir(), Options::new());
    let set = opened.map_err(|error| match error {
        pkv_snapshot_set::Error::Locked { path } => {
            Error::Locked { path, pid: folder.opener().map(|opener| opener.pid) }
        }
        error => error.into(),
    })?;
    let report = set.report();
    let finished: Vec<u64> = report.rolled_forward.iter().map(|ordinal| ordinal.0).collect();
    let drops: BTreeSet<_> =
        report.dropped_pendings.iter().chain(&report.dropped_creation).collect();
    let dropped = before
        .files
        .iter()
        .filter(|listed| drops.contains(&listed.name.ordinal()) && is_dropped(listed, &finished))
        .map(|listed| listed.path.clone())
        .collect();
    Ok(Locked { set, dropped, finished })
}

/// Whether opening drops a file of an ordinal of which it drops something.
fn is_dropped(listed: &Listed, finished: &[u64]) -> bool {
    match listed.name.snapshot_type() {
        SnapshotType::Pending => !finished.contains(&listed.name.ordinal().0),
        SnapshotType::Diff => true,
        SnapshotType::FullCompleted => false,
    }
}

/// A folder as pruning would find it, looked at without the lock.
pub(crate) struct Plan {
    pub(crate) listing: Listing,
    pub(crate) scan: Scan,
    finished: Vec<u64>,
}

/// Looks at a folder that pruning could open.
pub(crate) fn plan(folder: &Folder) -> Result<Plan> {
    let listing = folder.list()?;
    let scan = FileSnapshotSet::scan(&**folder.fs(), folder.dir())?;
    if let Some(problem) = scan.problems.first() {
        return Err(pkv_snapshot_set::Error::from(problem.clone()).into());
    }
    let finished = scan.report.rolled_forward.iter().map(|ordinal| ordinal.0).collect();
    Ok(Plan { listing, scan, finished })
}

impl Plan {
    /// What would go: the files that opening drops, and those that `is_obsolete` says.
    pub(crate) fn pruned(
        self,
        folder: &Folder,
        is_obsolete: impl Fn(SnapshotType, u64) -> bool,
    ) -> Pruned {
        let report = &self.scan.report;
        let drops: BTreeSet<_> =
            report.dropped_pendings.iter().chain(&report.dropped_creation).collect();
        let removed = self.listing.files.iter().filter(|listed| {
            let (ordinal, mut snapshot_type) = (listed.name.ordinal(), listed.name.snapshot_type());
            if self.finished.contains(&ordinal.0) && snapshot_type == SnapshotType::Pending {
                snapshot_type = SnapshotType::FullCompleted;
            }
            (drops.contains(&ordinal) && is_dropped(listed, &self.finished))
                || is_obsolete(snapshot_type, ordinal.0)
        });
        let removed = removed.map(|listed| listed.path.clone()).collect();
        Pruned {
            dir: folder.dir().to_path_buf(),
            is_dry_run: true,
            removed,
            finished: self.finished,
        }
        .sorted()
    }
}

impl Pruned {
    pub(crate) fn new(
        folder: &Folder,
        dropped: Vec<PathBuf>,
        removed: Vec<PathBuf>,
        finished: Vec<u64>,
    ) -> Self {
        let removed = dropped.into_iter().chain(removed).collect();
        Self { dir: folder.dir().to_path_buf(), is_dry_run: false, removed, finished }.sorted()
    }

    fn sorted(mut self) -> Self {
        self.removed.sort();
        self
    }
}

impl Json for Pruned {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("dry_run", &self.is_dry_run)
                .field("removed", &self.removed)
                .field("finished", &self.finished);
        });
    }
}

impl Report for Pruned {
    fn text(&self, out: &mut String) {
        let (removes, finishes, sum) = if self.is_dry_run {
            ("would remove", "would finish the publish of", "would be removed")
        } else {
            ("removed", "finished the publish of", "removed")
        };
        for ordinal in &self.finished {
            append(out, format_args!("{finishes} snapshot {ordinal}\n"));
        }
        for path in &self.removed {
            append(out, format_args!("{removes} {}\n", Shown(path)));
        }
        let count = Count(wide(self.removed.len()), "file");
        append(out, format_args!("{}: {count} {sum}\n", Shown(&self.dir)));
    }
}
