//! What a file's header must say before one byte behind it is believed.

use std::path::Path;

use pkv_format::{FileHeader, FileKind, HEADER_BYTES, HeaderError};
use pkv_fs::File;

use super::Types;
use crate::codec::{family, is_same_type};
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

/// All files of a folder must belong to one store, and hold the types that were asked for: keys exactly,
/// values in this version or one that can be upgraded.
pub(crate) fn check_store(
    path: &Path,
    header: &FileHeader,
    first: &FileHeader,
    types: &Types,
) -> Result<()> {
    if header.store_id != first.store_id || header.hash_seed != first.hash_seed {
        return Err(Error::damaged(
            path,
            32,
            "the file belongs to another store than the first one in this folder",
        ));
    }
    let stored = (header.key_schema.as_str(), header.value_schema.as_str());
    let (key, value, is_other_version) = match types {
        Types::Known { key_schema, upgrade } => {
            (key_schema.as_str(), upgrade.schema(), upgrade.older_version(stored.1).is_some())
        }
        Types::OfFolder => (first.key_schema.as_str(), first.value_schema.as_str(), false),
        Types::OfEachFile => {
            let is_same_name = is_same_type(stored.1, &first.value_schema);
            (first.key_schema.as_str(), first.value_schema.as_str(), is_same_name)
        }
    };
    let checks = [
        ("key", stored.0, key, stored.0 == key),
        ("value", stored.1, value, stored.1 == value || is_other_version),
    ];
    for (what, stored, asked, is_right) in checks {
        let (is, wanted) = (family(stored), family(asked));
        if !is_right && what == "value" && is.0 == wanted.0 && is.1 != wanted.1 {
            return Err(Error::Expiry { path: path.to_path_buf(), has_expiry: is.1 });
        }
        if !is_right {
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
