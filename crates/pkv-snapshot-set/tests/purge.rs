//! What cannot be purged goes with a later purge.
#![expect(clippy::expect_used, reason = "a failure in a helper fails the test")]

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pkv_fs::{Access, Entry, File, Fs, Lock, Op, Segment, SegmentWay};
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_snapshot_set::admin::SnapshotSetAdmin;
use pkv_snapshot_set::{
    Error, FileSnapshotSet, Options, PublishReport, SnapshotInfo, SnapshotSet, SnapshotType,
};

const DIR: &str = "/data/state";

/// A set with a diff of two shards.
fn with_a_diff() -> (Arc<SimFs>, FileSnapshotSet) {
    let sim = SimFs::new(5);
    sim.plant(Path::new("/data/other"), b"the parent folder is there");
    let fs: Arc<dyn Fs> = sim.clone();
    let options = Options::new().create(true);
    let mut set = FileSnapshotSet::open_with(fs, DIR, options).expect("open");
    set.create_or_get_snapshot(SnapshotType::Diff, 2, false).expect("a diff");
    (sim, set)
}

/// Publishes a snapshot of one shard.
fn publish(set: &mut FileSnapshotSet, purges: bool) -> PublishReport {
    let info = set.create_or_get_snapshot(SnapshotType::Pending, 1, false).expect("created");
    set.publish(info.ordinal, purges, purges).expect("published")
}

#[test]
fn what_cannot_be_purged_is_reported_and_goes_with_the_next_purge() {
    let (fs, mut set) = with_a_diff();
    fs.inject(Fault::once(Op::Remove, 2, FaultKind::Eio));
    let report = publish(&mut set, true);
    assert_eq!(report.removed, [Path::new("/data/state/snapshot_1_1-of-2_diff.bin")]);
    let error = report.purge_error.expect("reported");
    assert!(error.to_string().contains("snapshot_1_0-of-2_diff.bin"), "{error}");
    assert_eq!(set.snapshots().len(), 1);

    let report = publish(&mut set, true);
    assert!(report.purge_error.is_none());
    let removed = ["snapshot_2_0-of-1_full.bin", "snapshot_1_0-of-2_diff.bin"];
    assert_eq!(report.removed, removed.map(|name| Path::new(DIR).join(name)));
}

#[test]
fn of_a_purge_by_steps_too_and_what_cannot_be_opened_goes_all_the_same() {
    let (fs, mut set) = with_a_diff();
    for _ in 0..2 {
        let report = publish(&mut set, false);
        assert!(report.removed.is_empty() && report.purge_error.is_none());
    }
    fs.inject(Fault::once(Op::Open, 1, FaultKind::Eio));
    fs.inject(Fault::once(Op::Remove, 3, FaultKind::Eio));
    let purged: Vec<_> = (0..5).map(|_| set.purge_some(9).expect("usable")).collect();
    let removed: Vec<_> = purged.iter().map(|purged| purged.removed.len()).collect();
    assert_eq!(removed, [1, 1, 1, 0, 0]);
    let error = purged.get(1).and_then(|purged| purged.error.as_ref()).expect("reported");
    assert!(error.to_string().contains("snapshot_1_0-of-2_diff.bin"), "{error}");
    let is_done: Vec<_> = purged.iter().map(|purged| purged.is_done).collect();
    assert_eq!(is_done, [false, false, false, true, true]);
    assert_eq!(fs.paths().len(), 3, "a snapshot, the lock and the foreign file: {:?}", fs.paths());
}

/// A pending file that could not be removed kept all others there, the logs of every snapshot to come among them.
#[test]
fn a_pending_file_that_cannot_be_removed_is_in_nobodys_way() {
    let (fs, mut set) = with_a_diff();
    let pending = set.create_or_get_snapshot(SnapshotType::Pending, 1, false).expect("created");
    set.give_up_pending(pending.ordinal).expect("it is pending");
    (0..2).for_each(|_| drop(publish(&mut set, false)));
    for nth in [1, 3] {
        fs.inject(Fault::once(Op::Remove, nth, FaultKind::Eio));
    }
    let purged: Vec<_> = (0..4).map(|_| set.purge_some(9).expect("usable")).collect();
    let steps: Vec<_> =
        purged.iter().map(|step| (step.removed.len(), step.error.is_some())).collect();
    assert_eq!(steps, [(1, true), (2, true), (1, false), (0, false)]);
    assert_eq!(fs.paths().len(), 3, "a snapshot, the lock and the foreign file: {:?}", fs.paths());
}

/// A process that may have only so many files open.
#[derive(Debug)]
struct Few {
    fs: Arc<SimFs>,
    left: Arc<AtomicUsize>,
}

impl Few {
    fn take(&self, op: Op, path: &Path) -> pkv_fs::Result<Taken> {
        let taken =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match taken {
            Ok(_) => Ok(Taken(Arc::clone(&self.left))),
            Err(_) => Err(pkv_fs::Error::new(op, path, io::Error::from(ErrorKind::Other))),
        }
    }
}

#[derive(Debug)]
struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct FewFile {
    file: Arc<dyn File>,
    _taken: Taken,
}

impl File for FewFile {
    fn len(&self) -> pkv_fs::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> pkv_fs::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> pkv_fs::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn preallocate(&self, bytes: u64) -> pkv_fs::Result<()> {
        self.file.preallocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> pkv_fs::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> pkv_fs::Result<()> {
        self.file.sync_data()
    }

    fn segment(&self, bytes: u64, way: SegmentWay) -> pkv_fs::Result<Arc<dyn Segment>> {
        self.file.segment(bytes, way)
    }
}

impl Fs for Few {
    fn create_dir(&self, dir: &Path) -> pkv_fs::Result<bool> {
        self.fs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> pkv_fs::Result<Vec<Entry>> {
        self.take(Op::List, dir)?;
        self.fs.list(dir)
    }

    fn create_new(&self, path: &Path) -> pkv_fs::Result<Arc<dyn File>> {
        let taken = self.take(Op::Create, path)?;
        Ok(Arc::new(FewFile { file: self.fs.create_new(path)?, _taken: taken }))
    }

    fn open(&self, path: &Path, access: Access) -> pkv_fs::Result<Arc<dyn File>> {
        let taken = self.take(Op::Open, path)?;
        Ok(Arc::new(FewFile { file: self.fs.open(path, access)?, _taken: taken }))
    }

    fn rename(&self, from: &Path, to: &Path) -> pkv_fs::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> pkv_fs::Result<()> {
        self.fs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> pkv_fs::Result<()> {
        self.take(Op::SyncDir, dir)?;
        self.fs.sync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: Duration) -> pkv_fs::Result<Box<dyn Lock>> {
        self.fs.lock(path, wait)
    }

    fn can_map(&self, dir: &Path) -> pkv_fs::Result<bool> {
        self.fs.can_map(dir)
    }

    fn free_bytes(&self, dir: &Path) -> pkv_fs::Result<Option<u64>> {
        self.fs.free_bytes(dir)
    }

    fn random_u64(&self) -> u64 {
        self.fs.random_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        self.fs.unix_time_ms()
    }
}

/// A purge has files open, and then the folder has to be opened for its sync: if that failed the set would be stopped.
#[test]
fn a_purge_leaves_a_file_to_the_sync_behind_it() {
    for left in 1..20 {
        let fs = SimFs::new(5);
        fs.plant(Path::new("/data/other"), b"the parent folder is there");
        let files = Arc::new(AtomicUsize::new(100));
        let few: Arc<dyn Fs> = Arc::new(Few { fs, left: Arc::clone(&files) });
        let options = Options::new().create(true);
        let mut set = FileSnapshotSet::open_with(few, DIR, options).expect("open");
        set.create_or_get_snapshot(SnapshotType::Diff, 8, false).expect("a diff");
        drop(publish(&mut set, false));
        files.store(left, Ordering::SeqCst);
        let purged = set.purge_some(100).expect("usable");
        assert!(purged.error.is_none(), "{left} files: {:?}", purged.error);
        assert_eq!(purged.removed.len(), 8);
        // Eight of them are left to others.
        assert_eq!(purged.space.is_empty(), left < 16, "{left} files");
        drop(purged);
        assert_eq!(files.load(Ordering::SeqCst), left);
    }
}

#[test]
fn what_was_given_up_and_what_opening_left_goes_with_a_purge_and_nothing_else_does() {
    let (fs, mut set) = with_a_diff();
    drop(publish(&mut set, false));
    let given_up = set.create_or_get_snapshot(SnapshotType::Pending, 3, false).expect("created");
    let pending = set.create_or_get_snapshot(SnapshotType::Pending, 2, false).expect("created");
    set.give_up_pending(given_up.ordinal).expect("it is pending");
    assert!(matches!(set.give_up_pending(given_up.ordinal), Err(Error::NotFound { .. })));
    let is_there =
        |info: &SnapshotInfo| info.shard_paths.iter().any(|path| fs.contents(path).is_some());
    assert!(is_there(&given_up), "no file is touched");
    let purged: Vec<_> =
        (0..4).map(|_| set.purge_dropped_some(2).expect("usable").removed.len()).collect();
    assert_eq!(purged, [2, 1, 0, 0]);
    assert!(!is_there(&given_up) && is_there(&pending));
    set.close();

    for _ in 0..2 {
        let disk: Arc<dyn Fs> = fs.clone();
        let options = Options::new().leave_dropped(true);
        let mut set = FileSnapshotSet::open_with(disk, DIR, options).expect("open");
        assert_eq!(set.report().dropped_pendings, [pending.ordinal]);
        assert!(is_there(&pending) && !set.snapshots().contains(&pending));
        let next = set.create_or_get_snapshot(SnapshotType::Diff, 1, false).expect("created");
        assert!(next.ordinal > pending.ordinal);
        set.remove_snapshot(next.ordinal).expect("the newest diff");
    }
    let disk: Arc<dyn Fs> = fs.clone();
    let options = Options::new().leave_dropped(true);
    let mut set = FileSnapshotSet::open_with(disk, DIR, options).expect("open");
    let diff = set.snapshots().to_vec();
    let purged: Vec<_> =
        (0..3).map(|_| set.purge_dropped_some(9).expect("usable").removed.len()).collect();
    assert_eq!(purged, [2, 0, 0]);
    assert!(!is_there(&pending));
    assert_eq!(set.snapshots(), diff, "obsolete, and not dropped");
}

/// Beside a backup there may be pending files of its ordinal, which opening drops. Whoever removed by the ordinal alone would
/// remove the backup with them.
#[test]
fn a_backup_does_not_go_with_pending_files_of_its_ordinal() {
    for prunes in [false, true] {
        let (fs, mut set) = with_a_diff();
        drop(publish(&mut set, false));
        drop(publish(&mut set, false));
        let backup = set.snapshots().get(1).cloned().expect("the first full one");
        set.close();
        let pending =
            Path::new(DIR).join(format!("snapshot_{}_0-of-2_pending.bin", backup.ordinal));
        fs.plant(&pending, b"left by other hands");
        let disk: Arc<dyn Fs> = fs.clone();
        let options = Options::new().leave_dropped(true).keep_backups(1);
        let mut set = FileSnapshotSet::open_with(disk, DIR, options).expect("open");
        assert_eq!(set.report().dropped_pendings, [backup.ordinal]);
        if prunes {
            let removed = SnapshotSetAdmin::new(&mut set).prune_not_completed_snapshots();
            assert_eq!(removed.expect("pruned"), [pending.as_path()]);
        } else {
            while !set.purge_some(1).expect("usable").is_done {}
        }
        assert!(fs.contents(&pending).is_none());
        assert!(set.snapshots().contains(&backup));
        assert!(backup.shard_paths.iter().all(|path| fs.contents(path).is_some()));
    }
}
