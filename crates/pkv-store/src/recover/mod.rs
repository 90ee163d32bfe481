//! Opening: from a folder to a map, and the one place that decides what a bad byte means.
//!
//! A log of a killed process or of a machine that lost power ends *torn*: whatever was not synced may be
//! missing, in any mix. That is normal; it is cut off and reported. Bytes that had been synced and are
//! wrong are *damage*: an error, and nothing is changed. The two are told apart by the highest
//! watermark found anywhere (see `FORMAT.md`, "Torn or damaged").
//!
//! Opening may be cut off at any point and run again: it changes nothing before it has decided, and
//! what it changes then leads to the same decision.

mod apply;
mod file;
mod follow;
mod load;
mod logs;
mod repair;
mod replay;
mod salvage;
mod scan;
mod spans;
mod upgrade;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkv_format::{FileHeader, SUCCESSOR_BYTES, SUCCESSOR_OFFSET, Successor};
use pkv_fs::{Access, Fs};
use pkv_snapshot_set::{
    FileSnapshotSet, LOCK_FILE_NAME, SnapshotInfo, SnapshotOrdinal, SnapshotSet, SnapshotType,
};

use crate::codec::{Key, Upgrade, Value, split_version};
use crate::error::{Error, Result};
use crate::expiry;
use crate::folder::{Identity, root_seed};
use crate::log::{LogStart, Previous};
use crate::map::{Map, MapOptions};
use crate::options::{Options, RecoveryMode};
use crate::pool::IoPool;
use crate::salvage::SalvageReport;
pub(crate) use follow::{follow, read_live};
pub(crate) use salvage::salvage;
pub(crate) use spans::Spans;

/// What opening found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The ordinal of the full snapshot that was loaded.
    pub snapshot: Option<u64>,
    /// Entries in it.
    pub snapshot_records: u64,
    /// Whether they came into memory later, or do so still: see [`Options::instant_open`].
    pub is_instant: bool,
    /// Logs that were replayed.
    pub logs: u32,
    /// Writes replayed from them; a batch is one.
    pub writes: u64,
    /// Bytes read from all files.
    pub bytes_read: u64,
    /// The torn end that was cut, if there was one.
    pub torn: Option<TornEnd>,
    /// Files dropped: logs that had never been used, and logs behind a torn end.
    pub dropped: Vec<PathBuf>,
    /// The ordinal of a snapshot whose publishing a crash had interrupted and that was finished.
    pub rolled_forward: Option<u64>,
    /// Snapshots that had not been finished and were dropped. In a store with threads their files go behind the opening.
    pub dropped_pending: Vec<u64>,
    /// The last write that is there.
    pub last_seq: u64,
    /// Everything up to this write was known to be synced before opening began.
    pub watermark: u64,
    /// What was done with a torn end and with damage.
    pub mode: RecoveryMode,
    /// What was kept and lost, where the mode is [`RecoveryMode::Salvage`].
    pub salvage: Option<Box<SalvageReport>>,
    /// Time spent loading the snapshot while opening.
    pub load_time: Duration,
    /// Time spent replaying logs.
    pub replay_time: Duration,
    /// Time spent from the lock to the end.
    pub total_time: Duration,
}

/// Where a log was torn and what was cut.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TornEnd {
    /// The log.
    pub path: PathBuf,
    /// The offset of the first byte that was not a whole frame.
    pub offset: u64,
    /// The sequence number that is missing there, the first one lost.
    pub seq: u64,
    /// Bytes dropped from there on, in this and later logs.
    pub bytes_dropped: u64,
    /// What was there instead of a frame.
    pub reason: String,
}

/// How far an opening or a compaction has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// What is being read, or written.
    pub phase: Phase,
    /// Bytes of it so far.
    pub bytes_done: u64,
    /// Bytes of it in all.
    pub bytes_total: u64,
}

/// What is being read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The full snapshot.
    Load,
    /// The logs above it.
    Replay,
    /// A full snapshot is being written; the bytes are those of keys and values.
    Compact,
}

/// The observer given to [`crate::Options::on_progress`].
#[derive(Clone)]
pub(crate) struct RecoveryProgress(Arc<dyn Fn(Progress) + Send + Sync>);

impl RecoveryProgress {
    pub(crate) fn new(observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl std::fmt::Debug for RecoveryProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryProgress")
    }
}

/// Which types the files of a folder may hold.
#[derive(Debug)]
pub(crate) enum Types {
    /// These: keys of exactly this schema, values of today's or of an older version that can be upgraded.
    Known { key_schema: String, upgrade: Upgrade },
    /// Any, the same in all files: for tools that write.
    OfFolder,
    /// Any, but for the version of values the same in all files: for tools that only look.
    OfEachFile,
}

impl Types {
    pub(crate) fn of<K: Key, V: Value>(options: &Options) -> Self {
        Self::known(options, K::schema().into_owned(), Upgrade::of::<V>())
    }

    pub(crate) fn named(options: &Options, key_schema: String, value_schema: String) -> Self {
        Self::known(options, key_schema, Upgrade::none(value_schema))
    }

    fn known(options: &Options, key_schema: String, upgrade: Upgrade) -> Self {
        let upgrade = if options.expiry { upgrade.with_deadlines() } else { upgrade };
        Self::Known { key_schema, upgrade }
    }
}

/// What reading a folder needs to know.
#[derive(Debug)]
pub(crate) struct ReadOptions<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) dir: &'a Path,
    pub(crate) map_shards: usize,
    pub(crate) types: &'a Types,
    pub(crate) pool: &'a IoPool,
    pub(crate) progress: Option<&'a RecoveryProgress>,
    /// The first log of the store, by the word of the lock file.
    pub(crate) root: Option<Successor>,
    /// Somebody may be writing to the folder meanwhile.
    pub(crate) live: bool,
    /// The snapshot's records are loaded later.
    pub(crate) instant: bool,
}

/// The lock file's record of the first log. One that cannot be read counts as none: it only guards
/// against the loss of that log.
pub(crate) fn read_root(fs: &dyn Fs, dir: &Path) -> Option<Successor> {
    let file = fs.open(&dir.join(LOCK_FILE_NAME), Access::Read).ok()?;
    let mut record = [0; SUCCESSOR_BYTES];
    let got = file.read_at(SUCCESSOR_OFFSET, &mut record).ok()?;
    Successor::decode(root_seed(), record.get(..got)?)
}

/// A folder's contents, read and judged; nothing on disk was changed.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) map: Map,
    /// What of the snapshot is not in it yet.
    pub(crate) spans: Spans,
    /// `None`: the folder holds no store yet.
    pub(crate) identity: Option<Identity>,
    pub(crate) report: RecoveryReport,
    logs: logs::Logs,
    base: Option<load::Base>,
    /// The last frame that was read, where the reading may go on from there.
    tail: Option<follow::TailMark>,
}

impl Contents {
    /// Bytes that the logs are filled with.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.logs.used_bytes()
    }
}

/// Opens what a folder holds: reads, judges, and makes the disk say the same.
///
/// 1. Load the latest full snapshot; for an instant opening, only what tells where its records stand.
/// 2. Replay the logs above it, as far as they are whole.
/// 3. Decide: damaged (an error; nothing was changed), torn, or clean.
/// 4. Rewrite and sync what lies above the highest watermark, cut what is torn, drop what is unused.
///
/// The caller has taken the lock, scanned the folder and finished an interrupted publish.
pub(crate) fn open(
    set: &mut FileSnapshotSet,
    options: &ReadOptions<'_>,
    mode: RecoveryMode,
) -> Result<(Contents, LogStart)> {
    let restore: Vec<SnapshotInfo> = set.get_snapshots_to_restore().into_iter().cloned().collect();
    // 1. to 3.
    let mut contents = read(&restore, options)?;
    contents.report.mode = mode;
    // An ordinal that some file speaks of is taken, whether or not the file it names was ever seen.
    for ordinal in contents.logs.named_ordinals() {
        set.note_ordinal(SnapshotOrdinal(ordinal));
    }
    contents.report.rolled_forward = set.report().rolled_forward.last().map(|ordinal| ordinal.0);
    contents.report.dropped_pending =
        set.report().dropped_pendings.iter().map(|ordinal| ordinal.0).collect();
    if let (RecoveryMode::Strict, Some(torn)) = (mode, &contents.report.torn) {
        return Err(follow::torn_error(torn));
    }
    // 4.
    let previous = repair::repair(set, options.fs, &mut contents)?;
    let start = LogStart {
        last_seq: contents.report.last_seq,
        previous,
        log_bytes: contents.logs.used_bytes(),
        log_count: contents.logs.kept_count(),
        live_bytes: contents.map.usage().payload_bytes + contents.spans.payload_bytes_left(),
        snapshot_seq: contents.base.as_ref().map_or(0, |base| base.start_seq),
    };
    Ok((contents, start))
}

/// Steps 1 to 3 of [`open`]: changes nothing, so it also serves tools that only look.
pub(crate) fn read(restore: &[SnapshotInfo], options: &ReadOptions<'_>) -> Result<Contents> {
    let full = restore.iter().find(|info| info.snapshot_type == SnapshotType::FullCompleted);
    let logs: Vec<&SnapshotInfo> =
        restore.iter().filter(|info| info.snapshot_type == SnapshotType::Diff).collect();
    let mut report =
        RecoveryReport { snapshot: full.map(|info| info.ordinal.0), ..RecoveryReport::default() };

    let shards = full.map(|info| load::open_shards(options, info)).transpose()?;
    let first = shards.iter().flatten().next().map(|shard| &shard.header);
    let mut logs = logs::open_logs(options, &logs, first)?;
    let first = shards.iter().flatten().map(|shard| &shard.header).chain(logs.headers()).next();
    let mut identity = first.map(identity_of);
    if let Some(identity) = &mut identity {
        // What is written from here on is of today's version, whatever the first file is.
        identity.value_schema = match options.types {
            Types::Known { upgrade, .. } => upgrade.schema().to_owned(),
            Types::OfFolder | Types::OfEachFile => {
                newest_value_schema(shards.as_deref(), &logs).unwrap_or_default().to_owned()
            }
        };
    }
    if options.live {
        logs::forget_unused(&mut logs.0, logs::Look::Whole)?;
    }
    let map = Map::new(&MapOptions {
        shards: options.map_shards,
        hash_seed: identity
            .as_ref()
            .map_or_else(|| options.fs.random_u64(), |identity| identity.hash_seed),
    })
    .map_err(|_| Error::OutOfMemory)?;

    // 1.
    let started = Instant::now();
    let instant = match &shards {
        Some(shards) if options.instant => spans::open(options, shards)?,
        _ => None,
    };
    let (base, spans) = match (instant, shards) {
        (Some((base, spans)), Some(shards)) => {
            load::expect_entries(&map, base.records, &shards)?;
            (Some(base), spans)
        }
        (_, Some(shards)) => (Some(load::load(options, &map, &shards)?), Spans::default()),
        (_, None) => (None, Spans::default()),
    };
    if let Some(base) = &base {
        report.snapshot_records = base.records;
        report.is_instant = !spans.are_loaded();
        if !report.is_instant {
            report.bytes_read += base.bytes;
        }
        report.load_time = started.elapsed();
    }
    // 2.
    let started = Instant::now();
    let logs = replay::replay(options, &map, &spans, logs, base.as_ref(), &mut report)?;
    report.replay_time = started.elapsed();
    let schema = identity.as_ref().map(|identity| &*identity.value_schema);
    if schema.and_then(expiry::inner_schema).is_some() {
        // The store's time is asked for before anything else; and damage there is found before anything is changed.
        spans.load_for(&map, expiry::time_hash(&map))?;
    }
    // 3.
    logs.judge(&mut report)?;
    Ok(Contents { map, spans, identity, report, logs, base, tail: None })
}

/// The schema of values of the highest version among the files.
fn newest_value_schema<'a>(
    shards: Option<&'a [load::ShardFile]>,
    logs: &'a logs::OpenedLogs,
) -> Option<&'a str> {
    let of_shards = shards.into_iter().flatten().map(|shard| &shard.header);
    let schemas = of_shards.chain(logs.headers()).map(|header| header.value_schema.as_str());
    schemas.max_by_key(|schema| split_version(expiry::inner_schema(schema).unwrap_or(schema)).1)
}

fn identity_of(header: &FileHeader) -> Identity {
    Identity {
        store_id: header.store_id,
        hash_seed: header.hash_seed,
        key_schema: header.key_schema.clone(),
        value_schema: header.value_schema.clone(),
    }
}

/// Opens a file of the folder for reading.
fn open_for_reading(fs: &dyn Fs, path: &Path) -> Result<Arc<dyn pkv_fs::File>> {
    Ok(fs.open(path, Access::Read)?)
}

pub(crate) use file::{NameSays, check_name, check_store, header_error, read_header};
pub(crate) use logs::{is_unused, last_nonzero};
pub(crate) use window::Window;

/// What the next log links to.
pub(crate) type PreviousLog = Previous;
