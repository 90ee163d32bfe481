//! What the tests share: small stores, the folder seen from outside, a file system that can be hooked.
#![expect(clippy::disallowed_methods, reason = "the tests look at the folder from outside")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]
#![expect(clippy::panic, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pkv_fs::{Access, Entry, File, Fs, Lock, Op, Segment, SegmentWay, StdFs};
use pkv_store::{ByteStore, LogWay, Options};

/// Keys and values as bytes.
pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A folder that goes when it is dropped, and the path of a store in it that is not there yet.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.at("store")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Options of a store that goes on to a new log every few dozen writes and never compacts by itself.
pub(crate) fn small() -> Options {
    Options::new().map_shards(4).segment_bytes(16 * 1024, 16 * 1024)
}

/// [`small`] with both ways of writing the log.
pub(crate) fn both_ways() -> [Options; 2] {
    [small().log_way(LogWay::Mapped), small().log_way(LogWay::Written)]
}

/// Options of a store that compacts all the time.
pub(crate) fn restless() -> Options {
    small().compact_log_bytes_min(4096).compact_log_percent(10).compact_log_count(2)
}

/// All entries.
pub(crate) fn contents(store: &ByteStore) -> Contents {
    let mut all = Contents::new();
    for entry in store {
        let (key, value) = entry.expect("an entry");
        assert!(all.insert(key, value).is_none(), "a key came twice");
    }
    assert_eq!(u64::try_from(all.len()), Ok(store.len()));
    all
}

/// A value of this many bytes that nobody takes for another.
pub(crate) fn blob(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    })
    .take(bytes)
    .collect()
}

/// Waits until `done` says so; fails after a minute.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `work` and fails if it takes over two minutes, so that a call that never returns fails a test
/// instead of hanging all.
pub(crate) fn in_time<R: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (done, waiting) = channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(work());
    });
    match waiting.recv_timeout(Duration::from_secs(120)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("does not return: {what}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => panic!("no result: {what}"),
        },
    }
}

/// The files of a folder as they are: what a killed process leaves, if nobody writes just then.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Vec<u8>>);

/// The file that is locked.
pub(crate) const LOCK: &str = "snapshots.lock";

impl Image {
    /// The files as a kill would leave them. A compaction may be under way: an image during which names
    /// came or went is none that ever was, and is made again.
    pub(crate) fn of(dir: &Path) -> Self {
        let names = || -> Vec<_> {
            let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
            let mut names: Vec<_> = files.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        loop {
            let before = names();
            let files: Option<BTreeMap<_, _>> = before
                .iter()
                .map(|name| {
                    Some((name.to_string_lossy().into_owned(), fs::read(dir.join(name)).ok()?))
                })
                .collect();
            if let Some(files) = files.filter(|_| names() == before) {
                return Self(files);
            }
        }
    }

    /// Makes a folder hold these files and no others.
    pub(crate) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else if !entry.file_name().to_str().is_some_and(|name| self.0.contains_key(name)) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, bytes) in &self.0 {
            let path = dir.join(name);
            if fs::read(&path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    /// The names but for the lock file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().filter(|name| *name != LOCK).cloned().collect()
    }

    /// The names that end like this, ascending by ordinal, then by shard.
    pub(crate) fn named(&self, kind: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .names()
            .into_iter()
            .filter(|name| name.ends_with(&format!("_{kind}.bin")))
            .collect();
        names.sort_by_key(|name| numbers(name));
        names
    }

    /// All but the lock file, whose first bytes say who holds it.
    pub(crate) fn without_lock(&self) -> Self {
        let mut files = self.0.clone();
        files.remove(LOCK);
        Self(files)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(|bytes| u64::try_from(bytes.len()).unwrap()).sum()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

/// Ordinal, shard and shard count in a name.
pub(crate) fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    Image::of(dir).names()
}

/// Copies the files of a folder, as a process killed at this moment would leave them.
pub(crate) fn copy(from: &Path, to: &Path) {
    Image::of(from).write(to);
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

pub(crate) fn read_file(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

pub(crate) fn create_dir(path: &Path) {
    fs::create_dir(path).unwrap();
}

pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Says before each call of the file system whether it fails.
pub(crate) type Hook = Arc<dyn Fn(Op, &Path) -> io::Result<()> + Send + Sync>;

/// The path in whose place a hook finds that the clock is asked.
pub(crate) const CLOCK: &str = "";

/// Is told of each file that was let go of.
pub(crate) type Closed = Arc<dyn Fn(&Path) + Send + Sync>;

/// The real file system with a hook before every call that reads, changes or syncs a file. Writes to
/// segments pass unseen.
#[derive(Clone)]
pub(crate) struct HookFs {
    hook: Hook,
    closed: Option<Closed>,
    sync: bool,
}

impl HookFs {
    pub(crate) fn hooked(
        hook: impl Fn(Op, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<dyn Fs> {
        Arc::new(Self { hook: Arc::new(hook), closed: None, sync: true })
    }

    /// With a second hook, for files that are let go of.
    pub(crate) fn hooked_with_closed(hook: Hook, closed: Closed) -> Arc<dyn Fs> {
        Arc::new(Self { hook, closed: Some(closed), sync: true })
    }

    /// Without hook and without syncs: for tests that open thousands of folders and cut no power.
    pub(crate) fn unsynced() -> Arc<dyn Fs> {
        Arc::new(Self { hook: Arc::new(|_, _| Ok(())), closed: None, sync: false })
    }

    fn ask(&self, op: Op, path: &Path) -> pkv_fs::Result<()> {
        (self.hook)(op, path).map_err(|error| pkv_fs::Error::new(op, path, error))
    }

    fn wrap(&self, inner: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(HookFile { fs: self.clone(), inner, path: path.to_path_buf() })
    }
}

impl fmt::Debug for HookFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookFs")
    }
}

impl Fs for HookFs {
    fn create_dir(&self, dir: &Path) -> pkv_fs::Result<bool> {
        self.ask(Op::CreateDir, dir)?;
        StdFs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> pkv_fs::Result<Vec<Entry>> {
        self.ask(Op::List, dir)?;
        StdFs.list(dir)
    }

    fn create_new(&self, path: &Path) -> pkv_fs::Result<Arc<dyn File>> {
        self.ask(Op::Create, path)?;
        Ok(self.wrap(StdFs.create_new(path)?, path))
    }

    fn open(&self, path: &Path, access: Access) -> pkv_fs::Result<Arc<dyn File>> {
        self.ask(Op::Open, path)?;
        Ok(self.wrap(StdFs.open(path, access)?, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> pkv_fs::Result<()> {
        self.ask(Op::Rename, from)?;
        StdFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> pkv_fs::Result<()> {
        self.ask(Op::Remove, path)?;
        StdFs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> pkv_fs::Result<()> {
        self.ask(Op::SyncDir, dir)?;
        if self.sync { StdFs.sync_dir(dir) } else { Ok(()) }
    }

    fn lock(&self, path: &Path, wait: Duration) -> pkv_fs::Result<Box<dyn Lock>> {
        StdFs.lock(path, wait)
    }

    fn can_map(&self, dir: &Path) -> pkv_fs::Result<bool> {
        StdFs.can_map(dir)
    }

    fn free_bytes(&self, dir: &Path) -> pkv_fs::Result<Option<u64>> {
        match self.ask(Op::Stat, dir) {
            Err(error) if error.is_full() => Ok(Some(0)),
            Err(error) => Err(error),
            Ok(()) => StdFs.free_bytes(dir),
        }
    }

    fn random_u64(&self) -> u64 {
        StdFs.random_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        // It cannot fail; a hook can keep it waiting.
        let _ = self.ask(Op::Stat, Path::new(CLOCK));
        StdFs.unix_time_ms()
    }
}

#[derive(Debug)]
struct HookFile {
    fs: HookFs,
    inner: Arc<dyn File>,
    path: PathBuf,
}

impl Drop for HookFile {
    fn drop(&mut self) {
        if let Some(closed) = &self.fs.closed {
            closed(&self.path);
        }
    }
}

impl File for HookFile {
    fn len(&self) -> pkv_fs::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> pkv_fs::Result<usize> {
        self.fs.ask(Op::Read, &self.path)?;
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> pkv_fs::Result<()> {
        self.fs.ask(Op::Write, &self.path)?;
        self.inner.write_at(offset, bytes)
    }

    fn preallocate(&self, bytes: u64) -> pkv_fs::Result<()> {
        self.fs.ask(Op::Preallocate, &self.path)?;
        self.inner.preallocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> pkv_fs::Result<()> {
        self.fs.ask(Op::SetLen, &self.path)?;
        self.inner.set_len(bytes)
    }

    fn sync_data(&self) -> pkv_fs::Result<()> {
        self.fs.ask(Op::Sync, &self.path)?;
        if self.fs.sync { self.inner.sync_data() } else { Ok(()) }
    }

    fn segment(&self, bytes: u64, way: SegmentWay) -> pkv_fs::Result<Arc<dyn Segment>> {
        self.inner.segment(bytes, way)
    }
}
