//! A piece of a file in memory at a time, read into a buffer that all files of a thread share.

use std::io;
use std::path::Path;

use pkv_fs::{Error, File, Op};

use super::Result;

/// How much of a file is read at a time: small enough to be still in the processor's cache when its
/// checksums are computed. A longer frame or block gets what it needs.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// The memory for pieces of files, and who is told of each piece's bytes.
pub(crate) struct Buffer<'a> {
    bytes: Vec<u8>,
    on_read: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Buffer<'a> {
    pub(crate) fn new(on_read: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { bytes: Vec::new(), on_read }
    }
}

/// A piece of a file.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    path: &'a Path,
    file_bytes: u64,
    buffer: &'a mut Vec<u8>,
    on_read: &'a (dyn Fn(u64) + Sync),
    base: u64,
    filled: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        file_bytes: u64,
        buffer: &'a mut Buffer<'_>,
    ) -> Self {
        let Buffer { bytes: buffer, on_read } = buffer;
        Self { file, path, file_bytes, buffer, on_read: *on_read, base: 0, filled: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// The file's size, as far as it is known to go.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The offset behind the last byte in memory.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(wide(self.filled))
    }

    pub(crate) fn at_end(&self) -> bool {
        self.end() >= self.file_bytes
    }

    /// Reads from `offset` on: at least `bytes_min` bytes, fewer only at the file's end. A file that became
    /// shorter meanwhile ends there.
    pub(crate) fn load(&mut self, offset: u64, bytes_min: u64) -> Result<()> {
        let left = self.file_bytes.saturating_sub(offset);
        let want = usize::try_from(bytes_min.max(WINDOW_BYTES).min(left)).unwrap_or(usize::MAX);
        if let Some(more) = want.checked_sub(self.buffer.len()) {
            self.buffer.try_reserve_exact(more).map_err(|_| {
                Error::at(Op::Read, self.path, offset, io::ErrorKind::OutOfMemory.into())
            })?;
            self.buffer.resize(want, 0);
        }
        self.base = offset;
        self.filled = 0;
        let place = self.buffer.get_mut(..want).unwrap_or_default();
        self.filled = self.file.read_at(offset, place)?;
        if self.filled < want {
            self.file_bytes = self.end();
        }
        (self.on_read)(wide(self.filled));
        Ok(())
    }
}

/// A length as an offset; a length never exceeds `u64`.
pub(crate) fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Where the first byte stands that is not zero.
pub(crate) fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 64] = [0; 64];
    let zero_bytes =
        bytes.chunks_exact(ZEROS.len()).take_while(|chunk| *chunk == ZEROS).count() * ZEROS.len();
    let rest = bytes.get(zero_bytes..).unwrap_or_default();
    rest.iter().position(|byte| *byte != 0).map(|at| zero_bytes + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_everywhere() {
        for length in 0..200 {
            let mut bytes = vec![0; length];
            assert_eq!(first_nonzero(&bytes), None);
            for at in (0..length).rev() {
                bytes[at] = 1;
                assert_eq!(first_nonzero(&bytes), Some(at));
            }
        }
    }
}
