//! Removing what is obsolete, and who gives its space back.

use std::sync::Arc;

use pkv_snapshot_set::{FileSnapshotSet, Purged, SnapshotOrdinal};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::folder::Folder;

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
    pub(crate) fn purge_dropped_later(self: &Arc<Self>) {
        self.beside("pkv-space", |core| {
            core.purge_dropped();
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
            self.purge_dropped();
            self.folder.space.give_back();
        }
    }

    /// Removes the files of pending snapshots that do not count. What cannot be removed now is removed by a later purge.
    pub(crate) fn purge_dropped(&self) {
        if let Err(error) = self.folder.purge(FileSnapshotSet::purge_dropped_some) {
            self.log.note_failure(error);
        }
    }

    /// Step 6 of [`Core::compact`]: removes what is obsolete. What cannot be removed now is removed by a later purge.
    pub(crate) fn purge(&self) {
        if let Err(error) = self.folder.purge(FileSnapshotSet::purge_some) {
            self.log.note_failure(error);
        }
    }
}

/// Of so many removed files a purge holds the space at once: they are open until it is given back.
const HELD_FILES_MAX: usize = 64;

/// One step of a purge, of so many files.
pub(crate) type Step = fn(&mut FileSnapshotSet, usize) -> Result<Purged, pkv_snapshot_set::Error>;

impl Folder {
    /// Purges step by step, as long as something goes; of several failures it tells the first. The space of the last files is
    /// held at the end, that of the others was given back, with nothing locked that a writer waits for.
    pub(crate) fn purge(&self, step: Step) -> Result<()> {
        let mut files = 0;
        let mut failed = None;
        loop {
            let files_max = HELD_FILES_MAX - files;
            let purged = self.with_set(|set| {
                let Purged { removed, is_done, error, space, .. } = step(set, files_max)?;
                // Before anybody else gets at the set: who finds the disk full must know of it.
                self.space.hold(space, removed.len());
                Ok((removed.len(), is_done, error))
            });
            let is_last = match purged {
                Ok((removed, is_done, error)) => {
                    files += removed;
                    failed = failed.or(error.map(Error::from));
                    is_done || removed == 0
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    true
                }
            };
            if is_last {
                return failed.map_or(Ok(()), Err);
            }
            if files >= HELD_FILES_MAX {
                self.space.give_back();
                files = 0;
            }
        }
    }

    /// For who found too little room: removes what opening left, gives back all space that is held, waits for what others give
    /// back, and returns whether any has come since `then`, a [`Space::now`](crate::space::Space::now).
    pub(crate) fn room_has_come_since(&self, then: u64) -> bool {
        // Where the folder is no longer known, who makes the next file is told so.
        let _ = self.purge(FileSnapshotSet::purge_dropped_some);
        self.space.give_back();
        self.space.now() != then
    }
}

/// Removes the pending snapshots that opening dropped and left, and waits for their space.
pub(crate) fn purge_dropped_now(set: &mut FileSnapshotSet) -> Result<()> {
    loop {
        let purged = set.purge_dropped_some(HELD_FILES_MAX)?;
        match purged.error {
            Some(error) if set.is_stopped() => return Err(error.into()),
            // What cannot be removed is in nobody's way.
            Some(_) if purged.removed.is_empty() => return Ok(()),
            _ if purged.is_done => return Ok(()),
            _ => {}
        }
    }
}
