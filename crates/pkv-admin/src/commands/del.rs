//! `pkv del`: keys go.

use std::path::PathBuf;

use pkv_store::Durability;

use crate::change::open;
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::words::key_bytes;

/// Arguments of `pkv del`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The keys: text or integers by the store's types, hexadecimal digits for all others
    #[arg(required = true, allow_hyphen_values = true)]
    keys: Vec<String>,
    /// The keys are given as hexadecimal digits of their encodings
    #[arg(long)]
    hex: bool,
    /// Say how many of the keys are there, and remove none
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let schema = folder.types()?;
        let keys = self.keys.iter().map(|key| key_bytes(key, (&schema.0, &schema.1), self.hex));
        let keys: Vec<Vec<u8>> = keys.collect::<Result<_>>()?;
        out.report(&if self.dry_run { plan_del(&folder, &keys)? } else { del(&folder, &keys)? })?;
        Ok(Exit::Good)
    }
}

/// What [`del`] removed, or would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// How many keys were there.
    pub removed: u64,
    /// Nothing was done: the rest says what would be.
    pub is_dry_run: bool,
}

/// Removes keys, given as bytes of the encoding that the store's type has: all of them in one write, or none.
/// Takes the lock; the write survives a power cut when this returns.
///
/// # Errors
/// Those of opening the store and of writing.
pub fn del(folder: &Folder, keys: &[Vec<u8>]) -> Result<Deleted> {
    let opened = open(folder, false)?;
    let store = &opened.store;
    let mut removed = 0;
    let mut batch = store.batch();
    let mut there: Vec<&Vec<u8>> = keys.iter().collect();
    there.sort();
    there.dedup();
    for key in there {
        if store.contains_key(key)? {
            batch = batch.remove(key);
            removed += 1;
        }
    }
    batch.commit(Durability::Power)?;
    opened.close(folder)?;
    Ok(Deleted { removed, is_dry_run: false })
}

/// What [`del`] would remove. Takes no lock and changes nothing.
///
/// # Errors
/// Those of reading the store.
pub fn plan_del(folder: &Folder, keys: &[Vec<u8>]) -> Result<Deleted> {
    let look = folder.inspect()?;
    let mut there: Vec<&Vec<u8>> = keys.iter().filter(|key| look.get(key).is_some()).collect();
    there.sort();
    there.dedup();
    Ok(Deleted { removed: u64::try_from(there.len()).unwrap_or(u64::MAX), is_dry_run: true })
}

impl Json for Deleted {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields.field("dry_run", &self.is_dry_run).field("removed", &self.removed);
        });
    }
}

impl Report for Deleted {
    fn text(&self, out: &mut String) {
        append(out, format_args!("{}\n", self.removed));
    }
}
