//! Reading every file of a folder: each by itself, in parallel; what they come to together is for
//! `judge.rs`.

pub(crate) mod chain;
pub(crate) mod judge;
pub(crate) mod log;
pub(crate) mod snapshot;
pub(crate) mod walk;
pub(crate) mod window;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pkv_format::{FRAMES_OFFSET, FileHeader, FileKind, HEADER_BYTES, HeaderError};
use pkv_fs::{Access, File, SECTOR_BYTES};
use pkv_snapshot_set::{SnapshotFileName, SnapshotType};

use crate::folder::{Folder, Listed};
use log::LogFacts;
use snapshot::ShardFacts;
use window::{Buffer, Window};

/// Reading fails with the file system's errors alone; what is wrong with the bytes is a finding.
pub(crate) type Result<T, E = pkv_fs::Error> = std::result::Result<T, E>;

/// How many faults of a file are listed; more are counted. A file can be nothing but faults.
pub(crate) const FAULTS_LISTED_MAX: usize = 100;

/// One file, read.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) name: SnapshotFileName,
    pub(crate) path: PathBuf,
    pub(crate) file_bytes: u64,
    /// Where it could be read.
    pub(crate) header: Option<FileHeader>,
    pub(crate) content: Content,
}

/// What is behind a file's header.
#[derive(Debug)]
pub(crate) enum Content {
    Log(LogFacts),
    Shard(ShardFacts),
    /// A snapshot that was not finished. Opening drops it unread.
    Pending,
    /// A log whose creation was interrupted: no header, and nothing behind it.
    Unused,
    /// The header cannot be read.
    NoHeader(HeaderError),
    /// The file is not what its name says: what stands in it belongs elsewhere.
    Misplaced(String),
}

/// Opens all files, then reads them, as many at a time as there are processors. Ascending, as listed.
///
/// Opening comes first so that what a writer removes meanwhile can still be read. `finishing` are the
/// ordinals whose interrupted publish opening would finish: their pending files count as full.
pub(crate) fn read_files(
    folder: &Folder,
    listed: &[Listed],
    finishing: &BTreeSet<u64>,
) -> Result<Vec<Checked>> {
    let mut opened: Vec<(&Listed, Arc<dyn File>)> = Vec::new();
    for listed in listed.iter().filter(|listed| listed.is_file) {
        opened.push((listed, folder.fs().open(&listed.path, Access::Read)?));
    }
    // Newest first: what an older log says of a newer one is then never newer than what was read of that one.
    opened.reverse();
    let mut bytes_total = 0_u64;
    for (_, file) in &opened {
        bytes_total = bytes_total.saturating_add(file.len()?);
    }
    let bytes_done = AtomicU64::new(0);
    let on_read = |bytes| {
        // A place that is read again counts again.
        let before = bytes_done.fetch_add(bytes, Ordering::Relaxed);
        let done = before.saturating_add(bytes).min(bytes_total);
        folder.tell("verifying", done, Some(bytes_total));
    };
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        let mut buffer = Buffer::new(&on_read);
        while let Some((listed, file)) = opened.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked = read_file(listed, &**file, finishing, &mut buffer);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(checked);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(opened.len());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread this one does all the work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut checked = done.into_iter().collect::<Result<Vec<_>>>()?;
    checked.sort_by_key(|checked: &Checked| (checked.name.ordinal(), checked.name.shard()));
    Ok(checked)
}

fn read_file(
    listed: &Listed,
    file: &dyn File,
    finishing: &BTreeSet<u64>,
    buffer: &mut Buffer<'_>,
) -> Result<Checked> {
    let Listed { name, path, .. } = listed;
    let file_bytes = file.len()?;
    let mut bytes = [0; HEADER_BYTES];
    let got = file.read_at(0, &mut bytes)?;
    let header = FileHeader::decode(bytes.get(..got).unwrap_or_default());
    let is_pending =
        name.snapshot_type() == SnapshotType::Pending && !finishing.contains(&name.ordinal().0);
    let content = match &header {
        _ if is_pending => Content::Pending,
        Ok(header) => match check_name(name, header) {
            Err(reason) => Content::Misplaced(reason),
            Ok(()) if header.kind == FileKind::Log => {
                Content::Log(log::read_log(file, path, header, buffer)?)
            }
            Ok(()) => Content::Shard(snapshot::read_shard(file, path, header, buffer)?),
        },
        Err(error @ HeaderError::Newer { .. }) => Content::NoHeader(*error),
        Err(_) if name.snapshot_type() == SnapshotType::Diff && is_unused(file, path, buffer)? => {
            Content::Unused
        }
        Err(error) => Content::NoHeader(*error),
    };
    let (name, path, header) = (*name, path.clone(), header.ok());
    Ok(Checked { name, path, file_bytes, header, content })
}

/// What is said of a file without a header.
pub(crate) fn no_header(error: &HeaderError) -> String {
    match error {
        HeaderError::Empty => "the header is gone: nothing there, or zeros alone".to_owned(),
        error => error.to_string(),
    }
}

/// Whether a log without a header is one whose creation was interrupted: empty, or of at least the size that is
/// synced before the header, with nothing behind the header's sector. No frame is written before the header
/// was synced, so nothing was lost then.
fn is_unused(file: &dyn File, path: &Path, buffer: &mut Buffer<'_>) -> Result<bool> {
    let file_bytes = file.len()?;
    if file_bytes > 0 && file_bytes < FRAMES_OFFSET {
        return Ok(false);
    }
    walk::is_zero(&mut Window::new(file, path, file_bytes, buffer), SECTOR_BYTES)
}

/// A file must be what its name says: else it was renamed, copied or swapped.
fn check_name(name: &SnapshotFileName, header: &FileHeader) -> Result<(), String> {
    let kind = match name.snapshot_type() {
        SnapshotType::Diff => FileKind::Log,
        SnapshotType::FullCompleted | SnapshotType::Pending => FileKind::Snapshot,
    };
    let says = (kind, name.ordinal().0, name.shard(), name.shard_count());
    let (shard, shard_count) = (u64::from(header.shard), u64::from(header.shard_count));
    let is = (header.kind, header.ordinal, shard, shard_count);
    if says == is {
        return Ok(());
    }
    let show = |(kind, ordinal, shard, count): (FileKind, u64, u64, u64)| {
        let kind = match kind {
            FileKind::Log => "log",
            FileKind::Snapshot => "snapshot",
        };
        format!("{kind} {ordinal}, shard {shard} of {count}")
    };
    Err(format!("misplaced: its name says {}, its header says {}", show(says), show(is)))
}
