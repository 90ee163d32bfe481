//! Append segments, mapped and written.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::{Fs, Op, Segment, SegmentWay, StdFs};

use crate::assert_fails;

const SEGMENT_BYTES: u64 = 1 << 16;

/// A fresh segment in `dir`, and its path.
fn segment(dir: &Path, way: SegmentWay) -> pkv_fs::Result<(Arc<dyn Segment>, PathBuf)> {
    let path = dir.join("log");
    let file = StdFs.create_new(&path)?;
    file.preallocate(SEGMENT_BYTES)?;
    Ok((file.segment(SEGMENT_BYTES, way)?, path))
}

/// The ways that this build and this folder have.
fn ways(dir: &Path) -> Vec<SegmentWay> {
    let mapped = StdFs.can_map(dir).is_ok_and(|can_map| can_map);
    if mapped { vec![SegmentWay::Written, SegmentWay::Mapped] } else { vec![SegmentWay::Written] }
}

/// Bytes that differ from their neighbours, so that a shift shows.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect()
}

#[test]
fn what_is_written_is_in_the_file_at_once_and_nothing_else_changes() {
    let parent = tempfile::tempdir().unwrap();
    for way in ways(parent.path()) {
        let dir = tempfile::tempdir_in(parent.path()).unwrap();
        let (segment, path) = segment(dir.path(), way).unwrap();
        assert_eq!(segment.is_mapped(), way == SegmentWay::Mapped);
        let mut expected = vec![0; 1 << 16];
        let ranges =
            [(0, 8), (8, 144), (4088, 16), (8192, 4096), (12_288, 20_000), (65_528, 8), (64, 0)];
        for (offset, bytes) in ranges {
            let bytes = pattern(bytes);
            segment.write(offset, &bytes).unwrap();
            let offset = usize::try_from(offset).unwrap();
            expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
            assert_eq!(fs::read(&path).unwrap(), expected, "{way:?} {offset}");
        }
    }
}

#[test]
fn a_range_that_is_odd_or_outside_is_refused_and_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    for way in ways(parent.path()) {
        let dir = tempfile::tempdir_in(parent.path()).unwrap();
        let (segment, path) = segment(dir.path(), way).unwrap();
        let offsets = [1, 4, 7, 65_529, 65_536, 65_544, u64::MAX - 7, u64::MAX];
        let refused = offsets.map(|offset| (offset, 8)).into_iter().chain([
            (0, 1),
            (0, 12),
            (65_528, 16),
            (0, (1 << 16) + 8),
        ]);
        for (offset, bytes) in refused {
            let result = segment.write(offset, &vec![1; bytes]);
            assert_eq!(result.as_ref().unwrap_err().offset, Some(offset));
            assert_fails(result, Op::Write, &path, ErrorKind::InvalidInput);
        }
        assert_eq!(fs::read(&path).unwrap(), vec![0; 1 << 16], "{way:?}");
    }
}

#[test]
fn a_segment_lies_inside_its_file() {
    let parent = tempfile::tempdir().unwrap();
    for way in ways(parent.path()) {
        let dir = tempfile::tempdir_in(parent.path()).unwrap();
        let path = dir.path().join("log");
        let file = StdFs.create_new(&path).unwrap();
        file.preallocate(4096).unwrap();
        for bytes in [0, 100, 4104, u64::MAX - 7] {
            let refused = file.segment(bytes, way);
            assert_fails(refused, Op::Map, &path, ErrorKind::InvalidInput);
        }
        file.segment(4096, way).unwrap();
    }
}

#[test]
fn a_segment_outlives_its_file_handle_and_is_synced_by_another() {
    let parent = tempfile::tempdir().unwrap();
    for way in ways(parent.path()) {
        let dir = tempfile::tempdir_in(parent.path()).unwrap();
        let (segment, path) = segment(dir.path(), way).unwrap();
        segment.write(64, b"a segment alone!").unwrap();
        let file = StdFs.open(&path, pkv_fs::Access::Write).unwrap();
        file.sync_data().unwrap();
        drop(segment);
        file.set_len(80).unwrap();
        let mut buf = [0; 32];
        assert_eq!(file.read_at(64, &mut buf).unwrap(), 16);
        assert_eq!(&buf[..16], b"a segment alone!");
    }
}

#[test]
fn writers_of_own_ranges_never_disturb_each_other() {
    let parent = tempfile::tempdir().unwrap();
    for way in ways(parent.path()) {
        let dir = tempfile::tempdir_in(parent.path()).unwrap();
        let (segment, path) = segment(dir.path(), way).unwrap();
        // 24-byte frames dealt out in turn, so that neighbours share cache lines and pages.
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let segment = &segment;
                scope.spawn(move || {
                    for frame in (u64::from(thread)..2048).step_by(4) {
                        segment.write(frame * 24, &[thread + 1; 24]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        for (frame, bytes) in bytes[..2048 * 24].chunks(24).enumerate() {
            let thread = u8::try_from(frame % 4).unwrap();
            assert_eq!(bytes, [thread + 1; 24], "{way:?} frame {frame}");
        }
    }
}

#[test]
fn populating_a_written_segment_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (segment, path) = segment(dir.path(), SegmentWay::Written).unwrap();
    segment.populate(0, SEGMENT_BYTES).unwrap();
    segment.populate(u64::MAX, u64::MAX).unwrap();
    segment.read_ahead(0, SEGMENT_BYTES).unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![0; 1 << 16]);
}

/// The child may write no further than two pages into a file, which fails as a full disk does: the
/// part behind the first page is refused. Then the header in the first page must not be there.
#[cfg(target_os = "linux")]
#[test]
fn a_frame_that_fails_leaves_no_header_in_a_written_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (segment, path) = segment(dir.path(), SegmentWay::Written).unwrap();
    segment.write(4096, &[1; 8]).unwrap();
    let child = crate::fork::fork(|| {
        let limit = libc::rlimit { rlim_cur: 8192, rlim_max: 8192 };
        // SAFETY: turns the signal for a file too large into an error, in the child alone.
        let ignored = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: the limit is a whole struct that lives through the call.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        let fits = segment.write(4104, &[2; 8]);
        let fails = segment.write(4112, &[3; 8000]);
        ignored != libc::SIG_ERR && limited == 0 && fits.is_ok() && fails.is_err()
    });
    assert!(crate::fork::joined(child));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[4096..4112], [[1; 8], [2; 8]].concat());
    assert!(bytes[4112..].iter().all(|byte| *byte == 0), "a header without its body");
}

#[cfg(not(all(feature = "mmap", target_os = "linux")))]
#[test]
fn a_build_without_mapping_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!StdFs.can_map(dir.path()).unwrap());
    let refused = segment(dir.path(), SegmentWay::Mapped);
    assert_fails(refused, Op::Map, &dir.path().join("log"), ErrorKind::Unsupported);
}

#[cfg(all(feature = "mmap", target_os = "linux"))]
mod mapped {
    use super::*;

    #[test]
    fn populated_memory_is_filled_without_page_faults() {
        // From a new mapping of the system, so that nothing in it was touched.
        const BYTES: usize = 64 << 20;
        let faults_of_filling = |populate: bool| {
            let mut memory: Vec<u8> = Vec::with_capacity(BYTES);
            if populate {
                pkv_fs::populate_memory(memory.spare_capacity_mut());
            }
            let before = page_faults();
            memory.resize(BYTES, 7);
            assert!(memory.iter().all(|byte| *byte == 7));
            page_faults() - before
        };
        let (untouched, populated) = (faults_of_filling(false), faults_of_filling(true));
        // Huge pages make few faults of many, where the system gives them unasked.
        assert!(untouched >= 16 && populated <= 4, "{untouched}, {populated}");
        // Less than a page, and nothing.
        pkv_fs::populate_memory(Vec::<u8>::with_capacity(100).spare_capacity_mut());
        pkv_fs::populate_memory(&mut []);
    }

    /// Writers race over the same words: each word is one of theirs, never a mix.
    #[test]
    fn overlapping_writes_never_tear_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, path) = segment(dir.path(), SegmentWay::Mapped).unwrap();
        std::thread::scope(|scope| {
            for thread in 1..=4_u8 {
                let segment = &segment;
                scope.spawn(move || {
                    for start in 0..1000 {
                        segment.write(start % 64 * 8, &[thread; 1024]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        for word in bytes[..63 * 8 + 1024].chunks(8) {
            assert!((1..=4).contains(&word[0]) && word.iter().all(|byte| *byte == word[0]));
        }
        assert!(bytes[63 * 8 + 1024..].iter().all(|byte| *byte == 0));
    }

    /// Writing to a page that was never touched is a fault, so counting them shows what was touched.
    #[test]
    fn a_populated_range_is_written_without_page_faults() {
        const PAGES: u64 = 64;
        const MIDDLE: u64 = 1 << 19;
        let dir = tempfile::tempdir().unwrap();
        let file = StdFs.create_new(&dir.path().join("log")).unwrap();
        file.preallocate(1 << 20).unwrap();
        let segment = file.segment(1 << 20, SegmentWay::Mapped).unwrap();
        let bytes = pattern(usize::try_from(PAGES * 4096).unwrap());
        let faults_of = |offset| {
            let before = page_faults();
            segment.write(offset, &bytes).unwrap();
            page_faults() - before
        };
        let untouched = faults_of(MIDDLE);
        // Rounded out to whole pages, and cut at the end of the segment.
        segment.populate(4096 + 8, PAGES * 4096 - 16).unwrap();
        let populated = faults_of(4096);
        let end = (1 << 20) - PAGES * 4096;
        segment.populate(end, u64::MAX).unwrap();
        let clamped = faults_of(end);
        assert!(
            untouched >= 8 && populated <= 2 && clamped <= 2,
            "{untouched}, {populated}, {clamped}"
        );
    }

    /// What it is good for is a matter of time, and shown by `cargo xtask bench stall`.
    #[test]
    fn reading_ahead_takes_any_range_and_keeps_what_is_there() {
        const BYTES: u64 = 1 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = StdFs.create_new(&path).unwrap();
        file.preallocate(BYTES).unwrap();
        let segment = file.segment(BYTES, SegmentWay::Mapped).unwrap();
        // Beyond the end, nothing at all, and more than there is.
        let ranges = [(u64::MAX, u64::MAX), (0, 0), (BYTES, 1), (8, u64::MAX)];
        for (offset, bytes) in ranges {
            segment.read_ahead(offset, bytes).unwrap();
        }
        let bytes = pattern(usize::try_from(BYTES).unwrap());
        segment.write(0, &bytes).unwrap();
        for (offset, bytes) in ranges {
            segment.read_ahead(offset, bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    /// A page that is not mapped is a fault at the next write, and keeps what was in it.
    #[test]
    fn released_pages_leave_the_mapping_and_keep_what_is_there() {
        const PAGES: u64 = 64;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = StdFs.create_new(&path).unwrap();
        file.preallocate(1 << 20).unwrap();
        let segment = file.segment(1 << 20, SegmentWay::Mapped).unwrap();
        segment.populate(0, 1 << 20).unwrap();
        let bytes = pattern(usize::try_from(PAGES * 4096).unwrap());
        let faults_of_writing = || {
            let before = page_faults();
            segment.write(0, &bytes).unwrap();
            page_faults() - before
        };
        assert!(faults_of_writing() <= 2, "not populated");
        // Rounded in to whole pages: the first and the last stay.
        segment.release(8, PAGES * 4096 - 16).unwrap();
        assert_eq!(fs::read(&path).unwrap()[..bytes.len()], bytes);
        let faults = faults_of_writing();
        assert!(faults >= 8, "{faults} faults: nothing was released");
        for (offset, bytes) in
            [(0, 0), (8, 1), (3, 4096), (u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)]
        {
            segment.release(offset, bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap()[..bytes.len()], bytes);
    }

    #[test]
    fn populating_is_clamped_to_the_segment_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, path) = segment(dir.path(), SegmentWay::Mapped).unwrap();
        segment.write(8, b"is there").unwrap();
        for (offset, bytes) in
            [(0, 0), (8, 1), (3, 70_000), (65_535, 2), (65_536, 1), (u64::MAX, 1), (1, u64::MAX)]
        {
            segment.populate(offset, bytes).unwrap();
        }
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), 1 << 16, "it never grows the file");
        assert_eq!(&found[8..16], b"is there");
        assert!(found[16..].iter().all(|byte| *byte == 0));
    }

    /// Storing there would be SIGBUS; the helper thread that runs ahead must not die of it.
    #[test]
    fn populating_a_file_that_was_cut_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, path) = segment(dir.path(), SegmentWay::Mapped).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
        segment.populate(0, 4096).unwrap();
        let error = segment.populate(8192, 4096).unwrap_err();
        assert_eq!((error.op, &error.path, error.offset), (Op::Map, &path, Some(8192)));
    }

    /// On a full disk a store into a hole would be SIGBUS.
    #[test]
    fn a_file_with_holes_is_not_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = StdFs.create_new(&path).unwrap();
        file.set_len(SEGMENT_BYTES).unwrap();
        let refused = file.segment(SEGMENT_BYTES, SegmentWay::Mapped);
        assert_fails(refused, Op::Map, &path, ErrorKind::Unsupported);
        file.segment(SEGMENT_BYTES, SegmentWay::Written).unwrap();
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let (_, path) = segment(dir.path(), SegmentWay::Mapped).unwrap();
        let file = StdFs.open(&path, pkv_fs::Access::Read).unwrap();
        let refused = file.segment(SEGMENT_BYTES, SegmentWay::Mapped);
        assert_fails(refused, Op::Map, &path, ErrorKind::PermissionDenied);
    }

    /// Minor page faults of this thread so far.
    fn page_faults() -> i64 {
        usage().ru_minflt
    }

    /// What this thread has used so far.
    fn usage() -> libc::rusage {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the call fills the struct that it is given, or fails.
        let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        assert_eq!(status, 0);
        // SAFETY: the call did not fail.
        unsafe { usage.assume_init() }
    }
}
