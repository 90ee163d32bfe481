//! Any folder: files of any names and bytes, or a real store taken apart, changed and put together again
//! with right checksums, since a fuzzer that must guess checksums never gets behind them. It is refused,
//! or it opens, works, and opens again with the same contents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pkv_format::{
    BLOCKS_OFFSET, BlockBuilder, BlockScanner, BlockStep, FRAMES_OFFSET, FileHeader, FileKind,
    Footer, FrameKind, HEADER_BYTES, Link, Mark, Scanner, Seal, Step, push_frame, push_index,
};
use pkv_fs::Fs;
use pkv_sim::{Choice, Crash, SimFs};
use pkv_store::{ByteStore, Durability, Inspection, LogWay};

use super::input::Input;
use super::store::{DIR, contents, open, options};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    check(&folder(data));
}

/// The disk with the folder that these bytes are.
pub(crate) fn folder(data: &[u8]) -> Arc<SimFs> {
    let mut input = Input::new(data);
    let files = match input.byte() % 3 {
        0 => any_files(&mut input),
        _ => changed_store(&mut input),
    };
    let fs = SimFs::new(2);
    for (name, bytes) in &files {
        fs.plant(&Path::new(DIR).join(name), bytes);
    }
    fs
}

/// Looking changes nothing and says what opening says; what opens goes on working.
fn check(fs: &Arc<SimFs>) {
    let image = || fs.paths().into_iter().map(|path| (path.clone(), fs.contents(&path)));
    let before: Vec<_> = image().collect();
    let seen: Arc<dyn Fs> = fs.clone();
    let looked = Inspection::on(&seen, DIR).is_ok();
    assert!(image().eq(before), "looking changed the folder");
    check_instant(fs);
    let Ok(store) = open(fs, LogWay::Written) else { return };
    assert!(looked || store.is_empty(), "opens, but cannot be looked at");
    let found = contents(&store);
    assert_eq!(store.len(), u64::try_from(found.len()).expect("a length"));
    if store.insert(b"a key", b"a value", Durability::Power).is_err() {
        return;
    }
    drop(store);
    let store = open(fs, LogWay::Mapped).expect("what opened once opens again");
    let mut again = contents(&store);
    assert_eq!(again.remove(b"a key".as_slice()).as_deref(), Some(b"a value".as_slice()));
    let mut found = found;
    found.remove(b"a key".as_slice());
    assert_eq!(again, found, "another opening shows something else");
}

/// What an instant opening shows, once all is loaded, is what opening shows, or both refuse the folder.
fn check_instant(fs: &Arc<SimFs>) {
    let copy = || fs.survivors(Crash::Kill, Choice::Nothing);
    let whole = open(&copy(), LogWay::Written).map(|store| contents(&store));
    let later = copy();
    let instant = ByteStore::open(DIR, &options(&later, LogWay::Written).instant_open(true));
    let loaded = instant.and_then(|store| {
        let first = store.get(&[23])?;
        store.wait_loaded()?;
        let found = contents(&store);
        assert_eq!(found.get([23].as_slice()), first.as_ref());
        Ok(found)
    });
    // A key that the logs have, too, is not known to stand twice.
    if whole.as_ref().is_err_and(|error| error.to_string().contains("twice")) {
        return;
    }
    let errors = || (whole.as_ref().err(), loaded.as_ref().err());
    assert_eq!(whole.is_ok(), loaded.is_ok(), "opening and loading: {:?}", errors());
    if let (Ok(whole), Ok(loaded)) = (&whole, &loaded) {
        assert_eq!(whole, loaded, "an instant opening shows something else");
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn any_files(input: &mut Input<'_>) -> Files {
    let mut files = Files::new();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let name = name(input);
        let len = usize::from(input.u16()) % 2048;
        let zeros = usize::from(input.byte()) * 64;
        let mut bytes = input.bytes(len).to_vec();
        bytes.resize(bytes.len() + zeros, 0);
        files.insert(name, bytes);
    }
    files
}

/// A name in the grammar, or nearly so, or any.
fn name(input: &mut Input<'_>) -> PathBuf {
    let choice = input.byte();
    let (ordinal, shard, count) = (input.byte() % 6, input.byte() % 4, input.byte() % 4);
    let kind = ["diff", "full", "pending"][usize::from(choice) % 3];
    match choice {
        0..230 => format!("snapshot_{ordinal}_{shard}-of-{count}_{kind}.bin").into(),
        230..240 => {
            format!("snapshot_{}_{shard}-of-{count}_{kind}.bin", u64::MAX - u64::from(ordinal))
                .into()
        }
        240..245 => "snapshots.lock".into(),
        _ => {
            let len = usize::from(input.byte()) % 40;
            let bytes = input.bytes(len).iter().filter(|byte| !matches!(**byte, 0 | b'/'));
            let name: String = bytes.copied().map(char::from).collect();
            format!("x{name}").into()
        }
    }
}

/// Real folders: after a close, and after a kill; with a snapshot and two logs above it.
fn stores() -> &'static [Files; 2] {
    static STORES: OnceLock<[Files; 2]> = OnceLock::new();
    STORES.get_or_init(|| {
        [true, false].map(|closed| {
            let fs = SimFs::new(3);
            let store = open(&fs, LogWay::Mapped).expect("an empty disk opens");
            for key in 0..20_u8 {
                store.insert(&[key], &[key; 30], Durability::Process).expect("a write");
            }
            store.compact().expect("a compaction");
            for key in 10..40_u8 {
                let batch = store.batch().insert(&[key], &[key; 20]).remove(&[key - 10]);
                batch.commit(Durability::Process).expect("a write");
            }
            store.insert(b"long", &[7; 12_000], Durability::Power).expect("a write");
            store.insert(b"rotated", &[8; 6_000], Durability::Process).expect("a write");
            let disk = if closed {
                store.close().expect("a close");
                fs
            } else {
                let killed = fs.survivors(Crash::Kill, Choice::Nothing);
                std::mem::forget(store);
                killed
            };
            let file = |path: PathBuf| {
                let bytes = disk.contents(&path).expect("a file");
                (path.file_name().expect("a name").into(), bytes)
            };
            disk.paths().into_iter().map(file).collect()
        })
    })
}

fn changed_store(input: &mut Input<'_>) -> Files {
    let [closed, killed] = stores();
    let mut files = if input.byte().is_multiple_of(2) { closed.clone() } else { killed.clone() };
    for _ in 0..=input.byte() % 4 {
        let names: Vec<PathBuf> = files.keys().cloned().collect();
        if names.is_empty() {
            break;
        }
        let chosen = &names[input.below(names.len())];
        let Some(bytes) = files.get(chosen).cloned() else { continue };
        match input.byte() % 12 {
            0 => drop(files.remove(chosen)),
            1 => drop(files.insert(name(input), bytes)),
            2 => {
                let other = &names[input.below(names.len())];
                if let Some(swapped) = files.insert(other.clone(), bytes) {
                    files.insert(chosen.clone(), swapped);
                }
            }
            3 => {
                let len = input.below(bytes.len() + 1);
                drop(files.insert(chosen.clone(), bytes[..len].to_vec()));
            }
            4 => {
                let mut bytes = bytes;
                if !bytes.is_empty() {
                    let at = input.below(bytes.len());
                    bytes[at] ^= input.byte();
                }
                drop(files.insert(chosen.clone(), bytes));
            }
            _ => drop(files.insert(chosen.clone(), forged(bytes, input))),
        }
    }
    files
}

/// The file with one thing changed and every checksum right.
fn forged(bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    let Ok(mut header) = FileHeader::decode(&bytes) else { return bytes };
    let old_seed = header.seed();
    let what = input.byte() % 16;
    match what {
        0 => header.ordinal = header.ordinal.wrapping_add(input.u64() % 4),
        1 => header.shard = header.shard.wrapping_add(u32::from(input.byte() % 3)),
        2 => header.salt ^= u64::from(input.byte()),
        3 => header.segment_bytes = input.u64() >> (input.byte() % 64),
        4 => header.hash_seed ^= u64::from(input.byte()),
        5 => header.key_schema = "u64".into(),
        _ => {}
    }
    let Ok(head) = header.encode() else { return bytes };
    match header.kind {
        FileKind::Log => forged_log(&bytes, &header, head, old_seed, what, input),
        FileKind::Snapshot => forged_snapshot(&bytes, &header, head, old_seed, what, input),
    }
}

fn forged_log(
    bytes: &[u8],
    header: &FileHeader,
    head: [u8; HEADER_BYTES],
    old_seed: pkv_format::FileSeed,
    what: u8,
    input: &mut Input<'_>,
) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut scanner = Scanner::new(old_seed, FRAMES_OFFSET, bytes.get(4096..).unwrap_or_default());
    while let Step::Frame(frame) = scanner.next_frame() {
        frames.push((frame.kind, frame.seq, frame.body.to_vec()));
    }
    let count = frames.len().max(1);
    let at = input.below(count);
    if let (6.., Some((kind, seq, body))) = (what, frames.get_mut(at)) {
        match input.byte() % 8 {
            0 => *seq = seq.wrapping_add(input.u64() >> (input.byte() % 64)),
            1 => {
                *kind = [FrameKind::Data, FrameKind::Link, FrameKind::Mark, FrameKind::Seal]
                    [input.below(4)]
            }
            2 => {
                let place = input.below(body.len().max(1));
                body.get_mut(place).into_iter().for_each(|byte| *byte = input.byte());
            }
            3 => body.truncate(input.below(body.len().max(1))),
            4 => {
                (*kind, *body) = (
                    FrameKind::Mark,
                    Mark { watermark: input.u64() >> (input.byte() % 64), unix_ms: 0 }
                        .encode()
                        .to_vec(),
                )
            }
            5 => {
                let (previous_ordinal, previous_salt) = (u64::from(input.byte() % 8), input.u64());
                let watermark = u64::from(input.u16());
                (*kind, *body) = (
                    FrameKind::Link,
                    Link { previous_ordinal, previous_salt, watermark }.encode().to_vec(),
                );
            }
            6 => {
                let (next_ordinal, next_salt) = (u64::from(input.byte() % 8), input.u64());
                let watermark = u64::from(input.u16());
                (*kind, *body) = (
                    FrameKind::Seal,
                    Seal { watermark, next_ordinal, next_salt }.encode().to_vec(),
                );
            }
            _ => {
                let len = usize::from(input.byte());
                *body = input.bytes(len).to_vec();
            }
        }
    }
    if what == 7 && !frames.is_empty() {
        drop(frames.remove(at));
    }
    let mut log = Vec::new();
    for (kind, seq, body) in &frames {
        let offset = FRAMES_OFFSET + u64::try_from(log.len()).expect("a length");
        let _ = push_frame(&mut log, header.seed(), offset, *kind, *seq, body);
    }
    let mut file = head.to_vec();
    file.extend(bytes.get(512..4096).unwrap_or_default());
    file.extend(log);
    if file.len() < bytes.len() && !input.byte().is_multiple_of(4) {
        file.resize(bytes.len(), 0);
    }
    file
}

fn forged_snapshot(
    bytes: &[u8],
    header: &FileHeader,
    head: [u8; HEADER_BYTES],
    old_seed: pkv_format::FileSeed,
    what: u8,
    input: &mut Input<'_>,
) -> Vec<u8> {
    let mut file = head.to_vec();
    let mut scanner =
        BlockScanner::new(old_seed, BLOCKS_OFFSET, bytes.get(512..).unwrap_or_default());
    let mut builder = BlockBuilder::new();
    loop {
        let offset = u64::try_from(file.len()).expect("a length");
        match scanner.next_block() {
            BlockStep::Block { records, .. } => {
                let mut payload = records.payload().to_vec();
                let mut count = u32::try_from(records.count()).unwrap_or(0);
                if what >= 10 && !payload.is_empty() {
                    let place = input.below(payload.len());
                    payload[place] ^= input.byte();
                } else if what == 9 {
                    count = count.wrapping_add(input.u32() >> (input.byte() % 32));
                }
                if builder.push_encoded(count, &payload).is_ok() {
                    file.extend(builder.finish(header.seed(), offset));
                }
            }
            BlockStep::Index { entries, .. } => {
                let mut entries: Vec<_> = entries.collect();
                if what == 5 && !entries.is_empty() {
                    let place = input.below(entries.len());
                    match input.byte() % 4 {
                        0 => entries[place].offset = input.u64() >> (input.byte() % 64),
                        1 => entries[place].first_hash = input.u64() >> (input.byte() % 64),
                        2 => drop(entries.drain(place..)),
                        _ => entries.insert(place, entries[place]),
                    }
                }
                let _ = push_index(&mut file, header.seed(), offset, &entries);
            }
            BlockStep::Footer { footer, .. } => {
                let mut footer: Footer = footer;
                if (6..9).contains(&what) {
                    match input.byte() % 6 {
                        0 => footer.records = footer.records.wrapping_add(input.u64() % 3),
                        1 => footer.payload_bytes ^= u64::from(input.byte()),
                        2 => footer.start_seq = input.u64() >> (input.byte() % 64),
                        3 => footer.end_seq = input.u64() >> (input.byte() % 64),
                        4 => footer.log_ordinal = u64::from(input.byte() % 8),
                        _ => footer.log_salt ^= u64::from(input.byte()),
                    }
                }
                file.extend(footer.encode(header.seed(), offset));
            }
            _ => return file,
        }
    }
}
