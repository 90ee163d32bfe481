//! Several changes as one write.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use pkv_format::{FRAME_BODY_BYTES_MAX, push_remove, push_set};

use crate::condition::Conditions;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::expiry::{self, Expiry};
use crate::frame::Frame;
use crate::map::{Garbage, Map, NewValue, WriteGuard};
use crate::view::Views;
use crate::watch::{Notice, Noticed};
use crate::write::{VALUE_BYTES_MAX, check_key, check_size};

/// Changes collected for a batch, encoded as they come.
#[derive(Debug)]
pub(crate) struct BatchOps {
    frame: Frame,
    ops: Vec<Op>,
    /// A buffer for values with their deadlines, where they have any.
    timed: Option<Vec<u8>>,
    first_deadline_ms: u64,
    conditions: Conditions,
    /// The first change that was refused; the batch then fails as a whole.
    failed: Option<Error>,
}

/// A change; the ranges are those of key and value in the frame's buffer.
#[derive(Debug)]
struct Op {
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl BatchOps {
    /// `timed`: values are kept with a deadline before them.
    pub(crate) fn new(timed: bool) -> Self {
        Self {
            timed: timed.then(Vec::new),
            first_deadline_ms: u64::MAX,
            frame: Frame::new(),
            ops: Vec::new(),
            conditions: Conditions::default(),
            failed: None,
        }
    }

    /// Makes the whole batch fail, for a change that could not be encoded.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Where to add what must hold for the batch to be made.
    pub(crate) fn conditions(&mut self) -> &mut Conditions {
        &mut self.conditions
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) {
        let Some(mut stored) = self.timed.take() else { return self.set_stored(key, value) };
        expiry::stamp_never(&mut stored, value);
        self.set_timed(key, stored);
    }

    /// Sets a key that expires then, in a store where values have deadlines.
    pub(crate) fn set_until(&mut self, key: &[u8], value: &[u8], deadline_ms: u64) {
        let mut stored = self.timed.take().unwrap_or_default();
        expiry::stamp(&mut stored, deadline_ms, value);
        self.first_deadline_ms = self.first_deadline_ms.min(deadline_ms);
        self.set_timed(key, stored);
    }

    fn set_timed(&mut self, key: &[u8], stored: Vec<u8>) {
        match expiry::check_key(key) {
            Ok(()) => self.set_stored(key, &stored),
            Err(error) => self.fail(error),
        }
        self.timed = Some(stored);
    }

    fn set_stored(&mut self, key: &[u8], value: &[u8]) {
        let checked = check_key(key)
            .and_then(|()| check_size("value", value.len(), VALUE_BYTES_MAX))
            .and_then(|()| self.check_room(key.len() + value.len()));
        if let Err(error) = checked {
            return self.fail(error);
        }
        push_set(self.frame.body(), key, value);
        let end = self.frame.body().len();
        let value = end - value.len()..end;
        self.ops.push(Op { key: value.start - key.len()..value.start, value: Some(value) });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        let reserved = if self.timed.is_some() { expiry::check_key(key) } else { Ok(()) };
        let checked = reserved.and_then(|()| check_key(key));
        if let Err(error) = checked.and_then(|()| self.check_room(key.len())) {
            return self.fail(error);
        }
        push_remove(self.frame.body(), key);
        let end = self.frame.body().len();
        self.ops.push(Op { key: end - key.len()..end, value: None });
    }

    /// The number of changes.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// A batch is one frame, and a frame has a limit.
    fn check_room(&self, more_bytes: usize) -> Result<()> {
        check_size("batch", self.frame.body_len() + more_bytes + 32, FRAME_BODY_BYTES_MAX)
    }

    /// Finishes the frame and finds the shards. `None`: there is nothing to check and nothing to do.
    pub(crate) fn prepare(mut self, map: &Map) -> Result<Option<Prepared>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.ops.is_empty() && self.conditions.is_empty() {
            return Ok(None);
        }
        let mut changes = Vec::with_capacity(self.ops.len());
        let mut payload_bytes = 0;
        let bytes = self.frame.body().as_slice();
        for op in self.ops {
            let key = bytes.get(op.key.clone()).unwrap_or_default();
            let hash = map.hash(key);
            let large = match &op.value {
                Some(range) => map
                    .share_if_large(bytes.get(range.clone()).unwrap_or_default())
                    .map_err(|_| Error::OutOfMemory)?,
                None => None,
            };
            payload_bytes += op.value.as_ref().map_or(0, |range| range.len() + key.len());
            changes.push(Change { op, hash, shard: map.shard_index(hash), large });
        }
        // Shard by shard, and a shard's own in the order of the batch.
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_unstable_by_key(|number| (changes.get(*number).map(|c| c.shard), *number));
        let mut shards: Vec<usize> = changes.iter().map(|change| change.shard).collect();
        self.conditions.find_shards(map, &mut shards);
        shards.sort_unstable();
        shards.dedup();
        for change in &mut changes {
            // From here on a position in the list of locked shards.
            change.shard = shards.binary_search(&change.shard).unwrap_or(0);
        }
        self.conditions.place(&shards);
        self.frame.finish();
        let conditions = self.conditions;
        Ok(Some(Prepared {
            frame: self.frame,
            changes,
            order,
            first_deadline_ms: self.first_deadline_ms,
            conditions,
            shards,
            payload_bytes,
        }))
    }
}

/// A batch that is ready to be locked and written.
#[derive(Debug)]
pub(crate) struct Prepared {
    frame: Frame,
    /// In the order of the batch.
    changes: Vec<Change>,
    /// Their numbers, shard by shard, in the order of the batch in each.
    order: Vec<usize>,
    pub(crate) first_deadline_ms: u64,
    conditions: Conditions,
    shards: Vec<usize>,
    payload_bytes: usize,
}

#[derive(Debug)]
struct Change {
    op: Op,
    hash: u64,
    shard: usize,
    large: Option<Arc<[u8]>>,
}

/// A change's record is asked for so many changes ahead, its line of the index twice as many.
const AHEAD: usize = 8;

/// The locked shards of a batch, ascending.
pub(crate) type Locked<'a> = Vec<WriteGuard<'a>>;

impl Prepared {
    /// Conditions and nothing else.
    pub(crate) fn is_check_only(&self) -> bool {
        self.changes.is_empty()
    }

    /// [`Error::ConditionFailed`] with the first condition that does not hold. Else the latest deadline of
    /// what counts as absent because it has expired, or 0.
    pub(crate) fn check_conditions(
        &self,
        locked: &Locked<'_>,
        expiry: Option<&Expiry>,
    ) -> (Result<()>, u64) {
        self.conditions.check(locked, expiry)
    }

    /// The hashes of all keys that are changed or looked at.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.changes.iter().map(|change| change.hash).chain(self.conditions.hashes())
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    pub(crate) fn frame(&mut self) -> &mut Frame {
        &mut self.frame
    }

    pub(crate) fn lock<'a>(&self, map: &'a Map) -> Locked<'a> {
        map.end_biases(self.shards.iter().copied());
        self.shards.iter().map(|index| map.write(*index)).collect()
    }

    /// Puts aside what open views show of the keys that change.
    #[cold]
    pub(crate) fn keep(&self, map: &Map, views: &Views, locked: &Locked<'_>) {
        let bytes = self.frame.bytes();
        for change in &self.changes {
            let key = bytes.get(change.op.key.clone()).unwrap_or_default();
            if let (Some(index), Some(shard)) =
                (self.shards.get(change.shard), locked.get(change.shard))
            {
                views.keep(map, *index, shard, change.hash, key);
            }
        }
    }

    /// Reserves, shard by shard, what all changes together need.
    pub(crate) fn reserve(&mut self, locked: &mut Locked<'_>) -> Result<()> {
        let change = |number: &usize| self.changes.get(*number);
        let shard_of = |number: &usize| change(number).map_or(0, |change| change.shard);
        for of_shard in self.order.chunk_by(|one, next| shard_of(one) == shard_of(next)) {
            let Some(shard) = of_shard.first().and_then(|first| locked.get_mut(shard_of(first)))
            else {
                continue;
            };
            let sets = of_shard.iter().filter_map(change).filter_map(|change| {
                let value = change.op.value.as_ref()?;
                Some((change.hash, change.op.key.len(), value.len()))
            });
            shard.reserve_all(sets).map_err(|_| Error::OutOfMemory)?;
        }
        Ok(())
    }

    /// Announces all changes to who reads without a lock.
    pub(crate) fn announce(&self, locked: &Locked<'_>) {
        for change in &self.changes {
            if let Some(shard) = locked.get(change.shard) {
                shard.announce(change.hash);
            }
        }
    }

    /// What watches are told of it.
    pub(crate) fn notice(&mut self, core: &Core, locked: &Locked<'_>) -> Notice {
        let bytes = self.frame.body().as_slice();
        let made = |change: &Change| {
            let range = change.op.value.clone()?;
            Some(Noticed::new(bytes.get(range).unwrap_or_default(), change.large.as_ref()))
        };
        let mut notice = Notice::default();
        // A key that the batch changes twice had the first value in between.
        let mut earlier: HashMap<&[u8], &Change> = HashMap::new();
        for change in &self.changes {
            let Some(shard) = locked.get(change.shard) else { continue };
            let key = bytes.get(change.op.key.clone()).unwrap_or_default();
            let old = match earlier.insert(key, change) {
                Some(before) => made(before),
                None => shard.get(change.hash, key).map(Noticed::from),
            };
            core.add_notice(&mut notice, key, old, made(change));
        }
        notice
    }

    /// Makes the changes, those of a key in their order; what they replaced is for [`Map::free`], without a lock.
    ///
    /// A change waits for two lines of memory in a row, and depends on no other: so the line of the index is asked for some
    /// changes ahead, and the record some fewer.
    pub(crate) fn apply(&mut self, locked: &mut Locked<'_>) -> Vec<Garbage> {
        let mut garbage = Vec::new();
        for at in 0..self.order.len() + 2 * AHEAD {
            if let Some((shard, change)) = self.change_at(Some(at), locked) {
                shard.prefetch_index(change.hash);
            }
            if let Some((shard, change)) = self.change_at(at.checked_sub(AHEAD), locked) {
                shard.prefetch_record(change.hash);
            }
            let number = at.checked_sub(2 * AHEAD).and_then(|at| self.order.get(at));
            let Some(change) = number.and_then(|number| self.changes.get_mut(*number)) else {
                continue;
            };
            let Some(shard) = locked.get_mut(change.shard) else { continue };
            let bytes = self.frame.bytes();
            let key = bytes.get(change.op.key.clone()).unwrap_or_default();
            let mut freed = Garbage::default();
            match (&change.op.value, change.large.take()) {
                (Some(_), Some(shared)) => {
                    shard.set(change.hash, key, &NewValue::Large(shared), &mut freed)
                }
                (Some(range), None) => {
                    let value = bytes.get(range.clone()).unwrap_or_default();
                    shard.set(change.hash, key, &NewValue::Inline(value), &mut freed)
                }
                (None, _) => shard.remove(change.hash, key, &mut freed),
            };
            if !freed.is_empty() {
                garbage.push(freed);
            }
        }
        garbage
    }

    /// A change of [`Prepared::order`] with its shard.
    fn change_at<'a>(
        &'a self,
        at: Option<usize>,
        locked: &'a Locked<'_>,
    ) -> Option<(&'a WriteGuard<'a>, &'a Change)> {
        let change = self.changes.get(*self.order.get(at?)?)?;
        Some((locked.get(change.shard)?, change))
    }
}
