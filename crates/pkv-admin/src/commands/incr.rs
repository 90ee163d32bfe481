//! `pkv incr`: an integer grows, in one write.

use std::path::PathBuf;

use pkv_store::{Durability, Update};

use crate::change::open;
use crate::error::{Error, Exit, Result};
use crate::field::{FieldType, FieldValue};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::words::key_bytes;

/// Arguments of `pkv incr`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The key: text or an integer by the store's types, hexadecimal digits for all others
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// How much is added; may be negative
    #[arg(default_value_t = 1, allow_hyphen_values = true)]
    by: i128,
    /// KEY is given as hexadecimal digits of its encoding
    #[arg(long)]
    hex: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let schema = folder.types()?;
        let key = key_bytes(&self.key, (&schema.0, &schema.1), self.hex)?;
        out.report(&incr(&folder, &key, self.by)?)?;
        Ok(Exit::Good)
    }
}

/// What [`incr`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incremented {
    /// The write's sequence number.
    pub seq: u64,
    /// The new value, in decimal.
    pub value: String,
}

/// Adds to the integer that a key has, atomically; a key that is not there counts as 0. Takes the lock; the write
/// survives a power cut when this returns.
///
/// # Errors
/// [`Error::BadValue`] when the values are no integers or the sum does not fit; those of opening and writing.
pub fn incr(folder: &Folder, key: &[u8], by: i128) -> Result<Incremented> {
    let opened = open(folder, false)?;
    let field = opened.types.value;
    let mut sum = Err("the values are no integers".to_owned());
    let written = opened.store.update(key, Durability::Power, |current| {
        sum = add(field, current, by);
        match &sum {
            Ok((_, bytes)) => Update::Set(bytes.clone()),
            Err(_) => Update::Keep,
        }
    })?;
    opened.close(folder)?;
    match sum {
        Ok((value, _)) => Ok(Incremented { seq: written.seq, value }),
        Err(reason) => {
            let (key, value) = folder.schema()?.unwrap_or_default();
            let types = format!("{key} to {value}");
            Err(Error::BadValue { what: "incr", reason, types })
        }
    }
}

/// The sum in decimal, and encoded.
fn add(field: FieldType, current: Option<&[u8]>, by: i128) -> Result<(String, Vec<u8>), String> {
    if !matches!(field, FieldType::Integer { .. }) {
        return Err("the values are no integers".to_owned());
    }
    let sum = match current.map(|bytes| field.value(bytes)) {
        None => Some(by.to_string()),
        Some(FieldValue::Signed(number)) => number.checked_add(by).map(|sum| sum.to_string()),
        Some(FieldValue::Unsigned(number)) => {
            number.checked_add_signed(by).map(|sum| sum.to_string())
        }
        Some(_) => return Err("the stored bytes are no integer of the type".to_owned()),
    };
    let overflow = || "the sum does not fit the type; nothing was changed".to_owned();
    let sum = sum.ok_or_else(overflow)?;
    let bytes = field.encode_text(&sum).map_err(|_| overflow())?;
    Ok((sum, bytes))
}

impl Json for Incremented {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields.field("seq", &self.seq);
            // It came from an integer, so it is a number of JSON as it stands.
            fields.name("value").push_str(&self.value);
        });
    }
}

impl Report for Incremented {
    fn text(&self, out: &mut String) {
        append(out, format_args!("{}\n", self.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_fit_their_type_or_are_refused() {
        let add = |schema, current: Option<&[u8]>, by| {
            add(FieldType::of(schema), current, by).ok().map(|(sum, _)| sum)
        };
        assert_eq!(add("u8", None, 5).as_deref(), Some("5"));
        assert_eq!(add("u8", Some(&[254]), 1).as_deref(), Some("255"));
        assert_eq!(add("u8", Some(&[255]), 1), None);
        assert_eq!(add("u8", Some(&[0]), -1), None);
        assert_eq!(add("i8", Some(&[0x80]), -1), None);
        assert_eq!(add("i8", Some(&[0]), -1).as_deref(), Some("-1"));
        assert_eq!(add("u128", Some(&[255; 16]), 1), None);
        assert_eq!(add("i128", Some(&i128::MAX.to_le_bytes()), 1), None);
        assert_eq!(add("nonzero_u8", Some(&[1]), -1), None);
        assert_eq!(add("u16", Some(&[1]), 1), None);
        assert_eq!(add("string", None, 1), None);
    }
}
