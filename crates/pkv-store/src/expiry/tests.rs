//! The clock, on a disk whose clock is set, and what no call from outside can bring about.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pkv_fs::Fs;
use pkv_sim::SimFs;

use super::clock::Clock;
use crate::bytes::ByteStore;
use crate::options::{Durability, Options};

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

/// The record is in the map a moment before it is known to be there. A view that began just then counted
/// it as an entry.
#[test]
fn a_view_never_counts_the_record() {
    let (fs, _) = clock(0);
    fs.set_unix_time_ms(100_000);
    let options = Options::new().file_system(fs).background(false).map_shards(4).expiry(true);
    let store = ByteStore::open(Path::new("/db"), &options).unwrap();
    assert!(store.view().unwrap().is_empty());
    let ttl = Duration::ZERO;
    store.insert_with_ttl(b"a", b"1", ttl, Durability::Process).unwrap();
    assert_eq!(store.view().unwrap().len(), 1);
    assert_eq!(store.sweep().unwrap(), 1);
    store.core().expiry.as_ref().unwrap().has_record.store(false, Ordering::Relaxed);
    assert_eq!(store.view().unwrap().len(), 0);
}
