//! Reading a file piece by piece: memory stays bounded, whatever sizes the file claims.

use std::path::Path;

use pkv_fs::File;

use crate::error::{Error, Result};
use crate::frame::bytes_u64;

/// A piece of a file in memory.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    path: &'a Path,
    file_bytes: u64,
    /// The first `len` are those of the file: what was allocated once is not cleared again.
    bytes: Vec<u8>,
    len: usize,
    base: u64,
    /// Somebody may cut the file while it is read.
    may_shrink: bool,
}

impl<'a> Window<'a> {
    /// An empty window at the start of a file of this size.
    pub(crate) fn new(file: &'a dyn File, path: &'a Path, file_bytes: u64) -> Self {
        Self { file, path, file_bytes, bytes: Vec::new(), len: 0, base: 0, may_shrink: false }
    }

    /// A window on a file that its writer may cut to its length at any moment.
    pub(super) fn live(self, may_shrink: bool) -> Self {
        Self { may_shrink, ..self }
    }

    /// The file's size, as far as it is known.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Where the window ends in the file.
    pub(crate) fn end(&self) -> u64 {
        self.base + bytes_u64(self.len)
    }

    /// Whether the window reaches the file's end.
    pub(crate) fn at_end(&self) -> bool {
        self.end() >= self.file_bytes
    }

    /// Reads `bytes` from `offset`, fewer at the file's end. The memory taken is never more than the
    /// file holds.
    pub(crate) fn read(&mut self, offset: u64, bytes: u64) -> Result<()> {
        let want = bytes.min(self.file_bytes.saturating_sub(offset));
        let want = usize::try_from(want).map_err(|_| Error::OutOfMemory)?;
        (self.base, self.len) = (offset, 0);
        if let Some(more) = want.checked_sub(self.bytes.len()) {
            self.bytes.try_reserve_exact(more).map_err(|_| Error::OutOfMemory)?;
            self.bytes.resize(want, 0);
        }
        let got = self.file.read_at(offset, self.bytes.get_mut(..want).unwrap_or_default())?;
        self.len = got;
        if got < want && self.may_shrink {
            self.file_bytes = self.file_bytes.min(offset + bytes_u64(got));
            return Ok(());
        }
        if got < want {
            return Err(Error::damaged(
                self.path,
                offset + bytes_u64(got),
                "the file became shorter while it was read",
            ));
        }
        Ok(())
    }
}
