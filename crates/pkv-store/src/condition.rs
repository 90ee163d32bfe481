//! What must hold for a batch to be made. It is checked under the locks under which the batch is made, so
//! that nothing can come between.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::expiry::{Expiry, shown};
use crate::map::{Map, WriteGuard};
use crate::write::check_key;

/// The conditions of a batch, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// Keys and expected values, one behind the other.
    bytes: Vec<u8>,
    all: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    key: Range<usize>,
    expected: Expected,
    hash: u64,
    /// The key's shard; once the batch is prepared, its position among the locked ones.
    shard: usize,
}

/// What a key must be; the range is that of the value in the buffer.
#[derive(Debug)]
enum Expected {
    Value(Range<usize>),
    Absent,
    Present,
}

impl Conditions {
    pub(crate) fn equals(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let start = self.bytes.len() + key.len();
        self.push(key, Expected::Value(start..start + value.len()))?;
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    pub(crate) fn absent(&mut self, key: &[u8]) -> Result<()> {
        self.push(key, Expected::Absent)
    }

    pub(crate) fn present(&mut self, key: &[u8]) -> Result<()> {
        self.push(key, Expected::Present)
    }

    fn push(&mut self, key: &[u8], expected: Expected) -> Result<()> {
        check_key(key)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.all.push(Condition { key: start..self.bytes.len(), expected, hash: 0, shard: 0 });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The hashes of all keys, behind [`Conditions::find_shards`].
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|condition| condition.hash)
    }

    /// Hashes every key; adds its shard to those that are to be locked.
    pub(crate) fn find_shards(&mut self, map: &Map, shards: &mut Vec<usize>) {
        for condition in &mut self.all {
            let key = self.bytes.get(condition.key.clone()).unwrap_or_default();
            condition.hash = map.hash(key);
            condition.shard = map.shard_index(condition.hash);
            shards.push(condition.shard);
        }
    }

    /// Turns shards into positions among those that will be locked.
    pub(crate) fn place(&mut self, locked: &[usize]) {
        for condition in &mut self.all {
            condition.shard = locked.binary_search(&condition.shard).unwrap_or(0);
        }
    }

    /// [`Error::ConditionFailed`] with the first one that does not hold; values are compared as bytes. And the
    /// latest deadline of what counted as absent because it has expired, or 0.
    pub(crate) fn check(
        &self,
        locked: &[WriteGuard<'_>],
        expiry: Option<&Expiry>,
    ) -> (Result<()>, u64) {
        let mut expired_ms = 0;
        let checked = self.check_each(locked, expiry, &mut expired_ms);
        (checked, expired_ms)
    }

    fn check_each(
        &self,
        locked: &[WriteGuard<'_>],
        expiry: Option<&Expiry>,
        expired_ms: &mut u64,
    ) -> Result<()> {
        for (index, condition) in self.all.iter().enumerate() {
            let key = self.bytes.get(condition.key.clone()).unwrap_or_default();
            let current =
                locked.get(condition.shard).and_then(|shard| shard.get(condition.hash, key));
            let current = shown(expiry, current, expired_ms);
            let found = match (&condition.expected, current) {
                (Expected::Value(value), Some(current))
                    if self.bytes.get(value.clone()) != Some(current) =>
                {
                    "the key has another value"
                }
                (Expected::Value(_) | Expected::Present, None) => "the key is absent",
                (Expected::Absent, Some(_)) => "the key is there",
                _ => continue,
            };
            return Err(Error::ConditionFailed { index, found });
        }
        Ok(())
    }
}
