//! `pkv stat`: what is in a folder, and what opening it would bring.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use pkv_fs::Access;
use pkv_snapshot_set::{FileSnapshotSet, SnapshotType};
use pkv_store::codec::without_deadlines;
use pkv_store::{Inspection, SalvageReport, TornEnd};

use super::salvage::{Salvaged, plan_salvage};
use crate::error::{Error, Exit, Result};
use crate::folder::{Folder, Listing, Opener, first_header, highest_version};
use crate::json::{Hex, Json, append, object};
use crate::output::{Output, Report};
use crate::text::{Painted, Plain, Shown, table};

/// Arguments of `pkv stat`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let stat = stat(&out.folder(&self.path))?;
        out.report(&stat)?;
        Ok(stat.contents.as_ref().map_or_else(Error::exit, |_| Exit::Good))
    }
}

/// What [`stat`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stat {
    /// The folder.
    pub dir: PathBuf,
    /// The snapshots and logs by their names, ascending.
    pub snapshots: Vec<SnapshotStat>,
    /// Names that are not a store's, sorted. They are left alone.
    pub foreign: Vec<OsString>,
    /// The highest format version among the files whose headers can be read, also where it is a newer one.
    pub format_version: Option<u32>,
    /// The store's random id, by the same file.
    pub store_id: Option<[u8; 16]>,
    /// The schema name of the keys, by the same file.
    pub key_schema: Option<String>,
    /// The schema name of the values, by the same file, without their deadlines.
    pub value_schema: Option<String>,
    /// Whether entries may expire, by the same file.
    pub has_expiry: Option<bool>,
    /// Older versions of the values' type in files that opening reads: the program that has the type upgrades them;
    /// tools only look.
    pub older_value_schemas: Vec<String>,
    /// Who opened the store last.
    pub opener: Option<Opener>,
    /// What opening would bring, or why it would fail.
    pub contents: Result<Contents>,
    /// Of a damaged folder, what [`crate::salvage`] would keep and lose.
    pub salvage: Option<SalvageReport>,
}

/// The files of one ordinal and type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotStat {
    /// Its number.
    pub ordinal: u64,
    /// What its files hold.
    pub snapshot_type: SnapshotType,
    /// What it is for.
    pub role: Role,
    /// How many shards its names promise.
    pub shards: u64,
    /// How many files there are.
    pub files: u64,
    /// Their sizes together; a log's includes the space it has reserved.
    pub bytes: u64,
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Opening reads it.
    Current,
    /// It lies below the latest full snapshot: a backup, and what leads from it to the next.
    Backup,
    /// It is not finished, or not whole; opening drops it or does without.
    Unused,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Backup => "backup",
            Self::Unused => "unused",
        }
    }
}

/// What opening would bring.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Contents {
    /// Entries; those that have expired count until the store sweeps them away.
    pub entries: u64,
    /// Of these, entries that will expire; `None` where none can.
    pub deadlines: Option<u64>,
    /// Of these, entries that have expired; `None` where none can.
    pub expired: Option<u64>,
    /// Live bytes: those of all keys and values.
    pub payload_bytes: u64,
    /// Dead bytes: what the snapshot and the logs that opening reads hold beside the live ones, which a compaction would
    /// mostly give back. Replaced values, removals, headers; not the space that logs have reserved.
    pub dead_bytes: u64,
    /// Sizes of the logs that opening reads, reserved space included.
    pub log_bytes: u64,
    /// The last write.
    pub last_seq: u64,
    /// Everything up to this write is known to have been synced.
    pub watermark: u64,
    /// The torn end that opening would cut. Beside a writer it may be a write under way.
    pub torn: Option<TornEnd>,
}

/// Lists a folder's files and reads its contents as opening would, without the lock and without a change.
///
/// Works beside a writer and shows some recent state then. A folder that would not open is no error: its files are
/// listed, and [`Stat::contents`] says why it would not.
///
/// Cost: time and memory of opening the store; all entries are in memory meanwhile.
///
/// # Errors
/// When there is no such folder, no store in it, or it cannot be listed.
pub fn stat(folder: &Folder) -> Result<Stat> {
    let listing = folder.list()?;
    let snapshots = snapshots(folder, &listing)?;
    let log_bytes = snapshots
        .iter()
        .filter(|one| one.role == Role::Current && one.snapshot_type == SnapshotType::Diff)
        .map(|one| one.bytes)
        .sum();
    let snapshot_bytes: u64 = snapshots
        .iter()
        .filter(|one| one.role == Role::Current && one.snapshot_type != SnapshotType::Diff)
        .map(|one| one.bytes)
        .sum();
    let contents = folder.inspect().and_then(|look| {
        let report = look.report();
        let (entries, payload_bytes) = (look.entries(), look.payload_bytes());
        let used = snapshot_bytes.saturating_add(look.log_bytes());
        let (deadlines, expired) = deadlines(&look)?.unzip();
        Ok(Contents {
            entries,
            deadlines,
            expired,
            payload_bytes,
            dead_bytes: used.saturating_sub(payload_bytes),
            log_bytes,
            last_seq: report.last_seq,
            watermark: report.watermark,
            torn: report.torn.clone(),
        })
    });
    let salvage = match &contents {
        Err(error) if error.exit() == Exit::Faults => plan_salvage(folder).ok(),
        _ => None,
    };
    let header = first_header(&**folder.fs(), &listing).map(|(_, header)| header);
    let format_version = highest_version(&**folder.fs(), &listing);
    let header = header.and_then(Result::ok);
    let (value_schema, has_expiry) = match &header {
        Some(header) => match without_deadlines(&header.value_schema) {
            Some(inner) => (Some(inner.to_owned()), Some(true)),
            None => (Some(header.value_schema.clone()), Some(false)),
        },
        None => (None, None),
    };
    let plain = |schema: String| without_deadlines(&schema).map(str::to_owned).unwrap_or(schema);
    let older = folder.value_schemas().unwrap_or_default().into_iter().map(plain);
    let older_value_schemas =
        older.filter(|schema| Some(schema) != value_schema.as_ref()).collect();
    Ok(Stat {
        dir: folder.dir().to_path_buf(),
        snapshots,
        foreign: listing.foreign,
        format_version,
        store_id: header.as_ref().map(|header| header.store_id),
        key_schema: header.as_ref().map(|header| header.key_schema.clone()),
        value_schema,
        has_expiry,
        older_value_schemas,
        opener: folder.opener(),
        contents,
        salvage,
    })
}

/// How many entries will expire, and how many have; `None` where none can.
fn deadlines(look: &Inspection) -> Result<Option<(u64, u64)>> {
    if !look.has_deadlines() {
        return Ok(None);
    }
    let (mut live, mut deadlines) = (0_u64, 0);
    for entry in look.iter_entries() {
        live += 1;
        deadlines += u64::from(entry?.expires_ms.is_some());
    }
    Ok(Some((deadlines, look.entries().saturating_sub(live))))
}

fn snapshots(folder: &Folder, listing: &Listing) -> Result<Vec<SnapshotStat>> {
    let scan = match FileSnapshotSet::scan(&**folder.fs(), folder.dir()) {
        Ok(scan) => Some(scan),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let is_in = |infos: Vec<&pkv_snapshot_set::SnapshotInfo>, path: &Path| {
        infos.iter().any(|info| info.shard_paths.iter().any(|shard| shard == path))
    };
    let role = |path: &Path| match &scan {
        Some(scan) if is_in(scan.get_snapshots_to_restore(), path) => Role::Current,
        Some(scan) if is_in(scan.snapshots.iter().collect(), path) => Role::Backup,
        _ => Role::Unused,
    };
    let mut snapshots: Vec<SnapshotStat> = Vec::new();
    for listed in &listing.files {
        let bytes = match folder.fs().open(&listed.path, Access::Read).and_then(|file| file.len()) {
            Ok(bytes) => bytes,
            // Removed since it was listed, or not a file: it has no bytes of ours.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound || !listed.is_file => 0,
            Err(error) => return Err(error.into()),
        };
        let name = &listed.name;
        let ordinal = name.ordinal().0;
        let is_next = |last: &&mut SnapshotStat| {
            (last.ordinal, last.snapshot_type, last.shards)
                == (ordinal, name.snapshot_type(), name.shard_count())
        };
        if let Some(last) = snapshots.last_mut().filter(is_next) {
            last.files += 1;
            last.bytes = last.bytes.saturating_add(bytes);
        } else {
            snapshots.push(SnapshotStat {
                ordinal,
                snapshot_type: name.snapshot_type(),
                role: role(&listed.path),
                shards: name.shard_count(),
                files: 1,
                bytes,
            });
        }
    }
    Ok(snapshots)
}

impl SnapshotStat {
    fn row(&self) -> Vec<String> {
        let Self { ordinal, snapshot_type, role, shards, files, bytes } = self;
        let mut row = vec![ordinal.to_string(), snapshot_type.to_string(), role.word().to_owned()];
        row.extend([shards, files, bytes].map(ToString::to_string));
        row
    }
}

impl Json for SnapshotStat {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("ordinal", &self.ordinal)
                .field("type", &self.snapshot_type.to_string())
                .field("role", self.role.word())
                .field("shards", &self.shards)
                .field("files", &self.files)
                .field("bytes", &self.bytes);
        });
    }
}

/// The torn end, as JSON.
struct Torn<'a>(&'a TornEnd);

impl Json for Torn<'_> {
    fn json(&self, out: &mut String) {
        let Self(torn) = self;
        object(out, |fields| {
            fields
                .field("path", &torn.path)
                .field("offset", &torn.offset)
                .field("seq", &torn.seq)
                .field("bytes_dropped", &torn.bytes_dropped)
                .field("reason", &torn.reason);
        });
    }
}

impl Json for Contents {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("entries", &self.entries)
                .field("deadlines", &self.deadlines)
                .field("expired", &self.expired)
                .field("payload_bytes", &self.payload_bytes)
                .field("dead_bytes", &self.dead_bytes)
                .field("log_bytes", &self.log_bytes)
                .field("last_seq", &self.last_seq)
                .field("watermark", &self.watermark)
                .field("torn", &self.torn.as_ref().map(Torn));
        });
    }
}

impl Json for Opener {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields.field("pid", &self.pid).field("running", &self.is_running);
        });
    }
}

impl Json for Stat {
    fn json(&self, out: &mut String) {
        let foreign: Vec<&Path> = self.foreign.iter().map(Path::new).collect();
        let problem = self.contents.as_ref().err().map(ToString::to_string);
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("format_version", &self.format_version)
                .field("store_id", &self.store_id.as_ref().map(|id| Hex(id)))
                .field("key_schema", &self.key_schema)
                .field("value_schema", &self.value_schema)
                .field("expiry", &self.has_expiry)
                .field("older_value_schemas", &self.older_value_schemas)
                .field("opener", &self.opener)
                .field("snapshots", &self.snapshots)
                .field("foreign", &foreign)
                .field("contents", &self.contents.as_ref().ok())
                .field("problem", &problem)
                .field("salvage", &self.salvage.as_ref().map(Salvaged));
        });
    }
}

impl Report for Stat {
    fn text(&self, out: &mut String) {
        let mut line = |name: &str, text: std::fmt::Arguments<'_>| {
            append(out, format_args!("{name:<16}{text}\n"));
        };
        line("folder", format_args!("{}", Shown(&self.dir)));
        match (&self.key_schema, &self.value_schema) {
            (Some(key), Some(value)) => {
                line("types", format_args!("{} to {}", Plain(key), Plain(value)));
            }
            _ => line("types", format_args!("none yet")),
        }
        for schema in &self.older_value_schemas {
            line(
                "also of",
                format_args!("{}: only its program can change the store", Plain(schema)),
            );
        }
        if self.has_expiry == Some(true) {
            line("expiry", format_args!("entries may have deadlines"));
        }
        if let Some(version) = self.format_version {
            line("format", format_args!("version {version}"));
        }
        if let Some(id) = &self.store_id {
            line("store id", format_args!("{}", Hex(id)));
        }
        if let Some(Opener { pid, is_running }) = self.opener {
            let state = match is_running {
                Some(true) => "which is running",
                Some(false) => "which is gone",
                None => "of which nothing is known",
            };
            line("opened last by", format_args!("process {pid}, {state}"));
        }
        if let Ok(contents) = &self.contents {
            line("entries", format_args!("{}", contents.entries));
            if let (Some(deadlines), Some(expired)) = (contents.deadlines, contents.expired) {
                line("will expire", format_args!("{deadlines}"));
                line("have expired", format_args!("{expired}"));
            }
            line("live", format_args!("{} bytes", contents.payload_bytes));
            line("dead", format_args!("{} bytes", contents.dead_bytes));
            line("logs", format_args!("{} bytes", contents.log_bytes));
            line("last write", format_args!("{}", contents.last_seq));
            line("synced up to", format_args!("{}", contents.watermark));
        }
        for name in &self.foreign {
            line("foreign", format_args!("{}", Shown(Path::new(name))));
        }
        if let Err(error) = &self.contents {
            let (word, error) = (Painted(AnsiColor::Red, "will not open"), error.to_string());
            append(out, format_args!("{word}   {}\n", Plain(&error)));
        }
        let mut line = |name: &str, text: std::fmt::Arguments<'_>| {
            append(out, format_args!("{name:<16}{text}\n"));
        };
        if let Ok(Contents { torn: Some(torn), .. }) = &self.contents {
            line(
                "torn end",
                format_args!(
                    "{}: offset {}: {}; write {} and {} bytes are dropped by opening",
                    Shown(&torn.path),
                    torn.offset,
                    Plain(&torn.reason),
                    torn.seq,
                    torn.bytes_dropped
                ),
            );
        }
        if let Some(report) = &self.salvage {
            line(
                "could be saved",
                format_args!("{} (pkv salvage --dry-run says where)", Salvaged(report)),
            );
        }
        if !self.snapshots.is_empty() {
            let heads = ["ordinal", "type", "role", "shards", "files", "bytes"];
            out.push_str(&table(&heads, self.snapshots.iter().map(SnapshotStat::row)));
            out.push('\n');
        }
    }
}
