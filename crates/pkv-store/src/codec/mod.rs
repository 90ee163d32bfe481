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
//!     // The digit is raised when the layout changes; old folders are then refused instead of misread.
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

mod bytes;
mod compound;
mod error;
mod scalar;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use error::{DecodeError, EncodeError};

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
