//! The map against `std::collections::HashMap`, its bounds on memory and on work, and the copies taken
//! while it changes.

use std::collections::{BTreeMap, HashMap};

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
    shard.reserve(hash, key.len(), &value).unwrap();
    let replaced = shard.set(hash, key, value);
    drop(shard);
    replaced.existed
}

fn remove(map: &Map, key: &[u8]) -> bool {
    let hash = map.hash(key);
    map.write(map.shard_index(hash)).remove(hash, key).existed
}

fn get(map: &Map, key: &[u8]) -> Option<Vec<u8>> {
    let hash = map.hash(key);
    map.read(map.shard_index(hash)).get(hash, key).map(|value| value.as_bytes().to_vec())
}

/// All entries of a copy, each met once.
fn copy(map: &Map) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut out = BucketCopy::default();
    for index in 0..map.shards() {
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = map.read(index).copy_bucket(from, &mut out).unwrap();
            collect(&out, &mut entries);
        }
    }
    entries
}

fn collect(out: &BucketCopy, entries: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut records = pkv_format::Records::new(&out.bytes, out.records);
    for record in &mut records {
        let record = record.unwrap();
        assert!(entries.insert(record.key.to_vec(), record.value.to_vec()).is_none(), "met twice");
    }
    for (key, value) in out.large() {
        assert!(entries.insert(key.to_vec(), value.to_vec()).is_none(), "met twice");
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
    for (keys, value_bytes_max) in [(50, 3000), (3000, 1100), (20_000, 60)] {
        let map = map(4);
        let mut model = HashMap::new();
        for step in 0..60_000 {
            let key = key(u64::try_from(random.below(keys)).unwrap(), 8 + random.below(2));
            if random.below(4) == 0 {
                assert_eq!(remove(&map, &key), model.remove(&key).is_some());
            } else {
                let value = value(step, random.below(value_bytes_max));
                assert_eq!(set(&map, &key, &value), model.insert(key, value).is_some());
            }
        }
        check(&map, &model);
    }
}
