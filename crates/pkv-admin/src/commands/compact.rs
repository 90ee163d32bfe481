//! `pkv compact`: a full snapshot, and what it replaces goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pkv_snapshot_set::{FileSnapshotSet, SnapshotType};

use crate::change::{backups, open_with, options};
use crate::error::{Exit, Result};
use crate::folder::{Folder, Listing};
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::text::{Count, Shown};

/// Arguments of `pkv compact`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// How many full snapshots below the new one stay [default: as many as there are backups now]
    #[arg(long)]
    keep_backups: Option<u32>,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let compacted = if self.dry_run {
            plan_compact(&folder, self.keep_backups)?
        } else {
            compact(&folder, self.keep_backups)?
        };
        out.report(&compacted)?;
        Ok(Exit::Good)
    }
}

/// What [`compact`] did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The folder.
    pub dir: PathBuf,
    /// Nothing was done: the rest says what would be.
    pub is_dry_run: bool,
    /// The new snapshot's ordinal; `None` if nothing was done.
    pub snapshot: Option<u64>,
    /// The entries in it.
    pub entries: u64,
    /// The files that went, by path.
    pub removed: Vec<PathBuf>,
}

/// Writes a full snapshot and removes what it replaces. `keep_backups` older ones stay with the logs that lead on from
/// them; as many as there are now, if that is not said. Takes the lock.
///
/// # Errors
/// Those of opening the store and of writing. The folder then opens with the same contents.
pub fn compact(folder: &Folder, keep_backups: Option<u32>) -> Result<Compacted> {
    let before = folder.list()?;
    let mut options = options(folder, false)?;
    if let Some(keep_backups) = keep_backups {
        options = options.keep_backups(keep_backups);
    }
    let store = open_with(folder, &options)?.store;
    let snapshot = store.compact()?;
    let entries = store.len();
    store.close()?;
    let after: BTreeSet<PathBuf> = paths(&folder.list()?).collect();
    let removed = paths(&before).filter(|path| !after.contains(path)).collect();
    let dir = folder.dir().to_path_buf();
    Ok(Compacted { dir, is_dry_run: false, snapshot: Some(snapshot), entries, removed })
}

/// What [`compact`] would remove. Takes no lock and changes nothing.
///
/// # Errors
/// Those of reading the store.
pub fn plan_compact(folder: &Folder, keep_backups: Option<u32>) -> Result<Compacted> {
    let listing = folder.list()?;
    let entries = folder.inspect()?.entries();
    let keep = keep_backups
        .map_or_else(|| backups(folder), |keep| Ok(usize::try_from(keep).unwrap_or(usize::MAX)))?;
    let scan = FileSnapshotSet::scan(&**folder.fs(), folder.dir())?;
    let fulls =
        scan.snapshots.iter().filter(|info| info.snapshot_type == SnapshotType::FullCompleted);
    let fulls: Vec<u64> = fulls.map(|info| info.ordinal.0).collect();
    // What is below the oldest of those that stay goes; with none, all that is there now.
    let oldest = keep.checked_sub(1).map(|last| fulls.iter().rev().nth(last).or(fulls.first()));
    let goes = |ordinal: u64| match oldest {
        None => true,
        Some(oldest) => oldest.is_none_or(|oldest| ordinal < *oldest),
    };
    let removed = listing.files.iter().filter(|listed| goes(listed.name.ordinal().0));
    let removed = removed.map(|listed| listed.path.clone()).collect();
    let dir = folder.dir().to_path_buf();
    Ok(Compacted { dir, is_dry_run: true, snapshot: None, entries, removed })
}

fn paths(listing: &Listing) -> impl Iterator<Item = PathBuf> + '_ {
    listing.files.iter().map(|listed| listed.path.clone())
}

impl Json for Compacted {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("dry_run", &self.is_dry_run)
                .field("snapshot", &self.snapshot)
                .field("entries", &self.entries)
                .field("removed", &self.removed);
        });
    }
}

impl Report for Compacted {
    fn text(&self, out: &mut String) {
        let (removes, sum) = if self.is_dry_run {
            ("would remove", "would be removed")
        } else {
            ("removed", "removed")
        };
        for path in &self.removed {
            append(out, format_args!("{removes} {}\n", Shown(path)));
        }
        let entries = Count(self.entries, "entry");
        let files = Count(u64::try_from(self.removed.len()).unwrap_or(u64::MAX), "file");
        let dir = Shown(Path::new(&self.dir));
        match self.snapshot {
            Some(ordinal) => {
                append(
                    out,
                    format_args!("{dir}: snapshot {ordinal} of {entries}, {files} {sum}\n"),
                );
            }
            None => append(out, format_args!("{dir}: a snapshot of {entries}, {files} {sum}\n")),
        }
    }
}
