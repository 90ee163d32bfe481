//! From the names in a folder to what is whole, what to repair and what to restore. Pure: names in,
//! judgement out.
//!
//! The rules, where *latest* is the highest ordinal that any file of type `full` has:
//!
//! 1. One ordinal has one type; `pending` and `full` together are an interrupted publish.
//! 2. The latest full snapshot and every diff above it must be whole.
//! 3. An interrupted publish whose files are whole together is rolled forward: the first rename of a
//!    publish happens only when all shards are written and synced.
//! 4. Every other pending file is dropped.
//! 5. Below the latest full snapshot nothing must be whole: pruning may have been interrupted there,
//!    and nothing restores from it. What is not whole does not count.
//! 6. A newest diff that lacks shards may be an interrupted creation; whether its files are empty
//!    decides, which is for the caller to find out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pkv_fs::{Entry, EntryKind};

use crate::name::LOCK_FILE_NAME;
use crate::{Inconsistency, Report, SnapshotFileName, SnapshotInfo, SnapshotOrdinal, SnapshotType};

/// How many missing shards an error lists. The names decide how many there are, so it needs a bound.
const MISSING_LISTED_MAX: usize = 8;

/// What the names of a folder come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Whole diffs and full snapshots, ascending; those to roll forward under their present names.
    pub(crate) snapshots: Vec<SnapshotInfo>,
    /// The renames that finish interrupted publishes.
    pub(crate) renames: Vec<Rename>,
    /// Pending files to remove.
    pub(crate) pendings: Vec<Remains>,
    /// What is not whole and need not be.
    pub(crate) remains: Vec<Remains>,
    /// A newest diff that lacks shards: an interrupted creation or a problem.
    pub(crate) unfinished: Option<(Remains, Inconsistency)>,
    /// Why the folder must not be opened.
    pub(crate) problems: Vec<Inconsistency>,
    /// What the user is told.
    pub(crate) report: Report,
    /// The highest ordinal of any name.
    pub(crate) highest_ordinal: Option<SnapshotOrdinal>,
}

/// Files of a snapshot that is not whole or is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    pub(crate) snapshot_type: SnapshotType,
    pub(crate) ordinal: SnapshotOrdinal,
    pub(crate) paths: Vec<PathBuf>,
}

/// One shard that an interrupted publish left pending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rename {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// The files of one ordinal, by type, each sorted by shard.
#[derive(Default)]
struct Files {
    diffs: Vec<SnapshotFileName>,
    fulls: Vec<SnapshotFileName>,
    pendings: Vec<SnapshotFileName>,
}

/// Judges the entries of `dir` by the rules at the head of this file.
pub(crate) fn judge(dir: &Path, entries: &[Entry]) -> Judgement {
    let mut judgement = Judgement::default();
    let mut ordinals: BTreeMap<SnapshotOrdinal, Files> = BTreeMap::new();
    // By name: what is said of a folder must not depend on the order of a listing.
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let Some(name) = SnapshotFileName::parse(&entry.name) else {
            if entry.name != LOCK_FILE_NAME {
                judgement.report.foreign_names = judgement.report.foreign_names.saturating_add(1);
            }
            continue;
        };
        if entry.kind != EntryKind::File {
            let path = dir.join(&entry.name);
            judgement.problems.push(Inconsistency::NotAFile { path, kind: entry.kind });
            continue;
        }
        let files = ordinals.entry(name.ordinal()).or_default();
        match name.snapshot_type() {
            SnapshotType::Diff => files.diffs.push(name),
            SnapshotType::FullCompleted => files.fulls.push(name),
            SnapshotType::Pending => files.pendings.push(name),
        }
    }

    judgement.highest_ordinal = ordinals.keys().next_back().copied();
    let newest = |pick: fn(&Files) -> &Vec<SnapshotFileName>| {
        ordinals
            .iter()
            .rev()
            .find(|(_, files)| !pick(files).is_empty())
            .map(|(&ordinal, _)| ordinal)
    };
    let latest_full = newest(|files| &files.fulls);
    let newest_diff = newest(|files| &files.diffs);
    for (ordinal, mut files) in ordinals {
        files.diffs.sort_unstable_by_key(SnapshotFileName::shard);
        files.fulls.sort_unstable_by_key(SnapshotFileName::shard);
        files.pendings.sort_unstable_by_key(SnapshotFileName::shard);
        if let (Some(&diff), Some(&other)) =
            (files.diffs.first(), files.fulls.first().or(files.pendings.first()))
        {
            judgement.problems.push(contradiction(dir, &diff, &other));
        } else if !files.diffs.is_empty() {
            let is_needed = latest_full.is_none_or(|latest| ordinal > latest);
            judge_diff(dir, ordinal, &files.diffs, is_needed, newest_diff, &mut judgement);
        } else if !files.fulls.is_empty() {
            judge_full(dir, ordinal, &files, latest_full == Some(ordinal), &mut judgement);
        } else {
            drop_pendings(dir, ordinal, &files.pendings, &mut judgement);
        }
    }
    judgement
}

fn judge_diff(
    dir: &Path,
    ordinal: SnapshotOrdinal,
    files: &[SnapshotFileName],
    is_needed: bool,
    newest_diff: Option<SnapshotOrdinal>,
    judgement: &mut Judgement,
) {
    let paths = || files.iter().map(|name| path(dir, *name)).collect::<Vec<_>>();
    let Err(why) = check_whole(dir, SnapshotType::Diff, ordinal, claimed(files), files) else {
        let snapshot_type = SnapshotType::Diff;
        judgement.snapshots.push(SnapshotInfo { snapshot_type, ordinal, shard_paths: paths() });
        return;
    };
    let remains = Remains { snapshot_type: SnapshotType::Diff, ordinal, paths: paths() };
    if !is_needed {
        judgement.report.incomplete_diffs.push(why);
        judgement.remains.push(remains);
    } else if newest_diff == Some(ordinal) && matches!(why, Inconsistency::MissingShards { .. }) {
        judgement.unfinished = Some((remains, why));
    } else {
        judgement.problems.push(why);
    }
}

fn judge_full(
    dir: &Path,
    ordinal: SnapshotOrdinal,
    files: &Files,
    is_latest: bool,
    judgement: &mut Judgement,
) {
    let snapshot_type = SnapshotType::FullCompleted;
    let mut together = [files.fulls.as_slice(), files.pendings.as_slice()].concat();
    together.sort_by_key(SnapshotFileName::shard);
    let why = match check_whole(dir, snapshot_type, ordinal, claimed(&together), &together) {
        Ok(()) => {
            let shard_paths = together.iter().map(|name| path(dir, *name)).collect();
            judgement.snapshots.push(SnapshotInfo { snapshot_type, ordinal, shard_paths });
            if !files.pendings.is_empty() {
                judgement.report.rolled_forward.push(ordinal);
            }
            judgement.renames.extend(files.pendings.iter().map(|name| Rename {
                from: path(dir, *name),
                to: path(dir, name.with_type(snapshot_type)),
            }));
            return;
        }
        Err(why) => why,
    };
    if is_latest {
        judgement.problems.push(why);
        return;
    }
    let fulls = &files.fulls;
    let paths = fulls.iter().map(|name| path(dir, *name)).collect();
    if check_whole(dir, snapshot_type, ordinal, claimed(fulls), fulls).is_ok() {
        judgement.snapshots.push(SnapshotInfo { snapshot_type, ordinal, shard_paths: paths });
    } else {
        judgement.report.incomplete_fulls.push(why);
        judgement.remains.push(Remains { snapshot_type, ordinal, paths });
    }
    drop_pendings(dir, ordinal, &files.pendings, judgement);
}

fn drop_pendings(
    dir: &Path,
    ordinal: SnapshotOrdinal,
    files: &[SnapshotFileName],
    judgement: &mut Judgement,
) {
    if files.is_empty() {
        return;
    }
    let paths = files.iter().map(|name| path(dir, *name)).collect();
    judgement.report.dropped_pendings.push(ordinal);
    judgement.pendings.push(Remains { snapshot_type: SnapshotType::Pending, ordinal, paths });
}

/// Whether these files, sorted by shard, are each of `shard_count` shards once.
///
/// The cost follows the number of files, whatever shard count their names claim.
pub(crate) fn check_whole(
    dir: &Path,
    snapshot_type: SnapshotType,
    ordinal: SnapshotOrdinal,
    shard_count: u64,
    files: &[SnapshotFileName],
) -> Result<(), Inconsistency> {
    let mut missing = Vec::new();
    let mut expected = 0;
    let mut previous: Option<&SnapshotFileName> = None;
    for name in files {
        if let Some(previous) = previous
            && (previous.shard_count() != name.shard_count() || previous.shard() == name.shard())
        {
            return Err(contradiction(dir, previous, name));
        }
        while expected < name.shard() && missing.len() < MISSING_LISTED_MAX {
            missing.push(expected);
            expected = expected.saturating_add(1);
        }
        // A shard is below its count, so nothing saturates here.
        expected = name.shard().saturating_add(1);
        previous = Some(name);
    }
    while expected < shard_count && missing.len() < MISSING_LISTED_MAX {
        missing.push(expected);
        expected = expected.saturating_add(1);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let present = u64::try_from(files.len()).unwrap_or(u64::MAX);
    let missing_count = shard_count.saturating_sub(present);
    let dir = dir.to_path_buf();
    Err(Inconsistency::MissingShards {
        dir,
        snapshot_type,
        ordinal,
        shard_count,
        missing,
        missing_count,
    })
}

/// How many shards the first of these files says there are.
fn claimed(files: &[SnapshotFileName]) -> u64 {
    files.first().map_or(0, SnapshotFileName::shard_count)
}

fn contradiction(dir: &Path, first: &SnapshotFileName, second: &SnapshotFileName) -> Inconsistency {
    Inconsistency::Contradiction {
        ordinal: first.ordinal(),
        first: path(dir, *first),
        second: path(dir, *second),
    }
}

/// The path of a file. Made from numbers alone, whatever stood in the folder.
pub(crate) fn path(dir: &Path, name: SnapshotFileName) -> PathBuf {
    dir.join(name.to_string())
}

/// The latest full snapshot of an ascending list.
pub(crate) fn latest_full(snapshots: &[SnapshotInfo]) -> Option<&SnapshotInfo> {
    snapshots.iter().rev().find(|info| info.snapshot_type == SnapshotType::FullCompleted)
}

/// The diffs above an ordinal of an ascending list.
pub(crate) fn diffs_since(
    snapshots: &[SnapshotInfo],
    ordinal: SnapshotOrdinal,
) -> Vec<&SnapshotInfo> {
    snapshots
        .iter()
        .filter(|info| info.snapshot_type == SnapshotType::Diff && info.ordinal > ordinal)
        .collect()
}

/// The latest full snapshot of an ascending list and all diffs above it.
pub(crate) fn to_restore(snapshots: &[SnapshotInfo]) -> Vec<&SnapshotInfo> {
    let full = latest_full(snapshots);
    let base = full.map_or(SnapshotOrdinal(0), |info| info.ordinal);
    full.into_iter().chain(diffs_since(snapshots, base)).collect()
}

/// The ordinal below which full snapshots and diffs are obsolete: that of the oldest full snapshot
/// that is kept. `None` if there is no full snapshot, so that everything is needed.
pub(crate) fn oldest_kept(
    snapshots: &[SnapshotInfo],
    keep_backups: usize,
) -> Option<SnapshotOrdinal> {
    let newest_first = || {
        snapshots
            .iter()
            .rev()
            .filter(|info| info.snapshot_type == SnapshotType::FullCompleted)
            .map(|info| info.ordinal)
    };
    newest_first().nth(keep_backups).or_else(|| newest_first().next_back())
}

#[cfg(test)]
mod tests;
