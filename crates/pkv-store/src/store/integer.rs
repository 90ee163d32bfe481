//! Counters.

use std::borrow::Borrow;

use super::{Store, encoded};
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::write::{Decision, Prepare};

/// The integers that a store can count with: `u8` to `u128` and `i8` to `i128`.
pub trait Integer: Value + Copy + Default + sealed::Sealed {
    /// The sum, unless it does not fit.
    #[doc(hidden)]
    fn sum(self, by: Self) -> Option<Self>;

    /// The difference, unless it does not fit.
    #[doc(hidden)]
    fn difference(self, by: Self) -> Option<Self>;
}

mod sealed {
    /// Nothing outside of this file can be an [`super::Integer`], so that it may grow.
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ident)+) => {$(
        impl sealed::Sealed for $integer {}

        impl Integer for $integer {
            #[inline]
            fn sum(self, by: Self) -> Option<Self> {
                self.checked_add(by)
            }

            #[inline]
            fn difference(self, by: Self) -> Option<Self> {
                self.checked_sub(by)
            }
        }
    )+};
}

integers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

impl<K: Key, V: Integer> Store<K, V> {
    /// Adds to a number, atomically; an absent one counts as 0. Returns the new number.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("likes");
    /// let likes: pkv_store::Store<String, u32> = pkv_store::Store::open(&path)?;
    /// assert_eq!(likes.increment("first post", 1)?, 1);
    /// assert_eq!(likes.increment("first post", 2)?, 3);
    /// assert!(likes.decrement("first post", 4).is_err());
    /// assert_eq!(likes.get("first post")?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Overflow`] where the sum does not fit the type; the number stays as it was. Otherwise as
    /// [`Store::update`].
    pub fn increment<Q>(&self, key: &Q, by: V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.increment_with(key, by, self.durability)
    }

    /// [`Store::increment`] with a durability of its own.
    pub fn increment_with<Q>(&self, key: &Q, by: V, durability: Durability) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.count(key, durability, |number| number.sum(by))
    }

    /// Subtracts from a number, atomically; otherwise as [`Store::increment`]. A number that reaches 0
    /// stays in the store.
    pub fn decrement<Q>(&self, key: &Q, by: V) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.decrement_with(key, by, self.durability)
    }

    /// [`Store::decrement`] with a durability of its own.
    pub fn decrement_with<Q>(&self, key: &Q, by: V, durability: Durability) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.count(key, durability, |number| number.difference(by))
    }

    fn count<Q>(
        &self,
        key: &Q,
        durability: Durability,
        change: impl Fn(V) -> Option<V>,
    ) -> Result<V>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        let mut new = V::default();
        encoded(key, |key| {
            self.bytes.write_one(key, Prepare::Nothing, durability, |current, buffer| {
                let number = current.map_or(Ok(V::default()), V::decode)?;
                new = change(number).ok_or_else(|| Error::Overflow { schema: V::schema() })?;
                buffer.clear();
                new.encode(buffer)?;
                Ok(Decision::Set)
            })
        })?;
        Ok(new)
    }
}
