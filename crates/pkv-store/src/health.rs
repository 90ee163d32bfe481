//! Whether a store takes writes, and if not, why.

use std::path::PathBuf;
use std::sync::Arc;

/// The answer of [`crate::Store::health`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    Good,
    /// The disk is full: writes fail while it is, and succeed again when there is space. Reads go on.
    DiskFull(Cause),
    /// The log cannot grow, for another reason than a full disk: writes fail while that is so, and succeed
    /// again when the cause is gone. Reads go on.
    LogUnavailable(Cause),
    /// Compaction fails and is tried again with growing pauses; writes go on and the log grows.
    CompactionFailing(Cause),
    /// A part of the snapshot that [`crate::Options::instant_open`] had left for later cannot be read just now, and is
    /// tried again with growing pauses: operations on its keys fail, all others go on.
    LoadFailing(Cause),
    /// A part of the snapshot that [`crate::Options::instant_open`] had left for later is damaged: no writes until
    /// the store is opened again, which will say the same. What was written before is synced; reads of what is loaded
    /// go on.
    Damaged(Cause),
    /// A sync or a write of the log failed, so what is on disk is unknown: no writes until the store is
    /// opened again. Reads go on.
    Poisoned(Cause),
}

impl Health {
    /// Whether a write can succeed now.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        matches!(self, Health::Good | Health::CompactionFailing(_) | Health::LoadFailing(_))
    }
}

/// Why a store is not in good health: the first failure, kept and shared.
#[derive(Clone, Debug)]
pub struct Cause(Arc<CauseKind>);

#[derive(Debug)]
enum CauseKind {
    Fs(pkv_fs::Error),
    Panic(String),
    Other(String),
}

impl Cause {
    pub(crate) fn fs(error: pkv_fs::Error) -> Self {
        Self(Arc::new(CauseKind::Fs(error)))
    }

    pub(crate) fn panic(thread: &str) -> Self {
        Self(Arc::new(CauseKind::Panic(thread.to_owned())))
    }

    pub(crate) fn other(reason: String) -> Self {
        Self(Arc::new(CauseKind::Other(reason)))
    }

    /// The file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match &*self.0 {
            CauseKind::Fs(error) => Some(error.path.clone()),
            CauseKind::Panic(_) | CauseKind::Other(_) => None,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.0 {
            CauseKind::Fs(error) => error.fmt(f),
            CauseKind::Panic(thread) => write!(f, "the thread `{thread}` panicked"),
            CauseKind::Other(reason) => f.write_str(reason),
        }
    }
}
