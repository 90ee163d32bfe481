//! The whole map as it was at one moment, while writes go on.
//!
//! A view copies nothing when it is made: it notes the moment, between two writes of the whole store. From
//! then on a writer that is about to change a key puts the value aside that the key has, once for each
//! key, before it changes the map. What a view shows is thus what was put aside, and the map for
//! all other keys. So its memory is that of the entries that changed since; without a view a
//! write costs one load and one branch more.
//!
//! `clear` puts nothing aside key by key: a view keeps the contents that were taken away.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::iter::ByteIter;
use crate::map::{Cursor, Garbage, Map, Shard, SliceCopy, ValueRef};
use crate::reentry;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, RwLock};

#[cfg(test)]
mod tests;

/// A slice ends behind so many keys that were put aside. Where most of a shard was removed, one bucket is
/// left to all of them, and the shard stays locked while they are taken.
const KEPT_PER_SLICE: usize = 4096;

/// The open views of a store.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// How many there are. It changes while all shards are locked for reading, or falls; so whoever has a
    /// shard locked for writing sees every view that its change matters to.
    open: AtomicUsize,
    list: RwLock<Vec<Arc<ViewState>>>,
}

/// What a view has beside the map.
#[derive(Debug)]
pub(crate) struct ViewState {
    seq: u64,
    entries: u64,
    held_bytes: AtomicU64,
    /// One for each shard of the map, changed only with that shard locked for writing.
    sides: Box<[Mutex<Side>]>,
}

/// What one shard has changed since a view was made.
#[derive(Debug, Default)]
struct Side {
    /// By the position of the key's hash; more than one where hashes collide.
    kept: BTreeMap<Cursor, Vec<Kept>>,
    /// The shard as it was when all of it was taken away; nothing is put aside any more from then on.
    contents: Option<Arc<Shard>>,
}

/// A key that changed since, and what it had: `None`, where it was absent.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) key: Arc<[u8]>,
    pub(crate) value: Option<Arc<[u8]>>,
}

/// What an entry in a [`Side`] takes beside key and value: its place in a tree whose nodes are about half
/// full, itself, and the counts and the padding of three allocations.
const KEPT_BYTES: usize =
    2 * size_of::<(Cursor, Vec<Kept>)>() + size_of::<Kept>() + 10 * size_of::<usize>();

impl Views {
    /// Whether a change must be told to [`Views::keep`] before it is made.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0
    }

    /// Puts aside, for each view, what a key has that is about to change. The caller has the shard locked
    /// for writing. Nothing is lost where the change does not come.
    #[cold]
    pub(crate) fn keep(&self, map: &Map, index: usize, shard: &Shard, hash: u64, key: &[u8]) {
        let at = map.cursor(hash);
        let mut kept: Option<Kept> = None;
        for view in &*self.list.read() {
            let Some(side) = view.sides.get(index) else { continue };
            let mut side = side.lock();
            if side.contents.is_some() || side.find(at, key).is_some() {
                continue;
            }
            // Copied once for all views.
            let kept = match &kept {
                Some(kept) => kept.clone(),
                None => kept.insert(Kept::of(shard, hash, key)).clone(),
            };
            view.held_bytes.fetch_add(kept.bytes(), Ordering::Relaxed);
            side.kept.entry(at).or_insert_with(|| Vec::with_capacity(1)).push(kept);
        }
    }

    /// Hands the contents that were taken from a shard to the views that still need them.
    #[cold]
    pub(crate) fn keep_contents(&self, index: usize, garbage: Garbage) -> Garbage {
        let contents = match garbage.into_contents() {
            Ok(contents) => Arc::new(*contents),
            Err(other) => return other,
        };
        for view in &*self.list.read() {
            let Some(side) = view.sides.get(index) else { continue };
            let mut side = side.lock();
            if side.contents.is_none() {
                view.held_bytes.fetch_add(contents.memory_bytes(), Ordering::Relaxed);
                side.contents = Some(Arc::clone(&contents));
            }
        }
        match Arc::try_unwrap(contents) {
            Ok(contents) => Garbage::of_contents(contents),
            Err(_) => Garbage::default(),
        }
    }

    /// The memory of all views: for the memory cap. What several share counts for each.
    pub(crate) fn held_bytes(&self) -> u64 {
        if !self.any() {
            return 0;
        }
        self.list.read().iter().map(|view| view.held_bytes.load(Ordering::Relaxed)).sum()
    }

    /// How many views are open.
    pub(crate) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Kept {
    fn of(shard: &Shard, hash: u64, key: &[u8]) -> Self {
        let value = match shard.get(hash, key) {
            None => None,
            Some(ValueRef::Large(value)) => Some(Arc::clone(value)),
            Some(ValueRef::Inline(value)) => Some(Arc::from(value)),
        };
        Self { key: Arc::from(key), value }
    }

    fn bytes(&self) -> u64 {
        let value = self.value.as_ref().map_or(0, |value| value.len());
        bytes_u64(KEPT_BYTES + self.key.len() + value)
    }
}

impl Side {
    fn find(&self, at: Cursor, key: &[u8]) -> Option<&Kept> {
        self.kept.get(&at)?.iter().find(|kept| *kept.key == *key)
    }
}

impl ViewState {
    /// Copies the next slice of a shard, as the map alone would give it, and what was put aside of the same
    /// keys: of a key that is in both, the latter counts. Returns where to go on; what the map gave of keys
    /// from there on comes again, and is to be left out.
    pub(crate) fn copy_slice(
        &self,
        map: &Map,
        index: usize,
        cursor: Cursor,
        copy: &mut SliceCopy,
        kept: &mut Vec<(Cursor, Kept)>,
    ) -> Result<Option<Cursor>> {
        let shard = map.read(index);
        let Some(side) = self.sides.get(index) else { return Ok(None) };
        let side = side.lock();
        let next = match &side.contents {
            Some(contents) => contents.copy_slice(cursor, copy),
            None => shard.copy_slice(cursor, copy),
        }
        .map_err(|_| Error::OutOfMemory)?;
        let end = next.map_or(Bound::Unbounded, Bound::Excluded);
        for (at, of_place) in side.kept.range((Bound::Included(cursor), end)) {
            if kept.len() >= KEPT_PER_SLICE {
                return Ok(Some(*at));
            }
            kept.extend(of_place.iter().map(|one| (*at, one.clone())));
        }
        Ok(next)
    }
}

/// The whole map as it was at one moment, as bytes. See [`crate::View`].
#[derive(Debug)]
pub struct ByteView<'a> {
    core: &'a Core,
    state: Arc<ViewState>,
}

impl<'a> ByteView<'a> {
    /// Notes a moment between two writes.
    ///
    /// 1. All shards are locked for reading, in ascending order: readers go on, and no write is between
    ///    its beginning and its end.
    /// 2. The view is entered in the list of those for whom writers put aside what they change.
    pub(crate) fn open(core: &'a Core) -> Result<Self> {
        reentry::check(core)?;
        core.ready_all()?;
        let sides = (0..core.map.shards()).map(|_| Mutex::default()).collect();
        // 1.
        let shards: Vec<_> = (0..core.map.shards()).map(|index| core.map.read(index)).collect();
        // 2.
        let entries: u64 = shards.iter().map(|shard| shard.entries()).sum();
        let state = Arc::new(ViewState {
            seq: core.log.last_seq(),
            entries: entries - core.hidden_among(&shards),
            held_bytes: AtomicU64::new(0),
            sides,
        });
        core.views.list.write().push(Arc::clone(&state));
        core.views.open.fetch_add(1, Ordering::Relaxed);
        drop(shards);
        Ok(Self { core, state })
    }

    /// The value that the key had; one that has expired meanwhile is gone here, too.
    fn value(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>> {
        let stored = self.stored(key)?;
        if self.core.expiry.is_none() {
            return Ok(stored);
        }
        let mut expired_ms = 0;
        let shown =
            stored.and_then(|stored| self.core.show(&stored, &mut expired_ms).map(Arc::from));
        self.core.record_time_if_possible(expired_ms);
        Ok(shown)
    }

    fn stored(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>> {
        reentry::check(self.core)?;
        let map = &self.core.map;
        let hash = map.hash(key);
        let index = map.shard_index(hash);
        let shard = map.read(index);
        let Some(side) = self.state.sides.get(index) else { return Ok(None) };
        let side = side.lock();
        if let Some(kept) = side.find(map.cursor(hash), key) {
            return Ok(kept.value.clone());
        }
        let shard = side.contents.as_deref().unwrap_or(&shard);
        Ok(Kept::of(shard, hash, key).value)
    }

    /// The value that the key had.
    ///
    /// Cost: that of [`crate::ByteStore::get`], a lock of the view's own for each shard, and one more
    /// look-up.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.value(key)?.map(|value| value.to_vec()))
    }

    /// Whether the key was there.
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        Ok(self.value(key)?.is_some())
    }

    /// All entries that there were, in no order, each exactly once.
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter::new(self.core, Some(&self.state))
    }

    /// The same, by the threads of rayon's pool. See [`crate::View::par_iter`].
    pub fn par_iter(&self) -> crate::ParIter<'_, Vec<u8>, Vec<u8>> {
        self.par()
    }

    pub(crate) fn par<K, V>(&self) -> crate::ParIter<'_, K, V> {
        crate::ParIter::new(self.core, Some(&self.state))
    }

    /// The number of entries that there were. Cost: none.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.state.entries
    }

    /// Whether there was no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number of the last write that the view shows. It shows all before it, and none after.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.state.seq
    }

    /// What the view holds in memory at the moment, in bytes. See [`crate::View`].
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.state.held_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for ByteView<'_> {
    fn drop(&mut self) {
        let mut list = self.core.views.list.write();
        list.retain(|view| !Arc::ptr_eq(view, &self.state));
        self.core.views.open.fetch_sub(1, Ordering::Relaxed);
        // The memory is freed after this, with the list unlocked: `state` is dropped behind this function.
    }
}

impl<'a> IntoIterator for &'a ByteView<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
