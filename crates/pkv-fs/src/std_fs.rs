//! The file system of the machine.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::lock;
use crate::written::WrittenSegment;
use crate::{
    Access, Entry, EntryKind, Error, File, Fs, Lock, Op, Result, Segment, SegmentWay, sys,
};

/// The real file system, through the standard library and a few Linux calls that it lacks.
///
/// Has no state: every value is the same, and a copy costs nothing. An empty folder path means the
/// current folder, so that `path.parent()` can be passed as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StdFs;

impl Fs for StdFs {
    fn create_dir(&self, dir: &Path) -> Result<bool> {
        match fs::create_dir(dir) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
            Err(e) => Err(Error::new(Op::CreateDir, dir, e)),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        list(here(dir)).map_err(|e| Error::new(Op::List, dir, e))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|e| Error::new(Op::Create, path, e))?;
        Ok(Arc::new(StdFile::new(file, path)))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let file = open_regular(path, access).map_err(|e| Error::new(Op::Open, path, e))?;
        Ok(Arc::new(StdFile::new(file, path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        sys::rename_to_free(from, to).map_err(|e| {
            let both = io::Error::new(e.kind(), format!("onto {}: {e}", to.display()));
            Error::new(Op::Rename, from, both)
        })
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).map_err(|e| {
            let both = io::Error::new(e.kind(), format!("as {}: {e}", to.display()));
            Error::new(Op::Link, from, both)
        })
    }

    fn clone_file(&self, from: &Path, to: &Path) -> Result<()> {
        let source =
            open_regular(from, Access::Read).map_err(|e| Error::new(Op::Clone, from, e))?;
        let target = fs::OpenOptions::new().write(true).create_new(true).open(to);
        let target = target.map_err(|e| Error::new(Op::Clone, to, e))?;
        sys::share_bytes(&source, &target).map_err(|e| {
            // Empty, and made here: the name was free.
            let _ = fs::remove_file(to);
            let both = io::Error::new(e.kind(), format!("as {}: {e}", to.display()));
            Error::new(Op::Clone, from, both)
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|e| Error::new(Op::Remove, path, e))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        fs::remove_dir(dir).map_err(|e| Error::new(Op::Remove, dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        sys::sync_dir(here(dir)).map_err(|e| Error::new(Op::SyncDir, dir, e))
    }

    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        lock::lock(path, wait)
    }

    fn can_map(&self, dir: &Path) -> Result<bool> {
        sys::can_map(here(dir)).map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>> {
        sys::free_bytes(here(dir)).map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn random_u64(&self) -> u64 {
        sys::random_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The folder that a path names; the parent of a bare file name is empty and means the current one.
fn here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_file() => EntryKind::File,
            Ok(kind) if kind.is_dir() => EntryKind::Directory,
            Ok(_) => EntryKind::Other,
            // Removed since its name was read: as if the listing had begun a moment later.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        entries.push(Entry { name: entry.file_name(), kind });
    }
    Ok(entries)
}

/// Opens a file that exists, if it is a regular one.
fn open_regular(path: &Path, access: Access) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(access == Access::Write);
    open_checked(path, &mut options)
}

/// Opens a regular file for reading and writing, or creates it; never cuts it.
pub(crate) fn open_or_create(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_checked(path, &mut options)
}

fn open_checked(path: &Path, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
    sys::refuse_links_and_waits(options);
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() && !sys::is_link_followed(path) => Ok(file),
        Ok(_) => Err(refused()),
        // Links, sockets and folders fail with a different code each; say the same of all.
        Err(error) => match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => Err(refused()),
            _ => Err(error),
        },
    }
}

/// Whether `path` still leads to this open file.
pub(crate) fn is_at(file: &fs::File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => sys::is_same_file(&held, &named),
        _ => false,
    }
}

/// An open file of [`StdFs`]. Cheap to clone: segments share it.
#[derive(Clone, Debug)]
pub(crate) struct StdFile {
    file: Arc<fs::File>,
    path: Arc<Path>,
}

impl StdFile {
    pub(crate) fn new(file: fs::File, path: &Path) -> Self {
        Self { file: Arc::new(file), path: Arc::from(path) }
    }

    pub(crate) fn std(&self) -> &fs::File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, op: Op, source: io::Error) -> Error {
        Error::new(op, &self.path, source)
    }

    /// Fails unless the file can carry a segment of this size.
    fn check_segment(&self, segment_bytes: u64) -> io::Result<()> {
        if segment_bytes == 0 || !segment_bytes.is_multiple_of(8) {
            let reason = "a segment's size must be a multiple of 8 and not 0";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if self.file.metadata()?.len() < segment_bytes {
            let reason = "the file is shorter than the segment; preallocate it first";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(())
    }

    #[cfg(all(feature = "mmap", target_os = "linux"))]
    fn map(&self, segment_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        sys::check_reserved(&self.file.metadata()?, segment_bytes)?;
        let bytes = usize::try_from(segment_bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "larger than memory"))?;
        let segment = crate::mapped::MappedSegment::new(&self.file, Arc::clone(&self.path), bytes)?;
        Ok(Arc::new(segment))
    }

    #[cfg(not(all(feature = "mmap", target_os = "linux")))]
    #[expect(clippy::unused_self, reason = "the signature of the way that can map")]
    fn map(&self, _segment_bytes: u64) -> io::Result<Arc<dyn Segment>> {
        let reason = "mapping needs Linux and the feature `mmap`; use SegmentWay::Written";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}

impl File for StdFile {
    fn len(&self) -> Result<u64> {
        let metadata = self.file.metadata().map_err(|e| self.error(Op::Read, e))?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut rest = &mut *buf;
        let mut at = offset;
        let mut done = 0;
        while !rest.is_empty() {
            match sys::read_at(&self.file, rest, at) {
                Ok(0) => break,
                Ok(read) => {
                    rest = rest.get_mut(read..).unwrap_or_default();
                    at = at.saturating_add(bytes_u64(read));
                    done += read;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::at(Op::Read, &self.path, at, e)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            match sys::write_at(&self.file, rest, at) {
                Ok(0) => {
                    let e = io::ErrorKind::WriteZero.into();
                    return Err(Error::at(Op::Write, &self.path, at, e));
                }
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    at = at.saturating_add(bytes_u64(written));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::at(Op::Write, &self.path, at, e)),
            }
        }
        Ok(())
    }

    #[cfg(all(feature = "mmap", target_os = "linux"))]
    fn start_writeback(&self, offset: u64, bytes: u64) -> Result<()> {
        crate::writeback::start(&self.file, offset, bytes)
            .map_err(|e| Error::at(Op::StartWriteback, &self.path, offset, e))
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        sys::reserve(&self.file, bytes)
            .and_then(|()| extend(&self.file, bytes))
            .map_err(|e| self.error(Op::Preallocate, e))
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(|e| self.error(Op::SetLen, e))
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| self.error(Op::Sync, e))
    }

    fn segment(&self, bytes: u64, way: SegmentWay) -> Result<Arc<dyn Segment>> {
        let segment = self.check_segment(bytes).and_then(|()| match way {
            SegmentWay::Mapped => self.map(bytes),
            SegmentWay::Written => Ok(Arc::new(WrittenSegment::new(self.clone(), bytes))),
        });
        segment.map_err(|e| self.error(Op::Map, e))
    }
}

/// Makes the file at least `bytes` long, where reserving did not.
fn extend(file: &fs::File, bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
}

/// A length in bytes as an offset; a length never exceeds `u64`.
fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file system without reservation is left with.
    #[test]
    fn extending_adds_zeros_and_never_cuts() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"abc").unwrap();
        extend(&file, 2).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3);
        extend(&file, 5).unwrap();
        let mut buf = [9; 5];
        assert_eq!(sys::read_at(&file, &mut buf, 0).unwrap(), 5);
        assert_eq!(&buf, b"abc\0\0");
    }
}
