//! The body of a data frame: one or more operations.

use alloc::vec::Vec;

use crate::bytes::narrow;
use crate::error::BadBody;
use crate::layout::{KEY_BYTES_MAX, MAP_ID, TAG_CLEAR, TAG_REMOVE, TAG_SET};
use crate::varint::{self, BadVarint};

/// One change of the map. It holds a result and no difference, so that doing it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The key has this value.
    Set {
        /// The key, at most [`KEY_BYTES_MAX`] bytes.
        key: &'a [u8],
        /// The value; an empty value is a value.
        value: &'a [u8],
    },
    /// The key is not there.
    Remove {
        /// The key, at most [`KEY_BYTES_MAX`] bytes.
        key: &'a [u8],
    },
    /// No key is there.
    Clear,
}

/// Appends a set to a body.
///
/// The caller keeps to the limits ([`KEY_BYTES_MAX`], [`crate::FRAME_BODY_BYTES_MAX`]): beyond them the bytes
/// are still whole, but refused when read.
#[inline]
pub fn push_set(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    body.reserve(key.len().saturating_add(value.len()).saturating_add(HEAD_BYTES_MAX));
    if let (Some(key_bytes), Some(value_bytes)) = (short_length(key), short_length(value)) {
        body.extend_from_slice(&[TAG_SET, MAP_ID, key_bytes, value_bytes]);
    } else {
        body.extend_from_slice(&[TAG_SET, MAP_ID]);
        varint::push_length(body, key.len());
        varint::push_length(body, value.len());
    }
    body.extend_from_slice(key);
    body.extend_from_slice(value);
}

/// Appends a remove to a body; limits as for [`push_set`].
#[inline]
pub fn push_remove(body: &mut Vec<u8>, key: &[u8]) {
    body.reserve(key.len().saturating_add(HEAD_BYTES_MAX));
    body.extend_from_slice(&[TAG_REMOVE, MAP_ID]);
    varint::push_length(body, key.len());
    body.extend_from_slice(key);
}

/// Appends a clear to a body.
#[inline]
pub fn push_clear(body: &mut Vec<u8>) {
    body.extend_from_slice(&[TAG_CLEAR, MAP_ID]);
}

/// Tag, map id and two lengths of at most five bytes, whatever the limits allow.
const HEAD_BYTES_MAX: usize = 12;

/// The length as a varint of one byte, if it is one.
#[inline]
fn short_length(bytes: &[u8]) -> Option<u8> {
    u8::try_from(bytes.len()).ok().filter(|length| *length < 0x80)
}

/// The operations of a data body, in order. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    body_bytes: usize,
    rest: &'a [u8],
    done: bool,
}

impl<'a> Operations<'a> {
    /// Reads a data body. An empty body is an error, since a data frame holds at least one operation.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Operations<'a> {
        Operations { body_bytes: body.len(), rest: body, done: false }
    }

    #[inline]
    fn decode(&mut self) -> Result<Operation<'a>, BadBody> {
        let at = self.body_bytes.saturating_sub(self.rest.len());
        let bad = |why| match why {
            BadVarint::Truncated => BadBody::Truncated { at },
            BadVarint::Malformed => BadBody::Varint { at },
        };
        let take = |bytes: &'a [u8], length: u32| {
            bytes.split_at_checked(narrow(length)).ok_or(BadBody::Truncated { at })
        };
        let key_length = |bytes: &'a [u8]| match varint::decode(bytes) {
            Ok((key_bytes, _)) if narrow(key_bytes) > KEY_BYTES_MAX => {
                Err(BadBody::KeyLength { at, key_bytes })
            }
            other => other.map_err(bad),
        };

        let (&tag, rest) = self.rest.split_first().ok_or(BadBody::Empty)?;
        if !(TAG_SET..=TAG_CLEAR).contains(&tag) {
            return Err(BadBody::Tag { at, tag });
        }
        let (map_id, rest) = varint::decode(rest).map_err(bad)?;
        if map_id != u32::from(MAP_ID) {
            return Err(BadBody::MapId { at, map_id });
        }
        let (operation, rest) = match tag {
            TAG_SET => {
                let (key_bytes, rest) = key_length(rest)?;
                let (value_bytes, rest) = varint::decode(rest).map_err(bad)?;
                let (key, rest) = take(rest, key_bytes)?;
                let (value, rest) = take(rest, value_bytes)?;
                (Operation::Set { key, value }, rest)
            }
            TAG_REMOVE => {
                let (key_bytes, rest) = key_length(rest)?;
                let (key, rest) = take(rest, key_bytes)?;
                (Operation::Remove { key }, rest)
            }
            _ => (Operation::Clear, rest),
        };
        self.rest = rest;
        Ok(operation)
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, BadBody>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done || (self.rest.is_empty() && self.body_bytes > 0) {
            return None;
        }
        let operation = self.decode();
        self.done = operation.is_err();
        Some(operation)
    }
}

impl core::iter::FusedIterator for Operations<'_> {}
