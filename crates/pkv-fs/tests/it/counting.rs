//! The file system that counts.

use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Access, CountingFs, Counts, Fs, Op, SegmentWay, StdFs};

/// The calls that were made at all.
fn made(counts: &Counts) -> Vec<(Op, u64)> {
    let all = Op::ALL.map(|op| (op, counts.calls(op)));
    all.into_iter().filter(|(_, calls)| *calls > 0).collect()
}

#[test]
fn every_call_counts_as_its_own_kind() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CountingFs::new(Arc::new(StdFs));
    assert_eq!(fs.counts(), Counts::default());
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let mut before = fs.counts();
    let mut expect = |what: &[(Op, u64)]| {
        let now = fs.counts();
        assert_eq!(made(&now.since(&before)), what);
        before = now;
    };
    fs.create_dir(&dir.path().join("sub")).unwrap();
    expect(&[(Op::CreateDir, 1)]);
    let file = fs.create_new(&one).unwrap();
    expect(&[(Op::Create, 1)]);
    file.write_at(0, b"12345").unwrap();
    expect(&[(Op::Write, 1)]);
    file.read_at(2, &mut [0; 9]).unwrap();
    file.len().unwrap();
    expect(&[(Op::Read, 2)]);
    file.preallocate(4096).unwrap();
    expect(&[(Op::Preallocate, 1)]);
    file.set_len(4096).unwrap();
    expect(&[(Op::SetLen, 1)]);
    file.sync_data().unwrap();
    expect(&[(Op::Sync, 1)]);
    fs.rename(&one, &two).unwrap();
    expect(&[(Op::Rename, 1)]);
    fs.open(&two, Access::Read).unwrap();
    expect(&[(Op::Open, 1)]);
    fs.remove(&two).unwrap();
    expect(&[(Op::Remove, 1)]);
    fs.sync_dir(dir.path()).unwrap();
    expect(&[(Op::SyncDir, 1)]);
    fs.list(dir.path()).unwrap();
    expect(&[(Op::List, 1)]);
    fs.can_map(dir.path()).unwrap();
    fs.free_bytes(dir.path()).unwrap();
    expect(&[(Op::Stat, 2)]);
    let lock = fs.lock(&dir.path().join("lock"), Duration::ZERO).unwrap();
    expect(&[(Op::Lock, 1)]);
    lock.file().write_at(0, b"owner").unwrap();
    expect(&[(Op::Write, 1)]);
    let counts = fs.counts();
    assert_eq!((counts.bytes_read, counts.bytes_written), (3, 10));
    assert_eq!(counts.syncs(), 2);
}

#[test]
fn a_failed_call_counts_and_its_bytes_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CountingFs::new(Arc::new(StdFs));
    let path = dir.path().join("log");
    std::fs::write(&path, b"").unwrap();
    fs.create_new(&path).unwrap_err();
    fs.open(&path, Access::Read).unwrap().write_at(0, b"no").unwrap_err();
    let counts = fs.counts();
    assert_eq!(made(&counts), [(Op::Create, 1), (Op::Open, 1), (Op::Write, 1)]);
    assert_eq!(counts.bytes_written, 0);
}

#[test]
fn a_written_segment_counts_as_writes() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CountingFs::new(Arc::new(StdFs));
    let file = fs.create_new(&dir.path().join("log")).unwrap();
    file.preallocate(8192).unwrap();
    let before = fs.counts();
    let segment = file.segment(8192, SegmentWay::Written).unwrap();
    segment.populate(0, 8192).unwrap();
    segment.read_ahead(0, 8192).unwrap();
    segment.write(0, &[1; 48]).unwrap();
    segment.write(48, &[2; 16]).unwrap();
    let spent = fs.counts().since(&before);
    assert!(!segment.is_mapped());
    assert_eq!(made(&spent), [(Op::Write, 2)]);
    assert_eq!((spent.bytes_written, spent.copies, spent.bytes_copied), (64, 0, 0));
}

#[cfg(all(feature = "mmap", target_os = "linux"))]
#[test]
fn a_mapped_segment_counts_as_copies() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CountingFs::new(Arc::new(StdFs));
    let file = fs.create_new(&dir.path().join("log")).unwrap();
    file.preallocate(8192).unwrap();
    let before = fs.counts();
    let segment = file.segment(8192, SegmentWay::Mapped).unwrap();
    segment.populate(0, 8192).unwrap();
    segment.read_ahead(0, 8192).unwrap();
    segment.write(0, &[1; 48]).unwrap();
    segment.write(48, &[2; 16]).unwrap();
    let spent = fs.counts().since(&before);
    assert!(segment.is_mapped());
    assert_eq!(made(&spent), [(Op::Map, 3)]);
    assert_eq!((spent.bytes_written, spent.copies, spent.bytes_copied), (0, 2, 64));
}

#[test]
fn clones_share_their_counters_and_threads_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fs = CountingFs::new(Arc::new(StdFs));
    let file = fs.clone().create_new(&dir.path().join("log")).unwrap();
    // Reading nothing makes no system call, so that the threads meet at the counter.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100_000).for_each(|_| drop(file.read_at(0, &mut []))));
        }
    });
    assert_eq!(fs.counts().calls(Op::Read), 400_000);
}
