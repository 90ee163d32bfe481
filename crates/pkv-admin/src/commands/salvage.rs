//! `pkv salvage`: everything that is whole in a damaged folder, in a new one; or what that would be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_store::codec::without_deadlines;
use pkv_store::{Options, Phase, SalvageReport};

use crate::change::versions;
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::text::{Count, Plain, Shown};

/// Arguments of `pkv salvage`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The damaged folder
    src: PathBuf,
    /// The new store's folder, which must not be there, or be empty
    #[arg(required_unless_present = "dry_run")]
    dst: Option<PathBuf>,
    /// Say what would be saved and lost, and write nothing; takes no lock
    #[arg(long, conflicts_with = "dst")]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let src = out.folder(&self.src);
        let report = match &self.dst {
            Some(dst) => salvage(&src, dst)?,
            None => plan_salvage(&src)?,
        };
        let exit = if report.is_torn_only() { Exit::Good } else { Exit::Faults };
        out.report(&Salvaged(&report))?;
        Ok(exit)
    }
}

/// Reads what is whole in a damaged folder and writes it into a new one, as [`pkv_store::salvage`] does, on the file
/// system of `src`. Nothing in `src` is changed.
///
/// # Errors
/// Those of [`pkv_store::salvage`], and of a folder that holds no store. Damage is no error: it is in the report.
pub fn salvage(src: &Folder, dst: &Path) -> Result<SalvageReport> {
    src.list()?;
    pkv_store::salvage(src.dir(), dst, &options(src)).map_err(versions)
}

/// What [`salvage`] would keep and lose. Takes no lock and changes nothing.
///
/// # Errors
/// As [`salvage`].
pub fn plan_salvage(src: &Folder) -> Result<SalvageReport> {
    src.list()?;
    pkv_store::plan_salvage(src.dir(), &options(src)).map_err(versions)
}

fn options(src: &Folder) -> Options {
    let told = src.clone();
    Options::new().file_system(Arc::clone(src.fs())).on_progress(move |progress| {
        let what = match progress.phase {
            Phase::Compact => "writing the new store",
            _ => "reading what is whole",
        };
        told.tell(what, progress.bytes_done, Some(progress.bytes_total));
    })
}

/// A report, to be printed.
pub(super) struct Salvaged<'a>(pub(super) &'a SalvageReport);

impl Json for pkv_store::Lost {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.path)
                .field("offset", &self.offset)
                .field("bytes", &self.bytes)
                .field("torn", &self.is_torn)
                .field("reason", &self.reason);
        });
    }
}

impl Json for pkv_store::Gap {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("first_seq", &self.first_seq)
                .field("last_seq", &self.last_seq)
                .field("path", &self.path)
                .field("synced", &self.was_synced);
        });
    }
}

impl Json for Salvaged<'_> {
    fn json(&self, out: &mut String) {
        let Self(report) = self;
        let stored = report.value_schema.as_deref();
        let inner = stored.and_then(without_deadlines);
        object(out, |fields| {
            fields
                .field("path", &report.destination)
                .field("source", &report.source)
                .field("dry_run", &report.destination.is_none())
                .field("complete", &report.is_complete())
                .field("torn_only", &report.is_torn_only())
                .field("key_schema", &report.key_schema)
                .field("value_schema", &inner.or(stored))
                .field("expiry", &stored.map(|_| inner.is_some()))
                .field("entries", &report.entries)
                .field("payload_bytes", &report.payload_bytes)
                .field("snapshot", &report.snapshot)
                .field("passed_over", &report.passed_over)
                .field("snapshot_records", &report.snapshot_records)
                .field("records_lost", &report.records_lost)
                .field("records_lost_unknown", &report.records_lost_unknown)
                .field("logs", &report.logs)
                .field("writes", &report.writes)
                .field("writes_lost", &report.writes_lost)
                .field("last_seq", &report.last_seq)
                .field("watermark", &report.watermark)
                .field("lost", &report.lost)
                .field("lost_unlisted", &report.lost_unlisted)
                .field("gaps", &report.gaps)
                .field("gaps_unlisted", &report.gaps_unlisted);
        });
    }
}

impl Report for Salvaged<'_> {
    fn text(&self, out: &mut String) {
        let Self(report) = self;
        for lost in &report.lost {
            append(
                out,
                format_args!(
                    "{}: {}: offset {}: {} bytes: {}\n",
                    if lost.is_torn { "torn" } else { "lost" },
                    Shown(&lost.path),
                    lost.offset,
                    lost.bytes,
                    Plain(&lost.reason)
                ),
            );
        }
        for gap in &report.gaps {
            let synced = if gap.was_synced { "had been synced" } else { "had not been synced" };
            append(
                out,
                format_args!(
                    "gap: writes {} to {} are missing in {}; they {synced}\n",
                    gap.first_seq,
                    gap.last_seq,
                    Shown(&gap.path)
                ),
            );
        }
        let unlisted = report.lost_unlisted.saturating_add(report.gaps_unlisted);
        if unlisted > 0 {
            append(out, format_args!("{} more are not listed\n", Count(unlisted, "place")));
        }
        let sum = match (report.is_complete(), report.is_torn_only(), &report.destination) {
            (true, ..) => "nothing is lost",
            (false, true, _) => "nothing is lost that had been synced",
            (false, false, Some(_)) => "not all could be saved: keep the damaged folder",
            (false, false, None) => "restore from a backup, if there is one",
        };
        let (dir, saved) = match &report.destination {
            Some(dir) => (dir, "saved"),
            None => (&report.source, "would be saved"),
        };
        append(out, format_args!("{}: {saved}: {self}; {sum}\n", Shown(dir)));
    }
}

/// What was kept and lost, in short.
impl fmt::Display for Salvaged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let or_more = if report.records_lost_unknown { " or more" } else { "" };
        write!(
            f,
            "{}; lost: {} and {}{or_more}",
            Count(report.entries, "entry"),
            Count(report.writes_lost, "write"),
            Count(report.records_lost, "record"),
        )
    }
}
