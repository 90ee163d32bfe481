//! The public face, used as a user would: every method, every limit, every refusal.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use pkv_fs::Op;
use pkv_store::{ByteStore, Durability, Error, Health, Options, Phase, Store, Update};

use crate::support::{HookFs, Place, blob, contents, eventually, in_time, small};

const PROCESS: Durability = Durability::Process;

#[test]
fn what_was_written_is_there_after_reopening() {
    let place = Place::new();
    let path = place.store();
    let store: Store<String, u64> = Store::open(&path).unwrap();
    for i in 0..10_000_u64 {
        assert!(!store.insert(&format!("key {i}"), &i).unwrap());
    }
    assert!(store.remove("key 7").unwrap());
    assert!(!store.remove("key 7").unwrap());
    assert_eq!(store.update("key 8", |n| Some(n.unwrap() + 100)).unwrap(), Some(108));
    assert_eq!(store.len(), 9_999);
    store.close().unwrap();

    let store: Store<String, u64> = Store::open(&path).unwrap();
    assert_eq!(store.len(), 9_999);
    assert_eq!(store.get("key 8").unwrap(), Some(108));
    assert_eq!(store.get("key 7").unwrap(), None);
    assert_eq!(store.get("key 9999").unwrap(), Some(9999));
    store.compact().unwrap();
    store.insert("after", &1).unwrap();
    store.insert_with("power", &2, Durability::Power).unwrap();
    drop(store);

    let store: Store<String, u64> = Store::open(&path).unwrap();
    assert_eq!(store.len(), 10_001);
    assert_eq!(store.get("after").unwrap(), Some(1));
    assert_eq!(store.get("power").unwrap(), Some(2));
    assert!(store.recovery_report().snapshot.is_some());
    assert!(store.recovery_report().torn.is_none());
    drop(store);
    assert!(matches!(Options::new().open::<u64, u64>(&path), Err(Error::WrongType { .. })));
}

#[test]
fn every_typed_method_does_what_it_says() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    assert!(store.is_empty());
    assert_eq!(store.get("a").unwrap(), None);
    assert_eq!(store.get_with("a", <[u8]>::len).unwrap(), None);
    assert!(!store.contains_key("a").unwrap());
    assert_eq!(store.replace("a", &1).unwrap(), None);
    assert_eq!(store.replace("a", &2).unwrap(), Some(1));
    assert!(store.insert("a", &3).unwrap());
    assert_eq!(store.get_with("a", <[u8]>::to_vec).unwrap(), Some(3_u64.to_le_bytes().to_vec()));
    assert!(store.contains_key("a").unwrap());
    assert_eq!(store.take("a").unwrap(), Some(3));
    assert_eq!(store.take("a").unwrap(), None);
    assert!(!store.remove_with("a", Durability::Power).unwrap());

    assert_eq!(store.update("n", |n| n.map(|n| n + 1)).unwrap(), None);
    assert!(!store.contains_key("n").unwrap());
    assert_eq!(store.update("n", |n| Some(n.unwrap_or(7))).unwrap(), Some(7));
    assert_eq!(store.update_with("n", Durability::Power, |n| n.map(|n| n * 2)).unwrap(), Some(14));
    assert_eq!(store.update("n", |_| None).unwrap(), None);
    assert!(store.is_empty());

    assert!(!store.compare_and_set("c", Some(&1), Some(&2)).unwrap());
    assert!(store.compare_and_set::<_, u64>("c", None, None).unwrap());
    assert!(store.is_empty());
    assert!(store.compare_and_set("c", None, Some(&1)).unwrap());
    assert!(!store.compare_and_set("c", None, Some(&2)).unwrap());
    assert!(!store.compare_and_set("c", Some(&2), None).unwrap());
    assert!(store.compare_and_set("c", Some(&1), Some(&5)).unwrap());
    assert_eq!(store.get("c").unwrap(), Some(5));
    assert!(store.compare_and_set("c", Some(&5), None).unwrap());
    assert!(store.is_empty());

    let batch = store.batch().insert("x", &1).insert("y", &2).remove("z");
    assert_eq!((batch.len(), batch.is_empty()), (3, false));
    batch.commit().unwrap();
    assert!(store.batch().is_empty());
    store.batch().commit().unwrap();
    store.batch().remove("x").insert("w", &9).commit_with(Durability::Power).unwrap();
    let all: BTreeMap<String, u64> = store.iter().map(Result::unwrap).collect();
    assert_eq!(all, BTreeMap::from([("w".into(), 9), ("y".into(), 2)]));
    let again: BTreeMap<String, u64> = (&store).into_iter().map(Result::unwrap).collect();
    assert_eq!(again, all);
    let mut keys: Vec<String> = store.keys().map(Result::unwrap).collect();
    keys.sort();
    assert_eq!(keys, ["w", "y"]);
    let mut values: Vec<u64> = store.values().map(Result::unwrap).collect();
    values.sort_unstable();
    assert_eq!(values, [2, 9]);
    assert_eq!(store.retain(|key, value| key == "y" && *value == 2).unwrap(), 1);
    assert_eq!(store.len(), 1);
    store.clear().unwrap();
    assert!(store.is_empty());
    assert_eq!(store.iter().count(), 0);
    store.sync().unwrap();
    assert_eq!(store.bytes().durable_seq(), store.bytes().last_seq());
    assert!(format!("{store:?}").contains("entries: 0"));
    store.close().unwrap();
}

#[test]
fn every_method_on_bytes_does_what_it_says() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!((store.last_seq(), store.durable_seq(), store.is_empty()), (0, 0, true));
    store.wait_durable(0).unwrap();
    let first = store.insert(b"a", b"1", PROCESS).unwrap();
    assert_eq!((first.seq, first.existed), (1, false));
    let second = store.insert(b"a", b"2", PROCESS).unwrap();
    assert_eq!((second.seq, second.existed), (2, true));
    let nothing = store.remove(b"b", PROCESS).unwrap();
    assert_eq!((nothing.seq, nothing.existed), (2, false), "removing nothing logs nothing");
    let kept = store.update(b"a", PROCESS, |value| {
        assert_eq!(value, Some(&b"2"[..]));
        Update::Keep
    });
    assert_eq!(kept.unwrap().seq, 2);
    assert_eq!(store.update(b"b", PROCESS, |_| Update::Remove).unwrap().seq, 2);
    assert_eq!(store.update(b"b", PROCESS, |_| Update::Set(b"3".to_vec())).unwrap().seq, 3);
    assert_eq!(store.get(b"b").unwrap(), Some(b"3".to_vec()));
    assert_eq!(store.get_with(b"b", <[u8]>::len).unwrap(), Some(1));
    assert!(store.contains_key(b"b").unwrap());
    let removed = store.update(b"b", PROCESS, |_| Update::Remove).unwrap();
    assert_eq!((removed.seq, removed.existed), (4, true));
    assert!(store.compare_and_set(b"a", Some(b"2"), Some(b"4"), PROCESS).unwrap());
    assert!(!store.compare_and_set(b"a", Some(b"2"), Some(b"5"), PROCESS).unwrap());
    let batch = store.batch().insert(b"k", b"v").remove(b"a");
    assert_eq!((batch.len(), batch.is_empty()), (2, false));
    assert_eq!(batch.commit(PROCESS).unwrap(), 6);
    assert_eq!(store.batch().commit(PROCESS).unwrap(), 6, "an empty batch is no write");
    assert_eq!(contents(&store), BTreeMap::from([(b"k".to_vec(), b"v".to_vec())]));
    store.sync().unwrap();
    assert_eq!(store.durable_seq(), 6);
    let power = store.insert(b"p", b"", Durability::Power).unwrap();
    assert_eq!((power.seq, store.durable_seq()), (7, 7));
    assert_eq!(store.clear(PROCESS).unwrap(), 8);
    assert_eq!(store.len(), 0);
    assert!(store.compact().unwrap() > 0);
    store.close().unwrap();
}

#[test]
fn keys_and_values_of_every_shape_come_back() {
    fn round_trip<K, V>(entries: &[(K, V)])
    where
        K: pkv_store::codec::Key + PartialEq + std::fmt::Debug,
        V: pkv_store::codec::Value + PartialEq + std::fmt::Debug,
    {
        let place = Place::new();
        let store: Store<K, V> = small().open(place.store()).unwrap();
        for (key, value) in entries {
            store.insert(key, value).unwrap();
        }
        store.close().unwrap();
        let store: Store<K, V> = small().open(place.store()).unwrap();
        assert_eq!(store.len(), u64::try_from(entries.len()).unwrap());
        for (key, value) in entries {
            assert_eq!(store.get(key).unwrap().as_ref(), Some(value), "{key:?}");
        }
    }
    round_trip::<String, String>(&[(String::new(), String::new()), ("a".into(), "\0".into())]);
    round_trip::<Vec<u8>, Vec<u8>>(&[
        (vec![], vec![0; 3]),
        (vec![0], vec![]),
        (vec![0, 0], vec![1]),
    ]);
    round_trip::<u128, i128>(&[(0, -1), (u128::MAX, i128::MIN)]);
    round_trip::<i64, f64>(&[(-1, f64::NEG_INFINITY), (i64::MIN, 0.5)]);
    round_trip::<bool, char>(&[(true, '\u{10ffff}'), (false, 'a')]);
    round_trip::<(u32, String), (Vec<u8>, bool)>(&[
        ((0, String::new()), (vec![], false)),
        ((1, "x".into()), (vec![7; 300], true)),
    ]);
    round_trip::<[u8; 16], Option<u64>>(&[([0; 16], None), ([255; 16], Some(0))]);
    // A map to nothing is a set.
    round_trip::<u64, ()>(&[(0, ()), (1, ())]);
    // And a map of nothing holds one entry.
    round_trip::<(), u64>(&[((), 3)]);
}

#[test]
fn large_values_come_back_from_memory_log_and_snapshot() {
    let place = Place::new();
    let sizes = [1 << 10, 64 << 10, (64 << 10) + 1, 1 << 20, 5 << 20];
    let check = |store: &ByteStore| {
        for (key, bytes) in (0_u8..).zip(sizes) {
            assert_eq!(store.get(&[key]).unwrap(), Some(blob(key.into(), bytes)), "{bytes} bytes");
        }
        assert_eq!(store.len(), 5);
    };
    let options = Options::new().background(false);
    let store = ByteStore::open(place.store(), &options).unwrap();
    for (key, bytes) in (0_u8..).zip(sizes) {
        store.insert(&[key], &blob(99, bytes), PROCESS).unwrap();
        store.insert(&[key], &blob(key.into(), bytes), PROCESS).unwrap();
    }
    check(&store);
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &options).unwrap();
    check(&store);
    store.compact().unwrap();
    check(&store);
    store.close().unwrap();
    check(&ByteStore::open(place.store(), &options).unwrap());
}

#[test]
fn a_value_larger_than_the_prepared_segment_leaves_a_folder_that_opens() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    store.insert(b"small", b"1", PROCESS).unwrap();
    // The next segment is prepared ahead, for small frames.
    eventually("a segment is prepared", || crate::support::names(&place.store()).len() == 2);
    let large = blob(1, 1 << 20);
    store.insert(b"large", &large, PROCESS).unwrap();
    store.insert(b"after", b"2", PROCESS).unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.get(b"large").unwrap(), Some(large));
    assert_eq!(store.len(), 3);
}

#[test]
fn a_value_larger_than_the_segment_being_prepared_is_not_waited_for_for_ever() {
    let place = Place::new();
    in_time("a large value while a small segment is prepared", move || {
        // The second segment, prepared ahead for small frames, takes its time.
        let fs = HookFs::hooked(|op, path| {
            if op == Op::Preallocate && path.ends_with("snapshot_2_0-of-1_diff.bin") {
                std::thread::sleep(Duration::from_millis(300));
            }
            Ok(())
        });
        let store = ByteStore::open(place.store(), &small().file_system(fs)).unwrap();
        store.insert(b"small", b"1", PROCESS).unwrap();
        store.insert(b"large", &blob(1, 1 << 20), PROCESS).unwrap();
        assert_eq!(store.len(), 2);
    });
}

#[test]
fn limits_are_checked_at_the_door() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let refused = |result: Result<(), Error>, what: &str, limit: u64| match result {
        Err(Error::TooLarge { what: said, bytes, bytes_max }) => {
            assert_eq!((said, bytes_max), (what, limit));
            assert!(bytes > limit);
        }
        other => panic!("{what}: {other:?}"),
    };
    let key_max = 64 << 10;
    let longest_key = vec![7; key_max];
    store.insert(&longest_key, b"1", PROCESS).unwrap();
    assert_eq!(store.get(&longest_key).unwrap(), Some(b"1".to_vec()));
    let key = vec![7; key_max + 1];
    assert_eq!(store.get(&key).unwrap(), None);
    refused(store.insert(&key, b"1", PROCESS).map(drop), "key", 65_536);
    refused(store.remove(&key, PROCESS).map(drop), "key", 65_536);
    refused(store.update(&key, PROCESS, |_| Update::Keep).map(drop), "key", 65_536);
    refused(store.compare_and_set(&key, None, None, PROCESS).map(drop), "key", 65_536);
    refused(store.batch().insert(&key, b"").commit(PROCESS).map(drop), "key", 65_536);
    refused(store.batch().remove(&key).insert(b"a", b"").commit(PROCESS).map(drop), "key", 65_536);

    // 64 MiB a frame, less the longest key and the lengths.
    let value_max = (64 << 20) - key_max - 32;
    let limit = u64::try_from(value_max).unwrap();
    let value = vec![0; value_max + 1];
    refused(store.insert(b"v", &value, PROCESS).map(drop), "value", limit);
    let set = |_: Option<&[u8]>| Update::Set(value.clone());
    refused(store.update(b"v", PROCESS, set).map(drop), "value", limit);
    refused(store.batch().insert(b"v", &value).commit(PROCESS).map(drop), "value", limit);
    let half = &value[..value_max / 2];
    let batch = store.batch().insert(b"1", half).insert(b"2", half).insert(&longest_key, half);
    refused(batch.commit(PROCESS).map(drop), "batch", 64 << 20);
    assert_eq!(store.len(), 1);
    assert_eq!(store.last_seq(), 1, "nothing of all this was logged");
    store.close().unwrap();
}

#[test]
fn the_largest_key_and_value_come_back() {
    let place = Place::new();
    let options = Options::new();
    let key = vec![9; 64 << 10];
    let value = blob(1, (64 << 20) - (64 << 10) - 32);
    let store = ByteStore::open(place.store(), &options).unwrap();
    store.insert(&key, &value, PROCESS).unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &options).unwrap();
    assert_eq!(store.get_with(&key, |found| found == value).unwrap(), Some(true));
}

#[test]
fn the_last_change_of_a_key_in_a_batch_wins() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let batch = || store.batch().insert(b"a", b"1").remove(b"a").insert(b"b", b"1");
    batch().insert(b"b", b"22").insert(b"b", b"3").commit(PROCESS).unwrap();
    let expected = BTreeMap::from([(b"b".to_vec(), b"3".to_vec())]);
    assert_eq!(contents(&store), expected);
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(contents(&store), expected);
    assert_eq!(store.recovery_report().writes, 1, "a batch is one write");
}

#[test]
fn clear_takes_what_was_before_and_nothing_after() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..2000 {
        store.insert(&i, &i).unwrap();
    }
    store.compact().unwrap();
    store.clear().unwrap();
    store.insert(&1, &10).unwrap();
    assert_eq!((store.len(), store.get(&2).unwrap()), (1, None));
    store.close().unwrap();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    assert_eq!((store.len(), store.get(&1).unwrap()), (1, Some(10)));
}

#[test]
fn retain_keeps_what_it_is_told_to() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..3000 {
        store.insert(&i, &(i % 3)).unwrap();
    }
    assert_eq!(store.retain(|_, value| *value == 0).unwrap(), 2000);
    assert_eq!(store.len(), 1000);
    store.close().unwrap();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    assert!(store.iter().all(|entry| entry.unwrap().0 % 3 == 0));
    assert_eq!(store.len(), 1000);
}

#[test]
fn an_entry_that_changed_is_asked_about_again_by_retain() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &0).unwrap();
    let mut asked = Vec::new();
    let removed = store.retain(|_, value| {
        asked.push(*value);
        if *value == 0 {
            store.insert(&1, &5).unwrap();
        }
        *value == 5
    });
    assert_eq!((removed.unwrap(), asked), (0, vec![0, 5]));
    assert_eq!(store.get(&1).unwrap(), Some(5));
}

#[test]
fn the_body_of_an_iteration_may_write() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    for i in 0..5000 {
        store.insert(&i, &0).unwrap();
    }
    let mut seen = vec![0; 5000];
    for entry in &store {
        let (key, value) = entry.unwrap();
        if let Some(seen) = seen.get_mut(usize::try_from(key).unwrap()) {
            *seen += 1;
        }
        if key < 5000 {
            store.insert(&key, &(value + 1)).unwrap();
            store.insert(&(key + 10_000), &1).unwrap();
            store.remove(&(key + 10_000)).unwrap();
        }
    }
    assert!(seen.iter().all(|times| *times == 1), "what stays is seen exactly once");
    assert!(store.iter().all(|entry| entry.unwrap().1 == 1));
    assert_eq!(store.len(), 5000);
}

#[test]
fn what_stays_is_seen_once_while_others_write_and_cut() {
    let place = Place::new();
    let store: Store<u64, Vec<u8>> = small().open(place.store()).unwrap();
    for i in 0..2000 {
        store.insert(&i, &blob(i, 50)).unwrap();
    }
    let (store, done) = (&store, &AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut i = 0;
            while done.load(Ordering::Relaxed) == 0 {
                // Splits and cleans buckets all the time.
                store.insert(&(5000 + i % 3000), &blob(i, 200)).unwrap();
                store.insert(&(i % 2000), &blob(i, 30 + usize::try_from(i % 90).unwrap())).unwrap();
                store.remove(&(5000 + (i * 7) % 3000)).unwrap();
                i += 1;
            }
        });
        for _ in 0..20 {
            let mut keys: Vec<u64> =
                store.keys().map(Result::unwrap).filter(|key| *key < 2000).collect();
            keys.sort_unstable();
            assert_eq!(keys, (0..2000).collect::<Vec<_>>());
        }
        done.store(1, Ordering::Relaxed);
    });
}

#[test]
fn a_closure_that_calls_its_store_gets_an_error() {
    let place = Place::new();
    in_time("a closure that calls its store", move || {
        let store: Store<String, u64> = small().open(place.store()).unwrap();
        store.insert("a", &1).unwrap();
        let calls = || {
            let reentrant = |result: Result<(), Error>| matches!(result, Err(Error::Reentrant));
            assert!(reentrant(store.get("a").map(drop)), "get");
            assert!(reentrant(store.contains_key("b").map(drop)), "contains_key");
            assert!(reentrant(store.insert("a", &2).map(drop)), "insert");
            assert!(reentrant(store.replace("a", &2).map(drop)), "replace");
            assert!(reentrant(store.remove("b").map(drop)), "remove");
            assert!(reentrant(store.take("b").map(drop)), "take");
            assert!(reentrant(store.update("b", |n| n).map(drop)), "update");
            assert!(reentrant(store.compare_and_set("b", None, Some(&1)).map(drop)), "cas");
            assert!(reentrant(store.batch().insert("b", &1).commit()), "batch");
            assert!(reentrant(store.clear()), "clear");
            assert!(reentrant(store.compact()), "compact");
            assert!(reentrant(store.iter().next().unwrap().map(drop)), "iter");
            assert!(reentrant(store.retain(|_, _| true).map(drop)), "retain");
            // What takes no lock of the map may be called.
            assert_eq!(store.len(), 1);
            assert!(store.health().takes_writes());
            store.sync().unwrap();
        };
        store.get_with("a", |_| calls()).unwrap().unwrap();
        store
            .update("a", |n| {
                calls();
                n
            })
            .unwrap();
        assert_eq!(store.get("a").unwrap(), Some(1), "and afterwards all is well");
        store.close().unwrap();
    });
}

#[test]
fn a_closure_may_ask_for_figures() {
    let place = Place::new();
    in_time("figures from inside a closure", move || {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        store.insert(&1, &1).unwrap();
        assert_eq!(store.get_with(&1, |_| store.stats().entries).unwrap(), Some(1));
        store.update(&1, |n| n.map(|_| store.stats().entries)).unwrap();
        assert_eq!(store.get(&1).unwrap(), Some(1));
    });
}

#[test]
fn a_closure_may_call_another_store() {
    let place = Place::new();
    let a: Store<u64, u64> = small().open(place.at("a")).unwrap();
    let b: Store<u64, u64> = small().open(place.at("b")).unwrap();
    b.insert(&1, &10).unwrap();
    let copied = a.update(&1, |_| b.replace(&1, &11).unwrap().map(|_| 5)).unwrap();
    assert_eq!((copied, b.get(&1).unwrap()), (Some(5), Some(11)));
    assert_eq!(a.get_with(&1, |_| b.get(&1).unwrap()).unwrap(), Some(Some(11)));
    let through_b = a.get_with(&1, |_| b.get_with(&1, |_| a.get(&1)).unwrap().unwrap());
    assert!(matches!(through_b, Ok(Some(Err(Error::Reentrant)))));
}

#[test]
fn a_closure_that_panics_changes_nothing_and_the_store_goes_on() {
    let place = Place::new();
    in_time("a store after a panic", move || {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        store.insert(&1, &1).unwrap();
        let panics = |what: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(what)).is_err());
        for _ in 0..3 {
            panics(&|| drop(store.update(&1, |_| panic!("on purpose"))));
            panics(&|| drop(store.get_with(&1, |_| panic!("on purpose"))));
            panics(&|| drop(store.retain(|_, _| panic!("on purpose"))));
            panics(&|| drop(store.bytes().update(&[7; 100], PROCESS, |_| panic!("on purpose"))));
        }
        assert_eq!((store.get(&1).unwrap(), store.len()), (Some(1), 1));
        assert_eq!(store.update(&1, |n| n.map(|n| n + 1)).unwrap(), Some(2));
        assert!(matches!(store.health(), Health::Good));
        store.close().unwrap();
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        assert_eq!((store.get(&1).unwrap(), store.len()), (Some(2), 1));
    });
}

#[test]
fn two_stores_in_one_process_do_not_know_each_other() {
    let place = Place::new();
    let a: Store<u64, u64> = small().open(place.at("a")).unwrap();
    let b: Store<u64, u64> = small().open(place.at("b")).unwrap();
    for i in 0..1000 {
        a.insert(&i, &i).unwrap();
        b.insert(&i, &(i + 1)).unwrap();
    }
    a.clear().unwrap();
    a.close().unwrap();
    assert_eq!((b.len(), b.get(&999).unwrap()), (1000, Some(1000)));
    let a: Store<u64, u64> = small().open(place.at("a")).unwrap();
    assert!(a.is_empty());
}

#[test]
fn callbacks_come_once_in_order_and_survive_a_panic() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let (tell, told) = channel();
    let mut seqs = Vec::new();
    for i in 0..100_u64 {
        let seq = store.insert(&i.to_le_bytes(), b"", PROCESS).unwrap().seq;
        seqs.push(seq);
        let tell = tell.clone();
        store.on_durable(seq, move |outcome| {
            let durable = outcome.unwrap();
            assert!(durable >= seq);
            tell.send(seq).unwrap();
            assert!(seq != 50, "a panic on purpose");
        });
    }
    let came: Vec<u64> =
        (0..100).map(|_| told.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    assert_eq!(came, seqs);
    assert!(store.durable_seq() >= 100);
    assert!(matches!(store.health(), Health::Good));
    // One that is durable already is told at once.
    let (tell, told) = channel();
    store.on_durable(1, move |outcome| tell.send(outcome.unwrap()).unwrap());
    assert!(told.recv_timeout(Duration::from_secs(60)).unwrap() >= 100);
    store.close().unwrap();
}

#[test]
fn a_callback_may_use_the_store() {
    let place = Place::new();
    in_time("callbacks that use the store", move || {
        let store = Arc::new(ByteStore::open(place.store(), &small()).unwrap());
        let (tell, told) = channel();
        let seq = store.insert(b"a", b"1", PROCESS).unwrap().seq;
        let inner = Arc::clone(&store);
        store.on_durable(seq, move |_| {
            let seq = inner.insert(b"b", b"2", Durability::Power).unwrap().seq;
            let again = Arc::clone(&inner);
            inner.on_durable(seq, move |outcome| {
                outcome.unwrap();
                tell.send(again.get(b"b").unwrap()).unwrap();
            });
        });
        assert_eq!(told.recv().unwrap(), Some(b"2".to_vec()));
        // The last owner may well be a callback: it closes the store from a thread of the store's own.
        let seq = store.insert(b"c", b"3", PROCESS).unwrap().seq;
        let (last, gate) = (Arc::clone(&store), Arc::new(Barrier::new(2)));
        let (held, (tell, told)) = (Arc::clone(&gate), channel());
        store.on_durable(seq, move |_| {
            held.wait();
            eventually("the only owner", || Arc::strong_count(&last) == 1);
            drop(last);
            tell.send(()).unwrap();
        });
        gate.wait();
        drop(store);
        told.recv().unwrap();
        assert_eq!(ByteStore::open(place.store(), &small()).unwrap().len(), 3);
    });
}

#[test]
fn closing_tells_every_callback_that_is_left() {
    let place = Place::new();
    // Without a sync for a day nothing but closing, or the callback itself, makes it durable.
    let options = small().sync_interval(Duration::from_secs(86_400));
    let store = ByteStore::open(place.store(), &options).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    for i in 0..200_u64 {
        let seq = store.insert(&i.to_le_bytes(), &blob(i, 100), PROCESS).unwrap().seq;
        let told = Arc::clone(&told);
        store.on_durable(seq, move |outcome| {
            outcome.unwrap();
            told.fetch_add(1, Ordering::Relaxed);
        });
    }
    store.close().unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 200, "all are told before close returns");
}

#[test]
fn without_threads_a_callback_runs_on_the_calling_thread() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    let seq = store.insert(b"a", b"1", PROCESS).unwrap().seq;
    assert_eq!(store.durable_seq(), 0);
    let (tell, told) = channel();
    store.on_durable(seq, move |outcome| {
        tell.send((std::thread::current().id(), outcome.unwrap())).unwrap();
    });
    assert_eq!(told.try_recv().unwrap(), (std::thread::current().id(), 1));
    assert_eq!(store.durable_seq(), 1);
}

#[test]
fn a_number_that_was_never_written_is_an_error_and_no_wait() {
    let place = Place::new();
    in_time("a number of the future", move || {
        let store = ByteStore::open(place.store(), &small()).unwrap();
        store.insert(b"a", b"1", PROCESS).unwrap();
        for seq in [2, u64::MAX] {
            let error = store.wait_durable(seq).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { option: "seq", .. }), "{error:?}");
            let (tell, told) = channel();
            store.on_durable(seq, move |outcome| tell.send(outcome.is_err()).unwrap());
            assert!(told.recv().unwrap());
        }
        store.wait_durable(1).unwrap();
    });
}

#[test]
fn what_is_not_synced_yet_is_synced_within_the_interval() {
    let place = Place::new();
    let options = small().sync_interval(Duration::from_millis(5));
    let store = ByteStore::open(place.store(), &options).unwrap();
    let seq = store.insert(b"a", b"1", PROCESS).unwrap().seq;
    eventually("the timed sync", || store.durable_seq() >= seq);
    assert!(store.stats().syncs >= 1);
}

#[test]
fn the_memory_cap_refuses_what_would_exceed_it_and_nothing_else() {
    let place = Place::new();
    let cap = 4 << 20;
    let options = small().max_memory_bytes(cap);
    let store = ByteStore::open(place.store(), &options).unwrap();
    let mut written = 0_u64;
    let error = loop {
        match store.insert(&written.to_le_bytes(), &blob(written, 1000), PROCESS) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "no cap");
    };
    assert!(
        matches!(error, Error::MemoryCap { bytes, bytes_max } if bytes > cap && bytes_max == cap)
    );
    assert!(written > 1000, "the cap is used: {written}");
    assert_eq!((store.len(), store.last_seq()), (written, written));
    let large = store.batch().insert(b"l", &blob(1, 3 << 20)).commit(PROCESS);
    assert!(matches!(large, Err(Error::MemoryCap { .. })));
    assert!(matches!(
        store.update(b"u", PROCESS, |_| Update::Set(blob(1, 3 << 20))),
        Err(Error::MemoryCap { .. })
    ));
    assert_eq!(store.len(), written);
    // Removing makes room, by and by.
    for i in 0..written {
        store.remove(&i.to_le_bytes(), PROCESS).unwrap();
    }
    store.insert(b"again", b"1", PROCESS).unwrap();
    store.close().unwrap();
    // Opening is not limited.
    let store = ByteStore::open(place.store(), &small().max_memory_bytes(1)).unwrap();
    assert_eq!(store.len(), 1);
    assert!(matches!(store.insert(b"b", b"", PROCESS), Err(Error::MemoryCap { .. })));
    store.remove(b"again", PROCESS).unwrap();
}

#[test]
fn writers_wait_for_compaction_when_the_log_is_full() {
    let place = Place::new();
    in_time("writers under max_log_bytes", move || {
        let max = 256 << 10;
        // Nothing but the limit asks for a compaction.
        let options = small().max_log_bytes(max).compact_log_count(1_000_000);
        let store = ByteStore::open(place.store(), &options).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..500_u64 {
                        let key = (thread << 8) | (i % 20);
                        store.insert(&key.to_le_bytes(), &blob(i, 1000), PROCESS).unwrap();
                        let bytes = store.stats().log_bytes;
                        assert!(bytes <= max + 3 * 2048, "{bytes} bytes in the log");
                    }
                });
            }
        });
        assert_eq!(store.len(), 60);
        assert!(store.stats().snapshots >= 2);
        store.close().unwrap();
    });
}

#[test]
fn without_threads_a_full_log_is_an_error_that_compact_mends() {
    let place = Place::new();
    in_time("a full log without threads", move || {
        let options = small().background(false).max_log_bytes(64 << 10);
        let store = ByteStore::open(place.store(), &options).unwrap();
        let mut written = 0;
        let error = loop {
            match store.insert(b"k", &blob(written, 3000), PROCESS) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 100, "no limit");
        };
        assert!(matches!(error, Error::LogFull { .. }), "{error:?}");
        assert!(written >= 10, "the limit is used: {written}");
        store.compact().unwrap();
        store.insert(b"k", &blob(written, 3000), PROCESS).unwrap();
    });
}

#[test]
fn a_frame_larger_than_the_whole_log_may_be_is_refused() {
    let place = Place::new();
    in_time("a frame over max_log_bytes", move || {
        let store = ByteStore::open(place.store(), &small().max_log_bytes(64 << 10)).unwrap();
        store.insert(b"a", b"1", PROCESS).unwrap();
        // Whether it is refused or let through alone, it must not be waited for for ever.
        let _ = store.insert(b"b", &blob(1, 100 << 10), PROCESS);
        let _ = store.insert(b"b", &blob(2, 100 << 10), PROCESS);
        store.insert(b"c", b"1", PROCESS).unwrap();
    });
}

#[test]
fn writers_sync_when_too_much_is_unsynced() {
    let place = Place::new();
    in_time("writers under max_unsynced_bytes", move || {
        let max = 64 << 10;
        let options = small().max_unsynced_bytes(max).sync_interval(Duration::from_secs(86_400));
        let store = ByteStore::open(place.store(), &options).unwrap();
        for i in 0..500_u64 {
            store.insert(&i.to_le_bytes(), &blob(i, 1000), PROCESS).unwrap();
            let unsynced = store.stats().unsynced_bytes;
            assert!(unsynced <= max + 4096, "{unsynced} bytes unsynced");
        }
        assert!(store.stats().syncs >= 5, "{:?}", store.stats());
    });
}

#[test]
fn a_frame_over_the_unsynced_limit_is_let_through_alone() {
    let place = Place::new();
    in_time("frames over max_unsynced_bytes", move || {
        let options = small().max_unsynced_bytes(64 << 10).background(false);
        let store = ByteStore::open(place.store(), &options).unwrap();
        for i in 0..4 {
            store.insert(b"large", &blob(i, 200 << 10), PROCESS).unwrap();
        }
        assert!(store.durable_seq() >= 3, "each waits for the one before it");
    });
}

#[test]
fn the_figures_add_up() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    let empty = store.stats();
    assert_eq!((empty.entries, empty.payload_bytes, empty.last_seq), (0, 0, 0));
    assert_eq!((empty.logs, empty.snapshots, empty.syncs), (0, 0, 0));
    assert_eq!((empty.synced_writes, empty.oldest_unsynced), (0, None));
    assert_eq!((empty.sync_times.count(), empty.snapshot_times.count()), (0, 0));
    for i in 0..100_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 92), PROCESS).unwrap();
    }
    store.insert(b"large", &blob(1, 1 << 20), PROCESS).unwrap();
    let full = store.stats();
    assert_eq!(full.entries, 101);
    assert_eq!(full.payload_bytes, 100 * 100 + 5 + (1 << 20));
    assert!(full.record_bytes >= 100 * 100 && full.large_value_bytes >= 1 << 20);
    assert!(full.log_bytes > full.payload_bytes && full.logs >= 2);
    assert_eq!(full.last_seq, 101);
    let before = std::time::Instant::now();
    assert!(full.oldest_unsynced.unwrap() < Duration::from_secs(3600));
    std::thread::sleep(Duration::from_millis(2));
    assert!(
        store.stats().oldest_unsynced.unwrap() >= before.elapsed().min(Duration::from_millis(2))
    );
    store.sync().unwrap();
    let synced = store.stats();
    assert_eq!((synced.durable_seq, synced.unsynced_bytes), (101, 0));
    assert!(synced.syncs >= 1);
    assert_eq!((synced.synced_writes, synced.oldest_unsynced), (101, None));
    assert_eq!(synced.sync_times.count(), synced.syncs);
    assert!(synced.sync_times.max() >= synced.sync_times.quantile(500));
    store.compact().unwrap();
    let compacted = store.stats();
    assert_eq!((compacted.snapshots, compacted.logs), (1, 1));
    assert!(compacted.snapshot_bytes > full.payload_bytes);
    assert!(compacted.snapshot_time > Duration::ZERO);
    assert_eq!(compacted.snapshot_times.count(), 1);
    assert!(compacted.snapshot_times.max() <= compacted.snapshot_time);
    assert!(compacted.log_bytes < 8192, "{}", compacted.log_bytes);
    store.clear(PROCESS).unwrap();
    assert_eq!((store.stats().entries, store.stats().payload_bytes), (0, 0));
    assert!(matches!(store.health(), Health::Good));
}

#[test]
fn the_report_and_the_progress_tell_what_opening_did() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.recovery_report().last_seq, 0);
    for i in 0..300_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 100), PROCESS).unwrap();
        if i == 199 {
            store.compact().unwrap();
        }
    }
    store.close().unwrap();
    let bytes_read = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&bytes_read);
    let options = small().on_progress(move |progress| {
        assert!(progress.bytes_done <= progress.bytes_total);
        seen.fetch_max(progress.bytes_total, Ordering::Relaxed);
    });
    let store = ByteStore::open(place.store(), &options).unwrap();
    let report = store.recovery_report();
    assert!(report.snapshot.is_some() && report.torn.is_none());
    assert_eq!((report.snapshot_records, report.writes, report.last_seq), (200, 100, 300));
    assert_eq!(report.watermark, 300, "a closed store is synced");
    assert!(report.logs >= 1 && report.bytes_read > 300 * 108);
    assert!(report.total_time >= report.load_time + report.replay_time);
    assert!(bytes_read.load(Ordering::Relaxed) > 200 * 108);
    assert!(report.dropped.is_empty() && report.dropped_pending.is_empty());
}

#[test]
fn a_write_behind_a_pause_is_not_older_than_it_is() {
    let place = Place::new();
    let options = small().sync_interval(Duration::from_millis(100));
    let store = ByteStore::open(place.store(), &options).unwrap();
    eventually("a look between a write and its sync", || {
        // The sync thread falls asleep, and the next write wakes it.
        std::thread::sleep(Duration::from_millis(500));
        let before = std::time::Instant::now();
        store.insert(b"a", b"1", PROCESS).unwrap();
        std::iter::repeat_with(|| store.stats().oldest_unsynced)
            .map_while(|oldest| oldest)
            .any(|oldest| oldest < before.elapsed() + Duration::from_millis(50))
    });
}

#[test]
fn the_progress_of_a_compaction_is_told() {
    let place = Place::new();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let options = small().background(false).on_progress(move |progress| {
        told.lock().unwrap().push(progress);
    });
    let store = ByteStore::open(place.store(), &options).unwrap();
    for i in 0..100_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 92), PROCESS).unwrap();
    }
    assert!(seen.lock().unwrap().is_empty(), "there was nothing to open");
    store.compact().unwrap();
    let seen = seen.lock().unwrap();
    // After each of the four shards of the map.
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|told| told.phase == Phase::Compact && told.bytes_total == 10_000));
    assert!(seen.is_sorted_by_key(|told| told.bytes_done));
    assert_eq!(seen.last().map(|told| told.bytes_done), Some(10_000));
}
