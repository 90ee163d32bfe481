//! Many threads: each key is as its own history says, counters are exact, batches are whole.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pkv_store::{ByteStore, Durability, Store, Update};

use crate::support::{Place, blob, both_ways, contents, copy, restless, small};

const PROCESS: Durability = Durability::Process;

/// Threads that own their keys and check every answer against a model, while compactions come and go.
fn model_checked(options: &pkv_store::Options) {
    let place = Place::new();
    let store: Store<u64, Vec<u8>> = options.open(place.store()).unwrap();
    let models: Vec<HashMap<u64, Vec<u8>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u64)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let mut model: HashMap<u64, Vec<u8>> = HashMap::new();
                    let mut random = thread + 1;
                    for i in 0..1200_u64 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = (thread << 32) | ((random >> 33) % 60);
                        let value = blob(i, usize::try_from((random >> 40) % 200).unwrap());
                        match (random >> 50) % 8 {
                            0 | 1 => assert_eq!(
                                store.insert(&key, &value).unwrap(),
                                model.insert(key, value).is_some()
                            ),
                            2 => assert_eq!(
                                store.replace(&key, &value).unwrap(),
                                model.insert(key, value)
                            ),
                            3 => assert_eq!(
                                store.remove(&key).unwrap(),
                                model.remove(&key).is_some()
                            ),
                            4 => assert_eq!(store.take(&key).unwrap(), model.remove(&key)),
                            5 => {
                                let mut expected = model.get(&key).cloned().unwrap_or_default();
                                expected.push(7);
                                let new = store.update(&key, |old| {
                                    let mut new = old.unwrap_or_default();
                                    new.push(7);
                                    Some(new)
                                });
                                assert_eq!(new.unwrap().as_ref(), Some(&expected));
                                model.insert(key, expected);
                            }
                            6 => {
                                let other = (thread << 32) | (i % 60);
                                store.batch().insert(&key, &value).remove(&other).commit().unwrap();
                                model.insert(key, value);
                                model.remove(&other);
                            }
                            _ => {
                                let old = model.get(&key).cloned();
                                assert!(
                                    store
                                        .compare_and_set(&key, old.as_ref(), Some(&value))
                                        .unwrap()
                                );
                                model.insert(key, value);
                            }
                        }
                        assert_eq!(store.get(&key).unwrap().as_ref(), model.get(&key));
                    }
                    model
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let check = |store: &Store<u64, Vec<u8>>, what: &str| {
        let entries: u64 = models.iter().map(|model| u64::try_from(model.len()).unwrap()).sum();
        assert_eq!(store.len(), entries, "{what}");
        for (key, value) in models.iter().flatten() {
            assert_eq!(store.get(key).unwrap().as_ref(), Some(value), "{what}: {key}");
        }
    };
    check(&store, "open");
    store.close().unwrap();
    check(&small().open(place.store()).unwrap(), "closed and opened");
}

#[test]
fn every_key_follows_its_own_history() {
    for options in both_ways() {
        model_checked(&options);
    }
}

#[test]
fn every_key_follows_its_own_history_while_compactions_come_and_go() {
    for options in both_ways() {
        model_checked(&options.compact_log_bytes_min(4096).compact_log_percent(10));
    }
}

#[test]
fn counters_are_exact() {
    let place = Place::new();
    let store: Store<u64, u64> = small().snapshot_interval(1000).open(place.store()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for i in 0..1000 {
                    store.update(&(i % 5), |n| Some(n.unwrap_or(0) + 1)).unwrap();
                }
            });
        }
    });
    let total = |store: &Store<u64, u64>| store.values().map(Result::unwrap).sum::<u64>();
    assert_eq!(total(&store), 8000);
    copy(&place.store(), &place.at("killed"));
    assert_eq!(total(&small().open(place.at("killed")).unwrap()), 8000);
}

#[test]
fn a_closure_that_keeps_is_never_lost_among_writers() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..500_u64 {
                    let written = store.update(b"k", PROCESS, |old| match old {
                        None => Update::Set(vec![thread]),
                        Some(_) if i % 3 == 0 => Update::Remove,
                        Some(_) => Update::Keep,
                    });
                    written.unwrap();
                }
            });
        }
    });
    assert!(store.len() <= 1);
    assert_eq!(contents(&store).len(), usize::try_from(store.len()).unwrap());
}

#[test]
fn batches_are_whole_for_readers() {
    let place = Place::new();
    let store: Store<u64, u64> = restless().map_shards(64).open(place.store()).unwrap();
    // All keys always hold the same number, and numbers only rise: whoever saw one key at a number
    // sees no key below it afterwards.
    let keys = 40;
    let write = |n: u64| {
        let batch = (0..keys).fold(store.batch(), |batch, key| batch.insert(&key, &n));
        batch.commit().unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    for key in 0..keys {
                        let number = store.get(&key).unwrap().unwrap();
                        assert!(number >= last, "key {key} at {number}, another at {last}");
                        last = number;
                    }
                }
            });
        }
        for n in 1..500 {
            write(n);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!((0..keys).all(|key| store.get(&key).unwrap() == Some(499)));
}

#[test]
fn transfers_between_accounts_keep_the_sum() {
    // A lock made of compare_and_set, batches under it, and readers that take the lock, too.
    let place = Place::new();
    let store: Store<String, i64> = small().snapshot_interval(300).open(place.store()).unwrap();
    let accounts: Vec<String> = (0..10).map(|i| format!("account {i}")).collect();
    for account in &accounts {
        store.insert(account, &100).unwrap();
    }
    let inside = AtomicU64::new(0);
    let locked = |work: &mut dyn FnMut()| {
        while !store.compare_and_set("lock", None, Some(&1)).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
        work();
        inside.fetch_sub(1, Ordering::SeqCst);
        assert!(store.compare_and_set("lock", Some(&1), None).unwrap());
    };
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (accounts, store, locked) = (&accounts, &store, &locked);
            scope.spawn(move || {
                for i in 0..150_usize {
                    let (from, to) =
                        (&accounts[(thread + i) % 10], &accounts[(thread + i * 3 + 1) % 10]);
                    if from == to {
                        continue;
                    }
                    locked(&mut || {
                        let (a, b) =
                            (store.get(from).unwrap().unwrap(), store.get(to).unwrap().unwrap());
                        store.batch().insert(from, &(a - 7)).insert(to, &(b + 7)).commit().unwrap();
                    });
                }
            });
        }
        for _ in 0..20 {
            locked(&mut || {
                let sum: i64 = accounts.iter().map(|key| store.get(key).unwrap().unwrap()).sum();
                assert_eq!(sum, 1000);
            });
        }
    });
    // Every crash state holds the sum: batches are whole on disk, too.
    copy(&place.store(), &place.at("killed"));
    let killed: Store<String, i64> = small().open(place.at("killed")).unwrap();
    let sum: i64 = accounts.iter().map(|key| killed.get(key).unwrap().unwrap()).sum();
    assert_eq!((sum, killed.len()), (1000, 10));
}

#[test]
fn opposite_batches_never_wait_for_each_other() {
    let place = Place::new();
    crate::support::in_time("opposite batches", move || {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..6_u64 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..300 {
                        let keys = (0..8).map(|key| if thread % 2 == 0 { key } else { 7 - key });
                        let mut batch = store.batch();
                        for key in keys {
                            batch = batch.insert(&key, &(thread * 1000 + i));
                        }
                        batch.commit().unwrap();
                        if i % 100 == 0 {
                            store.clear().unwrap();
                        }
                    }
                });
            }
        });
        // The last batch or clear decides for all keys alike.
        let values: Vec<u64> = store.values().map(Result::unwrap).collect();
        assert!(values.is_empty() || values.len() == 8, "{values:?}");
        assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
    });
}

#[test]
fn sequence_numbers_are_given_once_and_in_order() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_u64)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let mut own = Vec::new();
                    for i in 0..500_u64 {
                        let key = (thread * 1000 + i).to_le_bytes();
                        own.push(store.insert(&key, b"", PROCESS).unwrap().seq);
                    }
                    assert!(own.is_sorted());
                    own
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=2000).collect::<Vec<_>>());
}

#[test]
fn waiting_writers_share_syncs() {
    let place = Place::new();
    let options = small().durability(Durability::Power).segment_bytes(1 << 20, 1 << 20);
    let store: Store<u64, u64> = options.open(place.store()).unwrap();
    store.insert(&0, &0).unwrap();
    let before = store.stats().syncs;
    let (threads, each) = (64_u64, 20_u64);
    let start = Barrier::new(64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..each {
                    store.insert(&(thread * each + i), &i).unwrap();
                }
            });
        }
    });
    let syncs = store.stats().syncs - before;
    assert_eq!(store.bytes().durable_seq(), store.bytes().last_seq());
    assert!(threads * each >= 5 * syncs, "{syncs} syncs for {} commits", threads * each);
}

#[test]
fn what_is_acknowledged_for_power_is_durable() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..30_u64 {
                    let key = (thread * 1000 + i).to_le_bytes();
                    let seq = store.insert(&key, b"", Durability::Power).unwrap().seq;
                    assert!(store.durable_seq() >= seq);
                    let seq = store.insert(&key, b"1", PROCESS).unwrap().seq;
                    store.wait_durable(seq).unwrap();
                    assert!(store.durable_seq() >= seq);
                }
            });
        }
    });
}
