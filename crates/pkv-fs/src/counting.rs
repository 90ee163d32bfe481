//! A file system that counts, around any other: what tests and benches ask instead of a clock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Access, Entry, File, Fs, Lock, Op, Result, Segment, SegmentWay};

/// Wraps a file system and counts the calls that pass through, those that fail included.
///
/// The counters are exact in total; while calls are under way, those of one [`Counts`] need not fit
/// each other. A call costs one or two atomic additions more. [`Fs::random_u64`] and
/// [`Fs::unix_time_ms`] are not counted.
///
/// ```
/// use std::sync::Arc;
/// use pkv_fs::{CountingFs, Fs, Op, StdFs};
///
/// let dir = tempfile::tempdir()?;
/// let fs = CountingFs::new(Arc::new(StdFs));
/// let file = fs.create_new(&dir.path().join("log"))?;
/// let before = fs.counts();
/// file.write_at(0, b"twelve bytes")?;
/// file.sync_data()?;
/// let spent = fs.counts().since(&before);
/// assert_eq!((spent.calls(Op::Write), spent.bytes_written), (1, 12));
/// assert_eq!(spent.syncs(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CountingFs {
    inner: Arc<dyn Fs>,
    counters: Arc<Counters>,
}

impl CountingFs {
    /// Counts from 0 what passes through to `inner`. Clones share their counters.
    #[must_use]
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            calls: self.counters.calls.each_ref().map(load),
            bytes_read: load(&self.counters.bytes_read),
            bytes_written: load(&self.counters.bytes_written),
            copies: load(&self.counters.copies),
            bytes_copied: load(&self.counters.bytes_copied),
        }
    }
}

/// What a [`CountingFs`] counted, at one moment or [between two](Self::since).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    calls: [u64; Op::ALL.len()],
    /// Bytes that reads returned.
    pub bytes_read: u64,
    /// Bytes that were passed to [`File::write_at`] and to written segments, successfully.
    pub bytes_written: u64,
    /// Copies into mapped segments, which are not calls of the system.
    pub copies: u64,
    /// Bytes that were copied into mapped segments.
    pub bytes_copied: u64,
}

impl Counts {
    /// Calls of one kind. A write to a written segment counts as one [`Op::Write`], a copy into a
    /// mapped one does not; mapping and populating a segment count as [`Op::Map`] each.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.calls.get(op.index()).copied().unwrap_or(0)
    }

    /// Syncs of files and of folders.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.calls(Op::Sync).saturating_add(self.calls(Op::SyncDir))
    }

    /// What was counted between `earlier` and this moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut calls = self.calls;
        for (calls, earlier) in calls.iter_mut().zip(earlier.calls) {
            *calls = calls.saturating_sub(earlier);
        }
        Self {
            calls,
            bytes_read: self.bytes_read.saturating_sub(earlier.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
            copies: self.copies.saturating_sub(earlier.copies),
            bytes_copied: self.bytes_copied.saturating_sub(earlier.bytes_copied),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    calls: [AtomicU64; Op::ALL.len()],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    copies: AtomicU64,
    bytes_copied: AtomicU64,
}

impl Counters {
    fn call(&self, op: Op) {
        if let Some(counter) = self.calls.get(op.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Fs for CountingFs {
    fn create_dir(&self, dir: &Path) -> Result<bool> {
        self.counters.call(Op::CreateDir);
        self.inner.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        self.counters.call(Op::List);
        self.inner.list(dir)
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.counters.call(Op::Create);
        let inner = self.inner.create_new(path)?;
        Ok(Arc::new(Counting { inner, counters: Arc::clone(&self.counters) }))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        self.counters.call(Op::Open);
        let inner = self.inner.open(path, access)?;
        Ok(Arc::new(Counting { inner, counters: Arc::clone(&self.counters) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.counters.call(Op::Rename);
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.counters.call(Op::Link);
        self.inner.link(from, to)
    }

    fn clone_file(&self, from: &Path, to: &Path) -> Result<()> {
        self.counters.call(Op::Clone);
        self.inner.clone_file(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.counters.call(Op::Remove);
        self.inner.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.counters.call(Op::Remove);
        self.inner.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.counters.call(Op::SyncDir);
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        self.counters.call(Op::Lock);
        let inner = self.inner.lock(path, wait)?;
        Ok(Box::new(Counting { inner, counters: Arc::clone(&self.counters) }))
    }

    fn can_map(&self, dir: &Path) -> Result<bool> {
        self.counters.call(Op::Stat);
        self.inner.can_map(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>> {
        self.counters.call(Op::Stat);
        self.inner.free_bytes(dir)
    }

    fn random_u64(&self) -> u64 {
        self.inner.random_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        self.inner.unix_time_ms()
    }
}

/// A file, a segment or a lock of the inner file system.
#[derive(Debug)]
struct Counting<T> {
    inner: T,
    counters: Arc<Counters>,
}

/// What leads to a file: an open file, or a lock, whose file is counted, too.
trait Inner: std::fmt::Debug + Send + Sync {
    fn file(&self) -> &dyn File;
}

impl Inner for Arc<dyn File> {
    fn file(&self) -> &dyn File {
        &**self
    }
}

impl Inner for Box<dyn Lock> {
    fn file(&self) -> &dyn File {
        (**self).file()
    }
}

impl<T: Inner> File for Counting<T> {
    fn len(&self) -> Result<u64> {
        self.counters.call(Op::Read);
        self.inner.file().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.counters.call(Op::Read);
        let bytes = self.inner.file().read_at(offset, buf)?;
        add(&self.counters.bytes_read, bytes);
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.counters.call(Op::Write);
        self.inner.file().write_at(offset, bytes)?;
        add(&self.counters.bytes_written, bytes.len());
        Ok(())
    }

    fn start_writeback(&self, offset: u64, bytes: u64) -> Result<()> {
        self.counters.call(Op::StartWriteback);
        self.inner.file().start_writeback(offset, bytes)
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        self.counters.call(Op::Preallocate);
        self.inner.file().preallocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.counters.call(Op::SetLen);
        self.inner.file().set_len(bytes)
    }

    fn sync_data(&self) -> Result<()> {
        self.counters.call(Op::Sync);
        self.inner.file().sync_data()
    }

    fn segment(&self, bytes: u64, way: SegmentWay) -> Result<Arc<dyn Segment>> {
        if way == SegmentWay::Mapped {
            self.counters.call(Op::Map);
        }
        let inner = self.inner.file().segment(bytes, way)?;
        Ok(Arc::new(Counting { inner, counters: Arc::clone(&self.counters) }))
    }
}

impl Segment for Counting<Arc<dyn Segment>> {
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let total = if self.is_mapped() {
            self.counters.copies.fetch_add(1, Ordering::Relaxed);
            &self.counters.bytes_copied
        } else {
            self.counters.call(Op::Write);
            &self.counters.bytes_written
        };
        self.inner.write(offset, bytes)?;
        add(total, bytes.len());
        Ok(())
    }

    fn read_ahead(&self, offset: u64, bytes: u64) -> Result<()> {
        if self.is_mapped() {
            self.counters.call(Op::Map);
        }
        self.inner.read_ahead(offset, bytes)
    }

    fn populate(&self, offset: u64, bytes: u64) -> Result<()> {
        if self.is_mapped() {
            self.counters.call(Op::Map);
        }
        self.inner.populate(offset, bytes)
    }

    fn release(&self, offset: u64, bytes: u64) -> Result<()> {
        if self.is_mapped() {
            self.counters.call(Op::Map);
        }
        self.inner.release(offset, bytes)
    }

    fn is_mapped(&self) -> bool {
        self.inner.is_mapped()
    }
}

impl Lock for Counting<Box<dyn Lock>> {
    fn file(&self) -> &dyn File {
        self
    }
}
