//! What a file header promises: it comes back as it was, and nothing else passes for one.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test panics where it fails")]

use pkv_format::{
    EncodeError, FileHeader, FileKind, FileSeed, HeaderError, SCHEMAS_BYTES_MAX, Successor,
    layout::file_header as at,
};
use proptest::prelude::*;

fn header() -> FileHeader {
    FileHeader {
        kind: FileKind::Log,
        ordinal: 1,
        shard: 0,
        shard_count: 1,
        store_id: [7; 16],
        salt: 8,
        hash_seed: 9,
        segment_bytes: 1 << 20,
        key_schema: "string".into(),
        value_schema: "u64".into(),
    }
}

/// A header with some bytes replaced, and the checksum right again.
fn decode_with(offset: usize, bytes: &[u8]) -> Result<FileHeader, HeaderError> {
    let mut sector = header().encode().unwrap();
    sector[offset..][..bytes.len()].copy_from_slice(bytes);
    let checksum = crc32fast::hash(&sector[..508]);
    sector[508..].copy_from_slice(&checksum.to_le_bytes());
    FileHeader::decode(&sector)
}

fn headers() -> impl Strategy<Value = FileHeader> {
    let kinds = prop_oneof![Just(FileKind::Log), Just(FileKind::Snapshot)];
    let names = ("\\PC{0,52}", "\\PC{0,52}");
    let numbers = (1..=u64::MAX, any::<u64>(), any::<u64>(), any::<u64>());
    let shards = (1..=u32::MAX).prop_flat_map(|count| (0..count, Just(count)));
    (kinds, names, numbers, shards, any::<[u8; 16]>()).prop_map(
        |(kind, names, (ordinal, salt, hash_seed, segment), (shard, shard_count), store_id)| {
            let segment_bytes = if kind == FileKind::Log { segment } else { 0 };
            let (key_schema, value_schema) = names;
            FileHeader {
                kind,
                ordinal,
                shard,
                shard_count,
                store_id,
                salt,
                hash_seed,
                segment_bytes,
                key_schema,
                value_schema,
            }
        },
    )
}

proptest! {
    #[test]
    fn comes_back_as_it_was(header in headers()) {
        let sector = header.encode().unwrap();
        prop_assert_eq!(FileHeader::decode(&sector), Ok(header));
    }

    /// One form for each header: what is read, encoded again, is the same bytes.
    #[test]
    fn a_changed_header_with_a_right_checksum_is_refused_or_canonical(
        changes in prop::collection::vec((8_usize..508, any::<u8>()), 1..4),
    ) {
        let mut sector = header().encode().unwrap();
        for (offset, byte) in changes {
            sector[offset] = byte;
        }
        let checksum = crc32fast::hash(&sector[..508]);
        sector[508..].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(header) = FileHeader::decode(&sector) {
            prop_assert_eq!(header.encode().unwrap(), sector);
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let sector = header().encode().unwrap();
    for bit in 0..512 * 8 {
        let mut flipped = sector;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = FileHeader::decode(&flipped).unwrap_err();
        let magic = bit < 64;
        assert_eq!(error, if magic { HeaderError::Magic } else { HeaderError::Checksum }, "{bit}");
    }
}

#[test]
fn every_length_is_told_apart() {
    let sector = header().encode().unwrap();
    assert_eq!(FileHeader::decode(&[]), Err(HeaderError::Empty));
    for bytes in 1..512 {
        assert_eq!(FileHeader::decode(&sector[..bytes]), Err(HeaderError::Truncated));
        assert_eq!(FileHeader::decode(&[0; 512][..bytes]), Err(HeaderError::Empty));
    }
    assert_eq!(FileHeader::decode(&[0; 512]), Err(HeaderError::Empty));
    assert_eq!(FileHeader::decode(&[0; 4096]), Err(HeaderError::Empty));
    let longer = [&sector[..], b"what follows is not looked at"].concat();
    assert_eq!(FileHeader::decode(&longer), Ok(header()));
}

#[test]
fn versions_are_told_apart_from_damage() {
    let newer = HeaderError::Newer { found: 3, known: 2 };
    assert_eq!(decode_with(at::VERSION.offset, &[3]), Err(newer));
    for known in [1, 2] {
        assert_eq!(decode_with(at::VERSION.offset, &[known]), Ok(header()), "{known}");
    }
    // A newer version may use bytes that must be zero in this one.
    let mut sector = header().encode().unwrap();
    assert_eq!(FileHeader::version_of(&sector), Some(1));
    sector[at::VERSION.offset] = 3;
    assert_eq!(FileHeader::version_of(&sector), Some(3));
    assert_eq!(FileHeader::version_of(&sector[..511]), None);
    assert_eq!(FileHeader::decode(&sector), Err(HeaderError::Checksum));
    assert!(matches!(decode_with(at::VERSION.offset, &[0]), Err(HeaderError::Invalid(_))));
}

#[test]
fn each_rule_is_checked_behind_a_right_checksum() {
    let cases: [(&str, usize, &[u8]); 14] = [
        ("kind 0", at::KIND.offset, &[0]),
        ("kind 3", at::KIND.offset, &[3]),
        ("codec", at::CODEC.offset, &[1]),
        ("zero_1", at::ZERO_1.offset, &[0, 1]),
        ("zero_2", at::ZERO_2.offset, &[0, 0, 0, 0, 0, 0, 0, 1]),
        ("zero_3", at::ZERO_3.offset, &[0, 0, 0, 1]),
        ("byte behind the names", at::SCHEMAS.offset + 9, &[1]),
        ("last byte of the names", at::SCHEMAS.offset + 419, &[1]),
        ("ordinal 0", at::ORDINAL.offset, &[0]),
        ("shard = count", at::SHARD.offset, &[1]),
        ("count 0", at::SHARD_COUNT.offset, &[0]),
        ("snapshot with a segment", at::KIND.offset, &[2]),
        ("names too long", at::KEY_SCHEMA_BYTES.offset, &[0xff, 0xff]),
        ("names not UTF-8", at::SCHEMAS.offset, &[0xff]),
    ];
    for (what, offset, bytes) in cases {
        let decoded = decode_with(offset, bytes);
        assert!(matches!(decoded, Err(HeaderError::Invalid(_))), "{what}: {decoded:?}");
    }
    // A character cut in two by the border between the names.
    let split = decode_with(at::SCHEMAS.offset + 5, "\u{e9}".as_bytes());
    assert!(matches!(split, Err(HeaderError::Invalid(_))), "{split:?}");
}

#[test]
fn limits_are_checked_when_writing() {
    let named = |bytes| FileHeader { key_schema: "k".repeat(bytes), ..header() };
    let value_bytes = header().value_schema.len();
    let longest = named(SCHEMAS_BYTES_MAX - value_bytes);
    assert_eq!(FileHeader::decode(&longest.encode().unwrap()), Ok(longest));
    for bytes in [SCHEMAS_BYTES_MAX - value_bytes + 1, 1 << 17] {
        let error = named(bytes).encode().unwrap_err();
        assert!(matches!(error, EncodeError::TooLong { bytes_max: 420, .. }), "{error}");
    }
    for bad in [
        FileHeader { ordinal: 0, ..header() },
        FileHeader { shard: 1, ..header() },
        FileHeader { shard_count: 0, ..header() },
        FileHeader { kind: FileKind::Snapshot, ..header() },
    ] {
        assert!(matches!(bad.encode(), Err(EncodeError::Invalid(_))), "{bad:?}");
    }
}

#[test]
fn the_seed_depends_on_each_part_of_the_identity() {
    let seeds = [
        FileSeed::new([7; 16], 8, 1, 0, 2),
        FileSeed::new([6; 16], 8, 1, 0, 2),
        FileSeed::new([7; 16], 9, 1, 0, 2),
        FileSeed::new([7; 16], 8, 2, 0, 2),
        FileSeed::new([7; 16], 8, 1, 1, 2),
        FileSeed::new([7; 16], 8, 1, 0, 3),
    ];
    for (index, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..index].contains(seed), "{index}");
    }
}

#[test]
fn a_successor_that_is_not_whole_is_none() {
    let seed = header().seed();
    let record = Successor { ordinal: 2, salt: 3 }.encode(seed);
    assert_eq!(Successor::decode(seed, &[0; 32]), None);
    for bytes in 0..32 {
        assert_eq!(Successor::decode(seed, &record[..bytes]), None);
    }
    for bit in 0..32 * 8 {
        let mut flipped = record;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Successor::decode(seed, &flipped), None, "{bit}");
    }
    let other = FileHeader { salt: 99, ..header() }.seed();
    assert_eq!(Successor::decode(other, &record), None);
    // With a right checksum: no ordinal, and bytes that must be zero.
    let no_log = Successor { ordinal: 0, salt: 3 }.encode(seed);
    assert_eq!(Successor::decode(seed, &no_log), None);
    for reserved in 16..28 {
        let mut bad = record;
        bad[reserved] = 1;
        let mut crc = crc32fast::Hasher::new_with_initial(seed.get());
        crc.update(&bad[..28]);
        bad[28..].copy_from_slice(&crc.finalize().to_le_bytes());
        assert_eq!(Successor::decode(seed, &bad), None, "{reserved}");
    }
}
