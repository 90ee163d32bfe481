//! Counts instead of seconds, for machines that are never quiet: calls of the file system, allocations, instructions.
//! `cargo xtask ratchet` compares what this prints, one `name number` a line, with `benches/ratchet.toml`.
//!
//! - Calls and syncs are counted on the simulated disk, so they are the same on every machine.
//! - Allocations are those of the calling thread.
//! - Instructions are counted by callgrind, of two runs that differ only in how often they call; the start and the end
//!   of the program cancel out. Without valgrind, or where no log can be mapped, a line on standard error says so.
//!
//! All stores run without threads of their own, so that every count is made by the calls that are measured.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may panic")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that is read by another")]

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pkv_benches::{KEY_BYTES, VALUE, VALUE_BYTES, key};
use pkv_fs::{Access, CountingFs, Counts, Entry, File, Fs, Lock, Op, Result, StdFs};
use pkv_sim::SimFs;
use pkv_store::{Durability, LogWay, Options, Store};

type Map = Store<[u8; KEY_BYTES], [u8; VALUE_BYTES]>;

/// The first word of a run under callgrind.
const COMMAND: &str = "instructions";
/// Entries that are there before the calls that are counted.
const LOADED: u64 = 20_000;
/// Calls of the shorter run under callgrind, and how many more the longer one makes.
const CALLS: u64 = 20_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            count_calls();
            count_allocations();
            count_instructions();
        }
        [COMMAND, name, calls, folder] => run(name, calls.parse().unwrap(), Path::new(folder)),
        _ => unreachable!("started by itself alone: {words:?}"),
    }
}

fn print(name: &str, number: f64) {
    println!("{name} {number:.4}");
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn options() -> Options {
    Options::new().background(false).io_threads(1)
}

/// The real file system with the same random numbers in every run: hashes, and so collisions, are the same.
#[derive(Debug)]
struct Seeded;

impl Fs for Seeded {
    fn create_dir(&self, dir: &Path) -> Result<bool> {
        StdFs.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        StdFs.list(dir)
    }
    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        StdFs.create_new(path)
    }
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        StdFs.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        StdFs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        StdFs.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        StdFs.sync_dir(dir)
    }
    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        StdFs.lock(path, wait)
    }
    fn can_map(&self, dir: &Path) -> Result<bool> {
        StdFs.can_map(dir)
    }
    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>> {
        StdFs.free_bytes(dir)
    }
    fn random_u64(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }
    fn unix_time_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

fn insert(map: &Map, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| {
        map.insert(&key(number), &VALUE).unwrap();
    });
}

// ---- Calls of the file system.

/// A simulated disk, and what was asked of it.
struct Disk {
    fs: Arc<CountingFs>,
    options: Options,
}

impl Disk {
    fn new(way: LogWay) -> Self {
        let fs = Arc::new(CountingFs::new(SimFs::new(1)));
        let options = options().log_way(way).file_system(fs.clone());
        Self { fs, options }
    }

    fn open(&self) -> Map {
        self.options.open("/store").unwrap()
    }

    fn counted(&self, work: impl FnOnce()) -> Counts {
        let before = self.fs.counts();
        work();
        self.fs.counts().since(&before)
    }
}

fn calls(counts: &Counts) -> f64 {
    float(Op::ALL.iter().map(|op| counts.calls(*op)).sum())
}

fn count_calls() {
    let disk = Disk::new(LogWay::Mapped);
    let map = disk.open();
    insert(&map, 0..LOADED);
    let process = disk.counted(|| insert(&map, LOADED..2 * LOADED));
    print("process_insert.calls", calls(&process) / float(LOADED));
    print("process_insert.syncs", float(process.syncs()) / float(LOADED));
    print("process_insert.log_bytes", float(process.bytes_copied) / float(LOADED));
    let gets =
        disk.counted(|| (0..1000).for_each(|n| assert!(map.get(&key(n)).unwrap().is_some())));
    print("get.calls", calls(&gets) / 1000.0);

    let power = disk.counted(|| {
        for number in 0..1000 {
            map.insert_with(&key(number), &VALUE, Durability::Power).unwrap();
        }
    });
    print("power_insert.calls", calls(&power) / 1000.0);
    print("power_insert.syncs", float(power.syncs()) / 1000.0);
    let log_bytes = float(power.bytes_copied + power.bytes_written);
    print("power_insert.log_bytes", log_bytes / 1000.0);
    let batches = disk.counted(|| {
        for batch in 0..100 {
            let numbers = 100 * batch..100 * (batch + 1);
            let batch = numbers.fold(map.batch(), |batch, n| batch.insert(&key(n), &VALUE));
            batch.commit_with(Durability::Power).unwrap();
        }
    });
    print("power_batch.calls", calls(&batches) / 100.0);
    print("power_batch.syncs", float(batches.syncs()) / 100.0);

    let compact = disk.counted(|| map.compact().unwrap());
    print("compact.calls", calls(&compact));
    print("compact.syncs", float(compact.syncs()));
    let per_entry = float(compact.bytes_written) / float(map.len());
    print("compact.bytes_per_entry", per_entry);
    let close = disk.counted(|| map.close().unwrap());
    print("close.calls", calls(&close));
    print("close.syncs", float(close.syncs()));
    let open = disk.counted(|| assert_eq!(disk.open().len(), 2 * LOADED));
    print("open_and_close.calls", calls(&open));
    print("open_and_close.syncs", float(open.syncs()));

    let disk = Disk::new(LogWay::Written);
    let map = disk.open();
    insert(&map, 0..LOADED);
    let written = disk.counted(|| insert(&map, LOADED..2 * LOADED));
    print("written_insert.calls", calls(&written) / float(LOADED));
    print("written_insert.log_bytes", float(written.bytes_written) / float(LOADED));
}

// ---- Allocations.

fn count_allocations() {
    let folder = tempfile::tempdir().unwrap();
    let map: Map = options().file_system(Arc::new(Seeded)).open(folder.path()).unwrap();
    let measured = |name: &str, calls: u64, work: &dyn Fn(u64)| {
        let info = allocation_counter::measure(|| (0..calls).for_each(work));
        print(&format!("{name}.allocations"), float(info.count_total) / float(calls));
        print(&format!("{name}.allocated_bytes"), float(info.bytes_total) / float(calls));
    };
    insert(&map, 0..LOADED);
    measured("insert", LOADED, &|n| insert(&map, LOADED + n..LOADED + n + 1));
    measured("overwrite", LOADED, &|n| insert(&map, n..n + 1));
    measured("get_with", LOADED, &|n| {
        black_box(map.get_with(&key(n), |value| value.first().copied()).unwrap());
    });
    measured("get_bytes", LOADED, &|n| drop(map.bytes().get(&key(n)).unwrap()));
    measured("get_many_of_16", 1000, &|n| {
        let keys: [_; 16] = std::array::from_fn(|i| key(16 * n + u64::try_from(i).unwrap()));
        assert!(map.get_many(&keys).unwrap().iter().all(Option::is_some));
    });
    measured("get_many_with_of_16", 1000, &|n| {
        let keys: [_; 16] = std::array::from_fn(|i| key(16 * n + u64::try_from(i).unwrap()));
        map.get_many_with(&keys, |_, value| assert!(value.is_some())).unwrap();
    });
    measured("update", LOADED, &|n| map.update(&key(n), |value| value).map(drop).unwrap());
    measured("batch_of_100", 100, &|batch| {
        let numbers = 100 * batch..100 * (batch + 1);
        let batch = numbers.fold(map.batch(), |batch, n| batch.insert(&key(n), &VALUE));
        batch.commit().unwrap();
    });
    measured("iter_of_20000", 2, &|_| assert_eq!(map.iter().count(), 40_000));
    measured("remove", LOADED, &|n| assert!(map.remove(&key(n)).unwrap()));
    map.close().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let large: Store<[u8; KEY_BYTES], [u8; 2048]> =
        options().file_system(Arc::new(Seeded)).open(folder.path()).unwrap();
    let overwrite = |n| large.insert(&key(n), &[0x5a; 2048]).map(drop).unwrap();
    (0..1000).for_each(overwrite);
    measured("overwrite_of_2_kib", 1000, &overwrite);
    large.close().unwrap();
}

// ---- Instructions.

const JOBS: [&str; 8] = [
    "insert",
    "overwrite",
    "get_with",
    "get_with_miss",
    "get_many_of_16",
    "get_many_with_of_16",
    "update",
    "remove",
];

fn count_instructions() {
    let version = Command::new("valgrind").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: instructions: there is no valgrind on this machine");
        return;
    }
    // Beside the program: a temporary folder may lie where no log is mapped.
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let probe: pkv_store::Result<Map> =
        options().log_way(LogWay::Mapped).open(folder.path().join("probe"));
    if let Err(error) = probe {
        eprintln!("skipped: instructions: {error}");
        return;
    }
    for name in JOBS {
        let of =
            |calls: u64| instructions(name, calls, &folder.path().join(format!("{name}-{calls}")));
        print(&format!("{name}.instructions"), (of(2 * CALLS) - of(CALLS)) / float(CALLS));
    }
}

/// What callgrind counts of one run.
fn instructions(name: &str, calls: u64, folder: &Path) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([COMMAND, name, &calls.to_string()])
        .arg(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : "));
    collected.unwrap().1.trim().parse().unwrap()
}

/// The run itself. All that it calls is there before, whatever the number of calls.
fn run(name: &str, calls: u64, folder: &Path) {
    let options = options().log_way(LogWay::Mapped).file_system(Arc::new(Seeded));
    let map: Map = options.open(folder).unwrap();
    insert(&map, 0..2 * CALLS);
    let present = 0..calls;
    match name {
        "insert" => insert(&map, 2 * CALLS..2 * CALLS + calls),
        "overwrite" => insert(&map, present),
        "get_with" => present.for_each(|n| {
            black_box(map.get_with(&key(n), |value| value.first().copied()).unwrap().unwrap());
        }),
        "get_with_miss" => present.for_each(|n| {
            assert!(map.get_with(&key(4 * CALLS + n), <[u8]>::len).unwrap().is_none());
        }),
        "get_many_of_16" => present.for_each(|n| {
            let keys: [_; 16] =
                std::array::from_fn(|i| key((n + u64::try_from(i).unwrap()) % CALLS));
            assert!(map.get_many(&keys).unwrap().iter().all(Option::is_some));
        }),
        "get_many_with_of_16" => present.for_each(|n| {
            let keys: [_; 16] =
                std::array::from_fn(|i| key((n + u64::try_from(i).unwrap()) % CALLS));
            map.get_many_with(&keys, |_, value| assert!(value.is_some())).unwrap();
        }),
        "update" => present.for_each(|n| map.update(&key(n), |value| value).map(drop).unwrap()),
        "remove" => present.for_each(|n| assert!(map.remove(&key(n)).unwrap())),
        _ => unreachable!("no job `{name}`"),
    }
    // Its end would be another for each number of calls.
    std::process::exit(0);
}
