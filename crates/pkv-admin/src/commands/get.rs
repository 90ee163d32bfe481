//! `pkv get`: the value of one key.

use std::path::PathBuf;

use crate::entries::Types;
use crate::error::{Error, Exit, Result};
use crate::field::FieldValue;
use crate::folder::Folder;
use crate::json::{Hex, Json, object};
use crate::output::Output;
use crate::words::key_bytes;

/// Arguments of `pkv get`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The key: text or an integer by the store's types, hexadecimal digits for all others
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// KEY is given as hexadecimal digits of its encoding, and the value is printed so
    #[arg(long)]
    hex: bool,
    /// Print the bytes of the value as they are, and no newline
    #[arg(long, conflicts_with_all = ["hex", "json"])]
    raw: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let look = folder.inspect()?;
        let schema = look.schema().ok_or_else(|| self.no_key())?;
        let key = key_bytes(&self.key, schema, self.hex)?;
        let entry = look.entry(&key).ok_or_else(|| self.no_key())?;
        let (types, value) = (Types::of_look(&look), &entry.value);
        if self.raw {
            out.print_bytes(value)?;
        } else if out.is_json() {
            let mut line = String::new();
            object(&mut line, |fields| {
                fields
                    .field("key", &types.key.value(&key))
                    .field("value", &types.value.value(value));
                if types.has_expiry {
                    fields.field("expires_ms", &entry.expires_ms);
                }
            });
            line.push('\n');
            out.print(&line)?;
        } else if self.hex {
            out.print(&format!("{}\n", Hex(value)))?;
        } else {
            let mut text = String::new();
            match types.value.value(value) {
                FieldValue::Text(value) => text.push_str(value),
                FieldValue::Bytes(value) => text = Hex(value).to_string(),
                other => other.json(&mut text),
            }
            text.push('\n');
            out.print(&text)?;
        }
        Ok(Exit::Good)
    }

    fn no_key(&self) -> Error {
        Error::NoKey { path: self.path.clone(), key: self.key.clone() }
    }
}

/// The value of a key, both as bytes; `None` if it is not there.
///
/// Reads the folder as opening would, without the lock and without a change; needs the time and the memory that
/// opening needs.
///
/// # Errors
/// Those of opening the store.
pub fn get(folder: &Folder, key: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(folder.inspect()?.get(key))
}
