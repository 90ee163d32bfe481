//! `pkv migrate`: what another store has written becomes a store of this one.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::Access;
use pkv_snapshot_set::{LOCK_FILE_NAME, SnapshotFileName};
use pkv_store::{Backup, ByteStore, Durability};

use crate::change::{NewTypes, open_as, options};
use crate::entries::Types;
use crate::error::{Error, Exit, Result};
use crate::field::FieldValue;
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::migrate::persistent_kv::{self, Entry, Found, LOCK_NAME, Unreadable};
use crate::output::{Output, Report};
use crate::text::{Count, Plain, Shown};

/// Arguments of `pkv migrate`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum From {
    /// A folder of persistent-kv 1.0.2
    ///
    /// Reads the latest full snapshot and all logs above it, passes over what cannot be read, and says where that is.
    /// The ends of logs that a crash left are normal; anything else that cannot be read is exit code 1, and
    /// what can be read is in the new store all the same. SRC is only read.
    PersistentKv {
        /// The folder of persistent-kv
        src: PathBuf,
        /// The new store's folder, which must not be there, or be empty
        dst: PathBuf,
        /// Names of the types of keys and values, as the program that will open the new store has them:
        /// string, u64, i32 and so on, bytes for all others
        #[arg(long, value_name = "KEY,VALUE", value_parser = crate::words::types, default_value = "bytes,bytes")]
        types: (String, String),
        /// The new store is one whose entries may expire, as the program that will open it has it; none has a
        /// deadline yet
        #[arg(long)]
        expiry: bool,
    },
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let From::PersistentKv { src, dst, types, expiry } = &self.from;
        let types = (types.0.as_str(), types.1.as_str());
        let migrated = migrate_persistent_kv(&out.folder(src), dst, types, *expiry)?;
        out.report(&migrated)?;
        Ok(if migrated.is_complete() { Exit::Good } else { Exit::Faults })
    }
}

/// What [`migrate_persistent_kv`] read and wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The new folder.
    pub dir: PathBuf,
    /// Files read.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Entries read from them, removals and those that later ones replace included.
    pub read: u64,
    /// Entries in the new store.
    pub entries: u64,
    /// What could not be read, at most 100 places.
    pub unreadable: Vec<Unreadable>,
    /// Places beyond those listed.
    pub unreadable_unlisted: u64,
    /// Keys of which the old store itself cannot tell which of two values is the later one, by a defect of its
    /// own: those in logs of more than ten shards, written to again after a restart.
    pub ambiguous: u64,
}

impl Migrated {
    /// Whether everything could be read but for the ends of logs, as a crash leaves them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unreadable.iter().all(|place| place.is_torn_end)
            && self.unreadable_unlisted == 0
            && self.ambiguous == 0
    }
}

/// Entries and bytes of one write.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;

/// Reads a folder that persistent-kv 1.0.2 has written, and makes a new store of what it holds: keys and values keep
/// their bytes, and get the types of these names; with `expiry` it is a store whose entries may expire. Integers and strings have the same encoding in both.
///
/// 1. The folder's lock is taken, if it has a lock file, so that nobody writes meanwhile; and its files are listed.
/// 2. A store is made in a folder beside the new one, of its name and `.migrating`; what an earlier run left there
///    goes. The new folder must not be there, or be empty.
/// 3. Entries are read in order, and written as they are read.
/// 4. A full snapshot is written: the new store opens fast from the first time on.
/// 5. The new folder is made of that store, with files that are shared where that is possible: **the commit point** is
///    that of [`Backup`]. A folder that holds a part of the entries never passes for all of them.
/// 6. The folder beside goes.
///
/// Cost: the new store's memory, and one window of 1 MiB or the longest entry.
///
/// # Errors
/// [`pkv_store::Error::NotEmpty`], [`Error::Locked`], and those of reading and writing. What cannot be understood is no
/// error and stands in the result.
pub fn migrate_persistent_kv(
    src: &Folder,
    dst: &Path,
    (key, value): (&str, &str),
    expiry: bool,
) -> Result<Migrated> {
    let fs = &**src.fs();
    // 1.
    let plan = persistent_kv::plan(fs, src.dir())?;
    let lock_path = src.dir().join(LOCK_NAME);
    let _lock = match fs.open(&lock_path, Access::Read) {
        Ok(_) => match fs.lock(&lock_path, Duration::ZERO) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(Error::Locked { path: lock_path, pid: None });
            }
            // A folder that one may only read: whoever could write to it has to be asked otherwise.
            Err(_) => None,
        },
        Err(_) => None,
    };
    // 2.
    match fs.list(dst) {
        Ok(entries) if entries.is_empty() => {}
        Ok(_) => return Err(pkv_store::Error::NotEmpty { path: dst.to_path_buf() }.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let new = src.beside(beside(dst));
    clean(&new)?;
    let opened = open_as(&new, &options(&new, true)?, NewTypes::new(key, value, expiry))?;
    let store = &opened.store;
    // 3.
    let mut batch = Batch::default();
    let mut take = |entry: &Entry<'_>| {
        if let Some(reason) = misfit(opened.types, entry) {
            return Ok(Some(reason));
        }
        batch.push(entry.key, entry.value);
        if batch.is_full() { batch.write(store).map(|()| None) } else { Ok(None) }
    };
    let tell = |done, total| src.tell("migrating", done, Some(total));
    let found = plan.read(fs, &mut take, &tell)?;
    batch.write(store)?;
    // 4.
    if store.last_seq() > 0 {
        store.compact()?;
    }
    let entries = store.len();
    opened.store.close()?;
    // 5.
    Backup::new().file_system(Arc::clone(src.fs())).copy(new.dir(), dst)?;
    // 6. What stays of it is in nobody's way, and goes with the next run.
    let _ = clean(&new).and_then(|()| Ok(fs.remove_dir(new.dir())?));
    let Found { files, bytes, entries: read, unreadable, unreadable_unlisted, ambiguous } = found;
    let dir = dst.to_path_buf();
    Ok(Migrated { dir, files, bytes, read, entries, unreadable, unreadable_unlisted, ambiguous })
}

/// The folder in which the new store is made.
fn beside(dst: &Path) -> PathBuf {
    let mut name = dst.file_name().unwrap_or_default().to_os_string();
    name.push(".migrating");
    dst.with_file_name(name)
}

/// Removes what a run that was cut off left: a store's files. Anything else is left alone, and is an error.
fn clean(made: &Folder) -> Result<()> {
    let fs = &**made.fs();
    let entries = match fs.list(made.dir()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let is_ours = |name: &OsStr| SnapshotFileName::parse(name).is_some() || name == LOCK_FILE_NAME;
    if !entries.iter().all(|entry| is_ours(&entry.name)) {
        return Err(pkv_store::Error::NotEmpty { path: made.dir().to_path_buf() }.into());
    }
    // The lock file last: nobody opens what is being removed.
    let (locks, files): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry.name == LOCK_FILE_NAME);
    for entry in files.into_iter().chain(locks) {
        fs.remove(&made.dir().join(&entry.name))?;
    }
    Ok(())
}

/// Why an entry cannot be one of these types: then it was no entry, or the types are others.
fn misfit(types: Types, entry: &Entry<'_>) -> Option<String> {
    let is_bad = |value| matches!(value, FieldValue::Undecodable(_));
    if is_bad(types.key.value(entry.key)) {
        return Some("the key is not what --types says".to_owned());
    }
    (!entry.value.is_empty() && is_bad(types.value.value(entry.value)))
        .then(|| "the value is not what --types says".to_owned())
}

/// Changes that are written together.
#[derive(Default)]
struct Batch {
    changes: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
        self.changes.push((key.to_vec(), value.to_vec()));
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    fn write(&mut self, store: &ByteStore) -> Result<()> {
        let mut write = store.batch();
        for (key, value) in self.changes.drain(..) {
            write = if value.is_empty() { write.remove(&key) } else { write.insert(&key, &value) };
        }
        self.bytes = 0;
        write.commit(Durability::Process)?;
        Ok(())
    }
}

impl Json for Unreadable {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.path)
                .field("offset", &self.offset)
                .field("bytes", &self.bytes)
                .field("torn_end", &self.is_torn_end)
                .field("reason", &self.reason);
        });
    }
}

impl Json for Migrated {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("complete", &self.is_complete())
                .field("files", &self.files)
                .field("bytes", &self.bytes)
                .field("read", &self.read)
                .field("entries", &self.entries)
                .field("unreadable", &self.unreadable)
                .field("unreadable_unlisted", &self.unreadable_unlisted)
                .field("ambiguous", &self.ambiguous);
        });
    }
}

impl Report for Migrated {
    fn text(&self, out: &mut String) {
        for place in &self.unreadable {
            let word = if place.is_torn_end { "torn end" } else { "unreadable" };
            append(
                out,
                format_args!(
                    "{word}: {}: offset {}: {} bytes: {}\n",
                    Shown(&place.path),
                    place.offset,
                    place.bytes,
                    Plain(&place.reason)
                ),
            );
        }
        if self.unreadable_unlisted > 0 {
            append(
                out,
                format_args!("{} more are not listed\n", Count(self.unreadable_unlisted, "place")),
            );
        }
        if self.ambiguous > 0 {
            append(
                out,
                format_args!(
                    "{} in two shards of one log: which value is the later one cannot be known\n",
                    Count(self.ambiguous, "key")
                ),
            );
        }
        append(
            out,
            format_args!(
                "{}: {}, of {} read from {}\n",
                Shown(&self.dir),
                Count(self.entries, "entry"),
                self.read,
                Count(self.files, "file")
            ),
        );
    }
}
