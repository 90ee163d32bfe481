//! What the log tells of itself.

use std::time::Duration;

use pkv_fs::SegmentWay;

use super::{Log, State};
use crate::health::Cause;
use crate::histogram::Histogram;
use crate::sync::atomic::Ordering;

impl Log {
    /// Everything up to and with this sequence number is synced.
    pub(crate) fn durable_seq(&self) -> u64 {
        self.durable_seq.load(Ordering::Acquire)
    }

    /// The sequence number of the last write.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// Why no write is taken, if so.
    pub(crate) fn poisoned(&self) -> Option<Cause> {
        match &self.tail.lock().state {
            State::Poisoned(cause) => Some(cause.clone()),
            State::Open | State::Closing | State::Closed => None,
        }
    }

    /// Why the log cannot grow at the moment, if so.
    pub(crate) fn unavailable(&self) -> Option<(bool, Cause)> {
        let tail = self.tail.lock();
        let growing = tail.unavailable.as_ref().map(|why| (why.full, why.cause.clone()));
        growing.or_else(|| tail.write_refused.clone().map(|cause| (true, cause)))
    }

    /// Whether frames are copied into a mapping.
    pub(crate) fn is_mapped(&self) -> bool {
        self.settings.way == SegmentWay::Mapped
    }

    /// What the logs hold: bytes in use, number of files, bytes not yet synced.
    pub(crate) fn usage(&self) -> LogUsage {
        let tail = self.tail.lock();
        LogUsage {
            bytes: tail.log_bytes,
            count: tail.log_count,
            unsynced_bytes: tail.appended_bytes - tail.synced_bytes,
            syncs: self.commit.syncs(),
        }
    }

    /// How long the syncs took.
    pub(crate) fn sync_times(&self) -> Histogram {
        self.commit.sync_times()
    }

    /// How old the oldest write can be that is not synced; `None` where all are.
    pub(crate) fn oldest_unsynced(&self) -> Option<Duration> {
        if self.durable_seq() == self.last_seq() {
            return None;
        }
        Some(self.commit.unsynced_for())
    }
}

/// See [`Log::usage`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogUsage {
    pub(crate) bytes: u64,
    pub(crate) count: u32,
    pub(crate) unsynced_bytes: u64,
    pub(crate) syncs: u64,
}
