//! Operations on one key have an order that explains all answers, whatever threads do at once, and while
//! snapshots are written.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failure in a helper fails the test"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use pkv_sim::Recording;
use pkv_store::{ByteStore, Durability, Options};

use crate::keyed::{Answer, Call, OneKey, answer};
use crate::support::{Place, both_ways};

const THREADS: u64 = 6;
const CALLS: u64 = 2500;
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Threads that meet on three keys, one that writes snapshots, and one that fills the log, so that
/// writers wait for segments in between.
fn threads_meet(options: &Options, durability: Durability, calls: u64) {
    let place = Place::new();
    let store = ByteStore::open(place.store(), options).expect("a new store");
    let recording = Recording::new();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, recording) = (&store, &recording);
                scope.spawn(move || {
                    let mut recorder = recording.thread();
                    let mut random = thread + 1;
                    let mut seen = [None; KEYS.len()];
                    for n in 0..calls {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let index = usize::try_from(random >> 33).expect("31 bits") % KEYS.len();
                        let key = KEYS[index];
                        // No two writes set the same, so that each value tells where it came from.
                        let call = Call::draw(random >> 40, thread * calls + n, seen[index]);
                        let answer = recorder.run(key, call, |call| {
                            answer(store, key.as_bytes(), call, durability).expect("a good disk")
                        });
                        if let Answer::Value(value) = answer {
                            seen[index] = value;
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.compact().expect("a good disk");
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                store.insert(b"large", &[7; 9000], Durability::Process).expect("a good disk");
            }
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let checked = recording.check(&OneKey).expect("an order that explains all answers");
    assert_eq!(u64::try_from(checked).expect("a count"), THREADS * calls);
}

#[test]
fn operations_on_a_key_have_an_order_that_explains_them() {
    for options in both_ways() {
        threads_meet(&options, Durability::Process, CALLS);
    }
}

#[test]
fn operations_that_wait_for_the_disk_have_one_too() {
    for options in both_ways() {
        threads_meet(&options, Durability::Power, CALLS / 25);
    }
}
