//! What can go wrong: a call of the file system, a folder that is not whole, a request that cannot be met.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pkv_fs::EntryKind;

use crate::{MAX_SHARD_COUNT, SnapshotOrdinal, SnapshotType};

/// A failed operation on a folder of snapshots.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused a call.
    #[error(transparent)]
    Fs(#[from] pkv_fs::Error),

    /// Somebody else holds the folder's lock, in this process or another.
    #[error(
        "{path} is locked: the folder is in use; close the other user or wait longer for the lock",
        path = path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },

    /// The folder's files do not add up. Nothing was changed.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistency),

    /// There is no such snapshot to remove, or no such pending one to publish.
    #[error(
        "snapshot {ordinal} is not in {dir} or not pending; look at the set for those there are",
        dir = dir.display()
    )]
    NotFound {
        /// The folder.
        dir: PathBuf,
        /// What was asked for.
        ordinal: SnapshotOrdinal,
    },

    /// A file of that name was put there by somebody else while the set held the lock.
    #[error("{path} is in the way; move it elsewhere and try again", path = path.display())]
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },

    /// Full snapshots come into being by publishing only.
    #[error(
        "cannot create a full snapshot in {dir}: create a pending one, fill it, and publish it",
        dir = dir.display()
    )]
    FullNotCreatable {
        /// The folder.
        dir: PathBuf,
    },

    /// A snapshot has 1 to [`MAX_SHARD_COUNT`] shards.
    #[error(
        "cannot create a snapshot of {shard_count} shards in {dir}: choose 1 to {MAX_SHARD_COUNT}",
        dir = dir.display()
    )]
    ShardCount {
        /// The folder.
        dir: PathBuf,
        /// What was asked for.
        shard_count: u64,
    },

    /// Removing this snapshot would leave a folder that does not open, or that lacks what it promises.
    #[error(
        "cannot remove {snapshot_type} snapshot {ordinal} in {dir}: full ones go by pruning, and of \
         the diffs of several shards that are needed only the newest can go",
        dir = dir.display()
    )]
    NotRemovable {
        /// The folder.
        dir: PathBuf,
        /// What it is.
        snapshot_type: SnapshotType,
        /// Which one.
        ordinal: SnapshotOrdinal,
    },

    /// The highest number was seen in a name or noted; there is none above it.
    #[error(
        "no ordinal is left above {ordinal} in {dir}: copy what is in it to a new folder",
        ordinal = u64::MAX,
        dir = dir.display()
    )]
    OrdinalsExhausted {
        /// The folder.
        dir: PathBuf,
    },

    /// This process was forked from the one that opened the folder, which goes on using it.
    #[error(
        "a forked process must not change {dir}, which its parent has open: open a folder of its own",
        dir = dir.display()
    )]
    Forked {
        /// The folder.
        dir: PathBuf,
    },

    /// An earlier call failed in a way after which only the disk knows what is there.
    #[error(
        "the snapshot set in {dir} changes nothing any more since an earlier call failed ({reason}); \
         close it and open the folder again",
        dir = dir.display()
    )]
    Stopped {
        /// The folder.
        dir: PathBuf,
        /// What that call said.
        reason: String,
    },
}

impl Error {
    /// The kind of error in the words of the standard library.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::Locked { .. } => io::ErrorKind::WouldBlock,
            Self::Inconsistent(_) => io::ErrorKind::InvalidData,
            Self::NotFound { .. } => io::ErrorKind::NotFound,
            Self::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
            Self::FullNotCreatable { .. } | Self::ShardCount { .. } | Self::NotRemovable { .. } => {
                io::ErrorKind::InvalidInput
            }
            Self::OrdinalsExhausted { .. } | Self::Forked { .. } | Self::Stopped { .. } => {
                io::ErrorKind::Other
            }
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Why the files of a folder do not add up.
///
/// None of these can come from a killed process or a power cut: a file was lost, copied in, renamed
/// or replaced by other hands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Inconsistency {
    /// A snapshot lacks shards.
    #[error(
        "{snapshot_type} snapshot {ordinal} in {dir} lacks {missing_count} of {shard_count} shards \
         ({list}): bring the files back or restore the folder from a backup",
        dir = dir.display(),
        list = List { shards: missing, missing_count: *missing_count }
    )]
    MissingShards {
        /// The folder.
        dir: PathBuf,
        /// What kind of snapshot.
        snapshot_type: SnapshotType,
        /// Which one.
        ordinal: SnapshotOrdinal,
        /// How many shards its names promise.
        shard_count: u64,
        /// The first few shards that are not there, ascending.
        missing: Vec<u64>,
        /// How many are not there.
        missing_count: u64,
    },

    /// Two files claim to be the same shard, or the files disagree about how many shards there are.
    #[error(
        "{first} and {second} cannot both belong to snapshot {ordinal}: move the wrong one elsewhere",
        first = first.display(), second = second.display()
    )]
    Contradiction {
        /// Which snapshot.
        ordinal: SnapshotOrdinal,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },

    /// The name is that of a shard, but it is no regular file. It is neither followed nor removed.
    #[error(
        "{path} has the name of a shard but is {what}: move it elsewhere",
        path = path.display(), what = What(*kind)
    )]
    NotAFile {
        /// The name.
        path: PathBuf,
        /// What it is.
        kind: EntryKind,
    },
}

/// The missing shards of a message.
struct List<'a> {
    shards: &'a [u64],
    missing_count: u64,
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut listed = 0_u64;
        for shard in self.shards {
            let comma = if listed == 0 { "" } else { ", " };
            write!(f, "{comma}{shard}")?;
            listed = listed.saturating_add(1);
        }
        if listed < self.missing_count { f.write_str(", ...") } else { Ok(()) }
    }
}

/// What stands in a file's place.
struct What(EntryKind);

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            EntryKind::File => "a file",
            EntryKind::Directory => "a folder",
            EntryKind::Other => "a symbolic link or a special file",
        })
    }
}
