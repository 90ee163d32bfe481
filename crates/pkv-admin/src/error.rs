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

    /// There is no such key.
    #[error("{path}: no such key: {key}", path = Shown(path), key = crate::text::Plain(key))]
    NoKey {
        /// The folder.
        path: PathBuf,
        /// The key, as it was asked for.
        key: String,
    },

    /// The store is so new that no file says which types it holds.
    #[error(
        "{path}: nothing was ever written, so that its types are not known: write to it with the program it belongs \
         to, or with `pkv import --types`",
        path = Shown(path)
    )]
    NoTypes {
        /// The folder.
        path: PathBuf,
    },

    /// Files hold values of two versions of their type, which only the program that has the type can tell apart.
    #[error(
        "{path}: holds values of `{one}`, other files of `{other}`: open the store once with the program that has \
         this type, and compact it there (`Store::compact`); nothing was changed",
        path = Shown(path)
    )]
    Versions {
        /// A file of the one version.
        path: PathBuf,
        /// Its schema name of values.
        one: String,
        /// That of another file.
        other: String,
    },

    /// A time to live for a store whose entries do not expire.
    #[error(
        "{path}: its entries do not expire, since it was made without expiry: leave --ttl out, or take its entries over \
         into a store that was made with it (`pkv export`, then `pkv import --types .. --expiry`)",
        path = Shown(path)
    )]
    NoExpiry {
        /// The folder.
        path: PathBuf,
    },

    /// A key, value or number on the command line is not what the store's types ask for.
    #[error(
        "{what}: {reason}: the store maps {types}, see `pkv stat`; --hex takes any type as hexadecimal digits of its encoding"
    )]
    BadValue {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
        /// The store's types.
        types: String,
    },

    /// The input of an import is no entry at this place.
    #[error(
        "{path}: at offset {offset}: {reason}; what stands before it is in the store: mend it, and go on with --resume",
        path = Shown(path)
    )]
    BadInput {
        /// The file.
        path: PathBuf,
        /// Where the entry begins, in bytes.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },

    /// There is no such command to have a manual page.
    #[error("{command}: there is no such command, see pkv --help", command = crate::text::Plain(command))]
    NoCommand {
        /// The word.
        command: String,
    },

    /// Nothing tells how far an import of this file had come.
    #[error(
        "{path}: says nothing of an import of this file that was cut off: leave --resume out to import all of it",
        path = Shown(path)
    )]
    NoResume {
        /// Where it would stand.
        path: PathBuf,
    },

    /// The file that is to be made is there already.
    #[error("{path}: is there already: remove it, or name another file; nothing was changed", path = Shown(path))]
    FileExists {
        /// The file.
        path: PathBuf,
    },

    /// Something long was cut off and can be taken up.
    #[error(
        "{error}; what is done stays in {path}: run the command again with --resume",
        path = Shown(path)
    )]
    Unfinished {
        /// Why.
        error: Box<Error>,
        /// The part that is done.
        path: PathBuf,
    },

    /// Bytes that are not what their schema says, so that CSV has no form for them.
    #[error(
        "the bytes {bytes} are not what the store's types say, and CSV has no form for that: use --format json or hex"
    )]
    NoCsv {
        /// As hexadecimal digits.
        bytes: String,
    },

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
            Self::NoKey { .. } => Exit::Missing,
            Self::Unfinished { error, .. } => error.exit(),
            Self::BadValue { .. } | Self::NoExpiry { .. } | Self::NoCommand { .. } => Exit::Usage,
            Self::Files(error) => match &**error {
                pkv_snapshot_set::Error::Locked { .. } => Exit::Locked,
                pkv_snapshot_set::Error::Inconsistent(_) => Exit::Faults,
                _ => Exit::Unreadable,
            },
            Self::Store(error) => match &**error {
                pkv_store::Error::Damaged { .. }
                | pkv_store::Error::Torn { .. }
                | pkv_store::Error::NewerFormat { .. }
                | pkv_store::Error::Decode(_) => Exit::Faults,
                pkv_store::Error::Locked { .. } => Exit::Locked,
                pkv_store::Error::TooLarge { .. } => Exit::Usage,
                pkv_store::Error::NoSuchPoint { .. } => Exit::Missing,
                _ => Exit::Unreadable,
            },
            Self::NotFound { .. }
            | Self::NotAFolder { .. }
            | Self::NotAStore { .. }
            | Self::Changing { .. }
            | Self::NoTypes { .. }
            | Self::Versions { .. }
            | Self::NoCsv { .. }
            | Self::BadInput { .. }
            | Self::NoResume { .. }
            | Self::FileExists { .. }
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

/// How a command ended: the exit codes of `pkv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// 0: done, and nothing is wrong.
    Good,
    /// 1: the store is damaged, or of a newer format.
    Faults,
    /// 2: wrong use of the command line; mostly the argument parser's.
    Usage,
    /// 3: no such folder, no store in it, or reading, writing or printing failed.
    Unreadable,
    /// 4: somebody has the store open.
    Locked,
    /// 5: there is no such key, or no such point in time.
    Missing,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Faults => 1,
            Self::Usage => 2,
            Self::Unreadable => 3,
            Self::Locked => 4,
            Self::Missing => 5,
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
