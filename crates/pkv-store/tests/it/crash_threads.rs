//! Crashes while several threads write and the store's own threads sync, prepare logs and compact, on a
//! disk that lets others go first and whose syncs take their time.
#![expect(clippy::expect_used, reason = "a failure in a helper fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_sim::{AckLog, Choice, Crash, Cuts, Explorer, SimFs};
use pkv_store::{ByteStore, Durability, Error, LogWay};

use crate::crash_rig::{
    DIR, Event, Random, Writer, first_seed, options, scale, tell_states, verify,
};

const THREADS: u64 = 4;
const OWN_KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Four threads write at once, twice, with a close and an opening in between. The order of the writes is
/// the one that the store gives them by their sequence numbers.
fn workload(fs: &Arc<SimFs>, acks: &AckLog<Event>, way: LogWay, writes: u32) {
    fs.set_shake_one_in(3);
    fs.set_sync_pause(Duration::from_micros(300));
    let seed = pkv_fs::Fs::random_u64(&**fs);
    let options = options(fs, way)
        .background(true)
        .sync_interval(Duration::from_millis(1))
        .compact_log_bytes_min(4096)
        .compact_log_percent(50)
        .io_threads(2);
    for life in 0..2 {
        let store = ByteStore::open(Path::new(DIR), &options).expect("opens on a good disk");
        std::thread::scope(|scope| {
            for (thread, own) in (0..THREADS).zip(OWN_KEYS) {
                let store = &store;
                scope.spawn(move || {
                    let next_id = 1 + thread + life * 1_000_000;
                    let random = Random(seed ^ next_id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                    let mut writer = Writer { acks, random, next_id, step: THREADS, own };
                    for _ in 0..writes {
                        writer.write(store, None);
                    }
                });
            }
        });
        store.close().expect("closes on a good disk");
    }
    fs.set_sync_pause(Duration::ZERO);
    // A failure would be told to one of the two, and the other would acknowledge what is not there.
    assert_eq!(fs.overlapping_syncs(), 0, "two syncs of one file at once");
}

fn explore(crash: Crash, way: LogWay, cuts: usize) {
    let explorer = Explorer {
        runs: 3 * scale(),
        seed: first_seed() * 3,
        cuts: Cuts::Sample(cuts),
        seeds_per_cut: 3,
        ..Explorer::new(crash)
    };
    let report = explorer
        .run(|fs, acks| workload(fs, acks, way, 30), |fs, acked| verify(&fs, acked, way))
        .ok()
        .expect("no violation");
    tell_states(&format!("threads, {crash} {way:?}"), report.states);
    assert!(explorer.replay.is_some() || report.states > 50, "{} states", report.states);
}

#[test]
fn a_kill_amid_threads_loses_nothing() {
    explore(Crash::Kill, LogWay::Mapped, 60);
    explore(Crash::Kill, LogWay::Written, 60);
}

#[test]
fn a_power_cut_amid_threads_leaves_a_prefix() {
    for way in [LogWay::Mapped, LogWay::Written] {
        explore(Crash::Linux, way, 30);
        explore(Crash::Strict, way, 30);
    }
}

/// Writes that come while a snapshot is copied may be in it, so its footers speak for them: one of them
/// that is missing in the log is damage, although no mark was written since.
#[test]
fn a_snapshot_speaks_for_the_writes_that_came_while_it_was_copied() {
    let fs = SimFs::new(4);
    let way = LogWay::Mapped;
    let store = ByteStore::open(Path::new(DIR), &options(&fs, way)).expect("an empty disk opens");
    store.insert(b"before", &[1; 100], Durability::Power).expect("a write");
    fs.set_sync_pause(Duration::from_millis(40));
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| store.compact().expect("a compaction"));
        let is_begun = |path: &std::path::PathBuf| {
            path.to_string_lossy().contains("_pending")
                && fs.contents(path).is_some_and(|bytes| !bytes.is_empty())
        };
        while !fs.paths().iter().any(is_begun) {
            std::thread::yield_now();
        }
        // The first of three files is being synced; the last one's footer comes after this.
        store.insert(b"meanwhile", &[2; 100], Durability::Process).expect("a write");
        compaction.join().expect("no panic");
    });
    fs.set_sync_pause(Duration::ZERO);
    let killed = fs.survivors(Crash::Kill, Choice::Nothing);
    let is_log = |path: &std::path::PathBuf| {
        path.to_string_lossy().ends_with("_diff.bin")
            && fs.contents(path).is_some_and(|bytes| bytes.windows(100).any(|w| w == [2; 100]))
    };
    let log = fs.paths().into_iter().find(is_log).expect("the log with the write");
    let mut bytes = fs.contents(&log).expect("the log");
    for byte in &mut bytes {
        *byte = if *byte == 2 { 3 } else { *byte };
    }
    killed.plant(&log, &bytes);
    let error = ByteStore::open(Path::new(DIR), &options(&killed, way)).expect_err("damage");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}
