//! Writing out that begins before a sync asks for it.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;

/// Has the system begin to write these bytes of the file out, without waiting.
///
/// No flag that waits is passed: a wait would take the news of a failed write from the sync that must tell it.
pub(crate) fn start(file: &fs::File, offset: u64, bytes: u64) -> io::Result<()> {
    let number = |n: u64| i64::try_from(n).map_err(|_| io::ErrorKind::InvalidInput);
    let (offset, bytes) = (number(offset)?, number(bytes)?);
    // SAFETY: the descriptor is open as long as `file` is borrowed, and no memory is passed.
    let done = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
