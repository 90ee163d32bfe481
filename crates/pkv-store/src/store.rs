//! The typed face of the store.

mod batch;
mod entry;
mod integer;
mod iter;
mod many;
mod transaction;
mod view;

use std::borrow::Borrow;
use std::cell::Cell;
use std::marker::PhantomData;
use std::path::Path;

use crate::backup::BackupReport;
use crate::batch::BatchOps;
use crate::bytes::ByteStore;
use crate::codec::{Encode, EncodeError, Key, Value};
use crate::error::{Error, Result};
use crate::health::Health;
use crate::options::{Durability, Options};
use crate::read_only::ReadOnlyStore;
use crate::recover::RecoveryReport;
use crate::stats::Stats;
use crate::write::{Decision, Prepare};

pub use entry::{Entry, ModifiedEntry};
pub use integer::Integer;
pub use iter::Iter;
pub use transaction::Transaction;
pub use view::View;

/// A concurrent hash map that keeps its contents: all data in RAM, every write in a log on disk.
///
/// Share it between threads by reference or in an `Arc`; every method takes `&self`. Keys and values are
/// borrowed as by `HashMap::get`: a `Store<String, u64>` is asked with a `&str`.
///
/// What a write survives is said by [`Durability`]. After any crash the store holds a prefix of its
/// writes, in the order in which they were made, never less than what was acknowledged; a batch is there
/// whole or not at all; a write that returned an error is not there, but for [`Error::Unconfirmed`].
///
/// Closures given to [`Store::update`] and [`Store::get_with`] may run under a lock: they get
/// [`Error::Reentrant`] when they call the same store.
///
/// ```
/// use pkv_store::Store;
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("visits");
/// let visits: Store<String, u64> = Store::open(&path)?;
/// visits.insert("alice", &1)?;
/// assert_eq!(visits.get("alice")?, Some(1));
/// visits.update("alice", |n| Some(n.unwrap_or(0) + 1))?;
/// visits.batch().insert("bob", &1).remove("carol").commit()?;
/// visits.close()?;
///
/// let again: Store<String, u64> = Store::open(&path)?;
/// assert_eq!(again.get("alice")?, Some(2));
/// assert_eq!(again.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Store<K, V> {
    bytes: ByteStore,
    durability: Durability,
    types: PhantomData<Both<K, V>>,
}

impl Store<Vec<u8>, Vec<u8>> {
    /// Opens a store whatever types its keys and values have, as bytes: for tools. See
    /// [`ByteStore::open_untyped`].
    pub fn open_untyped(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let bytes = ByteStore::open_untyped(path, options)?;
        Ok(Self { bytes, durability: options.durability, types: PhantomData })
    }
}

/// Takes and gives keys and values and owns none, so that a store can be shared whatever they are.
type Both<K, V> = fn(K, V) -> (K, V);

impl<K, V> std::fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("entries", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// Opens or creates the store in this folder with the default [`Options`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(&Options::new(), path.as_ref())
    }

    /// Reads the store in this folder beside whoever writes it, with the default [`Options`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnlyStore<K, V>> {
        Options::new().open_read_only(path)
    }

    pub(crate) fn open_with(options: &Options, path: &Path) -> Result<Self> {
        let bytes = ByteStore::open_as::<K, V>(path, options)?;
        Ok(Self { bytes, durability: options.durability, types: PhantomData })
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] when the stored bytes are no `V`; [`Error::Encode`] when `key` cannot be encoded;
    /// [`Error::Reentrant`]. The same holds for the other readers.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.get_with(key, V::decode)?.transpose().map_err(Error::Decode)
    }

    /// Calls `read` with the encoded value, which is not decoded. Who writes to the key's shard waits
    /// meanwhile, so keep it short.
    ///
    /// The shard is locked for reading, but where nobody has written to it for some hundred reads: then it is read
    /// without its lock, by all threads at once. The value is not copied, but one of each shard that readers have met at its lock
    /// all the time, and that has at most 248 bytes with its key: it is read from a copy, with nothing locked; not in a
    /// store whose entries expire.
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| self.bytes.get_with(key, read))
    }

    /// Whether the key is there.
    pub fn contains_key<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| self.bytes.contains_key(key))
    }

    /// Sets a key; returns whether it was there before. To get the old value, use [`Store::replace`].
    #[inline]
    pub fn insert<Q, W>(&self, key: &Q, value: &W) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        self.insert_with(key, value, self.durability)
    }

    /// [`Store::insert`] with a durability of its own.
    #[inline]
    pub fn insert_with<Q, W>(&self, key: &Q, value: &W, durability: Durability) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        encoded_pair(key, value, |key, value| {
            Ok(self.bytes.insert(key, value, durability)?.existed)
        })
    }

    /// Sets a key and returns its old value.
    pub fn replace<Q, W>(&self, key: &Q, value: &W) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        let mut old = None;
        encoded_pair(key, value, |key, value| {
            self.bytes.write_one(key, Prepare::Set(value), self.durability, |current, _| {
                old = self.decode_inside(current)?;
                Ok(Decision::AsPrepared)
            })
        })?;
        Ok(old)
    }

    /// Removes a key; returns whether it was there. One that was not costs no log entry.
    pub fn remove<Q>(&self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.remove_with(key, self.durability)
    }

    /// [`Store::remove`] with a durability of its own.
    pub fn remove_with<Q>(&self, key: &Q, durability: Durability) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| Ok(self.bytes.remove(key, durability)?.existed))
    }

    /// Decodes under a lock: a user's `decode` is a closure like any other there.
    fn decode_inside(&self, value: Option<&[u8]>) -> Result<Option<V>> {
        let value = value.map(|value| self.bytes.run_closure(|| V::decode(value)));
        value.transpose().map_err(Error::Decode)
    }

    /// What is to be done for a key to have this value. Encodes under a lock.
    fn decide_inside(
        &self,
        current: Option<&[u8]>,
        new: Option<&V>,
        buffer: &mut Vec<u8>,
    ) -> Result<Decision> {
        match new {
            Some(value) => {
                buffer.clear();
                self.bytes.run_closure(|| value.encode(buffer))?;
                Ok(Decision::Set)
            }
            None if current.is_none() => Ok(Decision::Keep),
            None => Ok(Decision::Remove),
        }
    }

    /// Removes a key and returns its value.
    pub fn take<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let mut old = None;
        encoded(key, |key| {
            self.bytes.write_one(key, Prepare::Remove, self.durability, |current, _| {
                old = self.decode_inside(current)?;
                Ok(if current.is_some() { Decision::AsPrepared } else { Decision::Keep })
            })
        })?;
        Ok(old)
    }

    /// Reads, changes and writes one key atomically: the closure gets the current value and returns the
    /// new one; `None` removes the key. Returns what the closure returned.
    ///
    /// The closure runs with the key's shard locked: keep it short. It may run more than once, when the
    /// log has no room just then; only its last answer counts.
    pub fn update<Q>(
        &self,
        key: &Q,
        change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.update_with(key, self.durability, change)
    }

    /// [`Store::update`] with a durability of its own.
    pub fn update_with<Q>(
        &self,
        key: &Q,
        durability: Durability,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let mut new = None;
        encoded(key, |key| {
            self.bytes.write_one(key, Prepare::Nothing, durability, |current, buffer| {
                let value = self.decode_inside(current)?;
                new = self.bytes.run_closure(|| change(value));
                self.decide_inside(current, new.as_ref(), buffer)
            })
        })?;
        Ok(new)
    }

    /// [`Store::update`] that returns the value from before, as [`std::sync::atomic::AtomicU64::fetch_update`]
    /// does; the closure borrows it.
    pub fn fetch_update<Q>(
        &self,
        key: &Q,
        change: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.fetch_update_with(key, self.durability, change)
    }

    /// [`Store::fetch_update`] with a durability of its own.
    pub fn fetch_update_with<Q>(
        &self,
        key: &Q,
        durability: Durability,
        mut change: impl FnMut(Option<&V>) -> Option<V>,
    ) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let mut old = None;
        encoded(key, |key| {
            self.bytes.write_one(key, Prepare::Nothing, durability, |current, buffer| {
                old = self.decode_inside(current)?;
                let new = self.bytes.run_closure(|| change(old.as_ref()));
                self.decide_inside(current, new.as_ref(), buffer)
            })
        })?;
        Ok(old)
    }

    /// Sets a key to `new` if it has the value `expected`; `None` stands for absent, on either side.
    /// Returns whether it had. Values are compared by their encoding.
    ///
    /// What is set has no deadline, whatever was there before, as by [`Store::insert`].
    pub fn compare_and_set<Q, W>(
        &self,
        key: &Q,
        expected: Option<&W>,
        new: Option<&W>,
    ) -> Result<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        let encode = |value: Option<&W>| {
            value
                .map(|value| {
                    let mut bytes = Vec::new();
                    value.encode(&mut bytes).map(|()| bytes)
                })
                .transpose()
        };
        let (expected, new) = (encode(expected)?, encode(new)?);
        encoded(key, |key| {
            self.bytes.compare_and_set(key, expected.as_deref(), new.as_deref(), self.durability)
        })
    }

    /// A batch: changes that are made together or not at all.
    pub fn batch(&self) -> Batch<'_, K, V> {
        Batch { store: self, ops: self.bytes.new_ops() }
    }

    /// Removes every entry, as one write.
    pub fn clear(&self) -> Result<()> {
        self.bytes.clear(self.durability).map(drop)
    }

    /// The number of entries. Changes under way in other threads count or do not. Behind an instant opening it waits until
    /// all are loaded; where they cannot be, and inside of a closure of an operation, it is an upper bound.
    pub fn len(&self) -> u64 {
        self.bytes.len()
    }

    /// Whether there is no entry. Waits as `len` does.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes every write so far survive a power cut; returns when it does.
    pub fn sync(&self) -> Result<()> {
        self.bytes.sync()
    }

    /// Writes a full snapshot now and removes the files that it replaces. See [`ByteStore::compact`].
    pub fn compact(&self) -> Result<()> {
        self.bytes.compact().map(drop)
    }

    /// Copies the store, as it is at one write, to a new folder. See [`ByteStore::backup_to`].
    pub fn backup_to(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.bytes.backup_to(dir)
    }

    /// Figures about the store.
    pub fn stats(&self) -> Stats {
        self.bytes.stats()
    }

    /// Waits until everything is in memory, behind [`Options::instant_open`], and helps. Returns at once otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`](crate::Error::Damaged) where the snapshot is, and what a file system says that does not let it be
    /// read.
    pub fn wait_loaded(&self) -> Result<()> {
        self.bytes.wait_loaded()
    }

    /// Whether everything is in memory: false for some time behind [`Options::instant_open`], and for good where the snapshot is
    /// damaged. To wait for it is [`Store::wait_loaded`], which tells of that.
    pub fn is_loaded(&self) -> bool {
        self.bytes.is_loaded()
    }

    /// Whether the store takes writes, and if not, why.
    pub fn health(&self) -> Health {
        self.bytes.health()
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.bytes.recovery_report()
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// The store below its types: sequence numbers, callbacks, bytes.
    pub fn bytes(&self) -> &ByteStore {
        &self.bytes
    }

    /// Syncs everything, ends the log so that the next opening has nothing to repair, and lets go of the
    /// folder. Dropping the store does the same and has nobody to tell an error to.
    pub fn close(self) -> Result<()> {
        self.bytes.close()
    }
}

/// Changes that are made together or not at all, on disk and for every reader. See [`Store::batch`].
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch<'a, K, V> {
    store: &'a Store<K, V>,
    ops: BatchOps,
}

impl<K, V> std::fmt::Debug for Batch<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("changes", &self.ops.len()).finish_non_exhaustive()
    }
}

impl<'a, K: Key, V: Value> Batch<'a, K, V> {
    pub(crate) fn store(&self) -> &'a Store<K, V> {
        self.store
    }

    /// Adds setting a key. A later change of the same key in the batch wins. What cannot be encoded
    /// makes the commit fail.
    pub fn insert<Q, W>(mut self, key: &Q, value: &W) -> Self
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        let added = encoded_pair(key, value, |key, value| {
            self.ops.set(key, value);
            Ok(())
        });
        self.note(added);
        self
    }

    /// Adds removing a key.
    pub fn remove<Q>(mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let added = encoded(key, |key| {
            self.ops.remove(key);
            Ok(())
        });
        self.note(added);
        self
    }

    pub(crate) fn ops_mut(&mut self) -> &mut BatchOps {
        &mut self.ops
    }

    pub(crate) fn note(&mut self, added: Result<()>) {
        if let Err(error) = added {
            self.ops.fail(error);
        }
    }

    /// The number of changes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it has no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the changes, with the store's durability.
    pub fn commit(self) -> Result<()> {
        let durability = self.store.durability;
        self.commit_with(durability)
    }

    /// [`Batch::commit`] with a durability of its own.
    pub fn commit_with(self, durability: Durability) -> Result<()> {
        self.store.bytes.write_batch(self.ops, durability).map(drop)
    }
}

/// A scratch buffer that grew over this is not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `with` with the encoded key: where it stands, or in a buffer that the thread keeps.
#[inline]
pub(crate) fn encoded<Q: Encode + ?Sized, R>(
    key: &Q,
    with: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    if let Some(key) = key.as_encoded() {
        return with(key);
    }
    with_scratch(|scratch| {
        key.encode(scratch)?;
        with(scratch)
    })
}

/// Calls `with` with a buffer, empty, that the thread keeps.
#[inline]
fn with_scratch<R>(with: impl FnOnce(&mut Vec<u8>) -> Result<R>) -> Result<R> {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = with(&mut scratch);
    if scratch.capacity() <= KEPT_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    result
}

/// Calls `with` with the encoded key and value.
#[inline]
pub(crate) fn encoded_pair<Q, W, R>(
    key: &Q,
    value: &W,
    with: impl FnOnce(&[u8], &[u8]) -> Result<R>,
) -> Result<R>
where
    Q: Encode + ?Sized,
    W: Encode + ?Sized,
{
    match value.as_encoded() {
        Some(value) => encoded(key, |key| with(key, value)),
        None => encoded_in_scratch(key, value, with),
    }
}

fn encoded_in_scratch<Q, W, R>(
    key: &Q,
    value: &W,
    with: impl FnOnce(&[u8], &[u8]) -> Result<R>,
) -> Result<R>
where
    Q: Encode + ?Sized,
    W: Encode + ?Sized,
{
    with_scratch(|scratch| {
        key.encode(scratch)?;
        let split = scratch.len();
        value.encode(scratch)?;
        // An `encode` that shrinks the buffer breaks its contract; it must not break the store.
        match scratch.split_at_checked(split) {
            Some((key, value)) => with(key, value),
            None => {
                Err(EncodeError::rejected("value", "its `encode` took bytes away from the buffer")
                    .into())
            }
        }
    })
}
