//! Removing what a snapshot made obsolete, and giving back its space with nothing locked.

use std::sync::Arc;

use pkv_snapshot_set::{HeldSpace, Purged};

use crate::core::Core;
use crate::error::{Error, Result};

/// So many obsolete files are removed at once, and open until their space was given back.
const FILES_PURGED_AT_ONCE: usize = 64;

/// The name of the thread that gives space back behind a compaction by hand and an opening.
const SPACE_THREAD: &str = "pkv-space";

impl Core {
    /// [`Core::compact`] for who asked for it: a thread gives the last space back.
    pub(crate) fn compact_by_hand(self: &Arc<Self>) -> Result<u64> {
        self.compact(|last| {
            self.folder.hold_space(last);
            self.give_space_back_later();
        })
    }

    /// Has a thread give back the space of removed files, if any is held. Where there is no thread, it is given back here.
    pub(crate) fn give_space_back_later(self: &Arc<Self>) {
        if !self.folder.holds_space() {
            return;
        }
        let core = Arc::clone(self);
        let give_back = move || {
            core.folder.give_space_back();
        };
        if !self.options.background || self.spawn(SPACE_THREAD, give_back).is_err() {
            self.folder.give_space_back();
        }
    }

    /// Step 6 of [`Core::compact`]: removes what is obsolete, and gives the space back, but for that of the last files, which
    /// `give_back` does. What cannot be removed now is removed by a later compaction.
    pub(crate) fn purge(&self, give_back: impl FnOnce(HeldSpace)) {
        let mut held = HeldSpace::default();
        let mut files = 0;
        loop {
            let files_max = FILES_PURGED_AT_ONCE - files;
            let purged = self.folder.with_set(|set| Ok(set.purge_some(files_max)?));
            let failed = match purged {
                Ok(Purged { is_done: true, .. }) => break,
                Ok(Purged { removed, error, space, .. }) => {
                    files += removed.len();
                    held.append(space);
                    error.map(Error::from)
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.log.note_failure(error);
                break;
            }
            if files >= FILES_PURGED_AT_ONCE {
                drop(std::mem::take(&mut held));
                files = 0;
            }
        }
        give_back(held);
    }
}
