//! What cannot be purged goes with a later purge.
#![expect(clippy::expect_used, reason = "a failure in a helper fails the test")]

use std::path::Path;
use std::sync::Arc;

use pkv_fs::{Fs, Op};
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_snapshot_set::{FileSnapshotSet, Options, PublishReport, SnapshotSet, SnapshotType};

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
