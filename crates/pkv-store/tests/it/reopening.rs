//! Whatever ends a store, the next opening finds all of it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pkv_fs::Op;
use pkv_store::{ByteStore, Durability, Error, Holder, LogWay, Options, RecoveryMode, Store};

use crate::support::{
    HookFs, Image, Place, blob, both_ways, contents, copy, in_time, is_there, names, restless,
    small,
};

const PROCESS: Durability = Durability::Process;

#[test]
fn a_hundred_openings_leave_few_files() {
    let place = Place::new();
    for i in 0..100_u64 {
        let store: Store<u64, u64> = small().compact_log_count(4).open(place.store()).unwrap();
        assert_eq!(store.len(), i);
        store.insert(&i, &i).unwrap();
        if i % 2 == 0 {
            store.close().unwrap();
        } else {
            drop(store);
        }
    }
    let names = names(&place.store());
    assert!(names.len() <= 8, "{names:?}");
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    assert_eq!(store.len(), 100);
    assert!((0..100).all(|i| store.get(&i).unwrap() == Some(i)));
}

#[test]
fn opening_without_writing_leaves_the_folder_as_it_was() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..300 {
        store.insert(&i, &i).unwrap();
    }
    store.close().unwrap();
    let before = Image::of(&place.store()).without_lock();
    for _ in 0..5 {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        assert_eq!(store.len(), 300);
        store.close().unwrap();
        assert_eq!(Image::of(&place.store()).without_lock(), before);
    }
}

#[test]
fn a_store_that_was_never_written_is_a_store() {
    let place = Place::new();
    for _ in 0..3 {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        assert!(store.is_empty());
        store.close().unwrap();
    }
    assert!(names(&place.store()).is_empty());
    // Nothing says yet what it holds.
    let store: Store<String, String> = small().open(place.store()).unwrap();
    store.insert("a", "b").unwrap();
}

#[test]
fn other_numbers_of_shards_find_all() {
    let place = Place::new();
    let fill = |store: &ByteStore, round: u64| {
        for i in 0..200_u64 {
            let key = (i * 7 + round).to_le_bytes();
            store.insert(&key, &blob(round, 30), PROCESS).unwrap();
        }
        store.remove(&round.to_le_bytes(), PROCESS).unwrap();
    };
    let store = ByteStore::open(place.store(), &small().map_shards(16)).unwrap();
    fill(&store, 0);
    let mut expected = contents(&store);
    store.close().unwrap();
    let shapes = [(1, 1), (64, 12), (2, 7), (4096, 1), (256, 64), (1, 1024), (8, 3)];
    for (round, (map_shards, snapshot_shards)) in (1..).zip(shapes) {
        let options = small().map_shards(map_shards).snapshot_shards(snapshot_shards);
        let store = ByteStore::open(place.store(), &options).unwrap();
        assert_eq!(contents(&store), expected, "{map_shards} shards");
        fill(&store, round);
        if round % 2 == 1 {
            store.compact().unwrap();
            fill(&store, round + 100);
        }
        expected = contents(&store);
        store.close().unwrap();
    }
}

/// More than the log is read in at a time, with all that a frame can hold: the order of changes of one key must
/// not depend on how many threads apply them, and to how many shards.
#[test]
fn a_long_log_is_replayed_in_order_by_any_number_of_threads() {
    let place = Place::new();
    let options = small().segment_bytes(16 << 20, 16 << 20).compact_log_bytes_min(u64::MAX / 4);
    let store = ByteStore::open(place.store(), &options).unwrap();
    let mut log_bytes = 0;
    let mut step = 0_u64;
    let key = |number: u64| (number % 400).to_le_bytes();
    while log_bytes < 5 << 20 {
        // Now and then a value that is longer than what is read at a time.
        let bytes = match (step, step % 3) {
            (5000, _) => 3 << 20,
            (_, 0) => 3,
            (_, 1) => 100,
            _ => 1500,
        };
        let value = blob(step, bytes);
        match step % 1000 {
            7 => drop(store.clear(PROCESS).unwrap()),
            8..100 => drop(store.remove(&key(step * 31), PROCESS).unwrap()),
            100..200 => {
                let batch = store.batch().insert(&key(step), &value).remove(&key(step * 7));
                batch.insert(&key(step * 3), &step.to_le_bytes()).commit(PROCESS).unwrap();
            }
            // Only a clear takes these away.
            200..250 => drop(store.insert(&(step + 400).to_le_bytes(), b"", PROCESS).unwrap()),
            _ => drop(store.insert(&key(step * 17), &value, PROCESS).unwrap()),
        }
        log_bytes += bytes;
        step += 1;
    }
    let writes = store.insert(b"last", b"", PROCESS).unwrap().seq;
    let expected = contents(&store);
    assert!(expected.len() > 100);
    store.close().unwrap();
    for (map_shards, io_threads) in [(64, 0), (1, 1), (1, 3), (16, 1), (256, 2), (4096, 4)] {
        let options = options.clone().map_shards(map_shards).io_threads(io_threads);
        let store = ByteStore::open(place.store(), &options).unwrap();
        assert!(contents(&store) == expected, "{map_shards} shards, {io_threads} threads");
        assert_eq!(store.recovery_report().writes, writes);
        store.close().unwrap();
    }
}

#[test]
fn other_types_are_refused_and_named() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    store.insert("a", &1).unwrap();
    store.close().unwrap();
    let before = Image::of(&place.store()).without_lock();
    match small().open::<u64, u64>(place.store()) {
        Err(Error::WrongType { what: "key", stored, asked, .. }) => {
            assert_eq!((stored.as_str(), asked.as_str()), ("string", "u64"));
        }
        other => panic!("{other:?}"),
    }
    match small().open::<String, i64>(place.store()) {
        Err(Error::WrongType { what: "value", stored, asked, path }) => {
            assert_eq!((stored.as_str(), asked.as_str()), ("u64", "i64"));
            assert!(is_there(&path));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        ByteStore::open(place.store(), &small()),
        Err(Error::WrongType { what: "key", .. })
    ));
    assert_eq!(Image::of(&place.store()).without_lock(), before, "nothing was changed");
    // A snapshot says it, too.
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    assert!(matches!(
        small().open::<String, u32>(place.store()),
        Err(Error::WrongType { what: "value", .. })
    ));
    assert_eq!(small().open::<String, u64>(place.store()).unwrap().get("a").unwrap(), Some(1));
}

#[test]
fn a_second_opener_in_this_process_is_told_so() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    match small().open::<u64, u64>(place.store()) {
        Err(error @ Error::Locked { holder: Holder::ThisProcess, .. }) => {
            assert!(error.to_string().contains("this process"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    store.insert(&2, &2).unwrap();
    store.close().unwrap();
    assert_eq!(small().open::<u64, u64>(place.store()).unwrap().len(), 2, "free after close");
    assert_eq!(small().open::<u64, u64>(place.store()).unwrap().len(), 2, "free after drop");
}

#[test]
fn opening_waits_for_the_lock_as_long_as_it_is_told() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    let start = Instant::now();
    let wait = Duration::from_millis(100);
    let refused = small().lock_timeout(wait).open::<u64, u64>(place.store());
    assert!(matches!(refused, Err(Error::Locked { .. })));
    assert!(start.elapsed() >= wait);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            small().lock_timeout(Duration::from_secs(10)).open::<u64, u64>(place.store())
        });
        std::thread::sleep(Duration::from_millis(50));
        store.insert(&2, &2).unwrap();
        store.close().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().len(), 2, "it sees what came meanwhile");
    });
}

/// Where the child finds the folder to hold.
const HOLD: &str = "PKV_TEST_HOLD";

#[test]
#[ignore = "the child of a_second_process_is_told_who_holds_the_folder"]
fn child_that_holds_a_store() {
    let Ok(path) = std::env::var(HOLD) else { return };
    let store: Store<u64, u64> = small().open(&path).unwrap();
    store.insert(&1, &1).unwrap();
    println!("held");
    // Until the parent closes the pipe or kills it.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_second_process_is_told_who_holds_the_folder() {
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reopening::child_that_holds_a_store", "--ignored", "--nocapture"])
        .env(HOLD, place.store())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")), "the child opened nothing");
    match small().open::<u64, u64>(place.store()) {
        Err(error @ Error::Locked { holder: Holder::Process(holder), .. }) => {
            assert_eq!(holder, id);
            assert!(error.to_string().contains(&format!("process {id}")), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // A killed holder holds nothing any more.
    child.kill().unwrap();
    child.wait().unwrap();
    small().open::<u64, u64>(place.store()).unwrap().close().unwrap();
}

#[test]
fn a_folder_copied_while_open_holds_every_acknowledged_write() {
    for options in both_ways() {
        let place = Place::new();
        let store = ByteStore::open(place.store(), &options).unwrap();
        // Sizes that end segments at every distance from their end.
        for i in 0..400_u64 {
            let bytes = usize::try_from(i * 13 % 700).unwrap();
            store.insert(&(i % 97).to_le_bytes(), &blob(i, bytes), PROCESS).unwrap();
            match i % 50 {
                10 => drop(store.remove(&(i % 89).to_le_bytes(), PROCESS).unwrap()),
                20 => drop(store.batch().insert(b"x", b"").remove(b"y").commit(PROCESS).unwrap()),
                30 => store.sync().unwrap(),
                40 => drop(store.insert(b"power", &blob(i, 9), Durability::Power).unwrap()),
                _ => {}
            }
            if i % 23 == 0 {
                let to = place.at("killed");
                copy(&place.store(), &to);
                let killed = ByteStore::open(&to, &options).unwrap();
                assert_eq!(contents(&killed), contents(&store), "after {i}");
                assert_eq!(killed.last_seq(), store.last_seq());
                assert!(killed.recovery_report().torn.is_none());
                killed.close().unwrap();
                let again = ByteStore::open(&to, &options.clone().recovery(RecoveryMode::Strict));
                assert_eq!(contents(&again.unwrap()), contents(&store));
            }
        }
    }
}

#[test]
fn a_segment_that_is_filled_to_the_last_byte_is_whole() {
    // The largest value that fits behind the link, and its neighbours, each in a segment of its own.
    for options in both_ways() {
        let place = Place::new();
        let store = ByteStore::open(place.store(), &options.clone().background(false)).unwrap();
        let mut seq = 0;
        for bytes in (11_900..12_400).step_by(8) {
            seq = store.insert(&[1], &blob(7, bytes), PROCESS).unwrap().seq;
            if bytes % 40 == 0 {
                let to = place.at("killed");
                copy(&place.store(), &to);
                let killed = ByteStore::open(&to, &options).unwrap();
                assert_eq!(killed.get(&[1]).unwrap(), Some(blob(7, bytes)), "{bytes}");
                assert_eq!(killed.last_seq(), seq);
            }
        }
        store.close().unwrap();
        let store = ByteStore::open(place.store(), &options).unwrap();
        assert_eq!((store.last_seq(), store.len()), (seq, 1));
    }
}

#[test]
fn the_two_ways_of_the_log_read_each_other() {
    let place = Place::new();
    let [mapped, written] = both_ways();
    let mut expected = 0;
    for round in 0..6_u64 {
        let (options, is_mapped) = if round % 2 == 0 { (&mapped, true) } else { (&written, false) };
        let store: Store<u64, Vec<u8>> = options.open(place.store()).unwrap();
        assert_eq!(store.stats().mapped_log, is_mapped);
        assert_eq!(store.len(), expected);
        for i in 0..100 {
            store.insert(&(round * 100 + i), &blob(i, 100)).unwrap();
        }
        expected += 100;
        copy(&place.store(), &place.at("killed"));
        let other = if is_mapped { &written } else { &mapped };
        let killed: Store<u64, Vec<u8>> = other.open(place.at("killed")).unwrap();
        assert_eq!(killed.len(), expected);
        store.close().unwrap();
    }
}

#[test]
fn the_same_writes_give_the_same_store_by_either_way() {
    let run = |options: &Options| {
        let place = Place::new();
        let store = ByteStore::open(place.store(), options).unwrap();
        for i in 0..500_u64 {
            let bytes = usize::try_from(i * 31 % 400).unwrap();
            store.insert(&(i * i % 211).to_le_bytes(), &blob(i, bytes), PROCESS).unwrap();
            if i % 7 == 0 {
                store.remove(&(i % 211).to_le_bytes(), PROCESS).unwrap();
            }
        }
        store.close().unwrap();
        let store = ByteStore::open(place.store(), options).unwrap();
        (contents(&store), store.last_seq())
    };
    let [mapped, written] = both_ways();
    assert_eq!(run(&mapped), run(&written));
}

#[test]
fn sequence_numbers_go_on() {
    let place = Place::new();
    let mut last = 0;
    for round in 0..6 {
        let store = ByteStore::open(place.store(), &small()).unwrap();
        assert_eq!((store.last_seq(), store.durable_seq()), (last, last));
        assert_eq!(store.recovery_report().last_seq, last);
        for i in 0..10_u64 {
            let seq = store.insert(&i.to_le_bytes(), b"v", PROCESS).unwrap().seq;
            assert_eq!(seq, last + 1);
            last = seq;
        }
        if round % 2 == 1 {
            store.compact().unwrap();
        }
        if round == 3 {
            last = store.clear(PROCESS).unwrap();
        }
        store.close().unwrap();
    }
}

#[test]
fn ordinals_are_never_used_again() {
    let place = Place::new();
    let mut highest = 0;
    for round in 0..8_u64 {
        let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
        store.insert(&round.to_le_bytes(), b"v", PROCESS).unwrap();
        let in_use: Vec<u64> =
            names(&place.store()).iter().map(|name| crate::support::numbers(name)[0]).collect();
        let newest = in_use.into_iter().max().unwrap();
        assert!(newest > highest, "{newest} after {highest}");
        highest = newest;
        if round % 3 == 2 {
            highest = highest.max(store.compact().unwrap() + 1);
        }
        store.close().unwrap();
    }
}

#[test]
fn a_killed_opening_can_be_opened_again() {
    // Each opening of a killed store is killed in turn, at each of its calls that change something.
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    for i in 0..200_u64 {
        store.insert(&(i % 150).to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
        if i == 60 {
            store.compact().unwrap();
        }
    }
    let expected = contents(&store);
    let image = Image::of(&place.store());
    drop(store);
    for stop in 0.. {
        image.write(&place.at("killed"));
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let hit = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&calls), Arc::clone(&hit));
        let fs = HookFs::hooked(move |_, _| {
            if stopped.load(Ordering::Relaxed) || seen.fetch_add(1, Ordering::Relaxed) == stop {
                stopped.store(true, Ordering::Relaxed);
                return Err(std::io::Error::other("killed"));
            }
            Ok(())
        });
        let cut = ByteStore::open(place.at("killed"), &small().background(false).file_system(fs));
        let done = !hit.load(Ordering::Relaxed);
        drop(cut);
        let store = ByteStore::open(place.at("killed"), &small()).unwrap();
        assert_eq!(contents(&store), expected, "killed at call {stop}");
        if done {
            assert!(stop > 10, "the opening made {stop} calls");
            return;
        }
    }
}

#[test]
fn closing_while_a_compaction_is_being_started_ends() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..500 {
        store.insert(&i, &i).unwrap();
    }
    store.close().unwrap();
    in_time("close right after opening", move || {
        // A compaction is due at every opening, since none succeeds.
        let fs = HookFs::hooked(|op, path| {
            let pending = path.to_str().is_some_and(|path| path.ends_with("pending.bin"));
            if op == Op::Open && pending {
                return Err(std::io::Error::other("on purpose"));
            }
            Ok(())
        });
        for i in 0..200 {
            let store: Store<u64, u64> =
                restless().file_system(Arc::clone(&fs)).open(place.store()).unwrap();
            std::thread::sleep(Duration::from_micros(i * 7 % 300));
            store.close().unwrap();
        }
    });
}

#[test]
fn a_store_that_is_closed_while_it_compacts_opens_again() {
    let place = Place::new();
    in_time("close while compacting", move || {
        let mut expected = 0;
        for round in 0..30_u64 {
            let store: Store<u64, Vec<u8>> = restless().open(place.store()).unwrap();
            assert_eq!(store.len(), expected, "round {round}");
            for i in 0..40 {
                store.insert(&(round * 40 + i), &blob(i, 300)).unwrap();
            }
            expected += 40;
            store.close().unwrap();
        }
    });
}

#[test]
fn a_writer_that_waits_is_not_left_behind_by_a_reader() {
    // A store shared by threads is closed when the last of them lets go of it.
    let place = Place::new();
    let store: Arc<Store<u64, u64>> = Arc::new(small().open(place.store()).unwrap());
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for i in 0..200 {
                    store.insert(&(thread * 1000 + i), &i).unwrap();
                }
            })
        })
        .collect();
    drop(store);
    for thread in threads {
        thread.join().unwrap();
    }
    let store: Store<u64, u64> = small().log_way(LogWay::Written).open(place.store()).unwrap();
    assert_eq!(store.len(), 800);
}

/// The first page of a log that holds a link and a seal alone may be lost in a power cut. Repair once gave the
/// log the number of the last write of all: the folder opened, and never again.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test copies and damages a folder on the real disk"
)]
fn a_log_that_lost_its_only_frames_gets_the_numbers_of_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store"), dir.path().join("killed"));
    // Without threads: one removes a log that was made ahead and is too small, at a moment of its own, amid the copy.
    let store = ByteStore::open(&path, &small().background(false)).unwrap();
    for i in 0..15_u64 {
        store.insert(&i.to_le_bytes(), b"before", Durability::Process).unwrap();
    }
    store.compact().unwrap();
    // Too large for the log that the compaction began: that one stays empty.
    store.insert(b"large", &vec![1; 100_000], Durability::Process).unwrap();
    store.insert(b"small", b"after", Durability::Process).unwrap();
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    drop(store);
    let mut logs: Vec<_> = std::fs::read_dir(&copy)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("_diff.bin"))
        .collect();
    logs.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let mut bytes = std::fs::read(&logs[0]).unwrap();
    bytes[4096..].fill(0);
    std::fs::write(&logs[0], bytes).unwrap();
    for _ in 0..3 {
        let store = ByteStore::open(&copy, &small()).unwrap();
        assert_eq!(store.len(), 17);
        assert_eq!(store.get(b"small").unwrap().as_deref(), Some(b"after".as_slice()));
    }
}
