//! The power is cut, the process killed, or a call fails, at every operation of the set.
//!
//! One workload does all that a set can do: creation, publishing with and without backups kept, purging,
//! removal, pruning, reopening. It writes down what it was told had succeeded, with the number of the
//! operation by then. Whatever crash follows, the folder must open and hold all of that.
#![expect(clippy::expect_used, clippy::panic, reason = "a failure in a helper fails the test")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Access, Entry, File, Fs, Lock, Op};
use pkv_sim::{Choice, Crash, Fault, FaultKind, SimFs};
use pkv_snapshot_set::admin::SnapshotSetAdmin;
use pkv_snapshot_set::{
    Error, FileSnapshotSet, Options, Report, SnapshotInfo, SnapshotOrdinal, SnapshotSet,
    SnapshotType,
};

const DIR: &str = "/data/state";

/// What the workload was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Opened,
    Created(SnapshotOrdinal),
    Filled(SnapshotOrdinal),
    Published(SnapshotOrdinal),
    /// Asked for, not yet done.
    Removing(SnapshotOrdinal),
    Removed(SnapshotOrdinal),
}

/// All events, each with the number of the last operation at that time.
#[derive(Default)]
struct Log(Vec<(u64, Event)>);

impl Log {
    fn note(&mut self, fs: &SimFs, event: Event) {
        self.0.push((fs.last_op(), event));
    }

    /// What had been said when operation `op` was in flight.
    fn before(&self, op: u64) -> Told {
        let mut told = Told::default();
        for (_, event) in self.0.iter().filter(|(at, _)| *at < op) {
            match *event {
                Event::Opened => told.opened = true,
                Event::Created(ordinal) => drop(told.created.insert(ordinal)),
                Event::Filled(ordinal) => drop(told.filled.insert(ordinal)),
                Event::Published(ordinal) => told.published = told.published.max(Some(ordinal)),
                Event::Removing(ordinal) => drop(told.removing.insert(ordinal)),
                Event::Removed(ordinal) => drop(told.removed.insert(ordinal)),
            }
        }
        told
    }
}

#[derive(Clone, Debug, Default)]
struct Told {
    opened: bool,
    /// Diffs only: a pending snapshot promises nothing.
    created: BTreeSet<SnapshotOrdinal>,
    filled: BTreeSet<SnapshotOrdinal>,
    published: Option<SnapshotOrdinal>,
    removing: BTreeSet<SnapshotOrdinal>,
    removed: BTreeSet<SnapshotOrdinal>,
}

/// What the owner writes into a shard.
fn content(ordinal: SnapshotOrdinal, shard: usize) -> Vec<u8> {
    format!("snapshot {ordinal}, shard {shard}").into_bytes()
}

fn fill(fs: &SimFs, info: &SnapshotInfo) -> Result<(), pkv_fs::Error> {
    for (shard, path) in info.shard_paths.iter().enumerate() {
        let file = fs.open(path, Access::Write)?;
        file.write_at(0, &content(info.ordinal, shard))?;
        file.sync_data()?;
    }
    Ok(())
}

fn open(fs: &Arc<SimFs>, options: Options) -> Result<FileSnapshotSet, Error> {
    let fs: Arc<dyn Fs> = fs.clone();
    FileSnapshotSet::open_with(fs, DIR, options)
}

/// A new diff with content. Errors are met as a store would: whatever failed was not done.
fn diff(
    fs: &SimFs,
    set: &mut FileSnapshotSet,
    log: &mut Log,
    shard_count: u64,
) -> Option<SnapshotOrdinal> {
    let info = set.create_or_get_snapshot(SnapshotType::Diff, shard_count, false).ok()?;
    log.note(fs, Event::Created(info.ordinal));
    if fill(fs, &info).is_ok() {
        log.note(fs, Event::Filled(info.ordinal));
    }
    Some(info.ordinal)
}

/// A new full snapshot with a diff above it.
fn full(fs: &SimFs, set: &mut FileSnapshotSet, log: &mut Log, shard_count: u64) {
    let Ok(info) = set.create_or_get_snapshot(SnapshotType::Pending, shard_count, false) else {
        return;
    };
    if diff(fs, set, log, 2).is_none() || fill(fs, &info).is_err() {
        let _ = set.remove_snapshot(info.ordinal);
        return;
    }
    // Every second one leaves its purge for later.
    let purges = info.ordinal.0.is_multiple_of(2);
    if set.publish(info.ordinal, purges, purges).is_ok() {
        log.note(fs, Event::Published(info.ordinal));
    }
    while !purges && set.purge_some(2).is_ok_and(|purged| !purged.is_done && purged.error.is_none())
    {
    }
}

fn remove(fs: &SimFs, set: &mut FileSnapshotSet, log: &mut Log, ordinal: SnapshotOrdinal) {
    log.note(fs, Event::Removing(ordinal));
    if set.remove_snapshot(ordinal).is_ok() {
        log.note(fs, Event::Removed(ordinal));
    }
}

fn workload(fs: &Arc<SimFs>, log: &mut Log) {
    for keep_backups in [0, 2] {
        let leaves = keep_backups > 0;
        let options = Options::new().create(true).keep_backups(keep_backups).leave_dropped(leaves);
        let mut opened = open(fs, options);
        let set = match &mut opened {
            Ok(set) => set,
            Err(Error::Fs(error)) if error.op == Op::SyncDir => return,
            Err(_) => continue,
        };
        log.note(fs, Event::Opened);
        diff(fs, set, log, 3);
        full(fs, set, log, 2);
        // The newest diff is given up, whole and filled.
        if let Some(ordinal) = diff(fs, set, log, 3) {
            remove(fs, set, log, ordinal);
        }
        full(fs, set, log, 8);
        while set
            .purge_dropped_some(1)
            .is_ok_and(|purged| !purged.is_done && purged.error.is_none())
        {}
        diff(fs, set, log, 1);
        // So is a pending snapshot, and a second one is left behind.
        let given_up = set.create_or_get_snapshot(SnapshotType::Pending, 2, false);
        if let Ok(info) = given_up {
            let _ = fill(fs, &info);
            if leaves {
                let _ = set.give_up_pending(info.ordinal);
            } else {
                remove(fs, set, log, info.ordinal);
            }
        }
        let _ = set.create_or_get_snapshot(SnapshotType::Pending, 3, false);
        full(fs, set, log, 1);
        full(fs, set, log, 2);
        let _ = set.create_or_get_snapshot(SnapshotType::Pending, 2, false);
        let mut admin = SnapshotSetAdmin::new(set);
        let _ = admin.prune_backup_snapshots(1);
        // After a failed sync of the folder its owner gives up until the machine was started again:
        // nobody knows what of the names in the cache is on the disk.
        if let Err(Error::Stopped { .. }) = admin.prune_not_completed_snapshots() {
            return;
        }
    }
}

/// Opens what a crash left and compares it with what had been told.
fn check_opened(fs: &Arc<SimFs>, told: &Told) -> Result<FileSnapshotSet, String> {
    // Once opened, the folder is there for ever.
    let options = Options::new().create(!told.opened);
    let set = open(fs, options).map_err(|error| format!("does not open: {error}"))?;
    let restore = set.get_snapshots_to_restore();
    let base = set.get_latest_full_snapshot().map(|info| info.ordinal);
    if base < told.published {
        return Err(format!("published {:?}, restores from {base:?}", told.published));
    }
    // What can be restored from at all, backups too, has every diff that leads on from it.
    let oldest = set
        .snapshots()
        .iter()
        .find(|info| info.snapshot_type == SnapshotType::FullCompleted)
        .map(|info| info.ordinal);
    let here: BTreeSet<_> = set.snapshots().iter().map(|info| info.ordinal).collect();
    for ordinal in told.created.difference(&told.removing) {
        if oldest < Some(*ordinal) && !here.contains(ordinal) {
            return Err(format!(
                "diff {ordinal} is gone, and {oldest:?} is the oldest full snapshot"
            ));
        }
    }
    if let Some(ordinal) = told.removed.intersection(&here).next() {
        return Err(format!("{ordinal} was removed and came back"));
    }
    for info in restore {
        let is_full = info.snapshot_type == SnapshotType::FullCompleted;
        let is_removing = told.removing.contains(&info.ordinal);
        for (shard, path) in info.shard_paths.iter().enumerate() {
            let bytes =
                fs.contents(path).ok_or_else(|| format!("{} is no file", path.display()))?;
            let is_right = bytes == content(info.ordinal, shard);
            if !is_right && (is_full || (told.filled.contains(&info.ordinal) && !is_removing)) {
                return Err(format!("{} holds {bytes:?}", path.display()));
            }
        }
    }
    Ok(set)
}

/// Opens what a crash left, and once more after the power failed. Returns what opening did.
fn check(fs: &Arc<SimFs>, told: &Told) -> Result<Report, String> {
    let set = check_opened(fs, told)?;
    let report = set.report().clone();
    // From here on, opening has told of all that it found.
    let mut found = told.clone();
    found.opened = true;
    found.published = set.get_latest_full_snapshot().map(|info| info.ordinal);
    found.created.extend(
        set.get_all_diff_snapshots_since(SnapshotOrdinal(0)).iter().map(|info| info.ordinal),
    );
    set.close();

    // No pending file is left, and nothing is left to repair.
    let scan = FileSnapshotSet::scan(&**fs, DIR).map_err(|error| error.to_string())?;
    if !scan.problems.is_empty() || was_repaired(&scan.report) {
        return Err(format!("opening left work: {scan:?}"));
    }
    // What was only in the cache before is on the disk now.
    let disk = fs.survivors(Crash::Strict, Choice::Nothing);
    check_opened(&disk, &found).map_err(|why| format!("then cut off: {why}"))?;
    Ok(report)
}

/// Whether opening changed anything.
fn was_repaired(report: &Report) -> bool {
    was_completed(report) || !report.dropped_pendings.is_empty()
}

/// Whether opening finished or undid what had been half done.
fn was_completed(report: &Report) -> bool {
    !report.rolled_forward.is_empty() || report.dropped_creation.is_some()
}

/// Life goes on after a crash: the next publish works, and it alone is left with its diff.
fn go_on(fs: &Arc<SimFs>) -> Result<(), String> {
    let run = || -> Result<(), Error> {
        let mut set = open(fs, Options::new())?;
        let mut log = Log::default();
        full(fs, &mut set, &mut log, 2);
        let published = log.before(u64::MAX).published.expect("published");
        SnapshotSetAdmin::new(&mut set).prune_not_completed_snapshots()?;
        set.close();
        let set = open(fs, Options::new())?;
        let ordinals: Vec<_> = set.snapshots().iter().map(|info| info.ordinal).collect();
        assert_eq!(ordinals, [published, published.next().expect("a next one")]);
        // Two shards each, the lock, and what is not ours.
        assert_eq!(fs.paths().len(), 6, "{:?}", fs.paths());
        Ok(())
    };
    run().map_err(|error| format!("cannot go on: {error}"))
}

/// The extreme states, each unit apart, and some at random.
fn choices(units: usize, random: u64) -> Vec<Choice> {
    let mut choices = vec![Choice::Nothing];
    if units > 0 {
        choices.push(Choice::Everything);
        choices.extend((0..units).flat_map(|unit| [Choice::AllBut(unit), Choice::Only(unit)]));
        choices.extend((0..random).map(Choice::Random));
    }
    choices
}

const CRASHES: [Crash; 3] = [Crash::Kill, Crash::Linux, Crash::Strict];

#[test]
fn every_crash_at_every_operation_opens_with_all_that_was_told() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    fs.start_journal();
    let mut log = Log::default();
    workload(&fs, &mut log);
    let journal = fs.take_journal().expect("a journal");
    let counted = |pick: fn(&Event) -> bool| log.0.iter().filter(|(_, event)| pick(event)).count();
    assert_eq!(counted(|event| matches!(event, Event::Published(_))), 8);
    assert_eq!(counted(|event| matches!(event, Event::Removed(_))), 3);

    let mut states = 0_u32;
    let mut nested_states = 0_u32;
    let (mut rolled_forward, mut dropped_creations, mut remains) = (0_u32, 0_u32, 0_u32);
    let mut replay = journal.replay();
    for op in journal.cuts() {
        replay.advance_to(op);
        let told = log.before(op);
        for crash in CRASHES {
            for choice in choices(replay.units(crash), 4) {
                let at = || format!("{crash} at operation {op}, {choice}");
                let disk = replay.survivors(crash, choice);
                disk.start_journal();
                let report =
                    check(&disk, &told).unwrap_or_else(|why| panic!("{}: {why}; {told:?}", at()));
                rolled_forward += u32::from(!report.rolled_forward.is_empty());
                dropped_creations += u32::from(report.dropped_creation.is_some());
                remains += u32::from(!report.incomplete_diffs.is_empty());
                let recovery = disk.take_journal().expect("a journal");
                states += 1;
                if states.is_multiple_of(8) {
                    go_on(&disk).unwrap_or_else(|why| panic!("{}: {why}", at()));
                }

                // The machine goes down again while opening repairs.
                let sample = if was_completed(&report) { 4 } else { 64 };
                if !states.is_multiple_of(sample) {
                    continue;
                }
                let mut again = recovery.replay();
                for nested_op in recovery.cuts() {
                    again.advance_to(nested_op);
                    for nested in [Choice::Nothing, Choice::Random(op)] {
                        let disk = again.survivors(crash, nested);
                        check(&disk, &told).unwrap_or_else(|why| {
                            panic!("{}, then at {nested_op}, {nested}: {why}; {told:?}", at())
                        });
                        nested_states += 1;
                    }
                }
            }
        }
    }
    // The states that matter were met.
    assert!(states > 3_000, "{states}");
    assert!(nested_states > 3_000, "{nested_states}");
    assert!(rolled_forward > 100, "{rolled_forward}");
    assert!(dropped_creations > 100, "{dropped_creations}");
    assert!(remains > 100, "{remains}");
}

/// Runs the workload with one fault; then the machine goes down.
fn run_with(fault: Fault) {
    let fs = SimFs::new(2);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    fs.inject(fault);
    let mut log = Log::default();
    workload(&fs, &mut log);
    let told = log.before(u64::MAX);
    for crash in CRASHES {
        let random = Choice::Random(fault.nth);
        let choices =
            if fs.units(crash) == 0 { vec![random] } else { vec![random, Choice::Nothing] };
        for choice in choices {
            let disk = fs.survivors(crash, choice);
            let at = || format!("{fault}, then {crash}, {choice}");
            // After a failed sync, no later one that succeeds tells of the names before it, so what the
            // cache alone holds is not tried further.
            let opened = if crash.is_power_cut() {
                check(&disk, &told).map(drop)
            } else {
                check_opened(&disk, &told).map(drop)
            };
            opened.unwrap_or_else(|why| panic!("{}: {why}; {told:?}", at()));
            go_on(&disk).unwrap_or_else(|why| panic!("{}: {why}", at()));
        }
    }
}

#[test]
fn every_call_may_fail_once_or_for_good_and_the_folder_opens_again() {
    let fs = SimFs::new(2);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    workload(&fs, &mut Log::default());
    for nth in 1..=fs.last_op() {
        for kind in [FaultKind::Eio, FaultKind::Enospc] {
            run_with(Fault { op: None, nth, kind, sticky: false });
        }
    }
    // All calls of one class fail and the others go on: nothing can be removed, nothing renamed.
    for op in [Op::Remove, Op::Rename, Op::SyncDir, Op::Create] {
        for nth in 1..=fs.calls(op) {
            for kind in [FaultKind::Eio, FaultKind::Enospc] {
                run_with(Fault::from_then_on(op, nth, kind));
            }
        }
    }
    for nth in (1..=fs.last_op()).step_by(4) {
        run_with(Fault { op: None, nth, kind: FaultKind::Eio, sticky: true });
    }
}

#[test]
fn after_a_failed_sync_of_the_folder_nothing_is_changed_any_more() {
    let fs = SimFs::new(3);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    let mut set = open(&fs, Options::new().create(true)).expect("open");
    let pending = set.create_or_get_snapshot(SnapshotType::Pending, 2, false).expect("created");
    fs.inject(Fault::once(Op::SyncDir, 1, FaultKind::Eio));
    let error = set.publish(pending.ordinal, true, true).expect_err("the sync fails");
    assert!(matches!(&error, Error::Fs(error) if error.op == Op::SyncDir), "{error}");

    let calls_before = fs.last_op();
    let errors = [
        set.publish(pending.ordinal, true, true).map(drop),
        set.create_or_get_snapshot(SnapshotType::Diff, 1, true).map(drop),
        set.remove_snapshot(pending.ordinal),
        SnapshotSetAdmin::new(&mut set).prune_backup_snapshots(0).map(drop),
        SnapshotSetAdmin::new(&mut set).prune_not_completed_snapshots().map(drop),
    ];
    for result in errors {
        let error = result.expect_err("stopped");
        assert!(matches!(&error, Error::Stopped { .. }), "{error}");
        assert!(error.to_string().contains("sync folder /data/state"), "{error}");
    }
    assert_eq!(fs.last_op(), calls_before);
    set.close();
    let set = open(&fs, Options::new()).expect("opens again");
    assert_eq!(set.report().dropped_pendings, [pending.ordinal]);
}

#[test]
fn a_full_disk_heals_without_reopening() {
    let fs = SimFs::new(4);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    let mut set = open(&fs, Options::new().create(true)).expect("open");
    for nth in 1..=3 {
        fs.inject(Fault::once(Op::Create, nth, FaultKind::Enospc));
        let error = set.create_or_get_snapshot(SnapshotType::Diff, 3, false).expect_err("full");
        assert!(matches!(&error, Error::Fs(error) if error.is_full()), "{error}");
        assert_eq!(fs.paths().len(), 2, "the lock and the foreign file: {:?}", fs.paths());
    }
    let pending = set.create_or_get_snapshot(SnapshotType::Pending, 2, false).expect("created");
    fill(&fs, &pending).expect("filled");
    fs.inject(Fault::once(Op::Rename, 1, FaultKind::Enospc));
    let error = set.publish(pending.ordinal, true, true).expect_err("full");
    assert!(matches!(&error, Error::Fs(error) if error.is_full()), "{error}");
    set.publish_completed_snapshot(pending.ordinal, true, true).expect("published");
}

/// Every crash at every operation of the recorded run.
fn check_every_crash(fs: &SimFs, log: &Log) {
    let journal = fs.take_journal().expect("a journal");
    let mut replay = journal.replay();
    for op in journal.cuts() {
        replay.advance_to(op);
        for crash in CRASHES {
            for choice in choices(replay.units(crash), 16) {
                check(&replay.survivors(crash, choice), &log.before(op))
                    .unwrap_or_else(|why| panic!("{crash} at operation {op}, {choice}: {why}"));
            }
        }
    }
}

#[test]
fn what_opening_dropped_does_not_come_back_below_what_is_made_next() {
    let fs = SimFs::new(6);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    fs.plant(&Path::new(DIR).join("snapshot_1_1-of-2_diff.bin"), b"");
    fs.start_journal();
    let mut log = Log::default();
    let mut set = open(&fs, Options::new()).expect("open");
    log.note(&fs, Event::Opened);
    assert_eq!(set.report().dropped_creation, Some(SnapshotOrdinal(1)));
    diff(&fs, &mut set, &mut log, 2).expect("a diff");
    check_every_crash(&fs, &log);
}

#[test]
fn what_a_failed_creation_made_does_not_come_back_below_what_is_made_next() {
    // The second time the first removal fails as well, so that the next creation has to clear up.
    for removal_fails in [false, true] {
        let fs = SimFs::new(8);
        fs.plant(Path::new("/data/other"), b"the parent folder is there");
        let mut log = Log::default();
        let mut set = open(&fs, Options::new().create(true)).expect("open");
        log.note(&fs, Event::Opened);
        fs.start_journal();
        fs.inject(Fault::once(Op::Create, 3, FaultKind::Enospc));
        if removal_fails {
            fs.inject(Fault::once(Op::Remove, 2, FaultKind::Eio));
        }
        assert_eq!(diff(&fs, &mut set, &mut log, 3), None);
        diff(&fs, &mut set, &mut log, 3).expect("a diff");
        check_every_crash(&fs, &log);
    }
}

/// A disk on which creating one file fails after it was made.
#[derive(Debug)]
struct HalfMade {
    fs: Arc<SimFs>,
    path: PathBuf,
}

impl Fs for HalfMade {
    fn create_new(&self, path: &Path) -> pkv_fs::Result<Arc<dyn File>> {
        let file = self.fs.create_new(path)?;
        if path == self.path {
            return Err(pkv_fs::Error::new(Op::Create, path, ErrorKind::TimedOut.into()));
        }
        Ok(file)
    }

    fn create_dir(&self, dir: &Path) -> pkv_fs::Result<bool> {
        self.fs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> pkv_fs::Result<Vec<Entry>> {
        self.fs.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> pkv_fs::Result<Arc<dyn File>> {
        self.fs.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> pkv_fs::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> pkv_fs::Result<()> {
        self.fs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> pkv_fs::Result<()> {
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

#[test]
fn what_a_failed_creation_left_is_gone_before_the_next_one_is_made() {
    let fs = SimFs::new(7);
    fs.plant(Path::new("/data/other"), b"the parent folder is there");
    // The second file is made although the call fails; the first two removals fail, too.
    let path = Path::new(DIR).join("snapshot_1_1-of-3_diff.bin");
    let half_made: Arc<dyn Fs> = Arc::new(HalfMade { fs: fs.clone(), path: path.clone() });
    let options = Options::new().create(true);
    let mut set = FileSnapshotSet::open_with(half_made, DIR, options).expect("open");
    fs.inject(Fault::once(Op::Remove, 1, FaultKind::Eio));
    fs.inject(Fault::once(Op::Remove, 2, FaultKind::Eio));
    for failed in [Op::Create, Op::Remove] {
        let error = set.create_or_get_snapshot(SnapshotType::Diff, 3, false).expect_err("fails");
        assert!(matches!(&error, Error::Fs(error) if error.op == failed), "{error}");
        assert_eq!(set.snapshots(), []);
        assert!(fs.contents(&path).is_some());
    }
    let info = set.create_or_get_snapshot(SnapshotType::Diff, 3, false).expect("created");
    assert_eq!(info.ordinal, SnapshotOrdinal(2));
    assert_eq!(fs.paths().len(), 5, "three shards, the lock, the foreign file: {:?}", fs.paths());
    set.close();
    let set = open(&fs, Options::new()).expect("opens");
    assert_eq!(set.snapshots(), [info]);
}
