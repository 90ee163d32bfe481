//! Crashes of a simulated disk at every operation: killed processes and power cuts, on single writes,
//! batches, clears, rotations, compactions and openings, with the mapped and the written log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pkv_sim::{AckLog, Acked, Change, Crash, Explorer, History, SimFs, WriteEvent};
use pkv_store::{ByteStore, Durability, LogWay, Options};

type Event = WriteEvent<Vec<u8>, Vec<u8>>;

/// How many times as many states as in the quick suite; `cargo xtask crash` sets it.
fn scale() -> u32 {
    std::env::var("PKV_CRASH_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

fn options(fs: &Arc<SimFs>, way: LogWay) -> Options {
    Options::new()
        .file_system(Arc::clone(fs) as Arc<dyn pkv_fs::Fs>)
        .background(false)
        .log_way(way)
        .map_shards(4)
        .segment_bytes(16 * 1024, 16 * 1024)
        .snapshot_shards(3)
}

fn open(fs: &Arc<SimFs>, way: LogWay) -> Result<ByteStore, pkv_store::Error> {
    ByteStore::open(Path::new("/db"), &options(fs, way))
}

/// A small generator, so that a workload is the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One thread's writes, noted in the log of acknowledgements.
struct Writer<'a> {
    acks: &'a AckLog<Event>,
    random: Random,
    next_id: u64,
}

impl Writer<'_> {
    fn value(&mut self) -> Vec<u8> {
        let bytes = [0, 5, 40, 400, 3000][usize::try_from(self.random.below(5)).unwrap()];
        let id = self.next_id.to_le_bytes();
        id.iter().copied().cycle().take(bytes).collect()
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key {}", self.random.below(12)).into_bytes()
    }

    /// One write of a random kind; `durability` is drawn where it is not given.
    fn write(&mut self, store: &ByteStore, durability: Option<Durability>) {
        let durability = durability.unwrap_or(match self.random.below(3) {
            0 => Durability::Power,
            _ => Durability::Process,
        });
        let id = self.next_id;
        self.next_id += 1;
        let (key, value) = (self.key(), self.value());
        let outcome = match self.random.below(20) {
            0..12 => {
                self.acks.issue(id, [Change::Set(key.clone(), value.clone())]);
                store.insert(&key, &value, durability).map(|written| written.seq)
            }
            12..15 => {
                if !store.contains_key(&key).unwrap() {
                    return;
                }
                self.acks.issue(id, [Change::Remove(key.clone())]);
                store.remove(&key, durability).map(|written| written.seq)
            }
            15..19 => {
                let other = self.key();
                let changes = [
                    Change::Set(key.clone(), value.clone()),
                    Change::Remove(other.clone()),
                    Change::Set(b"batch".to_vec(), value.clone()),
                ];
                self.acks.issue(id, changes);
                store
                    .batch()
                    .insert(&key, &value)
                    .remove(&other)
                    .insert(b"batch", &value)
                    .commit(durability)
            }
            _ => {
                self.acks.issue(id, [Change::Clear]);
                store.clear(durability)
            }
        };
        let survives = match durability {
            Durability::Power => pkv_sim::Durability::Power,
            _ => pkv_sim::Durability::Process,
        };
        match outcome {
            Ok(seq) => self.acks.acknowledge(id, Some(seq), survives),
            Err(pkv_store::Error::Unconfirmed { seq, .. }) => {
                self.acks.leave_unconfirmed(id, Some(seq));
            }
            Err(_) => self.acks.refuse(id),
        }
    }
}

fn contents(store: &ByteStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store.iter().map(|entry| entry.expect("an entry that can be copied")).collect()
}

/// Opens what a crash left, compares with the history, and shows that the store goes on working.
fn verify(fs: &Arc<SimFs>, acked: &Acked<Event>, way: LogWay) -> Result<(), String> {
    let store = open(fs, way).map_err(|error| format!("does not open: {error}"))?;
    let mut found = contents(&store);
    // Left by an earlier verification, where the crash came during that one.
    found.remove(b"after".as_slice());
    History::new(acked).check(&found)?;
    store
        .insert(b"after", b"the crash", Durability::Power)
        .map_err(|error| format!("does not write: {error}"))?;
    drop(store);
    let store = open(fs, way).map_err(|error| format!("does not open again: {error}"))?;
    let mut again = contents(&store);
    if again.remove(b"after".as_slice()).as_deref() != Some(b"the crash") {
        return Err("a write after the crash is gone".into());
    }
    if again == found {
        Ok(())
    } else {
        Err(format!("another opening shows something else: {again:?} {found:?}"))
    }
}

/// Single thread: writes, rotations, a compaction, a close and an opening, more writes.
fn workload(
    fs: &Arc<SimFs>,
    acks: &AckLog<Event>,
    way: LogWay,
    writes: u64,
    durability: Option<Durability>,
) {
    let mut writer = Writer { acks, random: Random(fs_seed(fs)), next_id: 1 };
    let store = open(fs, way).expect("an empty disk opens");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.compact().expect("a compaction on a good disk");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.close().expect("a close on a good disk");
    let store = open(fs, way).expect("a closed store opens");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    store.sync().expect("a sync on a good disk");
    store.compact().expect("a compaction on a good disk");
    for _ in 0..writes {
        writer.write(&store, durability);
    }
    // Dropped with the disk: the last writes are not synced.
    std::mem::forget(store);
}

fn fs_seed(fs: &Arc<SimFs>) -> u64 {
    pkv_fs::Fs::random_u64(&**fs)
}

fn explore(explorer: &Explorer, way: LogWay, writes: u64, durability: Option<Durability>) {
    let report = explorer
        .run(
            |fs, acks| workload(fs, acks, way, writes, durability),
            |fs, acked| verify(&fs, acked, way),
        )
        .ok()
        .unwrap();
    assert!(
        explorer.replay.is_some() || report.states > 100,
        "{} states show little",
        report.states
    );
}

fn explorer(crash: Crash) -> Explorer {
    Explorer { runs: scale(), seeds_per_cut: 3, ..Explorer::new(crash) }
}

#[test]
fn a_killed_process_loses_nothing_mapped() {
    explore(&explorer(Crash::Kill), LogWay::Mapped, 15, None);
}

#[test]
fn a_killed_process_loses_nothing_written() {
    explore(&explorer(Crash::Kill), LogWay::Written, 15, None);
}

#[test]
fn a_power_cut_leaves_a_prefix_mapped() {
    explore(&explorer(Crash::Linux), LogWay::Mapped, 12, None);
    explore(&explorer(Crash::Strict), LogWay::Mapped, 12, None);
}

#[test]
fn a_power_cut_leaves_a_prefix_written() {
    explore(&explorer(Crash::Linux), LogWay::Written, 12, None);
    explore(&explorer(Crash::Strict), LogWay::Written, 12, None);
}

#[test]
fn garbage_in_unsynced_sectors_is_cut() {
    explore(&explorer(Crash::StrictGarbage), LogWay::Mapped, 10, None);
    explore(&explorer(Crash::StrictGarbage), LogWay::Written, 10, None);
}

#[test]
fn unsynced_writes_may_go_and_never_in_the_middle() {
    explore(&explorer(Crash::Strict), LogWay::Mapped, 20, Some(Durability::Process));
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let nested = Explorer {
        nested: 3,
        cuts: pkv_sim::Cuts::Sample(60),
        seeds_per_cut: 1,
        ..explorer(Crash::Strict)
    };
    explore(&nested, LogWay::Mapped, 10, None);
    let after_kill =
        Explorer { nested_crash: Some(Crash::Strict), ..Explorer { crash: Crash::Kill, ..nested } };
    explore(&after_kill, LogWay::Mapped, 10, None);
    explore(&after_kill, LogWay::Written, 10, None);
}
