//! `pkv backup`: a copy of a store at one write, also beside a program that writes to it.

use std::path::PathBuf;
use std::sync::Arc;

use pkv_store::{Backup, BackupReport, RestorePoint};

use super::verify::{Verification, verify};
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::text::{Count, Shown};

/// Arguments of `pkv backup`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The backup's folder, which must not be there, or be empty
    backup: PathBuf,
    #[command(flatten)]
    ways: Ways,
    /// An earlier backup of the same store, on the same file system as the new one: what both have in common takes no
    /// space and is not read again
    #[arg(long, value_name = "BACKUP")]
    since: Option<PathBuf>,
}

/// What `backup` and `restore` have in common.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Ways {
    /// Copy every file, also those that never change and could share their bytes
    #[arg(long)]
    copy: bool,
    /// Do not verify the new folder
    #[arg(long)]
    no_verify: bool,
}

impl Ways {
    pub(super) fn copies(self) -> bool {
        self.copy
    }
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let how = Backup::new().link(!self.ways.copy);
        let how = self.since.iter().fold(how, Backup::since);
        let report = backup(&folder, &self.backup, &how)?;
        finish(&folder.beside(&self.backup), self.ways, report, out)
    }
}

/// Verifies the new folder and says what it holds.
pub(super) fn finish(
    made: &Folder,
    ways: Ways,
    report: BackupReport,
    out: &mut Output<'_>,
) -> Result<Exit> {
    let verified = if ways.no_verify || report.files == 0 { None } else { Some(verify(made)?) };
    let exit = match &verified {
        Some(found) if found.is_damaged() => Exit::Faults,
        _ => Exit::Good,
    };
    out.report(&Copied { dir: made.dir().to_path_buf(), report, verified })?;
    Ok(exit)
}

/// Copies the store to a new folder, as [`Backup::copy`] does, on the file system of `folder`. The new folder is not
/// verified.
///
/// # Errors
/// Those of [`Backup::copy`], and of a folder that holds no store.
pub fn backup(folder: &Folder, to: &std::path::Path, how: &Backup) -> Result<BackupReport> {
    folder.list()?;
    Ok(told(folder, how, "copying").copy(folder.dir(), to)?)
}

/// Makes a new folder from a backup, as [`Backup::restore`] does. It is not verified.
///
/// # Errors
/// Those of [`Backup::restore`], and of a folder that holds no store.
pub fn restore(
    backup: &Folder,
    to: &std::path::Path,
    point: RestorePoint,
    how: &Backup,
) -> Result<BackupReport> {
    backup.list()?;
    Ok(told(backup, how, "restoring").restore(backup.dir(), to, point)?)
}

fn told(folder: &Folder, how: &Backup, what: &'static str) -> Backup {
    let observed = folder.clone();
    how.clone().file_system(Arc::clone(folder.fs())).on_progress(move |progress| {
        observed.tell(what, progress.bytes_done, Some(progress.bytes_total));
    })
}

/// A folder that was made, and what verifying it found.
struct Copied {
    dir: PathBuf,
    report: BackupReport,
    verified: Option<Verification>,
}

impl Json for Copied {
    fn json(&self, out: &mut String) {
        let Self { dir, report, verified } = self;
        object(out, |fields| {
            fields
                .field("path", dir)
                .field("seq", &report.seq)
                .field("seq_min", &report.seq_min)
                .field("files", &report.files)
                .field("files_linked", &report.files_linked)
                .field("files_cloned", &report.files_cloned)
                .field("bytes", &report.bytes)
                .field("bytes_copied", &report.bytes_copied)
                .field("damaged", &verified.as_ref().map(Verification::is_damaged));
        });
    }
}

impl Report for Copied {
    fn text(&self, out: &mut String) {
        let Self { dir, report, verified } = self;
        if let Some(found) = verified
            && found.is_damaged()
        {
            found.text(out);
        }
        append(
            out,
            format_args!(
                "{}: all writes up to {}, restorable from {} on; {}, {} shared; {} of {} bytes copied{}\n",
                Shown(dir),
                report.seq,
                report.seq_min,
                Count(report.files, "file"),
                report.files_linked.saturating_add(report.files_cloned),
                report.bytes_copied,
                report.bytes,
                match verified {
                    Some(found) if found.is_damaged() => ", DAMAGED",
                    Some(_) => ", verified",
                    None => "",
                }
            ),
        );
    }
}
