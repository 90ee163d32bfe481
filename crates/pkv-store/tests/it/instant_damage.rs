//! A snapshot that an instant opening leaves for later, and that cannot be read then, or is damaged, or was made up.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure in a helper fails the test")]
#![expect(clippy::indexing_slicing, reason = "a failure in a helper fails the test")]
#![expect(clippy::as_conversions, reason = "of lengths, in a test")]

use std::ops::Range;
use std::path::Path;

use pkv_format::{
    BLOCKS_OFFSET, BlockScanner, BlockStep, FOOTER_BYTES, FileHeader, Footer, IndexEntry,
    push_index,
};
use pkv_fs::Op;
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, Error, Health, LogWay};

use crate::crash_rig::{DIR, options as options_on};
use crate::instant::{Made, key, options};
use crate::support::{Image, contents, eventually, read_file, write_file};

/// Where the blocks of a snapshot file stand, and its index.
fn taken_apart(file: &[u8]) -> (FileHeader, Vec<Range<usize>>, Vec<IndexEntry>) {
    let header = FileHeader::decode(file).unwrap();
    let blocks_at = usize::try_from(BLOCKS_OFFSET).unwrap();
    let mut scanner = BlockScanner::new(header.seed(), BLOCKS_OFFSET, &file[blocks_at..]);
    let mut blocks = Vec::new();
    loop {
        match scanner.next_block() {
            BlockStep::Block { offset, .. } => {
                let from = usize::try_from(offset).unwrap();
                blocks.push(from..usize::try_from(scanner.offset()).unwrap());
            }
            BlockStep::Index { entries, .. } => return (header, blocks, entries.collect()),
            other => panic!("{other:?}"),
        }
    }
}

/// The first key of a snapshot file.
fn first_key(file: &[u8]) -> Vec<u8> {
    let (header, blocks, _) = taken_apart(file);
    let mut scanner =
        BlockScanner::new(header.seed(), BLOCKS_OFFSET, &file[blocks[0].start..blocks[0].end]);
    let BlockStep::Block { mut records, .. } = scanner.next_block() else { panic!("no block") };
    records.next().unwrap().unwrap().key.to_vec()
}

/// A file with the same blocks and footer, and another index or none.
fn with_index(file: &[u8], index: Option<&[IndexEntry]>) -> Vec<u8> {
    let (header, blocks, _) = taken_apart(file);
    let footer_at = file.len() - FOOTER_BYTES;
    let footer_offset = u64::try_from(footer_at).unwrap();
    let BlockStep::Footer { footer, .. } =
        BlockScanner::new(header.seed(), footer_offset, &file[footer_at..]).next_block()
    else {
        panic!("no footer")
    };
    let mut made = file[..blocks.last().map_or(512, |last| last.end)].to_vec();
    if let Some(index) = index {
        let at = u64::try_from(made.len()).unwrap();
        push_index(&mut made, header.seed(), at, index).unwrap();
    } else {
        made[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let checksum = pkv_format::body_checksum(&made[..508]);
        made[508..512].copy_from_slice(&checksum.to_le_bytes());
    }
    let at = u64::try_from(made.len()).unwrap();
    made.extend(footer.encode(header.seed(), at));
    made
}

#[test]
fn a_snapshot_without_an_index_is_loaded_at_once() {
    let made = Made::new(2, 100);
    let mut image = made.image();
    for name in image.named("full") {
        let file = image.0[&name].clone();
        image.0.insert(name, with_index(&file, None));
    }
    image.write(&made.place.store());
    let store = made.open(&options());
    assert!(store.is_loaded() && !store.recovery_report().is_instant);
    assert_eq!(contents(&store), made.model);
}

#[test]
fn an_index_that_was_made_up_is_damage_and_never_another_value() {
    let made = Made::new(2, 0);
    let image = made.image();
    let names = image.named("full");
    let (_, blocks, index) = taken_apart(&image.0[&names[1]]);
    assert!(index.len() > 2 && blocks.len() > index.len(), "{} spans", index.len());
    let moved = |change: &dyn Fn(&mut Vec<IndexEntry>)| {
        let mut index = index.clone();
        change(&mut index);
        index
    };
    let made_up: Vec<(&str, Vec<IndexEntry>)> = vec![
        ("none", vec![]),
        ("the first is missing", moved(&|index| _ = index.remove(0))),
        ("out of order", moved(&|index| index.swap(0, 1))),
        ("hashes out of order", moved(&|index| index[2].first_hash = index[1].first_hash)),
        ("twice the same block", moved(&|index| index[2].offset = index[1].offset)),
        ("within a block", moved(&|index| index[1].offset += 4)),
        ("behind the end", moved(&|index| index[1].offset = u64::MAX)),
        (
            "two behind the last record",
            moved(&|index| {
                let offset = blocks.last().unwrap().end as u64;
                let last = index.last().unwrap().first_hash;
                let behind = |more| IndexEntry { first_hash: last + more, offset };
                index.extend([behind(1), behind(2)]);
            }),
        ),
        ("hashes of the file before", moved(&|index| index[0].first_hash = 0)),
        ("a hash too high", moved(&|index| index[1].first_hash += 1 << 58)),
        ("a hash too low", moved(&|index| index[1].first_hash -= 1 << 58)),
        (
            "another block",
            moved(&|index| {
                let at = blocks.iter().position(|b| b.start as u64 == index[1].offset).unwrap();
                index[1].offset = blocks[at + 1].start as u64;
            }),
        ),
    ];
    for (what, index) in made_up {
        let mut image = image.clone();
        image.0.insert(names[1].clone(), with_index(&image.0[&names[1]], Some(&index)));
        image.write(&made.place.store());
        let opened = ByteStore::open(made.place.store(), &options().instant_open(true));
        let loaded = opened.and_then(|store| {
            for (key, value) in made.model.iter().step_by(37) {
                match store.get(key) {
                    // It can hide a key until all are loaded.
                    Ok(None) => {}
                    Ok(found) => assert_eq!(found.as_ref(), Some(value), "{what}"),
                    Err(Error::Damaged { path, .. }) => assert!(path.ends_with(&names[1])),
                    Err(other) => panic!("{what}: {other}"),
                }
            }
            store.wait_loaded()
        });
        let Err(Error::Damaged { path, .. }) = &loaded else { panic!("{what}: {loaded:?}") };
        assert!(path.ends_with(&names[1]), "{what}: {path:?}");
        // Who loads everything at once says so, too, though it could do without.
        let whole = ByteStore::open(made.place.store(), &options()).map(drop);
        assert!(matches!(whole, Err(Error::Damaged { .. })), "{what}: {whole:?}");
    }
}

#[test]
fn damage_is_told_where_it_is_met_and_nothing_is_written_from_then_on() {
    let made = Made::new(2, 300);
    let image = made.image();
    let name = image.named("full")[1].clone();
    let (_, blocks, _) = taken_apart(&image.0[&name]);
    let mut damaged = image.clone();
    let at = blocks[blocks.len() / 2].start;
    damaged.0.get_mut(&name).unwrap()[at + 500] ^= 4;
    damaged.write(&made.place.store());
    assert!(matches!(ByteStore::open(made.place.store(), &options()), Err(Error::Damaged { .. })));
    let store = made.open(&options());
    // Before it is met, the store is as good as any.
    let whole = image.named("full")[0].clone();
    let first = first_key(&image.0[&whole]);
    store.insert(&first, b"before the damage", Durability::Power).unwrap();
    let mut model = made.model.clone();
    model.insert(first.clone(), b"before the damage".to_vec());
    let mut refused = 0;
    for (key, value) in &model {
        match store.get(key) {
            Ok(found) => assert_eq!(found.as_ref(), Some(value)),
            Err(Error::Damaged { path, offset, .. }) => {
                assert!(path.ends_with(&name));
                assert_eq!(offset, u64::try_from(at).unwrap());
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((100..made.model.len() / 4).contains(&refused), "{refused} keys refused");
    let Health::Damaged(cause) = store.health() else { panic!("{:?}", store.health()) };
    assert!(cause.to_string().contains(&name), "{cause}");
    let snapshot = || {
        let image = made.image();
        image.named("full").into_iter().map(|name| image.0[&name].clone()).collect::<Vec<_>>()
    };
    let (held, last_seq) = (snapshot(), store.last_seq());
    let refused = |outcome: Result<(), Error>| {
        let Err(Error::Damaged { offset, .. }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(*offset, u64::try_from(at).unwrap());
    };
    // Of a part that is whole, and loaded.
    refused(store.insert(&first, b"", Durability::Process).map(drop));
    refused(store.remove(&first, Durability::Process).map(drop));
    refused(store.batch().insert(&first, b"").commit(Durability::Process).map(drop));
    refused(store.compact().map(drop));
    refused(store.clear(Durability::Process).map(drop));
    refused(store.view().map(drop));
    refused(store.iter().try_for_each(|entry| entry.map(drop)));
    // Nor once the file is as it was: what was refused meanwhile would be missing.
    let path = made.place.store().join(&name);
    let mut bytes = read_file(&path);
    bytes[at + 500] ^= 4;
    write_file(&path, &bytes);
    refused(store.wait_loaded());
    refused(store.insert(&first, b"", Durability::Process).map(drop));
    bytes[at + 500] ^= 4;
    write_file(&path, &bytes);
    // What only looks is no write.
    store.batch().if_present(&first).commit(Durability::Process).unwrap();
    // What was acknowledged can still be made to last.
    store.wait_durable(last_seq).unwrap();
    store.sync().unwrap();
    assert_eq!(store.last_seq(), last_seq);
    store.close().unwrap();
    assert_eq!(snapshot(), held);
    // With the file as it was, nothing is missing.
    let mut mended = Image::of(&made.place.store());
    mended.0.insert(name.clone(), image.0[&name].clone());
    mended.write(&made.place.store());
    assert_eq!(contents(&ByteStore::open(made.place.store(), &options()).unwrap()), model);
}

/// The loading thread tried once, and left the rest to whoever came.
#[test]
fn the_loading_thread_tries_again_what_it_could_not_read() {
    let fs = SimFs::new(3);
    let on = options_on(&fs, LogWay::Mapped).instant_open(true);
    let store = ByteStore::open(Path::new(DIR), &on).unwrap();
    for number in 0..100 {
        store.insert(&key(number), &[1; 500], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let before = fs.calls(Op::Read);
    ByteStore::open(Path::new(DIR), &on).unwrap().close().unwrap();
    let reads = fs.calls(Op::Read) - before;
    fs.inject(Fault::from_then_on(Op::Read, reads + 3, FaultKind::Eio));
    let store = ByteStore::open(Path::new(DIR), &on.background(true)).unwrap();
    eventually("a health that tells", || matches!(store.health(), Health::LoadFailing(_)));
    assert!(!store.is_loaded() && store.health().takes_writes());
    fs.clear_faults();
    eventually("everything is loaded", || store.is_loaded());
    eventually("good health", || matches!(store.health(), Health::Good));
    assert_eq!(store.len(), 100);
}

#[test]
fn a_file_that_cannot_be_read_just_now_is_read_later() {
    let fs = SimFs::new(3);
    let on = options_on(&fs, LogWay::Mapped);
    let store = ByteStore::open(Path::new(DIR), &on).unwrap();
    for number in 0..100 {
        store.insert(&key(number), b"value", Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let store = ByteStore::open(Path::new(DIR), &on.instant_open(true)).unwrap();
    fs.inject(Fault::once(Op::Read, 1, FaultKind::Eio));
    assert!(matches!(store.get(&key(1)), Err(Error::Fs(_))));
    assert_eq!(store.get(&key(1)).unwrap().as_deref(), Some(&b"value"[..]));
    assert!(store.health().takes_writes());
    assert_eq!(store.len(), 100);
}

/// Records that had come before a read failed counted as such that stand twice.
#[test]
fn a_read_that_fails_amid_a_span_is_no_damage() {
    let fs = SimFs::new(3);
    let on = options_on(&fs, LogWay::Written).map_shards(1).snapshot_shards(1);
    let on = on.snapshot_shard_bytes(1 << 30).segment_bytes(1 << 20, 32 << 20);
    let store = ByteStore::open(Path::new(DIR), &on).unwrap();
    // Behind some short records, in one span with them, and longer than what is read at once.
    let long = vec![7; 6 << 20];
    for number in 0..500 {
        store.insert(&key(number), b"short", Durability::Process).unwrap();
    }
    store.insert(b"long", &long, Durability::Process).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let mut failed = 0;
    for failing in 1..=4 {
        let store = ByteStore::open(Path::new(DIR), &on.clone().instant_open(true)).unwrap();
        fs.inject(Fault::once(Op::Read, failing, FaultKind::Eio));
        match store.get(b"long") {
            Ok(found) => assert_eq!(found.as_ref(), Some(&long)),
            Err(Error::Fs(_)) => failed += 1,
            Err(error) => panic!("{error}"),
        }
        fs.clear_faults();
        assert_eq!(store.get(b"long").unwrap().as_ref(), Some(&long));
        assert_eq!(store.len(), 501);
        assert!(matches!(store.health(), Health::Good));
    }
    assert!(failed >= 2, "the second read was not met");
}

/// A snapshot file with another footer.
fn with_footer(file: &[u8], change: impl FnOnce(&mut Footer)) -> Vec<u8> {
    let header = FileHeader::decode(file).unwrap();
    let at = file.len() - FOOTER_BYTES;
    let BlockStep::Footer { mut footer, .. } =
        BlockScanner::new(header.seed(), at as u64, &file[at..]).next_block()
    else {
        panic!("no footer")
    };
    change(&mut footer);
    [&file[..at], &footer.encode(header.seed(), at as u64)].concat()
}

/// Each says so whenever it is asked, and none makes a number overflow.
#[test]
fn counts_that_were_made_up_are_damage() {
    type Change = (&'static str, fn(&mut Footer));
    let made = Made::new(2, 100);
    let image = made.image();
    let name = image.named("full")[0].clone();
    let changes: [Change; 6] = [
        ("no records", |footer| footer.records = 0),
        ("a record less", |footer| footer.records -= 1),
        ("a record more", |footer| footer.records += 1),
        ("records", |footer| footer.records = u64::MAX),
        ("a byte less", |footer| footer.payload_bytes -= 1),
        ("bytes", |footer| footer.payload_bytes = u64::MAX),
    ];
    for (what, change) in changes {
        let mut image = image.clone();
        image.0.insert(name.clone(), with_footer(&image.0[&name], change));
        image.write(&made.place.store());
        let opened = ByteStore::open(made.place.store(), &options().instant_open(true));
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
                continue;
            }
        };
        for _ in 0..3 {
            let loaded = store.wait_loaded();
            assert!(matches!(loaded, Err(Error::Damaged { .. })), "{what}: {loaded:?}");
            assert!(!store.is_loaded() && !store.health().takes_writes(), "{what}");
        }
        let known = store.get_with(&first_key(&image.0[&name]), |_| store.len());
        assert!(known.is_ok_and(|len| len.is_some()) || what.contains("records"), "{what}");
    }
}
