//! Everything that can go wrong, one enum: what happened, where, and what to do next.

use std::path::{Path, PathBuf};

use crate::codec::{DecodeError, EncodeError};
use crate::health::Cause;

/// The result of a store's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. No variant leaves a write half done: unless it is [`Error::Unconfirmed`], a write
/// that returned an error is not visible and never comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call to the file system failed, on a log, a snapshot or the folder itself.
    #[error(transparent)]
    Fs(#[from] pkv_fs::Error),

    /// The set of snapshot files is not one that a store can be opened from, or could not be changed.
    #[error(transparent)]
    Files(Box<pkv_snapshot_set::Error>),

    /// Bytes that had been synced are wrong or missing. Nothing was changed: the store was not opened or, behind
    /// [`crate::Options::instant_open`], takes no writes from now on.
    #[error(
        "{path}: damaged at offset {offset}: {reason}; nothing was changed: \
         restore this file from a backup, or copy the folder and look at it with `pkv verify`",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },

    /// The log ends in a torn write and the store was opened with [`crate::RecoveryMode::Strict`].
    #[error(
        "{path}: torn at offset {offset}: {reason}; nothing was cut: open with RecoveryMode::TornTail \
         to keep the {kept} writes before it",
        path = path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The sequence number of the last whole write before it.
        kept: u64,
        /// What is there instead of a frame.
        reason: String,
    },

    /// A file was written by a later version of this program.
    #[error(
        "{path}: format version {found} is newer than {known}, the newest that this program reads: \
         open it with a newer version",
        path = path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },

    /// The folder holds keys or values of another type.
    #[error(
        "{path}: holds {what}s of type `{stored}`, not `{asked}`: open it with the type it was written with",
        path = path.display()
    )]
    WrongType {
        /// The file whose header says so.
        path: PathBuf,
        /// `key` or `value`.
        what: &'static str,
        /// The schema name in the file.
        stored: String,
        /// The schema name of the type asked for.
        asked: String,
    },

    /// A value of an older version of its type could not be upgraded. Nothing was changed.
    #[error(
        "{path}: a value of type `{stored}` cannot be upgraded: {reason}; the store was not opened and nothing \
         was changed: mend the type's `upgrade`, or open the folder with the older type",
        path = path.display()
    )]
    Upgrade {
        /// The file that holds the value.
        path: PathBuf,
        /// The schema name in the file.
        stored: String,
        /// Why not.
        reason: String,
    },

    /// The folder holds no store yet, so that nothing says which types it has.
    #[error("{path}: holds no store yet: open it with the types that it is to have", path = path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },

    /// The folder was written with [`crate::Options::expiry`] and is opened without, or the other way.
    #[error(
        "{path}: was written {written} Options::expiry: open it so, or copy its entries to another folder",
        path = path.display(),
        written = if *has_expiry { "with" } else { "without" }
    )]
    Expiry {
        /// The file whose header says so.
        path: PathBuf,
        /// It was written with expiry.
        has_expiry: bool,
    },

    /// The store keeps this key for itself.
    #[error("a store with expiry keeps this key for itself: take another")]
    ReservedKey,

    /// Somebody else has this folder open.
    #[error("{path}: in use by {holder}: close it there, or wait with Options::lock_timeout", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as it can be known.
        holder: Holder,
    },

    /// There is no store at this path and [`crate::Options::create`] is off.
    #[error("{path}: no such folder: check the path, or open with Options::create(true)", path = path.display())]
    NotFound {
        /// The folder.
        path: PathBuf,
    },

    /// The folder into which a copy is to be written holds something already.
    #[error("{path}: not empty: name a folder that does not exist yet, or remove what is in it", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },

    /// A folder's files do not lead to the state that was asked for.
    #[error(
        "{path}: cannot be restored to {asked}: its files lead to every write from {earliest} to {latest}; \
         choose one of these, or a backup made nearer to it",
        path = path.display()
    )]
    NoSuchPoint {
        /// The folder.
        path: PathBuf,
        /// What was asked for.
        asked: String,
        /// The first write to which it can be restored.
        earliest: u64,
        /// The last one, as far as the files were read.
        latest: u64,
    },

    /// The files of a folder went on changing while they were opened.
    #[error("{path}: its files changed each time they were listed: try again when the writer has less to do", path = path.display())]
    Changing {
        /// The folder.
        path: PathBuf,
    },

    /// An option has a value that cannot work.
    #[error("option {option}: {reason}")]
    InvalidOption {
        /// Its name.
        option: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// A key, value or batch is larger than the format allows.
    #[error("{what} of {bytes} bytes: at most {bytes_max} are possible")]
    TooLarge {
        /// `key`, `value` or `batch`.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },

    /// A key or value could not be turned into bytes.
    #[error(transparent)]
    Encode(#[from] EncodeError),

    /// Stored bytes are not a value of the type asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),

    /// A condition of a batch does not hold, so nothing of the batch was written.
    #[error(
        "condition {index} of the batch does not hold, {found}; nothing was written: read again and decide anew"
    )]
    ConditionFailed {
        /// Which one: the first that does not hold, counted from 0 in the order in which they were added.
        index: usize,
        /// What was found instead.
        found: &'static str,
    },

    /// The sum or difference does not fit the integer's type. The value is as it was.
    #[error(
        "the result does not fit {schema}; the value is as it was: use a wider type, or reset it"
    )]
    Overflow {
        /// The schema name of the type.
        schema: std::borrow::Cow<'static, str>,
    },

    /// The write would exceed [`crate::Options::max_memory_bytes`].
    #[error(
        "the write would need {bytes} bytes of memory, over the cap of {bytes_max}: remove entries or raise max_memory_bytes"
    )]
    MemoryCap {
        /// What would be held.
        bytes: u64,
        /// The cap.
        bytes_max: u64,
    },

    /// The system gave no memory.
    #[error("out of memory: the write was not made")]
    OutOfMemory,

    /// The disk is full. The write was not made; the state heals by itself when there is space again.
    #[error("disk full, the write was not made; free space and write again: {0}")]
    DiskFull(Cause),

    /// The log cannot grow for another reason than a full disk. The write was not made; growing is
    /// tried again, so that the state heals when the cause is gone.
    #[error("the log cannot grow, the write was not made; mend the cause and write again: {0}")]
    LogUnavailable(Cause),

    /// The log has reached [`crate::Options::max_log_bytes`] and compaction does not get it smaller.
    #[error(
        "the log holds {bytes} bytes, the maximum is {bytes_max}, and compaction fails: {reason}"
    )]
    LogFull {
        /// What the logs hold.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
        /// Why compaction fails.
        reason: String,
    },

    /// The write is in the log and visible, but syncing the log failed: after reopening it may or may
    /// not be there. The store takes no more writes.
    #[error(
        "write {seq} is visible, but syncing the log failed, so it may be gone after reopening: {cause}"
    )]
    Unconfirmed {
        /// Its sequence number.
        seq: u64,
        /// What failed.
        cause: Cause,
    },

    /// An earlier failure left unknown what is on disk, so the store takes no writes any more.
    #[error(
        "the store takes no writes since an earlier failure: {0}; reads go on; close it, mend the cause and open it again"
    )]
    Poisoned(Cause),

    /// A closure that runs inside an operation called the same store.
    #[error(
        "called from inside a closure of an operation of the same store, which would block for ever: call it afterwards"
    )]
    Reentrant,

    /// This process was forked from the one that opened the store.
    #[error(
        "this process was forked from the one that opened the store: open a store of its own after the fork"
    )]
    Forked,

    /// A watch should resume behind a write that the logs no longer reach back to.
    #[error(
        "the logs reach back to write {oldest_seq}, so a watch cannot resume behind write {after_seq}: read \
         the store as it is now, and watch from now on"
    )]
    WatchTooOld {
        /// The number behind which it should resume.
        after_seq: u64,
        /// The lowest number behind which it could.
        oldest_seq: u64,
    },

    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    pub(crate) fn damaged(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), offset, reason: reason.into() }
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

/// Who holds the lock of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// The process with this id, by its own word.
    Process(u32),
    /// This very process.
    ThisProcess,
    /// It left no readable word.
    Unknown,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Process(id) => write!(f, "process {id}"),
            Holder::ThisProcess => f.write_str("this process"),
            Holder::Unknown => f.write_str("another process"),
        }
    }
}
