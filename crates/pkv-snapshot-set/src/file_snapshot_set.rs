//! A set of snapshots in a folder: opening it, making files, removing them.
//!
//! Publishing is in `publish.rs`, what is obsolete and in which order it goes in `prune.rs`, the rules
//! for what counts in `set.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Access, File, ForkGuard, Fs, Lock, StdFs};

use crate::name::LOCK_FILE_NAME;
use crate::prune::Removal;
use crate::set::{self, Judgement, Remains};
use crate::{
    Error, PublishReport, Report, Scan, SnapshotFileName, SnapshotInfo, SnapshotOrdinal,
    SnapshotSet, SnapshotType,
};

/// The most shards that a new snapshot can have.
pub const MAX_SHARD_COUNT: u64 = 65_536;

/// How a folder is opened and what is kept in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    create: bool,
    lock_wait: Duration,
    keep_backups: usize,
    leave_dropped: bool,
}

impl Options {
    /// The folder must be there, the lock must be free, no backups are kept.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the folder if it is missing, but not its parent. Off by default, so that a mistyped
    /// path is an error.
    ///
    /// The folder and its name in its parent are durable when opening returns, also if an earlier
    /// process had created it and was killed. So the parent must be readable.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long opening waits for another user of the folder to let go of it. Zero by default.
    #[must_use]
    pub fn lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    /// How many full snapshots below the latest one a publish keeps, each with the diffs that lead
    /// from it to the next. Zero by default.
    #[must_use]
    pub fn keep_backups(mut self, keep_backups: usize) -> Self {
        self.keep_backups = keep_backups;
        self
    }

    /// Whether opening leaves the files of the pending snapshots that it drops to
    /// [`FileSnapshotSet::purge_dropped_some`], for an opening that is not to wait for their space: a crash may leave a large
    /// snapshot half made. Until then they count for nothing, and another opening drops them again. Off by default.
    #[must_use]
    pub fn leave_dropped(mut self, leave: bool) -> Self {
        self.leave_dropped = leave;
        self
    }
}

/// The snapshots of one folder, locked for this process until it is closed or dropped.
///
/// All methods cost a few calls of the file system for each file that they name; `create_or_get_snapshot`
/// and `publish_completed_snapshot` sync the folder as well. None reads or writes content.
///
/// After a failed sync of the folder, and after a rename of a publish that failed, only the disk knows
/// what is there: every later change fails with [`Error::Stopped`] until the folder is opened again.
/// Opening syncs the folder once more, and relies on that sync for the names that the failed one was for;
/// whoever does not trust the disk so far starts the machine again first.
/// Other errors leave the set usable, and the call can be tried again.
#[derive(Debug)]
pub struct FileSnapshotSet {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) keep_backups: usize,
    /// What is whole, ascending: full snapshots, diffs, and the pending ones made since opening.
    pub(crate) snapshots: Vec<SnapshotInfo>,
    /// Files of what is not whole: below the latest full snapshot, or on their way out.
    pub(crate) remains: Vec<Remains>,
    /// The highest ordinal in any name or note; 0 if there was none.
    highest_ordinal: SnapshotOrdinal,
    report: Report,
    stopped: Option<String>,
    fork: ForkGuard,
    lock: Box<dyn Lock>,
}

impl FileSnapshotSet {
    /// Opens an existing folder on the real file system with the default options.
    ///
    /// See [`FileSnapshotSet::open_with`].
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(Arc::new(StdFs), dir, Options::new())
    }

    /// Locks a folder, finds out what is in it, and repairs what a crash left behind.
    ///
    /// 1. Lock. Before anything is looked at, so that nobody changes what is found.
    /// 2. Scan and judge. An inconsistency ends the opening here, with nothing changed.
    /// 3. Sync the folder, so that no name that is relied on from here can vanish in a power cut.
    /// 4. Repair: finish an interrupted publish, remove pending files (see [`Options::leave_dropped`]) and an interrupted
    ///    creation.
    /// 5. Sync the folder, if anything was repaired.
    ///
    /// A crash at any point leaves a folder that opens. [`FileSnapshotSet::report`] says what was done.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Inconsistent`], and [`Error::Fs`] with `NotFound` if the folder is missing.
    pub fn open_with(
        fs: Arc<dyn Fs>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref().to_path_buf();
        if options.create {
            create_dir(&*fs, &dir)?;
        }

        // 1.
        let lock_path = dir.join(LOCK_FILE_NAME);
        let lock = match fs.lock(&lock_path, options.lock_wait) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Locked { path: lock_path });
            }
            Err(error) => return Err(error.into()),
        };

        // 2.
        let (judgement, interrupted_creation) = survey(&*fs, &dir)?;
        let Judgement { mut snapshots, renames, pendings, remains, report, .. } = judgement;
        let highest_ordinal = judgement.highest_ordinal;
        if let Some(problem) = judgement.problems.into_iter().next() {
            return Err(problem.into());
        }

        // 3.
        fs.sync_dir(&dir)?;

        // 4.
        let (left, removed) =
            if options.leave_dropped { (pendings, Vec::new()) } else { (Vec::new(), pendings) };
        let dropped = || removed.iter().chain(&interrupted_creation);
        for rename in &renames {
            fs.rename(&rename.from, &rename.to)?;
        }
        for path in dropped().flat_map(|remains| &remains.paths) {
            fs.remove(path)?;
        }

        // 5.
        if !renames.is_empty() || dropped().next().is_some() {
            fs.sync_dir(&dir)?;
        }
        for info in &mut snapshots {
            if report.rolled_forward.contains(&info.ordinal) {
                let names = shard_names(info.snapshot_type, info.ordinal, shard_count(info));
                info.shard_paths = names.map(|name| set::path(&dir, name)).collect();
            }
        }
        Ok(Self {
            fs,
            dir,
            keep_backups: options.keep_backups,
            snapshots,
            remains: left.into_iter().chain(remains).collect(),
            highest_ordinal: highest_ordinal.unwrap_or(SnapshotOrdinal(0)),
            report,
            stopped: None,
            fork: ForkGuard::new(),
            lock,
        })
    }

    /// Looks at a folder without locking or changing it: what is there, what opening would do, and
    /// why it would fail if it would. For tools.
    ///
    /// A folder in use may change meanwhile: what was listed can be gone a moment later.
    pub fn scan(fs: &dyn Fs, dir: impl AsRef<Path>) -> Result<Scan, Error> {
        let (Judgement { snapshots, report, problems, .. }, _) = survey(fs, dir.as_ref())?;
        Ok(Scan { snapshots, report, problems })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What opening found and did.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// All complete snapshots and the pending ones made since opening, ascending.
    #[must_use]
    pub fn snapshots(&self) -> &[SnapshotInfo] {
        &self.snapshots
    }

    /// The full snapshot with the highest ordinal.
    #[must_use]
    pub fn get_latest_full_snapshot(&self) -> Option<&SnapshotInfo> {
        set::latest_full(&self.snapshots)
    }

    /// All diffs with an ordinal above this one, ascending.
    #[must_use]
    pub fn get_all_diff_snapshots_since(&self, ordinal: SnapshotOrdinal) -> Vec<&SnapshotInfo> {
        set::diffs_since(&self.snapshots, ordinal)
    }

    /// Keeps an ordinal that was seen inside a file, as in a link to the log before, from being used
    /// again: new snapshots get a higher one.
    pub fn note_ordinal(&mut self, ordinal: SnapshotOrdinal) {
        self.highest_ordinal = self.highest_ordinal.max(ordinal);
    }

    /// Removes a snapshot that its owner gave up: a pending one, a diff below the latest full
    /// snapshot, the newest diff, or any diff of one shard, whose removal is a single step. Remove
    /// several diffs that hold something from the newest down.
    ///
    /// 1. Check.
    /// 2. Empty the shards of a diff that is needed to restore, if it has several, and sync them.
    ///    A crash in the middle of step 3 then looks like an interrupted creation, not like lost shards.
    /// 3. Remove the files.
    /// 4. Sync the folder.
    ///
    /// A crash leaves the snapshot as it was, a diff with some shards emptied, or no snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotRemovable`]. If a file cannot be removed, the snapshot goes on
    /// counting unless another of its files is gone already.
    pub fn remove_snapshot(&mut self, ordinal: SnapshotOrdinal) -> Result<(), Error> {
        // 1.
        self.check_usable()?;
        let dir = || self.dir.clone();
        let Some(info) = self.snapshots.iter().find(|info| info.ordinal == ordinal) else {
            return Err(Error::NotFound { dir: dir(), ordinal });
        };
        let snapshot_type = info.snapshot_type;
        let needed = self.get_snapshots_to_restore();
        let is_needed = needed.iter().any(|needed| needed.ordinal == ordinal);
        let is_newest = needed.last().is_some_and(|newest| newest.ordinal == ordinal);
        let leaves_a_gap = is_needed && !is_newest && info.shard_paths.len() > 1;
        if snapshot_type == SnapshotType::FullCompleted || leaves_a_gap {
            return Err(Error::NotRemovable { dir: dir(), snapshot_type, ordinal });
        }

        // 2.
        if is_needed && info.shard_paths.len() > 1 {
            for path in &info.shard_paths {
                let file = self.fs.open(path, Access::Write)?;
                file.set_len(0)?;
                if let Err(error) = file.sync_data() {
                    return Err(self.stop(error));
                }
            }
        }

        // 3.
        self.remove_files(snapshot_type, ordinal, &mut Removal::of_all())?;

        // 4.
        self.sync_dir()
    }

    /// The lock file, for what the holder wants to leave in it. The set itself neither reads nor writes it.
    #[must_use]
    pub fn lock_file(&self) -> &dyn File {
        self.lock.file()
    }

    /// Whether an earlier failure left unknown what the disk holds, so that every change is refused.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Lets go of the folder. Dropping the set does the same.
    pub fn close(self) {}

    /// Makes the files of a new snapshot, durable under their names.
    ///
    /// 1. Take away what an earlier failed call left of a newest diff: it could be told from lost
    ///    shards only as long as nothing is above it.
    /// 2. Choose the ordinal.
    /// 3. Create the files.
    /// 4. Sync the folder.
    ///
    /// A crash leaves empty files: of a diff, dropped by the next opening if some are missing; of a
    /// pending snapshot, dropped in any case.
    fn create_snapshot(
        &mut self,
        snapshot_type: SnapshotType,
        shard_count: u64,
    ) -> Result<SnapshotInfo, Error> {
        // 1.
        let latest = self.get_latest_full_snapshot().map(|info| info.ordinal);
        let in_the_way: Vec<_> = self
            .remains
            .iter()
            .filter(|remains| remains.snapshot_type == SnapshotType::Diff)
            .map(|remains| remains.ordinal)
            .filter(|&ordinal| latest.is_none_or(|latest| ordinal > latest))
            .collect();
        for &ordinal in &in_the_way {
            self.remove_files(SnapshotType::Diff, ordinal, &mut Removal::of_all())?;
        }
        if !in_the_way.is_empty() {
            self.sync_dir()?;
        }

        // 2.
        let Some(ordinal) = self.highest_ordinal.next() else {
            return Err(Error::OrdinalsExhausted { dir: self.dir.clone() });
        };

        // 3.
        let mut shard_paths = Vec::new();
        for name in shard_names(snapshot_type, ordinal, shard_count) {
            let path = set::path(&self.dir, name);
            let made = self.fs.create_new(&path);
            if matches!(&made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
                self.undo_creation(snapshot_type, ordinal, shard_paths);
                return Err(Error::AlreadyExists { path });
            }
            shard_paths.push(path);
            if let Err(error) = made {
                // Nobody can tell whether the file that failed is there, so it is removed with the
                // others, and its ordinal is used up.
                self.highest_ordinal = ordinal;
                self.undo_creation(snapshot_type, ordinal, shard_paths);
                return Err(error.into());
            }
        }
        self.highest_ordinal = ordinal;

        // 4.
        self.sync_dir()?;
        let info = SnapshotInfo { snapshot_type, ordinal, shard_paths };
        self.snapshots.push(info.clone());
        Ok(info)
    }

    /// Removes the files of a failed creation as far as possible. What cannot be removed now is taken
    /// away before the next creation, or, of a pending snapshot, with the next purge.
    fn undo_creation(
        &mut self,
        snapshot_type: SnapshotType,
        ordinal: SnapshotOrdinal,
        paths: Vec<PathBuf>,
    ) {
        self.remains.push(Remains { snapshot_type, ordinal, paths });
        if self.remove_files(snapshot_type, ordinal, &mut Removal::of_all()).is_ok() {
            // A failure stops the set, so every later call reports it.
            let _ = self.sync_dir();
        }
    }

    /// Refuses to change the folder where the disk is no longer known or is a parent process's.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        let dir = || self.dir.clone();
        if self.fork.forked() {
            return Err(Error::Forked { dir: dir() });
        }
        match &self.stopped {
            Some(reason) => Err(Error::Stopped { dir: dir(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Ends all changes by this set. Returns the error for the call that met it.
    pub(crate) fn stop(&mut self, error: pkv_fs::Error) -> Error {
        self.stopped = Some(error.to_string());
        error.into()
    }

    /// Makes names durable. A failure stops the set: a later sync that succeeds proves nothing about
    /// the names before it.
    pub(crate) fn sync_dir(&mut self) -> Result<(), Error> {
        match self.fs.sync_dir(&self.dir) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.stop(error)),
        }
    }
}

impl SnapshotSet for FileSnapshotSet {
    /// Costs one call for each shard and one sync of the folder; nothing when a snapshot is reused.
    ///
    /// # Errors
    /// [`Error::FullNotCreatable`], [`Error::ShardCount`], [`Error::AlreadyExists`],
    /// [`Error::OrdinalsExhausted`]. Files already made are removed again as far as possible.
    fn create_or_get_snapshot(
        &mut self,
        snapshot_type: SnapshotType,
        shard_count: u64,
        may_append_existing: bool,
    ) -> Result<SnapshotInfo, Error> {
        self.check_usable()?;
        if snapshot_type == SnapshotType::FullCompleted {
            return Err(Error::FullNotCreatable { dir: self.dir.clone() });
        }
        if !(1..=MAX_SHARD_COUNT).contains(&shard_count) {
            return Err(Error::ShardCount { dir: self.dir.clone(), shard_count });
        }
        if may_append_existing
            && let Some(newest) =
                self.snapshots.iter().rev().find(|info| info.snapshot_type == snapshot_type)
            && u64::try_from(newest.shard_paths.len()) == Ok(shard_count)
            && self.get_latest_full_snapshot().is_none_or(|full| full.ordinal < newest.ordinal)
        {
            return Ok(newest.clone());
        }
        self.create_snapshot(snapshot_type, shard_count)
    }

    /// See [`FileSnapshotSet::publish`], which also says what could not be purged.
    fn publish_completed_snapshot(
        &mut self,
        pending_snapshot_ordinal: SnapshotOrdinal,
        purge_obsolete_diff_snapshots: bool,
        purge_obsolete_pending_snapshots: bool,
    ) -> Result<(), Error> {
        let PublishReport { .. } = self.publish(
            pending_snapshot_ordinal,
            purge_obsolete_diff_snapshots,
            purge_obsolete_pending_snapshots,
        )?;
        Ok(())
    }

    fn get_snapshots_to_restore(&self) -> Vec<&SnapshotInfo> {
        set::to_restore(&self.snapshots)
    }
}

/// Lists and judges a folder. The second is the newest diff, if its creation was interrupted.
fn survey(fs: &dyn Fs, dir: &Path) -> Result<(Judgement, Option<Remains>), Error> {
    let mut judgement = set::judge(dir, &fs.list(dir)?);
    let Some((remains, why)) = judgement.unfinished.take() else {
        return Ok((judgement, None));
    };
    // A set hands out a diff only when all of its names are durable, so whoever finds one without
    // all of them, and not a byte in the others, finds a creation that never returned.
    for path in &remains.paths {
        if !fs.open(path, Access::Read)?.is_empty()? {
            judgement.problems.push(why);
            return Ok((judgement, None));
        }
    }
    judgement.report.dropped_creation = Some(remains.ordinal);
    Ok((judgement, Some(remains)))
}

/// Makes the folder and its name durable, whoever created it.
fn create_dir(fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
    // Also when it is there already: its creator may have been killed before the sync.
    fs.create_dir(dir)?;
    fs.sync_dir(dir)?;
    match dir.parent() {
        None => {}
        Some(parent) if parent.as_os_str().is_empty() => fs.sync_dir(Path::new("."))?,
        Some(parent) => fs.sync_dir(parent)?,
    }
    Ok(())
}

/// The names of all shards of a snapshot, ascending.
pub(crate) fn shard_names(
    snapshot_type: SnapshotType,
    ordinal: SnapshotOrdinal,
    shard_count: u64,
) -> impl Iterator<Item = SnapshotFileName> {
    (0..shard_count)
        .filter_map(move |shard| SnapshotFileName::new(snapshot_type, ordinal, shard, shard_count))
}

/// How many shards a snapshot has.
pub(crate) fn shard_count(info: &SnapshotInfo) -> u64 {
    u64::try_from(info.shard_paths.len()).unwrap_or(u64::MAX)
}
