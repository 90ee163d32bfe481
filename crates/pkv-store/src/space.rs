//! The disk space of files that were removed, on its way back to the file system.

use pkv_snapshot_set::HeldSpace;

use crate::sync::Mutex;

/// Space that is held, and who gives it back. To give it back may take seconds.
#[derive(Debug, Default)]
pub(crate) struct Space {
    held: Mutex<HeldSpace>,
    /// Locked while space is given back, for who must wait for that. Above `held`.
    giving: Mutex<()>,
}

impl Space {
    /// Adds to what is to be given back. Does not wait.
    pub(crate) fn hold(&self, more: HeldSpace) {
        self.held.lock().append(more);
    }

    /// Whether space is held, or being given back. Does not wait.
    pub(crate) fn is_on_its_way(&self) -> bool {
        !self.held.lock().is_empty() || self.giving.try_lock().is_none()
    }

    /// Gives back what is held, and waits until others have, who began before. Returns whether there was any.
    pub(crate) fn give_back(&self) -> bool {
        let (giving, has_waited) = match self.giving.try_lock() {
            Some(giving) => (giving, false),
            None => (self.giving.lock(), true),
        };
        let held = std::mem::take(&mut *self.held.lock());
        let was_held = !held.is_empty();
        drop(held);
        drop(giving);
        was_held || has_waited
    }

    /// Forgets what is held, without waiting: in a forked child, whose files these are, too.
    pub(crate) fn forget_in_child(&self) {
        if let Some(mut held) = self.held.try_lock() {
            drop(std::mem::take(&mut *held));
        }
    }
}
