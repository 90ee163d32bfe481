//! Leaving stores behind, and opening them.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use pkv_format::body_checksum;
use pkv_fs::{Access, Fs, StdFs};

use super::{Job, Kind, Measured, READY, rate};
use crate::Error;
use crate::engines::pkv::{self, PkvStore};
use crate::engines::{Engine, Setup, open};
use crate::workload::key;

/// What the limit of opening reads at once, and checksums at once.
const READ_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 64 * 1024;
const LIMIT_FILE_NAME: &str = "limit";

impl Job {
    pub(super) fn prepare_closed(&self, folder: &Path) -> Measured {
        self.open_inserted(folder)?.close()?;
        Ok(Vec::new())
    }

    /// Waits to be killed.
    pub(super) fn prepare_killed(&self, folder: &Path) -> Measured {
        let _map = self.open_inserted(folder)?;
        println!("{READY}");
        std::io::stdout().flush()?;
        loop {
            std::thread::park();
        }
    }

    pub(super) fn prepare_compacted(&self, folder: &Path) -> Measured {
        if self.engine == Engine::Limit {
            StdFs.create_dir(folder)?;
            let file = StdFs.create_new(&folder.join(LIMIT_FILE_NAME))?;
            file.write_at(0, &vec![0x5a; self.snapshot_bytes()?])?;
            file.sync_data()?;
            return Ok(Vec::new());
        }
        if self.engine == Engine::PersistentKv {
            // Its snapshot begins with the last write, and dropping the store waits for it.
            let setup = Setup { snapshot_interval: Some(self.entries), ..self.setup() };
            self.insert_range(&*open(self.engine, folder, setup)?, 0, self.entries)?;
            return Ok(Vec::new());
        }
        let mut map = self.open_inserted(folder)?;
        map.compact()?;
        map.close()?;
        Ok(Vec::new())
    }

    pub(super) fn prepare_log(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, Setup { compacts: false, ..self.setup() })?;
        self.insert_range(&*map, 0, self.entries)?;
        map.close()?;
        Ok(Vec::new())
    }

    pub(super) fn open(&self, folder: &Path) -> Measured {
        if self.engine == Engine::Limit {
            return self.read_and_checksum(&folder.join(LIMIT_FILE_NAME));
        }
        let setup = Setup { compacts: self.kind != Kind::OpenLog, ..self.setup() };
        let start = Instant::now();
        let map = open(self.engine, folder, setup)?;
        let time = start.elapsed();
        self.check_len(&*map, self.entries)?;
        map.close()?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    /// Reads a key at random as soon as it can, and others until all are loaded.
    pub(super) fn open_instant(&self, folder: &Path) -> Measured {
        let options = pkv::options(self.setup()).instant_open(true);
        let start = Instant::now();
        let map: PkvStore = options.open(folder)?;
        let mut longest = Duration::ZERO;
        let mut first_read = None;
        let mut number = self.entries / 3;
        while first_read.is_none() || !map.is_loaded() {
            let read = Instant::now();
            let found = map.get_with(&key(number)[..], <[u8]>::len)?;
            if found != Some(self.value_len()) {
                return Err(format!("key {number} has {found:?} bytes").into());
            }
            longest = longest.max(read.elapsed());
            first_read.get_or_insert_with(|| start.elapsed());
            number = (number + 7_919) % self.entries;
        }
        let loaded = start.elapsed();
        self.check_len(&map, self.entries)?;
        map.close()?;
        let first_read = first_read.unwrap_or_default();
        Ok(vec![
            ("per_second", rate(self.entries, first_read)),
            ("first_read_ms", first_read.as_secs_f64() * 1e3),
            ("loaded_per_second", rate(self.entries, loaded)),
            ("get_us", longest.as_secs_f64() * 1e6),
        ])
    }

    /// Keys and values as a snapshot has them, with headers and padding.
    fn snapshot_bytes(&self) -> Result<usize, Error> {
        Ok(usize::try_from(self.entries * self.payload_bytes() * 103 / 100)?)
    }

    /// Reads as many bytes as a snapshot has with all cores into memory that it did not have before, as opening does, and
    /// checksums them. No key is hashed, and nothing can be found.
    fn read_and_checksum(&self, path: &Path) -> Measured {
        let bytes = u64::try_from(self.snapshot_bytes()?)?;
        let start = Instant::now();
        let file = StdFs.open(path, Access::Read)?;
        let (file, next) = (&*file, &AtomicU64::new(0));
        let read = || -> Result<(Vec<Vec<u8>>, u32), Error> {
            let (mut pieces, mut checksums) = (Vec::new(), 0);
            loop {
                let offset = next.fetch_add(READ_BYTES as u64, Ordering::Relaxed);
                if offset >= bytes {
                    return Ok((pieces, checksums));
                }
                let len = READ_BYTES.min(usize::try_from(bytes - offset)?);
                let mut piece: Vec<u8> = Vec::with_capacity(len);
                pkv_fs::populate_memory(piece.spare_capacity_mut());
                piece.resize(len, 0);
                if file.read_at(offset, &mut piece)? != piece.len() {
                    return Err("the file is shorter than it was made".into());
                }
                checksums ^= piece.chunks(BLOCK_BYTES).map(body_checksum).fold(0, |a, b| a ^ b);
                pieces.push(piece);
            }
        };
        let threads = available_parallelism()?.get();
        let held = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
            let ends = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
            ends.collect::<Result<Vec<_>, Error>>()
        })?;
        let time = start.elapsed();
        let pieces = held.iter().flat_map(|(pieces, _)| pieces);
        if pieces.map(Vec::len).sum::<usize>() != self.snapshot_bytes()? {
            return Err("not all was read".into());
        }
        Ok(vec![("per_second", rate(self.entries, time))])
    }
}
