//! The store's folder: the set of snapshot files, the store's identity, and how a log file comes to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_format::{FRAMES_OFFSET, FileHeader, FileKind, FileSeed};
use pkv_fs::{Access, File, Fs, Op};
use pkv_snapshot_set::{FileSnapshotSet, SnapshotInfo, SnapshotOrdinal, SnapshotSet, SnapshotType};

use crate::error::{Error, Result};
use crate::space::Space;
use crate::sync::{Mutex, MutexGuard};

/// Whether a sync failed, after which nobody knows what the disk holds and nothing more may be written.
pub(crate) fn is_failed_sync(error: &Error) -> bool {
    matches!(error, Error::Fs(error) if matches!(error.op, Op::Sync | Op::SyncDir))
}

/// What every file of a store has in common, as its headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store_id: [u8; 16],
    pub(crate) hash_seed: u64,
    pub(crate) key_schema: String,
    pub(crate) value_schema: String,
}

impl Identity {
    /// Of a store that does not exist yet.
    pub(crate) fn new(fs: &dyn Fs, key_schema: String, value_schema: String) -> Self {
        let mut store_id = [0; 16];
        for half in store_id.chunks_exact_mut(8) {
            half.copy_from_slice(&fs.random_u64().to_le_bytes());
        }
        Self { store_id, hash_seed: fs.random_u64(), key_schema, value_schema }
    }
}

/// What the record in the lock file is seeded with: it stands before any file that has an identity.
pub(crate) fn root_seed() -> FileSeed {
    FileSeed::new([0; 16], 0, 0, 0, 0)
}

/// The open folder. Holds its lock.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) identity: Identity,
    set: Mutex<Option<FileSnapshotSet>>,
    /// Of files that were removed.
    pub(crate) space: Space,
    /// Held while a log is made or taken into use by compaction: the order of ordinals depends on it.
    creation: Mutex<()>,
}

/// A log file that is complete and durable up to its first frame.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) ordinal: u64,
    pub(crate) salt: u64,
    pub(crate) seed: FileSeed,
    pub(crate) segment_bytes: u64,
    pub(crate) file: Arc<dyn File>,
}

impl Folder {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        identity: Identity,
        set: FileSnapshotSet,
    ) -> Self {
        let dir = dir.to_path_buf();
        let (set, creation) = (Mutex::new(Some(set)), Mutex::new(()));
        Self { fs, dir, identity, set, space: Space::default(), creation }
    }

    /// Keeps others from making logs.
    pub(crate) fn creation(&self) -> MutexGuard<'_, ()> {
        self.creation.lock()
    }

    /// Runs `work` on the set of files; [`Error::Closed`] once the folder was released.
    pub(crate) fn with_set<T>(
        &self,
        work: impl FnOnce(&mut FileSnapshotSet) -> Result<T>,
    ) -> Result<T> {
        match self.set.lock().as_mut() {
            Some(set) => work(set),
            None => Err(Error::Closed),
        }
    }

    /// Whether a failed sync or rename left unknown what the folder holds.
    pub(crate) fn is_stopped(&self) -> bool {
        self.set.lock().as_ref().is_some_and(FileSnapshotSet::is_stopped)
    }

    /// Lets go of the folder's lock.
    pub(crate) fn release(&self) {
        drop(self.set.lock().take());
    }

    /// Lets go of what a forked child can let go of without waiting: a lock may have been held by a
    /// thread that does not exist here.
    pub(crate) fn release_in_child(&self) {
        if let Some(mut set) = self.set.try_lock() {
            drop(set.take());
        }
        self.space.let_go_in_child();
    }

    /// The header that a file of this store must have.
    pub(crate) fn header(
        &self,
        kind: FileKind,
        ordinal: u64,
        shard: u32,
        shard_count: u32,
        segment_bytes: u64,
    ) -> FileHeader {
        FileHeader {
            kind,
            ordinal,
            shard,
            shard_count,
            store_id: self.identity.store_id,
            salt: self.fs.random_u64(),
            hash_seed: self.identity.hash_seed,
            segment_bytes,
            key_schema: self.identity.key_schema.clone(),
            value_schema: self.identity.value_schema.clone(),
        }
    }

    /// Makes a log with room for `segment_bytes`, above every ordinal so far. The caller holds
    /// [`Folder::creation`].
    ///
    /// 1. An empty file gets its name; the folder is synced.
    /// 2. Space is reserved and the size synced, so that a header proves the size below it.
    /// 3. The header is written and synced, so that a frame proves the header before it.
    ///
    /// A crash in between leaves a file without a header, which opening drops.
    pub(crate) fn create_log(&self, segment_bytes: u64) -> Result<LogFile> {
        // 1.
        let info =
            self.with_set(|set| Ok(set.create_or_get_snapshot(SnapshotType::Diff, 1, false)?))?;
        let made = self.fill_log(&info, segment_bytes);
        if let Err(error) = &made
            && !is_failed_sync(error)
        {
            // Best effort: an empty log that stays behind is dropped by the next opening.
            let _ = self.remove(info.ordinal.0);
        }
        made
    }

    fn fill_log(&self, info: &SnapshotInfo, segment_bytes: u64) -> Result<LogFile> {
        let path = info.shard_paths.first().cloned().unwrap_or_default();
        let file = self.fs.open(&path, Access::Write)?;
        // 2.
        file.preallocate(segment_bytes.max(FRAMES_OFFSET))?;
        file.sync_data()?;
        // 3.
        let header = self.header(FileKind::Log, info.ordinal.0, 0, 1, segment_bytes);
        let bytes = header.encode().map_err(|e| Error::damaged(&path, 0, e.to_string()))?;
        file.write_at(0, &bytes)?;
        file.sync_data()?;
        Ok(LogFile {
            path,
            ordinal: info.ordinal.0,
            salt: header.salt,
            seed: header.seed(),
            segment_bytes,
            file,
        })
    }

    /// Removes the files of one ordinal.
    pub(crate) fn remove(&self, ordinal: u64) -> Result<()> {
        self.with_set(|set| Ok(set.remove_snapshot(SnapshotOrdinal(ordinal))?))
    }
}
