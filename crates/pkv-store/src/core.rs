//! What a store is made of, how its parts start and how they end.
//!
//! # Lock order
//!
//! Taken from top to bottom, never the other way:
//!
//! 1. `Compaction::running`: one compaction at a time
//! 2. `Folder::creation`: making logs and taking them into use in the order of their ordinals
//! 3. `Folder::set`: the names in the folder
//! 4. the map's shards, in ascending order
//! 5. `Views::list`, then the `sides` of a view: what open views keep
//! 6. `Commit::waiting`: who waits for a sync
//! 7. `Log::tail`: the end of the log
//!
//! Above 4, and never with 1 to 3, stand `Hub::beginning`: one watch at a time begins, and
//! `Expiry::recording`: one at a time writes the time record, or clears. `Hub::state`, with a
//! watch's queue below it, is taken with none of 4 to 7 held.
//!
//! Right above 4, under 1 or alone, stands `Span::waiting`: who loads a part of the snapshot behind an instant opening;
//! `SpanFile::left` is taken under it and takes none. (Opening takes it under 4, before there is anything to load.)
//!
//! `Pace::state`, the turns of the threads that write a snapshot, is taken with none of 2 to 7 held and takes none.
//!
//! `Space::giving`, held while space is given back, is taken under 1 or alone; `Space::held` is taken under that, under 3,
//! or alone, and takes none.
//!
//! `get_many` holds shards in no order, and waits for none of them while it does.
//!
//! Who reads a shard without its lock (`map/read.rs`) is waited for by the next writer, under 4, and waits for none of these.
//!
//! `ReadyChunks::ready` and `ReadyValues::ready`, the map's memory that is ready for use, are taken under 4 or alone and take
//! none.
//!
//! `Log::append` wakes the sync thread, which is 6, under 4 and not under 7. 5 is let go before 6 and 7.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pkv_fs::{Access, ForkGuard, Fs, SegmentWay};
use pkv_snapshot_set::FileSnapshotSet;

use crate::compact::Compaction;
use crate::error::{Error, Holder, Result};
use crate::events;
use crate::expiry::{self, Expiry};
use crate::folder::{Folder, Identity};
use crate::health::{Cause, Health};
use crate::log::{Log, LogSettings, LogStart};
use crate::map::Map;
use crate::options::{LogWay, Options, RecoveryMode};
use crate::pool::IoPool;
use crate::purge::purge_dropped_now;
use crate::recover::{self, ReadOptions, RecoveryReport, Spans, Types};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, JoinHandle, Thread};
use crate::view::Views;
use crate::watch::Hub;

/// An open store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) folder: Arc<Folder>,
    pub(crate) map: Map,
    /// What of the snapshot is not in the map yet.
    pub(crate) spans: Spans,
    pub(crate) views: Views,
    pub(crate) log: Log,
    pub(crate) pool: IoPool,
    pub(crate) compaction: Compaction,
    pub(crate) report: RecoveryReport,
    pub(crate) fork: ForkGuard,
    pub(crate) watch: Arc<Hub>,
    pub(crate) expiry: Option<Expiry>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
}

impl Core {
    /// Opens or creates the store in this folder.
    ///
    /// 1. The options are checked.
    /// 2. The folder is locked, then scanned; a publish that a crash interrupted is finished.
    /// 3. Snapshot and logs are read, judged and repaired (`recover`); of an instant opening, of the snapshot only where
    ///    what stands.
    /// 4. The threads start.
    pub(crate) fn open(options: &Options, dir: &Path, types: &Types) -> Result<Arc<Self>> {
        // 1.
        options.check()?;
        if options.recovery == RecoveryMode::Salvage {
            let reason = "Salvage never changes a folder: open_read_only shows what is whole, pkv_store::salvage writes it into a new one";
            return Err(Error::InvalidOption { option: "recovery", reason: reason.into() });
        }
        check_schemas(types)?;
        let fs = Arc::clone(&options.fs);
        let started = Instant::now();
        // 2.
        let mut set = open_set(options, dir)?;
        leave_word(&set);
        // 3.
        let pool = IoPool::new(if options.background { options.io_threads } else { 1 });
        let read = ReadOptions {
            fs: &*fs,
            dir,
            root: recover::read_root(&*fs, dir),
            map_shards: options.map_shards,
            types,
            pool: &pool,
            progress: options.progress.as_ref(),
            live: false,
            instant: options.instant_open,
        };
        let opened = match recover::open(&mut set, &read, options.recovery) {
            Err(error) if is_full(&error) => {
                // Of what was dropped. Recovery comes to the same decision once more.
                purge_dropped_now(&mut set)?;
                recover::open(&mut set, &read, options.recovery)
            }
            opened => opened,
        };
        let (contents, start) = opened?;
        let identity = match (contents.identity.clone(), types) {
            (Some(identity), _) => identity,
            (None, Types::Known { key_schema, upgrade }) => Identity {
                // The empty map already hashes with a seed of its own.
                hash_seed: contents.map.hash_seed(),
                ..Identity::new(&*fs, key_schema.clone(), upgrade.schema().to_owned())
            },
            (None, _) => return Err(Error::NoStore { path: dir.to_path_buf() }),
        };
        let has_expiry = match types {
            Types::Known { .. } => options.expiry,
            _ => expiry::inner_schema(&identity.value_schema).is_some(),
        };
        let mut report = contents.report;
        report.total_time = started.elapsed();
        // 4.
        let (map, spans) = (contents.map, contents.spans);
        let parts = Parts { identity, has_expiry, map, spans, pool, report, start };
        Self::start(options, dir, set, parts)
    }

    /// Makes a store in an empty folder whose map holds these contents. They are in no file until a
    /// compaction has written them.
    pub(crate) fn create(
        options: &Options,
        dir: &Path,
        identity: Identity,
        map: Map,
    ) -> Result<Arc<Self>> {
        let set = open_set(options, dir)?;
        leave_word(&set);
        let has_expiry = expiry::inner_schema(&identity.value_schema).is_some();
        let pool = IoPool::new(if options.background { options.io_threads } else { 1 });
        let live_bytes = map.usage().payload_bytes;
        let start = LogStart { live_bytes, ..LogStart::default() };
        let report = RecoveryReport::default();
        let spans = Spans::default();
        let parts = Parts { identity, has_expiry, map, spans, pool, report, start };
        Self::start(options, dir, set, parts)
    }

    /// Puts the parts together and starts the threads.
    fn start(
        options: &Options,
        dir: &Path,
        set: FileSnapshotSet,
        parts: Parts,
    ) -> Result<Arc<Self>> {
        let Parts { identity, has_expiry, map, spans, pool, report, start } = parts;
        let fs = Arc::clone(&options.fs);
        let way = segment_way(options, &*fs, dir)?;
        let folder = Arc::new(Folder::new(Arc::clone(&fs), dir, identity, set));
        let watch = Arc::new(Hub::default());
        let settings = LogSettings {
            way,
            segment_bytes_min: options.segment_bytes_min,
            segment_bytes_max: options.segment_bytes_max,
            max_unsynced_bytes: options.max_unsynced_bytes,
            max_log_bytes: options.max_log_bytes,
            snapshot_interval: options.snapshot_interval,
            sync_interval: options.sync_interval,
            background: options.background,
            watch: Arc::clone(&watch),
        };
        let expiry = has_expiry.then(|| Expiry::open(options, &fs, &map));
        let core = Arc::new(Self {
            options: options.clone(),
            log: Log::new(Arc::clone(&folder), settings, start),
            folder,
            map,
            spans,
            views: Views::default(),
            pool,
            compaction: Compaction::default(),
            report,
            fork: ForkGuard::new(),
            watch,
            expiry,
            threads: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
        });
        events::opened(dir, &core.report);
        if options.background
            && let Err(error) = core.start_threads(way)
        {
            // Without its threads the store would fall asleep at the first full segment.
            let _ = core.close();
            return Err(error);
        }
        if !core.report.dropped_pending.is_empty() {
            core.purge_dropped_later();
        }
        Ok(core)
    }

    fn start_threads(self: &Arc<Self>, way: SegmentWay) -> Result<()> {
        let core = Arc::clone(self);
        self.spawn("pkv-keeper", move || {
            core.log.keeper_thread(&|| core.compact_if_due(), &|| core.tell_health(), &|| {
                core.snapshot_space()
            });
        })?;
        if self.expiry.is_some() {
            let core = Arc::clone(self);
            self.spawn(SWEEP_THREAD, move || core.sweep_thread())?;
        }
        if !self.spans.are_loaded() {
            let core = Arc::clone(self);
            self.spawn("pkv-load", move || core.load_thread())?;
        }
        let core = Arc::clone(self);
        self.spawn("pkv-sync", move || core.log.sync_thread())?;
        if way == SegmentWay::Mapped {
            let core = Arc::clone(self);
            self.spawn("pkv-populate", move || {
                core.log.populate_thread(&|| core.map.make_ready());
            })?;
        }
        Ok(())
    }

    /// Starts a thread whose panic poisons the store: what it was about to do is then not done, and
    /// nobody may rely on it.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let core = Arc::clone(self);
        let run = move || {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                core.log.poison(Cause::panic(name));
            }
        };
        let mut threads = self.threads.lock();
        // Looked at with the list locked: closing takes the list once, and a thread that came later
        // would outlive the store.
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        threads.retain(|thread| !thread.is_finished());
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
            Error::LogUnavailable(Cause::other(format!("cannot start the thread {name}: {error}")))
        })?;
        threads.push(thread);
        Ok(())
    }

    /// Ends the store, once: nothing is written any more, the threads are gone, the log is synced and
    /// sealed, the folder's lock is free. A forked child only forgets what is not its own.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if self.fork.forked() {
            // The threads were not forked along: joining them would wait for ever.
            if let Some(mut threads) = self.threads.try_lock() {
                std::mem::take(&mut *threads).into_iter().for_each(std::mem::forget);
            }
            self.folder.release_in_child();
            return Err(Error::Forked);
        }
        self.spans.stop();
        // It writes, and a writer waits for the threads that are ended next.
        if let Some(expiry) = &self.expiry {
            expiry.stop();
            self.join(|thread| thread.name() == Some(SWEEP_THREAD));
        }
        let is_small = self.payload_bytes() <= COMPACTED_BY_CLOSE_BYTES_MAX;
        if !is_small {
            self.compaction.cancel();
        }
        self.compaction.stop_retrying();
        self.log.stop_threads();
        self.join(|_| true);
        if is_small && self.options.background && self.compaction_due() {
            // Else a store that is opened for moments only would never get one done, and leave a log for
            // each. A failure is no failure of the close: the logs are all there.
            let _ = self.compact();
        }
        self.folder.space.give_back();
        let ended = self.log.end();
        self.log.finish_callbacks();
        self.log.tell_watches();
        self.watch.close();
        self.folder.release();
        events::closed(&self.folder.dir, ended.as_ref().copied());
        ended
    }

    /// Waits for the end of these threads.
    fn join(&self, is_meant: impl Fn(&Thread) -> bool) {
        // The list is not locked while they are waited for: the keeper may be about to look at it.
        let meant: Vec<_> =
            self.threads.lock().extract_if(.., |thread| is_meant(thread.thread())).collect();
        let this_thread = thread::current().id();
        for thread in meant {
            if thread.thread().id() != this_thread {
                let _ = thread.join();
            }
        }
    }

    /// Tells of a health that has changed.
    pub(crate) fn tell_health(&self) {
        events::health_changed(&self.folder.dir, &self.health());
    }

    /// Whether writes are taken, and if not, why.
    pub(crate) fn health(&self) -> Health {
        if let Some(cause) = self.log.poisoned() {
            return Health::Poisoned(cause);
        }
        if let Some(damage) = self.spans.damage() {
            return Health::Damaged(Cause::other(damage.to_string()));
        }
        match (self.log.unavailable(), self.log.compaction_failing()) {
            (Some((true, cause)), _) => Health::DiskFull(cause),
            (Some((false, cause)), _) => Health::LogUnavailable(cause),
            (None, Some(cause)) => Health::CompactionFailing(cause),
            (None, None) => self.spans.failing().map_or(Health::Good, Health::LoadFailing),
        }
    }
}

/// What a store starts with.
struct Parts {
    identity: Identity,
    has_expiry: bool,
    map: Map,
    spans: Spans,
    pool: IoPool,
    report: RecoveryReport,
    start: LogStart,
}

/// The name of the thread that removes what has expired.
const SWEEP_THREAD: &str = "pkv-sweep";

/// A store that holds no more is compacted by a close, if it is due: that takes some tenths of a second.
const COMPACTED_BY_CLOSE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Whether there was too little room.
fn is_full(error: &Error) -> bool {
    match error {
        Error::Fs(error) => error.is_full(),
        Error::DiskFull(_) => true,
        _ => false,
    }
}

/// On a disk with less room what opening dropped is removed before the folder is repaired, which may take some.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;

/// Both names together must fit a file's header.
fn check_schemas(types: &Types) -> Result<()> {
    let Types::Known { key_schema, upgrade } = types else { return Ok(()) };
    let bytes_max = pkv_format::SCHEMAS_BYTES_MAX;
    if key_schema.len() + upgrade.schema().len() <= bytes_max {
        return Ok(());
    }
    let reason = format!("the schema names are longer than {bytes_max} bytes together");
    Err(Error::InvalidOption { option: "key and value type", reason })
}

/// Locks and scans the folder.
fn open_set(options: &Options, dir: &Path) -> Result<FileSnapshotSet> {
    let settings = pkv_snapshot_set::Options::new()
        .create(options.create)
        .lock_wait(options.lock_timeout)
        .leave_dropped(options.background)
        .keep_backups(usize::try_from(options.keep_backups).unwrap_or(usize::MAX));
    match FileSnapshotSet::open_with(Arc::clone(&options.fs), dir, settings) {
        Ok(mut set) => {
            let has_room = || {
                let free_bytes = options.fs.free_bytes(dir).ok().flatten();
                free_bytes.is_some_and(|free_bytes| free_bytes >= ROOM_BYTES)
            };
            if !set.report().dropped_pendings.is_empty() && !has_room() {
                purge_dropped_now(&mut set)?;
            }
            Ok(set)
        }
        Err(pkv_snapshot_set::Error::Locked { path }) => {
            let holder = read_word(&*options.fs, &path);
            Err(Error::Locked { path, holder })
        }
        Err(pkv_snapshot_set::Error::Fs(error))
            if error.kind() == std::io::ErrorKind::NotFound && !options.create =>
        {
            Err(Error::NotFound { path: dir.to_path_buf() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Bytes at the front of the lock file in which the holder says who it is.
const WORD_BYTES: usize = 32;

/// Says in the lock file which process holds it, for the error that another one shows. Information
/// only: it is not synced, and failing to write it is no reason not to open.
fn leave_word(set: &FileSnapshotSet) {
    let mut word = [b' '; WORD_BYTES];
    let text = format!("pid {}\n", std::process::id());
    for (place, byte) in word.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    let _ = set.lock_file().write_at(0, &word);
}

fn read_word(fs: &dyn Fs, path: &Path) -> Holder {
    let mut word = [0; WORD_BYTES];
    let read = fs.open(path, Access::Read).and_then(|file| file.read_at(0, &mut word));
    let text = read.ok().and_then(|bytes| std::str::from_utf8(word.get(..bytes)?).ok());
    match text.and_then(|text| text.lines().next()?.strip_prefix("pid ")?.parse().ok()) {
        Some(id) if id == std::process::id() => Holder::ThisProcess,
        Some(id) => Holder::Process(id),
        None => Holder::Unknown,
    }
}

fn segment_way(options: &Options, fs: &dyn Fs, dir: &Path) -> Result<SegmentWay> {
    let can_map = options.log_way != LogWay::Written && fs.can_map(dir)?;
    match (options.log_way, can_map) {
        (LogWay::Mapped, false) => Err(Error::InvalidOption {
            option: "log_way",
            reason: format!(
                "a mapped log is not known to be safe in {}: a full disk could be a signal there; use LogWay::Auto",
                dir.display()
            ),
        }),
        (LogWay::Auto | LogWay::Mapped, true) => Ok(SegmentWay::Mapped),
        (LogWay::Auto, false) | (LogWay::Written, _) => Ok(SegmentWay::Written),
    }
}
