//! Going over all entries while others write.

use pkv_format::decode_record;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::map::{Cursor, Map, SliceCopy};
use crate::reentry;
use crate::view::{Kept, ViewState};

/// All entries as bytes. See [`crate::Store::iter`].
#[derive(Debug)]
pub struct ByteIter<'a> {
    map: &'a Map,
    /// `None`: nobody writes to this map, so no closure of a write can be under way.
    core: Option<&'a Core>,
    /// What tells whether a value has expired; `None`: values are shown as they are stored.
    expiry: Option<&'a Expiry>,
    /// The moment that is shown; `None`: each slice as it is when its turn comes.
    view: Option<&'a ViewState>,
    shard: usize,
    end: usize,
    /// Where to go on in the shard; `None`: with the next shard.
    cursor: Option<Cursor>,
    copy: SliceCopy,
    /// How much of the copy was given out.
    offset: usize,
    large: usize,
    /// What the view has in place of keys of the copy, in the order of positions; and how much of it was
    /// given out.
    kept: Vec<(Cursor, Kept)>,
    kept_given: usize,
    /// The latest deadline of what was left out because it has expired.
    expired_ms: u64,
}

impl<'a> ByteIter<'a> {
    pub(crate) fn new(core: &'a Core, view: Option<&'a ViewState>) -> Self {
        Self { core: Some(core), expiry: core.expiry.as_ref(), view, ..Self::over(&core.map) }
    }

    /// Over one shard of a store.
    pub(crate) fn of_shard(core: &'a Core, view: Option<&'a ViewState>, shard: usize) -> Self {
        Self { shard, end: shard + 1, ..Self::new(core, view) }
    }

    /// Over a map without a store.
    pub(crate) fn over(map: &'a Map) -> Self {
        Self {
            map,
            core: None,
            expiry: None,
            view: None,
            shard: 0,
            end: map.shards(),
            cursor: Some(Cursor::default()),
            copy: SliceCopy::default(),
            offset: 0,
            large: 0,
            kept: Vec::new(),
            kept_given: 0,
            expired_ms: 0,
        }
    }

    /// The same without what has expired.
    pub(crate) fn with_expiry(self, expiry: Option<&'a Expiry>) -> Self {
        Self { expiry, ..self }
    }

    /// Calls `give` with the next entry.
    #[inline]
    pub(crate) fn next_with<R>(
        &mut self,
        give: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Option<Result<R>> {
        self.next_timed_with(|key, value, _| give(key, value))
    }

    /// Calls `give` with the next entry, and with its deadline where it has one.
    pub(crate) fn next_timed_with<R>(
        &mut self,
        give: impl FnOnce(&[u8], &[u8], Option<u64>) -> R,
    ) -> Option<Result<R>> {
        loop {
            let rest = self.copy.bytes.get(self.offset..).unwrap_or_default();
            if !rest.is_empty() {
                let Ok(record) = decode_record(rest) else {
                    return Some(Err(self.end_with(Error::OutOfMemory)));
                };
                self.offset += record.bytes_used;
                if is_elsewhere(self.map, &self.kept, self.cursor, record.key) {
                    continue;
                }
                let Some((value, expires_ms)) =
                    show(self.expiry, record.value, &mut self.expired_ms)
                else {
                    continue;
                };
                return Some(Ok(give(record.key, value, expires_ms)));
            }
            if let Some((key, value)) = self.copy.large().nth(self.large) {
                self.large += 1;
                if is_elsewhere(self.map, &self.kept, self.cursor, key) {
                    continue;
                }
                let Some((value, expires_ms)) = show(self.expiry, value, &mut self.expired_ms)
                else {
                    continue;
                };
                return Some(Ok(give(key, value, expires_ms)));
            }
            if let Some((_, kept)) = self.kept.get(self.kept_given) {
                self.kept_given += 1;
                let Some(value) = &kept.value else { continue };
                let Some((value, expires_ms)) = show(self.expiry, value, &mut self.expired_ms)
                else {
                    continue;
                };
                return Some(Ok(give(&kept.key, value, expires_ms)));
            }
            match self.copy_next() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(self.end_with(error))),
            }
        }
    }

    /// Nothing comes after an error.
    fn end_with(&mut self, error: Error) -> Error {
        self.shard = self.end;
        self.copy.clear();
        self.kept.clear();
        error
    }

    /// Copies the next slice, under its shard's read lock. False: there is none.
    fn copy_next(&mut self) -> Result<bool> {
        if self.shard >= self.end {
            return Ok(false);
        }
        if let Some(core) = self.core {
            reentry::check(core)?;
            core.ready_all()?;
        }
        if let Some(core) = self.core.filter(|_| self.expired_ms > 0) {
            core.record_time_if_possible(self.expired_ms);
        }
        self.copy.clear();
        self.kept.clear();
        (self.offset, self.large, self.kept_given) = (0, 0, 0);
        if self.cursor.is_none() {
            self.shard += 1;
            self.cursor = Some(Cursor::default());
        }
        let Some(cursor) = self.cursor.filter(|_| self.shard < self.end) else {
            return Ok(false);
        };
        self.cursor = if let Some(view) = self.view {
            view.copy_slice(self.map, self.shard, cursor, &mut self.copy, &mut self.kept)?
        } else {
            let shard = self.map.read(self.shard);
            shard.copy_slice(cursor, &mut self.copy).map_err(|_| Error::OutOfMemory)?
        };
        Ok(true)
    }
}

/// What is to be shown of a stored value, and its deadline.
#[inline]
fn show<'v>(
    expiry: Option<&Expiry>,
    stored: &'v [u8],
    expired_ms: &mut u64,
) -> Option<(&'v [u8], Option<u64>)> {
    expiry.map_or(Some((stored, None)), |expiry| expiry.show_timed(stored, expired_ms))
}

/// Whether a view has something else in place of this key's entry in the map, or the next slice has it: that
/// one may begin amid a bucket where something was put aside.
#[inline]
fn is_elsewhere(map: &Map, kept: &[(Cursor, Kept)], next: Option<Cursor>, key: &[u8]) -> bool {
    if kept.is_empty() {
        return false;
    }
    let at = map.cursor(map.hash(key));
    if next.is_some_and(|next| at >= next) {
        return true;
    }
    let first = kept.partition_point(|(other, _)| *other < at);
    kept.get(first..)
        .unwrap_or_default()
        .iter()
        .take_while(|(other, _)| *other == at)
        .any(|(_, kept)| *kept.key == *key)
}

impl Iterator for ByteIter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|key, value| (key.to_vec(), value.to_vec()))
    }
}
