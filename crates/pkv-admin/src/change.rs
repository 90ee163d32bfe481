//! Opening a store to change it, whatever its types: what `put`, `del`, `incr`, `import` and `compact` share.

use std::sync::Arc;

use pkv_snapshot_set::{FileSnapshotSet, SnapshotType};
use pkv_store::codec::{split_version, without_deadlines};
use pkv_store::{ByteStore, Durability, Options};

use crate::entries::Types;
use crate::error::{Error, Result};
use crate::folder::Folder;

/// An open store, and its types.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: ByteStore,
    pub(crate) types: Types,
}

impl Opened {
    fn of(store: ByteStore) -> Self {
        let types = Types::of(store.schemas()).expiring(store.has_expiry());
        Self { store, types }
    }

    /// Closes the store after a small change. Each opening leaves a log, so that a script of many changes would leave
    /// thousands, and take longer each time: with so many the store is compacted, unless that pushed out a backup.
    pub(crate) fn close(self, folder: &Folder) -> Result<()> {
        if self.store.stats().logs >= LOGS_MAX && backups(folder)? == 0 {
            // The change is made, whatever comes of this.
            let _ = self.store.compact();
        }
        Ok(self.store.close()?)
    }
}

const LOGS_MAX: u32 = 64;

/// Takes the lock and opens a store that is there. Looks before it locks, since locking makes the lock file.
///
/// With `is_busy` the store has its threads, for much work: it then compacts when that is due, and keeps as many
/// backups as there are. Without, it writes what it is told to and no more.
pub(crate) fn open(folder: &Folder, is_busy: bool) -> Result<Opened> {
    open_with(folder, &options(folder, is_busy)?)
}

/// The same with options of one's own.
pub(crate) fn open_with(folder: &Folder, options: &Options) -> Result<Opened> {
    folder.types()?;
    let store = ByteStore::open_untyped(folder.dir(), options).map_err(versions)?;
    Ok(Opened::of(store))
}

/// The names of the types that a store is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewTypes {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Its entries may expire.
    pub(crate) has_expiry: bool,
}

impl NewTypes {
    /// Of values as files name them, or with expiry said by a word of its own.
    pub(crate) fn new(key: &str, value: &str, has_expiry: bool) -> Self {
        let (value, has_deadlines) = match without_deadlines(value) {
            Some(inner) => (inner, true),
            None => (value, false),
        };
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            has_expiry: has_expiry || has_deadlines,
        }
    }
}

/// Opens or creates a store of these types; one that is there keeps its expiry where none was asked for.
pub(crate) fn open_as(folder: &Folder, options: &Options, types: NewTypes) -> Result<Opened> {
    let options = options.clone().expiry(types.has_expiry || folder.has_deadlines()?);
    let NewTypes { key, value, .. } = types;
    let store = ByteStore::open_named(folder.dir(), &options, key, value).map_err(versions)?;
    Ok(Opened::of(store))
}

/// Values of two versions are for the program that has the type.
pub(crate) fn versions(error: pkv_store::Error) -> Error {
    match error {
        pkv_store::Error::WrongType { path, what: "value", stored, asked }
            if split_version(&stored).0 == split_version(&asked).0 =>
        {
            Error::Versions { path, one: stored, other: asked }
        }
        error => error.into(),
    }
}

/// How the tools open a store.
pub(crate) fn options(folder: &Folder, is_busy: bool) -> Result<Options> {
    let backups = u32::try_from(backups(folder)?).unwrap_or(u32::MAX);
    let told = folder.clone();
    Ok(Options::new()
        .on_progress(move |progress| told.tell_phase(progress))
        .file_system(Arc::clone(folder.fs()))
        .durability(Durability::Power)
        .background(is_busy)
        .keep_backups(backups))
}

/// How many full snapshots there are below the latest one.
pub(crate) fn backups(folder: &Folder) -> Result<usize> {
    let scan = match FileSnapshotSet::scan(&**folder.fs(), folder.dir()) {
        Ok(scan) => scan,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let is_full =
        |info: &&pkv_snapshot_set::SnapshotInfo| info.snapshot_type == SnapshotType::FullCompleted;
    Ok(scan.snapshots.iter().filter(is_full).count().saturating_sub(1))
}
