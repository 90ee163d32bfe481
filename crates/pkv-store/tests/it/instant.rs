//! A store that is opened before its snapshot is in memory shows at each moment what it would show had all been
//! loaded.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure in a helper fails the test")]
#![expect(clippy::indexing_slicing, reason = "a failure in a helper fails the test")]
#![expect(clippy::as_conversions, reason = "of lengths, in a test")]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_format::{
    BLOCKS_OFFSET, BlockScanner, BlockStep, FOOTER_BYTES, FileHeader, Footer, IndexEntry,
    push_index,
};
use pkv_fs::{CountingFs, Op, StdFs};
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, Error, Health, LogWay, Options, RecoveryMode, Store};

use crate::crash_rig::{DIR, Random, options as options_on};
use crate::support::{Contents, Image, Place, contents, small};

/// A snapshot of so many files, each with several spans, and logs above it with changes of every kind.
struct Made {
    place: Place,
    model: Contents,
}

const ENTRIES: u64 = 12_000;

fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

/// Sometimes long, so that it has a block of its own.
fn value(random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(40) {
        0 => 3000,
        1 => 0,
        _ => 60 + random.below(80),
    };
    vec![u8::try_from(random.below(256)).unwrap(); usize::try_from(bytes).unwrap()]
}

fn change(store: &ByteStore, model: &mut Contents, random: &mut Random) {
    let key = key(random.below(ENTRIES + 500));
    let durability = Durability::Process;
    match random.below(10) {
        0..5 => {
            let value = value(random);
            store.insert(&key, &value, durability).unwrap();
            model.insert(key, value);
        }
        5..8 => {
            let existed = store.remove(&key, durability).unwrap().existed;
            assert_eq!(existed, model.remove(&key).is_some());
        }
        8 => {
            let (other, value) =
                (format!("other {}", random.below(50)).into_bytes(), value(random));
            store.batch().insert(&other, &value).remove(&key).commit(durability).unwrap();
            model.remove(&key);
            model.insert(other, value);
        }
        _ => {
            let swapped = store
                .compare_and_set(&key, model.get(&key).map(Vec::as_slice), Some(b"new"), durability)
                .unwrap();
            assert!(swapped, "{key:?} was something else");
            model.insert(key, b"new".to_vec());
        }
    }
}

impl Made {
    fn new(files: u32, changes: u64) -> Self {
        let place = Place::new();
        let mut random = Random(u64::from(files) + changes);
        let mut model = Contents::new();
        let store = ByteStore::open(place.store(), &options().snapshot_shards(files)).unwrap();
        for number in 0..ENTRIES {
            let value = value(&mut random);
            store.insert(&key(number), &value, Durability::Process).unwrap();
            model.insert(key(number), value);
        }
        store.compact().unwrap();
        for _ in 0..changes {
            change(&store, &mut model, &mut random);
        }
        store.close().unwrap();
        Self { place, model }
    }

    fn open(&self, options: &Options) -> ByteStore {
        ByteStore::open(self.place.store(), &options.clone().instant_open(true)).unwrap()
    }
}

fn options() -> Options {
    small().background(false).compact_log_bytes_min(u64::MAX).segment_bytes(1 << 20, 1 << 20)
}

#[test]
fn every_key_is_what_it_would_be_had_all_been_loaded() {
    for (files, changes) in [(1, 0), (3, 4000), (4, 300)] {
        let mut made = Made::new(files, changes);
        for shards in [1, 4, 64] {
            let store = made.open(&options().map_shards(shards));
            assert!(!store.is_loaded() && store.recovery_report().is_instant);
            let mut random = Random(99 + u64::try_from(shards).unwrap());
            for _ in 0..600 {
                let key = key(random.below(ENTRIES + 500));
                assert_eq!(store.get(&key).unwrap().as_ref(), made.model.get(&key), "{key:?}");
                change(&store, &mut made.model, &mut random);
            }
            let keys: Vec<Vec<u8>> = (0..40).map(|_| key(random.below(ENTRIES + 500))).collect();
            let together = store.get_many(keys.iter().map(Vec::as_slice)).unwrap();
            let singly: Vec<_> = keys.iter().map(|key| made.model.get(key).cloned()).collect();
            assert_eq!(together, singly);
            assert_eq!(contents(&store), made.model, "{files} files, {shards} shards");
            assert!(store.is_loaded());
            store.close().unwrap();
        }
        // And opened in the usual way it is the same.
        assert_eq!(contents(&ByteStore::open(made.place.store(), &options()).unwrap()), made.model);
    }
}

#[test]
fn the_loading_thread_loads_all_beside_who_reads_and_writes() {
    let mut made = Made::new(3, 500);
    let store = made.open(&options().background(true));
    let mut random = Random(5);
    while !store.is_loaded() {
        change(&store, &mut made.model, &mut random);
    }
    assert_eq!(contents(&store), made.model);
    store.close().unwrap();
    // A close in the middle of it waits for no more than what is under way.
    for _ in 0..5 {
        made.open(&options().background(true)).close().unwrap();
    }
    assert_eq!(contents(&made.open(&options())), made.model);
}

#[test]
fn whatever_concerns_all_entries_sees_all() {
    let made = Made::new(2, 200);
    let expected = u64::try_from(made.model.len()).unwrap();
    let fresh = || made.open(&options());
    assert_eq!(fresh().len(), expected);
    assert_eq!(fresh().iter().count(), made.model.len());
    assert_eq!(fresh().view().unwrap().len(), expected);
    let store = fresh();
    let view = store.view().unwrap();
    store.remove(&key(1), Durability::Process).unwrap();
    assert_eq!(view.get(&key(1)).unwrap().as_deref(), made.model.get(&key(1)).map(Vec::as_slice));
    drop(view);
    if let Some(value) = made.model.get(&key(1)) {
        store.insert(&key(1), value, Durability::Process).unwrap();
    }
    drop(store);
    let store = fresh();
    let upper = store.get_with(&key(2), |_| store.len()).unwrap();
    assert!(upper.is_none_or(|upper| upper >= expected), "{upper:?} of {expected}");
    drop(store);
    let store = fresh();
    store.wait_loaded().unwrap();
    assert!(store.is_loaded());
    drop(store);
    fresh().compact().unwrap();
    assert_eq!(contents(&ByteStore::open(made.place.store(), &options()).unwrap()), made.model);
    let store = fresh();
    store.clear(Durability::Process).unwrap();
    assert_eq!((store.get(&key(3)).unwrap(), store.len()), (None, 0));
    store.insert(&key(4), b"after", Durability::Process).unwrap();
    drop(store);
    // The clear is in the logs now, above the snapshot.
    let store = fresh();
    assert_eq!(store.get(&key(3)).unwrap(), None);
    assert_eq!(contents(&store), Contents::from([(key(4), b"after".to_vec())]));
}

#[test]
fn a_clear_amid_many_writes_clears_what_was_there_and_no_more() {
    let mut made = Made::new(3, 0);
    let store = ByteStore::open(made.place.store(), &options()).unwrap();
    let mut random = Random(17);
    for _ in 0..3 {
        for _ in 0..700 {
            change(&store, &mut made.model, &mut random);
        }
        store.clear(Durability::Process).unwrap();
        made.model.clear();
        for _ in 0..700 {
            change(&store, &mut made.model, &mut random);
        }
    }
    store.close().unwrap();
    for (threads, shards) in [(1, 2), (2, 4), (4, 64)] {
        let store = made.open(&options().background(true).io_threads(threads).map_shards(shards));
        assert_eq!(contents(&store), made.model);
    }
}

/// What is read of the disk.
#[test]
fn opening_reads_the_ends_of_the_files_and_a_key_a_piece_of_one() {
    let made = Made::new(2, 0);
    let snapshot_bytes = made.snapshot_bytes();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let reads = || (fs.counts().calls(Op::Read), fs.counts().bytes_read);
    let store = made.open(&options().file_system(fs.clone()));
    let (calls, bytes) = reads();
    assert!(bytes < 64 * 1024, "{bytes} of {snapshot_bytes} bytes in {calls} calls");
    store.get(&key(77)).unwrap().unwrap();
    let (calls_of_get, bytes_of_get) = (reads().0 - calls, reads().1 - bytes);
    assert_eq!(calls_of_get, 1);
    assert!((200_000..400_000).contains(&bytes_of_get), "{bytes_of_get}");
    store.get(&key(77)).unwrap().unwrap();
    assert_eq!(reads(), (calls + calls_of_get, bytes + bytes_of_get));
    store.wait_loaded().unwrap();
    let (_, all) = reads();
    assert!((snapshot_bytes..snapshot_bytes + 128 * 1024).contains(&all), "{all}");
}

/// The full snapshot's files.
impl Made {
    fn image(&self) -> Image {
        Image::of(&self.place.store())
    }

    fn snapshot_bytes(&self) -> u64 {
        let image = self.image();
        let lens = image.named("full").into_iter().map(|name| image.0[&name].len());
        u64::try_from(lens.sum::<usize>()).unwrap()
    }
}

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
    model.insert(first, b"before the damage".to_vec());
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
    refused(store.insert(b"another", b"", Durability::Process).map(drop));
    refused(store.remove(b"another", Durability::Process).map(drop));
    refused(store.batch().insert(b"another", b"").commit(Durability::Process).map(drop));
    refused(store.compact().map(drop));
    refused(store.clear(Durability::Process).map(drop));
    refused(store.view().map(drop));
    refused(store.iter().try_for_each(|entry| entry.map(drop)));
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

/// A compaction wrote an entry for slices behind the last record, and no opening took it.
#[test]
fn what_comes_behind_the_last_record_has_no_span() {
    for values in [1, 10] {
        for _ in 0..8 {
            let place = Place::new();
            let default = Options::new().background(false).compact_log_bytes_min(u64::MAX);
            let store = ByteStore::open(place.store(), &default).unwrap();
            let value = vec![7; 300 << 10];
            for number in 0..values {
                store.insert(&key(number), &value, Durability::Process).unwrap();
            }
            store.compact().unwrap();
            store.close().unwrap();
            for instant in [false, true] {
                let store =
                    ByteStore::open(place.store(), &default.clone().instant_open(instant)).unwrap();
                for number in 0..values {
                    assert_eq!(store.get(&key(number)).unwrap().as_deref(), Some(&value[..]));
                }
            }
        }
    }
}

/// Slices were made without a look at the large values, and a span could be a whole shard.
#[test]
fn large_values_have_small_spans() {
    let place = Place::new();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let one_shard = options().map_shards(1).file_system(fs.clone());
    let store = ByteStore::open(place.store(), &one_shard).unwrap();
    for number in 0..100 {
        store.insert(&key(number), &vec![7; 1 << 20], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &one_shard.instant_open(true)).unwrap();
    let before = fs.counts().bytes_read;
    store.get(&key(1)).unwrap().unwrap();
    let read = fs.counts().bytes_read - before;
    assert!(read < 12 << 20, "{read} bytes for one value of a mebibyte");
}

/// Records that had come before a read failed counted as such that stand twice.
#[test]
fn a_read_that_fails_amid_a_span_is_no_damage() {
    let fs = SimFs::new(3);
    let on = options_on(&fs, LogWay::Written).map_shards(1).snapshot_shards(1);
    let on = on.snapshot_shard_bytes(1 << 30).segment_bytes(1 << 20, 32 << 20);
    let store = ByteStore::open(Path::new(DIR), &on).unwrap();
    // One slice and one block.
    let value = vec![7; 5 << 20];
    for number in 0..3 {
        store.insert(&key(number), &value, Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    for failing in 1..=6 {
        let store = ByteStore::open(Path::new(DIR), &on.clone().instant_open(true)).unwrap();
        fs.inject(Fault::once(Op::Read, failing, FaultKind::Eio));
        let outcomes: Vec<_> = (0..3).map(|number| store.get(&key(number))).collect();
        for outcome in outcomes {
            match outcome {
                Ok(found) => assert_eq!(found.as_ref(), Some(&value)),
                Err(error) => assert!(matches!(error, Error::Fs(_)), "{error}"),
            }
        }
        fs.clear_faults();
        for number in 0..3 {
            assert_eq!(store.get(&key(number)).unwrap().as_ref(), Some(&value));
        }
        assert!(matches!(store.health(), Health::Good));
    }
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

#[test]
fn a_close_waits_for_no_more_than_what_is_under_way() {
    let place = Place::new();
    let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let big = Options::new().expiry(true).compact_log_bytes_min(u64::MAX).file_system(fs.clone());
    let store = ByteStore::open(place.store(), &big).unwrap();
    for number in 0..60_000_u64 {
        store.insert(&number.to_le_bytes(), &[7; 1000], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let before = fs.counts().bytes_read;
    ByteStore::open(place.store(), &big.io_threads(1).instant_open(true)).unwrap().close().unwrap();
    let read = fs.counts().bytes_read - before;
    assert!(read < 30 << 20, "{read} of 60 MB");
}

#[test]
fn what_has_expired_stays_gone_and_the_recorded_time_is_known() {
    let place = Place::new();
    let with_expiry = options().expiry(true);
    let store: Store<String, u64> = with_expiry.open(place.store()).unwrap();
    for number in 0..30_000 {
        store.insert(&format!("stays {number}"), &number).unwrap();
    }
    store.insert_with_ttl("goes", &1, Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(store.get("goes").unwrap(), None);
    store.compact().unwrap();
    store.close().unwrap();
    let store: Store<String, u64> = with_expiry.instant_open(true).open(place.store()).unwrap();
    assert!(!store.is_loaded());
    assert_eq!(store.get("goes").unwrap(), None);
    assert_eq!(store.ttl("stays 7").unwrap(), Some(None));
    assert_eq!(store.sweep().unwrap(), 1);
    assert_eq!(store.len(), 30_000);
}

#[test]
fn a_memory_cap_counts_what_is_to_come() {
    let made = Made::new(1, 0);
    let whole = ByteStore::open(made.place.store(), &options()).unwrap();
    let held = whole.stats().payload_bytes;
    drop(whole);
    let store = made.open(&options().max_memory_bytes(held / 10 * 9));
    let refused = store.insert(b"one more", &[0; 100], Durability::Process);
    assert!(matches!(refused, Err(Error::MemoryCap { .. })), "{refused:?}");
    // What the logs have replaced does not count twice.
    let store = {
        drop(store);
        let store = ByteStore::open(made.place.store(), &options()).unwrap();
        for (key, value) in &made.model {
            store.insert(key, value, Durability::Process).unwrap();
        }
        store.close().unwrap();
        made.open(&options().max_memory_bytes(held / 10 * 15))
    };
    store.insert(b"one more", &[0; 100], Durability::Process).unwrap();
}

#[test]
fn other_settings_go_with_it() {
    let made = Made::new(1, 20);
    // An empty folder, and one that is all log.
    let place = Place::new();
    let instant = options().instant_open(true);
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert!(store.is_loaded());
    store.insert(b"key", b"value", Durability::Process).unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert!(store.is_loaded());
    // A snapshot without records.
    store.clear(Durability::Process).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &instant).unwrap();
    assert_eq!((store.get(b"key").unwrap(), store.len()), (None, 0));
    // Strict.
    let strict = made.open(&options().recovery(RecoveryMode::Strict));
    assert_eq!(contents(&strict), made.model);
}
