//! What a file's header must say before one byte behind it is believed.

use std::path::Path;

use pkv_format::{FileHeader, FileKind, HEADER_BYTES, HeaderError};
use pkv_fs::File;

use crate::error::{Error, Result};

/// Reads the header at the start of a file. `Ok(Err(..))` is a header that does not stand.
pub(crate) fn read_header(file: &dyn File) -> Result<Result<FileHeader, HeaderError>> {
    let mut bytes = [0; HEADER_BYTES];
    let got = file.read_at(0, &mut bytes)?;
    Ok(FileHeader::decode(bytes.get(..got).unwrap_or_default()))
}

/// A header that does not stand, as the error that opening returns.
pub(crate) fn header_error(path: &Path, error: &HeaderError) -> Error {
    match error {
        HeaderError::Newer { found, known } => {
            Error::NewerFormat { path: path.to_path_buf(), found: *found, known: *known }
        }
        other => Error::damaged(path, 0, format!("file header: {other}")),
    }
}

/// What a file's name says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameSays {
    pub(crate) kind: FileKind,
    pub(crate) ordinal: u64,
    pub(crate) shard: u32,
    pub(crate) shard_count: u32,
}

/// A file must be what its name says: else it was renamed, copied or swapped.
pub(crate) fn check_name(path: &Path, header: &FileHeader, name: NameSays) -> Result<()> {
    let says = (name.kind, name.ordinal, name.shard, name.shard_count);
    let is = (header.kind, header.ordinal, header.shard, header.shard_count);
    if says == is {
        return Ok(());
    }
    let show = |(kind, ordinal, shard, count): (FileKind, u64, u32, u32)| {
        let kind = match kind {
            FileKind::Log => "log",
            FileKind::Snapshot => "snapshot",
        };
        format!("{kind} {ordinal}, shard {shard} of {count}")
    };
    Err(Error::damaged(
        path,
        0,
        format!("misplaced file: its name says {}, its header says {}", show(says), show(is)),
    ))
}

/// All files of a folder must belong to one store, and hold the types that were asked for.
pub(crate) fn check_store(
    path: &Path,
    header: &FileHeader,
    first: &FileHeader,
    schema: Option<(&str, &str)>,
) -> Result<()> {
    if header.store_id != first.store_id || header.hash_seed != first.hash_seed {
        return Err(Error::damaged(
            path,
            32,
            "the file belongs to another store than the first one in this folder",
        ));
    }
    let stored = (header.key_schema.as_str(), header.value_schema.as_str());
    let (key, value) = schema.unwrap_or((&first.key_schema, &first.value_schema));
    for (what, stored, asked) in [("key", stored.0, key), ("value", stored.1, value)] {
        if stored != asked {
            return Err(Error::WrongType {
                path: path.to_path_buf(),
                what,
                stored: stored.to_owned(),
                asked: asked.to_owned(),
            });
        }
    }
    Ok(())
}
