//! The measurements, each in a process of its own: `pkv-peers job NAME ENGINE ENTRIES THREADS FOLDER`
//! prints one `figure value` a line.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use persistent_kv::SyncMode;
use pkv_fs::{CountingFs, StdFs};
use pkv_store::{Durability, Options};

use crate::Error;
use crate::engines::{
    Engine, Map, PAYLOAD_BYTES, PkvStore, Setup, VALUE_BYTES, key, mix, open, open_pkv,
    open_predecessor, value,
};
use crate::machine::{anonymous_memory_bytes, disk_bytes};

/// The hidden first word of a job's command line.
pub(crate) const COMMAND: &str = "job";

/// One measurement to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) engine: Engine,
    pub(crate) entries: u64,
    pub(crate) threads: u64,
}

/// What a job measures, and the figures that it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New keys from one thread: `per_second`.
    Insert,
    /// Random keys that are there: `per_second` over all threads.
    Get,
    /// After loading: `bytes` of anonymous memory above what the process held before, `per_payload`.
    Memory,
    /// Makes a compacted store in the folder: nothing.
    Prepare,
    /// Opens what `Prepare` left: `per_second`.
    Open,
    /// Loads, compacts, closes: `per_payload` bytes on disk.
    Disk,
    /// Single inserts while the log is synced every 10 ms and snapshots are written all the time:
    /// `max_ms`, `p999_us`, and the same without: `quiet_max_ms`, `quiet_p999_us`.
    Stall,
    /// Every write survives a power cut: `per_second`, `per_sync`.
    Power,
}

impl Kind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Insert, "insert"),
        (Self::Get, "get"),
        (Self::Memory, "memory"),
        (Self::Prepare, "prepare"),
        (Self::Open, "open"),
        (Self::Disk, "disk"),
        (Self::Stall, "stall"),
        (Self::Power, "power"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What a job printed, by name.
pub(crate) type Figures = HashMap<String, f64>;

impl Job {
    /// Runs it as a process of its own. Its store lives in `folder`, and stays there.
    pub(crate) fn spawn(&self, folder: &Path) -> Result<Figures, Error> {
        let output = Command::new(std::env::current_exe()?)
            .args([COMMAND, self.kind.name(), self.engine.name()])
            .args([self.entries.to_string(), self.threads.to_string()])
            .arg(folder)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{self:?}: {}", output.status).into());
        }
        let mut figures = Figures::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let (name, figure) =
                line.split_once(' ').ok_or_else(|| format!("{self:?}: `{line}`"))?;
            figures.insert(name.to_owned(), figure.parse()?);
        }
        Ok(figures)
    }
}

/// The job's process.
pub(crate) fn run(words: &[String]) -> Result<(), Error> {
    let [kind, engine, entries, threads, folder] = words else {
        return Err(format!("{COMMAND} NAME ENGINE ENTRIES THREADS FOLDER").into());
    };
    let known = Kind::ALL.iter().find(|(_, name)| name == kind);
    let (kind, _) = *known.ok_or_else(|| format!("no job `{kind}`"))?;
    let job =
        Job { kind, engine: engine.parse()?, entries: entries.parse()?, threads: threads.parse()? };
    let folder = Path::new(folder);
    for (name, figure) in job.measure(folder)? {
        println!("{name} {figure}");
    }
    Ok(())
}

type Measured = Result<Vec<(&'static str, f64)>, Error>;

impl Job {
    fn measure(&self, folder: &Path) -> Measured {
        match self.kind {
            Kind::Insert => self.insert(folder),
            Kind::Get => self.get(folder),
            Kind::Memory => self.memory(folder),
            Kind::Prepare => self.prepare(folder),
            Kind::Open => self.open(folder),
            Kind::Disk => self.disk(folder),
            Kind::Stall => self.stall(folder),
            Kind::Power => self.power(folder),
        }
    }

    fn insert(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, Setup::default())?;
        let start = Instant::now();
        load(&*map, self.entries)?;
        let time = start.elapsed();
        self.check_len(&*map)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    fn get(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, Setup::default())?;
        load(&*map, self.entries)?;
        let gets_per_thread = 2 * self.entries;
        let start = Instant::now();
        std::thread::scope(|scope| {
            let map = &*map;
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    scope.spawn(move || get_random(map, self.entries, gets_per_thread, thread))
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a reader panicked")?)
        })?;
        Ok(vec![("per_second", rate(gets_per_thread * self.threads, start.elapsed()))])
    }

    fn memory(&self, folder: &Path) -> Measured {
        let before = anonymous_memory_bytes()?;
        let map = open(self.engine, folder, Setup::default())?;
        load(&*map, self.entries)?;
        let bytes = float(anonymous_memory_bytes()?.saturating_sub(before));
        self.check_len(&*map)?;
        let payload = float(self.entries) * float(PAYLOAD_BYTES);
        Ok(vec![("bytes", bytes), ("per_payload", bytes / payload.max(1.0))])
    }

    fn prepare(&self, folder: &Path) -> Measured {
        match self.engine {
            Engine::Pkv => compacted(folder, self.entries)?,
            // Its snapshot begins with the last write, and dropping the store waits for it.
            Engine::PersistentKv => {
                let setup = Setup { snapshot_interval: Some(self.entries), ..Setup::default() };
                load(
                    &open_predecessor(folder, setup, SyncMode::BlockNoExplicitSync)?,
                    self.entries,
                )?;
            }
            Engine::DashMap | Engine::Papaya => return Err("persists nothing".into()),
        }
        Ok(Vec::new())
    }

    fn open(&self, folder: &Path) -> Measured {
        let start = Instant::now();
        let map = open(self.engine, folder, Setup::default())?;
        let time = start.elapsed();
        self.check_len(&*map)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    fn disk(&self, folder: &Path) -> Measured {
        compacted(folder, self.entries)?;
        let payload = float(self.entries) * float(PAYLOAD_BYTES);
        Ok(vec![("per_payload", float(disk_bytes(folder)?) / payload)])
    }

    /// Half of the entries are there before; the other half is timed one by one.
    fn stall(&self, folder: &Path) -> Measured {
        let setup = Setup {
            sync_interval: Some(Duration::from_millis(10)),
            // As often as the predecessor can: before one ends, the next is due.
            snapshot_interval: Some(self.entries / 20),
        };
        let (busy, quiet) = match self.engine {
            Engine::Pkv => {
                let store = open_pkv(folder, setup)?;
                let quiet = times_of_inserts(&store, 0, self.entries / 2)?;
                (times_while_compacting(&store, self.entries / 2, self.entries)?, quiet)
            }
            engine => {
                let map = open(engine, folder, setup)?;
                let quiet = times_of_inserts(&*map, 0, self.entries / 2)?;
                (times_of_inserts(&*map, self.entries / 2, self.entries)?, quiet)
            }
        };
        Ok(vec![
            ("max_ms", busy.max().as_secs_f64() * 1e3),
            ("p999_us", busy.p999().as_secs_f64() * 1e6),
            ("quiet_max_ms", quiet.max().as_secs_f64() * 1e3),
            ("quiet_p999_us", quiet.p999().as_secs_f64() * 1e6),
        ])
    }

    fn power(&self, folder: &Path) -> Measured {
        match self.engine {
            Engine::Pkv => {
                let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
                let options = Options::new().durability(Durability::Power).file_system(fs.clone());
                let store: PkvStore = options.open(folder)?;
                let before = fs.counts();
                let time = self.write_from_all_threads(&store)?;
                let syncs = fs.counts().since(&before).syncs();
                Ok(vec![
                    ("per_second", rate(self.entries, time)),
                    ("per_sync", float(self.entries) / float(syncs.max(1))),
                ])
            }
            // One sync for each write, by its design.
            Engine::PersistentKv => {
                let store = open_predecessor(folder, Setup::default(), SyncMode::BlockAndSync)?;
                let time = self.write_from_all_threads(&store)?;
                Ok(vec![("per_second", rate(self.entries, time)), ("per_sync", 1.0)])
            }
            Engine::DashMap | Engine::Papaya => Err("persists nothing".into()),
        }
    }

    fn write_from_all_threads(&self, map: &dyn Map) -> Result<Duration, Error> {
        let next = AtomicU64::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let work = || -> Result<(), Error> {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= self.entries {
                        return Ok(());
                    }
                    map.insert(&key(number), &value(number))?;
                }
            };
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a writer panicked")?)
        })?;
        let time = start.elapsed();
        self.check_len(map)?;
        Ok(time)
    }

    fn check_len(&self, map: &dyn Map) -> Result<(), Error> {
        let found = map.len();
        if found == self.entries {
            return Ok(());
        }
        Err(format!("{self:?}: {found} entries, so this figure means nothing").into())
    }
}

fn load(map: &dyn Map, entries: u64) -> Result<(), Error> {
    (0..entries).try_for_each(|number| map.insert(&key(number), &value(number)))
}

fn compacted(folder: &Path, entries: u64) -> Result<(), Error> {
    let store = open_pkv(folder, Setup::default())?;
    load(&store, entries)?;
    store.compact()?;
    store.close()?;
    Ok(())
}

fn get_random(map: &dyn Map, entries: u64, gets: u64, thread: u64) -> Result<(), Error> {
    let first = mix(thread) >> 1;
    for n in 0..gets {
        let number = mix(first + n) % entries;
        if black_box(map.get_len(&key(number))?) != Some(VALUE_BYTES) {
            return Err(format!("entry {number} is not there").into());
        }
    }
    Ok(())
}

/// How long each of many calls took.
struct Times {
    sorted_nanos: Vec<u64>,
}

impl Times {
    fn max(&self) -> Duration {
        Duration::from_nanos(self.sorted_nanos.last().copied().unwrap_or(0))
    }

    fn p999(&self) -> Duration {
        let at = self.sorted_nanos.len() - self.sorted_nanos.len() / 1000;
        Duration::from_nanos(self.sorted_nanos.get(at.saturating_sub(1)).copied().unwrap_or(0))
    }
}

fn times_of_inserts(map: &dyn Map, from: u64, to: u64) -> Result<Times, Error> {
    let mut nanos = vec![0; usize::try_from(to - from)?];
    for (number, slot) in (from..to).zip(&mut nanos) {
        let (key, value) = (key(number), value(number));
        let start = Instant::now();
        map.insert(&key, &value)?;
        *slot = u64::try_from(start.elapsed().as_nanos())?;
    }
    nanos.sort_unstable();
    Ok(Times { sorted_nanos: nanos })
}

fn times_while_compacting(store: &PkvStore, from: u64, to: u64) -> Result<Times, Error> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let compacting = scope.spawn(|| -> Result<u64, Error> {
            let mut snapshots = 0;
            while !is_done.load(Ordering::Relaxed) {
                store.compact()?;
                snapshots += 1;
            }
            Ok(snapshots)
        });
        let times = times_of_inserts(store, from, to);
        is_done.store(true, Ordering::Relaxed);
        let snapshots = compacting.join().map_err(|_| "the compacting thread panicked")??;
        if snapshots == 0 {
            return Err("no snapshot was written meanwhile".into());
        }
        times
    })
}

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
    fn one_call_in_a_thousand_is_above_the_p999() {
        let times = Times { sorted_nanos: (1..=10_000).collect() };
        assert_eq!(times.p999(), Duration::from_nanos(9_990));
        assert_eq!(times.max(), Duration::from_nanos(10_000));
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for (kind, name) in Kind::ALL {
            assert_eq!(kind.name(), name);
        }
    }
}
