//! One key with its value, as it stands in a snapshot's block and, with flags, in a map's memory.

use alloc::vec::Vec;

use crate::bytes::{is_zero, narrow, padded, wide};
use crate::error::BadRecord;
use crate::layout::{KEY_BYTES_MAX, RECORD_ALIGN_BYTES, RECORD_FLAGS_MASK};
use crate::varint::{self, BadVarint};

/// A key with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// How many bytes the record takes, with its padding.
    pub bytes_used: usize,
    /// The two lowest bits of the record's first byte: 0 on disk, the map's own in memory.
    pub flags: u8,
}

/// How many bytes a record takes, with its padding.
#[inline]
#[must_use]
pub const fn record_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    // Short lengths, as most are, take a byte each.
    if key_bytes < 0x80 / 4 && value_bytes < 0x80 {
        return padded(2 + key_bytes + value_bytes, RECORD_ALIGN_BYTES);
    }
    let heads = varint_bytes(key_bytes.saturating_mul(4)) + varint_bytes(value_bytes);
    padded(key_bytes.saturating_add(value_bytes).saturating_add(heads), RECORD_ALIGN_BYTES)
}

/// How many bytes a length takes as a varint.
#[inline]
#[expect(clippy::as_conversions, reason = "lossless, and `u64::try_from` is not const")]
const fn varint_bytes(length: usize) -> usize {
    varint::encoded_bytes(length as u64)
}

/// Appends a record with flags 0: [`record_bytes`] bytes, without reallocation where the capacity is there.
///
/// The caller keeps to the limits ([`KEY_BYTES_MAX`], [`crate::FRAME_BODY_BYTES_MAX`]): beyond them the bytes
/// are still whole, but refused when read.
#[inline]
pub fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    push_record_with_flags(out, key, value, 0);
}

/// Appends a record with flags (0 to 3), for records in memory; a record with flags is refused on disk.
#[inline]
pub fn push_record_with_flags(out: &mut Vec<u8>, key: &[u8], value: &[u8], flags: u8) {
    let bytes = record_bytes(key.len(), value.len());
    out.reserve(bytes);
    let end = out.len().saturating_add(bytes);
    let flags = flags & RECORD_FLAGS_MASK;
    let head = wide(key.len()).saturating_mul(4) | u64::from(flags);
    let short_forms = (u8::try_from(head), u8::try_from(value.len()));
    if let (Ok(head @ ..0x80), Ok(value_bytes @ ..0x80)) = short_forms {
        out.extend_from_slice(&[head, value_bytes]);
    } else {
        varint::push(out, head);
        varint::push_length(out, value.len());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out.resize(end, 0);
}

/// Reads the record at the front of `bytes`; the padding must be there, but is not looked at.
///
/// Cost: a few compares where key (to 31 bytes) and value (to 127 bytes) are short; nothing is copied.
#[inline]
pub fn decode_record(bytes: &[u8]) -> Result<Record<'_>, BadRecord> {
    Ok(split_record(bytes)?.0)
}

/// The record at the front of `bytes`, its padding, and what is behind it.
#[inline]
fn split_record(bytes: &[u8]) -> Result<(Record<'_>, &[u8], &[u8]), BadRecord> {
    if let [head @ ..0x80, value_bytes @ ..0x80, rest @ ..] = bytes {
        return split_content(bytes.len(), rest, u32::from(*head), u32::from(*value_bytes));
    }
    split_long_record(bytes)
}

fn split_long_record(bytes: &[u8]) -> Result<(Record<'_>, &[u8], &[u8]), BadRecord> {
    let bad = |why| match why {
        BadVarint::Truncated => BadRecord::Truncated,
        BadVarint::Malformed => BadRecord::Varint,
    };
    let (head, rest) = varint::decode(bytes).map_err(bad)?;
    if narrow(head >> 2) > KEY_BYTES_MAX {
        return Err(BadRecord::KeyLength);
    }
    let (value_bytes, rest) = varint::decode(rest).map_err(bad)?;
    split_content(bytes.len(), rest, head, value_bytes)
}

/// Cuts a record at the two numbers of its head; `content` is what follows them, and `bytes_left` counts from
/// the record's start.
#[inline]
fn split_content(
    bytes_left: usize,
    content: &[u8],
    head: u32,
    value_bytes: u32,
) -> Result<(Record<'_>, &[u8], &[u8]), BadRecord> {
    let cut = |bytes, at| <[u8]>::split_at_checked(bytes, at).ok_or(BadRecord::Truncated);
    let (key, behind_key) = cut(content, narrow(head >> 2))?;
    let (value, behind_value) = cut(behind_key, narrow(value_bytes))?;
    let content_end = bytes_left - behind_value.len();
    let bytes_used = padded(content_end, RECORD_ALIGN_BYTES);
    let (padding, rest) = cut(behind_value, bytes_used - content_end)?;
    let [low, ..] = head.to_le_bytes();
    Ok((Record { key, value, bytes_used, flags: low & RECORD_FLAGS_MASK }, padding, rest))
}

/// The records of a block's payload, in order: flags and padding checked, and the count at the end.
/// After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
    done: bool,
}

impl<'a> Records<'a> {
    /// Reads a payload that holds so many records.
    #[must_use]
    pub fn new(payload: &'a [u8], records: u32) -> Records<'a> {
        Records { rest: payload, left: records, done: false }
    }

    /// How many records are to come.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The bytes from the next record on: its first [`Record::bytes_used`] are the record as it is encoded.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn decode(&mut self) -> Result<Record<'a>, BadRecord> {
        self.left = self.left.checked_sub(1).ok_or(BadRecord::Count)?;
        if self.rest.is_empty() {
            return Err(BadRecord::Count);
        }
        let (record, padding, rest) = split_record(self.rest)?;
        if record.flags != 0 {
            return Err(BadRecord::Flags);
        }
        if !is_zero(padding) {
            return Err(BadRecord::Padding);
        }
        self.rest = rest;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done || (self.rest.is_empty() && self.left == 0) {
            return None;
        }
        let record = self.decode();
        self.done = record.is_err();
        Some(record)
    }
}

impl core::iter::FusedIterator for Records<'_> {}
