//! Folders that a store has written, and what can happen to them.

use std::fs;
use std::path::{Path, PathBuf};

use pkv_store::{Durability, Options, Store};
use tempfile::TempDir;

pub(crate) type Visits = Store<String, u64>;

pub(crate) struct Folder {
    _dir: TempDir,
    pub(crate) path: PathBuf,
}

/// A place for a store that does not exist yet.
pub(crate) fn nowhere() -> Folder {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("visits");
    Folder { _dir: dir, path }
}

/// Small files, and nothing that happens by itself: each run makes the same files.
pub(crate) fn options() -> Options {
    Options::new()
        .segment_bytes(16 * 1024, 16 * 1024)
        .snapshot_shards(2)
        .keep_backups(9)
        .background(false)
        .sync_interval(std::time::Duration::from_secs(3_600))
}

pub(crate) fn open(path: &Path) -> Visits {
    options().open(path).unwrap()
}

/// A store that was opened and closed, and nothing more.
pub(crate) fn empty() -> Folder {
    let folder = nowhere();
    open(&folder.path).close().unwrap();
    folder
}

/// A closed store with a backup: 40 entries, 60 writes, two full snapshots of two shards and the logs behind each,
/// of 20 writes.
pub(crate) fn closed() -> Folder {
    let folder = nowhere();
    let store = open(&folder.path);
    fill(&store, 0..20);
    store.compact().unwrap();
    fill(&store, 0..20);
    store.compact().unwrap();
    fill(&store, 20..40);
    store.close().unwrap();
    folder
}

/// A copy of a folder whose store was open, with all its threads: what a killed process leaves. Durable up to
/// write 21 of 40, and one more log may have been made ahead.
pub(crate) fn killed() -> Folder {
    let folder = nowhere();
    let live = nowhere();
    let store: Visits = options().background(true).open(&live.path).unwrap();
    fill(&store, 0..20);
    store.insert_with("key 20", &20, Durability::Power).unwrap();
    fill(&store, 21..40);
    copy(&live.path, &folder.path);
    drop(store);
    folder
}

pub(crate) fn fill(store: &Visits, keys: std::ops::Range<u64>) {
    for i in keys {
        store.insert(&format!("key {i}"), &i).unwrap();
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

impl Folder {
    /// The names of the store's files, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The paths of all files of a type, by ordinal and shard.
    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut names: Vec<String> = self.names();
        names.retain(|name| name.ends_with(&format!("_{kind}.bin")));
        names.sort_by_key(|name| {
            let numbers: Vec<u64> =
                name.split(['_', '-']).filter_map(|part| part.parse().ok()).collect();
            numbers
        });
        names.into_iter().map(|name| self.path.join(name)).collect()
    }

    /// The log that a killed store wrote to; another may have been made ahead.
    pub(crate) fn log(&self) -> PathBuf {
        self.files("diff").swap_remove(0)
    }

    pub(crate) fn last(&self, kind: &str) -> PathBuf {
        self.files(kind).pop().unwrap()
    }

    /// Everything in the folder, to see that nothing changed.
    pub(crate) fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        let read = |name: String| {
            let bytes = fs::read(self.path.join(&name)).unwrap_or_default();
            (name, bytes)
        };
        self.names().into_iter().map(read).collect()
    }
}

/// Flips one bit. In a shard file offset 530 is in its first block, whichever keys it holds.
pub(crate) fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn set_len(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

pub(crate) fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
