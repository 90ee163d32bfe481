//! Many keys read in one call, so that what they miss in the cache is waited for together and not one by one.

use std::ops::Range;

use crate::core::Core;
use crate::error::Result;
use crate::map::{Map, ValueRef};
use crate::reentry;

/// So many keys are looked up at a time: about as many lines as a core waits for at once. Behind them all locks are
/// let go, so that a writer never waits for a long list.
const TOGETHER: usize = 16;

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
    ///
    /// Of some keys at a time:
    ///
    /// 1. Their shards are locked for reading, in ascending order. Each of these is a barrier, so none comes later.
    /// 2. Their places in the index are touched.
    /// 3. Their records are touched.
    /// 4. They are looked up, in the cache.
    pub(crate) fn get_each(
        &self,
        mut keys: Keys,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        reentry::check(self)?;
        let mut expired_ms = 0;
        // The order of hashes is that of shards.
        keys.all.sort_unstable_by_key(|wanted| wanted.hash);
        let shard_of = |wanted: &Wanted| self.map.shard_index(wanted.hash);
        let of_one_shard = |a: &Wanted, b: &Wanted| shard_of(a) == shard_of(b);
        let mut locked = Vec::with_capacity(TOGETHER.min(keys.len()));
        for part in keys.all.chunks(TOGETHER) {
            // 1.
            let runs = part.chunk_by(of_one_shard);
            locked
                .extend(runs.filter_map(|run| Some((self.map.read(shard_of(run.first()?)), run))));
            let each_key =
                || locked.iter().flat_map(|(shard, run)| run.iter().map(move |key| (shard, key)));
            // 2.
            let touched = each_key().fold(0, |all, (shard, key)| all ^ shard.touch_index(key.hash));
            std::hint::black_box(touched);
            // 3.
            let touched =
                each_key().fold(0, |all, (shard, key)| all ^ shard.touch_record(key.hash));
            std::hint::black_box(touched);
            // 4.
            reentry::run(self, || {
                for (shard, wanted) in each_key() {
                    let key = keys.bytes.get(wanted.key.clone()).unwrap_or_default();
                    let value = shard.get(wanted.hash, key);
                    let value = value.as_ref().map(ValueRef::as_bytes);
                    each(wanted.index, value.and_then(|value| self.show(value, &mut expired_ms)));
                }
            });
            locked.clear();
        }
        self.record_time_if_possible(expired_ms);
        Ok(())
    }
}
