//! What this machine is, and what a process holds of it.

use std::fs;
use std::io;
use std::path::Path;

/// Anonymous memory of this process in bytes, from /proc.
pub(crate) fn anonymous_memory_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| {
        let rest = line.strip_prefix("RssAnon:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    let missing =
        || io::Error::new(io::ErrorKind::Unsupported, "/proc/self/status names no RssAnon");
    Ok(kib.ok_or_else(missing)? * 1024)
}

/// What the files of a folder take: the larger of their lengths and of the blocks they occupy.
pub(crate) fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let (mut lengths, mut blocks) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        lengths += metadata.len();
        blocks += allocated_bytes(&metadata);
    }
    Ok(lengths.max(blocks))
}

#[cfg(unix)]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// One line: cores, processor, kernel.
pub(crate) fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = processor.map_or("unknown processor", |(_, name)| name);
    format!("{cores} cores, {processor}, kernel {}", kernel.trim())
}
