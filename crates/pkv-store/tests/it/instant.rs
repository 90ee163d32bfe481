//! A store that is opened before its snapshot is in memory shows at each moment what it would show had all been
//! loaded.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]
#![expect(clippy::indexing_slicing, reason = "a failure in a helper fails the test")]

use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{CountingFs, Op, StdFs};
use pkv_store::{ByteStore, Durability, Error, Options, RecoveryMode, Store};

use crate::crash_rig::Random;
use crate::support::{Contents, Image, Place, contents, small};

/// A snapshot of so many files, each with several spans, and logs above it with changes of every kind.
pub(crate) struct Made {
    pub(crate) place: Place,
    pub(crate) model: Contents,
}

const ENTRIES: u64 = 12_000;

pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

/// Sometimes long, so that it has a block of its own.
fn value(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(40) {
        0 => 3000,
        1 => 0,
        _ => 60 + random.below(80),
    };
    vec![u8::try_from(random.below(256)).unwrap(); usize::try_from(bytes).unwrap()]
}

fn change(store: &ByteStore, model: &mut Contents, random: &mut Random) {
    let key = key(random.below(ENTRIES + 500));
    let durability = Durability::Process;
    match random.below(10) {
        0..5 => {
            let value = value(random);
            store.insert(&key, &value, durability).unwrap();
            model.insert(key, value);
        }
        5..8 => {
            let existed = store.remove(&key, durability).unwrap().existed;
            assert_eq!(existed, model.remove(&key).is_some());
        }
        8 => {
            let (other, value) =
                (format!("other {}", random.below(50)).into_bytes(), value(random));
            store.batch().insert(&other, &value).remove(&key).commit(durability).unwrap();
            model.remove(&key);
            model.insert(other, value);
        }
        _ => {
            let swapped = store
                .compare_and_set(&key, model.get(&key).map(Vec::as_slice), Some(b"new"), durability)
                .unwrap();
            assert!(swapped, "{key:?} was something else");
            model.insert(key, b"new".to_vec());
        }
    }
}

impl Made {
    pub(crate) fn new(files: u32, changes: u64) -> Self {
        let place = Place::new();
        let mut random = Random(u64::from(files) + changes);
        let mut model = Contents::new();
        let store = ByteStore::open(place.store(), &options().snapshot_shards(files)).unwrap();
        for number in 0..ENTRIES {
            let value = value(&mut random);
            store.insert(&key(number), &value, Durability::Process).unwrap();
            model.insert(key(number), value);
        }
        store.compact().unwrap();
        for _ in 0..changes {
            change(&store, &mut model, &mut random);
        }
        store.close().unwrap();
        Self { place, model }
    }

    pub(crate) fn image(&self) -> Image {
        Image::of(&self.place.store())
    }

    pub(crate) fn snapshot_bytes(&self) -> u64 {
        let image = self.image();
        let lens = image.named("full").into_iter().map(|name| image.0[&name].len());
        u64::try_from(lens.sum::<usize>()).unwrap()
    }

    pub(crate) fn open(&self, options: &Options) -> ByteStore {
        ByteStore::open(self.place.store(), &options.clone().instant_open(true)).unwrap()
    }
}

pub(crate) fn options() -> Options {
    small().background(false).compact_log_bytes_min(u64::MAX).segment_bytes(1 << 20, 1 << 20)
}

#[test]
fn every_key_is_what_it_would_be_had_all_been_loaded() {
    for (files, changes) in [(1, 0), (3, 4000), (4, 300)] {
        let mut made = Made::new(files, changes);
        for shards in [1, 4, 64] {
            let store = made.open(&options().map_shards(shards));
            assert!(!store.is_loaded() && store.recovery_report().is_instant);
            let mut random = Random(99 + u64::try_from(shards).unwrap());
            for _ in 0..600 {
                let key = key(random.below(ENTRIES + 500));
                assert_eq!(store.get(&key).unwrap().as_ref(), made.model.get(&key), "{key:?}");
                change(&store, &mut made.model, &mut random);
            }
            drop(store);
            let store = made.open(&options().map_shards(shards));
            let keys: Vec<Vec<u8>> = (0..40).map(|_| key(random.below(ENTRIES + 500))).collect();
            let together = store.get_many(keys.iter().map(Vec::as_slice)).unwrap();
            let singly: Vec<_> = keys.iter().map(|key| made.model.get(key).cloned()).collect();
            assert_eq!(together, singly);
            drop(store);
            // Keys that nobody has looked at before.
            let store = made.open(&options().map_shards(shards));
            let mut batch = store.batch();
            for number in 0..40 {
                let key = key(random.below(ENTRIES));
                if number % 2 == 0 {
                    batch = batch.remove(&key);
                    made.model.remove(&key);
                } else {
                    batch = batch.insert(&key, b"batch");
                    made.model.insert(key, b"batch".to_vec());
                }
            }
            batch.commit(Durability::Process).unwrap();
            assert_eq!(contents(&store), made.model, "behind a batch");
            drop(store);
            let store = made.open(&options().map_shards(shards));
            let known = made.model.iter().step_by(500).take(20);
            let batch =
                known.fold(store.batch(), |batch, (key, value)| batch.if_equals(key, value));
            batch.if_absent(b"nobody").commit(Durability::Process).unwrap();
            assert_eq!(contents(&store), made.model, "{files} files, {shards} shards");
            assert!(store.is_loaded());
            store.close().unwrap();
        }
        // And opened in the usual way it is the same.
        assert_eq!(contents(&ByteStore::open(made.place.store(), &options()).unwrap()), made.model);
    }
}

#[test]
fn the_loading_thread_loads_all_beside_who_reads_and_writes() {
    let mut made = Made::new(3, 500);
    let store = made.open(&options().background(true));
    let mut random = Random(5);
    while !store.is_loaded() {
        change(&store, &mut made.model, &mut random);
    }
    assert_eq!(contents(&store), made.model);
    store.close().unwrap();
    // A close in the middle of it waits for no more than what is under way.
    for _ in 0..5 {
        made.open(&options().background(true)).close().unwrap();
    }
    assert_eq!(contents(&made.open(&options())), made.model);
}

#[test]
fn whatever_concerns_all_entries_sees_all() {
    let made = Made::new(2, 200);
    let expected = u64::try_from(made.model.len()).unwrap();
    let fresh = || made.open(&options());
    assert_eq!(fresh().len(), expected);
    assert_eq!(fresh().iter().count(), made.model.len());
    assert_eq!(fresh().view().unwrap().len(), expected);
    let store = fresh();
    let view = store.view().unwrap();
    store.remove(&key(1), Durability::Process).unwrap();
    assert_eq!(view.get(&key(1)).unwrap().as_deref(), made.model.get(&key(1)).map(Vec::as_slice));
    drop(view);
    if let Some(value) = made.model.get(&key(1)) {
        store.insert(&key(1), value, Durability::Process).unwrap();
    }
    drop(store);
    let store = fresh();
    let upper = store.get_with(&key(2), |_| store.len()).unwrap();
    assert!(upper.is_none_or(|upper| upper >= expected), "{upper:?} of {expected}");
    drop(store);
    let store = fresh();
    store.wait_loaded().unwrap();
    assert!(store.is_loaded());
    drop(store);
    fresh().compact().unwrap();
    assert_eq!(contents(&ByteStore::open(made.place.store(), &options()).unwrap()), made.model);
    let store = fresh();
    store.clear(Durability::Process).unwrap();
    assert_eq!((store.get(&key(3)).unwrap(), store.len()), (None, 0));
    store.insert(&key(4), b"after", Durability::Process).unwrap();
    drop(store);
    // The clear is in the logs now, above the snapshot.
    let store = fresh();
    assert_eq!(store.get(&key(3)).unwrap(), None);
    assert_eq!(contents(&store), Contents::from([(key(4), b"after".to_vec())]));
}

#[test]
fn a_clear_amid_many_writes_clears_what_was_there_and_no_more() {
    let mut made = Made::new(3, 0);
    let store = ByteStore::open(made.place.store(), &options()).unwrap();
    let mut random = Random(17);
    for _ in 0..3 {
        for _ in 0..700 {
            change(&store, &mut made.model, &mut random);
        }
        store.clear(Durability::Process).unwrap();
        made.model.clear();
        for _ in 0..700 {
            change(&store, &mut made.model, &mut random);
        }
    }
    store.close().unwrap();
    for (threads, shards) in [(1, 2), (2, 4), (4, 64)] {
        let store = made.open(&options().background(true).io_threads(threads).map_shards(shards));
        assert_eq!(contents(&store), made.model);
    }
}

/// What is read of the disk.
#[test]
fn opening_reads_the_ends_of_the_files_and_a_key_a_piece_of_one() {
    let made = Made::new(2, 0);
    let snapshot_bytes = made.snapshot_bytes();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let reads = || (fs.counts().calls(Op::Read), fs.counts().bytes_read);
    let store = made.open(&options().file_system(fs.clone()));
    let (calls, bytes) = reads();
    assert!(bytes < 64 * 1024, "{bytes} of {snapshot_bytes} bytes in {calls} calls");
    let mut longest = 0;
    for number in 70..90 {
        let before = reads();
        store.get(&key(number)).unwrap().unwrap();
        let (calls_of_get, bytes_of_get) = (reads().0 - before.0, reads().1 - before.1);
        assert!(calls_of_get <= 1 && bytes_of_get < 400_000, "{calls_of_get}, {bytes_of_get}");
        longest = bytes_of_get.max(longest);
        let once = reads();
        store.get(&key(number)).unwrap().unwrap();
        assert_eq!(reads(), once);
    }
    // The last piece of a file may be shorter.
    assert!(longest >= 200_000, "{longest}");
    store.wait_loaded().unwrap();
    let (_, all) = reads();
    assert!((snapshot_bytes..snapshot_bytes + 128 * 1024).contains(&all), "{all}");
}

/// A compaction wrote an entry for slices behind the last record, and no opening took it.
#[test]
fn what_comes_behind_the_last_record_has_no_span() {
    for values in [1, 10] {
        for _ in 0..8 {
            let place = Place::new();
            let default = Options::new().background(false).compact_log_bytes_min(u64::MAX);
            let store = ByteStore::open(place.store(), &default).unwrap();
            let value = vec![7; 300 << 10];
            for number in 0..values {
                store.insert(&key(number), &value, Durability::Process).unwrap();
            }
            store.compact().unwrap();
            store.close().unwrap();
            for instant in [false, true] {
                let store =
                    ByteStore::open(place.store(), &default.clone().instant_open(instant)).unwrap();
                for number in 0..values {
                    assert_eq!(store.get(&key(number)).unwrap().as_deref(), Some(&value[..]));
                }
            }
        }
    }
}

/// Slices were made without a look at the large values, and a span could be a whole shard.
#[test]
fn large_values_have_small_spans() {
    let place = Place::new();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let one_shard = options().map_shards(1).file_system(fs.clone());
    let store = ByteStore::open(place.store(), &one_shard).unwrap();
    for number in 0..100 {
        store.insert(&key(number), &vec![7; 1 << 20], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &one_shard.instant_open(true)).unwrap();
    let before = fs.counts().bytes_read;
    store.get(&key(1)).unwrap().unwrap();
    let read = fs.counts().bytes_read - before;
    assert!(read < 12 << 20, "{read} bytes for one value of a mebibyte");
}

#[test]
fn a_close_waits_for_no_more_than_what_is_under_way() {
    let place = Place::new();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let big = Options::new().expiry(true).compact_log_bytes_min(u64::MAX).file_system(fs.clone());
    let store = ByteStore::open(place.store(), &big).unwrap();
    for number in 0..60_000_u64 {
        store.insert(&number.to_le_bytes(), &[7; 1000], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let before = fs.counts().bytes_read;
    ByteStore::open(place.store(), &big.io_threads(1).instant_open(true)).unwrap().close().unwrap();
    let read = fs.counts().bytes_read - before;
    assert!(read < 30 << 20, "{read} of 60 MB");
}

#[test]
fn what_has_expired_stays_gone_and_the_recorded_time_is_known() {
    let place = Place::new();
    let with_expiry = options().expiry(true);
    let store: Store<String, u64> = with_expiry.open(place.store()).unwrap();
    for number in 0..30_000 {
        store.insert(&format!("stays {number}"), &number).unwrap();
    }
    store.insert_with_ttl("goes", &1, Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(store.get("goes").unwrap(), None);
    store.compact().unwrap();
    store.close().unwrap();
    let store: Store<String, u64> = with_expiry.instant_open(true).open(place.store()).unwrap();
    assert!(!store.is_loaded());
    assert_eq!(store.get("goes").unwrap(), None);
    assert_eq!(store.ttl("stays 7").unwrap(), Some(None));
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(store.len(), 30_000);
}

#[test]
fn a_memory_cap_counts_what_is_to_come() {
    let made = Made::new(1, 0);
    let whole = ByteStore::open(made.place.store(), &options()).unwrap();
    let held = whole.stats().payload_bytes;
    drop(whole);
    let store = made.open(&options().max_memory_bytes(held / 10 * 9));
    let refused = store.insert(b"one more", &[0; 100], Durability::Process);
    assert!(matches!(refused, Err(Error::MemoryCap { .. })), "{refused:?}");
    // A removal makes room, whatever is to come.
    let small = options().max_memory_bytes(held / 2);
    drop(store);
    let store = made.open(&small);
    store.remove(&key(1), Durability::Process).unwrap();
    assert!(!store.is_loaded());
    // What the logs have replaced does not count twice.
    let store = {
        drop(store);
        let store = ByteStore::open(made.place.store(), &options()).unwrap();
        for (key, value) in &made.model {
            store.insert(key, value, Durability::Process).unwrap();
        }
        store.close().unwrap();
        made.open(&options().max_memory_bytes(held / 10 * 15))
    };
    store.insert(b"one more", &[0; 100], Durability::Process).unwrap();
}

#[test]
fn other_settings_go_with_it() {
    let made = Made::new(1, 20);
    // An empty folder, and one that is all log.
    let place = Place::new();
    let instant = options().instant_open(true);
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert!(store.is_loaded());
    store.insert(b"key", b"value", Durability::Process).unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert!(store.is_loaded());
    // A snapshot without records.
    store.clear(Durability::Process).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert_eq!((store.get(b"key").unwrap(), store.len()), (None, 0));
    // Strict.
    let strict = made.open(&options().recovery(RecoveryMode::Strict));
    assert_eq!(contents(&strict), made.model);
}
