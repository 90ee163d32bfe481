//! Sweeping: what has expired is removed, in steps that hold nobody up.

use std::time::{Duration, Instant};

use pkv_format::decode_record;

use super::{Expiry, NEVER, Seen, TIME_KEY};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::map::{Cursor, SliceCopy};
use crate::options::Durability;
use crate::sync::atomic::Ordering;
use crate::write::{Decision, Prepare};

/// The sweeping thread rests so many times as long as it works: it takes at most a fifth of one core.
const RESTS: u32 = 4;
/// The machine's clock may be set ahead while the thread sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(60);

impl Core {
    /// Goes over the map once and removes what has expired; returns how many entries. `go_on` is told after
    /// each step how long it took, and says whether to take the next one.
    ///
    /// 1. From here on every deadline that comes into the map is noted by who brings it.
    /// 2. Each bucket is copied, under the read lock of its shard.
    /// 3. The time is recorded in the log, so that nothing that goes now can come back.
    /// 4. Each expired entry is removed, by a write of its own, if it is still expired.
    pub(super) fn sweep(
        &self,
        expiry: &Expiry,
        mut go_on: impl FnMut(Duration) -> bool,
    ) -> Result<u64> {
        self.ready_all()?;
        // 1. Until the end is reached nothing is known, so that a sweep that is broken off is made again.
        expiry.next_ms.store(u64::MAX, Ordering::Release);
        let mut pass = Pass { next_ms: u64::MAX, removed: 0, copy: SliceCopy::default() };
        let mut is_whole = true;
        let mut swept = Ok(());
        'shards: for shard in 0..self.map.shards() {
            let mut cursor = Some(Cursor::default());
            while let Some(at) = cursor {
                let started = Instant::now();
                match self.sweep_bucket(expiry, shard, at, &mut pass) {
                    Ok(next) => cursor = next,
                    Err(error) => {
                        swept = Err(error);
                        is_whole = false;
                        break 'shards;
                    }
                }
                if !go_on(started.elapsed()) {
                    is_whole = false;
                    break 'shards;
                }
            }
        }
        let known_ms = if is_whole { pass.next_ms } else { 0 };
        expiry.next_ms.fetch_min(known_ms, Ordering::AcqRel);
        swept.map(|()| pass.removed)
    }

    fn sweep_bucket(
        &self,
        expiry: &Expiry,
        shard: usize,
        at: Cursor,
        pass: &mut Pass,
    ) -> Result<Option<Cursor>> {
        // 2.
        let next = self.map.read(shard).copy_slice(at, &mut pass.copy);
        let next = next.map_err(|_| Error::OutOfMemory)?;
        let mut expired: Vec<Vec<u8>> = Vec::new();
        let mut expired_ms = 0;
        let mut look = |key: &[u8], stored: &[u8]| match expiry.see(stored) {
            _ if key == TIME_KEY => {}
            Seen::Live { deadline_ms: NEVER, .. } => {}
            Seen::Live { deadline_ms, .. } => pass.next_ms = pass.next_ms.min(deadline_ms),
            Seen::Expired { deadline_ms } => {
                expired_ms = deadline_ms.max(expired_ms);
                expired.push(key.to_vec());
            }
        };
        let mut rest = pass.copy.bytes.as_slice();
        while let Ok(record) = decode_record(rest) {
            look(record.key, record.value);
            rest = rest.get(record.bytes_used..).unwrap_or_default();
        }
        pass.copy.large().for_each(|(key, stored)| look(key, stored));
        pass.copy.clear();
        // 3.
        self.record_time(expired_ms)?;
        // 4.
        for key in expired {
            let mut is_gone = false;
            self.write_one(&key, Prepare::Remove, Durability::Process, |current, _| {
                is_gone = current
                    .is_some_and(|stored| matches!(expiry.see(stored), Seen::Expired { .. }));
                Ok(if is_gone { Decision::AsPrepared } else { Decision::Keep })
            })?;
            // One that was renewed meanwhile has noted its deadline.
            pass.removed += u64::from(is_gone);
        }
        Ok(next)
    }

    /// The sweeping thread: sweeps when something has expired, at most once in each interval.
    pub(crate) fn sweep_thread(&self) {
        let Some(expiry) = &self.expiry else { return };
        loop {
            if !self.spans.are_loaded() {
                // It would load everything before the loading thread does.
                if !expiry.rest(expiry.interval) {
                    return;
                }
                continue;
            }
            let next_ms = expiry.next_ms.load(Ordering::Acquire);
            let left_ms = next_ms.saturating_sub(expiry.clock.now_ms());
            if left_ms > 0 {
                let time = Duration::from_millis(left_ms).min(SLEEP_MAX);
                if !expiry.sleep(time, next_ms) {
                    return;
                }
                continue;
            }
            // What fails, because the disk is full perhaps, is tried again in the next interval.
            let _ = self.sweep(expiry, |worked| expiry.rest(worked * RESTS));
            if !expiry.rest(expiry.interval) {
                return;
            }
        }
    }
}

/// What one pass has found.
struct Pass {
    /// The earliest deadline among those that live.
    next_ms: u64,
    removed: u64,
    copy: SliceCopy,
}

impl Expiry {
    /// Ends the sweeping thread.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.wake.notify_all();
    }

    /// Sleeps so long, or until something expires sooner than at `next_ms`. False: the store is closing.
    fn sleep(&self, time: Duration, next_ms: u64) -> bool {
        let mut stop = self.stop.lock();
        if !*stop && self.next_ms.load(Ordering::Acquire) == next_ms {
            self.wake.wait_for(&mut stop, time);
        }
        !*stop
    }

    /// Sleeps so long. False: the store is closing.
    fn rest(&self, time: Duration) -> bool {
        // `None`: for ever, as who sweeps by hand may have asked.
        let until = Instant::now().checked_add(time);
        let mut stop = self.stop.lock();
        while !*stop {
            match until {
                None => self.wake.wait(&mut stop),
                Some(until) if self.wake.wait_until(&mut stop, until).timed_out() => break,
                Some(_) => {}
            }
        }
        !*stop
    }
}
