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
    /// Beginning to write out, before a sync.
    StartWriteback,
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
    /// Giving a file a second name.
    Link,
    /// Making a file that shares the bytes of another.
    Clone,
    /// Removing a file.
    Remove,
    /// Syncing a folder.
    SyncDir,
    /// Taking a lock.
    Lock,
    /// Asking about the file system.
    Stat,
}

impl Op {
    /// Every call there is, in the order of the list above.
    pub const ALL: [Self; 18] = [
        Self::CreateDir,
        Self::List,
        Self::Create,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::StartWriteback,
        Self::Preallocate,
        Self::SetLen,
        Self::Sync,
        Self::Map,
        Self::Rename,
        Self::Link,
        Self::Clone,
        Self::Remove,
        Self::SyncDir,
        Self::Lock,
        Self::Stat,
    ];

    /// The position in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        #[expect(clippy::as_conversions, reason = "the variants are numbered from 0")]
        let index = self as usize;
        index
    }
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
            Op::StartWriteback => "begin to write out",
            Op::Preallocate => "reserve space for",
            Op::SetLen => "set the size of",
            Op::Sync => "sync",
            Op::Map => "map",
            Op::Rename => "rename",
            Op::Link => "link",
            Op::Clone => "clone",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_listed_at_its_index() {
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op.index(), index, "{op:?}");
        }
        assert_eq!(Op::Stat.index() + 1, Op::ALL.len(), "the last variant is the last of the list");
    }

    #[test]
    fn an_error_says_what_where_and_why() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::at(Op::Write, Path::new("data/log"), 4096, full);
        assert_eq!(error.to_string(), "cannot write data/log at offset 4096: no storage space");
        assert!(error.is_full());
        let error = Error::new(Op::SyncDir, Path::new("data"), io::ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), "cannot sync folder data: entity not found");
        assert!(!error.is_full());
    }
}
