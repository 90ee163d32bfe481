//! What survives a power cut, and how fast the disk takes it; beside each the disk itself.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pkv_fs::{CountingFs, Counts, File, Fs, StdFs};
use pkv_store::Durability;

use super::{Job, Measured, THREADS, float, rate};
use crate::Error;
use crate::engines::pkv::{PkvStore, options};
use crate::engines::{Engine, Level, Map, Setup, open, pkv};
use crate::machine::written_bytes;
use crate::workload::{fill, key, value};

/// What one write of the small entry takes in our log, for the bare loop to write as much.
const FRAME_BYTES: usize = 144;
/// Room of the bare loop's file, more than it fills.
const BARE_FILE_BYTES: u64 = 64 << 20;
/// Snapshots that are written before one is measured.
const SNAPSHOTS_BEFORE: u32 = 4;
/// More than it takes to give back the space of what a snapshot has replaced.
const SPACE_TIME: Duration = Duration::from_secs(1);
/// A large plain write.
const PIECE_BYTES: usize = 1 << 20;
/// The bytes of key and value of the small entry.
const PAYLOAD_BYTES: u64 = 116;
/// A callback for so many bytes of the log, or for each write where these have more.
const CALLBACK_BYTES: u64 = 64 * 144;
/// Bytes on their way to the disk at most, in the pipelined job.
const WINDOW_BYTES: u64 = 32 << 20;

impl Job {
    pub(super) fn power(&self, folder: &Path) -> Measured {
        match self.engine {
            Engine::Limit => self.bare_power(folder),
            Engine::Pkv => {
                let fs = Arc::new(CountingFs::new(Arc::new(StdFs)));
                let store: PkvStore = options(self.setup()).file_system(fs.clone()).open(folder)?;
                self.power_of(&store, Some(&fs))
            }
            engine => self.power_of(&*open(engine, folder, self.setup())?, None),
        }
    }

    fn power_of(&self, map: &dyn Map, fs: Option<&CountingFs>) -> Measured {
        let next = AtomicU64::new(0);
        let before: Option<Counts> = fs.map(CountingFs::counts);
        let written = written_bytes()?;
        let per_second = self.for_a_while(|_| {
            let next = &next;
            let mut value = value(0, self.value_len());
            move || {
                let number = next.fetch_add(1, Ordering::Relaxed);
                fill(&mut value, number);
                map.insert(&key(number), &value)
            }
        })?;
        let written = float(written_bytes()?.saturating_sub(written));
        let commits = next.load(Ordering::Relaxed);
        let mut figures =
            vec![("per_second", per_second), ("bytes_per_commit", written / float(commits))];
        if let (Some(fs), Some(before)) = (fs, before) {
            let syncs = fs.counts().since(&before).syncs();
            figures.push(("per_sync", float(commits) / float(syncs.max(1))));
        }
        self.check_len(map, commits)?;
        Ok(figures)
    }

    pub(super) fn power_threads(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, self.setup())?;
        let next = AtomicU64::new(0);
        let mut figures = Vec::new();
        for at in THREADS {
            let per_second = Self { threads: at.threads, ..*self }.for_a_while(|_| {
                let (map, next) = (&map, &next);
                let mut value = value(0, self.value_len());
                move || {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    fill(&mut value, number);
                    map.insert(&key(number), &value)
                }
            })?;
            figures.push((at.commits, per_second));
        }
        self.check_len(&*map, next.load(Ordering::Relaxed))?;
        Ok(figures)
    }

    /// Write and fdatasync, one after the other, into a file whose blocks are there.
    fn bare_power(&self, folder: &Path) -> Measured {
        let file = Bare::create(folder, BARE_FILE_BYTES)?;
        let written = written_bytes()?;
        let next = AtomicU64::new(0);
        let frame = [0x5a; FRAME_BYTES];
        let per_second = self.for_a_while(|_| {
            let (next, file) = (&next, &file);
            move || {
                let offset = next.fetch_add(1, Ordering::Relaxed) * bytes_of(FRAME_BYTES);
                file.0.write_at(offset % BARE_FILE_BYTES, &frame)?;
                Ok(file.0.sync_data()?)
            }
        })?;
        let commits = float(next.load(Ordering::Relaxed));
        let written = float(written_bytes()?.saturating_sub(written));
        Ok(vec![("per_second", per_second), ("bytes_per_commit", written / commits)])
    }

    pub(super) fn pipelined(&self, folder: &Path) -> Measured {
        let frame_bytes = self.payload_bytes() + bytes_of(FRAME_BYTES) - PAYLOAD_BYTES;
        if self.engine == Engine::Limit {
            // Until as much is synced as our log of as many entries holds.
            return bandwidth(folder, self.entries * frame_bytes);
        }
        let setup = self.setup();
        let is_told = setup.level == Level::Power;
        let store = pkv::open(folder, setup)?;
        let window = Arc::new(Window::default());
        let mut value = value(0, self.value_len());
        let each = (CALLBACK_BYTES / frame_bytes).max(1);
        let start = Instant::now();
        for number in 0..self.entries {
            fill(&mut value, number);
            let written = store.bytes().insert(&key(number), &value, Durability::Process)?;
            // A callback for each would cost more than the write: the order of the log makes one speak for many.
            if is_told && (number % each == each - 1 || number + 1 == self.entries) {
                let window = Arc::clone(&window);
                let seq = written.seq;
                window.wait_for_room(seq, WINDOW_BYTES / frame_bytes)?;
                store.bytes().on_durable(seq, move |outcome| window.durable(outcome.is_ok(), seq));
            }
        }
        if is_told {
            window.wait_for_room(self.entries, 0)?;
        }
        let time = start.elapsed();
        Ok(vec![("bytes_per_second", rate(self.entries * frame_bytes, time))])
    }

    pub(super) fn snapshot_write(&self, folder: &Path) -> Measured {
        if self.engine == Engine::Limit {
            return bandwidth(folder, self.entries * self.payload_bytes() * 103 / 100);
        }
        let store = pkv::open(folder, Setup { compacts: false, ..self.setup() })?;
        self.insert_range(&store, 0, self.entries)?;
        // The first ones of a process go to page-cache memory that the host has to find first, and no limit has that in it.
        for _ in 0..SNAPSHOTS_BEFORE {
            store.compact()?;
        }
        let timed = || -> Result<f64, Error> {
            let start = Instant::now();
            store.compact()?;
            let time = start.elapsed();
            Ok(rate(store.stats().snapshot_bytes, time))
        };
        // The space of the one before is given back, which keeps a disk busy that is told of it.
        std::thread::sleep(SPACE_TIME);
        let by_itself = timed()?;
        Ok(vec![("bytes_per_second", by_itself), ("behind_another_per_second", timed()?)])
    }
}

/// The last number that is durable, and whether one never became it.
#[derive(Default)]
struct Durable {
    seq: u64,
    has_failed: bool,
}

/// What is on its way to the disk.
#[derive(Default)]
struct Window {
    durable: Mutex<Durable>,
    moved: Condvar,
}

impl Window {
    fn durable(&self, is_ok: bool, seq: u64) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.seq = durable.seq.max(seq);
        durable.has_failed |= !is_ok;
        self.moved.notify_one();
    }

    /// Until at most `room` writes below `seq` are on their way.
    fn wait_for_room(&self, seq: u64, room: u64) -> Result<(), Error> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        while !durable.has_failed && seq > durable.seq + room {
            durable = self.moved.wait(durable).unwrap_or_else(PoisonError::into_inner);
        }
        if durable.has_failed { Err("a write did not become durable".into()) } else { Ok(()) }
    }
}

/// A file with nothing around it.
struct Bare(Arc<dyn File>);

impl Bare {
    fn create(folder: &Path, bytes: u64) -> Result<Self, Error> {
        StdFs.create_dir(folder)?;
        let file = StdFs.create_new(&folder.join("bare"))?;
        file.preallocate(bytes)?;
        file.sync_data()?;
        Ok(Self(file))
    }
}

/// Large writes one after the other into a preallocated file, then one sync.
fn bandwidth(folder: &Path, bytes: u64) -> Measured {
    let piece = vec![0x5a; PIECE_BYTES];
    let file = Bare::create(folder, bytes)?;
    let start = Instant::now();
    let mut offset = 0;
    while offset < bytes {
        let len = usize::try_from(bytes - offset)?.min(PIECE_BYTES);
        file.0.write_at(offset, &piece[..len])?;
        offset += bytes_of(len);
    }
    file.0.sync_data()?;
    Ok(vec![("bytes_per_second", rate(bytes, start.elapsed()))])
}

/// A length as a number of bytes.
fn bytes_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
