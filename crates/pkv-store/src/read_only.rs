//! Reading a store that another process writes, or that lies where nothing can be written.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::iter::ByteIter;
use crate::options::{Options, RecoveryMode};
use crate::pool::IoPool;
use crate::recover::{self, Contents, ReadOptions, RecoveryReport, Types};
use crate::store::{Iter, encoded};

/// A store of bytes, read beside whoever writes it. See [`ReadOnlyStore`].
#[derive(Debug)]
pub struct ReadOnlyByteStore {
    options: Options,
    dir: PathBuf,
    types: Types,
    pool: IoPool,
    contents: Contents,
    /// Tells what has expired; nothing is written for it.
    expiry: Option<Expiry>,
    /// A refresh ran out of memory in the middle of a write.
    is_broken: bool,
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refreshed {
    /// Nothing was written since.
    Unchanged,
    /// So many writes were added from the logs.
    Followed(u64),
    /// The logs from there on are gone, replaced by a newer snapshot: everything was loaded again.
    Reloaded,
}

impl ReadOnlyByteStore {
    /// Reads a store of bytes. See [`Options::open_read_only`].
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Self::open_as::<Vec<u8>, Vec<u8>>(path.as_ref(), options)
    }

    pub(crate) fn open_as<K: Key, V: Value>(path: &Path, options: &Options) -> Result<Self> {
        options.check()?;
        let pool = IoPool::new(if options.background { options.io_threads } else { 1 });
        let types = Types::of::<K, V>(options);
        let contents = load(options, path, &types, &pool)?;
        let expiry = options.expiry.then(|| Expiry::open(options, &options.fs, &contents.map));
        let (options, dir) = (options.clone(), path.to_path_buf());
        Ok(Self { options, dir, types, pool, contents, expiry, is_broken: false })
    }

    /// Goes on to the writer's present state. See [`ReadOnlyStore::refresh`].
    pub fn refresh(&mut self) -> Result<Refreshed> {
        let refreshed = self.read_on();
        if let Some(expiry) = &self.expiry {
            expiry.follow(&self.contents.map);
        }
        refreshed
    }

    fn read_on(&mut self) -> Result<Refreshed> {
        let before = self.last_seq();
        if !self.is_broken && self.options.recovery != RecoveryMode::Salvage {
            let read = read_options(&self.options, &self.dir, &self.types, &self.pool);
            match recover::follow(&read, &mut self.contents) {
                Ok(Some(0)) if self.last_seq() == before => return Ok(Refreshed::Unchanged),
                Ok(Some(_)) => return Ok(Refreshed::Followed(self.last_seq() - before)),
                Err(Error::OutOfMemory) => {
                    self.is_broken = true;
                    return Err(Error::OutOfMemory);
                }
                // Whatever it is, reading everything will say it, or do without.
                Ok(None) | Err(_) => {}
            }
        }
        self.contents = load(&self.options, &self.dir, &self.types, &self.pool)?;
        self.is_broken = false;
        Ok(Refreshed::Reloaded)
    }

    /// Calls `read` with the value, as [`crate::ByteStore::get_with`] does. `None`: there is no such key.
    pub fn get_with<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.check()?;
        let map = &self.contents.map;
        let answer = map.get_with(map.hash(key), key, |value| match &self.expiry {
            None => Some(read(value)),
            Some(expiry) => expiry.show(value, &mut 0).map(read),
        });
        Ok(answer.flatten())
    }

    /// A copy of the value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        self.get_with(key, |_| ()).map(|found| found.is_some())
    }

    /// All entries, in no order.
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter::over(&self.contents.map).with_expiry(self.expiry.as_ref())
    }

    /// The number of entries; those that have expired count until the writer has swept them away.
    pub fn len(&self) -> u64 {
        let hidden = self.expiry.as_ref().map_or(0, Expiry::hidden_entries);
        self.contents.map.len().saturating_sub(hidden)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last write that is in this view.
    pub fn last_seq(&self) -> u64 {
        self.contents.report.last_seq
    }

    /// What reading found; a later refresh adds to it.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.contents.report
    }

    fn check(&self) -> Result<()> {
        if self.is_broken { Err(Error::OutOfMemory) } else { Ok(()) }
    }
}

fn read_options<'a>(
    options: &'a Options,
    dir: &'a Path,
    types: &'a Types,
    pool: &'a IoPool,
) -> ReadOptions<'a> {
    ReadOptions {
        fs: &*options.fs,
        dir,
        map_shards: options.map_shards,
        types,
        pool,
        progress: options.progress.as_ref(),
        root: None,
        live: true,
        instant: false,
    }
}

fn load(options: &Options, dir: &Path, types: &Types, pool: &IoPool) -> Result<Contents> {
    recover::read_live(&read_options(options, dir, types, pool), options.recovery)
}

impl<'a> IntoIterator for &'a ReadOnlyByteStore {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A store, read beside whoever writes it: another process, another store in this one, or nobody.
///
/// It takes no lock, writes nothing, and works where nothing can be written. It shows one moment: the writes up
/// to [`ReadOnlyStore::last_seq`] and no others, until [`ReadOnlyStore::refresh`] goes on to a later one.
/// Every write that was acknowledged before opening or refreshing began is in it, whatever its durability: the
/// page cache is shared. For the same reason it may show writes that a power cut then takes from the writer.
///
/// Memory: that of the store itself, and while a refresh has to load everything again, that of both. Cost:
/// opening reads what opening for writing reads. A refresh lists the folder and reads the frames
/// that came since; where the writer has compacted and the logs from there on are gone, it reads everything.
///
/// With [`RecoveryMode::Salvage`] it shows what is whole of a damaged folder.
///
/// Of a store with [`Options::expiry`] it shows what has not expired by its own clock and by the writer's
/// record of time. It cannot add to that record: where the machine's clock is set back, a later reader may see
/// again what an earlier one did not.
///
/// ```
/// use pkv_store::{Refreshed, Store};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// let writer: Store<String, u64> = Store::open(&path)?;
/// writer.insert("alice", &1)?;
///
/// let mut reader = Store::<String, u64>::open_read_only(&path)?;
/// assert_eq!(reader.get("alice")?, Some(1));
/// writer.insert("alice", &2)?;
/// assert_eq!(reader.get("alice")?, Some(1));
/// assert_eq!(reader.refresh()?, Refreshed::Followed(1));
/// assert_eq!(reader.get("alice")?, Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ReadOnlyStore<K, V> {
    bytes: ReadOnlyByteStore,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for ReadOnlyStore<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOnlyStore").field("entries", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> ReadOnlyStore<K, V> {
    pub(crate) fn open_with(options: &Options, path: &Path) -> Result<Self> {
        let bytes = ReadOnlyByteStore::open_as::<K, V>(path, options)?;
        Ok(Self { bytes, types: PhantomData })
    }

    /// Goes on to the writer's present state.
    ///
    /// # Errors
    ///
    /// Those of opening. The view then stays whole, at the moment of before or a later one; after
    /// [`Error::OutOfMemory`] it answers with that error until a refresh succeeds.
    pub fn refresh(&mut self) -> Result<Refreshed> {
        self.bytes.refresh()
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] when the stored bytes are no `V`; [`Error::Encode`] when `key` cannot be encoded.
    pub fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.get_with(key, V::decode)?.transpose().map_err(Error::Decode)
    }

    /// Calls `read` with the encoded value, as [`crate::Store::get_with`] does.
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

    /// All entries, in no order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::over(self.bytes.iter())
    }

    /// The number of entries.
    pub fn len(&self) -> u64 {
        self.bytes.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The last write that is in this view.
    pub fn last_seq(&self) -> u64 {
        self.bytes.last_seq()
    }

    /// What reading found; a later refresh adds to it.
    pub fn recovery_report(&self) -> &RecoveryReport {
        self.bytes.recovery_report()
    }

    /// The view below its types.
    pub fn bytes(&self) -> &ReadOnlyByteStore {
        &self.bytes
    }
}

impl<'a, K: Key, V: Value> IntoIterator for &'a ReadOnlyStore<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
