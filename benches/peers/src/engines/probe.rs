//! The limit of reads: what is left when a map does nothing but look.

use super::{Map, count};
use crate::Error;
use crate::workload::{KEY_BYTES, key, value};

/// A table of references into one array of records, built once and never changed: a read is two cache misses that
/// depend on each other, and no lock. No map of this shape can be faster.
pub(crate) struct Probe {
    slots: Vec<u32>,
    records: Vec<u8>,
    record_bytes: usize,
}

const EMPTY: u32 = u32::MAX;

impl Probe {
    pub(crate) fn of(entries: u64, value_bytes: usize) -> Result<Self, Error> {
        let entries = usize::try_from(entries)?;
        let record_bytes = KEY_BYTES + value_bytes;
        let mut probe = Self {
            slots: vec![EMPTY; (2 * entries).next_power_of_two()],
            records: Vec::with_capacity(entries * record_bytes),
            record_bytes,
        };
        for number in 0..entries {
            let key = key(count(number));
            probe.records.extend_from_slice(&key);
            probe.records.extend_from_slice(&value(count(number), value_bytes));
            let mut at = probe.first_slot(&key);
            while probe.slots[at] != EMPTY {
                at = (at + 1) % probe.slots.len();
            }
            probe.slots[at] = u32::try_from(number)?;
        }
        Ok(probe)
    }

    /// Keys are random already: eight of their bytes are a hash.
    fn first_slot(&self, key: &[u8]) -> usize {
        let mut front = [0; 8];
        front.copy_from_slice(&key[..8]);
        let hash = u64::from_le_bytes(front);
        usize::try_from(hash % count(self.slots.len())).unwrap_or(0)
    }
}

impl Map for Probe {
    fn insert(&self, _: &[u8], _: &[u8]) -> Result<(), Error> {
        Err("the limit is for reads".into())
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        let mut at = self.first_slot(key);
        loop {
            let Ok(number) = usize::try_from(self.slots[at]) else { return Ok(None) };
            if self.slots[at] == EMPTY {
                return Ok(None);
            }
            let from = number * self.record_bytes;
            let record = &self.records[from..from + self.record_bytes];
            if &record[..KEY_BYTES] == key {
                return Ok(Some(record.len() - KEY_BYTES));
            }
            at = (at + 1) % self.slots.len();
        }
    }

    fn remove(&self, _: &[u8]) -> Result<(), Error> {
        Err("the limit is for reads".into())
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(count(self.records.len() / self.record_bytes))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_was_built_of_and_nothing_else() {
        let probe = Probe::of(1000, 100).unwrap();
        assert_eq!(probe.len().unwrap(), 1000);
        assert!((0..1000).all(|number| probe.get_len(&key(number)).unwrap() == Some(100)));
        assert!((1000..2000).all(|number| probe.get_len(&key(number)).unwrap().is_none()));
    }
}
