//! The record of a snapshot block as it stands in a chunk, so that loading and copying move bytes
//! and encode nothing. Its two flag bits are zero on disk and used here alone.
//!
//! A dead record keeps both of its lengths, so that a chunk can always be walked from its start.

use pkv_format::{Record, decode_record};

/// The record holds nothing; its lengths still say how many bytes it takes.
pub(super) const DEAD: u8 = 1;
/// The value is the number, 4 bytes, of a slot in the shard's slab of large values.
pub(super) const LARGE: u8 = 2;

/// Records start at multiples of this many bytes.
pub(super) const WORD_BYTES: usize = pkv_format::RECORD_ALIGN_BYTES;

/// A record of this module's own making, or one that was checked when it was loaded.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Record<'_> {
    match decode_record(bytes) {
        Ok(record) => record,
        Err(why) => unreachable!("no whole record at a record's place in a chunk: {why}"),
    }
}

/// The value of a record and its flags, if it has this key.
#[inline]
pub(super) fn value_of<'a>(bytes: &'a [u8], key: &[u8]) -> Option<(&'a [u8], u8)> {
    match short_value_of(bytes, key) {
        Some(value) => Some((value, 0)),
        None => value_of_any(bytes, key),
    }
}

/// [`value_of`] of records of every kind.
#[inline(never)]
pub(super) fn value_of_any<'a>(bytes: &'a [u8], key: &[u8]) -> Option<(&'a [u8], u8)> {
    let record = decode(bytes);
    (record.key == key).then_some((record.value, record.flags))
}

/// Whether it is the record of this key.
#[inline]
pub(super) fn has_key(bytes: &[u8], key: &[u8]) -> bool {
    short_value_of(bytes, key).is_some() || value_of_any(bytes, key).is_some()
}

/// The value of a record with this key and no flags, in few instructions, if the key is short. `None` says nothing.
#[inline]
pub(super) fn short_value_of<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let (heads, mut content) = bytes.split_first_chunk()?;
    let heads = u16::from_le_bytes(*heads);
    if heads & 0x80 != 0 || usize::from(heads & 0xff) != key.len() << 2 {
        return None;
    }
    let mut value_len = usize::from(heads >> 8);
    if value_len >= 0x80 {
        // A value in a chunk has a length of two bytes at the most.
        let (high @ ..0x80, rest) = content.split_first()? else { return None };
        value_len = value_len & 0x7f | usize::from(*high) << 7;
        content = rest;
    }
    let content = content.get(..key.len() + value_len)?;
    let (stored, value) = content.split_at_checked(key.len())?;
    is_same(stored, key).then_some(value)
}

/// Whether these bytes, as many as those, are the same. A call of the C library's function would take longer than two
/// comparisons of eight bytes, which may overlap.
#[inline]
fn is_same(these: &[u8], those: &[u8]) -> bool {
    if !(8..=16).contains(&these.len()) {
        return these == those;
    }
    these.first_chunk::<8>() == those.first_chunk() && these.last_chunk::<8>() == those.last_chunk()
}

/// The slab slot of a large value.
#[inline]
pub(super) fn large_slot(value: &[u8], flags: u8) -> Option<u32> {
    if flags & LARGE == 0 {
        return None;
    }
    value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Marks the record at the front of `slot` as dead.
#[inline]
pub(super) fn mark_dead(slot: &mut [u8]) {
    if let Some(head) = slot.first_mut() {
        *head |= DEAD;
    }
}

/// Writes a record over all of `slot`, which has exactly its `record_bytes`.
pub(super) fn write(slot: &mut [u8], key: &[u8], value: &[u8], flags: u8) {
    debug_assert_eq!(slot.len(), pkv_format::record_bytes(key.len(), value.len()), "slot");
    let rest = write_varint(slot, (lossless(key.len()) << 2) | u64::from(flags));
    let rest = write_varint(rest, lossless(value.len()));
    let Some((key_slot, rest)) = rest.split_at_mut_checked(key.len()) else { return };
    key_slot.copy_from_slice(key);
    let Some((value_slot, padding)) = rest.split_at_mut_checked(value.len()) else { return };
    value_slot.copy_from_slice(value);
    padding.fill(0);
}

/// Overwrites the value of the record in `slot`, which has a key and a value of these lengths.
#[inline]
pub(super) fn write_value(slot: &mut [u8], key_len: usize, value: &[u8]) {
    // The two lengths end where the second byte without its highest bit does.
    let heads = match slot {
        [..0x80, ..0x80, ..] => 2,
        _ => slot
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte < 0x80)
            .nth(1)
            .map_or(0, |(at, _)| at + 1),
    };
    let start = heads + key_len;
    if let Some(old) = slot.get_mut(start..start + value.len()) {
        old.copy_from_slice(value);
    }
}

/// Writes a dead record without a key over all of `slot`, whose length is a multiple of the word.
pub(super) fn write_filler(slot: &mut [u8]) {
    // A longer varint of the length shortens the value, so the value's bytes are found from its end.
    let value_bytes = (1..=4)
        .filter_map(|varint_bytes| slot.len().checked_sub(1 + varint_bytes))
        .find(|value_bytes| pkv_format::record_bytes(0, *value_bytes) == slot.len())
        .unwrap_or(0);
    let rest = write_varint(slot, u64::from(DEAD));
    write_varint(rest, lossless(value_bytes));
}

/// Unsigned LEB128 at the front of `out`; what is behind it is returned.
fn write_varint(out: &mut [u8], mut value: u64) -> &mut [u8] {
    let mut bytes_written = 0;
    for byte in out.iter_mut() {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        bytes_written += 1;
        if value == 0 {
            *byte = low & 0x7f;
            break;
        }
        *byte = low | 0x80;
    }
    out.get_mut(bytes_written..).unwrap_or_default()
}

/// A length as the 64-bit number that sums are kept in.
#[inline]
pub(super) fn lossless(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A 32-bit number as an index; every platform with room for the map has 32-bit indices.
#[inline]
pub(super) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_format_writes() {
        for key_bytes in [0, 1, 8, 31, 32, 200, 4095, 4096, 65_536] {
            for value_bytes in [0, 1, 2, 3, 4, 100, 127, 128, 129, 1024] {
                let (key, value) = (vec![1; key_bytes], vec![2; value_bytes]);
                for flags in [0, DEAD, LARGE, DEAD | LARGE] {
                    let mut wanted = Vec::new();
                    pkv_format::push_record_with_flags(&mut wanted, &key, &value, flags);
                    let mut slot = vec![0xff; wanted.len()];
                    write(&mut slot, &key, &value, flags);
                    assert_eq!(slot, wanted, "{key_bytes} {value_bytes} {flags}");
                }
            }
        }
    }

    #[test]
    fn a_value_is_found_by_its_whole_key_only() {
        for key_bytes in [0, 1, 7, 8, 9, 12, 15, 16, 17, 31, 32, 63, 64, 200] {
            for (value_bytes, flags) in [0, 1, 127, 128, 129, 255, 1023, 1024, 20_000]
                .into_iter()
                .flat_map(|bytes| [(bytes, 0), (bytes, LARGE)])
            {
                let (key, value) = (vec![1; key_bytes], vec![2; value_bytes]);
                let mut bytes = Vec::new();
                pkv_format::push_record_with_flags(&mut bytes, &key, &value, flags);
                let is_short = key_bytes < 32 && value_bytes <= 1024 && flags == 0;
                assert_eq!(short_value_of(&bytes, &key), is_short.then_some(&value[..]));
                let assert_found = |key: &[u8], found| {
                    assert_eq!(value_of(&bytes, key), found);
                    assert_eq!(has_key(&bytes, key), found.is_some());
                };
                assert_found(&key, Some((&value[..], flags)));
                let mut longer = key.clone();
                longer.push(2);
                assert_found(&longer, None);
                for at in 0..key_bytes {
                    let mut other = key.clone();
                    other[at] = 3;
                    assert_found(&other, None);
                    assert_found(&key[1..], None);
                }
            }
        }
    }

    #[test]
    fn a_value_is_overwritten_where_it_stands() {
        for key_bytes in [0, 1, 31, 32, 200, 4095, 4096, 65_536] {
            for value_bytes in [0, 1, 3, 100, 127, 128, 1024] {
                let key = vec![0xff; key_bytes];
                let (mut old, mut new) = (Vec::new(), Vec::new());
                pkv_format::push_record_with_flags(&mut old, &key, &vec![2; value_bytes], 0);
                pkv_format::push_record_with_flags(&mut new, &key, &vec![3; value_bytes], 0);
                write_value(&mut old, key_bytes, &vec![3; value_bytes]);
                assert_eq!(old, new, "{key_bytes} {value_bytes}");
            }
        }
    }

    #[test]
    fn a_filler_takes_any_room() {
        for words in (1..600).chain([4096, 4097, 16_383, 16_384, 65_535, 65_536]) {
            let mut slot = vec![0xff; words * WORD_BYTES];
            write_filler(&mut slot);
            let record = decode(&slot);
            assert_eq!((record.bytes_used, record.flags), (slot.len(), DEAD));
        }
    }
}
