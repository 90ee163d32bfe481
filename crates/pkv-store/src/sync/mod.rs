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
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(any(pkv_shuttle, pkv_stress)))]
pub(crate) use pkv_fs::BiasedRwLock;
#[cfg(not(pkv_shuttle))]
pub(crate) use pkv_fs::{Announced, Readers, Rounds, RwReadGuard, RwWriteGuard};
#[cfg(not(pkv_shuttle))]
pub(crate) use std::{
    sync::{atomic, mpsc},
    thread,
};

#[cfg(pkv_stress)]
pub(crate) use self::stress::{BiasedRwLock, Condvar, Mutex, MutexGuard, RwLock};

#[cfg(pkv_shuttle)]
pub(crate) use self::shuttle::{
    Announced, BiasedRwLock, Condvar, Mutex, MutexGuard, Readers, Rounds, RwLock, RwReadGuard,
    RwWriteGuard, atomic, mpsc, thread,
};

/// How often [`lock_soon`] looks without a pause, which takes 20 to 50 ns, as long as others hold the lock; and how often with
/// one: one to five microseconds in all.
#[cfg(not(any(pkv_shuttle, pkv_stress)))]
const LOOKS_AT_ONCE: u32 = 200;
#[cfg(not(any(pkv_shuttle, pkv_stress)))]
const LOOKS: u32 = 300;

/// Locks what others hold for some dozens of nanoseconds. `parking_lot` gives its processor away after a fifth of a
/// microsecond, and to sleep and be woken takes several: two threads that insert came to 3.8 to 3.9 M/s with this, and to
/// 3.6 to 3.7 without; two that overwrite to 1.50 to 1.59 with a pause between all looks, and to 1.54 to 1.65 so.
#[cfg(not(any(pkv_shuttle, pkv_stress)))]
#[inline]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for looks in 0..LOOKS {
        if !mutex.is_locked()
            && let Some(guard) = mutex.try_lock()
        {
            return guard;
        }
        if looks >= LOOKS_AT_ONCE {
            std::hint::spin_loop();
        }
    }
    mutex.lock()
}

/// The same, where each look would be a step of its own.
#[cfg(any(pkv_shuttle, pkv_stress))]
pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// Who reads a map's shards.
pub(crate) fn readers() -> Readers {
    // Where threads are made to meet, shards have their bias as often as they can.
    if cfg!(any(pkv_shuttle, pkv_stress)) { Readers::eager() } else { Readers::new() }
}

/// Whether somebody has it locked.
#[cfg(not(any(pkv_shuttle, pkv_stress)))]
#[inline]
pub(crate) fn is_shared<T>(lock: &BiasedRwLock<T>) -> bool {
    lock.is_locked()
}

/// The same in runs whose threads hardly ever meet by themselves: every second time.
#[cfg(pkv_stress)]
pub(crate) fn is_shared<T>(_: &BiasedRwLock<T>) -> bool {
    stress::is_heads()
}

/// The same.
#[cfg(pkv_shuttle)]
pub(crate) fn is_shared<T>(_: &BiasedRwLock<T>) -> bool {
    shuttle::is_heads()
}
