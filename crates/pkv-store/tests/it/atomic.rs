//! Changes that depend on what is there: conditions of batches, entries, counters, transactions.
#![expect(clippy::panic, reason = "a failure in a helper fails the test")]

use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use pkv_store::codec::Decode;
use pkv_store::{ByteStore, Durability, Error, Store, Transaction};

use crate::support::{Place, blob, contents, copy, in_time, restless, small};

const PROCESS: Durability = Durability::Process;

/// Which condition did not hold, and what was found.
fn failed<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (usize, &'static str) {
    match outcome {
        Err(Error::ConditionFailed { index, found, .. }) => (index, found),
        other => panic!("no condition failed: {other:?}"),
    }
}

#[test]
fn a_batch_is_made_if_all_its_conditions_hold_and_tells_the_first_that_does_not() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let large = blob(1, 5000);
    store.insert(b"a", b"1", PROCESS).unwrap();
    store.insert(b"large", &large, PROCESS).unwrap();
    let before = (store.last_seq(), contents(&store));

    let change = || store.batch().insert(b"new", b"value").remove(b"a");
    let absent = "the key is absent";
    let other = "the key has another value";
    assert_eq!(failed(change().if_absent(b"a").commit(PROCESS)), (0, "the key is there"));
    assert_eq!(failed(change().if_present(b"b").commit(PROCESS)), (0, absent));
    assert_eq!(failed(change().if_equals(b"b", b"").commit(PROCESS)), (0, absent));
    assert_eq!(failed(change().if_equals(b"a", b"12").commit(PROCESS)), (0, other));
    assert_eq!(failed(change().if_equals(b"large", &large[1..]).commit(PROCESS)), (0, other));
    let all_but_last = change().if_equals(b"a", b"1").if_present(b"large").if_absent(b"b");
    assert_eq!(failed(all_but_last.if_equals(b"a", b"2").commit(PROCESS)), (3, other));
    // What the batch itself does counts for no condition.
    assert_eq!(failed(change().if_present(b"new").commit(PROCESS)), (0, absent));
    assert_eq!((store.last_seq(), contents(&store)), before);

    // Conditions alone: nothing is written either way.
    let all_hold =
        || store.batch().if_equals(b"a", b"1").if_equals(b"large", &large).if_absent(b"b");
    assert_eq!(all_hold().commit(PROCESS).unwrap(), before.0);
    assert_eq!(failed(all_hold().if_present(b"c").commit(PROCESS)), (3, absent));
    assert_eq!(contents(&store), before.1);

    let seq = all_hold().insert(b"new", b"value").remove(b"a").commit(PROCESS).unwrap();
    assert_eq!(seq, before.0 + 1);
    assert_eq!(store.get(b"new").unwrap().as_deref(), Some(b"value".as_slice()));
    assert!(!store.contains_key(b"a").unwrap());

    let too_long = vec![0; 70_000];
    let outcome = store.batch().if_absent(&too_long).insert(b"x", b"").commit(PROCESS);
    assert!(matches!(outcome, Err(Error::TooLarge { what: "key", .. })), "{outcome:?}");
    assert!(!store.contains_key(b"x").unwrap());
}

#[test]
fn a_condition_that_failed_says_what_to_do() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    let error = store.batch().if_present("a").insert("a", &1).commit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "condition 0 of the batch does not hold, the key is absent; nothing was written: \
         read again and decide anew"
    );
}

#[test]
fn typed_conditions_compare_by_encoding() {
    let place = Place::new();
    let store: Store<String, Option<u32>> = small().open(place.store()).unwrap();
    store.insert("a", &None).unwrap();
    let outcome = store.batch().if_equals("a", &Some(0)).remove("a").commit();
    assert_eq!(failed(outcome).0, 0);
    store.batch().if_equals("a", &None).if_absent("b").insert("b", &Some(1)).commit().unwrap();
    store.batch().if_present("b").remove("b").commit_with(Durability::Power).unwrap();
    assert_eq!(store.len(), 1);
}

/// Threads draw numbers from one counter and take keys by them, in one conditional batch each: whoever
/// loses has written nothing.
#[test]
fn of_batches_with_the_same_condition_one_is_made() {
    let place = Place::new();
    let store: Store<String, u64> = restless().map_shards(16).open(place.store()).unwrap();
    store.insert("next", &0).unwrap();
    let lost = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, lost) = (&store, &lost);
            scope.spawn(move || {
                let mut won = 0;
                while won < 200 {
                    let next = store.get("next").unwrap().unwrap();
                    let batch = store
                        .batch()
                        .if_equals("next", &next)
                        .if_absent(&format!("ticket {next}"))
                        .insert("next", &(next + 1))
                        .insert(&format!("ticket {next}"), &thread);
                    match batch.commit() {
                        Ok(()) => won += 1,
                        Err(Error::ConditionFailed { .. }) => {
                            lost.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let check = |store: &Store<String, u64>| {
        let next = store.get("next").unwrap().unwrap();
        assert_eq!(store.len(), next + 1);
        assert!((0..next).all(|n| store.contains_key(&format!("ticket {n}")).unwrap()));
        next
    };
    assert_eq!(check(&store), 800);
    copy(&place.store(), &place.at("killed"));
    assert_eq!(check(&small().open(place.at("killed")).unwrap()), 800);
}

#[test]
fn opposite_conditions_never_wait_for_each_other() {
    let place = Place::new();
    in_time("opposite conditions", move || {
        let store: Store<u64, u64> = small().map_shards(16).open(place.store()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..300 {
                        let (one, other) = if thread % 2 == 0 { (1, 2) } else { (2, 1) };
                        // Held and changed keys in the opposite order of the other threads.
                        let batch = store.batch().if_absent(&(100 + other)).insert(&one, &i);
                        batch.if_absent(&(100 + one)).insert(&other, &i).commit().unwrap();
                    }
                });
            }
        });
        assert_eq!(store.get(&1).unwrap(), store.get(&2).unwrap());
    });
}

#[test]
fn an_entry_is_made_once_and_changed_in_place() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    assert_eq!(store.entry("a").key(), "a");
    assert_eq!(store.entry("a").or_insert(5).unwrap(), 5);
    assert_eq!(store.entry("a").or_insert(6).unwrap(), 5);
    assert_eq!(store.entry("b").or_default().unwrap(), 0);
    let made = Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        9
    };
    assert_eq!(store.get_or_insert_with("a", make).unwrap(), 5);
    assert_eq!(store.entry("a").and_modify(|n| *n += 1).or_insert_with(make).unwrap(), 6);
    assert_eq!(made.get(), 0, "made although the key was there");
    assert_eq!(store.get_or_insert_with("c", make).unwrap(), 9);
    assert_eq!(store.entry("d").and_modify(|n| *n += 1).or_insert_with(make).unwrap(), 9);
    assert_eq!(made.get(), 2);
    assert_eq!(store.entry("e").and_modify(|n| *n += 1).or_default().unwrap(), 0);
    assert_eq!(store.entry("f").and_modify(|n| *n += 1).or_leave().unwrap(), None);
    assert_eq!(store.entry("a").and_modify(|n| *n += 1).or_leave().unwrap(), Some(7));
    let power = store.entry("g").durability(Durability::Power).or_insert(1).unwrap();
    assert_eq!((power, store.bytes().durable_seq()), (1, store.bytes().last_seq()));
    assert_eq!(store.get_many(["a", "b", "f"]).unwrap(), [Some(7), Some(0), None]);
    let seq = store.bytes().last_seq();
    store.entry("a").or_insert(1).unwrap();
    assert_eq!(store.bytes().last_seq(), seq, "a key that is there was written");
}

/// What makes the value runs with no lock held: it may use the store, and others may come first.
#[test]
fn what_an_entry_makes_may_use_the_store_and_gives_way() {
    let place = Place::new();
    in_time("make", move || {
        let store: Store<String, u64> = small().map_shards(1).open(place.store()).unwrap();
        let sum =
            store.get_or_insert_with("a", || store.get_or_insert_with("b", || 4).unwrap() + 1);
        assert_eq!(sum.unwrap(), 5);
        let late = store.entry("c").and_modify(|n| *n += 1).or_insert_with(|| {
            store.insert("c", &40).unwrap();
            7
        });
        assert_eq!(late.unwrap(), 41);
        let late = store.entry("d").or_insert_with(|| {
            store.insert("d", &50).unwrap();
            7
        });
        assert_eq!(late.unwrap(), 50);
        let inside = store.entry("d").and_modify(|_| assert!(store.get("a").is_err())).or_insert(1);
        assert_eq!(inside.unwrap(), 50);
    });
}

#[test]
fn one_of_many_threads_makes_an_entry() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                for key in 0..200 {
                    start.wait();
                    let value = store.get_or_insert_with(&key, || thread).unwrap();
                    start.wait();
                    assert_eq!(store.get(&key).unwrap(), Some(value));
                }
            });
        }
    });
}

#[test]
fn fetch_update_returns_what_was_before() {
    let place = Place::new();
    let store: Store<String, String> = small().open(place.store()).unwrap();
    let append = |old: Option<&String>| Some(format!("{}x", old.map_or("", String::as_str)));
    assert_eq!(store.fetch_update("a", append).unwrap(), None);
    assert_eq!(store.fetch_update("a", append).unwrap().as_deref(), Some("x"));
    assert_eq!(store.get("a").unwrap().as_deref(), Some("xx"));
    let removed = store.fetch_update_with("a", Durability::Power, |_| None).unwrap();
    assert_eq!((removed.as_deref(), store.len()), (Some("xx"), 0));
    let seq = store.bytes().last_seq();
    assert_eq!(store.fetch_update("a", |_| None).unwrap(), None);
    assert_eq!(store.bytes().last_seq(), seq);
}

#[test]
fn counting_never_wraps_around() {
    let place = Place::new();
    let bytes: Store<String, u8> = small().open(place.store()).unwrap();
    assert_eq!(bytes.increment("a", 250).unwrap(), 250);
    let over = bytes.increment("a", 6).unwrap_err();
    assert!(matches!(&over, Error::Overflow { schema, .. } if schema == "u8"), "{over}");
    assert_eq!(
        over.to_string(),
        "the result does not fit u8; the value is as it was: use a wider type, or reset it"
    );
    assert_eq!(bytes.get("a").unwrap(), Some(250));
    assert_eq!(bytes.increment("a", 5).unwrap(), 255);
    assert_eq!(bytes.decrement_with("a", 255, Durability::Power).unwrap(), 0);
    assert!(bytes.decrement("a", 1).is_err() && bytes.decrement("absent", 1).is_err());
    assert_eq!(bytes.len(), 1);

    let wide: Store<u8, i128> = small().open(place.at("wide")).unwrap();
    assert_eq!(wide.increment_with(&0, i128::MIN, Durability::Power).unwrap(), i128::MIN);
    assert!(wide.decrement(&0, 1).is_err());
    assert_eq!(wide.increment(&0, -(i128::MIN + 1)).unwrap(), -1);
}

#[test]
fn counters_of_many_threads_are_exact() {
    let place = Place::new();
    let store: Store<u64, u64> = restless().open(place.store()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..1000 {
                    store.increment(&(i % 3), 2).unwrap();
                    store.decrement(&(i % 3), 1).unwrap();
                }
            });
        }
    });
    assert_eq!(store.values().map(Result::unwrap).sum::<u64>(), 4000);
}

#[test]
fn many_keys_come_in_the_order_in_which_they_are_asked_for() {
    let place = Place::new();
    let store: Store<u64, String> = small().open(place.store()).unwrap();
    for i in (0..1000_u64).filter(|i| i % 3 != 0) {
        store
            .insert(&i, &format!("{i} {}", "x".repeat(if i % 50 == 0 { 3000 } else { 3 })))
            .unwrap();
    }
    // More than one locking of each shard takes, backwards, and each key twice.
    let keys: Vec<u64> = (0..1000).rev().chain(0..1000).collect();
    let values = store.get_many(&keys).unwrap();
    assert_eq!(values.len(), keys.len());
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(value, store.get(key).unwrap(), "{key}");
    }
    assert!(store.get_many(&[]).unwrap().is_empty());
    let raw = store.bytes().get_many([&1_u64.to_le_bytes()[..], b"no such key"]).unwrap();
    assert_eq!(raw, [Some(b"1 xxx".to_vec()), None]);
    let inside = store.get_with(&1, |_| store.get_many(&[2]).unwrap_err()).unwrap().unwrap();
    assert!(matches!(inside, Error::Reentrant), "{inside}");

    // Written by another type of the same name: the call fails as a whole.
    store.bytes().insert(&7_u64.to_le_bytes(), b"\xff", PROCESS).unwrap();
    assert!(matches!(store.get_many(&[5, 7, 8]), Err(Error::Decode(_))));
}

#[test]
fn many_keys_are_told_once_each_with_their_numbers_and_their_bytes() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let key = |number: usize| format!("key {number}").into_bytes();
    // Of every length that takes another way: empty, some lines, many lines, an allocation of its own.
    let value =
        |number: usize| blob(1, [0, 1, 63, 64, 65, 100, 128, 1000, 1024, 1025, 9000][number % 11]);
    for number in (0..100).filter(|number| number % 5 != 0) {
        store.insert(&key(number), &value(number), PROCESS).unwrap();
    }
    let keys: Vec<_> = (0..100).map(key).collect();
    for count in [0, 1, 15, 16, 17, 32, 100] {
        let mut told = vec![0; count];
        let some = keys.iter().take(count).map(Vec::as_slice);
        let each = |number: usize, found: Option<&[u8]>| {
            told[number] += 1;
            let wanted = (!number.is_multiple_of(5)).then(|| value(number));
            assert_eq!(found, wanted.as_deref(), "{number}");
            // With a value or without one, it is inside.
            assert!(matches!(store.get(b"key 1"), Err(Error::Reentrant)), "{number}");
        };
        store.get_many_with(some, each).unwrap();
        assert_eq!(told, vec![1; count]);
        assert!(store.get(b"key 1").is_ok());
    }
}

/// The lock of one shard is held by a writer that ends once others have been told.
#[test]
fn many_keys_do_not_wait_for_one_that_is_being_written() {
    let place = Place::new();
    let store: Store<u64, u64> = small().map_shards(16).open(place.store()).unwrap();
    let keys: Vec<u64> = (0..32).collect();
    for key in &keys {
        store.insert(key, key).unwrap();
    }
    let (writing, is_writing) = channel();
    let (told, was_told) = channel();
    let told_in_time = std::thread::scope(|scope| {
        let store = &store;
        let writer = scope.spawn(move || {
            let mut in_time = false;
            let changed = store.update(&0, |_| {
                writing.send(()).unwrap();
                in_time = was_told.recv_timeout(Duration::from_secs(10)).is_ok();
                Some(1000)
            });
            assert_eq!(changed.unwrap(), Some(1000));
            in_time
        });
        is_writing.recv().unwrap();
        let mut values = vec![None; keys.len()];
        let each = |number: usize, value: Option<&[u8]>| {
            values[number] = value.map(|value| u64::decode(value).unwrap());
            // The writer waits for the first.
            let _ = told.send(number);
        };
        store.get_many_with(&keys, each).unwrap();
        assert_eq!(values[0], Some(1000));
        let others = (1..32).map(Some);
        assert!(values.into_iter().skip(1).eq(others));
        writer.join().unwrap()
    });
    assert!(told_in_time, "nobody was told of a key before the write had ended");
}

#[test]
fn a_transaction_reads_and_changes_at_one_moment() {
    let place = Place::new();
    let store: Store<u64, i64> = restless().map_shards(16).open(place.store()).unwrap();
    let accounts = 10;
    for account in 0..accounts {
        store.insert(&account, &100).unwrap();
    }
    let attempts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, attempts) = (&store, &attempts);
            scope.spawn(move || {
                for i in 0..200 {
                    let (from, to) = ((thread + i) % accounts, (thread + i * 3 + 1) % accounts);
                    let moved = store.transact(|t| {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        let rest = t.get(&from)?.unwrap() - 7;
                        t.insert(&from, &rest)?;
                        // Its own change is seen, where both are one account.
                        let sum = t.get(&to)?.unwrap() + 7;
                        t.insert(&to, &sum)?;
                        Ok((rest, sum))
                    });
                    moved.unwrap();
                }
            });
        }
        for _ in 0..50 {
            let sum = store.transact(|t| {
                let mut sum = 0;
                for account in 0..accounts {
                    sum += t.get(&account)?.unwrap();
                }
                Ok(sum)
            });
            assert_eq!(sum.unwrap(), 1000);
        }
    });
    assert!(attempts.into_inner() >= 800);
    assert_eq!(store.values().map(Result::unwrap).sum::<i64>(), 1000);
    copy(&place.store(), &place.at("killed"));
    let killed: Store<u64, i64> = small().open(place.at("killed")).unwrap();
    assert_eq!(killed.values().map(Result::unwrap).sum::<i64>(), 1000);
}

#[test]
fn a_transaction_that_was_overtaken_runs_again_and_leaves_nothing() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    store.insert("a", &1).unwrap();
    store.insert("gone", &1).unwrap();
    let runs = Cell::new(0_u64);
    let answer = store.transact(|t| {
        runs.set(runs.get() + 1);
        let a = t.get("a")?;
        assert!(!t.contains_key("new")?);
        if runs.get() == 1 {
            // Others come between.
            store.insert("a", &10)?;
            assert_eq!(t.get("a")?, a, "what is read twice is the same");
        }
        t.insert(&format!("run {}", runs.get()), &0)?;
        t.remove("gone")?;
        assert!(!t.contains_key("gone")?);
        t.insert("a", &(a.unwrap() + 1))?;
        t.get("a")
    });
    assert_eq!((answer.unwrap(), runs.get()), (Some(11), 2));
    assert_eq!(
        store.get_many(["a", "run 1", "run 2", "gone"]).unwrap(),
        [Some(11), None, Some(0), None]
    );

    // An error of the closure ends it; nothing is written.
    let seq = store.bytes().last_seq();
    let outcome = store.transact(|t| {
        t.insert("a", &0)?;
        Err::<(), _>(Error::Closed)
    });
    assert!(matches!(outcome, Err(Error::Closed)));
    assert_eq!(store.bytes().last_seq(), seq);

    // Somebody who always comes between makes it an error, not a loop for ever.
    let always = store.transact(|t| {
        t.get("a")?;
        store.increment("a", 1)?;
        t.insert("b", &1)
    });
    assert_eq!(failed(always), (0, "the key has another value"));
    assert!(!store.contains_key("b").unwrap());
}

/// Two that each make a key because the other's is not there: at most one may.
#[test]
fn a_transaction_depends_on_what_it_found_absent() {
    let place = Place::new();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    let runs = Cell::new(0_u64);
    let take = |t: &mut Transaction<'_, String, u64>| {
        runs.set(runs.get() + 1);
        let is_free = !t.contains_key("night of bob")?;
        if runs.get() == 1 {
            store.insert("night of bob", &1)?;
        }
        if is_free {
            t.insert("night of alice", &1)?;
        }
        Ok(is_free)
    };
    assert!(!store.transact(take).unwrap());
    assert_eq!((runs.get(), store.len()), (2, 1));
}
