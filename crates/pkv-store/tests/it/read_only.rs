//! A reader beside a writer in another process: at each moment a prefix of the writes, never less than was
//! acknowledged before it looked, and not a byte written by it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
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

use crate::support::{Image, Place, contents, restless, small, write_file};

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
