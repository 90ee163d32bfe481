//! Removing what is obsolete, and who gives its space back.

use std::sync::Arc;

use pkv_snapshot_set::{FileSnapshotSet, Purged, SnapshotOrdinal};

use crate::core::Core;
use crate::error::{Error, Result};

/// The space of so many removed files is held at once: they are open until it is given back.
pub(crate) const HELD_FILES_MAX: usize = 64;

/// One step of a purge, of so many files.
type Step = fn(&mut FileSnapshotSet, usize) -> Result<Purged, pkv_snapshot_set::Error>;

impl Core {
    /// [`Core::compact`] for who asked for it: a thread gives the space back.
    pub(crate) fn compact_by_hand(self: &Arc<Self>) -> Result<u64> {
        let compacted = self.compact();
        if self.folder.space.is_held() {
            self.beside("pkv-space", |core| core.folder.space.give_back());
        }
        compacted
    }

    /// Removes the pending snapshots that opening dropped and left, and gives their space back: by a thread.
    pub(crate) fn purge_dropped(self: &Arc<Self>) {
        self.beside("pkv-space", |core| {
            core.purge_by(FileSnapshotSet::purge_dropped_some);
            core.folder.space.give_back();
        });
    }

    /// Has a thread do it, or does it here where there is none.
    fn beside(self: &Arc<Self>, name: &'static str, work: fn(&Core)) {
        let core = Arc::clone(self);
        if !self.options.background || self.spawn(name, move || work(&core)).is_err() {
            work(self);
        }
    }

    /// Removes the files of a snapshot that did not come to be, and gives their space back. Touches nothing after a
    /// poisoning: then the next opening does it.
    pub(crate) fn give_up_snapshot(&self, ordinal: SnapshotOrdinal) {
        if self.log.poisoned().is_none()
            && self.folder.with_set(|set| Ok(set.give_up_pending(ordinal)?)).is_ok()
        {
            self.purge_by(FileSnapshotSet::purge_dropped_some);
            self.folder.space.give_back();
        }
    }

    /// Step 6 of [`Core::compact`]: removes what is obsolete.
    pub(crate) fn purge(&self) {
        self.purge_by(FileSnapshotSet::purge_some);
    }

    /// Purges step by step. The space of the last files is held at the end, that of the others was given back, with nothing
    /// locked that a writer waits for. What cannot be removed now is removed by a later purge.
    fn purge_by(&self, step: Step) {
        let mut files = 0;
        loop {
            let files_max = HELD_FILES_MAX - files;
            let purged = self.folder.with_set(|set| {
                let Purged { removed, is_done, error, space, .. } = step(set, files_max)?;
                // Before anybody else gets at the set: who finds the disk full must know of it.
                self.folder.space.hold(space);
                error.map_or(Ok((removed.len(), is_done)), |error| Err(Error::from(error)))
            });
            match purged {
                Ok((_, true)) => return,
                Ok((removed, false)) => files += removed,
                Err(error) => {
                    self.log.note_failure(error);
                    return;
                }
            }
            if files >= HELD_FILES_MAX {
                self.folder.space.give_back();
                files = 0;
            }
        }
    }
}
