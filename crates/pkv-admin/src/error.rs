//! What can go wrong with a command, and the exit code that says so.

use std::io;
use std::path::PathBuf;

use crate::text::Shown;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation gave no result. What it *found* wrong with a store is its result, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such folder. It was not created.
    #[error("{path}: no such folder: check the path", path = Shown(path))]
    NotFound {
        /// The path.
        path: PathBuf,
    },

    /// The path leads to a file.
    #[error("{path}: not a folder: give the folder that the store was opened with", path = Shown(path))]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },

    /// The folder holds no file of a store.
    #[error("{path}: holds no store: check the path", path = Shown(path))]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },

    /// Somebody has the store open, and the command needs it for itself.
    #[error(
        "{path}: in use by {holder}: close the store there and try again; nothing was changed",
        path = Shown(path),
        holder = Holder(*pid)
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, by its own word.
        pid: Option<u32>,
    },

    /// The snapshots that pruning would keep are damaged, so the backups were kept.
    #[error(
        "{path}: damaged at offset {offset}: {reason}; no backup was removed, since what would be kept is damaged: \
         look at all of it with `pkv verify`, and restore from a backup first",
        path = Shown(path)
    )]
    KeptIsDamaged {
        /// The first damaged file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },

    /// The folder went on changing while it was read.
    #[error(
        "{path}: the files changed each time they were read: try again when the writer has less to do",
        path = Shown(path)
    )]
    Changing {
        /// The folder.
        path: PathBuf,
    },

    /// A call to the file system failed.
    #[error("{0}: see that this user may read the folder, and that the disk is well")]
    Fs(#[from] pkv_fs::Error),

    /// The files do not add up to a store, or could not be changed.
    #[error(transparent)]
    Files(Box<pkv_snapshot_set::Error>),

    /// The store cannot be read.
    #[error(transparent)]
    Store(Box<pkv_store::Error>),

    /// The result could not be printed.
    #[error(
        "cannot write the output: {0}: nothing in the folder is wrong, see where the output goes"
    )]
    Output(io::Error),
}

impl Error {
    /// What the process that shows this error exits with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Locked { .. } => Exit::Locked,
            Self::KeptIsDamaged { .. } => Exit::Faults,
            Self::Files(error) => match &**error {
                pkv_snapshot_set::Error::Locked { .. } => Exit::Locked,
                pkv_snapshot_set::Error::Inconsistent(_) => Exit::Faults,
                _ => Exit::Unreadable,
            },
            Self::Store(error) => match &**error {
                pkv_store::Error::Fs(_)
                | pkv_store::Error::NotFound { .. }
                | pkv_store::Error::OutOfMemory => Exit::Unreadable,
                pkv_store::Error::Locked { .. } => Exit::Locked,
                _ => Exit::Faults,
            },
            Self::NotFound { .. }
            | Self::NotAFolder { .. }
            | Self::NotAStore { .. }
            | Self::Changing { .. }
            | Self::Fs(_)
            | Self::Output(_) => Exit::Unreadable,
        }
    }
}

impl From<pkv_snapshot_set::Error> for Error {
    fn from(error: pkv_snapshot_set::Error) -> Self {
        match error {
            pkv_snapshot_set::Error::Fs(error) => Self::Fs(error),
            error => Self::Files(Box::new(error)),
        }
    }
}

impl From<pkv_store::Error> for Error {
    fn from(error: pkv_store::Error) -> Self {
        match error {
            pkv_store::Error::Fs(error) => Self::Fs(error),
            pkv_store::Error::Files(error) => Self::from(*error),
            error => Self::Store(Box::new(error)),
        }
    }
}

/// How a command ended: the exit codes of `pkv`. 2 is wrong use, and the argument parser's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// 0: done, and nothing is wrong.
    Good,
    /// 1: the store is damaged, or of a newer format.
    Faults,
    /// 3: no such folder, no store in it, or reading, writing or printing failed.
    Unreadable,
    /// 4: somebody has the store open.
    Locked,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Faults => 1,
            Self::Unreadable => 3,
            Self::Locked => 4,
        }
    }
}

/// Who holds a lock.
struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}
