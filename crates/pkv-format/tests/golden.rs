//! The bytes of versions 1 and 2, one literal per kind, made from `FORMAT.md` by other means than this crate. They never
//! change: a new version adds its own.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use pkv_format::{
    BlockBuilder, FileHeader, FileKind, FileSeed, Footer, FrameKind, IndexEntry, Link, Mark, Seal,
    Successor, push_clear, push_frame, push_index, push_record, push_remove, push_set,
};

const STORE_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SALT: u64 = 0x0807_0605_0403_0201;

fn seed() -> FileSeed {
    FileSeed::new(STORE_ID, SALT, 7, 3, 8)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn header(kind: FileKind, segment_bytes: u64) -> FileHeader {
    FileHeader {
        kind,
        ordinal: 7,
        shard: 3,
        shard_count: 8,
        store_id: STORE_ID,
        salt: SALT,
        hash_seed: 0x99,
        segment_bytes,
        key_schema: "k1".into(),
        value_schema: "val".into(),
    }
}

fn header_bytes(front: &str, checksum: &str) -> Vec<u8> {
    let mut golden = bytes(front);
    golden.resize(508, 0);
    golden.extend(bytes(checksum));
    golden
}

fn assert_header(header: &FileHeader, golden: &[u8]) {
    assert_eq!(header.encode().unwrap().to_vec(), golden);
    assert_eq!(FileHeader::decode(golden), Ok(header.clone()));
    assert_eq!(header.seed(), seed());
}

fn assert_frame(offset: u64, kind: FrameKind, seq: u64, body: &[u8], golden: &str) {
    let mut frame = Vec::new();
    push_frame(&mut frame, seed(), offset, kind, seq, body).unwrap();
    assert_eq!(frame, bytes(golden));
}

#[test]
fn file_seed() {
    assert_eq!(seed().get(), 0xc64c_6305);
}

#[test]
fn log_header() {
    let golden = header_bytes(
        "70 6b 76 73 74 6f 72 65 01 00 00 00 01 00 00 00 07 00 00 00 00 00 00 00 03 00 00 00 08 00 00 00
         00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 01 02 03 04 05 06 07 08 99 00 00 00 00 00 00 00
         00 00 10 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 03 00 6b 31 76 61 6c",
        "93 b7 09 c4",
    );
    assert_header(&header(FileKind::Log, 1 << 20), &golden);
}

#[test]
fn snapshot_header_of_version_1_is_read() {
    let golden = header_bytes(
        "70 6b 76 73 74 6f 72 65 01 00 00 00 02 00 00 00 07 00 00 00 00 00 00 00 03 00 00 00 08 00 00 00
         00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 01 02 03 04 05 06 07 08 99 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 03 00 6b 31 76 61 6c",
        "1d 76 2c 5f",
    );
    assert_eq!(FileHeader::decode(&golden), Ok(header(FileKind::Snapshot, 0)));
}

#[test]
fn snapshot_header() {
    let golden = header_bytes(
        "70 6b 76 73 74 6f 72 65 02 00 00 00 02 00 00 00 07 00 00 00 00 00 00 00 03 00 00 00 08 00 00 00
         00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 01 02 03 04 05 06 07 08 99 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 00 03 00 6b 31 76 61 6c",
        "18 56 d1 ab",
    );
    assert_header(&header(FileKind::Snapshot, 0), &golden);
}

#[test]
fn successor() {
    let golden = bytes(
        "08 00 00 00 00 00 00 00 55 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 95 87 6c 1f",
    );
    let successor = Successor { ordinal: 8, salt: 0x55 };
    assert_eq!(successor.encode(seed()).to_vec(), golden);
    assert_eq!(Successor::decode(seed(), &golden), Some(successor));
}

#[test]
fn data_frame_with_every_operation() {
    let mut body = Vec::new();
    push_set(&mut body, b"k", b"vv");
    push_remove(&mut body, b"k");
    push_clear(&mut body);
    let golden = "e9 43 f3 b6 0d 00 00 00 01 00 00 00 24 20 82 b3 2a 00 00 00 00 00 00 00
                  01 00 01 02 6b 76 76 02 00 01 6b 03 00 00 00 00";
    assert_frame(4096, FrameKind::Data, 42, &body, golden);
}

#[test]
fn link_frame() {
    let link = Link { previous_ordinal: 6, previous_salt: 0x44, watermark: 40 };
    let golden = "ee 5b 20 c3 18 00 00 00 02 00 00 00 c7 a3 93 6d 29 00 00 00 00 00 00 00
                  06 00 00 00 00 00 00 00 44 00 00 00 00 00 00 00 28 00 00 00 00 00 00 00";
    assert_frame(4096, FrameKind::Link, 41, &link.encode(), golden);
    assert_eq!(Link::decode(&bytes(golden)[24..]), Ok(link));
}

#[test]
fn mark_frame() {
    let mark = Mark { watermark: 41, unix_ms: 1_700_000_000_000 };
    let golden = "42 92 f0 88 10 00 00 00 03 00 00 00 85 b5 df 90 2a 00 00 00 00 00 00 00
                  29 00 00 00 00 00 00 00 00 68 e5 cf 8b 01 00 00";
    assert_frame(8192, FrameKind::Mark, 42, &mark.encode(), golden);
    assert_eq!(Mark::decode(&bytes(golden)[24..]), Ok(mark));
}

#[test]
fn seal_frame() {
    let seal = Seal { watermark: 42, next_ordinal: 8, next_salt: 0x55 };
    let golden = "06 a6 f4 38 18 00 00 00 04 00 00 00 3a e5 eb dd 2a 00 00 00 00 00 00 00
                  2a 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00 55 00 00 00 00 00 00 00";
    assert_frame(1 << 33, FrameKind::Seal, 42, &seal.encode(), golden);
    assert_eq!(Seal::decode(&bytes(golden)[24..]), Ok(seal));
}

#[test]
fn records() {
    let mut out = Vec::new();
    push_record(&mut out, b"key", b"value");
    push_record(&mut out, b"", b"");
    assert_eq!(out, bytes("0c 05 6b 65 79 76 61 6c 75 65 00 00 00 00 00 00"));

    let mut long = Vec::new();
    push_record(&mut long, &[b'k'; 32], &[b'v'; 128]);
    assert_eq!(long[..5], [0x80, 0x01, 0x80, 0x01, b'k']);
    assert_eq!(long.len(), 164);
}

#[test]
fn block_and_footer() {
    let mut block = BlockBuilder::new();
    block.push(b"key", b"value").unwrap();
    block.push(b"", b"").unwrap();
    let golden = "3a 2d 7d 62 10 00 00 00 02 00 00 00 01 00 00 00
                  0c 05 6b 65 79 76 61 6c 75 65 00 00 00 00 00 00";
    assert_eq!(block.finish(seed(), 512), bytes(golden));

    let footer = Footer {
        records: 2,
        payload_bytes: 8,
        start_seq: 40,
        end_seq: 44,
        log_ordinal: 8,
        log_salt: 0x55,
    };
    let golden = "0f 0b c9 d3 30 00 00 00 00 00 00 00 02 00 00 00
                  02 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00 28 00 00 00 00 00 00 00
                  2c 00 00 00 00 00 00 00 08 00 00 00 00 00 00 00 55 00 00 00 00 00 00 00";
    assert_eq!(footer.encode(seed(), 544).to_vec(), bytes(golden));
}

#[test]
fn index() {
    let entries = [
        IndexEntry { first_hash: 0, offset: 512 },
        IndexEntry { first_hash: 0x0123_4567_89ab_cdef, offset: 66_048 },
    ];
    let mut out = Vec::new();
    push_index(&mut out, seed(), 131_072, &entries).unwrap();
    let golden = "e2 a8 1a 48 28 00 00 00 00 00 00 00 03 00 00 00
                  00 00 00 00 00 00 00 00 00 02 00 00 00 00 00 00
                  ef cd ab 89 67 45 23 01 00 02 01 00 00 00 00 00
                  02 00 00 00 00 00 00 00";
    assert_eq!(out, bytes(golden));
}
