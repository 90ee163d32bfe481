//! What a watch asks for, and how it begins.

use std::marker::PhantomData;
use std::sync::Arc;

use super::backlog::Backlog;
use super::queue::{Filter, Queue};
use super::{ByteWatch, Watch};
use crate::bytes::ByteStore;
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::reentry;
use crate::store::{Store, encoded};

/// Events that wait for a consumer before it counts as lagging, unless it says otherwise.
const EVENTS_MAX: usize = 1024;

/// What a [`ByteWatch`] asks for. See [`ByteStore::watch`].
#[derive(Debug)]
#[must_use = "it watches nothing until `start`"]
pub struct ByteWatchBuilder<'a> {
    store: &'a ByteStore,
    filter: Filter,
    events_max: usize,
    durability: Durability,
    after_seq: Option<u64>,
}

impl<'a> ByteWatchBuilder<'a> {
    pub(crate) fn new(store: &'a ByteStore) -> Self {
        Self {
            store,
            filter: Filter::All,
            events_max: EVENTS_MAX,
            durability: Durability::Process,
            after_seq: None,
        }
    }

    /// Only changes of this key. A clear concerns every key.
    pub fn key(mut self, key: &[u8]) -> Self {
        self.filter = Filter::Key(key.to_vec());
        self
    }

    /// Only changes of keys that begin like this. A clear concerns every key.
    pub fn prefix(mut self, prefix: &[u8]) -> Self {
        self.filter = Filter::Prefix(prefix.to_vec());
        self
    }

    /// As [`WatchBuilder::capacity`].
    pub fn capacity(mut self, events: usize) -> Self {
        self.events_max = events.max(1);
        self
    }

    /// As [`WatchBuilder::durability`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// As [`WatchBuilder::after`].
    pub fn after(mut self, seq: u64) -> Self {
        self.after_seq = Some(seq);
        self
    }

    /// Begins. Errors as for [`WatchBuilder::start`].
    pub fn start(self) -> Result<ByteWatch> {
        let core = self.store.core();
        self.store.check_fork()?;
        reentry::check(core)?;
        if let Some(seq) = self.after_seq {
            self.store.check_seq(seq)?;
        }
        let queue = Arc::new(Queue::new(
            self.filter.clone(),
            self.events_max,
            self.durability == Durability::Power,
            self.after_seq.unwrap_or(0),
        ));
        let start_seq = core.watch.join(&queue, core.log.durable_seq(), || {
            for shard in 0..core.map.shards() {
                drop(core.map.read(shard));
            }
            core.log.last_seq()
        });
        // From here on dropping it leaves the hub.
        let mut watch =
            ByteWatch::new(Arc::clone(&core.watch), queue, self.after_seq.unwrap_or(start_seq));
        if let Some(after_seq) = self.after_seq
            && after_seq < start_seq
        {
            watch.backlog = Some(Backlog::open(core, self.filter, after_seq, start_seq)?);
        }
        if let Some(cause) = core.log.poisoned() {
            return Err(Error::Poisoned(cause));
        }
        Ok(watch)
    }
}

/// What a [`Watch`] asks for: everything, unless it is told otherwise. See [`Store::watch`].
#[must_use = "it watches nothing until `start`"]
pub struct WatchBuilder<'a, K, V> {
    bytes: ByteWatchBuilder<'a>,
    failed: Option<Error>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for WatchBuilder<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchBuilder").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'a, K: Key, V: Value> WatchBuilder<'a, K, V> {
    fn new(store: &'a Store<K, V>) -> Self {
        Self { bytes: store.bytes().watch(), failed: None, types: PhantomData }
    }

    /// Only changes of this key. A clear concerns every key.
    pub fn key<Q>(self, key: &Q) -> Self
    where
        K: std::borrow::Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let filter = encoded(key, |key| Ok(Filter::Key(key.to_vec())));
        self.set(filter)
    }

    /// Only changes of keys whose bytes begin with those of `prefix`: of text and byte strings, those that
    /// begin with it. A clear concerns every key.
    pub fn prefix<Q: Encode + ?Sized>(self, prefix: &Q) -> Self {
        let filter = encoded(prefix, |prefix| Ok(Filter::Prefix(prefix.to_vec())));
        self.set(filter)
    }

    fn set(mut self, filter: Result<Filter>) -> Self {
        match filter {
            Ok(filter) => self.bytes.filter = filter,
            Err(error) => self.failed = Some(error),
        }
        self
    }

    /// How many events wait for the consumer, at least 1. Default 1024. When they are there, later ones are
    /// dropped until the queue is empty, and [`super::Event::Lagged`] says which. Each waiting event holds copies of
    /// its key and values (of values over 1 KiB, a reference).
    pub fn capacity(mut self, events: usize) -> Self {
        self.bytes = self.bytes.capacity(events);
        self
    }

    /// When a change is told. Default [`Durability::Process`]: as soon as it is in the log and in the map, so
    /// that a power cut may take back what was told. [`Durability::Power`]: when it survives a power
    /// cut, which is after the next sync; the watch itself asks for none.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.bytes = self.bytes.durability(durability);
        self
    }

    /// Resumes: changes of all writes behind this number come first, out of the logs, as long as these are
    /// kept: a compaction drops them, but for those that `keep_backups` keeps. Their old values are
    /// [`super::Old::Unknown`]. Default: changes from now on.
    pub fn after(mut self, seq: u64) -> Self {
        self.bytes = self.bytes.after(seq);
        self
    }

    /// Begins: every change behind [`Watch::start_seq`] that is asked for comes, once and in order.
    ///
    /// Cost: each shard is locked for a moment if nobody watches yet. From then on each write copies key, old
    /// and new value, and looks at the filter of each watch.
    ///
    /// # Errors
    ///
    /// [`Error::WatchTooOld`] when the logs do not reach back to [`WatchBuilder::after`];
    /// [`Error::InvalidOption`] when that number was never written; [`Error::Encode`] of a key;
    /// [`Error::Poisoned`], [`Error::Reentrant`], [`Error::Forked`], and what reading the logs brings.
    pub fn start(self) -> Result<Watch<K, V>> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Watch { bytes: self.bytes.start()?, types: PhantomData }),
        }
    }
}

impl ByteStore {
    /// Watches changes: [`Store::watch`] without types.
    pub fn watch(&self) -> ByteWatchBuilder<'_> {
        ByteWatchBuilder::new(self)
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// Watches committed changes: of everything, a key, or a prefix, in the order in which they were made,
    /// with number, old and new value. The builder says which, how many may wait, and from when on.
    ///
    /// ```
    /// use pkv_store::{Event, Old, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("flags");
    /// let flags: Store<String, bool> = Store::open(&path)?;
    /// let mut watch = flags.watch().prefix("search/").start()?;
    /// flags.insert("search/fuzzy", &true)?;
    /// flags.insert("login/captcha", &true)?;
    /// flags.remove("search/fuzzy")?;
    ///
    /// let Event::Set { seq, key, value, old } = watch.recv()? else { panic!("not set") };
    /// assert_eq!((seq, key.as_str(), value, old), (1, "search/fuzzy", true, Old::Absent));
    /// let Event::Remove { seq, old, .. } = watch.recv()? else { panic!("not removed") };
    /// assert_eq!((seq, old), (3, Old::Value(true)));
    /// assert!(watch.try_recv()?.is_none());
    ///
    /// // Later, perhaps in another process: what came behind number 1, out of the logs.
    /// let mut again = flags.watch().after(1).start()?;
    /// assert_eq!(again.recv()?.key().map(String::as_str), Some("login/captcha"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch(&self) -> WatchBuilder<'_, K, V> {
        WatchBuilder::new(self)
    }
}
