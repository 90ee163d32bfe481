//! The biased lock: who reads without locking, and who waits for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pkv_fs::{BiasedRwLock, Readers};

/// Held by each test, and by the one that takes all places of the process alone.
static PLACES: RwLock<()> = RwLock::new(());

fn with_places() -> RwLockReadGuard<'static, ()> {
    PLACES.read().unwrap_or_else(PoisonError::into_inner)
}

/// How long a thread is watched that should be waiting.
const WHILE: Duration = Duration::from_millis(30);

/// A lock that has its bias.
fn biased<T>(readers: &Readers, value: T) -> BiasedRwLock<T> {
    let lock = BiasedRwLock::new(value);
    drop(lock.read_counted(readers));
    assert!(lock.is_biased());
    lock
}

#[test]
fn many_reads_give_the_bias_and_a_write_ends_it() {
    let _places = with_places();
    let readers = Readers::new();
    let lock = BiasedRwLock::new(1);
    let until = Instant::now() + Duration::from_secs(10);
    let mut reads = 0;
    while !lock.is_biased() {
        assert!(lock.read_biased().is_none());
        assert_eq!(*lock.read_counted(&readers), 1);
        reads += 1;
        assert!(Instant::now() < until, "no bias after {reads} reads");
    }
    assert!(reads >= 512, "{reads}");
    assert_eq!(*lock.read_biased().unwrap(), 1);
    *lock.write() = 2;
    assert!(!lock.is_biased());
    assert!(lock.read_biased().is_none());
    assert_eq!(*lock.read(), 2);
}

#[test]
fn reads_between_writes_give_none() {
    // Alone, and so long after the other tests that biases may begin.
    let _places = PLACES.write().unwrap_or_else(PoisonError::into_inner);
    let readers = Readers::new();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let lock = BiasedRwLock::new(());
        (0..1000).for_each(|_| drop(lock.read_counted(&readers)));
        if lock.is_biased() {
            break;
        }
        assert!(Instant::now() < until, "never calm");
        thread::sleep(Duration::from_millis(10));
    }
    let lock = BiasedRwLock::new(0);
    for number in 0..100 {
        (0..300).for_each(|_| assert_eq!(*lock.read_counted(&readers), number));
        assert!(!lock.is_biased());
        *lock.write() += 1;
    }
    (0..1000).for_each(|_| assert_eq!(*lock.read_counted(&readers), 100));
    assert!(lock.is_biased());
}

#[test]
fn reads_that_are_not_counted_give_none() {
    let _places = with_places();
    let lock = BiasedRwLock::new(0);
    (0..10_000).for_each(|_| assert_eq!(*lock.read(), 0));
    assert!(!lock.is_biased());
}

#[test]
fn a_writer_waits_for_who_reads_by_the_bias() {
    let _places = with_places();
    let readers = Readers::eager();
    let lock = biased(&readers, 1);
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let one = lock.read_biased().unwrap();
        let lock = &lock;
        let writer = scope.spawn(move || {
            *lock.write() = 2;
            done.send(()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(WHILE), Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(*one, 1);
        drop(one);
        writer.join().unwrap();
        assert_eq!(*lock.read(), 2);
    });
}

#[test]
fn a_writer_waits_for_who_is_announced_for_many() {
    let _places = with_places();
    let readers = Readers::eager();
    let locks = [biased(&readers, 1), biased(&readers, 1)];
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let announced = readers.announce().unwrap();
        assert!(readers.announce().is_none(), "once for a thread");
        let [one, two] = &locks;
        let first = one.read_announced(&announced).unwrap();
        let writer = scope.spawn(move || {
            *two.write() = 2;
            done.send(()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(WHILE), Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(*first, 1);
        assert!(two.read_announced(&announced).is_none(), "its bias has ended");
        drop(announced);
        writer.join().unwrap();
    });
}

#[test]
fn biases_of_several_locks_end_together() {
    let _places = with_places();
    let readers = Readers::eager();
    let locks =
        [biased(&readers, 1), biased(&readers, 1), BiasedRwLock::new(1), biased(&readers, 1)];
    let [one, two, none, other] = &locks;
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let read = two.read_biased().unwrap();
        let ending = scope.spawn(move || {
            BiasedRwLock::end_biases([one, two, none].into_iter());
            done.send(()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(WHILE), Err(mpsc::RecvTimeoutError::Timeout));
        assert_eq!(*read, 1);
        drop(read);
        ending.join().unwrap();
    });
    assert_eq!(locks.each_ref().map(BiasedRwLock::is_biased), [false, false, false, true]);
    assert_eq!([*one.write(), *two.write(), *none.write(), *other.write()], [1; 4]);
}

/// Who reads the next thing at once must not keep a writer for ever.
#[test]
fn a_writer_does_not_wait_for_who_comes_later() {
    let _places = with_places();
    let readers = Readers::eager();
    let (one, other) = (biased(&readers, 1), biased(&readers, 1));
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let before = (readers.announce().unwrap(), other.read_biased().unwrap());
        let one = &one;
        let writer = scope.spawn(move || {
            *one.write() = 2;
            done.send(()).unwrap();
        });
        assert_eq!(is_done.recv_timeout(WHILE), Err(mpsc::RecvTimeoutError::Timeout));
        // It looks each 50 us, or less often.
        drop(before.0);
        let after = readers.announce().unwrap();
        assert_eq!(is_done.recv_timeout(Duration::from_secs(10)), Ok(()));
        assert_eq!((other.read_announced(&after), *before.1), (Some(&1), 1));
        drop(after);
        writer.join().unwrap();
    });
}

#[test]
fn a_bias_by_other_readers_says_nothing_to_these() {
    let _places = with_places();
    let (these, others) = (Readers::eager(), Readers::eager());
    let lock = biased(&others, 1);
    drop(lock.read_counted(&these));
    let announced = these.announce().unwrap();
    assert!(lock.read_announced(&announced).is_none());
    drop(announced);
    assert!(lock.read_announced(&others.announce().unwrap()).is_some());
}

#[test]
fn one_thread_reads_one_lock_at_a_time_by_its_bias() {
    let _places = with_places();
    let readers = Readers::eager();
    let (one, two) = (biased(&readers, 1), biased(&readers, 2));
    let first = one.read_biased().unwrap();
    assert!(one.read_biased().is_none());
    assert!(two.read_biased().is_none());
    assert_eq!(*two.read(), 2);
    assert_eq!(*first, 1);
    drop(first);
    assert!(two.read_biased().is_some());
}

/// The first who read so is not known any more when the closure that it read in panics.
#[test]
fn who_panics_is_not_waited_for() {
    let _places = with_places();
    let readers = Readers::eager();
    let lock = biased(&readers, 1);
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _one = lock.read_biased().unwrap();
                let _many = readers.announce().unwrap();
                panic!("in a closure");
            }));
            *lock.write() += 1;
            caught.is_err()
        });
        reader.join().unwrap()
    });
    assert!(panicked);
    assert_eq!(*lock.read(), 2);
}

#[test]
fn threads_without_a_place_lock_and_give_theirs_back() {
    const THREADS: usize = 300;
    let _places = PLACES.write().unwrap_or_else(PoisonError::into_inner);
    let readers = Readers::eager();
    let lock = biased(&readers, 1);
    // More than there are, all at once.
    let (all_read, all_end) = (Barrier::new(THREADS), Barrier::new(THREADS));
    let by_bias: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let read = lock.read_biased();
                    all_read.wait();
                    let is_biased = read.as_deref() == Some(&1);
                    let locked = read.is_none().then(|| *lock.read());
                    assert_eq!(locked.unwrap_or(1), 1);
                    drop(read);
                    all_end.wait();
                    usize::from(is_biased)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Threads of tests that have just ended may not have given theirs back.
    assert!((200..=256).contains(&by_bias), "{by_bias}");
    *lock.write() += 1;
    // One after the other, each in the place of one that has ended.
    drop(lock.read_counted(&readers));
    for _ in 0..THREADS {
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(*lock.read_biased().unwrap(), 2)).join().unwrap();
        });
    }
}

/// What is written is many words, which are all the same whenever somebody reads; so many that whoever is in there when nobody
/// should be is seen.
#[test]
fn nobody_reads_amid_a_write() {
    const WORDS: usize = 512;
    let _places = with_places();
    let readers = Readers::eager();
    let lock = biased(&readers, [0_u64; WORDS]);
    let is_done = AtomicBool::new(false);
    // Written from the first to the last and read from the last to the first: who is there at the same time meets the other.
    let check = |words: &[u64; WORDS]| {
        let last = words[WORDS - 1];
        assert!(words.iter().rev().all(|word| *word == last), "amid a write");
    };
    // One of each, so that both run at the same time where there are two processors.
    let (writes, reads) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !is_done.load(Ordering::Relaxed) {
                let announced = if reads.is_multiple_of(2) { readers.announce() } else { None };
                if let Some(words) = announced.as_ref().and_then(|by| lock.read_announced(by)) {
                    check(words);
                    reads += 1;
                    continue;
                }
                drop(announced);
                if let Some(words) = lock.read_biased() {
                    check(&words);
                    reads += 1;
                } else {
                    check(&lock.read_counted(&readers));
                }
            }
            reads
        });
        let until = Instant::now() + Duration::from_millis(500);
        let mut writes = 0;
        while Instant::now() < until && !reader.is_finished() {
            if !lock.is_biased() {
                std::hint::spin_loop();
                continue;
            }
            for word in &mut *lock.write() {
                *word += 1;
            }
            writes += 1;
        }
        is_done.store(true, Ordering::Relaxed);
        (writes, reader.join().unwrap())
    });
    assert!(writes > 50, "{writes}");
    assert!(reads > 500, "{reads}");
}
