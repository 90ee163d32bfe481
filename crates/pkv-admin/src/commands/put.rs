//! `pkv put`: one key gets a value.

use std::path::PathBuf;

use pkv_store::Durability;

use crate::change::open;
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, object};
use crate::output::{Output, Report};
use crate::words::{key_bytes, value_bytes};

/// Arguments of `pkv put`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The key: text or an integer by the store's types, hexadecimal digits for all others
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The value, written in the same way
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// KEY and VALUE are given as hexadecimal digits of their encodings
    #[arg(long)]
    hex: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        // Words that are wrong must not open anything.
        let schema = folder.types()?;
        let key = key_bytes(&self.key, (&schema.0, &schema.1), self.hex)?;
        let value = value_bytes(&self.value, (&schema.0, &schema.1), self.hex)?;
        out.report(&put(&folder, &key, &value)?)?;
        Ok(Exit::Good)
    }
}

/// What [`put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Put {
    /// The write's sequence number.
    pub seq: u64,
    /// Whether the key was there before.
    pub existed: bool,
}

/// Sets a key, both as bytes of the encodings that the store's types have. Takes the lock; the write survives a power
/// cut when this returns.
///
/// # Errors
/// Those of opening the store ([`pkv_store::Error::Locked`] above all) and of writing.
pub fn put(folder: &Folder, key: &[u8], value: &[u8]) -> Result<Put> {
    let opened = open(folder, false)?;
    let written = opened.store.insert(key, value, Durability::Power)?;
    opened.store.close()?;
    Ok(Put { seq: written.seq, existed: written.existed })
}

impl Json for Put {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields.field("seq", &self.seq).field("existed", &self.existed);
        });
    }
}

impl Report for Put {
    fn text(&self, out: &mut String) {
        out.push_str("OK\n");
    }
}
