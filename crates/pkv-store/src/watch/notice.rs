//! What a write tells its watchers: copied under the shard's lock, before anything is changed.

use std::sync::Arc;

use super::{Event, Old, Raw};
use crate::expiry::DEADLINE_BYTES;
use crate::map::ValueRef;

/// The changes of one write.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Key { key: Box<[u8]>, old: Option<Noticed>, new: Option<Noticed> },
    Clear,
}

/// A value in a notice; a large one is shared with the map.
#[derive(Clone, Debug)]
pub(crate) enum Noticed {
    Copied(Box<[u8]>),
    Shared(Arc<[u8]>),
    /// A value behind its deadline.
    Timed(Box<Noticed>),
}

impl Noticed {
    pub(crate) fn new(bytes: &[u8], shared: Option<&Arc<[u8]>>) -> Self {
        shared.map_or_else(|| Self::Copied(bytes.into()), |shared| Self::Shared(Arc::clone(shared)))
    }

    pub(crate) fn without_deadline(self) -> Self {
        Self::Timed(Box::new(self))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Noticed::Timed(stored) => stored.bytes().get(DEADLINE_BYTES..).unwrap_or_default(),
            Noticed::Copied(bytes) => bytes,
            Noticed::Shared(bytes) => bytes,
        }
    }
}

impl From<ValueRef<'_>> for Noticed {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Inline(bytes) => Self::Copied(bytes.into()),
            ValueRef::Large(bytes) => Self::Shared(Arc::clone(bytes)),
        }
    }
}

impl Notice {
    /// Of one key.
    #[cfg(test)]
    pub(crate) fn of(key: &[u8], old: Option<Noticed>, new: Option<Noticed>) -> Self {
        let mut notice = Self::default();
        notice.push(key, old, new);
        notice
    }

    /// Of a clear.
    pub(crate) fn of_clear() -> Self {
        Self { changes: vec![Change::Clear] }
    }

    /// Adds a change behind those there are. Removing what was not there is none.
    pub(crate) fn push(&mut self, key: &[u8], old: Option<Noticed>, new: Option<Noticed>) {
        if old.is_some() || new.is_some() {
            self.changes.push(Change::Key { key: key.into(), old, new });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The key of a change; `None` stands for all.
    pub(super) fn key(&self, index: usize) -> Option<&[u8]> {
        match self.changes.get(index) {
            Some(Change::Key { key, .. }) => Some(key),
            Some(Change::Clear) | None => None,
        }
    }

    fn event(&self, seq: u64, index: usize) -> Option<Raw<'_>> {
        Some(match self.changes.get(index)? {
            Change::Key { key, old, new } => {
                let old = old.as_ref().map_or(Old::Absent, |old| Old::Value(old.bytes()));
                match new {
                    Some(new) => Event::Set { seq, key, value: new.bytes(), old },
                    None => Event::Remove { seq, key, old },
                }
            }
            Change::Clear => Event::Clear { seq },
        })
    }
}

/// A notice with its write's number, shared by the queues.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) notice: Notice,
}

impl Told {
    pub(super) fn event(&self, index: usize) -> Option<Raw<'_>> {
        self.notice.event(self.seq, index)
    }
}
