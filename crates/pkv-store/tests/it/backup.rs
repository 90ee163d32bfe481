//! Backups hold one state of a store, whatever goes on meanwhile; they open, and lead back to every write.
#![expect(clippy::disallowed_methods, reason = "the tests look at the folders from outside")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pkv_fs::{CountingFs, Fs, Op, StdFs};
use pkv_sim::{Choice, Crash, Fault, FaultKind, SimFs};
use pkv_store::{
    Backup, ByteStore, Durability, Error, LogWay, Options, RestorePoint, Store, Update,
};

use crate::support::{Contents, HookFs, Image, Place, both_ways, contents, restless, small};

/// What every write did, by its number: the model.
type Writes = BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>;

/// The contents after the writes up to `seq`.
fn state_at(writes: &Writes, seq: u64) -> Contents {
    let mut state = Contents::new();
    for (key, value) in writes.range(..=seq).map(|(_, change)| change) {
        match value {
            Some(value) => drop(state.insert(key.clone(), value.clone())),
            None => drop(state.remove(key)),
        }
    }
    state
}

fn opened(dir: &Path) -> Contents {
    let store = ByteStore::open(dir, &small().create(false)).unwrap();
    let contents = contents(&store);
    store.close().unwrap();
    contents
}

/// Writes from several threads until told to stop; each change of a key is one write with its number.
fn write(store: &ByteStore, thread: u64, stop: &AtomicBool) -> Writes {
    let mut writes = Writes::new();
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if round % 4 == 0 {
            // As fast as it could, it would make thousands of logs.
            std::thread::sleep(Duration::from_millis(1));
        }
        let key = format!("{thread} {}", round % 50).into_bytes();
        let size = usize::try_from(round * 31 % 700).unwrap();
        let value = vec![u8::try_from(round % 251).unwrap(); size];
        if round % 7 == 6 {
            let written = store.remove(&key, Durability::Process).unwrap();
            if written.existed {
                writes.insert(written.seq, (key, None));
            }
        } else {
            let durability = if round % 64 == 0 { Durability::Power } else { Durability::Process };
            let written = store.insert(&key, &value, durability).unwrap();
            writes.insert(written.seq, (key, Some(value)));
        }
    }
    writes
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Backups while three threads write, from the same process and as from another one: each is exactly one state, no
/// older than what was acknowledged before it began.
fn backups_under_load(options: &Options) {
    let place = Place::new();
    let store = ByteStore::open(place.store(), options).unwrap();
    let stop = AtomicBool::new(false);
    let (writes, reports) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn({
                    let (store, stop) = (&store, &stop);
                    move || write(store, thread, stop)
                })
            })
            .collect();
        // A failure below must not leave them writing for ever.
        let stopping = StopOnDrop(&stop);
        let mut reports = Vec::new();
        for round in 0..8 {
            std::thread::sleep(Duration::from_millis(30));
            let dir = place.at(&format!("backup {round}"));
            let acknowledged = store.last_seq();
            let made = match round % 4 {
                0 => store.backup_to(&dir),
                1 => Backup::new().copy(place.store(), &dir),
                2 => Backup::new().link(false).copy(place.store(), &dir),
                _ => store.backup_with(
                    &Backup::new().since(place.at(&format!("backup {}", round - 1))),
                    &dir,
                ),
            };
            let report = made.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert!(report.seq >= acknowledged, "{report:?} lacks {acknowledged}");
            reports.push((dir, report));
        }
        drop(stopping);
        let mut writes = Writes::new();
        for thread in threads {
            writes.extend(thread.join().unwrap());
        }
        (writes, reports)
    });
    store.close().unwrap();
    for (dir, report) in reports {
        let store = ByteStore::open(&dir, &small().create(false)).unwrap();
        let found = store.recovery_report();
        assert_eq!(
            (found.last_seq, &found.torn.is_none(), found.dropped.len()),
            (report.seq, &true, 0)
        );
        assert!(
            contents(&store) == state_at(&writes, report.seq),
            "{} is no state of the store: {report:?}",
            dir.display()
        );
    }
    assert!(opened(&place.store()) == state_at(&writes, u64::MAX));
}

#[test]
fn a_backup_under_load_is_one_state_that_has_all_acknowledged_writes() {
    for options in both_ways() {
        backups_under_load(&options);
    }
}

#[test]
fn a_backup_amid_compactions_is_one_state_too() {
    backups_under_load(&restless());
    backups_under_load(&restless().keep_backups(2));
}

/// A log that is being made has no header, and then it has. A backup that looked in between took that for damage.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test changes the folder from outside")]
fn a_log_whose_header_comes_between_two_looks_is_no_damage() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    store.insert(b"key", b"value", Durability::Power).unwrap();
    store.close().unwrap();
    let expected = opened(&place.store());
    let log = place.store().join("snapshot_1_0-of-1_diff.bin");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, vec![0; bytes.len()]).unwrap();
    let (path, looks) = (log, AtomicU64::new(0));
    let fs = HookFs::hooked(move |op, opened| {
        if op == Op::Open && opened == path && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            std::fs::write(&path, &bytes)?;
        }
        Ok(())
    });
    Backup::new().file_system(fs).copy(place.store(), place.at("backup")).unwrap();
    assert!(opened(&place.at("backup")) == expected);
}

/// Who lost the processor each time between the listing of a folder and its last file gave up after twenty times, within some
/// milliseconds. (A backup amid compactions had failed once, beside all other tests, and its message was lost.)
#[test]
fn a_folder_whose_files_go_again_and_again_is_listed_until_they_stay() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    store.insert(b"key", b"value", Durability::Power).unwrap();
    store.close().unwrap();
    let looks = AtomicU64::new(0);
    let fs = HookFs::hooked(move |op, path| {
        let is_of_store = path.parent().is_some_and(|dir| dir.ends_with("store"));
        let is_log = is_of_store && path.extension().is_some_and(|name| name == "bin");
        if op == Op::Open && is_log && looks.fetch_add(1, Ordering::SeqCst) < 100 {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        Ok(())
    });
    Backup::new().file_system(fs).copy(place.store(), place.at("backup")).unwrap();
    assert!(opened(&place.at("backup")) == opened(&place.store()));
}

/// A file system on which these listings of the store miss a file, and the others do not.
fn missing(place: &Place, file: &Path, missed: std::ops::Range<u64>) -> Arc<dyn Fs> {
    let lists = AtomicU64::new(0);
    let (file, away) = (file.to_path_buf(), place.at("away"));
    HookFs::hooked(move |op, dir| {
        let is_of_store = op == Op::List && dir.ends_with("store");
        match is_of_store.then(|| lists.fetch_add(1, Ordering::SeqCst)) {
            Some(count) if count == missed.start => std::fs::rename(&file, &away),
            Some(count) if count == missed.end => std::fs::rename(&away, &file),
            _ => Ok(()),
        }
    })
}

/// Copies a folder of which the first two listings miss a file.
fn backup_with_a_missed_name(place: &Place, file: &Path, name: &str) -> Result<(), Error> {
    let fs = missing(place, file, 0..2);
    Backup::new().file_system(fs).copy(place.store(), place.at(name)).map(drop)
}

/// What a listing missed looked like what is not there, without an error that could be met twice: an older snapshot, a log
/// behind one, the newest log of all.
#[test]
fn a_name_that_one_listing_misses_is_found() {
    let place = Place::new();
    let (store, writes) = filled(&place.store());
    let image = Image::of(&place.store());
    let (fulls, logs) = (image.named("full"), image.named("diff"));
    assert!(fulls.len() == 2 && logs.len() == 4, "{fulls:?}, {logs:?}");
    for (name, missed) in fulls.iter().chain(&logs).flat_map(|name| [(name, 0..1), (name, 1..2)]) {
        let file = place.store().join(name);
        let copy = place.at(&format!("copy without {name} in {missed:?}"));
        let fs = missing(&place, &file, missed.clone());
        let report = Backup::new().file_system(fs).copy(place.store(), &copy).unwrap();
        assert_eq!((report.seq, report.seq_min), (240, 61), "{name}, {missed:?}");
        let restored = place.at(&format!("restored without {name} in {missed:?}"));
        let backup = Backup::new().file_system(missing(&place, &file, missed.clone()));
        backup.restore(place.store(), &restored, RestorePoint::Seq(70)).unwrap();
        assert!(opened(&restored) == state_at(&writes, 70), "{name}, {missed:?}");
    }
    drop(store);
}

/// The listing of a folder whose names change meanwhile may miss one. A log that was missed is damage; of the only snapshot a
/// newer one seemed to explain why the first log is not there, and the backup was empty. What is there to stay comes again.
#[test]
fn an_error_counts_when_it_comes_twice() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    let fill = |from: u64| {
        for number in from..from + 1000 {
            store.insert(&number.to_le_bytes(), &[7; 100], Durability::Process).unwrap();
        }
    };
    fill(0);
    let logs = Image::of(&place.store()).named("diff");
    assert!(logs.len() > 2, "{logs:?}");
    let log = place.store().join(&logs[1]);
    backup_with_a_missed_name(&place, &log, "log").unwrap();
    store.compact().unwrap();
    fill(1000);
    let fulls = Image::of(&place.store()).named("full");
    assert_eq!(fulls.len(), 1);
    backup_with_a_missed_name(&place, &place.store().join(&fulls[0]), "full").unwrap();
    store.close().unwrap();
    assert_eq!(opened(&place.at("log")).len(), 1000);
    let expected = opened(&place.store());
    assert!(opened(&place.at("full")) == expected);

    // A listing that fails once; and each time.
    for (name, failures) in [("once", 1), ("always", u64::MAX)] {
        let lists = AtomicU64::new(0);
        let fs = HookFs::hooked(move |op, dir| {
            let is_of_store = op == Op::List && dir.ends_with("store");
            let fails = is_of_store && lists.fetch_add(1, Ordering::SeqCst) < failures;
            if fails { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        });
        match Backup::new().file_system(fs).copy(place.store(), place.at(name)) {
            Ok(_) => assert!(failures == 1 && opened(&place.at(name)) == expected),
            Err(error) => assert!(failures > 1 && matches!(error, Error::Fs(_)), "{error}"),
        }
    }
    // Gone for good.
    let logs = Image::of(&place.store()).named("diff");
    std::fs::remove_file(place.store().join(&logs[1])).unwrap();
    let error = Backup::new().copy(place.store(), place.at("gone")).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

/// A writer that ended a log in each look had the backup say that files are changing, and nothing of the damage. What is
/// damaged below the latest snapshot is left out, as where nobody writes.
#[test]
fn damage_is_told_where_logs_change_meanwhile_too() {
    for (number, is_needed) in [(0, false), (2, true)] {
        let place = Place::new();
        filled(&place.store()).0.close().unwrap();
        let logs = Image::of(&place.store()).named("diff");
        let path = |name: &String| place.store().join(name);
        let (damaged, newest) = (path(&logs[number]), path(logs.last().unwrap()));
        let mut bytes = std::fs::read(&damaged).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let newest_bytes = std::fs::read(&newest).unwrap();
        let looks = AtomicUsize::new(0);
        let fs = HookFs::hooked(move |op, path| {
            if op == Op::Read && path == damaged {
                let mut longer = newest_bytes.clone();
                longer.resize(longer.len() + looks.fetch_add(1, Ordering::SeqCst), 0);
                std::fs::write(&newest, longer)?;
            }
            Ok(())
        });
        match Backup::new().file_system(fs).copy(place.store(), place.at("backup")) {
            Ok(report) => assert!(!is_needed && report.seq_min == 151, "{report:?}"),
            Err(error) => assert!(is_needed && matches!(error, Error::Damaged { .. }), "{error}"),
        }
    }
}

/// A store without threads, so that each run makes the same files: two snapshots, logs between them and above.
fn filled(dir: &Path) -> (ByteStore, Writes) {
    let store = ByteStore::open(dir, &small().background(false).keep_backups(9)).unwrap();
    let mut writes = Writes::new();
    for round in 0_u64..240 {
        let key = format!("{}", round % 17).into_bytes();
        let value = vec![u8::try_from(round).unwrap(); 100];
        let written = store.insert(&key, &value, Durability::Process).unwrap();
        writes.insert(written.seq, (key, Some(value)));
        if round % 90 == 60 {
            store.compact().unwrap();
        }
    }
    (store, writes)
}

#[test]
fn a_backup_leads_back_to_each_write_since_its_oldest_snapshot_and_to_none_before() {
    let place = Place::new();
    let (store, writes) = filled(&place.store());
    let report = store.backup_to(place.at("backup")).unwrap();
    drop(store);
    assert_eq!((report.seq, report.seq_min), (240, 61));
    for seq in report.seq_min..=report.seq {
        let dir = place.at(&format!("at {seq}"));
        let restored =
            Backup::new().restore(place.at("backup"), &dir, RestorePoint::Seq(seq)).unwrap();
        assert_eq!(restored.seq, seq);
        let store = ByteStore::open(&dir, &small().background(false)).unwrap();
        assert!(contents(&store) == state_at(&writes, seq), "write {seq}");
        // It is a store that goes on with the next number.
        assert_eq!(store.insert(b"next", b"", Durability::Power).unwrap().seq, seq + 1);
        store.close().unwrap();
        assert_eq!(opened(&dir).len(), state_at(&writes, seq).len() + 1);
    }
    for seq in [0, report.seq_min - 1, report.seq + 1, u64::MAX] {
        let dir = place.at("never");
        let error =
            Backup::new().restore(place.at("backup"), &dir, RestorePoint::Seq(seq)).unwrap_err();
        assert!(
            matches!(error, Error::NoSuchPoint { earliest: 61, latest: 240, .. }),
            "write {seq}: {error}"
        );
        assert!(!dir.exists(), "write {seq}: something was made");
    }
    let dir = place.at("latest");
    Backup::new().restore(place.at("backup"), &dir, RestorePoint::Latest).unwrap();
    assert!(opened(&dir) == state_at(&writes, 240));
}

#[test]
fn without_a_snapshot_it_leads_back_to_the_first_write() {
    let place = Place::new();
    let store: Store<u64, u64> = small().background(false).open(place.store()).unwrap();
    for i in 0..300 {
        store.insert(&i, &i).unwrap();
    }
    let report = store.backup_to(place.at("backup")).unwrap();
    assert_eq!((report.seq, report.seq_min), (300, 0));
    for seq in [0, 1, 150, 300] {
        let dir = place.at(&format!("at {seq}"));
        Backup::new().restore(place.at("backup"), &dir, RestorePoint::Seq(seq)).unwrap();
        let store: Store<u64, u64> = Store::open(&dir).unwrap();
        assert_eq!(store.len(), seq);
    }
}

#[test]
fn a_time_leads_to_the_last_state_that_is_known_to_be_no_later() {
    let fs = SimFs::new(1);
    let dyn_fs: Arc<dyn Fs> = fs.clone();
    let options = small().background(false).file_system(Arc::clone(&dyn_fs));
    let store = ByteStore::open("/db", &options).unwrap();
    // A mark with the time goes into the log with the first write behind a sync.
    for hour in 1..=5 {
        fs.set_unix_time_ms(hour * 1000);
        store.insert(b"hour", &[u8::try_from(hour).unwrap()], Durability::Power).unwrap();
    }
    fs.set_unix_time_ms(9000);
    let backup = Backup::new().file_system(dyn_fs);
    let report = backup.copy("/db", "/backup").unwrap();
    assert_eq!(report.seq, 5);
    // Write n is synced in hour n, and its mark stands before write n + 1, with the time of that hour.
    for (unix_ms, seq) in
        [(2000, 1), (2999, 1), (3000, 2), (5000, 4), (8999, 4), (9000, 5), (u64::MAX, 5)]
    {
        let dir = format!("/at {unix_ms}");
        let restored = backup.restore("/backup", &dir, RestorePoint::Time { unix_ms }).unwrap();
        assert_eq!(restored.seq, seq, "at {unix_ms}");
        let store = ByteStore::open(&dir, &options).unwrap();
        assert_eq!(store.get(b"hour").unwrap(), Some(vec![u8::try_from(seq).unwrap()]));
    }
    for unix_ms in [0, 1999] {
        let error =
            backup.restore("/backup", "/never", RestorePoint::Time { unix_ms }).unwrap_err();
        assert!(matches!(error, Error::NoSuchPoint { .. }), "{error}");
    }
}

#[test]
fn an_incremental_backup_writes_only_what_is_new() {
    let place = Place::new();
    let (store, mut writes) = filled(&place.store());
    // A store with threads cuts a log soon after it is full; one without does so when it is closed.
    store.close().unwrap();
    let copies = Backup::new().link(false);
    let first = copies.copy(place.store(), place.at("first")).unwrap();
    assert_eq!((first.files_linked, first.bytes_copied), (0, first.bytes));
    let options = small().background(false).keep_backups(9);
    let store = ByteStore::open(place.store(), &options).unwrap();
    let written = store.insert(b"new", b"value", Durability::Power).unwrap();
    writes.insert(written.seq, (b"new".to_vec(), Some(b"value".to_vec())));
    let second =
        copies.clone().since(place.at("first")).copy(place.store(), place.at("second")).unwrap();
    assert!(second.files_linked >= second.files - 2, "{second:?}");
    assert!(second.bytes_copied < 2 * 16 * 1024, "{second:?}");
    drop(store);
    assert!(opened(&place.at("first")) == state_at(&writes, 240));
    assert!(opened(&place.at("second")) == state_at(&writes, 241));
    // Each is whole without the other.
    std::fs::remove_dir_all(place.at("first")).unwrap();
    assert!(opened(&place.at("second")) == state_at(&writes, 241));
}

#[test]
fn what_is_linked_is_neither_read_nor_written() {
    let place = Place::new();
    let (store, _) = filled(&place.store());
    let counting = CountingFs::new(Arc::new(StdFs));
    let backup = Backup::new().file_system(Arc::new(counting.clone()));
    let report = backup.copy(place.store(), place.at("backup")).unwrap();
    let counts = counting.counts();
    assert!(report.files_linked > 0 && report.bytes_copied < report.bytes);
    assert_eq!(counts.calls(Op::Link), report.files_linked);
    // The copies, a root record, and a seal and a mark.
    assert!(counts.bytes_written <= report.bytes_copied + 512, "{counts:?} {report:?}");
    drop(store);
}

/// Whatever a store that goes on from a backup does to its files, the first store's are as they were; and the other
/// way round.
#[test]
fn a_store_and_one_made_from_its_backup_do_not_touch_each_other() {
    let place = Place::new();
    let (store, writes) = filled(&place.store());
    store.backup_to(place.at("backup")).unwrap();
    drop(store);
    for dir in [place.at("backup"), place.store()] {
        for round in 0..3 {
            let store = ByteStore::open(&dir, &small().background(false)).unwrap();
            for key in 0..200_u64 {
                store.insert(&key.to_le_bytes(), &[round; 50], Durability::Process).unwrap();
            }
            if round == 1 {
                store.compact().unwrap();
            }
            store.close().unwrap();
        }
        // The one that was not opened has not changed; then it is its turn.
        if dir == place.at("backup") {
            assert!(opened(&place.store()) == state_at(&writes, 240));
        }
    }
    assert_eq!(opened(&place.at("backup")).len(), opened(&place.store()).len());
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let place = Place::new();
    let (store, _) = filled(&place.store());
    std::fs::create_dir(place.at("full")).unwrap();
    std::fs::write(place.at("full").join("letter"), b"dear").unwrap();
    for dir in [place.at("full"), place.store()] {
        let error = store.backup_to(&dir).unwrap_err();
        assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
    }
    assert_eq!(std::fs::read_dir(place.at("full")).unwrap().count(), 1);
    std::fs::create_dir(place.at("empty")).unwrap();
    store.backup_to(place.at("empty")).unwrap();
    let error = Backup::new().copy(place.at("nowhere"), place.at("new")).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(!place.at("nowhere").exists() && !place.at("new").exists());
}

#[test]
fn a_store_that_was_never_written_to_has_a_backup_too() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let report = store.backup_to(place.at("backup")).unwrap();
    assert_eq!((report.seq, report.files), (0, 0));
    assert_eq!(opened(&place.at("backup")).len(), 0);
}

#[test]
fn damage_is_found_and_no_backup_is_made_of_it() {
    let place = Place::new();
    let (store, _) = filled(&place.store());
    store.close().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(place.store())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "bin"))
        .collect();
    names.sort();
    for path in names {
        // Above the latest snapshot nothing may be missing; below, the backup begins later.
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let made = Backup::new().copy(place.store(), place.at("backup"));
        let is_needed = ByteStore::open(place.store(), &small().background(false)).is_err();
        assert_eq!(made.is_err(), is_needed, "without {}: {made:?}", path.display());
        std::fs::write(&path, bytes).unwrap();
        let _ = std::fs::remove_dir_all(place.at("backup"));
    }
}

/// A store on a simulated disk, some of whose writes are not synced, with two logs and a snapshot; and what it held
/// after write 150.
fn on_sim(way: LogWay, has_snapshot: bool) -> (Arc<SimFs>, Arc<dyn Fs>, ByteStore, Contents) {
    let fs = SimFs::new(3);
    let dyn_fs: Arc<dyn Fs> = fs.clone();
    let options = small()
        .segment_bytes(16 * 1024, 16 * 1024)
        .log_way(way)
        .background(false)
        .snapshot_shards(2)
        .file_system(Arc::clone(&dyn_fs));
    let store = ByteStore::open("/db", &options).unwrap();
    let mut earlier = Contents::new();
    for i in 1..=200_u64 {
        let change = |_: Option<&[u8]>| Update::Set(vec![u8::try_from(i).unwrap(); 150]);
        store.update(&(i % 40).to_le_bytes(), Durability::Process, change).unwrap();
        if i == 90 && has_snapshot {
            store.compact().unwrap();
        }
        if i == EARLIER {
            earlier = contents(&store);
        }
    }
    (fs, dyn_fs, store, earlier)
}

/// A write behind the snapshot's end, in the middle of a log.
const EARLIER: u64 = 150;

/// How a new folder is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copied,
    Linked,
    Cloned,
}

/// The power is cut at every call of a backup, and of a restoration to an earlier write: what is found in its place
/// opens with all of it, or not at all, or is not there; and the store that it is made of opens as ever.
#[test]
fn a_power_cut_leaves_a_whole_backup_or_one_that_does_not_open() {
    for (way, has_snapshot, point) in [
        (Way::Linked, true, None),
        (Way::Cloned, true, None),
        (Way::Copied, true, None),
        (Way::Copied, false, None),
        (Way::Linked, true, Some(RestorePoint::Seq(EARLIER))),
        (Way::Cloned, true, Some(RestorePoint::Seq(EARLIER))),
        (Way::Copied, false, Some(RestorePoint::Seq(EARLIER))),
        (Way::Cloned, true, Some(RestorePoint::Latest)),
    ] {
        let (fs, dyn_fs, store, earlier) = on_sim(LogWay::Mapped, has_snapshot);
        fs.set_can_clone(way == Way::Cloned);
        let backup = Backup::new().link(way != Way::Copied).file_system(dyn_fs);
        let current = contents(&store);
        let expected = match point {
            Some(RestorePoint::Seq(_)) => &earlier,
            _ => &current,
        };
        assert!(earlier != current);
        store.sync().unwrap();
        let first_op = fs.last_op();
        fs.start_journal();
        let report = match point {
            None => backup.copy("/db", "/backup").unwrap(),
            Some(point) => backup.restore("/db", "/backup", point).unwrap(),
        };
        let shared = (report.files_linked > 0, report.files_cloned > 0);
        assert_eq!(shared, (way == Way::Linked, way == Way::Cloned), "{report:?}");
        let last_op = fs.last_op();
        let journal = fs.take_journal().unwrap();
        let (mut whole, mut refused) = (0, 0);
        let mut replay = journal.replay();
        for op in first_op + 1..=last_op + 1 {
            replay.advance_to(op);
            for crash in [Crash::Kill, Crash::Linux, Crash::Strict] {
                for seed in 0..3 {
                    let choice = if seed == 0 { Choice::Everything } else { Choice::Random(seed) };
                    let after = replay.survivors(crash, choice);
                    let options =
                        small().background(false).file_system(after.clone()).create(false);
                    let is_begun = after.paths().iter().any(|path| {
                        path.starts_with("/backup")
                            && path.extension().is_some_and(|end| end != "lock")
                    });
                    let at =
                        || format!("{way:?}, {point:?}: operation {op}, {crash:?}, {choice:?}");
                    match ByteStore::open("/backup", &options) {
                        Ok(store) if store.last_seq() == 0 => {
                            // Nothing of it has a name yet but, perhaps, the lock file.
                            assert!(!is_begun, "{}", at());
                            assert!(op <= last_op, "not durable: {}", at());
                        }
                        Ok(store) => {
                            assert!(contents(&store) == *expected, "{}", at());
                            whole += 1;
                        }
                        Err(error) => {
                            assert!(op <= last_op, "not durable: {}: {error}", at());
                            refused += 1;
                        }
                    }
                    let store = ByteStore::open("/db", &options).unwrap();
                    assert!(contents(&store) == current, "{}", at());
                }
            }
        }
        assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
    }
}

/// Each call of a backup, or of a restoration, fails once: the caller is told, and can try again at the same place.
#[test]
fn a_call_that_fails_leaves_nothing_behind() {
    let calls = |fs: &SimFs, op| fs.calls(op);
    let ops = [
        Op::Create,
        Op::Write,
        Op::Sync,
        Op::Rename,
        Op::SyncDir,
        Op::Read,
        Op::Open,
        Op::List,
        Op::Lock,
        Op::Link,
        Op::Clone,
    ];
    let ways = [
        (Way::Copied, None),
        (Way::Copied, Some(EARLIER)),
        (Way::Linked, None),
        (Way::Cloned, None),
    ];
    for ((way, seq), op) in ways.into_iter().flat_map(|way| ops.map(|op| (way, op))) {
        for kind in [FaultKind::Eio, FaultKind::Enospc] {
            let (fs, dyn_fs, store, _) = on_sim(LogWay::Written, true);
            fs.set_can_clone(way == Way::Cloned);
            let backup = Backup::new().link(way != Way::Copied).file_system(dyn_fs);
            let make = |to: &str| match seq {
                None => backup.copy("/db", to),
                Some(seq) => backup.restore("/db", to, RestorePoint::Seq(seq)),
            };
            let before = calls(&fs, op);
            make("/dry").unwrap();
            let made = calls(&fs, op) - before;
            let is_sharing = matches!(op, Op::Link | Op::Clone);
            assert!(made > 0 || is_sharing, "{op} is never called");
            for nth in 1..=made {
                fs.inject(Fault::once(op, nth, kind));
                let failed = make("/backup");
                fs.clear_faults();
                // What cannot be shared is copied.
                assert!(failed.is_ok() || !is_sharing, "{op} {nth}: {failed:?}");
                let again = match failed {
                    // Only the sync of the folder that comes behind the commit point.
                    Err(_) if fs.paths().iter().any(|path| path.starts_with("/backup")) => {
                        assert_eq!((op, nth), (Op::SyncDir, made));
                        continue;
                    }
                    Err(_) => make("/backup"),
                    Ok(report) => Ok(report),
                };
                let report = again.unwrap_or_else(|error| panic!("{op} {nth}: {error}"));
                assert_eq!(report.seq, seq.unwrap_or_else(|| store.last_seq()));
                for path in fs.paths().iter().filter(|path| path.starts_with("/backup")) {
                    fs.remove(path).unwrap();
                }
            }
        }
    }
}

/// What one write of [`a_backup_amid_everything_is_one_state`] did, by its number.
type Changes = BTreeMap<u64, Vec<(Vec<u8>, Option<Vec<u8>>)>>;

/// Takes from one account and gives to another, if nobody changed either meanwhile.
fn transfer(store: &ByteStore, round: u64, changes: &mut Changes) {
    let account = |number: u64| format!("account {}", number % 8).into_bytes();
    let (from, to) = (account(round), account(round * 5 + 1));
    if from == to {
        return;
    }
    let (Some(a), Some(b)) = (store.get(&from).unwrap(), store.get(&to).unwrap()) else {
        panic!("an account is gone");
    };
    let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
    let (less, more) = ((number(&a) - 3).to_le_bytes(), (number(&b) + 3).to_le_bytes());
    let batch = store.batch().if_equals(&from, &a).if_equals(&to, &b);
    match batch.insert(&from, &less).insert(&to, &more).commit(Durability::Process) {
        Ok(seq) => {
            let change = vec![(from, Some(less.to_vec())), (to, Some(more.to_vec()))];
            assert!(changes.insert(seq, change).is_none());
        }
        Err(Error::ConditionFailed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Sets entries that expire in an hour, that never do, and that have expired.
fn session(store: &ByteStore, round: u64, changes: &mut Changes) {
    let key = format!("session {}", round % 60).into_bytes();
    let value = round.to_le_bytes();
    let ttl = Duration::from_secs(if round.is_multiple_of(5) { 0 } else { 3600 });
    let written = if round.is_multiple_of(3) {
        store.insert(&key, &value, Durability::Process)
    } else {
        store.insert_with_ttl(&key, &value, ttl, Durability::Process)
    };
    let is_there = round.is_multiple_of(3) || !ttl.is_zero();
    changes.insert(written.unwrap().seq, vec![(key, is_there.then(|| value.to_vec()))]);
}

/// Batches with conditions, entries that expire, sweeps, and compactions that publish and purge, all at once: each
/// backup is one state of the model, has what was acknowledged before it began, and tells its deadlines.
#[test]
fn a_backup_amid_everything_is_one_state() {
    let options = small().expiry(true).sweep_interval(Duration::from_millis(5)).keep_backups(1);
    let place = Place::new();
    let store = ByteStore::open(place.store(), &options).unwrap();
    let mut first = store.batch();
    for number in 0..8 {
        first = first.insert(format!("account {number}").as_bytes(), &100_i64.to_le_bytes());
    }
    let seq = first.commit(Durability::Power).unwrap();
    let opening = (0..8).map(|number| {
        (format!("account {number}").into_bytes(), Some(100_i64.to_le_bytes().to_vec()))
    });
    let mut all = Changes::from([(seq, opening.collect())]);
    let stop = AtomicBool::new(false);
    let (changes, reports) = std::thread::scope(|scope| {
        let work: [fn(&ByteStore, u64, &mut Changes); 3] = [transfer, transfer, session];
        let threads: Vec<_> = work
            .into_iter()
            .enumerate()
            .map(|(thread, work)| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut changes = Changes::new();
                    let mut round = u64::try_from(thread).unwrap() * 3;
                    while !stop.load(Ordering::Relaxed) {
                        round += 1;
                        work(store, round, &mut changes);
                        if round % 16 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    changes
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.compact().unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let stopping = StopOnDrop(&stop);
        let mut reports = Vec::new();
        for round in 0..10 {
            std::thread::sleep(Duration::from_millis(20));
            let dir = place.at(&format!("backup {round}"));
            let acknowledged = store.last_seq();
            let backup = Backup::new().link(round % 3 != 0);
            let report = match round % 2 {
                0 => backup.copy(place.store(), &dir),
                _ => store.backup_with(&backup, &dir),
            };
            let report = report.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert!(report.seq >= acknowledged, "{report:?} lacks {acknowledged}");
            reports.push((dir, report));
        }
        drop(stopping);
        let mut changes = Changes::new();
        for thread in threads {
            changes.extend(thread.join().unwrap());
        }
        (changes, reports)
    });
    all.extend(changes);
    store.close().unwrap();
    for (dir, report) in reports {
        let mut expected = Contents::new();
        for (key, value) in all.range(..=report.seq).flat_map(|(_, changes)| changes) {
            match value {
                Some(value) => drop(expected.insert(key.clone(), value.clone())),
                None => drop(expected.remove(key)),
            }
        }
        let look = pkv_store::Inspection::of(&dir).unwrap();
        assert_eq!(look.report().last_seq, report.seq);
        let mut found = Contents::new();
        for entry in look.iter_entries() {
            let entry = entry.unwrap();
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            let is_timed = entry.key.starts_with(b"session") && number(&entry.value) % 3 != 0;
            assert_eq!(entry.expires_ms.is_some(), is_timed, "{entry:?}");
            found.insert(entry.key, entry.value);
        }
        assert!(found == expected, "{} is no state of the store: {report:?}", dir.display());
        let sum: i64 = found
            .iter()
            .filter(|(key, _)| key.starts_with(b"account"))
            .map(|(_, value)| i64::from_le_bytes(value.as_slice().try_into().unwrap()))
            .sum();
        assert_eq!(sum, 800, "half a transfer in {}", dir.display());
        // It opens as a store does.
        ByteStore::open(&dir, &options).unwrap().close().unwrap();
    }
}
