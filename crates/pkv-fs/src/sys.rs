//! The calls that differ between systems, one function each: Linux first, then what replaces it.

use std::fs;
use std::io;
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
#[cfg(windows)]
use std::os::windows::fs::FileExt as _;

/// Opening follows no symbolic link and does not wait for the other end of a fifo.
#[cfg(unix)]
pub(crate) fn refuse_links_and_waits(options: &mut fs::OpenOptions) {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    // The standard library adds O_CLOEXEC. The flags fit: they are bits of a C int.
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
}

#[cfg(not(unix))]
pub(crate) fn refuse_links_and_waits(_options: &mut fs::OpenOptions) {}

/// Whether opening `path` went through a link: never, the kernel was told to refuse.
#[cfg(unix)]
pub(crate) fn is_link_followed(_path: &Path) -> bool {
    false
}

#[cfg(not(unix))]
pub(crate) fn is_link_followed(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink())
}

#[cfg(unix)]
pub(crate) fn is_same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere an open file cannot lose its name.
#[cfg(not(unix))]
pub(crate) fn is_same_file(_one: &fs::Metadata, _other: &fs::Metadata) -> bool {
    true
}

/// One positioned read, which may be short.
#[cfg(unix)]
pub(crate) fn read_at(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

/// One positioned write, which may be short.
#[cfg(unix)]
pub(crate) fn write_at(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

#[cfg(windows)]
pub(crate) fn read_at(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buf, offset)
}

#[cfg(windows)]
pub(crate) fn write_at(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(bytes, offset)
}

/// Renames onto a free name.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_after_check(from, to),
        result => Ok(result?),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    rename_after_check(from, to)
}

/// For file systems that cannot refuse by themselves. Between the check and the rename another
/// program could create the name: the lock of the folder keeps those out that know of it.
fn rename_after_check(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Syncs a folder.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    use rustix::fs::OFlags;
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or(0));
    options.open(dir)?.sync_all()
}

/// Windows has no such call; its file systems journal names.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Reserves space for the first `bytes` bytes where the file system can, else does nothing.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &fs::File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    if bytes == 0 {
        return Ok(());
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reserve(_file: &fs::File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Lets an empty file share all bytes of another.
#[cfg(target_os = "linux")]
pub(crate) fn share_bytes(from: &fs::File, to: &fs::File) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::ioctl_ficlone(to, from))?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn share_bytes(_from: &fs::File, _to: &fs::File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Fails if the file has so few blocks that a store to its mapping would have to find new ones.
#[cfg(all(feature = "mmap", target_os = "linux"))]
pub(crate) fn check_reserved(file: &fs::Metadata, bytes: u64) -> io::Result<()> {
    /// The unit of `st_blocks`, whatever the file system's block size is.
    const BLOCK_BYTES: u64 = 512;
    if file.blocks().saturating_mul(BLOCK_BYTES) < bytes {
        let reason = "no space is reserved for it, so a full disk would be a signal instead of an \
                      error; preallocate it, or use SegmentWay::Written";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    Ok(())
}

/// Whether space that was reserved here can always be written through a mapping.
#[cfg(all(feature = "mmap", target_os = "linux"))]
pub(crate) fn can_map(dir: &Path) -> io::Result<bool> {
    use rustix::io::retry_on_intr;
    // ext2, ext3 and ext4 share a number. btrfs is not here: it writes reserved space elsewhere
    // once it was written before, and raises SIGBUS when there is no elsewhere.
    const EXT: i64 = 0xEF53;
    const XFS: i64 = 0x5846_5342;
    const TMPFS: i64 = 0x0102_1994;
    let found = retry_on_intr(|| rustix::fs::statfs(dir))?;
    Ok(matches!(as_i64(found.f_type), Some(EXT | XFS | TMPFS)) && can_reserve(dir))
}

#[cfg(not(all(feature = "mmap", target_os = "linux")))]
pub(crate) fn can_map(dir: &Path) -> io::Result<bool> {
    fs::metadata(dir).map(|_| false)
}

/// The type's width differs between machines.
#[cfg(all(feature = "mmap", target_os = "linux"))]
fn as_i64(number: impl TryInto<i64>) -> Option<i64> {
    number.try_into().ok()
}

/// Whether a file of this folder can reserve space, tried out on a file without a name: ext2 and
/// ext3 cannot, and a folder that is read-only has no need to.
#[cfg(all(feature = "mmap", target_os = "linux"))]
fn can_reserve(dir: &Path) -> bool {
    use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
    use rustix::io::{Errno, retry_on_intr};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let Ok(file) = retry_on_intr(|| open(dir, flags, Mode::RUSR | Mode::WUSR)) else {
        return false;
    };
    let tried = retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, 1));
    // A full disk could reserve if it had space.
    matches!(tried, Ok(()) | Err(Errno::NOSPC | Errno::DQUOT))
}

/// Bytes that this user may still fill.
#[cfg(unix)]
pub(crate) fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    let found = rustix::io::retry_on_intr(|| rustix::fs::statvfs(dir))?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

#[cfg(not(unix))]
pub(crate) fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    fs::metadata(dir).map(|_| None)
}

/// Eight random bytes of the kernel.
pub(crate) fn random_u64() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use rustix::rand::{GetRandomFlags, getrandom};
        let mut bytes = [0; 8];
        let filled = rustix::io::retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()));
        // Up to 256 bytes are never handed out in part.
        if filled == Ok(bytes.len()) {
            return u64::from_le_bytes(bytes);
        }
    }
    hashed_u64()
}

/// A hash under a key that the standard library draws from the system, different at each call.
fn hashed_u64() -> u64 {
    use std::hash::BuildHasher as _;
    std::hash::RandomState::new().hash_one(std::time::SystemTime::now())
}
