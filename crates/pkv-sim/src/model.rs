//! A reference for stores of keys and values: which contents are allowed after a crash.
//!
//! It knows no store. A workload notes each write before it is issued and when its outcome is known; after
//! a crash the history says whether what is found is a prefix of the writes, long enough and without
//! ghosts.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::acks::{AckLog, Acked};
use crate::choice::Crash;

/// One change within a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K, V> {
    /// The key has this value from now on.
    Set(K, V),
    /// The key has this value until this time, in milliseconds; from then on it is gone.
    SetUntil(K, V, u64),
    /// The key is gone.
    Remove(K),
    /// Every key is gone.
    Clear,
    /// Every key is gone whose deadline is not after this time: somebody was told so of one of them, or they
    /// were swept away. None of them may come back, whatever the clock says after the crash.
    Expire(u64),
}

/// What a write depends on: it is made only if this holds just before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition<K, V> {
    /// The key has this value.
    Equals(K, V),
    /// The key is not there.
    Absent(K),
    /// The key is there, with whatever value.
    Present(K),
}

impl<K: Ord, V: PartialEq> Condition<K, V> {
    /// Whether it holds in these contents.
    #[must_use]
    pub fn holds(&self, contents: &BTreeMap<K, V>) -> bool {
        match self {
            Condition::Equals(key, value) => contents.get(key) == Some(value),
            Condition::Absent(key) => !contents.contains_key(key),
            Condition::Present(key) => contents.contains_key(key),
        }
    }
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// The death of its process.
    Process,
    /// A power cut, too.
    Power,
}

/// The name of a write in an [`AckLog`]; the workload chooses it, each once.
pub type WriteId = u64;

/// What a workload notes about its writes, with [`AckLog::ack`] or the methods for this type there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteEvent<K, V> {
    /// The write begins. Several changes are a batch: all are there, or none.
    Issued(WriteId, Vec<Change<K, V>>),
    /// The write that was issued is made only if all of these hold at its place in the order. If it is
    /// not made for this reason, it is refused.
    DependsOn(WriteId, Vec<Condition<K, V>>),
    /// It succeeded. May come twice: a later sync makes a write durable that was not.
    Acknowledged {
        /// Which write.
        id: WriteId,
        /// Its place in the order of all writes, where the store tells. Without it the order is the one in
        /// which the writes were issued, which is right for one thread.
        seq: Option<u64>,
        /// What it survives.
        durability: Durability,
    },
    /// It failed, and must never be seen.
    Refused(WriteId),
    /// It failed, but may come back after a crash.
    Unconfirmed {
        /// Which write.
        id: WriteId,
        /// Its place in the order of all writes, where the store tells.
        seq: Option<u64>,
    },
}

impl<K, V> AckLog<WriteEvent<K, V>> {
    /// Notes a write before it is made.
    pub fn issue(&self, id: WriteId, changes: impl IntoIterator<Item = Change<K, V>>) {
        self.ack(WriteEvent::Issued(id, changes.into_iter().collect()));
    }

    /// Notes a write before it is made that depends on conditions.
    pub fn issue_if(
        &self,
        id: WriteId,
        conditions: impl IntoIterator<Item = Condition<K, V>>,
        changes: impl IntoIterator<Item = Change<K, V>>,
    ) {
        self.issue(id, changes);
        self.ack(WriteEvent::DependsOn(id, conditions.into_iter().collect()));
    }

    /// Notes that a write succeeded.
    pub fn acknowledge(&self, id: WriteId, seq: Option<u64>, durability: Durability) {
        self.ack(WriteEvent::Acknowledged { id, seq, durability });
    }

    /// Notes that a write failed.
    pub fn refuse(&self, id: WriteId) {
        self.ack(WriteEvent::Refused(id));
    }

    /// Notes that a write failed in a way that leaves its fate open.
    pub fn leave_unconfirmed(&self, id: WriteId, seq: Option<u64>) {
        self.ack(WriteEvent::Unconfirmed { id, seq });
    }
}

#[derive(Clone, Debug)]
struct Write<K, V> {
    id: WriteId,
    changes: Vec<Change<K, V>>,
    conditions: Vec<Condition<K, V>>,
    seq: Option<u64>,
    issued: bool,
    refused: bool,
    /// It is known that it was made, before the crash or later in the run.
    made: bool,
    survives: Option<Durability>,
}

/// All writes of a run in their order, and what was known of each when the crash came.
#[derive(Clone, Debug)]
pub struct History<K, V> {
    writes: Vec<Write<K, V>>,
    refused: Vec<Write<K, V>>,
    crash: Crash,
    /// The time by the clock when the contents were looked at.
    looked_at_ms: u64,
}

impl<K: Ord + Clone + Debug, V: PartialEq + Clone + Debug> History<K, V> {
    /// The history at a crash.
    ///
    /// The order is that of the sequence numbers, of the whole run: a write in flight at the crash has
    /// its number from later on. Writes without one follow those with one, in the order they were issued.
    #[must_use]
    pub fn new(acked: &Acked<WriteEvent<K, V>>) -> Self {
        let mut writes: Vec<Write<K, V>> = Vec::new();
        let mut places: BTreeMap<WriteId, usize> = BTreeMap::new();
        for (at, event) in acked.whole_run().enumerate() {
            let before = at < acked.len();
            let (id, known) = match event {
                WriteEvent::Issued(id, changes) => {
                    places.insert(*id, writes.len());
                    writes.push(Write {
                        id: *id,
                        changes: changes.clone(),
                        conditions: Vec::new(),
                        seq: None,
                        issued: before,
                        refused: false,
                        made: false,
                        survives: None,
                    });
                    continue;
                }
                WriteEvent::DependsOn(id, _)
                | WriteEvent::Acknowledged { id, .. }
                | WriteEvent::Refused(id)
                | WriteEvent::Unconfirmed { id, .. } => (id, event),
            };
            let Some(write) = places.get(id).and_then(|place| writes.get_mut(*place)) else {
                continue;
            };
            match known {
                WriteEvent::Acknowledged { seq, durability, .. } => {
                    write.seq = write.seq.or(*seq);
                    write.made = true;
                    if before {
                        write.survives = write.survives.max(Some(*durability));
                    }
                }
                WriteEvent::Unconfirmed { seq, .. } => {
                    write.seq = write.seq.or(*seq);
                    write.made = true;
                }
                WriteEvent::Refused(_) => write.refused = true,
                WriteEvent::DependsOn(_, conditions) => write.conditions.clone_from(conditions),
                WriteEvent::Issued(..) => {}
            }
        }
        let (refused, mut writes): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| write.refused);
        writes.sort_by_key(|write| (write.seq.is_none(), write.seq));
        Self { writes, refused, crash: acked.crash(), looked_at_ms: 0 }
    }

    /// For contents that were looked at when the clock showed this time: what had expired by then is not there.
    #[must_use]
    pub fn looked_at(self, looked_at_ms: u64) -> Self {
        Self { looked_at_ms, ..self }
    }

    /// The number of writes that must have survived: up to the last one whose acknowledgement promised it.
    #[must_use]
    pub fn prefix_min(&self) -> usize {
        let needed =
            if self.crash.is_power_cut() { Durability::Power } else { Durability::Process };
        let last = self.writes.iter().rposition(|write| write.survives >= Some(needed));
        last.map_or(0, |at| at.saturating_add(1))
    }

    /// The number of writes that may have survived: those issued before the crash.
    #[must_use]
    pub fn prefix_max(&self) -> usize {
        self.writes.iter().position(|write| !write.issued).unwrap_or(self.writes.len())
    }

    /// Checks what a store holds after the crash. The number of writes it holds, or what is wrong: a lost
    /// acknowledgement, a torn batch, a hole, a write that was refused or never made, or one that was made
    /// although a condition of it did not hold at its place in the order.
    ///
    /// Costs one pass over the writes.
    pub fn check(&self, found: &BTreeMap<K, V>) -> Result<usize, String> {
        let (min, max) = (self.prefix_min(), self.prefix_max());
        let mut replay = Comparison::new(found, self.looked_at_ms);
        let mut fewest = (replay.different, 0);
        let mut matching = (replay.different == 0).then_some(0);
        for (at, write) in self.writes.iter().take(max).enumerate() {
            let prefix = at.saturating_add(1);
            let unmet =
                write.conditions.iter().position(|condition| !condition.holds(&replay.now.entries));
            match unmet {
                None => replay.apply(&write.changes),
                Some(index) if write.made => {
                    return Err(format!(
                        "{} was made although its condition {index} did not hold: {:?}",
                        name(write),
                        write.conditions.get(index),
                    ));
                }
                // In flight when the run ended, and not to be made.
                Some(_) => {}
            }
            if replay.different == 0 {
                matching = Some(prefix);
            }
            if replay.different <= fewest.0 {
                fewest = (replay.different, prefix);
            }
        }
        match matching {
            Some(prefix) if prefix >= min => Ok(prefix),
            Some(prefix) => Err(self.describe_loss(prefix, min)),
            None => Err(self.describe_mix(found, fewest.1)),
        }
    }

    fn describe_loss(&self, prefix: usize, min: usize) -> String {
        let last = min.checked_sub(1).and_then(|at| self.writes.get(at));
        format!(
            "lost: {prefix} writes are there, {min} were acknowledged to survive a {}; the last is {}",
            if self.crash.is_power_cut() { "power cut" } else { "kill" },
            last.map_or_else(String::new, name)
        )
    }

    /// What differs from the prefix that comes closest.
    fn describe_mix(&self, found: &BTreeMap<K, V>, prefix: usize) -> String {
        let mut expected = Contents::new();
        for write in self.writes.iter().take(prefix) {
            if write.conditions.iter().all(|condition| condition.holds(&expected.entries)) {
                write.changes.iter().for_each(|change| expected.apply(change));
            }
        }
        let now_ms = self.looked_at_ms;
        let mut keys: Vec<&K> = found.keys().chain(expected.entries.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| found.get(*key) != expected.shown(key, now_ms));
        let shown: Vec<String> = keys
            .iter()
            .take(3)
            .map(|key| {
                let value = found.get(*key);
                let origin = value.map_or_else(String::new, |value| self.origin(key, value));
                format!("{key:?} is {value:?}{origin}, not {:?}", expected.shown(key, now_ms))
            })
            .collect();
        format!(
            "no prefix of the writes: after the first {prefix} (closest; {} to {} are allowed) {} keys differ: {}",
            self.prefix_min(),
            self.prefix_max(),
            keys.len(),
            shown.join(", ")
        )
    }

    /// Which write set this value.
    fn origin(&self, key: &K, value: &V) -> String {
        let sets = |write: &&Write<K, V>| {
            write
                .changes
                .iter()
                .any(|change| matches!(change, Change::Set(k, v) | Change::SetUntil(k, v, _) if k == key && v == value))
        };
        if let Some(write) = self.refused.iter().find(sets) {
            return format!(" (a ghost: {} was refused)", name(write));
        }
        match self.writes.iter().find(sets) {
            Some(write) if write.issued => format!(" (of {})", name(write)),
            Some(write) => format!(" (of {}, which was not issued yet)", name(write)),
            None => " (which nobody wrote)".to_string(),
        }
    }
}

fn name<K, V>(write: &Write<K, V>) -> String {
    match write.seq {
        Some(seq) => format!("write {} with sequence number {seq}", write.id),
        None => format!("write {}", write.id),
    }
}

/// What the model holds after some writes.
#[derive(Clone, Debug)]
struct Contents<K, V> {
    entries: BTreeMap<K, V>,
    /// Of the entries that expire.
    deadlines: BTreeMap<K, u64>,
}

impl<K: Ord + Clone, V: Clone> Contents<K, V> {
    fn new() -> Self {
        Self { entries: BTreeMap::new(), deadlines: BTreeMap::new() }
    }

    fn apply(&mut self, change: &Change<K, V>) {
        match change {
            Change::Set(key, value) => {
                self.deadlines.remove(key);
                self.entries.insert(key.clone(), value.clone());
            }
            Change::SetUntil(key, value, deadline_ms) => {
                self.deadlines.insert(key.clone(), *deadline_ms);
                self.entries.insert(key.clone(), value.clone());
            }
            Change::Remove(key) => {
                self.deadlines.remove(key);
                self.entries.remove(key);
            }
            Change::Clear => *self = Self::new(),
            Change::Expire(now_ms) => {
                self.expired(*now_ms)
                    .iter()
                    .for_each(|key| self.apply(&Change::Remove(key.clone())));
            }
        }
    }

    /// The keys whose deadline has come.
    fn expired(&self, now_ms: u64) -> Vec<K> {
        let expired = self.deadlines.iter().filter(|(_, deadline_ms)| **deadline_ms <= now_ms);
        expired.map(|(key, _)| key.clone()).collect()
    }

    /// The value that is to be seen at this time.
    fn shown(&self, key: &K, now_ms: u64) -> Option<&V> {
        let has_expired = self.deadlines.get(key).is_some_and(|deadline_ms| *deadline_ms <= now_ms);
        self.entries.get(key).filter(|_| !has_expired)
    }
}

/// Replays writes and counts the keys that differ from what was found, so that each step costs only the
/// keys that it changes.
struct Comparison<'a, K, V> {
    found: &'a BTreeMap<K, V>,
    now: Contents<K, V>,
    looked_at_ms: u64,
    different: usize,
}

impl<'a, K: Ord + Clone, V: PartialEq + Clone> Comparison<'a, K, V> {
    fn new(found: &'a BTreeMap<K, V>, looked_at_ms: u64) -> Self {
        Self { found, now: Contents::new(), looked_at_ms, different: found.len() }
    }

    fn apply(&mut self, changes: &[Change<K, V>]) {
        for change in changes {
            match change {
                Change::Set(key, _) | Change::SetUntil(key, ..) | Change::Remove(key) => {
                    self.apply_one(key, change);
                }
                Change::Clear => {
                    self.now = Contents::new();
                    self.different = self.found.len();
                }
                Change::Expire(now_ms) => {
                    for key in self.now.expired(*now_ms) {
                        self.apply_one(&key, &Change::Remove(key.clone()));
                    }
                }
            }
        }
    }

    fn apply_one(&mut self, key: &K, change: &Change<K, V>) {
        let before = usize::from(self.differs(key));
        self.now.apply(change);
        let after = usize::from(self.differs(key));
        self.different = self.different.saturating_sub(before).saturating_add(after);
    }

    fn differs(&self, key: &K) -> bool {
        self.now.shown(key, self.looked_at_ms) != self.found.get(key)
    }
}
