//! Opening a store to change it, whatever its types: what `put`, `del`, `incr`, `import` and `compact` share.

use std::sync::Arc;

use pkv_snapshot_set::{FileSnapshotSet, SnapshotType};
use pkv_store::{ByteStore, Durability, Options};

use crate::entries::Types;
use crate::error::Result;
use crate::folder::Folder;

/// An open store, and its types.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: ByteStore,
    pub(crate) types: Types,
}

/// Takes the lock and opens a store that is there. Looks before it locks, since locking makes the lock file.
///
/// With `is_busy` the store has its threads, for much work: it then compacts when that is due, and keeps as many
/// backups as there are. Without, nothing happens that was not asked for.
pub(crate) fn open(folder: &Folder, is_busy: bool) -> Result<Opened> {
    open_with(folder, &options(folder, is_busy)?)
}

/// The same with options of one's own.
pub(crate) fn open_with(folder: &Folder, options: &Options) -> Result<Opened> {
    folder.types()?;
    let store = ByteStore::open_untyped(folder.dir(), options)?;
    let types = Types::of(store.schemas());
    Ok(Opened { store, types })
}

/// Opens or creates a store of these types; one with deadlines where it is there and has them.
pub(crate) fn open_as(
    folder: &Folder,
    options: &Options,
    key: String,
    value: String,
) -> Result<Opened> {
    let types = Types::of((&key, &value));
    let options = options.clone().expiry(folder.has_deadlines()?);
    let store = ByteStore::open_named(folder.dir(), &options, key, value)?;
    Ok(Opened { store, types })
}

/// How the tools open a store.
pub(crate) fn options(folder: &Folder, is_busy: bool) -> Result<Options> {
    let backups = u32::try_from(backups(folder)?).unwrap_or(u32::MAX);
    Ok(Options::new()
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
