//! Unsigned LEB128, canonical: the shortest form only, at most 32 bits when read.

use alloc::vec::Vec;

use crate::bytes::wide;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadVarint {
    Truncated,
    Malformed,
}

/// Appends a length. The form is never cut short: a length over 32 bits is written whole, and refused when read.
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[inline]
pub(crate) fn push_length(out: &mut Vec<u8>, bytes: usize) {
    push(out, wide(bytes));
}

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn encoded_bytes(value: u64) -> usize {
    // 1 for 0..=7 significant bits, 2 for 8..=14, ...; `| 1` counts zero as one bit.
    let bits = u64::BITS - (value | 1).leading_zeros();
    match bits {
        0..=7 => 1,
        8..=14 => 2,
        15..=21 => 3,
        22..=28 => 4,
        29..=35 => 5,
        36..=42 => 6,
        43..=49 => 7,
        50..=56 => 8,
        57..=63 => 9,
        _ => 10,
    }
}

/// Reads one number from the front; also returns what is behind it.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Result<(u32, &[u8]), BadVarint> {
    if let Some((&byte, rest)) = bytes.split_first()
        && byte < 0x80
    {
        return Ok((u32::from(byte), rest));
    }
    decode_long(bytes)
}

fn decode_long(mut bytes: &[u8]) -> Result<(u32, &[u8]), BadVarint> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first().ok_or(BadVarint::Truncated)?;
        bytes = rest;
        // The fifth byte has room for four bits and none to follow.
        if shift == 28 && byte > 0x0f {
            return Err(BadVarint::Malformed);
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // A last byte of zero adds nothing: the shorter form is the canonical one.
            return if byte == 0 && shift > 0 {
                Err(BadVarint::Malformed)
            } else {
                Ok((value, bytes))
            };
        }
    }
    Err(BadVarint::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forms() {
        let cases: [(u64, &[u8]); 7] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (16_384, &[0x80, 0x80, 1]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (value, form) in cases {
            let mut out = Vec::new();
            push(&mut out, value);
            assert_eq!(out, form, "{value}");
            assert_eq!(encoded_bytes(value), form.len(), "{value}");
            match u32::try_from(value) {
                Ok(value) => assert_eq!(decode(form), Ok((value, &[][..]))),
                Err(_) => assert_eq!(decode(form), Err(BadVarint::Malformed)),
            }
        }
    }

    #[test]
    fn sizes_at_every_power_of_two() {
        for bit in 0..64 {
            for value in [(1_u64 << bit) - 1, 1 << bit] {
                let mut out = Vec::new();
                push(&mut out, value);
                assert_eq!(encoded_bytes(value), out.len(), "{value}");
            }
        }
    }

    #[test]
    fn longer_forms_of_the_same_number_are_refused() {
        for form in [
            &[0x80, 0][..],
            &[0xff, 0x00],
            &[0x80, 0x80, 0],
            &[0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x10],
            &[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00],
        ] {
            assert_eq!(decode(form), Err(BadVarint::Malformed), "{form:x?}");
        }
        for form in [&[][..], &[0x80], &[0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(decode(form), Err(BadVarint::Truncated), "{form:x?}");
        }
    }
}
