//! Right stores pass at every crash, wrong ones are caught.

use std::sync::Arc;

use pkv_sim::{AckLog, Acked, Crash, Explorer, Report, SimFs};

use crate::mini::{Log, Mistake, Versions, record};

fn log_run(explorer: &Explorer, mistake: Mistake) -> Report {
    let workload = |fs: &Arc<SimFs>, acks: &AckLog<usize>| {
        let mut log = Log::open(fs.as_ref(), mistake).unwrap();
        for number in 0..24 {
            log.append(&record(number)).unwrap();
            acks.ack(number);
        }
    };
    explorer.run(workload, |fs, acked| verify_log(&fs, acked, mistake))
}

pub(crate) fn verify_log(
    fs: &Arc<SimFs>,
    acked: &Acked<usize>,
    mistake: Mistake,
) -> Result<(), String> {
    let log = Log::open(fs.as_ref(), mistake).map_err(|e| e.to_string())?;
    if log.records.len() < acked.len() {
        return Err(format!("lost: {} of {}", log.records.len(), acked.len()));
    }
    if log.records.len() > acked.len() + 1 {
        return Err("more than was issued".to_string());
    }
    match log.records.iter().enumerate().find(|(number, bytes)| record(*number) != **bytes) {
        Some((number, _)) => Err(format!("record {number} is wrong")),
        None => Ok(()),
    }
}

fn versions_run(explorer: &Explorer, mistake: Mistake) -> Report {
    let workload = |fs: &Arc<SimFs>, acks: &AckLog<u64>| {
        let mut versions = Versions::open(fs.as_ref(), mistake).unwrap();
        for _ in 0..8 {
            acks.ack(versions.publish_next().unwrap());
        }
    };
    explorer.run(workload, |fs, acked| {
        let versions = Versions::open(fs.as_ref(), mistake).map_err(|e| e.to_string())?;
        if versions.newest < acked.last().copied().unwrap_or(0) {
            return Err(format!("lost: {} is the newest of {}", versions.newest, acked.len()));
        }
        match versions.is_whole() {
            Ok(true) => Ok(()),
            _ => Err(format!("version {} is damaged", versions.newest)),
        }
    })
}

fn explorer(crash: Crash) -> Explorer {
    Explorer { replay: None, violations_max: 1, ..Explorer::new(crash) }
}

#[test]
fn right_stores_pass_at_every_crash() {
    for crash in Crash::ALL {
        for nested_crash in [None, Some(Crash::Strict)] {
            let explorer = Explorer { nested: 3, nested_crash, ..explorer(crash) };
            let report = log_run(&explorer, Mistake::None).ok().unwrap();
            assert!(report.cuts > 48 && report.states > 100, "{crash}: {report:?}");
            let report = versions_run(&explorer, Mistake::None).ok().unwrap();
            assert!(report.cuts > 40 && report.states > 100, "{crash}: {report:?}");
        }
    }
}

#[test]
fn what_is_never_made_durable_is_caught_on_every_disk() {
    for crash in [Crash::Linux, Crash::Strict, Crash::StrictGarbage] {
        let report = log_run(&explorer(crash), Mistake::NoSync);
        assert!(!report.violations.is_empty(), "{crash}: a log without syncs passed");
        for mistake in [Mistake::PublishesUnsynced, Mistake::PublishesWithoutFolderSync] {
            let report = versions_run(&explorer(crash), mistake);
            assert!(!report.violations.is_empty(), "{crash}: {mistake:?} passed");
        }
    }
}

/// There a later synced folder carries earlier names with it, and a size comes after its bytes.
#[test]
fn what_an_ordered_journal_forgives_is_caught_on_the_strict_disk() {
    log_run(&explorer(Crash::Linux), Mistake::NoChecksum).ok().unwrap();
    for mistake in [Mistake::NoParentSync, Mistake::NoFolderSync, Mistake::NoChecksum] {
        assert!(!log_run(&explorer(Crash::Strict), mistake).violations.is_empty(), "{mistake:?}");
    }
    let mistake = Mistake::RemovesBeforeFolderSync;
    versions_run(&explorer(Crash::Linux), mistake).ok().unwrap();
    assert!(!versions_run(&explorer(Crash::Strict), mistake).violations.is_empty());
}

#[test]
fn a_kill_loses_nothing_that_a_call_wrote() {
    for mistake in [Mistake::NoSync, Mistake::NoFolderSync, Mistake::NoSyncInRecovery] {
        log_run(&explorer(Crash::Kill), mistake).ok().unwrap();
    }
    // A torn record is shorter than the length it names, so even this log survives a kill.
    log_run(&explorer(Crash::Kill), Mistake::NoChecksum).ok().unwrap();
}

/// What recovery reads after a kill is in the page cache; only a sync makes it sure.
#[test]
fn relying_on_the_page_cache_after_a_kill_is_caught() {
    let workload = |fs: &Arc<SimFs>, acks: &AckLog<usize>| {
        let mut log = Log::open(fs.as_ref(), Mistake::NoSync).unwrap();
        for number in 0..12 {
            log.append(&record(number)).unwrap();
            acks.ack(number);
        }
    };
    // Recovery tells a reader what it has, which nothing may take back.
    let run = |mistake| {
        explorer(Crash::Kill).run(workload, move |fs: Arc<SimFs>, _: &Acked<usize>| {
            let told = Log::open(fs.as_ref(), mistake).map_err(|e| e.to_string())?.records.len();
            for choice in [pkv_sim::Choice::Nothing, pkv_sim::Choice::Random(1)] {
                let after = fs.survivors(Crash::Strict, choice);
                let log = Log::open(after.as_ref(), mistake).map_err(|e| e.to_string())?;
                if log.records.len() < told {
                    return Err(format!("told of {told}, {} are left", log.records.len()));
                }
            }
            Ok(())
        })
    };
    run(Mistake::None).ok().unwrap();
    assert!(!run(Mistake::NoSyncInRecovery).violations.is_empty());
}

/// The same by the explorer alone: a recovery that breaks what it found is met by a crash inside it.
#[test]
fn a_recovery_that_destroys_before_it_rebuilds_is_caught_by_a_nested_crash() {
    let path = std::path::Path::new("/number");
    let workload = |fs: &Arc<SimFs>, acks: &AckLog<u8>| {
        let fs: &dyn pkv_fs::Fs = fs.as_ref();
        let file = fs.create_new(path).unwrap();
        file.write_at(0, &[7]).unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(std::path::Path::new("/")).unwrap();
        acks.ack(7);
    };
    let verify = |fs: Arc<SimFs>, acked: &Acked<u8>| {
        let fs: &dyn pkv_fs::Fs = fs.as_ref();
        let Some(number) = acked.last() else { return Ok(()) };
        let file = fs.open(path, pkv_fs::Access::Write).map_err(|e| e.to_string())?;
        let mut byte = [0];
        file.read_at(0, &mut byte).map_err(|e| e.to_string())?;
        if byte != [*number] {
            return Err("lost".to_string());
        }
        file.set_len(0).and_then(|()| file.write_at(0, &byte)).map_err(|e| e.to_string())?;
        file.sync_data().map_err(|e| e.to_string())
    };
    for crash in Crash::ALL {
        explorer(crash).run(workload, verify).ok().unwrap();
        let nested = Explorer { nested: u32::MAX, ..explorer(crash) };
        let report = nested.run(workload, verify);
        assert_eq!(
            report.violations.first().map(|one| one.message.as_str()),
            Some("lost"),
            "{crash}"
        );
    }
}
