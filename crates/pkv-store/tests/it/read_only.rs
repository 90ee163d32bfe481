//! A reader beside a writer in another process: at each moment a prefix of the writes, never less than was
//! acknowledged before it looked, and not a byte written by it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure in a helper fails the test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pkv_fs::{CountingFs, Op, StdFs};
use pkv_store::{
    ByteStore, Durability, Error, LogWay, Options, ReadOnlyByteStore, RecoveryMode, Refreshed,
    Store,
};

use crate::support::{
    Contents, HookFs, Image, Place, contents, eventually, restless, small, write_file,
};

const DIR: &str = "PKV_TEST_READ_ONLY_DIR";
const WAY: &str = "PKV_TEST_READ_ONLY_WAY";
const KEYS: u64 = 64;

/// Write `n` has sequence number `n`, so that what a view must hold follows from its last number: every fifth
/// write is a batch of two keys, each other one sets the key `n % KEYS`.
fn write(store: &ByteStore, n: u64) {
    let value = [n.to_le_bytes().to_vec(), vec![7; usize::try_from(n % 300).unwrap()]].concat();
    let durability = if n.is_multiple_of(50) { Durability::Power } else { Durability::Process };
    let seq = if n.is_multiple_of(5) {
        store.batch().insert(b"left", &value).insert(b"right", &value).commit(durability).unwrap()
    } else {
        store.insert(&(n % KEYS).to_le_bytes(), &value, durability).unwrap().seq
    };
    assert_eq!(seq, n);
}

/// Compares every entry of a view with what its last number says.
fn check(view: &ReadOnlyByteStore) {
    let last = view.last_seq();
    let number = |key: &[u8]| {
        view.get_with(key, |value| u64::from_le_bytes(value[..8].try_into().unwrap())).unwrap()
    };
    for key in 0..KEYS {
        let expected = (1..=last)
            .rev()
            .take(usize::try_from(KEYS * 5 + 5).unwrap())
            .find(|n| n % KEYS == key && n % 5 != 0);
        assert_eq!(number(&key.to_le_bytes()), expected, "key {key} in a view up to {last}");
    }
    let batch = Some(last / 5 * 5).filter(|n| *n > 0);
    assert_eq!((number(b"left"), number(b"right")), (batch, batch), "in a view up to {last}");
    assert_eq!(view.iter().flatten().count(), usize::try_from(view.len()).unwrap());
}

#[test]
#[ignore = "the child of the tests of this module"]
fn child_that_writes_until_it_is_killed() {
    let (Ok(dir), Ok(way)) = (std::env::var(DIR), std::env::var(WAY)) else { return };
    let way = if way == "mapped" { LogWay::Mapped } else { LogWay::Written };
    let store = ByteStore::open(dir, &restless().log_way(way).snapshot_shards(3)).unwrap();
    let mut out = std::io::stdout();
    for n in store.last_seq() + 1.. {
        write(&store, n);
        writeln!(out, "\nack {n}").unwrap();
        out.flush().unwrap();
    }
}

/// A running child, and the highest number that it has acknowledged.
fn child(dir: &Path, way: &str, acknowledged: &Arc<AtomicU64>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "read_only::child_that_writes_until_it_is_killed", "--ignored"])
        .arg("--nocapture")
        .env(DIR, dir)
        .env(WAY, way)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let acknowledged = Arc::clone(acknowledged);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).split(b'\n').map_while(Result::ok).peekable();
        while let Some(line) = lines.next() {
            // The last line may be cut off by the kill.
            let line = String::from_utf8(line).unwrap_or_default();
            if lines.peek().is_some()
                && let Some(n) = line.strip_prefix("ack ").and_then(|n| n.parse().ok())
            {
                acknowledged.store(n, Ordering::SeqCst);
            }
        }
    });
    child
}

fn beside_a_writer(way: &str) {
    let place = Place::new();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (mut followed, mut reloaded, mut views) = (0, 0, 0);
    let mut kept: Option<ReadOnlyByteStore> = None;
    for _ in 0..3 {
        let mut writer = child(&place.store(), way, &acknowledged);
        let before = acknowledged.load(Ordering::SeqCst);
        while acknowledged.load(Ordering::SeqCst) == before {
            assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(700) {
            let acknowledged_before = acknowledged.load(Ordering::SeqCst);
            let view = match &mut kept {
                Some(view) => {
                    match view.refresh().expect("a refresh beside a writer") {
                        Refreshed::Followed(_) => followed += 1,
                        Refreshed::Reloaded => reloaded += 1,
                        _ => {}
                    }
                    view
                }
                None => kept.insert(
                    ReadOnlyByteStore::open(place.store(), &small()).expect("a reader opens"),
                ),
            };
            assert!(
                view.last_seq() >= acknowledged_before,
                "{acknowledged_before} was acknowledged, {} is seen",
                view.last_seq()
            );
            check(view);
            views += 1;
            if views % 7 == 0 {
                // Else it would never see a log purged.
                std::thread::sleep(Duration::from_millis(60));
            }
            if views % 20 == 0 {
                kept = None;
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    assert!(followed > 5 && reloaded > 0, "{followed} followed, {reloaded} reloaded");
    // The writer is dead, and its last frame may be torn: a view and the next opening see the same.
    let mut view =
        kept.unwrap_or_else(|| ReadOnlyByteStore::open(place.store(), &small()).unwrap());
    view.refresh().unwrap();
    check(&view);
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.last_seq(), view.last_seq());
}

#[test]
fn a_reader_beside_a_mapped_writer_sees_prefixes() {
    beside_a_writer("mapped");
}

#[test]
fn a_reader_beside_a_written_writer_sees_prefixes() {
    beside_a_writer("written");
}

#[test]
fn a_view_stays_as_it_is_until_it_is_refreshed() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    (1..=200).for_each(|n| write(&store, n));
    let mut view = ReadOnlyByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(view.last_seq(), 200);
    assert_eq!(view.refresh().unwrap(), Refreshed::Unchanged);
    // Over many logs, without a compaction: followed. With one: from the logs that are left.
    (201..=1000).for_each(|n| write(&store, n));
    check(&view);
    assert_eq!(view.refresh().unwrap(), Refreshed::Followed(800));
    check(&view);
    (1001..=1010).for_each(|n| write(&store, n));
    store.compact().unwrap();
    (1011..=1500).for_each(|n| write(&store, n));
    assert!(matches!(view.refresh().unwrap(), Refreshed::Followed(_) | Refreshed::Reloaded));
    assert_eq!(view.last_seq(), 1500);
    check(&view);
    // What the store does when it closes, opens and compacts again is no change of contents.
    store.close().unwrap();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    (1501..=1510).for_each(|n| write(&store, n));
    store.compact().unwrap();
    store.compact().unwrap();
    view.refresh().unwrap();
    assert_eq!(view.last_seq(), 1510);
    check(&view);
}

#[test]
fn a_view_of_a_log_that_is_gone_is_loaded_again() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    (1..=100).for_each(|n| write(&store, n));
    let mut view = ReadOnlyByteStore::open(place.store(), &small()).unwrap();
    (101..=400).for_each(|n| write(&store, n));
    store.compact().unwrap();
    (401..=410).for_each(|n| write(&store, n));
    assert_eq!(view.refresh().unwrap(), Refreshed::Reloaded);
    assert_eq!(view.last_seq(), 410);
    check(&view);
}

#[test]
fn a_store_that_lost_what_a_view_has_seen_is_read_again() {
    // As after a failed sync: the folder was opened anew and no longer has the last writes.
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    (1..=20).for_each(|n| write(&store, n));
    let earlier = Image::of(&place.store());
    (21..=30).for_each(|n| write(&store, n));
    let mut view = ReadOnlyByteStore::open(place.store(), &small()).unwrap();
    drop(store);
    earlier.write(&place.store());
    let store = ByteStore::open(place.store(), &small()).unwrap();
    assert_eq!(store.last_seq(), 20);
    (21..=25).for_each(|n| write(&store, n));
    assert_eq!(view.refresh().unwrap(), Refreshed::Reloaded);
    assert_eq!(view.last_seq(), 25);
    check(&view);
}

#[test]
fn reading_takes_no_lock_and_writes_nothing() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    (1..=50).for_each(|n| write(&store, n));
    drop(store);
    let before = Image::of(&place.store());
    let counting = Arc::new(CountingFs::new(Arc::new(StdFs)));
    let options = small().file_system(counting.clone());
    let mut view = ReadOnlyByteStore::open(place.store(), &options).unwrap();
    view.refresh().unwrap();
    check(&view);
    let counts = counting.counts();
    for op in Op::ALL {
        let reads = matches!(op, Op::Open | Op::Read | Op::Stat | Op::List);
        assert!(reads || counts.calls(op) == 0, "{op:?} {counts:?}");
    }
    assert!(counts.calls(Op::Open) > 0);
    assert_eq!(Image::of(&place.store()), before);
    // And a writer can open meanwhile.
    drop(ByteStore::open(place.store(), &small()).unwrap());
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let place = Place::new();
    let open = |options: &Options| ReadOnlyByteStore::open(place.store(), options).map(drop);
    assert!(matches!(open(&small()), Err(Error::NotFound { .. })));
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    store.insert("alice", &1).unwrap();
    assert!(matches!(open(&small()), Err(Error::WrongType { .. })));
    let view = Store::<String, u64>::open_read_only(place.store()).unwrap();
    assert_eq!(view.get("alice").unwrap(), Some(1));
    assert!(view.contains_key("alice").unwrap() && !view.is_empty());
    assert_eq!(view.iter().map(Result::unwrap).collect::<Vec<_>>(), [("alice".to_owned(), 1)]);
}

#[test]
fn torn_and_damaged_folders_are_read_by_the_mode() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    (1..=40).for_each(|n| write(&store, n));
    let image = Image::of(&place.store());
    let full = contents(&store);
    drop(store);
    let name = image.named("diff").pop().unwrap();
    let mut damaged = image.clone();
    let bytes = damaged.0.get_mut(&name).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    let path = place.at("torn");
    damaged.write(&path);
    let open = |mode| ReadOnlyByteStore::open(&path, &small().recovery(mode));
    let view = open(RecoveryMode::TornTail).unwrap();
    assert!(view.recovery_report().torn.is_some() && view.last_seq() == 39);
    check(&view);
    assert!(matches!(open(RecoveryMode::Strict), Err(Error::Torn { kept: 39, .. })));

    // Damage to what had been synced: the fiftieth write waits for a sync.
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    (41..=50).for_each(|n| write(&store, n));
    drop(store);
    let mut damaged = Image::of(&place.store());
    let bytes = damaged.0.get_mut(&name).unwrap();
    let middle = 2048 + bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 1;
    damaged.write(&path);
    for mode in [RecoveryMode::TornTail, RecoveryMode::Strict] {
        let refused = open(mode).map(|view| view.recovery_report().clone());
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{mode:?} {refused:?}");
    }
    let mut view = open(RecoveryMode::Salvage).unwrap();
    let report = view.recovery_report().salvage.clone().unwrap();
    assert!(report.writes_lost > 0 && report.writes_lost < 5, "{report:?}");
    assert!(view.len() + 2 >= u64::try_from(full.len()).unwrap());
    assert_eq!(view.refresh().unwrap(), Refreshed::Reloaded);
    write_file(&path.join("foreign"), b"");
    assert_eq!(Image::of(&path).without_lock().0.len(), damaged.without_lock().0.len() + 1);
}

/// What it is, and how a log's bytes come to it.
type Harm = (&'static str, fn(&mut Vec<u8>));

/// What may happen to a log, from its front.
const HARMS: [Harm; 9] = [
    ("no link in front of the first write", drop_link),
    ("a bit of the first frame", |log| log[4096 + 30] ^= 1),
    ("zeros for the first frame", |log| log[4096..4096 + 48].fill(0)),
    ("zeros for the first page of frames", |log| {
        let end = log.len().min(8192);
        log[4096..end].fill(0);
    }),
    ("garbage for the first page of frames", |log| {
        let end = log.len().min(8192);
        log[4096..end].fill(0x5a);
    }),
    ("a bit of the header", |log| log[60] ^= 1),
    ("zeros for the header", |log| log[..512].fill(0)),
    ("zeros for all but the header", |log| log[512..].fill(0)),
    ("zeros for everything", |log| log.fill(0)),
];

/// Takes the first frame of a log away and puts the others in its place, with right checksums.
fn drop_link(log: &mut Vec<u8>) {
    let seed = pkv_format::FileHeader::decode(&log[..512]).unwrap().seed();
    let mut scanner = pkv_format::Scanner::new(seed, 4096, &log[4096..]);
    let mut frames = log[..4096].to_vec();
    let first = scanner.next_frame();
    assert!(
        !matches!(first, pkv_format::Step::Frame(frame) if frame.kind == pkv_format::FrameKind::Data)
    );
    while let pkv_format::Step::Frame(frame) = scanner.next_frame() {
        let offset = u64::try_from(frames.len()).unwrap();
        pkv_format::push_frame(&mut frames, seed, offset, frame.kind, frame.seq, frame.body)
            .unwrap();
    }
    frames.resize(log.len(), 0);
    *log = frames;
}

/// Looks at a folder in all ways that read it: as a writer opens it, beside a writer, and for salvage.
fn compare_ways(place: &Place, image: &Image, what: &str) {
    let path = place.at("looked at");
    let options = small().background(false);
    image.write(&path);
    let mut is_whole = false;
    for mode in [RecoveryMode::TornTail, RecoveryMode::Strict] {
        let options = options.clone().recovery(mode);
        let read = ReadOnlyByteStore::open(&path, &options);
        assert_eq!(Image::of(&path), *image, "{what}");
        let opened = ByteStore::open(&path, &options);
        match (&read, &opened) {
            (Ok(view), Ok(store)) => {
                let shown: Contents = view.iter().map(Result::unwrap).collect();
                assert!(shown == contents(store), "{what}: other contents");
                let [of_view, of_store] = [view.recovery_report(), store.recovery_report()]
                    .map(|report| (report.last_seq, report.watermark, report.torn.is_some()));
                assert_eq!(of_view, of_store, "{what}");
                is_whole = mode == RecoveryMode::Strict;
            }
            (Err(left), Err(right)) => {
                let same = std::mem::discriminant(left) == std::mem::discriminant(right);
                assert!(same, "{what}: {left}; {right}");
            }
            _ => panic!("{what}: {:?}; {:?}", read.map(drop), opened.map(drop)),
        }
        drop(opened);
        image.write(&path);
    }
    let salvage = options.clone().recovery(RecoveryMode::Salvage);
    let view = ReadOnlyByteStore::open(&path, &salvage).unwrap();
    let mut plan = pkv_store::plan_salvage(&path, &options).unwrap();
    let read = view.recovery_report().salvage.as_deref().unwrap();
    // Whether a log that is in use, but holds nothing, is one.
    plan.logs = read.logs;
    assert_eq!(*read, plan, "{what}");
    assert!(is_whole == plan.is_complete(), "{what}: {plan:?}");
}

#[test]
fn every_way_of_reading_says_the_same_of_a_harmed_log() {
    // Found by fuzzing. A reader took the newest log for one that was made ahead and never used, since it did not
    // begin with a whole frame, and showed what came before it as if nothing were missing. And salvage called
    // itself complete where a log had lost its link and opening cut there.
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    (1..=49).for_each(|n| write(&store, n));
    store.compact().unwrap();
    store.insert(b"long", &[7; 12_000], Durability::Power).unwrap();
    store.insert(b"rotated", &[8; 6_000], Durability::Process).unwrap();
    store.insert(b"after", b"", Durability::Power).unwrap();
    let synced = Image::of(&place.store());
    store.insert(b"rotated", &[8; 12_000], Durability::Process).unwrap();
    let unsynced = Image::of(&place.store());
    store.close().unwrap();
    let closed = Image::of(&place.store());
    // With a log made ahead.
    let store = ByteStore::open(place.store(), &small()).unwrap();
    for _ in 0..100 {
        store.insert(b"key", &[9; 300], Durability::Process).unwrap();
    }
    eventually("a log made ahead", || {
        let logs = Image::of(&place.store());
        let newest = logs.named("diff").pop().unwrap();
        let log = &logs.0[&newest];
        log.len() == 16 * 1024 && log[..8] == *b"pkvstore" && log[512..].iter().all(|b| *b == 0)
    });
    let ahead = Image::of(&place.store());
    drop(store);
    let images = [
        (synced, "synced"),
        (unsynced, "not synced"),
        (closed, "closed"),
        (ahead, "with a log made ahead"),
    ];
    for (image, state) in images {
        compare_ways(&place, &image, state);
        let logs = image.named("diff");
        assert!(logs.len() >= 2, "{logs:?}");
        for name in &logs {
            for (harm, change) in HARMS {
                let mut harmed = image.clone();
                change(harmed.0.get_mut(name).unwrap());
                compare_ways(&place, &harmed, &format!("{state}, {name}: {harm}"));
            }
            let mut missing = image.clone();
            missing.0.remove(name);
            compare_ways(&place, &missing, &format!("{state}, {name}: missing"));
            let mut twice = image.clone();
            twice.0.insert(name.replace("_diff", "_pending"), Vec::new());
            compare_ways(&place, &twice, &format!("{state}, {name}: another file of its number"));
        }
    }
}

#[test]
fn a_refresh_says_of_a_damaged_log_what_reading_all_says() {
    let place = Place::new();
    let options = small().background(false);
    let store = ByteStore::open(place.store(), &options).unwrap();
    (1..=20).for_each(|n| write(&store, n));
    let earlier = Image::of(&place.store());
    let log_count = |image: &Image| image.named("diff").len();
    let mut n = 20;
    while log_count(&Image::of(&place.store())) == log_count(&earlier) {
        n += 1;
        write(&store, n);
    }
    store.insert(b"synced", b"", Durability::Power).unwrap();
    store.insert(b"behind", b"", Durability::Power).unwrap();
    let later = Image::of(&place.store());
    drop(store);
    let name = later.named("diff").pop().unwrap();
    assert!(!earlier.0.contains_key(&name), "a log that was taken into use since");
    let path = place.at("followed");
    for (harm, change) in HARMS {
        earlier.write(&path);
        let mut view = ReadOnlyByteStore::open(&path, &options).unwrap();
        assert_eq!(view.last_seq(), 20);
        let mut harmed = later.clone();
        change(harmed.0.get_mut(&name).unwrap());
        harmed.write(&path);
        let all = ReadOnlyByteStore::open(&path, &options).map(|view| view.last_seq());
        match (view.refresh(), all) {
            (Ok(_), Ok(last_seq)) => assert_eq!(view.last_seq(), last_seq, "{harm}"),
            (Err(Error::Damaged { .. }), Err(Error::Damaged { .. })) => {}
            (refreshed, all) => panic!("{harm}: {refreshed:?}; {all:?}"),
        }
    }
}

#[test]
fn a_refresh_refuses_a_torn_end_where_opening_does() {
    let place = Place::new();
    let options = small().background(false);
    let store = ByteStore::open(place.store(), &options).unwrap();
    (1..=20).for_each(|n| write(&store, n));
    let path = place.at("followed");
    Image::of(&place.store()).write(&path);
    let open = |mode| ReadOnlyByteStore::open(&path, &options.clone().recovery(mode)).unwrap();
    let (mut strict, mut lenient) = (open(RecoveryMode::Strict), open(RecoveryMode::TornTail));
    (21..=25).for_each(|n| write(&store, n));
    let mut torn = Image::of(&place.store());
    drop(store);
    let name = torn.named("diff").pop().unwrap();
    let bytes = torn.0.get_mut(&name).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    torn.write(&path);
    assert_eq!(lenient.refresh().unwrap(), Refreshed::Followed(4));
    check(&lenient);
    let refused = strict.refresh().unwrap_err();
    assert!(matches!(refused, Error::Torn { kept: 24, .. }), "{refused}");
    check(&strict);
}

/// Reading beside a writer takes a log that is named and was not listed for one that came since. One that is older than another
/// that is open was missed by the listing, and what stands in the later ones was not shown.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test changes the folder from outside")]
fn a_log_that_the_listing_missed_is_no_end_for_a_reader() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    for number in 0_u64..1000 {
        store.insert(&number.to_le_bytes(), &[7; 100], Durability::Process).unwrap();
    }
    let logs = Image::of(&place.store()).named("diff");
    assert!(logs.len() > 2, "{logs:?}");
    let (log, away, lists) = (place.store().join(&logs[1]), place.at("away"), AtomicU64::new(0));
    let fs = HookFs::hooked(move |op, path| match op {
        Op::List if lists.fetch_add(1, Ordering::SeqCst) == 0 => std::fs::rename(&log, &away),
        // There again when it is looked at, and for the next listing.
        Op::Open | Op::List if (op == Op::List || path == log) && away.exists() => {
            std::fs::rename(&away, &log)
        }
        _ => Ok(()),
    });
    let view = ReadOnlyByteStore::open(place.store(), &small().file_system(fs)).unwrap();
    assert_eq!(view.len(), 1000);
}
