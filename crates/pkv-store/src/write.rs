//! A write's way, from top to bottom.
//!
//! The order is what the promises rest on: the log before the map, under the same locks, so that what is
//! visible is logged, the order of the log is the order of the map, and a write that failed was never
//! visible. No lock is held while anything waits.

use std::sync::Arc;

use pkv_format::{FRAME_BODY_BYTES_MAX, KEY_BYTES_MAX, push_clear, push_remove, push_set};

use crate::batch::BatchOps;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::frame::{Frame, bytes_u64};
use crate::log::Refused;
use crate::map::{Garbage, Map, NewValue, ValueRef, WriteGuard};
use crate::options::Durability;
use crate::reentry;
use crate::watch::{Notice, Noticed};

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Its sequence number; of a write that changed nothing, that of the last write before it.
    pub seq: u64,
    /// Whether the key was there before.
    pub existed: bool,
}

/// What to do with a key, decided on its current value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// What was prepared before the lock was taken.
    AsPrepared,
    /// Set it to what stands in the buffer.
    Set,
    /// Remove it.
    Remove,
    /// Leave it.
    Keep,
}

/// What a write brings along, encoded before it is known what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prepare<'a> {
    /// To be set whatever is there: nothing is to be decided, and nothing waits for the current value.
    SetAlways(&'a [u8]),
    Set(&'a [u8]),
    Remove,
    /// The new value depends on the current one.
    Nothing,
}

impl Prepare<'_> {
    /// Whether it takes longer to encode than a lock should be held for it.
    fn is_long(&self) -> bool {
        match self {
            Self::SetAlways(value) | Self::Set(value) => value.len() > SHORT_BYTES_MAX,
            Self::Remove | Self::Nothing => false,
        }
    }
}

/// A value up to this length is encoded and checksummed while its line of the index is on its way from memory,
/// which takes about as long; a longer one before the lock is taken.
const SHORT_BYTES_MAX: usize = 1024;

impl Core {
    /// Writes one key.
    ///
    /// 1. Limits and state are checked. A long value is encoded and checksummed. What of the key an instant opening left for
    ///    later is loaded.
    /// 2. The shard is locked. Where the key stands in the index is asked for, and meanwhile a short value is encoded.
    ///    Conditions and closures see the current value. It is copied if anybody watches.
    /// 3. What open views show of the key is put aside, and the memory that step 5 needs is reserved, so that
    ///    nothing can fail after step 4.
    /// 4. Who reads the key without a lock is sent to it. The frame is appended to the log: **the commit point** of
    ///    `Durability::Process`. If the log has
    ///    no room just now, the lock is let go, room is waited for, and step 2 comes again.
    /// 5. The map is changed, the shard unlocked, what was replaced is freed or kept to be filled again (`Map::free`), and
    ///    watches are told.
    /// 6. For `Durability::Power`: wait for the group commit.
    pub(crate) fn write_one(
        &self,
        key: &[u8],
        prepare: Prepare<'_>,
        durability: Durability,
        mut decide: impl FnMut(Option<&[u8]>, &mut Vec<u8>) -> Result<Decision>,
    ) -> Result<Written> {
        // 1.
        self.admit()?;
        let mut frame = Frame::new();
        let mut buffer = Vec::new();
        let mut is_as_prepared = prepare.is_long();
        let mut large =
            if is_as_prepared { encode(&self.map, &mut frame, key, prepare)? } else { None };
        let mut garbage = Garbage::default();
        let hash = self.map.hash(key);
        self.ready_to_write(hash, || self.bytes_at_most(key, prepare))?;
        let index = self.map.shard_index(hash);
        let (seq, existed, notice) = loop {
            // 2.
            let mut shard = self.map.write(index);
            if !is_as_prepared {
                // Also where it was decided otherwise before the log had room, and that is in the frame.
                shard.prefetch_index(hash);
                large = encode(&self.map, &mut frame, key, prepare)?;
                is_as_prepared = true;
            }
            let is_decided = matches!(prepare, Prepare::SetAlways(_));
            let looked_up = (!is_decided || self.watch.is_on()).then(|| shard.find(hash, key));
            let (found, current) = looked_up.unzip();
            let current = current.flatten();
            let decision = if is_decided {
                Decision::AsPrepared
            } else {
                decide(current.as_ref().map(ValueRef::as_bytes), &mut buffer)?
            };
            let value = match decision {
                Decision::AsPrepared => match prepare {
                    Prepare::SetAlways(value) | Prepare::Set(value) => Some(value),
                    Prepare::Remove | Prepare::Nothing => None,
                },
                Decision::Set => {
                    large = encode_set(&self.map, &mut frame, key, &buffer)?;
                    is_as_prepared = false;
                    Some(buffer.as_slice())
                }
                Decision::Remove => {
                    encode_remove(&mut frame, key)?;
                    is_as_prepared = false;
                    None
                }
                Decision::Keep => {
                    let kept = Written { seq: self.log.last_seq(), existed: current.is_some() };
                    drop(shard);
                    self.map.free_large(large);
                    return Ok(kept);
                }
            };
            let notice = self.watch.is_on().then(|| {
                let new = value.map(|bytes| Noticed::new(bytes, large.as_ref()));
                let mut notice = Notice::default();
                self.add_notice(&mut notice, key, current.map(Noticed::from), new);
                notice
            });
            // 3.
            if self.views.any() {
                self.views.keep(&self.map, index, &shard, hash, key);
            }
            let value =
                value.map(|bytes| large.clone().map_or(NewValue::Inline(bytes), NewValue::Large));
            if let Some(value) = &value {
                self.check_memory(Some(key), key.len() + value.len())?;
                let reserved = match found {
                    Some(found) => shard.reserve_found(hash, key.len(), value, found),
                    None => shard.reserve(hash, key.len(), value),
                };
                reserved.map_err(|_| Error::OutOfMemory)?;
            }
            // 4.
            shard.announce(hash);
            let seq = match self.log.append(&mut frame) {
                Ok(seq) => seq,
                Err(Refused::Failed(error)) => return Err(self.refused(shard, error)),
                Err(Refused::Wait(wait)) => {
                    drop(shard);
                    self.log.wait(wait)?;
                    continue;
                }
            };
            // 5.
            let existed = match (&value, found) {
                (Some(value), None) => shard.set(hash, key, value, &mut garbage),
                (Some(value), Some(found)) => {
                    shard.set_found(hash, key, value, found, &mut garbage)
                }
                (None, Some(found)) => shard.remove_found(hash, key, found, &mut garbage),
                (None, None) => shard.remove(hash, key, &mut garbage),
            };
            break (seq, existed, notice);
        };
        // Held on to while step 6 waits, it would be shared when the next write replaces it.
        drop(large);
        self.map.free(garbage);
        if let Some(notice) = notice {
            self.watch.tell(seq, notice);
        }
        // 6.
        self.acknowledge(seq, durability)?;
        Ok(Written { seq, existed })
    }

    /// Writes a batch: one frame, whole or not at all, on disk and for readers. The steps are those of
    /// [`Core::write_one`]; all shards of the batch and of its conditions are locked, in ascending order,
    /// so that two batches never wait for each other. `None`: there was nothing to write.
    pub(crate) fn write_batch(
        &self,
        batch: BatchOps,
        durability: Durability,
    ) -> Result<Option<u64>> {
        // 1.
        self.admit()?;
        let Some(mut prepared) = batch.prepare(&self.map)? else { return Ok(None) };
        let (is_check_only, bytes) = (prepared.is_check_only(), prepared.payload_bytes());
        prepared.hashes().try_for_each(|hash| {
            if is_check_only {
                self.ready_to_read_hash(hash)
            } else {
                self.ready_to_write(hash, || bytes)
            }
        })?;
        let (seq, garbage, notice) = loop {
            // 2.
            let mut shards = prepared.lock(&self.map);
            let (checked, expired_ms) = prepared.check_conditions(&shards, self.expiry.as_ref());
            if expired_ms > 0 && !self.is_time_recorded(expired_ms) {
                // What follows from an expiry comes behind it in the log.
                drop(shards);
                self.record_time(expired_ms)?;
                continue;
            }
            checked?;
            if prepared.is_check_only() {
                return Ok(None);
            }
            let notice = self.watch.is_on().then(|| prepared.notice(self, &shards));
            // 3.
            if self.views.any() {
                prepared.keep(&self.map, &self.views, &shards);
            }
            if prepared.payload_bytes() > 0 {
                self.check_memory(None, prepared.payload_bytes())?;
            }
            prepared.reserve(&mut shards)?;
            // 4.
            prepared.announce(&shards);
            let seq = match self.log.append(prepared.frame()) {
                Ok(seq) => seq,
                Err(Refused::Failed(error)) => return Err(self.refused(shards, error)),
                Err(Refused::Wait(wait)) => {
                    drop(shards);
                    self.log.wait(wait)?;
                    continue;
                }
            };
            // 5. All changes are made before the first shard is unlocked: no reader sees half of them.
            break (seq, prepared.apply(&mut shards), notice);
        };
        for garbage in garbage {
            self.map.free(garbage);
        }
        if let Some(expiry) = &self.expiry {
            expiry.expect(prepared.first_deadline_ms);
        }
        if let Some(notice) = notice {
            self.watch.tell(seq, notice);
        }
        // 6.
        self.acknowledge(seq, durability)?;
        Ok(Some(seq))
    }

    /// Removes every entry: one frame, and every shard locked for the moment in which its contents are
    /// taken away. The steps are those of [`Core::write_one`]; the memory is freed without a lock.
    pub(crate) fn clear(&self, durability: Durability) -> Result<u64> {
        let cleared = self.clear_untold()?;
        self.end_clear(cleared, durability)
    }

    /// Steps 1 to 5 of [`Core::clear`], but that nobody is told and nothing is freed.
    pub(crate) fn clear_untold(&self) -> Result<Cleared> {
        // 1.
        self.admit()?;
        self.ready_all()?;
        let mut frame = Frame::new();
        push_clear(frame.body());
        frame.finish();
        loop {
            // 2. and 3.
            self.map.end_biases(0..self.map.shards());
            let mut shards: Vec<_> =
                (0..self.map.shards()).map(|index| self.map.write(index)).collect();
            let notice = self.watch.is_on().then(Notice::of_clear);
            // 4.
            shards.iter().for_each(WriteGuard::announce_all);
            let seq = match self.log.append(&mut frame) {
                Ok(seq) => seq,
                Err(Refused::Failed(error)) => return Err(self.refused(shards, error)),
                Err(Refused::Wait(wait)) => {
                    drop(shards);
                    self.log.wait(wait)?;
                    continue;
                }
            };
            // 5.
            let taken = shards.iter_mut().map(WriteGuard::take_contents);
            let garbage: Vec<_> = if self.views.any() {
                (0..).zip(taken).map(|(i, taken)| self.views.keep_contents(i, taken)).collect()
            } else {
                taken.collect()
            };
            return Ok(Cleared { seq, garbage, notice });
        }
    }

    /// The end of step 5, and step 6.
    pub(crate) fn end_clear(&self, cleared: Cleared, durability: Durability) -> Result<u64> {
        let Cleared { seq, garbage, notice } = cleared;
        drop(garbage);
        self.map.forget_ready();
        if let Some(notice) = notice {
            self.watch.tell(seq, notice);
        }
        // 6.
        self.acknowledge(seq, durability)?;
        Ok(seq)
    }

    /// The log does not take a write: lets go of the shards, and has watches learn it if it never will.
    #[cold]
    fn refused<Locked>(&self, locked: Locked, error: Error) -> Error {
        drop(locked);
        self.log.tell_watches();
        error
    }

    /// What every write checks first.
    fn admit(&self) -> Result<()> {
        if self.fork.forked() {
            return Err(Error::Forked);
        }
        reentry::check(self)
    }

    /// How much memory a write of one key may take at the most; 0, where it comes before a removal.
    fn bytes_at_most(&self, key: &[u8], prepare: Prepare<'_>) -> usize {
        match prepare {
            _ if self.is_hidden_key(key) => 0,
            Prepare::Remove => 0,
            Prepare::SetAlways(value) | Prepare::Set(value) => key.len() + value.len(),
            Prepare::Nothing => FRAME_BODY_BYTES_MAX,
        }
    }

    /// `key`: that of a single write.
    fn check_memory(&self, key: Option<&[u8]>, more_bytes: usize) -> Result<()> {
        let Some(bytes_max) = self.options.max_memory_bytes else { return Ok(()) };
        if key.is_some_and(|key| self.is_hidden_key(key)) {
            // It comes before a removal, which is what a full store needs.
            return Ok(());
        }
        let held_bytes = self.map.memory_bytes().saturating_add(self.views.held_bytes());
        let bytes = held_bytes.saturating_add(bytes_u64(more_bytes));
        if bytes > bytes_max { Err(Error::MemoryCap { bytes, bytes_max }) } else { Ok(()) }
    }

    fn acknowledge(&self, seq: u64, durability: Durability) -> Result<()> {
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => self.log.wait_durable(seq),
        }
    }
}

/// A clear that was made, and what is left to do with nothing locked.
#[derive(Debug)]
#[must_use = "watches are to be told of it, and its garbage is to be dropped after unlocking"]
pub(crate) struct Cleared {
    seq: u64,
    garbage: Vec<Garbage>,
    notice: Option<Notice>,
}

/// A key within the limit.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    check_size("key", key.len(), KEY_BYTES_MAX)
}

/// Something within its limit.
pub(crate) fn check_size(what: &'static str, bytes: usize, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::TooLarge { what, bytes: bytes_u64(bytes), bytes_max: bytes_u64(bytes_max) })
}

/// The largest value: what a frame takes, less room for the longest key and the lengths.
pub(crate) const VALUE_BYTES_MAX: usize = FRAME_BODY_BYTES_MAX - KEY_BYTES_MAX - 32;

/// Encodes what a write brings along; returns the shared copy of a large value.
fn encode(
    map: &Map,
    frame: &mut Frame,
    key: &[u8],
    prepare: Prepare<'_>,
) -> Result<Option<Arc<[u8]>>> {
    match prepare {
        Prepare::SetAlways(value) | Prepare::Set(value) => encode_set(map, frame, key, value),
        Prepare::Remove => encode_remove(frame, key).map(|()| None),
        Prepare::Nothing => check_key(key).map(|()| None),
    }
}

/// Encodes `key = value` as the frame's only operation; returns the shared copy of a large value.
fn encode_set(map: &Map, frame: &mut Frame, key: &[u8], value: &[u8]) -> Result<Option<Arc<[u8]>>> {
    check_key(key)?;
    check_size("value", value.len(), VALUE_BYTES_MAX)?;
    frame.reset();
    push_set(frame.body(), key, value);
    frame.finish();
    map.share_if_large(value).map_err(|_| Error::OutOfMemory)
}

/// Encodes the removal of `key` as the frame's only operation.
fn encode_remove(frame: &mut Frame, key: &[u8]) -> Result<()> {
    check_key(key)?;
    frame.reset();
    push_remove(frame.body(), key);
    frame.finish();
    Ok(())
}
