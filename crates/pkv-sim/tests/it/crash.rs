//! The explorer: what it tries, how it repeats, and threads.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pkv_fs::Fs;
use pkv_sim::{AckLog, Acked, Choice, Crash, Cuts, Explorer, SimFs};

const PATH: &str = "/numbers";

fn unsynced(fs: &Arc<SimFs>, acks: &AckLog<u64>) {
    let file = fs.create_new(Path::new(PATH)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    for number in 1..=40_u64 {
        file.write_at((number - 1) * 512, &number.to_le_bytes()).unwrap();
        acks.ack(number);
    }
}

fn is_there(fs: &SimFs, number: u64) -> bool {
    let bytes = fs.contents(Path::new(PATH)).unwrap_or_default();
    let from = usize::try_from((number - 1) * 512).unwrap();
    bytes.get(from..from + 8) == Some(&number.to_le_bytes())
}

#[expect(clippy::needless_pass_by_value, reason = "a verifier is given its disk")]
fn all_there(fs: Arc<SimFs>, acked: &Acked<u64>) -> Result<(), String> {
    match acked.iter().find(|number| !is_there(&fs, **number)) {
        Some(number) => Err(format!("{number} is lost")),
        None => Ok(()),
    }
}

fn explorer(crash: Crash) -> Explorer {
    Explorer { replay: None, ..Explorer::new(crash) }
}

#[test]
fn every_operation_is_crashed_at() {
    let report = explorer(Crash::Kill).run(unsynced, all_there).ok().unwrap();
    // Creation, the folder's sync, 40 writes, and the end.
    assert_eq!(report.cuts, 43);
    let sample = Explorer { cuts: Cuts::Sample(10), ..explorer(Crash::Kill) };
    assert_eq!(sample.run(unsynced, all_there).ok().unwrap().cuts, 10);
    let runs = Explorer { runs: 3, ..explorer(Crash::Kill) };
    assert_eq!(runs.run(unsynced, all_there).ok().unwrap().cuts, 129);
}

#[test]
fn a_violation_is_repeated_from_its_line() {
    for crash in [Crash::Linux, Crash::Strict, Crash::StrictGarbage] {
        let report = explorer(crash).run(unsynced, all_there);
        assert_eq!(report.violations.len(), 10);
        for violation in &report.violations {
            let line = violation.to_string();
            let replay = line.split("PKV_SIM_REPLAY=").nth(1).unwrap().to_string();
            let again = Explorer { replay: Some(replay), ..Explorer::new(crash) };
            let again = again.run(unsynced, all_there);
            assert_eq!(again.states, 1);
            assert_eq!(again.violations[0].message, violation.message);
            assert_eq!(again.violations[0].op(), violation.op());
            let lost = violation.message.split(' ').next().unwrap().parse().unwrap();
            assert!(!is_there(violation.disk(), lost), "the disk of a violation shows it");
        }
    }
}

#[test]
fn a_nested_violation_is_repeated_from_its_line() {
    // The second opening of the same disk finds what the first one left unsynced.
    let workload = |fs: &Arc<SimFs>, _: &AckLog<u64>| {
        fs.create_new(Path::new(PATH)).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
    };
    let verify = |fs: Arc<SimFs>, _: &Acked<u64>| {
        let Ok(file) = fs.open(Path::new(PATH), pkv_fs::Access::Write) else { return Ok(()) };
        if !file.is_empty().unwrap() {
            return Err("opened before".to_string());
        }
        file.write_at(0, &[1; 3000]).map_err(|e| e.to_string())
    };
    let nested = Explorer { nested: 8, ..explorer(Crash::Strict) };
    let report = nested.run(workload, verify);
    let violation = report.violations.first().unwrap();
    assert_eq!(violation.replay().matches("strict").count(), 2, "{violation}");
    let again = Explorer { replay: Some(violation.replay()), ..explorer(Crash::Strict) };
    let again = again.run(workload, verify);
    assert_eq!(again.states, 2);
    assert_eq!(again.violations[0].replay(), violation.replay());
}

#[test]
fn the_extremes_are_tried_without_any_seed() {
    let found = Mutex::new(BTreeSet::new());
    let extremes = Explorer { seeds_per_cut: 0, ..explorer(Crash::Strict) };
    let report = extremes.run(
        |fs: &Arc<SimFs>, _: &AckLog<u64>| {
            let file = fs.create_new(Path::new(PATH)).unwrap();
            file.preallocate(3 * 512).unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(Path::new("/")).unwrap();
            file.write_at(0, &[1; 3 * 512]).unwrap();
        },
        |fs, _| {
            let bytes = fs.contents(Path::new(PATH)).unwrap_or_default();
            found.lock().unwrap().insert(bytes.chunks(512).filter(|sector| sector[0] == 1).count());
            Ok(())
        },
    );
    assert!(report.ok().unwrap().states < 20);
    assert_eq!(found.into_inner().unwrap(), BTreeSet::from([0, 2, 3]));
}

#[test]
fn after_two_crashes_the_worse_one_counts() {
    let run = |first, second| {
        let seen = Mutex::new(Vec::new());
        let nested = Explorer { nested: 9, nested_crash: Some(second), ..explorer(first) };
        let report = nested.run(unsynced, |fs, acked| {
            fs.create_dir(Path::new("/recovered")).map_err(|e| e.to_string())?;
            seen.lock().unwrap().push(acked.crash());
            Ok(())
        });
        assert!(report.ok().unwrap().states > 80);
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable_by_key(|crash| crash.is_power_cut());
        seen.dedup();
        seen
    };
    assert_eq!(run(Crash::Kill, Crash::Strict), [Crash::Kill, Crash::Strict]);
    assert_eq!(run(Crash::Linux, Crash::Kill), [Crash::Linux]);
    assert_eq!(run(Crash::Kill, Crash::Kill), [Crash::Kill]);
}

#[test]
fn a_line_of_another_crash_is_left_to_its_own_explorer() {
    let line = "1/strict:5:nothing".to_string();
    let report =
        Explorer { replay: Some(line), ..Explorer::new(Crash::Linux) }.run(unsynced, all_there);
    assert_eq!((report.states, report.violations.len()), (0, 0));
    let wrong = Explorer { replay: Some("5".to_string()), ..Explorer::new(Crash::Linux) };
    let report = wrong.run(unsynced, all_there);
    assert!(report.violations[0].message.contains("names no crash"));
}

#[test]
fn a_panic_of_the_verifier_is_a_violation() {
    let report = explorer(Crash::Kill).run(unsynced, |_, acked| {
        assert!(acked.len() < 40, "forty is too many");
        Ok(())
    });
    assert_eq!(report.violations.len(), 1);
    assert!(report.violations[0].message.contains("forty is too many"));
    assert_eq!(report.violations[0].choice(), Choice::Nothing);
    assert!(report.ok().unwrap_err().contains("PKV_SIM_REPLAY=1/kill:"));
}

#[test]
fn an_event_counts_from_the_operation_after_it() {
    let report = explorer(Crash::Linux).run(
        |fs: &Arc<SimFs>, acks: &AckLog<u64>| {
            acks.ack(0);
            fs.create_dir(Path::new("/a")).unwrap();
            acks.ack(1);
            fs.list(Path::new("/")).unwrap();
            acks.ack(2);
            fs.sync_dir(Path::new("/")).unwrap();
            acks.ack(3);
        },
        |fs, acked| {
            let dirs = fs.list(Path::new("/")).unwrap().len();
            match (acked.len(), dirs) {
                (1 | 3, 0 | 1) | (4, 1) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    );
    assert_eq!(report.ok().unwrap().cuts, 3);
}

/// Four threads append to one file and share syncs. The leader may call durable only what was written
/// before its sync began.
fn group_commit(fs: &Arc<SimFs>, acks: &AckLog<u64>, read_end_late: bool) {
    let file = fs.create_new(Path::new(PATH)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.set_shake_one_in(2);
    fs.set_sync_pause(Duration::from_micros(200));
    let end = Mutex::new(0_u64);
    let synced = Mutex::new(0_u64);
    let append = || {
        for _ in 0..10 {
            let number = {
                let mut end = end.lock().unwrap();
                *end += 1;
                file.write_at((*end - 1) * 512, &end.to_le_bytes()).unwrap();
                *end
            };
            let mut synced = synced.lock().unwrap();
            if *synced < number {
                let before = *end.lock().unwrap();
                file.sync_data().unwrap();
                *synced = if read_end_late { *end.lock().unwrap() } else { before };
            }
            acks.ack(number);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(append);
        }
    });
}

#[test]
fn threads_that_share_a_sync_pass_and_those_that_claim_too_much_are_caught() {
    let threads = Explorer { runs: 4, seeds_per_cut: 2, ..explorer(Crash::Strict) };
    let report = threads.run(|fs, acks| group_commit(fs, acks, false), all_there).ok().unwrap();
    assert!(report.states > 200, "{report:?}");
    let report = threads.run(|fs, acks| group_commit(fs, acks, true), all_there);
    assert!(!report.violations.is_empty());
}
