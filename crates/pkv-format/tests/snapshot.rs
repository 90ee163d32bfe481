//! What records, blocks and footers promise: they come back as they were, from their own place alone; a file that
//! is cut or changed anywhere is known as such; and no content is taken for more than it is.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test panics where it fails")]

use pkv_format::{
    BLOCK_BYTES_TARGET, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCKS_OFFSET, BadBlock,
    BadRecord, BlockBuilder, BlockScanner, BlockStep, EncodeError, FOOTER_BYTES,
    FRAME_BODY_BYTES_MAX, FileSeed, Footer, INDEX_COUNT_BYTES, IndexEntry, KEY_BYTES_MAX, Record,
    Records, decode_record, finish_block, index_bytes, push_index, push_record,
    push_record_with_flags, record_bytes,
};
use proptest::prelude::*;

const BASE: u64 = BLOCKS_OFFSET;
const FOOTER: Footer = Footer {
    records: 3,
    payload_bytes: 17,
    start_seq: 5,
    end_seq: 9,
    log_ordinal: 2,
    log_salt: 77,
};

const INDEX: [IndexEntry; 1] = [IndexEntry { first_hash: 7, offset: BASE }];
/// Header, one entry, the count.
const INDEX_BYTES: usize = 16 + 16 + 8;

fn seed() -> FileSeed {
    FileSeed::new([1; 16], 2, 3, 0, 1)
}

type Entry = (Vec<u8>, Vec<u8>);

fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    prop::collection::vec((bytes(70), bytes(300)), 0..most)
}

fn offset_of(blocks: &[u8]) -> u64 {
    BASE + u64::try_from(blocks.len()).unwrap()
}

/// Blocks of these entries, an index and a footer.
fn build(blocks: &[Vec<Entry>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut builder = BlockBuilder::new();
    for entries in blocks {
        for (key, value) in entries {
            builder.push(key, value).unwrap();
        }
        let offset = offset_of(&out);
        // Where nothing was pushed since, the last block comes again: leave it out.
        if !entries.is_empty() {
            out.extend_from_slice(builder.finish(seed(), offset));
        }
    }
    let offset = offset_of(&out);
    push_index(&mut out, seed(), offset, &INDEX).unwrap();
    let offset = offset_of(&out);
    out.extend(FOOTER.encode(seed(), offset));
    out
}

fn small_snapshot() -> Vec<u8> {
    let entry = |key: &str, value: &str| (key.into(), value.into());
    build(&[vec![entry("alice", "one"), entry("", "")], vec![entry("bob", "twelve")]])
}

/// The entries up to the first step that is not a block, whether the footer was right behind them, and the last step.
fn scan(bytes: &[u8]) -> (Vec<Entry>, bool, BlockStep<'_>) {
    let mut scanner = BlockScanner::new(seed(), BASE, bytes);
    let mut entries = Vec::new();
    let mut footer_was_seen = false;
    loop {
        match scanner.next_block() {
            BlockStep::Block { records, .. } => {
                let own = |record: Record<'_>| (record.key.to_vec(), record.value.to_vec());
                entries.extend(records.map(|record| own(record.unwrap())));
            }
            BlockStep::Index { entries, .. } => assert!(entries.eq(INDEX)),
            BlockStep::Footer { footer, .. } => {
                assert_eq!(footer, FOOTER);
                footer_was_seen = true;
            }
            last => return (entries, footer_was_seen, last),
        }
    }
}

fn why_bad(bytes: &[u8]) -> BadBlock {
    match scan(bytes).2 {
        BlockStep::Bad { why, .. } => why,
        other => panic!("not bad: {other:?}"),
    }
}

/// A block with any header fields and a right checksum.
fn block(payload_bytes: u32, records: u32, kind: u32, payload: &[u8]) -> Vec<u8> {
    let fields = [payload_bytes, records, kind].map(u32::to_le_bytes).concat();
    let mut crc = crc32fast::Hasher::new_with_initial(seed().get());
    crc.update(&BASE.to_le_bytes());
    crc.update(&fields);
    crc.update(payload);
    [&crc.finalize().to_le_bytes()[..], &fields, payload].concat()
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(entries in entries(8), flags in 0_u8..4) {
        let mut out = Vec::new();
        for (key, value) in &entries {
            let before = out.len();
            push_record_with_flags(&mut out, key, value, flags);
            prop_assert_eq!(out.len() - before, record_bytes(key.len(), value.len()));
        }
        let mut rest = &out[..];
        for (key, value) in &entries {
            let record = decode_record(rest).unwrap();
            prop_assert_eq!((record.key, record.value, record.flags), (&key[..], &value[..], flags));
            prop_assert_eq!(rest[0] & 3, flags);
            rest = &rest[record.bytes_used..];
        }
        prop_assert!(rest.is_empty());
        let records = Records::new(&out, u32::try_from(entries.len()).unwrap());
        if flags == 0 {
            let found: Vec<_> = records.map(|r| r.map(|r| (r.key, r.value)).unwrap()).collect();
            let expected: Vec<_> = entries.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            prop_assert_eq!(found, expected);
        } else {
            let errors: Vec<_> = records.collect();
            let expected = if entries.is_empty() { vec![] } else { vec![Err(BadRecord::Flags)] };
            prop_assert_eq!(errors, expected);
        }
    }

    /// One form for each record: what is read, encoded again, is the same bytes.
    #[test]
    fn any_payload_is_refused_or_canonical(
        payload in prop::collection::vec(prop_oneof![0_u8..9, Just(0x80), any::<u8>()], 0..60),
        records in 0_u32..20,
    ) {
        let mut again = Vec::new();
        let mut whole = true;
        let mut found = 0;
        for record in Records::new(&payload, records) {
            match record {
                Ok(record) => {
                    push_record(&mut again, record.key, record.value);
                    found += 1;
                }
                Err(_) => whole = false,
            }
        }
        prop_assert!(payload.starts_with(&again));
        prop_assert_eq!(whole, again.len() == payload.len() && found == records);
    }

    #[test]
    fn every_prefix_of_a_record_is_truncated(entry in (0_usize..300, 0_usize..300)) {
        let mut record = Vec::new();
        push_record(&mut record, &vec![1; entry.0], &vec![2; entry.1]);
        for cut in 0..record.len() {
            prop_assert_eq!(decode_record(&record[..cut]), Err(BadRecord::Truncated));
        }
    }

    #[test]
    fn blocks_come_back_as_they_were(blocks in prop::collection::vec(entries(5), 0..5)) {
        let snapshot = build(&blocks);
        let (found, footer_was_seen, last) = scan(&snapshot);
        prop_assert_eq!(found, blocks.concat());
        prop_assert!(footer_was_seen);
        let end = offset_of(&snapshot);
        let at_end = matches!(last, BlockStep::End { offset } if offset == end);
        prop_assert!(at_end);
    }

    #[test]
    fn a_block_is_valid_at_its_own_place_alone(shift in 1..=u32::MAX, salt in any::<u64>()) {
        let snapshot = small_snapshot();
        let elsewhere = BlockScanner::new(seed(), BASE + u64::from(shift), &snapshot).next_block();
        let refused = matches!(elsewhere, BlockStep::Bad { why: BadBlock::Checksum, .. });
        prop_assert!(refused);
        let other = FileSeed::new([1; 16], salt, 3, 0, 1);
        prop_assume!(other != seed());
        let stale = BlockScanner::new(other, BASE, &snapshot).next_block();
        let refused = matches!(stale, BlockStep::Bad { why: BadBlock::Checksum, .. });
        prop_assert!(refused);
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        kind in 0_u8..4,
        base in any::<u64>(),
    ) {
        let mut bytes = bytes;
        if let Some(header) = bytes.get_mut(5..16) {
            header.copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, kind, 0, 0, 0]);
        }
        for base in [base, BASE, u64::MAX] {
            let step = BlockScanner::new(seed(), base, &bytes).next_block();
            let nothing = matches!(step, BlockStep::Bad { .. } | BlockStep::Partial { .. });
            prop_assert!(nothing, "{step:?}");
        }
    }
}

#[test]
fn every_prefix_is_blocks_and_a_partial() {
    let snapshot = small_snapshot();
    // Two blocks (12 + 4 and 12 bytes of records), then the index and the footer.
    let ends = [0, 32, 60, 60 + INDEX_BYTES, 60 + INDEX_BYTES + FOOTER_BYTES];
    assert_eq!(snapshot.len(), ends[4]);
    for cut in 0..snapshot.len() {
        let (entries, footer_was_seen, last) = scan(&snapshot[..cut]);
        let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
        assert_eq!(entries.len(), [0, 2, 3, 3][whole], "{cut}");
        assert!(!footer_was_seen, "{cut}");
        let left = cut - ends[whole];
        let needed = if left < 16 { 16 } else { ends[whole + 1] - ends[whole] };
        let from = offset_of(&snapshot[..ends[whole]]);
        let BlockStep::Partial { offset, bytes } = last else { panic!("{last:?} at {cut}") };
        assert_eq!((offset, bytes), (from, needed), "{cut}");
    }
}

#[test]
fn no_flipped_bit_goes_unseen() {
    let snapshot = small_snapshot();
    for bit in 0..snapshot.len() * 8 {
        let mut flipped = snapshot.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (_, footer_was_seen, last) = scan(&flipped);
        // A flipped length may also ask for bytes that the file does not have.
        assert!(
            matches!(last, BlockStep::Bad { .. } | BlockStep::Partial { .. }),
            "{bit}: {last:?}"
        );
        assert!(!footer_was_seen, "{bit}");
    }
}

#[test]
fn nothing_may_follow_the_footer() {
    let mut snapshot = small_snapshot();
    snapshot.push(0);
    let (_, footer_was_seen, last) = scan(&snapshot);
    assert!(footer_was_seen);
    assert!(matches!(last, BlockStep::Bad { why: BadBlock::Trailing, .. }), "{last:?}");
}

#[test]
fn the_footer_follows_the_index() {
    let mut snapshot = Vec::new();
    for _ in 0..2 {
        let offset = offset_of(&snapshot);
        push_index(&mut snapshot, seed(), offset, &INDEX).unwrap();
    }
    assert_eq!(why_bad(&snapshot), BadBlock::BehindIndex);
}

#[test]
fn the_index_is_found_from_the_end() {
    let snapshot = small_snapshot();
    let count_at = snapshot.len() - FOOTER_BYTES - INDEX_COUNT_BYTES;
    let count = *snapshot[count_at..].first_chunk().unwrap();
    assert_eq!(index_bytes(count), Some(u64::try_from(INDEX_BYTES).unwrap()));
    // What stands there where there is no index may be any number.
    let most = u64::try_from((BLOCK_PAYLOAD_BYTES_MAX - 8) / 16).unwrap();
    for (count, has_bytes) in [(0, true), (most, true), (most + 1, false), (u64::MAX, false)] {
        assert_eq!(index_bytes(count.to_le_bytes()).is_some(), has_bytes, "{count}");
    }
}

#[test]
fn an_index_too_long_for_a_block_is_refused() {
    let entries = vec![INDEX[0]; BLOCK_PAYLOAD_BYTES_MAX / 16];
    let mut out = vec![1];
    let refused = push_index(&mut out, seed(), 0, &entries);
    assert!(matches!(refused, Err(EncodeError::TooLong { .. })), "{refused:?}");
    assert_eq!(out, [1]);
}

#[test]
fn hostile_headers_are_bad_whatever_their_checksum() {
    let largest = u32::try_from(BLOCK_PAYLOAD_BYTES_MAX).unwrap();
    let payload = [0; 48];
    assert_eq!(why_bad(&block(48, 1, 0, &payload)), BadBlock::Kind);
    assert_eq!(why_bad(&block(48, 1, 4, &payload)), BadBlock::Kind);
    for length in [0, 47, largest + 4, u32::MAX] {
        assert_eq!(why_bad(&block(length, 1, 1, &payload)), BadBlock::Length, "{length}");
    }
    for length in [0, 44, 52] {
        assert_eq!(why_bad(&block(length, 0, 2, &payload)), BadBlock::Length, "{length}");
    }
    for length in [0, 16, 23, 48, u32::MAX] {
        assert_eq!(why_bad(&block(length, 0, 3, &payload)), BadBlock::Length, "{length}");
    }
    for count in [0, 1, 3, u64::MAX] {
        let payload = [&[0; 32], &count.to_le_bytes()[..]].concat();
        assert_eq!(why_bad(&block(40, 0, 3, &payload)), BadBlock::Count, "{count}");
    }
    assert_eq!(why_bad(&block(40, 1, 3, &payload)), BadBlock::Count);
    for records in [0, 13, u32::MAX] {
        assert_eq!(why_bad(&block(48, records, 1, &payload)), BadBlock::Count, "{records}");
    }
    assert_eq!(why_bad(&block(48, 1, 2, &payload)), BadBlock::Count);
    assert_eq!(why_bad(&[0; 64]), BadBlock::Kind, "zeros");
    let largest_block = block(largest, 1, 1, &[]);
    let step = scan(&largest_block).2;
    let BlockStep::Partial { bytes, .. } = step else { panic!("{step:?}") };
    assert_eq!(bytes, BLOCK_HEADER_BYTES + BLOCK_PAYLOAD_BYTES_MAX);
}

#[test]
fn bad_records_behind_a_right_checksum_are_refused() {
    let first = |payload: &[u8], records| Records::new(payload, records).find_map(Result::err);
    assert_eq!(first(&[0; 8], 2), None);
    assert_eq!(first(&[0; 8], 1), Some(BadRecord::Count));
    assert_eq!(first(&[0; 8], 3), Some(BadRecord::Count));
    assert_eq!(first(&[1, 0, 0, 0], 1), Some(BadRecord::Flags));
    assert_eq!(first(&[0, 1, 7, 1], 1), Some(BadRecord::Padding));
    assert_eq!(first(&[0x80, 0, 0, 0], 1), Some(BadRecord::Varint));
    assert_eq!(first(&[4, 0x80, 0, 7], 1), Some(BadRecord::Varint));
    assert_eq!(first(&[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], 1), Some(BadRecord::Truncated));
    assert_eq!(first(&[0xfc, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0], 1), Some(BadRecord::KeyLength));
    // 65537 * 4: the first key that is too long.
    assert_eq!(first(&[0x84, 0x80, 0x10, 0], 1), Some(BadRecord::KeyLength));
    assert_eq!(first(&[0x80, 0x80, 0x10, 0], 1), Some(BadRecord::Truncated));
    let mut after_error = Records::new(&[1, 0, 0, 0, 0, 0, 0, 0], 2);
    assert!(after_error.next().is_some() && after_error.next().is_none());
}

#[test]
fn records_say_what_is_to_come() {
    let mut out = Vec::new();
    push_record(&mut out, b"a", b"1");
    let first_bytes = out.len();
    push_record(&mut out, b"b", b"22");
    let mut records = Records::new(&out, 2);
    assert_eq!((records.left(), records.payload()), (2, &out[..]));
    assert_eq!(records.next().unwrap().unwrap().bytes_used, first_bytes);
    assert_eq!((records.left(), records.payload()), (1, &out[first_bytes..]));
}

#[test]
fn a_block_is_full_at_its_size_and_a_longer_record_gets_its_own() {
    let mut builder = BlockBuilder::new();
    assert!(builder.is_empty() && builder.fits(usize::MAX));
    let bytes = record_bytes(16, 100);
    let mut records = 0_usize;
    while builder.fits(bytes) {
        assert!(!builder.is_full());
        builder.push(&[1; 16], &[2; 100]).unwrap();
        records += 1;
    }
    assert_eq!(records, (BLOCK_BYTES_TARGET - BLOCK_HEADER_BYTES) / bytes);
    let written = builder.finish(seed(), BASE).len();
    assert!((BLOCK_BYTES_TARGET - bytes..=BLOCK_BYTES_TARGET).contains(&written));
    assert!(builder.is_empty() && !builder.is_full());

    let long = vec![3; BLOCK_BYTES_TARGET];
    assert!(builder.fits(record_bytes(1, long.len())));
    builder.push(b"k", &long).unwrap();
    assert!(builder.is_full() && !builder.fits(4));
    assert_eq!(
        builder.finish(seed(), BASE).len(),
        BLOCK_HEADER_BYTES + record_bytes(1, long.len())
    );
}

#[test]
fn a_block_can_be_finished_again_until_the_next_push() {
    let mut builder = BlockBuilder::default();
    assert_eq!(builder.finish(seed(), BASE), []);
    builder.push(b"key", b"value").unwrap();
    let block = builder.finish(seed(), BASE).to_vec();
    assert_eq!(builder.finish(seed(), BASE), block);
    let moved = builder.finish(seed(), BASE + 64).to_vec();
    let step = BlockScanner::new(seed(), BASE + 64, &moved).next_block();
    assert!(matches!(step, BlockStep::Block { .. }), "{step:?}");
    builder.push(b"key", b"value").unwrap();
    assert_eq!(builder.finish(seed(), BASE), block, "nothing of the last block is left");
}

#[test]
fn encoded_records_are_taken_as_they_are() {
    let mut encoded = Vec::new();
    push_record(&mut encoded, b"alice", b"one");
    push_record(&mut encoded, b"", b"");
    let mut builder = BlockBuilder::new();
    builder.push_encoded(2, &encoded).unwrap();
    let by_copy = builder.finish(seed(), BASE).to_vec();
    builder.push(b"alice", b"one").unwrap();
    builder.push(b"", b"").unwrap();
    assert_eq!(builder.finish(seed(), BASE), by_copy);

    for (records, bytes) in [(0, &encoded[..]), (1, &encoded[..5]), (5, &encoded), (1, &[])] {
        let error = builder.push_encoded(records, bytes).unwrap_err();
        assert!(matches!(error, EncodeError::Invalid(_)), "{records} in {}", bytes.len());
    }
}

#[test]
fn limits_are_checked_when_writing() {
    let mut builder = BlockBuilder::new();
    let too_long = |result| matches!(result, Err(EncodeError::TooLong { .. }));
    assert!(too_long(builder.push(&vec![0; KEY_BYTES_MAX + 1], &[])));
    let value = vec![0; FRAME_BODY_BYTES_MAX + 1];
    assert!(too_long(builder.push(&[], &value)));
    assert!(builder.is_empty());

    // The longest record still fits behind a block that is full but for one byte of records.
    while builder.fits(1024) {
        builder.push(&[], &[0; 1000]).unwrap();
    }
    builder.push(&vec![1; KEY_BYTES_MAX], &value[1..]).unwrap();
    assert!(too_long(builder.push(&[], &value[1..])));
    let block = builder.finish(seed(), BASE).to_vec();
    let (entries, _, last) = scan(&block);
    assert_eq!(entries.last().map(|(_, value)| value.len()), Some(FRAME_BODY_BYTES_MAX));
    assert!(matches!(last, BlockStep::Partial { bytes: 16, .. }), "{last:?}");
}

#[test]
fn record_sizes() {
    let sizes = [(0, 0, 4), (1, 1, 4), (1, 2, 8), (16, 100, 120), (31, 127, 160), (32, 128, 164)];
    for (key_bytes, value_bytes, expected) in sizes {
        assert_eq!(record_bytes(key_bytes, value_bytes), expected);
    }
    assert!(record_bytes(usize::MAX, usize::MAX) >= usize::MAX - 3, "no overflow");
}

#[test]
fn a_block_finished_in_place_is_the_builders() {
    let mut builder = BlockBuilder::new();
    let mut block = vec![7; BLOCK_HEADER_BYTES];
    for number in 0..100_u8 {
        let (key, value) = ([number; 16], [number; 100]);
        builder.push(&key, &value).unwrap();
        push_record(&mut block, &key, &value);
    }
    finish_block(&mut block, 100, seed(), BASE).unwrap();
    assert_eq!(block, builder.finish(seed(), BASE));

    let mut too_few = vec![0; BLOCK_HEADER_BYTES];
    assert!(finish_block(&mut too_few, 0, seed(), BASE).is_err());
    assert!(finish_block(&mut too_few, 1, seed(), BASE).is_err());
    assert!(finish_block(&mut block, 1 << 20, seed(), BASE).is_err());
    assert!(finish_block(&mut [0; BLOCK_HEADER_BYTES + 5], 1, seed(), BASE).is_err());
    assert!(finish_block(&mut [0; 3], 1, seed(), BASE).is_err());
}
