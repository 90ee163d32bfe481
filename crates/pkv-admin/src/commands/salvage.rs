//! `pkv salvage`: everything that is whole in a damaged folder, in a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_store::{Options, SalvageReport};

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
    dst: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let report = salvage(&out.folder(&self.src), &self.dst)?;
        let exit = if report.is_torn_only() { Exit::Good } else { Exit::Faults };
        out.report(&Salvaged(report))?;
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
    let told = src.clone();
    let options = Options::new().file_system(Arc::clone(src.fs())).on_progress(move |progress| {
        told.tell("reading what is whole", progress.bytes_done, Some(progress.bytes_total));
    });
    Ok(pkv_store::salvage(src.dir(), dst, &options)?)
}

struct Salvaged(SalvageReport);

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

impl Json for Salvaged {
    fn json(&self, out: &mut String) {
        let Self(report) = self;
        object(out, |fields| {
            fields
                .field("path", &report.destination)
                .field("source", &report.source)
                .field("complete", &report.is_complete())
                .field("torn_only", &report.is_torn_only())
                .field("key_schema", &report.key_schema)
                .field("value_schema", &report.value_schema)
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

impl Report for Salvaged {
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
        let sum = match (report.is_complete(), report.is_torn_only()) {
            (true, _) => "nothing is lost",
            (false, true) => "nothing is lost that had been synced",
            (false, false) => "not all could be saved: keep the damaged folder",
        };
        let dir = report.destination.as_deref().unwrap_or(&report.source);
        append(
            out,
            format_args!(
                "{}: {} saved, {} of writes and {} of records lost{}; {sum}\n",
                Shown(dir),
                Count(report.entries, "entry"),
                report.writes_lost,
                report.records_lost,
                if report.records_lost_unknown { " or more" } else { "" }
            ),
        );
    }
}
