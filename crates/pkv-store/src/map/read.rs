//! How a shard is read: without its lock, by a copy, or locked.

use std::ops::Deref;

use super::{Map, Shard, Slot, hot};
use crate::sync::{Announced, Readers, RwReadGuard, is_shared};

impl Slot {
    /// [`Map::get_with`] where the lock is taken already: a vote for the key. Apart, so that who is alone has few instructions.
    #[inline(never)]
    fn get_with_others<R>(
        &self,
        readers: &Readers,
        hash: u64,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let shard = self.shard.read_counted(readers);
        let value = shard.get(hash, key)?.as_bytes();
        // One that cannot be shown would keep others from being ahead of it.
        if key.len() + value.len() <= hot::BYTES_MAX && self.votes.count(hash) {
            self.hot.elect(hash, key, value);
        }
        Some(read(value))
    }
}

impl Map {
    /// What `read` makes of the value of `key`.
    ///
    /// 1. A shard that nobody has written to for some hundred reads is read without its lock ([`crate::sync::BiasedRwLock`]).
    /// 2. A key that is read so often that its shard shows a copy of its value is read from that.
    /// 3. Else the shard is locked for reading.
    #[inline]
    pub(crate) fn get_with<R>(
        &self,
        hash: u64,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let index = self.shard_index(hash);
        let slot = self.slot(index);
        // 1.
        if let Some(shard) = slot.shard.read_biased() {
            return Some(read(shard.get_bytes(hash, key)?));
        }
        // 2.
        if let Some(copied) = slot.hot.read(hash, key) {
            return Some(read(copied.value()));
        }
        // 3.
        if is_shared(&slot.shard) {
            return slot.get_with_others(&self.readers, hash, key, read);
        }
        let shard = slot.shard.read_counted(&self.readers);
        Some(read(shard.get_bytes(hash, key)?))
    }

    /// What `read` makes of a shard: steps 1 and 3 of [`Map::get_with`].
    pub(crate) fn read_with<R>(&self, index: usize, read: impl FnOnce(&Shard) -> R) -> R {
        let slot = self.slot(index);
        if let Some(shard) = slot.shard.read_biased() {
            return read(&shard);
        }
        read(&slot.shard.read_counted(&self.readers))
    }

    /// Announces that this thread reads several shards, for [`Map::try_read_any`].
    #[inline]
    pub(crate) fn announce(&self) -> Option<Announced> {
        self.readers.announce()
    }

    /// A shard to be read: without its lock where it has its bias and this thread has announced itself, else locked for reading,
    /// if nobody has it locked for writing or waits to.
    #[inline]
    pub(crate) fn try_read_any<'a>(
        &'a self,
        index: usize,
        announced: Option<&'a Announced>,
    ) -> Option<ReadGuard<'a>> {
        let lock = &self.slot(index).shard;
        if let Some(shard) = announced.and_then(|announced| lock.read_announced(announced)) {
            return Some(ReadGuard::Biased(shard));
        }
        lock.try_read_counted(&self.readers).map(ReadGuard::Locked)
    }

    /// Locks a shard for reading.
    #[inline]
    pub(crate) fn read(&self, index: usize) -> RwReadGuard<'_, Shard> {
        self.slot(index).shard.read()
    }
}

/// A shard that is read.
#[derive(Debug)]
pub(crate) enum ReadGuard<'a> {
    Biased(&'a Shard),
    Locked(RwReadGuard<'a, Shard>),
}

impl Deref for ReadGuard<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        match self {
            ReadGuard::Biased(shard) => shard,
            ReadGuard::Locked(shard) => shard,
        }
    }
}
