//! The locks of `parking_lot`, before and after which a thread stops at random, now and then: long
//! enough for others to pass where a busy machine lets them pass once a year.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use parking_lot::{Condvar, MutexGuard};

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use pkv_fs::{Announced, BiasedReadGuard, Readers, RwReadGuard, RwWriteGuard};

static NEXT_SEED: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static RANDOM: Cell<u64> =
        Cell::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
}

/// `None`: a thread that ends has no generator any more.
fn random() -> Option<u64> {
    let random = RANDOM.try_with(|random| {
        let next = random
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random.set(next);
        next >> 40
    });
    random.ok()
}

/// One time in two.
pub(super) fn is_heads() -> bool {
    random().is_some_and(|random| random % 2 == 0)
}

/// Stops this thread, one time in eight for others that are ready, one time in 64 for some microseconds.
fn stop_at_random() {
    match random() {
        Some(random) if random % 64 == 0 => {
            std::thread::sleep(Duration::from_micros(random / 64 % 200));
        }
        Some(random) if random % 8 == 0 => std::thread::yield_now(),
        _ => {}
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        stop_at_random();
        let guard = self.0.lock();
        // With the lock held, too: who is ahead of it then piles up before it.
        stop_at_random();
        guard
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        stop_at_random();
        self.0.try_lock()
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        stop_at_random();
        self.0.read()
    }

    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        stop_at_random();
        self.0.try_read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        stop_at_random();
        let guard = self.0.write();
        stop_at_random();
        guard
    }
}

/// The lock of `pkv-fs`.
#[derive(Debug, Default)]
pub(crate) struct BiasedRwLock<T>(pkv_fs::BiasedRwLock<T>);

impl<T> BiasedRwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(pkv_fs::BiasedRwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwReadGuard<'_, T> {
        stop_at_random();
        self.0.read()
    }

    pub(crate) fn try_read(&self) -> Option<RwReadGuard<'_, T>> {
        stop_at_random();
        self.0.try_read()
    }

    pub(crate) fn read_counted(&self, readers: &Readers) -> RwReadGuard<'_, T> {
        stop_at_random();
        self.0.read_counted(readers)
    }

    pub(crate) fn try_read_counted(&self, readers: &Readers) -> Option<RwReadGuard<'_, T>> {
        stop_at_random();
        self.0.try_read_counted(readers)
    }

    pub(crate) fn read_biased(&self) -> Option<BiasedReadGuard<'_, T>> {
        stop_at_random();
        let guard = self.0.read_biased();
        // While a writer waits for this thread.
        stop_at_random();
        guard
    }

    pub(crate) fn read_announced<'a>(&'a self, announced: &'a Announced) -> Option<&'a T> {
        stop_at_random();
        self.0.read_announced(announced)
    }

    pub(crate) fn end_biases<'a>(locks: impl Iterator<Item = &'a Self>)
    where
        T: 'a,
    {
        stop_at_random();
        pkv_fs::BiasedRwLock::end_biases(locks.map(|lock| &lock.0));
    }

    pub(crate) fn write(&self) -> RwWriteGuard<'_, T> {
        stop_at_random();
        let guard = self.0.write();
        stop_at_random();
        guard
    }
}
