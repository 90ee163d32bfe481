//! Expiry: what is gone is gone for every call, stays gone, and is swept away.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use pkv_fs::{Fs, Op};
use pkv_sim::{Choice, Crash, Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, Error, Event, Health, LogWay, Old, Options, Store, Update};

use pkv_store::codec::StoredValue;
use pkv_store::{Inspection, ReadOnlyByteStore, Refreshed, salvage};

use crate::crash_rig::{DIR, contents};
use crate::support::{CLOCK, HookFs, Place, eventually, in_time, small};

const PROCESS: Durability = Durability::Process;
const T0: u64 = 1_700_000_000_000;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn options(fs: &Arc<SimFs>) -> Options {
    let fs: Arc<dyn Fs> = fs.clone();
    Options::new()
        .file_system(fs)
        .background(false)
        .map_shards(4)
        .segment_bytes(16 * 1024, 16 * 1024)
        .expiry(true)
}

fn open(fs: &Arc<SimFs>) -> ByteStore {
    ByteStore::open(Path::new(DIR), &options(fs)).unwrap()
}

fn disk() -> Arc<SimFs> {
    let fs = SimFs::new(3);
    fs.set_unix_time_ms(T0);
    fs
}

fn at(fs: &SimFs, seconds: u64) {
    fs.set_unix_time_ms(T0 + seconds * 1000);
}

#[test]
fn an_entry_lives_until_its_deadline_and_not_a_millisecond_longer() {
    let fs = disk();
    let store = open(&fs);
    assert!(!store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap().existed);
    store.insert(b"b", b"2", PROCESS).unwrap();
    assert_eq!(store.ttl(b"a").unwrap(), Some(Some(secs(10))));
    assert_eq!(store.ttl(b"b").unwrap(), Some(None));
    assert_eq!(store.ttl(b"c").unwrap(), None);
    fs.set_unix_time_ms(T0 + 9_999);
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    assert_eq!(store.ttl(b"a").unwrap(), Some(Some(Duration::from_millis(1))));
    at(&fs, 10);
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.ttl(b"a").unwrap(), None);
    assert_eq!(store.get(b"b").unwrap().as_deref(), Some(b"2".as_slice()));
    // A part of a millisecond is one.
    store.insert_with_ttl(b"short", b"", Duration::from_nanos(1), PROCESS).unwrap();
    assert!(store.contains_key(b"short").unwrap());
    fs.set_unix_time_ms(T0 + 10_001);
    assert!(!store.contains_key(b"short").unwrap());
    store.insert_with_ttl(b"long", b"", Duration::MAX, PROCESS).unwrap();
    assert!(store.contains_key(b"long").unwrap());
}

/// Every call that can see an entry, on a disk where one has expired and one has not.
#[test]
fn no_call_sees_what_has_expired() {
    let fs = disk();
    let store = open(&fs);
    let large = vec![7; 5000];
    let view = store.view().unwrap();
    store.insert_with_ttl(b"gone", b"1", secs(10), PROCESS).unwrap();
    store.insert_with_ttl(b"gone large", &large, secs(10), PROCESS).unwrap();
    store.insert_with_ttl(b"here", b"2", secs(20), PROCESS).unwrap();
    store.insert_with_ttl(b"here large", &large, secs(20), PROCESS).unwrap();
    let later_view = store.view().unwrap();
    at(&fs, 10);
    assert_eq!(
        contents(&store).into_keys().collect::<Vec<_>>(),
        [b"here".to_vec(), b"here large".to_vec()]
    );
    assert!(store.iter().all(|entry| matches!(entry.unwrap().1.as_slice(), [b'2'] | [7, ..])));
    assert_eq!(
        store.get_many([b"gone".as_slice(), b"here", b"gone large", b"here large"]).unwrap(),
        [None, Some(b"2".to_vec()), None, Some(large)]
    );
    assert_eq!(later_view.get(b"gone").unwrap(), None);
    assert_eq!(later_view.get(b"here").unwrap().as_deref(), Some(b"2".as_slice()));
    assert_eq!(later_view.iter().count(), 2);
    assert_eq!(view.iter().count(), 0);

    let conditions = |key: &[u8]| {
        let commit = |batch: pkv_store::ByteBatch<'_>| match batch.insert(b"x", b"").commit(PROCESS)
        {
            Ok(_) => true,
            Err(Error::ConditionFailed { .. }) => false,
            Err(other) => panic!("{other}"),
        };
        [
            commit(store.batch().if_absent(key)),
            commit(store.batch().if_present(key)),
            commit(store.batch().if_equals(key, b"1")),
            commit(store.batch().if_equals(key, b"2")),
        ]
    };
    assert_eq!(conditions(b"gone"), [true, false, false, false]);
    assert_eq!(conditions(b"here"), [false, true, false, true]);

    assert!(!store.remove(b"gone", PROCESS).unwrap().existed);
    store.insert_with_ttl(b"gone", b"1", Duration::ZERO, PROCESS).unwrap();
    assert!(!store.compare_and_set(b"gone", Some(b"1"), Some(b"3"), PROCESS).unwrap());
    store.insert_with_ttl(b"gone", b"1", Duration::ZERO, PROCESS).unwrap();
    assert!(store.compare_and_set(b"gone", None, Some(b"3"), PROCESS).unwrap());
    store.insert_with_ttl(b"gone", b"1", Duration::ZERO, PROCESS).unwrap();
    let mut seen = None;
    store
        .update(b"gone", PROCESS, |current| {
            seen = Some(current.map(<[u8]>::to_vec));
            Update::Keep
        })
        .unwrap();
    assert_eq!(seen, Some(None));
    store.insert_with_ttl(b"gone", b"1", Duration::ZERO, PROCESS).unwrap();
    assert!(!store.set_ttl(b"gone", Some(secs(100)), PROCESS).unwrap());
    assert_eq!(store.get(b"gone").unwrap(), None);
    store.insert_with_ttl(b"gone", b"1", Duration::ZERO, PROCESS).unwrap();
    assert!(!store.insert(b"gone", b"4", PROCESS).unwrap().existed);
}

#[test]
fn a_new_value_has_no_deadline_and_a_changed_one_keeps_it() {
    let fs = disk();
    let store: Store<String, u64> = options(&fs).open(DIR).unwrap();
    store.insert_with_ttl("a", &1, secs(10)).unwrap();
    store.update("a", |n| n.map(|n| n + 1)).unwrap();
    assert_eq!(store.ttl("a").unwrap(), Some(Some(secs(10))));
    store.increment("a", 5).unwrap();
    assert_eq!(store.ttl("a").unwrap(), Some(Some(secs(10))));
    assert_eq!(store.get("a").unwrap(), Some(7));
    assert_eq!(store.replace("a", &9).unwrap(), Some(7));
    assert_eq!(store.ttl("a").unwrap(), Some(None));
    assert!(store.set_ttl("a", Some(secs(3))).unwrap());
    assert_eq!(store.ttl("a").unwrap(), Some(Some(secs(3))));
    store.insert("a", &1).unwrap();
    assert_eq!(store.ttl("a").unwrap(), Some(None));
    store
        .batch()
        .insert_with_ttl("a", &1, secs(4))
        .insert_with_ttl("b", &2, secs(5))
        .commit()
        .unwrap();
    assert_eq!(store.ttl("a").unwrap(), Some(Some(secs(4))));
    at(&fs, 4);
    assert_eq!(store.get_many(["a", "b"]).unwrap(), [None, Some(2)]);
    // What a transaction read and found gone is a condition as well.
    let done = store.transact(|t| {
        let gone = t.get("a")?.is_none();
        t.insert("c", &u64::from(gone))?;
        Ok(gone)
    });
    assert!(done.unwrap());
    assert_eq!(store.get("c").unwrap(), Some(1));
    assert_eq!(store.take("a").unwrap(), None);
    assert_eq!(store.take("b").unwrap(), Some(2));
    assert_eq!(store.retain(|_, _| false).unwrap(), 1);
}

#[test]
fn deadlines_hold_over_restarts_kills_and_snapshots() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    store.compact().unwrap();
    store.insert_with_ttl(b"b", b"2", secs(20), PROCESS).unwrap();
    let killed = fs.survivors(Crash::Kill, Choice::Nothing);
    store.close().unwrap();
    for fs in [fs, killed] {
        at(&fs, 9);
        let store = open(&fs);
        assert_eq!(contents(&store).len(), 2);
        at(&fs, 10);
        assert_eq!(contents(&store).len(), 1);
        assert_eq!(store.ttl(b"b").unwrap(), Some(Some(secs(10))));
        store.close().unwrap();
    }
}

#[test]
fn that_one_of_many_has_expired_is_told_once_it_is_recorded() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(20), PROCESS).unwrap();
    at(&fs, 10);
    let seq = store.last_seq();
    let mut told = Vec::new();
    let each = |number, value: Option<&[u8]>| {
        told.push((number, value.map(<[u8]>::to_vec), store.last_seq() - seq));
    };
    store.get_many_with([b"a".as_slice(), b"b", b"c"], each).unwrap();
    told.sort_unstable();
    assert_eq!(told, [(0, None, 1), (1, Some(b"2".to_vec()), 0), (2, None, 1)]);
}

/// Every way to learn that an entry has expired, then a kill, and a clock that was set back.
#[test]
fn what_was_seen_to_be_gone_does_not_come_back() {
    type Look = fn(&ByteStore) -> bool;
    let looks: [(&str, Look); 9] = [
        ("get", |store| store.get(b"a").unwrap().is_none()),
        ("contains_key", |store| !store.contains_key(b"a").unwrap()),
        ("get_many", |store| store.get_many([b"a".as_slice()]).unwrap() == [None]),
        ("iter", |store| store.iter().count() == 1),
        ("view", |store| store.view().unwrap().get(b"a").unwrap().is_none()),
        ("ttl", |store| store.ttl(b"a").unwrap().is_none()),
        ("remove", |store| !store.remove(b"a", PROCESS).unwrap().existed),
        ("condition", |store| store.batch().if_absent(b"a").commit(PROCESS).is_ok()),
        ("sweep", |store| store.sweep().unwrap() == 1),
    ];
    for (name, look) in looks {
        for reopened in [false, true] {
            let fs = disk();
            let store = open(&fs);
            store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
            store.insert_with_ttl(b"b", b"2", secs(1000), PROCESS).unwrap();
            at(&fs, 10);
            assert!(look(&store), "{name}");
            let fs = if reopened {
                store.compact().unwrap();
                store.close().unwrap();
                fs
            } else {
                let killed = fs.survivors(Crash::Kill, Choice::Nothing);
                std::mem::forget(store);
                killed
            };
            at(&fs, 5);
            let store = open(&fs);
            assert_eq!(store.get(b"a").unwrap(), None, "{name}");
            assert_eq!(contents(&store).into_keys().collect::<Vec<_>>(), [b"b".to_vec()], "{name}");
        }
    }
}

#[test]
fn a_clock_that_is_set_back_brings_nothing_back_and_times_to_live_go_on() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(1000), PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(3000), PROCESS).unwrap();
    at(&fs, 2000);
    assert_eq!(store.get(b"a").unwrap(), None);
    at(&fs, 0);
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.ttl(b"b").unwrap(), Some(Some(secs(1000))));
    at(&fs, 999);
    assert!(store.contains_key(b"b").unwrap());
    at(&fs, 1000);
    assert!(!store.contains_key(b"b").unwrap());
}

#[test]
fn a_reader_is_told_where_the_log_takes_no_writes_too() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    fs.inject(Fault::once(pkv_fs::Op::Sync, 1, FaultKind::Eio));
    store.sync().unwrap_err();
    at(&fs, 10);
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.iter().count(), 0);
    at(&fs, 0);
    assert_eq!(store.get(b"a").unwrap(), None);
}

/// A store at its memory cap once could not be swept: the sweep records the time first, and that was one
/// write more than the cap allowed. So what had expired stayed for good, and the store full.
#[test]
fn a_store_that_is_full_of_what_has_expired_is_swept() {
    let fs = disk();
    let open = || ByteStore::open(Path::new(DIR), &options(&fs).max_memory_bytes(1 << 20)).unwrap();
    let store = open();
    let insert = |n: u32| store.insert_with_ttl(&n.to_le_bytes(), &[7; 100], secs(10), PROCESS);
    let full = (0..100_000).find(|n| insert(*n).is_err()).unwrap();
    assert!(matches!(insert(full), Err(Error::MemoryCap { .. })));
    at(&fs, 10);
    // Conditions and readers depend on the record as well.
    let first = 0_u32.to_le_bytes();
    assert_eq!(store.get(&first).unwrap(), None);
    store.batch().if_absent(&first).remove(&first).commit(PROCESS).unwrap();
    assert_eq!(store.sweep().unwrap(), u64::from(full) - 1);
    assert!(store.is_empty());
    insert(full).unwrap();
    let seen = full.to_le_bytes();
    (full + 1..100_000).find(|n| insert(*n).is_err()).unwrap();
    at(&fs, 20);
    assert_eq!(store.get(&seen).unwrap(), None);
    store.close().unwrap();
    at(&fs, 0);
    assert_eq!(open().get(&seen).unwrap(), None, "it came back with the clock");
}

/// Of a counter that cannot go below zero an error says that it was not there.
#[test]
fn what_an_error_says_to_be_gone_does_not_come_back() {
    let fs = disk();
    let store: Store<String, u64> = options(&fs).open(DIR).unwrap();
    store.insert_with_ttl("left", &7, secs(10)).unwrap();
    at(&fs, 10);
    assert!(matches!(store.decrement("left", 1), Err(Error::Overflow { .. })));
    store.close().unwrap();
    at(&fs, 0);
    let store: Store<String, u64> = options(&fs).open(DIR).unwrap();
    assert_eq!(store.get("left").unwrap(), None);
}

#[test]
fn a_store_that_expires_nothing_writes_nothing_for_it() {
    let fs = disk();
    let store = open(&fs);
    store.insert(b"a", b"1", PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(10), PROCESS).unwrap();
    let seq = store.last_seq();
    at(&fs, 9);
    contents(&store);
    store.get(b"b").unwrap();
    assert_eq!(store.sweep().unwrap(), 0);
    assert_eq!((store.last_seq(), store.len()), (seq, 2));
    at(&fs, 10);
    for _ in 0..5 {
        assert_eq!(store.get(b"b").unwrap(), None);
        assert_eq!(store.iter().count(), 1);
    }
    assert_eq!(store.last_seq(), seq + 1, "one record, however often it is looked at");
    assert_eq!(store.len(), 2, "the record does not count, the unswept entry does");
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!((store.last_seq(), store.len()), (seq + 2, 1));
    assert_eq!(store.stats().entries, 1);
    store.clear(PROCESS).unwrap();
    assert!(store.is_empty());
    assert_eq!(store.iter().count(), 0);
}

#[test]
fn the_other_way_of_opening_is_an_error_that_says_so() {
    let place = Place::new();
    let timed = Options::new().expiry(true);
    for (first, second, has_expiry) in
        [(&timed, &Options::new(), true), (&Options::new(), &timed, false)]
    {
        let path = place.at(if has_expiry { "timed" } else { "plain" });
        let store: Store<String, u64> = first.open(&path).unwrap();
        store.insert("a", &1).unwrap();
        store.close().unwrap();
        match second.open::<String, u64>(&path) {
            Err(Error::Expiry { has_expiry: told, .. }) => assert_eq!(told, has_expiry),
            other => panic!("{other:?}"),
        }
        assert!(matches!(first.open::<String, i64>(&path), Err(Error::WrongType { .. })));
        let store: Store<String, u64> = first.open(&path).unwrap();
        assert_eq!(store.get("a").unwrap(), Some(1));
        let ttl = store.insert_with_ttl("a", &1, secs(1));
        assert_eq!(matches!(ttl, Err(Error::InvalidOption { option: "expiry", .. })), !has_expiry);
        let batch = store.batch().insert_with_ttl("a", &1, secs(1)).commit();
        assert_eq!(batch.is_err(), !has_expiry);
        assert_eq!(store.sweep().is_err(), !has_expiry);
    }
}

#[test]
fn the_key_of_the_record_is_refused_and_hidden() {
    let fs = disk();
    let store = open(&fs);
    let key = b"\xff\xfepkv: the highest time seen\xfe\xff";
    store.insert_with_ttl(b"a", b"1", Duration::ZERO, PROCESS).unwrap();
    assert_eq!(store.get(b"a").unwrap(), None);
    assert_eq!(store.get(key).unwrap(), None);
    let refused = [
        store.insert(key, b"", PROCESS).map(drop),
        store.insert_with_ttl(key, b"", secs(1), PROCESS).map(drop),
        store.remove(key, PROCESS).map(drop),
        store.set_ttl(key, None, PROCESS).map(drop),
        store.batch().insert(key, b"").commit(PROCESS).map(drop),
        store.batch().remove(key).commit(PROCESS).map(drop),
    ];
    assert!(
        refused.iter().all(|refused| matches!(refused, Err(Error::ReservedKey))),
        "{refused:?}"
    );
    // In a store without expiry it is a key like any other.
    let place = Place::new();
    let plain = ByteStore::open(place.store(), &Options::new()).unwrap();
    plain.insert(key, b"1", PROCESS).unwrap();
    assert!(plain.contains_key(key).unwrap());
}

#[test]
fn a_watch_sees_values_without_deadlines_and_the_sweep_as_removals() {
    let fs = disk();
    let store = open(&fs);
    let mut watch = store.watch().start().unwrap();
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    store.batch().insert_with_ttl(b"a", &[9; 4000], secs(10)).commit(PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(10), PROCESS).unwrap();
    at(&fs, 10);
    store.insert(b"b", b"3", PROCESS).unwrap();
    store.sweep().unwrap();
    let mut told = Vec::new();
    while let Some(event) = watch.try_recv().unwrap() {
        told.push(match event {
            Event::Set { key, value, old, .. } => (key, Some(value), old),
            Event::Remove { key, old, .. } => (key, None, old),
            other => panic!("{other:?}"),
        });
    }
    let (a, b) = (b"a".to_vec(), b"b".to_vec());
    let expected = [
        (a.clone(), Some(b"1".to_vec()), Old::Absent),
        (a.clone(), Some(vec![9; 4000]), Old::Value(b"1".to_vec())),
        (b.clone(), Some(b"2".to_vec()), Old::Absent),
        (b, Some(b"3".to_vec()), Old::Absent),
        (a, None, Old::Value(vec![9; 4000])),
    ];
    assert_eq!(told, expected);
    // Out of the log the same, without old values.
    let mut again = store.watch().after(0).start().unwrap();
    for (key, value, _) in expected {
        match again.recv_timeout(secs(60)).unwrap() {
            Some(Event::Set { key: k, value: v, old: Old::Unknown, .. }) => {
                assert_eq!((k, Some(v)), (key, value));
            }
            Some(Event::Remove { key: k, .. }) => assert_eq!((k, None), (key, value)),
            other => panic!("{other:?}"),
        }
    }
    assert!(again.try_recv().unwrap().is_none());
}

#[test]
fn the_store_sweeps_by_itself_and_closes_in_the_middle_of_it() {
    let place = Place::new();
    let options = Options::new().expiry(true).sweep_interval(Duration::from_millis(5));
    let store: Store<u64, String> = options.open(place.store()).unwrap();
    // The first pass has found nothing; what comes now wakes the thread.
    std::thread::sleep(Duration::from_millis(30));
    for n in 0..3000 {
        let ttl = if n % 3 == 0 { secs(3600) } else { Duration::from_millis(1 + n % 50) };
        store.insert_with_ttl(&n, "value", ttl).unwrap();
    }
    eventually("the sweep", || store.len() == 1000);
    assert_eq!(store.iter().count(), 1000);
    assert_eq!(store.stats().entries, 1000);
    for n in 0..3000 {
        store.insert_with_ttl(&n, "value", Duration::ZERO).unwrap();
    }
    in_time("a close amid a sweep", move || store.close().unwrap());
    let store: Store<u64, String> = options.open(place.store()).unwrap();
    assert_eq!(store.iter().count(), 0);
    eventually("the sweep of another life", || store.is_empty());
}

/// A reader beside the writer hides what has expired, and knows the writer's time when that is a later one.
#[test]
fn a_reader_hides_what_has_expired() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(20), PROCESS).unwrap();
    store.insert(b"c", b"3", PROCESS).unwrap();
    let mut reader = ReadOnlyByteStore::open(Path::new(DIR), &options(&fs)).unwrap();
    assert_eq!((reader.len(), reader.iter().count()), (3, 3));
    assert_eq!(reader.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    at(&fs, 10);
    assert_eq!(reader.get(b"a").unwrap(), None);
    assert!(!reader.contains_key(b"a").unwrap());
    assert_eq!(reader.iter().count(), 2);
    // In one reader, too, nothing comes back.
    at(&fs, 0);
    assert_eq!(reader.refresh().unwrap(), Refreshed::Unchanged);
    assert_eq!(reader.get(b"a").unwrap(), None);

    // The writer records the time at which it has told that something is gone.
    at(&fs, 20);
    assert_eq!(store.get(b"b").unwrap(), None);
    at(&fs, 0);
    assert_eq!(reader.refresh().unwrap(), Refreshed::Followed(1));
    assert_eq!((reader.get(b"b").unwrap(), reader.iter().count()), (None, 1));
    assert_eq!(reader.len(), 3, "the record of time is no entry");
    let late = ReadOnlyByteStore::open(Path::new(DIR), &options(&fs)).unwrap();
    assert_eq!((late.get(b"b").unwrap(), late.iter().count(), late.len()), (None, 1, 3));

    let plain = options(&fs).expiry(false);
    let refused = ReadOnlyByteStore::open(Path::new(DIR), &plain).unwrap_err();
    assert!(matches!(refused, Error::Expiry { has_expiry: true, .. }), "{refused}");
}

/// Deadlines are a part of what is whole.
#[test]
fn a_salvaged_entry_keeps_its_deadline() {
    let fs = disk();
    let store = open(&fs);
    store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
    store.insert_with_ttl(b"b", b"2", secs(20), PROCESS).unwrap();
    at(&fs, 10);
    assert_eq!(store.get(b"a").unwrap(), None);
    store.close().unwrap();

    at(&fs, 0);
    salvage(DIR, "/rescued", &options(&fs).expiry(false)).unwrap();
    let rescued = ByteStore::open("/rescued", &options(&fs)).unwrap();
    assert_eq!(rescued.get(b"a").unwrap(), None, "the record of time is lost");
    assert_eq!(rescued.ttl(b"b").unwrap(), Some(Some(secs(10))));
}

/// For tools: a deadline as it stands goes from store to store.
#[test]
fn a_deadline_can_be_given_and_is_shown_as_it_was() {
    let fs = disk();
    let store = open(&fs);
    store.insert_until(b"a", b"1", T0 + 5000, PROCESS).unwrap();
    let batch = store.batch().insert_until(b"b", b"2", T0 + 1).insert_until(b"gone", b"", 0);
    batch.insert(b"c", b"3").commit(PROCESS).unwrap();
    assert_eq!(store.ttl(b"a").unwrap(), Some(Some(secs(5))));
    assert_eq!(store.get(b"gone").unwrap(), None);
    assert!(store.has_expiry());
    let shown = || {
        let fs: Arc<dyn Fs> = fs.clone();
        let look = Inspection::on(&fs, DIR).unwrap();
        let mut entries: Vec<_> = look
            .iter_entries()
            .map(Result::unwrap)
            .map(|entry| {
                assert_eq!(look.entry(&entry.key).as_ref(), Some(&entry));
                (entry.key, entry.expires_ms)
            })
            .collect();
        entries.sort();
        entries
    };
    let (a, b, c) = (b"a".to_vec(), b"b".to_vec(), b"c".to_vec());
    let expected = [(a.clone(), Some(T0 + 5000)), (b, Some(T0 + 1)), (c.clone(), None)];
    assert_eq!(shown(), expected);
    fs.set_unix_time_ms(T0 + 1);
    assert_eq!(shown(), [(a, Some(T0 + 5000)), (c, None)]);
    store.close().unwrap();

    let plain: Arc<dyn Fs> = SimFs::new(4);
    let options = Options::new().file_system(plain).background(false);
    let store = ByteStore::open(DIR, &options).unwrap();
    for refused in [
        store.insert_until(b"a", b"1", T0, PROCESS).map(drop),
        store.batch().insert_until(b"a", b"1", T0).commit(PROCESS).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: "expiry", .. }), "{error}");
    }
    assert!(!store.has_expiry() && store.is_empty());
}

#[test]
fn what_is_stored_is_taken_apart() {
    let mut stored = 99_u64.to_le_bytes().to_vec();
    stored.extend_from_slice(b"value");
    let value = StoredValue::Value { expires_ms: Some(99), value: b"value" };
    assert_eq!(StoredValue::of(b"key", &stored), value);
    stored[..8].fill(0);
    let value = StoredValue::Value { expires_ms: None, value: b"value" };
    assert_eq!(StoredValue::of(b"key", &stored), value);
    // Whatever bytes stand there.
    let value = StoredValue::Value { expires_ms: None, value: b"" };
    assert_eq!(StoredValue::of(b"key", b"short"), value);
}

/// A clear that waited for its sync kept waiting whoever read what had expired.
#[test]
fn a_read_does_not_wait_for_the_sync_of_a_clear() {
    let place = Place::new();
    let (syncs, syncing) = channel();
    let (release, released) = channel();
    let released = Mutex::new(released);
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let fs = HookFs::hooked(move |op, _| {
        if op == Op::Sync && is_armed.swap(false, Ordering::SeqCst) {
            syncs.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
        Ok(())
    });
    let options = small().background(false).expiry(true).file_system(fs);
    let store = ByteStore::open(place.store(), &options).unwrap();
    store.insert(b"a", b"1", Durability::Power).unwrap();
    armed.store(true, Ordering::SeqCst);
    let read = std::thread::scope(|scope| {
        scope.spawn(|| store.clear(Durability::Power).unwrap());
        syncing.recv().unwrap();
        let (reads, read) = channel();
        let store = &store;
        scope.spawn(move || {
            store.insert_with_ttl(b"b", b"2", Duration::ZERO, PROCESS).unwrap();
            reads.send(store.get(b"b").unwrap())
        });
        let read = read.recv_timeout(secs(20));
        release.send(()).unwrap();
        read
    });
    assert_eq!(read, Ok(None));
}

/// What a clear takes away, the record with all else, it takes from what is known of the record, too.
#[test]
fn behind_a_clear_the_time_is_recorded_anew() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let fs = disk();
        let store = ByteStore::open(Path::new(DIR), &options(&fs).log_way(way)).unwrap();
        store.insert_with_ttl(b"a", b"1", secs(10), PROCESS).unwrap();
        at(&fs, 20);
        assert_eq!(store.get(b"a").unwrap(), None);
        if way == LogWay::Written {
            // The first write is the clear, the second the new record: that one finds no space.
            fs.inject(Fault::once(Op::Write, 2, FaultKind::Enospc));
        }
        store.clear(PROCESS).unwrap();
        store.insert_with_ttl(b"b", b"2", Duration::ZERO, PROCESS).unwrap();
        assert_eq!(store.get(b"b").unwrap(), None);
        let killed = fs.survivors(Crash::Kill, Choice::Nothing);
        std::mem::forget(store);
        at(&killed, 5);
        assert_eq!(open(&killed).get(b"b").unwrap(), None, "{way:?}");
    }
}

/// The sweep looks at a copy. What was renewed meanwhile stays.
#[test]
fn the_sweep_leaves_what_was_renewed_while_it_looked() {
    let place = Place::new();
    let shared: Arc<OnceLock<Weak<ByteStore>>> = Arc::default();
    let armed = Arc::new(AtomicBool::new(false));
    let (is_armed, renewing) = (Arc::clone(&armed), Arc::clone(&shared));
    let fs = HookFs::hooked(move |op, path| {
        // It asks for the time when it comes to an entry of the copy.
        if op == Op::Stat && path.as_os_str() == CLOCK && is_armed.swap(false, Ordering::SeqCst) {
            let store = renewing.get().and_then(Weak::upgrade).unwrap();
            store.insert_with_ttl(b"a", b"2", secs(3600), PROCESS).unwrap();
        }
        Ok(())
    });
    let options = small().background(false).expiry(true).file_system(fs);
    let store = Arc::new(ByteStore::open(place.store(), &options).unwrap());
    shared.set(Arc::downgrade(&store)).unwrap();
    store.insert_with_ttl(b"a", b"1", Duration::ZERO, PROCESS).unwrap();
    armed.store(true, Ordering::SeqCst);
    assert_eq!(store.sweep().unwrap(), 0);
    assert!(!armed.load(Ordering::SeqCst));
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"2".as_slice()));
}

/// An interval that no clock reaches, for who sweeps by hand, was a panic of the sweep's thread, and that
/// poisoned the store.
#[test]
fn an_interval_for_ever_leaves_the_sweep_to_the_caller() {
    let place = Place::new();
    let options = small().expiry(true).sweep_interval(Duration::MAX);
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.insert_with_ttl(&1, &1, Duration::ZERO).unwrap();
    // The thread has had its first pass, and rests.
    std::thread::sleep(Duration::from_millis(100));
    store.insert_with_ttl(&2, &2, Duration::ZERO).unwrap();
    assert!(matches!(store.health(), Health::Good), "{:?}", store.health());
    assert!(store.sweep().unwrap() >= 1 && store.is_empty());
    in_time("a close", move || store.close().unwrap());
}

/// The sweep sleeps until the earliest deadline that it knows of: each way to set one wakes it.
#[test]
fn whatever_sets_a_deadline_wakes_the_sweep() {
    let place = Place::new();
    let options = small().expiry(true).sweep_interval(Duration::from_millis(1));
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    let ttl = Duration::from_millis(20);
    let ways: [&dyn Fn(); 3] = [
        &|| assert!(!store.insert_with_ttl(&1, &1, ttl).unwrap()),
        &|| store.batch().insert_with_ttl(&1, &1, ttl).commit().unwrap(),
        &|| {
            store.insert(&1, &1).unwrap();
            assert!(store.set_ttl(&1, Some(ttl)).unwrap());
        },
    ];
    for (n, set) in ways.iter().enumerate() {
        // The pass before has found nothing, and the thread sleeps for a minute.
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        set();
        eventually("the sweep", || store.is_empty());
        assert!(start.elapsed() < secs(30), "way {n}");
    }
}

/// The sweep writes, and a writer waits for the threads that make room. They were ended before it was: a
/// close amid a sweep then waited for ever.
#[test]
fn a_close_ends_the_sweep_before_the_threads_that_it_waits_for() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let place = Place::new();
        // One step of the sweep fills many segments.
        let options = Options::new()
            .expiry(true)
            .sweep_interval(Duration::from_millis(1))
            .map_shards(1)
            .log_way(way)
            .segment_bytes(16 * 1024, 16 * 1024);
        let store: Store<u64, String> = options.open(place.store()).unwrap();
        for n in 0..3000 {
            store.insert_with_ttl(&n, "value", Duration::from_millis(500)).unwrap();
        }
        eventually("the sweep", || store.len() < 3000);
        in_time("a close amid a sweep", move || store.close().unwrap());
        let store: Store<u64, String> = options.open(place.store()).unwrap();
        eventually("the sweep of another life", || store.is_empty());
    }
}
