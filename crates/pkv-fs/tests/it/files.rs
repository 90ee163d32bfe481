//! Names, files and their bytes.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use pkv_fs::{Access, Entry, EntryKind, Fs, Op, StdFs};

use crate::assert_fails;

#[test]
fn a_folder_is_created_once() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    assert!(StdFs.create_dir(&sub).unwrap());
    assert!(!StdFs.create_dir(&sub).unwrap());
    assert!(sub.is_dir());
}

#[test]
fn a_file_is_created_empty_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = StdFs.create_new(&path).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(0, b"kept").unwrap();
    assert_fails(StdFs.create_new(&path), Op::Create, &path, ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"kept");
}

/// Whether or not this file system can share bytes.
#[test]
fn a_clone_is_a_file_of_its_own_or_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    assert_fails(StdFs.clone_file(&from, &to), Op::Clone, &from, ErrorKind::NotFound);
    fs::write(&from, vec![7; 10_000]).unwrap();
    fs::write(&to, b"taken").unwrap();
    assert_fails(StdFs.clone_file(&from, &to), Op::Clone, &to, ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&to).unwrap(), b"taken");
    fs::remove_file(&to).unwrap();
    match StdFs.clone_file(&from, &to) {
        Ok(()) => {
            assert_eq!(fs::read(&to).unwrap(), vec![7; 10_000]);
            StdFs.open(&to, Access::Write).unwrap().write_at(0, b"other").unwrap();
            assert_eq!(fs::read(&from).unwrap(), vec![7; 10_000]);
        }
        Err(error) => {
            assert_eq!(error.op, Op::Clone);
            assert!(!to.exists(), "{error}");
        }
    }
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    assert!(StdFs.clone_file(&folder, &dir.path().join("new")).is_err());
    assert!(!dir.path().join("new").exists());
}

#[test]
fn only_an_empty_folder_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    fs::write(sub.join("letter"), b"dear").unwrap();
    assert_eq!(StdFs.remove_dir(&sub).unwrap_err().op, Op::Remove);
    assert!(sub.join("letter").exists());
    fs::remove_file(sub.join("letter")).unwrap();
    StdFs.remove_dir(&sub).unwrap();
    assert!(!sub.exists());
}

#[test]
fn bytes_come_back_from_where_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = StdFs.create_new(&path).unwrap();
    file.write_at(5, b"world").unwrap();
    file.write_at(0, b"hello").unwrap();
    assert_eq!(file.len().unwrap(), 10);
    let mut buf = [0; 4];
    assert_eq!(file.read_at(3, &mut buf).unwrap(), 4);
    assert_eq!(&buf, b"lowo");
    file.set_len(7).unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hellowo");
}

#[test]
fn a_read_stops_at_the_end_and_leaves_the_rest_of_the_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let file = StdFs.create_new(&dir.path().join("log")).unwrap();
    file.write_at(0, b"abc").unwrap();
    let mut buf = *b"........";
    assert_eq!(file.read_at(1, &mut buf).unwrap(), 2);
    assert_eq!(&buf, b"bc......");
    assert_eq!(file.read_at(3, &mut buf).unwrap(), 0);
    assert_eq!(file.read_at(1 << 40, &mut buf).unwrap(), 0);
    assert_eq!(file.read_at(0, &mut []).unwrap(), 0);
}

#[test]
fn an_offset_that_no_file_has_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = StdFs.create_new(&path).unwrap();
    let error = file.read_at(u64::MAX, &mut [0; 8]).unwrap_err();
    assert_eq!((error.op, error.offset), (Op::Read, Some(u64::MAX)));
    let error = file.write_at(u64::MAX - 1, b"12345678").unwrap_err();
    assert_eq!((error.op, error.offset), (Op::Write, Some(u64::MAX - 1)));
    assert_eq!(error.path, path);
    assert!(file.is_empty().unwrap());
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, b"abc").unwrap();
    let file = StdFs.open(&path, Access::Read).unwrap();
    let mut buf = [0; 3];
    assert_eq!(file.read_at(0, &mut buf).unwrap(), 3);
    file.write_at(0, b"x").unwrap_err();
    file.set_len(0).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    StdFs.open(&path, Access::Write).unwrap().write_at(3, b"d").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"abcd");
}

#[test]
fn preallocated_bytes_are_zeros_and_old_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = StdFs.create_new(&path).unwrap();
    file.write_at(0, b"abc").unwrap();
    file.preallocate(10_000).unwrap();
    let mut expected = vec![0; 10_000];
    expected[..3].copy_from_slice(b"abc");
    assert_eq!(fs::read(&path).unwrap(), expected);
    file.preallocate(0).unwrap();
    file.preallocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 10_000, "it never cuts");
}

#[test]
fn bytes_that_begin_to_be_written_out_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shard");
    let file = StdFs.create_new(&path).unwrap();
    let bytes = vec![7; 100_000];
    file.write_at(0, &bytes).unwrap();
    file.start_writeback(0, 100_000).unwrap();
    file.start_writeback(50_000, 1 << 20).unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[cfg(all(target_os = "linux", feature = "mmap"))]
#[test]
fn beginning_to_write_out_where_no_byte_can_be_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shard");
    let file = StdFs.create_new(&path).unwrap();
    let error = file.start_writeback(u64::MAX, 1).unwrap_err();
    assert_eq!((error.op, error.offset), (Op::StartWriteback, Some(u64::MAX)));
}

#[cfg(target_os = "linux")]
#[test]
fn preallocating_reserves_space() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    if !StdFs.can_map(dir.path()).unwrap() {
        return; // Not known to reserve.
    }
    let path = dir.path().join("log");
    StdFs.create_new(&path).unwrap().preallocate(1 << 20).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
}

/// A tmpfs refuses at once what is larger than all of it, so that nothing gets full here.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_too_small_is_an_error_that_says_full() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let file = StdFs.create_new(&dir.path().join("log")).unwrap();
    let error = file.preallocate(1 << 50).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert_eq!(error.op, Op::Preallocate);
}

#[test]
fn a_rename_moves_the_bytes_to_a_free_name() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, b"abc").unwrap();
    StdFs.rename(&from, &to).unwrap();
    assert!(!from.exists());
    assert_eq!(fs::read(&to).unwrap(), b"abc");
}

#[test]
fn a_rename_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, b"new").unwrap();
    fs::write(&to, b"old").unwrap();
    let error = StdFs.rename(&from, &to).unwrap_err();
    assert!(error.to_string().contains(&to.display().to_string()), "{error}");
    assert_fails(Err::<(), _>(error), Op::Rename, &from, ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&from).unwrap(), b"new");
    assert_eq!(fs::read(&to).unwrap(), b"old");
    #[cfg(unix)]
    {
        let dangling = dir.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let refused = StdFs.rename(&from, &dangling);
        assert_fails(refused, Op::Rename, &from, ErrorKind::AlreadyExists);
    }
}

#[test]
fn a_removed_file_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, b"abc").unwrap();
    StdFs.remove(&path).unwrap();
    assert!(!path.exists());
    assert!(StdFs.list(dir.path()).unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_list_tells_kinds_without_following_links() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let odd_name = OsStr::from_bytes(b"not utf-8 \xff");
    fs::write(dir.path().join(odd_name), b"").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("folder", dir.path().join("link")).unwrap();
    make_fifo(&dir.path().join("fifo"));
    let mut entries = StdFs.list(dir.path()).unwrap();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let entry = |name: &OsStr, kind| Entry { name: name.to_os_string(), kind };
    let expected = [
        entry(OsStr::new("fifo"), EntryKind::Other),
        entry(OsStr::new("folder"), EntryKind::Directory),
        entry(OsStr::new("link"), EntryKind::Other),
        entry(odd_name, EntryKind::File),
    ];
    assert_eq!(entries, expected);
}

/// Without `O_NONBLOCK`, opening the fifo would wait for ever.
#[cfg(unix)]
#[test]
fn only_regular_files_are_opened_or_locked() {
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"abc").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("file", &link).unwrap();
    let dangling = dir.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let fifo = dir.path().join("fifo");
    make_fifo(&fifo);
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [&link, &dangling, &folder, &fifo, &socket, Path::new("/dev/null")] {
        for access in [Access::Read, Access::Write] {
            assert_fails(StdFs.open(path, access), Op::Open, path, ErrorKind::InvalidInput);
        }
        let locked = StdFs.lock(path, Duration::ZERO);
        assert_fails(locked, Op::Lock, path, ErrorKind::InvalidInput);
    }
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn every_error_names_the_call_and_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let inside = missing.join("file");
    let gone = ErrorKind::NotFound;
    assert_fails(StdFs.create_dir(&missing.join("sub")), Op::CreateDir, &missing.join("sub"), gone);
    assert_fails(StdFs.list(&missing), Op::List, &missing, gone);
    assert_fails(StdFs.create_new(&inside), Op::Create, &inside, gone);
    assert_fails(StdFs.open(&missing, Access::Read), Op::Open, &missing, gone);
    assert_fails(StdFs.rename(&missing, &dir.path().join("to")), Op::Rename, &missing, gone);
    assert_fails(StdFs.remove(&missing), Op::Remove, &missing, gone);
    assert_fails(StdFs.lock(&inside, std::time::Duration::ZERO), Op::Lock, &inside, gone);
    assert_fails(StdFs.can_map(&missing), Op::Stat, &missing, gone);
    assert_fails(StdFs.free_bytes(&missing), Op::Stat, &missing, gone);
    #[cfg(unix)]
    assert_fails(StdFs.sync_dir(&missing), Op::SyncDir, &missing, gone);
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert_fails(StdFs.create_dir(&file), Op::CreateDir, &file, ErrorKind::AlreadyExists);
    #[cfg(unix)]
    assert_fails(StdFs.sync_dir(&file), Op::SyncDir, &file, ErrorKind::NotADirectory);
    let opened = StdFs.open(&file, Access::Read).unwrap();
    for (op, result) in [
        (Op::Write, opened.write_at(0, b"x")),
        (Op::Preallocate, opened.preallocate(8)),
        (Op::SetLen, opened.set_len(8)),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.op, &error.path), (op, &file));
    }
}

#[test]
fn a_folder_can_be_synced_and_an_empty_path_is_the_current_one() {
    let dir = tempfile::tempdir().unwrap();
    StdFs.sync_dir(dir.path()).unwrap();
    let parent = Path::new("Cargo.toml").parent().unwrap();
    StdFs.sync_dir(parent).unwrap();
    assert!(StdFs.list(parent).unwrap().iter().any(|entry| entry.name == "Cargo.toml"));
    assert_eq!(StdFs.can_map(parent).unwrap(), StdFs.can_map(Path::new(".")).unwrap());
    assert!(StdFs.free_bytes(parent).is_ok());
}

#[cfg(target_os = "linux")]
#[test]
fn mapping_is_for_known_file_systems_only() {
    assert!(!StdFs.can_map(Path::new("/proc")).unwrap());
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        assert_eq!(StdFs.can_map(dir.path()).unwrap(), cfg!(feature = "mmap"));
        assert!(StdFs.list(dir.path()).unwrap().is_empty(), "asking leaves nothing behind");
    }
}

#[test]
fn the_machine_knows_the_time_and_random_numbers() {
    let numbers: std::collections::HashSet<u64> = (0..100).map(|_| StdFs.random_u64()).collect();
    assert_eq!(numbers.len(), 100);
    let year_2020_ms = 1_577_836_800_000;
    assert!(StdFs.unix_time_ms() > year_2020_ms);
    #[cfg(unix)]
    assert!(StdFs.free_bytes(&std::env::temp_dir()).unwrap().is_some());
}

#[cfg(unix)]
fn make_fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "mkfifo {}", path.display());
}
