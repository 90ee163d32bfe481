//! What the crash and fault tests share: a small store on a simulated disk, a workload that notes what it
//! was told, and the check of what is found afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]
#![expect(clippy::panic, reason = "a failure in a helper fails the test")]
#![expect(clippy::print_stderr, reason = "how much was tried is what a long run is started for")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkv_sim::{AckLog, Acked, Change, Condition, History, SimFs, WriteEvent};
use pkv_store::{ByteStore, Durability, Error, LogWay, Options, ReadOnlyByteStore};

/// Writes of bytes.
pub(crate) type Event = WriteEvent<Vec<u8>, Vec<u8>>;

/// Keys and values as bytes.
pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The store's folder.
pub(crate) const DIR: &str = "/db";

/// How many times as many states as in the quick suite; `cargo xtask crash` sets it.
pub(crate) fn scale() -> u32 {
    std::env::var("PKV_CRASH_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Where the seeds of the runs begin; `cargo xtask crash --part` sets it, so that each part tries others.
pub(crate) fn first_seed() -> u64 {
    std::env::var("PKV_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Says how much a test has tried; `cargo xtask crash` adds up the lines.
pub(crate) fn tell_states(what: &str, states: u64) {
    eprintln!("tried {states} states: {what}");
}

/// Options of a small store without threads, whose logs hold a few dozen writes.
pub(crate) fn options(fs: &Arc<SimFs>, way: LogWay) -> Options {
    let fs: Arc<dyn pkv_fs::Fs> = fs.clone();
    Options::new()
        .file_system(fs)
        .background(false)
        .log_way(way)
        .map_shards(4)
        .segment_bytes(16 * 1024, 16 * 1024)
        .snapshot_shards(3)
        // So that few records make a span.
        .snapshot_shard_bytes(64 * 1024)
}

pub(crate) fn open(fs: &Arc<SimFs>, way: LogWay) -> Result<ByteStore, Error> {
    ByteStore::open(Path::new(DIR), &options(fs, way))
}

/// The same; as the disk's seed has it, with the snapshot left for later.
pub(crate) fn open_either(fs: &Arc<SimFs>, way: LogWay) -> Result<ByteStore, Error> {
    let is_instant = pkv_fs::Fs::random_u64(&**fs).is_multiple_of(2);
    ByteStore::open(Path::new(DIR), &options(fs, way).instant_open(is_instant))
}

pub(crate) fn contents(store: &ByteStore) -> Contents {
    store.iter().map(|entry| entry.expect("an entry that can be copied")).collect()
}

/// A small generator, so that a workload is the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A write that was drawn and not yet made.
#[derive(Clone, Debug)]
pub(crate) enum Draw {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// Whole or not at all.
    Batch(Vec<Change<Vec<u8>, Vec<u8>>>),
    /// A batch that is made only if all of these hold.
    BatchIf(Vec<Condition<Vec<u8>, Vec<u8>>>, Vec<Change<Vec<u8>, Vec<u8>>>),
    Clear,
}

impl Draw {
    pub(crate) fn changes(&self) -> Vec<Change<Vec<u8>, Vec<u8>>> {
        match self {
            Draw::Set(key, value) => vec![Change::Set(key.clone(), value.clone())],
            Draw::Remove(key) => vec![Change::Remove(key.clone())],
            Draw::Batch(changes) | Draw::BatchIf(_, changes) => changes.clone(),
            Draw::Clear => vec![Change::Clear],
        }
    }

    /// What it depends on.
    pub(crate) fn conditions(&self) -> &[Condition<Vec<u8>, Vec<u8>>] {
        match self {
            Draw::BatchIf(conditions, _) => conditions,
            _ => &[],
        }
    }

    /// The number of its first condition that does not hold in these contents.
    pub(crate) fn unmet(&self, contents: &Contents) -> Option<usize> {
        self.conditions().iter().position(|condition| !condition.holds(contents))
    }

    /// Makes it; its sequence number.
    pub(crate) fn make(&self, store: &ByteStore, durability: Durability) -> Result<u64, Error> {
        match self {
            Draw::Set(key, value) => {
                store.insert(key, value, durability).map(|written| written.seq)
            }
            Draw::Remove(key) => store.remove(key, durability).map(|written| written.seq),
            Draw::Batch(changes) | Draw::BatchIf(_, changes) => {
                let batch = changes.iter().fold(store.batch(), |batch, change| match change {
                    Change::Set(key, value) => batch.insert(key, value),
                    Change::Remove(key) => batch.remove(key),
                    // Drawn by themselves, or in tests of their own.
                    Change::Clear | Change::SetUntil(..) | Change::Expire(_) => batch,
                });
                let batch =
                    self.conditions().iter().fold(batch, |batch, condition| match condition {
                        Condition::Equals(key, value) => batch.if_equals(key, value),
                        Condition::Absent(key) => batch.if_absent(key),
                        Condition::Present(key) => batch.if_present(key),
                    });
                batch.commit(durability)
            }
            Draw::Clear => store.clear(durability),
        }
    }
}

/// One thread's writes, noted in the log of acknowledgements.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) acks: &'a AckLog<Event>,
    pub(crate) random: Random,
    /// The next write's name, and how far names of one writer lie apart.
    pub(crate) next_id: u64,
    pub(crate) step: u64,
    /// The keys that this one alone removes.
    pub(crate) own: &'static str,
}

impl<'a> Writer<'a> {
    /// The only writer.
    pub(crate) fn alone(acks: &'a AckLog<Event>, seed: u64) -> Self {
        Self { acks, random: Random(seed), next_id: 1, step: 1, own: "key" }
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.below(5) {
            0 => 0,
            1 => 5,
            2 => 40,
            3 => 400,
            _ => 3000,
        };
        let id = self.next_id.to_le_bytes();
        id.iter().copied().cycle().take(bytes).collect()
    }

    fn key(&mut self) -> Vec<u8> {
        format!("{} {}", self.own, self.random.below(12)).into_bytes()
    }

    pub(crate) fn durability(&mut self) -> Durability {
        if self.random.below(3) == 0 { Durability::Power } else { Durability::Process }
    }

    /// A write of a random kind; `None` where the one drawn would not be one.
    pub(crate) fn draw(&mut self, store: &ByteStore) -> Option<Draw> {
        let (key, value) = (self.key(), self.value());
        Some(match self.random.below(25) {
            0..12 => Draw::Set(key, value),
            12..15 if store.contains_key(&key).unwrap() => Draw::Remove(key),
            12..15 => return None,
            15..19 => Draw::Batch(vec![
                Change::Set(key, value.clone()),
                Change::Remove(self.key()),
                Change::Set(b"batch".to_vec(), value),
            ]),
            // With others beside it, a removal might find its key gone, and not be a write.
            19 if self.step > 1 => return None,
            19 => Draw::Clear,
            _ => self.draw_batch_if(store, key, value),
        })
    }

    /// A batch that depends on what is there. All writers want the turn: the value of one key that they
    /// all know, which each sets to its own.
    fn draw_batch_if(&mut self, store: &ByteStore, key: Vec<u8>, value: Vec<u8>) -> Draw {
        let condition = |key: &[u8]| match store.get(key).unwrap() {
            Some(value) => Condition::Equals(key.to_vec(), value),
            None => Condition::Absent(key.to_vec()),
        };
        let mut conditions = vec![condition(b"turn")];
        match self.random.below(4) {
            0 => conditions.push(condition(&self.key())),
            1 => conditions.push(Condition::Present(self.key())),
            2 => conditions.push(Condition::Equals(self.key(), self.value())),
            _ => {}
        }
        let turn = self.next_id.to_le_bytes().to_vec();
        let changes = vec![
            Change::Set(b"turn".to_vec(), turn),
            Change::Set(key, value),
            Change::Remove(self.key()),
        ];
        Draw::BatchIf(conditions, changes)
    }

    /// Makes one write and notes what became of it.
    pub(crate) fn make(
        &mut self,
        store: &ByteStore,
        draw: &Draw,
        durability: Durability,
    ) -> Result<u64, Error> {
        let id = self.next_id;
        self.next_id += self.step;
        match draw {
            Draw::BatchIf(conditions, changes) => {
                self.acks.issue_if(id, conditions.iter().cloned(), changes.iter().cloned());
            }
            _ => self.acks.issue(id, draw.changes()),
        }
        let outcome = draw.make(store, durability);
        let survives = match durability {
            Durability::Power => pkv_sim::Durability::Power,
            _ => pkv_sim::Durability::Process,
        };
        match &outcome {
            Ok(seq) => self.acks.acknowledge(id, Some(*seq), survives),
            Err(Error::Unconfirmed { seq, .. }) => self.acks.leave_unconfirmed(id, Some(*seq)),
            Err(_) => self.acks.refuse(id),
        }
        outcome
    }

    /// One write of a random kind on a good disk; `durability` is drawn where it is not given.
    pub(crate) fn write(&mut self, store: &ByteStore, durability: Option<Durability>) {
        let durability = durability.unwrap_or_else(|| self.durability());
        let Some(draw) = self.draw(store) else { return };
        // With others beside it, what it has read may be past; alone it knows the outcome.
        let unmet = (self.step == 1).then(|| draw.unmet(&contents(store)));
        match self.make(store, &draw, durability) {
            Ok(_) => assert!(unmet.flatten().is_none(), "{draw:?} was made"),
            Err(Error::ConditionFailed { index, .. }) => {
                assert!(!draw.conditions().is_empty() && unmet.is_none_or(|i| i == Some(index)));
            }
            Err(error) => panic!("a write on a good disk: {error}"),
        }
    }
}

/// Opens what a crash left, compares with the history, and shows that the store goes on working.
pub(crate) fn verify(fs: &Arc<SimFs>, acked: &Acked<Event>, way: LogWay) -> Result<(), String> {
    // A reader without a lock sees, before anything is repaired, what opening then shows. It waits a little
    // where something is torn, so not each time.
    let is_read_first = pkv_fs::Fs::random_u64(&**fs).is_multiple_of(16);
    let read = is_read_first.then(|| ReadOnlyByteStore::open(Path::new(DIR), &options(fs, way)));
    let store = open_either(fs, way).map_err(|error| format!("does not open: {error}"))?;
    // Where not all is loaded, some keys come before the others.
    let looked_at = ["turn", "batch", "key 3", "key 7"].map(str::as_bytes);
    let first = looked_at.map(|key| store.get(key).expect("a key that can be read"));
    let mut found = contents(&store);
    if looked_at.iter().zip(&first).any(|(key, value)| found.get(*key) != value.as_ref()) {
        return Err(format!("{looked_at:?} were {first:?}, and then {found:?}"));
    }
    match read {
        Some(Ok(view)) => {
            let seen: Contents = view.iter().map(|entry| entry.expect("an entry")).collect();
            if seen != found {
                return Err(format!(
                    "a reader saw something else than opening: {seen:?} {found:?}"
                ));
            }
        }
        // The crash came before there was a folder.
        Some(Err(Error::NotFound { .. })) if found.is_empty() => {}
        Some(Err(error)) => return Err(format!("opens, but a reader says: {error}")),
        None => {}
    }
    // Left by an earlier verification, where the crash came during that one.
    found.remove(b"after".as_slice());
    History::new(acked).check(&found)?;
    goes_on(fs, store, &found, way)
}

/// An opened store takes a write, and shows the same after it was opened again.
pub(crate) fn goes_on(
    fs: &Arc<SimFs>,
    store: ByteStore,
    found: &Contents,
    way: LogWay,
) -> Result<(), String> {
    store
        .insert(b"after", b"the crash", Durability::Power)
        .map_err(|error| format!("does not write: {error}"))?;
    drop(store);
    let store = open_either(fs, way).map_err(|error| format!("does not open again: {error}"))?;
    let mut again = contents(&store);
    if again.remove(b"after".as_slice()).as_deref() != Some(b"the crash") {
        return Err("a write after the crash is gone".into());
    }
    if again == *found {
        Ok(())
    } else {
        Err(format!("another opening shows something else: {again:?} {found:?}"))
    }
}

/// Runs the work for each of these on two threads; panics count as failures.
pub(crate) fn in_parallel<T: Sync + Display>(
    items: &[T],
    work: impl Fn(&T) -> Result<u64, String> + Sync,
) -> u64 {
    let (next, states) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    while let Some(item) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                        .ok()
                        .and_then(|index| items.get(index))
                    {
                        match work(item) {
                            Ok(tried) => drop(states.fetch_add(tried, Ordering::Relaxed)),
                            Err(failure) => failures.push(format!("{item}: {failure}")),
                        }
                    }
                    failures
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let shown: Vec<&str> = failures.iter().take(12).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), shown.join("\n"));
    states.into_inner()
}
