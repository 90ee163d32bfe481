//! Many keys read in one call: hashed first, then looked up in the order in which they lie in memory.

use std::ops::Range;

use crate::core::Core;
use crate::error::Result;
use crate::map::{Map, ValueRef};
use crate::reentry;

/// After so many keys of one shard its lock is let go for a moment, so that a writer never waits for a
/// long list.
const KEYS_PER_LOCK: usize = 64;

/// Keys to look up.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The keys, one behind the other.
    pub(crate) bytes: Vec<u8>,
    all: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    hash: u64,
    key: Range<usize>,
    /// Which one it is in the caller's order.
    index: usize,
}

impl Keys {
    /// Takes as a key what was appended to `bytes` from `start` on.
    pub(crate) fn end_key(&mut self, start: usize, map: &Map) {
        let key = start..self.bytes.len();
        let hash = map.hash(self.bytes.get(key.clone()).unwrap_or_default());
        self.all.push(Wanted { hash, key, index: self.all.len() });
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Core {
    /// Calls `each` with the number and the value of every key, in no order, under the read lock of the
    /// key's shard.
    pub(crate) fn get_each(
        &self,
        mut keys: Keys,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        reentry::check(self)?;
        // The order of hashes is that of shards, and within one that of its tables.
        let mut expired_ms = 0;
        keys.all.sort_unstable_by_key(|wanted| wanted.hash);
        let shard_of = |wanted: &Wanted| self.map.shard_index(wanted.hash);
        let of_one_shard = |a: &Wanted, b: &Wanted| shard_of(a) == shard_of(b);
        let parts =
            keys.all.chunk_by(of_one_shard).flat_map(|of_shard| of_shard.chunks(KEYS_PER_LOCK));
        for part in parts {
            let Some(index) = part.first().map(shard_of) else { continue };
            let shard = self.map.read(index);
            reentry::run(self, || {
                for wanted in part {
                    let key = keys.bytes.get(wanted.key.clone()).unwrap_or_default();
                    let value = shard.get(wanted.hash, key);
                    let value = value.as_ref().map(ValueRef::as_bytes);
                    each(wanted.index, value.and_then(|value| self.show(value, &mut expired_ms)));
                }
            });
        }
        self.record_time_if_possible(expired_ms);
        Ok(())
    }
}
