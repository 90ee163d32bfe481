//! One key, and what becomes of it whether it is there or not.

use std::borrow::Borrow;

use super::{Store, encoded};
use crate::codec::{Encode, Key, Value};
use crate::error::Result;
use crate::options::Durability;
use crate::write::{Decision, Prepare};

/// One key of a [`Store`]. See [`Store::entry`].
#[must_use = "an entry is a key, and does nothing by itself"]
pub struct Entry<'a, K, V, Q: ?Sized> {
    store: &'a Store<K, V>,
    key: &'a Q,
    durability: Durability,
}

/// An [`Entry`] whose value will be changed if it is there. See [`Entry::and_modify`].
#[must_use = "nothing is changed before it is said what to do if the key is absent"]
pub struct ModifiedEntry<'a, K, V, Q: ?Sized, F> {
    entry: Entry<'a, K, V, Q>,
    modify: F,
}

impl<K, V, Q: ?Sized> std::fmt::Debug for Entry<'_, K, V, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("durability", &self.durability).finish_non_exhaustive()
    }
}

impl<K, V, Q: ?Sized, F> std::fmt::Debug for ModifiedEntry<'_, K, V, Q, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModifiedEntry").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// One key, in the way of [`std::collections::HashMap::entry`]: each call that ends it is one atomic
    /// change of the key.
    ///
    /// Other than there an entry borrows the key and holds no lock: whether the key is there is asked when
    /// the change is made. So there is no `match` on vacant and occupied, and two entries of one key do
    /// not wait for each other.
    ///
    /// ```
    /// use pkv_store::Store;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("words");
    /// let words: Store<String, u64> = Store::open(&path)?;
    /// for word in ["to", "be", "or", "not", "to", "be"] {
    ///     words.entry(word).and_modify(|count| *count += 1).or_insert(1)?;
    /// }
    /// assert_eq!(words.get("be")?, Some(2));
    /// assert_eq!(words.entry("that").or_default()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entry<'a, Q>(&'a self, key: &'a Q) -> Entry<'a, K, V, Q>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        Entry { store: self, key, durability: self.durability }
    }

    /// The value of a key, which is set to what `make` returns if it is absent.
    ///
    /// `make` runs with no lock held, at most once, and may call the store. If another thread sets the key
    /// meanwhile, that value is returned and the one that was made is dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Store::get`] and [`Store::insert`].
    pub fn get_or_insert_with<Q>(&self, key: &Q, make: impl FnOnce() -> V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.entry(key).or_insert_with(make)
    }
}

impl<'a, K: Key, V: Value, Q: Encode + ?Sized> Entry<'a, K, V, Q>
where
    K: Borrow<Q>,
{
    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a Q {
        self.key
    }

    /// The durability of what will be written, in place of the store's default.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Changes the value if the key is there. What is done if not is said next: by
    /// [`ModifiedEntry::or_insert`] or one of its kind.
    ///
    /// `modify` runs with the key's shard locked: keep it short. It may run more than once, each time on
    /// the value as it is then, when the log has no room just then.
    pub fn and_modify<F: FnMut(&mut V)>(self, modify: F) -> ModifiedEntry<'a, K, V, Q, F> {
        ModifiedEntry { entry: self, modify }
    }

    /// The value, which is set to `default` if the key is absent.
    pub fn or_insert(self, default: V) -> Result<V> {
        self.or_insert_with(|| default)
    }

    /// The value, which is set to [`Default::default`] if the key is absent.
    pub fn or_default(self) -> Result<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value, which is set to what `make` returns if the key is absent. See
    /// [`Store::get_or_insert_with`].
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<V> {
        match self.store.get(self.key)? {
            Some(value) => Ok(value),
            None => self.change_or_insert(None, make),
        }
    }

    /// Changes or inserts, as one step.
    ///
    /// `make` must not run under the lock, and not where the key is there. So a first look that finds the
    /// key absent ends without a change, and the next one has the value at hand; in between the key may
    /// have come.
    fn change_or_insert(
        &self,
        mut modify: Option<&mut dyn FnMut(&mut V)>,
        make: impl FnOnce() -> V,
    ) -> Result<V> {
        let mut make = Some(make);
        let mut made: Option<V> = None;
        loop {
            let mut current: Option<V> = None;
            encoded(self.key, |key| {
                self.store.bytes.write_one(
                    key,
                    Prepare::Nothing,
                    self.durability,
                    |found, buffer| {
                        current = self.store.decode_inside(found)?;
                        let value = match (&mut current, &mut modify, &made) {
                            (Some(value), Some(modify), _) => {
                                self.store.bytes.run_closure(|| modify(value));
                                &*value
                            }
                            (None, _, Some(made)) => made,
                            (Some(_), None, _) | (None, _, None) => return Ok(Decision::Keep),
                        };
                        buffer.clear();
                        self.store.bytes.run_closure(|| value.encode(buffer))?;
                        Ok(Decision::Set)
                    },
                )
            })?;
            if let Some(value) = current.or_else(|| made.take()) {
                return Ok(value);
            }
            made = make.take().map(|make| make());
        }
    }
}

impl<K: Key, V: Value, Q: Encode + ?Sized, F: FnMut(&mut V)> ModifiedEntry<'_, K, V, Q, F>
where
    K: Borrow<Q>,
{
    /// Sets the key to `default` if it is absent. Returns the value that it has then.
    ///
    /// # Errors
    ///
    /// Those of [`Store::update`].
    pub fn or_insert(self, default: V) -> Result<V> {
        self.or_insert_with(|| default)
    }

    /// Sets the key to [`Default::default`] if it is absent. Returns the value that it has then.
    pub fn or_default(self) -> Result<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Sets the key to what `make` returns if it is absent. Returns the value that it has then. `make`
    /// runs with no lock held and at most once, and in vain if another thread sets the key meanwhile.
    pub fn or_insert_with(mut self, make: impl FnOnce() -> V) -> Result<V> {
        self.entry.change_or_insert(Some(&mut self.modify), make)
    }

    /// Leaves an absent key absent. Returns the value that it has then.
    pub fn or_leave(mut self) -> Result<Option<V>> {
        let Entry { store, key, durability } = self.entry;
        store.update_with(key, durability, |value| {
            let mut value = value?;
            (self.modify)(&mut value);
            Some(value)
        })
    }
}
