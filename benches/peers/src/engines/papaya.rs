use papaya::HashMap;

use super::{Map, count};
use crate::Error;

pub(super) fn open() -> HashMap<Vec<u8>, Vec<u8>> {
    HashMap::new()
}

impl Map for HashMap<Vec<u8>, Vec<u8>> {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.pin().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.pin().get(key).map(Vec::len))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.pin().remove(key);
        Ok(())
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(self.pin().len()))
    }

    /// One guard for all, which is what its users do.
    fn get_many(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        let map = self.pin();
        Ok(keys.iter().filter(|key| map.get(**key).is_some()).count())
    }

    fn get_many_lens(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        Map::get_many(self, keys)
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}
