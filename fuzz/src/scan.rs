//! Any bytes as a log, a snapshot or a header: raw, and with right checksums put around hostile fields,
//! since a fuzzer that must guess checksums never gets behind them.
use super::input::Input;
use pkv_format::{
    BLOCKS_OFFSET, BlockBuilder, BlockScanner, BlockStep, FRAMES_OFFSET, FileHeader, FileSeed,
    Footer, Frame, FrameHeader, FrameKind, IndexEntry, Link, Mark, Operation, Operations, Records,
    Scanner, Seal, Step, Successor, decode_record, find_frame, push_clear, push_frame, push_index,
    push_remove, push_set,
};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let mut input = Input::new(rest);
    match mode % 6 {
        0 => check_raw_log(rest),
        1 => check_raw_snapshot(rest),
        2 => check_pieces(rest),
        3 => check_log(&mut input),
        4 => check_snapshot(&mut input),
        _ => check_forged_frames(&mut input),
    }
}

fn seed() -> FileSeed {
    FileSeed::new([7; 16], 1, 2, 0, 1)
}

/// Walks to the end; what it returns are the frames, and whether the walk ended with something bad.
fn walk<'a>(base_offset: u64, log: &'a [u8]) -> (Vec<Frame<'a>>, bool) {
    let mut scanner = Scanner::new(seed(), base_offset, log);
    let mut unchecked = Scanner::new(seed(), base_offset, log);
    let mut frames: Vec<Frame<'a>> = Vec::new();
    loop {
        let expected = frames.last().map_or(base_offset, Frame::end_offset);
        let step = scanner.next_frame();
        match step {
            Step::Frame(frame) => {
                assert_eq!(frame.offset, expected);
                assert!(frame.end_offset() <= base_offset + log.len() as u64);
                assert_eq!(unchecked.next_unchecked_body(), step);
                assert_eq!(frame.check_body(), Ok(()));
                read_body(&frame);
                frames.push(frame);
            }
            Step::End { offset } | Step::Partial { offset, .. } => {
                assert_eq!(offset, expected);
                return (frames, false);
            }
            Step::Bad { offset, .. } => {
                assert_eq!(offset, expected);
                return (frames, true);
            }
        }
    }
}

/// Every reading of a body, whatever it says.
fn read_body(frame: &Frame<'_>) {
    walk_all(frame.operations());
    let _ = (
        frame.watermark(),
        Link::decode(frame.body),
        Mark::decode(frame.body),
        Seal::decode(frame.body),
    );
}

fn check_raw_log(log: &[u8]) {
    walk(FRAMES_OFFSET, log);
    if let Some(offset) = find_frame(seed(), FRAMES_OFFSET, log) {
        let at = (offset - FRAMES_OFFSET) as usize;
        assert!(!walk(offset, &log[at..]).0.is_empty());
    }
}

/// Asks for every item: what they are does not matter, that they come to an end does.
fn walk_all(items: impl Iterator) {
    let _ = items.count();
}

/// The small decoders, on bytes as they come.
fn check_pieces(bytes: &[u8]) {
    if let Ok(header) = FileHeader::decode(bytes) {
        assert_eq!(header.encode().as_ref().map(|encoded| &encoded[..]), Ok(&bytes[..512]));
    }
    if let Some(successor) = Successor::decode(seed(), bytes) {
        assert_eq!(successor.encode(seed())[..], bytes[..32]);
    }
    if let Ok(record) = decode_record(bytes) {
        assert!(record.bytes_used <= bytes.len());
    }
    walk_all(Operations::new(bytes));
    let count = bytes.first().map_or(0, |&byte| u32::from(byte));
    walk_all(Records::new(bytes, count));
}

/// A log as a writer makes it: read back whole, cut anywhere, with one byte changed anywhere.
fn check_log(input: &mut Input<'_>) {
    let cut = input.u16();
    let (change_at, change) = (input.u16(), input.byte());
    let mut log = Vec::new();
    let mut pushed = Vec::new();
    let mut seq = input.u32().into();
    while !input.is_empty() && pushed.len() < 256 {
        let (kind, body) = body(input, &mut seq);
        let offset = FRAMES_OFFSET + log.len() as u64;
        push_frame(&mut log, seed(), offset, kind, seq, &body).expect("a frame within the limits");
        pushed.push((kind, seq, body, log.len()));
    }

    let (frames, is_bad) = walk(FRAMES_OFFSET, &log);
    assert!(!is_bad);
    assert_eq!(frames.len(), pushed.len());
    for (frame, (kind, seq, body, _)) in frames.iter().zip(&pushed) {
        assert_eq!((frame.kind, frame.seq, frame.body), (*kind, *seq, body.as_slice()));
    }
    if log.is_empty() {
        return;
    }

    let whole_up_to = |len: usize| pushed.iter().take_while(|(.., end)| *end <= len).count();
    let cut = usize::from(cut) % log.len();
    let (frames, is_bad) = walk(FRAMES_OFFSET, &log[..cut]);
    assert!(!is_bad, "a prefix is never bad");
    assert_eq!(frames.len(), whole_up_to(cut));

    if change != 0 {
        let at = usize::from(change_at) % log.len();
        log[at] ^= change;
        let (frames, _) = walk(FRAMES_OFFSET, &log);
        assert_eq!(frames.len(), whole_up_to(at), "a changed byte ends the walk");
    }
}

/// A body as a writer makes it. Data counts `seq` on.
fn body(input: &mut Input<'_>, seq: &mut u64) -> (FrameKind, Vec<u8>) {
    match input.byte() % 8 {
        0 => {
            let (previous_ordinal, previous_salt) = neighbour(input);
            let link = Link { previous_ordinal, previous_salt, watermark: input.u64() };
            assert_eq!(Link::decode(&link.encode()), Ok(link));
            (FrameKind::Link, link.encode().to_vec())
        }
        1 => {
            let mark = Mark { watermark: input.u64(), unix_ms: input.u64() };
            assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
            (FrameKind::Mark, mark.encode().to_vec())
        }
        2 => {
            let (next_ordinal, next_salt) = neighbour(input);
            let seal = Seal { watermark: input.u64(), next_ordinal, next_salt };
            assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
            (FrameKind::Seal, seal.encode().to_vec())
        }
        _ => {
            *seq += 1;
            let mut body = Vec::new();
            let mut count = 0;
            for _ in 0..=input.byte() % 4 {
                match input.byte() % 8 {
                    0 => push_clear(&mut body),
                    1 => push_remove(&mut body, piece(input)),
                    _ => push_set(&mut body, piece(input), piece(input)),
                }
                count += 1;
            }
            let read: Result<Vec<Operation<'_>>, _> = Operations::new(&body).collect();
            assert_eq!(read.map(|operations| operations.len()), Ok(count));
            (FrameKind::Data, body)
        }
    }
}

/// Ordinal and salt of another log: no salt where there is no log.
fn neighbour(input: &mut Input<'_>) -> (u64, u64) {
    let (ordinal, salt) = (input.u64(), input.u64());
    (ordinal, if ordinal == 0 { 0 } else { salt })
}

fn piece<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let len = match input.byte() {
        long @ 250.. => usize::from(long) * 64,
        short => usize::from(short) % 40,
    };
    input.bytes(len)
}

/// Headers with right checksums and any fields: nothing behind them may be believed.
fn check_forged_frames(input: &mut Input<'_>) {
    let kinds = [FrameKind::Data, FrameKind::Link, FrameKind::Mark, FrameKind::Seal];
    let mut log = Vec::new();
    while !input.is_empty() && log.len() < 1 << 16 {
        let kind = kinds[usize::from(input.byte()) % kinds.len()];
        let body_len = usize::from(input.byte());
        let (seq, lie) = (input.u64(), input.byte());
        let body = input.bytes(body_len);
        let body_bytes = if lie % 4 == 0 { input.u32() } else { body.len() as u32 };
        let body_crc = if lie % 4 == 1 { input.u32() } else { pkv_format::body_checksum(body) };
        let offset = FRAMES_OFFSET + log.len() as u64;
        log.extend(FrameHeader { kind, seq, body_crc, body_bytes }.encode(seed(), offset));
        log.extend(body);
        let padded = log.len().next_multiple_of(8);
        log.resize(padded, u8::from(lie % 4 == 2));
    }
    check_forged_log(&log);
}

fn check_forged_log(log: &[u8]) {
    let mut scanner = Scanner::new(seed(), FRAMES_OFFSET, log);
    let mut unchecked = scanner.clone();
    while let Step::Frame(frame) = scanner.next_frame() {
        assert_eq!(unchecked.next_unchecked_body(), Step::Frame(frame));
        assert!(frame.end_offset() <= FRAMES_OFFSET + log.len() as u64);
        read_body(&frame);
    }
    if let Some(offset) = find_frame(seed(), FRAMES_OFFSET, log) {
        let at = (offset - FRAMES_OFFSET) as usize;
        assert!(matches!(Scanner::new(seed(), offset, &log[at..]).next_frame(), Step::Frame(_)));
    }
}

/// What a walk over blocks found: the records of each block, and whether the footer came and then the end.
fn walk_blocks(snapshot: &[u8]) -> (Vec<Vec<(Vec<u8>, Vec<u8>)>>, Option<Footer>) {
    let mut scanner = BlockScanner::new(seed(), BLOCKS_OFFSET, snapshot);
    let mut blocks = Vec::new();
    let mut last = None;
    loop {
        match scanner.next_block() {
            BlockStep::Block { records, .. } => {
                let read: Result<Vec<_>, _> = records
                    .map(|record| record.map(|record| (record.key.to_vec(), record.value.to_vec())))
                    .collect();
                blocks.push(read.unwrap_or_default());
            }
            BlockStep::Index { entries, .. } => drop(entries.collect::<Vec<_>>()),
            BlockStep::Footer { footer, .. } => last = Some(footer),
            BlockStep::End { .. } => return (blocks, last),
            BlockStep::Partial { bytes, .. } => {
                assert!(bytes > 0);
                return (blocks, None);
            }
            _ => return (blocks, None),
        }
    }
}

fn check_raw_snapshot(snapshot: &[u8]) {
    walk_blocks(snapshot);
}

/// A snapshot as a writer makes it: read back whole, cut anywhere, with one byte changed anywhere.
fn check_snapshot(input: &mut Input<'_>) {
    let cut = input.u16();
    let (change_at, change) = (input.u16(), input.byte());
    let mut snapshot = Vec::new();
    let mut written = Vec::new();
    let mut ends = Vec::new();
    let mut builder = BlockBuilder::new();
    while !input.is_empty() && written.len() < 64 {
        let mut records = Vec::new();
        for _ in 0..=input.byte() % 8 {
            let (key, value) = (piece(input), piece(input));
            builder.push(key, value).expect("a record within the limits");
            records.push((key.to_vec(), value.to_vec()));
        }
        let offset = BLOCKS_OFFSET + snapshot.len() as u64;
        snapshot.extend(builder.finish(seed(), offset));
        written.push(records);
        ends.push(snapshot.len());
    }
    let index: Vec<IndexEntry> = (0..input.byte() % 4)
        .map(|_| IndexEntry { first_hash: input.u64(), offset: input.u64() })
        .collect();
    let at = BLOCKS_OFFSET + snapshot.len() as u64;
    push_index(&mut snapshot, seed(), at, &index).expect("a short index");
    let footer = Footer {
        records: input.u64(),
        payload_bytes: input.u64(),
        start_seq: 0,
        end_seq: 1,
        log_ordinal: 1,
        log_salt: input.u64(),
    };
    snapshot.extend(footer.encode(seed(), BLOCKS_OFFSET + snapshot.len() as u64));
    assert_eq!(walk_blocks(&snapshot), (written.clone(), Some(footer)));

    let whole_up_to = |len: usize| ends.iter().take_while(|end| **end <= len).count();
    let cut = usize::from(cut) % snapshot.len();
    assert_eq!(walk_blocks(&snapshot[..cut]), (written[..whole_up_to(cut)].to_vec(), None));

    if change != 0 {
        let at = usize::from(change_at) % snapshot.len();
        snapshot[at] ^= change;
        assert_eq!(walk_blocks(&snapshot), (written[..whole_up_to(at)].to_vec(), None));
    }
}
