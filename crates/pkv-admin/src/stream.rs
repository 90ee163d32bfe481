//! Files of any size as streams, through the file system of the folders.

use std::io::{self, Read};
use std::sync::Arc;

use pkv_fs::File;

/// Reads a file from an offset on.
#[derive(Debug)]
pub(crate) struct FileReader {
    file: Arc<dyn File>,
    offset: u64,
}

impl FileReader {
    pub(crate) fn new(file: Arc<dyn File>, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(self.offset, buffer).map_err(io::Error::other)?;
        self.offset = self.offset.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
        Ok(got)
    }
}

/// Writes a file from an offset on.
#[derive(Debug)]
pub(crate) struct FileWriter {
    file: Arc<dyn File>,
    offset: u64,
}

impl FileWriter {
    pub(crate) fn new(file: Arc<dyn File>, offset: u64) -> Self {
        Self { file, offset }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> pkv_fs::Result<()> {
        self.file.write_at(self.offset, bytes)?;
        self.offset = self.offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Makes all of it durable.
    pub(crate) fn finish(self) -> pkv_fs::Result<u64> {
        self.file.sync_data()?;
        Ok(self.offset)
    }
}
