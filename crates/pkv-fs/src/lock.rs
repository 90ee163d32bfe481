//! One owner per folder: an exclusive lock on a file that everybody agrees on.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fork::ForkGuard;
use crate::std_fs::{self, StdFile};
use crate::{Error, File, Lock, Op, Result};

/// How long to sleep between two tries. The system's waiting call has no timeout.
const POLL: Duration = Duration::from_millis(5);

/// Takes the lock, see [`crate::Fs::lock`].
pub(crate) fn lock(path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
    let start = Instant::now();
    loop {
        let file = std_fs::open_or_create(path).map_err(|e| Error::new(Op::Lock, path, e))?;
        if try_lock(&file, path).map_err(|e| Error::new(Op::Lock, path, e))? {
            let file = StdFile::new(file, path);
            return Ok(Box::new(StdLock { file, fork: ForkGuard::new() }));
        }
        let left = wait.saturating_sub(start.elapsed());
        if left.is_zero() {
            let source = io::Error::new(
                io::ErrorKind::WouldBlock,
                "it is in use; close the other handle or stop the other process, or wait longer",
            );
            return Err(Error::new(Op::Lock, path, source));
        }
        std::thread::sleep(left.min(POLL));
    }
}

/// Locks `file`, which was opened at `path`; whether that made the caller the owner.
///
/// Somebody may have removed the file since, and somebody else may lock a new one of that name:
/// only the file that the name still leads to counts. Closing the other one releases it.
fn try_lock(file: &fs::File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(std_fs::is_at(file, path)),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

/// A held lock.
#[derive(Debug)]
struct StdLock {
    file: StdFile,
    fork: ForkGuard,
}

impl Lock for StdLock {
    fn file(&self) -> &dyn File {
        &self.file
    }
}

impl Drop for StdLock {
    /// Closing alone would leave the lock to any forked child that still has the descriptor; and
    /// unlocking in such a child would take the lock from its parent.
    fn drop(&mut self) {
        if !self.fork.forked() {
            // Nothing is left to try if this fails: closing the file then releases the lock.
            let _ = self.file.std().unlock();
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_on_a_file_that_lost_its_name_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = std_fs::open_or_create(&path).unwrap();
        assert!(try_lock(&file, &path).unwrap());
        file.unlock().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!try_lock(&file, &path).unwrap(), "no file has the name");
        fs::write(&path, b"").unwrap();
        assert!(!try_lock(&file, &path).unwrap(), "another file has the name");
    }
}
