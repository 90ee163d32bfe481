//! How a store is opened. Every default has its reason beside it; every value is checked by `open`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Fs, StdFs};

use crate::codec::{Key, Value};
use crate::error::{Error, Result};
use crate::read_only::ReadOnlyStore;
use crate::recover::RecoveryProgress;
use crate::store::Store;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The death of this process at any moment. A power cut may lose the last
    /// [`Options::sync_interval`] plus the time of one sync, never anything older, and never one write
    /// without all that follow it. Costs a memory copy.
    #[default]
    Process,
    /// A power cut, too: acknowledged after a sync, which all waiting writers share.
    Power,
}

/// What opening does with a log whose end is torn, as a power cut leaves it, and with damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Cut it off and say so in the [`crate::RecoveryReport`]. Damage to synced data is an error all the same.
    #[default]
    TornTail,
    /// Refuse to open: [`Error::Torn`]. Nothing is cut.
    Strict,
    /// Keep everything that is whole, and report what is not. It changes nothing on disk, so it works for
    /// reading only ([`Options::open_read_only`]); [`crate::salvage`] writes the same into a new folder. Opening
    /// for writing refuses it.
    Salvage,
}

/// How the log reaches its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LogWay {
    /// Mapped where the file system is known to be safe for it (ext4, xfs, tmpfs on Linux), else written.
    #[default]
    Auto,
    /// Copied into a mapped file: no system call for a write, but for the first behind a sync that was for one write alone.
    /// Opening fails where that is not safe.
    Mapped,
    /// One positioned write for each frame.
    Written,
}

/// How a store is opened: a builder. `Options::new().open(path)` is `Store::open(path)`.
///
/// ```
/// use pkv_store::{Durability, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("blobs");
/// let blobs: Store<[u8; 16], Vec<u8>> = Options::new().durability(Durability::Power).open(&path)?;
/// # blobs.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) map_shards: usize,
    pub(crate) snapshot_shards: Option<u32>,
    pub(crate) snapshot_shard_bytes: u64,
    pub(crate) compact_log_percent: u32,
    pub(crate) compact_log_bytes_min: u64,
    pub(crate) compact_log_count: u32,
    pub(crate) snapshot_interval: Option<u64>,
    pub(crate) io_threads: usize,
    pub(crate) keep_backups: u32,
    pub(crate) log_way: LogWay,
    pub(crate) segment_bytes_min: u64,
    pub(crate) segment_bytes_max: u64,
    pub(crate) max_unsynced_bytes: u64,
    pub(crate) max_log_bytes: Option<u64>,
    pub(crate) max_memory_bytes: Option<u64>,
    pub(crate) lock_timeout: Duration,
    pub(crate) create: bool,
    pub(crate) recovery: RecoveryMode,
    pub(crate) background: bool,
    pub(crate) expiry: bool,
    pub(crate) sweep_interval: Duration,
    pub(crate) instant_open: bool,
    pub(crate) progress: Option<RecoveryProgress>,
    pub(crate) fs: Arc<dyn Fs>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

const MIB: u64 = 1024 * 1024;

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            durability: Durability::Process,
            sync_interval: Duration::from_secs(1),
            map_shards: 64,
            snapshot_shards: None,
            snapshot_shard_bytes: 32 * MIB,
            compact_log_percent: 120,
            compact_log_bytes_min: 4 * MIB,
            compact_log_count: 64,
            snapshot_interval: None,
            io_threads: 0,
            keep_backups: 0,
            log_way: LogWay::Auto,
            segment_bytes_min: MIB,
            segment_bytes_max: 64 * MIB,
            max_unsynced_bytes: 1024 * MIB,
            max_log_bytes: None,
            max_memory_bytes: None,
            lock_timeout: Duration::ZERO,
            create: true,
            recovery: RecoveryMode::TornTail,
            background: true,
            expiry: false,
            sweep_interval: Duration::from_secs(1),
            instant_open: false,
            progress: None,
            fs: Arc::new(StdFs),
        }
    }

    /// What a write survives unless the call says otherwise.
    /// Default `Process`: it costs a memory copy, and most programs die more often than machines.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The longest time that a `Process` write stays unsynced (plus the time of the sync itself).
    /// Default 1 s: what Redis users know as `everysec`; one sync a second costs a disk nothing.
    /// At least 1 ms.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = interval;
        self
    }

    /// Shards of the map in memory, each behind a lock of its own: a power of two, at most 4096.
    /// Default 64: their locks and heads stay in a processor's cache, which a read notices more than that
    /// two of many threads meet now and then (`docs/design.md`, "How many shards").
    #[must_use]
    pub fn map_shards(mut self, shards: usize) -> Self {
        self.map_shards = shards;
        self
    }

    /// A fixed number of files for each snapshot, 1 to 1024. Default: by [`Options::snapshot_shard_bytes`].
    #[must_use]
    pub fn snapshot_shards(mut self, shards: u32) -> Self {
        self.snapshot_shards = Some(shards);
        self
    }

    /// The size that each file of a snapshot aims at. Default 32 MiB: some dozens of files for
    /// gigabytes, enough for every core at loading, and none so long that one of them is waited for.
    #[must_use]
    pub fn snapshot_shard_bytes(mut self, bytes: u64) -> Self {
        self.snapshot_shard_bytes = bytes;
        self
    }

    /// Compaction starts when the logs hold this many percent of the live bytes. Default 120: each byte
    /// is written about 2.3 times, and the disk holds about four times the data at the most.
    #[must_use]
    pub fn compact_log_percent(mut self, percent: u32) -> Self {
        self.compact_log_percent = percent;
        self
    }

    /// Compaction does not start below this size of the logs. Default 4 MiB, which is replayed in
    /// a few milliseconds.
    #[must_use]
    pub fn compact_log_bytes_min(mut self, bytes: u64) -> Self {
        self.compact_log_bytes_min = bytes;
        self
    }

    /// Compaction also starts when there are this many logs more than their size explains: opening a
    /// store often leaves small ones. Default 64.
    #[must_use]
    pub fn compact_log_count(mut self, count: u32) -> Self {
        self.compact_log_count = count;
        self
    }

    /// Compaction also starts after this many writes. Default: never for this reason, since a count says
    /// nothing about sizes.
    #[must_use]
    pub fn snapshot_interval(mut self, writes: u64) -> Self {
        self.snapshot_interval = Some(writes);
        self
    }

    /// Threads that load and save shards, in a pool of the store's own that is started when it is first needed.
    /// While others write, half of them save shards at a time, at least one. Default 0: one for each core.
    #[must_use]
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.io_threads = threads;
        self
    }

    /// How many full snapshots older than the latest are kept, with the logs between them. Default 0.
    #[must_use]
    pub fn keep_backups(mut self, backups: u32) -> Self {
        self.keep_backups = backups;
        self
    }

    /// How the log reaches its files. Default `Auto`.
    #[must_use]
    pub fn log_way(mut self, way: LogWay) -> Self {
        self.log_way = way;
        self
    }

    /// The sizes of log segments: the first of a small store, and the largest.
    /// Default 1 MiB to 64 MiB, growing with the logs while they fill up in less than a second: a thousand small
    /// stores stay small, and a large one rotates a few dozen times a second at full speed.
    #[must_use]
    pub fn segment_bytes(mut self, min: u64, max: u64) -> Self {
        self.segment_bytes_min = min;
        self.segment_bytes_max = max;
        self
    }

    /// Writers wait when this much of the log is unsynced. Default 1 GiB: about what a disk takes in
    /// a second, so that a full page cache never stalls for longer.
    #[must_use]
    pub fn max_unsynced_bytes(mut self, bytes: u64) -> Self {
        self.max_unsynced_bytes = bytes;
        self
    }

    /// Writers wait for compaction when the logs hold this much, and fail with [`Error::LogFull`] when
    /// compaction fails. Default: no limit but the disk.
    #[must_use]
    pub fn max_log_bytes(mut self, bytes: u64) -> Self {
        self.max_log_bytes = Some(bytes);
        self
    }

    /// A write that would take the map's memory over this many bytes fails with
    /// [`Error::MemoryCap`]. Default: none. Loading a store is not limited by it.
    #[must_use]
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory_bytes = Some(bytes);
        self
    }

    /// How long opening waits for another process to let go of the folder, as in a rolling restart.
    /// Default zero: it fails at once with [`Error::Locked`].
    #[must_use]
    pub fn lock_timeout(mut self, wait: Duration) -> Self {
        self.lock_timeout = wait;
        self
    }

    /// Whether a missing folder (one level) is created. Default true.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// What to do with a torn end of the log. Default [`RecoveryMode::TornTail`].
    #[must_use]
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.recovery = mode;
        self
    }

    /// Whether the store runs threads of its own. Default true. Without them nothing happens by itself:
    /// no timed sync, no compaction but [`crate::Store::compact`]; log segments are prepared by the
    /// writer that needs one. For tests that must be repeatable, and for programs that may not have threads.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether entries can have a time to live: see [`crate::Store::insert_with_ttl`]. Default false: then nothing
    /// of it costs anything.
    ///
    /// With it each value takes eight bytes more, in memory and on disk, and the folder says so: opening it the
    /// other way is [`Error::Expiry`]. Expiry goes by the machine's wall clock, and by the highest time that
    /// the store has recorded: a clock that is set back brings nothing back that was once seen to be
    /// gone, also in a later process, and times to live go on from where they were. (Seen by a read of any
    /// kind, a condition, a write, or the sweep: the time is then written to the log first, with
    /// [`Durability::Process`].) A clock that is set ahead lets entries expire, for good.
    ///
    /// Entries that have expired and are not swept yet count in [`crate::Store::len`] and [`crate::Store::stats`].
    #[must_use]
    pub fn expiry(mut self, expiry: bool) -> Self {
        self.expiry = expiry;
        self
    }

    /// The shortest time between two sweeps of a store with expiry. Default 1 s. A sweep comes only when
    /// something has expired, and takes at most a fifth of one core. At least 1 ms.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }

    /// Whether opening returns before the snapshot is in memory. Default false: then everything is read and checked
    /// before the first operation.
    ///
    /// With it opening replays the logs, and of the snapshot it reads only where each range of hashes stands: 5 M
    /// entries are ready in 2 to 3 ms (`cargo xtask bench`). A thread loads the records behind it, on
    /// [`Options::io_threads`]; who reads or writes a key that is not there yet loads its part of the file first: some
    /// 256 KiB, or some large values. That takes some tenths of a millisecond where the page cache has it, and up to some
    /// milliseconds where all processors are busy loading.
    ///
    /// - Whatever concerns all entries waits until all are loaded: iteration, views, [`crate::Store::len`] and
    ///   [`crate::Store::is_empty`], [`crate::Store::clear`], a compaction, and a write that
    ///   [`Options::max_memory_bytes`] might not allow. [`crate::Store::wait_loaded`] does nothing else: what says that
    ///   the service is ready, where it needs more than single keys. The sweep of what has expired begins then.
    ///   [`crate::Store::stats`] tells of what is loaded; [`Options::on_progress`] is called while it is.
    /// - The promises are the same, but damage in the snapshot is found when that part is loaded, and not by opening.
    ///   The operation gets [`Error::Damaged`], from then on no write is taken until the store is opened again
    ///   ([`crate::Health::Damaged`]), and no snapshot replaces the damaged one. What was written before is in the logs,
    ///   and is synced as ever. A process that ends before all is loaded has not looked at everything.
    /// - A part that cannot be read just now fails the operation that needs it. The loading thread tries it again
    ///   ([`crate::Health::LoadFailing`]), and so does the next operation.
    /// - Without [`Options::background`] no thread loads: what is needed is loaded by who needs it.
    /// - A child of `fork` can read once all is loaded.
    /// - Where a snapshot is of format version 1, which does not tell where what stands, or has values of an older
    ///   version of their type, opening loads everything, as by default; the next compaction writes another one.
    #[must_use]
    pub fn instant_open(mut self, instant: bool) -> Self {
        self.instant_open = instant;
        self
    }

    /// Called while opening with what was read so far, from the threads that read (behind an instant opening, while the
    /// store is in use); and while a snapshot is
    /// written, by the threads that write it, with [`Phase::Compact`](crate::Phase::Compact). No lock is held
    /// meanwhile. It must not wait for the store: opening or compaction waits for it.
    #[must_use]
    pub fn on_progress(
        mut self,
        observer: impl Fn(crate::Progress) + Send + Sync + 'static,
    ) -> Self {
        self.progress = Some(RecoveryProgress::new(observer));
        self
    }

    /// The file system to live on. Default: the real one. Tests put a simulated disk here.
    #[must_use]
    pub fn file_system(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// Opens or creates the store in this folder: takes the lock, restores what is on disk, and
    /// returns when reads and writes can begin.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], [`Error::Locked`], [`Error::WrongType`], [`Error::Damaged`] and the
    /// others of their kind; in each case the folder is as it was, but for snapshots that a crash had
    /// left half published, which are finished or dropped first.
    pub fn open<K: Key, V: Value>(&self, path: impl AsRef<Path>) -> Result<Store<K, V>> {
        Store::open_with(self, path.as_ref())
    }

    /// Reads the store in this folder beside whoever writes it. See [`ReadOnlyStore`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::WrongType`], [`Error::Damaged`] and the others of opening.
    pub fn open_read_only<K: Key, V: Value>(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<ReadOnlyStore<K, V>> {
        ReadOnlyStore::open_with(self, path.as_ref())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bad =
            |option, reason: &str| Err(Error::InvalidOption { option, reason: reason.into() });
        if self.sync_interval < Duration::from_millis(1) {
            return bad(
                "sync_interval",
                "below 1 ms: use Durability::Power for writes that must not wait",
            );
        }
        if self.sweep_interval < Duration::from_millis(1) {
            return bad("sweep_interval", "must be at least 1 ms");
        }
        if self.sync_interval > Duration::from_secs(86_400) {
            return bad("sync_interval", "over a day: that is no durability");
        }
        if !self.map_shards.is_power_of_two() || self.map_shards > 4096 {
            return bad("map_shards", "must be a power of two from 1 to 4096");
        }
        if matches!(self.snapshot_shards, Some(0 | 1025..)) {
            return bad("snapshot_shards", "must be from 1 to 1024");
        }
        if self.snapshot_shard_bytes < 64 * 1024 {
            return bad("snapshot_shard_bytes", "must be at least 64 KiB");
        }
        if self.compact_log_percent < 10 {
            return bad(
                "compact_log_percent",
                "must be at least 10: less would write snapshots all the time",
            );
        }
        if self.compact_log_bytes_min < 4096 {
            return bad("compact_log_bytes_min", "must be at least 4096");
        }
        if self.compact_log_count == 0 {
            return bad("compact_log_count", "must be at least 1");
        }
        if self.snapshot_interval == Some(0) {
            return bad(
                "snapshot_interval",
                "must be at least 1; leave it out to compact by size alone",
            );
        }
        if self.io_threads > 1024 {
            return bad("io_threads", "must be at most 1024");
        }
        if self.segment_bytes_min < 16 * 1024 || !self.segment_bytes_min.is_multiple_of(4096) {
            return bad(
                "segment_bytes",
                "the smallest must be a multiple of 4096 and at least 16 KiB",
            );
        }
        if self.segment_bytes_max < self.segment_bytes_min
            || self.segment_bytes_max > 1024 * MIB
            || !self.segment_bytes_max.is_multiple_of(4096)
        {
            return bad(
                "segment_bytes",
                "the largest must be a multiple of 4096, not below the smallest and at most 1 GiB",
            );
        }
        if self.max_unsynced_bytes < 64 * 1024 {
            return bad("max_unsynced_bytes", "must be at least 64 KiB");
        }
        if self.max_log_bytes.is_some_and(|max| max < 4 * self.segment_bytes_min) {
            return bad("max_log_bytes", "must be at least four segments of the smallest size");
        }
        if self.max_memory_bytes == Some(0) {
            return bad("max_memory_bytes", "must be at least 1; leave it out for no cap");
        }
        Ok(())
    }
}
