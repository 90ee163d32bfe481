//! Crashes of a store with expiry, at every operation of a simulated disk, after which the clock stands where
//! it stood at the beginning: what was seen to be gone must not be there, and all else must.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_sim::{AckLog, Acked, Change, Crash, Explorer, History, SimFs};
use pkv_store::{ByteStore, Durability, Error, LogWay};

use crate::crash_rig::{DIR, Event, Random, contents, options, scale, tell_states};

const T0: u64 = 1_700_000_000_000;

fn open(fs: &Arc<SimFs>, way: LogWay) -> Result<ByteStore, Error> {
    ByteStore::open(Path::new(DIR), &options(fs, way).expiry(true))
}

/// Writes, looks, sweeps and lets time go on, and notes what the store has said.
struct Workload<'a> {
    fs: &'a Arc<SimFs>,
    acks: &'a AckLog<Event>,
    random: Random,
    next_id: u64,
    now_ms: u64,
    /// Up to when the store has said that what expired is gone.
    recorded_ms: Option<u64>,
    /// Deadlines of what was set and not swept away.
    deadlines: BTreeMap<Vec<u8>, u64>,
}

impl Workload<'_> {
    /// Notes what `work` does.
    fn step(
        &mut self,
        store: &ByteStore,
        change: Change<Vec<u8>, Vec<u8>>,
        durability: Durability,
        work: impl FnOnce(&ByteStore) -> u64,
    ) {
        let id = self.next_id;
        self.next_id += 1;
        self.acks.issue(id, [change]);
        let survives = match durability {
            Durability::Power => pkv_sim::Durability::Power,
            _ => pkv_sim::Durability::Process,
        };
        self.acks.acknowledge(id, Some(work(store)), survives);
    }

    /// Looks at what has expired, `expired_ms` the last of it: from here on all that has expired is gone, if the
    /// store has not said so before.
    fn look(&mut self, store: &ByteStore, expired_ms: Option<u64>, look: impl FnOnce(&ByteStore)) {
        if expired_ms <= self.recorded_ms {
            return look(store);
        }
        let now_ms = self.now_ms;
        self.recorded_ms = Some(now_ms);
        self.step(store, Change::Expire(now_ms), Durability::Process, |store| {
            let before = store.last_seq();
            look(store);
            // The record comes first of what a look may write.
            store.last_seq().min(before + 1)
        });
    }

    /// The last deadline that has come.
    fn expired_ms(&self) -> Option<u64> {
        self.deadlines.values().copied().filter(|at| *at <= self.now_ms).max()
    }

    fn one(&mut self, store: &ByteStore) {
        let key = format!("key {}", self.random.below(8)).into_bytes();
        let value = vec![u8::try_from(self.next_id % 256).unwrap(); 20];
        let ttl_ms = self.random.below(4000);
        let durability =
            if self.random.below(3) == 0 { Durability::Power } else { Durability::Process };
        match self.random.below(12) {
            0..5 => {
                let deadline_ms = self.now_ms + ttl_ms;
                self.deadlines.insert(key.clone(), deadline_ms);
                let change = Change::SetUntil(key.clone(), value.clone(), deadline_ms);
                self.step(store, change, durability, |store| {
                    let ttl = Duration::from_millis(ttl_ms);
                    store.insert_with_ttl(&key, &value, ttl, durability).unwrap().seq
                });
            }
            5 => {
                self.deadlines.remove(&key);
                let change = Change::Set(key.clone(), value.clone());
                self.step(store, change, durability, |store| {
                    store.insert(&key, &value, durability).unwrap().seq
                });
            }
            6..9 if self.deadlines.get(&key).is_some_and(|at| *at <= self.now_ms) => {
                let expired_ms = self.deadlines.get(&key).copied();
                self.look(store, expired_ms, |store| assert_eq!(store.get(&key).unwrap(), None));
            }
            9 => self.look(store, self.expired_ms(), |store| drop(contents(store))),
            10 => {
                self.look(store, self.expired_ms(), |store| assert!(store.sweep().is_ok()));
                let now_ms = self.now_ms;
                self.deadlines.retain(|_, at| *at > now_ms);
            }
            _ => {
                self.now_ms += self.random.below(2000);
                self.fs.set_unix_time_ms(self.now_ms);
            }
        }
    }
}

fn workload(fs: &Arc<SimFs>, acks: &AckLog<Event>, way: LogWay) {
    fs.set_unix_time_ms(T0);
    let random = Random(pkv_fs::Fs::random_u64(&**fs));
    let deadlines = BTreeMap::new();
    let (now_ms, recorded_ms) = (T0, None);
    let mut workload = Workload { fs, acks, random, next_id: 1, now_ms, recorded_ms, deadlines };
    let store = open(fs, way).expect("an empty disk opens");
    (0..25).for_each(|_| workload.one(&store));
    store.compact().expect("a compaction on a good disk");
    (0..25).for_each(|_| workload.one(&store));
    store.close().expect("a close on a good disk");
    let store = open(fs, way).expect("a closed store opens");
    (0..25).for_each(|_| workload.one(&store));
    std::mem::forget(store);
}

/// With the clock set back, the store holds what the model allows; when all times to live are over, it holds
/// what has none; and set back again, in another life, it still does.
fn verify(fs: &Arc<SimFs>, acked: &Acked<Event>, way: LogWay) -> Result<(), String> {
    let look = |now_ms: u64| {
        fs.set_unix_time_ms(now_ms);
        let store = open(fs, way).map_err(|error| format!("does not open: {error}"))?;
        let found = contents(&store);
        Ok::<_, String>((store, found))
    };
    let (store, found) = look(T0)?;
    History::new(acked).looked_at(T0).check(&found)?;
    drop(store);
    let at_the_end = T0 + 1_000_000;
    let (store, left) = look(at_the_end)?;
    History::new(acked).looked_at(at_the_end).check(&left)?;
    if left.iter().any(|(key, value)| found.get(key) != Some(value)) {
        return Err("time brought something".into());
    }
    drop(store);
    let (_store, again) = look(T0)?;
    if again == left { Ok(()) } else { Err(format!("came back: {again:?}, {left:?} were left")) }
}

fn explore(crash: Crash, way: LogWay) {
    let explorer = Explorer { runs: 2 * scale(), seeds_per_cut: 2, ..Explorer::new(crash) };
    let report = explorer
        .run(|fs, acks| workload(fs, acks, way), |fs, acked| verify(&fs, acked, way))
        .ok()
        .expect("no violation");
    tell_states(&format!("expiry, {crash} {way:?}"), report.states);
    assert!(explorer.replay.is_some() || report.states > 100, "{} states", report.states);
}

#[test]
fn after_a_kill_nothing_comes_back_that_was_seen_to_be_gone() {
    explore(Crash::Kill, LogWay::Mapped);
    explore(Crash::Kill, LogWay::Written);
}

#[test]
fn after_a_power_cut_expiry_is_a_prefix_like_all_else() {
    for way in [LogWay::Mapped, LogWay::Written] {
        explore(Crash::Linux, way);
        explore(Crash::Strict, way);
    }
}
