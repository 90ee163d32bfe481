use std::path::Path;

use pkv_store::{Durability, Options, Store};

use super::{Entry, Level, Map, Setup};
use crate::Error;

pub(crate) type PkvStore = Store<Vec<u8>, Vec<u8>>;

pub(crate) fn open(folder: &Path, setup: Setup) -> Result<PkvStore, Error> {
    Ok(options(setup).open(folder)?)
}

pub(crate) fn options(setup: Setup) -> Options {
    let mut options = Options::new().durability(match setup.level {
        Level::Process => Durability::Process,
        Level::Power => Durability::Power,
    });
    if let Some(interval) = setup.sync_interval {
        options = options.sync_interval(interval);
    }
    if !setup.compacts {
        options = options.compact_log_bytes_min(u64::MAX / 4).compact_log_count(u32::MAX);
    }
    options
}

impl Map for PkvStore {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        Store::insert(self, key, value)?;
        Ok(())
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get_with(key, <[u8]>::len)?)
    }

    fn get_copy(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(key)?.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        Store::remove(self, key)?;
        Ok(())
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(Store::len(self))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        Ok(Store::get_many(self, keys.iter().copied())?.iter().flatten().count())
    }

    fn get_many_lens(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        let mut found = 0;
        Store::get_many_with(self, keys.iter().copied(), |_, value| {
            found += usize::from(value.map(<[u8]>::len).is_some());
        })?;
        Ok(found)
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let batch = entries.iter().fold(self.batch(), |batch, (key, value)| {
            batch.insert(key.as_slice(), value.as_slice())
        });
        Ok(batch.commit()?)
    }

    fn compact(&mut self) -> Result<(), Error> {
        Ok(Store::compact(self)?)
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(Store::close(*self)?)
    }
}
