//! A store that was opened at once: before anybody looks at a key, its span of the snapshot is loaded
//! ([`Options::instant_open`](crate::Options::instant_open)).

use std::time::Duration;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::health::Cause;
use crate::recover::{Phase, Progress};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

/// The first pause after a span could not be read, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Core {
    /// To be called before a key is read, with nothing locked.
    #[inline]
    pub(crate) fn ready_to_read(&self, key: &[u8]) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_for(self.map.hash(key)) }
    }

    /// The same for a key with this hash.
    #[inline]
    pub(crate) fn ready_to_read_hash(&self, hash: u64) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_for(hash) }
    }

    /// To be called before the key with this hash is written, with nothing locked. `more_bytes`: how much memory the write
    /// may take at the most; 0, where it comes before a removal.
    #[inline]
    pub(crate) fn ready_to_write(
        &self,
        hash: u64,
        more_bytes: impl FnOnce() -> usize,
    ) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_to_write(hash, more_bytes()) }
    }

    /// To be called before all keys are looked at, with nothing locked: loads what is not loaded, beside the loading
    /// thread.
    #[inline]
    pub(crate) fn ready_all(&self) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_all(|| Ok(())) }
    }

    #[cold]
    fn load_for(&self, hash: u64) -> Result<()> {
        // A span may be locked for ever, by a thread that was not forked along.
        if self.fork.forked() {
            return Err(Error::Forked);
        }
        self.tell_damage(self.spans.load_for(&self.map, hash))
    }

    /// Nothing is written from the moment in which damage was met: opening would have refused it all. What was written
    /// before is synced as ever.
    #[cold]
    fn load_to_write(&self, hash: u64, more_bytes: usize) -> Result<()> {
        if let Some(damage) = self.spans.damage() {
            return Err(damage);
        }
        if let Some(bytes_max) = self.options.max_memory_bytes.filter(|_| more_bytes > 0) {
            // Some of what is left may never come, and chunks are not filled to the last byte.
            let left_bytes = self.spans.record_bytes_left();
            let held_bytes = self.map.memory_bytes() + self.views.held_bytes();
            if held_bytes + left_bytes + left_bytes / 16 + bytes_u64(more_bytes) > bytes_max {
                return self.load_all(|| Ok(()));
            }
        }
        self.load_for(hash)
    }

    /// [`Core::ready_all`], given up where `go_on` says so.
    #[cold]
    pub(crate) fn load_all(&self, go_on: impl Fn() -> Result<()>) -> Result<()> {
        if self.spans.are_loaded() {
            return Ok(());
        }
        if self.fork.forked() {
            return Err(Error::Forked);
        }
        for number in 0..self.spans.count() {
            go_on()?;
            self.tell_damage(self.spans.load_nth(&self.map, number))?;
        }
        Ok(())
    }

    fn tell_damage<T>(&self, loaded: Result<T>) -> Result<T> {
        if loaded.is_err() && self.spans.take_untold() {
            self.tell_health();
        }
        loaded
    }

    /// Loads all spans, several at a time, and tries those again that cannot be read, with growing pauses.
    pub(crate) fn load_thread(&self) {
        let mut pause = PAUSE_MIN;
        while !self.spans.are_loaded() {
            let failed = self.load_pass();
            if self.spans.is_stopped() || self.spans.damage().is_some() {
                return;
            }
            let is_changed = failed.is_some() != self.spans.failing().is_some();
            self.spans.set_failing(failed.map(|error| Cause::other(error.to_string())));
            if is_changed {
                self.tell_health();
            }
            if !self.spans.are_loaded() {
                self.spans.rest(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// One failure of those that there were.
    fn load_pass(&self) -> Option<Error> {
        let numbers: Vec<usize> = (0..self.spans.count()).collect();
        let bytes_total = self.spans.file_bytes();
        let bytes_done = AtomicU64::new(0);
        let failed = self.pool.map(&numbers, |number| {
            if self.spans.is_stopped() {
                return None;
            }
            let loaded = self.tell_damage(self.spans.load_nth(&self.map, *number));
            if let (Ok(bytes), Some(observer)) = (&loaded, &self.options.progress) {
                let bytes_done = bytes_done.fetch_add(*bytes, Ordering::Relaxed) + bytes;
                observer.tell(Progress { phase: Phase::Load, bytes_done, bytes_total });
            }
            // Else who shares the processor waits for the system's next look at it, for milliseconds.
            thread::yield_now();
            loaded.err()
        });
        failed.into_iter().flatten().next()
    }

    /// Bytes of keys and values, in the map and still to be loaded.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.map.usage().payload_bytes + self.spans.payload_bytes_left()
    }
}
