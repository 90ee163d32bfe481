//! What the crash workload writes: each thread makes numbered writes to keys of its own, and each write is
//! a function of thread and number, so that what is there tells which writes are.

use std::collections::BTreeMap;
use std::time::Duration;

use pkv_store::{ByteStore, Durability, Error, LogWay, Options, Update};

/// Keys and values as bytes.
pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The keys of a thread, besides the two that its batches write.
const KEYS: u64 = 16;

/// The write of this number.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Insert,
    Update,
    Remove,
    Batch,
}

fn kind(n: u64) -> Kind {
    match n % 7 {
        // What is removed was written sixteen writes ago, which was no removal.
        3 if n > KEYS => Kind::Remove,
        4 => Kind::Update,
        5 | 6 => Kind::Batch,
        _ => Kind::Insert,
    }
}

/// What the keys of a thread begin with.
pub(crate) fn key_prefix(thread: usize) -> Vec<u8> {
    format!("thread {thread} ").into_bytes()
}

/// A key of a thread.
pub(crate) fn key(thread: usize, name: impl std::fmt::Display) -> Vec<u8> {
    format!("thread {thread} {name}").into_bytes()
}

/// The value that the write of this number sets.
pub(crate) fn value(thread: usize, n: u64) -> Vec<u8> {
    let bytes = match n % 13 {
        0 => 5000,
        1..4 => 1000,
        4..8 => 100,
        _ => 8,
    };
    let word = n.wrapping_mul(64).wrapping_add(u64::try_from(thread).unwrap_or(0));
    word.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

/// The keys of a thread after so many writes: each key's last write decides.
pub(crate) fn state_after(thread: usize, count: u64) -> Contents {
    let mut state = Contents::new();
    let first = count.saturating_sub(2 * KEYS);
    for n in first + 1..=count {
        let own = key(thread, n % KEYS);
        if let Kind::Remove = kind(n) {
            state.remove(&own);
            continue;
        }
        state.insert(own, value(thread, n));
        if let Kind::Batch = kind(n) {
            state.insert(key(thread, "left"), value(thread, n));
            state.insert(key(thread, "right"), value(thread, n));
        }
    }
    state
}

/// Makes the write of this number; its sequence number.
pub(crate) fn write(
    store: &ByteStore,
    thread: usize,
    n: u64,
    durability: Durability,
) -> Result<u64, Error> {
    let (own, new) = (key(thread, n % KEYS), value(thread, n));
    match kind(n) {
        Kind::Insert => store.insert(&own, &new, durability).map(|written| written.seq),
        Kind::Update => {
            store.update(&own, durability, |_| Update::Set(new.clone())).map(|written| written.seq)
        }
        Kind::Remove => store.remove(&own, durability).map(|written| written.seq),
        Kind::Batch => store
            .batch()
            .insert(&own, &new)
            .insert(&key(thread, "left"), &new)
            .insert(&key(thread, "right"), &new)
            .commit(durability),
    }
}

/// So seldom is a write of a stream one with `Durability::Power`.
pub(crate) const RARELY: u64 = 2000;

/// Small logs and endless compaction; `large`: logs with room for a stream of writes, whose pages are made ahead.
pub(crate) fn options(way: &str) -> Options {
    if way == "large" {
        return Options::new()
            .segment_bytes(1 << 20, 4 << 20)
            .sync_interval(Duration::from_millis(100));
    }
    Options::new()
        .log_way(if way == "written" { LogWay::Written } else { LogWay::Auto })
        .segment_bytes(16 * 1024, 64 * 1024)
        .compact_log_bytes_min(4096)
        .compact_log_percent(50)
        .sync_interval(Duration::from_millis(5))
        .map_shards(16)
        .snapshot_shards(3)
        // So that few records make a span.
        .snapshot_shard_bytes(64 * 1024)
}
