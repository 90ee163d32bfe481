//! Where a writer waits, with no lock of its own held: for room, for a sync, for a compaction, for pages.

use std::time::Duration;

use super::pages::Making;
use super::{Log, Wait};
use crate::error::{Error, Result};

impl Log {
    /// Waits, with no lock of the caller's held, until a refused append may be tried again.
    pub(crate) fn wait(&self, wait: Wait) -> Result<()> {
        match wait {
            Wait::Room(bytes) if self.settings.background => self.wait_for_room(bytes),
            Wait::Room(bytes) => {
                // Without threads nobody could wait for a snapshot: the caller makes them in time.
                let segment_bytes = self.tail.lock().segment_bytes(bytes);
                self.prepare_next(bytes, segment_bytes)
            }
            // Seals and marks count as unsynced, too, where every write is durable already.
            Wait::Sync => self.sync_all(),
            Wait::Compaction(bytes) => self.wait_for_compaction(bytes),
            Wait::Populate => {
                self.wait_for_pages();
                Ok(())
            }
        }
    }

    fn wait_for_room(&self, bytes: u64) -> Result<()> {
        let mut tail = self.tail.lock();
        loop {
            tail.check_open()?;
            if tail.next.as_ref().is_some_and(|next| next.fits(bytes)) {
                return Ok(());
            }
            // Each time round: the segment that came may have been taken, or be too small for this one.
            tail.wanted_bytes = Some(tail.wanted_bytes.unwrap_or(0).max(bytes));
            if let Some(why) = &tail.unavailable {
                return Err(why.error());
            }
            self.keeper_wanted.notify_one();
            self.room.wait(&mut tail);
        }
    }

    fn wait_for_compaction(&self, bytes: u64) -> Result<()> {
        let mut tail = self.tail.lock();
        while tail.is_log_full(self.settings.max_log_bytes, bytes) {
            tail.check_open()?;
            let reason = match &tail.compaction_failing {
                Some(cause) => Some(cause.to_string()),
                None if self.settings.background => None,
                None => Some("the store has no threads: call compact()".to_owned()),
            };
            if let Some(reason) = reason {
                let bytes_max = self.settings.max_log_bytes.unwrap_or(u64::MAX);
                return Err(Error::LogFull { bytes: tail.log_bytes, bytes_max, reason });
            }
            tail.compaction_asked = true;
            tail.compaction_waited_for = true;
            self.keeper_wanted.notify_one();
            self.room.wait_for(&mut tail, Duration::from_millis(100));
        }
        Ok(())
    }

    /// A frame that was refused for want of pages has them due, or must wait for zeros that are being written.
    fn wait_for_pages(&self) {
        let mut tail = self.tail.lock();
        if !self.settings.background {
            while tail.making != Making::Nothing {
                self.room.wait(&mut tail);
            }
            self.make_pages(&mut tail);
            return;
        }
        if tail.making != Making::Zeros && !tail.needs_pages() {
            // They were made meanwhile, and nobody would wake this thread.
            return;
        }
        tail.populate_asleep = false;
        self.populate_wanted.notify_one();
        // The time limit is for a populating thread that died; the next attempt finds the reason.
        self.room.wait_for(&mut tail, Duration::from_millis(10));
    }
}
