use std::path::Path;
use std::time::Duration;

use surrealmx::{AolMode, Database, DatabaseOptions, FsyncMode, PersistenceOptions};

use super::{Entry, Level, Map, Setup, count};
use crate::Error;

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Database, Error> {
    std::fs::create_dir_all(folder)?;
    let fsync = match setup.level {
        Level::Process => FsyncMode::Interval(Duration::from_secs(1)),
        Level::Power => FsyncMode::EveryAppend,
    };
    let persistence = PersistenceOptions::new(folder)
        .with_aol_mode(AolMode::SynchronousOnCommit)
        .with_fsync_mode(fsync);
    Ok(Database::new_with_persistence(DatabaseOptions::default(), persistence)?)
}

impl Map for Database {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        Ok(self.set(key, value)?)
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.with_value(key, <[u8]>::len)?)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        Ok(self.del(key)?)
    }

    fn len(&self) -> Result<u64, Error> {
        let (first, last): (&[u8], &[u8]) = (&[], &[0xff; 32]);
        Ok(count(self.total(first..last, None, None)?))
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut transaction = self.transaction(true);
        for (key, value) in entries {
            transaction.set(key, value)?;
        }
        Ok(transaction.commit()?)
    }

    /// A snapshot, after which its log begins anew.
    fn compact(&mut self) -> Result<(), Error> {
        if let Some(persistence) = self.persistence() {
            persistence.snapshot()?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
