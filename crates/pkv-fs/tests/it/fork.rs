//! What a forked child may not do to its parent.
//!
//! A child of a process with many threads may do little; what it does here is little, and it
//! ends in `_exit`, so that the test harness never runs twice.

use std::io::ErrorKind;
use std::time::Duration;

use pkv_fs::{ForkGuard, Fs, Op, StdFs};

use crate::assert_fails;

/// Forks; the child ends with what `child` returns.
pub(crate) fn fork(child: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child calls only `child`, which this file keeps to what a fork may do, and `_exit`.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "fork failed");
    if id == 0 {
        let code = i32::from(!child());
        // SAFETY: ends the child at once, without destructors and exit handlers.
        unsafe { libc::_exit(code) };
    }
    id
}

/// Waits for the child; whether it returned true.
pub(crate) fn joined(id: libc::pid_t) -> bool {
    let mut status = -1;
    // SAFETY: `status` is ours to be filled.
    let ended = unsafe { libc::waitpid(id, &raw mut status, 0) };
    ended == id && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn the_guard_tells_children_and_grandchildren_from_the_parent() {
    let guard = ForkGuard::new();
    assert!(!guard.forked());
    let child = fork(|| {
        let own = ForkGuard::new();
        guard.forked() && !own.forked() && joined(fork(|| guard.forked() && own.forked()))
    });
    assert!(joined(child));
    assert!(!guard.forked());
}

#[test]
fn a_child_that_drops_the_lock_does_not_release_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let mut held = Some(StdFs.lock(&path, Duration::ZERO).unwrap());
    let child = fork(|| held.take().is_some());
    assert!(joined(child));
    assert!(held.is_some(), "the child took its own copy");
    assert_fails(StdFs.lock(&path, Duration::ZERO), Op::Lock, &path, ErrorKind::WouldBlock);
    drop(held);
    assert!(StdFs.lock(&path, Duration::ZERO).is_ok());
}

#[test]
fn a_child_that_still_has_the_descriptor_does_not_keep_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = StdFs.lock(&path, Duration::ZERO).unwrap();
    let child = fork(|| {
        // SAFETY: waits for the signal that ends it.
        unsafe { libc::pause() };
        false
    });
    drop(held);
    let again = StdFs.lock(&path, Duration::ZERO);
    // SAFETY: the child is ours and not yet waited for.
    let killed = unsafe { libc::kill(child, libc::SIGKILL) };
    assert_eq!(killed, 0);
    assert!(!joined(child), "it was killed");
    assert!(again.is_ok(), "{again:?}");
}
