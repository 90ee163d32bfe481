#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod biased;
mod counting;
mod error;
mod fork;
mod lock;
#[cfg(all(feature = "mmap", target_os = "linux"))]
#[expect(unsafe_code, reason = "a mapping is memory that the compiler knows nothing of")]
mod mapped;
mod memory;
mod rounds;
mod std_fs;
mod sys;
#[cfg(all(feature = "mmap", target_os = "linux"))]
#[expect(unsafe_code, reason = "a call of the system that no crate of ours has in a safe form")]
mod writeback;
mod written;

use std::ffi::OsString;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use biased::{Announced, BiasedReadGuard, BiasedRwLock, Readers, RwReadGuard, RwWriteGuard};
pub use counting::{CountingFs, Counts};
pub use error::{Error, Op, Result};
pub use fork::ForkGuard;
pub use memory::{equal_lanes, populate_memory, prefetch};
pub use rounds::Rounds;
pub use std_fs::StdFs;

/// A file system, as far as a store needs one. Held as `Arc<dyn Fs>`; every call names whole paths.
///
/// # What we assume of a disk
///
/// Everything that is *not* in this list is broken on purpose by the simulated disk of `pkv-sim`.
///
/// 1. Bytes for which [`File::sync_data`] returned `Ok` are read back unchanged after a power cut,
///    and so is the file's size at that moment. (Damage later is found by checksums, not excluded.)
/// 2. Names for which [`Fs::sync_dir`] returned `Ok` (created, renamed, removed before the call) stay
///    so after a power cut. Syncing a file does not make its name durable.
/// 3. A sector of [`SECTOR_BYTES`] bytes, aligned, is written whole or not at all. Sectors of one
///    write, and of several writes, reach the disk in any order until a sync.
/// 4. A sector that was written and not synced holds, after a power cut, one of the contents that it had
///    since the last sync, where a sector never written reads as zeros; a file system may also show garbage there.
/// 5. A rename onto a new name is atomic: after a power cut there is the old name or the new one.
///    (In the strict simulation each may survive alone or both may be gone only for files whose
///    name was never made durable.)
/// 6. After a failed sync nothing is known of the bytes since the last good one, and a later sync
///    that succeeds proves nothing about them (Linux marks the pages clean).
/// 7. A killed process loses nothing that a finished call wrote, nor what was copied into a mapping.
/// 8. A lock is released when its holder dies.
pub trait Fs: Debug + Send + Sync {
    /// Creates one folder. `Ok(false)`: it was there already. Durable after the parent was synced.
    fn create_dir(&self, dir: &Path) -> Result<bool>;

    /// All names in a folder, in no order, without following symbolic links.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>>;

    /// Creates an empty file for reading and writing; `AlreadyExists` if the name is taken.
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens a regular file (never a symbolic link, folder, fifo or device: `InvalidInput`).
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>>;

    /// Renames a file onto a name that is free; `AlreadyExists` if it is taken.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Gives a file a second name, which must be free (`AlreadyExists`), on the same file system: both names lead to
    /// the same bytes from then on. Durable after the new name's folder was synced. Fails where the file system
    /// has no such names, and across file systems: then copy the file. A file system that does not say how
    /// answers `Unsupported`.
    ///
    /// For files that are never changed again: the simulated disk gives the new name bytes of its own.
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let _ = to;
        Err(Error::new(Op::Link, from, std::io::ErrorKind::Unsupported.into()))
    }

    /// Makes a new file, under a free name (`AlreadyExists`), that shares the bytes of another: nothing is copied, and
    /// what is written to the one later is not seen in the other (a reflink). Durable after the new file and its folder
    /// were synced. Fails, and leaves nothing behind, where the file system cannot share bytes, and across file
    /// systems: then copy the file. A file system that does not say how answers `Unsupported`.
    ///
    /// Not for files that are mapped, as a log in use is: see [`Segment`].
    fn clone_file(&self, from: &Path, to: &Path) -> Result<()> {
        let _ = to;
        Err(Error::new(Op::Clone, from, std::io::ErrorKind::Unsupported.into()))
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Removes an empty folder. A file system that does not say how answers `Unsupported`.
    fn remove_dir(&self, dir: &Path) -> Result<()> {
        Err(Error::new(Op::Remove, dir, std::io::ErrorKind::Unsupported.into()))
    }

    /// Makes creations, renames and removals in this folder durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes the exclusive lock on `path`, creating the file if needed; `WouldBlock` when another
    /// process or another handle of this one still holds it after `wait`. Released when the guard is
    /// dropped, synchronously, except in a forked child, whose drop leaves the parent's lock alone.
    /// Never cuts the file, and never removes it: whoever removes a lock file lets a second owner in.
    ///
    /// A holder that is killed releases it, unless a child that it forked still runs and has not
    /// executed another program: then the lock lasts as long as that child.
    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>>;

    /// Whether a preallocated, mapped segment is safe in this folder: writing to it can never meet a
    /// full disk (which would be a signal instead of an error). False where that is not known.
    /// The real one knows ext4, xfs and tmpfs on Linux, and tries out whether space can be reserved;
    /// that needs write access and leaves nothing behind. Ask once per folder, not per file.
    fn can_map(&self, dir: &Path) -> Result<bool>;

    /// Free bytes for this user on the file system of this folder; `None` where it cannot be known.
    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>>;

    /// A fresh random number, for salts and seeds. The simulation returns a seeded sequence.
    fn random_u64(&self) -> u64;

    /// Milliseconds since 1970, by the wall clock, which may be set at any time: nothing depends on it but the
    /// expiry of entries that were given a time to live.
    fn unix_time_ms(&self) -> u64;
}

/// An open file. All calls take the position; none moves a cursor, so they may run at once.
pub trait File: Debug + Send + Sync {
    /// The file's size in bytes.
    fn len(&self) -> Result<u64>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads until `buf` is full or the file ends; returns the bytes read. Retries interrupted calls.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Writes all of `bytes`. On error an unknown prefix of them, in whole pages, may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Asks the system to begin writing these bytes out, and does not wait for it: a sync later has less to wait
    /// for. Nothing becomes durable by it, and how it ends is told by the sync alone. Does nothing where the
    /// system cannot.
    fn start_writeback(&self, offset: u64, bytes: u64) -> Result<()> {
        let _ = (offset, bytes);
        Ok(())
    }

    /// Reserves disk space up to `bytes` and makes the file at least that long; new bytes are zeros.
    /// Where the file system cannot reserve, the size alone is set. Never cuts the file. On error,
    /// a full disk above all, a part may be reserved already: remove the file to give it back.
    fn preallocate(&self, bytes: u64) -> Result<()>;

    /// Cuts or extends the file. The part cut off must not be mapped any more: the next write to such
    /// a segment, through any handle, would be a signal (SIGBUS) that ends the process.
    fn set_len(&self, bytes: u64) -> Result<()>;

    /// Makes all bytes and the size durable (`fdatasync`), those of a mapped segment included.
    fn sync_data(&self) -> Result<()>;

    /// The file's first `bytes` bytes as an append segment, mapped or written.
    /// The file must have been preallocated to at least that size, and `bytes` must be a multiple
    /// of 8 and not 0: else `InvalidInput`. `Unsupported` if it cannot be mapped, or has holes.
    /// The segment stays usable after this handle is dropped.
    fn segment(&self, bytes: u64, way: SegmentWay) -> Result<Arc<dyn Segment>>;
}

/// The front end of a log file: where frames are copied to.
///
/// Mapped: a copy into memory that the page cache holds; a killed process loses nothing, no system
/// call is made, and inside the segment it cannot fail. Written: one positioned write, or two for a
/// range that crosses a page boundary.
///
/// Any number of threads may write at once. Where their ranges overlap, each aligned 8 bytes of a
/// mapped segment hold what one of them wrote; of a written segment nothing is promised there.
///
/// Positioned writes to the same file are seen in it, and the other way round; where both write to the same bytes at
/// once nothing is promised.
///
/// A mapped file that somebody cuts, in this or in another process, raises SIGBUS at the next write
/// behind the new end; nothing can prevent that. Nor may a mapped file be cloned by reflink: the next
/// write would need new space, which may not be there.
pub trait Segment: Debug + Send + Sync {
    /// Copies `bytes` to `offset`. Both a multiple of 8, or the call fails with `InvalidInput`.
    ///
    /// Written segments promise: when the call fails with [`std::io::ErrorKind::StorageFull`], or
    /// the process is killed inside it, the first 8 bytes are not in the file unless all are. So a
    /// frame whose header stands first never becomes valid after its write failed.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Takes the pages of this range into the page cache, ahead of [`Segment::populate`], which then finds memory
    /// that is there and zeroed. Where memory is short that is what takes long: milliseconds, for a
    /// moment. Makes nothing dirty, so it may go far ahead. What lies outside the segment is left
    /// out. Does nothing for a written segment. Call it from a helper thread.
    fn read_ahead(&self, offset: u64, bytes: u64) -> Result<()>;

    /// Touches the pages of this range ahead of the writer, so that the writer never waits for a
    /// page fault. What lies outside the segment is left out. Does nothing for a written segment,
    /// and for a mapped one where the system cannot. Takes about 4 us a page and makes the pages
    /// dirty, so that the next sync writes them: keep the window small, and call it from a helper
    /// thread.
    fn populate(&self, offset: u64, bytes: u64) -> Result<()>;

    /// Takes the whole pages inside this range, which the writer is done with, out of the mapping.
    /// Their contents stay in the page cache, still to be synced. A sync protects every page that is
    /// mapped and dirty, one by one, and each time interrupts all processors that run this
    /// process; pages that are no longer mapped cost it nothing. Does nothing for a written segment.
    fn release(&self, offset: u64, bytes: u64) -> Result<()>;

    /// Whether this segment is mapped.
    fn is_mapped(&self) -> bool;
}

/// Held while a folder is in use; dropping it releases the lock.
#[must_use = "dropping it releases the lock"]
pub trait Lock: Debug + Send + Sync {
    /// The locked file, for what the holder wants to leave in it.
    fn file(&self) -> &dyn File;
}

/// The unit that a disk writes whole (see the assumptions at [`Fs`]).
pub const SECTOR_BYTES: u64 = 512;

/// What an opened file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; works on a read-only file system.
    Read,
    /// Reading and writing.
    Write,
}

/// How a [`Segment`] reaches its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentWay {
    /// Through a shared mapping of the page cache. Only where [`Fs::can_map`] says so.
    Mapped,
    /// Through positioned writes.
    Written,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, any bytes.
    pub name: OsString,
    /// What it names.
    pub kind: EntryKind,
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// Anything else: symbolic link, fifo, socket, device.
    Other,
}
