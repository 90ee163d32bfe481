//! `pkv put`: one key gets a value.

use std::path::PathBuf;
use std::time::Duration;

use pkv_store::Durability;

use crate::change::open;
use crate::error::{Error, Exit, Result};
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
    /// How long the entry lives: seconds, or 90s, 30m, 36h, 7days; without it the entry does not expire
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,
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
        out.report(&put(&folder, &key, &value, self.ttl)?)?;
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

/// A time to live as it stands on the command line.
fn ttl(word: &str) -> Result<Duration, String> {
    match word.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(word).map_err(|error| error.to_string()),
    }
}

/// Sets a key, both as bytes of the encodings that the store's types have; for a time, where one is given. Takes the
/// lock; the write survives a power cut when this returns.
///
/// # Errors
/// [`Error::NoExpiry`]; those of opening the store ([`pkv_store::Error::Locked`] above all) and of writing.
pub fn put(folder: &Folder, key: &[u8], value: &[u8], ttl: Option<Duration>) -> Result<Put> {
    if ttl.is_some() && !folder.has_deadlines()? {
        return Err(Error::NoExpiry { path: folder.dir().to_path_buf() });
    }
    let opened = open(folder, false)?;
    let written = match ttl {
        Some(ttl) => opened.store.insert_with_ttl(key, value, ttl, Durability::Power)?,
        None => opened.store.insert(key, value, Durability::Power)?,
    };
    opened.close(folder)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_seconds_or_has_units() {
        for (word, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("1h 30m", 5400), ("7days", 604_800)]
        {
            assert_eq!(ttl(word), Ok(Duration::from_secs(seconds)), "{word}");
        }
        for word in ["", "-1", "1.5", "soon"] {
            assert!(ttl(word).is_err(), "{word}");
        }
    }
}
