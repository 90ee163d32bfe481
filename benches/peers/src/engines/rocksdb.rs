use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use super::{CACHE_BYTES, Entry, Level, Map, Setup, count};
use crate::Error;

pub(super) struct RocksDb {
    db: DB,
    is_synced: bool,
}

pub(super) fn open(folder: &Path, setup: Setup) -> Result<RocksDb, Error> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES)?);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_block_based_table_factory(&blocks);
    options.increase_parallelism(4);
    options.optimize_for_point_lookup(count(CACHE_BYTES) >> 20);
    Ok(RocksDb { db: DB::open(&options, folder)?, is_synced: setup.level == Level::Power })
}

impl RocksDb {
    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.is_synced);
        options
    }
}

impl Map for RocksDb {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        Ok(self.db.put_opt(key, value, &self.write_options())?)
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.db.get_pinned(key)?.map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        Ok(self.db.delete_opt(key, &self.write_options())?)
    }

    fn len(&self) -> Result<u64, Error> {
        self.db.iterator(IteratorMode::Start).try_fold(0, |entries, entry| {
            entry?;
            Ok(entries + 1)
        })
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        Ok(self.db.write_opt(batch, &self.write_options())?)
    }

    fn compact(&mut self) -> Result<(), Error> {
        self.db.flush()?;
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(self.db.flush_wal(true)?)
    }
}
