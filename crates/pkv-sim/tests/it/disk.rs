//! Bytes: what is read back, what a crash may leave of them, segments, capacity.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Access, EntryKind, File, Fs, Op, SegmentWay};
use pkv_sim::{Choice, Crash, SimFs};
use proptest::prelude::*;

use crate::mini::as_usize;

const PATH: &str = "/file";
const POWER_CUTS: [Crash; 3] = [Crash::Linux, Crash::Strict, Crash::StrictGarbage];

/// A disk with one empty file, durably named.
pub(crate) fn disk_with_file() -> (Arc<SimFs>, Arc<dyn File>) {
    let fs = SimFs::new(1);
    let file = fs.create_new(Path::new(PATH)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    (fs, file)
}

fn left(fs: &SimFs, crash: Crash, choice: Choice) -> Vec<u8> {
    fs.survivors(crash, choice).contents(Path::new(PATH)).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize, u8),
    SetLen(u64),
    Preallocate(u64),
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6000_u64, 1..3000_usize, 1..=255_u8).prop_map(|(at, len, byte)| Step::Write(at, len, byte)),
        2 => (0..9000_u64).prop_map(Step::SetLen),
        1 => (0..9000_u64).prop_map(Step::Preallocate),
        2 => Just(Step::Sync),
    ]
}

fn sector(bytes: &[u8], index: usize) -> [u8; 512] {
    let mut sector = [0; 512];
    let from = bytes.len().min(index * 512);
    let to = bytes.len().min(index * 512 + 512);
    sector[..to - from].copy_from_slice(&bytes[from..to]);
    sector
}

proptest! {
    /// Against a plain vector: reads are right, a kill loses nothing, synced bytes stay, and each sector and
    /// the size after a power cut are among those since the last sync.
    #[test]
    fn a_file_is_a_vector_that_forgets_unsynced_sectors(
        steps in prop::collection::vec(step(), 1..40),
        seed: u64,
    ) {
        let (fs, file) = disk_with_file();
        let mut since_sync = vec![Vec::<u8>::new()];
        for step in steps {
            let mut bytes = since_sync.last().unwrap().clone();
            match step {
                Step::Write(at, len, byte) => {
                    let from = as_usize(at);
                    bytes.resize(bytes.len().max(from + len), 0);
                    bytes[from..from + len].fill(byte);
                    file.write_at(at, &vec![byte; len]).unwrap();
                }
                Step::SetLen(len) => {
                    bytes.resize(as_usize(len), 0);
                    file.set_len(len).unwrap();
                }
                Step::Preallocate(len) => {
                    bytes.resize(bytes.len().max(as_usize(len)), 0);
                    file.preallocate(len).unwrap();
                }
                Step::Sync => {
                    file.sync_data().unwrap();
                    since_sync.clear();
                }
            }
            since_sync.push(bytes);
        }
        let (durable, now) = (since_sync.first().unwrap(), since_sync.last().unwrap());
        let mut read = vec![1; now.len() + 10];
        prop_assert_eq!(file.read_at(0, &mut read).unwrap(), now.len());
        prop_assert_eq!(&read[..now.len()], now);
        prop_assert_eq!(&fs.contents(Path::new(PATH)).unwrap(), now);
        prop_assert_eq!(&left(&fs, Crash::Kill, Choice::Nothing), now);
        for crash in [Crash::Linux, Crash::Strict] {
            prop_assert_eq!(&left(&fs, crash, Choice::Nothing), durable);
            prop_assert_eq!(&left(&fs, crash, Choice::Everything), now);
            for seed in 0..8 {
                let found = left(&fs, crash, Choice::Random(seed ^ (seed << 32)));
                let size_known = since_sync.iter().any(|bytes| bytes.len() == found.len());
                // A write in several pages may stop at each.
                prop_assert!(size_known || found.len().is_multiple_of(4096), "{}", found.len());
                for index in 0..found.len().div_ceil(512) {
                    // What lies beyond the surviving size reads as zeros.
                    let known = since_sync.iter().any(|bytes| {
                        let kept = &bytes[..bytes.len().min(found.len())];
                        sector(kept, index) == sector(&found, index)
                    });
                    prop_assert!(known, "sector {} was never like this", index);
                }
            }
        }
    }
}

#[test]
fn sectors_of_one_write_survive_apart() {
    let (fs, file) = disk_with_file();
    file.preallocate(4096).unwrap();
    file.sync_data().unwrap();
    file.write_at(0, &[1; 2048]).unwrap();
    for crash in POWER_CUTS {
        assert_eq!(fs.units(crash), 4);
        let bytes = left(&fs, crash, Choice::AllBut(1));
        assert_eq!((bytes[0], bytes[512], bytes[1024], bytes[1536]), (1, 0, 1, 1));
        let bytes = left(&fs, crash, Choice::Only(2));
        assert_eq!((bytes[0], bytes[512], bytes[1024], bytes[1536]), (0, 0, 1, 0));
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let bytes = left(&fs, crash, Choice::Random(seed));
            seen.insert([bytes[0] == 1, bytes[512] == 1, bytes[1024] == 1, bytes[1536] == 1]);
        }
        assert_eq!(seen.len(), 16, "{crash}");
    }
}

#[test]
fn a_sector_survives_in_any_of_its_contents() {
    let (fs, file) = disk_with_file();
    for byte in 1..=3 {
        file.write_at(0, &[byte; 512]).unwrap();
    }
    file.sync_data().unwrap();
    for byte in 4..=6 {
        file.write_at(0, &[byte; 512]).unwrap();
    }
    for crash in POWER_CUTS {
        let mut seen: Vec<u8> =
            (0..100).map(|seed| left(&fs, crash, Choice::Random(seed))[0]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [3, 4, 5, 6]);
    }
}

#[test]
fn garbage_shows_only_where_nothing_was_durable() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 512]).unwrap();
    file.sync_data().unwrap();
    file.write_at(0, &[2; 1024]).unwrap();
    let is_garbage = |bytes: &[u8]| !bytes.iter().all(|byte| [0, 1, 2].contains(byte));
    let mut garbage = 0;
    for seed in 0..200 {
        let bytes = left(&fs, Crash::StrictGarbage, Choice::Random(seed));
        assert!(!is_garbage(&bytes[..512]));
        garbage += usize::from(is_garbage(&bytes[512..]));
        assert!(!is_garbage(&left(&fs, Crash::Strict, Choice::Random(seed))));
    }
    assert!(garbage > 0);
}

#[test]
fn a_size_gets_ahead_of_its_bytes_only_on_the_strict_disk() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 512]).unwrap();
    file.write_at(512, &[2; 512]).unwrap();
    let zeros = |crash| (0..200).any(|seed| left(&fs, crash, Choice::Random(seed)).contains(&0));
    assert!(zeros(Crash::Strict));
    assert!(!zeros(Crash::Linux));
    let sizes = |crash| -> Vec<usize> {
        let mut sizes: Vec<usize> =
            (0..200).map(|seed| left(&fs, crash, Choice::Random(seed)).len()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    };
    assert_eq!(sizes(Crash::Linux), [0, 512, 1024]);
    assert_eq!(sizes(Crash::Strict), [0, 512, 1024]);
}

#[test]
fn a_long_write_grows_a_file_page_by_page() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 100]).unwrap();
    file.sync_data().unwrap();
    file.write_at(100, &[2; 9000]).unwrap();
    for crash in [Crash::Linux, Crash::Strict] {
        let sizes: BTreeSet<usize> =
            (0..200).map(|seed| left(&fs, crash, Choice::Random(seed)).len()).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [100, 4096, 8192, 9100]);
    }
    // A hole is no step.
    file.write_at(1 << 60, &[3]).unwrap();
    assert_eq!(file.len().unwrap(), (1 << 60) + 1);
}

#[test]
fn a_sync_does_not_cover_what_is_written_while_it_runs() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 512]).unwrap();
    fs.set_sync_pause(Duration::from_millis(300));
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| file.sync_data().unwrap());
        std::thread::sleep(Duration::from_millis(100));
        file.write_at(0, &[2; 512]).unwrap();
        file.write_at(512, &[2; 512]).unwrap();
        syncing.join().unwrap();
    });
    assert_eq!(left(&fs, Crash::Strict, Choice::Nothing), [1; 512]);
    assert_eq!(left(&fs, Crash::Strict, Choice::Everything), [2; 1024]);
    fs.set_sync_pause(Duration::ZERO);
    file.sync_data().unwrap();
    assert_eq!(left(&fs, Crash::Strict, Choice::Nothing), [2; 1024]);
}

#[test]
fn a_sync_in_flight_promises_nothing() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 512]).unwrap();
    fs.crash_at(fs.last_op() + 1);
    file.sync_data().unwrap_err();
    for crash in POWER_CUTS {
        assert!(left(&fs, crash, Choice::Nothing).is_empty());
        assert_eq!(left(&fs, crash, Choice::Everything), [1; 512]);
    }
}

#[test]
fn what_lies_beyond_a_surviving_size_is_gone() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 100]).unwrap();
    file.sync_data().unwrap();
    file.write_at(100, &[2; 2000]).unwrap();
    let mut shorter = 0;
    for seed in 0..50 {
        let after = fs.survivors(Crash::Strict, Choice::Random(seed));
        let file = after.open(Path::new(PATH), Access::Write).unwrap();
        if file.len().unwrap() == 100 {
            file.set_len(2100).unwrap();
            assert_eq!(after.contents(Path::new(PATH)).unwrap()[100..], [0; 2000]);
            shorter += 1;
        }
    }
    assert!(shorter > 0);
}

#[test]
fn the_next_life_makes_files_of_its_own() {
    let (fs, file) = disk_with_file();
    file.write_at(0, b"old").unwrap();
    file.sync_data().unwrap();
    for crash in Crash::ALL {
        let after = fs.survivors(crash, Choice::Everything);
        after.create_new(Path::new("/new")).unwrap().write_at(0, b"new").unwrap();
        assert_eq!(after.contents(Path::new(PATH)).unwrap(), b"old");
        assert_eq!(after.contents(Path::new("/new")).unwrap(), b"new");
    }
}

/// Bytes of which none is zero and none equals its neighbours.
fn counted(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() + 1).collect()
}

/// Which of these bytes are in the file at `offset`; all others there must be zeros.
fn written(file: &[u8], offset: usize, bytes: &[u8]) -> Vec<bool> {
    let found = &file[offset..offset + bytes.len()];
    assert!(found.iter().zip(bytes).all(|(found, byte)| [0, *byte].contains(found)));
    assert_eq!(
        file.iter().filter(|byte| **byte != 0).count(),
        found.iter().filter(|byte| **byte != 0).count()
    );
    found.iter().map(|byte| *byte != 0).collect()
}

#[test]
fn a_killed_write_is_torn_between_pages() {
    let (fs, file) = disk_with_file();
    file.preallocate(5 * 4096).unwrap();
    fs.crash_at(fs.last_op() + 1);
    let bytes = counted(3 * 4096);
    let failed = file.write_at(2048, &bytes).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Other);
    assert!(fs.is_off());
    assert!(file.len().is_err() && fs.list(Path::new("/")).is_err());
    let found = |choice| written(&left(&fs, Crash::Kill, choice), 2048, &bytes);
    let lengths: BTreeSet<usize> = (0..50)
        .map(|seed| {
            let found = found(Choice::Random(seed));
            let length = found.iter().take_while(|there| **there).count();
            assert!(!found[length..].contains(&true));
            length
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([2048, 2048 + 4096, 2048 + 2 * 4096]));
    assert!(!found(Choice::Nothing).contains(&true));
    assert!(!found(Choice::Everything).contains(&false));
}

#[test]
fn a_killed_segment_write_keeps_its_promise() {
    for way in [SegmentWay::Written, SegmentWay::Mapped] {
        let (fs, file) = disk_with_file();
        file.preallocate(5 * 4096).unwrap();
        let segment = file.segment(5 * 4096, way).unwrap();
        assert_eq!(segment.is_mapped(), way == SegmentWay::Mapped);
        fs.crash_at(fs.last_op() + 1);
        let bytes = counted(9000);
        assert!(segment.write(4000, &bytes).is_err());
        let (mut partly, mut first_without_all, mut ragged) = (0, 0, 0);
        for seed in 0..200 {
            let found = written(&left(&fs, Crash::Kill, Choice::Random(seed)), 4000, &bytes);
            let whole = !found.contains(&false);
            partly += usize::from(found.contains(&true) && !whole);
            first_without_all += usize::from(found[0] && !whole);
            ragged += usize::from(found.windows(2).filter(|pair| pair[0] != pair[1]).count() > 2);
        }
        assert!(partly > 0, "{way:?}");
        // A copy is torn in any order, a call between pages, its first page last.
        assert_eq!(first_without_all > 0, way == SegmentWay::Mapped);
        assert_eq!(ragged > 0, way == SegmentWay::Mapped);
    }
}

#[test]
fn segments_check_their_range() {
    let (fs, file) = disk_with_file();
    assert_eq!(file.segment(8, SegmentWay::Mapped).unwrap_err().kind(), ErrorKind::InvalidInput);
    file.preallocate(4096).unwrap();
    for way in [SegmentWay::Written, SegmentWay::Mapped] {
        let segment = file.segment(4096, way).unwrap();
        for (offset, bytes) in [(4, 8), (8, 4), (4096, 8), (4088, 16), (u64::MAX - 7, 8)] {
            let failed = segment.write(offset, &vec![1; bytes]).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::InvalidInput, "{offset} {bytes}");
        }
        segment.populate(0, 4096).unwrap();
        segment.write(4080, &[7; 16]).unwrap();
        assert_eq!(fs.contents(Path::new(PATH)).unwrap()[4080..], [7; 16]);
    }
    let mapped = file.segment(4096, SegmentWay::Mapped).unwrap();
    file.set_len(100).unwrap();
    assert!(mapped.write(96, &[1; 8]).unwrap_err().to_string().contains("SIGBUS"));
}

#[test]
fn a_full_disk_takes_whole_pages_and_heals() {
    let (fs, file) = disk_with_file();
    fs.set_capacity_bytes(Some(4 * 4096));
    file.preallocate(2 * 4096).unwrap();
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), Some(2 * 4096));
    let failed = file.write_at(4096, &vec![1; 5 * 4096]).unwrap_err();
    assert!(failed.is_full());
    assert_eq!(fs.contents(Path::new(PATH)).unwrap(), [vec![0; 4096], vec![1; 3 * 4096]].concat());
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), Some(0));
    file.write_at(0, &vec![2; 4 * 4096]).unwrap();
    assert!(file.write_at(4 * 4096, &[3]).unwrap_err().is_full());
    assert!(file.preallocate(u64::MAX).unwrap_err().is_full());
    let other = fs.create_new(Path::new("/other")).unwrap();
    assert!(other.write_at(0, &[1]).unwrap_err().is_full());
    file.set_len(4096).unwrap();
    other.write_at(0, &[1]).unwrap();
    assert_eq!(fs.used_bytes(), 2 * 4096);
    fs.remove(Path::new("/other")).unwrap();
    assert_eq!(fs.used_bytes(), 4096);
}

#[test]
fn a_full_disk_leaves_no_head_of_a_segment_write() {
    let (fs, file) = disk_with_file();
    file.set_len(4 * 4096).unwrap();
    let segment = file.segment(4 * 4096, SegmentWay::Written).unwrap();
    fs.set_capacity_bytes(Some(2 * 4096));
    assert!(segment.write(8, &[1; 3 * 4096]).unwrap_err().is_full());
    assert!(!fs.contents(Path::new(PATH)).unwrap()[..4096].contains(&1));
}

#[test]
fn handles_keep_their_file() {
    let (fs, file) = disk_with_file();
    file.write_at(0, b"kept").unwrap();
    fs.rename(Path::new(PATH), Path::new("/renamed")).unwrap();
    fs.remove(Path::new("/renamed")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let mut bytes = [0; 4];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 4);
    assert_eq!(&bytes, b"kept");
    let reader = SimFs::new(1);
    reader.plant(Path::new(PATH), b"read");
    let reader = reader.open(Path::new(PATH), Access::Read).unwrap();
    assert_eq!(reader.write_at(0, b"x").unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(reader.read_at(2, &mut bytes).unwrap(), 2);
    assert_eq!(reader.read_at(9, &mut bytes).unwrap(), 0);
}

#[test]
fn errors_of_names_are_those_of_the_trait() {
    let fs = SimFs::new(1);
    let kind = |failed: pkv_fs::Result<()>| failed.unwrap_err().kind();
    fs.plant(Path::new("/dir/file"), b"x");
    fs.plant_other(Path::new("/dir/fifo"));
    let (file, fifo) = (Path::new("/dir/file"), Path::new("/dir/fifo"));
    assert!(!fs.create_dir(Path::new("/dir")).unwrap());
    assert_eq!(kind(fs.create_dir(file).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_dir(Path::new("/no/dir")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.create_new(file).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_new(Path::new("/no/file")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.open(fifo, Access::Read).map(drop)), ErrorKind::InvalidInput);
    assert_eq!(kind(fs.open(Path::new("/dir"), Access::Read).map(drop)), ErrorKind::InvalidInput);
    assert_eq!(kind(fs.open(Path::new("/dir/no"), Access::Read).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(fs.rename(file, fifo)), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.rename(Path::new("/dir/no"), Path::new("/x"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.list(file).map(drop)), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.sync_dir(Path::new("/no"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.remove(Path::new("/dir"))), ErrorKind::IsADirectory);
    let mut kinds: Vec<EntryKind> =
        fs.list(Path::new("dir/.")).unwrap().into_iter().map(|entry| entry.kind).collect();
    kinds.sort_by_key(|kind| *kind == EntryKind::Other);
    assert_eq!(kinds, [EntryKind::File, EntryKind::Other]);
    assert_eq!(fs.paths(), [file]);
}

#[test]
fn a_lock_has_one_holder_and_dies_with_it() {
    let fs = SimFs::new(1);
    let path = Path::new("/lock");
    let held = fs.lock(path, Duration::ZERO).unwrap();
    held.file().write_at(0, b"me").unwrap();
    assert_eq!(fs.lock(path, Duration::ZERO).unwrap_err().kind(), ErrorKind::WouldBlock);
    let after = fs.survivors(Crash::Kill, Choice::Nothing);
    let again = after.lock(path, Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs.lock(path, Duration::from_secs(20)).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(after.lock(path, Duration::ZERO).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(again);
    after.lock(path, Duration::ZERO).map(drop).unwrap();
}

#[test]
fn who_waits_for_a_lock_dies_with_the_machine() {
    let fs = SimFs::new(1);
    let path = Path::new("/lock");
    let held = fs.lock(path, Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fs.lock(path, Duration::from_secs(20)).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        fs.crash_at(0);
        fs.list(Path::new("/")).unwrap_err();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Other);
    });
    drop(held);
}

#[test]
fn settings_live_on_and_random_numbers_do_not_repeat() {
    let fs = SimFs::new(7);
    fs.set_can_map(false);
    fs.set_unix_time_ms(5);
    fs.set_capacity_bytes(Some(1 << 20));
    let after = fs.survivors(Crash::Strict, Choice::Nothing);
    assert!(!after.can_map(Path::new("/")).unwrap());
    assert_eq!(after.unix_time_ms(), 5);
    assert_eq!(after.free_bytes(Path::new("/")).unwrap(), Some(1 << 20));
    assert_eq!(fs.random_u64(), SimFs::new(7).random_u64());
    assert_ne!(SimFs::new(7).random_u64(), after.random_u64());
}

/// The journal is another way to the same disk: cut the power in a run, or rebuild it from the record of one.
#[test]
fn a_rebuilt_disk_is_the_disk_of_a_run_that_was_cut() {
    let run = |fs: &Arc<SimFs>| -> pkv_fs::Result<()> {
        fs.create_dir(Path::new("/dir"))?;
        let file = fs.create_new(Path::new("/dir/new"))?;
        file.preallocate(3 * 4096)?;
        file.sync_data()?;
        let segment = file.segment(3 * 4096, SegmentWay::Written)?;
        segment.write(8, &[1; 6000])?;
        fs.sync_dir(Path::new("/dir"))?;
        fs.sync_dir(Path::new("/"))?;
        file.write_at(600, &[2; 9000])?;
        fs.rename(Path::new("/dir/new"), Path::new("/dir/old"))?;
        let mapped = file.segment(3 * 4096, SegmentWay::Mapped)?;
        mapped.write(16, &[3; 1600])?;
        fs.create_new(Path::new("/dir/new"))?.write_at(0, b"second")?;
        file.set_len(5000)?;
        file.sync_data()?;
        fs.remove(Path::new("/dir/old"))?;
        fs.sync_dir(Path::new("/dir"))
    };
    let whole = SimFs::new(3);
    whole.start_journal();
    run(&whole).unwrap();
    let journal = whole.take_journal().unwrap();
    assert_eq!(journal.cuts().len(), 17);
    let mut walk = journal.replay();
    for op in journal.cuts() {
        let cut = SimFs::new(3);
        cut.crash_at(op);
        assert_eq!(run(&cut).is_err(), cut.is_off());
        walk.advance_to(op);
        let again = journal.state_at(op);
        let choices = [Choice::Nothing, Choice::Everything, Choice::AllBut(1), Choice::Only(0)];
        for crash in Crash::ALL {
            assert_eq!(cut.units(crash), walk.units(crash));
            for choice in choices.into_iter().chain((0..20).map(Choice::Random)) {
                let [a, b, c] = [
                    cut.survivors(crash, choice),
                    walk.survivors(crash, choice),
                    again.survivors(crash, choice),
                ];
                let all = |fs: &SimFs| {
                    let paths = fs.paths();
                    paths.into_iter().map(|path| (fs.contents(&path), path)).collect::<Vec<_>>()
                };
                assert_eq!(all(&a), all(&b), "{op} {crash} {choice}");
                assert_eq!(all(&b), all(&c), "{op} {crash} {choice}");
                assert_eq!(a.last_op(), b.last_op());
            }
        }
    }
    // Backwards, too.
    let first = journal.cuts()[0];
    walk.advance_to(first);
    assert!(walk.survivors(Crash::Kill, Choice::Nothing).paths().is_empty());
}

#[test]
fn calls_are_counted_by_class() {
    let (fs, file) = disk_with_file();
    let before = fs.last_op();
    file.write_at(0, &[1; 8]).unwrap();
    file.sync_data().unwrap();
    let mapped = file.segment(8, SegmentWay::Mapped).unwrap();
    mapped.write(0, &[1; 8]).unwrap();
    assert!(fs.open(Path::new("/no"), Access::Read).is_err());
    assert_eq!((fs.calls(Op::Write), fs.calls(Op::Sync), fs.calls(Op::Open)), (1, 1, 1));
    assert_eq!(fs.last_op(), before + 5);
}
