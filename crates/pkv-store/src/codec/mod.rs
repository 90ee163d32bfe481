//! How typed keys and values become bytes and come back.
//!
//! [`Encode`] and [`Decode`] are the two ways, both fallible; [`Schema`] names the pair, and the
//! name is kept in every file, so that opening a folder with other types is an error and not a
//! misread. [`Key`] and [`Value`] are all three together and come by themselves. Nothing here does
//! I/O, adds a checksum or limits a size: the store does that with the finished bytes.
//!
//! # What is built in
//!
//! | type | schema name | bytes |
//! |---|---|---|
//! | `u8` `u16` `u32` `u64` `u128` `i8` `i16` `i32` `i64` `i128` | `u8`, `i64`, ... | little-endian, fixed width |
//! | [`NonZero`](std::num::NonZero) of these | `nonzero_u8`, `nonzero_i64`, ... | those of the integer, never all zero |
//! | `bool` | `bool` | one byte, 0 or 1 |
//! | `char` | `char` | its code point as a `u32` |
//! | `f32` `f64` | `f32`, `f64` | the bits of the value, little-endian |
//! | `String` `str` `Box<str>` | `string` | UTF-8, nothing added |
//! | `Vec<u8>` `[u8]` `Box<[u8]>` | `bytes` | as they are |
//! | `[u8; N]` | `bytes16` for `N` = 16 | as they are |
//! | `Option<T>` | `option<T>` | 0, or 1 and then `T` |
//! | `()` | `()` | none; as the value it makes the map a set |
//! | `(A,)` to `(A, B, C, D, E, F)` | `(A,)`, `(A,B)`, ... | each field but the last preceded by its length, then the last |
//!
//! Behind the features `serde` and `prost`, off by default: `Serde<T>`, what serde encodes, in postcard's
//! bytes (`postcard:` and the name of `T`); `Proto<M>`, a message of prost (`protobuf:` and its full name).
//!
//! `A`, `B` and `T` in a schema name stand for the names of those types. The length of a field is
//! an unsigned LEB128 varint of its bytes, in the shortest form. A reference encodes as what it
//! refers to. `str` and `[u8]` are written and looked up with, but not decoded into, so they have
//! no name of their own.
//!
//! `usize` and `isize` are left out on purpose: their width differs between machines, and a folder
//! may be opened on another one. Take `u64` or `i64`.
//!
//! # One value, one encoding
//!
//! The store compares bytes, never values: a key is found, and `compare_and_set` succeeds, where
//! the encodings are equal. All types above are therefore *canonical*: equal values have equal
//! bytes, and bytes that [`Encode`] would not have written are refused by [`Decode`]. Floats alone
//! compare otherwise in Rust than here: `-0.0` and `0.0` are two keys, and a NaN equals a NaN of
//! the same bits.
//!
//! # Cost
//!
//! Encoding appends to a buffer that the store reuses, and decoding of anything but `String`,
//! `Vec<u8>` and boxes allocates nothing. What is allocated never exceeds the bytes given: no
//! length in them is believed before it was held against what is there. A tuple's field of more
//! than 127 bytes that is not the last is moved once to make room for its length, so put the long
//! field last.
//!
//! # Your own types
//!
//! The shortest way is to hand the work to a tuple of the fields:
//!
//! ```
//! use std::borrow::Cow;
//! use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema, Value};
//!
//! #[derive(Debug, PartialEq)]
//! struct Account {
//!     owner: String,
//!     balance_cents: i64,
//! }
//!
//! impl Encode for Account {
//!     fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
//!         if self.owner.is_empty() {
//!             return Err(EncodeError::rejected("account.1", "the owner is empty"));
//!         }
//!         (self.balance_cents, self.owner.as_str()).encode(out)
//!     }
//! }
//!
//! impl Decode for Account {
//!     fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
//!         let (balance_cents, owner): (i64, String) = Decode::decode(bytes)?;
//!         if owner.is_empty() {
//!             return Err(DecodeError::invalid("account.1", bytes.len(), "the owner is empty"));
//!         }
//!         Ok(Self { owner, balance_cents })
//!     }
//! }
//!
//! impl Schema for Account {
//!     // The number is raised when the layout changes; see "Types that change".
//!     fn schema() -> Cow<'static, str> {
//!         Cow::Borrowed("account.1")
//!     }
//! }
//!
//! fn fits_in_a_store<V: Value>() {}
//! fits_in_a_store::<Account>();
//! fits_in_a_store::<Option<(Account, u8)>>();
//!
//! let account = Account { owner: "alice".into(), balance_cents: -250 };
//! let mut bytes = Vec::new();
//! account.encode(&mut bytes)?;
//! assert_eq!(Account::decode(&bytes)?, account);
//!
//! bytes.truncate(4);
//! assert_eq!(
//!     Account::decode(&bytes).unwrap_err().to_string(),
//!     "cannot decode (i64,string) from 4 bytes: the length of a field exceeds the bytes that follow; \
//!      open the store with the types it was written with",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Types that change
//!
//! A schema name may end in a version: `account.1`. When the encoding of a value type changes, its name
//! gets the next one, and [`Schema::upgrade`] says how to read what an older one has written. A folder of
//! an older version then opens, where [`Schema::can_upgrade`] says so; without that, and for keys, it is
//! [`Error::WrongType`](crate::Error::WrongType).
//!
//! ```
//! # use std::borrow::Cow;
//! # use pkv_store::Store;
//! # use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema};
//! #[derive(Debug, PartialEq)]
//! struct Balance {
//!     cents: i64,
//!     currency: [u8; 3],
//! }
//!
//! impl Encode for Balance {
//!     fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
//!         (self.cents, self.currency).encode(out)
//!     }
//! }
//!
//! impl Decode for Balance {
//!     fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
//!         let (cents, currency) = Decode::decode(bytes)?;
//!         Ok(Self { cents, currency })
//!     }
//! }
//!
//! impl Schema for Balance {
//!     fn schema() -> Cow<'static, str> {
//!         "balance.2".into()
//!     }
//!
//!     fn can_upgrade(version: u32) -> bool {
//!         version == 1
//!     }
//!
//!     // Version 1 was a number of cents, in one currency.
//!     fn upgrade(_version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
//!         Ok(Self { cents: i64::decode(bytes)?, currency: *b"EUR" })
//!     }
//! }
//! # struct Balance1(i64);
//! # impl Encode for Balance1 {
//! #     fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> { self.0.encode(out) }
//! # }
//! # impl Decode for Balance1 {
//! #     fn decode(bytes: &[u8]) -> Result<Self, DecodeError> { i64::decode(bytes).map(Self) }
//! # }
//! # impl Schema for Balance1 {
//! #     fn schema() -> Cow<'static, str> { "balance.1".into() }
//! # }
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("balances");
//! # let old: Store<String, Balance1> = Store::open(&path)?;
//! # old.insert("alice", &Balance1(250))?;
//! # old.close()?;
//!
//! // Written by the program of last year:
//! let balances: Store<String, Balance> = Store::open(&path)?;
//! assert_eq!(balances.get("alice")?, Some(Balance { cents: 250, currency: *b"EUR" }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Values are upgraded while the folder is read, so that all values in memory, and all that is written
//! from then on, are of today's version; reads and comparisons know of nothing else. Files of the older
//! version stay until the next compaction, and are upgraded again by each opening before it. Once a file of
//! the new version was written, an older program cannot open the folder any more.

mod bytes;
mod compound;
mod error;
#[cfg(feature = "prost")]
mod proto;
mod scalar;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod upgrade;

use std::borrow::Cow;

pub use crate::expiry::StoredValue;
pub use error::{DecodeError, EncodeError};
#[cfg(feature = "prost")]
pub use proto::Proto;
#[cfg(feature = "serde")]
pub use serde::Serde;
pub(crate) use upgrade::{Upgrade, UpgradeError, family};
pub use upgrade::{is_same_type, split_version, without_deadlines};

/// Turns a key or value into bytes.
///
/// Types that borrow from each other encode alike (`String` and `str`; `Vec<u8>`, `[u8; N]` and
/// `[u8]`), so that a map with keys of the one can be searched with the other, as in
/// `std::collections::HashMap`. A type of your own that implements [`Borrow`](std::borrow::Borrow)
/// must keep to this, and its equal values must have equal bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be encoded as a key or value",
    note = "for a type of your own see the example in `pkv_store::codec`"
)]
pub trait Encode {
    /// Appends the encoding of `self` to `out`, whose bytes so far are left as they are.
    ///
    /// After an error `out` may end in a part of the encoding; the caller cuts it off.
    ///
    /// # Errors
    ///
    /// The built-in types have none of their own. [`EncodeError::Rejected`] is for types that hold
    /// values which must not be stored; [`EncodeError::BufferShrunk`] means that the implementation
    /// of a tuple's field is broken.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The encoding, where it stands in memory already, as that of text and bytes does: it is then used
    /// from there, without a copy. Exactly what [`Encode::encode`] would append, or `None`, which is
    /// always right.
    #[inline]
    fn as_encoded(&self) -> Option<&[u8]> {
        None
    }
}

/// Turns bytes that [`Encode`] wrote back into a key or value.
pub trait Decode: Sized {
    /// Decodes one value, which must take up all of `bytes`.
    ///
    /// An implementation must answer any bytes whatever without a panic and without allocating more
    /// than a small multiple of their length; it must refuse what its `encode` would not have
    /// written.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] where the bytes are not the encoding of a value of this type.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// Names an encoding, for ever.
pub trait Schema {
    /// The name that the store writes into its files and compares when they are opened again.
    ///
    /// It must stay as it is while the encoding does, and change with it. Take a short name without
    /// commas, parentheses and angle brackets, which the names of tuples and options are made of,
    /// and none from the table in the [module's documentation](self). The names of the key and of
    /// the value type share 420 bytes of a file's header.
    fn schema() -> Cow<'static, str>;

    /// Whether [`Schema::upgrade`] reads what this older version of the schema has written. A name without
    /// a version is version 0. Asked only for versions below today's, of value types.
    ///
    /// The default is no: then a folder of another version is not opened.
    #[must_use]
    fn can_upgrade(version: u32) -> bool {
        let _ = version;
        false
    }

    /// Decodes what an older version of the schema has written: see "Types that change" in the [module's
    /// documentation](self). It must answer any bytes, as [`Decode::decode`].
    ///
    /// A type made of others, such as a tuple or option, is not upgraded by its parts; wrap it in a type of
    /// your own.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] where the bytes are not what that version has written. The folder is then not
    /// opened, and nothing in it is changed.
    fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, DecodeError>
    where
        Self: Sized,
    {
        let reason = format!("there is no upgrade from version {version}");
        Err(DecodeError::invalid(Self::schema(), bytes.len(), reason))
    }
}

/// What a store can have as keys. Implemented for every type that has the three traits.
///
/// `usize` has not:
///
/// ```compile_fail,E0277
/// fn as_key<K: pkv_store::codec::Key>() {}
/// as_key::<usize>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a store",
    note = "`usize` and `isize` differ in width between machines: use `u64` or `i64`",
    note = "a store owns what it holds: use `String` for `str`, `Vec<u8>` for `[u8]`",
    note = "for a type of your own see the example in `pkv_store::codec`"
)]
pub trait Key: Encode + Decode + Schema {}

impl<T: Encode + Decode + Schema> Key for T {}

/// What a store can have as values. Implemented for every type that has the three traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a store",
    note = "`usize` and `isize` differ in width between machines: use `u64` or `i64`",
    note = "a store owns what it holds: use `String` for `str`, `Vec<u8>` for `[u8]`",
    note = "for a type of your own see the example in `pkv_store::codec`"
)]
pub trait Value: Encode + Decode + Schema {}

impl<T: Encode + Decode + Schema> Value for T {}

impl<T: Encode + ?Sized> Encode for &T {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        T::encode(self, out)
    }

    #[inline]
    fn as_encoded(&self) -> Option<&[u8]> {
        T::as_encoded(self)
    }
}
