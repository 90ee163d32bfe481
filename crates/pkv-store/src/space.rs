//! The disk space of files that were removed, on its way back to the file system.

use pkv_snapshot_set::HeldSpace;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Space that is held, and who gives it back. To give it back may take seconds.
#[derive(Debug, Default)]
pub(crate) struct Space {
    held: Mutex<HeldSpace>,
    /// Locked while space is given back, for who must wait for that. Above `held`.
    giving: Mutex<()>,
    /// How many files' space was given back so far.
    given_back: AtomicU64,
}

impl Space {
    /// Adds to what is to be given back, of so many removed files. Does not wait.
    pub(crate) fn hold(&self, more: HeldSpace, removed: usize) {
        if more.len() < removed {
            // That of the others went with their names.
            self.given_back.fetch_add(1, Ordering::AcqRel);
        }
        self.held.lock().append(more);
    }

    /// Whether any is held. Does not wait.
    pub(crate) fn is_held(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// A number that moves when space has come: to be taken before room is looked for.
    pub(crate) fn now(&self) -> u64 {
        self.given_back.load(Ordering::Acquire)
    }

    /// Gives back what is held, and waits until others have, who began before.
    pub(crate) fn give_back(&self) {
        let _giving = self.giving.lock();
        // One by one: a child that is forked meanwhile has what is not held any more for as long as it lives.
        loop {
            let Some(one) = self.held.lock().split_one() else { return };
            drop(one);
            self.given_back.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Lets go of what is held, without waiting: in a forked child, whose files these are, too.
    pub(crate) fn let_go_in_child(&self) {
        if let Some(mut held) = self.held.try_lock() {
            drop(std::mem::take(&mut *held));
        }
    }
}
