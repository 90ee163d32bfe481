//! `FORMAT.md` against the code: its tables are the constants, its example is what the encoders write.

#![expect(clippy::unwrap_used, clippy::as_conversions, reason = "a test panics where it fails")]

use std::fmt::Write;

use pkv_format::{
    BLOCKS_OFFSET, BlockBuilder, BlockScanner, BlockStep, FRAMES_OFFSET, FileHeader, FileKind,
    Footer, Frame, FrameKind, IndexEntry, Link, Mark, Operation, SUCCESSOR_OFFSET, Scanner, Seal,
    Step, Successor, layout, push_frame, push_index, push_remove, push_set,
};

const SPEC: &str = include_str!("../FORMAT.md");

/// The cells of a table's line, without back quotes.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(|cell| cell.trim().replace('`', "")).collect())
}

/// The rows of the first table behind a line, without its head.
fn table_behind(heading: &str) -> Vec<Vec<String>> {
    let mut lines = SPEC.lines().skip_while(|line| *line != heading).skip(1);
    let first = lines.by_ref().find_map(cells);
    assert!(first.is_some(), "no table behind {heading:?}");
    lines.map_while(cells).skip(1).collect()
}

fn log_header() -> FileHeader {
    FileHeader {
        kind: FileKind::Log,
        ordinal: 2,
        shard: 0,
        shard_count: 1,
        store_id: [
            0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad,
            0xae, 0xaf,
        ],
        salt: 0x1122_3344_5566_7788,
        hash_seed: 0x0102_0304_0506_0708,
        segment_bytes: 1 << 20,
        key_schema: "str".into(),
        value_schema: "bytes".into(),
    }
}

fn log_frames() -> Vec<(FrameKind, u64, Vec<u8>)> {
    let link = Link { previous_ordinal: 1, previous_salt: 0xd1, watermark: 4 };
    let mark = Mark { watermark: 6, unix_ms: 1_767_225_600_000 };
    let seal = Seal { watermark: 6, next_ordinal: 3, next_salt: 0xd3 };
    let mut data = Vec::new();
    push_set(&mut data, b"alice", b"one");
    push_remove(&mut data, b"bob");
    vec![
        (FrameKind::Link, 5, link.encode().to_vec()),
        (FrameKind::Data, 6, data),
        (FrameKind::Mark, 6, mark.encode().to_vec()),
        (FrameKind::Seal, 6, seal.encode().to_vec()),
    ]
}

fn log_example() -> Vec<u8> {
    let header = log_header();
    let mut log = header.encode().unwrap().to_vec();
    assert_eq!(log.len() as u64, SUCCESSOR_OFFSET);
    log.extend(Successor { ordinal: 3, salt: 0xd3 }.encode(header.seed()));
    log.resize(usize::try_from(FRAMES_OFFSET).unwrap(), 0);
    for (kind, seq, body) in log_frames() {
        let offset = log.len() as u64;
        push_frame(&mut log, header.seed(), offset, kind, seq, &body).unwrap();
    }
    log
}

fn snapshot_header() -> FileHeader {
    FileHeader {
        kind: FileKind::Snapshot,
        ordinal: 4,
        salt: 0xd4,
        segment_bytes: 0,
        ..log_header()
    }
}

const INDEX_ENTRY: IndexEntry = IndexEntry { first_hash: 0, offset: BLOCKS_OFFSET };

const FOOTER: Footer = Footer {
    records: 2,
    payload_bytes: 14,
    start_seq: 6,
    end_seq: 8,
    log_ordinal: 5,
    log_salt: 0xd5,
};

fn snapshot_example() -> Vec<u8> {
    let seed = snapshot_header().seed();
    let mut snapshot = snapshot_header().encode().unwrap().to_vec();
    assert_eq!(snapshot.len() as u64, BLOCKS_OFFSET);
    let mut block = BlockBuilder::new();
    block.push(b"alice", b"one").unwrap();
    block.push(b"carol", b"c").unwrap();
    let offset = snapshot.len() as u64;
    snapshot.extend_from_slice(block.finish(seed, offset));
    let offset = snapshot.len() as u64;
    push_index(&mut snapshot, seed, offset, &[INDEX_ENTRY]).unwrap();
    let offset = snapshot.len() as u64;
    snapshot.extend(FOOTER.encode(seed, offset));
    snapshot
}

/// The bytes of the n-th dump: `offset  bytes`, where lines of zeros but the last are left out.
fn dump(n: usize) -> Vec<u8> {
    let block = SPEC.split("```text\n").nth(n + 1).unwrap().split("```").next().unwrap();
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (offset, hex) = line.split_once("  ").unwrap();
        bytes.resize(usize::from_str_radix(offset, 16).unwrap(), 0);
        let hex = hex.split('|').next().unwrap();
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// What `dump` reads.
fn print(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) || (index + 1) * 16 >= bytes.len() {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "{:08x}  {}", index * 16, hex.join(" ")).unwrap();
        }
    }
    out
}

#[test]
fn structures_are_those_of_the_tables() {
    for (structure, fields) in layout::STRUCTURES {
        let rows = table_behind(&format!("Structure `{structure}`"));
        assert_eq!(rows.len(), fields.len(), "{structure}");
        let mut end = 0;
        for (row, field) in rows.iter().zip(*fields) {
            let [offset, bytes, name, _] = row.as_slice() else { panic!("{structure}: {row:?}") };
            assert!(name.eq_ignore_ascii_case(field.name), "{structure}.{name}");
            assert_eq!(offset.parse(), Ok(field.offset), "{structure}.{name}");
            assert_eq!(bytes.parse(), Ok(field.bytes), "{structure}.{name}");
            assert_eq!(field.offset, end, "{structure}.{name}: a gap or an overlap");
            end += field.bytes;
        }
    }
    let tables = SPEC.lines().filter(|line| line.starts_with("Structure `")).count();
    assert_eq!(tables, layout::STRUCTURES.len());
}

#[test]
fn sizes_are_those_of_the_structures() {
    assert_eq!(layout::HEADER_BYTES, layout::file_header::BYTES);
    assert_eq!(layout::SCHEMAS_BYTES_MAX, layout::file_header::SCHEMAS.bytes);
    assert_eq!(layout::SUCCESSOR_BYTES, layout::successor::BYTES);
    assert_eq!(layout::FRAME_HEADER_BYTES, layout::frame_header::BYTES);
    assert_eq!(layout::BLOCK_HEADER_BYTES, layout::block_header::BYTES);
}

#[test]
fn codes_and_limits_are_those_of_the_table() {
    macro_rules! constants {
        ($($name:ident)*) => {
            vec![$((stringify!($name).to_owned(), u64::try_from(layout::$name).unwrap())),*]
        };
    }
    let constants = constants!(
        FORMAT_VERSION LOG_VERSION FILE_KIND_LOG FILE_KIND_SNAPSHOT CODEC_PLAIN FRAME_KIND_DATA FRAME_KIND_LINK
        FRAME_KIND_MARK FRAME_KIND_SEAL TAG_SET TAG_REMOVE TAG_CLEAR MAP_ID BLOCK_KIND_RECORDS
        BLOCK_KIND_FOOTER BLOCK_KIND_INDEX HEADER_BYTES SCHEMAS_BYTES_MAX SUCCESSOR_OFFSET SUCCESSOR_BYTES
        FRAMES_OFFSET FRAME_ALIGN_BYTES FRAME_HEADER_BYTES FRAME_BODY_BYTES_MAX KEY_BYTES_MAX
        BLOCKS_OFFSET BLOCK_HEADER_BYTES BLOCK_BYTES_TARGET BLOCK_PAYLOAD_BYTES_MAX FOOTER_BYTES
        INDEX_COUNT_BYTES RECORD_ALIGN_BYTES RECORD_FLAGS_MASK
    );
    let rows: Vec<(String, u64)> = table_behind("## 8. Codes and limits")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect();
    assert_eq!(rows, constants);
    // The limits that the validity rules name in words.
    for limit in [layout::FRAME_BODY_BYTES_MAX, layout::BLOCK_PAYLOAD_BYTES_MAX] {
        assert!(SPEC.contains(&format!("{limit} (")), "{limit}");
    }
}

#[test]
fn the_version_is_that_of_the_history() {
    let newest = table_behind("## 10. Versions").last().unwrap()[0].clone();
    assert_eq!(newest.parse(), Ok(layout::FORMAT_VERSION));
    assert!(SPEC.contains(&format!("\nVersion {newest}.")));
}

#[test]
fn the_log_of_the_example_is_what_is_written() {
    let log = log_example();
    assert_eq!(print(&dump(0)), print(&log), "the log is:\n{}", print(&log));
    assert_eq!(dump(0).len(), log.len());
}

#[test]
fn the_snapshot_of_the_example_is_what_is_written() {
    let snapshot = snapshot_example();
    assert_eq!(print(&dump(1)), print(&snapshot), "the snapshot is:\n{}", print(&snapshot));
    assert_eq!(dump(1).len(), snapshot.len());
}

#[test]
fn the_log_of_the_example_is_read() {
    let log = dump(0);
    let header = FileHeader::decode(&log).unwrap();
    assert_eq!(header, log_header());
    let successor = Successor::decode(header.seed(), &log[512..]);
    assert_eq!(successor, Some(Successor { ordinal: 3, salt: 0xd3 }));
    let mut scanner = Scanner::new(header.seed(), FRAMES_OFFSET, &log[4096..]);
    for (kind, seq, body) in log_frames() {
        let Step::Frame(frame) = scanner.next_frame() else { panic!("no frame of {kind:?}") };
        let Frame { kind: found_kind, seq: found_seq, body: found_body, .. } = frame;
        assert_eq!((found_kind, found_seq, found_body), (kind, seq, body.as_slice()));
        if kind == FrameKind::Data {
            let operations: Result<Vec<_>, _> = frame.operations().collect();
            let set = Operation::Set { key: b"alice", value: b"one" };
            assert_eq!(operations.unwrap(), [set, Operation::Remove { key: b"bob" }]);
        }
    }
    assert_eq!(scanner.next_frame(), Step::End { offset: log.len() as u64 });
}

#[test]
fn the_snapshot_of_the_example_is_read() {
    let snapshot = dump(1);
    let header = FileHeader::decode(&snapshot).unwrap();
    assert_eq!(header, snapshot_header());
    let mut scanner = BlockScanner::new(header.seed(), BLOCKS_OFFSET, &snapshot[512..]);
    let BlockStep::Block { offset: 512, records } = scanner.next_block() else {
        panic!("no block")
    };
    let found: Vec<_> = records.map(|record| record.map(|r| (r.key, r.value)).unwrap()).collect();
    assert_eq!(found, [(&b"alice"[..], &b"one"[..]), (b"carol", b"c")]);
    let BlockStep::Index { entries, .. } = scanner.next_block() else { panic!("no index") };
    assert!(entries.eq([INDEX_ENTRY]));
    let BlockStep::Footer { footer, .. } = scanner.next_block() else { panic!("no footer") };
    assert_eq!(footer, FOOTER);
    let BlockStep::End { offset } = scanner.next_block() else { panic!("no end") };
    assert_eq!(offset, snapshot.len() as u64);
}
