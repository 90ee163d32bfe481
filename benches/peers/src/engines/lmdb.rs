use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};

use super::{Entry, Level, Map, Setup};
use crate::Error;

/// Address space, not memory.
const MAP_BYTES: usize = 64 << 30;
/// More than any row has threads.
const READERS: u32 = 1024;

pub(super) struct Lmdb {
    env: Env<WithoutTls>,
    entries: Database<'static, Bytes, Bytes>,
}

#[expect(unsafe_code, reason = "LMDB cannot be opened otherwise")]
pub(super) fn open(folder: &Path, setup: Setup) -> Result<Lmdb, Error> {
    std::fs::create_dir_all(folder)?;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES).max_readers(READERS);
    if setup.level == Level::Process {
        // SAFETY: without syncs a power cut may damage the file, which no report reads again.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the folder is this process's own, and no one changes its files from outside.
    let env = unsafe { options.open(folder) }?;
    let transaction = env.write_txn()?;
    let created = env.create_databases_and_commit(transaction, |opener, transaction| {
        opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    let entries = created.unwrap_commit();
    Ok(Lmdb { env, entries })
}

impl Map for Lmdb {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut transaction = self.env.write_txn()?;
        self.entries.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        let transaction = self.env.read_txn()?;
        Ok(self.entries.get(&transaction, key)?.map(<[u8]>::len))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        let mut transaction = self.env.write_txn()?;
        self.entries.delete(&mut transaction, key)?;
        Ok(transaction.commit()?)
    }

    fn len(&self) -> Result<u64, Error> {
        let transaction = self.env.read_txn()?;
        Ok(self.entries.len(&transaction)?)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        let transaction = self.env.read_txn()?;
        keys.iter().try_fold(0, |found, key| {
            Ok(found + usize::from(self.entries.get(&transaction, key)?.is_some()))
        })
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in entries {
            self.entries.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
