//! Reading a file of which parts cannot be read.

use std::collections::BTreeMap;

use pkv_fs::File;

use crate::error::{Error, Result};
use crate::frame::bytes_u64;

/// What is read singly where a larger read failed.
const PAGE_BYTES: u64 = 4096;

/// A piece of a file in memory. Where the file system gives an error there are zeros, and it is noted.
#[derive(Debug)]
pub(super) struct SalvageWindow<'a> {
    file: &'a dyn File,
    file_bytes: u64,
    bytes: Vec<u8>,
    base: u64,
    bad_pages: BTreeMap<u64, String>,
}

impl<'a> SalvageWindow<'a> {
    pub(super) fn new(file: &'a dyn File, file_bytes: u64) -> Self {
        Self { file, file_bytes, bytes: Vec::new(), base: 0, bad_pages: BTreeMap::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes from this offset of the file on.
    pub(super) fn from(&self, offset: u64) -> &[u8] {
        let skipped = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.bytes.get(skipped..).unwrap_or_default()
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(super) fn end(&self) -> u64 {
        self.base + bytes_u64(self.bytes.len())
    }

    pub(super) fn at_end(&self) -> bool {
        self.end() >= self.file_bytes
    }

    /// Reads `bytes` from `offset`, fewer at the file's end.
    pub(super) fn read(&mut self, offset: u64, bytes: u64) -> Result<()> {
        let want = bytes.min(self.file_bytes.saturating_sub(offset));
        let want = usize::try_from(want).map_err(|_| Error::OutOfMemory)?;
        self.bytes.clear();
        self.bytes.try_reserve_exact(want).map_err(|_| Error::OutOfMemory)?;
        self.bytes.resize(want, 0);
        self.base = offset;
        if self.file.read_at(offset, &mut self.bytes).is_ok_and(|got| got == want) {
            return Ok(());
        }
        self.bytes.fill(0);
        let mut rest = self.bytes.as_mut_slice();
        let mut at = offset;
        while !rest.is_empty() {
            let piece = PAGE_BYTES - at % PAGE_BYTES;
            let piece_len = usize::try_from(piece).unwrap_or(usize::MAX).min(rest.len());
            let (page, behind) = rest.split_at_mut(piece_len);
            match self.file.read_at(at, page) {
                Ok(got) if got == page.len() => {}
                Ok(_) => {
                    self.bad_pages.insert(at / PAGE_BYTES, "the file became shorter".to_owned());
                }
                Err(error) => {
                    page.fill(0);
                    self.bad_pages.insert(at / PAGE_BYTES, error.to_string());
                }
            }
            at += piece;
            rest = behind;
        }
        Ok(())
    }

    /// What could not be read, as runs of pages: offset, bytes and why.
    pub(super) fn unreadable(&self) -> Vec<(u64, u64, String)> {
        let mut runs: Vec<(u64, u64, String)> = Vec::new();
        for (page, reason) in &self.bad_pages {
            let offset = page * PAGE_BYTES;
            match runs.last_mut() {
                Some((start, bytes, _)) if *start + *bytes == offset => *bytes += PAGE_BYTES,
                _ => runs.push((offset, PAGE_BYTES, reason.clone())),
            }
        }
        runs
    }
}
