//! A store that was opened at once: before anybody looks at a key, its span of the snapshot is loaded
//! ([`Options::instant_open`](crate::Options::instant_open)).

use crate::core::Core;
use crate::error::{Error, Result};
use crate::health::Cause;
use crate::recover::{Phase, Progress};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

impl Core {
    /// To be called before a key is looked at, with nothing locked.
    #[inline]
    pub(crate) fn ready(&self, key: &[u8]) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_for(self.map.hash(key)) }
    }

    /// [`Core::ready`] for a key with this hash.
    #[inline]
    pub(crate) fn ready_hash(&self, hash: u64) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_for(hash) }
    }

    /// To be called before all keys are looked at, with nothing locked: loads what is not loaded, beside the loading
    /// thread.
    #[inline]
    pub(crate) fn ready_all(&self) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_all() }
    }

    #[cold]
    fn load_for(&self, hash: u64) -> Result<()> {
        self.check_loading()?;
        self.note_damage(self.spans.load_for(&self.map, hash))
    }

    #[cold]
    fn load_all(&self) -> Result<()> {
        self.check_loading()?;
        for number in 0..self.spans.count() {
            self.note_damage(self.spans.load_nth(&self.map, number).map(drop))?;
        }
        Ok(())
    }

    /// In a forked child a span may be locked for ever, by a thread that was not forked along.
    fn check_loading(&self) -> Result<()> {
        if self.fork.forked() { Err(Error::Forked) } else { Ok(()) }
    }

    /// What opening would have refused had it looked: from here on nothing is written any more.
    fn note_damage(&self, loaded: Result<()>) -> Result<()> {
        if let Err(error @ Error::Damaged { .. }) = &loaded {
            self.log.poison(Cause::other(error.to_string()));
        }
        loaded
    }

    /// Loads all spans, several at a time. A failure but damage concerns who needs the span, and is tried again then.
    pub(crate) fn load_thread(&self) {
        let numbers: Vec<usize> = (0..self.spans.count()).collect();
        let bytes_total = self.spans.file_bytes();
        let bytes_done = AtomicU64::new(0);
        self.pool.map(&numbers, |number| {
            if self.spans.is_stopped() {
                return;
            }
            let loaded = self.spans.load_nth(&self.map, *number);
            if let (Ok(bytes), Some(observer)) = (&loaded, &self.options.progress) {
                let bytes_done = bytes_done.fetch_add(*bytes, Ordering::Relaxed) + bytes;
                observer.tell(Progress { phase: Phase::Load, bytes_done, bytes_total });
            }
            // Who needs the span is told.
            let _ = self.note_damage(loaded.map(drop));
            // Else who shares the processor waits for the system's next look at it, for milliseconds.
            thread::yield_now();
        });
    }

    /// Bytes of keys and values, in the map and still to be loaded.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.map.usage().payload_bytes + self.spans.payload_bytes_left()
    }
}
