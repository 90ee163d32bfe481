//! The clock, on a disk whose clock is set.

use std::sync::Arc;

use pkv_fs::Fs;
use pkv_sim::SimFs;

use super::clock::Clock;

fn clock(highest_ms: u64) -> (Arc<SimFs>, Clock) {
    let fs = SimFs::new(1);
    let shared: Arc<dyn Fs> = fs.clone();
    let clock = Clock::new(shared, highest_ms);
    (fs, clock)
}

#[test]
fn time_follows_the_machine_forwards_only() {
    let (fs, clock) = clock(0);
    fs.set_unix_time_ms(100_000);
    assert_eq!(clock.now_ms(), 100_000);
    fs.set_unix_time_ms(200_000);
    assert_eq!(clock.now_ms(), 200_000);
    // A little behind is waited for, so that two threads do not push it on.
    fs.set_unix_time_ms(199_500);
    assert_eq!(clock.now_ms(), 200_000);
    fs.set_unix_time_ms(200_001);
    assert_eq!(clock.now_ms(), 200_001);
}

#[test]
fn when_the_machine_is_set_back_time_goes_on_from_where_it_was() {
    let (fs, clock) = clock(0);
    fs.set_unix_time_ms(10_000_000);
    assert_eq!(clock.now_ms(), 10_000_000);
    fs.set_unix_time_ms(4_000_000);
    assert_eq!(clock.now_ms(), 10_000_000);
    fs.set_unix_time_ms(4_060_000);
    assert_eq!(clock.now_ms(), 10_060_000);
    // And again; set right, it does not stand still either.
    fs.set_unix_time_ms(1_000);
    assert_eq!(clock.now_ms(), 10_060_000);
    fs.set_unix_time_ms(2_000);
    assert_eq!(clock.now_ms(), 10_061_000);
}

#[test]
fn time_begins_where_the_record_says() {
    let (fs, clock) = clock(5_000_000);
    fs.set_unix_time_ms(1_000_000);
    assert_eq!(clock.now_ms(), 5_000_000);
    fs.set_unix_time_ms(1_000_500);
    assert_eq!(clock.now_ms(), 5_000_500);
}
