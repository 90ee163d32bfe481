//! Expiry: entries with a deadline, invisible from it on, swept away later.
//!
//! A store that is opened with [`crate::Options::expiry`] keeps eight bytes before each value: the deadline in
//! milliseconds since 1970, or zero. The schema name of its values says so (`expiring<V>`), so that a
//! folder is never opened the other way. Nothing below this module knows: to the log, the map and the
//! snapshots a deadline is a part of the value.
//!
//! - **Invisible at once.** Whoever reads a value compares its deadline with the store's time (`clock.rs`).
//! - **Never back.** Before anybody is told that an entry has expired, the log holds either its removal or the
//!   *time record*: an entry of the store's own with the store's time. When the store is opened, its time
//!   begins there, whatever the machine's clock says; so what the record has passed is gone for good.
//! - **Swept.** A thread of its own goes over the map in steps (`sweep.rs`) and removes what has expired.
//!
//! A store without expiry has no byte of this, and its reads and writes look at one field.

mod clock;
mod face;
mod sweep;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::Fs;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::map::{Map, Shard, ValueRef};
use crate::options::{Durability, Options};
use crate::reentry;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::watch::{Notice, Noticed};
use crate::write::{Decision, Prepare, Written};

use clock::Clock;

/// The deadline before each value.
pub(crate) const DEADLINE_BYTES: usize = 8;
/// Of an entry that does not expire.
const NEVER: u64 = 0;
/// Of the time record, which nobody is to see.
const ALWAYS: u64 = 1;
/// The key of the time record.
const TIME_KEY: &[u8] = b"\xff\xfepkv: the highest time seen\xfe\xff";

/// The schema name of values with a deadline.
pub(crate) fn schema_of(value_schema: &str) -> String {
    format!("expiring<{value_schema}>")
}

/// The schema name of the values behind the deadlines, where there are any.
pub(crate) fn inner_schema(value_schema: &str) -> Option<&str> {
    value_schema.strip_prefix("expiring<")?.strip_suffix('>')
}

/// Appends the deadline of what is stored, and returns the value behind it. The time record is appended whole:
/// it is of no type.
pub(crate) fn copy_deadline<'a>(stored: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (deadline_ms, value) = split(stored);
    out.extend_from_slice(&deadline_ms.to_le_bytes());
    if deadline_ms == ALWAYS {
        out.extend_from_slice(value);
        return None;
    }
    Some(value)
}

/// What a store with expiry has beside the map.
#[derive(Debug)]
pub(crate) struct Expiry {
    clock: Clock,
    /// The time in the log's record.
    recorded_ms: AtomicU64,
    /// There is a record, which is no entry that counts.
    has_record: AtomicBool,
    /// One at a time writes the record, or takes it away with all else.
    recording: Mutex<()>,
    /// No entry expires before; 0 where nobody has looked yet.
    next_ms: AtomicU64,
    interval: Duration,
    stop: Mutex<bool>,
    /// With `stop`: the store is closing, or something expires sooner than was known.
    wake: Condvar,
}

/// A stored value at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen<'a> {
    Live { deadline_ms: u64, value: &'a [u8] },
    Expired { deadline_ms: u64 },
}

/// Deadline and value of what is stored.
fn split(stored: &[u8]) -> (u64, &[u8]) {
    match stored.split_first_chunk::<DEADLINE_BYTES>() {
        Some((deadline, value)) => (u64::from_le_bytes(*deadline), value),
        None => (NEVER, &[]),
    }
}

/// Puts a value with its deadline into a buffer, as it is stored.
pub(crate) fn stamp(buffer: &mut Vec<u8>, deadline_ms: u64, value: &[u8]) {
    buffer.clear();
    buffer.reserve(DEADLINE_BYTES + value.len());
    buffer.extend_from_slice(&deadline_ms.to_le_bytes());
    buffer.extend_from_slice(value);
}

/// [`stamp`] for a value that does not expire.
pub(crate) fn stamp_never(buffer: &mut Vec<u8>, value: &[u8]) {
    stamp(buffer, NEVER, value);
}

/// The store keeps one key for itself.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key == TIME_KEY { Err(Error::ReservedKey) } else { Ok(()) }
}

/// What a log holds of a set, without the deadline; `None` for the time record.
pub(crate) fn logged_value<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    (key != TIME_KEY).then(|| split(stored).1)
}

/// The deadline of what expires at this time; the two lowest numbers mean something else.
fn until(expires_ms: u64) -> u64 {
    expires_ms.max(ALWAYS + 1)
}

/// What a log or a snapshot of a store with expiry holds as a value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredValue<'a> {
    /// An entry's value.
    Value {
        /// When it expires, in milliseconds since 1970; `None`: never.
        expires_ms: Option<u64>,
        /// The value's encoding.
        value: &'a [u8],
    },
    /// The store's own record of the highest time that it has told of, in milliseconds since 1970; no entry.
    Time {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
}

impl<'a> StoredValue<'a> {
    /// Takes apart what is stored under a key in files whose value schema has deadlines
    /// ([`crate::codec::without_deadlines`]): for tools that read them.
    #[must_use]
    pub fn of(key: &[u8], stored: &'a [u8]) -> Self {
        let (deadline_ms, value) = split(stored);
        if key == TIME_KEY {
            return Self::Time { unix_ms: split(value).0 };
        }
        Self::Value { expires_ms: (deadline_ms != NEVER).then_some(deadline_ms), value }
    }
}

/// Whether a map holds the record, which is no entry that counts.
pub(crate) fn has_time_record(map: &Map) -> bool {
    time_record(map).is_some()
}

/// The hash of its key.
pub(crate) fn time_hash(map: &Map) -> u64 {
    map.hash(TIME_KEY)
}

fn time_record(map: &Map) -> Option<u64> {
    let hash = time_hash(map);
    let shard = map.read(map.shard_index(hash));
    shard.get(hash, TIME_KEY).map(|stored| split(split(stored.as_bytes()).1).0)
}

impl Expiry {
    /// For a map as it was found.
    pub(crate) fn open(options: &Options, fs: &Arc<dyn Fs>, map: &Map) -> Self {
        let record = time_record(map);
        let recorded_ms = record.unwrap_or(0);
        Self {
            clock: Clock::new(Arc::clone(fs), recorded_ms),
            recorded_ms: AtomicU64::new(recorded_ms),
            has_record: AtomicBool::new(record.is_some()),
            recording: Mutex::new(()),
            next_ms: AtomicU64::new(0),
            interval: options.sweep_interval,
            stop: Mutex::new(false),
            wake: Condvar::new(),
        }
    }

    /// Goes on with a map in which another process's record may be a later one.
    pub(crate) fn follow(&self, map: &Map) {
        let record = time_record(map);
        let recorded_ms = record.unwrap_or(0);
        self.clock.reach(recorded_ms);
        self.recorded_ms.fetch_max(recorded_ms, Ordering::AcqRel);
        self.has_record.store(record.is_some(), Ordering::Release);
    }

    /// The value of what is stored, at this moment. The clock is asked where there is a deadline.
    fn see<'a>(&self, stored: &'a [u8]) -> Seen<'a> {
        let (deadline_ms, value) = split(stored);
        if deadline_ms == NEVER || deadline_ms > self.clock.now_ms() {
            Seen::Live { deadline_ms, value }
        } else {
            Seen::Expired { deadline_ms }
        }
    }

    /// What is to be shown of a stored value: nothing, if it has expired. `expired_ms` is raised to its
    /// deadline then, for [`Core::record_time`].
    pub(crate) fn show<'a>(&self, stored: &'a [u8], expired_ms: &mut u64) -> Option<&'a [u8]> {
        self.show_timed(stored, expired_ms).map(|(value, _)| value)
    }

    /// [`Expiry::show`], and the deadline of what has one.
    pub(crate) fn show_timed<'a>(
        &self,
        stored: &'a [u8],
        expired_ms: &mut u64,
    ) -> Option<(&'a [u8], Option<u64>)> {
        match self.see(stored) {
            Seen::Live { deadline_ms, value } => {
                Some((value, (deadline_ms != NEVER).then_some(deadline_ms)))
            }
            Seen::Expired { deadline_ms } => {
                *expired_ms = deadline_ms.max(*expired_ms);
                None
            }
        }
    }

    /// Entries of the store's own, which do not count.
    pub(crate) fn hidden_entries(&self) -> u64 {
        u64::from(self.has_record.load(Ordering::Relaxed))
    }

    fn is_recorded(&self, deadline_ms: u64) -> bool {
        deadline_ms <= self.recorded_ms.load(Ordering::Acquire)
    }

    /// The deadline of what lives for so long from now on; a part of a millisecond counts as one.
    fn deadline_ms(&self, ttl: Duration) -> u64 {
        let ttl_ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        until(self.clock.now_ms().saturating_add(ttl_ms))
    }

    /// Notes that something expires at this time. Called when it is in the map.
    pub(crate) fn expect(&self, deadline_ms: u64) {
        if deadline_ms != NEVER
            && deadline_ms < self.next_ms.fetch_min(deadline_ms, Ordering::AcqRel)
        {
            drop(self.stop.lock());
            self.wake.notify_all();
        }
    }
}

impl Core {
    /// Entries of the store's own, which do not count. One that is being written counts or does not.
    pub(crate) fn hidden_entries(&self) -> u64 {
        self.expiry.as_ref().map_or(0, Expiry::hidden_entries)
    }

    /// Whether it is that of such an entry.
    pub(crate) fn is_hidden_key(&self, key: &[u8]) -> bool {
        self.expiry.is_some() && key == TIME_KEY
    }

    /// How many of them there are among all shards, which are locked: exactly.
    pub(crate) fn hidden_among(&self, locked: &[impl Deref<Target = Shard>]) -> u64 {
        if self.expiry.is_none() {
            return 0;
        }
        let hash = self.map.hash(TIME_KEY);
        let shard = locked.get(self.map.shard_index(hash));
        u64::from(shard.is_some_and(|shard| shard.get(hash, TIME_KEY).is_some()))
    }

    /// What is to be shown of a stored value: see [`Expiry::show`].
    #[inline]
    pub(crate) fn show<'a>(&self, stored: &'a [u8], expired_ms: &mut u64) -> Option<&'a [u8]> {
        match &self.expiry {
            None => Some(stored),
            Some(expiry) => expiry.show(stored, expired_ms),
        }
    }

    /// What a write of one key tells watches. The time record is nothing to tell. An expired value counts as
    /// absent, unless it is its removal that is told.
    #[cold]
    pub(crate) fn add_notice(
        &self,
        notice: &mut Notice,
        key: &[u8],
        old: Option<Noticed>,
        new: Option<Noticed>,
    ) {
        let Some(expiry) = &self.expiry else { return notice.push(key, old, new) };
        if key == TIME_KEY {
            return;
        }
        let is_shown = |old: &Noticed| new.is_none() || expiry.show(old.bytes(), &mut 0).is_some();
        let old = old.filter(is_shown);
        notice.push(key, old.map(Noticed::without_deadline), new.map(Noticed::without_deadline));
    }

    /// Makes sure that what has expired by `expired_ms` never comes back: the log holds a time that is not before
    /// it. Called with nothing locked, before anybody is told; 0 is nothing.
    ///
    /// The record is a write like any other, so it is there after a kill, and after a power cut if it was
    /// synced.
    pub(crate) fn record_time(&self, expired_ms: u64) -> Result<()> {
        let Some(expiry) = self.expiry.as_ref().filter(|expiry| !expiry.is_recorded(expired_ms))
        else {
            return Ok(());
        };
        let _one_at_a_time = expiry.recording.lock();
        if expiry.is_recorded(expired_ms) {
            return Ok(());
        }
        self.write_time(expiry)
    }

    /// Whether the log says that what had this deadline is gone.
    pub(crate) fn is_time_recorded(&self, deadline_ms: u64) -> bool {
        self.expiry.as_ref().is_none_or(|expiry| expiry.is_recorded(deadline_ms))
    }

    /// [`Core::record_time`] for a reader: where the log takes no writes it is told all the same. In this
    /// process the clock does not go back; in a later one it may, and the entry with it.
    pub(crate) fn record_time_if_possible(&self, expired_ms: u64) {
        let _ = self.record_time(expired_ms);
    }

    fn write_time(&self, expiry: &Expiry) -> Result<()> {
        let now_ms = expiry.clock.now_ms();
        let mut record = Vec::new();
        stamp(&mut record, ALWAYS, &now_ms.to_le_bytes());
        self.write_one(TIME_KEY, Prepare::SetAlways(&record), Durability::Process, |_, _| {
            Ok(Decision::AsPrepared)
        })?;
        expiry.has_record.store(true, Ordering::Relaxed);
        expiry.recorded_ms.fetch_max(now_ms, Ordering::AcqRel);
        Ok(())
    }

    /// Removes every entry and begins the record anew.
    pub(crate) fn clear_all(&self, durability: Durability) -> Result<u64> {
        let Some(expiry) = &self.expiry else { return self.clear(durability) };
        reentry::check(self)?;
        // Readers that meet what has expired wait for the lock.
        self.ready_all()?;
        let cleared = {
            let _one_at_a_time = expiry.recording.lock();
            // What expires from here on waits for the new record: the one there is goes with all else.
            let recorded_ms = expiry.recorded_ms.swap(0, Ordering::AcqRel);
            let cleared = self.clear_untold().inspect_err(|_| {
                expiry.recorded_ms.fetch_max(recorded_ms, Ordering::AcqRel);
            })?;
            expiry.has_record.store(false, Ordering::Relaxed);
            // Nothing is left that could come back: without the record time begins anew, no more.
            let _ = self.write_time(expiry);
            cleared
        };
        // Readers do not wait for the sync.
        self.end_clear(cleared, durability)
    }

    /// [`ByteStore::get_with`] where values have deadlines.
    #[cold]
    pub(crate) fn get_timed<R>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let hash = self.map.hash(key);
        let mut expired_ms = 0;
        // Not [`Map::get_with`], which may come with a copy: one that has expired since it was made says nothing of a
        // key whose deadline was moved meanwhile.
        let answer = self.map.read_with(self.map.shard_index(hash), |shard| {
            let value = shard.get(hash, key);
            let shown = value.and_then(|value| self.show(value.as_bytes(), &mut expired_ms));
            shown.map(|value| reentry::run(self, || read(value)))
        });
        self.record_time_if_possible(expired_ms);
        answer
    }

    /// [`Core::write_one`] where values have deadlines: `decide` sees and makes values without. A value that
    /// was prepared gets this deadline; one that follows from the current value keeps that one's.
    pub(crate) fn write_timed(
        &self,
        expiry: &Expiry,
        key: &[u8],
        prepare: Prepare<'_>,
        deadline_ms: u64,
        durability: Durability,
        mut decide: impl FnMut(Option<&[u8]>, &mut Vec<u8>) -> Result<Decision>,
    ) -> Result<Written> {
        check_key(key)?;
        let mut stored = Vec::new();
        let prepare = match prepare {
            // Whether it was there depends on its deadline, so the current value is looked at.
            Prepare::SetAlways(value) | Prepare::Set(value) => {
                stamp(&mut stored, deadline_ms, value);
                Prepare::Set(&stored)
            }
            other => other,
        };
        let mut existed = false;
        let mut expired_ms = 0;
        let mut value = Vec::new();
        let written = self.write_one(key, prepare, durability, |current, buffer| {
            expired_ms = 0;
            let live = match current.map(|stored| expiry.see(stored)) {
                Some(Seen::Live { deadline_ms, value }) => Some((value, deadline_ms)),
                Some(Seen::Expired { deadline_ms }) => {
                    expired_ms = deadline_ms;
                    None
                }
                None => None,
            };
            existed = live.is_some();
            let is_expired = current.is_some() && !existed;
            let (live, kept_ms) = live.unzip();
            Ok(match decide(live, &mut value)? {
                Decision::Set => {
                    stamp(buffer, kept_ms.unwrap_or(NEVER), &value);
                    Decision::Set
                }
                // That it is absent follows from its expiry, which is logged before anybody is told.
                Decision::Keep if is_expired => Decision::Remove,
                other => other,
            })
        });
        if written.is_err() {
            // An error may follow from its absence, as where a counter would fall below zero.
            self.record_time_if_possible(expired_ms);
        }
        let written = written?;
        expiry.expect(deadline_ms);
        Ok(Written { existed, ..written })
    }

    fn expiry(&self) -> Result<&Expiry> {
        self.expiry.as_ref().ok_or_else(|| {
            let reason = "the store was opened without it: its values have no deadlines".to_owned();
            Error::InvalidOption { option: "expiry", reason }
        })
    }
}

/// A stored value that was found under a lock, for conditions: what is shown of it.
pub(crate) fn shown<'a>(
    expiry: Option<&Expiry>,
    found: Option<ValueRef<'a>>,
    expired_ms: &mut u64,
) -> Option<&'a [u8]> {
    let stored = found?.as_bytes();
    match expiry {
        None => Some(stored),
        Some(expiry) => expiry.show(stored, expired_ms),
    }
}
