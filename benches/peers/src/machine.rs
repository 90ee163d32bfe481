//! What this machine is, and what a process holds of it.

use std::fs;
use std::io;
use std::path::Path;

/// Anonymous memory of this process in bytes, from /proc.
pub(crate) fn anonymous_memory_bytes() -> io::Result<u64> {
    let kib = number_behind(&fs::read_to_string("/proc/self/status")?, "RssAnon:");
    Ok(kib.ok_or_else(|| missing("/proc/self/status names no RssAnon"))? * 1024)
}

/// Bytes that this process made dirty in files or wrote past the cache, from /proc: what the disk has to take, without
/// the file system's own. A page counts each time it becomes dirty.
pub(crate) fn written_bytes() -> io::Result<u64> {
    let bytes = number_behind(&fs::read_to_string("/proc/self/io")?, "write_bytes:");
    bytes.ok_or_else(|| missing("/proc/self/io names no write_bytes"))
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.to_owned())
}

/// What the files of a folder and of those in it take: the larger of their lengths and of the blocks they occupy.
/// A file that goes away meanwhile does not count.
pub(crate) fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let (mut lengths, mut blocks) = (0, 0);
    add_files(folder, &mut lengths, &mut blocks)?;
    Ok(lengths.max(blocks))
}

fn add_files(folder: &Path, lengths: &mut u64, blocks: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            add_files(&entry.path(), lengths, blocks)?;
        } else {
            *lengths += metadata.len();
            *blocks += allocated_bytes(&metadata);
        }
    }
    Ok(())
}

#[cfg(unix)]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// The machine as a report names it, and how busy it was before the report began.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) cache: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) load: String,
}

impl Machine {
    /// `folder` is where the stores lie.
    pub(crate) fn look(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let of_processor = |name: &str| {
            let line = processor.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(": ")?.1.to_owned())
        };
        let unknown = || "unknown".to_owned();
        let load = read("/proc/loadavg");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: of_processor("model name").unwrap_or_else(unknown),
            cache: of_processor("cache size").unwrap_or_else(unknown),
            memory_gib: number_behind(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), folder).unwrap_or_else(unknown),
            load: load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("?").to_owned(),
        }
    }

    /// One line.
    pub(crate) fn description(&self) -> String {
        format!(
            "{} cores, {}, {} GiB, kernel {}, {}; load before: {}",
            self.cores, self.processor, self.memory_gib, self.kernel, self.file_system, self.load
        )
    }
}

/// The type of the file system below the longest mount point that leads to the folder.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mut best: Option<(&str, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (words.next(), words.next()) else { continue };
        let is_longer = best.is_none_or(|(before, _)| point.len() >= before.len());
        if folder.starts_with(point) && is_longer {
            best = Some((point, kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_longest_mount_point() {
        let mounts = "/dev/a / ext4 rw 0 0\nnone /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(of("/home/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmp/disk/x").as_deref(), Some("xfs"));
        assert_eq!(of("/tmp/diskless").as_deref(), Some("tmpfs"));
    }

    #[test]
    fn numbers_are_found_by_their_names() {
        assert_eq!(number_behind("wchar: 1\nwrite_bytes: 4096\n", "write_bytes:"), Some(4096));
        assert_eq!(number_behind("RssAnon:\t  88 kB\n", "RssAnon:"), Some(88));
        assert_eq!(number_behind("", "RssAnon:"), None);
    }

    #[test]
    fn files_of_folders_in_folders_count() {
        let folder = std::env::temp_dir().join(format!("pkv-peers-disk-{}", std::process::id()));
        fs::create_dir_all(folder.join("in")).unwrap();
        fs::write(folder.join("a"), [1; 5000]).unwrap();
        fs::write(folder.join("in/b"), [1; 3000]).unwrap();
        assert!(disk_bytes(&folder).unwrap() >= 8000);
        fs::remove_dir_all(&folder).unwrap();
    }
}
