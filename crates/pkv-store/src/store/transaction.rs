//! Read several keys, decide, change several keys: as one step, repeated where others came between.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Store, encoded, encoded_pair};
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::sync::thread;

/// So often is a closure run before others that always come between make it an error.
const ATTEMPTS_MAX: u32 = 1000;
/// So many attempts follow each other at once; then each waits a little longer, up to the longest pause.
const ATTEMPTS_AT_ONCE: u32 = 8;
const PAUSE_STEP: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// What the closure of [`Store::transact`] reads and changes.
///
/// It sees its own changes; what it reads twice it sees unchanged. Nothing is written before the closure
/// has returned, and no lock is held while it runs.
pub struct Transaction<'a, K, V> {
    store: &'a Store<K, V>,
    /// What keys had when they were first read.
    reads: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What becomes of keys; `None`: removed.
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<K, V> std::fmt::Debug for Transaction<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("reads", &self.reads.len())
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// Runs a closure that reads several keys and changes several, and makes its changes as one batch, on
    /// the condition that every key that it read still is as it was read. If one is not, nothing is
    /// written and the closure runs again. Returns what the closure returned the last time.
    ///
    /// So its reads and its changes take place at one moment: it is as if the closure ran alone. A closure
    /// that changes nothing reads several keys at one moment.
    ///
    /// While it runs, others go on writing, so that what it reads may not fit together: then it will run
    /// again. It must end and must not panic on such a mix, and what it does outside of the store it may do
    /// more than once. It is an *optimistic* transaction: there is no lock, so nobody waits for a slow
    /// closure, and of several that read and change the same keys one succeeds each time.
    ///
    /// ```
    /// use pkv_store::Store;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("accounts");
    /// let accounts: Store<String, u64> = Store::open(&path)?;
    /// accounts.insert("alice", &100)?;
    ///
    /// let transfer = |from: &str, to: &str, amount: u64| {
    ///     accounts.transact(|accounts| {
    ///         let Some(rest) = accounts.get(from)?.unwrap_or(0).checked_sub(amount) else {
    ///             return Ok(false);
    ///         };
    ///         let sum = accounts.get(to)?.unwrap_or(0) + amount;
    ///         accounts.insert(from, &rest)?;
    ///         accounts.insert(to, &sum)?;
    ///         Ok(true)
    ///     })
    /// };
    /// assert!(transfer("alice", "bob", 70)?);
    /// assert!(!transfer("alice", "bob", 70)?);
    /// assert_eq!(accounts.get_many(["alice", "bob"])?, [Some(30), Some(70)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Cost: a copy of each key and value that is read or changed; then a batch of as many conditions and
    /// changes.
    ///
    /// # Errors
    ///
    /// An error that the closure returns is returned, and nothing is written. [`Error::ConditionFailed`]
    /// after 1,000 attempts, between each of which another thread changed a key that was read. Otherwise as
    /// [`Store::batch`].
    pub fn transact<R>(
        &self,
        run: impl FnMut(&mut Transaction<'_, K, V>) -> Result<R>,
    ) -> Result<R> {
        self.transact_with(self.durability, run)
    }

    /// [`Store::transact`] with a durability of its own.
    pub fn transact_with<R>(
        &self,
        durability: Durability,
        mut run: impl FnMut(&mut Transaction<'_, K, V>) -> Result<R>,
    ) -> Result<R> {
        let mut attempt = 1;
        loop {
            let mut transaction =
                Transaction { store: self, reads: BTreeMap::new(), changes: BTreeMap::new() };
            let answer = run(&mut transaction)?;
            match transaction.commit(durability) {
                Ok(()) => return Ok(answer),
                Err(Error::ConditionFailed { .. }) if attempt < ATTEMPTS_MAX => pause(attempt),
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }
}

/// Lets others go first: those that come between have to be done before this one can be.
fn pause(attempt: u32) {
    match attempt.checked_sub(ATTEMPTS_AT_ONCE) {
        None | Some(0) => thread::yield_now(),
        Some(more) => thread::sleep((PAUSE_STEP * more).min(PAUSE_MAX)),
    }
}

impl<K: Key, V: Value> Transaction<'_, K, V> {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// Those of [`Store::get`].
    pub fn get<Q>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let value = encoded(key, |key| self.read(key))?;
        Ok(value.map(|value| V::decode(value)).transpose()?)
    }

    /// Whether a key is there. The transaction then depends on its value, as after [`Transaction::get`].
    pub fn contains_key<Q>(&mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| Ok(self.read(key)?.is_some()))
    }

    fn read(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        if let Some(changed) = self.changes.get(key) {
            return Ok(changed.as_deref());
        }
        if !self.reads.contains_key(key) {
            self.reads.insert(key.to_vec(), self.store.bytes.get(key)?);
        }
        Ok(self.reads.get(key).and_then(Option::as_deref))
    }

    /// Sets a key, when the closure has returned. To set one does not depend on what it has: only reading
    /// does.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`]. What is too large is told by [`Store::transact`].
    pub fn insert<Q, W>(&mut self, key: &Q, value: &W) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        encoded_pair(key, value, |key, value| {
            self.changes.insert(key.to_vec(), Some(value.to_vec()));
            Ok(())
        })
    }

    /// Removes a key, when the closure has returned.
    pub fn remove<Q>(&mut self, key: &Q) -> Result<()>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| {
            self.changes.insert(key.to_vec(), None);
            Ok(())
        })
    }

    fn commit(self, durability: Durability) -> Result<()> {
        let mut ops = self.store.bytes.new_ops();
        for (key, value) in &self.reads {
            match value {
                Some(value) => ops.conditions().equals(key, value)?,
                None => ops.conditions().absent(key)?,
            }
        }
        for (key, value) in &self.changes {
            match value {
                Some(value) => ops.set(key, value),
                None => ops.remove(key),
            }
        }
        self.store.bytes.write_batch(ops, durability).map(drop)
    }
}
