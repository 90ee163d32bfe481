use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::{CACHE_BYTES, Entry, Level, Map, Setup};
use crate::Error;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");

pub(super) struct Redb {
    database: Database,
    durability: Durability,
}

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Redb, Error> {
    std::fs::create_dir_all(folder)?;
    let mut builder = Database::builder();
    let database = builder.set_cache_size(CACHE_BYTES).create(folder.join("redb"))?;
    let durability = match setup.level {
        Level::Process => Durability::None,
        Level::Power => Durability::Immediate,
    };
    let redb = Redb { database, durability };
    // A table exists from the first transaction that opens it to write.
    redb.write(|_| Ok(()))?;
    Ok(redb)
}

impl Redb {
    fn write(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, &'static [u8], &'static [u8]>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        change(&mut transaction.open_table(TABLE)?)?;
        Ok(transaction.commit()?)
    }
}

impl Map for Redb {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(|table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.write(|table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(self.database.begin_read()?.open_table(TABLE)?.len()?)
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        self.write(|table| {
            for (key, value) in entries {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            Ok(())
        })
    }

    fn compact(&mut self) -> Result<(), Error> {
        self.database.compact()?;
        Ok(())
    }

    /// What was committed without a sync is kept by the next that syncs.
    fn close(self: Box<Self>) -> Result<(), Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.commit()?;
        Ok(self.database.close()?)
    }
}
