//! Faults do what they say.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use pkv_fs::{Access, Fs, Op, SegmentWay};
use pkv_sim::{AckLog, Acked, Choice, Crash, Explorer, Fault, FaultKind, SimFs};

use crate::disk::disk_with_file;
use crate::mini::{Log, Mistake, record};
use crate::stores::verify_log;

fn contents(fs: &SimFs) -> Vec<u8> {
    fs.contents(Path::new("/file")).unwrap()
}

#[test]
fn the_nth_call_of_a_class_fails_once_or_for_good() {
    let (fs, file) = disk_with_file();
    fs.inject(Fault::once(Op::Write, 2, FaultKind::Eio));
    file.write_at(0, &[1]).unwrap();
    file.sync_data().unwrap();
    let failed = file.write_at(5, &[2]).unwrap_err();
    assert_eq!((failed.op, failed.offset), (Op::Write, Some(5)));
    assert_eq!(contents(&fs), [1]);
    file.write_at(1, &[3]).unwrap();

    fs.inject(Fault::from_then_on(Op::Read, 2, FaultKind::Permission));
    file.len().unwrap();
    for _ in 0..3 {
        assert_eq!(file.len().unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    fs.clear_faults();
    file.len().unwrap();

    fs.inject(Fault { op: None, nth: 3, kind: FaultKind::Interrupted, sticky: false });
    file.len().unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs.list(Path::new("/")).unwrap_err().kind(), ErrorKind::Interrupted);
    fs.list(Path::new("/")).unwrap();
}

#[test]
fn the_disk_tells_which_calls_met_a_fault() {
    let (fs, file) = disk_with_file();
    fs.inject(Fault::from_then_on(Op::Write, 2, FaultKind::Eio));
    file.write_at(0, &[1]).unwrap();
    assert!(fs.faults_met().is_empty());
    file.write_at(0, &[2]).unwrap_err();
    let first = fs.last_op();
    file.sync_data().unwrap();
    file.write_at(0, &[3]).unwrap_err();
    assert_eq!(fs.faults_met(), [first, first + 2]);
}

#[test]
fn the_disk_counts_syncs_of_a_file_that_overlap() {
    let (fs, file) = disk_with_file();
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs.overlapping_syncs(), 0);
    fs.set_sync_pause(std::time::Duration::from_millis(200));
    std::thread::scope(|scope| {
        scope.spawn(|| file.sync_data().unwrap());
        scope.spawn(|| file.sync_data().unwrap());
    });
    assert_eq!(fs.overlapping_syncs(), 1);
}

#[test]
fn a_journal_is_checked_against_what_was_acknowledged_by_then() {
    let (fs, file) = disk_with_file();
    fs.start_journal();
    let log = AckLog::new(&fs);
    file.write_at(0, &[1]).unwrap();
    log.ack(1_u8);
    file.write_at(0, &[2]).unwrap();
    log.ack(2);
    let journal = fs.take_journal().unwrap();
    let [.., second, end] = journal.cuts()[..] else { panic!("two writes and the end") };
    assert_eq!(log.before(second, Crash::Kill).last(), Some(&1));
    assert_eq!(contents(&journal.state_at(second).survivors(Crash::Kill, Choice::Nothing)), [1]);
    assert_eq!(log.before(end, Crash::Kill).last(), Some(&2));
    assert_eq!(log.before(end, Crash::Kill).whole_run().len(), 2);
}

type Call<'a> = Box<dyn Fn() -> pkv_fs::Result<()> + 'a>;

#[test]
fn every_class_of_call_can_fail_and_has_no_effect_then() {
    let (fs, file) = disk_with_file();
    file.preallocate(4096).unwrap();
    let path = Path::new("/file");
    let calls: Vec<(Op, Call<'_>)> = vec![
        (Op::CreateDir, Box::new(|| fs.create_dir(Path::new("/dir")).map(drop))),
        (Op::List, Box::new(|| fs.list(Path::new("/")).map(drop))),
        (Op::Create, Box::new(|| fs.create_new(Path::new("/other")).map(drop))),
        (Op::Open, Box::new(|| fs.open(path, Access::Write).map(drop))),
        (Op::Read, Box::new(|| file.read_at(0, &mut [0]).map(drop))),
        (Op::Write, Box::new(|| file.write_at(0, &[1]))),
        (Op::Preallocate, Box::new(|| file.preallocate(8192))),
        (Op::SetLen, Box::new(|| file.set_len(10))),
        (Op::Sync, Box::new(|| file.sync_data())),
        (Op::Map, Box::new(|| file.segment(8, SegmentWay::Written).map(drop))),
        (Op::Rename, Box::new(|| fs.rename(path, Path::new("/moved")))),
        (Op::Remove, Box::new(|| fs.remove(path))),
        (Op::SyncDir, Box::new(|| fs.sync_dir(Path::new("/")))),
        (Op::Lock, Box::new(|| fs.lock(Path::new("/lock"), std::time::Duration::ZERO).map(drop))),
        (Op::Stat, Box::new(|| fs.free_bytes(Path::new("/")).map(drop))),
    ];
    for (op, call) in &calls {
        for kind in FaultKind::ALL {
            fs.inject(Fault::once(*op, 1, kind));
            let failed = call().unwrap_err();
            assert_eq!(failed.op, *op);
            assert_eq!(failed.is_full(), matches!(kind, FaultKind::Enospc | FaultKind::ShortWrite));
            assert_eq!(fs.paths(), [path], "{op} had an effect");
            assert_eq!(contents(&fs), [0; 4096], "{op} had an effect");
        }
    }
    calls.iter().filter(|(op, _)| *op != Op::Remove).for_each(|(_, call)| call().unwrap());
}

#[test]
fn torn_writes_leave_whole_pages() {
    for (kind, full) in [(FaultKind::TornWrite, false), (FaultKind::ShortWrite, true)] {
        let (fs, file) = disk_with_file();
        fs.inject(Fault::once(Op::Write, 1, kind));
        assert_eq!(file.write_at(2048, &[1; 3 * 4096]).unwrap_err().is_full(), full);
        assert_eq!(contents(&fs), [vec![0; 2048], vec![1; 2048 + 4096]].concat(), "{kind:?}");
    }
}

#[test]
fn a_segment_leaves_its_head_on_a_torn_write_but_not_on_a_full_disk() {
    for (kind, head) in [(FaultKind::TornWrite, 1), (FaultKind::ShortWrite, 0)] {
        let (fs, file) = disk_with_file();
        file.preallocate(4 * 4096).unwrap();
        let segment = file.segment(4 * 4096, SegmentWay::Written).unwrap();
        fs.inject(Fault::once(Op::Write, 1, kind));
        segment.write(8, &[1; 3 * 4096]).unwrap_err();
        let bytes = contents(&fs);
        assert_eq!((bytes[8], bytes[4096]), (head, 1), "{kind:?}");
        assert_eq!(bytes[3 * 4096], 0);
    }
}

#[test]
fn copies_into_a_mapping_do_not_fail() {
    let (fs, file) = disk_with_file();
    file.preallocate(4096).unwrap();
    let segment = file.segment(4096, SegmentWay::Mapped).unwrap();
    fs.inject(Fault::from_then_on(Op::Write, 1, FaultKind::Enospc));
    fs.set_capacity_bytes(Some(0));
    segment.write(0, &[1; 8]).unwrap();
    assert_eq!(fs.calls(Op::Write), 0);
}

#[test]
fn a_failed_sync_marks_its_pages_clean() {
    for kind in [FaultKind::Eio, FaultKind::Enospc, FaultKind::Permission] {
        let (fs, file) = disk_with_file();
        file.write_at(0, &[1; 1024]).unwrap();
        file.sync_data().unwrap();
        file.write_at(0, &[2; 1024]).unwrap();
        fs.inject(Fault::once(Op::Sync, 1, kind));
        file.sync_data().unwrap_err();
        assert_eq!(contents(&fs), [2; 1024], "still readable");
        file.sync_data().unwrap();
        let left = |choice| {
            let left = contents(&fs.survivors(Crash::Linux, choice));
            (left[0], left[512])
        };
        assert_eq!(left(Choice::Nothing), (1, 1), "a later sync writes nothing");
        assert_eq!(left(Choice::Everything), (2, 2), "it may have reached the disk");
        // A kill changes nothing in the page cache; a new process is told no more than this one.
        let next = fs.survivors(Crash::Kill, Choice::Nothing);
        next.open(Path::new("/file"), Access::Write).unwrap().sync_data().unwrap();
        assert_eq!(contents(&next.survivors(Crash::Strict, Choice::Nothing))[0], 1);
        // Written again, it is durable again: this sector only.
        file.write_at(0, &[3; 8]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(left(Choice::Nothing), (3, 1));
        let first = &contents(&fs.survivors(Crash::Linux, Choice::Nothing))[..512];
        assert_eq!(first, [[3; 8].as_slice(), &[2; 504]].concat());
    }
}

#[test]
fn a_size_that_a_sync_lost_is_not_durable_later() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1; 100]).unwrap();
    fs.inject(Fault::once(Op::Sync, 1, FaultKind::Eio));
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(contents(&fs.survivors(Crash::Strict, Choice::Nothing)), []);
    file.write_at(100, &[1]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(contents(&fs.survivors(Crash::Strict, Choice::Nothing)), [1; 101]);
}

#[test]
fn an_interrupted_sync_can_be_repeated() {
    let (fs, file) = disk_with_file();
    file.write_at(0, &[1]).unwrap();
    fs.inject(Fault::once(Op::Sync, 1, FaultKind::Interrupted));
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(contents(&fs.survivors(Crash::Strict, Choice::Nothing)), [1]);
}

/// A sync of the log fails, for every one of them: a store that stops is right, one that tries again lies.
#[test]
fn a_store_that_repeats_a_failed_sync_is_caught() {
    let run = |mistake: Mistake, nth: u64| {
        let workload = move |fs: &Arc<SimFs>, acks: &AckLog<usize>| {
            fs.inject(Fault::once(Op::Sync, nth, FaultKind::Eio));
            let Ok(mut log) = Log::open(fs.as_ref(), mistake) else { return };
            for number in 0..6 {
                if log.append(&record(number)).is_err() {
                    return;
                }
                acks.ack(number);
            }
        };
        let explorer = Explorer { replay: None, ..Explorer::new(Crash::Linux) };
        explorer.run(workload, |fs, acked: &Acked<usize>| verify_log(&fs, acked, mistake))
    };
    for nth in 1..=7 {
        run(Mistake::None, nth).ok().unwrap();
    }
    let caught = (1..=7).filter(|nth| !run(Mistake::RetriesFailedSync, *nth).violations.is_empty());
    assert_eq!(caught.count(), 6, "each sync of an append");
}

/// The right log under every fault of a dry run: what it acknowledged survives a power cut.
#[test]
fn every_fault_of_a_run_is_swept() {
    let run = |fs: &SimFs| {
        let Ok(mut log) = Log::open(fs, Mistake::None) else { return 0 };
        (0..4).take_while(|number| log.append(&record(*number)).is_ok()).count()
    };
    let dry = SimFs::new(1);
    assert_eq!(run(&dry), 4);
    let faults = dry.all_faults();
    let count =
        |op, kind| faults.iter().filter(|one| one.op == Some(op) && one.kind == kind).count();
    assert_eq!(count(Op::Sync, FaultKind::Eio), 10, "opening and 4 appends, once and for good");
    assert_eq!(count(Op::Write, FaultKind::ShortWrite), 8);
    assert_eq!(count(Op::Sync, FaultKind::ShortWrite), 0);
    for fault in &faults {
        let fs = SimFs::new(1);
        fs.inject(*fault);
        let acked = run(&fs);
        assert!(acked < 4, "{fault}: was met by nobody");
        let after = fs.survivors(Crash::Strict, Choice::Nothing);
        let log = Log::open(after.as_ref(), Mistake::None).unwrap();
        assert!(log.records.len() >= acked, "{fault}");
    }
}

#[test]
fn a_fault_says_what_it_does() {
    let fault = Fault::from_then_on(Op::Sync, 3, FaultKind::Eio);
    assert_eq!(fault.to_string(), "call 3 to sync and all later ones fail with Eio");
    assert_eq!(
        Fault::once(Op::Write, 1, FaultKind::Enospc).to_string(),
        "call 1 to write fails once with Enospc"
    );
}
