use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{CACHE_BYTES, Entry, Level, Map, Setup, count};
use crate::Error;

pub(super) struct Fjall {
    database: Database,
    entries: Keyspace,
    persist: Option<PersistMode>,
}

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Fjall, Error> {
    let database = Database::builder(folder).cache_size(count(CACHE_BYTES)).open()?;
    let entries = database.keyspace("entries", KeyspaceCreateOptions::default)?;
    let persist = (setup.level == Level::Power).then_some(PersistMode::SyncData);
    Ok(Fjall { database, entries, persist })
}

impl Fjall {
    fn persist(&self) -> Result<(), Error> {
        self.persist.map_or(Ok(()), |mode| Ok(self.database.persist(mode)?))
    }
}

impl Map for Fjall {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.entries.insert(key, value)?;
        self.persist()
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.entries.get(key)?.map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.entries.remove(key)?;
        self.persist()
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(self.entries.len()?))
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut batch = self.database.batch().durability(self.persist);
        for (key, value) in entries {
            batch.insert(&self.entries, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn compact(&mut self) -> Result<(), Error> {
        self.entries.rotate_memtable_and_wait()?;
        Ok(self.entries.major_compact()?)
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
