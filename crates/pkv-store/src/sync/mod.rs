//! Locks, atomics and threads. What the store's threads decide by goes through here (the map's sums do
//! not), so that a test can take the order of the threads into its own hands:
//!
//! - plainly built they are those of `parking_lot` and `std`;
//! - with `--cfg pkv_shuttle` those of shuttle, which runs all threads on one and chooses, at each call
//!   of this module, who goes on (`shuttle.rs`);
//! - with `--cfg pkv_stress` those of `parking_lot`, before which a thread stops at random (`stress.rs`).
//!
//! `cargo xtask stress` runs the tests that are made for the last two.

#[cfg(pkv_shuttle)]
mod shuttle;
#[cfg(pkv_stress)]
mod stress;

#[cfg(not(any(pkv_shuttle, pkv_stress)))]
pub(crate) use parking_lot::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(not(pkv_shuttle))]
pub(crate) use pkv_fs::Rounds;
#[cfg(not(pkv_shuttle))]
pub(crate) use std::{
    sync::{atomic, mpsc},
    thread,
};

#[cfg(pkv_stress)]
pub(crate) use self::stress::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

#[cfg(pkv_shuttle)]
pub(crate) use self::shuttle::{
    Condvar, Mutex, MutexGuard, Rounds, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, mpsc,
    thread,
};
