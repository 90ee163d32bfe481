//! A process killed at any moment loses nothing that it was told is written.
//!
//! The parent starts this very binary as a child, which writes with four threads and says on its
//! standard output what was acknowledged; the parent kills it, opens the folder and compares.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure in a helper fails the test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use pkv_store::{LogWay, Options, Store};

use crate::support::{Place, restless, small};

const DIR: &str = "PKV_TEST_KILL_DIR";
const WAY: &str = "PKV_TEST_KILL_WAY";
const THREADS: u64 = 4;
/// Each thread writes this many keys over and over.
const KEYS: u64 = 16;

fn options(way: LogWay) -> Options {
    restless().log_way(way).snapshot_shards(2)
}

/// Thread `t` writes the number n, counting up over all rounds, to its key n % KEYS, and every fifth
/// number to two keys of another map half, as a batch.
fn key(thread: u64, n: u64) -> u64 {
    (thread << 32) | (n % KEYS)
}

fn pair(thread: u64) -> [u64; 2] {
    [(1 << 40) | thread, (1 << 41) | thread]
}

/// The highest number of a thread that is there; checks that those before it are there, too.
fn highest(store: &Store<u64, (u64, Vec<u8>)>, thread: u64) -> u64 {
    let number = |key: u64| {
        store.get(&key).unwrap().map_or(0, |(n, filler)| {
            assert!(
                filler.iter().all(|byte| u64::from(*byte) == n % 251),
                "a wrong value for {key}"
            );
            n
        })
    };
    let last = (0..KEYS).map(|n| number(key(thread, n))).max().unwrap();
    for n in last.saturating_sub(KEYS - 1).max(1)..=last {
        assert_eq!(number(key(thread, n)), n, "thread {thread} has {last}, but not {n}");
    }
    let [first, second] = pair(thread).map(number);
    assert_eq!(first, second, "half a batch");
    // The batch with a number comes right after it.
    assert!(first == last / 5 * 5 || first + 5 == last, "batch {first} at {last}");
    last
}

#[test]
#[ignore = "the child of the tests of this module"]
fn child_that_writes_until_it_is_killed() {
    let (Ok(dir), Ok(way)) = (std::env::var(DIR), std::env::var(WAY)) else { return };
    let way = if way == "mapped" { LogWay::Mapped } else { LogWay::Written };
    let store: Store<u64, (u64, Vec<u8>)> = options(way).open(dir).unwrap();
    let out = Mutex::new(std::io::stdout());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, out) = (&store, &out);
            scope.spawn(move || {
                // The last number is written once more: a kill may have come between it and its batch.
                let start = highest(store, thread).max(1);
                for n in start.. {
                    let filler =
                        vec![u8::try_from(n % 251).unwrap(); usize::try_from(n * 7 % 90).unwrap()];
                    let value = (n, filler);
                    store.insert(&key(thread, n), &value).unwrap();
                    if n % 5 == 0 {
                        let [first, second] = pair(thread);
                        store
                            .batch()
                            .insert(&first, &value)
                            .insert(&second, &value)
                            .commit()
                            .unwrap();
                    }
                    let mut out = out.lock().unwrap();
                    writeln!(out, "\nack {thread} {n}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

/// Runs the child for so long, kills it, and returns the highest number acknowledged to each thread.
fn run_and_kill(dir: &Path, way: LogWay, time: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(WAY, if way == LogWay::Mapped { "mapped" } else { "written" })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = vec![0; usize::try_from(THREADS).unwrap()];
        // The last line may be cut off by the kill.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8(line).unwrap_or_default();
            let mut words = line.split(' ');
            if words.next() == Some("ack")
                && let (Some(Ok(thread)), Some(Ok(n))) =
                    (words.next().map(str::parse::<usize>), words.next().map(str::parse::<u64>))
            {
                acknowledged[thread] = acknowledged[thread].max(n);
            }
        }
        acknowledged
    });
    std::thread::sleep(time);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    reader.join().unwrap()
}

fn killed_again_and_again(way: LogWay) {
    let place = Place::new();
    let mut total = 0;
    for round in 0..10_u64 {
        let time = Duration::from_millis(40 + round * 97 % 230);
        let acknowledged = run_and_kill(&place.store(), way, time);
        // The kill may have come within the copy of a frame: that one is cut, and nobody was told of it.
        let store: Store<u64, (u64, Vec<u8>)> = small().log_way(way).open(place.store()).unwrap();
        total = 0;
        for (thread, acknowledged) in (0..).zip(acknowledged) {
            let last = highest(&store, thread);
            assert!(
                last >= acknowledged,
                "round {round}: {acknowledged} acknowledged, {last} there"
            );
            // At most the write that was under way is there without its acknowledgement having
            // reached the pipe.
            assert!(acknowledged == 0 || last <= acknowledged + 1, "{last} after {acknowledged}");
            total += last;
        }
        if round % 2 == 0 {
            store.compact().unwrap();
        }
        store.close().unwrap();
    }
    assert!(total > 1000, "{total} writes in all");
}

#[test]
fn a_killed_process_with_a_mapped_log_loses_nothing() {
    killed_again_and_again(LogWay::Mapped);
}

#[test]
fn a_killed_process_with_a_written_log_loses_nothing() {
    killed_again_and_again(LogWay::Written);
}
