//! What cannot be brought about from outside.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkv_format::{FRAMES_OFFSET, FrameKind, Mark, Scanner, Step};
use pkv_fs::{CountingFs, Op};
use pkv_sim::SimFs;

use super::LogSettings;
use super::keeper::next_segment_bytes;
use super::pages::Making;
use crate::codec::Upgrade;
use crate::core::Core;
use crate::options::{Durability, LogWay, Options};
use crate::recover::Types;
use crate::write::{Decision, Prepare};

fn open(fs: &Arc<SimFs>) -> Arc<Core> {
    open_on(Arc::<SimFs>::clone(fs))
}

fn open_on(fs: Arc<dyn pkv_fs::Fs>) -> Arc<Core> {
    let options = Options::new()
        .file_system(fs)
        .background(false)
        .log_way(LogWay::Mapped)
        .map_shards(4)
        .segment_bytes(16 * 1024, 16 * 1024);
    let types = Types::Known { key_schema: "bytes".into(), upgrade: Upgrade::of::<Vec<u8>>() };
    Core::open(&options, Path::new("/db"), &types).unwrap()
}

fn insert(core: &Core, value: &[u8]) {
    insert_with(core, value, Durability::Process);
}

fn insert_with(core: &Core, value: &[u8], durability: Durability) {
    let prepare = Prepare::Set(value);
    core.write_one(b"key", prepare, durability, |_, _| Ok(Decision::AsPrepared)).unwrap();
}

/// A line of the cache that another processor changed last is as far away as memory: an append asks for one.
#[test]
fn what_each_append_changes_stands_on_one_line() {
    let core = open(&SimFs::new(1));
    insert(&core, b"first");
    let lines = {
        let (log, tail) = (&core.log, core.log.tail.lock());
        let active = tail.current.as_ref().unwrap();
        let numbers = [&tail.last_seq, &tail.appended_bytes, &tail.log_bytes, &active.end];
        let mut addresses: Vec<_> = numbers.map(|number| std::ptr::from_ref(number).addr()).into();
        addresses.push(std::ptr::from_ref(&log.last_seq).addr());
        // The lock begins where its mutex does.
        addresses.push(std::ptr::from_ref(&log.tail).addr());
        addresses.push(std::ptr::from_ref(&tail.sync_asleep).addr());
        addresses.push(std::ptr::from_ref(&active.populate_at).addr());
        addresses.into_iter().map(|address| address / crate::map::LINE_BYTES).collect::<Vec<_>>()
    };
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    core.close().unwrap();
}

/// Each segment keeps room for one mark and the seal. A sync that ended late once brought a second mark,
/// which took the seal's room: the seal then stood beyond the segment, and the folder did not open.
#[test]
fn a_second_mark_does_not_take_the_room_of_the_seal() {
    let fs = SimFs::new(1);
    let core = open(&fs);
    insert(&core, b"first");
    // As full as a segment gets: a frame for all that is left but the room that is kept.
    let left = {
        let tail = core.log.tail.lock();
        let active = tail.current.as_ref().unwrap();
        active.log.segment_bytes - active.end - super::ROOM_KEPT_BYTES - super::MARK_FRAME_BYTES
    };
    insert(&core, &vec![7; usize::try_from(left).unwrap() - 40]);
    for watermark in [1, 2, 2] {
        let mut tail = core.log.tail.lock();
        tail.mark_due = Some(watermark);
        core.log.write_due_mark(&mut tail).unwrap();
        let active = tail.current.as_ref().unwrap();
        assert!(active.end + super::SEAL_FRAME_BYTES <= active.log.segment_bytes);
    }
    core.close().unwrap();
    drop(core);
    assert_eq!(open(&fs).map.len(), 1);
}

/// A mark behind a pause in writing was once written where zeros were on their way: they wiped it out, and every write
/// behind it was lost with it.
#[test]
fn a_mark_waits_for_zeros_that_are_being_written() {
    let fs = SimFs::new(1);
    let core = open(&fs);
    insert(&core, b"first");
    core.log.sync().unwrap();
    let end = || core.log.tail.lock().current.as_ref().unwrap().end;
    let before = end();
    core.log.tail.lock().making = Making::Zeros;
    std::thread::scope(|scope| {
        let mark = scope.spawn(|| core.log.sync_idle_mark());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!mark.is_finished() && end() == before);
        core.log.tail.lock().making = Making::Nothing;
        core.log.room.notify_all();
    });
    assert_eq!(end(), before + super::MARK_FRAME_BYTES);
    core.close().unwrap();
}

/// A write that waited for room decides anew. What it had decided first once stayed in the frame: a
/// `compare_and_set` that met an expired entry, and the next time the value that it asked for, set the key
/// in memory and logged its removal.
#[test]
fn a_write_that_decides_anew_logs_what_it_does() {
    for first in [Decision::Remove, Decision::Set] {
        let fs = SimFs::new(1);
        let core = open(&fs);
        // The first write of a store finds no segment and waits.
        let mut decisions = [first, Decision::AsPrepared].into_iter();
        core.write_one(b"key", Prepare::Set(b"prepared"), Durability::Process, |_, buffer| {
            *buffer = vec![7; 2000];
            Ok(decisions.next().unwrap())
        })
        .unwrap();
        assert_eq!(decisions.next(), None, "it did not wait");
        let value = |core: &Core| {
            let hash = core.map.hash(b"key");
            let shard = core.map.read(core.map.shard_index(hash));
            shard.get(hash, b"key").map(|value| value.as_bytes().to_vec())
        };
        assert_eq!(value(&core).as_deref(), Some(b"prepared".as_slice()), "{first:?}");
        core.close().unwrap();
        drop(core);
        assert_eq!(value(&open(&fs)).as_deref(), Some(b"prepared".as_slice()), "{first:?}");
    }
}

/// A compaction asks for it while it copies: without, it had a second's writes to sync at its end, and the logs grew
/// by as much again meanwhile.
#[test]
fn a_sync_that_is_asked_for_does_not_wait_for_the_interval() {
    let fs: Arc<dyn pkv_fs::Fs> = SimFs::new(1);
    let options = Options::new().file_system(fs).sync_interval(Duration::from_secs(3600));
    let types = Types::Known { key_schema: "bytes".into(), upgrade: Upgrade::of::<Vec<u8>>() };
    let core = Core::open(&options, Path::new("/db"), &types).unwrap();
    for value in [b"first", b"later"] {
        insert(&core, value);
        core.log.begin_sync();
        let start = Instant::now();
        while core.log.durable_seq() < core.log.last_seq() {
            assert!(start.elapsed() < Duration::from_secs(60), "never synced");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    core.close().unwrap();
}

/// A segment is on the disk whole before anything is in it. They doubled up to 64 MiB, half of what the store held.
#[test]
fn segments_grow_with_speed_but_not_beyond_a_part_of_the_logs() {
    const MIB: u64 = 1 << 20;
    let core = open(&SimFs::new(1));
    let settings = LogSettings {
        segment_bytes_min: MIB,
        segment_bytes_max: 64 * MIB,
        ..core.log.settings.clone()
    };
    let next = |bytes, millis, log_bytes| {
        next_segment_bytes(&settings, bytes, Duration::from_millis(millis), log_bytes)
    };
    assert_eq!([1, 2, 4, 8, 16].map(|mib| next(mib * MIB, 40, MIB) / MIB), [2, 4, 8, 16, 16]);
    assert_eq!(next(16 * MIB, 40, 384 * MIB), 24 * MIB);
    assert_eq!(next(16 * MIB, 40, u64::MAX), 32 * MIB);
    assert_eq!(next(64 * MIB, 40, u64::MAX), 64 * MIB);
    assert!(next(16 * MIB, 40, 300_000_001).is_multiple_of(4096));
    // What a large store begins with stays while it is filled fast.
    assert_eq!(next(32 * MIB, 40, MIB), 32 * MIB);
    assert_eq!(next(8 * MIB, 1_000, 256 * MIB), 8 * MIB);
    assert_eq!([8 * MIB, MIB].map(|bytes| next(bytes, 120_000, MIB)), [4 * MIB, MIB]);
}

/// Who makes pages of the log ahead of the writer makes memory for what the map has to keep, too.
#[test]
fn chunks_are_made_ready_while_a_store_is_written_to() {
    let options = Options::new().file_system(SimFs::new(1)).log_way(LogWay::Mapped).map_shards(1);
    let types = Types::Known { key_schema: "bytes".into(), upgrade: Upgrade::of::<Vec<u8>>() };
    let core = Core::open(&options, Path::new("/db"), &types).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_one_ready = || core.map.usage().held_bytes > core.map.read(0).usage().held_bytes;
    for number in 0_u64.. {
        let decide = |_: Option<&[u8]>, _: &mut Vec<u8>| Ok(Decision::AsPrepared);
        let prepare = Prepare::SetAlways(&[7; 100]);
        core.write_one(&number.to_le_bytes(), prepare, Durability::Process, decide).unwrap();
        if is_one_ready() {
            break;
        }
        assert!(Instant::now() < deadline, "none is ready after {number} writes");
    }
    core.clear(Durability::Process).unwrap();
    // One may have been under way.
    while is_one_ready() {
        assert!(Instant::now() < deadline, "an empty store keeps what nobody needs");
        std::thread::yield_now();
    }
    core.close().unwrap();
}

/// The page that a sync has written is write-protected: a copy is a page fault, and dearer than a call. Who waits for a sync after
/// each write makes one call for the write and its mark; whoever writes more between two syncs copies.
#[test]
fn a_write_that_comes_alone_is_written_with_its_mark() {
    let counting = Arc::new(CountingFs::new(SimFs::new(1)));
    let core = open_on(Arc::<CountingFs>::clone(&counting));
    let writes_of = |durability, value: &[u8]| {
        let before = counting.counts();
        insert_with(&core, value, durability);
        counting.counts().since(&before).calls(Op::Write)
    };
    insert(&core, b"the first segment is made");
    insert_with(&core, b"two for a sync", Durability::Power);
    assert_eq!(writes_of(Durability::Power, b"behind a sync for two"), 0);
    for _ in 0..3 {
        assert_eq!(writes_of(Durability::Power, b"alone"), 1);
    }
    assert_eq!(writes_of(Durability::Process, b"the first behind a sync"), 1);
    assert_eq!(writes_of(Durability::Process, b"the second"), 0);
    assert_eq!(writes_of(Durability::Power, b"the third"), 0);
    assert_eq!(writes_of(Durability::Power, b"behind a sync for three"), 0);
    // Somebody wrote while the last sync ran: the page is written to already.
    core.log.tail.lock().mark_due = Some(core.log.last_seq() - 1);
    assert_eq!(writes_of(Durability::Power, b"not the first"), 0);
    assert_eq!(writes_of(Durability::Power, b"alone again"), 1);
    core.log.tail.lock().making = Making::Zeros;
    assert_eq!(writes_of(Durability::Power, b"beside zeros"), 0);
    core.log.tail.lock().making = Making::Nothing;
    // Each write with the watermark of the mark right before it.
    let expected = [
        (None, 1),
        (None, 2),
        (Some(2), 3),
        (Some(3), 4),
        (Some(4), 5),
        (Some(5), 6),
        (Some(6), 7),
        (None, 8),
        (None, 9),
        (Some(9), 10),
        (Some(9), 11),
        (Some(11), 12),
        (Some(12), 13),
    ];
    assert_eq!(writes_in_the_log(&core), expected);
    core.close().unwrap();
}

/// Of two pages the first might be written, with header and checksums, and the call fail: where the rest of the frame is zeros, a
/// write that was refused would be there.
#[test]
fn a_write_that_comes_alone_and_lies_in_two_pages_is_copied() {
    let counting = Arc::new(CountingFs::new(SimFs::new(1)));
    let core = open_on(Arc::<CountingFs>::clone(&counting));
    let end = || core.log.tail.lock().current.as_ref().map_or(0, |active| active.end);
    let (mut copied, mut called) = (0, 0);
    for _ in 0..300 {
        let (before, start) = (counting.counts(), end());
        insert_with(&core, &[0; 300], Durability::Power);
        let calls = counting.counts().since(&before).calls(Op::Write);
        // A new segment begins with calls.
        if start != 0 && start < end() {
            let is_in_one_page = start / 4096 == (end() - 1) / 4096;
            assert!(calls == 0 || is_in_one_page, "{start} {}", end());
            called += calls;
            copied += u64::from(calls == 0 && !is_in_one_page);
        }
    }
    assert!(copied > 10 && called > 100, "{copied} {called}");
    core.close().unwrap();
}

/// The numbers of all writes in the log in use, each with the watermark of a mark right before it.
fn writes_in_the_log(core: &Core) -> Vec<(Option<u64>, u64)> {
    let log = core.log.tail.lock().current.as_ref().unwrap().log.clone();
    let mut bytes = vec![0; 16 * 1024];
    log.file.read_at(FRAMES_OFFSET, &mut bytes).unwrap();
    let (mut watermark, mut found) = (None, Vec::new());
    let mut scanner = Scanner::new(log.seed, FRAMES_OFFSET, &bytes);
    while let Step::Frame(frame) = scanner.next_frame() {
        match frame.kind {
            FrameKind::Mark => watermark = Some(Mark::decode(frame.body).unwrap().watermark),
            FrameKind::Data => found.push((watermark.take(), frame.seq)),
            FrameKind::Link | FrameKind::Seal => {}
        }
    }
    found
}
