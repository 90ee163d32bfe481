//! Workloads shared by the benchmarks: 16-byte random keys, 100-byte values, both made from a number so
//! that they need no memory of their own.
#![forbid(unsafe_code)]

/// The size of a key in bytes.
pub const KEY_BYTES: usize = 16;
/// The size of a value in bytes.
pub const VALUE_BYTES: usize = 100;

/// A bijection on 64 bits whose results look random (splitmix64).
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of each number below 2^63.
#[must_use]
pub fn key(number: u64) -> [u8; KEY_BYTES] {
    let front = u128::from(mix(2 * number));
    let back = u128::from(mix(2 * number + 1));
    (front | back << 64).to_le_bytes()
}

/// The same value for every key: no engine looks into it.
pub const VALUE: [u8; VALUE_BYTES] = [0xa5; VALUE_BYTES];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_differ() {
        assert_eq!((0..100_000).map(key).collect::<HashSet<_>>().len(), 100_000);
    }
}
