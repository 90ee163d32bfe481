use std::path::Path;
use std::time::{Duration, Instant};

use sled::{Config, Db, Mode};

use super::{CACHE_BYTES, Entry, Level, Map, Setup, count};
use crate::Error;

/// How long the lock may outlive the store that took it.
const CLOSING: Duration = Duration::from_secs(5);

pub(super) struct Sled {
    db: Db,
    flushes: bool,
}

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Sled, Error> {
    let config = Config::new()
        .path(folder)
        .mode(Mode::HighThroughput)
        .cache_capacity(count(CACHE_BYTES))
        .flush_every_ms(Some(1000));
    let start = Instant::now();
    let db = loop {
        match config.open() {
            // A thread of its own holds the lock for a moment after it was closed.
            Err(_) if start.elapsed() < CLOSING => std::thread::sleep(Duration::from_millis(5)),
            opened => break opened?,
        }
    };
    Ok(Sled { db, flushes: setup.level == Level::Power })
}

impl Sled {
    fn flush(&self) -> Result<(), Error> {
        if self.flushes {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Map for Sled {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.db.insert(key, value)?;
        self.flush()
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.db.get(key)?.map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.db.remove(key)?;
        self.flush()
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(self.db.len()))
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in entries {
            batch.insert(key.as_slice(), value.as_slice());
        }
        self.db.apply_batch(batch)?;
        self.flush()
    }

    fn compact(&mut self) -> Result<(), Error> {
        self.db.flush()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        self.db.flush()?;
        Ok(())
    }
}
