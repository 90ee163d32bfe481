//! Compaction: when it starts, what it keeps, what it removes, and how much the disk holds afterwards.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure in a helper fails the test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pkv_fs::Op;
use pkv_store::{ByteStore, Durability, Error, Health, LogWay, Store};

use crate::support::{
    HookFs, Image, Place, blob, both_ways, contents, copy, eventually, in_time, is_there, names,
    numbers, restless, small, write_file,
};

const PROCESS: Durability = Durability::Process;

fn fulls(place: &Place) -> Vec<String> {
    Image::of(&place.store()).named("full")
}

#[test]
fn log_bytes_start_it() {
    let place = Place::new();
    let options = small().compact_log_bytes_min(64 << 10).compact_log_percent(10);
    let store = ByteStore::open(place.store(), &options).unwrap();
    for i in 0..40_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 1000), PROCESS).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(store.stats().snapshots, 0, "too early");
    for i in 0..80_u64 {
        store.insert(&(i % 40).to_le_bytes(), &blob(i, 1000), PROCESS).unwrap();
    }
    eventually("a compaction by bytes", || store.stats().snapshots >= 1);
    assert_eq!(contents(&store).len(), 40);
}

#[test]
fn log_bytes_of_earlier_sessions_count() {
    let place = Place::new();
    for i in 0..3_u64 {
        let store = ByteStore::open(place.store(), &small()).unwrap();
        for j in 0..30_u64 {
            store.insert(&j.to_le_bytes(), &blob(i, 1000), PROCESS).unwrap();
        }
        store.close().unwrap();
    }
    assert!(fulls(&place).is_empty());
    let options = small().compact_log_bytes_min(64 << 10);
    let store = ByteStore::open(place.store(), &options).unwrap();
    assert!(store.stats().log_bytes > 64 << 10);
    eventually("a compaction without a write", || store.stats().snapshots == 1);
    // The snapshot, the log in use, and perhaps one prepared ahead.
    eventually("the purge", || names(&place.store()).len() <= 3);
}

#[test]
fn the_number_of_logs_starts_it() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().compact_log_count(3)).unwrap();
    // The limit allows for one file more for each segment's worth of bytes.
    for i in 0..200_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
    }
    store.close().unwrap();
    assert!(fulls(&place).is_empty());
    for _ in 0..3 {
        let store = ByteStore::open(place.store(), &small()).unwrap();
        store.insert(b"a", b"1", PROCESS).unwrap();
        store.close().unwrap();
    }
    let store = ByteStore::open(place.store(), &small().compact_log_count(3)).unwrap();
    eventually("a compaction by count", || store.stats().snapshots >= 1);
    assert_eq!(store.len(), 201);
}

#[test]
fn the_number_of_writes_starts_it_over_restarts() {
    let place = Place::new();
    for round in 0..3_u64 {
        let store = ByteStore::open(place.store(), &small().snapshot_interval(100)).unwrap();
        for i in 0..40_u64 {
            store.insert(&i.to_le_bytes(), b"v", PROCESS).unwrap();
        }
        if round < 2 {
            assert_eq!(store.stats().snapshots, 0, "round {round}");
        } else {
            eventually("a compaction after 100 writes", || store.stats().snapshots == 1);
        }
        store.close().unwrap();
    }
    let store = ByteStore::open(place.store(), &small().snapshot_interval(100)).unwrap();
    for i in 0..500_u64 {
        store.insert(&i.to_le_bytes(), b"v", PROCESS).unwrap();
        if i % 100 == 99 {
            let wanted = i / 100;
            eventually("one more", || store.stats().snapshots >= wanted);
        }
    }
}

#[test]
fn by_hand_it_leaves_one_snapshot_and_one_log() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().snapshot_shards(3)).unwrap();
    let mut last = 0;
    for round in 0..4_u64 {
        for i in 0..300_u64 {
            store.insert(&i.to_le_bytes(), &blob(round, 100), PROCESS).unwrap();
        }
        let ordinal = store.compact().unwrap();
        assert!(ordinal > last);
        last = ordinal;
        let image = Image::of(&place.store());
        let full = image.named("full");
        assert_eq!(full.len(), 3, "{image:?}");
        assert!(full.iter().all(|name| numbers(name)[0] == ordinal));
        assert!(image.named("pending").is_empty());
        let logs = image.named("diff");
        assert!(logs.len() <= 2 && numbers(&logs[0])[0] > ordinal, "{image:?}");
    }
    store.close().unwrap();
    assert_eq!(names(&place.store()).len(), 4);
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.recovery_report().snapshot, Some(last));
    assert_eq!((store.len(), store.recovery_report().writes), (300, 0));
}

#[test]
fn an_empty_store_can_be_compacted() {
    let place = Place::new();
    for _ in 0..3 {
        let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
        store.compact().unwrap();
        store.compact().unwrap();
        store.close().unwrap();
    }
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert!(store.is_empty() && store.recovery_report().snapshot.is_some());
}

#[test]
fn writes_during_compactions_are_kept() {
    for options in both_ways() {
        let place = Place::new();
        let store = ByteStore::open(place.store(), &options.snapshot_shards(3)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..1500_u64 {
                        let key = ((thread << 32) | (i * i % 101)).to_le_bytes();
                        let bytes = usize::try_from(i % 300).unwrap();
                        match i % 9 {
                            0 => drop(store.remove(&key, PROCESS).unwrap()),
                            1 if thread == 0 && i % 300 == 1 => drop(store.clear(PROCESS).unwrap()),
                            _ => drop(store.insert(&key, &blob(i, bytes), PROCESS).unwrap()),
                        }
                    }
                });
            }
            let (store, done) = (&store, &done);
            let compactor = scope.spawn(move || {
                let mut times = 0;
                while !done.load(Ordering::Relaxed) {
                    store.compact().unwrap();
                    times += 1;
                }
                times
            });
            std::thread::sleep(std::time::Duration::from_millis(300));
            done.store(true, Ordering::Relaxed);
            assert!(compactor.join().unwrap() >= 1);
        });
        let expected = contents(&store);
        copy(&place.store(), &place.at("killed"));
        let killed = ByteStore::open(place.at("killed"), &small()).unwrap();
        assert!(contents(&killed) == expected, "a killed store differs");
        store.close().unwrap();
        let store = ByteStore::open(place.store(), &small()).unwrap();
        assert!(contents(&store) == expected, "a closed store differs");
    }
}

#[test]
fn backups_are_kept_with_the_logs_between_them() {
    let place = Place::new();
    let options = small().keep_backups(2).snapshot_shards(2);
    let store = ByteStore::open(place.store(), &options).unwrap();
    let mut states = Vec::new();
    for round in 0..6_u64 {
        for i in 0..50_u64 {
            store.insert(&i.to_le_bytes(), &blob(round, 100), PROCESS).unwrap();
        }
        let ordinal = store.compact().unwrap();
        states.push((ordinal, contents(&store)));
    }
    store.close().unwrap();
    let image = Image::of(&place.store());
    let mut kept: Vec<u64> = image.named("full").iter().map(|name| numbers(name)[0]).collect();
    kept.dedup();
    let last: Vec<u64> = states[3..].iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(kept, last, "the latest and two before it");
    // The oldest, and the logs up to the next, lead to what the next holds.
    for (ordinal, state) in &states[3..] {
        let mut older = image.clone();
        older.0.retain(|name, _| !name.contains("full") || numbers(name)[0] <= *ordinal);
        older.write(&place.at("older"));
        let store = ByteStore::open(place.at("older"), &small()).unwrap();
        assert_eq!(store.recovery_report().snapshot, Some(*ordinal));
        assert!(contents(&store) == states[5].1, "all logs lead to the end");
        drop(store);
        let logs = image.named("diff").into_iter().filter(|name| numbers(name)[0] > *ordinal);
        let first = logs.clone().next().unwrap();
        let mut alone = older.clone();
        alone.0.retain(|name, _| !name.contains("diff") || *name == first);
        alone.write(&place.at("alone"));
        if logs.count() == 1 {
            let store = ByteStore::open(place.at("alone"), &small()).unwrap();
            assert!(contents(&store) == *state);
        } else {
            assert!(ByteStore::open(place.at("alone"), &small()).is_err(), "a log is missing");
        }
    }
    // Fewer backups wanted: the next compaction removes them.
    let store = ByteStore::open(place.store(), &small()).unwrap();
    store.compact().unwrap();
    assert_eq!(fulls(&place).len(), 1);
}

#[test]
fn the_disk_holds_little_more_than_the_payload() {
    let place = Place::new();
    let store: Store<[u8; 16], Vec<u8>> = pkv_store::Options::new().open(place.store()).unwrap();
    let entries = 200_000_u64;
    let mut key = [7; 16];
    let mut value = vec![0; 100];
    for i in 0..entries {
        key[..8].copy_from_slice(&i.to_le_bytes());
        value[..8].copy_from_slice(&i.to_le_bytes());
        store.insert(&key, &value).unwrap();
    }
    store.compact().unwrap();
    assert_eq!(store.len(), entries);
    store.close().unwrap();
    let payload = entries * 116;
    let bytes = Image::of(&place.store()).bytes();
    assert!(bytes * 100 <= payload * 106, "{bytes} bytes for {payload}");
    let store: Store<[u8; 16], Vec<u8>> = Store::open(place.store()).unwrap();
    assert_eq!(store.len(), entries);
    assert_eq!(store.get(&key).unwrap(), Some(value));
}

#[test]
fn pending_files_are_dropped_and_reported() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    store.insert(b"a", b"1", PROCESS).unwrap();
    store.close().unwrap();
    write_file(&place.store().join("snapshot_7_0-of-2_pending.bin"), b"half");
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    assert_eq!((store.len(), Image::of(&place.store()).named("pending").len()), (1, 0));
    // Its number is not used again.
    assert!(store.compact().unwrap() > 7);
    store.close().unwrap();
}

#[test]
fn the_report_names_dropped_pending_snapshots() {
    let place = Place::new();
    drop(ByteStore::open(place.store(), &small()).unwrap());
    write_file(&place.store().join("snapshot_7_0-of-2_pending.bin"), b"half");
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.recovery_report().dropped_pending, [7]);
}

#[test]
fn any_number_of_shards_takes_any_number_of_keys() {
    let place = Place::new();
    for (keys, shards) in [(0, 12), (1, 64), (3, 7), (40, 12), (40, 64), (200, 33), (200, 1)] {
        for map_shards in [1, 32, 64] {
            let path = place.at(&format!("{keys}-{shards}-{map_shards}"));
            let options = small().background(false).map_shards(map_shards).snapshot_shards(shards);
            let store: Store<u64, u64> = options.open(&path).unwrap();
            for i in 0..keys {
                store.insert(&i, &i).unwrap();
            }
            store.compact().unwrap();
            store.close().unwrap();
            let store: Store<u64, u64> = options.open(&path).unwrap();
            assert_eq!(store.len(), keys, "{shards} shards of {map_shards}");
            assert!((0..keys).all(|i| store.get(&i).unwrap() == Some(i)));
            assert_eq!(store.recovery_report().writes, 0);
        }
    }
}

#[test]
fn large_values_are_compacted_and_loaded() {
    let place = Place::new();
    let options = small().background(false).snapshot_shards(3);
    let store: Store<u64, Vec<u8>> = options.open(place.store()).unwrap();
    let value = |i: u64| blob(i, usize::try_from(i).unwrap() * 5000);
    for i in 0..40 {
        store.insert(&i, &value(i)).unwrap();
    }
    store.compact().unwrap();
    copy(&place.store(), &place.at("killed"));
    let killed: Store<u64, Vec<u8>> = options.open(place.at("killed")).unwrap();
    assert_eq!((killed.len(), killed.recovery_report().writes), (40, 0));
    assert!((0..40).all(|i| killed.get(&i).unwrap() == Some(value(i))));
}

/// A folder as a process killed at each change of the folder during a compaction leaves it.
fn killed_at_every_step(way: LogWay) -> usize {
    let place = Place::new();
    let images: Arc<Mutex<Vec<Image>>> = Arc::default();
    let (taken, dir) = (Arc::clone(&images), place.store());
    let watching = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&watching);
    let fs = HookFs::hooked(move |_, _| {
        if watch.load(Ordering::Relaxed) {
            taken.lock().unwrap().push(Image::of(&dir));
        }
        Ok(())
    });
    let options = small().log_way(way).snapshot_shards(3).file_system(fs);
    let store = ByteStore::open(place.store(), &options).unwrap();
    for i in 0..300_u64 {
        store.insert(&(i % 100).to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
        if i == 150 {
            store.compact().unwrap();
        }
    }
    // The next segment is there, as it is in a store that runs.
    eventually("a segment is prepared", || {
        let logs = Image::of(&place.store()).named("diff");
        logs.len() > usize::try_from(store.stats().logs).unwrap()
    });
    let expected = contents(&store);
    watching.store(true, Ordering::Relaxed);
    store.compact().unwrap();
    store.insert(b"after", b"", PROCESS).unwrap();
    store.close().unwrap();
    watching.store(false, Ordering::Relaxed);
    let images = std::mem::take(&mut *images.lock().unwrap());
    for (step, image) in images.iter().enumerate() {
        image.write(&place.at("killed"));
        let killed = ByteStore::open(place.at("killed"), &small())
            .unwrap_or_else(|error| panic!("killed at step {step}: {error}\n{image:?}"));
        let mut found = contents(&killed);
        found.remove(b"after".as_slice());
        assert!(found == expected, "killed at step {step}: {image:?}");
        killed.compact().unwrap();
        killed.close().unwrap();
    }
    images.len()
}

#[test]
fn a_compaction_killed_at_any_step_loses_nothing() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let steps = killed_at_every_step(way);
        assert!(steps > 20, "{steps} steps");
    }
}

#[test]
fn a_failed_compaction_changes_nothing_and_is_tried_again() {
    let place = Place::new();
    let failing = Arc::new(AtomicBool::new(true));
    let fail = Arc::clone(&failing);
    let fs = HookFs::hooked(move |op, path| {
        let pending = path.to_str().is_some_and(|path| path.ends_with("pending.bin"));
        if op == Op::Write && pending && fail.load(Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    });
    let options = small().snapshot_interval(50).file_system(fs);
    let store = ByteStore::open(place.store(), &options).unwrap();
    for i in 0..200_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
    }
    eventually("the failure to show", || matches!(store.health(), Health::CompactionFailing(_)));
    assert!(store.health().takes_writes());
    assert!(store.compact().is_err());
    store.insert(b"a", b"1", PROCESS).unwrap();
    assert!(fulls(&place).is_empty() && store.stats().snapshots == 0);
    failing.store(false, Ordering::Relaxed);
    eventually("the next attempt", || store.stats().snapshots >= 1);
    eventually("good health", || matches!(store.health(), Health::Good));
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.len(), 201);
}

/// Options under which no compaction succeeds, and which count the attempts.
fn hopeless(attempts: &Arc<AtomicUsize>) -> pkv_store::Options {
    let attempts = Arc::clone(attempts);
    small().file_system(HookFs::hooked(move |op, path| {
        if op == Op::Write && path.to_str().is_some_and(|path| path.ends_with("pending.bin")) {
            attempts.fetch_add(1, Ordering::Relaxed);
            return Err(std::io::Error::other("on purpose"));
        }
        Ok(())
    }))
}

#[test]
fn failed_compactions_leave_no_files_behind() {
    let place = Place::new();
    let attempts = Arc::new(AtomicUsize::new(0));
    let store = ByteStore::open(place.store(), &hopeless(&attempts)).unwrap();
    store.insert(b"a", b"1", PROCESS).unwrap();
    for _ in 0..10 {
        eventually("a segment is prepared", || {
            Image::of(&place.store()).named("diff").len()
                > usize::try_from(store.stats().logs).unwrap()
        });
        assert!(store.compact().is_err());
    }
    assert_eq!(attempts.load(Ordering::Relaxed), 10);
    let in_use = usize::try_from(store.stats().logs).unwrap();
    let files = Image::of(&place.store());
    assert!(files.names().len() <= in_use + 1, "{in_use} logs in use: {files:?}");
    store.close().unwrap();
    assert_eq!(ByteStore::open(place.store(), &small()).unwrap().len(), 1);
}

#[test]
fn a_frame_over_the_unsynced_limit_is_written_after_a_failed_compaction() {
    let place = Place::new();
    in_time("a large frame after a failed compaction", move || {
        let attempts = Arc::new(AtomicUsize::new(0));
        let options = hopeless(&attempts).max_unsynced_bytes(64 << 10);
        let store = ByteStore::open(place.store(), &options).unwrap();
        store.insert(b"a", b"1", Durability::Power).unwrap();
        assert!(store.compact().is_err());
        store.insert(b"b", &blob(1, 70_000), PROCESS).unwrap();
    });
}

#[test]
fn two_compactions_at_once_take_turns() {
    let place = Place::new();
    let store: Store<u64, u64> = restless().open(place.store()).unwrap();
    for i in 0..500 {
        store.insert(&i, &i).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| store.compact().unwrap()));
        }
    });
    assert!(store.stats().snapshots >= 20);
    assert_eq!(fulls(&place).len(), 1);
    assert!(matches!(store.health(), Health::Good));
}

#[test]
fn a_file_of_other_hands_in_the_way_is_an_error_and_is_not_removed() {
    let place = Place::new();
    let store: Store<u64, u64> = small().background(false).open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    let blocker = place.store().join("snapshot_2_0-of-1_pending.bin");
    write_file(&blocker, b"in the way");
    let refused = store.compact();
    assert!(matches!(refused, Err(Error::Files(_))), "{refused:?}");
    assert!(is_there(&blocker), "what is not ours is not removed");
    assert_eq!(store.get(&1).unwrap(), Some(1));
    store.insert(&2, &2).unwrap();
    store.close().unwrap();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    assert_eq!(store.len(), 2);
}
