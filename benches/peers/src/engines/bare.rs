//! The limit of writes: what is left when a map has a log that is never written anywhere.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pkv_format::body_checksum;

use super::{Map, count};
use crate::Error;
use crate::workload::KEY_BYTES;

/// So many that two threads seldom meet.
const SHARDS: usize = 1024;
/// A log's header, and what a thread logs before it begins anew: the processor's cache holds that.
const HEADER_BYTES: usize = 24;
const LOG_BYTES: usize = 256 * 1024;

/// Tables of references into arrays of records, both of their final size from the beginning. A write asks for the line of
/// its table, checksums its frame and copies it into memory of its own thread; then it locks a shard that nobody else wants,
/// reads the line, and waits for that of the record. It shares no log, orders nothing, grows nothing and has no thread behind
/// it. What is left is this shape of a map in small pages, on this machine.
pub(crate) struct Bare {
    shards: Vec<Shard>,
    record_bytes: usize,
}

/// On lines of its own: two, since processors fetch lines in pairs.
#[repr(align(128))]
struct Shard {
    /// Changed with `records` locked.
    slots: Box<[AtomicU32]>,
    records: Mutex<Vec<u8>>,
}

const EMPTY: u32 = u32::MAX;

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Bare {
    /// With room for so many entries.
    pub(crate) fn new(entries: u64, value_bytes: usize) -> Result<Self, Error> {
        let record_bytes = KEY_BYTES + value_bytes;
        // A shard gets a 1024th, and by chance some more.
        let entries = usize::try_from(entries)? / SHARDS;
        let room = entries + entries / 4 + 64;
        let slots = (2 * room).next_power_of_two();
        let shard = |_| Shard {
            slots: (0..slots).map(|_| AtomicU32::new(EMPTY)).collect(),
            records: Mutex::new(Vec::with_capacity(room * record_bytes)),
        };
        Ok(Self { shards: (0..SHARDS).map(shard).collect(), record_bytes })
    }

    /// Keys are random already: eight of their bytes are a hash.
    fn hash(key: &[u8]) -> usize {
        let mut front = [0; 8];
        front.copy_from_slice(&key[..8]);
        usize::try_from(u64::from_le_bytes(front)).unwrap_or(0)
    }

    fn lock(shard: &Shard) -> MutexGuard<'_, Vec<u8>> {
        shard.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map for Bare {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if KEY_BYTES + value.len() != self.record_bytes {
            return Err("the limit has values of one size".into());
        }
        let hash = Self::hash(key);
        let shard = &self.shards[hash % SHARDS];
        let mut at = (hash / SHARDS) % shard.slots.len();
        pkv_fs::prefetch(&shard.slots[at]);
        log(key, value);
        let mut records = Self::lock(shard);
        loop {
            let number = shard.slots[at].load(Ordering::Relaxed);
            if number == EMPTY {
                let number = records.len() / self.record_bytes;
                if 2 * number >= shard.slots.len() {
                    return Err("the limit has no room for more".into());
                }
                shard.slots[at].store(u32::try_from(number)?, Ordering::Relaxed);
                records.extend_from_slice(key);
                records.extend_from_slice(value);
                return Ok(());
            }
            let from = usize::try_from(number)? * self.record_bytes;
            let record = &mut records[from..from + self.record_bytes];
            if &record[..KEY_BYTES] == key {
                record[KEY_BYTES..].copy_from_slice(value);
                return Ok(());
            }
            at = (at + 1) % shard.slots.len();
        }
    }

    fn get_len(&self, _: &[u8]) -> Result<Option<usize>, Error> {
        Err("this limit is for writes".into())
    }

    fn remove(&self, _: &[u8]) -> Result<(), Error> {
        Err("this limit is for writes that set".into())
    }

    fn len(&self) -> Result<u64, Error> {
        let records = |shard| Self::lock(shard).len() / self.record_bytes;
        Ok(count(self.shards.iter().map(records).sum()))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

/// A frame in the thread's own memory, with a checksum of its body.
fn log(key: &[u8], value: &[u8]) {
    LOG.with_borrow_mut(|log| {
        if log.len() > LOG_BYTES {
            log.clear();
        }
        let start = log.len();
        log.extend_from_slice(&[0; HEADER_BYTES]);
        log.extend_from_slice(key);
        log.extend_from_slice(value);
        let checksum = body_checksum(&log[start + HEADER_BYTES..]);
        log[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::key;

    #[test]
    fn sets_are_kept_and_overwritten() {
        let map = Bare::new(5000, 100).unwrap();
        for round in 0..2 {
            (0..5000).for_each(|number| map.insert(&key(number), &[round; 100]).unwrap());
            assert_eq!(map.len().unwrap(), 5000);
        }
        let shards: Vec<_> = map.shards.iter().map(Bare::lock).collect();
        assert!(shards.iter().flat_map(|shard| shard.chunks(116)).all(|it| it[16..] == [1; 100]));
        drop(shards);
        assert!(map.insert(&key(0), b"short").is_err());
    }
}
