//! Removing what a snapshot made obsolete, and giving back its space with nothing locked.

use std::sync::Arc;

use pkv_snapshot_set::Purged;

use crate::core::Core;
use crate::error::{Error, Result};

/// So many obsolete files are removed at once, and open until their space was given back.
const FILES_PURGED_AT_ONCE: usize = 64;

/// The name of the thread that gives space back behind a compaction by hand.
const SPACE_THREAD: &str = "pkv-space";

impl Core {
    /// [`Core::compact`] for who asked for it: a thread gives the last space back. The next compaction and closing wait
    /// for it.
    pub(crate) fn compact_by_hand(self: &Arc<Self>) -> Result<u64> {
        self.compact(|last| {
            if self.options.background {
                // Where there is no thread, it is given back here.
                let _ = self.spawn(SPACE_THREAD, move || drop(last));
            }
        })
    }

    /// Step 6 of [`Core::compact`]: removes what is obsolete, and gives the space back, but for that of the last files, which
    /// `give_back` does. What cannot be removed now is removed by a later compaction.
    pub(crate) fn purge(&self, give_back: impl FnOnce(Vec<Purged>)) {
        // Of the compaction before.
        self.join(|thread| thread.name() == Some(SPACE_THREAD));
        let mut kept = Vec::new();
        let mut files = 0;
        loop {
            let files_max = FILES_PURGED_AT_ONCE - files;
            let purged = self.folder.with_set(|set| Ok(set.purge_some(files_max)?));
            let failed = match purged {
                Ok(Purged { is_done: true, .. }) => break,
                Ok(mut purged) => {
                    let failed = purged.error.take();
                    files += purged.removed.len();
                    kept.push(purged);
                    failed.map(Error::from)
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.log.note_failure(error);
                break;
            }
            if files >= FILES_PURGED_AT_ONCE {
                kept.clear();
                files = 0;
            }
        }
        give_back(kept);
    }
}
