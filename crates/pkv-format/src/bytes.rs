//! Little-endian fields at the fixed offsets of `layout`, and lengths that become numbers on disk.
//!
//! The offsets are constants that lie inside their structures (`tests/spec.rs` checks each one), so the misses
//! below never happen; after inlining nothing of them is left.

use crate::layout::Field;

/// Writes a field of `N` bytes.
#[inline]
pub(crate) fn put<const N: usize>(out: &mut [u8], field: Field, value: [u8; N]) {
    debug_assert_eq!(field.bytes, N, "{}", field.name);
    let slot = out.get_mut(field.offset..).and_then(<[u8]>::first_chunk_mut::<N>);
    debug_assert!(slot.is_some(), "{}", field.name);
    if let Some(slot) = slot {
        *slot = value;
    }
}

/// Reads a field of `N` bytes.
#[inline]
pub(crate) fn get<const N: usize>(bytes: &[u8], field: Field) -> [u8; N] {
    debug_assert_eq!(field.bytes, N, "{}", field.name);
    let slot = bytes.get(field.offset..).and_then(<[u8]>::first_chunk::<N>);
    debug_assert!(slot.is_some(), "{}", field.name);
    slot.copied().unwrap_or([0; N])
}

#[inline]
pub(crate) fn get_u8(bytes: &[u8], field: Field) -> u8 {
    u8::from_le_bytes(get(bytes, field))
}

#[inline]
pub(crate) fn get_u16(bytes: &[u8], field: Field) -> u16 {
    u16::from_le_bytes(get(bytes, field))
}

#[inline]
pub(crate) fn get_u32(bytes: &[u8], field: Field) -> u32 {
    u32::from_le_bytes(get(bytes, field))
}

#[inline]
pub(crate) fn get_u64(bytes: &[u8], field: Field) -> u64 {
    u64::from_le_bytes(get(bytes, field))
}

/// A length in memory as a 64-bit number; no platform has longer ones.
#[inline]
pub(crate) fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A 32-bit number as a length in memory; where it does not fit, no slice can be that long either.
#[inline]
pub(crate) fn narrow(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// `bytes` rounded up to a multiple of `align`, a power of two.
#[inline]
pub(crate) const fn padded(bytes: usize, align: usize) -> usize {
    bytes.saturating_add(align - 1) & !(align - 1)
}

#[inline]
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
