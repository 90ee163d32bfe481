//! Crashes of a simulated disk at every operation: killed processes and power cuts, on single writes,
//! batches, clears, rotations, compactions and openings, with the mapped and the written log.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]

use std::path::Path;
use std::sync::Arc;

use pkv_fs::Op;
use pkv_sim::{AckLog, Choice, Crash, Explorer, Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, LogWay};

use crate::crash_rig::{
    DIR, Draw, Event, Writer, first_seed, open, open_either, options, scale, tell_states, verify,
};

/// Single thread: writes, rotations, a compaction, a close and an opening, more writes.
fn workload(
    fs: &Arc<SimFs>,
    acks: &AckLog<Event>,
    way: LogWay,
    writes: u64,
    durability: Option<Durability>,
) {
    let mut writer = Writer::alone(acks, fs_seed(fs));
    let store = open(fs, way).expect("an empty disk opens");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.compact().expect("a compaction on a good disk");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.close().expect("a close on a good disk");
    let store = open_either(fs, way).expect("a closed store opens");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.sync().expect("a sync on a good disk");
    store.compact().expect("a compaction on a good disk");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    // Dropped with the disk: the last writes are not synced.
    std::mem::forget(store);
}

/// Every write nearly fills a log, and only one in seven waits for a sync, which is one of all logs.
fn rarely_synced_rotations(fs: &Arc<SimFs>, acks: &AckLog<Event>, way: LogWay) {
    let mut writer = Writer::alone(acks, fs_seed(fs));
    let store = open(fs, way).expect("an empty disk opens");
    for key in 0..12_u8 {
        let draw = Draw::Set(vec![key], vec![key; 7000]);
        let durability = if key == 6 { Durability::Power } else { Durability::Process };
        writer.make(&store, &draw, durability).expect("a write on a good disk");
    }
    std::mem::forget(store);
}

/// So much that pages are made ahead by writing zeros: short frames that wait for them, long ones that do not, and
/// segments that end amid them.
fn a_stream(fs: &Arc<SimFs>, acks: &AckLog<Event>) {
    let mut writer = Writer::alone(acks, fs_seed(fs));
    let options = options(fs, LogWay::Mapped).segment_bytes(1 << 20, 1 << 20);
    let store = ByteStore::open(Path::new(DIR), &options).expect("an empty disk opens");
    for key in 0..70_u8 {
        let kib = if key % 9 == 0 { 150 } else { 40 };
        let draw = Draw::Set(vec![key % 5], vec![key; kib * 1024]);
        let durability = if key == 35 { Durability::Power } else { Durability::Process };
        writer.make(&store, &draw, durability).expect("a write on a good disk");
    }
    std::mem::forget(store);
}

#[test]
fn zeros_that_were_written_ahead_change_nothing() {
    for crash in [Crash::Kill, Crash::Linux, Crash::Strict] {
        let explorer =
            Explorer { seeds_per_cut: 1, cuts: pkv_sim::Cuts::Sample(20), ..explorer(crash) };
        let way = LogWay::Mapped;
        let report = explorer.run(a_stream, |fs, acked| verify(&fs, acked, way)).ok().unwrap();
        tell_states(&format!("a stream, {crash}"), report.states);
    }
    // It is a stream: beside frames, links, seals and headers the logs were given pieces of zeros.
    let fs = SimFs::new(1);
    a_stream(&fs, &AckLog::new(&fs));
    let writes = fs.calls(Op::Write);
    assert!(writes > 20, "{writes} writes");
}

/// Of several logs that were never synced, the first frame of one in the middle may be lost alone: its
/// successor then follows a log that seems never to have been used, and that is no damage.
#[test]
fn a_link_in_the_middle_may_be_lost() {
    for way in [LogWay::Mapped, LogWay::Written] {
        for crash in [Crash::Linux, Crash::Strict] {
            let explorer =
                Explorer { seeds_per_cut: 24, cuts: pkv_sim::Cuts::Sample(30), ..explorer(crash) };
            let report = explorer
                .run(
                    |fs, acks| rarely_synced_rotations(fs, acks, way),
                    |fs, acked| verify(&fs, acked, way),
                )
                .ok()
                .unwrap();
            tell_states(&format!("lost links, {crash} {way:?}"), report.states);
        }
    }
}

/// A log whose seal nobody waited for lies before one that is written and synced in the next life, after
/// a close or a kill: the seal must have become durable in between, or a cut could tear it, and what
/// stands behind it would count as lost. The sizes move the seal over the border of two sectors.
#[test]
fn a_seal_that_nobody_waited_for_is_durable_before_the_next_life_writes() {
    let mut states = 0;
    for (bytes, closed) in (0..64).map(|n| n * 8).flat_map(|bytes| [(bytes, false), (bytes, true)])
    {
        let fs = SimFs::new(1);
        let way = LogWay::Mapped;
        let store = open(&fs, way).unwrap();
        store.insert(b"first", &vec![1; 200 + bytes], Durability::Power).unwrap();
        // The snapshot goes on to another log, and fails.
        fs.inject(Fault::once(Op::Open, 2, FaultKind::Eio));
        store.compact().unwrap_err();
        let fs = if closed {
            store.close().unwrap();
            fs
        } else {
            let killed = fs.survivors(Crash::Kill, Choice::Nothing);
            std::mem::forget(store);
            killed
        };
        let store = open(&fs, way).unwrap();
        store.insert(b"second", b"life", Durability::Power).unwrap();
        let choices =
            (0..fs.units(Crash::Strict)).flat_map(|n| [Choice::Only(n), Choice::AllBut(n)]);
        for choice in choices.chain([Choice::Nothing, Choice::Everything]) {
            states += 1;
            let cut = fs.survivors(Crash::Strict, choice);
            let again = open(&cut, way)
                .unwrap_or_else(|error| panic!("{bytes} closed {closed} {choice:?}: {error}"));
            assert_eq!(again.len(), 2);
        }
        std::mem::forget(store);
    }
    tell_states("seals", states);
}

fn fs_seed(fs: &Arc<SimFs>) -> u64 {
    pkv_fs::Fs::random_u64(&**fs)
}

fn explore(explorer: &Explorer, way: LogWay, writes: u64, durability: Option<Durability>) {
    let report = explorer
        .run(
            |fs, acks| workload(fs, acks, way, writes, durability),
            |fs, acked| verify(&fs, acked, way),
        )
        .ok()
        .unwrap();
    tell_states(&format!("{} {way:?}", explorer.crash), report.states);
    assert!(
        explorer.replay.is_some() || report.states > 100,
        "{} states show little",
        report.states
    );
}

fn explorer(crash: Crash) -> Explorer {
    Explorer { runs: scale(), seed: first_seed(), seeds_per_cut: 3, ..Explorer::new(crash) }
}

#[test]
fn a_killed_process_loses_nothing_mapped() {
    explore(&explorer(Crash::Kill), LogWay::Mapped, 15, None);
}

#[test]
fn a_killed_process_loses_nothing_written() {
    explore(&explorer(Crash::Kill), LogWay::Written, 15, None);
}

#[test]
fn a_power_cut_leaves_a_prefix_mapped() {
    explore(&explorer(Crash::Linux), LogWay::Mapped, 12, None);
    explore(&explorer(Crash::Strict), LogWay::Mapped, 12, None);
}

#[test]
fn a_power_cut_leaves_a_prefix_written() {
    explore(&explorer(Crash::Linux), LogWay::Written, 12, None);
    explore(&explorer(Crash::Strict), LogWay::Written, 12, None);
}

#[test]
fn garbage_in_unsynced_sectors_is_cut() {
    explore(&explorer(Crash::StrictGarbage), LogWay::Mapped, 10, None);
    explore(&explorer(Crash::StrictGarbage), LogWay::Written, 10, None);
}

#[test]
fn unsynced_writes_may_go_and_never_in_the_middle() {
    explore(&explorer(Crash::Strict), LogWay::Mapped, 20, Some(Durability::Process));
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let nested = Explorer {
        nested: 3,
        cuts: pkv_sim::Cuts::Sample(60),
        seeds_per_cut: 1,
        ..explorer(Crash::Strict)
    };
    explore(&nested, LogWay::Mapped, 10, None);
    let after_kill =
        Explorer { nested_crash: Some(Crash::Strict), ..Explorer { crash: Crash::Kill, ..nested } };
    explore(&after_kill, LogWay::Mapped, 10, None);
    explore(&after_kill, LogWay::Written, 10, None);
}
