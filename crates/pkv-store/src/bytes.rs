//! The store below its types: keys and values as bytes, writes that return at once with their sequence number.

use std::path::Path;
use std::sync::Arc;

use crate::backup::{Backup, BackupReport};
use crate::batch::BatchOps;
use crate::codec::{Key, Value};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::expiry;
use crate::health::Health;
use crate::iter::ByteIter;
use crate::many::put;
use crate::options::{Durability, Options};
use crate::recover::{RecoveryReport, Types};
use crate::reentry;
use crate::stats::Stats;
use crate::view::ByteView;
use crate::write::{Decision, Prepare, Written};

/// A store of bytes: what [`crate::Store`] is built on, for servers, replication and tools.
///
/// A write with [`Durability::Process`] returns at once with its sequence number;
/// [`ByteStore::wait_durable`] and [`ByteStore::on_durable`] tell when it survives a power cut, so that
/// no thread has to wait for each write and no async runtime is needed.
///
/// ```
/// use pkv_store::{ByteStore, Durability, Options};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// let store = ByteStore::open(&path, &Options::new())?;
/// let written = store.insert(b"key", b"value", Durability::Process)?;
/// let (told, ready) = std::sync::mpsc::channel();
/// store.on_durable(written.seq, move |outcome| {
///     told.send(outcome.is_ok()).ok();
/// });
/// assert_eq!(ready.recv(), Ok(true));
/// assert!(store.durable_seq() >= written.seq);
/// store.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ByteStore {
    core: Arc<Core>,
}

impl ByteStore {
    /// Opens or creates a store of bytes; the same as a `Store<Vec<u8>, Vec<u8>>`.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Self::open_as::<Vec<u8>, Vec<u8>>(path.as_ref(), options)
    }

    pub(crate) fn open_as<K: Key, V: Value>(path: &Path, options: &Options) -> Result<Self> {
        Ok(Self { core: Core::open(options, path, &Types::of::<K, V>(options))? })
    }

    /// Opens or creates a store whose keys and values have these schema names, as [`crate::Inspection::schema`]
    /// shows them: for tools that know types by their names alone. What is written must be bytes that those types
    /// have, or whoever opens the store by its types gets [`Error::Decode`].
    pub fn open_named(
        path: impl AsRef<Path>,
        options: &Options,
        key_schema: String,
        value_schema: String,
    ) -> Result<Self> {
        let types = Types::named(options, key_schema, value_schema);
        Ok(Self { core: Core::open(options, path.as_ref(), &types)? })
    }

    /// Opens a store whatever types its keys and values have, as bytes: for tools. It is not created.
    ///
    /// What is written must be bytes that those types have: [`ByteStore::schemas`] tells their names, and
    /// nothing is checked. To look only, take [`crate::Inspection`], which needs no lock.
    ///
    /// ```
    /// use pkv_store::{ByteStore, Options, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("visits");
    /// # let visits: Store<String, u64> = Store::open(&path)?;
    /// # visits.insert("alice", &1)?;
    /// # visits.close()?;
    /// let store = ByteStore::open_untyped(&path, &Options::new())?;
    /// assert_eq!(store.schemas(), ("string", "u64"));
    /// assert_eq!(store.get(b"alice")?.as_deref(), Some(&1_u64.to_le_bytes()[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] and [`Error::NoStore`] where there is no store; [`Error::WrongType`] where some
    /// files are of an older version of the value's type: open it with its type and compact it first.
    /// Otherwise as [`Options::open`].
    pub fn open_untyped(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let options = options.clone().create(false);
        Ok(Self { core: Core::open(&options, path.as_ref(), &Types::OfFolder)? })
    }

    /// The schema names of keys and values; of values with deadlines, that of the values alone.
    #[must_use]
    pub fn schemas(&self) -> (&str, &str) {
        let identity = &self.core.folder.identity;
        let value_schema = &identity.value_schema;
        let shown = self.core.expiry.as_ref().and_then(|_| expiry::inner_schema(value_schema));
        (&identity.key_schema, shown.unwrap_or(value_schema))
    }

    /// Calls `read` with the value; `None`: there is no such key.
    ///
    /// The value is not copied, and who writes to the key's shard waits meanwhile. The shard is locked for reading, but where
    /// nobody has written to it for some hundred reads: then it is read without its lock, by all threads at once. And one value
    /// of each shard, which readers have met at its lock all the time and that has at most 248 bytes with its key, is read from a
    /// copy, with nothing locked; not in a store whose entries expire.
    #[inline]
    pub fn get_with<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        reentry::check(&self.core)?;
        self.core.ready_to_read(key)?;
        if self.core.expiry.is_some() {
            return Ok(self.core.get_timed(key, read));
        }
        let map = &self.core.map;
        Ok(map.get_with(map.hash(key), key, |value| reentry::run(&self.core, || read(value))))
    }

    /// A copy of the value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        Ok(self.get_with(key, |_| ())?.is_some())
    }

    /// Sets a key.
    pub fn insert(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<Written> {
        self.write_one(key, Prepare::SetAlways(value), durability, |_, _| Ok(Decision::AsPrepared))
    }

    /// Removes a key. One that is not there costs no log entry.
    pub fn remove(&self, key: &[u8], durability: Durability) -> Result<Written> {
        self.write_one(key, Prepare::Remove, durability, |current, _| {
            Ok(if current.is_some() { Decision::AsPrepared } else { Decision::Keep })
        })
    }

    /// Changes a key depending on its current value, atomically: the closure sees it and says what becomes
    /// of it. It runs with the key's shard locked, so keep it short; it may run more than once when
    /// the log has no room just then; if it calls this store it gets [`Error::Reentrant`].
    pub fn update(
        &self,
        key: &[u8],
        durability: Durability,
        mut change: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Result<Written> {
        self.write_one(key, Prepare::Nothing, durability, |current, buffer| {
            Ok(match reentry::run(&self.core, || change(current)) {
                Update::Keep => Decision::Keep,
                Update::Remove if current.is_none() => Decision::Keep,
                Update::Remove => Decision::Remove,
                Update::Set(value) => {
                    *buffer = value;
                    Decision::Set
                }
            })
        })
    }

    /// Sets or removes a key if it has the expected value (`None`: if it is absent). Says whether it had.
    pub fn compare_and_set(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        durability: Durability,
    ) -> Result<bool> {
        let mut swapped = false;
        let prepare = new.map_or(Prepare::Remove, Prepare::Set);
        self.write_one(key, prepare, durability, |current, _| {
            swapped = current == expected;
            Ok(match (swapped, current, new) {
                (false, ..) | (true, None, None) => Decision::Keep,
                (true, ..) => Decision::AsPrepared,
            })
        })?;
        Ok(swapped)
    }

    #[inline]
    pub(crate) fn write_one(
        &self,
        key: &[u8],
        prepare: Prepare<'_>,
        durability: Durability,
        decide: impl FnMut(Option<&[u8]>, &mut Vec<u8>) -> Result<Decision>,
    ) -> Result<Written> {
        match &self.core.expiry {
            None => self.core.write_one(key, prepare, durability, decide),
            Some(expiry) => self.core.write_timed(expiry, key, prepare, 0, durability, decide),
        }
    }

    pub(crate) fn run_closure<R>(&self, closure: impl FnOnce() -> R) -> R {
        reentry::run(&self.core, closure)
    }

    /// The values of many keys, in the order of the keys. See [`crate::Store::get_many`].
    pub fn get_many<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        self.get_many_with(keys, |index, value| {
            put(&mut values, index, value.map(<[u8]>::to_vec));
        })?;
        Ok(values)
    }

    /// Calls `each` once for every key, with its number and its value, which is not copied. See
    /// [`crate::Store::get_many_with`].
    pub fn get_many_with<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        self.core.get_each(keys, &mut Vec::new(), each)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// A batch to collect changes in.
    pub fn batch(&self) -> ByteBatch<'_> {
        ByteBatch { store: self, ops: self.new_ops() }
    }

    pub(crate) fn new_ops(&self) -> BatchOps {
        BatchOps::new(self.core.expiry.is_some())
    }

    pub(crate) fn write_batch(&self, ops: BatchOps, durability: Durability) -> Result<Option<u64>> {
        self.core.write_batch(ops, durability)
    }

    /// All entries, in no order. See [`crate::Store::iter`] for what it sees.
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter::new(&self.core, None)
    }

    /// All entries, by the threads of rayon's pool. See [`crate::Store::par_iter`].
    pub fn par_iter(&self) -> crate::ParIter<'_, Vec<u8>, Vec<u8>> {
        crate::ParIter::new(&self.core, None)
    }

    /// All entries as they are at this moment, while writes go on. See [`crate::Store::view`].
    pub fn view(&self) -> Result<ByteView<'_>> {
        ByteView::open(&self.core)
    }

    /// Removes every entry, as one write. Returns its sequence number.
    pub fn clear(&self, durability: Durability) -> Result<u64> {
        self.core.clear_all(durability)
    }

    /// The number of entries. Changes under way in other threads count or do not. Behind an instant opening it waits until
    /// all are loaded; where they cannot be, and inside of a closure of an operation, it is an upper bound.
    pub fn len(&self) -> u64 {
        if reentry::check(&self.core).is_ok() {
            // Who needs what could not be loaded is told.
            let _ = self.core.ready_all();
        }
        // In this order: a span that ends in between counts twice, and not never.
        let left = self.core.spans.records_left();
        (self.core.map.len() + left).saturating_sub(self.core.hidden_entries())
    }

    /// Whether there is no entry. Waits as `len` does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes every write so far survive a power cut; returns when it does.
    pub fn sync(&self) -> Result<()> {
        self.check_fork()?;
        self.core.log.sync()
    }

    /// The sequence number of the last write; 0 if there was none, ever.
    pub fn last_seq(&self) -> u64 {
        self.core.log.last_seq()
    }

    /// Every write up to this one survives a power cut.
    pub fn durable_seq(&self) -> u64 {
        self.core.log.durable_seq()
    }

    /// Waits until the write with this number, and all before it, survive a power cut. All who wait
    /// share a sync. A number beyond the last write is [`Error::InvalidOption`], not a wait for ever.
    pub fn wait_durable(&self, seq: u64) -> Result<()> {
        self.check_fork()?;
        self.check_seq(seq)?;
        self.core.log.wait_durable(seq)
    }

    /// Calls back once, from a thread of the store's own, when the write with this number survives a power
    /// cut, with the durable number; or with an error when it is known that it may not: after a failed
    /// sync ([`Error::Unconfirmed`]), or when the store was closed without a sync. A callback's panic
    /// is caught. Without background threads it runs on the calling thread, after a sync.
    pub fn on_durable(&self, seq: u64, callback: impl FnOnce(Result<u64>) + Send + 'static) {
        match self.check_fork().and_then(|()| self.check_seq(seq)) {
            Ok(()) => self.core.log.on_durable(seq, Box::new(callback)),
            Err(error) => callback(Err(error)),
        }
    }

    pub(crate) fn check_seq(&self, seq: u64) -> Result<()> {
        let last = self.last_seq();
        if seq <= last {
            return Ok(());
        }
        let reason = format!("{seq} was never written: the last write is {last}");
        Err(Error::InvalidOption { option: "seq", reason })
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if self.core.fork.forked() { Err(Error::Forked) } else { Ok(()) }
    }

    /// Writes a full snapshot now and removes the files that it replaces. Returns its ordinal. Reads and
    /// writes go on meanwhile. Happens by itself, too: see [`Options::compact_log_percent`].
    ///
    /// Cost: the time in which the disk takes what the store holds. The space of the last files that were removed, up to 64, is
    /// given back by a thread a little later; the next compaction, closing, and who finds the disk full wait for it. Without
    /// [`Options::background`] it is given back before this returns.
    pub fn compact(&self) -> Result<u64> {
        self.check_fork()?;
        reentry::check(&self.core)?;
        self.core.compact_by_hand()
    }

    /// Copies the store, as it is at one write, to a new folder, which opens as a store. Reads and writes go on
    /// meanwhile; every write that was acknowledged before the call is in it. [`Backup`] has more ways.
    ///
    /// # Errors
    ///
    /// As [`Backup::copy`].
    pub fn backup_to(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(&Backup::new(), dir)
    }

    /// [`ByteStore::backup_to`] with choices. The file system is the store's.
    pub fn backup_with(&self, backup: &Backup, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.check_fork()?;
        reentry::check(&self.core)?;
        let acknowledged = self.last_seq();
        let backup = backup.clone().file_system(Arc::clone(&self.core.folder.fs));
        let report = backup.copy(&self.core.folder.dir, dir)?;
        if report.seq < acknowledged {
            // Somebody damaged a log of the open store: opening it would not bring these writes either.
            let reason = format!(
                "the logs end with write {}, but {acknowledged} was acknowledged",
                report.seq
            );
            return Err(Error::damaged(&self.core.folder.dir, 0, reason));
        }
        Ok(report)
    }

    /// Figures about the store, read without stopping anybody.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.core)
    }

    /// Whether the store takes writes, and if not, why.
    pub fn health(&self) -> Health {
        self.core.health()
    }

    /// What opening found and did.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.core.report
    }

    /// Waits until everything is in memory, behind [`Options::instant_open`], and helps. Returns at once otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] where the snapshot is, and what a file system says that does not let it be read.
    pub fn wait_loaded(&self) -> Result<()> {
        reentry::check(&self.core)?;
        self.core.ready_all()
    }

    /// Whether everything is in memory: false for some time behind [`Options::instant_open`], and for good where the snapshot is
    /// damaged. To wait for it is [`ByteStore::wait_loaded`], which tells of that.
    pub fn is_loaded(&self) -> bool {
        self.core.spans.are_loaded()
    }

    /// Syncs everything, ends the log so that the next opening has nothing to repair, and lets go of the
    /// folder. Dropping the store does the same and has nobody to tell an error to.
    ///
    /// A store of at most 64 MiB is compacted first where that is due, so that one that is opened for
    /// moments only does not leave a log for each; the compaction of a larger one is given up.
    pub fn close(self) -> Result<()> {
        self.core.close()
    }
}

impl<'a> IntoIterator for &'a ByteStore {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Drop for ByteStore {
    fn drop(&mut self) {
        // An error can be had from `close` alone.
        let _ = self.core.close();
    }
}

/// What becomes of a key: the answer of a closure of [`ByteStore::update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// It stays as it is; nothing is logged.
    Keep,
    /// It gets this value.
    Set(Vec<u8>),
    /// It goes.
    Remove,
}

/// Changes that are made together or not at all. See [`ByteStore::batch`].
#[derive(Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct ByteBatch<'a> {
    store: &'a ByteStore,
    ops: BatchOps,
}

impl<'a> ByteBatch<'a> {
    pub(crate) fn store(&self) -> &'a ByteStore {
        self.store
    }

    /// Adds setting a key. A later change of the same key in the batch wins.
    pub fn insert(mut self, key: &[u8], value: &[u8]) -> Self {
        self.ops.set(key, value);
        self
    }

    /// Adds removing a key.
    pub fn remove(mut self, key: &[u8]) -> Self {
        self.ops.remove(key);
        self
    }

    /// Makes the batch depend on this key having this value. See [`crate::Batch::if_equals`].
    pub fn if_equals(mut self, key: &[u8], value: &[u8]) -> Self {
        let added = self.ops.conditions().equals(key, value);
        self.note(added)
    }

    /// Makes the batch depend on this key being absent.
    pub fn if_absent(mut self, key: &[u8]) -> Self {
        let added = self.ops.conditions().absent(key);
        self.note(added)
    }

    /// Makes the batch depend on this key being there, with whatever value.
    pub fn if_present(mut self, key: &[u8]) -> Self {
        let added = self.ops.conditions().present(key);
        self.note(added)
    }

    pub(crate) fn ops_mut(&mut self) -> &mut BatchOps {
        &mut self.ops
    }

    fn note(mut self, added: Result<()>) -> Self {
        if let Err(error) = added {
            self.ops.fail(error);
        }
        self
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

    /// Makes the changes, as one write: on disk, and for every reader. Returns its sequence number, or
    /// that of the last write for a batch that changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ConditionFailed`] with the first condition that does not hold: nothing was written.
    pub fn commit(self, durability: Durability) -> Result<u64> {
        Ok(self.store.write_batch(self.ops, durability)?.unwrap_or_else(|| self.store.last_seq()))
    }
}
