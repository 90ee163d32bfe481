//! A reader-writer lock that is biased towards its readers while nobody writes.
//!
//! Whoever locks an ordinary reader-writer lock for reading writes to its cache line, which then has to move from
//! processor to processor, and the two locked instructions keep a processor from what comes behind. Readers of a biased one
//! write to a line of their own thread, and a writer who ends the bias looks at all of these.
//!
//! The order that counts: a reader announces itself and then looks whether the lock is biased; a writer ends the bias and then
//! looks who is announced. One of the two must see the other. That takes a barrier between the two steps on both sides, and the
//! reader's would cost what the bias saves; so the writer makes both, with `membarrier(2)`, which has every processor that
//! runs a thread of the process take one.
//!
//! Sources: D. Dice and A. Kogan, "BRAVO: Biased Locking for Reader-Writer Locks", USENIX ATC 2019, for the bias and for the rule
//! of when it comes back; the lopsided barriers are those of hazard pointers in folly (`AsymmetricThreadFence.h`).

mod barrier;
mod place;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use place::Place;

/// So many reads with the lock, and no write between them, give it its bias: what so many save is more than what ending it
/// costs, and a lock that is written to each hundred reads never gets there.
const READS_QUIET: u32 = 512;
/// How often a writer looks for a reader to have left before it gives its processor away, and before it sleeps.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(50);

/// Who reads several [`BiasedRwLock`]s: those that were biased by the same `Readers` can be read together.
#[derive(Debug)]
pub struct Readers {
    number: u32,
    reads_quiet: u32,
    is_eager: bool,
}

impl Readers {
    /// A lock that they read is biased after 512 counted reads with no write between them, if no other bias of this process has
    /// just been ended: so long that the barriers for that take about a hundredth of its time.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // The same number twice, after 2^32 of them, lets a writer wait for readers of another lock, and no more. A forked
        // child goes on from here, so that threads it does not have are never waited for.
        let number = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
        Self { number, reads_quiet: READS_QUIET, is_eager: false }
    }

    /// Each counted read biases the lock: for tests that look for what may go wrong where a bias ends.
    #[must_use]
    pub fn eager() -> Self {
        Self { reads_quiet: 1, is_eager: true, ..Self::new() }
    }

    /// Announces that this thread reads several of the locks, for [`BiasedRwLock::read_announced`]. `None`: there is no place for
    /// that, or this thread has announced as much already.
    ///
    /// Until it is dropped, whoever ends the bias of any of these locks waits. So drop it before you wait for one of them, or for
    /// who writes to one.
    #[inline]
    #[must_use]
    pub fn announce(&self) -> Option<Announced> {
        let place = place::mine();
        let before = place.many.load(Ordering::Relaxed);
        if before >> 32 != 0 {
            return None;
        }
        // Released, as each store to a place is: who sees any of them sees all that was read before it as read.
        place.many.store(u64::from(self.number) << 32 | before, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        Some(Announced {
            place,
            number: self.number,
            next: before.wrapping_add(1),
            _of_thread: PhantomData,
        })
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self::new()
    }
}

/// See [`Readers::announce`].
pub struct Announced {
    place: &'static Place,
    number: u32,
    next: u64,
    /// It stays with its thread, as the place does.
    _of_thread: PhantomData<*const ()>,
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Announced {
    #[inline]
    fn drop(&mut self) {
        self.place.many.store(self.next & u64::from(u32::MAX), Ordering::Release);
    }
}

/// A reader-writer lock that is biased towards its readers while nobody writes.
///
/// [`read`](Self::read), [`try_read`](Self::try_read) and [`write`](Self::write) lock as those of `parking_lot` do.
/// [`read_counted`](Self::read_counted) counts, too, and some hundred reads that no write interrupts give the lock its bias.
/// From then on [`read_biased`](Self::read_biased) reads without locking: it writes to a cache line of its thread alone. The next
/// write ends the bias and waits for who reads so, as it waits for who has locked.
///
/// Cost of ending a bias: one system call (`membarrier`), 0.1 us where no other thread of the process runs and some 20 us where one
/// does on another processor of a virtual machine; and a look at a cache line for each thread that ever read so at
/// the same time. On Linux, with the feature `mmap`; elsewhere the lock never has a bias.
///
/// ```
/// use pkv_fs::{BiasedRwLock, Readers};
///
/// let (readers, lock) = (Readers::new(), BiasedRwLock::new(1));
/// for _ in 0..1000 {
///     assert_eq!(*lock.read_counted(&readers), 1);
/// }
/// // By now, as a rule, on Linux.
/// if let Some(number) = lock.read_biased() {
///     assert_eq!(*number, 1);
/// }
/// *lock.write() = 2;
/// assert!(!lock.is_biased());
/// assert!(lock.read_biased().is_none());
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct BiasedRwLock<T> {
    /// The number of the [`Readers`] that gave it its bias; 0: it has none. It changes from 0 with the lock held for reading, and
    /// to 0 with the lock held for writing.
    biased_by: AtomicU32,
    /// Reads since the last write, about: two who count at once may count as one.
    reads: AtomicU32,
    lock: RwLock<T>,
}

impl<T> BiasedRwLock<T> {
    /// A lock without a bias.
    pub const fn new(value: T) -> Self {
        let (biased_by, reads) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { biased_by, reads, lock: RwLock::new(value) }
    }

    /// Locks for reading.
    #[inline]
    pub fn read(&self) -> RwReadGuard<'_, T> {
        RwReadGuard(self.lock.read())
    }

    /// Locks for reading, if nobody has locked for writing or waits to.
    #[inline]
    pub fn try_read(&self) -> Option<RwReadGuard<'_, T>> {
        self.lock.try_read().map(RwReadGuard)
    }

    /// [`BiasedRwLock::read`], counted.
    #[inline]
    pub fn read_counted(&self, readers: &Readers) -> RwReadGuard<'_, T> {
        let guard = self.lock.read();
        self.count(&guard, readers);
        RwReadGuard(guard)
    }

    /// [`BiasedRwLock::try_read`], counted.
    #[inline]
    pub fn try_read_counted(&self, readers: &Readers) -> Option<RwReadGuard<'_, T>> {
        let guard = self.lock.try_read()?;
        self.count(&guard, readers);
        Some(RwReadGuard(guard))
    }

    /// Locks for writing. Ends a bias, and waits for all who read by it: for ever, where that is this thread.
    #[inline]
    pub fn write(&self) -> RwWriteGuard<'_, T> {
        let guard = self.lock.write();
        if self.is_biased() {
            end_biases(&[Ending::new(self, &guard)]);
        }
        self.reads.store(0, Ordering::Relaxed);
        RwWriteGuard(guard)
    }

    /// Ends the biases of all these locks by one barrier, where locking one after the other for writing would make one for
    /// each. They are locked in this order, and unlocked again.
    pub fn end_biases<'a>(locks: impl Iterator<Item = &'a Self>)
    where
        T: 'a,
    {
        let guards: Vec<_> =
            locks.filter(|lock| lock.is_biased()).map(|lock| (lock, lock.lock.write())).collect();
        let endings: Vec<_> = guards.iter().map(|(lock, guard)| Ending::new(lock, guard)).collect();
        if !endings.is_empty() {
            end_biases(&endings);
        }
    }

    /// Whether somebody has it locked; who reads by its bias has not.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// Whether it has a bias: a hint, which may be out of date.
    #[inline]
    pub fn is_biased(&self) -> bool {
        self.biased_by.load(Ordering::Relaxed) != 0
    }

    /// Reads without locking, if the lock has a bias and this thread reads no other so.
    ///
    /// 1. The thread announces the lock.
    /// 2. It looks whether the lock has its bias. If so, who ends it sees the announcement, and waits.
    #[inline]
    pub fn read_biased(&self) -> Option<BiasedReadGuard<'_, T>> {
        let by = self.biased_by.load(Ordering::Relaxed);
        if by == 0 {
            return None;
        }
        let place = place::mine();
        if place.lock.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // 1.
        place.lock.store(self.mark(by), Ordering::Release);
        let leave = LeaveLock { place, _of_thread: PhantomData };
        compiler_fence(Ordering::SeqCst);
        // 2. What the last writer wrote is seen, since the bias began behind it.
        if self.biased_by.load(Ordering::Acquire) != by {
            return None;
        }
        let value = self.value(&Announcement::OfLock(&leave))?;
        Some(BiasedReadGuard { value, _leave: leave })
    }

    /// Reads without locking, if the lock has its bias by the readers that this was announced for.
    #[inline]
    pub fn read_announced<'a>(&'a self, announced: &'a Announced) -> Option<&'a T> {
        if self.biased_by.load(Ordering::Acquire) != announced.number {
            return None;
        }
        self.value(&Announcement::OfMany(announced))
    }

    /// The value, for who has announced itself and seen the bias since, and stays announced while it has the value.
    #[cfg(all(feature = "mmap", target_os = "linux"))]
    #[inline]
    #[expect(unsafe_code, reason = "the value of a lock that is not locked")]
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
    fn value(&self, _announcement: &Announcement<'_>) -> Option<&T> {
        // SAFETY: nobody has a mutable reference as long as the announcement stands. Mutable references come from the guard of
        // `write` alone, which lets nobody at the lock in it. Who makes one has taken the bias away, with the lock held for
        // writing, so that nobody gives it back, and has waited until no place announced this lock, nor the readers that gave
        // the bias. This thread announced itself first and then saw the bias. By the barrier in `end_biases`, which is one in
        // this thread, too, either that announcement was seen there, or this thread would not have seen the bias. (Where the
        // system takes back the right to that barrier, `barrier::make` waits until it has happened by itself.)
        Some(unsafe { &*self.lock.data_ptr() })
    }

    #[cfg(not(all(feature = "mmap", target_os = "linux")))]
    #[expect(clippy::unused_self, reason = "the shape of what it is elsewhere")]
    fn value(&self, _announcement: &Announcement<'_>) -> Option<&T> {
        None
    }

    /// What is announced of this lock, while these gave it its bias: never the mark of another lock of theirs that lies within
    /// 32 GiB. Who waits for another one's waits too long, and no more.
    #[inline]
    fn mark(&self, by: u32) -> u64 {
        u64::from(by) << 32 | u64::from(low_half(std::ptr::from_ref(self).addr() / 8))
    }

    #[inline]
    fn count(&self, guard: &RwLockReadGuard<'_, T>, readers: &Readers) {
        let reads = self.reads.load(Ordering::Relaxed) + 1;
        if reads < readers.reads_quiet {
            self.reads.store(reads, Ordering::Relaxed);
        } else {
            self.bias(guard, readers);
        }
    }

    /// Gives the lock its bias, with the lock held for reading.
    #[cold]
    #[inline(never)]
    fn bias(&self, _locked: &RwLockReadGuard<'_, T>, readers: &Readers) {
        self.reads.store(0, Ordering::Relaxed);
        if (readers.is_eager || barrier::is_calm()) && barrier::is_there() {
            // Where others gave it theirs, that one stays: who ends it waits for theirs alone. Released, so that who sees it sees
            // what was written before, too.
            let (released, relaxed) = (Ordering::Release, Ordering::Relaxed);
            let _ = self.biased_by.compare_exchange(0, readers.number, released, relaxed);
        }
    }
}

/// A lock whose bias is to end, and who gave it.
struct Ending<'a> {
    biased_by: &'a AtomicU32,
    by: u32,
    mark: u64,
}

impl<'a> Ending<'a> {
    /// Of a lock that is held for writing.
    fn new<T>(lock: &'a BiasedRwLock<T>, _locked: &'a RwLockWriteGuard<'_, T>) -> Self {
        let by = lock.biased_by.load(Ordering::Relaxed);
        Self { biased_by: &lock.biased_by, by, mark: lock.mark(by) }
    }
}

/// Ends biases, with the locks held for writing.
///
/// 1. They are taken away.
/// 2. A barrier, on all processors.
/// 3. Who was announced before is waited for.
#[cold]
#[inline(never)]
fn end_biases(endings: &[Ending<'_>]) {
    // 1.
    for ending in endings {
        ending.biased_by.store(0, Ordering::Relaxed);
    }
    // 2.
    barrier::make();
    // 3.
    for place in place::all() {
        for ending in endings.iter().filter(|ending| ending.by != 0) {
            wait_while(|| place.lock.load(Ordering::Acquire) == ending.mark);
            // With another number in the lower half it is another announcement, which came behind the barrier.
            let many = place.many.load(Ordering::Acquire);
            if many >> 32 == u64::from(ending.by) {
                wait_while(|| place.many.load(Ordering::Acquire) == many);
            }
        }
    }
}

impl<T: Default> Default for BiasedRwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A lock that is held for reading.
#[derive(Debug)]
pub struct RwReadGuard<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for RwReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A lock that is held for writing.
///
/// It is a type of its own, as [`RwReadGuard`] is: by those of `parking_lot` the lock within can be had, and be locked past its bias.
///
/// ```compile_fail
/// let lock = pkv_fs::BiasedRwLock::new(1);
/// parking_lot::RwLockWriteGuard::downgrade(lock.write());
/// ```
#[derive(Debug)]
pub struct RwWriteGuard<'a, T>(RwLockWriteGuard<'a, T>);

impl<T> Deref for RwWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for RwWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What a thread has announced.
enum Announcement<'a> {
    OfLock(#[expect(dead_code, reason = "that it is there is what counts")] &'a LeaveLock),
    OfMany(#[expect(dead_code, reason = "that it is there is what counts")] &'a Announced),
}

/// What [`BiasedRwLock::read_biased`] reads.
pub struct BiasedReadGuard<'a, T> {
    value: &'a T,
    _leave: LeaveLock,
}

impl<T> Deref for BiasedReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for BiasedReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// Takes back what [`BiasedRwLock::read_biased`] announced.
struct LeaveLock {
    place: &'static Place,
    /// It stays with its thread, as the place does.
    _of_thread: PhantomData<*const ()>,
}

impl Drop for LeaveLock {
    #[inline]
    fn drop(&mut self) {
        // Released, so that whoever waited writes behind what was read.
        self.place.lock.store(0, Ordering::Release);
    }
}

fn wait_while(is_there: impl Fn() -> bool) {
    let mut looks = 0;
    while is_there() {
        looks += 1;
        match looks {
            0..=LOOKS => std::hint::spin_loop(),
            _ if looks <= 2 * LOOKS => std::thread::yield_now(),
            _ => std::thread::sleep(PAUSE),
        }
    }
}

/// The lower half of an address's bits.
#[inline]
fn low_half(address: usize) -> u32 {
    let [a, b, c, d, ..] = address.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
