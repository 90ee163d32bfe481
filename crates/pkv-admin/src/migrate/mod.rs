//! Folders that other stores have written, read for `pkv migrate`.

pub(crate) mod persistent_kv;
