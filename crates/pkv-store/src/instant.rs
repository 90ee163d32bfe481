//! A store that was opened at once: before anybody looks at a key, its span of the snapshot is loaded
//! ([`Options::instant_open`](crate::Options::instant_open)).

use crate::core::Core;
use crate::error::{Error, Result};
use crate::recover::{Phase, Progress};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

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

    /// To be called before the key with this hash is written, with nothing locked.
    #[inline]
    pub(crate) fn ready_to_write(&self, hash: u64) -> Result<()> {
        if self.spans.are_loaded() { Ok(()) } else { self.load_to_write(hash) }
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
        self.spans.load_for(&self.map, hash)
    }

    /// Nothing is written from the moment in which damage was met: opening would have refused it all. What was written
    /// before is synced as ever.
    #[cold]
    fn load_to_write(&self, hash: u64) -> Result<()> {
        if let Some(damage) = self.spans.damage() {
            return Err(damage);
        }
        if self.options.max_memory_bytes.is_some() {
            // How much memory there will be is known then.
            return self.load_all(|| Ok(()));
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
            self.spans.load_nth(&self.map, number)?;
        }
        Ok(())
    }

    /// Loads all spans, several at a time. What fails concerns who needs the span, and is tried again then.
    pub(crate) fn load_thread(&self) {
        let numbers: Vec<usize> = (0..self.spans.count()).collect();
        let bytes_total = self.spans.file_bytes();
        let bytes_done = AtomicU64::new(0);
        self.pool.map(&numbers, |number| {
            if self.spans.is_stopped() {
                return;
            }
            let loaded = self.spans.load_nth(&self.map, *number);
            if let (Ok(bytes), Some(observer)) = (loaded, &self.options.progress) {
                let bytes_done = bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                observer.tell(Progress { phase: Phase::Load, bytes_done, bytes_total });
            }
            // Else who shares the processor waits for the system's next look at it, for milliseconds.
            thread::yield_now();
        });
    }

    /// Bytes of keys and values, in the map and still to be loaded.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.map.usage().payload_bytes + self.spans.payload_bytes_left()
    }
}
