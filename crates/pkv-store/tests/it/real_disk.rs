//! Real file systems that are full, read-only, refuse, or lose files under the store. What needs root or
//! a file system that cannot be had here is skipped, and says so.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure in a helper fails the test"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests change the folder from outside"
)]
#![expect(clippy::print_stderr, reason = "what was skipped should be known")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pkv_store::{ByteStore, Durability, Error, Health, LogWay, Options, ReadOnlyByteStore};

use crate::support::{Place, eventually, small};

const PROCESS: Durability = Durability::Process;
const WAYS: [LogWay; 2] = [LogWay::Mapped, LogWay::Written];
const MIB: u64 = 1024 * 1024;

/// Whether a program of the system did what it was asked.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A small file system of its own, gone when it is dropped.
struct Disk {
    place: Place,
}

impl Disk {
    fn path(&self) -> PathBuf {
        self.place.at("disk")
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// `mount` with these arguments and the folder behind them; `None` where that is not allowed.
    fn mounted(place: Place, arguments: &[&str]) -> Option<Self> {
        let disk = Self { place };
        fs::create_dir(disk.path()).unwrap();
        let path = disk.path();
        let arguments: Vec<&str> =
            arguments.iter().copied().chain([path.to_str().unwrap()]).collect();
        if runs("mount", &arguments) {
            return Some(disk);
        }
        eprintln!("skipped: mount {} (needs root)", arguments.join(" "));
        None
    }

    fn tmpfs(bytes: u64) -> Option<Self> {
        Self::mounted(Place::new(), &["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"])
    }

    /// ext4 on a file.
    fn ext4(bytes: u64) -> Option<Self> {
        let place = Place::new();
        let image = place.at("image");
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let image = image.to_str().unwrap();
        if !runs("mkfs.ext4", &["-q", "-F", image]) {
            eprintln!("skipped: mkfs.ext4 is not here");
            return None;
        }
        Self::mounted(place, &["-o", "loop", image])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        runs("umount", &[self.path().to_str().unwrap()]);
    }
}

/// Every small disk that can be had, with each way of writing the log.
fn small_disks() -> Vec<(Disk, LogWay)> {
    let disks = WAYS.iter().flat_map(|way| {
        [Disk::tmpfs(6 * MIB), Disk::ext4(16 * MIB)].into_iter().flatten().map(|disk| (disk, *way))
    });
    disks.collect()
}

fn segments() -> Options {
    Options::new().map_shards(4).segment_bytes(64 * 1024, 256 * 1024)
}

fn value(key: u64) -> Vec<u8> {
    key.to_le_bytes().repeat(125)
}

/// Writes keys from this one on until one is refused because the disk is full; that key.
fn fill(store: &ByteStore, first: u64, durability: Durability) -> u64 {
    for key in first..first + 100_000 {
        match store.insert(&key.to_le_bytes(), &value(key), durability) {
            Ok(_) => {}
            Err(Error::DiskFull(cause)) => {
                assert!(cause.path().is_some(), "{cause}");
                return key;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never became full");
}

/// Each key below this one is there, and no other but for those named.
fn check(store: &ByteStore, end: u64, refused: &[u64]) {
    for key in 0..end {
        let expected = (!refused.contains(&key)).then(|| value(key));
        assert_eq!(store.get(&key.to_le_bytes()).unwrap(), expected, "{key}");
    }
    assert_eq!(store.len(), end - u64::try_from(refused.len()).unwrap());
}

/// A write that finds no space is refused, is not visible and never comes back; reads go on; when there is
/// space again the same open store goes on.
#[test]
fn a_full_disk_refuses_and_heals() {
    for (disk, way) in small_disks() {
        for durability in [PROCESS, Durability::Power] {
            let options = segments().log_way(way);
            let store = ByteStore::open(disk.store(), &options).unwrap();
            // Some space that comes back.
            let ballast = disk.path().join("ballast");
            fs::write(&ballast, vec![1; 2 * 1024 * 1024]).unwrap();
            let refused = fill(&store, 0, durability);
            assert!(refused > 200, "{refused} writes on an empty disk");
            assert!(matches!(store.health(), Health::DiskFull(_)), "{:?}", store.health());
            check(&store, refused + 1, &[refused]);

            fs::remove_file(&ballast).unwrap();
            eventually("space", || {
                store.insert(&(refused + 1).to_le_bytes(), &value(refused + 1), durability).is_ok()
            });
            eventually("health", || matches!(store.health(), Health::Good));
            let end = fill(&store, refused + 2, durability);
            assert!(end > refused + 500, "{} writes on 2 MiB more", end - refused);
            check(&store, end + 1, &[refused, end]);
            store.close().unwrap();

            let store = ByteStore::open(disk.store(), &options).unwrap();
            check(&store, end + 1, &[refused, end]);
            drop(store);
            fs::remove_dir_all(disk.store()).unwrap();
        }
    }
}

/// What is obsolete goes before space runs out: many times the disk's size can be written to a few keys.
#[test]
fn a_small_disk_takes_any_number_of_writes_to_few_keys() {
    for (disk, way) in small_disks() {
        let options = segments().log_way(way).compact_log_bytes_min(256 * 1024);
        let store = ByteStore::open(disk.store(), &options).unwrap();
        for n in 0..60_000_u64 {
            // None is refused, however late a compaction comes.
            store.insert(&(n % 100).to_le_bytes(), &value(n), PROCESS).unwrap();
        }
        store.close().unwrap();
        let store = ByteStore::open(disk.store(), &options).unwrap();
        assert_eq!(store.get(&99_u64.to_le_bytes()).unwrap(), Some(value(59_999)));
        assert_eq!(store.len(), 100);
    }
}

/// Opening for writing says what is wrong and changes nothing; reading works.
#[test]
fn a_read_only_disk_is_read() {
    let Some(disk) = Disk::ext4(16 * MIB) else { return };
    let store = ByteStore::open(disk.store(), &small()).unwrap();
    for key in 0..100 {
        store.insert(&u64::to_le_bytes(key), &value(key), PROCESS).unwrap();
    }
    // As a killed process leaves it: recovery would have something to write.
    let copy = disk.path().join("killed");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(disk.store()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    store.close().unwrap();
    assert!(runs("mount", &["-o", "remount,ro", disk.path().to_str().unwrap()]));
    for folder in [disk.store(), copy] {
        match ByteStore::open(&folder, &small()).map(drop) {
            Err(Error::Fs(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
            }
            other => panic!("{other:?}"),
        }
        let view = ReadOnlyByteStore::open(&folder, &small()).unwrap();
        assert_eq!(view.len(), 100);
    }
}

/// Nothing can be created in the folder any more: the log cannot grow, writes say so, reads go on, and with
/// the permission writing comes back.
#[test]
fn a_folder_that_takes_no_files_any_more_is_told_and_heals() {
    let Some(disk) = Disk::ext4(16 * MIB) else { return };
    for way in WAYS {
        let store = ByteStore::open(disk.store(), &small().log_way(way)).unwrap();
        let folder = disk.store();
        let folder = folder.to_str().unwrap();
        store.insert(b"before", b"1", PROCESS).unwrap();
        if !runs("chattr", &["+i", folder]) {
            eprintln!("skipped: chattr +i");
            return;
        }
        let mut key = 0;
        let error = loop {
            match store.insert(&u64::to_le_bytes(key), &value(key), PROCESS) {
                Ok(_) => key += 1,
                Err(error) => break error,
            }
        };
        assert!(key < 100, "the log grew in a folder that takes no files");
        assert!(
            matches!(&error, Error::LogUnavailable(cause) if cause.path().is_some()),
            "{error}"
        );
        assert!(matches!(store.health(), Health::LogUnavailable(_)), "{:?}", store.health());
        assert!(store.compact().is_err());
        assert_eq!(store.get(&key.to_le_bytes()).unwrap(), None);
        assert_eq!(store.len(), key + 1);
        assert!(runs("chattr", &["-i", folder]));
        eventually("permission", || store.insert(b"after", b"2", PROCESS).is_ok());
        eventually("health", || matches!(store.health(), Health::Good));
        store.close().unwrap();
        let store = ByteStore::open(disk.store(), &small()).unwrap();
        assert_eq!(store.len(), key + 2);
        drop(store);
        fs::remove_dir_all(disk.store()).unwrap();
    }
}

/// A folder of somebody else: every way of opening it says so.
#[test]
fn a_folder_of_somebody_else_is_an_error() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    store.insert(b"key", b"value", PROCESS).unwrap();
    store.close().unwrap();
    assert!(runs("chmod", &["-R", "go=", place.store().to_str().unwrap()]));
    // The folders above it must be passable, or the test would see them.
    assert!(runs("chmod", &["755", place.at("").to_str().unwrap()]));
    let mut child = Command::new("setpriv");
    child.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    child.arg(std::env::current_exe().unwrap());
    child.args(["--exact", "real_disk::child_of_somebody_else", "--ignored", "--nocapture"]);
    match child.env(DIR, place.store()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        _ => eprintln!("skipped: no other user to be had (needs root and setpriv)"),
    }
}

const DIR: &str = "PKV_TEST_REAL_DISK_DIR";

#[test]
#[ignore = "the child of a test of this module"]
fn child_of_somebody_else() {
    let folder = PathBuf::from(std::env::var_os(DIR).unwrap());
    let denied = |error: &Error| match error {
        Error::Fs(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        _ => false,
    };
    let error = ByteStore::open(&folder, &small()).map(drop).unwrap_err();
    assert!(denied(&error), "{error}");
    assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
    let error = ReadOnlyByteStore::open(&folder, &small()).map(drop).unwrap_err();
    assert!(denied(&error), "{error}");
}

/// A folder that is deleted under way: what is in the log's file goes on working, as the system allows; the
/// log cannot grow, and that is told. Nothing panics, and closing returns.
#[test]
fn a_folder_that_is_deleted_is_told() {
    for way in WAYS {
        let place = Place::new();
        let store = ByteStore::open(place.store(), &small().log_way(way)).unwrap();
        store.insert(b"before", b"1", Durability::Power).unwrap();
        fs::remove_dir_all(place.store()).unwrap();
        let mut key = 0;
        let error = loop {
            match store.insert(&u64::to_le_bytes(key), &value(key), Durability::Power) {
                Ok(_) => key += 1,
                Err(error) => break error,
            }
        };
        assert!(key < 100, "the log grew in a folder that is gone");
        let told = match &error {
            Error::LogUnavailable(cause)
            | Error::Poisoned(cause)
            | Error::Unconfirmed { cause, .. } => cause,
            error => panic!("{error}"),
        };
        assert!(told.to_string().contains(place.store().to_str().unwrap()), "{told}");
        assert!(!matches!(store.health(), Health::Good));
        assert_eq!(store.get(b"before").unwrap(), Some(b"1".to_vec()));
        assert!(store.compact().is_err());
        drop(store);
        let options = small().create(false);
        let error = ByteStore::open(place.store(), &options).map(drop).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

/// The store's newest log.
fn newest_log(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| {
        let has_frames = || fs::read(path).unwrap().iter().skip(4096).any(|byte| *byte != 0);
        path.to_string_lossy().contains("_diff.bin") && has_frames()
    });
    logs.max().expect("a log with frames")
}

/// Somebody cuts the log while it is written. A mapped one ends the process with SIGBUS at the next copy into what is gone: no
/// system lets a program prevent that. A written one goes on. Opening finds both out.
#[test]
fn a_log_cut_by_other_hands_is_found_at_the_latest_by_opening() {
    for way in ["mapped", "written"] {
        let place = Place::new();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "real_disk::child_whose_log_is_cut", "--ignored", "--nocapture"]);
        let output = child.env(DIR, place.store()).env("PKV_TEST_WAY", way).output().unwrap();
        let is_mapped = way == "mapped";
        if is_mapped {
            const SIGBUS: i32 = 7;
            assert_eq!(output.status.signal(), Some(SIGBUS), "{output:?}");
        } else {
            assert!(output.status.success(), "{output:?}");
        }
        let error = ByteStore::open(place.store(), &small()).map(drop).unwrap_err();
        let Error::Damaged { path, .. } = &error else { panic!("{way}: {error}") };
        assert!(path.to_string_lossy().contains("_diff.bin"), "{way}: {error}");
    }
}

#[test]
#[ignore = "the child of a test of this module"]
fn child_whose_log_is_cut() {
    let folder = PathBuf::from(std::env::var_os(DIR).unwrap());
    let is_mapped = std::env::var("PKV_TEST_WAY").unwrap() == "mapped";
    let way = if is_mapped { LogWay::Mapped } else { LogWay::Written };
    let store = ByteStore::open(&folder, &small().log_way(way)).unwrap();
    for key in 0..5 {
        store.insert(&u64::to_le_bytes(key), &value(key), Durability::Power).unwrap();
    }
    let log = fs::OpenOptions::new().write(true).open(newest_log(&folder)).unwrap();
    log.set_len(5000).unwrap();
    // The first write behind a sync is written by a call in a mapped log, too; the next ones are copied.
    for key in 5..12 {
        let _ = store.insert(&u64::to_le_bytes(key), &value(key), Durability::Process);
    }
    assert_eq!(store.get(&0_u64.to_le_bytes()).unwrap(), Some(value(0)));
    // As a kill would leave it.
    std::process::exit(0);
}

/// Files that shrink while they are read are an error or a shorter log, never a signal: nothing is mapped
/// for reading.
#[test]
fn files_that_are_cut_while_they_are_read_are_no_signal() {
    let place = Place::new();
    let store = ByteStore::open(place.store(), &small()).unwrap();
    for key in 0..200 {
        store.insert(&u64::to_le_bytes(key), &value(key), PROCESS).unwrap();
        if key == 100 {
            store.compact().unwrap();
        }
    }
    store.close().unwrap();
    let files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(place.store())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    let (mut opened, mut refused) = (0, 0);
    for round in 0..200_usize {
        let (path, whole) = &files[round % files.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_micros(
                    20 * u64::try_from(round % 40).unwrap(),
                ));
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(u64::try_from(whole.len() / 2).unwrap()).unwrap();
            });
            match ReadOnlyByteStore::open(place.store(), &small()) {
                Ok(_) => opened += 1,
                Err(_) => refused += 1,
            }
        });
        fs::write(path, whole).unwrap();
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
    assert_eq!(ByteStore::open(place.store(), &small()).unwrap().len(), 200);
}
