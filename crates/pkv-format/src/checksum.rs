//! CRC-32 (IEEE), plain for bodies and seeded by the file's identity for everything that has a place in a file.

use crc32fast::Hasher;

/// The identity of one file as an initial checksum state.
///
/// Frames, blocks and successor records are checksummed from this state, so that bytes of another file, or of
/// this file's name in an earlier life, do not validate. Two files agree by chance once in 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileSeed(u32);

impl FileSeed {
    /// The CRC-32 of store id, salt, ordinal, shard and shard count, in this order, little-endian (40 bytes).
    #[must_use]
    pub fn new(
        store_id: [u8; 16],
        salt: u64,
        ordinal: u64,
        shard: u32,
        shard_count: u32,
    ) -> FileSeed {
        let mut crc = Hasher::new();
        crc.update(&store_id);
        crc.update(&salt.to_le_bytes());
        crc.update(&ordinal.to_le_bytes());
        crc.update(&shard.to_le_bytes());
        crc.update(&shard_count.to_le_bytes());
        FileSeed(crc.finalize())
    }

    /// The state as a number, for tools that print it.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The checksum of `bytes` continued from this state.
    #[inline]
    pub(crate) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut crc = Hasher::new_with_initial(self.0);
        crc.update(bytes);
        crc.finalize()
    }

    /// The checksum of two pieces, as if they were one.
    #[inline]
    pub(crate) fn checksum_of_two(self, first: &[u8], second: &[u8]) -> u32 {
        let mut crc = Hasher::new_with_initial(self.0);
        crc.update(first);
        crc.update(second);
        crc.finalize()
    }
}

/// The plain CRC-32 (IEEE) of a frame's body without its padding.
///
/// It depends on nothing but the bytes, so a writer computes it before it takes a lock or knows the offset.
#[inline]
#[must_use]
pub fn body_checksum(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}
