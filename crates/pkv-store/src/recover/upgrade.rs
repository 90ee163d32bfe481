//! Values of a file that an older version of their type has written.

use std::path::Path;

use super::{ReadOptions, Types};
use crate::codec::{Upgrade, UpgradeError};
use crate::error::{Error, Result};
use crate::write::{VALUE_BYTES_MAX, check_size};

/// What makes today's values of those in one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileUpgrade<'a> {
    upgrade: &'a Upgrade,
    version: u32,
    path: &'a Path,
    stored: &'a str,
}

impl<'a> FileUpgrade<'a> {
    /// `None`: the file's values are of today's version, as nearly always.
    pub(super) fn of(options: &ReadOptions<'a>, path: &'a Path, stored: &'a str) -> Option<Self> {
        let Types::Known { upgrade, .. } = options.types else { return None };
        let version = upgrade.older_version(stored)?;
        Some(Self { upgrade, version, path, stored })
    }

    /// Puts today's value into `out`.
    pub(super) fn convert(&self, value: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let failed = |reason: String| Error::Upgrade {
            path: self.path.to_path_buf(),
            stored: self.stored.to_owned(),
            reason,
        };
        self.upgrade
            .convert(self.version, value, out)
            .map_err(|error: UpgradeError| failed(error.to_string()))?;
        check_size("value", out.len(), VALUE_BYTES_MAX).map_err(|error| failed(error.to_string()))
    }
}
