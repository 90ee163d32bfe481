//! The store that the targets use: small, without threads, on a simulated disk; and operations on it
//! drawn from the fuzzer's bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pkv_sim::{Change, SimFs};
use pkv_store::{ByteStore, Durability, Error, LogWay, Options};

use super::input::Input;

pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;
pub type Bytes = Vec<u8>;

pub const DIR: &str = "/db";

pub fn options(fs: &Arc<SimFs>, way: LogWay) -> Options {
    let fs: Arc<dyn pkv_fs::Fs> = fs.clone();
    Options::new()
        .file_system(fs)
        .background(false)
        .log_way(way)
        .map_shards(4)
        .segment_bytes(16 * 1024, 16 * 1024)
        .snapshot_shards(2)
        .snapshot_shard_bytes(64 * 1024)
}

pub fn open(fs: &Arc<SimFs>, way: LogWay) -> Result<ByteStore, Error> {
    ByteStore::open(DIR, &options(fs, way))
}

pub fn contents(store: &ByteStore) -> Contents {
    store.iter().collect::<Result<_, _>>().expect("entries that can be copied")
}

pub fn way(choice: u8) -> LogWay {
    if choice.is_multiple_of(2) { LogWay::Mapped } else { LogWay::Written }
}

pub fn durability(choice: u8) -> Durability {
    if choice.is_multiple_of(3) { Durability::Power } else { Durability::Process }
}

pub fn key(input: &mut Input<'_>) -> Bytes {
    match input.byte() {
        long @ 250.. => vec![long; usize::from(long) * 4],
        short => vec![short % 16; usize::from(short % 3)],
    }
}

pub fn value(input: &mut Input<'_>) -> Bytes {
    let (size, fill) = (input.byte(), input.byte());
    let bytes = match size {
        0..200 => usize::from(size),
        200..245 => usize::from(size) * 16,
        _ => usize::from(size) * 80,
    };
    vec![fill; bytes]
}

/// One write.
pub fn changes(input: &mut Input<'_>) -> Vec<Change<Bytes, Bytes>> {
    match input.byte() % 16 {
        0..9 => vec![Change::Set(key(input), value(input))],
        9..12 => vec![Change::Remove(key(input))],
        12 => vec![Change::Clear],
        _ => (0..=input.byte() % 5)
            .map(|_| match input.byte() % 3 {
                0 => Change::Remove(key(input)),
                _ => Change::Set(key(input), value(input)),
            })
            .collect(),
    }
}

pub fn apply(contents: &mut Contents, changes: &[Change<Bytes, Bytes>]) {
    for change in changes {
        match change {
            Change::Set(key, value) => drop(contents.insert(key.clone(), value.clone())),
            Change::Remove(key) => drop(contents.remove(key)),
            Change::Clear => contents.clear(),
            // Of stores with expiry.
            Change::SetUntil(..) | Change::Expire(_) => {}
        }
    }
}

/// Makes one write: a single change as itself, several as a batch. Its sequence number.
pub fn write(
    store: &ByteStore,
    changes: &[Change<Bytes, Bytes>],
    durability: Durability,
) -> Result<u64, Error> {
    match changes {
        [Change::Set(key, value)] => {
            store.insert(key, value, durability).map(|written| written.seq)
        }
        [Change::Remove(key)] => store.remove(key, durability).map(|written| written.seq),
        [Change::Clear] => store.clear(durability),
        batch => {
            let filled = batch.iter().fold(store.batch(), |filled, change| match change {
                Change::Set(key, value) => filled.insert(key, value),
                Change::Remove(key) => filled.remove(key),
                Change::Clear | Change::SetUntil(..) | Change::Expire(_) => filled,
            });
            filled.commit(durability)
        }
    }
}
