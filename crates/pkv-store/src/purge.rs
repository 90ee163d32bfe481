//! Removing what a snapshot made obsolete, and who gives its space back.

use std::sync::Arc;

use pkv_snapshot_set::Purged;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::folder::HELD_FILES_MAX;

impl Core {
    /// [`Core::compact`] for who asked for it: a thread gives the space back.
    pub(crate) fn compact_by_hand(self: &Arc<Self>) -> Result<u64> {
        let compacted = self.compact();
        self.give_space_back_later();
        compacted
    }

    /// Has a thread give back the space of removed files, if any is held. Where there is no thread, it is given back here.
    pub(crate) fn give_space_back_later(self: &Arc<Self>) {
        if !self.folder.space.is_on_its_way() {
            return;
        }
        let core = Arc::clone(self);
        let give_back = move || {
            core.folder.space.give_back();
        };
        if !self.options.background || self.spawn("pkv-space", give_back).is_err() {
            self.folder.space.give_back();
        }
    }

    /// Step 6 of [`Core::compact`]: removes what is obsolete. What cannot be removed now is removed by a later compaction.
    pub(crate) fn purge(&self) {
        let mut files = 0;
        loop {
            let files_max = HELD_FILES_MAX - files;
            let purged = self.folder.with_set(|set| Ok(set.purge_some(files_max)?));
            let failed = match purged {
                Ok(Purged { is_done: true, .. }) => return,
                Ok(Purged { removed, error, space, .. }) => {
                    files += removed.len();
                    self.folder.space.hold(space);
                    error.map(Error::from)
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.log.note_failure(error);
                return;
            }
            if files >= HELD_FILES_MAX {
                self.folder.space.give_back();
                files = 0;
            }
        }
    }
}
