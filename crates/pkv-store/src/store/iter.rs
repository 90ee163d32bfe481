//! All entries of a typed store.

use std::marker::PhantomData;

use super::Store;
use crate::codec::{Key, Value};
use crate::error::{Error, Result};
use crate::iter::ByteIter;
use crate::par::ParIter;

impl<K: Key, V: Value> Store<K, V> {
    /// All entries, in no order, while others may go on writing, from the loop's body too.
    ///
    /// Weakly consistent: an entry that is there from the beginning to the end of the iteration comes
    /// exactly once, with a value that it had at one moment in between; one that is inserted or removed
    /// meanwhile comes at most once or not at all. Different entries are as they were at different moments: of
    /// a batch that is made meanwhile some entries may come as before it and others as after it. For one
    /// moment of the whole map take [`Store::view`]. Entries are copied some dozens of KiB at a time, under
    /// the read lock of one shard; no lock is held while the body runs.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::over(self.bytes.iter())
    }

    /// All entries, weakly consistent as by [`Store::iter`], by the threads of the rayon pool that it runs
    /// in: the global one, or that of `ThreadPool::install`. The work is split by the shards of the map,
    /// so [`Options::map_shards`](crate::Options::map_shards) bounds how many threads share it.
    ///
    /// ```
    /// use rayon::iter::ParallelIterator;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("numbers");
    /// let numbers: pkv_store::Store<u32, u64> = pkv_store::Store::open(&path)?;
    /// for n in 0..1000 {
    ///     numbers.insert(&n, &u64::from(n))?;
    /// }
    /// let sum: u64 = numbers.par_iter().map(|entry| entry.map(|(_, n)| n)).sum::<Result<u64, _>>()?;
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn par_iter(&self) -> ParIter<'_, K, V> {
        ParIter::new(self.bytes.core(), None)
    }

    /// All keys; otherwise as [`Store::iter`].
    pub fn keys(&self) -> impl Iterator<Item = Result<K>> {
        let mut bytes = self.bytes.iter();
        std::iter::from_fn(move || {
            bytes
                .next_with(|key, _| K::decode(key))
                .map(|key| key.and_then(|key| key.map_err(Error::Decode)))
        })
    }

    /// All values; otherwise as [`Store::iter`].
    pub fn values(&self) -> impl Iterator<Item = Result<V>> {
        let mut bytes = self.bytes.iter();
        std::iter::from_fn(move || {
            bytes
                .next_with(|_, value| V::decode(value))
                .map(|value| value.and_then(|value| value.map_err(Error::Decode)))
        })
    }

    /// Removes every entry for which `keep` says no; returns how many. Each is a write of its own. An
    /// entry that changed between the question and its removal is asked about again.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<u64> {
        let mut removed = 0;
        let mut bytes = self.bytes.iter();
        while let Some(entry) = bytes.next_with(|key, value| (key.to_vec(), value.to_vec())) {
            let (raw_key, mut raw_value) = entry?;
            let key = K::decode(&raw_key)?;
            while !keep(&key, &V::decode(&raw_value)?) {
                if self.bytes.compare_and_set(&raw_key, Some(&raw_value), None, self.durability)? {
                    removed += 1;
                    break;
                }
                match self.bytes.get(&raw_key)? {
                    Some(changed) => raw_value = changed,
                    None => break,
                }
            }
        }
        Ok(removed)
    }
}

/// All entries of a [`Store`]. See [`Store::iter`].
pub struct Iter<'a, K, V> {
    bytes: ByteIter<'a>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(crate) fn over(bytes: ByteIter<'a>) -> Self {
        Self { bytes, types: PhantomData }
    }
}

impl<K, V> std::fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Iterator for Iter<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let decoded = self.bytes.next_with(|key, value| Ok((K::decode(key)?, V::decode(value)?)));
        decoded.map(|entry| entry.and_then(|entry| entry))
    }
}

impl<'a, K: Key, V: Value> IntoIterator for &'a Store<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
