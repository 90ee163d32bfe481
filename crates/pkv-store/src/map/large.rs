//! The values of one shard that are too large for its chunks: shared allocations, replaced and never
//! overwritten, so that a copy of the shard takes a reference and reads the bytes after unlocking.

use std::sync::Arc;

use super::OutOfMemory;
use super::record::{index, lossless};

const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Slot {
    Used(Arc<[u8]>),
    /// The next free slot.
    Free(u32),
}

/// Values by slot number; a record holds the number.
#[derive(Debug)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: u32,
    free_slots: usize,
    value_bytes: u64,
}

impl Default for Slab {
    fn default() -> Slab {
        Slab { slots: Vec::new(), free: NONE, free_slots: 0, value_bytes: 0 }
    }
}

impl Slab {
    /// Bytes of all values.
    pub(super) fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// Bytes of the list itself.
    pub(super) fn overhead_bytes(&self) -> u64 {
        lossless(self.slots.capacity() * size_of::<Slot>())
    }

    /// Makes sure that so many values find a slot.
    pub(super) fn reserve(&mut self, values: usize) -> Result<(), OutOfMemory> {
        let wanted = values.saturating_sub(self.free_slots);
        let slots_max = index(NONE);
        if self.slots.capacity() - self.slots.len() >= wanted
            && self.slots.len() + wanted <= slots_max
        {
            return Ok(());
        }
        let failed = OutOfMemory { bytes: lossless(wanted * size_of::<Slot>()) };
        if self.slots.len() + wanted > slots_max {
            return Err(failed);
        }
        self.slots.try_reserve(wanted).map_err(|_| failed)
    }

    /// Keeps a value; without a [`Slab::reserve`] before it, it may abort for want of memory.
    pub(super) fn insert(&mut self, value: Arc<[u8]>) -> u32 {
        self.value_bytes += lossless(value.len());
        let number = self.free;
        if let Some(slot) = self.slots.get_mut(index(number)) {
            if let Slot::Free(next) = slot {
                self.free = *next;
                self.free_slots -= 1;
            }
            *slot = Slot::Used(value);
            return number;
        }
        self.slots.push(Slot::Used(value));
        u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
    }

    /// The value in a slot.
    pub(super) fn get(&self, number: u32) -> &Arc<[u8]> {
        match self.slots.get(index(number)) {
            Some(Slot::Used(value)) => value,
            _ => unreachable!("a record names a slab slot without a value"),
        }
    }

    /// Puts another value into a slot and returns the old one.
    pub(super) fn replace(&mut self, number: u32, value: Arc<[u8]>) -> Arc<[u8]> {
        match self.slots.get_mut(index(number)) {
            Some(Slot::Used(old)) => {
                self.value_bytes = self.value_bytes + lossless(value.len()) - lossless(old.len());
                std::mem::replace(old, value)
            }
            _ => unreachable!("a record names a slab slot without a value"),
        }
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, number: u32) -> Arc<[u8]> {
        let free = Slot::Free(self.free);
        match self.slots.get_mut(index(number)).map(|slot| std::mem::replace(slot, free)) {
            Some(Slot::Used(value)) => {
                self.free = number;
                self.free_slots += 1;
                self.value_bytes -= lossless(value.len());
                value
            }
            _ => unreachable!("a record names a slab slot without a value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(byte: u8) -> Arc<[u8]> {
        Arc::from(vec![byte; 2000])
    }

    #[test]
    fn slots_are_reused_and_bytes_counted() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..10).map(|byte| slab.insert(value(byte))).collect();
        assert_eq!(slab.value_bytes(), 20_000);
        assert_eq!(slab.remove(numbers[3])[0], 3);
        assert_eq!(slab.remove(numbers[7])[0], 7);
        assert_eq!(slab.replace(numbers[0], Arc::from([])).len(), 2000);
        assert_eq!(slab.value_bytes(), 14_000);
        let mut again = [slab.insert(value(20)), slab.insert(value(21))];
        again.sort_unstable();
        assert_eq!(again, [numbers[3], numbers[7]]);
        assert_eq!(slab.insert(value(22)), 10);
        for (byte, number) in (0..10).zip(numbers) {
            if ![0, 3, 7].contains(&byte) {
                assert_eq!(slab.get(number)[0], byte);
            }
        }
    }

    #[test]
    fn what_was_reserved_is_inserted_without_growing() {
        let mut slab = Slab::default();
        for round in 0..3 {
            slab.reserve(100).unwrap();
            let capacity = slab.slots.capacity();
            let numbers: Vec<u32> = (0..100).map(|byte| slab.insert(value(byte))).collect();
            assert_eq!(slab.slots.capacity(), capacity, "round {round}");
            for number in numbers {
                drop(slab.remove(number));
            }
        }
        assert_eq!(slab.slots.len(), 100);
    }
}
