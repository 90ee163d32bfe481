//! Going over all entries while others write.

use pkv_format::decode_record;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::map::{BucketCopy, Cursor, Map};
use crate::reentry;

/// All entries as bytes. See [`crate::Store::iter`].
#[derive(Debug)]
pub struct ByteIter<'a> {
    map: &'a Map,
    /// `None`: nobody writes to this map, so no closure of a write can be under way.
    core: Option<&'a Core>,
    shard: usize,
    /// Where to go on in the shard; `None`: with the next shard.
    cursor: Option<Cursor>,
    copy: BucketCopy,
    /// How much of the copy was given out.
    offset: usize,
    large: usize,
}

impl<'a> ByteIter<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core: Some(core), ..Self::over(&core.map) }
    }

    /// Over a map without a store.
    pub(crate) fn over(map: &'a Map) -> Self {
        Self {
            map,
            core: None,
            shard: 0,
            cursor: Some(Cursor::default()),
            copy: BucketCopy::default(),
            offset: 0,
            large: 0,
        }
    }

    /// Calls `give` with the next entry.
    pub(crate) fn next_with<R>(
        &mut self,
        give: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Option<Result<R>> {
        loop {
            let rest = self.copy.bytes.get(self.offset..).unwrap_or_default();
            if !rest.is_empty() {
                let Ok(record) = decode_record(rest) else {
                    self.shard = self.map.shards();
                    self.copy.clear();
                    return Some(Err(Error::OutOfMemory));
                };
                self.offset += record.bytes_used;
                return Some(Ok(give(record.key, record.value)));
            }
            if let Some((key, value)) = self.copy.large().nth(self.large) {
                self.large += 1;
                return Some(Ok(give(key, value)));
            }
            match self.copy_next() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.shard = self.map.shards();
                    return Some(Err(error));
                }
            }
        }
    }

    /// Copies the next bucket, under its shard's read lock. False: there is none.
    fn copy_next(&mut self) -> Result<bool> {
        self.core.map_or(Ok(()), reentry::check)?;
        self.copy.clear();
        (self.offset, self.large) = (0, 0);
        if self.cursor.is_none() {
            self.shard += 1;
            self.cursor = Some(Cursor::default());
        }
        let Some(cursor) = self.cursor.filter(|_| self.shard < self.map.shards()) else {
            return Ok(false);
        };
        let shard = self.map.read(self.shard);
        self.cursor = shard.copy_bucket(cursor, &mut self.copy).map_err(|_| Error::OutOfMemory)?;
        Ok(true)
    }
}

impl Iterator for ByteIter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|key, value| (key.to_vec(), value.to_vec()))
    }
}
