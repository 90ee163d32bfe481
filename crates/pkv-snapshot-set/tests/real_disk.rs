//! The set on a real file system.
#![expect(clippy::disallowed_methods, reason = "the tests look at the folder from outside")]
#![expect(clippy::expect_used, reason = "a failure in a helper fails the test")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::StdFs;
use pkv_snapshot_set::admin::SnapshotSetAdmin;
use pkv_snapshot_set::{
    Error, FileSnapshotSet, Inconsistency, LOCK_FILE_NAME, MAX_SHARD_COUNT, Options,
    SnapshotOrdinal, SnapshotSet, SnapshotType,
};
use tempfile::TempDir;

/// The names in a folder but for the lock, sorted as text.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name != LOCK_FILE_NAME)
        .collect();
    names.sort();
    names
}

/// A folder with these empty files.
fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for name in names {
        fs::write(dir.path().join(name), "").expect("a file");
    }
    dir
}

fn open(dir: &Path) -> FileSnapshotSet {
    FileSnapshotSet::new(dir).expect("the folder opens")
}

fn open_keeping(dir: &Path, keep_backups: usize) -> FileSnapshotSet {
    let options = Options::new().keep_backups(keep_backups);
    FileSnapshotSet::open_with(Arc::new(StdFs), dir, options).expect("the folder opens")
}

fn create(set: &mut FileSnapshotSet, snapshot_type: SnapshotType, shard_count: u64) -> u64 {
    let info = set.create_or_get_snapshot(snapshot_type, shard_count, false).expect("created");
    assert_eq!(info.snapshot_type, snapshot_type);
    assert_eq!(u64::try_from(info.shard_paths.len()), Ok(shard_count));
    info.ordinal.0
}

fn to_restore(set: &FileSnapshotSet) -> Vec<u64> {
    set.get_snapshots_to_restore().iter().map(|info| info.ordinal.0).collect()
}

/// Diff 1, full 2, diff 3, full 4 (two shards), diff 5, full 6, diff 7; nothing purged.
fn three_fulls() -> TempDir {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    create(&mut set, SnapshotType::Diff, 1);
    for shard_count in [1, 2, 1] {
        let pending = create(&mut set, SnapshotType::Pending, shard_count);
        create(&mut set, SnapshotType::Diff, 1);
        set.publish_completed_snapshot(SnapshotOrdinal(pending), false, false).expect("published");
    }
    assert_eq!(to_restore(&set), [6, 7]);
    dir
}

#[test]
fn a_missing_folder_is_an_error_unless_it_is_to_be_created() {
    let parent = folder(&[]);
    let dir = parent.path().join("mistyped");
    let error = FileSnapshotSet::new(&dir).expect_err("no folder");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("mistyped"), "{error}");
    assert_eq!(names(parent.path()), [""; 0]);

    for _ in 0..2 {
        let options = Options::new().create(true);
        let set = FileSnapshotSet::open_with(Arc::new(StdFs), &dir, options).expect("created");
        assert_eq!(set.dir(), dir);
        assert_eq!(set.snapshots(), []);
    }
    let options = Options::new().create(true);
    FileSnapshotSet::open_with(Arc::new(StdFs), dir.join("a/b"), options).expect_err("no parent");
}

#[test]
fn the_second_user_is_told_so_and_close_lets_go_at_once() {
    let dir = folder(&[]);
    let set = open(dir.path());
    let error = FileSnapshotSet::new(dir.path()).expect_err("locked");
    assert!(matches!(&error, Error::Locked { path } if *path == dir.path().join(LOCK_FILE_NAME)));
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    set.close();
    drop(open(dir.path()));

    let set = open(dir.path());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(set);
        });
        let options = Options::new().lock_wait(Duration::from_secs(30));
        FileSnapshotSet::open_with(Arc::new(StdFs), dir.path(), options).expect("waited");
    });
}

#[test]
fn ordinals_rise_above_all_that_was_ever_seen() {
    let dir = folder(&["snapshot_41_0-of-1_pending.bin"]);
    let mut set = open(dir.path());
    assert_eq!(set.report().dropped_pendings, [SnapshotOrdinal(41)]);
    assert_eq!(create(&mut set, SnapshotType::Diff, 1), 42);
    set.note_ordinal(SnapshotOrdinal(7));
    assert_eq!(create(&mut set, SnapshotType::Diff, 1), 43);
    set.note_ordinal(SnapshotOrdinal(99));
    assert_eq!(create(&mut set, SnapshotType::Pending, 1), 100);
    set.remove_snapshot(SnapshotOrdinal(100)).expect("removed");
    assert_eq!(create(&mut set, SnapshotType::Diff, 1), 101);
    set.note_ordinal(SnapshotOrdinal(u64::MAX));
    let error = set.create_or_get_snapshot(SnapshotType::Diff, 1, false).expect_err("exhausted");
    assert!(matches!(error, Error::OrdinalsExhausted { .. }));
    assert_eq!(open_after(set, dir.path()), [42, 43, 101]);
}

fn open_after(set: FileSnapshotSet, dir: &Path) -> Vec<u64> {
    set.close();
    to_restore(&open(dir))
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    for (snapshot_type, shard_count) in [
        (SnapshotType::FullCompleted, 1),
        (SnapshotType::Diff, 0),
        (SnapshotType::Pending, MAX_SHARD_COUNT + 1),
        (SnapshotType::Diff, u64::MAX),
    ] {
        let error =
            set.create_or_get_snapshot(snapshot_type, shard_count, true).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    for ordinal in [0, 1, u64::MAX].map(SnapshotOrdinal) {
        let error = set.publish_completed_snapshot(ordinal, true, true).expect_err("not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            set.remove_snapshot(ordinal).expect_err("not there").kind(),
            ErrorKind::NotFound
        );
    }
    assert_eq!(names(dir.path()), [""; 0]);
    // A diff is not to be published.
    let diff = SnapshotOrdinal(create(&mut set, SnapshotType::Diff, 1));
    let error = set.publish_completed_snapshot(diff, true, true).expect_err("a diff");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(names(dir.path()), ["snapshot_1_0-of-1_diff.bin"]);
}

#[test]
fn the_newest_of_a_type_is_handed_out_again_while_nothing_full_is_above_it() {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    let get = |set: &mut FileSnapshotSet, snapshot_type, shard_count| {
        set.create_or_get_snapshot(snapshot_type, shard_count, true).expect("a snapshot").ordinal.0
    };
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 1);
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 1);
    // Another count of shards.
    assert_eq!(get(&mut set, SnapshotType::Diff, 3), 2);
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 3);
    assert_eq!(get(&mut set, SnapshotType::Pending, 1), 4);
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 3);
    assert_eq!(get(&mut set, SnapshotType::Pending, 1), 4);
    set.publish_completed_snapshot(SnapshotOrdinal(4), false, false).expect("published");
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 5);
    set.close();
    let mut set = open(dir.path());
    assert_eq!(get(&mut set, SnapshotType::Diff, 2), 5);
    assert_eq!(create(&mut set, SnapshotType::Diff, 2), 6);
}

#[test]
fn sixteen_shards_keep_their_order_and_their_content() {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    let info = set.create_or_get_snapshot(SnapshotType::Pending, 16, false).expect("created");
    for (shard, path) in info.shard_paths.iter().enumerate() {
        fs::write(path, shard.to_string()).expect("written");
    }
    set.publish_completed_snapshot(info.ordinal, true, true).expect("published");
    let check = |set: &FileSnapshotSet| {
        let full = set.get_latest_full_snapshot().expect("published");
        for (shard, path) in full.shard_paths.iter().enumerate() {
            assert_eq!(fs::read_to_string(path).expect("a file"), shard.to_string());
        }
        assert_eq!(full.shard_paths.len(), 16);
    };
    check(&set);
    set.close();
    check(&open(dir.path()));
}

#[test]
fn a_file_in_the_way_is_named_and_nothing_is_left_beside_it() {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    let in_the_way = dir.path().join("snapshot_1_2-of-3_diff.bin");
    fs::write(&in_the_way, "not ours").expect("written");
    for _ in 0..2 {
        let error = set.create_or_get_snapshot(SnapshotType::Diff, 3, false).expect_err("taken");
        assert!(matches!(&error, Error::AlreadyExists { path } if *path == in_the_way), "{error}");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(dir.path()), ["snapshot_1_2-of-3_diff.bin"]);
    }
    assert_eq!(fs::read(&in_the_way).expect("still there"), b"not ours");
    fs::remove_file(&in_the_way).expect("removed");
    assert_eq!(create(&mut set, SnapshotType::Diff, 3), 1);
}

#[test]
fn publishing_checks_the_disk_before_the_commit_point() {
    let dir = folder(&[]);
    let mut set = open(dir.path());
    let info = set.create_or_get_snapshot(SnapshotType::Pending, 2, false).expect("created");
    let before = names(dir.path());

    for name in ["snapshot_1_1-of-2_full.bin", "snapshot_1_0-of-3_pending.bin"] {
        fs::write(dir.path().join(name), "").expect("written");
        let error =
            set.publish_completed_snapshot(info.ordinal, true, true).expect_err("in the way");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        fs::remove_file(dir.path().join(name)).expect("removed");
        assert_eq!(names(dir.path()), before);
    }

    fs::remove_file(&info.shard_paths[1]).expect("removed");
    let error = set.publish_completed_snapshot(info.ordinal, true, true).expect_err("lost");
    assert!(
        matches!(&error, Error::Inconsistent(Inconsistency::MissingShards { missing, .. }) if *missing == [1]),
        "{error}"
    );
    fs::write(&info.shard_paths[1], "").expect("written");
    set.publish_completed_snapshot(info.ordinal, true, true).expect("published");
    assert_eq!(names(dir.path()), ["snapshot_1_0-of-2_full.bin", "snapshot_1_1-of-2_full.bin"]);
}

/// Purges by steps of so many files.
fn purged(set: &mut FileSnapshotSet, files_max: usize) -> Vec<PathBuf> {
    let mut removed = Vec::new();
    loop {
        let mut purged = set.purge_some(files_max).expect("usable");
        assert!(purged.error.is_none());
        assert!(purged.removed.len() <= files_max);
        if purged.is_done {
            assert!(purged.removed.is_empty());
            return removed;
        }
        // Full snapshots are gone, and their folder is synced, before the first diff goes.
        let is_diff = |path: &PathBuf| path.to_string_lossy().ends_with("_diff.bin");
        assert!(purged.removed.iter().all(is_diff) || !purged.removed.iter().any(is_diff));
        assert!(!removed.last().is_some_and(is_diff) || purged.removed.iter().all(is_diff));
        removed.append(&mut purged.removed);
    }
}

#[test]
fn publishing_purges_what_the_options_do_not_keep() {
    let table: [(usize, bool, bool, &[u64]); 6] = [
        (0, true, true, &[9, 10]),
        (0, true, false, &[8, 9, 10]),
        (1, true, true, &[6, 7, 9, 10]),
        (2, true, true, &[4, 5, 6, 7, 9, 10]),
        (9, true, true, &[2, 3, 4, 5, 6, 7, 9, 10]),
        (0, false, true, &[1, 2, 3, 4, 5, 6, 7, 9, 10]),
    ];
    // At once, or by steps of so many files.
    let in_steps = table.iter().filter(|(_, diff, pending, _)| *diff && *pending);
    let in_steps =
        [1, 2, 100].into_iter().flat_map(|step| in_steps.clone().map(move |row| (row, Some(step))));
    for (&(keep_backups, purge_diff, purge_pending, left), step) in
        table.iter().map(|row| (row, None)).chain(in_steps)
    {
        let dir = three_fulls();
        let mut set = open_keeping(dir.path(), keep_backups);
        create(&mut set, SnapshotType::Pending, 1);
        let pending = create(&mut set, SnapshotType::Pending, 2);
        create(&mut set, SnapshotType::Diff, 1);
        let now = step.is_none();
        let report = set
            .publish(SnapshotOrdinal(pending), purge_diff && now, purge_pending && now)
            .expect("published");
        assert!(report.purge_error.is_none());
        let mut removed = report.removed;
        if let Some(step) = step {
            assert!(removed.is_empty());
            removed = purged(&mut set, step);
        }
        assert!(removed.iter().all(|path| fs::metadata(path).is_err()));
        let ordinals: Vec<u64> = set.snapshots().iter().map(|info| info.ordinal.0).collect();
        assert_eq!(ordinals, left, "{keep_backups} {purge_diff} {purge_pending}");
        // The set and the folder agree.
        let scan = FileSnapshotSet::scan(&StdFs, dir.path()).expect("scanned");
        let whole =
            |info: &&pkv_snapshot_set::SnapshotInfo| info.snapshot_type != SnapshotType::Pending;
        let expected: Vec<_> = set.snapshots().iter().filter(whole).cloned().collect();
        assert_eq!(scan.snapshots, expected);
        assert_eq!(open_after(set, dir.path()), [9, 10]);
    }
}

#[test]
fn pruning_backups_keeps_the_asked_number() {
    for (max_backups, left) in [
        (0, &[6, 7][..]),
        (1, &[4, 5, 6, 7]),
        (2, &[2, 3, 4, 5, 6, 7]),
        (usize::MAX, &[2, 3, 4, 5, 6, 7]),
    ] {
        let dir = three_fulls();
        let files_before = names(dir.path()).len();
        let mut set = open(dir.path());
        let removed =
            SnapshotSetAdmin::new(&mut set).prune_backup_snapshots(max_backups).expect("pruned");
        assert_eq!(names(dir.path()).len(), files_before - removed.len());
        let ordinals: Vec<u64> = set.snapshots().iter().map(|info| info.ordinal.0).collect();
        assert_eq!(ordinals, left);
        assert_eq!(open_after(set, dir.path()), [6, 7]);
    }
    // Without a full snapshot everything is needed.
    let dir = folder(&["snapshot_1_0-of-1_diff.bin"]);
    let mut set = open(dir.path());
    let removed = SnapshotSetAdmin::new(&mut set).prune_backup_snapshots(0).expect("pruned");
    assert_eq!(removed, [""; 0].map(std::path::PathBuf::from));
    assert_eq!(names(dir.path()), ["snapshot_1_0-of-1_diff.bin"]);
}

#[test]
fn remains_below_the_latest_full_snapshot_are_reported_kept_and_pruned_on_request() {
    let dir = folder(&[
        "snapshot_1_1-of-2_full.bin",
        "snapshot_2_0-of-2_diff.bin",
        "snapshot_3_0-of-1_full.bin",
        "foreign",
    ]);
    let before = names(dir.path());
    let mut set = open(dir.path());
    assert_eq!(set.report().incomplete_fulls.len(), 1);
    assert_eq!(set.report().incomplete_diffs.len(), 1);
    assert_eq!(set.report().foreign_names, 1);
    assert_eq!(names(dir.path()), before);
    create(&mut set, SnapshotType::Pending, 1);
    let removed = SnapshotSetAdmin::new(&mut set).prune_not_completed_snapshots().expect("pruned");
    assert_eq!(removed.len(), 3);
    assert_eq!(names(dir.path()), ["foreign", "snapshot_3_0-of-1_full.bin"]);
    assert_eq!(set.snapshots().len(), 1);
    // The same by pruning backups, whether or not any are kept: what is not whole is none.
    for name in &before {
        fs::write(dir.path().join(name), "").expect("written");
    }
    set.close();
    let mut set = open(dir.path());
    assert_eq!(SnapshotSetAdmin::new(&mut set).prune_backup_snapshots(5).expect("pruned").len(), 2);
}

#[test]
fn snapshots_that_are_needed_cannot_be_removed_one_by_one() {
    let dir = three_fulls();
    let mut set = open(dir.path());
    create(&mut set, SnapshotType::Diff, 3);
    create(&mut set, SnapshotType::Pending, 2);
    create(&mut set, SnapshotType::Diff, 1);
    for ordinal in [2, 4, 6, 8].map(SnapshotOrdinal) {
        let error = set.remove_snapshot(ordinal).expect_err("needed");
        assert!(matches!(error, Error::NotRemovable { .. }), "{error}");
    }
    for ordinal in [1, 9, 7, 10, 8].map(SnapshotOrdinal) {
        set.remove_snapshot(ordinal).expect("removed");
        assert!(set.snapshots().iter().all(|info| info.ordinal != ordinal));
    }
    assert_eq!(names(dir.path()).len(), 6);
    assert_eq!(open_after(set, dir.path()), [6]);
}

#[test]
fn an_interrupted_creation_is_dropped_and_a_lost_shard_is_not() {
    let names_left = ["snapshot_4_0-of-3_diff.bin", "snapshot_4_2-of-3_diff.bin"];
    let dir = folder(&names_left);
    fs::write(dir.path().join("snapshot_2_0-of-1_full.bin"), "content").expect("written");

    // With content in one of them it is no creation: the error names the shard, nothing changes.
    fs::write(dir.path().join(names_left[1]), "x").expect("written");
    let before = names(dir.path());
    let error = FileSnapshotSet::new(dir.path()).expect_err("a shard is lost");
    assert!(
        matches!(&error, Error::Inconsistent(Inconsistency::MissingShards { missing, .. }) if *missing == [1]),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(names(dir.path()), before);

    fs::write(dir.path().join(names_left[1]), "").expect("written");
    let mut set = open(dir.path());
    assert_eq!(set.report().dropped_creation, Some(SnapshotOrdinal(4)));
    assert_eq!(names(dir.path()), ["snapshot_2_0-of-1_full.bin"]);
    assert_eq!(create(&mut set, SnapshotType::Diff, 1), 5);
}

#[test]
fn a_scan_changes_nothing_and_needs_no_lock() {
    let dir = folder(&[
        "snapshot_1_0-of-2_full.bin",
        "snapshot_1_1-of-2_pending.bin",
        "snapshot_2_0-of-1_pending.bin",
        "snapshot_3_0-of-2_diff.bin",
        "x",
    ]);
    let before = names(dir.path());
    let scan = FileSnapshotSet::scan(&StdFs, dir.path()).expect("scanned");
    assert_eq!(scan.problems, []);
    assert_eq!(scan.report.rolled_forward, [SnapshotOrdinal(1)]);
    assert_eq!(scan.report.dropped_pendings, [SnapshotOrdinal(2)]);
    assert_eq!(scan.report.dropped_creation, Some(SnapshotOrdinal(3)));
    assert_eq!(scan.report.foreign_names, 1);
    let full = scan.get_latest_full_snapshot().expect("to be finished");
    assert_eq!(full.shard_paths[1], dir.path().join("snapshot_1_1-of-2_pending.bin"));
    assert_eq!(scan.get_snapshots_to_restore(), [full]);
    assert_eq!(names(dir.path()), before);
    assert!(fs::metadata(dir.path().join(LOCK_FILE_NAME)).is_err());

    let set = open(dir.path());
    assert_eq!(*set.report(), scan.report);
    assert_eq!(
        names(dir.path()),
        ["snapshot_1_0-of-2_full.bin", "snapshot_1_1-of-2_full.bin", "x"]
    );
    let full = set.get_latest_full_snapshot().expect("finished");
    assert_eq!(full.shard_paths[1], dir.path().join("snapshot_1_1-of-2_full.bin"));
    let scan = FileSnapshotSet::scan(&StdFs, dir.path()).expect("scanned beside its user");
    assert_eq!(scan.snapshots, set.snapshots());

    let dir = folder(&["snapshot_1_0-of-2_full.bin"]);
    let scan = FileSnapshotSet::scan(&StdFs, dir.path()).expect("scanned");
    assert_eq!(scan.problems.len(), 1);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_named_and_neither_followed_nor_removed() {
    use std::os::unix::ffi::OsStrExt;
    let name = "snapshot_9_0-of-1_pending.bin";
    let dir = folder(&["snapshot_1_0-of-1_diff.bin"]);
    let path = dir.path().join(name);
    let outside = tempfile::NamedTempFile::new().expect("a file");

    fs::create_dir(&path).expect("a folder");
    let error = FileSnapshotSet::new(dir.path()).expect_err("a folder");
    assert!(
        matches!(&error, Error::Inconsistent(Inconsistency::NotAFile { path: p, .. }) if *p == path)
    );
    fs::remove_dir(&path).expect("still there");

    std::os::unix::fs::symlink(outside.path(), &path).expect("a link");
    let error = FileSnapshotSet::new(dir.path()).expect_err("a link");
    assert!(error.to_string().contains(name), "{error}");
    fs::remove_file(&path).expect("still there");
    assert!(outside.path().exists());

    // Names of any bytes are foreign.
    let foreign = dir.path().join(std::ffi::OsStr::from_bytes(b"snapshot_1_0-of-1_\xff.bin"));
    fs::write(&foreign, "").expect("written");
    assert_eq!(open(dir.path()).report().foreign_names, 1);
    assert!(foreign.exists());
}

#[test]
fn every_mix_of_a_publish_of_eight_shards_opens_with_its_content() {
    for mix in 0..=255_u8 {
        let dir = folder(&["snapshot_1_0-of-1_diff.bin", "snapshot_3_0-of-1_diff.bin"]);
        for shard in 0..8 {
            let word = if mix & (1 << shard) != 0 { "full" } else { "pending" };
            let path = dir.path().join(format!("snapshot_2_{shard}-of-8_{word}.bin"));
            fs::write(path, shard.to_string()).expect("written");
        }
        let set = open(dir.path());
        assert_eq!(to_restore(&set), if mix == 0 { [1, 3] } else { [2, 3] }, "{mix:08b}");
        if let Some(full) = set.get_latest_full_snapshot() {
            for (shard, path) in full.shard_paths.iter().enumerate() {
                assert_eq!(fs::read_to_string(path).expect("a shard"), shard.to_string());
            }
        }
        assert_eq!(names(dir.path()).len(), if mix == 0 { 2 } else { 10 });
    }
}
