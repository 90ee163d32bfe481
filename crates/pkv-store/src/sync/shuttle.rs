//! Shuttle's locks, atomics and threads in the shape that the store uses: no poisoning, and waits with
//! a time limit, which may end at any moment.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use shuttle::rand::Rng;
use shuttle::sync;

pub(crate) use shuttle::sync::{
    RwLockReadGuard as RwReadGuard, RwLockWriteGuard as RwWriteGuard, atomic, mpsc,
};

#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.take()) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(sync::TryLockError::Poisoned(held)) => held.into_inner(),
            Err(sync::TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { mutex: self, held: Some(held) })
    }

    fn take(&self) -> sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a [`Mutex`], but for the time of a wait.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<sync::MutexGuard<'a, T>>,
}

const HELD: &str = "a guard lets go of its lock within a wait alone, which borrows it";

impl<T> MutexGuard<'_, T> {
    /// Runs `work` with the lock released.
    pub(crate) fn unlocked<R>(guard: &mut Self, work: impl FnOnce() -> R) -> R {
        guard.held = None;
        let result = work();
        guard.held = Some(guard.mutex.take());
        result
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().unwrap_or_else(|| unreachable!("{HELD}"))
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().unwrap_or_else(|| unreachable!("{HELD}"))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

/// Whether a wait ended because its time was over.
pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

/// How often a wait with a time limit lets others go first, at most.
const TURNS_MAX: u32 = 4;

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// There is no time here: others go first some turns long, then the wait ends, in time or not. So a
    /// wake-up that such a wait misses is not seen; one that [`Condvar::wait`] misses is a deadlock, which
    /// shuttle reports.
    #[expect(
        clippy::unused_self,
        reason = "the shape of the condition variables that it stands in for"
    )]
    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _time: Duration,
    ) -> WaitTimeoutResult {
        let mut random = shuttle::rand::thread_rng();
        let turns = random.gen_range(1..=TURNS_MAX);
        MutexGuard::unlocked(guard, || (0..turns).for_each(|_| thread::yield_now()));
        WaitTimeoutResult(random.r#gen())
    }

    /// As [`Condvar::wait_for`].
    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_for(guard, Duration::ZERO)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// [`pkv_fs::Rounds`] of shuttle's locks: steps and their order are the same.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    current: Mutex<u32>,
    ended: Condvar,
    waiting: atomic::AtomicU32,
}

impl Rounds {
    pub(crate) fn current(&self) -> u32 {
        *self.current.lock()
    }

    pub(crate) fn wait(&self, round: u32) {
        self.waiting.fetch_add(1, atomic::Ordering::SeqCst);
        let mut current = self.current.lock();
        while *current == round {
            self.ended.wait(&mut current);
        }
        drop(current);
        self.waiting.fetch_sub(1, atomic::Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        let mut current = self.current.lock();
        *current = current.wrapping_add(1);
        drop(current);
        if self.waiting.load(atomic::Ordering::SeqCst) > 0 {
            self.ended.notify_all();
        }
    }
}

#[derive(Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_read(&self) -> Option<RwReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(sync::TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(sync::TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn write(&self) -> RwWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One time in two.
pub(super) fn is_heads() -> bool {
    shuttle::rand::thread_rng().r#gen()
}

/// [`pkv_fs::Readers`], of locks that never have a bias: it rests on barriers of all processors, and here is one.
#[derive(Debug)]
pub(crate) struct Readers;

/// Never made.
#[derive(Debug)]
pub(crate) enum Announced {}

impl Readers {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn eager() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the shape of what it stands in for")]
    pub(crate) fn announce(&self) -> Option<Announced> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct BiasedRwLock<T>(RwLock<T>);

impl<T> BiasedRwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwReadGuard<'_, T> {
        self.0.read()
    }

    pub(crate) fn try_read(&self) -> Option<RwReadGuard<'_, T>> {
        self.0.try_read()
    }

    pub(crate) fn read_counted(&self, _readers: &Readers) -> RwReadGuard<'_, T> {
        self.0.read()
    }

    pub(crate) fn try_read_counted(&self, _readers: &Readers) -> Option<RwReadGuard<'_, T>> {
        self.0.try_read()
    }

    #[expect(clippy::unused_self, reason = "the shape of what it stands in for")]
    pub(crate) fn read_biased(&self) -> Option<&T> {
        None
    }

    #[expect(clippy::unused_self, reason = "the shape of what it stands in for")]
    pub(crate) fn read_announced<'a>(&'a self, announced: &'a Announced) -> Option<&'a T> {
        match *announced {}
    }

    pub(crate) fn end_biases<'a>(_locks: impl Iterator<Item = &'a Self>)
    where
        T: 'a,
    {
    }

    pub(crate) fn write(&self) -> RwWriteGuard<'_, T> {
        self.0.write()
    }
}

/// As much of `std::thread` as the store uses.
pub(crate) mod thread {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(crate) use shuttle::thread::{Result, Thread, current, sleep, yield_now};
    pub(crate) use std::thread::panicking;

    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(shuttle::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            let finished = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&finished);
            let inner = self.0.spawn(move || {
                let result = work();
                told.store(true, Ordering::Release);
                result
            })?;
            Ok(JoinHandle { inner, finished })
        }
    }

    #[derive(Debug)]
    pub(crate) struct JoinHandle<T> {
        inner: shuttle::thread::JoinHandle<T>,
        finished: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn join(self) -> Result<T> {
            self.inner.join()
        }

        pub(crate) fn thread(&self) -> &Thread {
            self.inner.thread()
        }

        pub(crate) fn is_finished(&self) -> bool {
            self.finished.load(Ordering::Acquire)
        }
    }
}
