//! The measurements, each in a process of its own: `pkv-peers job NAME ENGINE LEVEL ENTRIES THREADS VALUE_BYTES KEYS
//! MILLISECONDS FOLDER` prints one `figure value` a line.

mod latency;
mod opening;
mod power;
mod space;
mod throughput;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Error;
use crate::engines::{Engine, Level, Map, Setup};
use crate::workload::{KEY_BYTES, Keys, VALUE_BYTES, fill, key, value};

/// The hidden first word of a job's command line.
pub(crate) const COMMAND: &str = "job";

/// Numbers of threads, and what the figures of each are called.
pub(crate) const THREADS: [AtThreads; 7] = [
    AtThreads { threads: 1, get: "get_1", overwrite: "overwrite_1", commits: "commits_1" },
    AtThreads { threads: 2, get: "get_2", overwrite: "overwrite_2", commits: "commits_2" },
    AtThreads { threads: 4, get: "get_4", overwrite: "overwrite_4", commits: "commits_4" },
    AtThreads { threads: 8, get: "get_8", overwrite: "overwrite_8", commits: "commits_8" },
    AtThreads { threads: 16, get: "get_16", overwrite: "overwrite_16", commits: "commits_16" },
    AtThreads { threads: 64, get: "get_64", overwrite: "overwrite_64", commits: "commits_64" },
    AtThreads { threads: 256, get: "get_256", overwrite: "overwrite_256", commits: "commits_256" },
];

/// One of [`THREADS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtThreads {
    pub(crate) threads: u64,
    pub(crate) get: &'static str,
    pub(crate) overwrite: &'static str,
    pub(crate) commits: &'static str,
}

/// What the job prints that is killed when it says so.
const READY: &str = "ready";

/// One measurement to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
    pub(crate) level: Level,
    pub(crate) entries: u64,
    pub(crate) threads: u64,
    pub(crate) value_bytes: u64,
    pub(crate) keys: Keys,
    /// How long it calls, where it does not do a fixed number of calls.
    pub(crate) millis: u64,
}

/// What a job measures, and the figures that it prints. Unless it says otherwise, all entries are there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New keys: `per_second`.
    Insert,
    /// New values of the same size: `per_second`.
    Overwrite,
    /// Keys that are there: `per_second`.
    Get,
    /// Sixteen keys a call: `per_second`, in keys.
    GetMany,
    /// The same without copies: `per_second`.
    GetManyWith,
    /// The same keys, each by a call of its own that returns a copy as well: `per_second`.
    GetSingly,
    /// One key, read by all threads while one more updates it: `per_second`, of the reads.
    HotKey,
    /// One load, then reads and YCSB in its own order, each for a while: `hit_zipfian`, `miss`, `miss_zipfian`,
    /// `ycsb_a` (half reads, half updates), `ycsb_b` (95 % reads), `ycsb_c` (reads), `ycsb_f` (half reads, half read,
    /// change, write), `ycsb_d` (95 % reads of the latest, 5 % inserts).
    Mixed,
    /// One load, then each for a while: `resize` (values of half to twice the size), `batch` (new keys, a hundred a
    /// batch, counted in keys), `remove`.
    Writes,
    /// One load, then each for a while: `overwrite`, `ycsb_a`.
    Durable,
    /// One load, then `get_N` and `overwrite_N` for each number of threads in [`THREADS`].
    Threads,
    /// New keys, then reads: `insert`, `get`.
    Sized,
    /// Loads, then reads: `insert_ns` of the last tenth, `get_ns`.
    Growth,
    /// After loading: `bytes` of anonymous memory above what the process held before, `per_payload`.
    Memory,
    /// The same after 5 x overwriting with sizes from 0 to twice the size: `per_payload`.
    MemoryChurn,
    /// The most while a snapshot is written: `per_payload`.
    MemorySnapshot,
    /// Loads, compacts, closes: `per_payload` bytes on disk.
    Disk,
    /// 5 x overwriting: `amplification`, bytes written for a byte of payload; `peak`, disk / live payload.
    Amplification,
    /// Leaves a store that was closed: nothing.
    PrepareClosed,
    /// Leaves a store whose process was killed: nothing.
    PrepareKilled,
    /// Leaves a store that was compacted and closed: nothing.
    PrepareCompacted,
    /// Leaves a store all of which is log: nothing.
    PrepareLog,
    /// Opens what a `Prepare` left: `per_second`.
    Open,
    /// Opens what a `Prepare` left with `instant_open`: `per_second`, all entries by the time until the first of them was
    /// read; `first_read_ms`, that time; `loaded_per_second`, by the time until all are in memory; `get_us`, the longest
    /// of the reads meanwhile.
    OpenInstant,
    /// Opens what `PrepareLog` left, and leaves it so: `per_second`.
    OpenLog,
    /// Single inserts while the log is synced every 10 ms and snapshots are written all the time:
    /// `max_ms`, `p999_us`, the same without: `quiet_max_ms`, `quiet_p999_us`; `p999_ratio`.
    Stall,
    /// New keys that survive a power cut: `per_second`, `per_sync` where known, `bytes_per_commit`.
    Power,
    /// The same with each number of threads in [`THREADS`]: `commits_N`.
    PowerThreads,
    /// The same from one thread that waits for none of them: `bytes_per_second` of the log. With `Level::Process` it is
    /// told of none either: what the writer is able to.
    Pipelined,
    /// `bytes_per_second` of a snapshot by itself, `behind_another_per_second` of one that begins when another has ended.
    SnapshotWrite,
}

impl Kind {
    const ALL: [(Self, &'static str); 30] = [
        (Self::Insert, "insert"),
        (Self::Overwrite, "overwrite"),
        (Self::Get, "get"),
        (Self::GetMany, "get-many"),
        (Self::GetManyWith, "get-many-with"),
        (Self::GetSingly, "get-singly"),
        (Self::HotKey, "hot-key"),
        (Self::Mixed, "mixed"),
        (Self::Writes, "writes"),
        (Self::Durable, "durable"),
        (Self::Threads, "threads"),
        (Self::Sized, "sized"),
        (Self::Growth, "growth"),
        (Self::Memory, "memory"),
        (Self::MemoryChurn, "memory-churn"),
        (Self::MemorySnapshot, "memory-snapshot"),
        (Self::Disk, "disk"),
        (Self::Amplification, "amplification"),
        (Self::PrepareClosed, "prepare-closed"),
        (Self::PrepareKilled, "prepare-killed"),
        (Self::PrepareCompacted, "prepare-compacted"),
        (Self::PrepareLog, "prepare-log"),
        (Self::Open, "open"),
        (Self::OpenInstant, "open-instant"),
        (Self::OpenLog, "open-log"),
        (Self::Stall, "stall"),
        (Self::Power, "power"),
        (Self::PowerThreads, "power-threads"),
        (Self::Pipelined, "pipelined"),
        (Self::SnapshotWrite, "snapshot-write"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What a job printed, by name.
pub(crate) type Figures = HashMap<String, f64>;

impl Job {
    pub(crate) fn new(kind: Kind, engine: Engine, entries: u64) -> Self {
        Self {
            kind,
            engine,
            level: Level::Process,
            entries,
            threads: 1,
            value_bytes: VALUE_BYTES,
            keys: Keys::Uniform,
            millis: 0,
        }
    }

    fn words(&self) -> [String; 8] {
        [
            self.kind.name().into(),
            self.engine.name().into(),
            self.level.name().into(),
            self.entries.to_string(),
            self.threads.to_string(),
            self.value_bytes.to_string(),
            self.keys.name().into(),
            self.millis.to_string(),
        ]
    }

    fn of_words(words: &[String; 8]) -> Result<Self, Error> {
        let [kind, engine, level, entries, threads, value_bytes, keys, millis] = words;
        let known = Kind::ALL.iter().find(|(_, name)| name == kind);
        Ok(Self {
            kind: known.ok_or_else(|| format!("no job `{kind}`"))?.0,
            engine: engine.parse()?,
            level: level.parse()?,
            entries: entries.parse()?,
            threads: threads.parse()?,
            value_bytes: value_bytes.parse()?,
            keys: Keys::named(keys).ok_or_else(|| format!("no keys `{keys}`"))?,
            millis: millis.parse()?,
        })
    }

    /// Runs it as a process of its own, which is killed if it takes longer than `limit`. Its store lives in `folder`,
    /// and stays there.
    pub(crate) fn spawn(&self, folder: &Path, limit: Duration) -> Result<Figures, Error> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(COMMAND)
            .args(self.words())
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut printed = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        let is_killed_when_ready = self.kind == Kind::PrepareKilled;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut output = String::new();
            let outcome = match is_killed_when_ready {
                true => printed.read_line(&mut output),
                false => printed.read_to_string(&mut output),
            };
            // The report may have ended meanwhile.
            let _ = sender.send(outcome.map(|_| output));
        });
        let output = receiver.recv_timeout(limit);
        if is_killed_when_ready || output.is_err() {
            process.kill()?;
        }
        let status = process.wait()?;
        let output = output.map_err(|_| self.failed(format!("not done after {limit:?}")))??;
        if is_killed_when_ready {
            let is_ready = output.trim_end() == READY;
            return if is_ready { Ok(Figures::new()) } else { Err(self.failed(status)) };
        }
        if !status.success() {
            return Err(self.failed(status));
        }
        let mut figures = Figures::new();
        for line in output.lines() {
            let (name, figure) = line.split_once(' ').ok_or_else(|| self.failed(line))?;
            figures.insert(name.to_owned(), figure.parse()?);
        }
        Ok(figures)
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        format!("`{}`: {why}", self.words().join(" ")).into()
    }

    fn measure(&self, folder: &Path) -> Measured {
        match self.kind {
            Kind::Insert => self.insert(folder),
            Kind::Overwrite => self.overwrite(folder),
            Kind::Get | Kind::GetMany | Kind::GetManyWith | Kind::GetSingly => self.get(folder),
            Kind::HotKey => self.hot_key(folder),
            Kind::Mixed => self.mixed(folder),
            Kind::Writes => self.writes(folder),
            Kind::Durable => self.durable(folder),
            Kind::Threads => self.threads(folder),
            Kind::Sized => self.sized(folder),
            Kind::Growth => self.growth(folder),
            Kind::Memory => self.memory(folder),
            Kind::MemoryChurn => self.memory_churn(folder),
            Kind::MemorySnapshot => self.memory_snapshot(folder),
            Kind::Disk => self.disk(folder),
            Kind::Amplification => self.amplification(folder),
            Kind::PrepareClosed => self.prepare_closed(folder),
            Kind::PrepareKilled => self.prepare_killed(folder),
            Kind::PrepareCompacted => self.prepare_compacted(folder),
            Kind::PrepareLog => self.prepare_log(folder),
            Kind::Open | Kind::OpenLog => self.open(folder),
            Kind::OpenInstant => self.open_instant(folder),
            Kind::Stall => self.stall(folder),
            Kind::Power => self.power(folder),
            Kind::PowerThreads => self.power_threads(folder),
            Kind::Pipelined => self.pipelined(folder),
            Kind::SnapshotWrite => self.snapshot_write(folder),
        }
    }

    fn setup(&self) -> Setup {
        Setup::at(self.level)
    }

    fn value_len(&self) -> usize {
        usize::try_from(self.value_bytes).unwrap_or(usize::MAX)
    }

    /// What one entry is worth: its key and its value.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.value_bytes + KEY_BYTES as u64
    }

    /// All entries by single writes, as a program would have made them.
    fn open_inserted(&self, folder: &Path) -> Result<Box<dyn Map>, Error> {
        let map = crate::engines::open(self.engine, folder, self.setup())?;
        self.insert_range(&*map, 0, self.entries)?;
        Ok(map)
    }

    /// All entries by batches and without a sync for each, for jobs that measure what comes after.
    fn open_loaded(&self, folder: &Path) -> Result<Box<dyn Map>, Error> {
        let open = |level| crate::engines::open(self.engine, folder, Setup::at(level));
        let map = open(Level::Process)?;
        for from in (0..self.entries).step_by(1000) {
            let numbers = from..self.entries.min(from + 1000);
            let entry = |number| (key(number).to_vec(), value(number, self.value_len()));
            map.insert_batch(&numbers.map(entry).collect::<Vec<_>>())?;
        }
        if self.level == Level::Process {
            return Ok(map);
        }
        map.close()?;
        open(self.level)
    }

    fn insert_range(&self, map: &dyn Map, from: u64, to: u64) -> Result<(), Error> {
        let mut value = value(0, self.value_len());
        for number in from..to {
            fill(&mut value, number);
            map.insert(&key(number), &value)?;
        }
        Ok(())
    }

    fn check_len(&self, map: &dyn Map, expected: u64) -> Result<(), Error> {
        let found = map.len()?;
        if found == expected {
            return Ok(());
        }
        Err(self.failed(format!("{found} entries, so this figure means nothing")))
    }
}

/// The job's process.
pub(crate) fn run(words: &[String]) -> Result<(), Error> {
    let Some((folder, words)) = words.split_last() else { return Err("a job's words".into()) };
    let words: &[String; 8] = words.try_into().map_err(|_| "a job has eight words")?;
    for (name, figure) in Job::of_words(words)?.measure(Path::new(folder))? {
        println!("{name} {figure}");
    }
    Ok(())
}

/// A job's figures, by name.
type Measured = Result<Vec<(&'static str, f64)>, Error>;

fn rate(count: u64, time: Duration) -> f64 {
    float(count) / time.as_secs_f64()
}

/// Counts of a benchmark are far below 2^53.
fn float<T: TryInto<u64>>(count: T) -> f64 {
    count.try_into().map_or(f64::NAN, |count: u64| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for (kind, name) in Kind::ALL {
            assert_eq!(kind.name(), name);
        }
    }

    #[test]
    fn a_job_is_read_as_it_is_written() {
        for (kind, _) in Kind::ALL {
            let job = Job {
                level: Level::Power,
                threads: 64,
                value_bytes: 8,
                keys: Keys::Zipfian,
                millis: 500,
                ..Job::new(kind, Engine::Fjall, 1000)
            };
            assert_eq!(Job::of_words(&job.words()).unwrap(), job);
        }
    }
}
