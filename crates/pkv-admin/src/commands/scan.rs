//! `pkv scan`: entries, all or those whose keys begin with something.

use std::path::PathBuf;

use crate::entries::{CHUNK_BYTES, EntryWriter, Format, Types};
use crate::error::{Exit, Result};
use crate::folder::Folder;
use crate::output::Output;
use crate::parse::hex;
use crate::words::bad_value;

/// Arguments of `pkv scan`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// Only entries whose keys begin so: the text of a string, or hexadecimal digits of the encoding
    #[arg(long, allow_hyphen_values = true)]
    prefix: Option<String>,
    /// At most so many entries
    #[arg(long)]
    limit: Option<u64>,
    /// The keys alone
    #[arg(long)]
    keys: bool,
    /// How entries are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let schema = folder.schema()?.unwrap_or_default();
        let prefix = match &self.prefix {
            Some(prefix) if schema.0 == "string" => prefix.clone().into_bytes(),
            Some(prefix) => {
                hex(prefix).map_err(|why| bad_value("--prefix", &why, (&schema.0, &schema.1)))?
            }
            None => Vec::new(),
        };
        let limit = self.limit.unwrap_or(u64::MAX);
        scan(&folder, &Scan { prefix, limit, keys_only: self.keys, format: self.format }, out)
    }
}

/// Which entries are printed, and how.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What the bytes of their keys begin with.
    pub prefix: Vec<u8>,
    /// How many at most.
    pub limit: u64,
    /// Leave the values out.
    pub keys_only: bool,
    /// How they are written.
    pub format: Format,
}

impl Default for Scan {
    fn default() -> Self {
        Self { prefix: Vec::new(), limit: u64::MAX, keys_only: false, format: Format::default() }
    }
}

/// Prints entries, in no order.
///
/// Reads the folder as opening would, without the lock and without a change; needs the memory that opening needs.
/// What lies behind a torn end is not printed: opening would cut it off.
///
/// # Errors
/// Those of opening the store. Nothing was printed then.
pub fn scan(folder: &Folder, what: &Scan, out: &mut Output<'_>) -> Result<Exit> {
    let look = folder.inspect()?;
    let types = Types::of_look(&look);
    let mut writer = EntryWriter::new(what.format, types, what.keys_only);
    writer.head()?;
    let mut left = what.limit;
    for entry in look.iter_entries() {
        if left == 0 || out.is_closed() {
            break;
        }
        let entry = entry?;
        if entry.key.starts_with(&what.prefix) {
            left -= 1;
            writer.push(&entry.key, &entry.value, entry.expires_ms)?;
        }
        if writer.bytes() >= CHUNK_BYTES {
            out.print_bytes(&writer.take()?)?;
        }
    }
    out.print_bytes(&writer.take()?)?;
    Ok(Exit::Good)
}
