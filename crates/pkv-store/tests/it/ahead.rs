//! Pages made ahead of the writer, on the real disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pkv_fs::{Fs, Op};
use pkv_store::{ByteStore, Durability, Error, LogWay, Options};

use crate::support::{Contents, HookFs, Place, contents, in_time};

const MIB: usize = 1 << 20;

/// Options of a store whose writes are a stream once they have come to a megabyte, in a segment with room for more.
fn streaming(fs: Arc<dyn Fs>) -> Options {
    Options::new()
        .file_system(fs)
        .log_way(LogWay::Mapped)
        .segment_bytes(4 << 20, 4 << 20)
        .sync_interval(Duration::from_secs(3600))
}

/// What comes while zeros are being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// A frame that touches its own pages.
    LongFrame,
    /// A frame that needs the next segment, and touches its own pages there.
    NextSegment,
    /// A compaction, which goes on to a segment of its own.
    Compaction,
    Close,
}

/// Zeros are written into the segment in use, ahead of its end. A frame, a seal or a cut that came amid them would be
/// lost with the zeros that came late: each waits.
#[test]
fn nothing_is_written_where_zeros_are_being_written() {
    for meanwhile in
        [Meanwhile::LongFrame, Meanwhile::NextSegment, Meanwhile::Compaction, Meanwhile::Close]
    {
        let (is_slow, slow_pieces) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (slow, pieces) = (Arc::clone(&is_slow), Arc::clone(&slow_pieces));
        let fs = HookFs::hooked(move |op, _| {
            let is_zeros = std::thread::current().name() == Some("pkv-populate");
            if is_zeros && op == Op::Write && slow.load(Ordering::SeqCst) {
                pieces.fetch_add(1, Ordering::SeqCst);
                // Anything else could come first.
                std::thread::sleep(Duration::from_millis(300));
            }
            Ok(())
        });
        let place = Place::new();
        let options = streaming(fs);
        let store = ByteStore::open(place.store(), &options).unwrap();
        let mut expected = Contents::new();
        let mut insert = |bytes: usize| {
            let (key, value) = (expected.len().to_le_bytes().to_vec(), vec![7; bytes]);
            store.insert(&key, &value, Durability::Process).unwrap();
            expected.insert(key, value);
        };
        // About 1,050 bytes of the log each.
        (0..1100).for_each(|_| insert(1000));
        is_slow.store(true, Ordering::SeqCst);
        let slow = (0..400).take_while(|_| slow_pieces.load(Ordering::SeqCst) == 0);
        let made = slow.map(|_| insert(1000)).count();
        assert!(made < 400, "{meanwhile:?}: a stream had no pages made by zeros");
        match meanwhile {
            Meanwhile::LongFrame => insert(MIB),
            Meanwhile::NextSegment => std::thread::scope(|scope| {
                // It goes on where the long frame waits. A full segment is cut as soon as it is synced.
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(50));
                    store.insert(b"short", b"frame", Durability::Power).unwrap();
                });
                insert(3 * MIB + MIB / 2);
            }),
            Meanwhile::Compaction => drop(store.compact().unwrap()),
            Meanwhile::Close => {}
        }
        if meanwhile == Meanwhile::NextSegment {
            expected.insert(b"short".to_vec(), b"frame".to_vec());
        }
        // Every piece that was begun has ended by then.
        store.close().unwrap();
        let store = ByteStore::open(place.store(), &options)
            .unwrap_or_else(|error| panic!("{meanwhile:?}: {error}"));
        assert!(contents(&store) == expected, "{meanwhile:?}");
    }
}

/// The populating thread's panic poisons: whoever waits for its zeros is told, and the store can be closed.
#[test]
fn a_panic_amid_zeros_leaves_nobody_waiting() {
    let has_panicked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&has_panicked);
    let fs = HookFs::hooked(move |op, _| {
        if std::thread::current().name() == Some("pkv-populate") && op == Op::Write {
            // Somebody waits by then.
            std::thread::sleep(Duration::from_millis(100));
            told.store(true, Ordering::SeqCst);
            panic!("planted by a test");
        }
        Ok(())
    });
    let place = Place::new();
    let store = ByteStore::open(place.store(), &streaming(fs)).unwrap();
    in_time("a writer and a close behind a panic", move || {
        // Frames so long touch their own pages: until the thread comes, nobody waits for it.
        let value = vec![7; 100_000];
        let error = (0..10_000_u32)
            .find_map(|n| {
                std::thread::sleep(Duration::from_millis(1));
                store.insert(&(n % 100).to_le_bytes(), &value, Durability::Process).err()
            })
            .expect("a stream has pages made by zeros");
        assert!(matches!(error, Error::Poisoned(_)), "{error}");
        assert!(matches!(store.close(), Err(Error::Poisoned(_))));
    });
    assert!(has_panicked.load(Ordering::SeqCst));
}

/// Without threads it is a writer that writes the zeros. Its panic once left all others waiting for them, and the close.
#[test]
fn a_writer_that_panics_amid_zeros_leaves_nobody_waiting() {
    let panics = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&panics);
    // Within a segment's life nothing but zeros is written to it by a call.
    let fs = HookFs::hooked(move |op, _| {
        assert!(op != Op::Write || !asked.load(Ordering::SeqCst), "planted by a test");
        Ok(())
    });
    let place = Place::new();
    let options = streaming(fs).background(false);
    let store = ByteStore::open(place.store(), &options).unwrap();
    let value = vec![7; 1000];
    let insert = |n: u32| store.insert(&n.to_le_bytes(), &value, Durability::Process).unwrap().seq;
    (0..1100).for_each(|n| assert_eq!(insert(n), u64::from(n) + 1));
    panics.store(true, Ordering::SeqCst);
    let unwritten = (1100..1500).find(|n| catch_unwind(AssertUnwindSafe(|| insert(*n))).is_err());
    panics.store(false, Ordering::SeqCst);
    let unwritten = unwritten.expect("a stream has pages made by zeros");
    in_time("a writer and a close behind a panic", move || {
        store.insert(b"long", &vec![7; MIB], Durability::Process).unwrap();
        store.close().unwrap();
    });
    let store = ByteStore::open(place.store(), &options).unwrap();
    assert_eq!(store.len(), u64::from(unwritten) + 1);
}
