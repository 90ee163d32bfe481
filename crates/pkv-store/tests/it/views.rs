//! One moment of the whole map while writes go on; and all entries on many threads.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use pkv_store::{ByteStore, ByteView, Durability, Error, Options, Store};
use proptest::prelude::*;
use rayon::iter::ParallelIterator;

use crate::support::{Contents, Place, blob, contents, in_time, restless, small};

const PROCESS: Durability = Durability::Process;

/// All entries of a view, by every way there is to read them.
fn shown(view: &ByteView<'_>) -> Contents {
    let mut all = Contents::new();
    for entry in view {
        let (key, value) = entry.unwrap();
        assert_eq!(view.get(&key).unwrap().as_ref(), Some(&value));
        assert!(all.insert(key, value).is_none(), "a key came twice");
    }
    assert_eq!(u64::try_from(all.len()), Ok(view.len()));
    assert_eq!(view.is_empty(), all.is_empty());
    let parallel: Contents = view.par_iter().map(Result::unwrap).collect();
    assert_eq!(parallel, all);
    all
}

#[test]
fn a_view_shows_the_moment_in_which_it_was_made() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    let large = blob(1, 4000);
    for (key, value) in [(b"same", &b"1"[..]), (b"chan", b"2"), (b"gone", b"3"), (b"huge", &large)]
    {
        store.insert(key, value, PROCESS).unwrap();
    }
    let before = contents(&store);
    let view = store.view().unwrap();
    assert_eq!((view.seq(), view.held_bytes()), (store.last_seq(), 0));
    store.insert(b"chan", b"another value, longer", PROCESS).unwrap();
    store.insert(b"chan", b"and again", PROCESS).unwrap();
    store.remove(b"gone", PROCESS).unwrap();
    store.insert(b"newly", b"here", PROCESS).unwrap();
    store.batch().insert(b"huge", b"small").insert(b"newer", &large).commit(PROCESS).unwrap();
    assert_eq!(shown(&view), before);
    assert!(view.contains_key(b"gone").unwrap() && !view.contains_key(b"newly").unwrap());
    assert_eq!(view.get(b"never").unwrap(), None);

    let between = contents(&store);
    let second = store.view().unwrap();
    store.insert(b"gone", b"is back", PROCESS).unwrap();
    store.remove(b"same", PROCESS).unwrap();
    assert_eq!((shown(&view), shown(&second)), (before.clone(), between.clone()));
    store.clear(PROCESS).unwrap();
    store.insert(b"same", b"after all", PROCESS).unwrap();
    store.insert(b"chan", b"after all", PROCESS).unwrap();
    assert_eq!((shown(&view), shown(&second)), (before, between.clone()));
    drop(view);
    assert_eq!(shown(&second), between);
    store.clear(PROCESS).unwrap();
    assert_eq!(shown(&second), between);
    assert_eq!(store.stats().views, 1);
    drop(second);
    assert_eq!((store.stats().views, store.stats().view_bytes), (0, 0));
    assert_eq!(shown(&store.view().unwrap()), Contents::new());
}

/// The memory of a view is that of what changed since, each key once; without a change it is nothing,
/// however large the store is.
#[test]
fn a_view_holds_what_changed_and_each_key_once() {
    let place = Place::new();
    let store: Store<u64, [u8; 100]> = small().open(place.store()).unwrap();
    for key in 0..5000 {
        store.insert(&key, &[1; 100]).unwrap();
    }
    let view = store.view().unwrap();
    assert_eq!(view.held_bytes(), 0);
    assert_eq!(view.iter().count(), 5000);
    assert_eq!(view.held_bytes(), 0, "reading a view holds nothing");
    for _ in 0..3 {
        for key in 0..100 {
            store.insert(&key, &[2; 100]).unwrap();
        }
    }
    for key in 5000..5100 {
        store.insert(&key, &[2; 100]).unwrap();
    }
    // 100 old values and 100 keys that were absent, whatever was written how often.
    let each = (view.held_bytes() - 100 * 108 - 100 * 8) / 200;
    assert!((150..=200).contains(&each), "{each} bytes beside key and value");
    assert_eq!(store.stats().view_bytes, view.held_bytes());
    assert_eq!(view.iter().map(|entry| u64::from(entry.unwrap().1[0])).sum::<u64>(), 5000);
}

#[test]
fn what_a_view_holds_counts_for_the_memory_cap() {
    let place = Place::new();
    let options = small().map_shards(1).max_memory_bytes(3 * 1024 * 1024);
    let store: Store<u64, Vec<u8>> = options.open(place.store()).unwrap();
    let write =
        |seed: u64| (0..1000).try_for_each(|key| store.insert(&key, &blob(seed, 1000)).map(drop));
    write(1).unwrap();
    write(2).unwrap();
    let views: Vec<_> = [3, 4]
        .into_iter()
        .map(|seed| {
            let view = store.view().unwrap();
            (view, write(seed))
        })
        .collect();
    assert!(matches!(views[1].1, Err(Error::MemoryCap { .. })), "{:?}", views[1].1);
    drop(views);
    write(5).unwrap();
}

#[test]
fn no_view_shows_a_part_of_a_batch() {
    for options in [restless().map_shards(64), small().map_shards(1)] {
        let place = Place::new();
        let store: Store<u64, u64> = options.open(place.store()).unwrap();
        let (keys, batches) = (60, 600);
        let write = |n: u64| {
            let batch = (0..keys).fold(store.batch(), |batch, key| {
                // Each writes all keys, and one key comes and goes.
                if key == n % keys { batch.remove(&key) } else { batch.insert(&key, &n) }
            });
            batch.insert(&1000, &n).commit().unwrap();
        };
        write(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let view = store.view().unwrap();
                        let Some(n) = view.get(&1000).unwrap() else {
                            assert_eq!(
                                (view.len(), view.iter().count()),
                                (0, 0),
                                "not all cleared"
                            );
                            continue;
                        };
                        assert!(n >= last, "a later view shows an earlier moment");
                        last = n;
                        let all: BTreeMap<u64, u64> = if reader == 0 {
                            view.par_iter().map(Result::unwrap).collect()
                        } else {
                            view.iter().map(Result::unwrap).collect()
                        };
                        let expected = (0..keys).filter(|key| *key != n % keys);
                        assert!(all.keys().copied().eq(expected.chain([1000])), "at {n}: {all:?}");
                        assert!(all.values().all(|value| *value == n), "at {n}: {all:?}");
                        assert_eq!(view.get(&(n % keys)).unwrap(), None);
                    }
                });
            }
            for n in 1..batches {
                write(n);
                if n % 100 == 50 {
                    store.clear().unwrap();
                    write(n);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(store.stats().views, 0);
    }
}

/// The sequence number of a view is that of its last write.
#[test]
fn a_view_shows_all_writes_up_to_its_number_and_none_after() {
    let place = Place::new();
    let store: Store<u64, ()> = small().map_shards(8).open(place.store()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for i in 0..2000 {
                    store.insert(&(i * 3 + thread), &()).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
        }
        while !done.load(Ordering::Relaxed) {
            let view = store.view().unwrap();
            // Each write inserts a key that was not there.
            assert_eq!(view.seq(), view.len());
            assert_eq!(view.iter().count(), usize::try_from(view.seq()).unwrap());
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u16),
    Remove(u8),
    Batch(Vec<(u8, Option<u16>)>),
    Clear,
    Open,
    Close(usize),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![4 => 0..60_u16, 1 => 1000..1100_u16];
    prop_oneof![
        6 => (0..40_u8, value.clone()).prop_map(|(key, bytes)| Step::Insert(key, bytes)),
        4 => (0..40_u8).prop_map(Step::Remove),
        2 => prop::collection::vec((0..40_u8, prop::option::of(value)), 0..6).prop_map(Step::Batch),
        1 => Just(Step::Clear),
        3 => Just(Step::Open),
        1 => any::<usize>().prop_map(Step::Close),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every open view shows its own moment after every step, whatever comes and goes.
    #[test]
    fn views_follow_a_model(steps in prop::collection::vec(step(), 0..60)) {
        let place = Place::new();
        let options = Options::new().background(false).map_shards(2).segment_bytes(1 << 20, 1 << 20);
        let store = ByteStore::open(place.store(), &options).unwrap();
        let mut now = Contents::new();
        let mut views = Vec::new();
        for (n, step) in (0_u64..).zip(steps) {
            let value = |bytes: u16| blob(n, usize::from(bytes));
            match step {
                Step::Insert(key, bytes) => {
                    store.insert(&[key], &value(bytes), PROCESS).unwrap();
                    now.insert(vec![key], value(bytes));
                }
                Step::Remove(key) => {
                    store.remove(&[key], PROCESS).unwrap();
                    now.remove(&vec![key]);
                }
                Step::Batch(changes) => {
                    let mut batch = store.batch();
                    for (key, bytes) in changes {
                        if let Some(bytes) = bytes {
                            batch = batch.insert(&[key], &value(bytes));
                            now.insert(vec![key], value(bytes));
                        } else {
                            batch = batch.remove(&[key]);
                            now.remove(&vec![key]);
                        }
                    }
                    batch.commit(PROCESS).unwrap();
                }
                Step::Clear => {
                    store.clear(PROCESS).unwrap();
                    now.clear();
                }
                Step::Open => views.push((store.view().unwrap(), now.clone())),
                Step::Close(which) if !views.is_empty() => drop(views.swap_remove(which % views.len())),
                Step::Close(_) => {}
                Step::Compact => drop(store.compact().unwrap()),
            }
            for (view, then) in &views {
                prop_assert_eq!(&shown(view), then);
            }
        }
    }
}

/// Slices are cut by hash position: a view that is walked while tables split, shards are emptied and keys
/// come and go shows every key once.
#[test]
fn a_walk_through_a_view_meets_every_key_once_while_all_of_them_change() {
    let place = Place::new();
    let store: Store<u64, u64> =
        small().map_shards(2).segment_bytes(1 << 20, 1 << 20).open(place.store()).unwrap();
    let keys = 20_000;
    for key in 0..keys {
        store.insert(&key, &key).unwrap();
    }
    let view = store.view().unwrap();
    let mut seen = 0;
    let mut sum = 0;
    for (step, entry) in (0..).zip(view.iter()) {
        let (key, value) = entry.unwrap();
        assert_eq!(key, value);
        seen += 1;
        sum += key;
        match step {
            0..10_000 => {
                store.remove(&(keys - 1 - step)).unwrap();
                store.insert(&step, &(step + 1)).unwrap();
                store.insert(&(keys + 3 * step), &0).unwrap();
                store.insert(&(keys + 3 * step + 1), &0).unwrap();
            }
            10_000 => store.clear().unwrap(),
            _ => drop(store.insert(&step, &0).unwrap()),
        }
    }
    assert_eq!((seen, sum), (keys, (0..keys).sum()));
}

#[test]
fn a_view_inside_of_a_closure_is_an_error_and_no_wait() {
    let place = Place::new();
    in_time("a view in a closure", move || {
        let store: Store<u64, u64> = small().open(place.store()).unwrap();
        store.insert(&1, &1).unwrap();
        let view = store.view().unwrap();
        store
            .update(&1, |value| {
                assert!(matches!(store.view(), Err(Error::Reentrant)));
                assert!(matches!(view.get(&1), Err(Error::Reentrant)));
                assert!(matches!(view.iter().next(), Some(Err(Error::Reentrant))));
                let all: Vec<_> = store.par_iter().chain(view.par_iter()).collect();
                assert!(all.len() == 2 && all.iter().all(Result::is_err), "{all:?}");
                value
            })
            .unwrap();
    });
}

#[test]
fn many_threads_see_what_one_sees() {
    let place = Place::new();
    let store: Store<u64, Vec<u8>> = small().map_shards(16).open(place.store()).unwrap();
    assert_eq!(store.par_iter().count(), 0);
    for key in 0..3000 {
        let bytes = if key % 100 == 0 { 3000 } else { 20 };
        store.insert(&key, &blob(key, bytes)).unwrap();
    }
    let one: BTreeMap<_, _> = store.iter().map(Result::unwrap).collect();
    let many: BTreeMap<_, _> = store.par_iter().map(Result::unwrap).collect();
    assert_eq!((many.len(), many == one), (3000, true));
    // Its body may write.
    store.par_iter().for_each(|entry| assert!(store.remove(&entry.unwrap().0).unwrap()));
    assert!(store.is_empty());
}

/// An iterator that met its error once gave it again and again, so that `count` in a closure never ended.
#[test]
fn an_iterator_ends_behind_its_error() {
    let place = Place::new();
    let store: Store<u64, u64> = small().open(place.store()).unwrap();
    store.insert(&1, &1).unwrap();
    let view = store.view().unwrap();
    let inside = store.get_with(&1, |_| {
        (store.iter().take(9).count(), store.keys().take(9).count(), view.iter().take(9).count())
    });
    assert_eq!(inside.unwrap(), Some((1, 1, 1)));
}
