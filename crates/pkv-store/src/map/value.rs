//! A value on its way into a shard, in it, and out of it.

use std::sync::Arc;

use super::record::lossless;
use super::{INLINE_VALUE_BYTES_MAX, OutOfMemory, Shard};

/// A value on its way into a shard, made before any lock is taken.
#[derive(Clone, Debug)]
pub(crate) enum NewValue<'a> {
    /// At most [`INLINE_VALUE_BYTES_MAX`]: copied into the shard.
    Inline(&'a [u8]),
    /// Longer: kept as it is.
    Large(Arc<[u8]>),
}

impl<'a> NewValue<'a> {
    /// Takes a value; a long one is copied.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<NewValue<'a>, OutOfMemory> {
        if Self::is_inline(bytes.len()) {
            return Ok(NewValue::Inline(bytes));
        }
        try_allocate(bytes.len())?;
        Ok(NewValue::Large(Arc::from(bytes)))
    }

    /// Is a value of this length stored in a chunk?
    #[inline]
    pub(crate) const fn is_inline(value_len: usize) -> bool {
        value_len <= INLINE_VALUE_BYTES_MAX
    }

    /// The value's length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            NewValue::Inline(bytes) => bytes.len(),
            NewValue::Large(bytes) => bytes.len(),
        }
    }
}

/// Whether there is memory for a large value. `Arc` has no fallible constructor: a trial of the same size turns all but a race
/// into an error.
pub(super) fn try_allocate(bytes: usize) -> Result<(), OutOfMemory> {
    let mut trial: Vec<u8> = Vec::new();
    trial.try_reserve_exact(bytes).map_err(|_| OutOfMemory { bytes: lossless(bytes) })
}

/// A value in a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueRef<'a> {
    /// Bytes in a chunk: to be copied before unlocking.
    Inline(&'a [u8]),
    /// A shared allocation: take a reference and unlock.
    Large(&'a Arc<[u8]>),
}

impl<'a> ValueRef<'a> {
    /// The value's bytes.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        match self {
            ValueRef::Inline(bytes) => bytes,
            ValueRef::Large(bytes) => bytes,
        }
    }
}

/// Memory that a change made free, for [`super::Map::free`] after unlocking: unmapping it takes long.
#[derive(Debug, Default)]
#[must_use = "dropped under the lock, it stalls the shard"]
pub(crate) struct Garbage {
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) chunk: Box<[u8]>,
    pub(super) contents: Option<Box<Shard>>,
}

impl Garbage {
    /// Whether nothing became free.
    pub(crate) fn is_empty(&self) -> bool {
        self.value.is_none() && self.chunk.is_empty() && self.contents.is_none()
    }

    /// A shard's contents, where that is what became free; else all of it back.
    pub(crate) fn into_contents(mut self) -> Result<Box<Shard>, Garbage> {
        self.contents.take().ok_or(self)
    }

    /// Contents that nobody needs any more.
    pub(crate) fn of_contents(contents: Shard) -> Garbage {
        Garbage { contents: Some(Box::new(contents)), ..Garbage::default() }
    }
}
