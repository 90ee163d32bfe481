use dashmap::DashMap;

use super::{Map, count};
use crate::Error;

pub(super) fn open() -> DashMap<Vec<u8>, Vec<u8>> {
    DashMap::new()
}

impl Map for DashMap<Vec<u8>, Vec<u8>> {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        DashMap::insert(self, key.to_vec(), value.to_vec());
        Ok(())
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get(key).map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        DashMap::remove(self, key);
        Ok(())
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(DashMap::len(self)))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
