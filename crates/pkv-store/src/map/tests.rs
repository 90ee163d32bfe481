//! The map against `std::collections::HashMap`, its bounds on memory and on work, and the copies taken
//! while it changes.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::bucket::{BUCKET_BYTES_MAX, BUCKET_ENTRIES_MAX};
use super::chunk::ChunkSize;
use super::shard::EMPTY_BYTES_MAX;
use super::*;

/// A small generator, so that runs repeat.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn map(shards: usize) -> Map {
    Map::new(&MapOptions { shards, hash_seed: 7 }).unwrap()
}

fn key(number: u64, bytes: usize) -> Vec<u8> {
    number.to_le_bytes().iter().copied().cycle().take(bytes.max(8)).collect()
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    let seed = number.to_le_bytes();
    (0..bytes).map(|i| seed[i % 8] ^ u8::try_from(i % 251).unwrap()).collect()
}

fn set(map: &Map, key: &[u8], value: &[u8]) -> bool {
    let hash = map.hash(key);
    let value = NewValue::new(value).unwrap();
    let mut shard = map.write(map.shard_index(hash));
    let (found, _) = shard.find(hash, key);
    shard.reserve_found(hash, key.len(), &value, found).unwrap();
    let mut garbage = Garbage::default();
    let existed = shard.set_found(hash, key, &value, found, &mut garbage);
    drop(shard);
    existed
}

fn remove(map: &Map, key: &[u8]) -> bool {
    let hash = map.hash(key);
    map.write(map.shard_index(hash)).remove(hash, key, &mut Garbage::default())
}

fn get(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    let hash = map.hash(key);
    let shard = map.read(map.shard_index(hash));
    let value = shard.get(hash, key).map(|value| value.as_bytes());
    assert_eq!(shard.get_bytes(hash, key), value);
    value.map(<[u8]>::to_vec)
}

/// All entries of a copy, each met once.
fn copy(map: &Map) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut out = SliceCopy::default();
    for index in 0..map.shards() {
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = map.read(index).copy_slice(from, &mut out).unwrap();
            collect(&out, &mut entries);
        }
    }
    entries
}

fn collect(out: &SliceCopy, entries: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut records = pkv_format::Records::new(&out.bytes, out.records);
    for record in &mut records {
        let record = record.unwrap();
        assert!(entries.insert(record.key.to_vec(), record.value.to_vec()).is_none(), "met twice");
    }
    for (key, value) in out.large() {
        assert!(entries.insert(key.to_vec(), value.to_vec()).is_none(), "met twice");
    }
}

#[test]
fn a_value_of_the_same_length_takes_no_memory_however_full_all_is() {
    for value_bytes in [0, 100, 900] {
        let map = map(1);
        for number in 0..600 {
            set(&map, &key(number, 16), &value(number, value_bytes));
            // At some of these numbers a table or a chunk is full.
            let before = map.usage();
            let last = key(number, 16);
            set(&map, &last, &value(number + 1, value_bytes));
            assert_eq!(map.usage(), before, "{number}");
            assert_eq!(get(&map, &last), Some(value(number + 1, value_bytes)));
        }
        map.read(0).verify();
    }
}

fn check(map: &Map, model: &HashMap<Vec<u8>, Vec<u8>>) {
    let copied = copy(map);
    assert_eq!(copied.len(), model.len());
    assert_eq!(map.len(), u64::try_from(model.len()).unwrap());
    for (key, value) in model {
        assert_eq!(copied.get(key), Some(value), "copy");
        assert_eq!(get(map, key).as_ref(), Some(value), "get");
    }
    let payload: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
    for index in 0..map.shards() {
        map.read(index).verify();
    }
    let usage = map.usage();
    assert_eq!(usage.payload_bytes, u64::try_from(payload).unwrap());
    let large: usize = model.values().map(Vec::len).filter(|l| *l > INLINE_VALUE_BYTES_MAX).sum();
    assert_eq!(usage.large_bytes, u64::try_from(large).unwrap());
    let live: usize = model
        .iter()
        .map(|(key, value)| {
            let inline = if value.len() > INLINE_VALUE_BYTES_MAX { 4 } else { value.len() };
            pkv_format::record_bytes(key.len(), inline)
        })
        .sum();
    assert_eq!(usage.live_bytes, u64::try_from(live).unwrap());
    assert!(usage.live_bytes + usage.dead_bytes <= usage.held_bytes);
}

#[test]
fn behaves_as_a_hash_map_under_churn() {
    let mut random = Random(1);
    for (keys, value_bytes_max, steps) in
        [(50, 3000, 5000), (2000, 1100, 20_000), (9000, 60, 30_000)]
    {
        let map = map(4);
        let mut model = HashMap::new();
        for step in 0..steps {
            let key = key(u64::try_from(random.below(keys)).unwrap(), 8 + random.below(2));
            if random.below(4) == 0 {
                assert_eq!(remove(&map, &key), model.remove(&key).is_some());
            } else {
                let value = value(step, random.below(value_bytes_max));
                assert_eq!(set(&map, &key, &value), model.insert(key, value).is_some());
            }
        }
        check(&map, &model);
        if value_bytes_max > 1000 {
            assert!(map.usage().moved_bytes > 0, "the cleaner had nothing to do");
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Set {
        key: u16,
        key_bytes: usize,
        value_bytes: usize,
    },
    Remove {
        key: u16,
        key_bytes: usize,
    },
    /// Sets, each followed by a remove or not, reserved together for each shard.
    Batch(Vec<(u16, usize, Option<u16>)>),
    /// Reserved, and never set.
    GiveUp {
        key: u16,
        value_bytes: usize,
    },
    Clear,
    /// Copies everything out and loads it into another map.
    Reload,
}

fn value_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..40_usize, 4 => 0..1030_usize, 1 => 1020..3000_usize, 1 => Just(0_usize)]
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0..300_u16;
    let key_bytes = prop_oneof![Just(8_usize), Just(9), 8..200_usize];
    let batch = (key.clone(), value_bytes(), proptest::option::of(key.clone()));
    prop_oneof![
        60 => (key.clone(), key_bytes.clone(), value_bytes())
            .prop_map(|(key, key_bytes, value_bytes)| Action::Set { key, key_bytes, value_bytes }),
        30 => (key.clone(), key_bytes).prop_map(|(key, key_bytes)| Action::Remove { key, key_bytes }),
        5 => proptest::collection::vec(batch, 0..60).prop_map(Action::Batch),
        5 => (key, value_bytes()).prop_map(|(key, value_bytes)| Action::GiveUp { key, value_bytes }),
        1 => Just(Action::Clear),
        1 => Just(Action::Reload),
    ]
}

fn run_batch(
    map: &Map,
    model: &mut HashMap<Vec<u8>, Vec<u8>>,
    seed: u64,
    batch: &[(u16, usize, Option<u16>)],
) {
    for index in 0..map.shards() {
        let keys = |number: &u16| key(u64::from(*number), 8);
        let sets: Vec<_> = batch
            .iter()
            .map(|(number, bytes, removed)| (keys(number), value(seed, *bytes), removed))
            .filter(|(key, ..)| map.shard_index(map.hash(key)) == index)
            .collect();
        let mut shard = map.write(index);
        let lengths = sets.iter().map(|(key, value, _)| (map.hash(key), key.len(), value.len()));
        shard.reserve_all(lengths).unwrap();
        for (key, value, removed) in sets {
            let new = NewValue::new(&value).unwrap();
            let existed = shard.set(map.hash(&key), &key, &new, &mut Garbage::default());
            assert_eq!(existed, model.insert(key, value).is_some());
            if let Some(removed) = removed.as_ref().map(keys)
                && map.shard_index(map.hash(&removed)) == index
            {
                let existed = shard.remove(map.hash(&removed), &removed, &mut Garbage::default());
                assert_eq!(existed, model.remove(&removed).is_some());
            }
        }
    }
}

fn reload(map: &Map, shards: usize) -> Map {
    let loaded = Map::new(&MapOptions { shards, hash_seed: 7 }).unwrap();
    let mut record = Vec::new();
    for (key, value) in copy(map) {
        record.clear();
        pkv_format::push_record(&mut record, &key, &value);
        let hash = loaded.hash(&key);
        let mut shard = loaded.write(loaded.shard_index(hash));
        assert!(shard.load(hash, &record).unwrap(), "a new key");
        assert!(!shard.load(hash, &record).unwrap(), "there already");
    }
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_hash_map(actions in proptest::collection::vec(action(), 1..600)) {
        let mut map = map(2);
        let mut model = HashMap::new();
        for (step, action) in (0..).zip(&actions) {
            match action {
                Action::Set { key: number, key_bytes, value_bytes } => {
                    let (key, value) = (key(u64::from(*number), *key_bytes), value(step, *value_bytes));
                    assert_eq!(set(&map, &key, &value), model.insert(key, value).is_some());
                }
                Action::Remove { key: number, key_bytes } => {
                    let key = key(u64::from(*number), *key_bytes);
                    assert_eq!(remove(&map, &key), model.remove(&key).is_some());
                }
                Action::Batch(batch) => run_batch(&map, &mut model, step, batch),
                Action::GiveUp { key: number, value_bytes } => {
                    let hash = map.hash(&key(u64::from(*number), 8));
                    let value = value(step, *value_bytes);
                    let value = NewValue::new(&value).unwrap();
                    map.write(map.shard_index(hash)).reserve(hash, 8, &value).unwrap();
                }
                Action::Clear => {
                    for index in 0..map.shards() {
                        let garbage = map.write(index).take_contents();
                        assert!(!garbage.is_empty());
                    }
                    model.clear();
                }
                Action::Reload => map = reload(&map, 4),
            }
        }
        check(&map, &model);
    }
}

#[test]
fn a_copy_meets_each_staying_key_once_whatever_changes_meanwhile() {
    const STAYING: u64 = 12_000;
    let map = map(1);
    let staying = |number: u64| (key(number, 16), value(number, 60));
    // Behind each one that stays stands one that goes: what is left of a chunk then is moved.
    let going = |number: u64| key(50_000 + number, 16);
    for number in 0..STAYING {
        let (key, value) = staying(number);
        set(&map, &key, &value);
        set(&map, &going(number), &value);
    }
    let mut random = Random(5);
    let mut copied = BTreeMap::new();
    let mut out = SliceCopy::default();
    let mut cursor = Some(Cursor::default());
    let (mut slices, mut next) = (0, 100_000);
    let mut gone = 0..STAYING;
    while let Some(from) = cursor {
        // Writers come and go: a slice of either size begins where the last one ended.
        let size = [SliceSize::BESIDE_WRITERS, SliceSize::ALONE][slices % 2];
        out.clear();
        cursor = map.read(0).append_slice(from, &mut out, size).unwrap();
        collect(&out, &mut copied);
        slices += 1;
        if slices > 8 {
            continue;
        }
        // Splits the buckets ahead and behind, and makes the cleaner move what stays.
        for _ in 0..8000 {
            // Longer than what goes, and so in no place of it.
            set(&map, &key(next, 16), &value(next, 70 + random.below(130)));
            next += 1;
            let changed =
                next - u64::try_from(random.below(12_000)).unwrap().min(next - 100_000) - 1;
            remove(&map, &key(changed.max(100_000), 16));
            gone.next().map(|number| remove(&map, &going(number)));
        }
    }
    assert!(slices > 8, "{slices} slices");
    let moved_bytes = map.usage().moved_bytes;
    assert!(moved_bytes > STAYING * 80 / 2, "{moved_bytes} bytes were moved");
    for number in 0..STAYING {
        let (key, value) = staying(number);
        assert_eq!(copied.get(&key), Some(&value), "{number}");
    }
    map.read(0).verify();
}

#[test]
fn a_cursor_still_works_after_its_bucket_was_split() {
    let map = map(1);
    let fill = |range: std::ops::Range<u64>| {
        for number in range {
            set(&map, &key(number, 8), b"v");
        }
    };
    fill(0..8000);
    let mut out = SliceCopy::default();
    let cursor = map.read(0).copy_slice(Cursor::default(), &mut out).unwrap().unwrap();
    let before = out.records;
    // Cuts both sides of the cursor many times over.
    fill(8000..160_000);
    let mut entries = BTreeMap::new();
    let mut next = Some(cursor);
    while let Some(from) = next {
        next = map.read(0).copy_slice(from, &mut out).unwrap();
        collect(&out, &mut entries);
    }
    let met = (0..8000).filter(|number| entries.contains_key(&key(*number, 8))).count();
    assert_eq!(met + usize::try_from(before).unwrap(), 8000);
}

#[test]
fn a_copy_meets_a_key_once_though_the_shard_was_emptied_and_filled_again() {
    let map = map(1);
    let fill = |keys: std::ops::Range<u64>| {
        for number in keys {
            set(&map, &key(number, 8), b"v");
        }
    };
    // Slices so small that the cursor stands within the smallest part that one bucket alone can tell apart.
    fill(0..100_000);
    let mut out = SliceCopy::default();
    let mut copied = BTreeMap::new();
    let mut cursor = Some(Cursor::default());
    for _ in 0..3 {
        cursor = map.read(0).copy_slice(cursor.unwrap(), &mut out).unwrap();
        collect(&out, &mut copied);
    }
    drop(map.write(0).take_contents());
    // Few enough for one bucket, which begins before the cursor.
    fill(0..500);
    while let Some(from) = cursor {
        cursor = map.read(0).copy_slice(from, &mut out).unwrap();
        collect(&out, &mut copied);
    }
    assert!((0..500).all(|number| copied.contains_key(&key(number, 8))));
}

#[test]
fn live_bytes_stay_above_nine_tenths_under_churn_of_random_sizes() {
    // 100 entries a shard at first: such small ones leave more over.
    for (keys, shards, value_bytes_max) in [(6000, 8, 1000), (20_000, 8, 200), (400, 1, 1000)] {
        let map = map(shards);
        let mut random = Random(9);
        let ratio = || {
            let usage = map.usage();
            usage.live_bytes * 1000 / usage.held_bytes
        };
        for step in 0..u64::try_from(keys * 8).unwrap() {
            let number = u64::try_from(random.below(keys)).unwrap();
            set(&map, &key(number, 16), &value(step, random.below(value_bytes_max)));
            if step > u64::try_from(keys * 2).unwrap() && step % 1000 == 0 {
                assert!(ratio() >= 900, "{} at step {step} of {keys} keys", ratio());
            }
        }
        for number in 0..u64::try_from(keys / 2).unwrap() {
            remove(&map, &key(number, 16));
            // Nothing takes a free place then: all is left to the cleaner, chunk by chunk.
            assert!(ratio() >= 850, "{} after {number} removes of {keys} keys", ratio());
        }
    }
}

#[test]
fn one_call_moves_and_splits_no_more_than_its_bounds() {
    // 8 MiB and more in one shard, so that chunks have their full size.
    let map = map(1);
    let mut random = Random(3);
    for number in 0..12_000 {
        set(&map, &key(number, 16), &value(number, 1000));
    }
    let assert_bounds = || {
        let shard = map.read(0);
        for bucket in shard.buckets.iter() {
            assert!(bucket.table.len() <= BUCKET_ENTRIES_MAX, "{} entries", bucket.table.len());
            assert!(bucket.bytes <= BUCKET_BYTES_MAX, "{} bytes", bucket.bytes);
        }
        assert!(shard.buckets.iter().count() > 20);
    };
    assert_bounds();
    let mut moved_most = 0;
    for step in 0..20_000_u64 {
        let number = u64::try_from(random.below(12_000)).unwrap();
        let before = map.read(0).usage().moved_bytes;
        if step % 3 == 0 {
            remove(&map, &key(number, 16));
        } else {
            set(&map, &key(number, 16), &value(step, random.below(1025)));
        }
        moved_most = moved_most.max(map.read(0).usage().moved_bytes - before);
    }
    assert!(moved_most > 0);
    assert!(moved_most <= (64 << 10) + 1100, "{moved_most} bytes moved in one call");
    assert_bounds();
}

/// A copy holds the lock for one slice at a time, and a writer waits for it.
#[test]
fn a_copy_takes_small_slices_in_the_order_of_positions() {
    let map = map(1);
    let mut out = SliceCopy::default();
    let mut next = 0;
    for (entries, value_bytes) in [(1_000, 100), (30_000, 10), (100_000, 100), (105_000, 1000)] {
        for number in next..entries {
            set(&map, &key(number, 16), &value(number, value_bytes));
        }
        next = entries;
        let mut cursor = Some(Cursor::default());
        let (mut copied, mut behind) = (0, None);
        while let Some(from) = cursor {
            cursor = map.read(0).copy_slice(from, &mut out).unwrap();
            // A slice is a share by position, so its size varies.
            assert!(out.records <= 384, "{} records of {entries}", out.records);
            assert!(out.bytes.len() <= 64 << 10, "{} bytes of {entries}", out.bytes.len());
            let records = pkv_format::Records::new(&out.bytes, out.records);
            let hashes: Vec<u64> = records.map(|record| map.hash(record.unwrap().key)).collect();
            assert!(hashes.iter().all(|hash| Some(*hash) > behind), "out of order");
            behind = hashes.iter().max().copied().or(behind);
            copied += u64::from(out.records);
        }
        assert_eq!(copied, entries);
    }
}

#[test]
fn a_slice_of_long_keys_is_bounded_too() {
    let map = map(1);
    let long = |number: u64| key(number, pkv_format::KEY_BYTES_MAX);
    let mut model = HashMap::new();
    for number in 0..60 {
        set(&map, &long(number), b"v");
        model.insert(long(number), b"v".to_vec());
    }
    assert!(map.read(0).buckets.iter().all(|bucket| bucket.bytes <= BUCKET_BYTES_MAX));
    check(&map, &model);
}

#[test]
fn memory_stays_near_the_payload_at_any_size() {
    let map = map(64);
    let value = value(1, 100);
    let mut sizes = vec![100_000_u64, 140_000, 200_000, 300_000, 420_000, 600_000];
    let (mut sum, mut measured) = (0, 0);
    let mut next = sizes.remove(0);
    for number in 0.. {
        set(&map, &key(number, 16), &value);
        if number + 1 == next {
            let usage = map.usage();
            assert_eq!(usage.payload_bytes, next * 116);
            let ratio = (usage.held_bytes + usage.index_bytes) * 1000 / usage.payload_bytes;
            assert!(ratio <= 1165, "{ratio} at {next}");
            sum += ratio;
            measured += 1;
            if sizes.is_empty() {
                break;
            }
            next = sizes.remove(0);
        }
    }
    assert!(sum / measured <= 1150, "{} on average", sum / measured);
}

#[test]
fn an_empty_map_is_small_and_an_emptied_one_gives_its_memory_back() {
    let map = map(256);
    let of = |usage: Usage| usage.held_bytes + usage.index_bytes;
    assert!(of(map.usage()) < 64 << 10, "{:?}", map.usage());
    assert!(256 * size_of::<Slot>() < 256 << 10, "{} bytes a slot", size_of::<Slot>());

    let map = self::map(16);
    for number in 0..50_000 {
        set(&map, &key(number, 16), &value(number, 100));
    }
    let (full, full_index) = (of(map.usage()), map.usage().index_bytes);
    for number in 0..50_000 {
        assert!(remove(&map, &key(number, 16)));
        // Bounded: what is left is never more than a small multiple of what is held, and a rest.
        if number % 5000 == 0 {
            let usage = map.usage();
            assert!(of(usage) < usage.payload_bytes * 3 / 2 + full / 8, "{usage:?}");
        }
        if number == 49_500 {
            let usage = map.usage();
            assert!(usage.index_bytes < full_index / 2, "{usage:?} of {full_index}");
        }
    }
    assert_eq!(map.len(), 0);
    assert!(of(map.usage()) < 16 * EMPTY_BYTES_MAX, "{:?} of {full}", map.usage());
}

#[test]
fn what_was_reserved_needs_no_more_memory() {
    let map = map(1);
    let sets: Vec<_> = (0..5000_u64)
        .map(|number| (key(number, 8 + usize::try_from(number % 50).unwrap()), value(number, 20)))
        .chain([(key(90_009, 8), value(1, 5000)), (key(90_010, 8), value(2, 2000))])
        .collect();
    let mut shard = map.write(0);
    let held = |shard: &Shard| (shard.usage().held_bytes, shard.usage().index_bytes);
    let lengths = sets.iter().map(|(key, value)| (map.hash(key), key.len(), value.len()));
    shard.reserve_all(lengths).unwrap();
    let reserved = held(&shard);
    for (key, value) in &sets {
        shard.set(map.hash(key), key, &NewValue::new(value).unwrap(), &mut Garbage::default());
        assert_eq!(held(&shard).0, reserved.0);
        // Heads of free lists, which may fail.
        assert!(held(&shard).1 <= reserved.1 + 1284, "{:?}", held(&shard));
    }
    shard.verify();
    let single = (key(77_777, 8), value(3, 100));
    let value = NewValue::new(&single.1).unwrap();
    shard.reserve(map.hash(&single.0), 8, &value).unwrap();
    let reserved = held(&shard);
    shard.set(map.hash(&single.0), &single.0, &value, &mut Garbage::default());
    assert_eq!(held(&shard), reserved);
}

#[test]
fn a_reservation_stands_while_removes_come_between() {
    let map = map(1);
    for number in 0..2000 {
        set(&map, &key(number, 16), &value(number, 500));
    }
    let mut shard = map.write(0);
    let sets: Vec<_> = (5000..5500).map(|number| (key(number, 16), value(number, 700))).collect();
    let lengths = sets.iter().map(|(key, value)| (map.hash(key), key.len(), value.len()));
    shard.reserve_all(lengths).unwrap();
    let reserved = shard.usage();
    // All that was there goes: nothing may be shrunk, moved or given up meanwhile.
    for number in 0..2000 {
        let key = key(number, 16);
        assert!(shard.remove(map.hash(&key), &key, &mut Garbage::default()));
    }
    for (key, value) in &sets[..499] {
        shard.set(map.hash(key), key, &NewValue::new(value).unwrap(), &mut Garbage::default());
    }
    let usage = shard.usage();
    assert_eq!(usage.held_bytes, reserved.held_bytes);
    assert_eq!(usage.moved_bytes, reserved.moved_bytes);
    shard.verify();
    drop(shard);
    let (key, value) = &sets[499];
    set(&map, key, value);
    for (key, value) in &sets {
        assert_eq!(get(&map, key).as_ref(), Some(value));
    }
}

#[test]
fn a_large_value_is_replaced_and_never_overwritten() {
    let map = map(1);
    let old = value(1, 5000);
    set(&map, b"key", &old);
    let hash = map.hash(b"key");
    let shared = match map.read(0).get(hash, b"key") {
        Some(ValueRef::Large(shared)) => Arc::clone(shared),
        other => panic!("{other:?}"),
    };
    set(&map, b"key", &value(2, 5000));
    assert_eq!(&*shared, &old[..]);
    assert_eq!(get(&map, b"key"), Some(value(2, 5000)));
    assert_eq!(map.usage().large_bytes, 5000);
    set(&map, b"key", b"short");
    assert_eq!(map.usage().large_bytes, 0);
    assert_eq!(map.read(0).get(hash, b"key").map(|value| value.as_bytes().len()), Some(5));
}

#[test]
fn garbage_reaches_the_caller() {
    let map = map(1);
    let hash = map.hash(b"key");
    set(&map, b"key", &value(1, 5000));
    let mut garbage = Garbage::default();
    assert!(map.write(0).remove(hash, b"key", &mut garbage));
    assert!(!garbage.is_empty(), "the large value");
    let mut chunks = 0;
    for step in 0..20_000_u64 {
        let bytes = usize::try_from(step * 7919 % 900).unwrap();
        let key = key(step % 500, 8);
        let (hash, value) = (map.hash(&key), value(step, bytes));
        let mut shard = map.write(0);
        let mut garbage = Garbage::default();
        shard.set(hash, &key, &NewValue::new(&value).unwrap(), &mut garbage);
        chunks += usize::from(!garbage.is_empty());
    }
    assert!(chunks > 0, "the cleaner's chunks");
}

#[test]
fn hashes_and_shards_are_the_same_in_every_version() {
    let map = Map::new(&MapOptions { shards: 200, hash_seed: 0x0123_4567_89ab_cdef }).unwrap();
    assert_eq!(map.shards(), 256);
    let hashes =
        [b"".as_slice(), b"a", b"abc", b"0123456789abcdef", &[7; 100]].map(|k| map.hash(k));
    assert_eq!(
        hashes,
        [
            2_839_243_568_087_718_072,
            3_309_338_740_851_243_506,
            17_014_702_976_224_561_107,
            13_606_420_338_881_090_587,
            4_000_757_176_065_154_903,
        ]
    );
    assert_eq!(map.shard_index(u64::MAX), 255);
    assert_eq!(map.shard_index(1 << 56), 1);
    let single = Map::new(&MapOptions { shards: 0, hash_seed: 1 }).unwrap();
    assert_eq!((single.shards(), single.shard_index(u64::MAX)), (1, 0));
    let other = Map::new(&MapOptions { shards: 1, hash_seed: 2 }).unwrap();
    assert_ne!(single.hash(b"key"), other.hash(b"key"));
}

#[test]
fn threads_see_whole_values_while_shards_change_and_are_copied() {
    let map = map(4);
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let map = &map;
            scope.spawn(move || {
                let mut random = Random(thread);
                for step in 0..6000_u64 {
                    let number = u64::try_from(random.below(300)).unwrap() * 3 + thread;
                    let bytes = random.below(1300);
                    set(map, &key(number, 8), &vec![u8::try_from(step % 256).unwrap(); bytes]);
                    let read = key(u64::try_from(random.below(900)).unwrap(), 8);
                    let read = get(map, &read).unwrap_or_default();
                    assert!(read.windows(2).all(|pair| pair[0] == pair[1]), "a torn value");
                }
            });
        }
        for _ in 0..20 {
            for value in copy(&map).values() {
                assert!(value.windows(2).all(|pair| pair[0] == pair[1]), "a torn value");
            }
        }
    });
    for index in 0..map.shards() {
        map.read(index).verify();
    }
    assert_eq!(map.len(), map.usage().entries);
}

/// What a snapshot announces is made room for, so that no bucket is cut while it is loaded in order.
#[test]
fn an_expected_load_in_the_order_of_positions_cuts_no_bucket() {
    const ENTRIES: u64 = 20_000;
    let map = map(1);
    let mut records: Vec<(u64, Vec<u8>)> = (0..ENTRIES)
        .map(|number| {
            let (key, mut record) = (key(number, 16), Vec::new());
            pkv_format::push_record_with_flags(&mut record, &key, b"value", 0);
            (map.hash(&key), record)
        })
        .collect();
    records.sort_unstable();
    let bytes = records.iter().map(|(_, record)| u64::try_from(record.len()).unwrap()).sum();
    map.expect(ENTRIES, bytes).unwrap();
    let mut shard = map.write(0);
    let expected = shard.buckets.iter().count();
    assert!(expected > 1, "{expected} buckets");
    let index_bytes = shard.usage().index_bytes;
    assert!(index_bytes < 2 * ENTRIES, "{index_bytes} bytes: tables are made when they are needed");
    for (hash, record) in &records {
        assert!(shard.load(*hash, record).unwrap());
    }
    assert_eq!(shard.buckets.iter().count(), expected);
    shard.verify();
    // A shard that has entries stays as it is.
    let held_bytes = shard.usage().held_bytes;
    shard.expect(100 * ENTRIES, 100 * bytes).unwrap();
    assert_eq!(shard.buckets.iter().count(), expected);
    assert_eq!(shard.usage().held_bytes, held_bytes);
}

/// Chunks are made before anything is loaded into them, and not more than are filled.
#[test]
fn an_expected_load_makes_its_chunks_first_and_few_more() {
    const ENTRIES: u64 = 40_000;
    let map = map(1);
    let record = |number: u64| {
        let (key, mut record) = (key(number, 16), Vec::new());
        pkv_format::push_record_with_flags(&mut record, &key, &value(number, 100), 0);
        (map.hash(&key), record)
    };
    let bytes = ENTRIES * u64::try_from(record(0).1.len()).unwrap();
    map.expect(ENTRIES, bytes).unwrap();
    let mut shard = map.write(0);
    let held = shard.usage().held_bytes;
    assert!(held * 100 > bytes * 85, "{held} bytes are made first of {bytes}");
    for (hash, record) in (0..ENTRIES).map(record) {
        assert!(shard.load(hash, &record).unwrap());
    }
    let held = shard.usage().held_bytes;
    assert!(held * 100 < bytes * 106, "{held} bytes for {bytes}");
    shard.verify();
}

/// The last chunk of each shard is half empty. Small chunks keep that small, and large ones last.
#[test]
fn the_numbers_of_small_chunks_are_enough_for_a_large_shard() {
    for (record_bytes, gib) in [(120, 15), (256, 15), (1092, 15), (66_000, 11)] {
        let mut held_bytes = 0;
        for _ in 0..chunk::CHUNKS_MAX {
            let size = ChunkSize::new(held_bytes, record_bytes);
            let bytes = record::lossless(size.bytes);
            assert!(!size.is_usual || bytes * 32 <= held_bytes, "{size:?} of {held_bytes}");
            held_bytes += bytes;
        }
        assert!(held_bytes > gib << 30, "{held_bytes} in records of {record_bytes}");
    }
}

#[test]
fn a_chunk_has_room_for_its_record_and_offsets_for_all_of_it() {
    let sizes = [0, 1 << 10, 500 << 10, 512 << 10, 1 << 20, 16 << 20, 20 << 20, 300 << 20, 1 << 33];
    for held_bytes in sizes.into_iter().flat_map(|bytes: u64| [bytes.saturating_sub(1), bytes]) {
        for record_bytes in (4..66_600).step_by(4) {
            let size = ChunkSize::new(held_bytes, record_bytes);
            assert!(size.bytes >= record_bytes, "{size:?} {held_bytes} {record_bytes}");
            assert!(size.bytes <= chunk::CHUNK_BYTES_MAX, "{size:?} {held_bytes} {record_bytes}");
        }
    }
}

/// What is left over behind the last record of a chunk is no reason to clean: the next chunk would have as much.
#[test]
fn records_of_any_length_leave_little_over() {
    for (key_bytes, value_bytes) in
        [(16, 30), (16, 200), (16, 300), (100, 1000), (600, 1024), (9000, 3)]
    {
        let map = map(1);
        for number in 0..3_000_000 / u64::try_from(key_bytes + value_bytes).unwrap() {
            set(&map, &key(number, key_bytes), &value(number, value_bytes));
        }
        let usage = map.usage();
        assert_eq!(usage.moved_bytes, 0, "{key_bytes} {value_bytes}");
        assert!(
            usage.live_bytes * 100 > usage.held_bytes * 91,
            "{key_bytes} {value_bytes} {usage:?}"
        );
    }
}

/// The ready chunks are of one size: that of most, and not of the last.
#[test]
fn long_records_leave_the_ready_chunks_alone() {
    let map = map(1);
    let mut number = 0;
    let mut insert = |value_bytes| {
        number += 1;
        set(&map, &key(number, 16), &value(number, value_bytes));
    };
    (0..20_000).for_each(|_| insert(100));
    while map.make_ready() {}
    let ready = || map.usage().held_bytes - map.read(0).usage().held_bytes;
    let all = ready();
    assert!(all > 0);
    (0..5000).for_each(|_| insert(900));
    assert!(!map.make_ready());
    assert_eq!(ready(), all);
}

/// Beyond 256 KiB, the offset of a record would be the number of another chunk.
#[test]
fn a_shard_of_the_largest_chunks_takes_ready_ones() {
    let map = map(1);
    let value = value(1, 236);
    for number in 0..1_100_000 {
        set(&map, &key(number, 16), &value);
        map.make_ready();
    }
    let size = ChunkSize::new(map.usage().held_bytes, 256);
    assert!(size.bytes + 4096 > chunk::CHUNK_BYTES_MAX, "{size:?}");
    for number in (0..1_100_000).step_by(7) {
        assert_eq!(get(&map, &key(number, 16)).as_deref(), Some(value.as_slice()), "{number}");
    }
}

/// A chunk that is ready counts as memory of the map, though not for the cap, and belongs to the shard that takes it.
#[test]
fn a_shard_takes_a_chunk_that_is_ready() {
    let map = map(1);
    let mut keys = (0..100_000).map(|number| key(number, 16));
    let mut insert = || set(&map, &keys.next().unwrap(), &value(1, 100));
    let held = || [map.usage().held_bytes, map.read(0).usage().held_bytes];
    while !map.make_ready() {
        insert();
    }
    let [with_ready, in_shard] = held();
    assert!(with_ready > in_shard, "{with_ready} {in_shard}");
    while held()[1] == in_shard {
        insert();
    }
    assert_eq!(held(), [with_ready; 2]);
    assert!(map.make_ready());
    let [with_ready, in_shard] = held();
    assert!(with_ready > in_shard);
    assert_eq!(map.memory_bytes(), in_shard, "a write that takes it takes no more memory");
    map.forget_ready();
    assert_eq!(held(), [in_shard; 2]);
    map.read(0).verify();
}

/// What a large value leaves behind is filled again with the next of its length, and counts as memory of the map meanwhile.
#[test]
fn a_large_value_takes_the_memory_of_the_one_before() {
    let map = map(1);
    let mut set = |byte: u8| {
        let (key, bytes) = (key(1, 16), [byte; 5000]);
        let value = NewValue::Large(map.share_if_large(&bytes).unwrap().unwrap());
        let mut garbage = Garbage::default();
        let hash = map.hash(&key);
        let mut shard = map.write(map.shard_index(hash));
        shard.reserve(hash, key.len(), &value).unwrap();
        shard.set(hash, &key, &value, &mut garbage);
        drop(shard);
        map.free(garbage);
        assert_eq!(get(&map, &key).as_deref(), Some(bytes.as_slice()));
    };
    let ready = || map.usage().held_bytes - map.read(0).usage().held_bytes;
    set(1);
    assert_eq!(ready(), 0);
    (2..20).for_each(&mut set);
    assert_eq!(ready(), 5000, "the one before");
    assert_eq!(map.usage().large_bytes, 5000, "what a snapshot writes");
    while map.make_ready() {}
    assert!(ready() > 5000 && map.memory_bytes() < 12_000, "{} {}", ready(), map.memory_bytes());
    map.forget_ready();
    assert_eq!(ready(), 0);
}

/// Has a key shown that is there, as reads do that meet for long enough.
fn elect(map: &Map, key: &[u8]) {
    let hash = map.hash(key);
    let shard = map.read(map.shard_index(hash));
    let value = shard.get(hash, key).unwrap();
    map.slot(map.shard_index(hash)).hot.elect(hash, key, value.as_bytes());
}

/// What is shown, without the lock.
fn shown(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    let hash = map.hash(key);
    let copied = map.slot(map.shard_index(hash)).hot.read(hash, key);
    copied.map(|copied| copied.value().to_vec())
}

#[test]
#[cfg_attr(any(pkv_shuttle, pkv_stress), ignore = "readers meet at random there")]
fn a_key_whose_readers_meet_is_shown() {
    let map = map(1);
    let read = |key: &[u8]| map.get_with(map.hash(key), key, <[u8]>::to_vec);
    assert!(!set(&map, b"key", b"value"));
    assert!(!set(&map, b"long", &[1; 300]));
    for _ in 0..1000 {
        assert_eq!(read(b"key").as_deref(), Some(b"value".as_slice()));
    }
    assert_eq!(shown(&map, b"key"), None, "who is alone needs no copy");
    for _ in 0..super::hot::VOTES_AHEAD {
        assert_eq!(shown(&map, b"key"), None);
        // With its lock, whatever was read before.
        drop(map.write(0));
        let _another = map.read(0);
        // One that cannot be shown keeps none from it.
        assert!([read(b"long"), read(b"key"), read(b"long")].iter().all(Option::is_some));
    }
    assert_eq!(shown(&map, b"key").as_deref(), Some(b"value".as_slice()));
    assert_eq!(read(b"other"), None);
}

/// Reads by a shard's bias, between writes, by single keys and by many, see what is there.
#[test]
#[cfg(all(target_os = "linux", not(any(pkv_shuttle, pkv_stress, miri))))]
fn a_shard_that_nobody_writes_to_is_read_without_its_lock() {
    let map = map(1);
    let read = |key: &[u8]| map.get_with(map.hash(key), key, <[u8]>::to_vec);
    let is_biased = || map.slot(0).shard.is_biased();
    for n in 0..20_u64 {
        let (new, long) = (value(n, 100), value(n, 3000));
        assert_eq!(set(&map, b"key", &new), n > 0);
        assert_eq!(set(&map, b"long", &long), n > 0);
        assert!(!is_biased());
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_biased() {
            assert_eq!(read(b"key").as_ref(), Some(&new));
            assert!(std::time::Instant::now() < until, "no bias");
        }
        assert_eq!(read(b"key").as_ref(), Some(&new));
        assert_eq!(read(b"long").as_ref(), Some(&long));
        assert_eq!(read(b"other"), None);
        let there = map.read_with(0, |shard| shard.get(map.hash(b"key"), b"key").is_some());
        assert!(there);
        let announced = map.announce();
        let shard = map.try_read_any(0, announced.as_ref()).unwrap();
        assert!(matches!(shard, super::read::ReadGuard::Biased(_)));
        assert_eq!(shard.get_bytes(map.hash(b"key"), b"key"), Some(new.as_slice()));
        assert!(is_biased());
    }
}

#[test]
fn what_is_shown_is_what_is_there() {
    let map = map(4);
    let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut random = Random(11);
    let mut shown_before = 0;
    for n in 0..30_000 {
        let key = key(random.next() % 6, 8);
        let hash = map.hash(&key);
        match random.below(100) {
            0..30 => {
                // Up to the limit of what is shown, around it, and allocations of their own.
                let bytes = [3, 100, 100, super::hot::BYTES_MAX - 8, 300, 3000][random.below(6)];
                let value = value(n, bytes);
                set(&map, &key, &value);
                model.insert(key, value);
            }
            30..36 => {
                assert_eq!(remove(&map, &key), model.remove(&key).is_some());
            }
            36 => {
                (0..map.shards()).for_each(|index| drop(map.write(index).take_contents()));
                model.clear();
            }
            37..60 if model.contains_key(&key) => elect(&map, &key),
            _ => {
                let seen = shown(&map, &key);
                shown_before += usize::from(seen.is_some());
                assert!(seen.is_none() || seen.as_ref() == model.get(&key), "step {n}");
                let seen = map.get_with(hash, &key, <[u8]>::to_vec);
                assert_eq!(seen.as_ref(), model.get(&key), "step {n}");
            }
        }
    }
    assert!(shown_before > 2000, "{shown_before}");
}

/// A line of the cache that another processor changed last is as far away as memory: beside the table and the record a
/// write asks for one, with the lock, and a new record for one more.
#[test]
fn what_each_write_changes_stands_on_two_lines() {
    let map = map(4);
    let line = |address: usize| address / LINE_BYTES;
    for slot in &map.slots {
        let shard = slot.shard.read();
        let first = std::ptr::from_ref(&slot.entries).addr();
        let end = std::ptr::from_ref(&*shard).addr() + shard::CHANGED_BYTES;
        assert_eq!(line(first), line(end - 1));
        let chunks = std::ptr::from_ref(&shard.chunks).addr();
        let [first, last] = [chunk::CHANGED.start, chunk::CHANGED.end - 1].map(|at| chunks + at);
        assert_eq!(line(first), line(last));
    }
}

/// A batch changes several shards and unlocks them one by one: what it changed is seen only then.
#[test]
fn a_change_is_shown_when_its_shard_is_unlocked() {
    let map = map(1);
    assert!(!set(&map, b"key", b"old"));
    elect(&map, b"key");
    let hash = map.hash(b"key");
    for new in [b"one".as_slice(), b"another"] {
        assert!(shown(&map, b"key").is_some());
        let mut shard = map.write(0);
        let value = NewValue::new(new).unwrap();
        shard.reserve(hash, 3, &value).unwrap();
        assert!(shown(&map, b"key").is_some(), "nothing has changed");
        shard.announce(map.hash(b"another"));
        assert!(shown(&map, b"key").is_some(), "another key");
        shard.announce(hash);
        assert_eq!(shown(&map, b"key"), None);
        assert!(shard.set(hash, b"key", &value, &mut Garbage::default()));
        assert_eq!(shown(&map, b"key"), None);
        drop(shard);
        assert_eq!(shown(&map, b"key").as_deref(), Some(new));
    }
    let mut shard = map.write(0);
    assert!(shard.remove(hash, b"key", &mut Garbage::default()));
    assert_eq!(shown(&map, b"key"), None);
    drop(shard);
    assert_eq!(shown(&map, b"key"), None);
}
