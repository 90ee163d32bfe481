//! The threads of a store in many orders: writers, the sync thread, the keeper and a compaction run one
//! at a time, and at each lock, wait, atomic and call of the disk the scheduler chooses who goes on. Built with
//! `--cfg pkv_shuttle` alone; `cargo xtask stress` runs it.
//!
//! A thread that waits for ever is reported as a deadlock, so a lost wake-up is found by every test.
#![cfg(pkv_shuttle)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]
#![expect(clippy::print_stderr, reason = "how much was tried is what a long run is started for")]

#[path = "it/keyed.rs"]
mod keyed;

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pkv_fs::Op;
use pkv_sim::{Choice, Crash, Fault, FaultKind, Recording, SimFs};
use pkv_store::{ByteStore, Durability, Error, Health, LogWay, Options};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner, thread};

use crate::keyed::{Answer, Call, OneKey, answer};

const DIR: &str = "/db";

/// What is tried of each test and scheduler, if not said otherwise.
const SCHEDULES: usize = 2000;
/// More than any run takes that ends by itself.
const STEPS_MAX: usize = 1_000_000;
/// Preemptions at the worst moments, in the half of the schedules that has few of them.
const PCT_DEPTH: usize = 3;

/// Runs this in many orders; half of them at random, half with few changes of threads at chosen points.
fn in_many_orders(name: &str, body: impl Fn() + Clone + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1024 * 1024;
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    if let Ok(schedule) = std::env::var("PKV_STRESS_REPLAY") {
        Runner::new(ReplayScheduler::new_from_encoded(&schedule), config).run(body);
        return;
    }
    let schedules =
        std::env::var("PKV_STRESS_SCHEDULES").map_or(SCHEDULES, |number| number.parse().unwrap());
    let at_random = schedules.div_ceil(2);
    Runner::new(RandomScheduler::new(at_random), config.clone()).run(body.clone());
    Runner::new(PctScheduler::new(PCT_DEPTH, schedules - at_random), config).run(body);
    eprintln!("tried {schedules} schedules: {name}");
}

/// A store whose segments hold two or three of the tests' writes.
fn options(fs: &Arc<SimFs>, way: LogWay) -> Options {
    let fs: Arc<dyn pkv_fs::Fs> = fs.clone();
    Options::new()
        .file_system(fs)
        .log_way(way)
        .map_shards(2)
        .segment_bytes(16 * 1024, 16 * 1024)
        .snapshot_shards(1)
        .sync_interval(Duration::from_millis(1))
        .io_threads(1)
}

fn random_way() -> LogWay {
    if shuttle::rand::thread_rng().r#gen() { LogWay::Mapped } else { LogWay::Written }
}

fn disk() -> Arc<SimFs> {
    let fs = SimFs::new(7);
    fs.set_give_way(thread::yield_now);
    fs.set_shake_one_in(2);
    fs
}

fn value(thread: u8, n: u8) -> Vec<u8> {
    [thread, n].repeat(2000)
}

/// What a crash would have left at the moment of an acknowledgement, to be looked at when all is over.
#[derive(Default)]
struct Moments(Mutex<Vec<Moment>>);

struct Moment {
    disk: Arc<SimFs>,
    seq: u64,
    key: [u8; 2],
}

impl Moments {
    fn note(&self, fs: &SimFs, crash: Crash, seq: u64, key: [u8; 2]) {
        let disk = fs.survivors(crash, Choice::Nothing);
        disk.set_shake_one_in(0);
        self.0.lock().unwrap().push(Moment { disk, seq, key });
    }

    /// On each of these disks the store opens, and holds that write and all with lower numbers.
    fn check(&self, way: LogWay) {
        for Moment { disk, seq, key: [thread, n] } in self.0.lock().unwrap().drain(..) {
            let store = ByteStore::open(Path::new(DIR), &options(&disk, way).background(false))
                .expect("a store after a crash");
            assert!(store.last_seq() >= seq, "write {seq} of {} is gone", store.last_seq());
            assert_eq!(store.get(&[thread, n]).unwrap(), Some(value(thread, n)), "write {seq}");
        }
    }
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Closes; afterwards no thread of the store is left.
fn close(store: Arc<ByteStore>, fs: &Arc<SimFs>) -> Result<(), Error> {
    let closed = Arc::into_inner(store).expect("no writer is left").close();
    assert_eq!(Arc::strong_count(fs), 1, "somebody still has the store's disk");
    closed
}

/// In every second run a compaction beside these writers, and the end of the store.
fn compact_perhaps(store: Arc<ByteStore>, writers: Vec<thread::JoinHandle<()>>, fs: &Arc<SimFs>) {
    if shuttle::rand::thread_rng().r#gen() {
        store.compact().unwrap();
    }
    join(writers);
    assert_eq!(fs.overlapping_syncs(), 0, "two syncs of one file at once");
    close(store, fs).unwrap();
}

/// Writers that want their writes durable, segments that are full after two of them, and a compaction:
/// who was told so finds the write, and everything before it, on the disk as it was at that moment.
#[test]
fn nobody_is_told_before_everything_lower_is_durable() {
    in_many_orders("durable when told", || {
        let (fs, way) = (disk(), random_way());
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options(&fs, way)).unwrap());
        let moments = Arc::new(Moments::default());
        let writers: Vec<_> = (0..3)
            .map(|writer: u8| {
                let (fs, store, moments) = (fs.clone(), store.clone(), moments.clone());
                thread::spawn(move || {
                    for n in 0..3 {
                        let (key, value) = ([writer, n], value(writer, n));
                        let written = store.insert(&key, &value, Durability::Power).unwrap();
                        assert!(store.durable_seq() >= written.seq);
                        moments.note(&fs, Crash::Strict, written.seq, key);
                    }
                })
            })
            .collect();
        compact_perhaps(store, writers, &fs);
        moments.check(way);
    });
}

/// Whoever comes while a sync runs waits for the next one, which somebody has to make: also where the first who came is
/// found synced after all, and where the lead is had by what nobody waits for.
#[test]
fn who_waits_for_the_next_sync_sees_it_made() {
    in_many_orders("the next sync", || {
        let (fs, way) = (disk(), random_way());
        // No thread of the store makes the sync that was forgotten.
        let options = options(&fs, way).background(false);
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options).unwrap());
        drop(options);
        let writers: Vec<_> = (0..4)
            .map(|writer: u8| {
                let store = store.clone();
                thread::spawn(move || {
                    for n in 0..3 {
                        let written = store.insert(&[writer, n], b"value", Durability::Power);
                        assert!(store.durable_seq() >= written.unwrap().seq);
                    }
                })
            })
            .collect();
        compact_perhaps(store, writers, &fs);
    });
}

/// The same for the process's end: what was acknowledged is there after a kill, while the logs are at
/// their limit, so that writers wait for compactions, for segments and for syncs.
#[test]
fn writers_that_wait_for_room_go_on_and_lose_nothing() {
    in_many_orders("waiting for room", || {
        let (fs, way) = (disk(), random_way());
        let options = options(&fs, way)
            .max_log_bytes(64 * 1024)
            .max_unsynced_bytes(64 * 1024)
            .compact_log_bytes_min(20 * 1024)
            .compact_log_percent(10);
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options).unwrap());
        drop(options);
        let moments = Arc::new(Moments::default());
        let writers: Vec<_> = (0..3)
            .map(|writer: u8| {
                let (fs, store, moments) = (fs.clone(), store.clone(), moments.clone());
                thread::spawn(move || {
                    for n in 0..8 {
                        let (key, value) = ([writer, n], value(writer, n));
                        let written = store.insert(&key, &value, Durability::Process).unwrap();
                        moments.note(&fs, Crash::Kill, written.seq, key);
                    }
                })
            })
            .collect();
        join(writers);
        assert!(matches!(store.health(), Health::Good), "{:?}", store.health());
        close(store, &fs).unwrap();
        moments.check(way);
        let store = ByteStore::open(Path::new(DIR), &self::options(&fs, way).background(false));
        assert_eq!(store.unwrap().len(), 24);
    });
}

/// A write that nobody waits for is synced all the same: the writer wakes the sync thread, whenever
/// that one is about to fall asleep.
#[test]
fn what_nobody_waits_for_is_synced_too() {
    in_many_orders("synced by itself", || {
        let fs = disk();
        let store = ByteStore::open(Path::new(DIR), &options(&fs, LogWay::Mapped)).unwrap();
        let store = Arc::new(store);
        let writers: Vec<_> = (0..2)
            .map(|writer: u8| {
                let store = store.clone();
                thread::spawn(move || {
                    for n in 0..4 {
                        // So long that the sync thread is done with everything, or about to be.
                        let turns = shuttle::rand::thread_rng().gen_range(0..100);
                        (0..turns).for_each(|_| thread::yield_now());
                        let written = store.insert(&[writer, n], b"value", Durability::Process);
                        let seq = written.unwrap().seq;
                        // A sync that never comes ends this by the limit of steps.
                        while store.durable_seq() < seq {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        join(writers);
        close(store, &fs).unwrap();
    });
}

/// One sync fails, whichever it is: everybody who waits is told, each callback once, nothing is acknowledged
/// any more, and what was acknowledged before is on the disk.
#[test]
fn a_failed_sync_answers_everybody_and_ends_it() {
    in_many_orders("a failed sync", || {
        let (fs, way) = (disk(), random_way());
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options(&fs, way)).unwrap());
        let nth = shuttle::rand::thread_rng().gen_range(1..12);
        fs.inject(Fault::once(Op::Sync, nth, FaultKind::Eio));
        let moments = Arc::new(Moments::default());
        let (asked, told) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let told_seq = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..3)
            .map(|writer: u8| {
                let (fs, store, moments) = (fs.clone(), store.clone(), moments.clone());
                let (asked, told) = (asked.clone(), told.clone());
                let told_seq = told_seq.clone();
                thread::spawn(move || {
                    for n in 0..3 {
                        let (key, value) = ([writer, n], value(writer, n));
                        let waits = n != 1;
                        let durability =
                            if waits { Durability::Power } else { Durability::Process };
                        match store.insert(&key, &value, durability) {
                            Ok(written) if waits => {
                                moments.note(&fs, Crash::Strict, written.seq, key);
                            }
                            Ok(written) => {
                                asked.fetch_add(1, Ordering::SeqCst);
                                let (told, told_seq) = (told.clone(), told_seq.clone());
                                store.on_durable(written.seq, move |outcome| {
                                    told.fetch_add(1, Ordering::SeqCst);
                                    if outcome.is_ok() {
                                        told_seq.fetch_max(written.seq, Ordering::SeqCst);
                                    }
                                });
                            }
                            Err(Error::Unconfirmed { .. } | Error::Poisoned(_)) => {
                                assert!(!fs.faults_met().is_empty());
                                assert!(matches!(store.health(), Health::Poisoned(_)));
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        join(writers);
        let poisoned = matches!(store.health(), Health::Poisoned(_));
        if poisoned {
            let error = store.insert(b"later", b"", Durability::Process).unwrap_err();
            assert!(matches!(error, Error::Poisoned(_)), "{error}");
        }
        let closed = close(store, &fs);
        assert!(!poisoned || closed.is_err(), "a poisoned store says so when it is closed");
        assert_eq!(asked.load(Ordering::SeqCst), told.load(Ordering::SeqCst), "callbacks");
        moments.check(way);
        // A power cut after all: nothing that a callback promised is gone.
        let disk = fs.survivors(Crash::Strict, Choice::Nothing);
        disk.set_shake_one_in(0);
        let left = ByteStore::open(Path::new(DIR), &options(&disk, way).background(false)).unwrap();
        assert!(left.last_seq() >= told_seq.load(Ordering::SeqCst));
    });
}

/// One write of the log fails, whichever it is, while others wait for a sync: all are answered. Who was to make the next
/// sync once saw the log poisoned just when the lead was free, and left those asleep who relied on it.
#[test]
fn a_failed_write_leaves_nobody_waiting_for_a_sync() {
    in_many_orders("a failed write", || {
        let fs = disk();
        // No thread of the store wakes those who were forgotten.
        let options = options(&fs, LogWay::Written).background(false);
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options).unwrap());
        drop(options);
        // Before the first writes a log is made.
        store.insert(b"first", b"", Durability::Power).unwrap();
        let nth = shuttle::rand::thread_rng().gen_range(4..20);
        fs.inject(Fault::once(Op::Write, nth, FaultKind::Eio));
        let writers: Vec<_> = (0..4)
            .map(|writer: u8| {
                let store = store.clone();
                thread::spawn(move || {
                    for n in 0..5 {
                        match store.insert(&[writer, n], b"value", Durability::Power) {
                            Ok(written) => assert!(store.durable_seq() >= written.seq),
                            Err(Error::Unconfirmed { .. } | Error::Poisoned(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        join(writers);
        assert!(matches!(store.health(), Health::Poisoned(_)), "the fault was not met");
        assert!(close(store, &fs).is_err());
    });
}

/// A store that is closed with callbacks outstanding and a compaction due: each is told, the threads
/// are gone, and opening finds everything, with nothing torn.
#[test]
fn closing_tells_everybody_and_leaves_no_thread() {
    in_many_orders("closing", || {
        let (fs, way) = (disk(), random_way());
        let options = options(&fs, way).compact_log_bytes_min(8 * 1024).compact_log_percent(10);
        let store = ByteStore::open(Path::new(DIR), &options).unwrap();
        drop(options);
        let store = Arc::new(store);
        let told = Arc::new(AtomicU32::new(0));
        for n in 0..4 {
            let seq = store.insert(&[0, n], &value(0, n), Durability::Process).unwrap().seq;
            let told = told.clone();
            store.on_durable(seq, move |outcome| {
                outcome.unwrap();
                told.fetch_add(1, Ordering::SeqCst);
            });
        }
        close(store, &fs).unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 4);
        let again = ByteStore::open(Path::new(DIR), &self::options(&fs, way).background(false));
        let again = again.unwrap();
        assert_eq!(again.len(), 4);
        assert!(again.recovery_report().torn.is_none());
    });
}

/// Three threads and one key, in whatever order: the answers have an order that explains them.
#[test]
fn operations_on_a_key_have_an_order_that_explains_them() {
    in_many_orders("one key", || {
        let (fs, way) = (disk(), random_way());
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options(&fs, way)).unwrap());
        let recording = Arc::new(Recording::new());
        let threads: Vec<_> = (0..3)
            .map(|number: u64| {
                let (store, recording) = (store.clone(), recording.clone());
                thread::spawn(move || {
                    let mut recorder = recording.thread();
                    let mut seen = None;
                    for n in 0..6 {
                        let random = shuttle::rand::thread_rng().r#gen();
                        let call = Call::draw(random, 10 * number + n, seen);
                        let durability =
                            if n % 3 == 2 { Durability::Power } else { Durability::Process };
                        let answer = recorder.run("key", call, |call| {
                            answer(&store, b"key", call, durability).expect("a good disk")
                        });
                        if let Answer::Value(value) = answer {
                            seen = value;
                        }
                    }
                })
            })
            .collect();
        store.compact().unwrap();
        join(threads);
        close(store, &fs).unwrap();
        assert_eq!(recording.check(&OneKey), Ok(18));
    });
}

/// Keys that one batch sets: who sees it at one of them sees it at the next. Their shards show copies of them,
/// since in these builds every read elects what it read.
#[test]
fn a_batch_is_seen_whole_by_those_who_read_key_by_key() {
    in_many_orders("a batch in several shards", || {
        let (fs, way) = (disk(), random_way());
        // So many shards that few keys share one.
        let store = ByteStore::open(Path::new(DIR), &options(&fs, way).map_shards(64));
        let store = Arc::new(store.unwrap());
        let keys = [b"a".as_slice(), b"b", b"c"];
        let set_all = move |store: &ByteStore, n: u8| {
            let batch = keys.iter().fold(store.batch(), |batch, key| batch.insert(key, &[n]));
            batch.commit(Durability::Process).unwrap();
        };
        // Readers who came before the first log is made would find nothing.
        set_all(&store, 1);
        let writer = {
            let store = store.clone();
            thread::spawn(move || (2..6).for_each(|n| set_all(&store, n)))
        };
        let readers: Vec<_> = (0..2_usize)
            .map(|first| {
                let store = store.clone();
                thread::spawn(move || {
                    let seen = |key| store.get_with(key, |value| value[0]).unwrap().unwrap();
                    // Both ways round: shards are unlocked one by one, in an order that the keys do not tell.
                    for pair in [[first, first + 1], [first + 1, first]].repeat(3) {
                        let [before, after] = pair.map(|at| seen(keys[at]));
                        assert!(before <= after, "half of batch {before}: {after}");
                    }
                })
            })
            .collect();
        join(vec![writer]);
        join(readers);
        close(store, &fs).unwrap();
    });
}

/// What an instant opening left for later comes when it is asked for, whoever asks first, and as the logs have it.
#[test]
fn what_was_left_for_later_is_as_the_logs_have_it() {
    in_many_orders("an instant opening", || {
        let (fs, way) = (disk(), random_way());
        fs.set_shake_one_in(0);
        let small = |fs| options(fs, way).snapshot_shard_bytes(64 * 1024).snapshot_shards(2);
        let value = |n: u8| vec![n; 700];
        {
            let quiet = small(&fs).background(false);
            let store = ByteStore::open(Path::new(DIR), &quiet).unwrap();
            for key in 0..12_u8 {
                store.insert(&[key], &value(1), Durability::Process).unwrap();
            }
            store.compact().unwrap();
            store.insert(&[1], &value(2), Durability::Process).unwrap();
            store.remove(&[2], Durability::Process).unwrap();
            store.close().unwrap();
        }
        fs.set_shake_one_in(2);
        let opened = ByteStore::open(Path::new(DIR), &small(&fs).instant_open(true));
        let store = Arc::new(opened.unwrap());
        let expected = move |key: u8| match key {
            1 => Some(value(2)),
            2 => None,
            _ => Some(value(1)),
        };
        let reader = {
            let store = store.clone();
            thread::spawn(move || {
                for key in [3, 1, 2, 8] {
                    assert_eq!(store.get(&[key]).unwrap(), expected(key), "{key}");
                }
                let got = store.get_many([[9].as_slice()]).unwrap();
                assert_eq!(got, [expected(9)]);
            })
        };
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                assert!(store.insert(&[4], &value(3), Durability::Process).unwrap().existed);
                assert!(!store.insert(&[2 + 100], &value(3), Durability::Process).unwrap().existed);
                assert!(store.remove(&[5], Durability::Process).unwrap().existed);
                let batch = store.batch().if_equals(&[6], &value(1)).insert(&[7], &value(4));
                batch.commit(Durability::Process).unwrap();
            })
        };
        assert!((10..=13).contains(&store.len()), "{}", store.len());
        join(vec![reader, writer]);
        let after = move |key: u8| match key {
            4 | 102 => Some(value(3)),
            5 => None,
            7 => Some(value(4)),
            _ => expected(key),
        };
        let check = move |store: &ByteStore| {
            for key in (0..12).chain([102]) {
                assert_eq!(store.get(&[key]).unwrap(), after(key), "{key}");
            }
            assert_eq!(store.len(), 11);
        };
        check(&store);
        assert!(store.is_loaded());
        close(store, &fs).unwrap();
        fs.set_shake_one_in(0);
        check(&ByteStore::open(Path::new(DIR), &small(&fs).background(false)).unwrap());
    });
}

/// Who learns that a write has its number reads what it wrote, or waits for it: what begins with the number, as a watch
/// does, misses nothing.
#[test]
fn what_has_a_number_is_read() {
    in_many_orders("numbered and read", || {
        let (fs, way) = (disk(), random_way());
        let store = Arc::new(ByteStore::open(Path::new(DIR), &options(&fs, way)).unwrap());
        let first = store.insert(b"key", &[0], Durability::Process).unwrap().seq;
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                for n in 1..=6 {
                    let written = match n % 2 {
                        0 => store.batch().insert(b"key", &[n]).commit(Durability::Process),
                        _ => store.insert(b"key", &[n], Durability::Process).map(|it| it.seq),
                    };
                    written.unwrap();
                }
            })
        };
        for _ in 0..6 {
            let number = store.last_seq() - first;
            let value = store.get_with(b"key", |value| u64::from(value[0])).unwrap().unwrap();
            assert!(value >= number, "write {number}, read {value}");
        }
        join(vec![writer]);
        close(store, &fs).unwrap();
    });
}
