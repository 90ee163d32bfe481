//! The typed face of a view.

use std::borrow::Borrow;
use std::marker::PhantomData;

use super::{Iter, Store, encoded};
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::par::ParIter;
use crate::view::ByteView;

/// The whole map as it was at one moment, while writes go on. See [`Store::view`].
///
/// # What it costs
///
/// Making one locks each shard for reading, for as long as it takes to lock them all: readers go on, and
/// writers wait for that moment. Nothing is copied.
///
/// While it is open, a write that changes a key for the first time since copies that key and the value
/// that it had (of values over 1 KiB, which are shared, only a reference). So a view holds, at most once
/// for each key that was changed, removed or newly inserted since: the key, the old value, and about 180
/// bytes; [`View::held_bytes`] is the sum. After a [`Store::clear`] it holds what was cleared. All of it
/// is freed when the view is dropped. It counts for
/// [`Options::max_memory_bytes`](crate::Options::max_memory_bytes).
///
/// Reads through a view take a lock of the view's own for each shard, beside the shard's.
pub struct View<'a, K, V> {
    bytes: ByteView<'a>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for View<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("seq", &self.bytes.seq()).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// The whole map as it is at this moment, to be read while writes go on: no write and no batch is seen
    /// in part, and none that begins after this call returned is seen at all.
    ///
    /// For sums over all entries that must fit together, for exports, and for reading several keys at one
    /// moment. What it costs, in time and memory, is said at [`View`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("accounts");
    /// let accounts: pkv_store::Store<String, i64> = pkv_store::Store::open(&path)?;
    /// accounts.batch().insert("alice", &70).insert("bob", &30).commit()?;
    ///
    /// let view = accounts.view()?;
    /// accounts.batch().insert("alice", &0).insert("bob", &100).commit()?;
    /// accounts.insert("carol", &5)?;
    ///
    /// assert_eq!(view.get("alice")?, Some(70));
    /// assert_eq!(view.iter().map(|entry| entry.map(|(_, cents)| cents)).sum::<Result<i64, _>>()?, 100);
    /// assert_eq!((view.len(), accounts.len()), (2, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Reentrant`].
    pub fn view(&self) -> Result<View<'_, K, V>> {
        Ok(View { bytes: self.bytes.view()?, types: PhantomData })
    }
}

impl<K: Key, V: Value> View<'_, K, V> {
    /// The value that the key had.
    ///
    /// # Errors
    ///
    /// Those of [`Store::get`], and [`Error::OutOfMemory`] where the value cannot be copied.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let value = encoded(key, |key| self.bytes.get(key))?;
        value.map(|value| V::decode(&value)).transpose().map_err(Error::Decode)
    }

    /// Whether the key was there.
    pub fn contains_key<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| self.bytes.contains_key(key))
    }

    /// All entries that there were, in no order, each exactly once. Copied in slices as by [`Store::iter`];
    /// no lock is held while the body runs.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::over(self.bytes.iter())
    }

    /// The same, by the threads of the rayon pool that it runs in. See [`Store::par_iter`].
    pub fn par_iter(&self) -> ParIter<'_, K, V> {
        self.bytes.par()
    }

    /// The number of entries that there were, exactly. Cost: none.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len()
    }

    /// Whether there was no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number of the last write that the view shows: all writes up to it, and none after.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.bytes.seq()
    }

    /// What the view holds in memory at the moment, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.bytes.held_bytes()
    }

    /// The view below its types.
    #[must_use]
    pub fn bytes(&self) -> &ByteView<'_> {
        &self.bytes
    }
}

impl<'a, K: Key, V: Value> IntoIterator for &'a View<'_, K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
