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
    pub(crate) is_virtual: bool,
    pub(crate) memory_bytes: u64,
    /// When the kernel gives huge pages unasked.
    pub(crate) huge_pages: String,
    pub(crate) kernel: String,
    pub(crate) disk: Disk,
    /// The average load of the minute before.
    pub(crate) load: String,
}

/// Where the stores lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) device: String,
    pub(crate) file_system: String,
    pub(crate) options: String,
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
        let huge_pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
        let chosen = huge_pages.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let flags = of_processor("flags").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: of_processor("model name").unwrap_or_else(unknown),
            cache: of_processor("cache size").unwrap_or_else(unknown),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory_bytes: number_behind(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) * 1024,
            huge_pages: chosen.map_or_else(unknown, |(chosen, _)| chosen.to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk(&read("/proc/self/mounts"), folder),
            load: load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("?").to_owned(),
        }
    }

    pub(crate) fn memory_gib(&self) -> u64 {
        self.memory_bytes.div_ceil(1 << 30)
    }

    /// One line.
    pub(crate) fn description(&self) -> String {
        format!(
            "{} {}cores, {}, {} GiB, kernel {}, {}; load before: {}",
            self.cores,
            if self.is_virtual { "virtual " } else { "" },
            self.processor,
            self.memory_gib(),
            self.kernel,
            self.disk.file_system,
            self.load
        )
    }
}

/// Processor time so far, in the ticks of /proc: of the whole machine, and of this process with the children that it
/// waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    /// All processors, idle ones too.
    all: u64,
    busy: u64,
    ours: u64,
}

impl Ticks {
    pub(crate) fn now() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Self::of(&stat, &fs::read_to_string("/proc/self/stat")?)
            .ok_or_else(|| missing("/proc/stat is not as expected"))
    }

    fn of(machine: &str, process: &str) -> Option<Self> {
        let line = machine.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; what follows is in these.
        let ticks: Vec<u64> =
            line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
        let [user, nice, system, idle, waiting, hard, soft, stolen] = ticks.try_into().ok()?;
        let busy = user + nice + system + hard + soft + stolen;
        // The name, in brackets, may hold blanks. Behind it from the 12th on: own user and system, children's.
        let (_, process) = process.rsplit_once(") ")?;
        let ours = process
            .split(' ')
            .skip(11)
            .take(4)
            .map(|n| n.parse::<u64>().ok())
            .sum::<Option<u64>>()?;
        Some(Self { all: busy + idle + waiting, busy, ours })
    }

    /// How much of the machine since then others took, in percent: other programs, the kernel's threads, other machines.
    pub(crate) fn others_percent(&self, before: &Self) -> f64 {
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.ours.saturating_sub(before.ours));
        100.0 * others as f64 / self.all.saturating_sub(before.all).max(1) as f64
    }
}

/// The longest mount point that leads to the folder.
fn disk(mounts: &str, folder: &Path) -> Disk {
    let unknown = || "unknown".to_owned();
    let mut best: Option<(&str, Disk)> = None;
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [device, point, file_system, options, ..] = words.as_slice() else { continue };
        let is_longer = best.as_ref().is_none_or(|(before, _)| point.len() >= before.len());
        if folder.starts_with(point) && is_longer {
            let [device, file_system, options] =
                [device, file_system, options].map(|word| (*word).to_owned());
            best = Some((point, Disk { device, file_system, options }));
        }
    }
    let none = || Disk { device: unknown(), file_system: unknown(), options: unknown() };
    best.map_or_else(none, |(_, disk)| disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_that_of_the_longest_mount_point() {
        let mounts =
            "/dev/a / ext4 rw 0 0\nnone /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw,x 0 0\n";
        let of = |path: &str| disk(mounts, Path::new(path)).file_system;
        assert_eq!([of("/home/x"), of("/tmp/x"), of("/tmp/disk/x")], ["ext4", "tmpfs", "xfs"]);
        assert_eq!(of("/tmp/diskless"), "tmpfs");
        let xfs = disk(mounts, Path::new("/tmp/disk"));
        assert_eq!([xfs.device, xfs.options], ["/dev/b", "rw,x"]);
    }

    #[test]
    fn what_others_took_is_neither_idle_nor_ours() {
        let of = |machine: &str, process: &str| Ticks::of(machine, process).unwrap();
        let process = |ours: u64| format!("7 (a (b) c) R 1 1 1 0 -1 4 9 9 9 9 {ours} 1 2 3 20 0");
        let before = of("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1\n", &process(10));
        let after = of("cpu  150 0 90 850 100 5 5 0 0 0\ncpu0 1\n", &process(60));
        // 200 ticks, 100 busy, 50 of these ours.
        assert!((after.others_percent(&before) - 25.0).abs() < 1e-9);
        assert!(Ticks::of("cpu 1 2", "1 (a) R").is_none());
        assert!(Ticks::now().is_ok());
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
