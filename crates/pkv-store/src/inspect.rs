//! Looking at a folder without opening it: nothing is locked, nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::Fs;
use pkv_snapshot_set::FileSnapshotSet;

use crate::error::{Error, Result};
use crate::expiry::{self, Expiry};
use crate::iter::ByteIter;
use crate::options::Options;
use crate::pool::IoPool;
use crate::recover::{self, Contents, Progress, ReadOptions, RecoveryProgress, RecoveryReport};

/// What opening a folder would bring, for tools: the entries, and the report of what opening would find.
///
/// Reads without the lock: of a store that somebody is writing to it shows some recent state, or an
/// error when a file vanished or changed while it was read; then read again.
///
/// ```
/// use pkv_store::{Inspection, Store};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store");
/// let store: Store<String, u64> = Store::open(&path)?;
/// store.insert("alice", &1)?;
/// let look = Inspection::of(&path)?;
/// assert_eq!(look.schema(), Some(("string", "u64")));
/// assert_eq!(look.entries(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inspection {
    dir: PathBuf,
    contents: Contents,
    /// Tells what has expired.
    expiry: Option<Expiry>,
}

impl Inspection {
    /// Reads a folder on the real file system.
    pub fn of(dir: impl AsRef<Path>) -> Result<Self> {
        let fs: Arc<dyn Fs> = Arc::new(pkv_fs::StdFs);
        Self::on(&fs, dir)
    }

    /// Reads a folder on any file system.
    ///
    /// # Errors
    ///
    /// Those of opening: what is damaged is named by file and offset.
    pub fn on(fs: &Arc<dyn Fs>, dir: impl AsRef<Path>) -> Result<Self> {
        Self::read(fs, dir.as_ref().to_path_buf(), None)
    }

    /// Reads a folder and calls `observer` with how far it has come, from the threads that read.
    ///
    /// # Errors
    ///
    /// As [`Inspection::on`].
    pub fn watched(
        fs: &Arc<dyn Fs>,
        dir: impl AsRef<Path>,
        observer: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Self> {
        let observer = RecoveryProgress::new(observer);
        Self::read(fs, dir.as_ref().to_path_buf(), Some(&observer))
    }

    fn read(fs: &Arc<dyn Fs>, dir: PathBuf, progress: Option<&RecoveryProgress>) -> Result<Self> {
        let scan = match FileSnapshotSet::scan(&**fs, &dir) {
            Ok(scan) => scan,
            Err(pkv_snapshot_set::Error::Fs(error))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Err(Error::NotFound { path: dir });
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(problem) = scan.problems.first() {
            return Err(pkv_snapshot_set::Error::from(problem.clone()).into());
        }
        let restore: Vec<_> = scan.get_snapshots_to_restore().into_iter().cloned().collect();
        let pool = IoPool::new(0);
        let root = recover::read_root(&**fs, &dir);
        let options = ReadOptions {
            fs: &**fs,
            dir: &dir,
            map_shards: 256,
            types: &recover::Types::OfEachFile,
            pool: &pool,
            progress,
            live: false,
            instant: false,
            root,
        };
        let contents = recover::read(&restore, &options)?;
        let has_deadlines = contents
            .identity
            .as_ref()
            .is_some_and(|identity| expiry::inner_schema(&identity.value_schema).is_some());
        let expiry = has_deadlines.then(|| Expiry::open(&Options::new(), fs, &contents.map));
        Ok(Self { dir, contents, expiry })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The schema names of keys and values; `None` when the folder holds no store yet. Where the files are of
    /// several versions of the value's type, that is the newest; values are shown as they stand in the files.
    /// Deadlines are no part of it, nor of the values that are shown: [`Inspection::entry`] has them.
    #[must_use]
    pub fn schema(&self) -> Option<(&str, &str)> {
        self.contents.identity.as_ref().map(|identity| {
            let stored = identity.value_schema.as_str();
            let value_schema = expiry::inner_schema(stored).unwrap_or(stored);
            (identity.key_schema.as_str(), value_schema)
        })
    }

    /// The store's random id.
    #[must_use]
    pub fn store_id(&self) -> Option<[u8; 16]> {
        self.contents.identity.as_ref().map(|identity| identity.store_id)
    }

    /// What opening would report. Nothing in it was done.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.contents.report
    }

    /// Whether its entries may expire: see [`Options::expiry`].
    #[must_use]
    pub fn has_deadlines(&self) -> bool {
        self.expiry.is_some()
    }

    /// The number of entries; those that have expired count until they are swept away.
    #[must_use]
    pub fn entries(&self) -> u64 {
        let hidden = self.expiry.as_ref().map_or(0, Expiry::hidden_entries);
        self.contents.map.len().saturating_sub(hidden)
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.contents.map.usage().payload_bytes
    }

    /// The value of a key, both as bytes.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.entry(key).map(|entry| entry.value)
    }

    /// The entry of a key, with its deadline at the same moment.
    #[must_use]
    pub fn entry(&self, key: &[u8]) -> Option<InspectedEntry> {
        let map = &self.contents.map;
        let hash = map.hash(key);
        let shard = map.read(map.shard_index(hash));
        let stored = shard.get(hash, key)?;
        let (value, expires_ms) = match &self.expiry {
            None => (stored.as_bytes(), None),
            Some(expiry) => expiry.show_timed(stored.as_bytes(), &mut 0)?,
        };
        Some(InspectedEntry { key: key.to_vec(), value: value.to_vec(), expires_ms })
    }

    /// All entries with their deadlines, in no order.
    #[must_use]
    pub fn iter_entries(&self) -> InspectedEntries<'_> {
        InspectedEntries(self.iter())
    }

    /// Bytes that the logs which opening reads are filled with; space that they have reserved is not counted.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.contents.log_bytes()
    }

    /// All entries, in no order.
    #[must_use]
    pub fn iter(&self) -> ByteIter<'_> {
        ByteIter::over(&self.contents.map).with_expiry(self.expiry.as_ref())
    }
}

/// One entry of an [`Inspection`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InspectedEntry {
    /// The key's encoding.
    pub key: Vec<u8>,
    /// The value's encoding.
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since 1970; `None`: never.
    pub expires_ms: Option<u64>,
}

/// All entries of an [`Inspection`] with their deadlines, in no order.
#[derive(Debug)]
pub struct InspectedEntries<'a>(ByteIter<'a>);

impl Iterator for InspectedEntries<'_> {
    type Item = Result<InspectedEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_timed_with(|key, value, expires_ms| InspectedEntry {
            key: key.to_vec(),
            value: value.to_vec(),
            expires_ms,
        })
    }
}

impl<'a> IntoIterator for &'a Inspection {
    type Item = Result<(Vec<u8>, Vec<u8>)>;
    type IntoIter = ByteIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
