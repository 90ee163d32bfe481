//! Watching: every committed change once, in order, with what it changed; and what happens at the edges:
//! lagging, resuming, syncs, failures, the end.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pkv_fs::Op;
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_store::{
    ByteStore, ByteWatch, Durability, Error, Event, LogWay, Old, Options, Store, Update,
};

use crate::crash_rig::{DIR, Random};
use crate::support::{CLOCK, Contents, HookFs, Place, blob, contents, in_time, small};

const PROCESS: Durability = Durability::Process;

fn open(place: &Place) -> ByteStore {
    ByteStore::open(place.store(), &small()).unwrap()
}

/// An event as a line.
pub(crate) fn line(event: &Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let old = |old: &Old<Vec<u8>>| match old {
        Old::Absent => "absent".to_owned(),
        Old::Value(value) => text(value),
        Old::Unknown => "unknown".to_owned(),
    };
    match event {
        Event::Set { seq, key, value, old: before } => {
            format!("{seq} {}: {} -> {}", text(key), old(before), text(value))
        }
        Event::Remove { seq, key, old: before } => {
            format!("{seq} {}: {} -> gone", text(key), old(before))
        }
        Event::Clear { seq } => format!("{seq} cleared"),
        Event::Lagged { first_seq, last_seq } => format!("lagged {first_seq} to {last_seq}"),
        other => panic!("{other:?}"),
    }
}

/// Everything that is there to be told.
fn drain(watch: &mut ByteWatch) -> Vec<String> {
    std::iter::from_fn(|| watch.try_recv().unwrap()).map(|event| line(&event)).collect()
}

fn some_writes(store: &ByteStore) {
    store.insert(b"a", b"one", PROCESS).unwrap();
    store.insert(b"a", b"two", PROCESS).unwrap();
    store.remove(b"a", PROCESS).unwrap();
    store.remove(b"a", PROCESS).unwrap();
    store.insert(b"b1", b"x", PROCESS).unwrap();
    store.update(b"b1", PROCESS, |_| Update::Set(b"y".to_vec())).unwrap();
    store.update(b"b1", PROCESS, |_| Update::Keep).unwrap();
    store
        .batch()
        .insert(b"b1", b"z")
        .insert(b"b2", b"1")
        .insert(b"b2", b"2")
        .remove(b"nobody")
        .remove(b"b1")
        .commit(PROCESS)
        .unwrap();
    store.clear(PROCESS).unwrap();
    assert!(store.compare_and_set(b"b2", None, Some(b"3"), PROCESS).unwrap());
}

const SOME_WRITES: [&str; 11] = [
    "1 a: absent -> one",
    "2 a: one -> two",
    "3 a: two -> gone",
    "4 b1: absent -> x",
    "5 b1: x -> y",
    "6 b1: y -> z",
    "6 b2: absent -> 1",
    "6 b2: 1 -> 2",
    "6 b1: z -> gone",
    "7 cleared",
    "8 b2: absent -> 3",
];

#[test]
fn each_change_comes_with_number_key_and_both_values() {
    let place = Place::new();
    let store = open(&place);
    let mut watch = store.watch().start().unwrap();
    some_writes(&store);
    assert_eq!(drain(&mut watch), SOME_WRITES);
    let (long, longer) = (blob(1, 3000), blob(2, 5000));
    store.insert(b"long", &long, PROCESS).unwrap();
    store.insert(b"long", &longer, PROCESS).unwrap();
    assert!(matches!(watch.recv().unwrap(), Event::Set { value, .. } if value == long));
    let Event::Set { value, old, seq, .. } = watch.recv().unwrap() else { panic!("not set") };
    assert_eq!((value, old, seq), (longer, Old::Value(long), 10));
    // A watch that comes later sees nothing of this.
    assert_eq!(drain(&mut store.watch().start().unwrap()), [""; 0]);
}

#[test]
fn a_watch_of_a_key_or_a_prefix_sees_no_other() {
    let place = Place::new();
    let store = open(&place);
    let mut key = store.watch().key(b"b1").start().unwrap();
    let mut prefix = store.watch().prefix(b"b").start().unwrap();
    let mut none = store.watch().key(b"b").start().unwrap();
    some_writes(&store);
    let of = |key: &str| -> Vec<&str> {
        let concerns = |line: &&str| {
            let name = line.split([' ', ':']).nth(1).unwrap();
            name.starts_with(key) || name == "cleared"
        };
        SOME_WRITES.into_iter().filter(concerns).collect()
    };
    assert_eq!(drain(&mut key), of("b1"));
    assert_eq!(drain(&mut prefix), of("b"));
    assert_eq!(drain(&mut none), ["7 cleared"]);
}

#[test]
fn typed_events_are_decoded_and_one_that_is_no_value_is_an_error_and_no_end() {
    let place = Place::new();
    let store: Store<String, u64> = Store::open(place.store()).unwrap();
    let mut watch = store.watch().prefix("a").start().unwrap();
    store.insert("alice", &1).unwrap();
    store.bytes().insert(b"alfred", b"no number", PROCESS).unwrap();
    store.batch().insert("bob", &7).insert("alice", &2).commit().unwrap();
    let Event::Set { seq, key, value, old } = watch.recv().unwrap() else { panic!("not set") };
    assert_eq!((seq, key.as_str(), value, old), (1, "alice", 1, Old::Absent));
    assert!(matches!(watch.recv(), Err(Error::Decode(_))));
    let event = watch.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert!(matches!(event, Event::Set { seq: 3, value: 2, old: Old::Value(1), .. }));
    assert!(watch.recv_timeout(Duration::from_millis(5)).unwrap().is_none());
}

/// Applies events to a map and holds what they say of old values against it.
fn follow(map: &mut Contents, seq: &mut u64, event: Event) {
    let next = event.seq();
    assert!(next == *seq || next == *seq + 1, "{next} behind {seq}: {event:?}");
    *seq = next;
    let check = |map: &Contents, key: &Vec<u8>, old: &Old<Vec<u8>>| match old {
        Old::Absent => assert_eq!(map.get(key), None, "{next}"),
        Old::Value(value) => assert_eq!(map.get(key), Some(value), "{next}"),
        Old::Unknown => {}
    };
    match event {
        Event::Set { key, value, old, .. } => {
            check(map, &key, &old);
            map.insert(key, value);
        }
        Event::Remove { key, old, .. } => {
            check(map, &key, &old);
            map.remove(&key);
        }
        Event::Clear { .. } => map.clear(),
        other => panic!("{other:?}"),
    }
}

/// Random writes of all kinds on few keys, so that threads meet.
fn write_at_random(store: &ByteStore, seed: u64, writes: u32) {
    let mut random = Random(seed);
    let key = |random: &mut Random| vec![b'k', u8::try_from(random.below(20)).unwrap()];
    for n in 0..writes {
        let first = key(&mut random);
        let value = [seed.to_le_bytes().as_slice(), &n.to_le_bytes()].concat();
        match random.below(20) {
            0..10 => drop(store.insert(&first, &value, PROCESS).unwrap()),
            10..14 => drop(store.remove(&first, PROCESS).unwrap()),
            14..19 => {
                let batch = store.batch().insert(&first, &value).remove(&key(&mut random));
                batch.insert(&key(&mut random), &value).commit(PROCESS).unwrap();
            }
            _ => drop(store.clear(PROCESS).unwrap()),
        }
    }
}

#[test]
fn changes_of_many_threads_come_in_order_and_lead_to_what_the_store_holds() {
    let place = Place::new();
    let store = open(&place);
    let mut watch = store.watch().capacity(usize::MAX).start().unwrap();
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let store = &store;
            scope.spawn(move || write_at_random(store, seed, 3000));
        }
    });
    let (mut map, mut seq) = (Contents::new(), 0);
    while let Some(event) = watch.try_recv().unwrap() {
        follow(&mut map, &mut seq, event);
    }
    assert_eq!(seq, store.last_seq());
    assert_eq!(map, contents(&store));
}

/// Watches that begin, resume and end while others write: each sees what it should, without a gap.
#[test]
fn watches_that_come_and_go_amid_writers_miss_nothing() {
    let place = Place::new();
    let store = open(&place);
    let done = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|seed| {
                let store = &store;
                scope.spawn(move || write_at_random(store, seed, 6000))
            })
            .collect();
        let watcher = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::SeqCst) {
                rounds += 1;
                // From the beginning, out of the logs, on to what is written just now.
                let mut resumed = store.watch().after(0).capacity(usize::MAX).start().unwrap();
                let mut fresh = store.watch().capacity(usize::MAX).start().unwrap();
                let until = store.last_seq() + 5;
                let (mut map, mut seq) = (Contents::new(), 0);
                let mut at_fresh = None;
                while let Some(event) = resumed.recv_timeout(Duration::from_millis(20)).unwrap() {
                    if event.seq() > fresh.start_seq() && at_fresh.is_none() {
                        at_fresh = Some(map.clone());
                    }
                    let enough = event.seq() > until;
                    follow(&mut map, &mut seq, event);
                    if enough {
                        break;
                    }
                }
                // The fresh one goes on where the map stood at its beginning, and its old values fit.
                let Some(mut map) = at_fresh else { continue };
                let mut seq = fresh.start_seq();
                while let Some(event) =
                    fresh.try_recv().unwrap().filter(|event| event.seq() <= until)
                {
                    follow(&mut map, &mut seq, event);
                }
            }
            rounds
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap()
    });
    assert!(rounds > 0);
    let mut watch = store.watch().after(0).start().unwrap();
    let (mut map, mut seq) = (Contents::new(), 0);
    while let Some(event) = watch.try_recv().unwrap() {
        follow(&mut map, &mut seq, event);
    }
    assert_eq!((seq, map), (store.last_seq(), contents(&store)));
}

/// A write that did not see that somebody watches, and has no number yet: a watch begins behind it.
#[test]
fn a_watch_that_begins_waits_for_the_writes_under_way() {
    let place = Place::new();
    let (stops, stopped) = channel();
    let (release, goes_on) = channel();
    let goes_on = Mutex::new(goes_on);
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let fs = HookFs::hooked(move |op, path| {
        if op == Op::Stat && path.as_os_str() == CLOCK && is_armed.swap(false, Ordering::SeqCst) {
            stops.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
        }
        Ok(())
    });
    let options = small().background(false).file_system(fs);
    let store = ByteStore::open(place.store(), &options).unwrap();
    store.insert(b"a", b"1", Durability::Power).unwrap();
    // The mark of that sync comes before the next frame, and asks for the time with the shard locked.
    armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| store.insert(b"a", b"2", PROCESS).unwrap());
        stopped.recv().unwrap();
        let beginning = scope.spawn(|| store.watch().start().unwrap());
        std::thread::sleep(Duration::from_millis(50));
        release.send(()).unwrap();
        let mut watch = beginning.join().unwrap();
        assert_eq!((writing.join().unwrap().seq, watch.start_seq()), (2, 2));
        store.insert(b"a", b"3", PROCESS).unwrap();
        assert_eq!(drain(&mut watch), ["3 a: 2 -> 3"]);
    });
}

#[test]
fn a_slow_watch_is_told_what_it_missed() {
    let place = Place::new();
    let store = open(&place);
    let mut watch = store.watch().capacity(3).start().unwrap();
    for n in 0..10_u8 {
        store.insert(&[b'0' + n], b"v", PROCESS).unwrap();
    }
    let told = drain(&mut watch);
    assert_eq!(told.len(), 4);
    assert_eq!(told.last().unwrap(), "lagged 4 to 10");
    store.insert(b"new", b"v", PROCESS).unwrap();
    assert_eq!(drain(&mut watch), ["11 new: absent -> v"]);
    // What was missed is in the logs.
    let mut again = store.watch().after(3).start().unwrap();
    assert_eq!(drain(&mut again).len(), 8);
}

#[test]
fn a_watch_resumes_in_another_life_over_many_logs() {
    let place = Place::new();
    let mut expected = BTreeMap::new();
    for life in 0..3_u64 {
        let store = open(&place);
        for n in 0..200_u64 {
            let value = blob(n, 300);
            let seq = store.insert(&[u8::try_from(n % 7).unwrap()], &value, PROCESS).unwrap().seq;
            expected.insert(seq, value);
        }
        assert!(store.stats().logs > 2, "one log shows little");
        for after in [0, 1, life * 200, life * 200 + 57, store.last_seq()] {
            let mut watch = store.watch().after(after).start().unwrap();
            let told: BTreeMap<u64, Vec<u8>> = std::iter::from_fn(|| watch.try_recv().unwrap())
                .map(|event| match event {
                    Event::Set { seq, value, old: Old::Unknown, .. } => (seq, value),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(told, expected.range(after + 1..).map(|(n, v)| (*n, v.clone())).collect());
            store.insert(b"live", b"", PROCESS).unwrap();
            expected.insert(store.last_seq(), Vec::new());
            assert_eq!(drain(&mut watch).len(), 1, "after {after}");
        }
        // Only what concerns the key, out of the log, too.
        let mut watch = store.watch().after(0).key(b"live").start().unwrap();
        assert_eq!(drain(&mut watch).len(), 5 * usize::try_from(life + 1).unwrap());
        store.close().unwrap();
    }
}

#[test]
fn what_the_logs_do_not_reach_back_to_is_an_error() {
    let place = Place::new();
    let store = open(&place);
    for n in 0..10_u8 {
        store.insert(&[n], b"v", PROCESS).unwrap();
    }
    let unwritten = store.watch().after(11).start();
    assert!(matches!(unwritten, Err(Error::InvalidOption { option: "seq", .. })), "{unwritten:?}");
    // It has its files: a compaction takes nothing away from it.
    let mut before = store.watch().after(0).start().unwrap();
    store.compact().unwrap();
    assert_eq!(drain(&mut before).len(), 10);
    match store.watch().after(9).start() {
        Err(Error::WatchTooOld { after_seq: 9, oldest_seq: 10 }) => {}
        other => panic!("{other:?}"),
    }
    store.insert(b"x", b"v", PROCESS).unwrap();
    assert_eq!(drain(&mut store.watch().after(10).start().unwrap()), ["11 x: unknown -> v"]);
    drop(before);
    store.close().unwrap();
    // With a backup, the logs that lead from it to the latest snapshot are kept, and can be watched.
    let store = ByteStore::open(place.store(), &small().keep_backups(1)).unwrap();
    store.compact().unwrap();
    assert_eq!(drain(&mut store.watch().after(10).start().unwrap()), ["11 x: unknown -> v"]);
}

/// A store that syncs when it is told.
pub(crate) fn sim(background: bool) -> (Arc<SimFs>, ByteStore) {
    let fs = SimFs::new(7);
    let shared: Arc<dyn pkv_fs::Fs> = fs.clone();
    let options = Options::new()
        .file_system(shared)
        .log_way(LogWay::Written)
        .map_shards(4)
        .segment_bytes(64 * 1024, 64 * 1024)
        .background(background)
        .sync_interval(Duration::from_secs(3600));
    let store = ByteStore::open(Path::new(DIR), &options).unwrap();
    (fs, store)
}

#[test]
fn a_watch_of_durable_changes_waits_for_the_sync() {
    let (_fs, store) = sim(true);
    store.insert(b"a", b"1", PROCESS).unwrap();
    store.insert(b"a", b"2", PROCESS).unwrap();
    let mut power = store.watch().durability(Durability::Power).start().unwrap();
    let mut resumed = store.watch().durability(Durability::Power).after(1).start().unwrap();
    let mut process = store.watch().start().unwrap();
    store.insert(b"b", b"1", PROCESS).unwrap();
    assert_eq!(drain(&mut process), ["3 b: absent -> 1"]);
    assert_eq!(drain(&mut power), [""; 0]);
    assert_eq!(drain(&mut resumed), [""; 0]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (power.recv().unwrap(), resumed.recv().unwrap()));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiting.is_finished());
        store.sync().unwrap();
        let (of_power, of_resumed) = waiting.join().unwrap();
        assert_eq!(line(&of_power), "3 b: absent -> 1");
        assert_eq!(line(&of_resumed), "2 a: unknown -> 2");
    });
    assert_eq!(drain(&mut resumed), ["3 b: absent -> 1"]);
}

#[test]
fn a_poisoned_store_ends_its_watches() {
    for op in [Op::Sync, Op::Write] {
        // Without threads, so that the fault meets nobody else.
        let (fs, store) = sim(false);
        let mut process = store.watch().start().unwrap();
        let mut power = store.watch().durability(Durability::Power).start().unwrap();
        store.insert(b"a", b"1", PROCESS).unwrap();
        fs.inject(Fault::once(op, 1, FaultKind::Eio));
        let blocked = in_time("watches of a poisoned store", move || {
            std::thread::scope(|scope| {
                let power = scope.spawn(move || power.recv());
                store.insert(b"b", b"1", Durability::Power).unwrap_err();
                assert_eq!(line(&process.recv().unwrap()), "1 a: absent -> 1");
                if op == Op::Sync {
                    assert_eq!(line(&process.recv().unwrap()), "2 b: absent -> 1");
                }
                assert!(matches!(process.recv(), Err(Error::Poisoned(_))));
                // Said once to who goes over events, and then it is over.
                assert!(matches!(process.iter().next(), Some(Err(Error::Poisoned(_)))));
                assert!(process.iter().next().is_none());
                assert!(matches!(store.watch().start(), Err(Error::Poisoned(_))));
                power.join().unwrap()
            })
        });
        // What was not synced is not told as durable.
        assert!(matches!(blocked, Err(Error::Poisoned(_))), "{op}: {blocked:?}");
    }
}

#[test]
fn a_close_ends_a_watch_when_everything_was_told() {
    let (_fs, store) = sim(true);
    let mut process = store.watch().start().unwrap();
    let mut power = store.watch().durability(Durability::Power).start().unwrap();
    let waiting = in_time("watches of a closed store", move || {
        std::thread::scope(|scope| {
            let mut idle = store.watch().key(b"nobody").start().unwrap();
            let waiting = scope.spawn(move || idle.recv());
            store.insert(b"a", b"1", PROCESS).unwrap();
            store.close().unwrap();
            waiting.join().unwrap()
        })
    });
    assert!(matches!(waiting, Err(Error::Closed)));
    for watch in [&mut process, &mut power] {
        let told: Vec<String> = watch.iter().map(|event| line(&event.unwrap())).collect();
        assert_eq!(told, ["1 a: absent -> 1"]);
        assert!(matches!(watch.recv(), Err(Error::Closed)));
    }
}

/// Where it was a compaction whose write of the log failed, nobody told the watches: they waited until the
/// next write, which nobody makes who waits for an event.
#[test]
fn a_compaction_that_poisons_ends_the_watches() {
    let mut poisoned = 0;
    for nth in 1..20 {
        let (fs, store) = sim(false);
        store.insert(b"a", b"1", PROCESS).unwrap();
        let mut watch = store.watch().start().unwrap();
        fs.inject(Fault::once(Op::Write, nth, FaultKind::Eio));
        let compacted = store.compact();
        if !matches!(store.health(), pkv_store::Health::Poisoned(_)) {
            continue;
        }
        poisoned += 1;
        assert!(compacted.is_err());
        assert!(matches!(watch.try_recv(), Err(Error::Poisoned(_))), "write {nth}");
    }
    assert!(poisoned > 0);
}

#[test]
fn a_closure_under_a_lock_can_neither_begin_nor_wait() {
    let place = Place::new();
    let store = open(&place);
    let mut watch = store.watch().start().unwrap();
    store.insert(b"a", b"1", PROCESS).unwrap();
    let inside = store
        .get_with(b"a", |_| (store.watch().start().map(drop), watch.recv().map(drop)))
        .unwrap()
        .unwrap();
    assert!(matches!(inside, (Err(Error::Reentrant), Err(Error::Reentrant))));
    assert_eq!(drain(&mut watch).len(), 1);
}
