//! Many keys in one call.

use std::borrow::Borrow;

use super::{Store, with_scratch};
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::many::put;

impl<K: Key, V: Value> Store<K, V> {
    /// The values of many keys, in the order of the keys.
    ///
    /// Each key is read atomically, by itself: it is as if [`Store::get`] was called for each, in some
    /// order. Changes may come between two of them, and of a batch one key may be seen before it and
    /// another after it. For several keys at one moment take a [`Store::view`] or [`Store::transact`].
    ///
    /// Cost: less than that of as many `get`s, since what the cache does not hold is waited for together: sixteen
    /// keys at a time, while writers of their shards wait. One allocation, and those of the values.
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
        let keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        let mut failed = None;
        self.get_many_with(keys, |index, value| match value.map(V::decode).transpose() {
            Ok(value) => put(&mut values, index, value),
            Err(error) => failed = failed.take().or(Some(error)),
        })?;
        failed.map_or(Ok(values), |error| Err(Error::Decode(error)))
    }

    /// Calls `each` once for every key, with its number in the order of the keys and its encoded value, which is
    /// neither copied nor decoded; `None`: there is no such key.
    ///
    /// The numbers begin at 0 and come in no order. What is read, and what it costs, is that of
    /// [`Store::get_many`], but for the copies: keys that are bytes or text already allocate nothing. While `each`
    /// runs, writers wait: those of the shards of up to sixteen keys, and those of shards that nobody has written to for some
    /// hundred reads. So keep it short, and do not wait in it for who writes; if it calls this
    /// store it gets [`Error::Reentrant`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("pages");
    /// let pages: pkv_store::Store<String, Vec<u8>> = pkv_store::Store::open(&path)?;
    /// pages.insert("index", b"<h1>pkv</h1>".as_slice())?;
    /// pages.insert("about", b"<p>a map</p>".as_slice())?;
    /// let mut bytes = [0; 3];
    /// pages.get_many_with(["about", "gone", "index"], |number, page| {
    ///     bytes[number] = page.map_or(0, <[u8]>::len);
    /// })?;
    /// assert_eq!(bytes, [12, 0, 12]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] when a key cannot be encoded; `each` was called for some of the keys before it.
    /// [`Error::Reentrant`].
    pub fn get_many_with<'k, Q>(
        &self,
        keys: impl IntoIterator<Item = &'k Q>,
        each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized + 'k,
    {
        with_scratch(|scratch| self.bytes.core().get_each(keys, scratch, each))
    }
}
