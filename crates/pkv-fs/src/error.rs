//! The one error of this crate: which call, on which path, at which offset, and what the system said.

use std::io;
use std::path::{Path, PathBuf};

/// The result of a file-system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed file-system call.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {path}{at}: {source}", path = path.display(), at = At(*offset))]
#[non_exhaustive]
pub struct Error {
    /// What was tried.
    pub op: Op,
    /// On which path.
    pub path: PathBuf,
    /// At which offset, for reads and writes.
    pub offset: Option<u64>,
    /// What the system said.
    pub source: io::Error,
}

impl Error {
    /// An error of a call that has no offset.
    #[must_use]
    pub fn new(op: Op, path: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_path_buf(), offset: None, source }
    }

    /// An error of a read or a write.
    #[must_use]
    pub fn at(op: Op, path: &Path, offset: u64, source: io::Error) -> Self {
        Self { op, path: path.to_path_buf(), offset: Some(offset), source }
    }

    /// The kind of the system's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether the disk or a quota is full: a state that heals, unlike every other error of a write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What was tried when an [`Error`] arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Creating a folder.
    CreateDir,
    /// Listing a folder.
    List,
    /// Creating a file.
    Create,
    /// Opening a file.
    Open,
    /// Reading, or asking for the size.
    Read,
    /// Writing.
    Write,
    /// Reserving space.
    Preallocate,
    /// Cutting or extending.
    SetLen,
    /// Syncing a file's data.
    Sync,
    /// Mapping a segment.
    Map,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing a folder.
    SyncDir,
    /// Taking a lock.
    Lock,
    /// Asking about the file system.
    Stat,
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::CreateDir => "create folder",
            Op::List => "list folder",
            Op::Create => "create",
            Op::Open => "open",
            Op::Read => "read",
            Op::Write => "write",
            Op::Preallocate => "reserve space for",
            Op::SetLen => "set the size of",
            Op::Sync => "sync",
            Op::Map => "map",
            Op::Rename => "rename",
            Op::Remove => "remove",
            Op::SyncDir => "sync folder",
            Op::Lock => "lock",
            Op::Stat => "ask about",
        })
    }
}

struct At(Option<u64>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at offset {offset}"),
            None => Ok(()),
        }
    }
}
