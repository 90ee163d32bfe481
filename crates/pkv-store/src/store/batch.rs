//! Conditions of a batch.

use std::borrow::Borrow;

use super::{Batch, encoded, encoded_pair};
use crate::codec::{Encode, Key, Value};

/// # Conditions
///
/// They are checked on what the keys have just before the batch, all of them and at one moment, under the
/// locks under which the changes are made. If one does not hold, nothing is written, and the commit is
/// [`Error::ConditionFailed`](crate::Error::ConditionFailed) with the number of the first that does not,
/// counted from 0 in the order in which they were added. A batch of conditions alone writes nothing; it
/// tells whether they all hold at one moment.
///
/// ```
/// use pkv_store::{Error, Store};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("seats");
/// let seats: Store<String, String> = Store::open(&path)?;
/// seats.insert("1A", "free")?;
/// seats.insert("1B", "held by bob")?;
///
/// let book_both = || {
///     let batch = seats.batch().if_equals("1A", "free").if_equals("1B", "free");
///     batch.insert("1A", "alice").insert("1B", "alice").commit()
/// };
/// assert!(matches!(book_both(), Err(Error::ConditionFailed { index: 1, .. })));
/// assert_eq!(seats.get("1A")?.as_deref(), Some("free"));
///
/// seats.insert("1B", "free")?;
/// book_both()?;
/// assert_eq!(seats.get("1B")?.as_deref(), Some("alice"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<K: Key, V: Value> Batch<'_, K, V> {
    /// Makes the batch depend on this key having this value. Values are compared by their encoding.
    ///
    /// Cost: a copy of both until the commit, and then one look-up.
    pub fn if_equals<Q, W>(mut self, key: &Q, value: &W) -> Self
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        let conditions = self.ops.conditions();
        let added = encoded_pair(key, value, |key, value| conditions.equals(key, value));
        self.note(added);
        self
    }

    /// Makes the batch depend on this key being absent.
    pub fn if_absent<Q>(mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let conditions = self.ops.conditions();
        let added = encoded(key, |key| conditions.absent(key));
        self.note(added);
        self
    }

    /// Makes the batch depend on this key being there, with whatever value.
    pub fn if_present<Q>(mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let conditions = self.ops.conditions();
        let added = encoded(key, |key| conditions.present(key));
        self.note(added);
        self
    }
}
