//! The store's time: it begins where the log's record says, and never goes back.

use std::sync::Arc;

use pkv_fs::Fs;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A machine's clock that is behind by less is waited for: threads that ask at the same time get their
/// answers in any order, and clocks are adjusted by so much all the time.
const WAITED_FOR_MS: u64 = 1000;

/// Milliseconds since 1970, as the machine says, but never less than before. Where the machine's clock was
/// set back, time goes on from where it was, at the machine's pace: what was to expire in an hour does so
/// in an hour.
#[derive(Debug)]
pub(super) struct Clock {
    fs: Arc<dyn Fs>,
    /// The highest time given out.
    highest_ms: AtomicU64,
    /// How far this time is ahead of the machine's.
    ahead_ms: AtomicU64,
    /// Held while `ahead_ms` is changed.
    setting: Mutex<()>,
}

impl Clock {
    pub(super) fn new(fs: Arc<dyn Fs>, highest_ms: u64) -> Self {
        Self {
            fs,
            highest_ms: AtomicU64::new(highest_ms),
            ahead_ms: AtomicU64::new(0),
            setting: Mutex::new(()),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        let now_ms = self.machine_ms();
        let highest_ms = self.highest_ms.load(Ordering::Acquire);
        if now_ms > highest_ms {
            return self.highest_ms.fetch_max(now_ms, Ordering::AcqRel).max(now_ms);
        }
        if highest_ms - now_ms > WAITED_FOR_MS {
            self.catch_up();
        }
        highest_ms
    }

    /// Time is never again before this.
    pub(super) fn reach(&self, at_ms: u64) {
        self.highest_ms.fetch_max(at_ms, Ordering::AcqRel);
    }

    fn machine_ms(&self) -> u64 {
        self.fs.unix_time_ms().saturating_add(self.ahead_ms.load(Ordering::Acquire))
    }

    /// The machine's clock was set back.
    #[cold]
    fn catch_up(&self) {
        let _one_at_a_time = self.setting.lock();
        // Another thread may have done it.
        let behind_ms = self.highest_ms.load(Ordering::Acquire).saturating_sub(self.machine_ms());
        if behind_ms > WAITED_FOR_MS {
            self.ahead_ms.fetch_add(behind_ms, Ordering::AcqRel);
        }
    }
}
