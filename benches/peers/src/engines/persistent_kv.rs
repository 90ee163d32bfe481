use std::path::Path;

use persistent_kv::{Config, PersistentKeyValueStore, SyncMode};

use super::{Level, Map, Setup, count};
use crate::Error;

pub(crate) type Predecessor = PersistentKeyValueStore<Vec<u8>, Vec<u8>>;

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Predecessor, Error> {
    std::fs::create_dir_all(folder)?;
    let snapshot_interval = setup.snapshot_interval.unwrap_or(u64::MAX);
    let sync_mode = match setup.level {
        Level::Process => SyncMode::BlockNoExplicitSync,
        Level::Power => SyncMode::BlockAndSync,
    };
    let config = Config { silent: true, snapshot_interval, sync_mode, ..Config::default() };
    Ok(PersistentKeyValueStore::new(folder, config)?)
}

impl Map for Predecessor {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.set(key.to_vec(), value.to_vec())?;
        Ok(())
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get(&key.to_vec()).map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.unset(&key.to_vec())?;
        Ok(())
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(self.iter().count()))
    }

    /// Dropping it waits for what it writes.
    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
