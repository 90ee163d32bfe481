//! What frames and operations promise: they come back as they were, from their own place alone; every prefix of
//! a log is whole frames and a clean or partial end; and no content is taken for more than it is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

use pkv_format::{
    BadBody, BadFrame, EncodeError, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAMES_OFFSET,
    FileSeed, FrameHeader, FrameKind, KEY_BYTES_MAX, Link, Mark, Operation, Operations, Scanner,
    Seal, Step, find_frame, frame_bytes, push_clear, push_frame, push_remove, push_set,
};
use proptest::prelude::*;

const BASE: u64 = FRAMES_OFFSET;

fn seed() -> FileSeed {
    FileSeed::new([1; 16], 2, 3, 0, 1)
}

/// An operation that owns its bytes.
#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Clear,
}

impl Op {
    fn push(&self, body: &mut Vec<u8>) {
        push_operation(body, &self.borrow());
    }

    fn borrow(&self) -> Operation<'_> {
        match self {
            Op::Set(key, value) => Operation::Set { key, value },
            Op::Remove(key) => Operation::Remove { key },
            Op::Clear => Operation::Clear,
        }
    }
}

fn push_operation(body: &mut Vec<u8>, operation: &Operation<'_>) {
    match operation {
        Operation::Set { key, value } => push_set(body, key, value),
        Operation::Remove { key } => push_remove(body, key),
        Operation::Clear => push_clear(body),
    }
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..longest)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (bytes(40), bytes(300)).prop_map(|(key, value)| Op::Set(key, value)),
        2 => bytes(200).prop_map(Op::Remove),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec(op, 1..5)
}

/// The kind, sequence number and body of a frame.
type Content = (FrameKind, u64, Vec<u8>);

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        6 => (1..=u64::MAX, ops()).prop_map(|(seq, ops)| {
            let mut body = Vec::new();
            for op in &ops {
                op.push(&mut body);
            }
            (FrameKind::Data, seq, body)
        }),
        1 => any::<[u64; 4]>().prop_map(|[seq, previous_ordinal, salt, watermark]| {
            let link = Link { previous_ordinal, previous_salt: salt, watermark };
            (FrameKind::Link, seq, link.encode().to_vec())
        }),
        1 => any::<[u64; 3]>().prop_map(|[seq, watermark, unix_ms]| {
            (FrameKind::Mark, seq, Mark { watermark, unix_ms }.encode().to_vec())
        }),
        1 => any::<[u64; 4]>().prop_map(|[seq, watermark, next_ordinal, next_salt]| {
            let seal = Seal { watermark, next_ordinal, next_salt };
            (FrameKind::Seal, seq, seal.encode().to_vec())
        }),
    ]
}

fn logs() -> impl Strategy<Value = Vec<Content>> {
    prop::collection::vec(contents(), 0..6)
}

fn offset_of(log: &[u8]) -> u64 {
    BASE + u64::try_from(log.len()).unwrap()
}

fn build(contents: &[Content]) -> Vec<u8> {
    let mut log = Vec::new();
    for (kind, seq, body) in contents {
        let offset = offset_of(&log);
        push_frame(&mut log, seed(), offset, *kind, *seq, body).unwrap();
    }
    log
}

fn small_log() -> Vec<u8> {
    let mut body = Vec::new();
    push_set(&mut body, b"alice", b"one");
    let mark = Mark { watermark: 7, unix_ms: 0 }.encode().to_vec();
    build(&[(FrameKind::Data, 7, body), (FrameKind::Mark, 7, mark)])
}

/// The frames up to the first step that is none, and that step.
fn scan(bytes: &[u8]) -> (Vec<Content>, Step<'_>) {
    let mut scanner = Scanner::new(seed(), BASE, bytes);
    let mut frames = Vec::new();
    loop {
        match scanner.next_frame() {
            Step::Frame(frame) => {
                assert_eq!(scanner.offset(), frame.end_offset());
                frames.push((frame.kind, frame.seq, frame.body.to_vec()));
            }
            last => {
                assert_eq!(scanner.next_frame(), last, "the scanner stays where it is");
                return (frames, last);
            }
        }
    }
}

/// Computes the header checksum of a frame anew, so that what stands behind it is reached.
fn reseal(frame: &mut [u8], offset: u64) {
    let mut crc = crc32fast::Hasher::new_with_initial(seed().get());
    crc.update(&offset.to_le_bytes());
    crc.update(&frame[..12]);
    crc.update(&frame[16..24]);
    frame[12..16].copy_from_slice(&crc.finalize().to_le_bytes());
}

fn why_bad(bytes: &[u8]) -> BadFrame {
    match scan(bytes) {
        (frames, Step::Bad { offset: BASE, why }) if frames.is_empty() => why,
        other => panic!("not bad at the front: {other:?}"),
    }
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(contents in logs(), zeros in 0_usize..100) {
        let mut log = build(&contents);
        let end = Step::End { offset: offset_of(&log) };
        log.resize(log.len() + zeros, 0);
        prop_assert_eq!(scan(&log), (contents, end));
    }

    #[test]
    fn every_prefix_is_frames_and_an_end_or_a_partial(contents in logs()) {
        let log = build(&contents);
        let ends: Vec<usize> = (0..=contents.len()).map(|n| build(&contents[..n]).len()).collect();
        for cut in 0..=log.len() {
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            let (frames, last) = scan(&log[..cut]);
            prop_assert_eq!(&frames[..], &contents[..whole]);
            let left = cut - ends[whole];
            match last {
                Step::End { offset } => {
                    prop_assert_eq!(offset, BASE + u64::try_from(ends[whole]).unwrap());
                    prop_assert!(log[cut - left..cut].iter().all(|byte| *byte == 0) && left < 24);
                }
                Step::Partial { offset, bytes } => {
                    prop_assert_eq!(offset, BASE + u64::try_from(ends[whole]).unwrap());
                    let needed = ends[whole + 1] - ends[whole];
                    prop_assert_eq!(bytes, if left < 24 { 24 } else { needed });
                }
                other => prop_assert!(false, "{:?} at {}", other, cut),
            }
        }
    }

    /// Reading on as the steps say gives the same frames, whatever the windows.
    #[test]
    fn windows_of_any_size_see_the_same_frames(contents in logs(), window in 1_usize..200) {
        let mut log = build(&contents);
        log.resize(log.len() + 40, 0);
        let mut found = Vec::new();
        let (mut from, mut bytes) = (0, window);
        loop {
            let to = (from + bytes).min(log.len());
            let mut scanner = Scanner::new(seed(), BASE + u64::try_from(from).unwrap(), &log[from..to]);
            let (next, needed) = loop {
                match scanner.next_frame() {
                    Step::Frame(frame) => found.push((frame.kind, frame.seq, frame.body.to_vec())),
                    Step::End { offset } => break (offset, FRAME_HEADER_BYTES),
                    Step::Partial { offset, bytes } => break (offset, bytes),
                    bad @ Step::Bad { .. } => panic!("{bad:?}"),
                }
            };
            from = usize::try_from(next - BASE).unwrap();
            bytes = needed.max(window);
            if to - from >= needed || to == log.len() {
                break;
            }
        }
        prop_assert_eq!(found, contents);
    }

    #[test]
    fn a_frame_is_valid_at_its_own_place_alone(
        content in contents(),
        offset in any::<u32>(),
        shift in 1..=u32::MAX,
        salt in any::<u64>(),
    ) {
        let (kind, seq, body) = content;
        let offset = u64::from(offset) * 8;
        let mut log = Vec::new();
        push_frame(&mut log, seed(), offset, kind, seq, &body).unwrap();
        prop_assert!(matches!(Scanner::new(seed(), offset, &log).next_frame(), Step::Frame(_)));
        let elsewhere = Scanner::new(seed(), offset + u64::from(shift) * 8, &log).next_frame();
        let refused = matches!(elsewhere, Step::Bad { why: BadFrame::HeaderChecksum, .. });
        prop_assert!(refused);
        let other = FileSeed::new([1; 16], salt, 3, 0, 1);
        prop_assume!(other != seed());
        let stale = Scanner::new(other, offset, &log).next_frame();
        let refused = matches!(stale, Step::Bad { why: BadFrame::HeaderChecksum, .. });
        prop_assert!(refused);
        prop_assert_eq!(find_frame(other, offset, &log), None);
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in bytes(300), base in any::<u64>()) {
        for base in [base, BASE, 0, u64::MAX, u64::MAX - 7] {
            let step = Scanner::new(seed(), base, &bytes).next_frame();
            prop_assert!(!matches!(step, Step::Frame(_)));
            prop_assert_eq!(find_frame(seed(), base, &bytes), None);
        }
    }

    /// Over a mix of zeros, garbage and frames, `find_frame` finds what a try at each place finds.
    #[test]
    fn find_frame_finds_the_first_of_all_places(
        pieces in prop::collection::vec((0_u8..3, 0_usize..40, contents()), 0..6),
        noise in any::<u64>(),
        skip in 0_usize..64,
    ) {
        let mut log = Vec::new();
        for (what, words, (kind, seq, body)) in pieces {
            let offset = offset_of(&log);
            match what {
                0 => log.resize(log.len() + words * 8, 0),
                1 => (0..words).for_each(|_| log.extend(noise.to_le_bytes())),
                _ => push_frame(&mut log, seed(), offset, kind, seq, &body).unwrap(),
            }
        }
        let skip = skip.min(log.len());
        let tried = (skip..log.len()).find_map(|at| {
            let offset = BASE + u64::try_from(at).unwrap();
            let step = Scanner::new(seed(), offset, &log[at..]).next_frame();
            matches!(step, Step::Frame(_)).then_some(offset)
        });
        let base = BASE + u64::try_from(skip).unwrap();
        prop_assert_eq!(find_frame(seed(), base, &log[skip..]), tried);
    }

    #[test]
    fn operations_come_back_as_they_were(ops in ops()) {
        let mut body = Vec::new();
        for op in &ops {
            op.push(&mut body);
        }
        let found: Vec<Operation<'_>> = Operations::new(&body).map(Result::unwrap).collect();
        let expected: Vec<Operation<'_>> = ops.iter().map(Op::borrow).collect();
        prop_assert_eq!(found, expected);
    }

    /// One form for each operation: what is read, encoded again, is the same bytes.
    #[test]
    fn any_body_is_refused_or_canonical(
        body in prop::collection::vec(prop_oneof![0_u8..4, Just(0x80), any::<u8>()], 0..40),
    ) {
        let mut again = Vec::new();
        let mut errors = 0;
        for operation in Operations::new(&body) {
            match operation {
                Ok(operation) => push_operation(&mut again, &operation),
                Err(_) => errors += 1,
            }
        }
        prop_assert!(body.starts_with(&again));
        prop_assert_eq!(errors, usize::from(again.len() < body.len() || body.is_empty()));
    }

    #[test]
    fn every_prefix_of_a_body_ends_between_operations_or_in_an_error(ops in ops()) {
        let mut body = Vec::new();
        let mut ends = Vec::new();
        for op in &ops {
            op.push(&mut body);
            ends.push(body.len());
        }
        for cut in 0..body.len() {
            let whole = Operations::new(&body[..cut]).all(|operation| operation.is_ok());
            prop_assert_eq!(whole, ends.contains(&cut), "{}", cut);
        }
    }
}

#[test]
fn no_flipped_bit_leaves_a_frame_valid() {
    let log = small_log();
    let first_bytes = log.len() - frame_bytes(16);
    let second = Some(BASE + u64::try_from(first_bytes).unwrap());
    for bit in 0..first_bytes * 8 {
        let mut flipped = log.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (frames, last) = scan(&flipped);
        assert!(frames.is_empty(), "{bit}");
        assert!(matches!(last, Step::Bad { offset: BASE, .. }), "{bit}: {last:?}");
        assert_eq!(find_frame(seed(), BASE, &flipped), second, "{bit}");
    }
}

#[test]
fn each_rule_is_checked_behind_a_right_header_checksum() {
    let with = |at: usize, value: u8| {
        let mut log = small_log();
        log[at] = value;
        reseal(&mut log, BASE);
        log
    };
    assert_eq!(why_bad(&with(8, 0)), BadFrame::Kind);
    assert_eq!(why_bad(&with(8, 5)), BadFrame::Kind);
    assert_eq!(why_bad(&with(9, 1)), BadFrame::Flags);
    assert_eq!(why_bad(&with(10, 1)), BadFrame::Reserved);
    assert_eq!(why_bad(&with(11, 1)), BadFrame::Reserved);
    assert_eq!(why_bad(&with(8, 2)), BadFrame::Length, "a link of another length");
    assert_eq!(why_bad(&with(8, 3)), BadFrame::Length, "a mark of another length");
    assert_eq!(why_bad(&with(8, 4)), BadFrame::Length, "a seal of another length");
    assert_eq!(why_bad(&with(4, 0)), BadFrame::Length, "an empty body");
    assert_eq!(why_bad(&with(16, 0)), BadFrame::Sequence);
    assert_eq!(why_bad(&with(0, 0)), BadFrame::BodyChecksum);

    let mut log = small_log();
    let padding = frame_bytes(12) - 1;
    log[padding] = 1;
    assert_eq!(why_bad(&log), BadFrame::Padding);

    // A frame whose checksums are right for an offset at which no frame may stand.
    let mut log = Vec::new();
    push_frame(&mut log, seed(), 4100, FrameKind::Data, 1, b"body").unwrap();
    let step = Scanner::new(seed(), 4100, &log).next_frame();
    assert_eq!(step, Step::Bad { offset: 4100, why: BadFrame::Alignment });
}

#[test]
fn hostile_lengths_are_bad_or_ask_for_a_bounded_slice() {
    let header = |kind, body_bytes| {
        let header = FrameHeader { kind, seq: 1, body_crc: 0, body_bytes };
        header.encode(seed(), BASE).to_vec()
    };
    let longest = u32::try_from(FRAME_BODY_BYTES_MAX).unwrap();
    for length in [0, longest + 1, u32::MAX - 31, u32::MAX] {
        assert_eq!(why_bad(&header(FrameKind::Data, length)), BadFrame::Length, "{length}");
    }
    for kind in [FrameKind::Link, FrameKind::Mark, FrameKind::Seal] {
        assert_eq!(why_bad(&header(kind, longest)), BadFrame::Length);
    }
    let header = header(FrameKind::Data, longest);
    let bytes = frame_bytes(FRAME_BODY_BYTES_MAX);
    assert_eq!(scan(&header), (Vec::new(), Step::Partial { offset: BASE, bytes }));
}

#[test]
fn lengths_are_checked_when_writing() {
    let body = vec![0; FRAME_BODY_BYTES_MAX + 1];
    let mut log = Vec::new();
    let error = push_frame(&mut log, seed(), BASE, FrameKind::Data, 1, &body).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { bytes_max: 67_108_864, .. }), "{error}");
    assert!(FrameHeader::for_body(FrameKind::Data, 1, &body[1..]).is_ok());
    for (kind, seq, bytes) in
        [(FrameKind::Data, 1, 0), (FrameKind::Data, 0, 1), (FrameKind::Mark, 1, 24)]
    {
        let error = push_frame(&mut log, seed(), BASE, kind, seq, &body[..bytes]).unwrap_err();
        assert!(matches!(error, EncodeError::Invalid(_)), "{error}");
    }
    assert_eq!(log, []);
}

#[test]
fn a_body_can_be_checked_later() {
    let mut log = small_log();
    log[FRAME_HEADER_BYTES] ^= 1;
    let mut scanner = Scanner::new(seed(), BASE, &log);
    let Step::Frame(first) = scanner.next_unchecked_body() else { panic!("no first frame") };
    let Step::Frame(second) = scanner.next_unchecked_body() else { panic!("no second frame") };
    assert_eq!(first.check_body(), Err(BadFrame::BodyChecksum));
    assert_eq!(second.check_body(), Ok(()));
    assert_eq!(second.watermark(), Ok(Some(7)));
    assert_eq!(scanner.next_unchecked_body(), Step::End { offset: offset_of(&log) });
}

#[test]
fn find_frame_finds_the_frame_behind_a_hole() {
    let mut body = Vec::new();
    push_set(&mut body, b"key", &[7; 1000]);
    let data = (FrameKind::Data, 1, body);
    let mark = (FrameKind::Mark, 1, Mark { watermark: 1, unix_ms: 0 }.encode().to_vec());
    let log = build(&[data.clone(), data, mark]);
    let mark_at = log.len() - frame_bytes(16);
    let found = Some(BASE + u64::try_from(mark_at).unwrap());
    for hole in [0, 0xff, 0x01] {
        let mut torn = log.clone();
        torn[..mark_at].fill(hole);
        assert_eq!(find_frame(seed(), BASE, &torn), found, "{hole}");
        assert!(matches!(scan(&torn).1, Step::End { offset: BASE } | Step::Bad { .. }));
    }
    // A base between two places; the last place that counts; one behind it; a frame cut short.
    let from = |at: usize| find_frame(seed(), BASE + u64::try_from(at).unwrap(), &log[at..]);
    assert_eq!(from(1), Some(BASE + u64::try_from(mark_at / 2).unwrap()));
    assert_eq!(from(mark_at), found);
    assert_eq!(from(mark_at + 1), None);
    let mut cut = log.clone();
    cut[..mark_at].fill(0);
    cut.pop();
    assert_eq!(find_frame(seed(), BASE, &cut), None);
}

#[test]
fn find_frame_finds_the_frame_behind_any_number_of_zeros() {
    for words in 0..40 {
        let mut log = vec![0; words * 8];
        let offset = offset_of(&log);
        push_frame(&mut log, seed(), offset, FrameKind::Data, 1, b"body").unwrap();
        assert_eq!(find_frame(seed(), BASE, &log), Some(offset), "{words}");
    }
}

#[test]
fn bad_bodies_say_where_and_why() {
    let first = |body: &[u8]| Operations::new(body).find_map(Result::err);
    let mut good = Vec::new();
    push_remove(&mut good, b"key");
    let at = good.len();
    let behind = |tail: &[u8]| first(&[&good[..], tail].concat());

    assert_eq!(first(&[]), Some(BadBody::Empty));
    assert_eq!(behind(&[0]), Some(BadBody::Tag { at, tag: 0 }));
    assert_eq!(behind(&[4]), Some(BadBody::Tag { at, tag: 4 }));
    assert_eq!(behind(&[3]), Some(BadBody::Truncated { at }));
    assert_eq!(behind(&[3, 1]), Some(BadBody::MapId { at, map_id: 1 }));
    assert_eq!(behind(&[3, 0x80, 0]), Some(BadBody::Varint { at }));
    assert_eq!(behind(&[2, 0, 1]), Some(BadBody::Truncated { at }));
    assert_eq!(behind(&[1, 0, 1, 1, b'k']), Some(BadBody::Truncated { at }));
    let key_bytes = 65_537;
    assert_eq!(behind(&[2, 0, 0x81, 0x80, 4]), Some(BadBody::KeyLength { at, key_bytes }));
    assert_eq!(behind(&[1, 0, 0x81, 0x80, 4, 0]), Some(BadBody::KeyLength { at, key_bytes }));
    let huge = [1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(behind(&huge), Some(BadBody::Truncated { at }));
    let mut after_error = Operations::new(&[0, 0]);
    assert!(after_error.next().is_some() && after_error.next().is_none());
}

#[test]
fn the_longest_key_is_read_and_a_longer_one_is_not() {
    for (key_bytes, readable) in [(KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)] {
        let mut body = Vec::new();
        push_set(&mut body, &vec![b'k'; key_bytes], b"");
        assert_eq!(Operations::new(&body).all(|operation| operation.is_ok()), readable);
    }
}

#[test]
fn bodies_that_are_not_data_have_one_length_and_no_salt_without_a_log() {
    let link = Link { previous_ordinal: 0, previous_salt: 0, watermark: 9 };
    assert_eq!(Link::decode(&link.encode()), Ok(link));
    assert_eq!(Link::decode(&Link { previous_salt: 1, ..link }.encode()), Err(BadBody::Salt));
    let seal = Seal { watermark: 9, next_ordinal: 0, next_salt: 0 };
    assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
    assert_eq!(Seal::decode(&Seal { next_salt: 1, ..seal }.encode()), Err(BadBody::Salt));
    for bytes in (0..30).filter(|bytes| *bytes != 24) {
        assert_eq!(Link::decode(&[0; 30][..bytes]), Err(BadBody::Length));
        assert_eq!(Seal::decode(&[0; 30][..bytes]), Err(BadBody::Length));
    }
    for bytes in (0..30).filter(|bytes| *bytes != 16) {
        assert_eq!(Mark::decode(&[0; 30][..bytes]), Err(BadBody::Length));
    }
}

#[test]
fn frame_sizes() {
    let sizes = [(0, 24), (1, 32), (8, 32), (9, 40), (16, 40), (24, 48)];
    for (body_bytes, expected) in sizes {
        assert_eq!(frame_bytes(body_bytes), expected);
    }
    assert!(frame_bytes(usize::MAX) >= usize::MAX - 7, "no overflow");
}
