//! One owner per folder.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pkv_fs::{Fs, Op, StdFs};

use crate::assert_fails;

/// Set for the child test, which is nothing without it.
const CHILD_PATH: &str = "PKV_FS_TEST_LOCK_PATH";

#[test]
fn a_second_handle_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = StdFs.lock(&path, Duration::ZERO).unwrap();
    assert_fails(StdFs.lock(&path, Duration::ZERO), Op::Lock, &path, ErrorKind::WouldBlock);
    drop(held);
    let held = StdFs.lock(&path, Duration::ZERO).unwrap();
    drop(held);
    assert!(path.exists(), "the file stays, so that all lock the same one");
}

#[test]
fn the_file_keeps_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    fs::write(&path, b"left by somebody").unwrap();
    let held = StdFs.lock(&path, Duration::ZERO).unwrap();
    assert_eq!(held.file().len().unwrap(), 16);
    held.file().write_at(8, b"BY").unwrap();
    drop(held);
    assert_eq!(fs::read(&path).unwrap(), b"left by BYmebody");
}

#[test]
fn waiting_ends_when_the_holder_lets_go_or_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = StdFs.lock(&path, Duration::ZERO).unwrap();
    let start = Instant::now();
    let refused = StdFs.lock(&path, Duration::from_millis(50));
    assert_fails(refused, Op::Lock, &path, ErrorKind::WouldBlock);
    assert!(start.elapsed() >= Duration::from_millis(50));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| StdFs.lock(&path, Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.join().unwrap().is_ok());
    });
}

#[test]
fn many_threads_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let held = StdFs.lock(&path, Duration::from_secs(60)).unwrap();
                    let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(others, 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(held);
                }
            });
        }
    });
}

#[test]
fn another_process_excludes_and_its_death_releases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::child_holds_the_lock_until_killed", "--ignored", "--nocapture"])
        .env(CHILD_PATH, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|line| line.contains("the lock is held"));
    assert!(held, "the child ended early");
    let refused = StdFs.lock(&path, Duration::ZERO);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_fails(refused, Op::Lock, &path, ErrorKind::WouldBlock);
    assert!(StdFs.lock(&path, Duration::ZERO).is_ok());
}

#[test]
#[ignore = "the child of another_process_excludes_and_its_death_releases"]
fn child_holds_the_lock_until_killed() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let _held = StdFs.lock(Path::new(&path), Duration::ZERO).unwrap();
    println!("the lock is held");
    std::thread::sleep(Duration::from_secs(600));
}
