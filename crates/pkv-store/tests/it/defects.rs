//! The defects of persistent-kv 1.0.2, which this store succeeds: one test for each that can be tried on
//! a real disk.
//!
//! | defect | story | why there is no test here |
//! |---|---|---|
//! | D11 | no sync of the folder: a fresh log or a rename is lost in a power cut | `crash_sim`: the simulated disk drops names that were not synced |
//! | D12 | a second sync that succeeds hides what the failed one lost | `faults`: a failed sync poisons for good |
//! | D16 | unknown systems panic at the first write | by construction: positioned writes are those of the standard library |
//! | D20 | the whole old log is synced under the log's lock | by construction: no lock is held across a sync; measured in `benches` |
//! | D23 | the command line panics, creates mistyped paths and exits with 0 | the tests of `pkv-admin` |
//! | D26 | the buffered mode makes two system calls for each write | by construction: there is no such mode; `benches` counts calls |
//! | D28 | a snapshot takes a third more memory | measured in `benches` |
//! | D29 | every snapshot scans all keys to count them | by construction: the sizes are counted as they change |
//! | D31 | unmaintained and heavy dependencies | by construction: see the workspace's `Cargo.toml` |

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pkv_fs::{CountingFs, Op, StdFs};
use pkv_store::{ByteStore, Durability, Error, Health, Options, Store};

use crate::support::{
    HookFs, Image, Place, blob, both_ways, contents, copy, eventually, in_time, names, restless,
    small, write_file,
};

const PROCESS: Durability = Durability::Process;

/// Writers reserved a place in the log and wrote it later: a kill between left a hole before
/// acknowledged records, and opening panicked. Here a copy at any instant is a prefix.
#[test]
fn d01_no_hole_before_acknowledged_writes() {
    let place = Place::new();
    for (round, options) in (0..).zip(both_ways()) {
        let path = place.at(&format!("store {round}"));
        let store: Store<u64, u64> = options.open(&path).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    for i in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                        store.insert(&((thread << 32) | (i % 1000)), &i).unwrap();
                    }
                });
            }
            for killed in 0..10 {
                // Copied file by file while the writers run: later logs may be cut off or missing,
                // and what one log holds is whole up to one place.
                let mut image = Image::of(&path);
                let logs = image.named("diff");
                let Some(first) = logs.first() else { continue };
                image.0.retain(|name, _| name == first);
                let to = place.at(&format!("killed {round} {killed}"));
                image.write(&to);
                let look = pkv_store::Inspection::of(&to);
                if let Ok(look) = look {
                    assert_eq!(look.report().writes, look.report().last_seq);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        copy(&path, &place.at("killed"));
        let killed: Store<u64, u64> = options.open(place.at("killed")).unwrap();
        assert!(killed.recovery_report().torn.is_none());
        assert_eq!(contents(killed.bytes()), contents(store.bytes()));
    }
}

/// The result of the threads that wrote a snapshot was never looked at: on a full disk an empty
/// snapshot replaced the log, and 700 acknowledged writes were gone.
#[test]
fn d02_a_snapshot_that_cannot_be_written_replaces_nothing() {
    for failing in [Op::Open, Op::Write, Op::Sync] {
        let place = Place::new();
        let fs = HookFs::hooked(move |op, path| {
            let pending = path.to_str().is_some_and(|path| path.ends_with("1-of-3_pending.bin"));
            if op == failing && pending { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        let options = small().snapshot_shards(3).background(false);
        let store = ByteStore::open(place.store(), &options.clone().file_system(fs)).unwrap();
        for i in 0..200_u64 {
            store.insert(&i.to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
        }
        assert!(store.compact().is_err(), "{failing:?}");
        store.insert(b"after", b"1", PROCESS).unwrap();
        assert!(Image::of(&place.store()).named("full").is_empty());
        store.close().unwrap();
        let store = ByteStore::open(place.store(), &options).unwrap();
        assert_eq!(store.len(), 201);
    }
}

/// An error of a thread that loaded a shard ended that shard silently: eleven bytes of rubbish behind
/// the log, opening was fine, and a thousand writes after it were lost at the next opening.
#[test]
fn d03_rubbish_behind_the_log_costs_no_later_write() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..50 {
        store.insert(&i, &!i).unwrap();
    }
    let mut image = Image::of(&place.store());
    store.close().unwrap();
    let log = image.named("diff")[0].clone();
    let bytes = image.0.get_mut(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8);
    bytes[end..end + 11].fill(0xff);
    image.write(&place.at("rubbish"));
    let store: Store<u64, u64> = small().open(place.at("rubbish")).unwrap();
    assert!(store.recovery_report().torn.is_some(), "it is reported");
    assert_eq!(store.len(), 50);
    for i in 50..1050 {
        store.insert(&i, &!i).unwrap();
    }
    store.close().unwrap();
    let store: Store<u64, u64> = small().open(place.at("rubbish")).unwrap();
    assert_eq!(store.len(), 1050);
}

/// A log three bytes short, or with zeros behind it, made opening panic for ever.
#[test]
fn d04_a_log_cut_short_or_followed_by_zeros_never_panics() {
    let place = Place::new();
    let store: Store<u64, u64> =
        small().log_way(pkv_store::LogWay::Written).open(place.store()).unwrap();
    for i in 0..20 {
        store.insert(&i, &i).unwrap();
    }
    let killed = Image::of(&place.store());
    store.close().unwrap();
    let closed = Image::of(&place.store());
    for image in [&killed, &closed] {
        let log = image.named("diff")[0].clone();
        for cut in 0..200 {
            let mut cut_short = image.clone();
            let bytes = cut_short.0.get_mut(&log).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            // What lies behind is as a file system may leave it: zeros.
            bytes[end - cut.min(end)..].fill(0);
            cut_short.write(&place.at("cut"));
            let opened =
                catch_unwind(AssertUnwindSafe(|| small().open::<u64, u64>(place.at("cut"))));
            match opened.expect("a panic") {
                Ok(store) => assert!(store.len() <= 20 && (cut > 0 || store.len() == 20)),
                Err(Error::Damaged { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// The shards of a snapshot are made, renamed and removed one by one; a kill between left a folder
/// that never opened again.
#[test]
fn d05_a_kill_between_the_files_of_a_snapshot_opens() {
    let place = Place::new();
    let options = small().snapshot_shards(3).background(false);
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    for i in 0..100 {
        store.insert(&i, &i).unwrap();
    }
    let logs = Image::of(&place.store());
    store.compact().unwrap();
    let full = Image::of(&place.store());
    drop(store);
    let shards = full.named("full");
    // Made one by one: the log is all there is.
    for made in 0..=3 {
        let mut image = logs.clone();
        for name in &shards[..made] {
            image.0.insert(name.replace("full", "pending"), vec![]);
        }
        image.write(&place.at("killed"));
        let store: Store<u64, u64> = options.open(place.at("killed")).unwrap();
        assert_eq!(store.len(), 100, "{made} files made");
    }
    // An older snapshot removed one by one.
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.insert(&100, &100).unwrap();
    store.compact().unwrap();
    let newer = Image::of(&place.store());
    drop(store);
    for removed in 0..=3 {
        let mut image = newer.clone();
        for name in &shards[removed..] {
            image.0.insert(name.clone(), full.0[name].clone());
        }
        image.write(&place.at("killed"));
        let store: Store<u64, u64> = options.open(place.at("killed")).unwrap();
        assert_eq!(store.len(), 101, "{removed} old files removed");
        store.compact().unwrap();
        assert_eq!(
            Image::of(&place.at("killed")).named("full").len(),
            3,
            "and the rest goes later"
        );
    }
}

/// Shards were sorted as text, "10-of-16" before "2-of-16": at reopening keys went to other shards
/// and old values came back.
#[test]
fn d06_more_than_ten_shards_keep_their_order() {
    let place = Place::new();
    let options = small().map_shards(64).snapshot_shards(16);
    for round in 0..3_u64 {
        let store: Store<u64, u64> = options.open(place.store()).unwrap();
        for i in 0..1000 {
            store.insert(&i, &(i + round)).unwrap();
        }
        if round < 2 {
            store.compact().unwrap();
        }
        store.close().unwrap();
        let store: Store<u64, u64> = options.open(place.store()).unwrap();
        assert!((0..1000).all(|i| store.get(&i).unwrap() == Some(i + round)), "round {round}");
    }
}

/// The folder was scanned before it was locked: what another process did in between was lost.
#[test]
fn d07_the_lock_is_taken_before_the_folder_is_looked_at() {
    let place = Place::new();
    let first: Store<u64, u64> = small().open(place.store()).unwrap();
    first.insert(&0, &0).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            small().lock_timeout(Duration::from_secs(10)).open::<u64, u64>(place.store())
        });
        std::thread::sleep(Duration::from_millis(30));
        for i in 0..1000 {
            first.insert(&i, &i).unwrap();
        }
        first.compact().unwrap();
        first.close().unwrap();
        let second = waiting.join().unwrap().unwrap();
        assert_eq!(second.len(), 1000);
        second.insert(&1000, &1000).unwrap();
        second.close().unwrap();
    });
    assert_eq!(small().open::<u64, u64>(place.store()).unwrap().len(), 1001);
}

/// An empty value was how a removal was written: it was there until the next opening.
#[test]
fn d08_an_empty_value_is_a_value() {
    let place = Place::new();
    let store: Store<String, String> = small().open(place.store()).unwrap();
    store.insert("empty", "").unwrap();
    store.insert("", "").unwrap();
    for _ in 0..2 {
        copy(&place.store(), &place.at("killed"));
        let killed: Store<String, String> = small().open(place.at("killed")).unwrap();
        assert_eq!(killed.get("empty").unwrap().as_deref(), Some(""));
        assert_eq!((killed.get("").unwrap().as_deref(), killed.len()), (Some(""), 2));
        store.compact().unwrap();
    }
}

/// Nothing was checksummed: of 136 flips of one bit in a record, 131 opened with wrong contents.
/// Every file, every seventh byte: see `damage`. Here: every bit of one record, in log and snapshot.
#[test]
fn d09_no_flipped_bit_is_ever_a_value() {
    let place = Place::new();
    let options = small().background(false).file_system(HookFs::unsynced());
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.insert(&0x1122_3344_5566_7788, &0x99aa_bbcc_ddee_ff00).unwrap();
    store.insert(&1, &1).unwrap();
    store.close().unwrap();
    let log = Image::of(&place.store());
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let snapshot = Image::of(&place.store());
    let mut found = 0;
    for (image, name) in
        [(&log, log.named("diff")[0].clone()), (&snapshot, snapshot.named("full")[0].clone())]
    {
        let key = 0x1122_3344_5566_7788_u64.to_le_bytes();
        let at = image.0[&name].windows(8).position(|bytes| bytes == key).unwrap();
        for offset in at - 8..at + 20 {
            for bit in 0..8 {
                let mut flipped = image.clone();
                flipped.0.get_mut(&name).unwrap()[offset] ^= 1 << bit;
                flipped.write(&place.at("flipped"));
                match options.open::<u64, u64>(place.at("flipped")) {
                    Err(Error::Damaged { .. }) => found += 1,
                    other => panic!("bit {bit} at {offset} of {name}: {other:?}"),
                }
            }
        }
    }
    assert_eq!(found, 2 * 28 * 8);
}

/// Memory was changed before the log: a write that failed stayed visible, and half of it came back
/// as a value after reopening.
#[test]
fn d10_a_write_that_failed_is_not_visible_and_never_comes_back() {
    let place = Place::new();
    let full = Arc::new(AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let fs = HookFs::hooked(move |op, path| {
        let log = path.to_str().is_some_and(|path| path.ends_with("diff.bin"));
        if op == Op::Preallocate && log && is_full.load(Ordering::Relaxed) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    });
    let options = small().background(false);
    let store = ByteStore::open(place.store(), &options.clone().file_system(fs)).unwrap();
    store.insert(b"before", b"1", PROCESS).unwrap();
    full.store(true, Ordering::Relaxed);
    let before = contents(&store);
    for refused in [
        store.insert(b"new", &blob(1, 40_000), PROCESS).map(drop),
        store.insert(b"before", &blob(1, 40_000), PROCESS).map(drop),
        store.batch().remove(b"before").insert(b"b", &blob(1, 40_000)).commit(PROCESS).map(drop),
        store.update(b"u", PROCESS, |_| pkv_store::Update::Set(blob(2, 40_000))).map(drop),
    ] {
        assert!(matches!(refused, Err(Error::DiskFull(_))), "{refused:?}");
    }
    assert_eq!(contents(&store), before);
    assert!(matches!(store.health(), Health::DiskFull(_)));
    assert!(!store.health().takes_writes());
    // Space again: no reopening is needed.
    full.store(false, Ordering::Relaxed);
    store.insert(b"healed", &blob(3, 40_000), PROCESS).unwrap();
    assert!(matches!(store.health(), Health::Good));
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &options).unwrap();
    assert_eq!((store.len(), store.get(b"before").unwrap()), (2, Some(b"1".to_vec())));
}

/// Without the newest full snapshot opening fell back to an older one whose logs were gone, silently.
#[test]
fn d13_a_lost_snapshot_is_no_silent_step_back() {
    let place = Place::new();
    let options = small().background(false).keep_backups(1);
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    for round in 0..3 {
        for i in 0..50 {
            store.insert(&i, &round).unwrap();
        }
        store.compact().unwrap();
    }
    store.close().unwrap();
    let image = Image::of(&place.store());
    let newest = image.named("full").pop().unwrap();
    // With its backup all logs are there, and lead to the same contents.
    let mut lost = image.clone();
    lost.0.remove(&newest);
    lost.write(&place.at("lost"));
    let store: Store<u64, u64> = options.open(place.at("lost")).unwrap();
    assert!((0..50).all(|i| store.get(&i).unwrap() == Some(2)));
    // Without the logs between them it is an error.
    for log in image.named("diff") {
        let mut lost = lost.clone();
        lost.0.remove(&log);
        lost.write(&place.at("lost more"));
        let refused = options.open::<u64, u64>(place.at("lost more"));
        assert!(refused.is_err(), "{log} is missing");
    }
}

/// Eighteen snapshot shards over 32 buckets: the thread died of a range that ended before it began,
/// then the next write panicked, then the process was aborted.
#[test]
fn d14_more_shards_than_buckets_are_no_panic() {
    let place = Place::new();
    for (map_shards, snapshot_shards) in [(32, 12), (32, 18), (4, 5), (1, 64), (2, 1024)] {
        let path = place.at(&format!("{map_shards}-{snapshot_shards}"));
        let options = small().map_shards(map_shards).snapshot_shards(snapshot_shards);
        let store: Store<u64, u64> = options.open(&path).unwrap();
        for i in 0..300 {
            store.insert(&i, &i).unwrap();
        }
        store.compact().unwrap();
        store.insert(&300, &300).unwrap();
        store.close().unwrap();
        assert_eq!(options.open::<u64, u64>(&path).unwrap().len(), 301);
    }
}

/// A full disk at the end of a snapshot killed the thread that wrote it, and dropping the store panicked.
#[test]
fn d15_a_snapshot_that_fails_kills_no_thread() {
    let place = Place::new();
    let fs = HookFs::hooked(|op, path| {
        let pending = path.to_str().is_some_and(|path| path.ends_with("pending.bin"));
        if op == Op::Sync && pending { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let store: Store<u64, u64> =
        small().snapshot_interval(20).file_system(fs).open(place.store()).unwrap();
    for i in 0..200 {
        store.insert(&i, &i).unwrap();
    }
    eventually("the failure to show", || matches!(store.health(), Health::CompactionFailing(_)));
    assert!(store.insert(&200, &1).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(store))).is_ok());
    assert_eq!(small().open::<u64, u64>(place.store()).unwrap().len(), 201);
}

/// No option was checked: zero buckets, shards or operations panicked or aborted. All: see `options`.
#[test]
fn d17_absurd_options_are_errors() {
    let place = Place::new();
    for options in [
        Options::new().map_shards(0),
        Options::new().snapshot_interval(0),
        Options::new().snapshot_shards(0),
    ] {
        let refused = options.open::<u64, u64>(place.store());
        assert!(matches!(refused, Err(Error::InvalidOption { .. })));
    }
}

/// A foreign file whose name is no text, or with an ordinal beyond 64 bits, made opening panic.
#[test]
fn d18_foreign_files_of_any_name_are_left_alone() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    drop(small().open::<u64, u64>(place.store()).unwrap());
    for name in [
        b"snapshot_\xff_0-of-1_diff.bin".as_slice(),
        b"snapshot_99999999999999999999_0-of-1_full.bin",
    ] {
        write_file(&place.store().join(std::ffi::OsStr::from_bytes(name)), b"foreign");
    }
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    assert_eq!(small().open::<u64, u64>(place.store()).unwrap().len(), 1);
    assert_eq!(names(&place.store()).len(), 4);
}

/// No file said of what types it holds: strings opened as integers panicked, and -1 came back as
/// 18446744073709551615.
#[test]
fn d19_other_types_are_refused() {
    let place = Place::new();
    let store: Store<i64, String> = small().open(place.store()).unwrap();
    store.insert(&-1, "text").unwrap();
    store.close().unwrap();
    assert!(matches!(
        small().open::<u64, String>(place.store()),
        Err(Error::WrongType { what: "key", .. })
    ));
    assert!(matches!(
        small().open::<i64, u64>(place.store()),
        Err(Error::WrongType { what: "value", .. })
    ));
    assert_eq!(
        small().open::<i64, String>(place.store()).unwrap().get(&-1).unwrap().as_deref(),
        Some("text")
    );
}

/// A reader that went over a bucket held its lock for the whole copy, and one writer that waited for it
/// held the log's: all writers stopped. Here the body of an iteration holds no lock at all.
#[test]
fn d21_an_iteration_holds_up_no_writer() {
    let place = Place::new();
    in_time("writers beside an iteration", move || {
        let store: Store<u64, u64> = small().map_shards(1).open(place.store()).unwrap();
        for i in 0..3000 {
            store.insert(&i, &i).unwrap();
        }
        let mut iterations = store.iter();
        iterations.next().unwrap().unwrap();
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..3000).for_each(|i| assert!(store.insert(&i, &0).is_ok())));
            writer.join().unwrap();
        });
        assert!(iterations.all(|entry| entry.is_ok()));
    });
}

/// One panic poisoned every lock, and dropping the store waited for queued snapshots.
#[test]
fn d22_a_panic_poisons_nothing_and_dropping_does_not_wait_for_snapshots() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| store.update(&1, |_| panic!("on purpose")))).is_err());
    assert_eq!(store.get(&1).unwrap(), Some(1));
    store.insert(&1, &2).unwrap();
    // A snapshot that would be tried again in a minute is not waited for.
    drop(store);
    let fs = HookFs::hooked(|op, path| {
        let pending = path.to_str().is_some_and(|path| path.ends_with("pending.bin"));
        if op == Op::Write && pending { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let store: Store<u64, u64> =
        small().snapshot_interval(1).file_system(fs).open(place.store()).unwrap();
    store.insert(&2, &2).unwrap();
    eventually("the failure to show", || matches!(store.health(), Health::CompactionFailing(_)));
    let start = Instant::now();
    store.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Full snapshots were never removed: 200,000 writes to 10,000 keys left 120 of them.
#[test]
fn d24_old_snapshots_are_removed() {
    let place = Place::new();
    let store: Store<u64, u64> = small().snapshot_interval(500).open(place.store()).unwrap();
    // A compaction takes in all that was written before it starts, so each waits for the one before.
    for compactions in 1..=3 {
        for i in 0..500 {
            store.insert(&(i % 100), &i).unwrap();
        }
        eventually("a compaction", || store.stats().snapshots >= compactions);
    }
    store.compact().unwrap();
    assert_eq!(Image::of(&place.store()).named("full").len(), 1);
    assert!(Image::of(&place.store()).bytes() < 200_000);
}

/// The writes of earlier sessions did not count: twenty of them just below the limit left a log of
/// 200,000 writes that was never compacted.
#[test]
fn d25_the_writes_of_earlier_sessions_count() {
    let place = Place::new();
    let options = small().snapshot_interval(100);
    let mut snapshots = 0;
    for session in 0..6_u64 {
        let store: Store<u64, u64> = options.open(place.store()).unwrap();
        for i in 0..60 {
            store.insert(&(i % 10), &session).unwrap();
        }
        if session % 2 == 1 {
            eventually("a compaction in every second session", || store.stats().snapshots >= 1);
            snapshots += 1;
        }
        store.close().unwrap();
    }
    assert_eq!(snapshots, 3);
}

/// One sync for each write, whoever else was waiting: 802 for 800 writes of eight threads.
#[test]
fn d27_writers_that_wait_share_a_sync() {
    let place = Place::new();
    let fs = CountingFs::new(Arc::new(StdFs));
    let options = Options::new().durability(Durability::Power).file_system(Arc::new(fs.clone()));
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.insert(&0, &0).unwrap();
    let before = fs.counts();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..25 {
                    store.insert(&(thread * 100 + i), &i).unwrap();
                }
            });
        }
    });
    let syncs = fs.counts().since(&before).calls(Op::Sync);
    assert!(syncs * 3 <= 800, "{syncs} syncs for 800 writes");
}

/// No `len`, no answer from a removal, no batch, no lookup by a borrowed key, no integers of 128 bits;
/// errors without a type; a lock error that said "resource temporarily unavailable".
#[test]
fn d30_the_face_of_a_map() {
    let place = Place::new();
    let store: Store<Vec<u8>, u128> = restless().open(place.store()).unwrap();
    let key: &[u8] = b"borrowed";
    assert!(!store.insert(key, &1).unwrap());
    assert!(store.contains_key(key).unwrap());
    assert_eq!((store.len(), store.take(key).unwrap()), (1, Some(1)));
    store.batch().insert(key, &2).remove([1_u8].as_slice()).commit().unwrap();
    assert!(store.compare_and_set(key, Some(&2), Some(&u128::MAX)).unwrap());
    let error = small().open::<Vec<u8>, u128>(place.store()).unwrap_err();
    assert!(
        matches!(error, Error::Locked { .. })
            && error.to_string().contains("in use by this process")
    );
    store.clear().unwrap();
    store.sync().unwrap();
    store.close().unwrap();
    let pairs: Store<(bool, u32), ()> = small().open(place.at("pairs")).unwrap();
    pairs.insert(&(true, 1), &()).unwrap();
    assert_eq!(pairs.get(&(true, 1)).unwrap(), Some(()));
}
