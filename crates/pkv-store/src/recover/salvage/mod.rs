//! Salvage: reading a damaged folder for everything that its checksums prove whole.
//!
//! Opening stops at the first byte that cannot be right. Salvage passes over it, goes on with the next whole
//! block or frame, and writes down what it passed over. It decides nothing by guess: bytes that no checksum
//! covers are not used.
//!
//! 1. If opening would see nothing damaged or torn, it is what opening sees.
//! 2. Else, if an older full snapshot is whole with its whole chain of logs, that one is the base.
//! 3. Else the newest full snapshot is the base, as far as it is whole.
//! 4. On top of the base come the whole frames of the logs above it, by their numbers.

mod frames;
mod records;
mod window;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_format::{FileHeader, FileKind, FileSeed, HEADER_BYTES, HeaderError};
use pkv_fs::{Access, EntryKind, File};
use pkv_snapshot_set::{
    FileSnapshotSet, Inconsistency, SnapshotFileName, SnapshotInfo, SnapshotOrdinal, SnapshotType,
};

use super::file::{NameSays, check_name, check_store, header_error};
use super::logs::Logs;
use super::spans::Spans;
use super::{Contents, ReadOptions, RecoveryReport, TornEnd, Types, identity_of, read};
use crate::error::{Error, Result};
use crate::expiry;
use crate::folder::Identity;
use crate::map::{Map, MapOptions};
use crate::options::RecoveryMode;
use crate::salvage::{Gap, Lost, SalvageReport};
use window::SalvageWindow;

/// The steps at the head of this file. Changes nothing on disk.
pub(crate) fn salvage(options: &ReadOptions<'_>) -> Result<Contents> {
    // 1. and 2.
    let (base, flaw) = match whole_base(options)? {
        Base::Clean(contents, passed_over) => {
            return Ok(clean(options, *contents, passed_over));
        }
        Base::Full(ordinal, torn) => (Some(ordinal), Some(torn)),
        Base::None(flaw) => (None, flaw),
    };
    // 3. and 4.
    let files = list(options)?;
    let mut salvage = Salvage::new(options, &files, base)?;
    salvage.run(&files, base)?;
    Ok(salvage.finish(flaw))
}

/// What the contents are built on.
enum Base {
    /// All is whole: the contents, and the snapshots that were not needed.
    Clean(Box<Contents>, Vec<u64>),
    /// This full snapshot is whole, and so are the logs from it on; but their end is torn.
    Full(u64, Lost),
    /// None is; what opening says to it.
    None(Option<Lost>),
}

impl From<&TornEnd> for Lost {
    fn from(torn: &TornEnd) -> Self {
        let TornEnd { path, offset, bytes_dropped: bytes, reason, .. } = torn.clone();
        Self { path, offset, bytes, reason, is_torn: true }
    }
}

/// What opening refuses, as the report lists it.
fn refused(dir: &Path, error: &Error) -> Lost {
    let (path, offset, reason) = match error {
        Error::Damaged { path, offset, reason } => (path.clone(), *offset, reason.clone()),
        other => (dir.to_path_buf(), 0, other.to_string()),
    };
    Lost { path, offset, bytes: 0, reason, is_torn: false }
}

/// Tries the full snapshots from the newest down: the first from which opening would come to its end.
fn whole_base(options: &ReadOptions<'_>) -> Result<Base> {
    let scan = FileSnapshotSet::scan(options.fs, options.dir)?;
    let is_full = |info: &&SnapshotInfo| info.snapshot_type == SnapshotType::FullCompleted;
    let newest_named = list(options)?
        .iter()
        .filter(|file| file.is_file && file.name.snapshot_type() == SnapshotType::FullCompleted)
        .map(|file| file.name.ordinal())
        .max();
    let mut candidates: Vec<Option<SnapshotOrdinal>> =
        scan.snapshots.iter().rev().filter(is_full).map(|info| Some(info.ordinal)).collect();
    if newest_named.is_none() {
        candidates.push(None);
    }
    let mut passed_over: Vec<u64> = Vec::new();
    // Nothing may be missing that a newer snapshot held.
    let mut end_seq = 0;
    // Opening looks at the names before it looks into a file.
    let mut flaw = scan.problems.first().map(|problem| {
        refused(options.dir, &pkv_snapshot_set::Error::from(problem.clone()).into())
    });
    if let Some(newest) = newest_named.filter(|newest| candidates.first() != Some(&Some(*newest))) {
        passed_over.push(newest.0);
        end_seq = newest_end_seq(options, newest)?;
    }
    for candidate in candidates {
        let above = |info: &SnapshotInfo| {
            info.snapshot_type == SnapshotType::Diff
                && candidate.is_none_or(|full| info.ordinal > full)
        };
        let full =
            scan.snapshots.iter().filter(is_full).find(|info| Some(info.ordinal) == candidate);
        let restore: Vec<SnapshotInfo> = full
            .into_iter()
            .chain(scan.snapshots.iter().filter(|info| above(info)))
            .cloned()
            .collect();
        match read(&restore, options) {
            // A diff that lacks files or is none is a problem of the whole folder.
            Ok(contents) if contents.report.last_seq >= end_seq && !has_log_problem(&scan) => {
                passed_over.sort_unstable();
                return Ok(match (&contents.report.torn, candidate) {
                    (None, _) => Base::Clean(Box::new(contents), passed_over),
                    (Some(torn), Some(full)) => Base::Full(full.0, torn.into()),
                    (Some(torn), None) => Base::None(Some(torn.into())),
                });
            }
            Err(
                error @ (Error::NewerFormat { .. } | Error::WrongType { .. } | Error::OutOfMemory),
            ) => return Err(error),
            Ok(contents) => flaw = flaw.or(contents.report.torn.as_ref().map(Lost::from)),
            Err(error) => flaw = flaw.or_else(|| Some(refused(options.dir, &error))),
        }
        if let Some(full) = candidate {
            passed_over.push(full.0);
            end_seq = end_seq.max(newest_end_seq(options, full)?);
        }
    }
    Ok(Base::None(flaw))
}

/// Whether the names of the folder lack a log, or have something else in its place.
fn has_log_problem(scan: &pkv_snapshot_set::Scan) -> bool {
    scan.problems.iter().any(|problem| match problem {
        Inconsistency::MissingShards { snapshot_type, .. } => {
            *snapshot_type != SnapshotType::FullCompleted
        }
        // Under the name of a snapshot it is no snapshot that the store has written.
        Inconsistency::NotAFile { path, .. } => path
            .file_name()
            .and_then(SnapshotFileName::parse)
            .is_none_or(|name| name.snapshot_type() == SnapshotType::Diff),
        _ => true,
    })
}

/// The last write that a full snapshot may contain, as far as its footers can be read.
fn newest_end_seq(options: &ReadOptions<'_>, full: SnapshotOrdinal) -> Result<u64> {
    let files = list(options)?;
    let shards = files.iter().filter(|file| file.is_full() && file.name.ordinal() == full);
    let footers = shards.filter_map(|file| {
        let (_, header) = file.open(options).ok()?;
        records::read_footer(options, file, &header.ok()?)
    });
    Ok(footers.map(|footer| footer.end_seq).max().unwrap_or(0))
}

/// The contents of a folder that is whole.
fn clean(options: &ReadOptions<'_>, mut contents: Contents, passed_over: Vec<u64>) -> Contents {
    let report = &contents.report;
    let usage = contents.map.usage();
    let value_schema = contents.identity.as_ref().map(|identity| identity.value_schema.clone());
    let hidden = hidden_entries(value_schema.as_deref(), &contents.map);
    let salvaged = SalvageReport {
        source: options.dir.to_path_buf(),
        key_schema: contents.identity.as_ref().map(|identity| identity.key_schema.clone()),
        value_schema,
        snapshot: report.snapshot,
        passed_over,
        snapshot_records: report.snapshot_records,
        logs: report.logs,
        writes: report.writes,
        entries: usage.entries - hidden,
        payload_bytes: usage.payload_bytes,
        last_seq: report.last_seq,
        watermark: report.watermark,
        ..SalvageReport::default()
    };
    contents.report.mode = RecoveryMode::Salvage;
    contents.report.salvage = Some(Box::new(salvaged));
    contents
}

/// Entries of the store's own, which do not count.
fn hidden_entries(value_schema: Option<&str>, map: &Map) -> u64 {
    let is_timed = value_schema.and_then(expiry::inner_schema).is_some();
    u64::from(is_timed && expiry::has_time_record(map))
}

/// A file whose name is that of a shard.
#[derive(Clone, Debug)]
struct Named {
    path: PathBuf,
    name: SnapshotFileName,
    is_file: bool,
}

impl Named {
    /// A finished shard, or one that an interrupted publish left pending: its ordinal decides.
    fn is_full(&self) -> bool {
        self.name.snapshot_type() != SnapshotType::Diff
    }

    /// Of a shard that stands there both full and pending, the full one comes first.
    fn place(&self) -> (SnapshotOrdinal, u64, u64, bool) {
        let name = &self.name;
        let is_pending = name.snapshot_type() == SnapshotType::Pending;
        (name.ordinal(), name.shard_count(), name.shard(), is_pending)
    }

    /// The open file, and its header if it stands and is that of this name.
    fn open(
        &self,
        options: &ReadOptions<'_>,
    ) -> Result<(Arc<dyn File>, Result<FileHeader, String>)> {
        let file = options.fs.open(&self.path, Access::Read)?;
        let mut window = SalvageWindow::new(&*file, file.len()?);
        window.read(0, crate::frame::bytes_u64(HEADER_BYTES))?;
        let header = match FileHeader::decode(window.bytes()) {
            Ok(header) => header,
            Err(newer @ HeaderError::Newer { .. }) => return Err(header_error(&self.path, &newer)),
            Err(why) => return Ok((file, Err(format!("file header: {why}")))),
        };
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let says = NameSays {
            kind: if self.is_full() { FileKind::Snapshot } else { FileKind::Log },
            ordinal: self.name.ordinal().0,
            shard: narrow(self.name.shard()),
            shard_count: narrow(self.name.shard_count()),
        };
        let checked = match check_name(&self.path, &header, says) {
            Ok(()) => Ok(header),
            Err(Error::Damaged { reason, .. }) => Err(reason),
            Err(error) => return Err(error),
        };
        Ok((file, checked))
    }
}

/// All shards of the folder, ascending by ordinal and shard.
fn list(options: &ReadOptions<'_>) -> Result<Vec<Named>> {
    let mut files: Vec<Named> = options
        .fs
        .list(options.dir)?
        .into_iter()
        .filter_map(|entry| {
            let name = SnapshotFileName::parse(&entry.name)?;
            let is_file = entry.kind == EntryKind::File;
            Some(Named { path: options.dir.join(&entry.name), name, is_file })
        })
        .collect();
    files.sort_by(|a, b| a.place().cmp(&b.place()).then_with(|| a.path.cmp(&b.path)));
    Ok(files)
}

/// A log as far as it could be identified.
struct LogFile {
    path: PathBuf,
    ordinal: u64,
    file: Arc<dyn File>,
    file_bytes: u64,
    /// The size that its header says; `None` where the header is gone.
    segment_bytes: Option<u64>,
    seed: FileSeed,
    salt: u64,
    value_schema: String,
    /// The number of the last write before it, by its link.
    begins_behind: Option<u64>,
}

/// The state of a salvage.
struct Salvage<'a> {
    options: &'a ReadOptions<'a>,
    map: Map,
    /// The header of the newest file of the store to which most files belong.
    first: Option<FileHeader>,
    /// Its files hold values of several versions of their type.
    has_versions: bool,
    report: SalvageReport,
    /// Places in logs, each with the write that is missing there; the last watermark says which are torn.
    lost_in_logs: Vec<(Lost, u64)>,
    gaps: Vec<(u64, u64, PathBuf)>,
    /// The last write that was applied or is known to be missing; `None`: it is unknown with which the base ends.
    last_seq: Option<u64>,
    bytes_read: u64,
}

impl<'a> Salvage<'a> {
    fn new(
        options: &'a ReadOptions<'a>,
        files: &[Named],
        base: Option<u64>,
    ) -> Result<Salvage<'a>> {
        let (first, has_versions) = most(options, files)?;
        if let Some(first) = &first {
            check_store(options.dir, first, first, options.types)?;
        }
        let hash_seed = first.as_ref().map_or_else(|| options.fs.random_u64(), |one| one.hash_seed);
        let map = Map::new(&MapOptions { shards: options.map_shards, hash_seed })
            .map_err(|_| Error::OutOfMemory)?;
        let report = SalvageReport {
            source: options.dir.to_path_buf(),
            key_schema: first.as_ref().map(|first| first.key_schema.clone()),
            value_schema: first.as_ref().map(|first| first.value_schema.clone()),
            passed_over: files
                .iter()
                .filter(|file| file.name.snapshot_type() == SnapshotType::FullCompleted)
                .map(|file| file.name.ordinal().0)
                .filter(|ordinal| base.is_some_and(|base| *ordinal > base))
                .collect::<std::collections::BTreeSet<u64>>()
                .into_iter()
                .collect(),
            ..SalvageReport::default()
        };
        let last_seq = Some(0);
        let (lost_in_logs, gaps) = (Vec::new(), Vec::new());
        Ok(Self {
            options,
            map,
            first,
            has_versions,
            report,
            lost_in_logs,
            gaps,
            last_seq,
            bytes_read: 0,
        })
    }

    /// Whether a file is one of the store; why not. Of the store but of a type that was not asked for is an error.
    fn check(&self, path: &Path, header: &FileHeader) -> Result<Result<(), String>> {
        let Some(first) = &self.first else { return Ok(Ok(())) };
        if !is_of_store(header, first) {
            let reason = "the file belongs to another store than most files of this folder";
            return Ok(Err(reason.to_owned()));
        }
        check_store(path, header, first, self.options.types).map(Ok)
    }

    fn run(&mut self, files: &[Named], base: Option<u64>) -> Result<()> {
        let newest = files
            .iter()
            .filter(|file| file.is_file && file.name.snapshot_type() == SnapshotType::FullCompleted)
            .map(|file| file.name.ordinal().0)
            .max();
        let base = base.or(newest);
        // 3.
        let mut salts: BTreeMap<u64, u64> = BTreeMap::new();
        if let Some(base) = base {
            self.report.snapshot = Some(base);
            let shards: Vec<&Named> = files
                .iter()
                .filter(|file| file.is_full() && file.name.ordinal().0 == base)
                .collect();
            if let Some(footer) = self.base(&shards)? {
                salts.insert(footer.log_ordinal, footer.log_salt);
            }
        } else if let Some(root) = self.options.root {
            salts.insert(root.ordinal, root.salt);
        }
        // 4.
        let logs: Vec<&Named> = files
            .iter()
            .filter(|file| !file.is_full() && base.is_none_or(|base| file.name.ordinal().0 > base))
            .collect();
        let first = salts.clone();
        let logs = self.open_logs(&logs, &mut salts)?;
        for (ordinal, salt) in first {
            if !logs.iter().any(|log| log.ordinal == ordinal && log.salt == salt) {
                self.miss_log(ordinal, self.options.dir);
            }
        }
        self.logs(&logs, base.is_some())
    }

    /// Notes a file of which nothing can be used.
    fn lose_file(&mut self, path: &Path, bytes: u64, reason: impl Into<String>) {
        self.report.lose(Lost {
            path: path.to_path_buf(),
            offset: 0,
            bytes,
            reason: reason.into(),
            is_torn: false,
        });
    }

    /// Notes what a file system did not give.
    fn lose_unreadable(&mut self, path: &Path, window: &SalvageWindow<'_>) {
        for (offset, bytes, reason) in window.unreadable() {
            let path = path.to_path_buf();
            self.report.lose(Lost { path, offset, bytes, reason, is_torn: false });
        }
    }

    /// `flaw`: what opening says to the folder. Every loss that salvage finds says more; where it finds none, since
    /// all that is there is whole but not what belongs there, this is the one.
    fn finish(mut self, flaw: Option<Lost>) -> Contents {
        let watermark = self.report.watermark;
        for (mut lost, seq) in std::mem::take(&mut self.lost_in_logs) {
            lost.is_torn = seq > watermark;
            self.report.lose(lost);
        }
        for (first_seq, last_seq, path) in std::mem::take(&mut self.gaps) {
            let was_synced = first_seq <= watermark;
            self.report.gap(Gap { first_seq, last_seq, path, was_synced });
        }
        if let Some(flaw) = flaw
            && self.report.is_complete()
        {
            self.report.lose(flaw);
        }
        let usage = self.map.usage();
        let hidden =
            hidden_entries(self.first.as_ref().map(|first| &*first.value_schema), &self.map);
        self.report.entries = usage.entries - hidden;
        self.report.payload_bytes = usage.payload_bytes;
        let report = self.report;
        let next_seq = report.last_seq.saturating_add(1);
        let recovery = RecoveryReport {
            snapshot: report.snapshot,
            snapshot_records: report.snapshot_records,
            logs: report.logs,
            writes: report.writes,
            bytes_read: self.bytes_read,
            last_seq: report.last_seq,
            watermark,
            mode: RecoveryMode::Salvage,
            salvage: Some(Box::new(report)),
            ..RecoveryReport::default()
        };
        let logs = Logs { logs: Vec::new(), next_seq, watermark, stop: None };
        let Self { map, first, options, .. } = self;
        let identity = first.as_ref().map(|first| Identity {
            value_schema: match options.types {
                Types::Known { upgrade, .. } => upgrade.schema().to_owned(),
                Types::OfFolder | Types::OfEachFile => first.value_schema.clone(),
            },
            ..identity_of(first)
        });
        let spans = Spans::default();
        Contents { map, spans, identity, report: recovery, logs, base: None, tail: None }
    }
}

/// Of the store to which most files with a header belong, the newest file's header, and whether others have
/// another version of values.
fn most(options: &ReadOptions<'_>, files: &[Named]) -> Result<(Option<FileHeader>, bool)> {
    let mut found: Vec<(FileHeader, usize, bool)> = Vec::new();
    for file in files.iter().rev().filter(|file| file.is_file) {
        let Ok(header) = file.open(options)?.1 else { continue };
        match found.iter_mut().find(|(known, ..)| is_of_store(&header, known)) {
            Some((known, count, has_versions)) => {
                *count += 1;
                *has_versions |= known.value_schema != header.value_schema;
            }
            None => found.push((header, 1, false)),
        }
    }
    // The last of equal counts would be the oldest file's.
    let most = found.into_iter().rev().max_by_key(|(_, count, _)| *count);
    Ok(most.map_or((None, false), |(header, _, has_versions)| (Some(header), has_versions)))
}

fn is_of_store(header: &FileHeader, known: &FileHeader) -> bool {
    (header.store_id, header.hash_seed) == (known.store_id, known.hash_seed)
}
