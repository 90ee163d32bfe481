//! A store's folder as the commands see it: its files by name, and the lock file's word.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkv_format::{
    FileHeader, FileSeed, HEADER_BYTES, HeaderError, SUCCESSOR_BYTES, SUCCESSOR_OFFSET, Successor,
};
use pkv_fs::{Access, EntryKind, Fs, StdFs};
use pkv_snapshot_set::{FileSnapshotSet, LOCK_FILE_NAME, SnapshotFileName};
use pkv_store::Inspection;
use pkv_store::codec::without_deadlines;

use crate::error::{Error, Result};
use crate::progress::{Observer, Progress};

/// Where a store is: a path on a file system. Holds nothing open; every operation looks anew.
#[derive(Clone, Debug)]
pub struct Folder {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    observer: Option<Observer>,
}

impl Folder {
    /// A folder of this machine. Nothing is looked at yet.
    #[must_use]
    pub fn at(dir: impl AsRef<Path>) -> Self {
        Self::on(Arc::new(StdFs), dir)
    }

    /// A folder of any file system.
    #[must_use]
    pub fn on(fs: Arc<dyn Fs>, dir: impl AsRef<Path>) -> Self {
        Self { fs, dir: dir.as_ref().to_path_buf(), observer: None }
    }

    /// Has operations on the folder tell how far they have come, from any of their threads.
    #[must_use]
    pub fn on_progress(mut self, observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// Another folder of the same file system, with the same observer.
    pub(crate) fn beside(&self, dir: impl AsRef<Path>) -> Self {
        Self { dir: dir.as_ref().to_path_buf(), ..self.clone() }
    }

    pub(crate) fn tell(&self, what: &'static str, bytes_done: u64, bytes_total: Option<u64>) {
        if let Some(observer) = &self.observer {
            observer.tell(Progress::new(what, bytes_done, bytes_total));
        }
    }

    /// Tells how far the opening, or a compaction, of a store has come.
    pub(crate) fn tell_phase(&self, progress: pkv_store::Progress) {
        let what = match progress.phase {
            pkv_store::Phase::Load => "loading the snapshot",
            pkv_store::Phase::Compact => "writing a snapshot",
            _ => "reading the logs",
        };
        self.tell(what, progress.bytes_done, Some(progress.bytes_total));
    }

    /// The path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Lists the folder. A folder without any file of a store is an error: a mistyped path must not
    /// pass for a good store.
    pub(crate) fn list(&self) -> Result<Listing> {
        let entries = match self.fs.list(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                let path = self.dir.clone();
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => Error::NotFound { path },
                    io::ErrorKind::NotADirectory => Error::NotAFolder { path },
                    _ => Error::Fs(error),
                });
            }
        };
        let mut listing = Listing::default();
        for entry in entries {
            if let Some(name) = SnapshotFileName::parse(&entry.name) {
                let is_file = entry.kind == EntryKind::File;
                listing.files.push(Listed { name, path: self.dir.join(entry.name), is_file });
            } else if entry.name == LOCK_FILE_NAME {
                listing.has_lock = true;
            } else {
                listing.foreign.push(entry.name);
            }
        }
        if listing.files.is_empty() && !listing.has_lock {
            return Err(Error::NotAStore { path: self.dir.clone() });
        }
        listing.files.sort_by_key(|listed| {
            let name = &listed.name;
            (name.ordinal(), name.snapshot_type().to_string(), name.shard_count(), name.shard())
        });
        listing.foreign.sort();
        Ok(listing)
    }

    /// Whether nobody can have written since the folder was listed: the names are the same, and the process that
    /// opened the store last is gone.
    pub(crate) fn is_still(&self, listing: &Listing) -> Result<bool> {
        let is_gone = self.opener().is_none_or(|opener| opener.is_running == Some(false));
        Ok(is_gone && self.list()? == *listing)
    }

    /// Reads the contents as opening would. Beside a writer, only an error that comes twice is believed.
    pub(crate) fn inspect(&self) -> Result<Inspection> {
        let mut before = None;
        for _ in 0..ROUNDS {
            let listing = self.list()?;
            let told = self.clone();
            let look = Inspection::watched(&self.fs, &self.dir, move |progress| {
                told.tell_phase(progress);
            });
            let error = match look {
                Ok(look) => return Ok(look),
                Err(error) => Error::from(error),
            };
            let text = error.to_string();
            if before.as_ref() == Some(&text) || self.is_still(&listing)? {
                return Err(error);
            }
            before = Some(text);
            std::thread::sleep(PAUSE);
        }
        Err(Error::Changing { path: self.dir.clone() })
    }

    /// The schema names of keys and values; `None` if no file has a header yet.
    pub(crate) fn schema(&self) -> Result<Option<(String, String)>> {
        Ok(self.header()?.map(|header| match without_deadlines(&header.value_schema) {
            Some(value) => (header.key_schema, value.to_owned()),
            None => (header.key_schema, header.value_schema),
        }))
    }

    /// Whether the store's entries may expire.
    pub(crate) fn has_deadlines(&self) -> Result<bool> {
        let header = match self.header() {
            Err(Error::NotFound { .. } | Error::NotAStore { .. }) => None,
            header => header?,
        };
        Ok(header.is_some_and(|header| without_deadlines(&header.value_schema).is_some()))
    }

    /// The schema names of values in the files that opening reads, as the files bear them, the newest file's first:
    /// several where they are of several versions of one type.
    pub(crate) fn value_schemas(&self) -> Result<Vec<String>> {
        let scan = FileSnapshotSet::scan(&*self.fs, &self.dir)?;
        let mut schemas = Vec::new();
        for info in scan.get_snapshots_to_restore().into_iter().rev() {
            for path in &info.shard_paths {
                let mut bytes = [0; HEADER_BYTES];
                let header = self.fs.open(path, Access::Read).and_then(|file| {
                    let got = file.read_at(0, &mut bytes)?;
                    Ok(FileHeader::decode(bytes.get(..got).unwrap_or_default()))
                });
                // What cannot be read is opening's to say, or was removed since it was listed.
                if let Ok(Ok(header)) = header
                    && !schemas.contains(&header.value_schema)
                {
                    schemas.push(header.value_schema);
                }
            }
        }
        Ok(schemas)
    }

    /// Ends with [`Error::Versions`] where values are of several versions of their type: shown as they stand, nobody
    /// could tell which is which.
    pub(crate) fn one_version(&self) -> Result<()> {
        match self.value_schemas()?.as_slice() {
            [newest, .., oldest] => Err(Error::Versions {
                path: self.dir.clone(),
                one: oldest.clone(),
                other: newest.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn header(&self) -> Result<Option<FileHeader>> {
        match first_header(&**self.fs(), &self.list()?) {
            Some((_, Ok(header))) => Ok(Some(header)),
            Some((path, Err(HeaderError::Newer { found, known }))) => {
                Err(pkv_store::Error::NewerFormat { path, found, known }.into())
            }
            _ => Ok(None),
        }
    }

    /// The schema names of keys and values of a store that was written to.
    pub(crate) fn types(&self) -> Result<(String, String)> {
        self.schema()?.ok_or_else(|| Error::NoTypes { path: self.dir.clone() })
    }

    /// The lock file's path.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK_FILE_NAME)
    }

    /// Who opened the store last, by the word in the lock file; `None` if there is none.
    pub(crate) fn opener(&self) -> Option<Opener> {
        let mut word = [0; 32];
        let file = self.fs.open(&self.lock_path(), Access::Read).ok()?;
        let got = file.read_at(0, &mut word).ok()?;
        let text = std::str::from_utf8(word.get(..got)?).ok()?;
        let pid = text.lines().next()?.strip_prefix("pid ")?.trim_end().parse().ok()?;
        Some(Opener { pid, is_running: self.is_running(pid) })
    }

    /// Whether a process runs, where the system has a folder for each. Asked through the folder's own file
    /// system: one in memory knows nothing of processes.
    fn is_running(&self, pid: u32) -> Option<bool> {
        self.fs.list(Path::new("/proc/self")).ok()?;
        match self.fs.list(Path::new(&format!("/proc/{pid}"))) {
            Ok(_) => Some(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
            Err(_) => None,
        }
    }

    /// The store's first log, by the lock file's record.
    pub(crate) fn first_log(&self) -> Option<Successor> {
        // The record stands before any file that has an identity.
        let seed = FileSeed::new([0; 16], 0, 0, 0, 0);
        let mut record = [0; SUCCESSOR_BYTES];
        let file = self.fs.open(&self.lock_path(), Access::Read).ok()?;
        let got = file.read_at(SUCCESSOR_OFFSET, &mut record).ok()?;
        Successor::decode(seed, record.get(..got)?)
    }
}

/// The first header that says something, from the newest file down: `Ok`, or a newer format.
pub(crate) fn first_header(
    fs: &dyn Fs,
    listing: &Listing,
) -> Option<(PathBuf, Result<FileHeader, HeaderError>)> {
    listing.files.iter().rev().find_map(|listed| {
        let mut bytes = [0; HEADER_BYTES];
        let file = fs.open(&listed.path, Access::Read).ok()?;
        let got = file.read_at(0, &mut bytes).ok()?;
        match FileHeader::decode(bytes.get(..got)?) {
            told @ (Ok(_) | Err(HeaderError::Newer { .. })) => Some((listed.path.clone(), told)),
            Err(_) => None,
        }
    })
}

/// The highest format version among the files whose headers can be read, also where it is a newer one.
pub(crate) fn highest_version(fs: &dyn Fs, listing: &Listing) -> Option<u32> {
    let versions = listing.files.iter().filter_map(|listed| {
        let mut bytes = [0; HEADER_BYTES];
        let file = fs.open(&listed.path, Access::Read).ok()?;
        let got = file.read_at(0, &mut bytes).ok()?;
        let bytes = bytes.get(..got)?;
        match FileHeader::decode(bytes) {
            Ok(_) | Err(HeaderError::Newer { .. }) => FileHeader::version_of(bytes),
            Err(_) => None,
        }
    });
    versions.max()
}

/// How often a folder that somebody may be writing to is read again before [`Error::Changing`].
pub(crate) const ROUNDS: u32 = 10;
/// The pause before each: rounds that follow at once are over within milliseconds, and a writer may change as many names in
/// them.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// The process that opened a store last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opener {
    /// Its id.
    pub pid: u32,
    /// Whether a process of this id runs now, on this machine; `None` where that cannot be told. One that
    /// runs may have closed the store since.
    pub is_running: Option<bool>,
}

/// The names in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// By ordinal, type and shard.
    pub(crate) files: Vec<Listed>,
    pub(crate) foreign: Vec<OsString>,
    pub(crate) has_lock: bool,
}

/// A name that is a shard's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: SnapshotFileName,
    pub(crate) path: PathBuf,
    pub(crate) is_file: bool,
}
