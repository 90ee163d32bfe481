//! Many keys in one call.

use std::borrow::Borrow;

use super::Store;
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::many::Keys;

impl<K: Key, V: Value> Store<K, V> {
    /// The values of many keys, in the order of the keys.
    ///
    /// Each key is read atomically, by itself: it is as if [`Store::get`] was called for each, in some
    /// order. Changes may come between two of them, and of a batch one key may be seen before it and
    /// another after it. For several keys at one moment take a [`Store::view`] or [`Store::transact`].
    ///
    /// Cost: less than that of as many `get`s, since what the cache does not hold is waited for together: sixteen
    /// keys at a time, with their shards locked for reading. The keys are copied once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("ages");
    /// let ages: pkv_store::Store<String, u8> = pkv_store::Store::open(&path)?;
    /// ages.insert("alice", &30)?;
    /// ages.insert("carol", &50)?;
    /// assert_eq!(ages.get_many(["carol", "bob", "alice"])?, [Some(50), None, Some(30)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::get`]: a value that cannot be decoded is an error of the whole call.
    pub fn get_many<'k, Q>(&self, keys: impl IntoIterator<Item = &'k Q>) -> Result<Vec<Option<V>>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized + 'k,
    {
        let core = self.bytes.core();
        let mut wanted = Keys::default();
        for key in keys {
            let start = wanted.bytes.len();
            key.encode(&mut wanted.bytes)?;
            wanted.end_key(start, &core.map);
        }
        let mut values: Vec<Option<V>> = Vec::new();
        values.resize_with(wanted.len(), || None);
        let mut failed = None;
        core.get_each(wanted, |index, value| {
            let decoded = value.map(V::decode).transpose();
            match (values.get_mut(index), decoded) {
                (Some(place), Ok(value)) => *place = value,
                (_, Err(error)) => failed = failed.take().or(Some(error)),
                (None, Ok(_)) => {}
            }
        })?;
        failed.map_or(Ok(values), |error| Err(Error::Decode(error)))
    }
}
